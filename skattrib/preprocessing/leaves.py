"""Leaves of forests and boosted trees as features: what a head explains a tree model on."""

import reprlib

import numpy as np
import scipy.sparse as sp
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.utils import get_tags
from sklearn.utils.validation import assert_all_finite, check_is_fitted, validate_data

from .._arrays.checks import canonical_csr, check_plain

__all__ = ["LeafFeatures"]


class LeafFeatures(TransformerMixin, BaseEstimator):
    """Which leaf of each tree a row falls into, for heads that stand for a forest or for boosting.

    A linear head on the columns of a table is often a poor stand-in for a forest; one on the
    forest's leaves agrees with it, and its attributions are over the same training rows.

    Parameters
    ----------
    model : estimator
        A forest, bagged or boosted trees, or a single tree: of scikit-learn, or
        XGBoost's, LightGBM's and CatBoost's estimators. A clone of it is fitted; one that is
        fitted already is taken as it is inside :class:`~sklearn.frozen.FrozenEstimator`.

    Attributes
    ----------
    model_ : estimator
        The fitted model.
    n_trees_ : int
        Boosting to several classes has a tree a class in each round.
    trees_ : ndarray of shape (n_features_out,)
        The tree that each feature is a leaf of.
    leaves_ : ndarray of shape (n_features_out,)
        The leaf as the model numbers it: the node of scikit-learn's trees. The leaves of
        HistGradientBoosting are numbered from the smallest value to the largest.
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        Where the columns have names.

    Raises
    ------
    TypeError
        If `model` is no estimator.
    ValueError
        If it has no leaves that can be read.

    Notes
    -----
    A row has a one for each tree, all scaled to norm 1: the inner product of two rows is the
    share of trees in which they fall into the same leaf, the proximity of random forests [1]_.
    Leaves that no row of `fit` reached are no features: a row that falls into one has a zero there,
    and a norm below 1.

    How to read what a head makes of it: an attribution is the training row's dual coefficient
    times the share of trees that put it and the test row together; `decompose` gives each common
    leaf ("tree 17 leaf 4") the same part of it, so look at how many trees agree (`by_tree`), not at
    which. Columns of the table do not appear; they are the questions on a tree's way to its leaf.

    How faithful the head is, measured: ``pipeline.score(X_new, forest.predict(X_new))`` of a
    pipeline fitted to the forest's own predictions.

    HistGradientBoosting has no public way to its leaves: they are told apart by what they add
    to the output, round by round. Leaves of one tree that add the same are one.

    References
    ----------
    .. [1] Breiman, L., Random forests. Machine Learning 45 (2001).

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.ensemble import RandomForestClassifier
    >>> from sklearn.frozen import FrozenEstimator
    >>> from sklearn.pipeline import make_pipeline
    >>> from skattrib import DualViewExplainer, LeafFeatures
    >>> X, y = load_digits(return_X_y=True)
    >>> forest = RandomForestClassifier(100, random_state=0).fit(X[:1000], y[:1000])
    >>> stand_in = make_pipeline(
    ...     LeafFeatures(FrozenEstimator(forest)), DualViewExplainer(C=0.1, random_state=0)
    ... )
    >>> stand_in = stand_in.fit(X[:1000], forest.predict(X[:1000]))
    >>> bool(stand_in.score(X[1000:], forest.predict(X[1000:])) > 0.95)
    True
    """

    def __init__(self, model):
        self.model = model

    def __sklearn_tags__(self):
        """What the model takes is taken."""
        tags = super().__sklearn_tags__()
        try:
            model = get_tags(self.model)
        except (AttributeError, TypeError):
            return tags  # fit says what is wrong
        tags.input_tags = model.input_tags
        tags.target_tags.required = model.target_tags.required
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def fit(self, X, y=None) -> "LeafFeatures":
        """Fit a clone of the model, unless it is frozen, and note the leaves that X reaches.

        Parameters
        ----------
        X : array, CSR or frame of shape (n_samples, n_columns)
            As the model takes it.
        y : array-like of shape (n_samples,), optional
            Where the model needs it.

        Returns
        -------
        LeafFeatures
        """
        self._fit(X, y)
        return self

    def fit_transform(self, X, y=None) -> sp.csr_array:
        """Fit, and return the features of the same rows.

        Parameters
        ----------
        X, y : as in `fit`

        Returns
        -------
        CSR array of shape (n_samples, n_features_out)
        """
        leaves = self._fit(X, y)
        return self._one_hot(leaves, X)

    def transform(self, X) -> sp.csr_array:
        """One feature a leaf.

        Parameters
        ----------
        X : array, CSR or frame of shape (n_samples, n_columns)

        Returns
        -------
        CSR array of shape (n_samples, n_features_out)
            float32 if X is, else float64.
        """
        check_is_fitted(self, "trees_")
        X = self._checked(X, reset=False)
        return self._one_hot(_read_leaves(_unfrozen(self.model_), X)[0], X)

    def get_feature_names_out(self, input_features=None) -> np.ndarray:
        """Names such as "tree 17 leaf 4", or "tree 17 class setosa leaf 4" of boosting.

        Parameters
        ----------
        input_features : ignored

        Returns
        -------
        ndarray of str
        """
        check_is_fitted(self, "trees_")
        pairs = zip(self._tree_names[self.trees_], self.leaves_.tolist(), strict=True)
        return np.array([f"{tree} leaf {leaf}" for tree, leaf in pairs], dtype=object)

    def by_tree(self, shares) -> np.ndarray:
        """Shares of leaves, summed tree by tree.

        Parameters
        ----------
        shares : ndarray of shape (..., n_features_out), or CSR of shape (m, n_features_out)
            As `decompose` of an explainer gives them.

        Returns
        -------
        ndarray of shape (..., n_trees_)
        """
        check_is_fitted(self, "trees_")
        n = len(self.trees_)
        shares = shares if sp.issparse(shares) else np.asarray(shares)
        if not shares.ndim or shares.shape[-1] != n:
            raise ValueError(f"shares has shape {shares.shape}; expected (..., {n}), one a leaf")
        member = sp.csr_array((np.ones(n), (np.arange(n), self.trees_)), (n, self.n_trees_))
        if sp.issparse(shares):
            return (sp.csr_array(shares) @ member).toarray()
        return (shares.reshape(-1, n) @ member).reshape(*shares.shape[:-1], self.n_trees_)

    @property
    def _n_features_out(self):
        return len(self.trees_)

    def _checked(self, X, reset):
        """X, an array if it was a list; the model knows best what else it takes."""
        check_plain(X, "X")
        if sp.issparse(X):
            csr = canonical_csr(X, "X")
            X = sp.csr_matrix(csr) if isinstance(X, sp.spmatrix) else csr
        X = X if hasattr(X, "shape") else np.asarray(X)
        if X.ndim != 2:
            raise ValueError(
                f"X has shape {X.shape}; expected (rows, columns). Reshape your data: one row is "
                "X.reshape(1, -1)"
            )
        validate_data(self, X, reset=reset, skip_check_array=True)
        if getattr(X, "dtype", np.dtype(object)).kind == "f":
            allow_nan = get_tags(self.model).input_tags.allow_nan
            assert_all_finite(X, allow_nan=allow_nan, input_name="X")
        return X

    def _fit(self, X, y):
        """The leaves of the rows, (n_samples, n_trees)."""
        model = self.model
        if isinstance(model, type) or not (hasattr(model, "fit") and hasattr(model, "get_params")):
            raise TypeError(
                f"model must be an estimator such as RandomForestClassifier(), got "
                f"{reprlib.repr(model)}"
            )
        _check_readable(_unfrozen(model))
        X = self._checked(X, reset=True)
        self.model_ = clone(model)
        self.model_.fit(X, y)
        leaves, self._tree_names = _read_leaves(_unfrozen(self.model_), X)
        self.n_trees_ = leaves.shape[1]
        self._tolerance = _rounding(leaves)
        self._known = [_distinct(column, self._tolerance) for column in leaves.T]
        sizes = [len(known) for known in self._known]
        self._starts = np.cumsum([0, *sizes])
        if leaves.dtype.kind == "f":
            self.leaves_ = np.concatenate([np.arange(size) for size in sizes])
        else:
            self.leaves_ = np.concatenate(self._known)
        self.trees_ = np.repeat(np.arange(self.n_trees_), sizes)
        return leaves

    def _one_hot(self, leaves, X):
        n, n_trees = leaves.shape
        if n_trees != self.n_trees_:
            raise ValueError(
                f"the model now has {n_trees} trees, but had {self.n_trees_} when LeafFeatures was "
                "fitted: fit it anew"
            )
        columns = np.empty((n, n_trees), dtype=np.int64)
        known = np.empty((n, n_trees), dtype=bool)
        for tree, seen in enumerate(self._known):
            place = _nearest(seen, leaves[:, tree])
            known[:, tree] = np.abs(seen[place] - leaves[:, tree]) <= self._tolerance
            columns[:, tree] = self._starts[tree] + place
        dtype = np.float32 if getattr(X, "dtype", None) == np.float32 else np.float64
        values = np.full(known.sum(), 1 / np.sqrt(n_trees), dtype=dtype)
        indptr = np.concatenate([[0], np.cumsum(known.sum(axis=1))])
        fits = max(indptr[-1], self._starts[-1]) <= np.iinfo(np.int32).max
        index = np.int32 if fits else np.int64
        parts = (values, columns[known].astype(index), indptr.astype(index))
        return sp.csr_array(parts, shape=(n, self._starts[-1]))


# reading leaves


def _unfrozen(model):
    return model.estimator if type(model).__name__ == "FrozenEstimator" else model


def _trees_inside(model):
    """Pairs of a tree and its columns, of ensembles without `apply` such as bagging."""
    trees = getattr(model, "estimators_", None)
    if not isinstance(trees, list) or not all(hasattr(tree, "tree_") for tree in trees):
        return []
    columns = getattr(model, "estimators_features_", None)
    return list(zip(trees, columns or [slice(None)] * len(trees), strict=True))


def _is_lightgbm(model):
    return any(base.__module__.partition(".")[0] == "lightgbm" for base in type(model).__mro__)


def _is_hist(model):
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    return isinstance(model, HistGradientBoostingClassifier | HistGradientBoostingRegressor)


def _check_readable(model):
    """Refuses before the fit what has no leaves, as far as that can be known."""
    from sklearn.ensemble import (
        AdaBoostClassifier,
        AdaBoostRegressor,
        BaggingClassifier,
        BaggingRegressor,
        IsolationForest,
    )

    bagged = (AdaBoostClassifier, AdaBoostRegressor, BaggingClassifier, BaggingRegressor)
    known = hasattr(model, "apply") or hasattr(model, "calc_leaf_indexes")
    if known or _is_lightgbm(model) or _is_hist(model):
        return
    if isinstance(model, (*bagged, IsolationForest)):
        return
    name = type(model).__name__
    advice = "give a forest, bagged or boosted trees of scikit-learn, XGBoost, LightGBM, CatBoost"
    if hasattr(model, "steps"):
        advice = (
            "put its other steps before: make_pipeline(*pipeline[:-1], "
            "LeafFeatures(pipeline[-1]), explainer)"
        )
    elif hasattr(model, "best_estimator_"):
        advice = "give FrozenEstimator(search.best_estimator_)"
    raise ValueError(f"{name} has no leaves to be read; {advice}")


def _read_leaves(model, X):
    """Leaves of a fitted model, one column a tree, and the names of the trees.

    Integers, or floats that differ from leaf to leaf up to rounding.
    """
    classes = None
    if _is_lightgbm(model):
        leaves = model.predict(X, pred_leaf=True)
    elif hasattr(model, "apply"):
        leaves = model.apply(X)
        if np.ndim(leaves) == 3:
            classes = getattr(model, "classes_", None)
    elif hasattr(model, "calc_leaf_indexes"):
        leaves = model.calc_leaf_indexes(X)
    elif _is_hist(model):
        leaves, classes = _additions(model, X), getattr(model, "classes_", None)
    else:
        leaves = _bagged_leaves(model, X)
    leaves = np.asarray(leaves)
    if leaves.ndim == 3:
        n_rounds, n_outputs = leaves.shape[1:]
    else:
        leaves = leaves.reshape(len(leaves), -1)
        n_rounds, n_outputs = leaves.shape[1], 1
    if not leaves.size:
        raise ValueError(f"{type(model).__name__} has no trees; fit it with one or more")
    names = [f"tree {number}" for number in range(n_rounds)]
    if n_outputs > 1:
        names = [f"{name} class {label}" for name in names for label in classes]
    leaves = leaves.reshape(len(leaves), -1)
    if leaves.dtype.kind == "f" and not _is_hist(model):
        leaves = leaves.astype(np.int64)  # node numbers, as some libraries have them
    return leaves, np.array(names, dtype=object)


def _additions(model, X):
    """What each tree of HistGradientBoosting adds to the output, (n, rounds, outputs)."""
    if hasattr(model, "staged_decision_function"):
        stages = list(model.staged_decision_function(X))
    else:
        stages = list(model.staged_predict(X))
        if model.loss in ("poisson", "gamma"):
            stages = [np.log(stage) for stage in stages]
    outputs = np.stack([np.reshape(stage, (len(stage), -1)) for stage in stages], axis=1)
    return np.diff(outputs, axis=1, prepend=0.0)


def _bagged_leaves(model, X):
    trees = _trees_inside(model)
    if not trees:
        raise ValueError(
            f"{type(model).__name__} holds models that are no trees: they have no leaves"
        )
    X = X.to_numpy() if hasattr(X, "to_numpy") else X
    X = sp.csc_array(X) if sp.issparse(X) else np.asarray(X)
    return np.stack(
        [tree.apply(sp.csr_array(X[:, c]) if sp.issparse(X) else X[:, c]) for tree, c in trees],
        axis=1,
    )


def _rounding(leaves):
    """How far two readings of one leaf may lie apart."""
    if leaves.dtype.kind != "f":
        return 0
    return 16 * np.finfo(np.float64).eps * max(1.0, np.abs(leaves).sum(axis=1).max())


def _distinct(column, tolerance):
    """Sorted values, those within rounding as one."""
    values = np.unique(column)
    if tolerance:
        values = values[np.concatenate([[True], np.diff(values) > tolerance])]
    return values


def _nearest(known, values):
    """Places in sorted values of those that lie nearest."""
    after = np.minimum(np.searchsorted(known, values), len(known) - 1)
    before = np.maximum(after - 1, 0)
    return np.where(np.abs(known[before] - values) < np.abs(known[after] - values), before, after)
