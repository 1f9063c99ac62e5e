"""What the adapters say of themselves: examples that run, docstrings of all that is public."""

import doctest
import importlib
import inspect
import re

import pytest

torch = pytest.importorskip("torch")

from skattrib import torch_adapters  # noqa: E402


@pytest.mark.parametrize("module", ["features", "gradients", "states", "transformer"])
def test_examples(module):
    torch.manual_seed(0)
    module = importlib.import_module(f"skattrib.torch_adapters.{module}")
    result = doctest.testmod(module)
    assert result.attempted > 4 and result.failed == 0


@pytest.mark.parametrize("name", torch_adapters.__all__)
def test_public_names_say_what_they_are(name):
    value = getattr(torch_adapters, name)
    assert inspect.getdoc(value)
    if inspect.isfunction(value):
        text = inspect.getdoc(value)
        assert all(f"\n{part}\n---" in text for part in ("Parameters", "Returns", "Raises"))
        listed = text[text.index("Parameters\n") : text.index("\nReturns\n")]
        names = re.findall(r"^(\w[\w, ]*) : ", listed, re.MULTILINE)
        documented = {name for line in names for name in line.split(", ")}
        assert documented == set(inspect.signature(value).parameters)
