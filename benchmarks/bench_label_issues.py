"""Who finds planted wrong labels: find_label_issues, cleanlab, or the loss of a model?

A tenth of the labels is flipped, five times: uniformly, to the next class, or to the class with the
nearest mean (with two classes these are the same). find_label_issues(X, y) is told nothing of the
table; with an explainer it judges rows that the explainer was fitted to. cleanlab has out-of-fold
probabilities, of a LogisticRegression, forests or nearest rows; its normalized margin is the margin
of that model. Linear methods run at C mean||x||^2 = 0.1 and 1, LogisticRegression also at
scikit-learn's default of C = 1. Best with OMP_NUM_THREADS=1.

SKATTRIB_ROWS=3000 rows of the deep features and of large tables by default. Satellite,
LetterRecognition and Shuttle come from the folder SKATTRIB_MLBENCH (the data of R's mlbench, read
by pyreadr), adult.data from SKATTRIB_ADULT; those that are not there are skipped.
"""

import os
import time

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import scale

from skattrib import (
    DualViewExplainer,
    DualViewExplainerCV,
    LeafFeatures,
    RepresenterExplainer,
    SimilarityExplainer,
    find_label_issues,
)
from skattrib.metrics import mislabel_detection_score
from skattrib.planting import flip_labels

N = int(os.environ.get("SKATTRIB_ROWS", "3000"))
SEEDS = range(5)
NOISE = 0.1
LABELS = {"Satellite": "classes", "LetterRecognition": "lettr", "Shuttle": "Class"}


def rows_of(load, name):
    """name, X, y of one data set, columns of tables scaled."""
    if name == "digits":
        X, y = load_digits(return_X_y=True)
        return name, X / 16, y
    if name == "breast cancer":
        X, y = load_breast_cancer(return_X_y=True)
        return name, scale(X), y
    if name in LABELS or name == "Adult":
        X, y = table(name)
        rows = np.random.default_rng(0).permutation(len(y))[:N]
        return name, scale(X[rows]), np.unique(y[rows], return_inverse=True)[1]
    name, X, y = load(name)
    return name, X[:N], y[:N]


def table(name):
    """Columns as numbers, and labels; skips what is not on this machine."""
    pd = pytest.importorskip("pandas")
    if name == "Adult":
        if "SKATTRIB_ADULT" not in os.environ:
            pytest.skip("SKATTRIB_ADULT is not set")
        frame = pd.read_csv(os.environ["SKATTRIB_ADULT"], header=None, skipinitialspace=True)
        frame, y = frame.drop(columns=[14]), frame[14] == ">50K"
        return pd.get_dummies(frame).to_numpy(np.float64), y.to_numpy().astype(int)
    pyreadr = pytest.importorskip("pyreadr")
    if "SKATTRIB_MLBENCH" not in os.environ:
        pytest.skip("SKATTRIB_MLBENCH is not set")
    path = os.path.join(os.environ["SKATTRIB_MLBENCH"], f"{name}.rda")
    frame = pyreadr.read_r(path)[name]
    y = frame.pop(LABELS[name]).astype(str)
    return frame.to_numpy(np.float64), y.to_numpy(str)


def flipped(X, y, kind, seed):
    """Noisy labels, and which they are; "nearest": to the class with the nearest mean."""
    if kind != "nearest":
        return flip_labels(y, NOISE, kind=kind, random_state=seed)
    means = np.array([X[y == label].mean(axis=0, dtype=np.float64) for label in np.unique(y)])
    apart = ((means[:, None] - means) ** 2).sum(axis=-1)
    np.fill_diagonal(apart, np.inf)
    _, is_flipped = flip_labels(y, NOISE, random_state=seed)
    return np.where(is_flipped, apart.argmin(axis=1)[y], y), is_flipped


def ours(explainer):
    """Scores of all rows, and those that are returned by default."""

    def find(X, y, seed):
        issues = find_label_issues(explainer.fit(X, y), X, y, k=len(y))
        return [("", *all_rows(issues))]

    return find


def default(X, y, seed):
    """Without an explainer."""
    return [("", *all_rows(find_label_issues(X, y, k=len(y), random_state=seed, n_jobs=1)))]


def on_leaves(X, y, seed):
    """DualView on the leaves of a forest."""
    forest = RandomForestClassifier(100, random_state=seed)
    head = make_pipeline(LeafFeatures(forest), DualViewExplainer(C=0.1, random_state=0)).fit(X, y)
    leaves = head[0].transform(X)
    return [("", *all_rows(find_label_issues(head[1], leaves, y, k=len(y))))]


def all_rows(issues):
    scores = np.empty(len(issues.row))
    scores[issues.row] = issues.score
    return scores, scores > 0


def loss(model):
    """Minus the log-likelihood of the given label, by a model fitted to it."""

    def find(X, y, seed):
        return [("", -model.fit(X, y).predict_log_proba(X)[np.arange(len(y)), y], None)]

    return find


def cleanlab(model):
    """cleanlab's label qualities, and the rows that its filter returns."""
    from cleanlab.filter import find_label_issues as issues_of
    from cleanlab.rank import get_label_quality_scores

    def find(X, y, seed):
        folds = StratifiedKFold(5, shuffle=True, random_state=seed)
        shares = cross_val_predict(model, X, y, cv=folds, method="predict_proba")
        returned = issues_of(y, shares, n_jobs=1)
        for method in ("self_confidence", "normalized_margin"):
            yield f", {method}", -get_label_quality_scores(y, shares, method=method), returned

    return find


def methods(unit):
    """(method, its setting, function); unit is the C at which C mean||x||^2 = 1."""
    yield "find_label_issues(X, y)", "", default
    yield "DualView on leaves", "", on_leaves
    yield "nearest rows, cosine", "", ours(SimilarityExplainer(metric="cosine"))
    grid = unit * np.logspace(-2, 1, 7)
    yield "DualView", "C by CV", ours(DualViewExplainerCV(Cs=grid, cv=5, random_state=0))
    for name, C in (("0.1", 0.1 * unit), ("1", unit), ("C = 1", 1.0)):
        model = LogisticRegression(C=C, max_iter=300)
        if name != "C = 1":
            yield "DualView", name, ours(DualViewExplainer(C=C, random_state=0))
            yield "representer", name, ours(RepresenterExplainer(C=C))
        yield "loss", name, loss(model)
        yield "cleanlab", f"linear, {name}", cleanlab(model)
    forest = RandomForestClassifier(100, random_state=0)
    leafy = RandomForestClassifier(100, min_samples_leaf=5, random_state=0)
    yield "cleanlab", "forest", cleanlab(forest)
    yield "cleanlab", "forest, leaves of 5", cleanlab(leafy)
    yield "cleanlab", "15 nearest", cleanlab(KNeighborsClassifier(15, weights="distance"))


DATA = ["digits", "breast cancer", "cnn128", "Satellite", "LetterRecognition", "Adult"]


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("kind", ["uniform", "pair", "nearest"])
def bench_label_issues(benchmark, load, record, data, kind):
    pytest.importorskip("cleanlab")
    name, X, y = rows_of(load, data)
    if kind != "uniform" and y.max() == 1:
        pytest.skip("two classes: flips of all kinds are the same")
    C = 1 / float(np.mean(np.einsum("ij,ij->i", X, X, dtype=np.float64)))
    noisy = [flipped(X, y, kind, seed) for seed in SEEDS]
    for title, setting, find in methods(C):
        if setting == "C by CV" and data not in DATA[:2]:
            continue
        runs: dict[str, list] = {}
        for seed, (labels, wrong) in zip(SEEDS, noisy, strict=True):
            start = time.perf_counter()
            found = list(find(X, labels, seed))
            seconds = time.perf_counter() - start
            for ranking, scores, returned in found:
                runs.setdefault(ranking, []).append(measured(wrong, scores, returned, seconds))
        for ranking, of_seeds in runs.items():
            means = {key: float(np.mean([run[key] for run in of_seeds])) for key in of_seeds[0]}
            spread = float(np.std([run["average_precision"] for run in of_seeds], ddof=1))
            record(
                "label_issues",
                data=name,
                rows=len(y),
                noise=kind,
                method=title + ranking,
                setting=setting,
                average_precision=means.pop("average_precision"),
                spread=spread,
                **{key: None if np.isnan(value) else value for key, value in means.items()},
            )
    benchmark.pedantic(lambda: default(X, noisy[0][0], 0), rounds=1)


def measured(wrong, scores, returned, seconds):
    """What is known of one ranking, and of the rows that are returned."""
    first = np.argsort(-scores, kind="stable")[: wrong.sum()]
    precision = recall = np.nan
    if returned is not None:
        precision = wrong[returned].mean() if returned.any() else 0.0
        recall = wrong[returned].sum() / wrong.sum()
    return {
        "average_precision": average_precision_score(wrong, scores),
        "area": mislabel_detection_score(scores, wrong),
        "recall_in_top_tenth": wrong[first].mean(),
        "precision_returned": precision,
        "recall_returned": recall,
        "seconds": seconds,
    }
