"""scikit-learn's tools around an explainer: pipelines, searches, frames, routing, threads."""

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
from cases import (
    FEW,
    FRAME,
    SCALED,
    SERIES,
    SETUPS,
    WEIGHT,
    X,
    Y,
    each_tool,
    each_tool_with,
    has,
    iris,
    name,
    rows_of,
)
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn import config_context
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import UnsetMetadataPassedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_score
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler, scale
from sklearn.utils.parallel import Parallel, delayed

pytestmark = pytest.mark.usefixtures("quiet")


def dense(T):
    return T.toarray() if sparse.issparse(T) else np.asarray(T)


def weights(explainer):
    """Keyword arguments of fit."""
    return {"sample_weight": WEIGHT} if has(explainer, "sample_weight") else {}


@each_tool
def test_pipeline(explainer):
    rows, y = X[rows_of(explainer)], Y[rows_of(explainer)]
    model = make_pipeline(StandardScaler(), clone(explainer)).fit(rows, y)
    expected = clone(explainer).fit(scale(rows), y)
    assert_array_equal(model.transform(rows), expected.transform(scale(rows)))
    assert_array_equal(model.predict(rows), expected.predict(scale(rows)))
    assert model.score(rows, y) > SETUPS[type(explainer)].accuracy
    names = model.get_feature_names_out()
    assert len(names) == len(rows) and names[-1] == f"{name(explainer).lower()}{len(rows) - 1}"


@each_tool
@pytest.mark.parametrize("sparse_output", [True, False])
def test_attributions_as_features(explainer, sparse_output):
    if has(explainer, "sparse_output"):
        explainer = clone(explainer).set_params(sparse_output=sparse_output)
    elif sparse_output:
        with pytest.raises(ValueError, match="Invalid parameter 'sparse_output'"):
            clone(explainer).set_params(sparse_output=True)
        return
    last = LogisticRegression(max_iter=1000)
    rows, y = X[rows_of(explainer)], Y[rows_of(explainer)]
    model = make_pipeline(StandardScaler(), explainer, last).fit(rows, y)
    assert model.score(rows, y) > 0.8


@each_tool
def test_grid_search(explainer):
    parameters, least = SETUPS[type(explainer)].grid, SETUPS[type(explainer)].accuracy
    rows, y = iris(explainer)
    search = GridSearchCV(clone(explainer), parameters, cv=3).fit(rows, y)
    (parameter, values), *_ = parameters.items()
    assert search.best_params_[parameter] in values and search.best_score_ > least
    assert len(set(search.cv_results_["mean_test_score"])) > 1
    expected = clone(explainer).set_params(**search.best_params_).fit(rows, y)
    assert_array_equal(search.transform(rows), expected.transform(rows))
    model = make_pipeline(StandardScaler(), clone(explainer))
    nested = {f"{name(explainer).lower()}__{key}": value for key, value in parameters.items()}
    # in processes too, to which explainers are sent
    search = GridSearchCV(model, nested, cv=3, n_jobs=2).fit(rows, y)
    assert search.best_score_ > least


@each_tool
def test_cross_validation(explainer):
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    rows, y = iris(explainer)
    scores = cross_val_score(clone(explainer), rows, y, cv=folds)
    assert scores.shape == (5,) and scores.min() > SETUPS[type(explainer)].accuracy - 0.1
    for score, (train, test) in zip(scores, folds.split(rows, y), strict=True):
        assert score == clone(explainer).fit(rows[train], y[train]).score(rows[test], y[test])


@each_tool
def test_clone_forgets_the_fit(explainer):
    rows, y = iris(explainer)
    fitted = clone(explainer).fit(rows, y)
    copy = clone(fitted)
    assert repr(copy.get_params()) == repr(fitted.get_params()) == repr(explainer.get_params())
    assert not hasattr(copy, "classes_") and not hasattr(copy, "self_influence_")
    assert_array_equal(copy.fit(rows, y).transform(rows), fitted.transform(rows))


@each_tool
def test_joblib(explainer, tmp_path):
    fitted = clone(explainer).fit(*iris(explainer))
    own = fitted.self_influence_
    joblib.dump(fitted, tmp_path / "explainer.joblib")
    for mode in (None, "r"):
        read = joblib.load(tmp_path / "explainer.joblib", mmap_mode=mode)
        assert_array_equal(read.transform(FEW), fitted.transform(FEW))
        assert_array_equal(read.top_k(FEW, 3)[1], fitted.top_k(FEW, 3)[1])
        assert_array_equal(read.self_influence_, own)
        if not any(has(explainer, one) for one in ("folder", "metric", "output")):  # no shares
            rows = np.zeros((len(FEW), 1), dtype=int)
            assert_array_equal(read.decompose(FEW, rows), fitted.decompose(FEW, rows))


FRAMES = {
    "pandas": (FRAME, SERIES, pd.Series),
    "polars": (pl.DataFrame(FRAME.to_dict("list")), pl.Series(Y), pl.Series),
}


@each_tool
@pytest.mark.parametrize("container", FRAMES)
def test_frames(explainer, container):
    frame, labels, series = FRAMES[container]
    few, rows = slice(0, 150, 10), rows_of(explainer)
    given = weights(explainer)
    series_of = {key: series(value) for key, value in given.items()}
    fitted = clone(explainer).fit(frame[rows], labels[rows], **series_of)
    assert_array_equal(fitted.feature_names_in_, FRAME.columns)
    expected = clone(explainer).fit(X[rows], Y[rows], **given)
    assert not hasattr(expected, "feature_names_in_")
    assert_array_equal(fitted.transform(frame[few]), expected.transform(X[few]))
    assert_array_equal(
        fitted.attribute(frame[few], labels[few]), expected.attribute(X[few], Y[few])
    )
    with pytest.raises(ValueError, match="feature names should match"):
        fitted.transform(frame[list(FRAME.columns[::-1])])
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        fitted.predict(X[few])


@each_tool
@pytest.mark.parametrize("container", ["pandas", "polars"])
def test_set_output(explainer, container):
    rows = rows_of(explainer)
    fitted = clone(explainer).fit(FRAME[rows], SERIES[rows])
    few = FRAME[::10]
    expected = fitted.transform(few)
    T = fitted.set_output(transform=container).transform(few)
    assert isinstance(T, pd.DataFrame if container == "pandas" else pl.DataFrame)
    assert list(T.columns) == [f"{name(explainer).lower()}{i}" for i in range(len(Y[rows]))]
    if container == "pandas":
        assert_array_equal(T.index, few.index)
    assert_array_equal(T.to_numpy(), expected)
    # the other methods stay as they are
    assert isinstance(fitted.attribute(few), np.ndarray)
    assert isinstance(fitted.top_k(few)[0], np.ndarray)


@each_tool
def test_frozen(explainer):
    fitted = clone(explainer).fit(*iris(explainer))
    model = Pipeline([("scale", StandardScaler()), ("explain", FrozenEstimator(fitted))])
    model.fit(X, (Y + 1) % 3)
    assert_array_equal(model.transform(X[::10]), fitted.transform(FEW))
    assert_array_equal(model.predict(X[::10]), fitted.predict(FEW))
    assert_array_equal(model[-1].top_k(FEW)[0], fitted.top_k(FEW)[0])


@each_tool_with("sample_weight")
def test_routed_sample_weight(explainer):
    expected = clone(explainer).fit(SCALED, Y, sample_weight=WEIGHT)
    plain = clone(explainer).fit(SCALED, Y)
    f = expected.decision_function(SCALED)
    assert np.abs(f - plain.decision_function(SCALED)).max() > 1e-3
    grid = {"verbose": [0]}
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


@each_tool
def test_feature_names_beside_others(explainer):
    rows, width = FRAME[rows_of(explainer)], len(Y[rows_of(explainer)])
    parts = [("one", clone(explainer), list(FRAME.columns[:2])), ("all", "passthrough", [3])]
    columns = ColumnTransformer(parts).set_output(transform="pandas")
    T = columns.fit_transform(rows, Y[rows_of(explainer)])
    assert T.shape == (len(rows), width + 1)
    assert T.columns[0] == f"one__{name(explainer).lower()}0"
    alone = clone(explainer).fit(rows[FRAME.columns[:2]], Y[rows_of(explainer)])
    assert_array_equal(T.iloc[:, :-1], alone.transform(rows[FRAME.columns[:2]]))
    union = FeatureUnion([("a", clone(explainer)), ("b", clone(explainer))])
    names = union.fit(rows, Y[rows_of(explainer)]).get_feature_names_out()
    assert len(set(names)) == len(names) == 2 * width


@each_tool
def test_threads_share_a_fitted_explainer(explainer):
    fitted = clone(explainer).fit(*iris(explainer))
    calls = [delayed(fitted.transform)(FEW[k:]) for k in range(4)]
    calls += [delayed(lambda k: fitted.top_k(FEW, k)[0])(k) for k in (1, 2, 3)]
    calls += [delayed(lambda: fitted.self_influence_)() for _ in range(3)]
    found = Parallel(4, backend="threading")(calls)
    other = clone(explainer).fit(*iris(explainer))
    for k in range(4):
        assert_array_equal(found[k], other.transform(FEW[k:]))
    for k in (1, 2, 3):
        assert_array_equal(found[3 + k], other.top_k(FEW, k)[0])
    for own in found[-3:]:
        assert_array_equal(own, other.self_influence_)
