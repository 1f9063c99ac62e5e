"""Who finds planted wrong labels: find_label_issues, cleanlab, or the loss of a model?

A tenth of the labels is flipped, uniformly or to the next class (with two classes these are the
same), five times. Ours fit all rows once; cleanlab has out-of-fold probabilities of a
LogisticRegression, and the loss is that of one fitted to all rows. Every linear method runs at
C mean||x||^2 = 0.1 and 1, those with scikit-learn's model also at its default of C = 1. Best with
OMP_NUM_THREADS=1. SKATTRIB_ROWS=5000 rows of the deep features by default.
"""

import os
import time

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.preprocessing import scale

from skattrib import (
    DualViewExplainer,
    DualViewExplainerCV,
    InfluenceExplainer,
    RepresenterExplainer,
    SimilarityExplainer,
    find_label_issues,
)
from skattrib.metrics import mislabel_detection_score
from skattrib.planting import flip_labels

N = int(os.environ.get("SKATTRIB_ROWS", "5000"))
SEEDS = range(5)
NOISE = 0.1


def rows_of(load, name):
    """name, X, y of one data set."""
    if name == "digits":
        X, y = load_digits(return_X_y=True)
        return name, X / 16, y
    if name == "breast cancer":
        X, y = load_breast_cancer(return_X_y=True)
        return name, scale(X), y
    name, X, y = load(name)
    return name, X[:N], y[:N]


def ours(explainer):
    """Scores of all rows, and those that are returned by default."""

    def find(X, y, seed):
        issues = find_label_issues(explainer.fit(X, y), X, y, k=len(y))
        scores = np.empty(len(y))
        scores[issues.row] = issues.score
        return scores, scores > 0

    return find


def loss(model):
    """Minus the log-likelihood of the given label, by a model fitted to it."""

    def find(X, y, seed):
        return -model.fit(X, y).predict_log_proba(X)[np.arange(len(y)), y], None

    return find


def cleanlab(model, method):
    """cleanlab's label quality, and the rows that its filter returns."""
    from cleanlab.filter import find_label_issues as issues_of
    from cleanlab.rank import get_label_quality_scores

    def find(X, y, seed):
        folds = StratifiedKFold(5, shuffle=True, random_state=seed)
        shares = cross_val_predict(model, X, y, cv=folds, method="predict_proba")
        return -get_label_quality_scores(y, shares, method=method), issues_of(y, shares, n_jobs=1)

    return find


def methods(unit):
    """(method, its setting, function); unit is the C at which C mean||x||^2 = 1."""
    yield "nearest rows, cosine", "", ours(SimilarityExplainer(metric="cosine"))
    grid = unit * np.logspace(-2, 1, 7)
    yield "DualView", "C by CV", ours(DualViewExplainerCV(Cs=grid, cv=5, random_state=0))
    for name, C in (("0.1", 0.1 * unit), ("1", unit), ("C = 1", 1.0)):
        model = LogisticRegression(C=C, max_iter=1000)
        if name != "C = 1":
            yield "DualView", name, ours(DualViewExplainer(C=C, random_state=0))
            yield "representer", name, ours(RepresenterExplainer(C=C))
            yield "influence", name, ours(InfluenceExplainer(C=C))
        yield "loss", name, loss(model)
        yield "cleanlab, self-confidence", name, cleanlab(model, "self_confidence")
        yield "cleanlab, normalized margin", name, cleanlab(model, "normalized_margin")


@pytest.mark.parametrize("data", ["digits", "breast cancer", "cnn128"])
@pytest.mark.parametrize("kind", ["uniform", "pair"])
def bench_label_issues(benchmark, load, record, data, kind):
    pytest.importorskip("cleanlab")
    name, X, y = rows_of(load, data)
    C = 1 / float(np.mean(np.einsum("ij,ij->i", X, X, dtype=np.float64)))
    for title, setting, find in methods(C):
        runs = []
        for seed in SEEDS:
            noisy, flipped = flip_labels(y, NOISE, kind=kind, random_state=seed)
            start = time.perf_counter()
            scores, returned = find(X, noisy, seed)
            seconds = time.perf_counter() - start
            first = np.argsort(-scores, kind="stable")[: round(NOISE * len(y))]
            precision = recall = np.nan
            if returned is not None:
                precision = flipped[returned].mean() if returned.any() else 0.0
                recall = flipped[returned].sum() / flipped.sum()
            runs.append(
                {
                    "average_precision": average_precision_score(flipped, scores),
                    "area": mislabel_detection_score(scores, flipped),
                    "recall_in_top_tenth": flipped[first].sum() / flipped.sum(),
                    "precision_returned": precision,
                    "recall_returned": recall,
                    "seconds": seconds,
                }
            )
        means = {key: float(np.mean([run[key] for run in runs])) for key in runs[0]}
        spread = float(np.std([run["average_precision"] for run in runs], ddof=1))
        record(
            "label_issues",
            data=name,
            rows=len(y),
            noise=kind,
            method=title,
            setting=setting,
            average_precision=means.pop("average_precision"),
            spread=spread,
            **{key: None if np.isnan(value) else value for key, value in means.items()},
        )
    explainer = DualViewExplainer(C=C, random_state=0)
    benchmark.pedantic(lambda: ours(explainer)(X, noisy, 0), rounds=1)
