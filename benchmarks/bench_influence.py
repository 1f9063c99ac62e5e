"""What do the explainers of a softmax head cost: fit, factor, test rows, and at which error?

SKATTRIB_ROWS=60000 by default; all cores. Times are the best of few runs, memory is the peak that
Python allocates beside the data.
"""

import os
import time
import tracemalloc

import numpy as np
import pytest

from skattrib import (
    DualViewExplainer,
    InfluenceExplainer,
    RepresenterExplainer,
    SimilarityExplainer,
)
from skattrib._softmax.loss import SoftmaxLoss

N = int(os.environ.get("SKATTRIB_ROWS", "60000"))
TEST_ROWS = 1000


def timed(function):
    """(seconds, peak bytes, result) of one call."""
    tracemalloc.start()
    start = time.perf_counter()
    result = function()
    seconds = time.perf_counter() - start
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return seconds, peak, result


def problem(load, name, n=N):
    """Training rows, labels, test rows, and C at C mean ||x||^2 = 1."""
    name, X, y = load(name)
    test = np.ascontiguousarray(X[-TEST_ROWS:])
    X, y = X[: min(n, len(X) - TEST_ROWS)], y[: min(n, len(y) - TEST_ROWS)]
    return name, X, y, test, 1 / float(np.mean(np.einsum("ij,ij->i", X, X, dtype=np.float64)))


@pytest.mark.parametrize("features", ["cnn128", "cnn512"])
def bench_explainers(benchmark, load, record, features):
    """Fit, the five top rows of 1,000 test rows, and their class detection."""
    name, X, y, test, C = problem(load, features)
    explainers = {
        "DualView": DualViewExplainer(C=C, random_state=0),
        "Representer": RepresenterExplainer(C=C),
        "Influence": InfluenceExplainer(C=C),
        "Influence, no correction": InfluenceExplainer(C=C, leverage_correction=False),
        "Influence, EK-FAC": InfluenceExplainer(C=C, inverse="ekfac"),
        "Similarity": SimilarityExplainer(metric="cosine"),
    }
    for title, explainer in explainers.items():
        fit, fit_peak, _ = timed(lambda e=explainer: e.fit(X, y))
        top, top_peak, found = timed(lambda e=explainer: e.top_k(test, k=5))
        record(
            "explainers",
            data=name,
            explainer=title,
            fit_s=fit,
            top5_s=top,
            ms_per_row=1e3 * top / len(test),
            peak_MB=max(fit_peak, top_peak) / 1e6,
            detection=float(np.mean(y[found[1][:, 0]] == explainer.predict(test))),
        )
    benchmark.pedantic(lambda: explainers["Similarity"].top_k(test, k=5), rounds=1)


def bench_hessian(benchmark, load, record):
    """Forming the Hessian, next to NumPy's products of weighted rows for all pairs of classes."""
    name, X, y, _, C = problem(load, "cnn128")
    K, d = 10, X.shape[1]
    loss = SoftmaxLoss(X, np.eye(K)[y], np.ones(len(y)), np.full(d, 1 / C), False)
    loss.at(np.zeros((len(y), K)))

    def plain():
        p = loss.probabilities
        H = np.zeros((K, d, K, d))
        rows = X.astype(np.float64)
        for k in range(K):
            for m in range(K):
                weight = p[:, k] * ((k == m) - p[:, m])
                H[k, :, m, :] = rows.T @ (weight[:, None] * rows)
        H = H.reshape(K * d, K * d)
        H[np.diag_indices_from(H)] += 1 / C
        return H

    ours, ours_peak, H = timed(loss.hessian)
    numpy, numpy_peak, reference = timed(plain)
    Z = np.linalg.qr(np.eye(K) - 1 / K)[0][:, : K - 1]
    same = np.allclose(
        np.linalg.eigvalsh(H)[-3:],
        np.linalg.eigvalsh(np.kron(Z.T, np.eye(d)) @ reference @ np.kron(Z, np.eye(d)))[-3:],
    )
    assert same
    record(
        "hessian",
        data=name,
        ours_s=ours,
        numpy_s=numpy,
        ratio=numpy / ours,
        ours_MB=ours_peak / 1e6,
        numpy_MB=numpy_peak / 1e6,
    )
    benchmark.pedantic(loss.hessian, rounds=1)


INVERSES = {
    "cholesky": {},
    "cg": {},
    "lissa": {"depth": 1000},
    "arnoldi": {},
    "kfac": {},
    "ekfac": {},
    "datainf": {},
    "identity": {},
}


def bench_inverses(benchmark, load, record):
    """Each inverse on one head: seconds, and its error against the exact attributions."""
    name, X, y, test, C = problem(load, "cnn128", n=10_000)
    test = test[:100]
    exact = None
    for inverse, params in INVERSES.items():
        explainer = InfluenceExplainer(
            C=C, inverse=inverse, inverse_params=params, leverage_correction=False, random_state=0
        )
        fit, _, _ = timed(lambda e=explainer: e.fit(X, y))
        rows, _, T = timed(lambda e=explainer: e.attribute(test.astype(np.float64)))
        exact = T if exact is None else exact
        record(
            "inverses",
            data=name,
            inverse=inverse,
            fit_s=fit,
            ms_per_row=1e3 * rows / len(test),
            relative_error=float(np.linalg.norm(T - exact) / np.linalg.norm(exact)),
            correlation=float(np.corrcoef(T.ravel(), exact.ravel())[0, 1]),
        )
    benchmark.pedantic(lambda: explainer.attribute(test), rounds=1)
