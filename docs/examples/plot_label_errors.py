"""
Labels that other rows contradict
=================================

A tenth of the labels is made wrong; the list of suspicious rows is compared with what was done.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

from skattrib import DualViewExplainer, find_label_issues
from skattrib.planting import flip_labels

X, y = load_digits(return_X_y=True)
X = X / 16
noisy, is_flipped = flip_labels(y, 0.1, random_state=0)
explainer = DualViewExplainer(C=0.01, random_state=0).fit(X, noisy)
issues = find_label_issues(explainer, X, noisy)
found = is_flipped[issues.row]
print(f"{len(found)} rows named, {found.sum()} of them among the {is_flipped.sum()} flipped ones")
print(f"of the first 50 named, {found[:50].sum()} were flipped")

# %%
figure, axes = plt.subplots(1, 6, figsize=(9, 1.9), layout="constrained")
for axis, row, suggested in zip(axes, issues.row, issues.suggested, strict=False):
    axis.imshow(X[row].reshape(8, 8), cmap="gray_r")
    axis.set_title(f"labelled {noisy[row]},\nsuggested {suggested}", size=8)
    axis.set_axis_off()
plt.show()
print("right labels:", *y[issues.row[:6]], "  given:", *np.asarray(noisy)[issues.row[:6]])
