"""
Rows behind a kind of error
===========================

Threes are taken for eights: which training rows push that way, and do they do so only in the
errors?
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

from skattrib import RepresenterExplainer, misclassifications
from skattrib.plots import ErrorKindDisplay

X, y = load_digits(return_X_y=True)
X, noisy = X / 16, y[:900].copy()
threes = np.flatnonzero(noisy == 3)
near = threes[np.argsort(((X[threes] - X[threes[0]]) ** 2).sum(axis=1))[:35]]
noisy[near] = 8  # planted: rows near each other, relabelled
explainer = RepresenterExplainer(C=1.0).fit(X[:900], noisy)
kinds = misclassifications(explainer, X[900:], y[900:], min_errors=10)
print(kinds)
print(f"{np.isin(kinds[0].rows[:10], near).sum()} of the first 10 rows were relabelled")

# %%
ErrorKindDisplay.from_result(kinds[0])
plt.show()
