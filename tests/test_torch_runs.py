"""Where rows go: arrays, tensors, files in which an interrupted run goes on; progress."""

import re

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch.utils.data import DataLoader, TensorDataset  # noqa: E402
from torch_cases import N, Small, entries, inputs_of, items, labels  # noqa: E402

from skattrib.torch_adapters import (  # noqa: E402
    _row_gradients,
    _rows,
    dropout_states,
    gradient_rows,
    layer_features,
    losses,
)


def batches(batch_size=5):
    return DataLoader(items(), batch_size=batch_size)


class Failing:
    """A loader that breaks at a batch of one of its passes.

    The first counts rows, the second draws one batch, then comes one for each state.
    """

    def __init__(self, broken_pass, at):
        self.left, self.at = broken_pass, at

    def __iter__(self):
        self.left -= 1
        for i, batch in enumerate(batches()):
            if i == self.at and not self.left:
                raise KeyboardInterrupt
            yield batch


@entries
def test_out(entry, tmp_path):
    torch.manual_seed(0)
    model = Small()
    expected = entry(model, batches())
    shape, path = expected.X.shape, tmp_path / "rows.npy"
    array, tensor = np.full(shape, 7, np.float32), torch.full(shape, 7.0)
    on_disk = np.memmap(tmp_path / "raw", np.float32, "w+", shape=shape)
    for out in (array, tensor, on_disk):
        rows = entry(model, batches(), out=out)
        assert rows.X is out and (np.asarray(out) == expected.X).all()
    for given in (path, str(path)):
        rows = entry(model, batches(), out=given)
        assert isinstance(rows.X, np.memmap) and (rows.X == expected.X).all()
        assert (rows.y == expected.y).all() and (rows.logits == expected.logits).all()
    assert (np.load(path) == expected.X).all()


def never(*args):
    raise AssertionError("work was begun")


@entries
def test_out_that_is_refused(entry, tmp_path):
    torch.manual_seed(0)
    model = Small()
    shape = entry(model, batches()).X.shape
    for out, kind, message in [
        (np.zeros((N, 999), np.float32), ValueError, "shape"),
        (np.zeros(shape), ValueError, "float64"),
        (torch.zeros(shape, dtype=torch.float16), ValueError, "float16"),
        (torch.zeros(shape, requires_grad=True), ValueError, "requires grad"),
        (np.broadcast_to(np.float32(0), shape), ValueError, "read-only"),
        (tmp_path / "rows.txt", ValueError, ".npy"),
        (5, TypeError, "out must be"),
    ]:
        with pytest.raises(kind, match=message):
            entry(model, batches(), out=out)
    path = tmp_path / "mine.npy"
    np.save(path, np.ones(3))
    with pytest.raises(ValueError, match="nothing beside it says"):
        entry(model, batches(), out=path)
    assert (np.load(path) == 1).all()


class Counted:
    """Rows whose gradients were taken."""

    def __init__(self, monkeypatch):
        self.rows = 0
        work = _row_gradients.RowGradients._rows

        def counted(gradients, state, batch, given):
            self.rows += batch.size
            return work(gradients, state, batch, given)

        monkeypatch.setattr(_row_gradients.RowGradients, "_rows", counted)


@pytest.mark.parametrize(("state", "at"), [(0, 0), (0, 3), (1, 2), (2, 4)])
def test_an_interrupted_run_goes_on(state, at, tmp_path, monkeypatch):
    torch.manual_seed(0)
    model, path, done = Small(), tmp_path / "rows.npy", state * N + at * 5
    states = dropout_states(model, 3)
    expected = gradient_rows(model, batches(), states=states, k=20)
    with pytest.raises(KeyboardInterrupt):
        gradient_rows(model, Failing(3 + state, at), states=states, k=20, out=path)
    counted = Counted(monkeypatch)
    rows = gradient_rows(model, batches(), states=states, k=20, out=path)
    assert counted.rows == 3 * N - done
    assert (rows.X == expected.X).all() and (rows.logits == expected.logits).all()
    assert (rows.y == expected.y).all()
    # and what is done is not done again
    again = gradient_rows(model, batches(), states=states, k=20, out=path)
    assert counted.rows == 3 * N - done and (again.X == expected.X).all()


def test_a_killed_run_goes_on_from_what_was_noted(tmp_path, monkeypatch):
    """Rows that were written after the last note are made again."""
    monkeypatch.setattr(_rows, "EVERY", 0.0)
    noted, save = [], _rows.Filler._save
    monkeypatch.setattr(_rows.Filler, "_save", lambda self: (save(self), noted.append(self.done)))
    torch.manual_seed(0)
    path = tmp_path / "rows.npy"
    layer_features(Small(), batches(), "first", out=path)
    assert noted == [0, 5, 10, 15, 20, 23, 23]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"k": 21}, "k, shape"),
        ({"output": "logit"}, "output"),
        ({"target": "predicted"}, "target"),
        ({"target": np.zeros(N, int)}, "target"),
        ({"parameters": "fc"}, "parameters"),
        ({"random_state": 1}, "random_state"),
        ({"weights": [4]}, "weights"),
        ({"temperature": 2}, "temperature"),
    ],
)
def test_other_settings_are_refused(change, named, tmp_path):
    torch.manual_seed(0)
    model, path = Small(), tmp_path / "rows.npy"
    settings = {"k": 20, "output": "log_odds"}
    gradient_rows(model, batches(), out=path, **settings)
    with pytest.raises(ValueError, match=f"rows of another run, with other {named}: delete"):
        gradient_rows(model, batches(), out=path, **settings | change)
    with pytest.raises(ValueError, match="function"):
        losses(model, batches(), out=path)


def test_other_models_are_refused(tmp_path):
    torch.manual_seed(0)
    model, path = Small(), tmp_path / "rows.npy"
    gradient_rows(model, batches(), out=path, k=20)
    with pytest.raises(ValueError, match="other states"):
        gradient_rows(model, batches(), out=path, k=20, states=dropout_states(model, 1, 0.9))
    with torch.no_grad():
        model.fc.weight[0, 0] += 1e-3
    with pytest.raises(ValueError, match="other states"):
        gradient_rows(model, batches(), out=path, k=20)
    features = tmp_path / "features.npy"
    layer_features(model, batches(), "fc", out=features)
    with pytest.raises(ValueError, match="other at, shape"):
        layer_features(model, batches(), "fc", at="input", out=features)
    with torch.no_grad():
        model.fc.weight[0, 0] += 1e-3
    with pytest.raises(ValueError, match="other weights"):
        layer_features(model, batches(), "fc", out=features)


@pytest.mark.parametrize("what", ["inputs", "labels"])
def test_other_data_are_refused(what, tmp_path):
    torch.manual_seed(0)
    model, path = Small(), tmp_path / "rows.npy"
    gradient_rows(model, batches(), out=path)
    x, y = inputs_of("Tied")[0].clone(), labels().clone()
    (x if what == "inputs" else y)[17] = 0 if what == "inputs" else 1
    with pytest.raises(ValueError, match="begun with other data: row 17 differs"):
        gradient_rows(model, DataLoader(TensorDataset(x, y), 5), out=path)
    # in batches of another size they are the same
    assert len(gradient_rows(model, batches(7), out=path).X) == N


def test_functions_without_a_source_are_refused_in_files(tmp_path):
    torch.manual_seed(0)
    model, path = Small(), tmp_path / "rows.npy"
    function = eval("lambda z: z[:, 0]")
    assert len(gradient_rows(model, batches(), output=function, k=20).X) == N
    with pytest.raises(ValueError, match="define the function in a file"):
        gradient_rows(model, batches(), output=function, k=20, out=path)
    assert len(layer_features(model, batches(), "first", pool=function).X) == N
    with pytest.raises(ValueError, match="define the function in a file"):
        layer_features(model, batches(), "first", pool=eval("lambda z: z"), out=path)


def test_functions_are_told_apart(tmp_path):
    torch.manual_seed(0)
    model, path = Small(), tmp_path / "rows.npy"

    def first(z):
        return z[:, 0]

    def second(z):
        return z[:, 1]

    gradient_rows(model, batches(), output=first, k=20, out=path)
    gradient_rows(model, batches(), output=first, k=20, out=path)
    with pytest.raises(ValueError, match="other output"):
        gradient_rows(model, batches(), output=second, k=20, out=path)


def test_a_damaged_file_is_refused(tmp_path):
    torch.manual_seed(0)
    model, path = Small(), tmp_path / "rows.npy"
    gradient_rows(model, batches(), out=path, k=20)
    np.save(path, np.ones((2, 2)))
    with pytest.raises(ValueError, match="not the array that was begun"):
        gradient_rows(model, batches(), out=path, k=20)


def test_progress(capsys):
    torch.manual_seed(0)
    model = Small()
    gradient_rows(model, batches())
    assert capsys.readouterr().out == ""
    gradient_rows(model, batches(), verbose=1)
    assert re.fullmatch(r"\[rows\] 23 of 23, \d+ s, 0 s left\n", capsys.readouterr().out)
    losses(model, batches(), states=[None, None], verbose=2)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 10 and lines[5].startswith("[rows of 2 states] 28 of 46, ")
