"""What the adapters say of themselves: examples that run, docstrings of all that is public."""

import doctest
import importlib
import inspect
import re
from collections import OrderedDict
from pathlib import Path

import numpy as np
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


def blocks(page):
    text = (Path(__file__).parents[1] / page).read_text("utf-8")
    return re.findall(r"```py\n(.*?)```", text, re.DOTALL)


PAGES = [page for page in ("README.md", "docs/guide/networks.md") if blocks(page)]


@pytest.mark.parametrize("page", PAGES)
def test_a_network_in_a_pipeline(page):
    torch.manual_seed(0)
    code = blocks(page)[0]
    layers = {"first": torch.nn.Linear(4, 8), "act": torch.nn.ReLU(), "fc": torch.nn.Linear(8, 3)}
    X, y = torch.randn(90, 4), torch.arange(90).numpy() % 3
    names = {"net": torch.nn.Sequential(OrderedDict(layers)), "new_images": X[80:]}
    exec(code, names | {"train_images": X[:80], "train_labels": y[:80]}, names)  # noqa: S102
    logits = names["net"](X[80:]).detach().numpy()
    assert (names["predicted"] == logits.argmax(1)).all()
    T = names["explainer"].fit(names["features"].transform(X[:80]), y[:80]).attribute(names["X"])
    for found, sign in (("proponents", -1), ("opponents", 1)):
        assert (names[found] == np.argsort(sign * T, axis=1, kind="stable")[:, :5]).all()


def test_the_guide_explains_a_network(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # gradients go into a file
    torch.manual_seed(0)
    code = blocks("docs/guide/networks.md")[1]
    layers = torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3)
    rows, labels = torch.randn(90, 4), torch.arange(90) % 3
    train, test = (
        torch.utils.data.TensorDataset(rows[p], labels[p]) for p in (slice(80), slice(80, 90))
    )
    names = {"net": torch.nn.Sequential(*layers), "train_set": train, "test_set": test}
    exec(code, names)  # noqa: S102
    assert names["values"].shape == names["rows"].shape == (10, 5)
    assert (names["values"] > 0).all() and (tmp_path / "train.npy").is_file()


def test_the_page_of_methods(tmp_path, monkeypatch):
    """Blocks run one after the other; each method's top rows are of the class that is explained."""
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parents[1] / "docs/guide/gradients.md").read_text("utf-8")
    names, shares = {}, {}
    for section in page.split("\n## "):
        for code in re.findall(r"```py\n(.*?)```", section, re.DOTALL):
            names.pop("rows", None)
            exec(code, names)  # noqa: S102
            if "rows" in names:
                rows = names["rows"]
                assert rows.shape == (40, 5) and ((rows >= 0) & (rows < 600)).all()
                labels = names["labels"].numpy()
                explained = labels[600:640]
                shares[section.partition("\n")[0]] = (labels[rows] == explained[:, None]).mean()
    assert len(shares) == 7 and min(shares.values()) > 0.25, shares  # by chance 0.1
    assert all(share > 0.85 for share in names["result"].table["class_detection"])
