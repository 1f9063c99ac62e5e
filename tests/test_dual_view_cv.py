"""Paths over C and cross-validation along them: single solves, GridSearchCV, the selection rule."""

import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn import config_context, get_config
from sklearn.datasets import load_digits, load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, scale

from skattrib import (
    DualViewExplainer,
    DualViewExplainerCV,
    fidelity_scorer,
    sparsest_within_one_standard_error,
)
from skattrib._svm import crammer_singer as solver
from skattrib._svm.crammer_singer import crammer_singer, crammer_singer_path

X, Y = load_iris(return_X_y=True)
X = scale(X)
CS = [0.1, 1e-4, 1e-2, 1e-3]
FOLDS = StratifiedKFold(3, shuffle=True, random_state=0)


@pytest.mark.parametrize("layout", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_a_path_is_its_single_solves(layout, fit_intercept):
    options = {"fit_intercept": fit_intercept, "tol": 1e-9, "max_iter": 100_000, "random_state": 0}
    path = crammer_singer_path(layout(X), Y, Cs=CS, **options)
    for C, found in zip(CS, path, strict=True):
        alone = crammer_singer(layout(X), Y, C, **options)
        assert found.converged and found.gap <= 1e-9 and found.seconds > 0
        assert isinstance(found.dual, sparse.csr_array)
        assert_allclose(found.objective, alone.objective, rtol=3e-9)
        assert_allclose(found.coef, alone.coef, atol=1e-3 * np.abs(alone.coef).max())
        assert_allclose(found.dual.T @ X, found.coef, atol=1e-12)


def test_a_path_starts_where_it_was(monkeypatch):
    """Warm starts: the duals of the next smaller C, grown with C."""
    starts = []

    class Recorded(solver.Search):
        def __init__(self, X, y, C, n_classes, sample_weight, fit_intercept, dual_init):
            starts.append((C, dual_init))
            super().__init__(X, y, C, n_classes, sample_weight, fit_intercept, dual_init)

    monkeypatch.setattr(solver, "Search", Recorded)
    path = crammer_singer_path(X, Y, Cs=CS)
    assert [C for C, _ in starts] == sorted(CS) and starts[0][1] is None
    assert_allclose(starts[1][1].toarray(), 10 * path[1].dual.toarray())


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_folds_see_the_configuration_of_scikit_learn(n_jobs):
    def score(head, X, y):
        return float(get_config()["assume_finite"])

    search = DualViewExplainerCV(Cs=[1e-3], cv=3, scoring=score, n_jobs=n_jobs)
    with config_context(assume_finite=True):
        assert_array_equal(search.fit(X, Y).scores_, 1.0)
    assert_array_equal(search.fit(X, Y).scores_, 0.0)


@pytest.mark.parametrize("Cs", [[], [0.0], [1.0, -1.0], [np.nan]])
def test_bad_paths(Cs):
    with pytest.raises(ValueError, match="C"):
        crammer_singer_path(X, Y, Cs=Cs)


def test_scores_are_those_of_a_grid_search():
    options = {"tol": 1e-8, "random_state": 0}
    search = DualViewExplainerCV(Cs=CS, cv=FOLDS, **options).fit(X, Y)
    grid = GridSearchCV(DualViewExplainer(**options), {"C": CS}, cv=FOLDS).fit(X, Y)
    for k, scores in enumerate(search.scores_):
        assert_array_equal(scores, grid.cv_results_[f"split{k}_test_score"])
        assert_array_equal(search.cv_results_[f"split{k}_test_score"], scores)
    for name in ("mean_test_score", "std_test_score", "rank_test_score"):
        assert_allclose(search.cv_results_[name], grid.cv_results_[name])
    assert grid.best_params_["C"] == search.C_
    alone = DualViewExplainer(C=search.C_, **options).fit(X, Y)
    assert_allclose(search.decision_function(X), alone.decision_function(X), atol=1e-3)
    assert isinstance(search.dual_coef_, np.ndarray)
    assert search.attribute(X).shape == (150, 150) and search.dual_gap_ <= 1e-8
    parallel = DualViewExplainerCV(Cs=CS, cv=FOLDS, n_jobs=2, **options).fit(X, Y)
    assert_array_equal(parallel.scores_, search.scores_)


def test_facts_of_the_path():
    search = DualViewExplainerCV(Cs=CS, cv=FOLDS, tol=1e-6, random_state=0).fit(X, Y)
    facts = {name: [] for name in ("n_support", "train_score", "n_support_per_class")}
    for train, _ in FOLDS.split(X, Y):
        for C in CS:
            e = DualViewExplainer(C=C, tol=1e-6, random_state=0).fit(X[train], Y[train])
            facts["n_support"].append(len(e.support_))
            facts["train_score"].append(e.score(X[train], Y[train]))
            facts["n_support_per_class"].append(np.bincount(Y[train][e.support_], minlength=3))
    for name, values in facts.items():
        expected = np.reshape(values, (3, 4, *np.shape(values)[1:])).mean(axis=0)
        assert_allclose(search.path_[name], expected, atol=2)
    assert (search.path_["gap"] <= 1e-6).all() and (search.path_["seconds"] > 0).all()
    assert_allclose(search.path_["n_support_per_class"].sum(axis=1), search.path_["n_support"])


def test_grid_around_the_difficulty_of_the_rows():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        search = DualViewExplainerCV(Cs=3, cv=2, max_iter=5).fit(7 * X, Y)
    assert_allclose(search.Cs_ * np.mean(np.sum((7 * X) ** 2, axis=1)), [1e-4, 1, 1e4])


def results(mean, error=0.0, support=None, C=(1.0, 10.0, 100.0), name="param_C"):
    """Two folds whose mean has the standard error `error`."""
    mean = np.asarray(mean)
    out = {"mean_test_score": mean, name: np.asarray(C)}
    out |= {"split0_test_score": mean - error, "split1_test_score": mean + error}
    return out if support is None else out | {"mean_n_support": np.asarray(support)}


def test_the_sparsest_within_one_standard_error():
    rule = sparsest_within_one_standard_error
    assert rule(results([0.8, 0.9, 0.7])) == 1
    assert rule(results([0.9, 0.85, 0.7], 0.1)) == 1
    assert rule(results([0.9, 0.85, 0.7], 0.3)) == 2
    assert rule(results([0.9, 0.85, 0.7], 0.01)) == 0
    # the standard deviation of two folds has one degree of freedom
    assert rule(results([0.9, 0.81, 0.7], 0.1)) == 1
    assert rule(results([0.9, 0.79, 0.7], 0.1)) == 0
    # the rows that are counted come first
    assert rule(results([0.9, 0.85, 0.8], 0.2, support=[30, 10, 20])) == 1
    assert rule(results([0.9, 0.9, 0.1], name="param_dualviewexplainer__C")) == 1
    with pytest.raises(ValueError, match="one parameter C"):
        rule(results([0.9], name="param_tol"))


def test_the_rule_serves_both_searches():
    options = {"tol": 1e-8, "random_state": 0}
    rule = sparsest_within_one_standard_error
    search = DualViewExplainerCV(Cs=CS, cv=FOLDS, refit=rule, **options).fit(X, Y)
    model = make_pipeline(StandardScaler(), DualViewExplainer(**options))
    grid = GridSearchCV(model, {"dualviewexplainer__C": CS}, cv=FOLDS, refit=rule).fit(X, Y)
    assert grid.best_params_["dualviewexplainer__C"] == search.C_
    best = DualViewExplainerCV(Cs=CS, cv=FOLDS, **options).fit(X, Y)
    assert len(search.support_) <= len(best.support_)


def test_fidelity():
    Z, z = load_digits(n_class=4, return_X_y=True)
    forest = RandomForestClassifier(20, random_state=0).fit(Z, z)
    score = fidelity_scorer(forest)
    assert score(forest, Z) == 1.0
    e = DualViewExplainer(C=1e-5, random_state=0).fit(Z[:300], forest.predict(Z[:300]))
    same = e.predict(Z[300:]) == forest.predict(Z[300:])
    assert score(e, Z[300:], np.zeros(len(same))) == same.mean() > 0.9
    weight = np.arange(len(same))
    assert score(e, Z[300:], sample_weight=weight) == pytest.approx(
        np.average(same, weights=weight)
    )
    search = DualViewExplainerCV(Cs=[1e-7, 1e-4], cv=3, scoring=score, n_jobs=2)
    assert search.fit(Z, forest.predict(Z)).scores_.max() > 0.9


@pytest.mark.parametrize("Cs", [[], [0.0, 1.0], [np.nan], [[1.0]]])
def test_bad_grids(Cs):
    with pytest.raises(ValueError, match="Cs must be"):
        DualViewExplainerCV(Cs=Cs).fit(X, Y)


@pytest.mark.parametrize("Cs", [0, 10_001, 10**9, 2**63, 10**30])
def test_absurd_numbers_of_Cs(Cs):
    with pytest.raises(ValueError, match=r"'Cs' parameter .* in the range \[1, 10000\]"):
        DualViewExplainerCV(Cs=Cs).fit(X, Y)


ROWS = np.arange(10)


@pytest.mark.parametrize(
    "cv",
    [[], [1, 2], ["ab"], [(ROWS, ROWS, ROWS)], [(ROWS, 3)], [(ROWS, [])], [(ROWS, ROWS + 0.5)]]
    + [[(ROWS, [10**6])], np.zeros((3, 2)), pd.DataFrame({"f0": [1.0], "f1": [2.0]})],
    ids=str,
)
def test_folds_that_are_none(cv):
    with pytest.raises(ValueError, match="cv gives no folds, or other things than pairs"):
        DualViewExplainerCV(Cs=CS, cv=cv).fit(X, Y)
    with pytest.raises(ValueError, match="cv must be a list of pairs of training and test rows"):
        DualViewExplainerCV(Cs=CS, cv=sparse.bsr_array(np.eye(2))).fit(X, Y)


def test_folds_may_be_masks():
    test = np.arange(len(Y)) % 3 == 0
    masks = DualViewExplainerCV(Cs=CS, cv=[(~test, test)], random_state=0).fit(X, Y)
    rows = DualViewExplainerCV(
        Cs=CS, cv=[(np.flatnonzero(~test), np.flatnonzero(test))], random_state=0
    ).fit(X, Y)
    assert_array_equal(masks.scores_, rows.scores_)


def test_a_rule_that_chooses_nothing():
    with pytest.raises(ValueError, match="refit must return the index"):
        DualViewExplainerCV(Cs=CS, cv=2, refit=lambda results: 4).fit(X, Y)
