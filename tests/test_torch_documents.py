"""What the adapters say of themselves: examples that run, docstrings of all that is public."""

import doctest
import importlib
import inspect
import re
from pathlib import Path

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


def test_the_guide_explains_a_network(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # gradients go into a file
    torch.manual_seed(0)
    page = Path(__file__).parents[1] / "docs/guide/networks.md"
    (code,) = re.findall(r"```py\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
    layers = torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3)
    rows, labels = torch.randn(90, 4), torch.arange(90) % 3
    train, test = (
        torch.utils.data.TensorDataset(rows[p], labels[p]) for p in (slice(80), slice(80, 90))
    )
    names = {"net": torch.nn.Sequential(*layers), "train_set": train, "test_set": test}
    exec(code, names)  # noqa: S102
    assert names["values"].shape == names["rows"].shape == (10, 5)
    assert (names["values"] > 0).all() and (tmp_path / "train.npy").is_file()
