"""Representer points of training rows on a cluster."""

from copy import copy

import dask.array as da
import numpy as np

from .. import explainers
from .._arrays import decision, first_equal
from .._softmax.newton import complete_head
from ..explainers.representer import SMALLEST
from ._cluster import gather, hold, share, task, total
from ._explainer import ClusterExplainer
from ._lazy import LazyDual, LazySoftmax
from ._loss import PartitionedLoss, losses
from ._rows import plain_rows, rows_of_blocks, training_rows


class RepresenterExplainer(
    LazyDual, LazySoftmax, ClusterExplainer, explainers.RepresenterExplainer
):
    """`skattrib.RepresenterExplainer` of training rows on a Dask cluster.

    Loss, gradient and products with the Hessian are sums over partitions, in float64 and always in
    the same order. Newton's steps are those of one machine.

    Parameters
    ----------
    estimator, C, fit_intercept, intercept_share, class_weight, tol, max_iter, verbose
        See `skattrib.RepresenterExplainer`. An estimator is sent to the workers, for its
        probabilities of the rows there.

    Attributes
    ----------
    classes_, coef_, intercept_, C_, logit_correlation_, n_iter_, n_samples_fit_, n_features_in_
        See `skattrib.RepresenterExplainer`.
    completeness_error_ : float
        Over all training rows.
    support_ : dask array of shape (n_support,)
    support_vectors_ : dask array of shape (n_support, n_features)
    dual_coef_ : dask array of shape (n_classes, n_support), or (1, n_support) for two classes
    global_importance_, self_influence_ : dask array of shape (n_samples_fit_,)

    Notes
    -----
    Coefficients of equal rows are equal to the last bit within a partition, and to rounding in
    others. They stay on the workers: n_classes numbers a row.

    Examples
    --------
    >>> import dask.array as da
    >>> from sklearn.datasets import load_iris
    >>> from skattrib.distributed import RepresenterExplainer
    >>> X, y = load_iris(return_X_y=True)
    >>> rows = da.from_array(X, chunks=(50, -1))
    >>> explainer = RepresenterExplainer().fit(rows, y)
    >>> explainer.global_importance_.compute().shape
    (150,)
    """

    _single = explainers.RepresenterExplainer

    def fit(self, X, y, sample_weight=None) -> "RepresenterExplainer":
        """Fit the head to the labels, or to the probabilities of the estimator.

        Parameters
        ----------
        X : dask array of shape (n_samples, n_features)
            In chunks of rows; kept in the memory of the workers if it takes no more than 0.3 of
            that, read for every sum over the rows otherwise.
        y : dask array or array of shape (n_samples,)
        sample_weight : dask array or array of shape (n_samples,), optional
            Non-negative; a row of weight 0 contributes nothing.

        Returns
        -------
        RepresenterExplainer

        Raises
        ------
        TypeError
            For rows that are no dask array.
        ValueError
            For chunks of columns, data that are not finite, one class only, negative or all-zero
            weights, labels or probabilities that the estimator does not know or have.
        RuntimeError
            When the cluster has lost its workers.

        Warns
        -----
        ConvergenceWarning
            When the completeness error stays above `tol`.
        UserWarning
            When `logit_correlation_` is below 0.9.
        """
        self._validate_params()
        model, classes = self._model()
        training = training_rows(self, X, y, sample_weight, self.class_weight, classes)
        K = len(self.classes_)
        self.C_, size = training.scale(self.C)
        # the two rows +-w/2 have half the squared norm of w
        penalty = np.full(training.d + self.fit_intercept, (2.0 if K == 2 else 1.0) / self.C_)
        targets = self._targets(training)
        loss = PartitionedLoss(training, targets, penalty, self.fit_intercept, size)
        theta, error, _, n_iter, _ = complete_head(loss, self.tol, self.max_iter, self.verbose)
        coef, intercept = theta[:, : training.d], np.zeros(K)
        if self.fit_intercept:
            intercept = size * theta[:, -1]
        if model is None:
            self.__dict__.pop("logit_correlation_", None)
        else:
            head = share((coef, intercept))
            sums = total(training.each(products_of_logits, head, own=targets))
            self._keep_correlation(_correlation(*gather([sums], "comparing logits")[0]))
        self._keep_head(coef, intercept)
        self.completeness_error_, self.n_iter_ = error, max(1, n_iter)
        self._keep_constant(size)
        self._given, self._fit_class_weight = (X, y, sample_weight), self.class_weight
        self._theta, self._light_loss = theta, loss.light()
        self.n_samples_fit_ = training.n
        self._connect(training)
        return self

    def _targets(self, training):
        """Probabilities that are followed, in each partition; None for the labels."""
        model, _ = self._model()
        if model is None:
            return None
        follow = share((self._single(), model))
        tasks = [task(probabilities, X, follow) for X in training.X]
        return hold(tasks, 8 * training.n * len(self.classes_))

    def _make_state(self, training):
        """Coefficients and support rows of each partition."""
        fit = share((self._light_loss, self._theta, self.C_))
        tasks = training.each(coefficients, fit, own=self._targets(training))
        state = hold(tasks, 8 * training.n * len(self.classes_))
        sizes = gather([task(n_support, one) for one in state], "making coefficients")
        self._support_sizes = np.array(sizes)
        return state

    def _light(self):
        light = self._bare()
        K = len(self.classes_)
        light.dual_coef_ = np.empty((1 if K == 2 else K, 0))
        light.support_ = light._fit_codes = np.empty(0, dtype=np.intp)
        light.support_vectors_ = np.empty((0, self.n_features_in_))
        return light

    @staticmethod
    def _part(light, X, codes, weight, state):
        part = copy(light)
        part.dual_coef_, part.support_ = state
        everything = len(part.support_) == X.shape[0]
        part.support_vectors_ = X if everything else X[part.support_]
        part._fit_codes, part.n_samples_fit_ = codes, X.shape[0]
        return part

    def _moment_kernel(self):
        return self._light()._kernel()

    def _of_support(self, question, width=(), axis=0, dtype=np.float64, sparse=False):
        """An attribute of the rows that contribute, as a dask array."""
        if axis == 0:
            return rows_of_blocks(self._ask(question), self._support_sizes, width, dtype, sparse)
        parts = [
            da.from_delayed(one, (*width, int(size)), dtype=dtype)
            for one, size in zip(self._ask(question), self._support_sizes, strict=True)
        ]
        return da.concatenate(parts, axis=axis)

    @property
    def dual_coef_(self) -> da.Array:
        """The alpha_i, a dask array (n_classes, n_support), or (1, n_support) for two classes."""
        return self._of_support("dual_coef_", (len(self.coef_),), axis=1)

    @property
    def support_(self) -> da.Array:
        """Rows that contribute, a dask array (n_support,)."""
        return self._of_support(support_of, dtype=np.intp)

    @property
    def support_vectors_(self) -> da.Array:
        """The rows themselves, a dask array (n_support, n_features)."""
        training = self._cluster.training
        width, kind = (training.d,), {"dtype": training.dtype, "sparse": training.sparse}
        return self._of_support("support_vectors_", width, **kind)

    @property
    def global_importance_(self) -> da.Array:
        """Coefficient of each training row for its own label, a dask array (n_samples_fit_,)."""
        return self._of_rows("global_importance_")


def probabilities(X, follow):
    """What a model says of the rows of a partition, in the order of its sorted classes."""
    explainer, model = follow
    return explainer._probabilities(model, plain_rows(X))


def coefficients(X, codes, weight, fit, q=None):
    """(coefficients (K, n_support), rows that have any) of a partition."""
    loss, theta, C = fit
    alpha = np.empty((X.shape[0], len(theta)))
    for rows, part in losses(X, codes, weight, loss, q):
        part.at(part.logits(theta))
        # rounding depends on a row's place: equal rows take the probabilities of their first
        part.probabilities = part.probabilities[first_equal(part.X)]
        alpha[rows] = C * weight[rows, None] * (part.q - part.probabilities)
    alpha = alpha[:, 1:] if len(theta) == 2 else alpha
    support = np.flatnonzero(alpha.any(axis=1))
    return np.ascontiguousarray(alpha[support].T), support


def n_support(state):
    """How many rows of a partition have coefficients."""
    return len(state[1])


def support_of(explainer, start):
    """Rows that contribute, by their place among all."""
    return explainer.support_ + start


def products_of_logits(X, codes, weight, head, q):
    """Sums of squares and products of a model's logits and a head's, centred or not."""
    a = np.log(np.maximum(q, SMALLEST))
    b = decision(X, *head)
    squares = np.sum(a**2), np.sum(b**2)
    a, b = (one - one.mean(axis=1, keepdims=True) for one in (a, b))
    return np.sum(a * b), np.sum(a**2), np.sum(b**2), *squares


def _correlation(product, a, b, whole_a, whole_b):
    """Pearson correlation of the centred; 0 where rounding is all there is of either."""
    noise = (4 * np.finfo(np.float64).eps) ** 2
    if a <= noise * whole_a or b <= noise * whole_b:
        return 0.0
    return float(product / np.sqrt(a * b))
