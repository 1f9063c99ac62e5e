"""Gradients in inputs or embeddings: plain, smoothed by noise, integrated from zero."""

import contextlib

import numpy as np
import torch
from torch import nn

from ..features import hooked


class Pixels:
    """Inputs in which features are differentiated themselves."""

    tokens = False

    def __init__(self, features):
        self.features = features

    def values(self, batch):
        """The tensor of a batch that is explained."""
        return batch.tensors[0]

    def rows(self, batch, values):
        """Features with other values in its place."""
        return self.features(batch, (values, *batch.tensors[1:]))


class Embeddings:
    """Embeddings of token ids, in which features are differentiated in their place.

    Parameters
    ----------
    features : Features
    batch : Batch
        Its first tensor holds the ids.
    """

    tokens = True

    def __init__(self, features, batch):
        self.features = features
        found = set()

        def note(module, args, kwargs, result):
            if self._are_ids(args, batch):
                found.add(module)

        with contextlib.ExitStack() as stack:
            known = [m for m in features.module.modules() if isinstance(m, nn.Embedding)]
            for module in known:
                stack.enter_context(hooked(module, note))
            with torch.no_grad():
                # without one, who knows what it makes of integers
                if known:
                    features(batch)
        if len(found) != 1:
            raise ValueError(
                f"X holds {batch.tensors[0].dtype}, and {len(found) or 'no'} torch.nn.Embedding of "
                "features takes them as they are: give token ids to a network with one, and images "
                "as floats, scaled as the network was trained"
            )
        (self.embedding,) = found

    @staticmethod
    def _are_ids(args, batch):
        return len(args) == 1 and torch.equal(args[0], batch.tensors[0])

    def _call(self, batch, change):
        seen = []

        def hook(module, args, kwargs, result):
            if self._are_ids(args, batch):
                seen.append(result)
                return change(result)

        with hooked(self.embedding, hook):
            rows = self.features(batch)
        if len(seen) != 1:
            raise ValueError(f"token ids are embedded {len(seen)} times for each batch, not once")
        return rows, seen[0]

    def values(self, batch):
        """Embeddings of the tokens, (b, length, width)."""
        with torch.no_grad():
            return self._call(batch, lambda result: result)[1]

    def rows(self, batch, values):
        """Features with other embeddings of the same tokens."""
        return self._call(batch, lambda result: values)[0]


class Gradient:
    """Sums of gradients at several points for each row.

    Parameters
    ----------
    inputs : Pixels or Embeddings
    points : callable
        Of values (b, ...) makes the points (s, b, ...) that stand for each, and their weights.
    batch_size : int
        Rows of one pass.
    times : bool
        Whether the sum is multiplied by the values.
    """

    # features are those of the points
    rows = None

    def __init__(self, inputs, points, batch_size, times=False):
        self.inputs, self.points, self.batch_size, self.times = inputs, points, batch_size, times

    def __call__(self, batch, values, G):
        """Maps (q, b, ...) of values (b, ...) for directions G (q, b, d)."""
        b, total = batch.size, 0.0
        points, weights = self.points(values)
        step = max(1, self.batch_size // b)
        for start in range(0, len(points), step):
            part = points[start : start + step].detach()
            s = len(part)
            several = batch.rows(torch.arange(b).repeat(s)) if s > 1 else batch
            leaf = part.flatten(0, 1).requires_grad_()
            rows = self.inputs.rows(several, leaf)
            if rows.grad_fn is None:
                raise ValueError("features do not depend on X by gradients: nothing to send back")
            (found,) = backward(rows, (leaf,), G.repeat(1, s, 1))
            found = found.reshape(len(G), s, *values.shape)
            total = total + torch.tensordot(
                found, weights[start : start + step].to(found), dims=([1], [0])
            )
        return total * values if self.times else total


def single(values):
    """The values alone."""
    return values[None], torch.ones(1)


def noisy(n_samples, noise, seed):
    """Points around values, with the same noise for all rows; `noise` is a share of their range."""

    def points(values):
        source = torch.Generator().manual_seed(seed)
        drawn = torch.randn((n_samples, 1, *values.shape[1:]), generator=source, dtype=values.dtype)
        flat = values.flatten(1)
        size = noise * (flat.amax(1) - flat.amin(1))
        size = size.reshape(-1, *[1] * (values.ndim - 1))
        return values + size * drawn.to(values.device), torch.full((n_samples,), 1 / n_samples)

    return points


def integrated(n_samples):
    """Points between zero and values, of Gauss and Legendre."""
    nodes, weights = np.polynomial.legendre.leggauss(n_samples)

    def points(values):
        along = torch.as_tensor((1 + nodes) / 2, dtype=values.dtype, device=values.device)
        return along.reshape(-1, *[1] * values.ndim) * values, torch.as_tensor(weights / 2)

    return points


def backward(rows, inputs, G):
    """Gradients of G (q, b, d) times rows (b, d) in inputs (b, ...), each (q, b, ...)."""
    several, G = len(G) > 1, G.to(rows)
    found = torch.autograd.grad(
        rows, inputs, G if several else G[0], is_grads_batched=several, allow_unused=True
    )
    shapes = [(len(G), *values.shape) for values in inputs]
    return [
        rows.new_zeros(shape) if g is None else g.reshape(shape)
        for g, shape in zip(found, shapes, strict=True)
    ]
