"""Representer points: training rows as the terms of an L2-regularized softmax head."""

import warnings
from numbers import Integral, Real

import numpy as np
from sklearn.utils.validation import check_is_fitted

from .._arrays import decision, row_batches, squared_norms
from .._arrays.row_blocks import in_files
from .._softmax.file_loss import labels_as_targets
from .._softmax.newton import softmax_regression
from ._heads import DualExplainer, SoftmaxExplainer, frozen, scaled_penalty
from ._validation import (
    HasMethods,
    Interval,
    StrOptions,
    check_training_data,
    check_weights,
    fit_context,
)

# probabilities of a given model below this are taken for it when its logits are asked for
SMALLEST = 1e-12
# correlation with the logits of a given model below which the head is another classifier
FAITHFUL = 0.9


class RepresenterExplainer(DualExplainer, SoftmaxExplainer):
    """Explains a classifier by the representer theorem of its L2-regularized softmax head.

    At the minimum of the head's loss, the weights are a sum over training rows,
    ``W = sum_i alpha_i x_i^T`` with ``alpha_i = C s_i (q_i - p_i)``: so is each logit. All rows
    contribute, most when the head does not yet give them their target probabilities.

    Parameters
    ----------
    estimator : FrozenEstimator, LinearHead or None, default=None
        None: the head is fitted to the labels (paper's eq. 3). A fitted classifier of any kind as
        ``FrozenEstimator(classifier)``: the head is fitted to its `predict_proba` on the training
        rows (eq. 4), and the labels only say whose contribution is a row's own.
    C : float or "scale", default="scale"
        ``C sum_i s_i loss_i + 1/2 ||W||^2``, as in scikit-learn; 1 / (2 lambda n) in the paper's
        terms. For two classes it is the C of scikit-learn's binary LogisticRegression. "scale":
        1 over the total variance of the rows, their weighted mean squared distance from their
        mean, so that the unit of X does not matter.
    fit_intercept : bool, default=True
        Adds a constant feature, regularized like the others: 1, or with C="scale" as large as the
        root of the variance.
    intercept_share : bool, default=False
        Whether attributions hold the rows' shares of the intercept, the same for every test row.
        If not, it is the `base_value` of all of them.
    class_weight : dict, "balanced" or None, default=None
        Multiplies the sample weights.
    tol : float, default=1e-6
        Completeness error at which the solver stops.
    max_iter : int, default=100
        Newton steps at most.
    verbose : int, default=0
        Positive: print each Newton step.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    coef_ : ndarray of shape (n_classes, n_features), or (1, n_features) for two classes
        float64.
    intercept_ : ndarray of shape (n_classes,) or (1,)
    C_ : float
        The C of the fit.
    support_ : ndarray of shape (n_support,)
        Training rows that contribute: those of positive weight.
    support_vectors_ : array or CSR of shape (n_support, n_features)
        The training rows themselves, not a copy, when all contribute.
    dual_coef_ : ndarray of shape (n_classes, n_support), or (1, n_support) for two classes
        The alpha_i.
    global_importance_ : ndarray of shape (n_samples_fit_,)
        alpha_{i, y_i}, by which the paper ranks rows for debugging: large where the head does not
        believe the label.
    self_influence_ : ndarray of shape (n_samples_fit_,)
        What each training row contributes to the decision value of its own class at itself.
    completeness_error_ : float
        Largest difference, over training rows and classes, of a decision value and the sum of its
        attributions and shares of the intercept, over the root mean square of the decision values.
    logit_correlation_ : float
        With an estimator only: Pearson correlation of its logits (centred logarithms of its
        probabilities) with those of the head, over training rows and classes; 0 where either has
        no preference for any class. `fit` warns below 0.9: the head is another classifier then.
    n_iter_ : int
        Newton steps.
    n_samples_fit_ : int
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)

    Notes
    -----
    Sign and unit: a positive attribution raises the explained decision value, in whose unit it is;
    attributions and `base_value` sum to it up to the completeness error. For two classes there is
    one decision value f, positive for ``classes_[1]``.

    Equal rows with equal target probabilities have coefficients in proportion to their weights, to
    the last bit.

    The training rows are kept, not copied, if they are float32 or float64 in C order and all
    contribute: they may be a memory map or `RowBlocks` larger than memory, of which pickles hold a
    reference. Do not change them in place after `fit`, or attributions change with them.

    A fit takes O(n K d) for each product with the Hessian, some tens to hundreds of them, nd being
    the number of values stored for sparse X; dense X of fewer rows than features is taken to the
    space of its rows first, in O(n^2 d).
    Attributions cost as much as the product of test rows with all training rows.

    References
    ----------
    Yeh, Kim, Yen and Ravikumar, "Representer point selection for explaining deep neural
    networks", NeurIPS 2018.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.frozen import FrozenEstimator
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skattrib import RepresenterExplainer
    >>> X, y = load_iris(return_X_y=True)
    >>> model = LogisticRegression(max_iter=1000).fit(X, y)
    >>> explainer = RepresenterExplainer(FrozenEstimator(model)).fit(X, y)
    >>> values, rows = explainer.top_k(X[:1], k=3)
    >>> y[rows]
    array([[0, 0, 0]])
    """

    _reads_files = True
    _parameter_constraints: dict = {
        "estimator": [HasMethods(["fit", "predict_proba"]), None],
        "C": [Interval(Real, 0, None, closed="neither"), StrOptions({"scale"})],
        "fit_intercept": ["boolean"],
        "intercept_share": ["boolean"],
        "class_weight": [dict, StrOptions({"balanced"}), None],
        "tol": [Interval(Real, 0, None, closed="neither")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        estimator=None,
        *,
        C="scale",
        fit_intercept=True,
        intercept_share=False,
        class_weight=None,
        tol=1e-6,
        max_iter=100,
        verbose=0,
    ):
        self.estimator = estimator
        self.C = C
        self.fit_intercept = fit_intercept
        self.intercept_share = intercept_share
        self.class_weight = class_weight
        self.tol = tol
        self.max_iter = max_iter
        self.verbose = verbose

    @fit_context
    def fit(self, X, y, sample_weight=None) -> "RepresenterExplainer":
        """Fit the head to the labels, or to the probabilities of the estimator.

        Parameters
        ----------
        X : array, CSR or RowBlocks of shape (n_samples, n_features)
            float32 and float64 in C order are used without a copy, read-only memory maps too;
            those of float16 are read as float32, a block at a time.
        y : array of shape (n_samples,)
        sample_weight : array of shape (n_samples,), optional
            Non-negative; a row of weight 0 contributes nothing.

        Returns
        -------
        RepresenterExplainer

        Raises
        ------
        ValueError
            For data that are not finite, one class only, negative or all-zero weights, labels or
            probabilities that the estimator does not know or have.

        Warns
        -----
        ConvergenceWarning
            When the completeness error stays above `tol`.
        UserWarning
            When `logit_correlation_` is below 0.9.
        """
        model, classes = self._model()
        given = X
        X, codes = check_training_data(self, X, y, classes)
        K = len(self.classes_)
        weight = check_weights(X, codes, self.classes_, sample_weight, self.class_weight)
        # memory maps of float32 and float64 go to the model as they came
        given = X if in_files(given) or getattr(given, "dtype", None) == np.float16 else given
        q = labels_as_targets(X, codes, K)
        if model is not None:
            q = self._probabilities(model, given)
        self.C_, size = scaled_penalty(self.C, X, weight)
        found = softmax_regression(
            X,
            q,
            self.C_,
            sample_weight=weight,
            fit_intercept=self.fit_intercept,
            intercept_scaling=size,
            tol=self.tol,
            max_iter=self.max_iter,
            verbose=self.verbose,
        )
        alpha = found.residuals
        alpha *= self.C_
        if model is not None:
            z = decision(X, found.coef, found.intercept)
            self._keep_correlation(_correlation(np.log(np.maximum(q, SMALLEST)), z))
        else:
            self.__dict__.pop("logit_correlation_", None)
        self._keep_head(found.coef, found.intercept)
        if K == 2:
            alpha = alpha[:, 1:]
        self._keep_dual(X, alpha)
        self.completeness_error_, self.n_iter_ = found.completeness_error, max(1, found.n_iter)
        self._keep_constant(size)
        self.n_samples_fit_ = X.shape[0]
        return self

    def _model(self):
        """The classifier to follow and its sorted classes, if there is one."""
        if self.estimator is None:
            return None, None
        model = frozen(self.estimator)
        return model, np.sort(model.classes_)

    def _keep_correlation(self, correlation):
        self.logit_correlation_ = correlation
        # 0: nothing to follow
        if 0 != correlation < FAITHFUL:
            warnings.warn(
                "The head's logits correlate with those of the estimator by only "
                f"{correlation:.2f} on the training rows: it explains another classifier. Raise C, "
                "or give features nearer to what the estimator uses, such as one-hot leaves of a "
                "forest or a network's last layer.",
                UserWarning,
                stacklevel=4,
            )

    def _keep_head(self, coef, intercept):
        """Decision values of the K logits; of two classes their difference."""
        self.coef_, self.intercept_ = coef, intercept
        if len(coef) == 2:
            self.coef_, self.intercept_ = coef[1:] - coef[:1], intercept[1:] - intercept[:1]

    def _probabilities(self, model, X):
        if in_files(X):
            parts = [self._probabilities(model, X[rows]) for rows in row_batches(X)]
            return np.concatenate(parts)
        q = np.asarray(model.predict_proba(X), dtype=np.float64)
        order = np.argsort(model.classes_)
        if q.ndim != 2 or q.shape[1] != len(order):
            raise ValueError(
                f"predict_proba of {type(model).__name__} has shape {q.shape}, but it has "
                f"{len(order)} classes"
            )
        if not (np.isfinite(q).all() and (q >= 0).all() and (q.sum(axis=1) > 0).all()):
            raise ValueError(f"predict_proba of {type(model).__name__} is not a probability")
        return q[:, order] / q.sum(axis=1, keepdims=True)

    @property
    def global_importance_(self) -> np.ndarray:
        """Coefficient of each training row for its own label, (n_samples_fit_,)."""
        check_is_fitted(self, "n_samples_fit_")
        dual, own = self.dual_coef_, self._fit_codes[self.support_]
        out = np.zeros(self.n_samples_fit_)
        if len(dual) == 1:
            out[self.support_] = np.where(own == 1, dual[0], -dual[0])
        else:
            out[self.support_] = dual[own, np.arange(len(own))]
        return out

    @property
    def self_influence_(self) -> np.ndarray:
        """What each training row contributes to its own class at itself, (n_samples_fit_,)."""
        out = self.global_importance_
        out[self.support_] *= squared_norms(self.support_vectors_, self._bias)
        return out


def _correlation(a, b):
    """Pearson correlation of logits, each row centred; 0 where either is constant in all rows."""
    units = []
    for values in (a, b):
        centred = (values - values.mean(axis=1, keepdims=True)).ravel()
        if not np.abs(centred).max() > 4 * np.finfo(np.float64).eps * np.abs(values).max():
            return 0.0
        units.append(centred / np.linalg.norm(centred))
    return float(units[0] @ units[1])
