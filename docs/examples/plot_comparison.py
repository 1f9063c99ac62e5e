"""
Which explainer for my data?
============================

:func:`skattrib.compare_explainers` plants faults in your rows, trains again, and scores each
explainer on both.
"""

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

from skattrib import (
    DualViewExplainer,
    InfluenceExplainer,
    RepresenterExplainer,
    SimilarityExplainer,
    compare_explainers,
)
from skattrib.plots import ComparisonDisplay

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(
    X / 16, y, train_size=600, test_size=150, random_state=0
)
explainers = {
    "DualView": DualViewExplainer(random_state=0),
    "representer": RepresenterExplainer(),
    "influence": InfluenceExplainer(),
    "cosine": SimilarityExplainer(metric="cosine"),
}
result = compare_explainers(
    explainers,
    X_train,
    y_train,
    X_test,
    y_test,
    estimator=LogisticRegression(max_iter=300),
    metrics=["class_detection", "mislabel_detection", "subclass_detection", "linear_datamodeling"],
    n_subsets=20,
    random_state=0,
)
names = result.table["explainer"]
print(f"{'':22}", *(f"{name:>12}" for name in names))
for score in ("class_detection", "mislabel_detection", "subclass_detection", "linear_datamodeling"):
    print(f"{score:22}", *(f"{value:12.2f}" for value in result.table[score]))

# %%
ComparisonDisplay.from_result(result)
plt.show()
