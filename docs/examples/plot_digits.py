"""
Why this digit?
===============

The strongest training images for and against a prediction, and the pixels through which they speak.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from skattrib import DualViewExplainer

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X / 16, y, random_state=0)
explainer = DualViewExplainer(random_state=0).fit(X_train, y_train)
print(f"accuracy {explainer.score(X_test, y_test):.3f}, {len(explainer.support_)} support rows")

# %%
# A test image that it gets wrong, and what made it say so. Values are in the unit of the decision
# value: all rows and the base value sum to it.
wrong = np.flatnonzero(explainer.predict(X_test) != y_test)[:1]
x = X_test[wrong]
for_it, proponents = explainer.top_k(x, k=4)
against, opponents = explainer.top_k(x, k=4, largest=False)

figure, axes = plt.subplots(2, 5, figsize=(9, 4), layout="constrained")
for row, (values, indices, word) in enumerate(
    [(for_it, proponents, "for"), (against, opponents, "against")]
):
    axes[row, 0].imshow(x.reshape(8, 8), cmap="gray_r")
    axes[row, 0].set_title(f"{explainer.predict(x)[0]}, not {y_test[wrong][0]}", size=8)
    for axis, value, i in zip(axes[row, 1:], values[0], indices[0], strict=True):
        axis.imshow(X_train[i].reshape(8, 8), cmap="gray_r")
        axis.set_title(f"{word}: {y_train[i]}, {value:+.2f}", size=8)
for axis in axes.flat:
    axis.set_axis_off()
plt.show()

# %%
# Each value splits further, over the pixels of the test image.
shares = explainer.decompose(x, proponents)[0]
limit = np.abs(shares).max()
figure, axes = plt.subplots(1, 4, figsize=(8, 2.4), layout="constrained")
for axis, share, value in zip(axes, shares, for_it[0], strict=True):
    picture = axis.imshow(share.reshape(8, 8), cmap="PuOr_r", vmin=-limit, vmax=limit)
    axis.set_title(f"sum {share.sum():+.2f} of {value:+.2f}", size=8)
    axis.set_axis_off()
figure.colorbar(picture, ax=axes, shrink=0.8)
plt.show()
