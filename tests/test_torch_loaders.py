"""Loaders, batches, labels and arguments that are refused, and what the errors say."""

import random

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.utils.data import DataLoader, IterableDataset, Subset, TensorDataset  # noqa: E402
from torch_cases import (  # noqa: E402
    Items,
    K,
    N,
    Small,
    entries,
    inputs_of,
    items,
    labels,
    loader,
    network,
)

from skattrib.torch_adapters import (  # noqa: E402
    dropout_states,
    gradient_rows,
    last_layer,
    layer_features,
    losses,
)


class Noisy(TensorDataset):
    """Augments at random."""

    def __getitem__(self, i):
        x, y = super().__getitem__(i)
        return x + torch.randn(8), y


# loaders


@entries
@pytest.mark.parametrize(
    "batches",
    [
        lambda: DataLoader(items(), batch_size=5, shuffle=True),
        lambda: DataLoader(
            items(), batch_size=5, sampler=torch.utils.data.SubsetRandomSampler(range(N))
        ),
        lambda: DataLoader(Noisy(*items().tensors), batch_size=5),
        lambda: DataLoader(items(), batch_size=5, sampler=Shuffled()),
    ],
    ids=["shuffled", "sampler", "augmented", "own sampler"],
)
def test_other_rows_each_time(entry, batches):
    with pytest.raises(ValueError, match="the loader gives other rows each time"):
        entry(Small(), batches())


class Shuffled:
    """A sampler that nobody knows."""

    def __iter__(self):
        return iter(random.sample(range(N), N))

    def __len__(self):
        return N


class Turns:
    """Rows that differ from the second pass on, after the first batch."""

    def __init__(self, what):
        self.passes, self.what = 0, what

    def __iter__(self):
        self.passes += 1
        x, y = (t.clone() for t in items().tensors)
        if self.passes > 3:
            changed = x if self.what == "inputs" else y
            changed[13] = (changed[13] + 1) % K
        return zip(x.split(5), y.split(5), strict=True)


@pytest.mark.parametrize("what", ["inputs", "labels"])
def test_passes_of_several_states_are_of_the_same_rows(what):
    model = Small()
    states = dropout_states(model, 3)
    with pytest.raises(ValueError, match="other rows each time: row 13 differs"):
        gradient_rows(model, Turns(what), states=states)
    with pytest.raises(ValueError, match="other rows each time: row 13 differs"):
        losses(model, Turns(what), states=states)


class Stream(IterableDataset):
    """Rows without a length."""

    def __iter__(self):
        return iter(items())


def test_a_stream_is_counted():
    model = Small()
    found = layer_features(model, DataLoader(Stream(), batch_size=5), "first")
    assert (found.X == layer_features(model, DataLoader(items(), 5), "first").X).all()


def never(*args):
    raise AssertionError("work was begun")


@entries
@pytest.mark.parametrize(
    ("batches", "message"),
    [
        (lambda: iter(DataLoader(items())), "iterator"),
        (lambda: (batch for batch in [1]), "iterator"),
        (lambda: DataLoader(items(), batch_size=5, drop_last=True), "drop_last=False"),
        (lambda: DataLoader(items(), batch_size=5, sampler=range(7)), "7 rows, its data set has"),
        (
            lambda: DataLoader(items(), batch_sampler=[[0, 1], [2, 3]]),
            "4 rows, its data set has 23",
        ),
        (lambda: [], "no rows"),
    ],
)
def test_loaders_that_are_refused_before_any_work(entry, batches, message):
    with pytest.raises(ValueError, match=message):
        entry(Small(never), batches())


@entries
@pytest.mark.parametrize("batches", [lambda: items(), lambda: torch.ones(3, 8), lambda: 5])
def test_no_loaders(entry, batches):
    with pytest.raises(TypeError, match="DataLoader"):
        entry(Small(never), batches())


def test_a_subset_is_a_data_set():
    rows = gradient_rows(Small(), DataLoader(Subset(items(), range(7))))
    assert len(rows.X) == 7


@entries
@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ("text", "a batch is str"),
        ((None, torch.tensor([0])), "NoneType"),
        ((torch.ones(2, 8), "ab"), "labels of a batch are str"),
        (((torch.ones(2, 8),), torch.tensor([0, 1])), "shape"),
        ((torch.ones(2, 8), torch.ones(3, 8), torch.tensor([0, 1])), "one row for each"),
    ],
)
def test_batches_of_another_kind_are_shown(entry, batch, message):
    with pytest.raises(TypeError, match=message):
        entry(Small(never), [batch])


@entries
def test_unpack(entry):
    model, (x, y) = Small(), items().tensors
    expected = entry(model, [(x, y)])
    found = entry(model, [[{"deep": (y, x)}]], unpack=lambda b: (b[0]["deep"][1], b[0]["deep"][0]))
    assert (found.X == expected.X).all() and (found.y == expected.y).all()
    found = entry(model, [{"x": x, "own": y}], label_key="own")
    assert (found.X == expected.X).all()
    found = entry(model, [(x.numpy(), y.numpy())])
    assert (found.X == expected.X).all()
    with pytest.raises(TypeError, match="unpack returned"):
        entry(model, [(x, y)], unpack=lambda batch: batch[0])


# labels


@entries
@pytest.mark.parametrize(
    ("y", "message"),
    [
        (labels() + 1, "label 3, but the network has classes 0..2"),
        (labels() - 1, "label -1"),
        (labels().float(), "y.long()"),
        (nn.functional.one_hot(labels()), "argmax"),
        (labels()[:, None], "expected \\(23,\\)"),
        (labels()[:-1], "expected \\(23,\\)"),
    ],
)
def test_labels_that_are_no_classes(entry, y, message):
    with pytest.raises(ValueError, match=message):
        entry(Small(), [(items().tensors[0], y)])


def test_rows_without_labels():
    model, x = Small(), items().tensors[0]
    rows = gradient_rows(model, [x], target="predicted")
    assert rows.y is None
    with pytest.raises(ValueError, match="no labels"):
        rows.label_probabilities  # noqa: B018
    assert layer_features(model, [x], "fc").y is None and last_layer(model, [(x,)]).y is None
    for call_it in (gradient_rows, losses):
        with pytest.raises(ValueError, match="no labels"):
            call_it(model, [x])
    with pytest.raises(ValueError, match="some batches have labels"):
        gradient_rows(model, [(x, labels()), x], target="predicted")


@pytest.mark.parametrize(
    "target", ["own", 3, -1, [0, 1], 1.5, [0.5] * N, np.full(N, 3), np.zeros((N, K), int)]
)
def test_targets_that_are_none(target):
    with pytest.raises(ValueError, match="target"):
        gradient_rows(Small(), DataLoader(items()), target=target)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"output": "logits"}, "'log_odds'"),
        ({"output": lambda z: z}, "one number a row"),
        ({"output": lambda z: z[:, 0] - z[:, 0].mean()}, "each row for itself"),
        ({"output": lambda z: torch.zeros(len(z))}, "torch operations"),
        ({"output": lambda z: z.sum(1), "target": 1}, "target must be None"),
        ({"k": 0}, "k must be at least 1"),
        ({"random_state": -1}, "random_state"),
        ({"temperature": 0}, "temperature must be a positive number"),
        ({"temperature": float("nan")}, "temperature must be a positive number"),
        ({"temperature": "2"}, "temperature must be a positive number"),
        ({"temperature": True}, "temperature must be a positive number"),
        ({"weights": [1, 2]}, "one for each of 1 states"),
        ({"weights": [-1]}, "not negative"),
        ({"parameters": "frist"}, "'first"),
        ({"parameters": []}, "parameters names none"),
    ],
)
def test_arguments_that_are_refused(more, message):
    with pytest.raises(ValueError, match=message):
        gradient_rows(Small(), DataLoader(items(), 9), **more)


def test_padding_of_mappings():
    """Rows that are padded by a collate function have the values of rows alone."""
    model, items_of = network("Text"), Items(inputs_of("Text"), labels(), mapping=True)

    def collate(rows):
        longest = max(int(row["attention_mask"].sum()) for row in rows)
        return {
            name: torch.stack(
                [row[name] if name == "labels" else row[name][:longest] for row in rows]
            )
            for name in rows[0]
        }

    found = gradient_rows(model, DataLoader(items_of, 4, collate_fn=collate), k=64).X
    expected = gradient_rows(model, loader("Text"), k=64).X
    assert np.abs(found - expected).max() < 1e-5
