"""Examples in docstrings: every public name has one, and it runs without a warning."""

import doctest
import inspect
import warnings
from importlib.util import find_spec

import public_api
import pytest

NAMES = [pytest.param(value, id=name) for name, value in public_api.public_names()]


def test_public_names_are_found():
    assert len(NAMES) > 60


@pytest.mark.parametrize("value", NAMES)
def test_every_public_name_has_an_example(value):
    text = inspect.getdoc(value)
    assert "\nExamples\n--------\n" in text
    assert ">>> " in text.partition("\nExamples\n")[2]


@pytest.mark.parametrize("value", NAMES)
def test_examples(value, monkeypatch, tmp_path):
    if find_spec("matplotlib"):
        import matplotlib.pyplot as plt

        plt.switch_backend("agg")
    monkeypatch.chdir(tmp_path)
    tests = doctest.DocTestFinder().find(value, value.__name__, module=False, globs={})
    runner = doctest.DocTestRunner()
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        # of clusters on a busy machine
        warnings.filterwarnings("ignore", module="distributed")
        for test in tests:
            runner.run(test)
    assert runner.summarize().failed == 0 < runner.summarize().attempted
    if find_spec("matplotlib"):
        plt.close("all")
