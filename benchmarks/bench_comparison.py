"""Which explainer is right about what, on raw and on deep features? Tables and pictures.

compare_explainers on digits (1,300 training, 497 test rows) and on 5,000 training and 500 test
rows of the deep features of Fashion-MNIST, scaled to the mean norm of the digits, so that C means
the same. Ground truth: LogisticRegression(C=1) really trained again on 100 random halves and
without each of 50 rows. Writes its pictures to docs/pictures, or to SKATTRIB_PICTURES.
"""

import os
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from skattrib import (
    DualViewExplainer,
    InfluenceExplainer,
    RepresenterExplainer,
    SimilarityExplainer,
    compare_explainers,
)

PICTURES = Path(os.environ.get("SKATTRIB_PICTURES", Path(__file__).parents[1] / "docs/pictures"))
METRICS = ["class_detection", "subclass_detection", "mislabel_detection", "shortcut_detection"]
METRICS += ["linear_datamodeling", "leave_one_out", "self_influence"]
METRICS += ["faithfulness", "completeness", "sparsity"]
SHOWN = [name for name in METRICS if name != "sparsity"]
SHOWN += [
    "shortcut_average_precision",
    "leave_one_out_slope",
    "faithfulness_agreement",
    "nonzero_share",
    "shortcut_rows",
]
SHOWN += ["accuracy", "fit_seconds", "seconds_per_row", "peak_mb", "average_rank"]


class Random(ClassifierMixin, BaseEstimator):
    """Attributions of no meaning; predicts the label of the most similar row."""

    def __init__(self, random_state=0):
        self.random_state = random_state

    def fit(self, X, y):
        self.nearest_ = SimilarityExplainer(metric="cosine").fit(X, y)
        self.classes_, self.n_ = self.nearest_.classes_, len(y)
        self.self_influence_ = self._draw(1)[0]
        return self

    def predict(self, X):
        return self.nearest_.predict(X)

    def attribute(self, X, target=None):
        return self._draw(X.shape[0])

    def _draw(self, m):
        return np.random.default_rng(self.random_state).standard_normal((m, self.n_))


def problem(load, name):
    """name, training rows and labels, test rows and labels, and the features of a mark."""
    X, y = load_digits(return_X_y=True)
    digits = X / 16
    if name == "digits":
        return (
            name,
            digits[:1300],
            y[:1300],
            digits[1300:],
            y[1300:],
            {"mark": [0, 1, 2, 8, 9, 10, 16, 17, 18]},
        )
    name, X, y = load(name)
    X = X[:5500].astype(np.float64)
    X *= np.sqrt(np.mean((digits**2).sum(axis=1)) / np.mean((X**2).sum(axis=1)))
    y, mark = y[:5500], {"mark": X.sum(axis=0).argsort()[:3].tolist()}
    return name, X[:5000], y[:5000], X[5000:], y[5000:], mark


EXPLAINERS = {
    "DualView": DualViewExplainer(C=0.1, random_state=0),
    "representer": RepresenterExplainer(C=1.0),
    "influence": InfluenceExplainer(C=1.0),
    "influence, EK-FAC": InfluenceExplainer(C=1.0, inverse="ekfac"),
    "cosine": SimilarityExplainer(metric="cosine"),
    "euclidean": SimilarityExplainer(metric="euclidean"),
    "random": Random(),
}


@pytest.mark.parametrize("data", ["digits", "cnn128"])
def bench_comparison(benchmark, load, record, data):
    name, X, y, X_test, y_test, mark = problem(load, data)
    result = benchmark.pedantic(
        compare_explainers,
        (EXPLAINERS, X, y, X_test, y_test),
        {
            "estimator": LogisticRegression(C=1.0, tol=1e-8, max_iter=10_000),
            "metrics": METRICS,
            "n_subsets": 100,
            "n_left_out": 50,
            "confidence": 0.95,
            "random_state": 0,
            "verbose": 1,
            **mark,
        },
        rounds=1,
    )
    for k, explainer in enumerate(result.table["explainer"]):
        for score in SHOWN:
            ends = [
                result.table.get(f"{score}{end}", [np.nan] * 99)[k] for end in ("_low", "_high")
            ]
            record(
                "comparison",
                data=name,
                explainer=explainer,
                score=score,
                value=none_for_nan(result.table[score][k]),
                low=none_for_nan(ends[0]),
                high=none_for_nan(ends[1]),
            )
    picture(result, name, f"comparison_{data}.png")


@pytest.mark.parametrize("data", ["digits", "cnn128"])
def bench_shortcut_by_C(benchmark, load, record, data):
    """Whether the top row carries the planted mark depends on the regularization."""
    name, X, y, X_test, y_test, mark = problem(load, data)
    explainers = {
        f"{kind.__name__}(C={C})": kind(C=C)
        for kind in (DualViewExplainer, RepresenterExplainer)
        for C in (0.01, 0.1, 1.0)
    }
    result = benchmark.pedantic(
        compare_explainers,
        (explainers, X, y, X_test, y_test),
        {"metrics": ["shortcut_detection"], "memory": False, "random_state": 0, **mark},
        rounds=1,
    )
    columns = ("explainer", "shortcut_detection", "shortcut_rows")
    for values in zip(*(result.table[column] for column in columns), strict=True):
        record("shortcut_by_C", data=name, **dict(zip(columns, values, strict=True)))


def none_for_nan(value):
    return None if np.isnan(value) else float(value)


def picture(result, title, file):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    from skattrib.plots import ComparisonDisplay

    figure, ax = pyplot.subplots(figsize=(5.2, 3.2), layout="constrained")
    ComparisonDisplay.from_result(result, ax=ax)
    ax.set_title(f"{title}: average rank of seven scores against cost", fontsize="medium")
    PICTURES.mkdir(exist_ok=True)
    figure.savefig(PICTURES / file, dpi=110)
    pyplot.close(figure)
