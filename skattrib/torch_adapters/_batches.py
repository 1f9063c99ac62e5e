"""Batches of a loader: what is input and what is label, and whether they are the same each time."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.utils.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

RANDOM = (RandomSampler, SubsetRandomSampler, WeightedRandomSampler)


@dataclass(frozen=True)
class Batch:
    """Inputs of a network, and labels if there are any.

    Arguments are named by position (int) or keyword (str); tensors have one row each, constants
    are given to every row.
    """

    names: tuple
    tensors: tuple
    constants: dict
    y: torch.Tensor | None
    size: int

    def arguments(self, tensors=None):
        """Positional and keyword arguments; with tensors of other rows in place of its own."""
        tensors = self.tensors if tensors is None else tensors
        values = dict(zip(self.names, tensors, strict=True)) | self.constants
        args = [values.pop(place) for place in sorted(n for n in values if isinstance(n, int))]
        return tuple(args), values

    def rows(self, part):
        """The batch of some of its rows, a slice or a list."""
        tensors = tuple(tensor[part] for tensor in self.tensors)
        y = None if self.y is None else self.y[part]
        return replace(self, tensors=tensors, y=y, size=len(tensors[0]))

    def without_padding(self):
        """(i, row i alone without what its attention mask leaves out); None if nothing is."""
        masks = dict(zip(self.names, self.tensors, strict=True))
        mask = masks.get("attention_mask")
        if mask is None or mask.ndim != 2:
            return None
        left_out = (mask == 0).sum(dim=1)
        i = int(left_out.argmax())
        kept = (mask[i] != 0).nonzero()[:, 0]
        if not left_out[i] or not len(kept):
            return None
        own, length = self.rows(slice(i, i + 1)), mask.shape[1]
        tensors = (t[:, kept] if t.ndim > 1 and t.shape[1] == length else t for t in own.tensors)
        return i, replace(own, tensors=tuple(tensors))

    def without_labels(self):
        """The inputs alone."""
        return replace(self, y=None)

    def to(self, device, dtype):
        """On a device, floats in the type of the network."""
        tensors = tuple(
            t.to(device, dtype if t.is_floating_point() else t.dtype) for t in self.tensors
        )
        return replace(self, tensors=tensors)

    def digests(self):
        """A hash of each row and its label, (size, 2) of uint64."""
        parts = [*self.tensors, *([] if self.y is None else [self.y])]
        hashes = [hashlib.blake2b(digest_size=16) for _ in range(self.size)]
        for tensor in parts:
            head = repr((tuple(tensor.shape[1:]), str(tensor.dtype))).encode()
            flat = tensor.detach().cpu().reshape(self.size, -1).contiguous()
            for row, own in zip(flat.view(torch.uint8).numpy(), hashes, strict=True):
                own.update(head)
                own.update(row.data)
        return np.frombuffer(b"".join(h.digest() for h in hashes), np.uint64).reshape(-1, 2)


def make_batch(inputs, y):
    """A Batch of a tensor, a tuple of positional or a mapping of keyword arguments."""
    if isinstance(inputs, Mapping):
        given = dict(inputs)
    else:
        given = dict(enumerate(inputs if isinstance(inputs, (tuple, list)) else [inputs]))
    given = {n: torch.as_tensor(v) if isinstance(v, np.ndarray) else v for n, v in given.items()}
    plain = (bool, int, float, str, type(None))
    tensors = {n: v for n, v in given.items() if isinstance(v, torch.Tensor) and v.ndim}
    constants = {n: v for n, v in given.items() if n not in tensors}
    odd = [v for v in constants.values() if not isinstance(v, (*plain, torch.Tensor))]
    sizes = {len(tensor) for tensor in tensors.values()}
    if not tensors or odd or len(sizes) > 1 or not all(isinstance(n, (int, str)) for n in given):
        raise TypeError(
            f"the inputs of a batch are {described(inputs)}; expected tensors with one row for "
            "each row of data: give unpack=, a function of a batch that returns (inputs, labels)"
        )
    return Batch(tuple(tensors), tuple(tensors.values()), constants, y, sizes.pop())


def unpacker(unpack, label_key):
    """A function that makes a Batch of what a loader gives."""

    def unpacked(batch):
        if unpack is not None:
            found = unpack(batch)
            if not isinstance(found, tuple) or len(found) != 2:
                raise TypeError(
                    f"unpack returned {described(found)}; expected (inputs, labels or None)"
                )
            inputs, y = found
        elif isinstance(batch, (torch.Tensor, np.ndarray)):
            inputs, y = batch, None
        elif isinstance(batch, (tuple, list)) and batch:
            inputs, y = (batch, None) if len(batch) == 1 else (batch[:-1], batch[-1])
        elif isinstance(batch, Mapping):
            inputs = {name: value for name, value in batch.items() if name != label_key}
            y = batch.get(label_key)
        else:
            raise TypeError(
                f"a batch is {described(batch)}; expected a tensor, a tuple (inputs..., labels) or "
                "a mapping of inputs: give unpack=, a function of it that returns (inputs, labels)"
            )
        made = make_batch(inputs, None)
        return made if y is None else replace(made, y=_labels(y, made.size))

    return unpacked


def _labels(y, size):
    """Labels of a batch as int64 on the CPU."""
    if not isinstance(y, (torch.Tensor, np.ndarray, list, tuple)):
        raise TypeError(f"labels of a batch are {described(y)}; expected a tensor of integers")
    try:
        y = torch.as_tensor(y).detach().cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"labels of a batch are {described(y)}: {error}") from None
    if y.shape != (size,):
        raise ValueError(
            f"labels of a batch of {size} rows have shape {tuple(y.shape)}; expected ({size},): of "
            "one-hot rows give y.argmax(1), by way of unpack="
        )
    if y.is_floating_point() or y.is_complex() or y.dtype == torch.bool:
        raise ValueError(f"labels are {y.dtype}; expected integers: give y.long(), through unpack=")
    return y.long()


def described(value):
    """What was seen, in few words."""
    if isinstance(value, (torch.Tensor, np.ndarray)):
        return f"a {type(value).__name__} of shape {tuple(value.shape)}"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{k!r}: {described(v)}" for k, v in value.items()) + "}"
    if isinstance(value, (tuple, list)):
        inner = ", ".join(map(described, value[:4])) + (", ..." if len(value) > 4 else "")
        return f"({inner})"
    return type(value).__name__


class Reader:
    """Goes through the rows of a loader, any number of times, and sees to it that they stay.

    Parameters
    ----------
    loader : iterable of batches
    unpack : function from what it gives to a Batch

    Attributes
    ----------
    n_rows : int
    first : Batch
        Drawn once, so that the first pass is already compared with something.
    digests : ndarray of shape (n_rows, 2)
        Hashes of the rows; those of the first `n_seen` are known.
    """

    def __init__(self, loader, unpack):
        self.unpack = unpack
        self.n_rows = check_loader(loader)
        self.loader = loader
        if self.n_rows is None:
            self.n_rows = sum(unpack(batch).size for batch in loader)
        if not self.n_rows:
            raise ValueError("loader gives no rows")
        self.first = unpack(next(iter(loader)))
        self.digests = np.zeros((self.n_rows, 2), np.uint64)
        self.n_seen, self._remembered = 0, 0
        self._compare(0, self.first)

    @property
    def has_labels(self):
        """Whether batches have labels."""
        return self.first.y is not None

    def remember(self, digests, n_seen):
        """Rows as they were in a run that is resumed."""
        self.digests[:n_seen] = digests[:n_seen]
        self.n_seen = self._remembered = n_seen
        self._compare(0, self.first)

    def __iter__(self):
        """Yield (start, Batch)."""
        start = 0
        for given in self.loader:
            batch = self.unpack(given)
            if start + batch.size > self.n_rows:
                raise ValueError(
                    f"loader gives more rows than the {self.n_rows} of its data set: every row "
                    "must come once, in the order of the data set"
                )
            if (batch.y is not None) != self.has_labels:
                raise ValueError("some batches have labels, others have none")
            self._compare(start, batch)
            yield start, batch
            start += batch.size
        if start < self.n_rows:
            raise ValueError(
                f"loader gives {start} rows, its data set has {self.n_rows}: every row must come "
                "once, in the order of the data set"
            )

    def _compare(self, start, batch):
        found = batch.digests()
        known = max(0, min(self.n_seen - start, batch.size))
        other = (self.digests[start : start + known] != found[:known]).any(axis=1)
        if other.any():
            row = start + int(other.argmax())
            if row < self._remembered:
                raise ValueError(
                    f"out was begun with other data: row {row} differs. Give the loader of that "
                    "run (rows, order, batch size), or another file"
                )
            raise ValueError(
                f"the loader gives other rows each time: row {row} differs. Use shuffle=False, no "
                "random sampler, and no random augmentation"
            )
        self.digests[start + known : start + batch.size] = found[known:]
        self.n_seen = max(self.n_seen, start + batch.size)


def check_loader(loader):
    """Number of rows that a loader gives, or None if only a pass can tell."""
    if isinstance(loader, Iterator):
        raise ValueError(
            "loader is an iterator, which can be gone through once: give the DataLoader itself, or "
            "a list of batches"
        )
    if isinstance(loader, (Dataset, torch.Tensor, np.ndarray, Mapping, str)) or not isinstance(
        loader, Iterable
    ):
        raise TypeError(
            "loader must be an iterable of batches, such as torch.utils.data.DataLoader(dataset, "
            f"batch_size=64), got {described(loader)}"
        )
    if not isinstance(loader, DataLoader):
        return None
    if isinstance(loader.sampler, RANDOM) or isinstance(
        getattr(loader.batch_sampler, "sampler", None), RANDOM
    ):
        raise ValueError(
            "the loader gives other rows each time: it draws them at random. Make it with "
            "shuffle=False and without a random sampler"
        )
    if loader.drop_last:
        raise ValueError("loader drops its last batch: make it with drop_last=False")
    if isinstance(loader.dataset, IterableDataset):
        return None
    if loader.batch_sampler is None:
        # batches are the items of the data set
        return None
    n = len(loader.dataset)
    given = sum(len(list(rows)) for rows in loader.batch_sampler)
    if given != n:
        raise ValueError(
            f"loader gives {given} rows, its data set has {n}: every row must come once. For some "
            "of the rows use torch.utils.data.Subset"
        )
    return n
