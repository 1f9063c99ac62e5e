"""What do heads cost on wide data: text-like sparse rows, and genes-like dense ones?

Each explainer of the sparse rows has a process of its own, for its peak of resident memory; a
frozen LogisticRegression is fitted before that is read. Times are wall clock, of one run for the
sparse rows and the best of five for the dense ones.
"""

import multiprocessing
import resource
import time

import numpy as np
import pytest
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from text_like import text_like

from skattrib import InfluenceExplainer, RepresenterExplainer

TEST_ROWS = 10


def make(name, X, y):
    """An explainer, its classifier fitted."""
    if name == "Representer":
        return RepresenterExplainer()
    if name == "Influence":
        return InfluenceExplainer()
    model = LogisticRegression(tol=1e-6, max_iter=1000).fit(X, y)
    return InfluenceExplainer(FrozenEstimator(model))


def seconds(function):
    """Wall clock of one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def peak_mb():
    """Peak of resident memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _sparse(connection, name):
    X, y = text_like(11_000 + TEST_ROWS)
    X, test, y = X[:-TEST_ROWS], X[-TEST_ROWS:], y[:-TEST_ROWS]
    explainer = make(name, X, y)
    before = peak_mb()
    fit = seconds(lambda: explainer.fit(X, y))
    top = seconds(lambda: explainer.top_k(test, k=5))
    connection.send({"fit_s": fit, "top5_s": top, "before_MB": before, "peak_MB": peak_mb()})


@pytest.mark.parametrize("name", ["Representer", "Influence", "Influence, frozen"])
def bench_text(benchmark, record, name):
    """11,000 rows of 42,000 words in 20 classes; the five top rows of ten."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_sparse, args=(there, name))
    process.start()
    found = here.recv()
    process.join()
    record("text", explainer=name, **found)
    benchmark.pedantic(lambda: None, rounds=1)


@pytest.mark.parametrize("d", [2000, 7129])
@pytest.mark.parametrize("n_classes", [2, 5])
def bench_genes(benchmark, record, d, n_classes):
    """60 rows: fit and the five top rows of each, over the time that LogisticRegression takes."""
    rng = np.random.default_rng(0)
    y = np.arange(60) % n_classes
    X = rng.normal(size=(60, d)) + (rng.random((n_classes, d)) < 0.02)[y]
    runs = range(5)
    peer = min(seconds(lambda: LogisticRegression().fit(X, y)) for _ in runs)
    for name in ("Representer", "Influence", "Influence, frozen"):
        explainer = make(name, X, y)
        fit = min(seconds(lambda e=explainer: e.fit(X, y)) for _ in runs)
        top = min(seconds(lambda e=explainer: e.top_k(X, k=5)) for _ in runs)
        record(
            "genes",
            explainer=name,
            d=d,
            n_classes=n_classes,
            logistic_s=peer,
            fit_s=fit,
            top5_s=top,
            ratio=(fit + top) / peer,
        )
    benchmark.pedantic(lambda: None, rounds=1)
