"""
Who makes the model treat two groups differently?
=================================================

Any weighted sum of outputs can be explained: here the difference between the mean logits of
two groups.
"""

import matplotlib.pyplot as plt
import numpy as np

from skattrib import InfluenceExplainer

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
weights = np.where(group[test] == 1, 1 / (group[test] == 1).sum(), -1 / (group[test] == 0).sum())
gap = weights @ explainer.decision_function(X[test])
print(f"mean logit of group 1 less that of group 0: {gap:+.2f}")
harm = explainer.aggregate(X[test], 1, weights=weights)  # a row's part in that difference
worst = harm.argsort()[:60]
print(f"of the 60 rows that lower group 1 most, {wronged[train][worst].sum()} were wronged")

# %%
# Without these rows, really trained again:
kept = np.delete(train, worst)
again = InfluenceExplainer().fit(X[kept], y[kept])
print(f"without them: {weights @ again.decision_function(X[test]):+.2f}")
figure, axis = plt.subplots(figsize=(5, 3), layout="constrained")
bins = np.histogram_bin_edges(harm, 40)
axis.hist(harm[~wronged[train]], bins, label="other rows", alpha=0.6)
axis.hist(harm[wronged[train]], bins, label="wronged rows", alpha=0.6)
axis.set(xlabel="effect of the row on the difference", yscale="log")
axis.legend()
plt.show()
