"""What does a fit with many classes cost, in bare products X W^T of all rows and classes?

Rows are class means in groups plus noise, rectified. Products and fits are taken in turns, and both
are processor time; SKATTRIB_MANY="n,d,K,C-norm;..." sets other sizes.
"""

import os
import time

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from skattrib._svm.crammer_singer import crammer_singer

SIZES = [(50_000, 256, 1000, c) for c in (0.1, 1, 10, 100)] + [(200_000, 128, 100, 0.1)]
GROUPS = 50


def rows_of_classes(n, d, n_classes, seed=0):
    """Rectified float32 rows around class means that lie in groups, and their labels."""
    rng = np.random.default_rng(seed)
    groups = rng.standard_normal((GROUPS, d), dtype=np.float32)
    means = groups[np.arange(n_classes) % GROUPS]
    means += 0.3 * rng.standard_normal((n_classes, d), dtype=np.float32)
    y = rng.integers(0, n_classes, n)
    X = rng.standard_normal((n, d), dtype=np.float32)
    X *= 2.0
    X += means[y]
    return np.maximum(X, 0.0, out=X), y


def _processor_seconds(function):
    start = time.process_time()
    found = function()
    return time.process_time() - start, found


if "SKATTRIB_MANY" in os.environ:
    SIZES = [
        (*map(int, size.split(",")[:3]), float(size.split(",")[3]))
        for size in os.environ["SKATTRIB_MANY"].split(";")
    ]


@pytest.mark.parametrize("n, d, n_classes, difficulty", SIZES)
def bench_many_classes(benchmark, record, n, d, n_classes, difficulty):
    """A fit to 1e-3 on one thread, in bare products."""
    X, y = rows_of_classes(n, d, n_classes)
    C = difficulty / np.einsum("ij,ij->i", X, X, dtype=np.float64).mean()
    W = np.random.default_rng(1).standard_normal((n_classes, d), dtype=np.float32)
    with threadpool_limits(1):
        products = [_processor_seconds(lambda: X @ W.T)[0] for _ in range(3)]
        seconds, r = benchmark.pedantic(
            lambda: _processor_seconds(lambda: crammer_singer(X, y, C, tol=1e-3, random_state=0)),
            rounds=1,
        )
        products += [_processor_seconds(lambda: X @ W.T)[0] for _ in range(3)]
    record(
        "many_classes_products",
        rows=n,
        features=d,
        classes=n_classes,
        C_norm=difficulty,
        seconds=seconds,
        product_s=min(products),
        products=seconds / min(products),
        gap=r.gap,
        support_per_row=r.dual.nnz / n,
    )
