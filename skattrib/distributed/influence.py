"""Influence functions of training rows on a cluster."""

from copy import copy
from types import SimpleNamespace

import dask.array as da
import numpy as np
import scipy.linalg as la
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from .. import explainers
from .._arrays.checks import check_group, check_groups
from .._softmax.hessian import Cholesky
from .._softmax.inverses import make_inverse
from .._softmax.removals import check_removable, group_step, newton_step, refits
from ..explainers._kernels.influence import (
    InfluenceKernel,
    check_minimum,
    fit_head,
    own_penalty,
    penalty_of,
    read_head,
    theta_of,
)
from ._chunks import is_dask
from ._cluster import gather, hold, share, smallest_memory, task, total
from ._explainer import ClusterExplainer
from ._influence_parts import (
    InfluencePart,
    leverage_of,
    lost_outputs,
    norms_of_terms,
    residuals_of,
    self_influence_of,
)
from ._lazy import LazySoftmax
from ._loss import PartitionedLoss
from ._parts import named
from ._rows import rows_of_blocks, training_rows

# what is made of sums over partitions alone; others go back to single rows
INVERSES = ("cholesky", "cg", "kfac", "ekfac", "arnoldi", "identity")
# gradient norm, relative to that of its terms, below which there is nothing to gain
ROUNDING = 1e-13
# matrices of the order of H that a worker holds while they are summed
MATRICES = 12


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
            self._conjugate = self._make_inverse(self._loss_of(training))
        super()._connect(training)

    def _loss_of(self, training):
        """The loss of rows in partitions, at the head."""
        light = self._light_loss
        settings = light.penalty, light.fit_intercept, light.intercept_scaling
        loss = PartitionedLoss(training, None, *settings)
        loss.at(self._theta)
        return loss

    def group_effect(self, X, indices, target=None):
        """See `skattrib.InfluenceExplainer`; a dask array for dask rows.

        A Newton step without the group takes some tens of passes over the partitions, for all of X
        at once.
        """
        test = self._test_rows(X, target, 1)
        group = check_group(indices, self.n_samples_fit_, "indices")
        loss = self._loss_of(self._cluster.training)
        check_removable([group], loss, self.damping)
        inverse = copy(self._solver())
        inverse.loss = loss
        return self._lost(X, test, [group_step(inverse, group)], ())

    def leave_one_out(
        self,
        X,
        X_train=None,
        y_train=None,
        sample_weight=None,
        *,
        rows=None,
        target=None,
        n_jobs=None,
    ):
        """What rows contribute, by really fitting the head again without them.

        Parameters
        ----------
        X : array, CSR or dask array of shape (n_samples, n_features)
        X_train, y_train, sample_weight : as given to `fit`
            None: those that were given.
        rows : sequence of ints or of int arrays, optional
            Training rows, or groups of them to be removed together; by default each row.
        target : as in `attribute`
            Held fixed: the same logit weights with and without the rows.
        n_jobs : int, optional
            Threads of this process that wait for the cluster at once, as in joblib.

        Returns
        -------
        ndarray, or dask array for dask rows, of shape (n_samples, len(rows))
            Output with the rows minus output without them, in float64; both heads are minima.

        Raises
        ------
        ValueError
            For rows that are not training rows, and where the head without them has no minimum.
        RuntimeError
            When the cluster has lost its workers.

        Notes
        -----
        Each group takes three to five Newton steps from where the head was, some tens of passes
        over the partitions: seconds a group, so name the `rows`.
        """
        n = self.n_samples_fit_
        groups = check_groups(range(n) if rows is None else rows, n)
        test = self._test_rows(X, target, len(groups))
        loss = self._loss_of(self._training_of(X_train, y_train, sample_weight))
        check_removable(groups, loss)
        steps = refits(loss, self._theta, groups, n_jobs, self.verbose)
        return self._lost(X, test, steps, (len(groups),))

    def _test_rows(self, X, target, width):
        """Checked test rows here, (rows, target), or what `_blocks` makes of dask rows."""
        if is_dask(X):
            return self._blocks(X, target, width=width)
        check_is_fitted(self, "n_samples_fit_")
        X = self._check_rows(X)
        return X, named(self, self._check_target(X, target))

    def _lost(self, X, test, steps, width):
        """What changes of the head do to outputs, (n_samples, *width)."""
        if not is_dask(X):
            return lost_outputs(self, test, steps, width)
        _, sizes, tests = test
        light, steps = self._cluster.light, share(steps)
        tasks = [task(lost_outputs, light, one, steps, width) for one in tests]
        return rows_of_blocks(tasks, sizes, width, np.float64)

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
