"""Outputs of a network as functions of its logits: their derivatives in the logits, row by row."""

from numbers import Integral, Real

import numpy as np
import torch

OUTPUTS = ("loss", "logit", "log_odds", "margin", "probability")
LABEL, PREDICTED, ALL = "label", "predicted", "all"


def check_output(output):
    """The name of an output, or a function of logits."""
    if not callable(output) and output not in OUTPUTS:
        known = ", ".join(map(repr, OUTPUTS))
        raise ValueError(f"output must be one of {known}, or a function of logits; got {output!r}")
    return output


class Target:
    """Which classes are explained: each row's label, what is predicted, given ones, or all.

    Parameters
    ----------
    target : None, "label", "predicted", "all", int or array of int
    n_rows : int
    has_labels : bool
    needed : bool
        Whether the output is one of a class at all.
    """

    def __init__(self, target, n_rows, has_labels, needed=True):
        self.n_rows, self.needed, self.codes, self.kind = n_rows, needed, None, LABEL
        if not needed and target is not None:
            raise ValueError("target must be None where output is a function of logits")
        if isinstance(target, str):
            if target not in (LABEL, PREDICTED, ALL):
                raise ValueError(
                    "target must be None, 'label', 'predicted', 'all', a class or one class a row; "
                    f"got {target!r}"
                )
            self.kind = target
        elif target is not None:
            self.kind, self.codes = "given", self._given(target)
        if needed and self.kind == LABEL and not has_labels:
            raise ValueError(
                "the batches have no labels: give target='predicted', a class or one class a row, "
                "or make them (inputs..., labels)"
            )

    def _given(self, target):
        codes = np.asarray(target.cpu() if isinstance(target, torch.Tensor) else target)
        if codes.dtype.kind not in "iu" or (codes.ndim and codes.shape != (self.n_rows,)):
            raise ValueError(
                f"target must be a class or one class for each of the {self.n_rows} rows, as "
                f"integers; got {codes.dtype} of shape {codes.shape}"
            )
        return np.broadcast_to(codes.astype(np.int64), (self.n_rows,))

    def check(self, n_classes):
        """Once the number of classes is known: how many blocks of columns there are."""
        if self.codes is not None and not 0 <= self.codes.min() <= self.codes.max() < n_classes:
            raise ValueError(f"target must be classes 0..{n_classes - 1} of the network")
        return n_classes if self.kind == ALL else 1

    def of(self, start, y, size, n_classes, predicted=None):
        """Yield the classes of a batch, (size,); -1 for the one that the row's logits predict."""
        if self.kind == ALL:
            for c in range(n_classes):
                yield torch.full((size,), c)
        elif self.kind == PREDICTED:
            yield torch.full((size,), -1) if predicted is None else predicted
        elif self.codes is not None:
            yield torch.tensor(self.codes[start : start + size])
        else:
            yield y


def check_labels(y, start, n_classes):
    """Labels of a batch lie among the classes."""
    if y is None or not len(y):
        return
    wrong = (y < 0) | (y >= n_classes)
    if wrong.any():
        at = int(wrong.int().argmax())
        raise ValueError(
            f"row {start + at} has label {int(y[at])}, but the network has classes "
            f"0..{n_classes - 1}: number the labels in the order of its logits"
        )


def output_weights(logits, output, codes):
    """Derivatives of a named output in the logits, (b, K), of classes (b,); -1 is the predicted."""
    codes = torch.where(codes < 0, logits.argmax(dim=1), codes)
    one = _one_hot(codes, logits)
    if output == "loss":
        return one - logits.softmax(dim=1)
    if output == "probability":
        p = logits.softmax(dim=1)
        return (p * one).sum(dim=1, keepdim=True) * (one - p)
    if output == "logit":
        # of two classes their difference, as everywhere in the package
        return 2 * one - 1 if logits.shape[1] == 2 else one
    others = logits.masked_fill(one.bool(), -torch.inf)
    if output == "margin":
        return one - _one_hot(others.argmax(dim=1), logits)
    return one - others.softmax(dim=1)


def _one_hot(codes, logits):
    # torch's own looks at the codes, which vmap does not allow
    classes = torch.arange(logits.shape[1], device=logits.device)
    return (codes[:, None] == classes).to(logits.dtype)


def derivatives(output, logits):
    """Derivatives in the logits of any function of them that looks at each row for itself."""
    with torch.enable_grad():
        z = logits.clone().requires_grad_()
        values = output(z)
        if not isinstance(values, torch.Tensor) or values.shape != (len(z),):
            raise ValueError(
                "output must be a function of (rows, classes) logits that returns one number a "
                f"row, ({len(z)},); it returned {getattr(values, 'shape', type(values).__name__)}"
            )
        if not values.requires_grad:
            raise ValueError("output must be a function of logits made of torch operations")
        (weights,) = torch.autograd.grad(values.sum(), z)
        with torch.no_grad():
            alone = output(logits[:1])
    one, among = float(alone[0]), float(values[0].detach())
    if abs(one - among) > 1e-4 * (1 + abs(among)):
        raise ValueError(
            f"output gives a row {one:.6g} alone and {among:.6g} among others: it must look at "
            "each row for itself"
        )
    return weights.detach()


def check_integer(value, name, least=0):
    """An integer that is not too small."""
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise TypeError(f"{name} must be an integer, got {type(value).__name__}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")
    return int(value)


def check_temperature(value):
    """A positive number."""
    if not isinstance(value, Real) or isinstance(value, bool) or not 0 < float(value) < np.inf:
        raise ValueError(f"temperature must be a positive number, got {value!r}")
    return float(value)
