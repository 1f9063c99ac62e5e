"""What do rows in files cost: time in bare products, memory beside them, and the gap, as n grows?

Rows are float16 on disk: class means in groups, noise, rectified, like those of a network's last
layer. Each fit has a process of its own, whose anonymous memory is looked at every 20 ms; files are
in the page cache or not as the machine has room. A product is X W' with the rows of a block in
float32, on the threads that BLAS is given, without reading. SKATTRIB_SCALE_FOLDER is where files go
(by default a temporary folder), SKATTRIB_SCALE_ROWS the rows of the largest run shaped like
ImageNet (default 16,000; 2,048 features in float16 are 4 kB a row), SKATTRIB_SCALE_TOL its
tolerance. What takes more than ten minutes needs `pytest -o faulthandler_timeout=0`.
"""

import multiprocessing
import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from skattrib import DualViewExplainer, RowBlocks

IMAGENET = 1_281_167, 2048, 1000
GRID = [
    (n, d, K)
    for d, K, sizes in [
        (128, 10, (100_000, 200_000, 400_000)),
        (1024, 10, (25_000, 50_000, 100_000)),
        (256, 100, (25_000, 50_000, 100_000)),
    ]
    for n in sizes
]


def write(path, n, d, K, noise=1.0):
    """Rows into an .npy file, a block at a time; returns their labels."""
    rng = np.random.default_rng(0)
    groups = rng.standard_normal((max(2, K // 20), d), dtype=np.float32)
    means = groups[rng.integers(len(groups), size=K)]
    means += rng.standard_normal((K, d), dtype=np.float32)
    y = rng.integers(K, size=n).astype(np.int32)
    X = np.lib.format.open_memmap(path, "w+", np.float16, (n, d))
    step = max(1, 2**22 // d)
    for k in range(0, n, step):
        labels = y[k : k + step]
        part = means[labels] + noise * rng.standard_normal((len(labels), d), dtype=np.float32)
        X[k : k + step] = np.maximum(part, 0)
    X.flush()
    return y


def anonymous():
    """Bytes of this process's memory that are in no file."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return 1024 * int(line.split()[1])
    return 0


class Watched:
    """Wall clock, seconds of the processor and peak of anonymous memory of a block of code."""

    def __enter__(self):
        self.before = self.peak = anonymous()
        self.running = True
        self.thread = threading.Thread(target=self._look)
        self.thread.start()
        self.start = time.perf_counter(), time.process_time()
        return self

    def _look(self):
        while self.running:
            self.peak = max(self.peak, anonymous())
            time.sleep(0.02)

    def __exit__(self, *_):
        self.wall, self.cpu = (
            time.perf_counter() - self.start[0],
            time.process_time() - self.start[1],
        )
        self.running = False
        self.thread.join()
        self.grown = self.peak - self.before


def products(rows, K, most=20_000):
    """(processor seconds of X W' for all rows, and of reading them), from the first rows."""
    W = np.random.default_rng(0).standard_normal((rows.shape[1], K), dtype=np.float32)
    reading = product = 0.0
    n = min(most, len(rows))
    for k in range(0, n, 2048):
        start = time.process_time()
        part = rows[k : min(k + 2048, n)]
        read = time.process_time()
        part @ W
        reading += read - start
        product += time.process_time() - read
    return product * len(rows) / n, reading * len(rows) / n


def _fit(connection, path, y, K, C, tol):
    rows = RowBlocks.from_npy(path)
    product, reading = products(rows, K)
    explainer = DualViewExplainer(C, tol=tol, random_state=0)
    with Watched() as watched:
        explainer.fit(rows, y)
    found = {
        "product_s": product,
        "reading_s": reading,
        "cpu_s": watched.cpu,
        "wall_s": watched.wall,
        "products": watched.cpu / product,
        "MB": watched.grown / 1e6,
        "bytes_a_row": watched.grown / len(y),
        "gap": explainer.dual_gap_,
        "sweeps": explainer.n_iter_,
        "support": len(explainer.support_) / len(y),
    }
    with Watched() as watched:
        explainer.top_k(rows[:100], k=5)
    connection.send({**found, "top5_cpu_s": watched.cpu, "top5_MB": watched.grown / 1e6})


def fit(path, y, K, C, tol):
    """What a fit in a process of its own takes."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_fit, args=(there, path, y, K, C, tol))
    process.start()
    there.close()
    found = here.recv()
    process.join()
    return found


@pytest.fixture
def folder(tmp_path):
    """Where files of rows go."""
    return Path(os.environ.get("SKATTRIB_SCALE_FOLDER", tmp_path))


@pytest.mark.parametrize(("n", "d", "K"), GRID)
def bench_grid(benchmark, record, folder, n, d, K):
    """C="scale", tol=1e-4: is the time in products the same at n, 2n and 4n?"""
    path = folder / "rows.npy"
    y = write(path, n, d, K, noise=3.0)
    try:
        record("rows in files", n=n, d=d, K=K, **fit(path, y, K, "scale", 1e-4))
    finally:
        path.unlink()
    benchmark.pedantic(lambda: None, rounds=1)


def bench_imagenet(benchmark, record, folder):
    """C="scale" at a quarter, a half and all of the rows, and where the line through them goes."""
    largest = int(os.environ.get("SKATTRIB_SCALE_ROWS", 16_000))
    tol = float(os.environ.get("SKATTRIB_SCALE_TOL", 1e-3))
    n, d, K = IMAGENET
    path, found = folder / "rows.npy", []
    sizes = [largest // 4, largest // 2, largest]
    for size in sizes:
        y = write(path, size, d, K)
        try:
            found.append(fit(path, y, K, "scale", tol))
        finally:
            path.unlink()
        record("like ImageNet", n=size, d=d, K=K, **found[-1])
    line = {
        name: np.polyfit(sizes, [one[name] for one in found], 1) @ [n, 1]
        for name in ("product_s", "reading_s", "cpu_s", "MB")
    }
    record("ImageNet, by the line through these", n=n, d=d, K=K, **line)
    benchmark.pedantic(lambda: None, rounds=1)
