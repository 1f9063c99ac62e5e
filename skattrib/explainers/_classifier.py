"""What all explainers of classifiers share: classes, and targets that are labels."""

from abc import abstractmethod

import numpy as np
import scipy.sparse as sp
from sklearn.base import ClassifierMixin

from .._arrays.checks import check_same_rows, codes_of, plain_array
from . import _scoring
from ._base import BaseExplainer
from ._validation import canonical, check_rows


class ClassifierExplainer(ClassifierMixin, BaseExplainer):
    """An explainer whose targets are classes; subclasses set `classes_` too.

    Examples
    --------
    >>> from skattrib import RepresenterRegressor, SimilarityExplainer
    >>> from skattrib.explainers import ClassifierExplainer
    >>> isinstance(SimilarityExplainer(), ClassifierExplainer)
    True
    >>> isinstance(RepresenterRegressor(), ClassifierExplainer)
    False
    """

    @abstractmethod
    def _predict_codes(self, X): ...

    def _check_fitted_rows(self, X_train, y_train):
        """(X_train, codes) of rows that can be those given to `fit`."""
        check_same_rows(X_train=X_train, y_train=y_train)
        X_train = check_rows(self, X_train)
        codes = codes_of(y_train, self.classes_, "label of y_train")
        n = self.n_samples_fit_
        if X_train.shape[0] != n or codes.shape != (n,):
            raise ValueError(
                f"X_train and y_train must be the {n} rows given to fit, got {X_train.shape[0]} "
                f"rows and labels of shape {codes.shape}"
            )
        return X_train, codes

    def predict(self, X) -> np.ndarray:
        """Classes that are explained when no target is given.

        Parameters
        ----------
        X : array or CSR of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        codes = self._predict_codes(self._check_rows(X))
        return self.classes_[codes]

    # targets

    def _check_target(self, X, target):
        """A `Target` from None, a label, labels, or what `_check_logit_weights` takes."""
        m, K = X.shape[0], len(self.classes_)
        if target is None:
            return _scoring.Target(self._predict_codes(X))
        if sp.issparse(target):
            target = canonical(target, "target").toarray()
        target = plain_array(target, "target")
        if target.ndim == 0:
            return _scoring.Target(np.full(m, codes_of(target, self.classes_, "target")))
        if target.ndim == 1:
            if len(target) != m:
                raise ValueError(
                    f"target has {len(target)} labels but X has {m} rows: give one label, one "
                    f"label a row, or logit weights of shape ({m}, {K})"
                )
            return _scoring.Target(codes_of(target, self.classes_, "target"))
        weights = self._check_logit_weights(target, m)
        largest = np.abs(weights).max(initial=0.0)
        if largest > self._largest_norm(X.dtype):
            raise ValueError(
                f"logit weights as large as {largest:.1e} are beyond what {X.dtype} attributions "
                "hold: scale the weights in target"
            )
        return _scoring.Target(None, weights)

    def _check_logit_weights(self, target, m):
        raise ValueError(
            f"{type(self).__name__} has no logits: target must be one label or one label a row"
        )
