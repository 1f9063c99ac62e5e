"""Conjugate gradients against dense solves; which right sides end, and where."""

import numpy as np
from numpy.testing import assert_allclose, assert_array_equal

from skattrib._arrays.conjugate_gradients import conjugate_gradients

K, D = 3, 4
RNG = np.random.default_rng(0)
A = RNG.normal(size=(K * D, K * D))
H = A @ A.T + np.eye(K * D)


def by(M):
    """Products with M of order K D."""
    return lambda V: (V.reshape(len(V), -1) @ M.T).reshape(V.shape)


def relative_residuals(M, V, x, precondition):
    r = (V - by(M)(x)).reshape(len(V), -1)
    norms = [np.sqrt(np.sum(R * (R @ precondition.T), axis=1)) for R in (r, V.reshape(len(V), -1))]
    return norms[0] / norms[1]


def test_every_residual_falls_to_the_tolerance():
    V = RNG.normal(size=(4, K, D))
    V[1] *= 1e-8
    near = np.diag(1 / np.diag(H))
    x, iterations, solved = conjugate_gradients(by(H), by(near), V, 1e-10, 100)
    assert 1 < iterations < 30 and solved.all()
    assert (relative_residuals(H, V, x, near) <= 2e-10).all()
    for a, v in zip(x, V, strict=True):
        expected = np.linalg.solve(H, v.ravel()).reshape(K, D)
        assert_allclose(a, expected, rtol=0, atol=1e-8 * np.abs(expected).max())


def test_right_sides_that_are_solved_stand_still():
    """Zeros and eigenvectors end at once, and are not multiplied any more."""
    multiplied = []

    def product(V):
        multiplied.append(len(V))
        return by(H)(V)

    V = RNG.normal(size=(3, K, D))
    V[0] = 0.0
    V[1] = np.linalg.eigh(H)[1][:, 3].reshape(K, D)
    x, iterations, solved = conjugate_gradients(product, np.copy, V, 1e-6, 100)
    assert multiplied == [2] + [1] * (iterations - 1) and solved.all()
    assert_array_equal(x[0], 0.0)
    assert_allclose(by(H)(x), V, rtol=0, atol=1e-4)


def test_too_few_iterations_are_not_a_solution():
    V = RNG.normal(size=(2, K, D))
    V[1] = 0.0
    x, iterations, solved = conjugate_gradients(by(H), np.copy, V, 1e-12, 2)
    assert iterations == 2
    assert_array_equal(solved, [False, True])


def test_a_right_side_ends_where_the_curvature_is_not_positive():
    """The solution stays where it was before; the others go on to theirs."""
    values = np.linspace(1.0, 2.0, K * D)
    values[0] = -0.5
    V = np.zeros((3, K * D))
    V[0, 0] = 1.0  # at once
    V[1, :2] = 1e-3, 1.0  # after a step
    V[2, 3:] = 1.0  # never
    V = V.reshape(3, K, D)
    products = []

    def product(part):
        products.append(len(part))
        return by(np.diag(values))(part)

    x, iterations, solved = conjugate_gradients(product, np.copy, V, 1e-9, 50)
    assert_array_equal(solved, [False, False, True])
    assert_array_equal(x[0], 0.0)
    # one step of steepest descent
    step = np.sum(V[1] ** 2) / np.sum(V[1].ravel() ** 2 * values)
    assert_allclose(x[1], step * V[1])
    assert_allclose(by(np.diag(values))(x[2:]), V[2:], atol=1e-8)
    assert products[:3] == [3, 2, 1] and set(products[3:]) == {1} and iterations == len(products)


def test_flat_directions_have_no_solution():
    x, iterations, solved = conjugate_gradients(
        np.zeros_like, np.copy, RNG.normal(size=(2, K, D)), 0.1, 9
    )
    assert iterations == 1 and not solved.any()
    assert_array_equal(x, 0.0)


def test_a_preconditioner_that_is_not_positive_solves_nothing():
    V = RNG.normal(size=(1, K, D))
    for factor in (-1.0, np.nan):
        x, iterations, solved = conjugate_gradients(by(H), lambda R, f=factor: f * R, V, 0.1, 9)
        assert iterations == 0 and not solved[0]
        assert_array_equal(x, 0.0)
