"""The softmax loss against its formulas, and Newton's method: the same minimum by every path.

Oracle: reference_softmax.py. Derivatives are compared with central differences as well.
"""

import numpy as np
import pytest
import reference_softmax as reference
from numpy.testing import assert_allclose, assert_array_equal
from reference import with_constant
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning

from skattrib._softmax import newton as newton_module
from skattrib._softmax.hessian import KFAC, Cholesky
from skattrib._softmax.loss import SoftmaxLoss, contrasts
from skattrib._softmax.newton import newton, softmax_regression
from skattrib._softmax.preconditioners import ClassBlocks


def problem(K, n=120, d=4, soft=True):
    """Rows, targets that no head fits exactly, weights some of which are zero."""
    rng = np.random.default_rng(K)
    X = rng.normal(size=(n, d)) * np.linspace(0.3, 3.0, d)
    q = rng.dirichlet(np.ones(K), size=n) if soft else np.eye(K)[rng.permutation(n) % K]
    return X, q, rng.integers(0, 4, size=n) / 2.0


def penalties(d, kind):
    """(penalty of each column, whether there is a constant feature)."""
    if kind == "no intercept":
        return np.full(d, 0.7), False
    return np.append(np.full(d, 0.0 if kind == "none" else 0.7), 0.7 * (kind == "all")), True


KINDS = ("all", "free intercept", "none", "no intercept")
LAYOUTS = {
    "dense": np.ascontiguousarray,
    "float32": lambda X: X.astype(np.float32),
    "csr": sparse.csr_array,
}


@pytest.mark.parametrize("K", (2, 3, 10))
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", ("free intercept", "no intercept"))
def test_loss_and_derivatives_are_the_formulas(K, layout, kind):
    X, q, s = problem(K)
    X = X.astype(np.float32).astype(np.float64)
    penalty, fit_intercept = penalties(X.shape[1], kind)
    phi = with_constant(X, fit_intercept)
    loss = SoftmaxLoss(LAYOUTS[layout](X), q, s, penalty, fit_intercept)
    theta = np.random.default_rng(1).normal(size=loss.shape)
    z = loss.logits(theta)
    residuals = loss.at(z)
    assert_allclose(loss.value(theta, z), reference.objective(theta, phi, q, s, penalty), 1e-12)
    assert_allclose(residuals, reference.residuals(theta, phi, q, s), atol=1e-13)
    gradient = reference.gradient(theta, phi, q, s, penalty)
    assert_allclose(loss.gradient(theta, residuals), gradient, atol=1e-11)
    H = reference.hessian(theta, phi, s, penalty, 0.2)
    V = np.random.default_rng(2).normal(size=(3, *loss.shape))
    expected = (V.reshape(3, -1) @ H).reshape(V.shape)
    assert_allclose(loss.product(V, 0.2), expected, rtol=1e-11, atol=1e-11)
    Z = np.kron(contrasts(K), np.eye(loss.shape[1]))
    assert_allclose(loss.hessian(0.2), Z.T @ H @ Z, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("K", (2, 3))
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_constant_feature_of_any_size_is_a_column_of_it(K, layout):
    """And its weight is penalized like the others."""
    X, q, s = problem(K)
    X = X.astype(np.float32).astype(np.float64)
    given = LAYOUTS[layout](X)
    found = softmax_regression(
        given, q, 0.3, sample_weight=s, fit_intercept=True, intercept_scaling=2.5, tol=1e-12
    )
    column = np.column_stack([X, np.full(len(X), 2.5)])
    known = softmax_regression(column, q, 0.3, sample_weight=s, tol=1e-12)
    assert_allclose(found.coef, known.coef[:, :-1], atol=1e-10)
    assert_allclose(found.intercept, 2.5 * known.coef[:, -1], atol=1e-10)
    assert_allclose(found.residuals, known.residuals, atol=1e-10)


@pytest.mark.parametrize("K", (2, 3))
@pytest.mark.parametrize("t", (1e-3, 40.0))
def test_rows_of_another_unit_have_the_same_head(K, t):
    """X times t, C over t^2, and a constant feature times t."""
    X, q, s = problem(K)
    options = {"sample_weight": s, "fit_intercept": True, "tol": 1e-12}
    known = softmax_regression(X, q, 0.3, intercept_scaling=1.7, **options)
    found = softmax_regression(t * X, q, 0.3 / t**2, intercept_scaling=1.7 * t, **options)
    assert_allclose(found.coef * t, known.coef, atol=1e-10)
    assert_allclose(found.intercept, known.intercept, atol=1e-10)
    assert_allclose(found.residuals, known.residuals, atol=1e-10)


@pytest.mark.parametrize("K", (2, 3))
def test_derivatives_by_central_differences(K):
    X, q, s = problem(K)
    penalty, _ = penalties(X.shape[1], "all")
    loss = SoftmaxLoss(X, q, s, penalty, True)
    theta = np.random.default_rng(1).normal(size=loss.shape)
    gradient = loss.gradient(theta, loss.at(loss.logits(theta)))
    product = loss.product(np.eye(theta.size).reshape(-1, *theta.shape))
    h = 1e-5
    for one, row in zip(np.eye(theta.size), product, strict=True):
        step = h * one.reshape(theta.shape)
        ends = []
        for end in (theta + step, theta - step):
            z = loss.logits(end)
            ends.append((loss.value(end, z), loss.gradient(end, loss.at(z))))
        (high, high_gradient), (low, low_gradient) = ends
        assert_allclose((high - low) / (2 * h), np.sum(gradient * one.reshape(theta.shape)), 1e-6)
        assert_allclose((high_gradient - low_gradient) / (2 * h), row, rtol=1e-6, atol=1e-7)


def test_contrasts_are_an_orthonormal_basis_of_the_gauge():
    for K in (2, 3, 10):
        Z = contrasts(K)
        assert Z.shape == (K, K - 1)
        assert_allclose(Z.T @ Z, np.eye(K - 1), atol=1e-14)
        assert_allclose(Z.sum(axis=0), 0, atol=1e-14)


def test_sums_over_many_batches_are_weights():
    """70,000 rows are several batches, also of the Hessian: 100 rows, 700 times each."""
    rng = np.random.default_rng(0)
    X, q = rng.normal(size=(100, 16)), rng.dirichlet(np.ones(3), size=100)
    penalty = np.ones(17)
    many = SoftmaxLoss(np.tile(X, (700, 1)), np.tile(q, (700, 1)), np.ones(70000), penalty, True)
    few = SoftmaxLoss(X, q, np.full(100, 700.0), penalty, True)
    assert len(list(many.batches())) > 1
    theta = rng.normal(size=few.shape)
    V = rng.normal(size=(2, *few.shape))
    found = []
    for loss in (many, few):
        z = loss.logits(theta)
        gradient = loss.gradient(theta, loss.at(z))
        found.append((loss.value(theta, z), gradient, loss.product(V), loss.hessian()))
    for a, b in zip(*found, strict=True):
        assert_allclose(a, b, rtol=1e-10, atol=1e-9)


def test_large_logits_overflow_nowhere():
    X, q = np.array([[1e4], [-1e4]]), np.eye(2)
    loss = SoftmaxLoss(X, q, np.ones(2), np.zeros(1), False)
    theta = np.array([[-1.0], [1.0]])
    z = loss.logits(theta)
    assert_allclose(loss.value(theta, z), 4e4)
    assert_array_equal(loss.at(z), [[1, -1], [-1, 1]])


@pytest.mark.parametrize("K", (2, 3, 10))
@pytest.mark.parametrize("kind", KINDS)
def test_newton_finds_the_minimum(K, kind):
    X, q, s = problem(K, soft=False)
    penalty, fit_intercept = penalties(X.shape[1], kind)
    loss = SoftmaxLoss(X, q, s, penalty, fit_intercept)
    theta, error, step, n_iter, converged = newton(loss, np.zeros(loss.shape), 1e-10, 100)
    expected = reference.minimum(with_constant(X, fit_intercept), q, s, penalty)
    assert converged and step <= 1e-10 and 1 <= n_iter < 30
    assert_allclose(theta, expected, atol=1e-9 * np.abs(expected).max())
    assert_allclose(theta.sum(axis=0), 0, atol=1e-12)
    # a common shift of the start is none of the head's
    shifted, *_ = newton(loss, np.ones(loss.shape), 1e-10, 100)
    assert_allclose(shifted, theta, atol=1e-9 * np.abs(expected).max())
    # completeness needs every column penalized
    assert np.isnan(error) == (not (penalty > 0).all())


@pytest.mark.parametrize("K", (2, 3))
def test_weights_are_repetitions(K):
    X, q, _ = problem(K)
    count = np.random.default_rng(0).integers(0, 4, size=len(X))
    weighted = softmax_regression(X, q, 0.3, sample_weight=count.astype(float), tol=1e-12)
    repeated = softmax_regression(X.repeat(count, axis=0), q.repeat(count, axis=0), 0.3, tol=1e-12)
    assert_allclose(weighted.coef, repeated.coef, atol=1e-11)


PATHS = {
    "KFAC": (KFAC, False, False),
    "ClassBlocks": (ClassBlocks, False, True),
    "Cholesky": (Cholesky, True, True),
}


@pytest.mark.parametrize("K", (2, 3))
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("kind", KINDS)
def test_conjugate_gradients_find_the_same_minimum(K, path, kind, monkeypatch):
    """With each preconditioner that a head too large for a factorization may come to."""
    X, q, s = problem(K, soft=False)
    X = X * np.array([1e-2, 1.0, 1.0, 1e2])
    penalty, fit_intercept = penalties(X.shape[1], kind)
    loss = SoftmaxLoss(X, q, s, penalty, fit_intercept)
    direct, *_ = newton(loss, np.zeros(loss.shape), 1e-12, 100)
    wanted, factor, blocks = PATHS[path]
    used = []
    better = newton_module._better
    monkeypatch.setattr(newton_module, "DIRECT", 0)
    monkeypatch.setattr(newton_module, "STALE", -1)
    monkeypatch.setattr(Cholesky, "fits", staticmethod(lambda loss: factor))
    monkeypatch.setattr(ClassBlocks, "fits", staticmethod(lambda loss: blocks))

    def spy(solver, iterations):
        used.append(better(solver, iterations))
        return used[-1]

    monkeypatch.setattr(newton_module, "_better", spy)
    theta, *_ = newton(loss, np.zeros(loss.shape), 1e-12, 100)
    assert used and {type(solver) for solver in used} == {wanted}
    # in logits: where features differ by 1e4 in size, weights have no common scale
    z = loss.logits(direct)
    assert_allclose(loss.logits(theta), z, atol=1e-9 * np.abs(z).max())


@pytest.mark.parametrize("kind", (Cholesky, ClassBlocks, KFAC))
def test_a_given_preconditioner_changes_no_minimum(kind):
    """As refits use it: that of the full fit, for a fit without some rows."""
    X, q, s = problem(3, soft=False)
    loss = SoftmaxLoss(X, q, s, np.full(5, 0.7), True)
    theta, *_ = newton(loss, np.zeros(loss.shape), 1e-12, 100)
    loss.at(loss.logits(theta))
    less = loss.without(np.arange(5))
    found, *_, converged = newton(less, theta, 1e-12, 100, precondition=kind(loss))
    assert converged
    expected = reference.minimum(with_constant(X, True)[5:], q[5:], s[5:], loss.penalty)
    assert_allclose(found, expected, atol=1e-9)


def test_a_column_of_zeros_without_penalty_stays_zero():
    X, q, s = problem(3, soft=False)
    X[:, 1] = 0.0
    loss = SoftmaxLoss(X, q, s, np.zeros(4), False)
    theta, *_, converged = newton(loss, np.zeros(loss.shape), 1e-10, 100)
    assert converged
    assert_array_equal(theta[:, 1], 0)


@pytest.mark.parametrize("K", (2, 3))
@pytest.mark.parametrize("fit_intercept", (True, False))
def test_softmax_regression_weighs_the_loss_by_C(K, fit_intercept):
    """min C sum s l + 1/2 ||W||^2; for two classes the norm is that of the rows' difference."""
    X, q, s = problem(K)
    C = 0.05
    found = softmax_regression(X, q, C, sample_weight=s, fit_intercept=fit_intercept, tol=1e-11)
    penalty = np.full(X.shape[1] + fit_intercept, (2 if K == 2 else 1) / C)
    phi = with_constant(X, fit_intercept)
    theta = reference.minimum(phi, q, s, penalty)
    assert_allclose(found.coef, theta[:, : X.shape[1]], atol=1e-10)
    assert_allclose(found.intercept, theta[:, X.shape[1]] if fit_intercept else 0, atol=1e-10)
    assert found.converged and found.completeness_error <= 1e-11


def test_too_few_steps_warn_and_say_so():
    X, q, s = problem(3, soft=False)
    with pytest.warns(ConvergenceWarning, match="1 Newton steps"):
        found = softmax_regression(X, q, 1e4, max_iter=1)
    assert not found.converged and found.n_iter == 1 and found.completeness_error > 1e-6
