"""RepresenterRegressor: what it refuses, and that scikit-learn's checks hold of it."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from regressor_cases import Scaled, fitted, problem
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_diabetes
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import parametrize_with_checks

from skattrib import RepresenterRegressor, explain
from skattrib._regression.activations import ACTIVATIONS, check_activation
from skattrib.explainers import REGRESSORS

# what is refused


class Falls(Scaled):
    def value(self, z):
        return z * np.tanh(z) - z / 2


class WrongSlope(Scaled):
    def derivative(self, z):
        return np.ones_like(z)


class WrongPrimitive(Scaled):
    def primitive(self, z):
        return z**2 / 2


class Text(Scaled):
    def value(self, z):
        return np.nan


@pytest.mark.parametrize(
    "activation, message",
    [
        ("gelu", "'gelu' falls somewhere, so that no convex loss belongs to it"),
        ("silu", "'silu' falls somewhere"),
        ("softplus", "activation must be one of 'identity', .* got 'softplus'$"),
        (None, "'activation' parameter"),
        (3.0, "'activation' parameter"),
        (Falls(), "activation falls near"),
        (WrongSlope(), "derivative must be the slope of activation.value"),
        (WrongPrimitive(), "value must be the slope of activation.primitive"),
        (Text(), "activation.value must be a function of an array"),
    ],
)
def test_what_is_no_activation(activation, message):
    X, t, _ = problem("identity")
    with pytest.raises(ValueError, match=message):
        RepresenterRegressor(activation).fit(X, t)


def test_named_activations_pass_for_given_ones():
    for one in ACTIVATIONS.values():
        assert check_activation(one) is one


@pytest.mark.parametrize(
    "name, y, message",
    [
        ("exp", -1.0, r"y must lie in 0\.\.inf"),
        ("relu", -1.0, r"y must lie in 0\.\.inf"),
        ("sigmoid", 2.0, r"y must lie in 0\.\.1"),
        ("tanh", -1.5, r"y must lie in -1\.\.1"),
        ("identity", np.nan, "NaN"),
        ("identity", np.inf, "infinity"),
        ("identity", 1e80, "numbers as large as 1.0e\\+80: scale y"),
        ("identity", 1j, "Complex data not supported"),
    ],
)
def test_outputs_that_do_not_fit(name, y, message):
    X, t, _ = problem(name)
    t = t.astype(complex) if isinstance(y, complex) else t
    t[3, 1] = y
    with pytest.raises(ValueError, match=message):
        RepresenterRegressor(name).fit(X, t)


@pytest.mark.parametrize(
    "fit, message",
    [
        ({"y": None}, "requires y to be passed"),
        ({"y": sparse.csr_array(np.ones((40, 1)))}, "y must not be sparse: give y.toarray"),
        ({"y": ["a"] * 40}, "could not convert string|dtype"),
        ({"y": np.ones(39)}, "inconsistent numbers of samples"),
        ({"y": np.ones((40, 0))}, "0 feature|no columns"),
        ({"sample_weight": -np.ones(40)}, "sample_weight must be finite, negative nowhere"),
        ({"sample_weight": np.zeros(40)}, "at least one non-zero"),
        ({"X": np.full((40, 4), np.nan)}, "X contains NaN"),
    ],
)
def test_data_that_do_not_fit(fit, message):
    X, t, _ = problem("identity")
    with pytest.raises(ValueError, match=message):
        RepresenterRegressor().fit(**{"X": X, "y": t} | fit)


@pytest.mark.parametrize("C", [0, -1.0, np.nan, "1", 1e200, 1e-200])
def test_C_that_is_none(C):
    X, t, _ = problem("identity")
    with pytest.raises(ValueError, match="'C' parameter|C times the largest sample_weight"):
        RepresenterRegressor(C=C).fit(X, t)


@pytest.mark.parametrize(
    "target, message",
    [
        (None, r"give a target, one of the 3 units 0\.\.2: attribute\(X, target=0\)"),
        (3, r"target must be units, 0\.\.2"),
        (-1, r"target must be units, 0\.\.2"),
        (1.0, "target must be one unit, one unit for each of the 40 rows"),
        (True, "target must be one unit"),
        ("a", "target must be one unit"),
        (np.zeros(39, dtype=int), "target must be one unit"),
        (np.ones((40, 2)), r"weights of units in target must have shape \(40, 3\)"),
        (np.full((40, 3), np.nan), "must be finite"),
        (np.full((40, 3), 1e200), "scale the weights"),
        (np.ones((40, 3, 1)), "target must be one unit"),
    ],
)
def test_targets_that_do_not_fit(target, message):
    X, t, _ = problem("identity")
    e = fitted("identity", X, t)
    calls = [e.attribute, e.aggregate, e.base_value, lambda X, target: e.top_k(X, target=target)]
    for call in [*calls, lambda X, target: e.leave_one_out(X, X, t, target=target)]:
        with pytest.raises(ValueError, match=message):
            call(X, target)


def test_targets_as_sparse_weights_and_lists():
    X, t, _ = problem("identity")
    e = fitted("identity", X, t)
    V = np.eye(3)[np.arange(40) % 3]
    expected = e.attribute(X, np.arange(40) % 3)
    for target in (V, sparse.csr_array(V), V.tolist(), (np.arange(40) % 3).tolist()):
        assert_allclose(e.attribute(X, target), expected, atol=1e-15)


# scikit-learn

Z_HAS_A_NAME = "what is explained is z, which predict is the activation of"
REPEATED = "a repeated row is one more training row, so transform has one more column"


def declared(explainer):
    """Checks that cannot hold, each with its reason."""
    return {
        "check_sample_weight_equivalence_on_dense_data": REPEATED,
        "check_sample_weight_equivalence_on_sparse_data": REPEATED,
        "check_regressors_no_decision_function": Z_HAS_A_NAME,
    }


@parametrize_with_checks([RepresenterRegressor()], expected_failed_checks=declared)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize(
    "check",
    [
        "check_transformer_get_feature_names_out",
        "check_set_output_transform_pandas",
        "check_dataframe_column_names_consistency",
        "check_param_validation",
    ],
)
@pytest.mark.usefixtures("quiet")
def test_further_scikit_learn_checks(check):
    getattr(estimator_checks, check)("RepresenterRegressor", RepresenterRegressor())


def test_it_is_among_the_regressors_and_clones():
    assert RepresenterRegressor in REGRESSORS
    e = RepresenterRegressor("relu", C=2.0)
    assert repr(clone(e)) == repr(e)
    assert e.get_params().keys() == e._parameter_constraints.keys()
    with pytest.raises(NotFittedError):
        _ = e.self_influence_


def test_raw_columns_in_a_pipeline():
    X, y = load_diabetes(return_X_y=True, scaled=False, as_frame=True)
    model = make_pipeline(StandardScaler(), RepresenterRegressor()).fit(X, y)
    raw = RepresenterRegressor().fit(X, y)
    assert model.score(X, y) > 0.45 and raw.score(X, y) > 0.2
    assert model.transform(X.iloc[:2]).shape == (2, 442)
    assert raw.feature_names_in_.tolist() == X.columns.tolist()


def test_frames_whose_rows_are_named_otherwise_are_refused():
    pd = pytest.importorskip("pandas")
    names = [f"r{i}" for i in range(30)]
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(30, 3)), names, [*"abc"])
    y = frame["a"] + 1.0
    explainer = RepresenterRegressor().fit(frame, y)
    assert explain(explainer, frame[:1], k=1)[0].proponents[0].id in names
    with pytest.raises(ValueError, match="index"):
        RepresenterRegressor().fit(frame, y[::-1])
    with pytest.raises(ValueError, match="index"):
        explainer.leave_one_out(frame[:1], frame, y[::-1])
