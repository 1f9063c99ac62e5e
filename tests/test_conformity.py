"""Every explainer is a scikit-learn estimator: scikit-learn's own checks, and its tools around one.

A new explainer is added to EXPLAINERS; all tests here then run for it.
"""

import warnings

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn import config_context
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning, UnsetMetadataPassedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import parametrize_with_checks
from sklearn.utils.validation import has_fit_parameter

from skattrib import (
    DatamodelExplainer,
    DualViewExplainer,
    DualViewExplainerCV,
    ExemplarSVMExplainer,
    InfluenceExplainer,
    LinearHead,
    RepresenterExplainer,
    SimilarityExplainer,
)

# sparse_output=False where the explainer has it: set_output is for dense attributions
EXPLAINERS = [
    DualViewExplainer(C=0.1, tol=1e-6, sparse_output=False, random_state=0),
    RepresenterExplainer(),
    InfluenceExplainer(random_state=0),
    SimilarityExplainer(metric="euclidean"),
    ExemplarSVMExplainer(random_state=0),
]
VARIANTS = [
    DualViewExplainer(random_state=0),
    DualViewExplainer(C=0.01, class_weight="balanced", warm_start=True, verbose=0),
    DualViewExplainerCV(Cs=[1e-3, 0.1], cv=2, random_state=0),
    RepresenterExplainer(C=10.0, class_weight="balanced"),
    InfluenceExplainer(inverse="cg", C=0.1),
    SimilarityExplainer(metric="cosine", same_class=False, sparse_output=True),
    DatamodelExplainer(RidgeClassifier(), n_subsets=2, random_state=0),
]


def name(explainer):
    return type(explainer).__name__


def has(explainer, parameter):
    return parameter in explainer.get_params() or has_fit_parameter(explainer, parameter)


def grid(explainer):
    """Parameters to search, not all alike."""
    if name(explainer) == "SimilarityExplainer":
        return {"metric": ["dot", "cosine", "euclidean"]}
    return {"C": [1e-4, 1e-2, 1.0]}


def least_accuracy(explainer):
    """On iris, cross-validated. The hyperplanes of exemplar SVMs are no classifier."""
    return 0.6 if name(explainer) == "ExemplarSVMExplainer" else 0.9


def weights(explainer):
    """Keyword arguments of fit."""
    return {"sample_weight": WEIGHT} if has(explainer, "sample_weight") else {}


def declared(explainer):
    """Checks that cannot hold, each with its reason."""
    reason = "a repeated row is one more training row, so transform has one more column"
    checks = (
        "check_sample_weight_equivalence_on_dense_data",
        "check_sample_weight_equivalence_on_sparse_data",
    )
    return {check: reason for check in checks if has(explainer, "sample_weight")}


@pytest.fixture(autouse=True)
def quiet():
    """The checks' data are not scaled: many a fit stops short."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        # some fit without names what they transform with them
        warnings.filterwarnings("ignore", "X .* feature names", UserWarning)
        yield


@parametrize_with_checks(EXPLAINERS + VARIANTS, expected_failed_checks=declared)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


each = pytest.mark.parametrize("explainer", EXPLAINERS, ids=name)


def each_with(parameter):
    chosen = [explainer for explainer in EXPLAINERS if has(explainer, parameter)]
    return pytest.mark.parametrize("explainer", chosen, ids=name)


def without_transform(explainer, **parameters):
    """The same explainer, whose instances have no transform."""

    class Head(type(explainer), auto_wrap_output_keys=None):
        @property
        def transform(self):
            raise AttributeError("transform")

    return Head(**explainer.get_params() | parameters)


@each_with("sample_weight")
@pytest.mark.parametrize("check", declared(EXPLAINERS[0]))
def test_weights_are_repetitions_for_the_head(explainer, check):
    head = without_transform(explainer, tol=1e-12)
    assert not hasattr(head, "transform") and hasattr(head, "decision_function")
    getattr(estimator_checks, check)(name(head), head)


@each
@pytest.mark.parametrize(
    "check",
    [
        "check_transformer_get_feature_names_out",
        "check_transformer_get_feature_names_out_pandas",
        "check_set_output_transform",
        "check_set_output_transform_pandas",
        "check_set_output_transform_polars",
        "check_global_output_transform_pandas",
        "check_global_set_output_transform_polars",
        "check_dataframe_column_names_consistency",
        "check_n_features_in",
        "check_n_features_in_after_fitting",
        "check_param_validation",
        "check_do_not_raise_errors_in_init_or_set_params",
        "check_f_contiguous_array_estimator",
        "check_readonly_memmap_input",
        "check_transformer_preserve_dtypes",
        "check_estimator_sparse_tag",
        "check_positive_only_tag_during_fit",
    ],
)
def test_further_scikit_learn_checks(explainer, check):
    getattr(estimator_checks, check)(name(explainer), clone(explainer))


@each_with("class_weight")
def test_balanced_class_weights(explainer):
    estimator_checks.check_class_weight_balanced_linear_classifier(
        name(explainer), clone(explainer)
    )


# of a head that is given, not fitted: the checks that need no other head for other rows, and
# the width of their rows
HEAD_CHECKS = {
    "check_no_attributes_set_in_init": 3,
    "check_do_not_raise_errors_in_init_or_set_params": 3,
    "check_get_params_invariance": 3,
    "check_set_params": 3,
    "check_estimator_cloneable": 3,
    "check_estimator_repr": 3,
    "check_mixin_order": 3,
    "check_valid_tag_types": 3,
    "check_estimators_overwrite_params": 2,
    "check_dont_overwrite_parameters": 3,
    "check_estimators_fit_returns_self": 2,
    "check_fit_idempotent": 2,
    "check_dict_unchanged": 3,
    "check_readonly_memmap_input": 2,
    "check_f_contiguous_array_estimator": 3,
    "check_estimators_dtypes": 5,
    "check_dtype_object": 10,
    "check_complex_data": 3,
    "check_estimators_nan_inf": 3,
    "check_estimators_empty_data_messages": 3,
    "check_n_features_in_after_fitting": 4,
    "check_fit1d": 3,
    "check_fit2d_predict1d": 3,
    "check_fit2d_1sample": 10,
    "check_methods_sample_order_invariance": 3,
    "check_methods_subset_invariance": 3,
    "check_pipeline_consistency": 3,
    "check_estimators_pickle": 3,
    "check_estimator_sparse_tag": 3,
}


@pytest.mark.parametrize("check", HEAD_CHECKS)
@pytest.mark.parametrize("rows", [1, 3])
def test_scikit_learn_checks_of_a_given_head(check, rows):
    head = LinearHead(np.eye(3, HEAD_CHECKS[check])[:rows] + 0.1)
    getattr(estimator_checks, check)("LinearHead", head)


def test_given_head():
    # what LogisticRegression says, from its coefficients in another order of the classes
    labels = np.array(["setosa", "versicolor", "virginica"])[Y]
    for rows in (Y < 2, Y < 3):
        model = LogisticRegression().fit(SCALED[rows], labels[rows])
        order = np.arange(len(model.classes_))[::-1]
        coef, intercept, classes = model.coef_, model.intercept_, model.classes_
        heads = [LinearHead(coef, intercept, classes)]
        if len(classes) == 2:
            heads.append(LinearHead(-coef, -intercept, classes[order]))
            coef, intercept = np.vstack([0 * coef, coef]), np.append(0, intercept)
        heads.append(LinearHead(coef[order], intercept[order], classes[order]))
        for head in heads:
            assert_array_equal(head.classes_, model.classes_)
            assert_allclose(head.coef_, model.coef_)
            assert_allclose(head.intercept_, model.intercept_)
            for A in (SCALED, sparse.csr_array(SCALED)):
                expected = model.decision_function(SCALED)
                assert_allclose(head.decision_function(A), expected, rtol=1e-12, atol=1e-12)
                assert_allclose(head.predict_proba(A), model.predict_proba(SCALED), rtol=1e-10)
                assert_array_equal(head.predict(A), model.predict(SCALED))
    assert_array_equal(LinearHead(np.eye(3)).predict(np.eye(3)), [0, 1, 2])
    assert_array_equal(LinearHead([[1.0, -1.0]]).predict(np.eye(2)), [1, 0])


@pytest.mark.parametrize(
    "parameters, message",
    [
        (([1.0, 2.0],), "coef must be a finite matrix"),
        (([[np.nan]],), "coef must be a finite matrix"),
        ((np.eye(3), np.zeros(2)), "intercept must be 3 finite numbers"),
        ((np.eye(3), [0, 0, np.inf]), "intercept must be 3 finite numbers"),
        ((np.eye(3), None, ["a", "b"]), "coef has 3 rows: classes must be as many distinct"),
        ((np.eye(3), None, ["a", "b", "a"]), "coef has 3 rows: classes must be as many distinct"),
        ((np.eye(1), None, ["a"]), "classes must be as many distinct"),
    ],
)
def test_heads_that_are_none(parameters, message):
    head = LinearHead(*parameters)
    with pytest.raises(ValueError, match=message):
        head.predict(np.zeros((1, 3)))


def test_all_parameters_have_constraints():
    for explainer in EXPLAINERS:
        assert explainer.get_params().keys() == explainer._parameter_constraints.keys()


# scikit-learn's tools around an explainer

X, Y = load_iris(return_X_y=True)
FRAME, SERIES = load_iris(as_frame=True, return_X_y=True)
SCALED = (X - X.mean(axis=0)) / X.std(axis=0)
FEW = SCALED[::10]
WEIGHT = np.random.default_rng(0).integers(1, 4, size=len(Y)).astype(float)


def dense(T):
    return T.toarray() if sparse.issparse(T) else np.asarray(T)


@each
def test_pipeline(explainer):
    model = make_pipeline(StandardScaler(), clone(explainer)).fit(X, Y)
    expected = clone(explainer).fit(SCALED, Y)
    assert_array_equal(model.transform(X), expected.transform(SCALED))
    assert_array_equal(model.predict(X), expected.predict(SCALED))
    assert model.score(X, Y) > least_accuracy(explainer)
    names = model.get_feature_names_out()
    assert len(names) == 150 and names[149] == f"{name(explainer).lower()}149"


@each
@pytest.mark.parametrize("sparse_output", [True, False])
def test_attributions_as_features(explainer, sparse_output):
    if has(explainer, "sparse_output"):
        explainer = clone(explainer).set_params(sparse_output=sparse_output)
    elif sparse_output:
        with pytest.raises(ValueError, match="Invalid parameter 'sparse_output'"):
            clone(explainer).set_params(sparse_output=True)
        return
    last = LogisticRegression(max_iter=1000)
    model = make_pipeline(StandardScaler(), explainer, last).fit(X, Y)
    assert model.score(X, Y) > 0.8


@each
def test_grid_search(explainer):
    parameters, least = grid(explainer), least_accuracy(explainer)
    search = GridSearchCV(clone(explainer), parameters, cv=3).fit(SCALED, Y)
    (parameter, values), *_ = parameters.items()
    assert search.best_params_[parameter] in values and search.best_score_ > least
    assert len(set(search.cv_results_["mean_test_score"])) > 1
    expected = clone(explainer).set_params(**search.best_params_).fit(SCALED, Y)
    assert_array_equal(search.transform(SCALED), expected.transform(SCALED))
    model = make_pipeline(StandardScaler(), clone(explainer))
    nested = {f"{name(explainer).lower()}__{key}": value for key, value in parameters.items()}
    # in processes too, to which explainers are sent
    search = GridSearchCV(model, nested, cv=3, n_jobs=2).fit(X, Y)
    assert search.best_score_ > least


@each
def test_cross_validation(explainer):
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    scores = cross_val_score(clone(explainer), SCALED, Y, cv=folds)
    assert scores.shape == (5,) and scores.min() > least_accuracy(explainer) - 0.1
    for score, (train, test) in zip(scores, folds.split(X, Y), strict=True):
        assert score == clone(explainer).fit(SCALED[train], Y[train]).score(SCALED[test], Y[test])


@each
def test_clone_forgets_the_fit(explainer):
    fitted = clone(explainer).fit(SCALED, Y)
    copy = clone(fitted)
    assert copy.get_params() == fitted.get_params() == explainer.get_params()
    assert not hasattr(copy, "classes_") and not hasattr(copy, "self_influence_")
    assert_array_equal(copy.fit(SCALED, Y).transform(SCALED), fitted.transform(SCALED))


@each
def test_joblib(explainer, tmp_path):
    fitted = clone(explainer).fit(SCALED, Y)
    own = fitted.self_influence_
    joblib.dump(fitted, tmp_path / "explainer.joblib")
    for mode in (None, "r"):
        read = joblib.load(tmp_path / "explainer.joblib", mmap_mode=mode)
        assert_array_equal(read.transform(FEW), fitted.transform(FEW))
        assert_array_equal(read.top_k(FEW, 3)[1], fitted.top_k(FEW, 3)[1])
        assert_array_equal(read.self_influence_, own)
        if read.get_params().get("metric") != "euclidean":
            rows = np.zeros((len(FEW), 1), dtype=int)
            assert_array_equal(read.decompose(FEW, rows), fitted.decompose(FEW, rows))


FRAMES = {
    "pandas": (FRAME, SERIES, pd.Series),
    "polars": (pl.DataFrame(FRAME.to_dict("list")), pl.Series(Y), pl.Series),
}


@each
@pytest.mark.parametrize("container", FRAMES)
def test_frames(explainer, container):
    frame, labels, series = FRAMES[container]
    few = slice(0, 150, 10)
    given = weights(explainer)
    series_of = {key: series(value) for key, value in given.items()}
    fitted = clone(explainer).fit(frame, labels, **series_of)
    assert_array_equal(fitted.feature_names_in_, FRAME.columns)
    expected = clone(explainer).fit(X, Y, **given)
    assert not hasattr(expected, "feature_names_in_")
    assert_array_equal(fitted.transform(frame[few]), expected.transform(X[few]))
    assert_array_equal(
        fitted.attribute(frame[few], labels[few]), expected.attribute(X[few], Y[few])
    )
    with pytest.raises(ValueError, match="feature names should match"):
        fitted.transform(frame[list(FRAME.columns[::-1])])
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        fitted.predict(X[few])


@each
@pytest.mark.parametrize("container", ["pandas", "polars"])
def test_set_output(explainer, container):
    fitted = clone(explainer).fit(FRAME, SERIES)
    few = FRAME[::10]
    expected = fitted.transform(few)
    T = fitted.set_output(transform=container).transform(few)
    assert isinstance(T, pd.DataFrame if container == "pandas" else pl.DataFrame)
    assert list(T.columns) == [f"{name(explainer).lower()}{i}" for i in range(150)]
    if container == "pandas":
        assert_array_equal(T.index, few.index)
    assert_array_equal(T.to_numpy(), expected)
    # the other methods stay as they are
    assert isinstance(fitted.attribute(few), np.ndarray)
    assert isinstance(fitted.top_k(few)[0], np.ndarray)


@each_with("sparse_output")
@pytest.mark.parametrize("container", ["pandas", "polars"])
def test_sparse_attributions_are_no_frame(explainer, container):
    fitted = clone(explainer).set_params(sparse_output=True).fit(FRAME, SERIES)
    fitted.set_output(transform=container)
    with pytest.raises(ValueError, match="sparse matrix.*dense array"):
        fitted.transform(FRAME[::10])


@each
def test_frozen(explainer):
    fitted = clone(explainer).fit(SCALED, Y)
    model = Pipeline([("scale", StandardScaler()), ("explain", FrozenEstimator(fitted))])
    model.fit(X, (Y + 1) % 3)
    assert_array_equal(model.transform(X[::10]), fitted.transform(FEW))
    assert_array_equal(model.predict(X[::10]), fitted.predict(FEW))
    assert_array_equal(model[-1].top_k(FEW)[0], fitted.top_k(FEW)[0])


@each_with("sample_weight")
def test_routed_sample_weight(explainer):
    expected = clone(explainer).fit(SCALED, Y, sample_weight=WEIGHT)
    plain = clone(explainer).fit(SCALED, Y)
    f = expected.decision_function(SCALED)
    assert np.abs(f - plain.decision_function(SCALED)).max() > 1e-3
    grid = {"C": [explainer.C]}
    with config_context(enable_metadata_routing=True):
        with pytest.raises(UnsetMetadataPassedError, match="sample_weight"):
            GridSearchCV(clone(explainer), grid, cv=3).fit(SCALED, Y, sample_weight=WEIGHT)
        weighted = clone(explainer).set_fit_request(sample_weight=True)
        weighted.set_score_request(sample_weight=False)
        search = GridSearchCV(weighted, grid, cv=3).fit(SCALED, Y, sample_weight=WEIGHT)
        assert_array_equal(search.best_estimator_.decision_function(SCALED), f)
        weighted.set_score_request(sample_weight=True)
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        model = make_pipeline(scaler, weighted).fit(X, Y, sample_weight=WEIGHT)
        assert_allclose(model.decision_function(X), f, rtol=0, atol=1e-12)
        search = GridSearchCV(make_pipeline(scaler, weighted), {}, cv=3)
        search.fit(X, Y, sample_weight=WEIGHT)
        assert_allclose(search.decision_function(X), f, rtol=0, atol=1e-12)
        assert search.best_score_ > 0.8
        # and scores that are weighted, fold by fold
        folds = StratifiedKFold(3)
        scores = cross_val_score(weighted, SCALED, Y, cv=folds, params={"sample_weight": WEIGHT})
        for score, (train, test) in zip(scores, folds.split(X, Y), strict=True):
            one = clone(explainer).fit(SCALED[train], Y[train], WEIGHT[train])
            assert score == one.score(SCALED[test], Y[test], WEIGHT[test])
