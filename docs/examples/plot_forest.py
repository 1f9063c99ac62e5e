"""
A forest, through its leaves
============================

A linear head on a forest's leaves follows it better than one on its columns; then the rows
behind a vote have names.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline

from skattrib import DualViewExplainer, LeafFeatures

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X / 16, y, random_state=0)
forest = RandomForestClassifier(100, random_state=0).fit(X_train, y_train)
told, votes = forest.predict(X_train), forest.predict(X_test)

columns = DualViewExplainer(random_state=0).fit(X_train, told)
leaves = make_pipeline(LeafFeatures(FrozenEstimator(forest)), DualViewExplainer(random_state=0))
leaves.fit(X_train, told)
print(f"says what the forest says: on columns {columns.score(X_test, votes):.3f}")
print(f"                           on leaves  {leaves.score(X_test, votes):.3f}")

# %%
unsure = np.sort(forest.predict_proba(X_test), axis=1)[:, -2:]
row = [np.argmin(unsure[:, 1] - unsure[:, 0])]
Z = leaves[:-1].transform(X_test[row])
figure, axes = plt.subplots(2, 6, figsize=(9, 3.6), layout="constrained")
for line, largest in zip(axes, [True, False], strict=True):
    values, rows = leaves[-1].top_k(Z, k=5, largest=largest)
    line[0].imshow(X_test[row].reshape(8, 8), cmap="gray_r")
    line[0].set_title(f"forest: {votes[row][0]}, is {y_test[row][0]}", size=8)
    for axis, value, i in zip(line[1:], values[0], rows[0], strict=True):
        axis.imshow(X_train[i].reshape(8, 8), cmap="gray_r")
        axis.set_title(f"{y_train[i]}, {value:+.2f}", size=8)
for axis in axes.flat:
    axis.set_axis_off()
plt.show()
