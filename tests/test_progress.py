"""Progress: silent by default, a bar of tqdm in a terminal, lines elsewhere and without tqdm."""

import io
import sys

import joblib
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.utils.parallel import delayed

from skattrib import DatamodelExplainer, DualViewExplainer, InfluenceExplainer, compare_explainers
from skattrib._arrays.progress import results_of, tracked
from skattrib.retraining import leave_one_out_outputs

rng = np.random.default_rng(0)
X = rng.normal(size=(24, 3))
Y = np.arange(24) % 2
X[:, 0] += Y


class Terminal(io.StringIO):
    """What says that it is one."""

    def isatty(self):
        return True


@pytest.fixture
def open_terminal(monkeypatch, capsys):
    """Makes stderr a terminal, once the test runs: pytest's own comes between."""

    def opened():
        monkeypatch.setattr(sys, "stderr", screen := Terminal())
        return screen

    return opened


def leave_one_out(explainer, verbose):
    e = explainer.fit(X, Y).set_params(verbose=verbose)
    e.leave_one_out(X[:2], X, Y, rows=[0, 1, 2])


LONG = {
    "refits": lambda verbose: leave_one_out_outputs(
        LogisticRegression(), X, Y, X[:2], rows=[0, 1, 2], verbose=verbose
    ),
    "DualView": lambda verbose: leave_one_out(DualViewExplainer(), verbose),
    "Influence": lambda verbose: leave_one_out(InfluenceExplainer(), verbose),
    "datamodels": lambda verbose: DatamodelExplainer(n_subsets=3, verbose=verbose).fit(X, Y),
    "comparison": lambda verbose: compare_explainers(
        {"influence": InfluenceExplainer()},
        X,
        Y,
        X[:3],
        metrics=["sparsity", "top_k_cardinality"],
        memory=False,
        verbose=verbose,
    ),
}
each = pytest.mark.parametrize("name", LONG)


@each
def test_a_bar_in_a_terminal(name, open_terminal, capsys):
    terminal = open_terminal()
    pytest.importorskip("tqdm")
    LONG[name](1)
    assert "3/3" in terminal.getvalue()
    assert "3 of 3" not in capsys.readouterr().out


@each
def test_lines_elsewhere(name, capsys):
    LONG[name](1)
    out, err = capsys.readouterr()
    assert err == "" and "[" in out
    assert ("[compare_explainers] influence: fit" in out) == (name == "comparison")
    assert ("] 3 of 3, 0 s, 0 s left" in out) == (name != "comparison")


@each
def test_lines_without_tqdm(name, open_terminal, capsys, monkeypatch):
    terminal = open_terminal()
    monkeypatch.setitem(sys.modules, "tqdm", None)
    LONG[name](1)
    assert terminal.getvalue() == "" and "[" in capsys.readouterr().out


@each
def test_silence_by_default(name, open_terminal, capsys):
    terminal = open_terminal()
    LONG[name](0)
    assert terminal.getvalue() == "" == capsys.readouterr().out


def test_much_talk_is_of_every_result(open_terminal, capsys):
    terminal = open_terminal()
    assert list(tracked("abc", 3, title="letters", verbose=2)) == ["a", "b", "c"]
    assert capsys.readouterr().out.count("[letters]") == 3 and terminal.getvalue() == ""


def test_a_bar_is_closed_when_work_fails(open_terminal, monkeypatch):
    tqdm = pytest.importorskip("tqdm")
    open_terminal()
    bars = []

    class Bar(tqdm.tqdm):
        def __init__(self, **options):
            super().__init__(**options)
            bars.append(self)

    def failing():
        yield 1
        raise ValueError("no")

    monkeypatch.setattr(tqdm, "tqdm", Bar)
    with pytest.raises(ValueError, match="no"):
        list(tracked(failing(), 3, title="jobs", verbose=1))
    assert [(bar.n, bar.disable) for bar in bars] == [(1, True)]  # which a closed one is


def test_results_come_from_threads_too():
    with joblib.parallel_config(backend="threading", n_jobs=2):
        found = sorted(results_of([delayed(abs)(-k) for k in range(5)], None))
    assert found == [0, 1, 2, 3, 4]
