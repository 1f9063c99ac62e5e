"""Baselines that attributions have to beat."""

from numbers import Integral

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, clone, is_classifier
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.utils.validation import check_is_fitted

from .._arrays.checks import check_estimator, check_same_rows, codes_of, plain_array
from ..explainers import RepresenterExplainer

# nats: that of a label to which a model gives no probability at all
LARGEST = -np.log(np.finfo(np.float64).tiny)


class LossBaseline(ClassifierMixin, BaseEstimator):
    """Ranks training rows by their cross-entropy, for every test row alike.

    What it finds of wrong labels needs no attribution at all: where an explainer is not better, its
    attributions are no reason to use it. For :func:`~skattrib.compare_explainers`.

    Parameters
    ----------
    estimator : classifier, default=None
        With `predict_proba`; cloned and fitted, but taken as it is inside a FrozenEstimator. None
        is the softmax head of ``RepresenterExplainer()``.
    cv : int or None, default=None
        Folds, so that the losses are those of models that have not seen the row. None: those of the
        model itself, as papers mean by loss ranking.

    Attributes
    ----------
    estimator_ : classifier
        Fitted to all rows.
    losses_ : ndarray of shape (n_samples_fit_,)
        Cross-entropy of each row's label in nats, at most 708.
    self_influence_ : ndarray of shape (n_samples_fit_,)
        The same: larger is more suspicious.
    classes_ : ndarray of shape (n_classes,)
    n_samples_fit_ : int

    Notes
    -----
    Sign: attributions are minus the losses, as if a row harmed every test row by its own loss. They
    have the unit of losses and sum to nothing in particular.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skattrib import InfluenceExplainer, compare_explainers
    >>> from skattrib.comparison import LossBaseline
    >>> X, y = load_iris(return_X_y=True)
    >>> explainers = {"influence": InfluenceExplainer(), "loss": LossBaseline()}
    >>> found = compare_explainers(
    ...     explainers, X[::2], y[::2], X[1::2], metrics=["self_influence"], random_state=0
    ... )
    >>> found.table["explainer"]
    ['influence', 'loss']
    """

    def __init__(self, estimator=None, *, cv=None):
        self.estimator = estimator
        self.cv = cv

    def fit(self, X, y) -> "LossBaseline":
        """Fit the estimator, and take the loss of each row.

        Parameters
        ----------
        X : array, CSR or frame of shape (n_samples, n_features)
            Whatever the estimator takes.
        y : array of shape (n_samples,)

        Returns
        -------
        LossBaseline

        Raises
        ------
        TypeError
            For an estimator without `predict_proba`.
        ValueError
            For labels that a frozen estimator does not know, and folds that it cannot be fitted in.
        """
        estimator = RepresenterExplainer() if self.estimator is None else self.estimator
        if not is_classifier(check_estimator(estimator)) or not hasattr(estimator, "predict_proba"):
            raise TypeError(
                "estimator must be a classifier with predict_proba, got "
                f"{type(estimator).__name__}: wrap it in CalibratedClassifierCV"
            )
        check_same_rows(X=X, y=y)
        y = plain_array(y, "y")
        frozen = isinstance(estimator, FrozenEstimator)
        if self.cv is None:
            self.estimator_ = estimator if frozen else clone(estimator).fit(X, y)
            p = self.estimator_.predict_proba(X)
        else:
            folds = self._folds(frozen, y)
            self.estimator_ = clone(estimator).fit(X, y)
            p = cross_val_predict(estimator, X, y, cv=folds, method="predict_proba")
        self.classes_ = np.asarray(self.estimator_.classes_)
        order = np.argsort(self.classes_)
        codes = order[codes_of(y, self.classes_[order], "label of y")]
        if p.shape != (len(codes), len(order)):
            raise ValueError(f"y has shape {y.shape}, but X has {len(p)} rows: give one label each")
        with np.errstate(divide="ignore"):
            self.losses_ = np.minimum(-np.log(p[np.arange(len(p)), codes]), LARGEST)
        self.n_samples_fit_ = len(p)
        return self

    def _folds(self, frozen, y):
        if not isinstance(self.cv, Integral) or isinstance(self.cv, bool) or self.cv < 2:
            raise ValueError(f"cv must be None or a number of folds from 2 up, got {self.cv!r}")
        if frozen:
            raise ValueError("a FrozenEstimator cannot be fitted in folds: leave cv at None")
        fewest = np.unique(y, return_counts=True)[1].min()
        if fewest < self.cv:
            raise ValueError(f"a class has {fewest} rows only, cv={self.cv} folds: give fewer")
        return StratifiedKFold(int(self.cv), shuffle=True, random_state=0)

    @property
    def self_influence_(self) -> np.ndarray:
        """Losses of the training rows, (n_samples_fit_,)."""
        check_is_fitted(self)
        return self.losses_

    def predict(self, X) -> np.ndarray:
        """Labels that the estimator predicts, (n_samples,)."""
        check_is_fitted(self)
        return self.estimator_.predict(X)

    def attribute(self, X, target=None) -> np.ndarray:
        """Minus the losses of the training rows, for each row of X.

        Parameters
        ----------
        X : as in `fit`, of any number of rows
        target : ignored

        Returns
        -------
        ndarray of shape (n_samples, n_samples_fit_)
            A read-only view of one row.
        """
        check_is_fitted(self)
        n = X.shape[0] if hasattr(X, "shape") else len(X)
        return np.broadcast_to(-self.losses_, (n, self.n_samples_fit_))
