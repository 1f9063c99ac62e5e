"""Every explainer is a scikit-learn estimator: scikit-learn's own checks, and its tools around one.

A new explainer is added to EXPLAINERS; all tests here then run for it.
"""

import pickle
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

from skattrib import (
    DatamodelExplainer,
    DualViewExplainer,
    ExemplarSVMExplainer,
    InfluenceExplainer,
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
    RepresenterExplainer(C=10.0, class_weight="balanced"),
    InfluenceExplainer(inverse="cg", C=0.1),
    SimilarityExplainer(metric="cosine", same_class=False, sparse_output=True),
    DatamodelExplainer(RidgeClassifier(), n_subsets=3, random_state=0),
]
# a grid in which each explainer is searched
GRIDS = {"DualViewExplainer": {"C": [1e-4, 1e-2, 1.0]}}


def name(explainer):
    return type(explainer).__name__


def declared(explainer):
    """Checks that cannot hold, each with its reason."""
    reason = "a repeated row is one more training row, so transform has one more column"
    checks = (
        "check_sample_weight_equivalence_on_dense_data",
        "check_sample_weight_equivalence_on_sparse_data",
    )
    return {check: reason for check in checks if hasattr(explainer, "set_fit_request")}


@pytest.fixture(autouse=True)
def quiet():
    """The checks' data are not scaled: many a fit stops short."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


@parametrize_with_checks(EXPLAINERS + VARIANTS, expected_failed_checks=declared)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


each = pytest.mark.parametrize("explainer", EXPLAINERS, ids=name)


def without_transform(explainer, **parameters):
    """The same explainer, whose instances have no transform."""

    class Head(type(explainer), auto_wrap_output_keys=None):
        @property
        def transform(self):
            raise AttributeError("transform")

    return Head(**explainer.get_params() | parameters)


@each
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


@each
def test_balanced_class_weights(explainer):
    estimator_checks.check_class_weight_balanced_linear_classifier(
        name(explainer), clone(explainer)
    )


def test_all_parameters_have_constraints():
    for explainer in EXPLAINERS:
        assert explainer.get_params().keys() == explainer._parameter_constraints.keys()


# scikit-learn's tools around an explainer

X, Y = load_iris(return_X_y=True)
FRAME, SERIES = load_iris(as_frame=True, return_X_y=True)
SCALED = (X - X.mean(axis=0)) / X.std(axis=0)
WEIGHT = np.random.default_rng(0).integers(1, 4, size=len(Y)).astype(float)


def dense(T):
    return T.toarray() if sparse.issparse(T) else np.asarray(T)


@each
def test_pipeline(explainer):
    model = make_pipeline(StandardScaler(), clone(explainer)).fit(X, Y)
    expected = clone(explainer).fit(SCALED, Y)
    assert_array_equal(model.transform(X), expected.transform(SCALED))
    assert_array_equal(model.predict(X), expected.predict(SCALED))
    assert model.score(X, Y) > 0.9
    names = model.get_feature_names_out()
    assert len(names) == 150 and names[149] == f"{name(explainer).lower()}149"


@each
@pytest.mark.parametrize("sparse_output", [True, False])
def test_attributions_as_features(explainer, sparse_output):
    explainer = clone(explainer).set_params(sparse_output=sparse_output)
    model = make_pipeline(StandardScaler(), explainer, LogisticRegression()).fit(X, Y)
    assert model.score(X, Y) > 0.8


@each
def test_grid_search(explainer):
    grid = GRIDS[name(explainer)]
    search = GridSearchCV(clone(explainer), grid, cv=3).fit(SCALED, Y)
    (parameter, values), *_ = grid.items()
    assert search.best_params_[parameter] in values and search.best_score_ > 0.9
    assert len(set(search.cv_results_["mean_test_score"])) > 1
    expected = clone(explainer).set_params(**search.best_params_).fit(SCALED, Y)
    assert_array_equal(search.transform(SCALED), expected.transform(SCALED))
    model = make_pipeline(StandardScaler(), clone(explainer))
    nested = {f"{name(explainer).lower()}__{key}": value for key, value in grid.items()}
    # in processes too, to which explainers are sent
    search = GridSearchCV(model, nested, cv=3, n_jobs=2).fit(X, Y)
    assert search.best_score_ > 0.9


@each
def test_cross_validation(explainer):
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    scores = cross_val_score(clone(explainer), SCALED, Y, cv=folds)
    assert scores.shape == (5,) and scores.min() > 0.8
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
def test_pickle_and_joblib(explainer, tmp_path):
    fitted = clone(explainer).fit(SCALED, Y)
    expected = fitted.transform(SCALED)
    joblib.dump(fitted, tmp_path / "explainer.joblib")
    for copy in (
        pickle.loads(pickle.dumps(fitted)),
        joblib.load(tmp_path / "explainer.joblib"),
        joblib.load(tmp_path / "explainer.joblib", mmap_mode="r"),
    ):
        assert_array_equal(copy.transform(SCALED), expected)
        assert_array_equal(copy.top_k(SCALED, 3)[1], fitted.top_k(SCALED, 3)[1])
        assert_array_equal(copy.self_influence_, fitted.self_influence_)
        rows = np.zeros((150, 1), dtype=int)
        assert_array_equal(copy.decompose(SCALED, rows), fitted.decompose(SCALED, rows))


@each
def test_pandas_frame(explainer):
    fitted = clone(explainer).fit(FRAME, SERIES)
    assert_array_equal(fitted.feature_names_in_, FRAME.columns)
    expected = clone(explainer).fit(X, Y)
    assert not hasattr(expected, "feature_names_in_")
    assert_array_equal(fitted.transform(FRAME), expected.transform(X))
    assert_array_equal(fitted.attribute(FRAME, SERIES), expected.attribute(X, Y))
    with pytest.raises(ValueError, match="feature names should match"):
        fitted.transform(FRAME.iloc[:, ::-1])
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        fitted.transform(X)


@each
def test_polars_frame(explainer):
    frame, series = pl.DataFrame(FRAME.to_dict("list")), pl.Series(Y)
    fitted = clone(explainer).fit(frame, series)
    assert_array_equal(fitted.feature_names_in_, FRAME.columns)
    expected = clone(explainer).fit(X, Y)
    assert_array_equal(fitted.transform(frame), expected.transform(X))
    assert_array_equal(fitted.attribute(frame, series), expected.attribute(X, Y))
    with pytest.raises(ValueError, match="feature names should match"):
        fitted.transform(frame.select(frame.columns[::-1]))


@each
@pytest.mark.parametrize("container", ["pandas", "polars"])
def test_set_output(explainer, container):
    fitted = clone(explainer).fit(FRAME, SERIES)
    expected = fitted.transform(FRAME)
    T = fitted.set_output(transform=container).transform(FRAME)
    assert isinstance(T, pd.DataFrame if container == "pandas" else pl.DataFrame)
    assert list(T.columns) == [f"{name(explainer).lower()}{i}" for i in range(150)]
    if container == "pandas":
        assert_array_equal(T.index, FRAME.index)
    assert_array_equal(T.to_numpy(), expected)
    # the other methods stay as they are
    assert isinstance(fitted.attribute(FRAME), np.ndarray)
    assert isinstance(fitted.top_k(FRAME)[0], np.ndarray)


@each
@pytest.mark.parametrize("container", ["pandas", "polars"])
def test_sparse_attributions_are_no_frame(explainer, container):
    fitted = clone(explainer).set_params(sparse_output=True).fit(FRAME, SERIES)
    fitted.set_output(transform=container)
    with pytest.raises(ValueError, match="sparse matrix.*dense array"):
        fitted.transform(FRAME)


@each
def test_frozen(explainer):
    fitted = clone(explainer).fit(SCALED, Y)
    model = Pipeline([("scale", StandardScaler()), ("explain", FrozenEstimator(fitted))])
    model.fit(X, (Y + 1) % 3)
    assert_array_equal(model.transform(X), fitted.transform(SCALED))
    assert_array_equal(model.predict(X), fitted.predict(SCALED))
    assert_array_equal(model[-1].top_k(SCALED)[0], fitted.top_k(SCALED)[0])


@each
def test_routed_sample_weight(explainer):
    expected = clone(explainer).fit(SCALED, Y, sample_weight=WEIGHT)
    plain = clone(explainer).fit(SCALED, Y)
    f = expected.decision_function(SCALED)
    assert np.abs(f - plain.decision_function(SCALED)).max() > 1e-3
    grid = {key: [value] for key, value in explainer.get_params().items() if key == "C"}
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
