"""A constant feature of any size: heads and influence are those of a column, in any unit."""

import numpy as np
import pytest
import reference_softmax as reference
from numpy.testing import assert_allclose

from skattrib import InfluenceExplainer
from skattrib._softmax.inverses import make_inverse
from skattrib._softmax.loss import SoftmaxLoss
from skattrib._softmax.removals import (
    corrected,
    group_step,
    outputs,
    refits,
    row_sizes,
)
from skattrib.explainers._kernels.influence import InfluenceKernel, fit_head, theta_of
from skattrib.explainers._scoring import Pairs, Target, dense, of_pairs

SIZE = 1.7


def close(found, expected, tolerance=1e-10):
    """Relative to the largest entry."""
    assert_allclose(found, expected, rtol=0, atol=tolerance * np.abs(expected).max())


class Case:
    """A head with a constant feature of SIZE t on rows times t, fitted, and its influence."""

    def __init__(self, K, free, t=1.0):
        rng = np.random.default_rng(K)
        self.X, self.test = rng.normal(size=(60, 4)), rng.normal(size=(5, 4))
        self.s, y = rng.integers(0, 4, size=60) / 2.0, rng.integers(K, size=60)
        self.V = rng.normal(size=(5, K))
        self.q, self.t = np.eye(K)[y], t
        penalty = np.append(np.full(4, 0.8), 0.0 if free else 0.8) * t**2
        self.loss = SoftmaxLoss(t * self.X, self.q, self.s, penalty, True, SIZE * t)
        explainer = InfluenceExplainer(tol=1e-12)
        explainer.classes_ = np.arange(K)
        self.head = fit_head(explainer, self.loss)
        self.theta = theta_of(self.head, True, SIZE * t)
        self.r = self.loss.at(self.loss.logits(self.theta))

    def results(self, name):
        """Attributions (corrected where exact) in all their forms, leverage, groups, refits."""
        inverse = make_inverse(name, self.loss, 0.0, {"tol": 1e-13} if name == "cg" else {}, 0)
        right, own = corrected(inverse, self.r) if inverse.exact else (self.r, self.r)
        kernel = InfluenceKernel(inverse, right)
        X, target, group = self.t * self.test, Target(None, self.V), np.arange(5)
        pairs = Pairs(np.repeat(np.arange(5), 3), np.arange(15), target)
        steps = [
            group_step(inverse, group),
            *refits(self.loss, self.theta, [group], 1, 0),
        ]
        return [
            dense(kernel, X, kernel.groups(target), np.empty((len(X), len(self.X)))),
            kernel.aggregate(X, target, np.linspace(-1, 1, len(X))),
            of_pairs(kernel.shares(X, pairs), (5, 3), X),
            np.concatenate([M for _, M in inverse.leverage()]),
            own,
            *(outputs(self.loss, X, self.V, step) for step in steps),
        ]


@pytest.mark.parametrize("K", (2, 3))
@pytest.mark.parametrize("free", (False, True))
@pytest.mark.parametrize("name", ("cholesky", "cg", "kfac", "ekfac", "arnoldi"))
def test_rows_of_another_unit_have_the_same_influence(K, free, name):
    """X times t, the penalty times t^2, and a constant feature times t."""
    known = Case(K, free)
    expected = known.results(name)
    for t in (1e-2, 30.0):
        found = Case(K, free, t)
        close(found.head.coef * t, known.head.coef)
        close(found.head.intercept, known.head.intercept)
        close(found.r, known.r)
        for a, b in zip(found.results(name), expected, strict=True):
            close(a, b, 1e-6 if name == "arnoldi" else 1e-9 if name == "cg" else 1e-10)


@pytest.mark.parametrize("K", (2, 3))
@pytest.mark.parametrize("free", (False, True))
def test_influence_is_that_of_a_column(K, free):
    case = Case(K, free)
    phi, phi_test = (np.column_stack([X, np.full(len(X), SIZE)]) for X in (case.X, case.test))
    theta = reference.minimum(phi, case.q, case.s, case.loss.penalty)
    close(case.theta, theta)
    close(
        case.head.intercept,
        (theta[1:] - theta[:1])[:, -1] * SIZE if K == 2 else SIZE * theta[:, -1],
    )
    G = reference.inverse(reference.hessian(theta, phi, case.s, case.loss.penalty), K)
    r = reference.corrected(theta, phi, case.q, case.s, G)
    T = reference.influence(phi, phi_test, r, G, case.V)
    found, sums, shares, _, _, step, refit = case.results("cholesky")
    close(found, T, 1e-8)
    close(sums, np.linspace(-1, 1, 5) @ T, 1e-8)
    S = reference.shares_of_test_row(phi, phi_test, r, G, case.V)
    indices = np.arange(15).reshape(5, 3)
    close(shares, S[np.arange(5)[:, None], indices][:, :, :-1], 1e-8)
    arguments = case.q, case.s, case.loss.penalty
    group = np.arange(5)
    close(step, reference.effect_without(theta, phi, *arguments, group, phi_test, case.V), 1e-8)
    less = reference.minimum(phi[5:], case.q[5:], case.s[5:], case.loss.penalty, theta)
    close(refit, np.sum(case.V * (phi_test @ (theta - less).T), axis=1), 1e-6)
    close(row_sizes(case.loss), np.linalg.norm(phi, axis=1), 1e-14)
