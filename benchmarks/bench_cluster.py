"""What do four workers of a Dask cluster cost on one machine, next to one process?

The same made-up rows (class means, correlated and other noise, rectified; 2% of labels are others),
read from a file in chunks by the workers and as a memory map by the one process, BLAS on one
thread. SKATTRIB_CLUSTER_ROWS is how many (200,000 by default), of 128 features and 10 classes.
`pip install ".[test,dask]"` first.
"""

import os
import resource
import time

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

import skattrib

pytest.importorskip("distributed")
import dask.array as da
from dask import delayed
from distributed import Client, LocalCluster

from skattrib import distributed

N, D, K, CHUNKS = int(os.environ.get("SKATTRIB_CLUSTER_ROWS", 200_000)), 128, 10, 16
EXPLAINERS = {
    "DualView, C='scale'": ("DualViewExplainer", {"random_state": 0}),
    "DualView, C=1e-3": ("DualViewExplainer", {"C": 1e-3, "random_state": 0}),
    "Representer": ("RepresenterExplainer", {}),
    "similarity": ("SimilarityExplainer", {}),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("rows") / "X.npy"
    rng = np.random.default_rng(0)
    means, mix = 0.5 * rng.normal(size=(K, D)), rng.normal(size=(16, D)) / 2
    X = np.lib.format.open_memmap(path, "w+", np.float32, (N, D))
    y = rng.integers(K, size=N)
    for first in range(0, N, 50_000):
        rows = slice(first, min(first + 50_000, N))
        size = rows.stop - rows.start
        part = means[y[rows]] + rng.normal(size=(size, 16)) @ mix + rng.normal(size=(size, D))
        X[rows] = np.maximum(part, 0)
    X.flush()
    wrong = rng.random(N) < 0.02
    y[wrong] = rng.integers(K, size=wrong.sum())
    return path, y


@pytest.fixture(scope="module")
def client():
    options = {"n_workers": 4, "threads_per_worker": 1, "dashboard_address": ":0"}
    with LocalCluster(memory_limit="2GiB", **options) as cluster, Client(cluster) as client:
        yield client


def chunk(path, first, last):
    return np.array(np.load(path, mmap_mode="r")[first:last])


def in_chunks(path):
    size = -(-N // CHUNKS)
    bounds = [(first, min(first + size, N)) for first in range(0, N, size)]
    parts = [
        da.from_delayed(delayed(chunk)(path, *bound), (bound[1] - bound[0], D), np.float32)
        for bound in bounds
    ]
    return da.concatenate(parts)


def processor_seconds():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def peak_memory():
    """Gigabytes that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def timed(client, function, *args):
    """Seconds on the clock, and of all processors."""
    before = sum(client.run(processor_seconds).values()) + processor_seconds()
    start = time.perf_counter()
    out = function(*args)
    seconds = time.perf_counter() - start
    after = sum(client.run(processor_seconds).values()) + processor_seconds()
    return out, seconds, after - before


@pytest.mark.parametrize("name", EXPLAINERS)
def bench_cluster(data, client, name, capsys):
    path, y = data
    kind, parameters = EXPLAINERS[name]
    test = chunk(path, 0, 200)
    there, here = (getattr(one, kind)(**parameters) for one in (distributed, skattrib))
    with threadpool_limits(1):
        fits = timed(client, there.fit, in_chunks(path), y)[1:]
        fits += timed(client, here.fit, np.load(path, mmap_mode="r"), y)[1:]
        (found, _), *tops = timed(client, there.top_k, test, 10)
        (expected, _), *more = timed(client, here.top_k, test, 10)
    off = np.abs(found - expected).max() / np.abs(expected).max()
    memory = max(client.run(peak_memory).values())
    with capsys.disabled():
        print(f"\n{name}, {N:,} rows: seconds on the clock and of processors")
        print("fit      4 workers {:.1f} {:.1f}   one process {:.1f} {:.1f}".format(*fits))
        print("top_k    4 workers {:.2f} {:.2f}   one process {:.2f} {:.2f}".format(*tops, *more))
        print(f"values of 200 x 10 differ by {off:.0e} of the largest; workers {memory:.2f} GB")
        if hasattr(here, "dual_gap_"):
            gaps = [e.dual_gap_ * e.objective_ for e in (there, here)]
            distance = np.linalg.norm(there.coef_ - here.coef_)
            print(
                f"W differ by {distance:.1e}, certified {np.sqrt(gaps).sum():.1e}; rows of the "
                f"solution {len(there.support_):,} and {len(here.support_):,}"
            )
