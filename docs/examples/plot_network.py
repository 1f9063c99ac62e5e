"""
All layers of a network, without torch
======================================

TRAK with Gauss-Newton weights on exact gradients of scikit-learn's MLPClassifier, averaged over two
networks.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

from skattrib import MLPExplainer

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X / 16, y, random_state=0)
networks = [
    FrozenEstimator(MLPClassifier((32,), random_state=seed, max_iter=300).fit(X_train, y_train))
    for seed in range(2)
]
explainer = MLPExplainer(networks).fit(X_train, y_train)
wrong = np.flatnonzero(explainer.predict(X_test) != y_test)[:1]
values, rows = explainer.top_k(X_test[wrong], k=5)
print(f"predicted {explainer.predict(X_test[wrong])[0]}, labelled {y_test[wrong][0]}")

# %%
figure, axes = plt.subplots(1, 6, figsize=(9, 2), layout="constrained")
axes[0].imshow(X_test[wrong].reshape(8, 8), cmap="gray_r")
axes[0].set_title("explained", size=8)
for axis, value, row in zip(axes[1:], values[0], rows[0], strict=True):
    axis.imshow(X_train[row].reshape(8, 8), cmap="gray_r")
    axis.set_title(f"{y_train[row]}, {value:+.2f}", size=8)
for axis in axes:
    axis.set_axis_off()
plt.show()
