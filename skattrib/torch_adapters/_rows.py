"""Rows that are filled in from the top: in an array, a tensor, or a file where a run goes on."""

import hashlib
import json
import os
import time
import uuid
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from scipy.special import softmax

from ..retraining.result_folder import digest

# seconds between notes of how far a run has come, in its file and on the screen
EVERY = 20.0


class Rows(NamedTuple):
    """What one pass over a loader found of each row.

    Attributes
    ----------
    X : ndarray, memory map or Tensor of shape (n_samples, n_columns)
    y : ndarray of shape (n_samples,), int64, or None
        Labels; None if the batches have none.
    probabilities : ndarray of shape (n_samples, n_classes), or (n_samples, n_states, n_classes)
        The softmax of the logits, in float64. The second shape is that of several states.
    logits : ndarray of the shape of `probabilities`
        Of a network with one logit f these are -f/2 and f/2.

    Examples
    --------
    >>> import torch
    >>> from skattrib.torch_adapters import layer_features
    >>> net = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.ReLU(), torch.nn.Linear(6, 3))
    >>> data = torch.utils.data.TensorDataset(torch.rand(8, 4), torch.arange(8) % 3)
    >>> rows = layer_features(net, torch.utils.data.DataLoader(data, batch_size=4), "1")
    >>> rows.X.shape, rows.y.tolist(), rows.probabilities.shape
    ((8, 6), [0, 1, 2, 0, 1, 2, 0, 1], (8, 3))
    """

    X: np.ndarray
    y: np.ndarray | None
    probabilities: np.ndarray
    logits: np.ndarray

    @property
    def label_probabilities(self) -> np.ndarray:
        """Those of each row's own label, (n_samples,) or (n_samples, n_states)."""
        if self.y is None:
            raise ValueError("these rows have no labels")
        return self.probabilities[np.arange(len(self.y)), ..., self.y]


class Head(NamedTuple):
    """The last layer of a network, and what goes into it.

    Attributes
    ----------
    X : ndarray or memory map of shape (n_samples, n_features)
        Inputs of the layer.
    y : ndarray of shape (n_samples,), int64, or None
    logits : ndarray of shape (n_samples, n_classes)
        Of a network with one logit f these are -f/2 and f/2.
    coef : ndarray of shape (n_classes, n_features), or (1, n_features) of one logit
    intercept : ndarray of shape (n_classes,) or (1,)
        Zeros where the layer has none.
    error : float
        Largest absolute difference of ``X @ coef.T + intercept`` and the logits, over the largest
        logit.

    Examples
    --------
    >>> import torch
    >>> from skattrib import InfluenceExplainer, LinearHead
    >>> from skattrib.torch_adapters import last_layer
    >>> net = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.ReLU(), torch.nn.Linear(6, 3))
    >>> data = torch.utils.data.TensorDataset(torch.rand(8, 4), torch.arange(8) % 3)
    >>> head = last_layer(net, torch.utils.data.DataLoader(data, batch_size=4))
    >>> head.X.shape, head.coef.shape, head.error < 1e-4
    ((8, 6), (3, 6), True)
    >>> explainer = InfluenceExplainer(LinearHead(head.coef, head.intercept, temperature=2.0))
    >>> explainer.fit(head.X, head.y).attribute(head.X[:2]).shape
    (2, 8)
    """

    X: np.ndarray
    y: np.ndarray | None
    logits: np.ndarray
    coef: np.ndarray
    intercept: np.ndarray
    error: float


class Filler:
    """Rows, labels and logits of a run, and how far it has come.

    Parameters
    ----------
    out : None, path, ndarray or Tensor
        Where rows go. A path is that of an .npy file, beside which ``<path>.progress.npz`` tells
        what is done, so that the same call goes on where another ended.
    shape : tuple of (n_samples, n_columns)
    dtype : numpy.dtype
    reader : Reader
    n_states, n_classes : int
    key : function that returns a dict
        JSON values that decide the rows; asked for only with a path.
    title, verbose : of the progress that is printed
    """

    def __init__(self, out, shape, dtype, reader, n_states, n_classes, key, *, title="", verbose=0):
        self.shape, self.dtype = shape, np.dtype(dtype)
        self.reader, self.title, self.verbose = reader, title, verbose
        n = shape[0]
        self.y = np.zeros(n, np.int64) if reader.has_labels else None
        self.logits = np.zeros((n, n_states, n_classes), self.dtype)
        self.total, self.done = n * n_states, 0
        self.path = None
        if out is None:
            self.X = np.empty(shape, self.dtype)
        elif isinstance(out, (str, os.PathLike)):
            self._open(Path(out), key())
        else:
            self.X = self._check(out)
        self._begun = self.done
        self._start = self._saved = self._printed = time.monotonic()

    def _check(self, out):
        if not isinstance(out, (np.ndarray, torch.Tensor)):
            raise TypeError(
                "out must be None, the path of an .npy file, an array or a tensor, got "
                f"{type(out).__name__}"
            )
        dtype = str(out.dtype).removeprefix("torch.")
        if tuple(out.shape) != self.shape or dtype != self.dtype.name:
            raise ValueError(
                f"out must have shape {self.shape} and type {self.dtype.name}, got "
                f"{tuple(out.shape)} and {dtype}"
            )
        if isinstance(out, np.ndarray) and not out.flags.writeable:
            raise ValueError("out is read-only")
        if isinstance(out, torch.Tensor) and out.requires_grad:
            raise ValueError("out requires grad: give a plain tensor")
        return out

    def _open(self, path, key):
        self.path, self.beside = path, path.with_name(f"{path.name}.progress.npz")
        self.key = json.loads(json.dumps(key | {"shape": self.shape, "dtype": self.dtype.name}))
        if path.suffix != ".npy":
            raise ValueError(f"out must be the path of an .npy file, got {str(path)!r}")
        if not path.exists():
            self.X = np.lib.format.open_memmap(path, "w+", self.dtype, self.shape)
            self._save()
            return
        if not self.beside.exists():
            raise ValueError(
                f"{path} exists, but nothing beside it says what it holds: delete it, or give "
                "another path"
            )
        with np.load(self.beside, allow_pickle=False) as kept:
            old = json.loads(str(kept["key"]))
            other = sorted(n for n in old.keys() | self.key.keys() if old.get(n) != self.key.get(n))
            if other:
                raise ValueError(
                    f"{path} holds rows of another run, with other {', '.join(other)}: delete it, "
                    "or give another path"
                )
            self.reader.remember(kept["digests"], int(kept["n_seen"]))
            self.done, self.logits = int(kept["done"]), kept["logits"]
            if self.y is not None:
                self.y = kept["y"]
        self.X = np.lib.format.open_memmap(path, "r+")
        if self.X.shape != self.shape or self.X.dtype != self.dtype:
            raise ValueError(f"{path} is not the array that was begun: delete it and begin again")

    def is_done(self, state, start, size):
        """Whether rows of a state were done by a run before this one."""
        return state * self.shape[0] + start + size <= self.done

    def put(self, state, start, columns, rows):
        """Rows of a batch into columns, a slice."""
        rows = rows.detach()
        # a finite sum has finite terms; the other way round only mostly
        if not torch.isfinite(rows.sum(dim=1)).all() and not torch.isfinite(rows).all():
            wrong = ~torch.isfinite(rows).all(dim=1)
            bad = (start + wrong.nonzero()[:, 0]).tolist()
            raise ValueError(
                f"rows {bad[:5]} are not finite ({len(bad)} of a batch of {len(rows)}): look for "
                "values that overflow in the network, or at its input"
            )
        part = self.X[start : start + len(rows), columns]
        if isinstance(self.X, torch.Tensor):
            part.copy_(rows)
        else:
            part[...] = rows.cpu().numpy()

    def end(self, state, start, y, logits):
        """Note that a batch of a state is done."""
        part = slice(start, start + len(logits))
        self.logits[part, state] = logits.detach().cpu().numpy()
        if self.y is not None:
            self.y[part] = y.numpy()
        self.done = state * self.shape[0] + part.stop
        now = time.monotonic()
        if self.path is not None and now - self._saved > EVERY:
            self._save()
            self._saved = now
        due = self.verbose > 1 or now - self._printed > EVERY or self.done == self.total
        if self.verbose and due:
            self._printed, spent = now, now - self._start
            left = spent / (self.done - self._begun) * (self.total - self.done)
            print(f"[{self.title}] {self.done} of {self.total}, {spent:.0f} s, {left:.0f} s left")

    def __enter__(self):
        return self

    def __exit__(self, *error):
        if self.path is not None:
            self._save()

    def _save(self):
        self.X.flush()
        temporary = self.beside.with_name(f".{self.beside.name}.{uuid.uuid4().hex}")
        y = {} if self.y is None else {"y": self.y}
        try:
            with open(temporary, "wb") as file:
                np.savez(
                    file,
                    key=json.dumps(self.key),
                    digests=self.reader.digests,
                    n_seen=self.reader.n_seen,
                    done=self.done,
                    logits=self.logits,
                    **y,
                )
            os.replace(temporary, self.beside)
        finally:
            temporary.unlink(missing_ok=True)

    def rows(self, several=False):
        """The Rows that were found."""
        logits = self.logits if several else self.logits[:, 0]
        return Rows(self.X, self.y, softmax(logits.astype(np.float64), axis=-1), logits)


def weights_digest(tensors):
    """A hash of named tensors."""
    found = hashlib.blake2b(digest_size=16)
    for name, tensor in tensors.items():
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def function_digest(function):
    """A hash of a function's source, of a name, or of None."""
    try:
        return digest(function)
    except ValueError as error:
        raise ValueError(
            f"{function!r} cannot be told from another when a run goes on, which out as a path is "
            "for: give out as an array, or define the function in a file"
        ) from error
