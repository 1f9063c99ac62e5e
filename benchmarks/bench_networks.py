"""Which explainer of a network's last layer ranks the outputs of really retrained networks?

Reads lds_*.npz from SKATTRIB_FEATURES: features, heads and labels of up to three networks trained
on all rows, and the mean logits of networks trained on random halves. The score is the linear
datamodeling score of the log-odds of each network's class, with intervals over the test rows.
"""

import os
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, logsumexp, softmax
from sklearn.frozen import FrozenEstimator

from skattrib import (
    AveragedExplainer,
    DualViewExplainer,
    InfluenceExplainer,
    LinearHead,
    RepresenterExplainer,
    SimilarityExplainer,
)
from skattrib.metrics import linear_datamodeling_score

FOLDER = Path(os.environ.get("SKATTRIB_FEATURES", "."))
SETS = sorted(path.stem.removeprefix("lds_") for path in FOLDER.glob("lds_*.npz"))
GRID = (1.0, 1.25, 1.5, 2.0, 3.0, 5.0)


class Networks:
    """Features (networks, n, d), heads, labels, and the truth of one set."""

    def __init__(self, name):
        with np.load(FOLDER / f"lds_{name}.npz") as file:
            self.X, self.X_test = (file[k].astype(np.float64) for k in ("X", "X_test"))
            self.W, self.b = file["W"].astype(np.float64), file["b"].astype(np.float64)
            self.y, self.y_test = file["y"], file["y_test"]
            n = self.X.shape[1]
            self.masks = np.unpackbits(file["masks"], axis=1)[:, :n].astype(bool)
            self.outputs = file["outputs"].astype(np.float64)
            raw = [k for k in ("X_raw", "X_raw_test") if k in file]
            self.raw = [file[k].astype(np.float64) for k in raw]
        self.side_by_side, self.test_side_by_side = map(np.hstack, (self.X, self.X_test))

    def logits(self, e, X):
        return X @ self.W[e].T + self.b[e]

    def truth(self, labels):
        """Log-odds of a class a test row by the networks of each half, (subsets, m)."""
        rows = np.arange(len(labels))
        others = self.outputs.copy()
        others[:, rows, labels] = -np.inf
        return self.outputs[:, rows, labels] - logsumexp(others, axis=2)

    def score(self, T, labels):
        return linear_datamodeling_score(
            T, self.masks, self.truth(labels), confidence=0.95, random_state=0
        )

    def of_each(self, make, rows=None):
        """Scores of an explainer of each network alone, averaged."""
        found = []
        for e in range(len(self.X)):
            X, X_test = (self.X[e], self.X_test[e]) if rows is None else rows(e)
            labels = self.logits(e, self.X_test[e]).argmax(axis=1)
            explainer = make(e).fit(X, self.y)
            target = labels
            if hasattr(explainer, "predict_proba"):
                target = explainer.target_weights(X_test, "log_odds", labels)
            found.append(self.score(explainer.attribute(X_test, target), labels))
        return [np.mean([score[end] for score in found]) for end in ("score", "low", "high")]

    def of_average(self, make):
        """Score of the average over the networks."""
        d, E = self.X.shape[2], len(self.X)
        labels = sum(self.logits(e, self.X_test[e]) for e in range(E)).argmax(axis=1)
        members = [(str(e), make(e), slice(e * d, (e + 1) * d)) for e in range(E)]
        average = AveragedExplainer(members).fit(self.side_by_side, self.y)
        target = labels
        if hasattr(average, "predict_proba"):
            target = average.target_weights(self.test_side_by_side, "log_odds", labels)
        found = self.score(average.attribute(self.test_side_by_side, target), labels)
        return [found[end] for end in ("score", "low", "high")]

    def beside(self, e):
        """Raw columns and last layer, each of unit variance."""
        pairs = [self.raw, (self.X[e], self.X_test[e])]
        sizes = [np.sqrt(rows.var(axis=0).sum()) for rows, _ in pairs]
        return [
            np.hstack([pair[k] / size for pair, size in zip(pairs, sizes, strict=True)])
            for k in range(2)
        ]

    def head(self, e, temperature=2.0, **options):
        head = LinearHead(self.W[e], self.b[e], temperature=temperature)
        return InfluenceExplainer(FrozenEstimator(head), **options)

    def calibrated(self, e):
        """The temperature of the least cross entropy on the test rows' labels."""
        z, rows = self.logits(e, self.X_test[e]), np.arange(len(self.y_test))

        def loss(T):
            return -log_softmax(z / T, axis=1)[rows, self.y_test].mean()

        return minimize_scalar(loss, bounds=(0.5, 20.0), method="bounded").x

    def unsure(self, e):
        """The temperature at which the training rows are as sure as the test rows are right."""
        z = self.logits(e, self.X[e])
        right = np.mean(self.logits(e, self.X_test[e]).argmax(axis=1) == self.y_test)
        found = minimize_scalar(
            lambda T: (softmax(z / T, axis=1).max(axis=1).mean() - right) ** 2,
            bounds=(0.5, 50.0),
            method="bounded",
        )
        return found.x


def methods(data):
    """Name -> explainer of network e."""
    found = {
        "influence, last layer, T = 2": data.head,
        "influence, refitted": lambda e: InfluenceExplainer(),
        "influence, refitted, C = 1": lambda e: InfluenceExplainer(C=1.0),
        "representer": lambda e: RepresenterExplainer(),
        "representer, with the intercept's share": (
            lambda e: RepresenterExplainer(intercept_share=True)
        ),
        "DualView": lambda e: DualViewExplainer(random_state=0),
        "DualView, with the intercept's share": (
            lambda e: DualViewExplainer(intercept_share=True, random_state=0)
        ),
        "cosine": lambda e: SimilarityExplainer(metric="cosine"),
    }
    for T in GRID:
        found[f"trial: T = {T}"] = lambda e, T=T: data.head(e, T)
    found["trial: T of the test rows' cross entropy"] = lambda e: data.head(e, data.calibrated(e))
    found["trial: T as sure as right"] = lambda e: data.head(e, data.unsure(e))
    found["trial: T = 2, leverage corrected"] = lambda e: data.head(e, leverage_correction=True)
    return found


@pytest.mark.parametrize("name", SETS)
def bench_networks(benchmark, record, name):
    data = Networks(name)

    def all_of_them():
        for method, make in methods(data).items():
            yield method, "one", data.of_each(make)
            if not method.startswith("trial"):
                yield method, "average", data.of_average(make)
        if data.raw:
            own = lambda e: InfluenceExplainer()  # noqa: E731
            yield "influence, raw columns", "one", data.of_each(own, lambda e: data.raw)
            yield "trial: columns beside the last layer", "one", data.of_each(own, data.beside)

    for method, networks, found in benchmark.pedantic(lambda: list(all_of_them()), rounds=1):
        value, low, high = map(float, found)
        record(
            "networks", data=name, method=method, networks=networks, lds=value, low=low, high=high
        )
