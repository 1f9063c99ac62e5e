"""Datamodels and leave-one-out: the refits are those of `retraining`, the contract is kept.

scikit-learn's checks of DatamodelExplainer run in test_conformity.py; each would fit the other
once a row, hence only some here.
"""

import pickle

import joblib
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import NearestNeighbors
from sklearn.svm import SVC
from sklearn.utils import estimator_checks

from skattrib import (
    DatamodelExplainer,
    InfluenceExplainer,
    LeaveOneOutExplainer,
    compare_explainers,
)
from skattrib.metrics import linear_datamodeling_score
from skattrib.retraining import leave_one_out_outputs, subset_outputs

X, Y = load_iris(return_X_y=True)
X, Y, X_TEST = X[::3], np.array(["a", "b", "c"])[Y[::3]], X[1::15]
MODEL = LogisticRegression(C=0.5, solver="newton-cholesky", tol=1e-8)
FOREST = RandomForestClassifier(3, max_depth=2)
EXPLAINERS = {
    "datamodel": DatamodelExplainer(MODEL, n_subsets=20, random_state=0),
    "datamodel-net": DatamodelExplainer(RidgeClassifier(), n_subsets=20, l1_ratio=0.5),
    "leave-one-out": LeaveOneOutExplainer(MODEL, random_state=0),
    "leave-one-out-bayes": LeaveOneOutExplainer(GaussianNB()),
}
each = pytest.mark.parametrize("name", EXPLAINERS)


@pytest.fixture(scope="module")
def fitted():
    return {name: clone(one).fit(X, Y) for name, one in EXPLAINERS.items()}


def two_classes():
    return X[Y != "c"], Y[Y != "c"]


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("model", [MODEL, FOREST], ids=["logit", "log_odds"])
def test_leave_one_out_is_that_of_real_refits(model, n_classes):
    rows, y = (X, Y) if n_classes == 3 else two_classes()
    rows, y = rows[::2], y[::2]
    truth = leave_one_out_outputs(model, rows, y, X_TEST, random_state=3)
    explainer = LeaveOneOutExplainer(model, random_state=3).fit(rows, y)
    T = explainer.attribute(X_TEST, truth.targets)
    if model is MODEL:  # a forest sees class positions, and other strings of random numbers
        assert_allclose(T, truth.effects, atol=1e-10)
        assert_array_equal(explainer.predict(X_TEST), truth.targets)
    assert T.shape == truth.effects.shape and np.isfinite(T).all() and T.any()


@pytest.mark.parametrize("n_classes", [2, 3])
def test_datamodels_fit_outputs_of_real_refits(n_classes):
    rows, y = (X, Y) if n_classes == 3 else two_classes()
    options = {"n_subsets": 30, "fraction": 0.4, "random_state": 7}
    truth = subset_outputs(MODEL, rows, y, X_TEST, stratify=True, **options)
    explainer = DatamodelExplainer(MODEL, alpha=0.01, **options).fit(rows, y)
    assert_array_equal(explainer.subset_masks_, truth.masks)
    T = explainer.attribute(X_TEST, truth.targets)
    # fewer subsets than rows: all but interpolated
    sums, outputs = T @ truth.masks.T, truth.outputs.T
    residual = sums - outputs - (sums - outputs).mean(axis=1, keepdims=True)
    assert (residual.std(axis=1) < 0.1 * outputs.std(axis=1)).all()
    assert linear_datamodeling_score(T, truth.masks, truth.outputs) > 0.99


def test_datamodels_predict_other_subsets():
    truth = subset_outputs(MODEL, X, Y, X_TEST, 30, stratify=True, random_state=1)
    explainer = DatamodelExplainer(MODEL, n_subsets=120, random_state=2).fit(X, Y)
    T = explainer.attribute(X_TEST, truth.targets)
    assert linear_datamodeling_score(T, truth.masks, truth.outputs) > 0.8
    left_out = LeaveOneOutExplainer(MODEL).fit(X, Y).attribute(X_TEST, truth.targets)
    head = FrozenEstimator(clone(MODEL).fit(X, Y))
    influence = InfluenceExplainer(head).fit(X, Y).attribute(X_TEST, truth.targets)
    assert np.corrcoef(T.ravel(), left_out.ravel())[0, 1] > 0.5
    assert np.corrcoef(influence.ravel(), left_out.ravel())[0, 1] > 0.9


def test_lasso_conditions():
    """Stationarity of 1 / 2s ||z - M t||^2 + a |t|_1 with a the share of the largest penalty."""
    explainer = DatamodelExplainer(MODEL, n_subsets=30, alpha=0.2, random_state=0).fit(X, Y)
    z = np.array([model.decision_function(X_TEST[:3])[:, 1] for model in explainer.estimators_]).T
    T = explainer.attribute(X_TEST[:3], "b")
    M = explainer.subset_masks_ - explainer.subset_masks_.mean(axis=0)
    z = z - z.mean(axis=1, keepdims=True)
    largest = np.abs(z @ M).max(axis=1) / 30
    slope = (z - T @ M.T) @ M / 30 / largest[:, None]
    assert_allclose(slope[T != 0], 0.2 * np.sign(T[T != 0]), atol=1e-3)
    assert np.abs(slope[T == 0]).max() < 0.2 + 1e-3
    assert 0 < (T != 0).mean() < 0.7
    none = clone(explainer).set_params(alpha=1.0).fit(X, Y).attribute(X_TEST[:3])
    assert_allclose(none, 0, atol=1e-8)


@each
def test_forms_of_attributions(name, fitted):
    e = fitted[name]
    T = e.attribute(X_TEST)
    assert T.shape == (10, 50) and T.dtype == np.float64 and T.any()
    assert_array_equal(e.transform(X_TEST), T)
    assert_allclose(e.attribute(X_TEST, e.predict(X_TEST)), T, atol=1e-12)
    assert_allclose(e.attribute(X_TEST, e.target_weights(X_TEST)), T, atol=1e-12)
    assert_allclose(e.attribute(X_TEST[3:4]), T[3:4], atol=1e-9)
    assert_allclose(e.aggregate(X_TEST, weights=np.arange(10.0)), np.arange(10.0) @ T)
    for largest in (True, False):
        values, indices = e.top_k(X_TEST, 4, largest=largest)
        order = np.argsort(-T if largest else T, axis=1, kind="stable")[:, :4]
        assert_array_equal(indices, order)
        assert_array_equal(values, np.take_along_axis(T, order, axis=1))
    codes = np.searchsorted(e.classes_, Y)
    own = [e.attribute(X[[i]], e.classes_[codes[i]])[0, i] for i in range(0, 50, 7)]
    assert_allclose(e.self_influence_[::7], own, atol=1e-8)
    with pytest.raises(ValueError, match="use DualViewExplainer"):
        e.decompose(X_TEST[:1], [[0]])
    single = e.attribute(X_TEST.astype(np.float32))
    assert single.dtype == np.float32
    again = pickle.loads(pickle.dumps(e))
    assert_array_equal(again.attribute(X_TEST), T)


@each
def test_blocks_change_nothing(name, fitted, monkeypatch):
    T = fitted[name].attribute(X_TEST)
    monkeypatch.setattr("skattrib.explainers.datamodels.EXPLAINED_ROWS", 3)
    monkeypatch.setattr("skattrib.explainers._scoring.COLUMNS", 7)
    assert_allclose(fitted[name].attribute(X_TEST), T, atol=1e-10)
    assert_allclose(fitted[name].top_k(X_TEST, 2)[0], np.sort(T)[:, :-3:-1], atol=1e-10)


def test_prediction_is_that_of_the_full_fit(fitted):
    expected = clone(MODEL).fit(X, Y)
    for name in ("datamodel", "leave-one-out"):
        assert_array_equal(fitted[name].predict(X_TEST), expected.predict(X_TEST))
        f = expected.decision_function(X_TEST)
        assert_allclose(fitted[name].decision_function(X_TEST), f, atol=1e-10)
    rows, y = two_classes()
    e = DatamodelExplainer(GaussianNB(), n_subsets=4, random_state=0).fit(rows, y)
    log_odds = np.diff(np.log(np.maximum(GaussianNB().fit(rows, y).predict_proba(rows), 1e-300)))
    inside = np.abs(log_odds[:, 0]) < 20
    assert_allclose(e.decision_function(rows)[inside], log_odds[inside, 0], rtol=1e-6)


def test_jobs_change_nothing_and_seeds_do():
    e = DatamodelExplainer(FOREST, n_subsets=3, random_state=5)
    with joblib.parallel_config("threading"):
        T = clone(e).set_params(n_jobs=2).fit(X, Y).attribute(X_TEST)
    assert_array_equal(clone(e).fit(X, Y).attribute(X_TEST), T)
    assert (clone(e).set_params(random_state=6).fit(X, Y).attribute(X_TEST) != T).any()


def test_sparse_rows_and_the_default():
    for one in (DatamodelExplainer(n_subsets=3, random_state=0), LeaveOneOutExplainer()):
        dense = clone(one).fit(X[::5], Y[::5]).attribute(X_TEST)
        e = clone(one).fit(sparse.csr_array(X[::5]), Y[::5])
        assert_allclose(e.attribute(sparse.csr_array(X_TEST)), dense, atol=0.02)
        assert isinstance(e.estimator_, LogisticRegression)


def test_with_compare_explainers():
    few = {"a": EXPLAINERS["datamodel"], "b": InfluenceExplainer(C=0.5)}
    found = compare_explainers(few, X, Y, X_TEST, estimator=MODEL, n_subsets=10, random_state=0)
    assert np.isfinite(found.average_rank).all()


class Killed(LogisticRegression):
    """Ends the whole run in one of its fits; -1 is never."""

    left = -1

    def fit(self, X, y):
        Killed.left -= 1
        if Killed.left == -1:
            raise KeyboardInterrupt
        Killed.left = max(Killed.left, -1)
        return super().fit(X, y)


def kept_in(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("*.joblib")}


@pytest.mark.parametrize("kind", [DatamodelExplainer, LeaveOneOutExplainer])
def test_a_killed_fit_goes_on_where_it_ended(kind, tmp_path, monkeypatch, capsys):
    few = {"n_subsets": 10} if kind is DatamodelExplainer else {}
    e = kind(Killed(), random_state=4, **few)
    straight = clone(e).fit(X[::5], Y[::5])
    e.set_params(folder=tmp_path / "models")
    monkeypatch.setattr(Killed, "left", 5)
    with pytest.raises(KeyboardInterrupt):
        e.fit(X[::5], Y[::5])
    # the first of the five was the fit to all rows
    first = kept_in(e.folder)
    assert len(first) == 4
    resumed = clone(e).set_params(verbose=1).fit(X[::5], Y[::5])
    assert "4 of 10 found in" in capsys.readouterr().out
    after = kept_in(e.folder)
    assert len(after) == 10 and first.items() <= after.items()
    assert not [path for path in e.folder.iterdir() if path.name[0] == "."]
    T = straight.attribute(X_TEST)
    assert_array_equal(resumed.attribute(X_TEST), T)
    monkeypatch.setattr(Killed, "left", 1)  # the fit to all rows, no other
    assert_array_equal(clone(e).fit(X[::5], Y[::5]).attribute(X_TEST), T)


def test_a_folder_serves_more_subsets_and_other_penalties(tmp_path):
    e = DatamodelExplainer(MODEL, n_subsets=3, folder=str(tmp_path), random_state=0).fit(X, Y)
    first = kept_in(tmp_path)
    more = clone(e).set_params(n_subsets=5, alpha=0.5).fit(X, Y)
    assert first.items() <= kept_in(tmp_path).items()
    plain = clone(more).set_params(folder=None).fit(X, Y)
    assert_array_equal(more.attribute(X_TEST), plain.attribute(X_TEST))


def test_a_folder_of_other_models_is_refused(tmp_path):
    e = DatamodelExplainer(MODEL, n_subsets=2, folder=tmp_path, random_state=0).fit(X, Y)
    for changed, other in {
        "fraction": clone(e).set_params(fraction=0.4),
        "estimator": clone(e).set_params(estimator__C=2.0),
        "random_state": clone(e).set_params(random_state=1),
        "kind": LeaveOneOutExplainer(MODEL, folder=tmp_path, random_state=0),
    }.items():
        with pytest.raises(ValueError, match=f"of another run, with other .*{changed}"):
            other.fit(X, Y)
    for rows, labels in ((X * 2, Y), (X, np.roll(Y, 1))):
        with pytest.raises(ValueError, match="with other data"):
            clone(e).fit(rows, labels)
    with pytest.raises(ValueError, match="with other .*kind"):
        subset_outputs(MODEL, X, Y, X_TEST, 2, folder=tmp_path, random_state=0)
    with pytest.raises(ValueError, match="needs an integer random_state"):
        clone(e).set_params(random_state=None).fit(X, Y)
    (tmp_path / "key.json").unlink()
    with pytest.raises(ValueError, match="no key.json; use an empty folder"):
        clone(e).fit(X, Y)


@pytest.mark.parametrize("content", [b"", b"text", slice(200), 3], ids=str)
def test_damaged_models_are_named(tmp_path, content):
    e = DatamodelExplainer(MODEL, n_subsets=2, folder=tmp_path, random_state=0).fit(X, Y)
    file = tmp_path / "000001.joblib"
    if content == 3:
        joblib.dump(3, file)
    else:
        file.write_bytes(file.read_bytes()[content] if content == slice(200) else content)
    message = "holds no model" if content == 3 else "cannot be read"
    with pytest.raises(ValueError, match=f"000001.joblib {message}.*delete it"):
        clone(e).fit(X, Y)


def test_progress(capsys):
    DatamodelExplainer(MODEL, n_subsets=3, verbose=1).fit(X, Y)
    assert "3 of 3" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("explainer", "y", "message"),
    [
        (LeaveOneOutExplainer(MODEL), np.arange(50) == 3, "class True has one row only"),
        (DatamodelExplainer(NearestNeighbors()), Y, "must be .*'predict'"),
        (DatamodelExplainer(LinearRegression()), Y, "LinearRegression is not"),
        (LeaveOneOutExplainer(FrozenEstimator(GaussianNB())), Y, "fitted again"),
        (DatamodelExplainer(SVC(decision_function_shape="ovo"), n_subsets=2), None, "'ovr'"),
        (DatamodelExplainer(MODEL, fraction=1.0), Y, "'fraction'"),
        (DatamodelExplainer(MODEL, alpha=0), Y, "'alpha'"),
        (DatamodelExplainer(MODEL, n_subsets=1), Y, "'n_subsets'"),
    ],
)
def test_bad_input(explainer, y, message):
    y = np.arange(50) % 4 if y is None else y
    with pytest.raises(ValueError, match=message):
        explainer.fit(X, y).attribute(X_TEST)


@pytest.mark.parametrize(
    "check",
    [
        "check_classifiers_one_label",
        "check_classifiers_classes",
        "check_dict_unchanged",
        "check_estimators_dtypes",
        "check_estimators_nan_inf",
        "check_fit2d_1sample",
        "check_n_features_in",
        "check_parameters_default_constructible",
        "check_transformer_preserve_dtypes",
    ],
)
def test_scikit_learn_checks(check):
    estimator = LeaveOneOutExplainer(RidgeClassifier(), random_state=0)
    getattr(estimator_checks, check)("LeaveOneOutExplainer", estimator)


@pytest.mark.parametrize("l1_ratio", [0.0, 1e-320, 1.5])
def test_shares_of_the_l1_penalty_that_are_none(l1_ratio):
    X, y = np.random.default_rng(0).normal(size=(20, 3)), np.arange(20) % 2
    with pytest.raises(ValueError, match="'l1_ratio' parameter"):
        DatamodelExplainer(n_subsets=3, l1_ratio=l1_ratio).fit(X, y)
