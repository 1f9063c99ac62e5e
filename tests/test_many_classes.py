"""More classes than a row has lanes: blocks of rows, lists of classes, and threads that score."""

from types import SimpleNamespace

import numpy as np
import pytest
import reference
from numpy.testing import assert_allclose, assert_array_equal
from test_solvers import Data, check_result, clusters
from threadpoolctl import threadpool_limits

from skattrib._svm import _crammer_singer, problem
from skattrib._svm.crammer_singer import crammer_singer
from skattrib._svm.screening import ListedScreening
from skattrib._svm.search import Search


def grouped(n, d, K, seed):
    """Rows around class means that lie in a few groups, so that few classes are near a row."""
    rng = np.random.default_rng(seed)
    means = rng.normal(size=(5, d))[np.arange(K) % 5] + 0.3 * rng.normal(size=(K, d))
    y = rng.integers(K, size=n)
    return np.maximum(means[y] + rng.normal(size=(n, d)), 0.0), y


@pytest.mark.parametrize("d", [1, 16, 127, 128, 129, 300])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("K", [17, 33, 100])
def test_scores_of_blocks_are_those_of_a_product(K, dtype, d):
    rng = np.random.default_rng(d)
    X, y = rng.normal(size=(70, d)).astype(dtype), rng.integers(K, size=70)
    search = Search(X, y, 0.1, K, None, 0.5, None)
    search.W[:, :d] = rng.normal(size=(K, d))
    search.b[:K] = rng.normal(size=K)
    slack = np.empty(70, dtype=np.float32)
    score = X.astype(float) @ search.W[:, :d].T + 0.5 * search.b[:K] + 1.0 - np.eye(K)[y]
    lost = 0.1 * (score.max(axis=1) - score[np.arange(70), y])
    assert_allclose(search.exact.score(search.rows, slack), lost.sum(), rtol=1e-12)
    second = np.sort(score, axis=1)[:, -2]
    top = lost == 0
    assert_allclose(slack[top], (score.max(axis=1) - second)[top], rtol=1e-6)
    assert (slack[~top] == -1).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("difficulty", [0.1, 1.0])
def test_classes_that_are_not_scored_would_not_move(monkeypatch, difficulty, dtype):
    """At every measure a class off a row's list is below its top, and the gap is that of all."""
    X, y = grouped(300, 40, 60, seed=3)
    X = X.astype(dtype)
    score, seen = ListedScreening.score, []

    def checked(self, search):
        listed, _ = self._split(self._due())
        rows = self.rows[listed]
        s = search.X[rows] @ search.augmented().T + 1.0 - np.eye(60)[search.y[rows]]
        duals = search.duals
        for i, own in zip(rows, s, strict=True):
            on_list = duals.classes[duals.start[i] :][: duals.count[i]]
            assert own.max() == own[on_list].max()
        gap = score(self, search)
        slack = np.empty(len(self.rows), dtype=np.float32)
        whole = search.exact.score(self.rows, slack)
        rounding = 1e-6 if search.single else 1e-12
        assert abs(gap - whole) <= rounding * search.primal(whole)
        seen.append(len(listed))
        return gap

    monkeypatch.setattr(ListedScreening, "score", checked)
    data = Data(X, y, 60)
    check_result(data, data.C(difficulty), data.solve(data.C(difficulty)))
    assert max(seen) > 100, seen


@pytest.mark.parametrize("K", [20, 60])
@pytest.mark.parametrize("bias", [False, True])
def test_lists_lead_to_the_solution_without_them(monkeypatch, bias, K):
    X, y = grouped(200, 8, K, seed=4)
    X[:40], y[:40] = X[40:80], y[40:80]
    X[80:90] = 0.0
    weight = np.random.default_rng(0).integers(0, 4, size=200).astype(float)
    data = Data(X, y, K, weight, bias)
    C = data.C(2.0)
    found = data.solve(C)
    check_result(data, C, found)
    monkeypatch.setattr(Search, "listed", False)
    plain = data.solve(C)
    check_result(data, C, plain)
    assert plain.n_iter > found.n_iter
    off = np.sum((plain.coef - found.coef) ** 2) + np.sum((plain.intercept - found.intercept) ** 2)
    room = sum(np.sqrt(2.0 * r.gap * r.objective) for r in (plain, found))
    assert np.sqrt(off) <= room + 1e-9


def test_lists_hold_the_support_and_the_highest_scores():
    X, y = grouped(200, 8, 50, seed=5)
    search = Search(X, y, 0.05, 50, None, 0.0, None)
    search.sweep(search.rows.copy())
    search.sum_anew()
    np.copyto(search.work[0], search.W)
    duals = search.duals
    before = reference.dense(duals.alpha(search.exact, search.rows))
    duals.make_room(search.rows, 6, search.worker, search.exact)
    slack, beyond = np.empty((2, len(search.rows)), dtype=np.float32)
    search.worker.score(search.rows, slack, beyond, np.inf)
    score = X @ search.augmented().T + 1.0 - np.eye(50)[y]
    for i in search.rows:
        part = slice(duals.start[i], duals.start[i] + duals.count[i])
        listed, values = duals.classes[part], duals.values[part]
        assert listed[0] == y[i] and len(set(listed)) == len(listed)
        support = listed[(values != 0) | (listed == y[i])]
        assert set(support) == {*np.flatnonzero(before[i]), y[i]}
        assert len(listed) == min(len(support) + 6, 50)
        if len(listed) == 50:
            assert beyond[search.rows == i] == np.inf
            continue
        others = np.delete(score[i], listed)
        chosen = np.setdiff1d(listed, support)
        assert score[i, chosen].min() >= others.max()
        assert beyond[search.rows == i] <= (score[i].max() - others.max()) * (1 + 1e-6)
    assert_array_equal(reference.dense(duals.alpha(search.exact, search.rows)), before)
    duals.drop_zeros(search.worker, search.exact)
    assert (duals.values[duals._entries()] != 0).sum() >= duals.count.sum() - 200
    assert_array_equal(reference.dense(duals.alpha(search.exact, search.rows)), before)


def test_threads_change_no_bit(monkeypatch):
    X, y = clusters(6000, 64, 300, seed=6)
    X = X.astype(np.float32)
    pools, executor = [], _crammer_singer.ThreadPoolExecutor

    def counted(threads):
        pools.append(threads)
        return executor(threads)

    monkeypatch.setattr(_crammer_singer, "ThreadPoolExecutor", counted)
    found = []
    for threads in (1, 2, 3):
        monkeypatch.setattr(problem, "blas_threads", lambda threads=threads: threads)
        found.append(crammer_singer(X, y, 0.01, tol=1e-2, random_state=0))
        assert max(pools, default=1) == threads
    for other in found[1:]:
        assert_array_equal(other.coef, found[0].coef)
        assert_array_equal(other.dual.toarray(), found[0].dual.toarray())
        assert other.gap == found[0].gap


def test_as_many_threads_as_blas_may_use():
    with threadpool_limits(1, "blas"):
        assert problem.blas_threads() == 1
    with threadpool_limits(2, "blas"):
        assert problem.blas_threads() == 2


def test_rows_times_classes_beyond_a_piece():
    """A block of such rows takes more multiplications than are made between looks at signals."""
    rng = np.random.default_rng(0)
    data = Data(rng.normal(size=(12, 2048)), np.arange(12), 1000)
    check_result(data, 1e-4, data.solve(1e-4))


def test_rows_are_not_settled_beyond_what_their_lists_are_good_for():
    """A class off the list may come up to the top however much slack there is on it."""

    def score(rows, slack, beyond, nearly):
        slack[:], beyond[:] = 0.05, 0.3
        return 0.0

    def score_listed(rows, slack):
        slack[:] = 10.0
        return 0.0

    search = SimpleNamespace(
        rows=np.zeros(1, dtype=np.int32),
        reach=np.ones(1),
        worker=SimpleNamespace(score=score, score_listed=score_listed),
        exact=None,
        duals=SimpleNamespace(make_room=lambda *_: None),
    )
    screening = ListedScreening(search)
    screening.score(search)
    screening.moved([0], 0.1)
    screening.score(search)
    assert len(screening.open()) == 0
    screening.moved([], 0.15)
    assert len(screening.open()) == 0
    screening.moved([], 0.1)
    assert_array_equal(screening.open(), [0])
