"""
What would really change without a row
======================================

DualView's support rows, left out one by one by warm-started fits, against what they hold of a
decision.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_wine
from sklearn.preprocessing import scale

from skattrib import DualViewExplainer

X, y = load_wine(return_X_y=True)
X = scale(X)
train, test = np.arange(len(X)) % 3 > 0, np.arange(len(X)) % 3 == 0
explainer = DualViewExplainer(C=0.1, tol=1e-8, random_state=0).fit(X[train], y[train])
T = explainer.attribute(X[test]).toarray()
effects = explainer.leave_one_out(X[test], X[train], y[train])
idle = np.setdiff1d(np.arange(train.sum()), explainer.support_)
largest = np.abs(effects[:, idle]).max()
print(
    f"{len(idle)} of {train.sum()} rows are no support; the largest of their effects: {largest:.1e}"
)
held, changed = T[:, explainer.support_].ravel(), effects[:, explainer.support_].ravel()
print(f"correlation of the others {np.corrcoef(held, changed)[0, 1]:.2f}")

# %%
figure, axis = plt.subplots(figsize=(4.5, 4), layout="constrained")
axis.plot(held, changed, ".", alpha=0.3)
axis.set(xlabel="attribution", ylabel="effect of really leaving it out")
plt.show()
