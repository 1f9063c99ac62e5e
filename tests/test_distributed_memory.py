"""Rows that are several times what a worker may use."""

import os
import sys

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import skattrib

pytest.importorskip("distributed")
import dask.array as da
from dask import delayed
from distributed import Client, LocalCluster

from skattrib import distributed

# a worker without rows has half of that
LIMIT, SIZE, WIDTH, TIMES = 384 * 2**20, 8192, 512, 78


@pytest.fixture(scope="module")
def client():
    options = {"threads_per_worker": 1, "dashboard_address": ":0", "memory_limit": LIMIT}
    cluster = LocalCluster(n_workers=1, **options)
    try:
        with Client(cluster) as client:
            yield client
    finally:
        cluster.close(timeout=120)


def chunk(path):
    return np.array(np.load(path, mmap_mode="r"))


def process_and_most_memory():
    with open("/proc/self/status") as status:
        (line,) = (line for line in status if line.startswith("VmHWM"))
    return os.getpid(), 1024 * int(line.split()[1])


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_worker_stays_below_its_limit(client, tmp_path):
    rng = np.random.default_rng(0)
    y = rng.integers(3, size=SIZE)
    X = rng.normal(size=(3, WIDTH))[y] + 3 * rng.normal(size=(SIZE, WIDTH))
    X = X.astype(np.float32)
    np.save(tmp_path / "X.npy", X)
    # the same file again and again, so that a fit of it with that weight is the fit of all rows
    parts = [
        da.from_delayed(delayed(chunk, pure=False)(tmp_path / "X.npy"), X.shape, X.dtype)
        for _ in range(TIMES)
    ]
    rows, labels, test = da.concatenate(parts), np.tile(y, TIMES), X[:3]
    assert rows.nbytes > 3 * LIMIT
    ((process, _),) = client.run(process_and_most_memory).values()

    there = distributed.DualViewExplainer(1e-3 / TIMES, random_state=0).fit(rows, labels)
    here = skattrib.DualViewExplainer(1e-3, random_state=0).fit(X, y)
    certified = sum(np.sqrt(one.dual_gap_ * one.objective_) for one in (there, here))
    assert np.linalg.norm(there.coef_ - here.coef_) < certified

    nearest = distributed.SimilarityExplainer().fit(rows, labels)
    values, indices = nearest.top_k(test, TIMES)
    one, expected = skattrib.SimilarityExplainer().fit(X, y).top_k(test, 1)
    assert_array_equal(values, np.tile(one, TIMES))
    assert_array_equal(indices % SIZE, np.tile(expected, TIMES))

    ((again, most),) = client.run(process_and_most_memory).values()
    assert again == process and most < LIMIT
