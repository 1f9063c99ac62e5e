"""The proximal engine and the path, against a generic QP solver and the first engine."""

import warnings

import numpy as np
import pytest
import reference
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from test_solvers import (
    LAYOUTS,
    Data,
    check_against_qp,
    check_result,
    clusters,
    distance,
    real,
    small,
)

from skattrib._svm import crammer_singer as solver
from skattrib._svm import factors, newton_system, proximal, selected_rows
from skattrib._svm.crammer_singer import crammer_singer, crammer_singer_path
from skattrib._svm.search import Search

MODULES = [proximal, newton_system, factors, selected_rows]


def solve(data, C, engine, tol=None, max_iter=3000, seed=1, dual_init=None, canonical=False):
    tol = tol or data.tol
    search = Search(data.X, data.y, C, data.K, data.s, data.bias, dual_init)
    work = solver._solve(search, None, tol, max_iter, seed, 0, canonical, engine)
    return search.result(work, tol)


def certified(r):
    """How far W may be from the optimum."""
    return np.sqrt(r.gap * r.objective)


# ---------------------------------------------------------------- a generic QP solver


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("K", [2, 3, 10, 70])
@pytest.mark.parametrize(
    "kind", ["plain", "weighted", "with_zero_weights", "with_repeated_rows", "with_zero_rows"]
)
def test_agrees_with_qp_solver(kind, K, bias):
    data = small(kind, K, bias)
    for difficulty in (3.0, 1e4):
        C = data.C(difficulty)
        r = solve(data, C, "proximal")
        check_result(data, C, r)
        assert r.converged
        check_against_qp(data, C, r)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("K", [2, 3, 17])
def test_agrees_with_qp_solver_at_every_C(K, layout):
    X, y = clusters(30, 4, K, seed=9)
    data = Data(X, y, K, bias=True)
    for difficulty in (1e2, 1e4, 1e6):
        C = data.C(difficulty)
        r = solve(data.laid_out(layout), C, "auto", tol=1e-6)
        check_result(data, C, r, tol=1e-6)
        assert r.converged
        check_against_qp(data, C, r)


@pytest.mark.parametrize("difficulty", [1.0, 300.0, 1e5])
@pytest.mark.parametrize("name", ["iris", "wine", "digits", "deep"])
def test_converges_on_real_data_in_few_steps(name, difficulty):
    data = real(name)
    C = data.C(difficulty)
    r = solve(data, C, "proximal", tol=1e-5)
    check_result(data, C, r, tol=1e-5)
    assert r.converged and r.n_iter < 600


# ---------------------------------------------------------------- engines, layouts, starts


@pytest.mark.parametrize("K", [2, 10, 70])
def test_engines_agree(K):
    X, y = clusters(200, 8, K, seed=1)
    data = Data(X, y, K, np.linspace(0, 2, 200), True)
    C = data.C(5.0)
    first, second = (solve(data, C, engine, 1e-7) for engine in ("ascent", "proximal"))
    assert first.converged and second.converged
    assert distance(first, second.coef, second.intercept) <= certified(first) + certified(second)


@pytest.mark.parametrize("K", [3, 17, 70])
def test_layouts_agree(K):
    X, y = clusters(120, 7, K, seed=2)
    data = Data(X, y, K, np.linspace(0, 2, 120), True)
    C = data.C(300.0)
    results = [solve(data.laid_out(layout), C, "proximal", 1e-6) for layout in LAYOUTS]
    for r in results:
        assert r.converged
        off = distance(r, results[0].coef, results[0].intercept)
        assert off <= certified(r) + certified(results[0])


@pytest.mark.parametrize("K", [3, 17])
def test_every_way_to_newton_steps_agrees(K, monkeypatch):
    X, y = clusters(150, 6, K, seed=3)
    data = Data(X, y, K, None, True)
    C = data.C(200.0)
    usual = solve(data, C, "proximal", 1e-6)
    changes = {
        "conjugate gradients": {"MOST_FACTORIZED": 0, "ALWAYS_FACTORIZED": 0},
        "one average class": {
            "MOST_FACTORIZED": 0,
            "ALWAYS_FACTORIZED": 0,
            "LARGEST_PRECONDITIONER": 60,
        },
        "diagonal": {"MOST_FACTORIZED": 0, "ALWAYS_FACTORIZED": 0, "LARGEST_PRECONDITIONER": 0},
        "factors that follow nothing": {"LARGEST_BORDER": 0, "LARGEST_UPDATE": 0},
        "factors after conjugate gradients": {"ALWAYS_FACTORIZED": 0, "SHORT": 1},
        "unpaired": {"MOST_PAIRED": 0},
        "rows converted when needed": {"KEPT": 0},
        "candidate classes": {"CLASSES": 2, "CANDIDATES": 5},
    }
    if K <= 16:
        del changes["candidate classes"]
    both = ("dense64", "csr32")
    for k, (name, change) in enumerate(changes.items()):
        with monkeypatch.context() as patch:
            for constant, value in change.items():
                owner = next(module for module in MODULES if hasattr(module, constant))
                patch.setattr(owner, constant, value)
            # with many classes one layout or the other, each way being dear
            for layout in both if K <= 16 else both[k % 2 :][:1]:
                r = solve(data.laid_out(layout), C, "proximal", 1e-6)
                assert r.converged, (name, layout)
                check_result(data.laid_out(layout), C, r, tol=1e-6)
                off = distance(r, usual.coef, usual.intercept)
                assert off <= certified(r) + certified(usual), (name, layout)


@pytest.mark.parametrize("sparse_rows", [False, True])
@pytest.mark.parametrize("listed", [False, True])
@pytest.mark.parametrize("by_edges", [False, True])
def test_factors_follow_their_rows(by_edges, listed, sparse_rows, monkeypatch):
    """Whatever rows are freed and bound on the way, H^-1 is that of a dense H."""
    monkeypatch.setattr(factors, "LARGEST_BORDER", 10.0)
    monkeypatch.setattr(factors, "LARGEST_UPDATE", 10.0)
    rng = np.random.default_rng(0)
    n, d, K, width = 30, 4, 7, 5
    X = rng.normal(size=(n, d))
    rows = selected_rows.SelectedRows(sparse.csr_array(X) if sparse_rows else X, True, np.arange(n))
    phi = np.column_stack([X, np.ones(n)])
    scale = rng.uniform(0.1, 3.0, n)
    classes = np.array([rng.permutation(K)[:width] for _ in range(n)]) if listed else None
    width = width if listed else K
    free = rng.random((n, width)) < 0.4
    kept = newton_system.Kept()
    followed = None
    for _ in range(8):
        H = np.eye(K * (d + 1))
        for i in range(n):
            J = np.flatnonzero(free[i]) if classes is None else classes[i][free[i]]
            if len(J):
                e = np.isin(np.arange(K), J).astype(float)
                H += scale[i] * np.kron(
                    np.diag(e) - np.outer(e, e) / len(J), np.outer(phi[i], phi[i])
                )
        system = newton_system.NewtonSystem(rows, free.copy(), scale, classes, K)
        system.by_edges, system.paired = by_edges, not (sparse_rows or listed)
        G = rng.normal(size=(K, d + 1))
        found = system._factor(kept).solve(G)
        expected = np.linalg.solve(H, G.ravel()).reshape(G.shape)
        assert_allclose(found, expected, rtol=0, atol=1e-10 * abs(expected).max())
        followed = followed or kept.factor
        assert kept.factor is followed
        change = rng.integers(n, size=5)
        free[change] = rng.random((5, width)) < 0.5


@pytest.mark.parametrize("largest", [3.0, 3e6])
@pytest.mark.parametrize("fewest", [10, 1000])
def test_factors_are_rounded_only_where_that_is_harmless(fewest, largest, monkeypatch):
    """In float32 for many edges and an H near enough to I, unless exact ones are asked for."""
    monkeypatch.setattr(factors, "FEWEST_SINGLE", fewest)
    rng = np.random.default_rng(0)
    rows = selected_rows.SelectedRows(rng.normal(size=(30, 4)), 0.0, np.arange(30))
    free, scale = rng.random((30, 3)) < 0.7, rng.uniform(0.1, largest, 30)
    G, found = rng.normal(size=(3, 4)), []
    for exact in (True, False):
        system = newton_system.NewtonSystem(rows, free, scale, None, 3)
        system.by_edges, system.paired, kept = True, True, newton_system.Kept(exact)
        found.append(system._factor(kept).solve(G))
        changed = free.copy()
        changed[:3] = ~changed[:3]
        system = newton_system.NewtonSystem(rows, changed, scale, None, 3)
        system.by_edges, system.paired = True, True
        found[-1] = [found[-1], system._factor(kept).solve(G)]
        single = not exact and fewest == 10 and largest < factors.MOST_SINGLE
        assert kept.factor.upper.dtype == kept.factor.border.dtype == ("f4" if single else "f8")
    rounding = 1e-5 if fewest == 10 and largest < factors.MOST_SINGLE else 0.0
    assert_allclose(found[1], found[0], rtol=0, atol=rounding * abs(np.array(found[0])).max())


def test_a_preconditioner_serves_until_it_is_too_old(monkeypatch):
    built, most = [], []
    make, conjugate = newton_system.NewtonSystem._preconditioner, newton_system.conjugate_gradients

    def count(system):
        built.append(len(most))
        return make(system)

    def watch(product, precondition, V, tol, max_iter):
        found = conjugate(product, precondition, V, tol, max_iter)
        most.append((found[1], max_iter))
        return found

    monkeypatch.setattr(newton_system.NewtonSystem, "_preconditioner", count)
    monkeypatch.setattr(newton_system, "conjugate_gradients", watch)
    monkeypatch.setattr(newton_system, "MOST_FACTORIZED", 0)
    monkeypatch.setattr(newton_system, "ALWAYS_FACTORIZED", 0)
    data = Data(*clusters(150, 6, 3, seed=3), 3, None, True)
    r = solve(data, data.C(200.0), "proximal", 1e-6)
    assert r.converged
    assert 2 * len(built) < len(most) and len(built) > 1
    # one of them met its end after a few more iterations than it needed when it was new
    assert any(k and most[k - 1][0] == most[k - 1][1] < newton_system.LONG for k in built)


@pytest.mark.parametrize("size", [1e-60, 1e-30, 1e30])
def test_conjugate_gradients_work_in_any_unit(size, monkeypatch):
    """Scales of C beyond what float32 holds, as rows of that size bring along."""
    monkeypatch.setattr(newton_system, "MOST_FACTORIZED", 0)
    monkeypatch.setattr(newton_system, "ALWAYS_FACTORIZED", 0)
    X, y = clusters(100, 6, 17, seed=3)
    usual = solve(Data(X, y, 17, None, False), 10.0, "proximal", 1e-6)
    r = solve(Data(X * size, y, 17, None, False), 10.0 / size**2, "proximal", 1e-6)
    assert usual.converged and r.converged and r.n_iter < 2 * usual.n_iter
    off = distance(r, usual.coef / size, usual.intercept)
    assert off <= certified(r) + certified(usual) / size


@pytest.mark.parametrize("K", [3, 17, 70])
def test_order_of_rows_and_classes_does_not_matter(K):
    X, y = clusters(100, 6, K, seed=4)
    data = Data(X, y, K, np.linspace(0.5, 2, 100), True)
    C = data.C(100.0)
    rng = np.random.default_rng(0)
    rows, classes = rng.permutation(100), rng.permutation(K)
    r = solve(data, C, "proximal", 1e-7)
    turned = Data(X[rows], classes[y[rows]], K, data.s[rows], True)
    r2 = solve(turned, C, "proximal", 1e-7)
    off = distance(r, r2.coef[classes], r2.intercept[classes])
    assert off <= certified(r) + certified(r2)


@pytest.mark.parametrize("K", [3, 17, 70])
def test_repeated_rows_are_weights(K):
    X, y = clusters(60, 6, K, seed=5)
    again = np.r_[np.arange(60), np.arange(20), np.arange(20)]
    one = Data(X, y, K, np.where(np.arange(60) < 20, 3.0, 1.0))
    many = Data(X[again], y[again], K)
    C = one.C(1e3)
    r, r2 = (solve(data, C, "proximal", 1e-7) for data in (one, many))
    assert distance(r, r2.coef, r2.intercept) <= certified(r) + certified(r2)
    alpha = reference.dense(r2.dual)
    assert_allclose(alpha[60:80], alpha[:20], rtol=1e-12, atol=0)
    assert_allclose(alpha[80:], alpha[:20], rtol=1e-12, atol=0)


def test_a_solve_is_deterministic():
    data = real("deep")
    C = data.C(1e3)
    r, r2 = (solve(data, C, "auto", 1e-5) for _ in range(2))
    assert_array_equal(r.dual, r2.dual)
    assert (r.gap, r.n_iter) == (r2.gap, r2.n_iter)


def test_coef_init_must_fit():
    data = small("plain", 3)
    r = crammer_singer(data.X, data.y, 1.0)
    for start, shape in [(r.dual, (3, 9)), (r.dual, (2, data.X.shape[1])), (None, r.coef.shape)]:
        with pytest.raises(ValueError, match="coef_init"):
            crammer_singer(data.X, data.y, 1.0, dual_init=start, coef_init=np.zeros(shape))


@pytest.mark.parametrize("max_iter", [1, 5, 20, 60])
@pytest.mark.parametrize("K", [3, 70])
def test_honest_when_stopped_short(K, max_iter):
    data = Data(*clusters(150, 8, K, seed=6), K, None, True)
    C = data.C(1e4)
    r = solve(data, C, "auto", 1e-8, max_iter=max_iter)
    check_result(data, C, r, tol=1e-8)
    assert r.n_iter <= max_iter + 1


# ---------------------------------------------------------------- duals that are well defined


def dependent(K):
    """Rows in few dimensions, some of them the means of others: the duals are far from unique."""
    X, y = clusters(160, 6, K, seed=8)
    for k in range(40):
        X[120 + k] = (X[k] + X[k + 40]) / 2
        y[120 + k] = y[k]
    X = X.astype(np.float32).astype(np.float64)
    return Data(X, y, K, np.linspace(0.5, 2, 160), True)


@pytest.mark.parametrize(
    ("K", "difficulty", "layout"),
    [(K, v, "dense64") for K in (2, 5, 17) for v in (0.5, 30.0, 1e3)]
    + [(5, 30.0, "dense32"), (17, 1e3, "dense32"), (2, 0.5, "csr64"), (17, 30.0, "csr64")],
)
def test_duals_do_not_depend_on_the_way_to_them(K, difficulty, layout):
    data = dependent(K).laid_out(layout)
    C = data.C(difficulty)
    tol = 1e-5
    r = solve(data, C, "auto", tol, canonical=True)
    assert r.converged
    size = abs(r.dual).max()
    for engine, seed in [("ascent", 1), ("ascent", 2), ("proximal", 1)]:
        other = solve(data, C, engine, tol, 20_000, seed, canonical=True)
        if other.converged:
            assert_allclose(other.dual, r.dual, rtol=0, atol=1e-5 * size)
        else:
            assert engine == "ascent" and difficulty > 100
    rng = np.random.default_rng(0)
    rows, classes = rng.permutation(160), rng.permutation(K)
    back = np.argsort(rows)
    turned = Data(data.X[rows], classes[data.y[rows]], K, data.s[rows], True)
    other = solve(turned, C, "auto", tol, canonical=True)
    assert_allclose(other.dual[back][:, classes], r.dual, rtol=0, atol=1e-5 * size)


def nearest(B, cap):
    """The nearest points of simplexes of size cap, row by row, by bisection."""
    low, high = B.min(axis=1) - cap, B.max(axis=1)
    for _ in range(200):
        middle = (low + high) / 2
        over = np.maximum(B - middle[:, None], 0).sum(axis=1) >= cap
        low, high = np.where(over, middle, low), np.where(over, high, middle)
    return np.maximum(B - high[:, None], 0.0)


@pytest.mark.parametrize("difficulty", [0.5, 30.0, 300.0])
@pytest.mark.parametrize("K", [3, 17])
def test_duals_are_what_they_are_said_to_be(K, difficulty):
    """Maximizers of D(alpha) - sum_i ||alpha_i||^2 / (2 rho C s_i) for a power of four as rho."""
    data = dependent(K)
    C = data.C(difficulty)
    r = solve(data, C, "auto", 1e-5, canonical=True)
    S = data.X @ r.coef.T + r.intercept + 1.0 - np.eye(K)[data.y]
    errors = []
    for rho in 4.0 ** np.arange(2, 25):
        # stationary: beta is the projection of its centre plus the gradient's step
        cap = C * data.s[:, None]
        centre = cap * np.eye(K)[data.y]
        alpha = centre - nearest(centre + rho * cap * S, cap[:, 0])
        errors.append(abs(alpha - r.dual).max() / abs(r.dual).max())
    # one rho fits, and only one; it magnifies what W is rounded by
    assert sorted(errors)[0] < 5e-3 and sorted(errors)[1] > 0.1


def test_smaller_tolerances_approach_the_smallest_duals():
    data = dependent(5)
    C = data.C(10.0)
    norms = []
    for tol in (1e-3, 1e-4, 1e-5, 1e-6, 1e-7):
        r = solve(data, C, "auto", tol, canonical=True)
        norms.append(np.sum(r.dual**2 / data.s[:, None]))
    assert (np.diff(norms) >= -1e-9 * norms[-1]).all()
    steps = np.diff(norms)
    assert steps[-1] < 0.01 * norms[-1]


@pytest.mark.parametrize("layout", ["dense64", "dense32"])
def test_duals_that_are_not_settled_in_time_keep_the_gap(layout):
    """They stay as they were if those on the way have a gap above tol."""
    data = dependent(5).laid_out(layout)
    C = data.C(30.0)
    found = solve(data, C, "auto", 1e-5)
    settled = solve(data, C, "auto", 1e-5, canonical=True)
    assert found.converged and settled.n_iter > found.n_iter + 9
    stayed = []
    for more in range(1, 9):
        r = solve(data, C, "auto", 1e-5, found.n_iter + more, canonical=True)
        check_result(data, C, r, tol=1e-5)
        assert r.converged
        stayed.append(np.allclose(r.dual, found.dual, rtol=1e-12, atol=0))
    assert any(stayed)


@pytest.mark.parametrize("tol", [1e-30, 1e-300, 1e-320, 5e-324])
def test_duals_of_a_gap_of_zero_need_no_number_to_be_settled(tol):
    X, y = clusters(60, 5, 3)
    r = crammer_singer(X, y, 1e-3, tol=tol, canonical=True, random_state=0)
    assert r.converged and r.gap == 0.0
    check_result(Data(X, y, 3), 1e-3, r, tol=tol)


# ---------------------------------------------------------------- steps that fail


def test_a_step_cut_short_is_taken_back():
    """Whatever max_iter, D is about as high as with a smaller one."""
    data = Data(*clusters(150, 8, 2, seed=6), 2, None, True)
    C = data.C(1e4)
    results = [solve(data, C, "proximal", 1e-8, max_iter) for max_iter in range(30, 50)]
    D = np.array([r.objective * (1 - r.gap) for r in results])
    assert D.min() > 0 and (np.diff(D) >= -0.01 * D[:-1]).all()


def test_a_step_that_overflows_is_taken_back(monkeypatch):
    data = Data(*clusters(150, 8, 3, seed=6), 3, None, True)
    C = data.C(1e4)
    usual = solve(data, C, "proximal", 1e-6)
    solve_step, calls = proximal.Step.solve, []

    def overflow(step, *limits):
        met = solve_step(step, *limits)
        calls.append(step.rho)
        if len(calls) == 3:
            step.W, step.value = step.W * np.inf, step.value * np.inf
            return False
        return met

    monkeypatch.setattr(proximal.Step, "solve", overflow)
    r = solve(data, C, "proximal", 1e-6)
    check_result(data, C, r, tol=1e-6)
    assert r.converged and len(calls) > 3 and calls[3] < calls[2]
    assert distance(r, usual.coef, usual.intercept) <= certified(r) + certified(usual)


# ---------------------------------------------------------------- paths


def test_a_path_over_Cs_of_no_ratio_starts_anew():
    X, y = clusters(30, 4, 3)
    X *= 1e-70
    path = crammer_singer_path(X, y, Cs=[1e-190, 1e140], random_state=0)
    alone = crammer_singer(X, y, 1e140, random_state=0)
    assert path[1].converged
    assert_array_equal(path[1].coef, alone.coef)


@pytest.mark.parametrize("weight", [1e300, 1.7e308])
def test_huge_weights_at_a_tiny_C_are_weights_of_one(weight):
    X, y = clusters(60, 5, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (r,) = crammer_singer_path(
            X, y, Cs=[0.1 / weight], sample_weight=np.full(60, weight), random_state=0
        )
        (one,) = crammer_singer_path(X, y, Cs=[0.1], random_state=0)
    assert r.converged and r.train_accuracy == pytest.approx(one.train_accuracy)
    bound = certified(r) + certified(one)
    assert distance(r, one.coef, one.intercept) <= bound


@pytest.mark.parametrize("K", [2, 10, 70])
def test_path_agrees_with_single_solves(K):
    X, y = clusters(150, 8, K, seed=7)
    data = Data(X, y, K, np.linspace(0, 2, 150), True)
    Cs = [data.C(v) for v in (1e3, 0.1, 30.0, 1.0)] + [data.C(1e5)] * (K < 70)
    path = crammer_singer_path(
        X, y, Cs=Cs, n_classes=K, sample_weight=data.s, fit_intercept=True, tol=1e-6
    )
    assert len(path) == len(Cs)
    for C, r in zip(Cs, path, strict=True):
        assert sparse.issparse(r.dual) and r.dual.format == "csr" and r.seconds > 0
        assert r.C == C and r.n_support_per_class.shape == (K,)
        assert r.n_support_per_class.sum() == np.count_nonzero(abs(r.dual).sum(axis=1))
        right = np.argmax(X @ r.coef.T + r.intercept, axis=1) == y
        assert r.train_accuracy == pytest.approx(np.average(right, weights=data.s))
        single = data.solve(C, tol=1e-6)
        assert r.converged
        assert distance(r, single.coef, single.intercept) <= certified(r) + certified(single)
        dense = r.dual.toarray()
        assert reference.infeasibility(dense, y, C, data.s) <= 1e-12
        W, b = reference.weights(dense, X, True)
        assert_allclose(r.coef, W, atol=1e-10 * abs(W).max())
        assert_allclose(r.intercept, b, atol=1e-10 * abs(W).max())


def test_path_goes_forward_from_the_last_solution():
    data = real("digits")
    Cs = [data.C(v) for v in (1.0, 1.01)]
    path = crammer_singer_path(data.X, data.y, Cs=Cs, tol=1e-4)
    assert path[1].n_iter < path[0].n_iter


def test_path_takes_one_C_and_repeated_ones():
    data = small("plain", 3)
    path = crammer_singer_path(data.X, data.y, Cs=[1.0, 1.0], tol=1e-6)
    assert [r.converged for r in path] == [True, True]
    assert len(crammer_singer_path(data.X, data.y, Cs=2.0)) == 1


@pytest.mark.parametrize("Cs", [[], [0.0], [1.0, -1.0], [np.nan], ["1"]])
def test_path_refuses_bad_Cs(Cs):
    data = small("plain", 3)
    with pytest.raises(ValueError, match="C"):
        crammer_singer_path(data.X, data.y, Cs=Cs)
