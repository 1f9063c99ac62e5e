"""Data for the benchmarks, and one table of results a run, printed and written as JSON."""

import gzip
import json
import os
import platform
import sys
from pathlib import Path

import numpy as np
import pytest

import skattrib

# other processes find functions of benchmarks by the names of their modules
sys.path.append(str(Path(__file__).parents[1]))

TABLES = {}


def _pixels():
    folder = Path(os.environ.get("SKATTRIB_FASHION_MNIST", "/usr/share/datasets/fashion-mnist"))
    with gzip.open(folder / "train-images-idx3-ubyte.gz") as file:
        X = np.frombuffer(file.read(), dtype=np.uint8, offset=16).reshape(-1, 784)
    with gzip.open(folder / "train-labels-idx1-ubyte.gz") as file:
        y = np.frombuffer(file.read(), dtype=np.uint8, offset=8)
    return X.astype(np.float32) / 255, y.astype(np.int64)


def _features(d):
    folder = Path(os.environ["SKATTRIB_FEATURES"])
    with np.load(folder / f"fmnist_cnn{d}.npz") as file:
        return file["X"].astype(np.float32), file["y"].astype(np.int64)


def _stand_in(d, n=60_000, n_classes=10):
    """Rectified features around class means: what a run without the real data uses."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, n_classes, n)
    X = rng.standard_normal((n, d), dtype=np.float32)
    X += 0.6 * rng.standard_normal((n_classes, d), dtype=np.float32)[y]
    return np.maximum(X, 0), y


@pytest.fixture(scope="session")
def load():
    """load("pixels" | "cnn128" | "cnn512") -> name, X, y; real data where they can be had.

    Raw Fashion-MNIST comes from SKATTRIB_FASHION_MNIST (Debian's dataset-fashion-mnist by
    default), deep features from fmnist_cnn{128,512}.npz in SKATTRIB_FEATURES.
    """
    cache = {}

    def get(name):
        if name not in cache:
            cache.clear()
            d = 784 if name == "pixels" else int(name.removeprefix("cnn"))
            try:
                X, y = _pixels() if name == "pixels" else _features(d)
            except (OSError, KeyError):
                X, y = _stand_in(d)
                name = f"synthetic{d}"
            cache[name] = name, X, y
        return next(iter(cache.values()))

    return get


@pytest.fixture(scope="session")
def record():
    """record(table, **columns) adds a row to a table of the summary."""
    return lambda table, **row: TABLES.setdefault(table, []).append(row)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers():
    """No workers: what is timed has the machine to itself."""
    return 0


def pytest_terminal_summary(terminalreporter):
    """Prints the tables and writes them to benchmarks/results."""
    for name, rows in TABLES.items():
        columns = list(rows[0])
        cells = [columns] + [[_show(row[c]) for c in columns] for row in rows]
        widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
        terminalreporter.section(name)
        for line in cells:
            terminalreporter.line("  ".join(c.rjust(w) for c, w in zip(line, widths, strict=True)))
        folder = Path(__file__).parent / "results"
        folder.mkdir(exist_ok=True)
        about = {
            "skattrib": skattrib.__version__,
            "instruction_set": skattrib.instruction_set(),
            "processor": platform.processor() or platform.machine(),
        }
        text = json.dumps({"machine": about, "rows": rows}, indent=1)
        (folder / f"{name}.json").write_text(text + "\n")


def _show(value):
    return f"{value:.3g}" if isinstance(value, float) else str(value)
