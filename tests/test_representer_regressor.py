"""RepresenterRegressor: representer points of regressions, counts, labels and layers."""

import pickle
import warnings

import numpy as np
import pytest
import reference
import reference_regression
from numpy.testing import assert_allclose, assert_array_equal
from regressor_cases import Scaled, fitted, laid_out, layouts, phi_of, problem
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import PoissonRegressor, Ridge

from skattrib import RepresenterExplainer, RepresenterRegressor
from skattrib._regression import loss as losses
from skattrib._regression import newton

NAMES = sorted(reference_regression.ACTIVATIONS)
each = pytest.mark.parametrize("name", NAMES)


# the optimum


@each
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_optimum_is_that_of_the_definition(name, fit_intercept):
    X, t, weight = problem(name)
    e = fitted(name, X, t, weight, C=0.7, fit_intercept=fit_intercept)
    phi = phi_of(X, float(fit_intercept))
    for u in range(3):
        w = reference_regression.fit(name, phi, t[:, u], weight, 0.7)
        found = np.append(e.coef_[u], e.intercept_[u] if fit_intercept else [])
        assert_allclose(found, w, atol=2e-6)
        alpha = np.zeros(len(X))
        alpha[e.support_] = e.dual_coef_[u]
        expected = reference_regression.alphas(name, phi, t[:, u], weight, 0.7, found)
        assert_allclose(alpha, expected, atol=1e-12)
        assert_allclose(alpha @ phi, found, rtol=0, atol=1e-9)
    assert e.completeness_error_ <= 1e-10 and (e.dual_coef_ != 0).any(axis=0).all()


@pytest.mark.parametrize("C", [0.3, 30.0])
def test_relu_is_a_quadratic_program(C):
    X, t, weight = problem("relu")
    e = fitted("relu", X, t, weight, C=C)
    for u in range(3):
        w = reference_regression.relu_fit(phi_of(X, 1.0), t[:, u], weight, C)
        assert_allclose(np.append(e.coef_[u], e.intercept_[u]), w, atol=1e-6)


@layouts
@pytest.mark.parametrize("shape", [(40, 5), (10, 25)])
def test_identity_is_ridge(layout, shape):
    X, t, weight = problem("identity", *shape)
    e = fitted("identity", laid_out(X, layout), t, weight, C=2.0, fit_intercept=False)
    ridge = Ridge(alpha=0.5, fit_intercept=False, solver="cholesky").fit(X, t, weight)
    assert_allclose(e.coef_, ridge.coef_, rtol=0, atol=1e-10)
    assert e.n_iter_ == 1


def test_exp_is_poisson_regression():
    X, t, weight = problem("exp")
    e = fitted("exp", X, t[:, 0], weight, C=0.5, fit_intercept=False)
    # PoissonRegressor averages over weights, and halves its penalty
    model = PoissonRegressor(
        alpha=2.0 / weight.sum(), fit_intercept=False, solver="newton-cholesky", tol=1e-12
    ).fit(X, t[:, 0], weight)
    assert_allclose(e.coef_[0], model.coef_, atol=1e-9)
    assert_allclose(e.predict(X), model.predict(X), rtol=1e-9)


@pytest.mark.parametrize("C", [0.5, 1e4, "scale"])
def test_sigmoid_of_labels_is_the_binary_representer(C):
    X, t, weight = problem("sigmoid")
    e = fitted("sigmoid", X, t[:, 0], weight, C=C)
    head = RepresenterExplainer(C=C, tol=1e-10).fit(X, t[:, 0], weight)
    assert e.C_ == head.C_
    assert_allclose(e.coef_, head.coef_, rtol=1e-7, atol=1e-9)
    assert_allclose(e.decision_function(X), head.decision_function(X), rtol=1e-7, atol=1e-8)
    assert_allclose(e.predict(X), head.predict_proba(X)[:, 1], atol=1e-8)
    T = head.attribute(X[:3], target=head.classes_[1])
    assert_allclose(e.attribute(X[:3]), T, rtol=0, atol=1e-7 * np.abs(T).max())
    assert_allclose(e.base_value(X[:3]), head.base_value(X[:3], 1.0), rtol=1e-7)


def test_activation_that_is_given():
    X, t, _ = problem("identity")
    e = fitted(Scaled(), X, t, C=0.5)
    # 1/2 (sqrt(2) z)^2 - t z: ridge of t / sqrt(2) on sqrt(2) x
    ridge = fitted("identity", np.sqrt(2) * X, t / np.sqrt(2), C=0.5, fit_intercept=False)
    assert_allclose(fitted(Scaled(), X, t, C=0.5, fit_intercept=False).coef_, ridge.coef_)
    assert_allclose(e.predict(X), 2 * e.decision_function(X))
    assert_allclose(pickle.loads(pickle.dumps(e)).predict(X), e.predict(X))


# attributions


@each
@layouts
@pytest.mark.parametrize("intercept_share", [True, False])
def test_attributions_and_base_value_sum_to_the_output(name, layout, intercept_share):
    X, t, weight = problem(name)
    X = laid_out(X, layout)
    e = fitted(name, X, t, weight, C="scale", intercept_share=intercept_share)
    z = e.decision_function(X)
    V = np.random.default_rng(0).normal(size=(40, 3))
    rows = np.arange(40) % 3
    for target, expected in [(2, z[:, 2]), (rows, z[np.arange(40), rows]), (V, (V * z).sum(1))]:
        T = e.attribute(X, target)
        assert T.shape == (40, 40) and T.dtype == X.dtype
        found = T.sum(axis=1, dtype=float) + e.base_value(X, target)
        atol = 2e-9 * np.abs(z).max() + 64 * np.finfo(X.dtype).eps * np.abs(T).sum(axis=1).max()
        assert_allclose(found, expected, atol=atol)
        assert_allclose(e.aggregate(X, target), T.sum(axis=0, dtype=float), rtol=1e-3, atol=atol)
        values, indices = e.top_k(X, 3, target=target)
        assert_array_equal(values, np.take_along_axis(T, indices, axis=1))
        assert_allclose(values, -np.sort(-T, axis=1)[:, :3])
    assert (e.base_value(X, 0) == 0).all() == intercept_share
    diagonal = np.column_stack([np.diag(e.attribute(X, u)) for u in range(3)])
    assert_allclose(e.self_influence_, diagonal, rtol=1e-4, atol=1e-6 * np.abs(diagonal).max())


def test_two_units_are_no_two_classes():
    # of two classes a label is a margin; of two units it is the unit
    X, t, _ = problem("identity", U=2)
    e = fitted("identity", X, t)
    for u in range(2):
        alone = fitted("identity", X, t[:, u])
        assert_allclose(e.attribute(X, u), alone.attribute(X), atol=1e-12)
        assert_allclose(e.base_value(X, u), alone.base_value(X))
        assert_allclose(e.aggregate(X, u), alone.aggregate(X), atol=1e-10)
        indices = np.tile(np.arange(3), (40, 1))
        shares = e.decompose(X, indices, target=u)
        assert_allclose(shares, e.directions(X, indices, target=u) * X[:, None])
        assert_allclose(shares.sum(axis=2), e.attribute(X, u)[:, :3], atol=1e-12)
        assert_allclose(e.self_influence_[:, u], alone.self_influence_)


def test_shapes_follow_y():
    X, t, _ = problem("identity", U=1)
    flat, column = fitted("identity", X, t[:, 0]), fitted("identity", X, t)
    assert flat.decision_function(X).shape == flat.predict(X).shape == (40,)
    assert column.decision_function(X).shape == column.predict(X).shape == (40, 1)
    assert flat.self_influence_.shape == (40,) and column.self_influence_.shape == (40, 1)
    for e in (flat, column):
        assert e.coef_.shape == (1, 4) and e.intercept_.shape == (1,)
        assert e.dual_coef_.shape == (1, 40)
        assert_array_equal(e.transform(X), e.attribute(X, target=0))


# what must not matter


@each
def test_weights_are_repetitions(name):
    X, t, weight = problem(name)
    weight = (2 * weight).astype(int)
    again = np.repeat(np.arange(40), weight)
    for C in (0.7, "scale"):
        e = fitted(name, X, t, weight, C=C)
        other = fitted(name, X[again], t[again], C=C)
        assert_allclose(e.C_, other.C_)
        assert_allclose(e.coef_, other.coef_, atol=1e-8)
        T, S = e.attribute(X[:4], 1), other.attribute(X[:4], 1)
        sums = np.column_stack([S[:, again == i].sum(axis=1) for i in range(40)])
        assert_allclose(T, sums, rtol=0, atol=1e-8 * np.abs(T).max())
        assert not np.isin(np.flatnonzero(weight == 0), e.support_).any()


@each
def test_equal_rows_have_equal_coefficients(name):
    # of a size at which the rounding of a product depends on the place of the row
    X, t, _ = problem(name, n=101, d=30, U=1)
    rng = np.random.default_rng(1)
    order = rng.permutation(np.repeat(np.arange(101), 3))
    e = fitted(name, X[order], t[order], C=0.7)
    dual = np.zeros((1, 303))
    dual[:, e.support_] = e.dual_coef_
    first = np.array([np.flatnonzero(order == i)[0] for i in order])
    assert_array_equal(dual, dual[:, first])


@each
def test_the_unit_of_X_does_not_matter(name):
    X, t, _ = problem(name)
    expected = fitted(name, X, t)
    for scale in (1e-6, 1e6):
        e = fitted(name, scale * X, t)
        assert_allclose(e.predict(scale * X), expected.predict(X), rtol=1e-7, atol=1e-9)
        assert_allclose(e.attribute(scale * X, 0), expected.attribute(X, 0), rtol=1e-6, atol=1e-8)


@each
@layouts
def test_more_features_than_rows(name, layout):
    X, t, weight = problem(name, n=12, d=30)
    X = laid_out(X, layout)
    e = fitted(name, X, t, weight, C=0.2)
    expected = fitted(
        name,
        np.vstack([X.toarray() if sparse.issparse(X) else X] * 4).astype(float),
        np.vstack([t] * 4),
        np.tile(weight, 4),
        C=0.05,
    )
    assert_allclose(e.coef_, expected.coef_, atol=1e-7)
    assert e.coef_.shape == (3, 30)
    sums = e.attribute(X, 0).sum(axis=1, dtype=float) + e.base_value(X, 0)
    assert_allclose(sums, e.decision_function(X)[:, 0], atol=1e-5 if "32" in layout else 1e-8)


@pytest.mark.parametrize("name", ["relu", "exp", "sigmoid"])
def test_all_ways_to_solve_find_the_same(name, monkeypatch):
    X, t, weight = problem(name)
    expected = fitted(name, X, t, weight, C=3.0)
    monkeypatch.setattr(newton, "PATIENCE", 0)
    monkeypatch.setattr(newton, "UNIT_FLOATS", 50)
    factorized = fitted(name, X, t, weight, C=3.0)
    monkeypatch.setattr(newton, "SMALL", 0)
    monkeypatch.setattr(losses, "WIDEST", 0)
    monkeypatch.setattr(losses, "BATCH_FLOATS", 1)
    diagonal = fitted(name, X, t, weight, C=3.0)
    for e in (factorized, diagonal):
        assert_allclose(e.coef_, expected.coef_, atol=1e-8)
        assert e.completeness_error_ <= 1e-10


# leaving rows out


@layouts
@pytest.mark.parametrize("shape", [(30, 5), (10, 25)])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_leave_one_out_is_what_refits_give(layout, shape, fit_intercept):
    X, t, weight = problem("identity", *shape)
    weight = weight + 0.5
    A = laid_out(X, layout)
    e = fitted("identity", A, t, weight, C=0.8, fit_intercept=fit_intercept)
    test = laid_out(np.round(8 * np.random.default_rng(1).normal(size=(6, shape[1]))) / 8, layout)
    V = np.random.default_rng(2).normal(size=(6, 3))
    groups = [0, [3], [1, 5, 7]]
    found = e.leave_one_out(test, A, t, weight, rows=groups, target=V)
    each_one = e.leave_one_out(test, A, t, weight, target=1)
    assert found.shape == (6, 3) and each_one.shape == (6, len(X))
    for k, group in enumerate(groups):
        kept = np.delete(np.arange(len(X)), group)
        without = fitted(
            "identity", X[kept], t[kept], weight[kept], C=0.8, fit_intercept=fit_intercept
        )
        difference = e.decision_function(test) - without.decision_function(reference.dense(test))
        assert_allclose(found[:, k], (V * difference).sum(axis=1), atol=1e-9)
        if k < 2:
            assert_allclose(each_one[:, np.ravel(group)[0]], difference[:, 1], atol=1e-9)


def test_leave_one_out_of_wide_rows(monkeypatch):
    X, t, _ = problem("identity")
    e = fitted("identity", X, t)
    expected = e.leave_one_out(X, X, t, target=0)
    monkeypatch.setattr(losses, "WIDEST", 0)
    assert_allclose(e.leave_one_out(X, X, t, target=0), expected, atol=1e-10)


def test_leave_one_out_is_for_what_was_fitted():
    X, t, _ = problem("identity")
    e = fitted("identity", X, t[:, 0])
    for X_train, y_train in [(X[:-1], t[:-1, 0]), (X, t[:-1, 0]), (X, t)]:
        with pytest.raises(ValueError, match="must be the 40 rows given to fit"):
            e.leave_one_out(X, X_train, y_train)
    with pytest.raises(ValueError, match="y_train must be finite"):
        e.leave_one_out(X, X, np.full(40, np.nan))
    with pytest.raises(ValueError, match=r"rows must be training rows 0\.\.39"):
        e.leave_one_out(X, X, t[:, 0], rows=[40])
    X, t, _ = problem("exp")
    with pytest.raises(ValueError, match="leave_one_out is for activation='identity'"):
        fitted("exp", X, t[:, 0]).leave_one_out(X, X, t[:, 0])


# extremes


def test_counts_in_the_millions():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(30, 3))
    y = rng.poisson(1e6, size=30).astype(float)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        e = RepresenterRegressor("exp", C=1.0).fit(X, y)
    assert_allclose(e.predict(X), y, rtol=0.02)
    assert e.n_iter_ < 40


def test_saturated_labels_and_huge_outputs():
    X = np.linspace(-1, 1, 40)[:, None]
    y = (X[:, 0] > 0).astype(float)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        e = RepresenterRegressor("sigmoid", C=1e8).fit(X, y)
        assert_allclose(e.predict(X * 1e3), y, atol=1e-12)
        assert (e.score(X, y) > 0.99) and np.isfinite(e.attribute(X)).all()
        # a step of the exponential far beyond what was seen
        assert np.isinf(
            RepresenterRegressor("exp", C=10.0).fit(X, 1 + 5 * y).predict(1e9 + X)
        ).all()


@pytest.mark.parametrize("scale", [1e-60, 1e-9, 1e60])
def test_outputs_of_any_size(scale):
    X, t, _ = problem("relu")
    e, expected = fitted("relu", X, scale * t), fitted("relu", X, t)
    assert_allclose(e.predict(X), scale * expected.predict(X), rtol=1e-8, atol=1e-9 * scale)


def test_units_of_other_sizes_are_fitted_as_well():
    X, t, _ = problem("relu")
    together = fitted("relu", X, t * [1e-8, 1.0, 1e8])
    alone = fitted("relu", X, t)
    assert_allclose(together.coef_, alone.coef_ * [[1e-8], [1.0], [1e8]], rtol=1e-6, atol=1e-18)


def test_constant_outputs():
    X, _, _ = problem("identity")
    for y in (np.zeros(40), np.ones(40)):
        e = fitted("identity", X, y, C=1e3)
        assert_allclose(e.predict(X), y, atol=0.01)
    assert not fitted("identity", X, np.zeros(40)).attribute(X).any()
    assert fitted("relu", X, np.zeros(40)).support_.shape == (0,)


def test_stopping_short_is_said():
    X, t, _ = problem("exp")
    with pytest.warns(ConvergenceWarning, match="stopped after 1 Newton step.* above tol"):
        e = RepresenterRegressor("exp", max_iter=1).fit(X, t)
    assert e.completeness_error_ > 1e-6 and e.n_iter_ == 1


def test_verbose_prints_steps(capsys):
    X, t, _ = problem("relu")
    RepresenterRegressor("relu", verbose=1).fit(X, t)
    assert "Newton step 0: completeness error" in capsys.readouterr().out
