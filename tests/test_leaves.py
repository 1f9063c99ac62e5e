"""LeafFeatures: rows share a feature where they share a leaf, whatever grew the trees."""

import pickle

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
    VotingClassifier,
)
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils.estimator_checks import parametrize_with_checks

from skattrib import DualViewExplainer, LeafFeatures

X, Y = load_iris(return_X_y=True)
TRAIN, TEST = slice(0, None, 2), slice(1, None, 2)
TWO = Y > 0
FOREST = RandomForestClassifier(7, random_state=0)


def proximity(leaves, others):
    """Share of trees that put two rows into one leaf, in loops."""
    found = np.zeros((len(leaves), len(others)))
    for i, row in enumerate(leaves):
        for j, other in enumerate(others):
            found[i, j] = np.mean(row == other)
    return found


def hist_leaves(model, rows):
    """Value of the leaf in each tree of HistGradientBoosting, by a walk from the root."""
    found = []
    for trees in model._predictors:
        for tree in trees:
            column = []
            for row in rows:
                place = 0
                while not tree.nodes[place]["is_leaf"]:
                    node = tree.nodes[place]
                    left = row[node["feature_idx"]] <= node["num_threshold"]
                    place = node["left"] if left else node["right"]
                column.append(tree.nodes[place]["value"])
            found.append(column)
    return np.array(found).T


def lightgbm_model(**options):
    lightgbm = pytest.importorskip("lightgbm")
    return lightgbm.LGBMClassifier(
        n_estimators=4, min_child_samples=5, verbose=-1, n_jobs=1, **options
    )


def xgboost_model():
    xgboost = pytest.importorskip("xgboost")
    return xgboost.XGBClassifier(n_estimators=4, max_depth=3, n_jobs=1)


def bagged(model, rows):
    pairs = zip(model.estimators_, model.estimators_features_, strict=True)
    return np.stack([tree.apply(rows[:, columns]) for tree, columns in pairs], axis=1)


MODELS = {
    "forest": (lambda: clone(FOREST), Y, lambda m, rows: m.apply(rows)),
    "extra trees": (lambda: ExtraTreesClassifier(5, random_state=0), Y, lambda m, r: m.apply(r)),
    "regressor": (lambda: RandomForestRegressor(5, random_state=0), Y, lambda m, r: m.apply(r)),
    "tree": (lambda: DecisionTreeClassifier(random_state=0), Y, lambda m, r: m.apply(r)[:, None]),
    "isolation": (
        lambda: IsolationForest(n_estimators=5, max_features=0.5, random_state=0),
        Y,
        bagged,
    ),
    "bagging": (lambda: BaggingClassifier(max_features=0.5, random_state=0), Y, bagged),
    "boosting": (
        lambda: GradientBoostingClassifier(n_estimators=4, random_state=0),
        Y,
        lambda m, rows: m.apply(rows).reshape(len(rows), -1),
    ),
    "boosting, binary": (
        lambda: GradientBoostingClassifier(n_estimators=4, random_state=0),
        TWO,
        lambda m, rows: m.apply(rows)[:, :, 0],
    ),
    "hist": (lambda: HistGradientBoostingClassifier(max_iter=4), Y, hist_leaves),
    "hist, binary": (lambda: HistGradientBoostingClassifier(max_iter=4), TWO, hist_leaves),
    "hist, regressor": (
        lambda: HistGradientBoostingRegressor(loss="poisson", max_iter=4),
        Y,
        hist_leaves,
    ),
    "lightgbm": (lightgbm_model, Y, lambda m, rows: m.predict(rows, pred_leaf=True)),
    "xgboost": (xgboost_model, Y, lambda m, rows: m.apply(rows)),
}


@pytest.mark.parametrize("name", MODELS)
def test_inner_products_are_shares_of_common_leaves(name):
    make, y, read = MODELS[name]
    model = make().fit(X[TRAIN], y[TRAIN])
    features = LeafFeatures(FrozenEstimator(model))
    train = features.fit_transform(X[TRAIN], y[TRAIN])
    assert isinstance(train, sparse.csr_array) and train.has_canonical_format
    test = features.transform(X[TEST])
    expected = proximity(read(model, X[TEST]), read(model, X[TRAIN]))
    assert 0.05 < expected.mean() < 0.95
    assert_allclose((test @ train.T).toarray(), expected, atol=1e-12)
    assert_allclose(abs(features.transform(X[TRAIN]) - train).sum(), 0)
    n_trees = read(model, X[:1]).shape[1]
    assert features.n_trees_ == n_trees
    assert_array_equal(np.diff(train.indptr), n_trees)
    assert_allclose(train.data, n_trees**-0.5)


def test_hist_leaves_with_missing_values_and_many_rounds():
    """Differences of sums round; leaves do not fall apart, and none are mixed up."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(200, 3))
    y = (rows.sum(axis=1) > 0).astype(int)
    model = HistGradientBoostingClassifier(max_iter=40, max_leaf_nodes=6).fit(rows, y)
    features = LeafFeatures(FrozenEstimator(model))
    expected = hist_leaves(model, rows)
    found = (features.fit_transform(rows) @ features.transform(rows[:40]).T).toarray()
    assert_allclose(found, proximity(expected, expected[:40]), atol=1e-12)
    assert len(features.leaves_) == sum(len(np.unique(column)) for column in expected.T)
    rows[::7, 1] = np.nan
    with_missing = LeafFeatures(HistGradientBoostingClassifier(max_iter=3)).fit(rows, y)
    assert_array_equal(np.diff(with_missing.transform(rows).indptr), with_missing.n_trees_)


def test_a_clone_is_fitted_unless_frozen():
    model = clone(FOREST)
    features = LeafFeatures(model).fit(X, Y)
    assert not hasattr(model, "estimators_") and len(features.model_.estimators_) == 7
    fitted = clone(FOREST).fit(X[:100], Y[:100])
    frozen = LeafFeatures(FrozenEstimator(fitted)).fit(X[100:], Y[100:])
    assert frozen.model_.estimator is fitted
    assert_array_equal(fitted.classes_, [0, 1])
    with pytest.raises(NotFittedError):
        LeafFeatures(FOREST).transform(X)
    with pytest.raises(NotFittedError):
        LeafFeatures(FrozenEstimator(FOREST)).fit(X, Y)


def test_leaves_that_fit_has_not_seen_are_zeros():
    model = clone(FOREST).fit(X, Y)
    features = LeafFeatures(FrozenEstimator(model)).fit(X[Y == 0])
    found = features.transform(X)
    known = [set(column) for column in model.apply(X[Y == 0]).T]
    expected = [
        sum(leaf in seen for leaf, seen in zip(row, known, strict=True)) for row in model.apply(X)
    ]
    assert_array_equal(np.diff(found.indptr), expected)
    assert min(expected) == 0 and found.shape[1] == sum(map(len, known))


def test_names_and_shares_by_tree():
    head = DualViewExplainer(C=0.1, random_state=0)
    pipeline = make_pipeline(LeafFeatures(FOREST), head).fit(X, Y)
    features, head = pipeline
    names = features.get_feature_names_out()
    leaves = features.model_.apply(X[:3])
    rows = features.transform(X[:3])
    for i in range(3):
        expected = {f"tree {tree} leaf {leaf}" for tree, leaf in enumerate(leaves[i])}
        assert set(names[rows[[i]].indices]) == expected
    _, near = head.top_k(rows, 2)
    shares = head.decompose(rows, near)
    by_tree = features.by_tree(shares)
    assert by_tree.shape == (6, 7)
    dense = shares.toarray().reshape(3, 2, -1)
    assert_allclose(features.by_tree(dense), by_tree.reshape(3, 2, 7))
    slow = np.array([[row[features.trees_ == tree].sum() for tree in range(7)] for row in dense[0]])
    assert_allclose(by_tree[:2], slow)
    # every common leaf has the same part of the attribution
    T = head.attribute(rows).toarray()[0, near[0, 0]]
    common = leaves[0] == features.model_.apply(X[[near[0, 0]]])[0]
    assert_allclose(by_tree[0], np.where(common, T / common.sum(), 0), atol=1e-12)
    with pytest.raises(ValueError, match="one a leaf"):
        features.by_tree(np.ones((2, 3)))
    with pytest.raises(ValueError, match="one a leaf"):
        features.by_tree(1.0)


def test_names_of_boosting_say_the_class():
    labels = np.array(["a", "b", "c"])[Y]
    for model in (
        GradientBoostingClassifier(n_estimators=2, random_state=0),
        HistGradientBoostingClassifier(max_iter=2),
    ):
        names = LeafFeatures(model).fit(X, labels).get_feature_names_out()
        assert names[0].startswith("tree 0 class a leaf ")
        assert names[-1].startswith("tree 1 class c leaf ")
        assert len(set(names)) == len(names)


def test_it_stands_for_a_forest():
    digits, y = load_digits(return_X_y=True)
    forest = RandomForestClassifier(25, random_state=0).fit(digits[:700], y[:700])
    stand_in = make_pipeline(
        LeafFeatures(FrozenEstimator(forest)), DualViewExplainer(random_state=0)
    ).fit(digits[:700], forest.predict(digits[:700]))
    new = digits[700:1300]
    on_rows = DualViewExplainer(random_state=0).fit(digits[:700], forest.predict(digits[:700]))
    fidelity = stand_in.score(new, forest.predict(new))
    assert fidelity > 0.95 and fidelity > on_rows.score(new, forest.predict(new)) + 0.02


def test_inputs():
    frame, y = load_iris(return_X_y=True, as_frame=True)
    features = LeafFeatures(FOREST).fit(frame, y)
    assert_array_equal(features.feature_names_in_, frame.columns)
    with pytest.warns(UserWarning, match="valid feature names"):
        plain = features.transform(X)
    assert abs(features.transform(frame) - plain).sum() == 0
    with pytest.raises(ValueError, match="feature names"):
        features.transform(frame.rename(columns=str.upper))
    of_csr = LeafFeatures(FOREST).fit(sparse.csr_array(X), Y)
    assert abs(of_csr.transform(sparse.csr_array(X)) - plain).sum() == 0
    assert LeafFeatures(FOREST).fit(X, Y).transform(X.tolist()).shape == plain.shape
    small = LeafFeatures(FOREST).fit_transform(X.astype(np.float32), Y)
    assert small.dtype == np.float32 and plain.dtype == np.float64
    again = pickle.loads(pickle.dumps(features))
    assert abs(again.transform(frame) - plain).sum() == 0
    of_bags = LeafFeatures(AdaBoostClassifier(n_estimators=3, random_state=0))
    assert of_bags.fit_transform(pd.DataFrame(X), Y).shape[0] == 150


@pytest.mark.parametrize(
    ("model", "error", "message"),
    [
        (RandomForestClassifier, TypeError, "must be an estimator such as"),
        (None, TypeError, "must be an estimator such as"),
        (LogisticRegression(), ValueError, "LogisticRegression has no leaves .* give a forest"),
        (FrozenEstimator(LogisticRegression()), ValueError, "LogisticRegression has no leaves"),
        (make_pipeline(StandardScaler(), FOREST), ValueError, r"LeafFeatures\(pipeline\[-1\]\)"),
        (VotingClassifier([("a", FOREST)]), ValueError, "VotingClassifier has no leaves"),
        (
            BaggingClassifier(LogisticRegression(), n_estimators=2),
            ValueError,
            "holds models that are no trees",
        ),
    ],
)
def test_models_without_leaves(model, error, message):
    with pytest.raises(error, match=message):
        LeafFeatures(model).fit(X, Y)


def test_a_search_names_its_best():
    search = GridSearchCV(FOREST, {"max_depth": [2]}, cv=2).fit(X, Y)
    with pytest.raises(ValueError, match=r"FrozenEstimator\(search.best_estimator_\)"):
        LeafFeatures(FrozenEstimator(search)).fit(X)
    assert LeafFeatures(FrozenEstimator(search.best_estimator_)).fit(X).n_trees_ == 7


def test_a_frozen_model_that_grew():
    forest = RandomForestClassifier(3, random_state=0, warm_start=True).fit(X, Y)
    features = LeafFeatures(FrozenEstimator(forest)).fit(X)
    forest.set_params(n_estimators=5).fit(X, Y)
    with pytest.raises(ValueError, match="now has 5 trees, but had 3"):
        features.transform(X)


@parametrize_with_checks(
    [
        LeafFeatures(RandomForestClassifier(2, random_state=0)),
        LeafFeatures(GradientBoostingRegressor(n_estimators=1)),
    ]
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)
