"""Influence functions of training rows on a cluster."""

from copy import copy
from types import SimpleNamespace

import dask.array as da
import numpy as np
import scipy.linalg as la
from sklearn.utils import check_random_state

from .. import explainers
from .._softmax.hessian import Cholesky
from .._softmax.inverses import make_inverse
from .._softmax.removals import corrected, newton_step, row_sizes, self_influence
from ..explainers._kernels.influence import (
    InfluenceKernel,
    check_minimum,
    fit_head,
    own_penalty,
    penalty_of,
    read_head,
    theta_of,
)
from ._cluster import gather, hold, share, smallest_memory, total
from ._explainer import ClusterExplainer
from ._lazy import LazySoftmax
from ._loss import PartitionedLoss, losses
from ._rows import training_rows

# what is made of sums over partitions alone; others go back to single rows
INVERSES = ("cholesky", "cg", "kfac", "ekfac", "arnoldi", "identity")
# gradient norm, relative to that of its terms, below which there is nothing to gain
ROUNDING = 1e-13
# matrices of the order of H that a worker holds while they are summed
MATRICES = 12


class SolvedKernel(InfluenceKernel):
    """Of test rows whose left sides were found before."""

    def __init__(self, inverse, residuals, solved):
        super().__init__(inverse, residuals)
        self.solved = solved

    def left(self, X, group, rows):
        """Those left sides."""
        return self.solved[rows]


class InfluencePart(explainers.InfluenceExplainer):
    """Of some of the training rows."""

    _solved = None

    def _kernel(self):
        if self._solved is None:
            return InfluenceKernel(self._inverse, self._residuals)
        return SolvedKernel(self._inverse, self._residuals, self._solved)


class InfluenceExplainer(LazySoftmax, ClusterExplainer, explainers.InfluenceExplainer):
    """`skattrib.InfluenceExplainer` of training rows on a Dask cluster.

    Loss, gradient and Hessian are sums over partitions, in float64 and always in the same order.
    The Hessian is factorized once, in this process, and the factor is sent to the workers.

    Parameters
    ----------
    estimator, C, fit_intercept, class_weight, damping, tol, max_iter, random_state, verbose
        See `skattrib.InfluenceExplainer`.
    inverse : {"auto", "cholesky", "cg", "kfac", "ekfac", "arnoldi", "identity"}, default="auto"
        As there. "auto" takes "cholesky" while a twelfth of the memory of the smallest worker
        holds H, of order 8,000 at most, else "cg". "cg" goes over all partitions in each of some
        tens of iterations for each test row, so that these must be in this process.
    inverse_params : dict, optional
    leverage_correction : bool or "auto", default="auto"
        As there, but not with "cg", which would solve for each training row.

    Attributes
    ----------
    classes_, coef_, intercept_, C_, inverse_, leverage_correction_, gradient_norm_, newton_step_,
    n_iter_, n_samples_fit_, n_features_in_
        See `skattrib.InfluenceExplainer`.
    leverage_ : dask array of shape (n_samples_fit_, n_classes, n_classes)
    self_influence_ : dask array of shape (n_samples_fit_,)
        Neither with "cg".

    Notes
    -----
    Residuals stay on the workers: n_classes numbers a row.

    Examples
    --------
    >>> import dask.array as da
    >>> from sklearn.datasets import load_iris
    >>> from skattrib.distributed import InfluenceExplainer
    >>> X, y = load_iris(return_X_y=True)
    >>> rows = da.from_array(X, chunks=(50, -1))
    >>> explainer = InfluenceExplainer().fit(rows, y)
    >>> values, found = explainer.top_k(X[:1], k=3)
    >>> found.shape
    (1, 3)
    """

    _single = InfluencePart
    _not_sent = ("_given", "_there", "_conjugate")
    _not_kept = ("_there", "_conjugate")

    def fit(self, X, y, sample_weight=None) -> "InfluenceExplainer":
        """Fit or take over the head, and make its Hessian ready.

        Parameters
        ----------
        X : dask array of shape (n_samples, n_features)
            The rows that the head was or is to be fitted to, in chunks of rows; kept in the memory
            of the workers if they take no more than 0.3 of that, read for every sum over the rows
            otherwise.
        y : dask array or array of shape (n_samples,)
        sample_weight : dask array or array of shape (n_samples,), optional
            Non-negative; that of the frozen head's own fit. A row of weight 0 contributes nothing.

        Returns
        -------
        InfluenceExplainer

        Raises
        ------
        TypeError
            For rows that are no dask array.
        ValueError
            For chunks of columns, data that are not finite, one class only, negative or all-zero
            weights, a head that is not among those explained, an inverse that is not made of sums
            over the rows, a singular Hessian, or a leverage correction that is asked for where it
            does not exist.
        RuntimeError
            When the cluster has lost its workers.

        Warns
        -----
        ConvergenceWarning, UserWarning
            See `skattrib.InfluenceExplainer`.
        """
        self._validate_params()
        if self.inverse not in ("auto", *INVERSES):
            raise ValueError(
                f"inverse={self.inverse!r} goes back to single rows, which are on a cluster: "
                f"choose among {', '.join(map(repr, INVERSES))}"
            )
        head = read_head(self)
        class_weight = head.class_weight if head else self.class_weight
        training = training_rows(self, X, y, sample_weight, class_weight, head and head.classes)
        if head and head.coef.shape[1] != training.d:
            raise ValueError(
                f"X has {training.d} features, but the head that is explained has "
                f"{head.coef.shape[1]}"
            )
        self.C_, size = own_penalty(head, lambda multiple: training.scale(self.C, multiple))
        penalty, fit_intercept = penalty_of(self.C_, self, head, training.d)
        loss = PartitionedLoss(training, None, penalty, fit_intercept, size)
        self._head = fit_head(self, loss) if head is None else head
        self.n_iter_ = self._head.n_iter
        self.coef_, self.intercept_ = self._head.coef, self._head.intercept
        self._theta = theta_of(self._head, fit_intercept, size)
        gradient = loss.gradient(self._theta, loss.at(self._theta))
        self._light_loss = loss.light()
        fit = share((self._light_loss, self._theta))
        terms = gather([total(training.each(norms_of_terms, fit))], "summing norms")[0]
        self.gradient_norm_ = float(np.linalg.norm(gradient) / terms) if terms > 0 else 0.0
        inverse = self._make_inverse(loss)
        self.inverse_ = inverse.name
        # of a gradient that is rounding, conjugate gradients find no end
        settled = self.inverse_ == "cg" and self.gradient_norm_ < ROUNDING
        self.newton_step_ = 0.0 if settled else newton_step(inverse, gradient, self._theta)
        minimum = check_minimum(self, head)
        self._settle_correction(inverse, minimum)
        self._given, self._fit_class_weight = (X, y, sample_weight), class_weight
        self._conjugate = inverse if self.inverse_ == "cg" else None
        self._inverse = None if self.inverse_ == "cg" else copy(inverse)
        if self._inverse is not None:
            self._inverse.loss = self._light_loss
        self.n_samples_fit_ = training.n
        self._connect(training)
        return self

    def _make_inverse(self, loss):
        seed = int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max))
        name = self.inverse
        if name == "auto":
            room = smallest_memory() >= MATRICES * 8 * Cholesky.order(loss) ** 2
            name = "cholesky" if room and Cholesky.fits(loss) else "cg"
        try:
            return make_inverse(name, loss, self.damping, self.inverse_params or {}, seed)
        except la.LinAlgError as error:
            raise ValueError(str(error)) from error

    def _settle_correction(self, inverse, minimum):
        """Whether residuals are corrected for their leverage."""
        if self.leverage_correction is True and inverse.name == "cg":
            raise ValueError(
                "leverage_correction with inverse='cg' takes a solve over all partitions for each "
                "training row: give inverse='cholesky', or leverage_correction=False"
            )
        self.leverage_correction_ = self.leverage_correction is True or (
            self.leverage_correction == "auto" and inverse.name == "cholesky" and minimum
        )

    def _connect(self, training):
        if self.inverse_ == "cg" and self.__dict__.get("_conjugate") is None:
            loss = self._light_loss
            settings = loss.penalty, loss.fit_intercept, loss.intercept_scaling
            loss = PartitionedLoss(training, None, *settings)
            loss.at(self._theta)
            self._conjugate = self._make_inverse(loss)
        super()._connect(training)

    def _make_state(self, training):
        """(residuals, self-influence or None) of each partition."""
        if self.verbose and self.leverage_correction_:
            print(f"correcting {training.n:,} residuals for their leverage")
        inverse = self._inverse if self.leverage_correction_ else None
        fit = share((self._light_loss, self._theta, inverse))
        tasks = training.each(residuals_of, fit, own=training.starts)
        return hold(tasks, 8 * training.n * len(self.classes_))

    def _light(self):
        light = self._bare()
        light._residuals = np.empty((0, len(self.classes_)))
        if light._inverse is None:
            light._inverse = SimpleNamespace(loss=self._light_loss)
        return light

    @staticmethod
    def _part(light, X, codes, weight, state):
        part = copy(light)
        part._inverse = copy(light._inverse)
        # attributions need no probabilities
        part._inverse.loss = light._inverse.loss.of(X, light._inverse.loss.q, weight)
        part._residuals, part._own = state
        part._codes, part.n_samples_fit_ = codes, X.shape[0]
        return part

    def _solver(self):
        """H^-1 in this process."""
        return self._cluster and (self._inverse or self._conjugate)

    def _moment_kernel(self):
        return InfluenceKernel(self._solver(), np.empty((0, len(self.classes_))))

    def _most_rows(self, nbytes):
        most = super()._most_rows(nbytes)
        if self.inverse_ != "cg":
            return most
        # left sides of 32 MB
        return max(1, min(most, 2**22 // self._theta.size))

    def _light_for(self, X, target):
        if self.inverse_ != "cg":
            return super()._light_for(X, target)
        light = self._light()
        test = SimpleNamespace(weights=target.as_weights(len(self.classes_)))
        light._solved = self._moment_kernel().left(X, test, slice(None))
        return share(light)

    def _check_lazy(self):
        if self.inverse_ == "cg":
            raise ValueError(
                "inverse='cg' goes over all partitions for each test row, so that these must be in "
                "this process: give X.compute(), or InfluenceExplainer(inverse='cholesky')"
            )

    def _check_question(self, question):
        if self.inverse_ == "cg":
            raise ValueError(
                "decompose and directions with inverse='cg' take a solve over all partitions for "
                "each pair: give InfluenceExplainer(inverse='cholesky')"
            )

    def _of_each(self, question, width=()):
        if self.inverse_ == "cg":
            raise AttributeError(
                "with inverse='cg' self_influence_ and leverage_ would take a solve over all "
                "partitions for each training row: give InfluenceExplainer(inverse='cholesky')"
            )
        return self._of_rows(question, width)

    @property
    def self_influence_(self) -> da.Array:
        """What each row does to the log of its own probability, a dask array (n_samples_fit_,)."""
        return self._of_each(self_influence_of)

    @property
    def leverage_(self) -> da.Array:
        """M_i of each training row, a dask array (n_samples_fit_, n_classes, n_classes)."""
        K = len(self.classes_)
        return self._of_each(leverage_of, (K, K))


def norms_of_terms(X, codes, weight, fit):
    """Sum of the norms of the terms of the gradient."""
    light, theta = fit
    terms = [
        np.linalg.norm(loss.at(loss.logits(theta)), axis=1) @ row_sizes(loss)
        for _, loss in losses(X, codes, weight, light)
    ]
    return float(sum(terms))


def residuals_of(X, codes, weight, fit, start):
    """(residuals, self-influence or None) of a partition, corrected if an inverse is given."""
    light, theta, inverse = fit
    out, own = np.empty((X.shape[0], len(theta))), None if inverse is None else np.empty(X.shape[0])
    for rows, loss in losses(X, codes, weight, light):
        residuals = loss.at(loss.logits(theta))
        if inverse is None:
            out[rows] = residuals
            continue
        inverse = copy(inverse)
        inverse.loss = loss
        out[rows], own[rows] = corrected(inverse, residuals, start + rows.start)
    return out, own


def _with_losses(explainer):
    """(rows, inverse with the loss of these rows at the head)."""
    inverse = copy(explainer._inverse)
    X, weight, light = inverse.loss.X, inverse.loss.s, inverse.loss
    for rows, inverse.loss in losses(X, explainer._codes, weight, light):
        inverse.loss.at(inverse.loss.logits(explainer._theta))
        yield rows, inverse


def self_influence_of(explainer, start):
    """Self-influence of the rows of a partition."""
    if explainer._own is not None:
        return explainer._own
    residuals = explainer._residuals
    parts = [self_influence(inverse, residuals[rows]) for rows, inverse in _with_losses(explainer)]
    return np.concatenate(parts)


def leverage_of(explainer, start):
    """M_i of the rows of a partition."""
    parts = [M for _, inverse in _with_losses(explainer) for _, M in inverse.leverage()]
    return np.concatenate(parts)
