"""Examples in docstrings: every public name has one, and it runs without a warning."""

import doctest
import importlib
import inspect
import warnings
from importlib.util import find_spec

import pytest

import skattrib

PUBLIC = [
    "comparison",
    "explainers",
    "findings",
    "gradients",
    "metrics",
    "planting",
    "plots",
    "preprocessing",
    "retraining",
]
PUBLIC += ["torch_adapters"] * bool(find_spec("torch"))
PUBLIC += ["distributed"] * bool(find_spec("dask") and find_spec("distributed"))


def public_names():
    """Functions and classes, each once, by the module where it is imported from."""
    found = {}
    for module in [skattrib, *(importlib.import_module(f"skattrib.{name}") for name in PUBLIC)]:
        for name in module.__all__:
            value = getattr(module, name)
            if callable(value):
                found.setdefault(id(value), (f"{module.__name__}.{name}", value))
    return [pytest.param(value, id=name) for name, value in found.values()]


NAMES = public_names()


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
