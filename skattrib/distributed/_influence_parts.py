"""What partitions say of influence: residuals, leverage, and the explainer of their own rows."""

from copy import copy

import numpy as np

from .. import explainers
from .._softmax.removals import corrected, outputs, row_sizes, self_influence
from ..explainers._kernels.influence import InfluenceKernel
from ._loss import losses


class SolvedKernel(InfluenceKernel):
    """Of test rows whose left sides were found before."""

    def __init__(self, inverse, residuals, solved):
        super().__init__(inverse, residuals)
        self.solved = solved

    def left(self, X, group, rows):
        """Those left sides."""
        return self.solved[rows]


class InfluencePart(explainers.InfluenceExplainer):
    """Of some of the training rows."""

    _solved = None

    def _kernel(self):
        if self._solved is None:
            return InfluenceKernel(self._inverse, self._residuals)
        return SolvedKernel(self._inverse, self._residuals, self._solved)


def lost_outputs(explainer, test, steps, width):
    """Outputs of test rows that go with changes of the head, (n_samples, *width)."""
    X, target = test
    V = explainer._check_target(X, target).as_weights(len(explainer.classes_))
    found = [outputs(explainer._light_loss, X, V, step) for step in steps]
    return np.column_stack(found) if width else found[0]


def norms_of_terms(X, codes, weight, fit):
    """Sum of the norms of the terms of the gradient."""
    light, theta = fit
    terms = [
        np.linalg.norm(loss.at(loss.logits(theta)), axis=1) @ row_sizes(loss)
        for _, loss in losses(X, codes, weight, light)
    ]
    return float(sum(terms))


def residuals_of(X, codes, weight, fit, start):
    """(residuals, self-influence or None) of a partition, corrected if an inverse is given."""
    light, theta, inverse = fit
    out, own = np.empty((X.shape[0], len(theta))), None if inverse is None else np.empty(X.shape[0])
    for rows, loss in losses(X, codes, weight, light):
        residuals = loss.at(loss.logits(theta))
        if inverse is None:
            out[rows] = residuals
            continue
        inverse = copy(inverse)
        inverse.loss = loss
        out[rows], own[rows] = corrected(inverse, residuals, start + rows.start)
    return out, own


def _with_losses(explainer):
    """(rows, inverse with the loss of these rows at the head)."""
    inverse = copy(explainer._inverse)
    X, weight, light = inverse.loss.X, inverse.loss.s, inverse.loss
    for rows, inverse.loss in losses(X, explainer._codes, weight, light):
        inverse.loss.at(inverse.loss.logits(explainer._theta))
        yield rows, inverse


def self_influence_of(explainer, start):
    """Self-influence of the rows of a partition."""
    if explainer._own is not None:
        return explainer._own
    residuals = explainer._residuals
    parts = [self_influence(inverse, residuals[rows]) for rows, inverse in _with_losses(explainer)]
    return np.concatenate(parts)


def leverage_of(explainer, start):
    """M_i of the rows of a partition."""
    parts = [M for _, inverse in _with_losses(explainer) for _, M in inverse.leverage()]
    return np.concatenate(parts)
