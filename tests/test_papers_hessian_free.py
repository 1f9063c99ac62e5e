"""The cells of Hessian-free influence on few points, and its page."""

import io
import re
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
from papers import __main__ as machinery
from papers import hessian_free
from papers.data import Data
from papers.hessian_free import heads, people, toy
from sklearn.datasets import load_iris

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "papers" / "hessian_free.md"


def test_the_page_has_the_tables_of_the_committed_results(tmp_path):
    results = machinery.read(ROOT / "benchmarks" / "results" / "papers" / "hessian_free")
    assert results.keys() <= hessian_free.CELLS.keys()
    copy, published = tmp_path / PAGE.name, PAGE.read_text(encoding="utf-8")
    copy.write_text(published, encoding="utf-8")
    machinery.write_tables(hessian_free, results, copy)
    assert copy.read_text(encoding="utf-8") == published
    machinery.write_tables(hessian_free, {}, copy)
    assert re.search(r"^\| IP \| not run", copy.read_text(encoding="utf-8"), re.MULTILINE)


def test_sums_of_effects_are_effects_on_sums():
    X, y = load_iris(return_X_y=True)
    X = np.column_stack([X, np.ones(150)])
    model = people.fitted(X[::2], y[::2])
    found = heads.methods(model, X[::2], y[::2], 0)
    for name, method in found.items():
        if name in ("random", "cross entropy", "LiSSA"):
            continue
        T = method.attribute(X[1::10], "loss", y[1::10])
        T = T.toarray() if hasattr(T, "toarray") else T
        np.testing.assert_allclose(
            method.aggregate(X[1::10], "loss", y[1::10]), T.sum(axis=0), rtol=1e-6, atol=1e-9
        )


def test_a_cell_finds_wrong_labels(monkeypatch, tmp_path):
    monkeypatch.setattr(toy, "REPEATS", 1)
    found = toy.CELLS["toy-linear"](Data(tmp_path, out=io.StringIO()))["methods"]
    assert found["IP"]["auc"][0] > 0.8 > found["random"]["auc"][0]
