"""
Who makes the model treat two groups differently?
=================================================

Any weighted sum of outputs can be explained: here the gap between the mean probabilities of two
groups (demographic parity), which comes with the weights that make it a target.
"""

import matplotlib.pyplot as plt
import numpy as np

from skattrib import InfluenceExplainer
from skattrib.metrics import demographic_parity_gap

rng = np.random.default_rng(0)
n = 800
group = rng.integers(0, 2, n)
skill = rng.normal(size=n)
# in group 1, some that were able were turned down
y = (skill + 0.3 * rng.normal(size=n) > 0).astype(int)
wronged = (group == 1) & (y == 1) & (rng.random(n) < 0.3)
y[wronged] = 0
X = np.column_stack([skill, group, rng.normal(size=(n, 3))])
train, test = np.arange(600), np.arange(600, n)

explainer = InfluenceExplainer().fit(X[train], y[train])


def parity(model):
    p = model.predict_proba(X[test])[:, 1]
    return demographic_parity_gap(p, group[test], confidence=0.95, random_state=0)


found = parity(explainer)
print(f"group 1 less group 0: {found.gap:+.2f} ({found.low.gap:+.2f} to {found.high.gap:+.2f})")
target = explainer.target_weights(X[test], "probability", 1)
effects = explainer.aggregate(X[test], target, weights=found.weights)  # each row's part in the gap
worst = effects.argsort()[:60]
print(f"of the 60 rows that lower group 1 most, {wronged[train][worst].sum()} were wronged")

# %%
# Without these rows, really trained again:
kept = np.delete(train, worst)
again = InfluenceExplainer().fit(X[kept], y[kept])
print(f"without them: {parity(again).gap:+.2f}")
figure, axis = plt.subplots(figsize=(5, 3), layout="constrained")
bins = np.histogram_bin_edges(effects, 40)
axis.hist(effects[~wronged[train]], bins, label="other rows", alpha=0.6)
axis.hist(effects[wronged[train]], bins, label="wronged rows", alpha=0.6)
axis.set(xlabel="effect of the row on the gap", yscale="log")
axis.legend()
plt.show()
