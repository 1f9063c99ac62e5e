"""The Crammer-Singer solver against LIBLINEAR, a generic QP solver and its own certificate.

For a feasible alpha, any W and W(alpha) = sum_i alpha_i x_i^T:

    P(W) - D(alpha) >= 1/2 ||W - W*||^2 + 1/2 ||W(alpha) - W*||^2

so tolerances are not chosen: they are gaps, and what float64 rounds (reference.rounding).
"""

import os
import signal
import subprocess
import sys
import textwrap
import time
import tracemalloc
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest
import reference
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.datasets import load_digits, load_iris, load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import scale
from sklearn.svm import LinearSVC

from skattrib._svm import _crammer_singer
from skattrib._svm.crammer_singer import crammer_singer
from skattrib._svm.search import Search

LAYOUTS = ("dense32", "dense64", "csr32", "csr64")
KERNELS = ("baseline", "avx2", "avx512")


@contextmanager
def instruction_set(name):
    before = _crammer_singer.instruction_set()
    _crammer_singer.instruction_set(name)
    try:
        yield
    finally:
        _crammer_singer.instruction_set(before)


def exists(name):
    try:
        with instruction_set(name):
            return True
    except ValueError:
        return False


HERE = [name for name in KERNELS if exists(name)]


@pytest.fixture(params=KERNELS)
def kernels(request):
    """Runs the test with one instruction set."""
    if request.param not in HERE:
        pytest.skip(f"this processor has no {request.param}")
    with instruction_set(request.param):
        assert _crammer_singer.instruction_set() == request.param
        yield request.param


def in_pairs(Ks):
    """Each two of K, instruction set and layout together; all three are in tests of the values."""
    triples = [
        (K, HERE[(i + j) % len(HERE)], layout)
        for i, K in enumerate(Ks)
        for j, layout in enumerate(LAYOUTS)
    ]
    return pytest.mark.parametrize("K, kernels, layout", triples, indirect=["kernels", "layout"])


@pytest.fixture(params=LAYOUTS)
def layout(request):
    return request.param


def laid_out(X, layout):
    X = np.ascontiguousarray(X, dtype=np.float32 if layout.endswith("32") else np.float64)
    return sparse.csr_array(X) if layout.startswith("csr") else X


@dataclass
class Data:
    """A problem without its C: what the solver and the oracles are given."""

    X: object
    y: np.ndarray
    K: int
    s: np.ndarray | None = None
    bias: bool = False

    @property
    def tol(self):
        """A gap that is in reach: float32 is good to 1e-5 while C ||x||^2 < 1e3."""
        return 1e-5 if self.X.dtype == np.float32 else 1e-7

    def laid_out(self, layout):
        return replace(self, X=laid_out(reference.dense(self.X), layout))

    def C(self, difficulty):
        """The C at which C mean ||x||^2 is the given value."""
        return difficulty / np.mean(np.sum(reference.dense(self.X) ** 2, axis=1))

    def solve(self, C, **options):
        options = {"tol": self.tol, "max_iter": 20_000, "random_state": 0} | options
        return crammer_singer(
            self.X,
            self.y,
            C,
            n_classes=self.K,
            sample_weight=self.s,
            fit_intercept=self.bias,
            **options,
        )

    def solve_short(self, C, **options):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            return self.solve(C, **options)

    def primal(self, r, C):
        return reference.primal(r.coef, r.intercept, self.X, self.y, C, self.s, self.bias)

    def dual(self, r):
        return reference.dual(reference.dense(r.dual), self.X, self.y, self.bias)

    def rounding(self, r, C):
        return reference.rounding(r.coef, r.intercept, self.X, self.y, C, self.s, self.bias)


def distance(r, W, b):
    return np.sqrt(np.sum((r.coef - W) ** 2) + np.sum((r.intercept - b) ** 2))


def check_result(data, C, r, tol=None):
    """Everything a result says about itself, whatever its stage of convergence."""
    tol = tol or data.tol
    n, d = data.X.shape
    alpha = reference.dense(r.dual)
    if data.K <= 64:
        assert isinstance(r.dual, np.ndarray)
    else:
        assert sparse.issparse(r.dual) and r.dual.format == "csr"
    assert r.dual.shape == (n, data.K) and r.dual.dtype == np.float64
    assert r.coef.shape == (data.K, d) and r.coef.dtype == np.float64
    assert r.intercept.shape == (data.K,) and r.intercept.dtype == np.float64
    assert np.isfinite(alpha).all() and np.isfinite(r.coef).all() and np.isfinite(r.intercept).all()

    assert reference.infeasibility(alpha, data.y, C, data.s) <= 1e-12
    W, b = reference.weights(alpha, data.X, data.bias)
    sizes = np.abs(alpha).T @ np.abs(reference.dense(data.X))
    # a feature of rows that have left the support keeps the rounding of what was subtracted
    residue = np.finfo(np.float64).eps * np.abs(W).max()
    assert (np.abs(r.coef - W) <= 1e-12 * sizes + residue).all()
    assert (np.abs(r.intercept - b) <= 1e-12 * np.abs(alpha).sum(axis=0)).all()
    if not data.bias:
        assert_array_equal(r.intercept, 0.0)

    P, D, lost = data.primal(r, C), data.dual(r), data.rounding(r, C)
    assert abs(r.objective - P) <= 1e-9 * P + lost
    assert r.gap >= 0
    assert abs(r.gap - (P - D) / P) <= 1e-9 * r.gap + lost / P
    assert r.converged == (r.gap <= tol)
    assert r.n_iter == int(r.n_iter)


QP_SOLUTIONS = {}


def qp_solution(data, C):
    """The QP solver's alpha, W, b, P and D; solved once for all layouts and kernels."""
    X = reference.dense(data.X)
    s = None if data.s is None else data.s.tobytes()
    key = (X.tobytes(), X.shape, data.y.tobytes(), s, data.K, data.bias, C)
    if key not in QP_SOLUTIONS:
        alpha, W, b, P = reference.solve_qp(X, data.y, C, data.s, data.bias, data.K)
        QP_SOLUTIONS[key] = alpha, W, b, P, reference.dual(alpha, X, data.y, data.bias)
    return QP_SOLUTIONS[key]


def check_against_qp(data, C, r):
    """Objective, coefficients and, where they are unique, duals of the QP solver."""
    alpha, W, b, P, D = qp_solution(data, C)
    lost = data.rounding(r, C) + reference.rounding(W, b, data.X, data.y, C, data.s, data.bias)
    assert (P - D) - lost <= 1e-7 * P  # the oracle's own gap, counted in all that follows
    gap = r.gap * r.objective
    # weak duality both ways: the optimum lies in both intervals [D, P]
    assert r.objective >= D - lost
    assert r.objective - gap <= P + lost
    assert abs(r.objective - P) <= gap + P - D + lost
    assert distance(r, W, b) <= np.sqrt(gap + lost) + np.sqrt(2 * (P - D + lost))

    rows = np.arange(len(data.y)) if data.s is None else np.flatnonzero(data.s)
    phi = reference.with_constant(data.X, data.bias)[rows]
    smallest = np.linalg.eigvalsh(phi @ phi.T)[0]
    if smallest > 1e-3 * np.trace(phi @ phi.T):
        # independent rows: ||alpha^T phi||^2 >= smallest ||alpha||^2
        off = np.linalg.norm(reference.dense(r.dual) - alpha)
        assert off <= (np.sqrt(gap + lost) + np.sqrt(P - D + lost)) / np.sqrt(smallest)
        return True
    return False


def clusters(n, d, K, seed=0, spread=1.0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % K
    X = rng.normal(size=(K, d))[y] + spread * rng.normal(size=(n, d))
    X[rng.random(X.shape) < 0.2] = 0.0
    # what float32 holds, so that every layout is the same problem
    return X.astype(np.float32).astype(np.float64), y


def plain(K, rng):
    return Data(*clusters(24, 5, K), K)


def weighted(K, rng):
    X, y = clusters(24, 5, K, seed=1)
    return Data(X, y, K, rng.choice([0.25, 1.0, 3.7], size=len(y)))


def with_zero_weights(K, rng):
    X, y = clusters(26, 4, K, seed=2)
    s = rng.choice([0.0, 1.0, 2.0], size=len(y))
    s[0], s[1] = 0.0, 1.0
    X[s == 0] *= 100
    return Data(X, y, K, s)


def with_repeated_rows(K, rng):
    X, y = clusters(12, 4, K, seed=3)
    # three of each row, one of them with another label
    return Data(np.tile(X, (3, 1)), np.r_[y, y, (y + 1) % K], K)


def with_zero_rows(K, rng):
    X, y = clusters(20, 4, K, seed=4)
    X[::4] = 0.0
    return Data(X, y, K, rng.choice([0.5, 1.0], size=len(y)))


def with_unweighted_class(K, rng):
    X, y = clusters(24, 4, K, seed=5)
    return Data(X, y, K, (y != 1).astype(float))


def with_absent_class(K, rng):
    X, y = clusters(24, 4, K, seed=6)
    return Data(X, y, K + 1)


def wider_than_long(K, rng):
    return Data(*clusters(7, 40, K, seed=7), K)


def two_rows(K, rng):
    X, _ = clusters(2, 3, 2, seed=8)
    return Data(X, np.array([0, K - 1]), K)


KINDS = {
    maker.__name__: maker
    for maker in (
        plain,
        weighted,
        with_zero_weights,
        with_repeated_rows,
        with_zero_rows,
        with_unweighted_class,
        with_absent_class,
        wider_than_long,
        two_rows,
    )
}


def small(kind, K, bias=False):
    return replace(KINDS[kind](K, np.random.default_rng(K)), bias=bias)


@cache
def deep_features():
    """2,000 rows of a network's hidden layer on shifted and noisy digits."""
    X, y = load_digits(return_X_y=True)
    rng = np.random.default_rng(0)
    rows = rng.integers(len(X), size=2000)
    images = X[rows].reshape(-1, 8, 8) / 16
    shifts = rng.integers(-1, 2, size=(2000, 2))
    images = [np.roll(im, by, axis=(0, 1)) for im, by in zip(images, shifts, strict=True)]
    images = np.reshape(images, (2000, 64)) + rng.normal(scale=0.1, size=(2000, 64))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        network = MLPClassifier((32,), learning_rate_init=0.01, max_iter=60, random_state=0)
        network.fit(images, y[rows])
    assert network.score(images, y[rows]) > 0.95
    features = np.maximum(images @ network.coefs_[0] + network.intercepts_[0], 0.0)
    return features.astype(np.float32).astype(np.float64), y[rows]


@cache
def real(name):
    if name == "deep":
        X, y = deep_features()
    else:
        load = {"iris": load_iris, "wine": load_wine, "digits": load_digits}[name]
        X, y = load(return_X_y=True)
        X = {"iris": X, "wine": scale(X), "digits": X / 16}[name]
    if name == "digits":
        X, y = X[:1000], y[:1000]
    return Data(X.astype(np.float32).astype(np.float64), y, int(y.max()) + 1)


# ---------------------------------------------------------------- LIBLINEAR


@cache
def liblinear(name, difficulty, bias, binary=False, weighted=False):
    """LinearSVC's W, b and the problem they solve."""
    data = replace(real(name), bias=bias)
    if binary:
        rows = data.y < 2
        data = replace(data, X=data.X[rows], y=data.y[rows], K=2)
    if weighted:
        data = replace(data, s=np.random.default_rng(0).choice([0.5, 1.0, 2.0], size=len(data.y)))
    C = data.C(difficulty)
    peer = LinearSVC(
        C=C,
        multi_class="crammer_singer",
        fit_intercept=bias,
        intercept_scaling=1,
        tol=1e-7,
        max_iter=40_000,
        random_state=0,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        peer.fit(data.X, data.y, data.s)
    W, b = peer.coef_, np.broadcast_to(peer.intercept_, len(peer.coef_))
    if binary:
        assert len(W) == 1
        W, b = np.vstack([-W / 2, W / 2]), np.r_[-b / 2, b / 2]
    return data, C, W, b


def check_against_liblinear(data, C, W, b, r, peer_gap=1e-6):
    P_peer = reference.primal(W, b, data.X, data.y, C, data.s, data.bias)
    gap, lost = r.gap * r.objective, data.rounding(r, C)
    D = r.objective - gap
    assert r.objective <= P_peer + gap + lost
    # LIBLINEAR's W, judged by our dual value, is near-optimal: both solve one problem
    assert -lost <= P_peer - D <= peer_gap * r.objective + gap
    assert distance(r, W, b) <= np.sqrt(gap) + np.sqrt(2 * (P_peer - D + lost))


@pytest.mark.parametrize(
    "name, difficulty, bias",
    # each two together
    [
        (name, difficulty, bool((i + j) % 2))
        for i, name in enumerate(["iris", "wine", "digits", "deep"])
        for j, difficulty in enumerate([1e-4, 1e-2, 1.0, 10.0])
    ],
)
def test_agrees_with_liblinear_on_real_data(name, difficulty, bias):
    data, C, W, b = liblinear(name, difficulty, bias)
    for layout in ("dense64", "dense32"):
        ours = data.laid_out(layout)
        r = ours.solve(C, tol=1e-6)
        check_result(ours, C, r, tol=1e-6)
        check_against_liblinear(ours, C, W, b, r)


@pytest.mark.parametrize("name", ["iris", "wine"])
def test_agrees_with_liblinear_on_every_code_path(name, kernels, layout):
    for difficulty, bias in [(0.1, False), (10.0, True)]:
        data, C, W, b = liblinear(name, difficulty, bias)
        ours = data.laid_out(layout)
        check_against_liblinear(ours, C, W, b, ours.solve(C, tol=1e-6))


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("name", ["iris", "wine", "digits"])
def test_binary_liblinear_has_the_difference_of_our_two_rows(name, bias):
    data, C, W, b = liblinear(name, 1.0, bias, binary=True)
    r = data.solve(C, tol=1e-9)
    check_against_liblinear(data, C, W, b, r)
    assert_allclose(r.coef[0], -r.coef[1], rtol=1e-12, atol=1e-14 * abs(r.coef).max())


@pytest.mark.parametrize("name", ["iris", "wine"])
def test_agrees_with_weighted_liblinear(name):
    data, C, W, b = liblinear(name, 1.0, True, weighted=True)
    check_against_liblinear(data, C, W, b, data.solve(C, tol=1e-8))


# ---------------------------------------------------------------- a generic QP solver


@pytest.mark.parametrize("K", [2, 3, 10, 16, 17, 20])
@pytest.mark.parametrize("kind", KINDS)
def test_agrees_with_qp_solver(kind, K):
    # a constant feature or none, each with every kind and every K
    data = small(kind, K, bool((list(KINDS).index(kind) + K) % 2))
    for difficulty in (0.05, 3.0, 100.0):
        C = data.C(difficulty)
        r = data.solve(C)
        check_result(data, C, r)
        assert r.converged
        unique = check_against_qp(data, C, r)
        assert unique or kind != "wider_than_long"


@pytest.mark.parametrize("kind", ["weighted", "with_zero_rows", "with_repeated_rows"])
@pytest.mark.parametrize("K", [3, 17, 70])
def test_agrees_with_qp_solver_on_every_code_path(kind, K, kernels, layout):
    # a constant feature or none, each on every code path
    data = small(kind, K, (kind == "weighted") != (K == 17))
    C = data.C(5.0)
    data = data.laid_out(layout)
    r = data.solve(C)
    check_result(data, C, r)
    assert r.converged
    check_against_qp(data, C, r)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("K", [2, 3, 17])
def test_agrees_with_qp_solver_at_large_C(K, bias, layout):
    X, y = clusters(12, 3, K, seed=9)
    data = Data(X, y, K, bias=bias)
    C = data.C(1e3)
    data = data.laid_out(layout)
    r = data.solve_short(C, max_iter=50_000)
    check_result(data, C, r)
    assert r.converged
    check_against_qp(data, C, r)


# ---------------------------------------------------------------- what a result says of itself


@in_pairs([3, 16, 17, 40, 70])
def test_results_are_feasible_and_honest_at_every_stage(K, kernels, layout):
    rng = np.random.default_rng(K)
    X, y = clusters(90, 11, K, seed=K)
    X[3] = 0.0
    X[20:30] = X[10:20]
    s = rng.choice([0.0, 0.5, 1.0, 2.0], size=len(y))
    for bias in (False, True):
        data = Data(X, y, K, s, bias).laid_out(layout)
        for difficulty in (0.1, 10.0):
            C = data.C(difficulty)
            gaps = []
            for max_iter in (1, 2, 3, 5, 50_000):
                r = data.solve_short(C, max_iter=max_iter, tol=1e-5)
                check_result(data, C, r, tol=1e-5)
                assert r.n_iter <= max_iter + 1
                gaps.append(r.gap)
            assert r.converged and gaps[-1] < gaps[0]
            assert_array_equal(reference.dense(r.dual)[s == 0], 0.0)


@pytest.mark.parametrize("name", ["digits", "deep"])
@pytest.mark.parametrize("difficulty", [0.1, 300.0])
def test_real_results_are_honest_at_every_stage(name, difficulty, layout):
    data = replace(real(name), bias=True).laid_out(layout)
    C = data.C(difficulty)
    for max_iter in (1, 15):
        r = data.solve_short(C, max_iter=max_iter, tol=1e-4)
        check_result(data, C, r, tol=1e-4)


def test_stops_at_the_asked_gap():
    data = real("digits")
    C = data.C(1.0)
    work = []
    for tol in (1e-1, 1e-3, 1e-5, 1e-8):
        r = data.solve(C, tol=tol)
        assert r.gap <= tol and r.converged
        work.append(r.n_iter)
    assert work == sorted(work) and work[0] < work[-1]


def test_warns_with_advice_when_stopped_short():
    data = real("digits")
    with pytest.warns(ConvergenceWarning, match=r"(?s)gap.*[Ss]cale.*C.*max_iter"):
        r = data.solve(data.C(100.0), max_iter=2)
    assert not r.converged and r.gap > 1e-7


def test_is_silent_when_converged(capfd):
    data = small("plain", 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data.solve(data.C(1.0))
    assert capfd.readouterr() == ("", "")


def test_rows_without_features_keep_their_loss():
    X, y = clusters(20, 4, 3)
    data = Data(X, y, 3)
    extended = Data(np.vstack([X, np.zeros((5, 4))]), np.r_[y, np.arange(5) % 3], 3)
    C = data.C(2.0)
    r, longer = data.solve(C, tol=1e-9), extended.solve(C, tol=1e-9)
    check_result(extended, C, longer, tol=1e-9)
    # xi = 1 whatever W
    assert abs(longer.objective - r.objective - 5 * C) <= longer.gap * longer.objective + 1e-12
    only_zeros = Data(np.zeros((4, 3)), np.array([0, 1, 2, 1]), 3)
    r = only_zeros.solve(0.7)
    check_result(only_zeros, 0.7, r)
    assert r.converged and r.objective == pytest.approx(2.8)


# ---------------------------------------------------------------- repeated rows


@in_pairs([3, 17, 70])
def test_equal_rows_have_equal_duals(K, kernels, layout):
    X, y = clusters(60, 5, K, seed=1)
    X[0, :2] = 0.0
    again = np.random.default_rng(0).permutation(60)[:30]
    again = np.r_[again, 0, again[:7], 0]
    X, y = np.vstack([X, X[again]]), np.r_[y, y[again]]
    if layout.startswith("dense"):
        X[-1][X[-1] == 0] = -0.0  # the same number
    for bias in (False, True):
        data = Data(X, y, K, bias=bias).laid_out(layout)
        C = data.C(5.0)
        for max_iter in (1, 4, 10_000):
            r = data.solve_short(C, max_iter=max_iter, tol=1e-5)
            check_result(data, C, r, tol=1e-5)
            alpha = reference.dense(r.dual)
            assert np.any(alpha[again])
            assert_allclose(alpha[60:], alpha[again], rtol=1e-12, atol=0)


@pytest.mark.parametrize("K", [3, 17, 70])
def test_stored_zeros_do_not_make_rows_differ(K, kernels):
    X, y = clusters(30, 5, K, seed=2)
    csr = sparse.csr_array(np.vstack([X, X]))
    stored = sparse.csr_array(np.ones((30, 5)))
    stored.data[:] = X.ravel()
    csr = sparse.vstack([sparse.csr_array(X), stored], format="csr")
    assert csr.nnz > 2 * np.count_nonzero(X)
    r = Data(csr, np.r_[y, y], K).solve(5 / np.mean(np.sum(X**2, axis=1)))
    alpha = reference.dense(r.dual)
    assert_allclose(alpha[:30], alpha[30:], rtol=1e-12, atol=0)


@pytest.mark.parametrize("K", [3, 17, 70])
def test_repeated_rows_share_in_proportion_to_weight(K, layout):
    X, y = clusters(40, 9, K, seed=3)
    s = np.random.default_rng(0).choice([0.5, 1.0, 3.0], size=40)
    parts = np.outer([0.125, 0.25, 0.0, 0.625], s).ravel()
    one = Data(X, y, K, s).laid_out(layout)
    split = Data(np.tile(X, (4, 1)), np.tile(y, 4), K, parts).laid_out(layout)
    C = one.C(5.0)
    r, r4 = one.solve(C), split.solve(C)
    check_result(split, C, r4)
    gaps = np.sqrt(r.gap * r.objective) + np.sqrt(r4.gap * r4.objective)
    assert distance(r, r4.coef, r4.intercept) <= gaps
    alpha = reference.dense(r4.dual)
    whole = alpha.reshape(4, 40, K).sum(axis=0)
    for part, share in zip(alpha.reshape(4, 40, K), [0.125, 0.25, 0.0, 0.625], strict=True):
        assert_allclose(part, share * whole, rtol=1e-12, atol=1e-15 * C)


def test_weight_two_is_two_rows():
    X, y = clusters(40, 6, 4, seed=4)
    s = np.where(np.arange(40) % 3, 1.0, 2.0)
    doubled = np.r_[np.arange(40), np.flatnonzero(s == 2)]
    one, two = Data(X, y, 4, s, True), Data(X[doubled], y[doubled], 4, None, True)
    C = one.C(4.0)
    r, r2 = one.solve(C, tol=1e-10), two.solve(C, tol=1e-10)
    gaps = np.sqrt(r.gap * r.objective) + np.sqrt(r2.gap * r2.objective)
    assert distance(r, r2.coef, r2.intercept) <= gaps
    check_result(two, C, r2, tol=1e-10)


def test_weight_zero_is_no_row(kernels, layout):
    X, y = clusters(50, 6, 4, seed=5)
    s = np.random.default_rng(0).choice([0.0, 1.0, 1.5], size=50)
    X[s == 0] *= 1e6
    whole, part = Data(X, y, 4, s), Data(X[s > 0], y[s > 0], 4, s[s > 0])
    C = part.C(3.0)
    r, r2 = whole.laid_out(layout).solve(C), part.laid_out(layout).solve(C)
    gaps = np.sqrt(r.gap * r.objective) + np.sqrt(r2.gap * r2.objective)
    assert distance(r, r2.coef, r2.intercept) <= gaps


@pytest.mark.parametrize("layout", ["dense64", "csr64"])
@pytest.mark.parametrize("K", [2, 17])
def test_rows_that_only_look_equal_are_solved_apart(K, layout):
    # the key by which equal rows are found is x.probe: (p2, 0) and (0, p1) have the same
    p1, p2 = np.random.default_rng(0).uniform(1.0, 2.0, 2)
    others = np.random.default_rng(1).normal(size=(10, 2)).astype(np.float32)
    X = np.vstack([[p2, 0.0], [0.0, p1], others])
    data = Data(X, np.r_[0, 0, np.arange(10) % K], K).laid_out(layout)
    for difficulty in (0.1, 10.0):
        C = data.C(difficulty)
        r = data.solve(C)
        check_result(data, C, r)
        check_against_qp(data, C, r)


# ---------------------------------------------------------------- sweep by sweep


@in_pairs([3, 10, 17, 40])
def test_sweeps_are_those_of_a_slow_reference(K, kernels, layout):
    X, y = clusters(90, 7, K, seed=14)
    bias = bool(K % 2)
    data = Data(X, y, K, None, bias).laid_out(layout)
    X = reference.dense(data.X)
    C = data.C(0.3)
    search = Search(data.X, y, C, K, None, bias, None)
    single = layout.endswith("32")
    if not single:
        # sparse rows of float64 are swept in float32 at first
        search.use_float64()
    exact = {"rtol": 1e-3 if single else 1e-9, "atol": (1e-4 if single else 1e-11) * C}
    alpha = np.zeros((90, K))
    rows, slack = search.rows, np.empty(90, dtype=np.float32)
    at_others = 0
    for seed in range(4):
        order = np.random.default_rng(seed).permutation(90).astype(np.int32)
        alpha, gap = reference.sweep(alpha, X, y, C, order, bias)
        _, found = search.sweep(order)
        assert_allclose(found, gap, rtol=exact["rtol"])
        assert_allclose(reference.dense(search.duals.alpha(search.exact, rows)), alpha, **exact)
        search.worker.score(rows, slack)
        expected = reference.slacks(alpha, *reference.weights(alpha, X, bias), X, y, C)
        at_others += np.count_nonzero((expected > 0) & (alpha[np.arange(90), y] == C))
        clear = abs(expected) > 1e-3
        assert_allclose(slack[clear], expected[clear], rtol=1e-3, atol=1e-3)
    assert clear.sum() > 60 and np.count_nonzero(expected > 0) > 5 and at_others > 0


# ---------------------------------------------------------------- warm start


@in_pairs([3, 10, 17, 70])
def test_warm_start_at_the_solution_stays_there(K, kernels, layout):
    X, y = clusters(200, 8, K, seed=6)
    X[50:60] = X[40:50]
    y[50:60] = y[40:50]
    X[7] = 0.0
    s = np.random.default_rng(0).choice([0.0, 1.0, 2.0], size=200)
    for bias in (False, True):
        data = Data(X, y, K, s, bias).laid_out(layout)
        C = data.C(8.0)
        cold = data.solve(C, tol=1e-5)
        start = cold.dual.copy()
        warm = data.solve(C, tol=1e-4, dual_init=start)
        check_result(data, C, warm, tol=1e-4)
        assert warm.converged and warm.n_iter <= 2 < cold.n_iter
        assert abs(warm.gap - cold.gap) <= 0.1 * cold.gap + 1e-6
        assert (abs(start - cold.dual)).max() == 0  # not written to


def test_warm_start_is_where_the_search_begins():
    data = real("digits")
    C = data.C(10.0)
    near = data.solve(C, tol=1e-3)
    cold = data.solve(C, tol=1e-4)
    warm = data.solve(C, tol=1e-4, dual_init=near.dual)
    assert warm.n_iter < cold.n_iter


@pytest.mark.parametrize("K", [3, 17, 70])
def test_any_warm_start_reaches_the_same_solution(K, layout):
    X, y = clusters(60, 5, K, seed=7)
    s = np.random.default_rng(0).choice([0.0, 1.0, 2.0], size=60)
    data = Data(X, y, K, s, True).laid_out(layout)
    C = data.C(5.0)
    cold = data.solve(C)
    rng = np.random.default_rng(1)
    starts = {
        "smaller C": data.solve(C / 10).dual,
        "larger C": data.solve(C * 10).dual,
        "zeros": np.zeros((60, K)),
        "infeasible": rng.normal(size=(60, K)) * 10 * C,
        "all positive": np.full((60, K), C),
        "all negative": np.full((60, K), -C),
        "CSR": sparse.csr_array(cold.dual),
    }
    for name, start in starts.items():
        warm = data.solve(C, dual_init=start)
        check_result(data, C, warm)
        assert warm.converged, name
        gaps = np.sqrt(warm.gap * warm.objective) + np.sqrt(cold.gap * cold.objective)
        assert distance(warm, cold.coef, cold.intercept) <= gaps, name


@pytest.mark.parametrize("start", [np.zeros((24, 2)), np.zeros((23, 3)), np.zeros(24)])
def test_warm_start_of_wrong_shape_is_refused(start):
    with pytest.raises(ValueError, match="dual_init"):
        small("plain", 3).solve(1.0, dual_init=start)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_warm_start_that_is_not_finite_is_refused(value):
    with pytest.raises(ValueError, match="dual_init"):
        small("plain", 3).solve(1.0, dual_init=np.full((24, 3), value))


# ---------------------------------------------------------------- inputs


@pytest.mark.parametrize("K", [3, 17, 70])
def test_a_seed_determines_every_bit(K, kernels, layout):
    data = Data(*clusters(300, 9, K, seed=8), K, None, True).laid_out(layout)
    C = data.C(20.0)
    first, second = (data.solve_short(C, max_iter=20, random_state=3) for _ in range(2))
    assert_array_equal(reference.dense(first.dual), reference.dense(second.dual))
    assert_array_equal(first.coef, second.coef)
    assert_array_equal(first.intercept, second.intercept)
    assert (first.objective, first.gap, first.n_iter) == (
        second.objective,
        second.gap,
        second.n_iter,
    )
    other = data.solve_short(C, max_iter=20, random_state=4)
    assert not np.array_equal(first.coef, other.coef)


def test_global_random_state_is_left_alone():
    np.random.seed(5)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    small("plain", 3).solve(1.0)
    assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


@pytest.mark.parametrize("K", [3, 17, 70])
def test_inputs_are_neither_modified_nor_need_be_writable(K, layout):
    X, y = clusters(60, 5, K, seed=9)
    s = np.linspace(0, 2, 60)
    data = Data(X, y, K, s, True).laid_out(layout)
    C = data.C(5.0)
    start = np.zeros((60, K))
    arrays = [data.y, data.s, start]
    parts = [data.X.data, data.X.indices, data.X.indptr] if sparse.issparse(data.X) else [data.X]
    arrays += parts
    copies = [a.copy() for a in arrays]
    for a in arrays:
        a.flags.writeable = False
    check_result(data, C, data.solve(C, dual_init=start))
    for a, before in zip(arrays, copies, strict=True):
        assert_array_equal(a, before)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_read_only_memory_map(dtype, tmp_path):
    data = real("digits")
    np.save(tmp_path / "X.npy", data.X.astype(dtype))
    mapped = replace(data, X=np.load(tmp_path / "X.npy", mmap_mode="r"))
    assert isinstance(mapped.X, np.memmap)
    C = data.C(1.0)
    r, r2 = mapped.solve(C, tol=1e-4), replace(data, X=np.array(mapped.X)).solve(C, tol=1e-4)
    assert_array_equal(r.coef, r2.coef)


def test_dense_rows_are_not_copied():
    X, y = clusters(3000, 400, 4, seed=10)
    X = X.astype(np.float32)
    data = Data(X, y, 4, None, True)
    C = data.C(0.01)
    data.solve(C, tol=1e-2)
    tracemalloc.start()
    data.solve(C, tol=1e-2)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < X.nbytes / 2


@pytest.mark.parametrize("K", [3, 17, 70])
def test_layouts_agree_within_their_certificates(K, kernels):
    X, y = clusters(150, 13, K, seed=11)
    bias = bool((K + HERE.index(kernels)) % 2)  # each with every K and every instruction set
    data = Data(X, y, K, np.linspace(0, 2, len(y)), bias)
    C = data.C(10.0)
    results = [data.laid_out(layout).solve(C) for layout in LAYOUTS]
    if K == 3:
        results.append(replace(data, X=sparse.csr_matrix(X)).solve(C))
    for r in results[1:]:
        gaps = np.sqrt(r.gap * r.objective) + np.sqrt(results[0].gap * results[0].objective)
        assert distance(r, results[0].coef, results[0].intercept) <= gaps


@pytest.mark.parametrize("index", [np.int32, np.int64])
def test_csr_index_types(index):
    X, y = clusters(40, 5, 3)
    csr = sparse.csr_array(X)
    csr.indices, csr.indptr = csr.indices.astype(index), csr.indptr.astype(index)
    data = Data(csr, y, 3)
    check_result(data, 1.0, data.solve(1.0))


@pytest.mark.parametrize("y_dtype", [np.int8, np.int32, np.int64, np.uint8])
def test_label_types(y_dtype):
    X, y = clusters(40, 5, 3)
    r = Data(X, y.astype(y_dtype), 3).solve(1.0)
    assert_array_equal(r.coef, Data(X, y, 3).solve(1.0).coef)


def test_n_classes_defaults_to_the_labels():
    X, y = clusters(40, 5, 3)
    assert crammer_singer(X, y, 1.0).coef.shape == (3, 5)


@pytest.mark.parametrize("convert", [np.asfortranarray, lambda X: np.repeat(X, 2, axis=1)[:, ::2]])
def test_other_memory_orders_are_right_or_refused(convert):
    X, y = clusters(40, 5, 3)
    try:
        r = Data(convert(X), y, 3).solve(1.0)
    except ValueError as reason:
        assert "order" in str(reason) or "contiguous" in str(reason)
    else:
        assert_array_equal(r.coef, Data(X, y, 3).solve(1.0).coef)


def test_csr_that_is_not_canonical_is_right_or_refused():
    X, y = clusters(40, 5, 3)
    csr = sparse.csr_array(X)
    twice = sparse.csr_array(
        (
            np.repeat(csr.data / 2, 2),
            np.repeat(csr.indices, 2),
            2 * csr.indptr,
        ),
        shape=X.shape,
    )
    try:
        r = Data(twice, y, 3).solve(1.0)
    except ValueError as reason:
        assert "CSR" in str(reason) or "canonical" in str(reason)
    else:
        check_result(Data(X, y, 3), 1.0, r)


X3, Y3 = clusters(9, 2, 3)
BAD = {
    "C zero": ({"C": 0.0}, "C"),
    "C negative": ({"C": -1.0}, "C"),
    "C nan": ({"C": np.nan}, "C"),
    "C inf": ({"C": np.inf}, "C"),
    "C text": ({"C": "1"}, "C"),
    "C beyond float64": ({"C": 1e160}, "C .*scale"),
    "C beyond the margin": ({"C": 1e25}, "C .*scale the features or lower C"),
    "C and rows beyond": ({"C": 1e15, "X": 1e8 * X3}, "C .*scale the features or lower C"),
    "C vanishing": ({"C": 1e-320}, "raise C"),
    "weights overflow": ({"C": 1e10, "sample_weight": np.full(9, 1e300)}, "weight.*scale"),
    "tol zero": ({"tol": 0.0}, "tol"),
    "tol negative": ({"tol": -1e-3}, "tol"),
    "tol nan": ({"tol": np.nan}, "tol"),
    "max_iter zero": ({"max_iter": 0}, "max_iter"),
    "max_iter fraction": ({"max_iter": 1.5}, "max_iter"),
    "weights negative": ({"sample_weight": np.r_[-1.0, np.ones(8)]}, "weight"),
    "weights nan": ({"sample_weight": np.r_[np.nan, np.ones(8)]}, "weight"),
    "weights inf": ({"sample_weight": np.r_[np.inf, np.ones(8)]}, "weight"),
    "weights all zero": ({"sample_weight": np.zeros(9)}, "weight"),
    "weights short": ({"sample_weight": np.ones(8)}, "weight"),
    "weights matrix": ({"sample_weight": np.ones((9, 1))}, "weight"),
    "X nan": ({"X": np.where(np.eye(9, 2), np.nan, X3)}, "X|x.*nan"),
    "X inf": ({"X": np.where(np.eye(9, 2), np.inf, X3)}, "X|x.*inf"),
    "X vector": ({"X": X3[:, 0].copy()}, "X"),
    "X integers": ({"X": np.ones((9, 2), dtype=int)}, "X|float"),
    "X empty": ({"X": np.ones((0, 2)), "y": np.zeros(0, dtype=int)}, "X|row"),
    "X no columns": ({"X": np.ones((9, 0))}, "X|feature"),
    "X csc": ({"X": sparse.csc_array(X3)}, "CSR"),
    "y short": ({"y": Y3[:8]}, "y"),
    "y matrix": ({"y": Y3[:, None]}, "y"),
    "y floats": ({"y": Y3.astype(float)}, "y"),
    "y negative": ({"y": Y3 - 1}, "y"),
    "y beyond n_classes": ({"n_classes": 2}, "y"),
    "many classes": ({"n_classes": 10**9}, "n_classes is 1,000,000,000, beyond .* without gaps"),
    "a large label": ({"y": np.where(Y3 == 2, 10**7, Y3)}, "n_classes is 10,000,001, beyond"),
    "one class": ({"y": np.zeros(9, dtype=int)}, "class"),
}


@pytest.mark.filterwarnings("error:overflow")
def test_a_start_of_tiny_duals():
    start = np.full((9, 3), -1e-320)
    found = crammer_singer(X3, Y3, 1.0, dual_init=start, tol=1e-9)
    expected = crammer_singer(X3, Y3, 1.0, tol=1e-9)
    assert_allclose(found.coef, expected.coef, atol=1e-4)


@pytest.mark.parametrize("case", BAD)
def test_bad_arguments_are_refused(case):
    change, message = BAD[case]
    arguments = {"X": X3, "y": Y3, "C": 1.0} | change
    with pytest.raises(ValueError, match=message):
        crammer_singer(**arguments)


# ---------------------------------------------------------------- scales


@pytest.mark.parametrize("factor", [1e-6, 1e6])
@pytest.mark.parametrize("name", ["iris", "wine"])
def test_scale_of_features_with_C_to_match(name, factor, layout):
    data = real(name)
    scaled = replace(data, X=data.X * factor).laid_out(layout)
    C = data.C(1.0)
    r, r2 = data.solve(C, tol=1e-9), scaled.solve(C / factor**2, tol=1e-6)
    check_result(scaled, C / factor**2, r2, tol=1e-6)
    assert r2.converged
    # float32 holds the scaled rows to 6e-8 only
    rounded = 1e-6 * np.linalg.norm(r.coef) if layout.endswith("32") else 0.0
    off = np.sqrt(r.gap * r.objective) + np.sqrt(r2.gap * r2.objective) * factor
    assert np.linalg.norm(r2.coef * factor - r.coef) <= off + rounded
    f = data.X @ r.coef.T
    best = np.sort(f, axis=1)
    decided = best[:, -1] - best[:, -2] > np.sqrt(2) * (off + rounded) * np.linalg.norm(
        data.X, axis=1
    )
    assert decided.mean() > 0.9
    same = np.argmax(reference.dense(scaled.X) @ r2.coef.T, axis=1) == np.argmax(f, axis=1)
    assert same[decided].all()


@pytest.mark.parametrize("factor", [1e-6, 1e6])
@pytest.mark.parametrize("K", [3, 17])
def test_scale_of_features_at_a_fixed_C(factor, K, layout):
    X, y = clusters(60, 5, K, seed=12)
    data = Data(X * factor, y, K).laid_out(layout)
    r = data.solve_short(1.0, max_iter=200, tol=1e-4)
    check_result(data, 1.0, r, tol=1e-4)
    assert r.converged or factor > 1
    if not r.converged:
        with pytest.warns(ConvergenceWarning):
            data.solve(1.0, max_iter=200, tol=1e-4)


@pytest.mark.parametrize("C", [1e-30, 1e-12, 1e12, 1e30])
@pytest.mark.parametrize("K", [3, 17])
def test_absurd_C(C, K, layout):
    data = Data(*clusters(60, 5, K, seed=13), K, None, True).laid_out(layout)
    try:
        r = data.solve_short(C, max_iter=100, tol=1e-4)
    except ValueError as reason:
        assert C == 1e30 and "scale" in str(reason)
    else:
        check_result(data, C, r, tol=1e-4)
        assert r.converged or C > 1


def test_no_score_moves_what_is_no_class():
    # in another process, which a write out of bounds may end; at difficulties that are refused
    code = textwrap.dedent(
        """
        import numpy as np
        from scipy import sparse
        from skattrib._svm import _crammer_singer, problem, search

        problem.MOST_DIFFICULT = np.inf
        np.seterr(all="ignore")
        rng = np.random.default_rng(1)
        for K in (3, 10, 17, 40):
            y, dense = np.arange(51) % K, rng.normal(size=(51, 8))
            start = rng.normal(size=(51, K))
            for dtype, size, C in [("f", 1e12, 1e10), ("f", 1e14, 1e20), ("d", 1e100, 1e100)]:
                for X in (dense * size, sparse.csr_array(dense * size)):
                    for name in sys.argv[1:]:
                        _crammer_singer.instruction_set(name)
                        one = search.Search(X.astype(dtype), y, C, K, None, True, start * C)
                        one.move(one.rows, 1.0)
                        one.work[0][:], one.work[1][:] = one.W, one.b
                        for _ in range(5):
                            one.sweep(one.rows.copy())
                        duals = one.duals
                        if one.listed:
                            duals.make_room(one.rows, 5, one.worker, one.exact)
                            slack, beyond = np.empty((2, len(one.rows)), dtype=np.float32)
                            one.worker.score(one.rows, slack, beyond, np.inf)
                            one.sweep(one.rows.copy(), listed=True)
                            one.worker.score_listed(one.rows, slack)
                        if K <= 16:
                            assert not duals.values[:, K:].any(), (K, dtype, size, name)
                        else:
                            assert (duals.count <= K).all(), (K, dtype, size, name)
                            used = duals.classes[duals._entries()]
                            assert used.min() >= 0 and used.max() < K, (K, dtype, size, name)
        """
    )
    code = "import sys" + code
    done = subprocess.run([sys.executable, "-c", code, *HERE], capture_output=True, text=True)
    assert done.returncode == 0, (done.returncode, done.stderr)


def test_features_of_very_different_scales(layout):
    X, y = clusters(60, 5, 3, seed=14)
    data = Data(X * np.logspace(-6, 6, 5), y, 3).laid_out(layout)
    for difficulty in (1.0, 1e6):
        C = data.C(difficulty)
        check_result(data, C, data.solve_short(C, max_iter=300, tol=1e-4), tol=1e-4)


# ---------------------------------------------------------------- threads and signals


def test_threads_give_the_serial_answers():
    problems = [
        Data(*clusters(140, 20, K, seed=K), K, None, bool(K % 2)).laid_out(layout)
        for K in (3, 10, 25, 70)
        for layout in LAYOUTS
    ]
    Cs = [data.C(3.0) for data in problems]
    serial = [data.solve(C, tol=1e-4) for data, C in zip(problems, Cs, strict=True)]
    with ThreadPoolExecutor(6) as pool:
        threaded = list(pool.map(lambda data, C: data.solve(C, tol=1e-4), problems * 2, Cs * 2))
    for r, r2 in zip(serial * 2, threaded, strict=True):
        assert_array_equal(r.coef, r2.coef)
        assert_array_equal(reference.dense(r.dual), reference.dense(r2.dual))
        assert (r.gap, r.n_iter) == (r2.gap, r2.n_iter)


def test_other_threads_run_during_a_solve():
    data = Data(*clusters(20_000, 100, 10, spread=3.0), 10)
    C = data.C(1.0)
    with ThreadPoolExecutor(1) as pool:
        solving = pool.submit(data.solve_short, C, max_iter=8, tol=1e-9)
        ticks, longest, last = 0, 0.0, time.perf_counter()
        while not solving.done():
            time.sleep(0.002)
            now = time.perf_counter()
            ticks, longest, last = ticks + 1, max(longest, now - last), now
        solving.result()
    assert ticks >= 5 and longest < 0.5


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_ctrl_c_stops_a_long_solve():
    # amid sweeps over few and many classes, and amid Newton steps over both
    stops = [(10, 0.2), (10, 1.5), (40, 1.0), (40, 3.5)]
    code = textwrap.dedent(
        f"""
        import signal
        import numpy as np
        from skattrib._svm.crammer_singer import crammer_singer

        signal.signal(signal.SIGINT, signal.default_int_handler)
        rng = np.random.default_rng(0)
        X = rng.normal(size=(20_000, 500)).astype(np.float32)
        for K, _ in {stops}:
            y = rng.integers(K, size=20_000)
            print("go", flush=True)
            try:
                crammer_singer(X, y, 1e3, n_classes=K, tol=1e-12, max_iter=10**6)
            except KeyboardInterrupt:
                print("interrupted", flush=True)
        """
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        try:
            for _, after in stops:
                assert child.stdout.readline() == "go\n", child.stderr.read()
                time.sleep(after)
                assert child.poll() is None
                sent = time.perf_counter()
                child.send_signal(signal.SIGINT)
                assert child.stdout.readline() == "interrupted\n"
                assert time.perf_counter() - sent < 3.0
            assert child.wait(timeout=10) == 0
        finally:
            child.kill()


# ---------------------------------------------------------------- many classes


@pytest.mark.parametrize("layout", ["dense32", "csr64"])
def test_a_thousand_classes(layout):
    n, d, K = 1500, 20, 1000
    rng = np.random.default_rng(0)
    y = rng.permutation(np.arange(n) % K)
    X = 2 * rng.normal(size=(K, d))[y] + rng.normal(size=(n, d))
    X[0] = 0.0
    data = Data(X, y, K, None, True).laid_out(layout)
    C = data.C(3.0)
    tracemalloc.start()
    r = data.solve(C, tol=1e-3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert r.converged
    assert peak < n * K * 8
    assert r.dual.nnz < n * K / 10
    check_result(data, C, r, tol=1e-3)


@pytest.mark.parametrize("layout", ["dense64", "csr32"])
def test_a_thousand_classes_at_the_first_stage(layout):
    n, d, K = 300, 8, 1000
    rng = np.random.default_rng(1)
    data = Data(rng.normal(size=(n, d)), rng.integers(K, size=n), K).laid_out(layout)
    for difficulty, max_iter in [(0.01, 1), (0.01, 1000), (10.0, 1), (10.0, 3)]:
        C = data.C(difficulty)
        r = data.solve_short(C, max_iter=max_iter, tol=1e-3)
        check_result(data, C, r, tol=1e-3)


# ---------------------------------------------------------------- random inputs


@st.composite
def problems(draw):
    n, d = draw(st.integers(2, 12)), draw(st.integers(1, 6))
    K = draw(st.sampled_from([2, 3, 4, 5, 18]))
    X = draw(st.lists(st.integers(-3, 3), min_size=n * d, max_size=n * d))
    y = draw(st.lists(st.integers(0, K - 1), min_size=n, max_size=n))
    s = draw(st.lists(st.sampled_from([0.0, 0.5, 1.0, 3.0]), min_size=n, max_size=n).filter(any))
    data = Data(np.reshape(X, (n, d)), np.array(y), K, np.array(s), draw(st.booleans()))
    C = draw(st.sampled_from([1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0]))
    return data.laid_out(draw(st.sampled_from(LAYOUTS))), C


@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(problems(), st.integers(0, 1000))
def test_random_problems(kernels, problem, seed):
    data, C = problem
    short = data.solve_short(C, max_iter=1, random_state=seed)
    check_result(data, C, short)
    r = data.solve_short(C, max_iter=20_000, random_state=seed)
    check_result(data, C, r)
    check_against_qp(data, C, r)
