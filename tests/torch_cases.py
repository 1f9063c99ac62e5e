"""Small networks of many kinds, and loops of autograd to compare with."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from skattrib.gradients import Sketch
from skattrib.torch_adapters import gradient_rows, last_layer, layer_features, losses

N, K = 23, 3


class Images(nn.Module):
    """Convolutions, and a head on images."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.fc1 = nn.Linear(64, 12)
        self.fc2 = nn.Linear(12, K)

    def forward(self, x):
        x = nn.functional.max_pool2d(self.conv(x).relu(), 2).flatten(1)
        return self.fc2(self.fc1(x).relu())


class Residual(nn.Module):
    """Batch norm with running statistics, dropout, a skip connection."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm1 = nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.conv, self.norm2 = nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.drop, self.fc = nn.Dropout(0.5), nn.Linear(6, K)
        for norm in (self.norm1, self.norm2):
            nn.init.normal_(norm.running_mean)
            nn.init.uniform_(norm.running_var, 0.5, 2.0)

    def forward(self, x):
        x = self.norm1(self.stem(x)).relu()
        x = (x + self.norm2(self.conv(x))).relu()
        return self.fc(self.drop(x.mean((2, 3))))


class Encoder(nn.Module):
    """A transformer encoder on padded tokens."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(11, 8, padding_idx=0)
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.fc = nn.Linear(8, K)

    def forward(self, tokens, mask):
        hidden = self.encoder(self.embed(tokens), src_key_padding_mask=mask == 0)
        hidden = (hidden * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
        return self.fc(hidden)


class Recurrent(nn.Module):
    """An LSTM."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(11, 6)
        self.lstm = nn.LSTM(6, 7, batch_first=True)
        self.fc = nn.Linear(7, K)

    def forward(self, tokens):
        return self.fc(self.lstm(self.embed(tokens))[0][:, -1])


class Tied(nn.Module):
    """One matrix in two places."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8)
        self.second.weight = self.first.weight
        self.fc = nn.Linear(8, K)

    def forward(self, x):
        return self.fc(self.second(self.first(x).tanh()).tanh())


class Bag(nn.Module):
    """A mean of embeddings."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(11, 6, padding_idx=0)
        self.fc = nn.Linear(6, K, bias=False)

    def forward(self, tokens):
        return self.fc(self.embed(tokens).mean(1))


class WeightNorm(nn.Module):
    """Parametrized weights."""

    def __init__(self):
        super().__init__()
        self.first = nn.utils.parametrizations.weight_norm(nn.Linear(8, 10))
        self.fc = nn.utils.parametrizations.weight_norm(nn.Linear(10, K))

    def forward(self, x):
        return self.fc(self.first(x).relu())


class OldWeightNorm(WeightNorm):
    """Weights that a hook writes into the module at every call."""

    def __init__(self):
        nn.Module.__init__(self)
        self.first = nn.utils.weight_norm(nn.Linear(8, 10))
        self.fc = nn.Linear(10, K)


class Text(nn.Module):
    """The interface of Hugging Face: keyword arguments in, an object with logits out."""

    def __init__(self):
        super().__init__()
        self.encoder = Encoder()

    def forward(self, input_ids=None, attention_mask=None, labels=None, return_dict=True):
        assert labels is None and return_dict
        return SimpleNamespace(logits=self.encoder(input_ids, attention_mask), hidden_states=None)


def _tokens(seed=0, n=N):
    source = torch.Generator().manual_seed(seed)
    tokens = torch.randint(1, 11, (n, 6), generator=source)
    mask = torch.arange(6) < torch.randint(2, 7, (n, 1), generator=source)
    return tokens * mask, mask.long()


def inputs_of(kind, seed=0, n=N):
    """Inputs of a network of a kind, a tuple."""
    source = torch.Generator().manual_seed(seed)
    if kind in ("Images", "Residual"):
        return (torch.randn(n, 1, 8, 8, generator=source),)
    if kind in ("Encoder", "Text"):
        return _tokens(seed, n)
    if kind in ("Recurrent", "Bag"):
        return (_tokens(seed, n)[0],)
    return (torch.randn(n, 8, generator=source),)


KINDS = {
    kind.__name__: kind
    for kind in (
        Images, Residual, Encoder, Recurrent, Tied, Bag, WeightNorm, OldWeightNorm, Text
    )
}  # fmt: skip
HEADS = {name: "encoder.fc" if name == "Text" else "fc" for name in KINDS} | {"Images": "fc2"}


def network(kind, seed=0):
    """A network in training mode, so that forgetting ``eval()`` shows."""
    torch.manual_seed(seed)
    return KINDS[kind]().train()


class Items(Dataset):
    """Rows of inputs and labels."""

    def __init__(self, inputs, y, mapping=False):
        self.inputs, self.y, self.mapping = inputs, y, mapping

    def __len__(self):
        return len(self.y)

    def __getitem__(self, i):
        row = [tensor[i] for tensor in self.inputs]
        if self.mapping:
            return {"input_ids": row[0], "attention_mask": row[1], "labels": self.y[i]}
        return (*row, self.y[i])


def labels(n=N):
    """Labels, 0, 1, 2, 0, ..."""
    return torch.arange(n) % K


def loader(kind, seed=0, n=N, batch_size=5):
    """Batches of a network of a kind."""
    items = Items(inputs_of(kind, seed, n), labels(n), mapping=kind == "Text")
    return DataLoader(items, batch_size=batch_size)


def call(model, kind, inputs):
    """Logits of rows."""
    if kind == "Text":
        return model(input_ids=inputs[0], attention_mask=inputs[1]).logits
    return model(*inputs)


def loop_of_autograd(model, kind, output, names=None, seed=0, n=N):
    """Gradients of output(logits of one row (K,), row number), (n, p)."""
    model.eval()
    parameters = [p for name, p in model.named_parameters() if names is None or name in names]
    inputs, rows = inputs_of(kind, seed, n), []
    for i in range(n):
        logits = call(model, kind, [tensor[i : i + 1] for tensor in inputs])[0]
        found = torch.autograd.grad(output(logits, i), parameters, allow_unused=True)
        parts = [
            (torch.zeros_like(p) if g is None else g).reshape(-1)
            for p, g in zip(parameters, found, strict=True)
        ]
        rows.append(torch.cat(parts).numpy())
    model.train()
    return np.stack(rows)


def dense_sketch(model, k, seed, place=0):
    """The projection as a matrix (p, k), column by column from its definition."""
    rows = []
    for name, parameter in model.named_parameters():
        signs, shifts = Sketch(k, seed).plan(name, parameter.numel(), place)
        for c in range(parameter.numel()):
            row = np.zeros(k)
            row[(c % k + shifts[c // k]) % k] = signs[c]
            rows.append(row)
    return np.array(rows)


def log_p(y):
    """Minus the cross-entropy, a function of the logits of a row."""
    return lambda z, i: z.log_softmax(0)[y[i]]


class Small(nn.Module):
    """A network of one's own making."""

    def __init__(self, change=None):
        super().__init__()
        self.first, self.fc = nn.Linear(8, 6), nn.Linear(6, K)
        self.change = change or (lambda x: x)

    def forward(self, x):
        return self.fc(self.change(self.first(x)))


def items(n=N):
    """Rows for it."""
    return TensorDataset(*inputs_of("Tied", n=n), labels(n))


# what goes over the rows of a loader
ENTRIES = {
    "layer_features": lambda model, batches, **more: layer_features(model, batches, "fc", **more),
    "last_layer": last_layer,
    "gradient_rows": lambda model, batches, **more: gradient_rows(model, batches, k=16, **more),
    "losses": losses,
}
entries = pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)
