"""DualView of training rows on a cluster."""

from copy import copy

import numpy as np
from dask.array import Array

from .. import explainers
from .._svm.crammer_singer import scaled_start
from ._candidates import solve
from ._chunks import is_dask
from ._cluster import hold, share
from ._explainer import ClusterExplainer
from ._lazy import LazyDual
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
