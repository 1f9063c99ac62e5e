"""What do attributions cost next to the matrix product they contain?

10,000 test rows x 60,000 training rows, float32, all cores. The reference is NumPy's product of
the test rows with as many training rows as contribute, into memory of its own.
"""

import time
import tracemalloc

import numpy as np
import pytest

from skattrib import DualViewExplainer

TEST_ROWS = 10_000


def seconds(function, rounds=3):
    """The best of some runs; what they return is freed in between."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        result = function()
        times.append(time.perf_counter() - start)
        del result
    return min(times)


def peak_bytes(function):
    """Peak of the memory that a call allocates, its result included."""
    tracemalloc.start()
    function()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


@pytest.mark.parametrize("difficulty", [1e-4, 1e-1, 1.0])
def bench_forms(benchmark, load, record, difficulty):
    """Dense, CSR and top-5 attributions for support from nearly all rows to few."""
    name, X, y = load("cnn128")
    C = difficulty / float(np.mean(np.einsum("ij,ij->i", X, X, dtype=np.float64)))
    explainer = DualViewExplainer(C=C, random_state=0).fit(X, y)
    test = np.ascontiguousarray(X[:: len(X) // TEST_ROWS][:TEST_ROWS])
    vectors = explainer.support_vectors_
    out = np.empty((len(test), len(X)), dtype=np.float32)
    product = np.empty((len(test), len(vectors)), dtype=np.float32)
    calls = {
        "gemm": lambda: np.matmul(test, vectors.T, out=product),
        "gemm_all": lambda: np.matmul(test, X.T, out=out),
        "dense": lambda: explainer.attribute(test, out=out),
        "csr": lambda: explainer.attribute(test),
        "top_5": lambda: explainer.top_k(test, k=5),
    }
    times = {name: seconds(call) for name, call in calls.items()}
    for form in ("dense", "csr", "top_5"):
        record(
            "attribute",
            data=name,
            C_norm=difficulty,
            support=len(vectors) / len(X),
            form=form,
            seconds=times[form],
            gemm_support=times["gemm"],
            gemm_all=times["gemm_all"],
            of_gemm_all=times[form] / times["gemm_all"],
            peak_MB=peak_bytes(calls[form]) / 1e6,
        )
    benchmark.pedantic(calls["top_5"], rounds=2)
