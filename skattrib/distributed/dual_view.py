"""DualView of training rows on a cluster."""

from copy import copy
from numbers import Real

import numpy as np
from dask.array import Array
from sklearn.utils import check_scalar
from sklearn.utils.validation import check_is_fitted

from .. import explainers
from .._arrays.checks import check_groups
from .._svm.crammer_singer import scaled_start
from ..explainers.dual_view import warn_of_missed
from ._candidates import solve
from ._chunks import is_dask
from ._cluster import hold, share, task
from ._explainer import ClusterExplainer
from ._lazy import LazyDual
from ._parts import removal_effects
from ._removals import removals
from ._rows import rows_of_blocks, training_rows


class DualViewExplainer(LazyDual, ClusterExplainer, explainers.DualViewExplainer):
    """`skattrib.DualViewExplainer` of training rows on a Dask cluster.

    The SVM is solved on candidate rows, those that may have a part in the solution, which are
    fetched into this process; all rows are scored where they are, those with losses taken in, and
    so on until the duality gap of the whole problem, in float64, is below `tol`. The head is that
    of all rows on one machine, up to what the gaps of both leave open (`decision_error_bound`).

    Parameters
    ----------
    C, fit_intercept, intercept_share, class_weight, tol, max_iter, sparse_output, warm_start
        See `skattrib.DualViewExplainer`.
    canonical : bool, default=False
        As there: the same duals as on one machine. Rows are taken in until none has a loss.
    random_state : int, RandomState or None, default=None
        Which rows are sampled first, and the order of the solver's visits.
    verbose : int, default=0
        1: print each round; 2: the solver's progress too.

    Attributes
    ----------
    classes_, coef_, intercept_, C_, support_, dual_coef_, n_iter_, n_samples_fit_, n_features_in_
        See `skattrib.DualViewExplainer`; NumPy or CSR arrays in this process.
    dual_gap_, objective_ : float
        Of the problem of all rows.
    support_vectors_ : dask array of shape (n_support, n_features)
    self_influence_ : dask array of shape (n_samples_fit_,)

    Notes
    -----
    Candidates are 1.2 to 2 times the rows of the solution, which are more the smaller C is. Where
    they do not fit into half of this process's memory (or into ``skattrib.candidate-memory`` of
    dask's configuration), `fit` refuses with the numbers.

    Rows equal to a row of the solution have their share of its duals, in whichever partition.

    Examples
    --------
    >>> import dask.array as da
    >>> from sklearn.datasets import load_iris
    >>> from skattrib.distributed import DualViewExplainer
    >>> X, y = load_iris(return_X_y=True)
    >>> rows = da.from_array(X, chunks=(50, -1))
    >>> explainer = DualViewExplainer(random_state=0).fit(rows, y)
    >>> values, found = explainer.top_k(X[:1], k=3)
    >>> found.shape, bool(explainer.dual_gap_ < 1e-4)
    ((1, 3), True)

    Without a client, as here, one is started in this process.
    """

    _single = explainers.DualViewExplainer

    def fit(self, X, y, sample_weight=None) -> "DualViewExplainer":
        """Fit the head and find what each row contributes.

        Parameters
        ----------
        X : dask array of shape (n_samples, n_features)
            In chunks of rows; kept in the memory of the workers if it takes no more than 0.3 of
            that, read in each round otherwise.
        y : dask array or array of shape (n_samples,)
        sample_weight : dask array or array of shape (n_samples,), optional
            Non-negative; a row of weight 0 contributes nothing.

        Returns
        -------
        DualViewExplainer

        Raises
        ------
        TypeError
            For rows that are no dask array.
        ValueError
            For chunks of columns, data that are not finite, one class only, negative or all-zero
            weights, and candidates that do not fit into memory.
        RuntimeError
            When the cluster has lost its workers.

        Warns
        -----
        ConvergenceWarning
            When `max_iter` ends the search before the gap is `tol`.
        """
        self._validate_params()
        last = copy(self) if self.warm_start and hasattr(self, "dual_coef_") else None
        training = training_rows(self, X, y, sample_weight, self.class_weight)
        C, size = training.scale(self.C)
        candidates, found = solve(
            training,
            C,
            fit_intercept=self.fit_intercept,
            intercept_scaling=size,
            tol=self.tol,
            max_iter=self.max_iter,
            canonical=self.canonical,
            random_state=self.random_state,
            verbose=self.verbose,
            start=self._start(last, training, C),
        )
        self._given, self._fit_class_weight = (X, y, sample_weight), self.class_weight
        self._keep_head(found, C, size)
        self.support_ = candidates.rows[self.support_]
        self.n_samples_fit_ = training.n
        self._connect(training)
        self._warn_if_loose(found)
        return self

    def _start(self, last, training, C):
        """Rows, duals and W of the last fit, if it was of such rows."""
        if (
            last is None
            or not len(last.support_)
            or last._shape != (training.n, training.d, bool(self.fit_intercept))
            or not np.array_equal(last.classes_, self.classes_)
        ):
            return None
        dual, W = scaled_start(last._full_dual(), last._logit_coef(), C, last.C_)
        return None if dual is None else (last.support_, dual[last.support_], W)

    def leave_one_out(
        self,
        X,
        X_train=None,
        y_train=None,
        sample_weight=None,
        *,
        rows=None,
        target=None,
        tol=1e-9,
        return_bound=False,
        n_jobs=None,
    ):
        """What rows contribute, by really solving the SVM again without them.

        Parameters
        ----------
        X : array, CSR or dask array of shape (n_samples, n_features)
        X_train, y_train, sample_weight : as given to `fit`
            None: those that were given.
        rows : sequence of ints or of int arrays, optional
            Training rows, or groups of them to be removed together; by default each row.
        target : as in `attribute`
            Held fixed: the same logit weights with and without the rows.
        tol : float, default=1e-9
            Relative duality gap of each solve over all rows, in float64.
        return_bound : bool, default=False
            Whether to return a bound on the error of each effect too.
        n_jobs : int, optional
            Threads of this process that solve, as in joblib.

        Returns
        -------
        effects : ndarray, or dask array for dask rows, of shape (n_samples, len(rows))
            Output with the rows minus output without them, in float64. Exactly 0 for rows whose
            duals are 0.
        bounds : the same, with `return_bound`
            How far each effect may be from that of the exact optima.

        Raises
        ------
        ValueError
            For rows that are not training rows, and candidates that do not fit into memory.
        RuntimeError
            When the cluster has lost its workers.

        Warns
        -----
        ConvergenceWarning
            When some solves did not reach `tol`; the bounds hold all the same.

        Notes
        -----
        Rows without duals cost nothing. Every other one costs a solve on the candidates in this
        process, from the duals of all, a few sweeps. Up to 32 solves at a time are certified
        together: by two or three passes over the partitions, in which a row is scored only by the
        heads that may have brought it to a loss.
        """
        check_is_fitted(self, "n_samples_fit_")
        check_scalar(tol, "tol", Real, min_val=0, include_boundaries="neither")
        n = self.n_samples_fit_
        groups = check_groups(np.arange(n) if rows is None else rows, n)
        if lazy := is_dask(X):
            _, sizes, tests = self._blocks(X, target, width=len(groups))
        else:
            X = self._check_rows(X)
            V = self._check_target(X, target).as_weights(len(self.classes_))
        training = self._training_of(X_train, y_train, sample_weight)
        heads = removals(
            training,
            self.C_,
            groups,
            self._start(self, training, self.C_),
            tol=tol,
            max_iter=self.max_iter,
            n_jobs=n_jobs,
            verbose=self.verbose,
            fit_intercept=self.fit_intercept,
            intercept_scaling=self._size or 1.0,
            random_state=self.random_state,
        )
        warn_of_missed([heads[0], *heads[1].values()], tol)
        if lazy:
            light, heads = self._cluster.light, share(heads)
            tasks = [task(removal_effects, light, test, heads, len(groups)) for test in tests]
            effects, bounds = (
                rows_of_blocks([one[place] for one in tasks], sizes, (len(groups),), np.float64)
                for place in (0, 1)
            )
        else:
            effects, bounds = self._removal_effects(X, V, *heads, len(groups))
        return (effects, bounds) if return_bound else effects

    def _make_state(self, training):
        """Duals and support rows of each partition."""
        bounds = np.searchsorted(self.support_, [*training.starts, training.n])
        parts = [
            share((self.dual_coef_[:, lower:upper], self.support_[lower:upper] - start))
            for start, lower, upper in zip(training.starts, bounds[:-1], bounds[1:], strict=True)
        ]
        return hold(parts, 8 * self.dual_coef_.size)

    def _light(self):
        light = self._bare()
        light.dual_coef_ = self.dual_coef_[:, :0]
        light.support_ = self.support_[:0]
        light.support_vectors_ = np.empty((0, self.n_features_in_))
        return light

    @staticmethod
    def _part(light, X, codes, weight, state):
        part = copy(light)
        part.dual_coef_, part.support_ = state
        part.support_vectors_, part.n_samples_fit_ = X[part.support_], X.shape[0]
        return part

    def _moment_kernel(self):
        return self._light()._kernel()

    @property
    def support_vectors_(self) -> Array:
        """Rows that contribute, a dask array (n_support, n_features)."""
        training = self._cluster.training
        sizes = np.diff(np.searchsorted(self.support_, [*training.starts, training.n]))
        rows, width = self._ask("support_vectors_"), (training.d,)
        return rows_of_blocks(rows, sizes, width, training.dtype, training.sparse)

    def decision_error_bound(self, X, target=None):
        """See `skattrib.DualViewExplainer`; a dask array for dask rows."""
        if not is_dask(X):
            return super().decision_error_bound(X, target)
        return self._row_values("decision_error_bound", X, target=target)
