"""Which explainer of scikit-learn's MLPClassifier ranks the outputs of really retrained networks?

Digits and breast cancer are scikit-learn's own; census income is read from lds_adult_e50.npz in
SKATTRIB_FEATURES, if it is there. Networks are trained on SKATTRIB_HALVES random halves of the
rows (50), twice each, and kept in SKATTRIB_TRUTH, so that a run that was ended goes on. The score
is the linear datamodeling score of the log-odds of the class that the network on all rows
predicts, with intervals over the test rows.
"""

import os
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.frozen import FrozenEstimator
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler

from skattrib import (
    InfluenceExplainer,
    LinearHead,
    MLPExplainer,
    SimilarityExplainer,
    TRAKExplainer,
    mlp_gradients,
)
from skattrib.metrics import linear_datamodeling_score
from skattrib.retraining import subset_outputs

HALVES = int(os.environ.get("SKATTRIB_HALVES", "50"))
TRUTH = Path(os.environ.get("SKATTRIB_TRUTH", Path(__file__).parent / "results" / "mlp_truth"))
CENSUS = Path(os.environ.get("SKATTRIB_FEATURES", ".")) / "lds_adult_e50.npz"
# data and epochs
SETS = [("digits", 40), ("digits", 200), ("breast cancer", 50), ("census", 20), ("census", 100)]
SETS = [one for one in SETS if one[0] != "census" or CENSUS.exists()]
RIDGES = (0.5, 2.0, 8.0)
N_NETWORKS = 3


def rows_of(name):
    """Training rows, labels and test rows."""
    if name == "census":
        with np.load(CENSUS) as file:
            return (
                file["X_raw"].astype(float),
                file["y"].astype(int),
                file["X_raw_test"].astype(float),
            )
    load, n = {"digits": (load_digits, 1000), "breast cancer": (load_breast_cancer, 400)}[name]
    X, y = load(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(X))
    train, test = order[:n], order[n : n + 300]
    X = X / 16.0 if name == "digits" else StandardScaler().fit(X[train]).transform(X)
    return X[train], y[train], X[test]


class Networks:
    """Rows, networks trained on all of them, and the truth."""

    def __init__(self, name, epochs):
        self.X, self.y, self.X_test = rows_of(name)
        network = MLPClassifier((64, 32), max_iter=epochs, random_state=0)
        self.models = [
            clone(network).set_params(random_state=100 + seed).fit(self.X, self.y)
            for seed in range(N_NETWORKS)
        ]
        self.truth = subset_outputs(
            network,
            self.X,
            self.y,
            self.X_test,
            HALVES,
            output="log_odds",
            n_repeats=2,
            folder=TRUTH / f"{name.replace(' ', '_')}_{epochs}",
            random_state=0,
            verbose=1,
        )
        self.labels = self.truth.targets

    def score(self, T):
        found = linear_datamodeling_score(
            T, self.truth.masks, self.truth.outputs, confidence=0.95, random_state=0
        )
        return [found[end] for end in ("score", "low", "high")]

    def trak(self, n_networks, **options):
        """Score, seconds and the effective dimension of MLPExplainer."""
        frozen = [FrozenEstimator(model) for model in self.models[:n_networks]]
        start = time.perf_counter()
        e = MLPExplainer(frozen, **options).fit(self.X, self.y)
        T = e.attribute(self.X_test, self.labels)
        return self.score(T), time.perf_counter() - start, e.effective_dimension_.mean()

    def of_each(self, attributions, n_networks):
        """Score and seconds of attributions averaged over networks."""
        start = time.perf_counter()
        T = np.mean([attributions(model) for model in self.models[:n_networks]], axis=0)
        return self.score(T), time.perf_counter() - start, None

    def last_layer(self, temperature):
        """Influence on the last layer."""

        def attributions(model):
            rows = [hidden(model, A) for A in (self.X, self.X_test)]
            head = LinearHead(
                model.coefs_[-1].T, model.intercepts_[-1], model.classes_, temperature=temperature
            )
            e = InfluenceExplainer(head).fit(rows[0], self.y)
            target = e.target_weights(rows[1], "log_odds", self.labels)
            return e.attribute(rows[1], target)

        return attributions

    def similarity(self, metric):
        """GradDot and GradCos: similarities of gradients of the loss."""

        def attributions(model):
            e = SimilarityExplainer(metric=metric)
            e.fit(mlp_gradients(model, self.X, self.y, output="loss"), self.y)
            return e.attribute(mlp_gradients(model, self.X_test, self.labels, output="loss"))

        return attributions

    def without_probabilities(self, model):
        """TRAK of the paper with all residuals alike."""
        e = TRAKExplainer(curvature="identity").fit(mlp_gradients(model, self.X, self.y), self.y)
        return e.attribute(mlp_gradients(model, self.X_test, self.labels))

    def columns(self, model):
        """Influence on a logistic regression of the raw columns."""
        e = InfluenceExplainer().fit(self.X, self.y)
        return e.attribute(self.X_test, e.target_weights(self.X_test, "log_odds", self.labels))


def hidden(model, X):
    """The inputs of the last layer, for relu."""
    for W, b in zip(model.coefs_[:-1], model.intercepts_[:-1], strict=True):
        X = np.maximum(X @ W + b, 0)
    return X


def methods(data):
    """Yields (name, function of the number of networks)."""
    for ridge in RIDGES:
        yield f"TRAK, ridge {ridge}", {"ridge": ridge}
    yield "TRAK, temperature 2", {"temperature": 2.0}
    yield "TRAK, identity", {"curvature": "identity"}
    for k in (512, 2048):
        yield f"TRAK, sketched to {k}", {"k": k}
    yield "TRAK, identity, without probabilities", data.without_probabilities
    yield "influence, last layer, T = 1", data.last_layer(1.0)
    yield "influence, last layer, T = 2", data.last_layer(2.0)
    yield "influence, raw columns", data.columns
    yield "GradDot", data.similarity("dot")
    yield "GradCos", data.similarity("cosine")


@pytest.mark.parametrize("name, epochs", SETS)
@pytest.mark.filterwarnings("ignore::UserWarning")
def bench_retrained(benchmark, record, name, epochs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        data = Networks(name, epochs)

    def all_of_them():
        for method, how in methods(data):
            for n_networks in (1, N_NETWORKS):
                if isinstance(how, dict):
                    yield method, n_networks, data.trak(n_networks, **how)
                else:
                    yield method, n_networks, data.of_each(how, n_networks)

    for method, n_networks, found in benchmark.pedantic(lambda: list(all_of_them()), rounds=1):
        (value, low, high), seconds, dimension = found
        record(
            "mlp",
            data=name,
            epochs=epochs,
            method=method,
            networks=n_networks,
            lds=float(value),
            low=float(low),
            high=float(high),
            seconds=seconds,
            effective_dimension=dimension,
        )


@pytest.mark.parametrize("k", [None, 512, 2048])
@pytest.mark.parametrize("hidden", [(64, 32), (400, 400)])
def bench_gradients(benchmark, record, hidden, k):
    X, y, _ = rows_of("digits")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = MLPClassifier(hidden, max_iter=2, random_state=0).fit(X, y)
    X, y = X[:256], y[:256]
    G = benchmark(lambda: mlp_gradients(model, X, y, k=k))
    record(
        "mlp_gradients",
        weights=sum(part.size for part in [*model.coefs_, *model.intercepts_]),
        columns=G.shape[1],
        milliseconds_per_row=1e3 * benchmark.stats.stats.min / len(X),
    )
