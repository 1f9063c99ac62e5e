"""The public contract of every explainer: targets, validation and the forms attributions take."""

from abc import ABCMeta, abstractmethod
from numbers import Integral

import numpy as np
import scipy.sparse as sp
from sklearn.base import (
    BaseEstimator,
    ClassifierMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    _fit_context,
)
from sklearn.utils import compute_sample_weight
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.extmath import safe_sparse_dot
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from . import _scoring

__all__ = [
    "BaseExplainer",
    "Interval",
    "StrOptions",
    "check_training_data",
    "check_weights",
    "fit_context",
]

# decorates `fit`: parameters are checked against `_parameter_constraints`
fit_context = _fit_context(prefer_skip_nested_validation=True)


def check_training_data(estimator, X, y):
    """Validated (X, codes) with `classes_` set; rows C-ordered or canonical CSR, float32 or 64."""
    X, y = validate_data(
        estimator, X, y, accept_sparse="csr", dtype=[np.float64, np.float32], order="C"
    )
    check_classification_targets(y)
    estimator.classes_, codes = np.unique(y, return_inverse=True)
    if len(estimator.classes_) < 2:
        raise ValueError(
            f"{type(estimator).__name__} needs rows of at least 2 classes, but y contains only "
            f"one class: {estimator.classes_.tolist()[0]!r}"
        )
    return canonical(X), codes


def check_weights(estimator, X, codes, sample_weight):
    """Sample weights times class weights of checked rows, in float64."""
    weight = _check_sample_weight(sample_weight, X, dtype=np.float64)
    weight = weight * compute_sample_weight(estimator.class_weight, estimator.classes_[codes])
    if not (np.isfinite(weight).all() and (weight >= 0).all() and weight.any()):
        raise ValueError(
            "sample_weight times class_weight must be finite, negative nowhere and positive for "
            f"some rows; it lies in {weight.min()}..{weight.max()}"
        )
    return weight


def canonical(X):
    """Sparse X with sorted, unique columns, on a copy if need be."""
    if sp.issparse(X) and not X.has_canonical_format:
        X = X.copy()
        X.sum_duplicates()
    return X


class BaseExplainer(
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    ClassifierMixin,
    BaseEstimator,
    metaclass=ABCMeta,
):
    """A linear head whose decision is a sum over training rows.

    Subclasses set `classes_`, `coef_`, `intercept_`, `n_samples_fit_`; `_kernel` is the rest.
    """

    @abstractmethod
    def _kernel(self) -> _scoring.Kernel: ...

    def __sklearn_tags__(self):
        """Sparse rows are welcome and attributions keep the float type of the rows."""
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    @property
    def _n_features_out(self):
        return self.n_samples_fit_

    def _check_rows(self, X):
        # not any attribute: a fit that failed leaves some behind
        check_is_fitted(self, "n_samples_fit_")
        X = validate_data(
            self,
            X,
            reset=False,
            accept_sparse="csr",
            dtype=[np.float64, np.float32],
            order="C",
        )
        return canonical(X)

    # the head

    def _decision(self, X):
        """Public decision values in float64, without a float64 copy of all of X."""
        out = np.empty((X.shape[0], len(self.coef_)))
        for rows in _scoring.batches(X.shape[0], 4096):
            part = X[rows].astype(np.float64, copy=False)
            out[rows] = safe_sparse_dot(part, self.coef_.T, dense_output=True)
        out += self.intercept_
        return out[:, 0] if len(self.classes_) == 2 else out

    def _predict_codes(self, decision):
        return (decision > 0).astype(np.intp) if decision.ndim == 1 else decision.argmax(axis=1)

    def decision_function(self, X) -> np.ndarray:
        """Decision values of the head.

        Parameters
        ----------
        X : array or CSR of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes), or (n_samples,) for two classes
            float64; for two classes positive means ``classes_[1]``.
        """
        return self._decision(self._check_rows(X))

    def predict(self, X) -> np.ndarray:
        """Classes that the head predicts.

        Parameters
        ----------
        X : array or CSR of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        codes = self._predict_codes(self.decision_function(X))
        return self.classes_[codes]

    # targets

    def _codes(self, labels):
        """Positions of labels in `classes_`."""
        labels = np.asarray(labels)
        try:
            codes = np.minimum(np.searchsorted(self.classes_, labels), len(self.classes_) - 1)
            unknown = np.atleast_1d(labels)[np.atleast_1d(self.classes_[codes] != labels)].tolist()
        except TypeError:
            # labels that do not compare with the classes
            classes = self.classes_.tolist()
            unknown = [label for label in np.atleast_1d(labels).tolist() if label not in classes]
        if unknown:
            raise ValueError(
                f"target {unknown[0]!r} is not one of the classes {self.classes_.tolist()}"
            )
        return codes

    def _directions(self):
        """Row c: the logit weights of a target that is class c."""
        one = np.eye(len(self.classes_))
        return 2.0 * one - 1.0 if len(one) == 2 else one

    def _check_target(self, X, target):
        """(codes, None) for labels or (None, weights) for logit weights."""
        m, K = X.shape[0], len(self.classes_)
        if target is None:
            return self._predict_codes(self._decision(X)), None
        if sp.issparse(target):
            target = target.toarray()
        target = np.asarray(target)
        if target.ndim == 0:
            return np.full(m, self._codes(target)), None
        if target.ndim == 1:
            if len(target) != m:
                raise ValueError(
                    f"target has {len(target)} labels but X has {m} rows: give one label, one "
                    f"label a row, or logit weights of shape ({m}, {K})"
                )
            return self._codes(target), None
        if target.shape != (m, K):
            raise ValueError(f"logit weights must have shape ({m}, {K}), got {target.shape}")
        weights = target.astype(np.float64)
        if not np.isfinite(weights).all():
            raise ValueError("logit weights in target must be finite numbers")
        return None, weights

    def _as_weights(self, X, target):
        codes, weights = self._check_target(X, target)
        return self._directions()[codes] if weights is None else weights

    def target_weights(self, X, output: str = "logit", y=None) -> np.ndarray:
        """Logit weights of a named output, to be given as `target`.

        Parameters
        ----------
        X : array or CSR of shape (n_samples, n_features)
        output : {"logit", "margin"}
            "logit": the class's decision value. "margin": the class's minus the best other
            class's. For two classes both are the margin.
        y : label or labels of shape (n_samples,), optional
            The classes in question; by default the predicted ones.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)

        Raises
        ------
        ValueError
            For an unknown output or label.
        """
        X = self._check_rows(X)
        if output not in ("logit", "margin"):
            raise ValueError(f"output must be 'logit' or 'margin', got {output!r}")
        codes, weights = self._check_target(X, y)
        if weights is not None:
            raise ValueError("y must be one label or one label a row")
        weights = self._directions()[codes]
        if output == "margin" and len(self.classes_) > 2:
            rivals = self._decision(X)
            rivals[np.arange(len(codes)), codes] = -np.inf
            weights[np.arange(len(codes)), rivals.argmax(axis=1)] = -1.0
        return weights

    # attributions

    def _groups(self, kernel, codes, weights):
        if weights is None:
            return _scoring.label_groups(kernel, codes, self._directions())
        return _scoring.weight_groups(kernel, weights)

    def transform(self, X):
        """Attributions to the predicted class.

        Parameters
        ----------
        X : array or CSR of shape (n_samples, n_features)

        Returns
        -------
        CSR array, or ndarray when ``sparse_output=False``, of shape (n_samples, n_samples_fit_)
            Entry (j, i): what training row i contributes to the decision value of the class
            predicted for row j. Rows sum to that decision value.

        Notes
        -----
        ``fit_transform(X, y)`` is this for the training rows: n_samples_fit_ squared entries.
        """
        return self.attribute(X)

    def attribute(self, X, target=None, *, out=None):
        """What each training row contributes to an output at each row of X.

        Parameters
        ----------
        X : array or CSR of shape (n_samples, n_features)
        target : None, label, labels of shape (n_samples,), or (n_samples, n_classes)
            What is explained: the decision value of the predicted class, of one class for all
            rows, of one class a row, or any linear functional of the logits, as weights. For two
            classes a label means the margin of that class, and weights act on the logits
            (-f/2, +f/2) of the decision value f.
        out : ndarray of shape (n_samples, n_samples_fit_), optional
            Where to write dense attributions, of the float type of X; may be a memory map.

        Returns
        -------
        CSR array or ndarray of shape (n_samples, n_samples_fit_)
            `out` if given; otherwise dense if ``sparse_output=False``. Of the float type of X.
            Positive: the training row raises the output. Unit: that of the decision values. Rows
            sum to the output.

        Raises
        ------
        ValueError
            For targets that are not classes, or of the wrong shape, and for an unfit `out`.
        """
        X = self._check_rows(X)
        kernel = self._kernel()
        groups = self._groups(kernel, *self._check_target(X, target))
        if out is None and getattr(self, "sparse_output", False):
            return _scoring.csr(kernel, X, groups)
        shape = X.shape[0], self.n_samples_fit_
        if out is None:
            out = np.zeros(shape, dtype=X.dtype)
        elif not isinstance(out, np.ndarray) or out.shape != shape or out.dtype != X.dtype:
            raise ValueError(f"out must be an array of shape {shape} and type {X.dtype}")
        elif not (out.flags.writeable and out.flags.c_contiguous):
            raise ValueError("out must be writeable and in C order")
        return _scoring.dense(kernel, X, groups, out)

    def aggregate(self, X, target=None, *, weights=None) -> np.ndarray:
        """Sum of attributions over the rows of X, without the matrix of attributions.

        Parameters
        ----------
        X : array or CSR of shape (n_samples, n_features)
        target : as in `attribute`
        weights : ndarray of shape (n_samples,), optional
            Weight of each row; by default 1.

        Returns
        -------
        ndarray of shape (n_samples_fit_,)
            float64.
        """
        X = self._check_rows(X)
        directions = self._as_weights(X, target)
        if weights is not None:
            weights = np.asarray(weights, dtype=np.float64)
            if weights.shape != (X.shape[0],) or not np.isfinite(weights).all():
                raise ValueError(f"weights must be {X.shape[0]} finite numbers, one a row of X")
            directions = directions * weights[:, None]
        return _scoring.aggregate(self._kernel(), X, directions)

    def top_k(
        self, X, k: int = 5, *, target=None, largest: bool = True
    ) -> tuple[np.ndarray, np.ndarray]:
        """The k strongest proponents (or opponents) of each row, without the full matrix.

        Parameters
        ----------
        X : array or CSR of shape (n_samples, n_features)
        k : int in 1..n_samples_fit_
        target : as in `attribute`
        largest : bool
            True: the largest attributions first; False: the smallest (most negative) first.

        Returns
        -------
        values : ndarray of shape (n_samples, k)
        indices : ndarray of shape (n_samples, k)
            Training rows; equal values are in the order of the training rows.

        Raises
        ------
        ValueError
            For k out of range.
        """
        X = self._check_rows(X)
        if not isinstance(k, Integral) or isinstance(k, bool) or not 1 <= k <= self.n_samples_fit_:
            raise ValueError(
                f"k must be an integer in 1..{self.n_samples_fit_}, the number of training rows; "
                f"got {k!r}"
            )
        kernel = self._kernel()
        groups = self._groups(kernel, *self._check_target(X, target))
        return _scoring.top_k(kernel, X, groups, int(k), largest)

    def decompose(self, X, indices, *, target=None) -> np.ndarray:
        """How the features share the attributions of chosen training rows.

        Parameters
        ----------
        X : array or CSR of shape (n_samples, n_features)
        indices : int array of shape (n_samples, k)
            Training rows, such as `top_k` returns.
        target : as in `attribute`

        Returns
        -------
        ndarray of shape (n_samples, k, n_features)
            The part of ``attribute(X)[j, indices[j, q]]`` that runs through each feature (DualView
            paper, eq. 7). What is missing to the whole is the share of the intercept.

        Raises
        ------
        ValueError
            For indices that are not training rows or of the wrong shape.
        """
        X = self._check_rows(X)
        indices = np.asarray(indices)
        if indices.ndim != 2 or len(indices) != X.shape[0] or indices.dtype.kind not in "iu":
            raise ValueError(f"indices must be integers of shape ({X.shape[0]}, k)")
        if indices.size and not 0 <= indices.min() <= indices.max() < self.n_samples_fit_:
            raise ValueError(f"indices must be training rows, 0..{self.n_samples_fit_ - 1}")
        kernel = self._kernel()
        directions = self._as_weights(X, target)
        shares = np.zeros((*indices.shape, X.shape[1]), dtype=X.dtype)
        place = np.searchsorted(kernel.support, indices)
        known = np.isin(indices, kernel.support)
        for j in np.flatnonzero(known.any(axis=1)):
            at = place[j, known[j]]
            phi = X[[j]].toarray() if sp.issparse(X) else X[[j]]
            vectors = kernel.vectors[at]
            vectors = vectors.toarray() if sp.issparse(vectors) else vectors
            coef = np.asarray(directions[j] @ kernel.dual[:, at]).ravel()
            shares[j, known[j]] = coef[:, None] * vectors * phi
        return shares
