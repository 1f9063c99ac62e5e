"""Linear heads: decision values, targets in logit space, the softmax and its outputs."""

from numbers import Real

import numpy as np
from scipy.special import log_softmax, softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.frozen import FrozenEstimator
from sklearn.utils.validation import check_is_fitted

from .._arrays import decision, logits, squared_norms, total_variance, variance_scale
from .._arrays.checks import check_estimator, plain_array
from .._arrays.outputs import OUTPUTS, output_weights
from .._arrays.row_blocks import kept_rows
from . import _scoring
from ._base import BaseExplainer
from ._classifier import ClassifierExplainer
from ._validation import check_rows

__all__ = [
    "DualExplainer",
    "DualForm",
    "HeadExplainer",
    "LinearHead",
    "SoftmaxExplainer",
    "frozen",
    "scaled_penalty",
]


def scaled_penalty(C, X, weight, multiple=1.0):
    """(C, size of the constant feature): see `variance_scale`; a number goes with a size of 1."""
    if C != "scale":
        return float(C), 1.0
    variance = total_variance(X, weight)
    square = 0.0 if variance else float(np.average(squared_norms(X, 0.0), weights=weight))
    return variance_scale(variance, square, multiple)


def frozen(estimator):
    """The fitted classifier inside a FrozenEstimator, or a LinearHead."""
    if isinstance(estimator, FrozenEstimator):
        estimator = estimator.estimator
    elif not isinstance(estimator, LinearHead):
        raise ValueError(
            "estimator must be None, a LinearHead or a fitted classifier as "
            f"sklearn.frozen.FrozenEstimator(classifier), got {type(estimator).__name__}"
        )
    check_is_fitted(check_estimator(estimator))
    return estimator


class HeadExplainer(ClassifierExplainer):
    """An explainer of a linear head, given by `coef_` and `intercept_`."""

    _outputs: tuple[str, ...] = OUTPUTS[:2]

    def __getattr__(self, name):
        """Says what to use in the place of probabilities that a head does not have."""
        if name not in ("predict_proba", "predict_log_proba"):
            return self.__getattribute__(name)  # which fails again, in its own words
        kind = type(self).__name__
        raise AttributeError(
            f"{kind} has no {name}: decision values of its head are no logarithms of "
            "probabilities. Use decision_function; or for probabilities InfluenceExplainer, "
            f"RepresenterExplainer, or sklearn.calibration.CalibratedClassifierCV({kind}(...))",
            name=name,
            obj=self,
        )

    def _decision(self, X):
        out = decision(X, self.coef_, self.intercept_)
        return out[:, 0] if len(self.classes_) == 2 else out

    def _predict_codes(self, X):
        f = self._decision(X)
        return (f > 0).astype(np.intp) if f.ndim == 1 else f.argmax(axis=1)

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

    def _check_logit_weights(self, target, m):
        K = len(self.classes_)
        if target.shape != (m, K):
            raise ValueError(f"logit weights must have shape ({m}, {K}), got {target.shape}")
        weights = target.astype(np.float64)
        if not np.isfinite(weights).all():
            raise ValueError("logit weights in target must be finite numbers")
        return weights

    def target_weights(self, X, output: str = "logit", y=None) -> np.ndarray:
        """Logit weights of a named output, to be given as `target`.

        Parameters
        ----------
        X : array or CSR of shape (n_samples, n_features)
        output : {"logit", "margin", "log_odds", "probability", "loss"}
            The output whose gradient in the logits is wanted. "logit": the class's decision
            value. "margin": the class's minus the best other class's. And where there is
            `predict_proba`, "log_odds": log p / (1 - p) of the class. "probability": p. "loss":
            log p, minus the cross-entropy of `y`. For two classes the first three are the margin.
        y : label or labels of shape (n_samples,), optional
            The classes in question; by default the predicted ones. Required for "loss".

        Returns
        -------
        ndarray of shape (n_samples, n_classes)

        Raises
        ------
        ValueError
            For an unknown output or label.
        """
        X = self._check_rows(X)
        if not isinstance(output, str) or output not in self._outputs:
            known = ", ".join(map(repr, self._outputs))
            raise ValueError(
                f"output must be one of {known} for {type(self).__name__}, got {output!r}"
            )
        if output == "loss" and y is None:
            raise ValueError("output 'loss' needs y, the labels whose loss is meant")
        target = self._check_target(X, y)
        if target.codes is None:
            raise ValueError("y must be one label or one label a row")
        return output_weights(logits(self._decision(X)), target.codes, output)


class DualForm(BaseExplainer):
    """Weights that are sums over training rows, ``W = sum_i alpha_i x_i^T``.

    Subclasses have parameters `fit_intercept` and `intercept_share`, and set `dual_coef_`,
    `intercept_`, `support_` and `support_vectors_`.
    """

    def _keep_constant(self, size):
        """Remember the size of the constant feature and what it adds to the product of rows."""
        self._size = size if self.fit_intercept else 0.0
        self._bias = self._size**2 if self.intercept_share else 0.0

    def _keep_dual(self, X, alpha):
        """Remember the rows whose coefficients (n, q) are not all zero, and these."""
        self.support_ = np.flatnonzero(alpha.any(axis=1))
        everything = len(self.support_) == X.shape[0]
        self.support_vectors_ = X if everything else kept_rows(X, self.support_)
        self.dual_coef_ = np.ascontiguousarray((alpha if everything else alpha[self.support_]).T)

    def _logit_dual(self):
        """Coefficients of all outputs, (K, n_support)."""
        return self.dual_coef_

    def _logit_intercept(self):
        """Intercepts of all outputs, (K,)."""
        return self.intercept_

    def _kernel(self):
        return _scoring.DualKernel(
            self._logit_dual(),
            self.support_,
            self.support_vectors_,
            self._bias,
            self.n_samples_fit_,
        )

    def base_value(self, X, target=None) -> np.ndarray:
        """What attributions leave out of the explained output: the head's intercept.

        Parameters
        ----------
        X : array or CSR of shape (n_samples, n_features)
        target : as in `attribute`

        Returns
        -------
        ndarray of shape (n_samples,)
            ``v.intercept`` with the weights v of the target, in float64: with the sum of
            ``attribute(X, target)`` over training rows it is the output. Zeros with
            `intercept_share`.
        """
        X = self._check_rows(X)
        return self._base_value(self._check_target(X, target))

    def _base_value(self, target):
        b = self._logit_intercept()
        weights = target.as_weights(len(b))
        return np.zeros(len(weights)) if self._bias else weights @ b


class DualExplainer(DualForm, HeadExplainer):
    """A classifier's head of that form."""

    def _logit_dual(self):
        if len(self.classes_) > 2:
            return self.dual_coef_
        return np.concatenate([-0.5 * self.dual_coef_, 0.5 * self.dual_coef_])

    def _logit_intercept(self):
        return logits(self.intercept_)[0] if len(self.classes_) == 2 else self.intercept_


class SoftmaxExplainer(HeadExplainer):
    """An explainer of a linear head with softmax probabilities."""

    _outputs = OUTPUTS

    def predict_proba(self, X) -> np.ndarray:
        """Probabilities of the classes, the softmax of the logits.

        Parameters
        ----------
        X : array or CSR of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
        """
        return softmax(logits(self.decision_function(X)), axis=1)

    def predict_log_proba(self, X) -> np.ndarray:
        """Logarithms of the probabilities, accurate where these vanish.

        Parameters
        ----------
        X : array or CSR of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
        """
        return log_softmax(logits(self.decision_function(X)), axis=1)


class LinearHead(ClassifierMixin, BaseEstimator):
    """A bare last layer, to be explained inside a `FrozenEstimator`.

    Parameters
    ----------
    coef : array of shape (n_classes, n_features), or (1, n_features) for two classes
        Weights of the logits; one row is the logit of the second class, that of the first being 0.
    intercept : array of shape (n_classes,) or (1,), optional
        None: the head has no intercept.
    classes : array of shape (n_classes,), optional
        Labels in the order of the logits; by default 0, 1, ...
    temperature : float, default=1.0
        By which logits are divided, so that probabilities are less certain where it is above 1.

    Attributes
    ----------
    coef_, intercept_, classes_ : ndarray
        As given, over the temperature; zeros for no intercept. Two rows of weights become their
        difference.

    Notes
    -----
    A network is nearly certain of the labels it was trained on, which leaves its rows hardly any
    residual or curvature. ``InfluenceExplainer(LinearHead(W, b, temperature=2.0))`` on the inputs
    of the last layer mends that: linear datamodeling scores against really retrained MLPs, after
    few and many epochs, of .43 and .20 (census rows), .53 and .42 (digits), .41 and .41 (clothes),
    where a head fitted anew with C="scale" has .46 and .17, .39 and .40, .40 and .38. It is not
    the best temperature everywhere: digits after 10 epochs have .58 at 5, census rows after 4
    .45 at 1.

    Examples
    --------
    >>> import numpy as np
    >>> from skattrib import LinearHead
    >>> LinearHead(np.eye(3), classes=["a", "b", "c"]).predict([[0.0, 2.0, 1.0]])
    array(['b'], dtype='<U1')
    """

    def __init__(self, coef, intercept=None, classes=None, *, temperature=1.0):
        self.coef = coef
        self.intercept = intercept
        self.classes = classes
        self.temperature = temperature

    def __sklearn_tags__(self):
        """Sparse rows are welcome."""
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    @staticmethod
    def _largest_norm(dtype):
        return np.finfo(dtype).max

    def __sklearn_is_fitted__(self):
        """Nothing is left to fit."""
        return True

    def _arrays(self):
        coef = plain_array(self.coef, "coef", np.float64)
        if coef.ndim != 2 or not np.isfinite(coef).all():
            raise ValueError(f"coef must be a finite matrix, got shape {coef.shape}")
        classes = max(len(coef), 2) if self.classes is None else self.classes
        classes = np.arange(classes) if np.ndim(classes) == 0 else np.asarray(classes)
        K = len(coef)
        if len(classes) not in ([2] if K <= 2 else [K]) or len(set(classes.tolist())) < len(
            classes
        ):
            raise ValueError(f"coef has {K} rows: classes must be as many distinct labels")
        intercept = np.zeros(K) if self.intercept is None else self.intercept
        intercept = plain_array(intercept, "intercept", np.float64)
        if intercept.shape != (K,) or not np.isfinite(intercept).all():
            raise ValueError(f"intercept must be {K} finite numbers, one a row of coef")
        order = np.argsort(classes, kind="stable")
        if K > 1:
            classes, coef, intercept = classes[order], coef[order], intercept[order]
        elif order[0] == 1:
            classes, coef, intercept = classes[order], -coef, -intercept
        if K == 2:
            coef, intercept = coef[1:] - coef[:1], intercept[1:] - intercept[:1]
        T = self.temperature
        if isinstance(T, bool) or not isinstance(T, Real) or not 0 < T < np.inf:
            raise ValueError(f"temperature must be a positive number, got {T!r}")
        with np.errstate(over="ignore"):
            coef, intercept = coef / T, intercept / T
        if not (np.isfinite(coef).all() and np.isfinite(intercept).all()):
            raise ValueError(f"temperature={T!r} is too small for these weights")
        return coef, intercept, classes

    @property
    def coef_(self) -> np.ndarray:
        """Weights of the logits in the order of `classes_`."""
        return self._arrays()[0]

    @property
    def intercept_(self) -> np.ndarray:
        """Intercepts in the order of `classes_`."""
        return self._arrays()[1]

    @property
    def classes_(self) -> np.ndarray:
        """Sorted labels."""
        return self._arrays()[2]

    @property
    def n_features_in_(self) -> int:
        """Width of the rows."""
        return self._arrays()[0].shape[1]

    def fit(self, X, y=None) -> "LinearHead":
        """Check the head against the width of X; nothing is learned.

        Parameters
        ----------
        X : array or CSR of shape (n_samples, n_features)
        y : ignored

        Returns
        -------
        LinearHead
        """
        check_rows(self, X)
        return self

    def decision_function(self, X) -> np.ndarray:
        """Logits, (n_samples, n_classes), or the margin (n_samples,) for two classes."""
        out = decision(check_rows(self, X), self.coef_, self.intercept_)
        return out[:, 0] if out.shape[1] == 1 else out

    def predict(self, X) -> np.ndarray:
        """Classes of the largest logits, (n_samples,)."""
        return self.classes_[logits(self.decision_function(X)).argmax(axis=1)]

    def predict_proba(self, X) -> np.ndarray:
        """Softmax of the logits, (n_samples, n_classes)."""
        return softmax(logits(self.decision_function(X)), axis=1)
