"""DualView: training rows as the dual variables of a multiclass SVM."""

import warnings
from copy import copy
from numbers import Integral, Real

import numpy as np
import scipy.sparse as sp
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted

from .._arrays import decision, squared_norms
from .._arrays.checks import check_groups
from .._arrays.row_blocks import kept_rows
from .._svm.crammer_singer import crammer_singer, scaled_start
from .._svm.duals import DENSE_CLASSES
from .._svm.removals import removals
from ._heads import DualExplainer, scaled_penalty
from ._validation import Interval, StrOptions, check_training_data, check_weights, fit_context

# C mean ||x||^2 beyond which a gap of the default tol says too little of the attributions
HARD, LOOSE = 100.0, 1e-5


class DualViewExplainer(DualExplainer):
    """Explains a classifier on a feature matrix by the dual of a Crammer-Singer SVM.

    Fits a linear head on the rows of X (raw columns, or the inputs of a network's last layer) and
    writes each of its decision values as a sum over training rows. Only support rows contribute.

    Parameters
    ----------
    C : float or "scale", default="scale"
        ``C sum_i s_i loss_i + 1/2 ||W||^2``, as in scikit-learn: larger fits closer, with fewer
        contributing rows. "scale": 1 over the total variance of the rows, their weighted mean
        squared distance from their mean, so that the unit of X does not matter. It takes least
        time while ``C mean ||x||^2`` is below about 10.
    fit_intercept : bool, default=True
        Adds a constant feature, regularized like the others: 1, or with C="scale" as large as the
        root of the variance.
    intercept_share : bool, default=False
        Whether attributions hold the rows' shares of the intercept, the same for every test row.
        If not, it is the `base_value` of all of them.
    class_weight : dict, "balanced" or None, default=None
        Multiplies the sample weights.
    tol : float, default=1e-5
        Relative duality gap at which the solver stops: the square of how well outputs are known.
        See the notes for what it buys.
    max_iter : int, default=1000
        Work at most, in sweeps over the rows and Newton steps.
    sparse_output : bool, default=True
        Whether `transform` and `attribute` return CSR.
    warm_start : bool, default=False
        Start from the last fit, its duals in proportion to C, if it was on as many rows and
        features with the same classes.
    canonical : bool, default=False
        Whether to settle what the optimum leaves open. W is unique, but dependent rows may share
        their part of it in many ways, and which is found depends on the order of the rows and on
        `random_state`. If so, the duals nearest to zero are found (see `crammer_singer`), at the
        cost of a few Newton steps.
    random_state : int, RandomState or None, default=None
        Order in which the solver visits rows; W does not depend on it beyond `tol`.
    verbose : int, default=0
        Positive: print the solver's progress.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    coef_ : ndarray of shape (n_classes, n_features), or (1, n_features) for two classes
        float64; exactly the sum of the support rows weighted by their duals.
    intercept_ : ndarray of shape (n_classes,) or (1,)
    C_ : float
        The C of the fit.
    support_ : ndarray of shape (n_support,)
        Training rows that contribute, increasing.
    support_vectors_ : array, CSR or RowBlocks of shape (n_support, n_features)
    dual_coef_ : ndarray of shape (n_classes, n_support), or (1, n_support) for two classes
        CSR above 64 classes. Equal training rows have duals in proportion to their weights.
    self_influence_ : ndarray of shape (n_samples_fit_,)
        What each training row contributes to the decision value of its own class at itself.
    dual_gap_ : float
        Certified relative duality gap (P - D) / P.
    objective_ : float
        P, so that the absolute gap is ``dual_gap_ * objective_``.
    n_iter_ : int
    n_samples_fit_ : int
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)

    Notes
    -----
    Sign and unit: a positive attribution raises the explained decision value, in whose unit it is.
    Attributions and `base_value` sum to it. For two classes there is one decision value f,
    positive for ``classes_[1]``; attributions to a class label are shares of f or of -f.

    It is the wrong one where each prediction should have reasons of its own: few rows hold the
    margin, and the same ones lead again and again. Of 1,347 digits 88 (C = 0.1) or 41 (C = 1) are
    the top row of 450 test rows, by influence 184, by cosine 342 (`metrics.top_k_cardinality`).

    Support rows are copied: X may change after `fit`. Of a memory map and of `RowBlocks` they are a
    reference to the files, which must stay as they are, and a pickle has no rows. A map whose file
    is truncated during `fit` may end the process (SIGBUS).

    Rows in files are swept a block of 32 MB at a time, memory maps of float32 and float64 up to
    1 GB as if they were in memory. Of ten classes a fit takes at most 300 bytes a row beside that.

    A given `random_state` repeats a fit bit for bit on one machine and number of BLAS threads. Two
    threads instead of one change the last bits of Newton steps (at larger C, or with `canonical`).
    Instruction sets differ by up to 1e-5 of the largest attribution at tol=1e-4, by 1e-7 with
    `canonical`; another order of the rows by up to 20 %, with `canonical` by at most 5e-7 (measured
    up to C = 10).

    What `tol` buys, at C="scale" on digits, deep features and census rows: the median of
    `decision_error_bound` is 10 to 33 % of the output at 1e-4, 2 to 11 % at 1e-5 and below 5 % at
    1e-6, for 1, 1.2 to 1.5 and 1.3 to 2.5 times the time. Of the census rows at 10 times that C
    another order of the rows moves attributions by 69, 2 and 0.2 % of the largest.

    References
    ----------
    Yolcu et al., "DualView: Data attribution from the dual perspective", 2024; "DualXDA", 2025.
    Crammer and Singer, "On the algorithmic implementation of multiclass kernel-based vector
    machines", JMLR 2001.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skattrib import DualViewExplainer
    >>> X, y = load_iris(return_X_y=True)
    >>> explainer = DualViewExplainer(C=0.01, random_state=0).fit(X, y)
    >>> values, rows = explainer.top_k(X[:1], k=3)
    >>> rows.shape
    (1, 3)
    """

    _reads_files = True
    _parameter_constraints: dict = {
        "C": [Interval(Real, 0, None, closed="neither"), StrOptions({"scale"})],
        "fit_intercept": ["boolean"],
        "intercept_share": ["boolean"],
        "class_weight": [dict, StrOptions({"balanced"}), None],
        "tol": [Interval(Real, 0, None, closed="neither")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "sparse_output": ["boolean"],
        "warm_start": ["boolean"],
        "canonical": ["boolean"],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        C="scale",
        *,
        fit_intercept=True,
        intercept_share=False,
        class_weight=None,
        tol=1e-5,
        max_iter=1000,
        sparse_output=True,
        warm_start=False,
        canonical=False,
        random_state=None,
        verbose=0,
    ):
        self.C = C
        self.fit_intercept = fit_intercept
        self.intercept_share = intercept_share
        self.class_weight = class_weight
        self.tol = tol
        self.max_iter = max_iter
        self.sparse_output = sparse_output
        self.warm_start = warm_start
        self.canonical = canonical
        self.random_state = random_state
        self.verbose = verbose

    @fit_context
    def fit(self, X, y, sample_weight=None) -> "DualViewExplainer":
        """Fit the head and find what each row contributes.

        Parameters
        ----------
        X : array, CSR or RowBlocks of shape (n_samples, n_features)
            float32 and float64 in C order are used without a copy, read-only memory maps too;
            those of float16 are read as float32, a block at a time.
        y : array of shape (n_samples,)
            Labels, or a black box's predictions when these are to be explained.
        sample_weight : array of shape (n_samples,), optional
            Non-negative; a row of weight 0 contributes nothing.

        Returns
        -------
        DualViewExplainer

        Raises
        ------
        ValueError
            For data that are not finite, one class only, or negative or all-zero weights.

        Warns
        -----
        ConvergenceWarning
            When `max_iter` ends the search before the gap is `tol`.
        """
        last = copy(self) if self.warm_start and hasattr(self, "dual_coef_") else None
        X, codes = check_training_data(self, X, y)
        weight = check_weights(X, codes, self.classes_, sample_weight, self.class_weight)
        codes = codes.astype(np.int32)  # the solver's type: no copy of it beside this one
        C, size = scaled_penalty(self.C, X, weight)
        init = {}
        if (
            last is not None
            and last._shape == (*X.shape, bool(self.fit_intercept))
            and np.array_equal(last.classes_, self.classes_)
        ):
            start = scaled_start(last._full_dual(), last._logit_coef(), C, last.C_)
            init = dict(zip(("dual_init", "coef_init"), start, strict=True))
        found = self._solve(
            X,
            codes,
            weight,
            C,
            self.tol,
            intercept_scaling=size,
            canonical=self.canonical,
            verbose=self.verbose,
            **init,
        )
        self._keep(X, found, C, size)
        self._warn_if_loose(found)
        return self

    def _warn_if_loose(self, found):
        if found.difficulty > HARD and self.tol >= LOOSE:
            warnings.warn(
                f"C * mean ||x||^2 is {found.difficulty:.1e}. Beyond about {HARD:g}, tol="
                f"{self.tol:g} may leave attributions that another order of the rows changes by "
                "most of their size: set tol=1e-6, or lower C (C='scale' suits most rows)",
                stacklevel=3,
            )

    def _solve(self, X, codes, weight, C, tol, **options):
        return crammer_singer(
            X,
            codes,
            C,
            n_classes=len(self.classes_),
            sample_weight=weight,
            fit_intercept=self.fit_intercept,
            tol=tol,
            max_iter=self.max_iter,
            random_state=self.random_state,
            **options,
        )

    def _keep(self, X, found, C, size):
        self._keep_head(found, C, size)
        self.support_vectors_ = kept_rows(X, self.support_)
        self.n_samples_fit_ = X.shape[0]

    def _keep_head(self, found, C, size):
        dual = found.dual
        used = np.diff(dual.indptr) > 0 if sp.issparse(dual) else dual.any(axis=1)
        self.support_ = np.flatnonzero(used)
        dual = dual[self.support_].T
        if sp.issparse(dual) and dual.shape[0] <= DENSE_CLASSES:
            # a path keeps all its duals sparse
            dual = dual.toarray()
        self.dual_coef_ = sp.csr_array(dual) if sp.issparse(dual) else np.ascontiguousarray(dual)
        self.coef_, self.intercept_ = found.coef, found.intercept
        if len(self.classes_) == 2:
            # one decision value: the difference of the two logits
            self.dual_coef_ = self.dual_coef_[1:] - self.dual_coef_[:1]
            self.coef_ = self.coef_[1:] - self.coef_[:1]
            self.intercept_ = self.intercept_[1:] - self.intercept_[:1]
        self.dual_gap_, self.objective_, self.n_iter_ = found.gap, found.objective, found.n_iter
        self.C_ = C
        self._keep_constant(size)

    @property
    def _shape(self):
        """Rows, features and whether there is an intercept: what a warm start must share."""
        return self.n_samples_fit_, self.coef_.shape[1], bool(self._size)

    def _logit_coef(self):
        """Weights of the K logits, with their intercepts last if there are any."""
        coef = self.coef_
        if self._size:
            coef = np.column_stack([coef, self.intercept_])
        return coef if len(self.classes_) > 2 else np.concatenate([-0.5 * coef, 0.5 * coef])

    def _full_dual(self):
        """Duals of all rows of the last fit, (n_samples_fit_, n_classes), as CSR."""
        dual = sp.csc_array(self._logit_dual())
        indptr = np.zeros(self.n_samples_fit_ + 1, dtype=np.int64)
        indptr[self.support_ + 1] = np.diff(dual.indptr)
        return sp.csr_array(
            (dual.data, dual.indices, np.cumsum(indptr)),
            shape=(self.n_samples_fit_, len(self.classes_)),
        )

    @property
    def self_influence_(self) -> np.ndarray:
        """What each training row contributes to its own class at itself, (n_samples_fit_,)."""
        check_is_fitted(self, "n_samples_fit_")
        out = np.zeros(self.n_samples_fit_)
        if not len(self.support_):
            return out
        # the dual of the row's own class is the one that is not negative
        own = self._logit_dual().max(axis=0)
        own = own.toarray().ravel() if sp.issparse(own) else own
        scale = 2.0 if len(self.classes_) == 2 else 1.0
        norms = squared_norms(self.support_vectors_, self._bias)
        out[self.support_] = scale * own * norms
        return out

    def decision_error_bound(self, X, target=None) -> np.ndarray:
        """How far the output may be from that of the exact optimum, from the duality gap.

        Parameters
        ----------
        X : array or CSR of shape (n_samples, n_features)
        target : as in `attribute`

        Returns
        -------
        ndarray of shape (n_samples,)
            ``||v - mean(v)|| sqrt(P - D) ||(phi, s)||``, with the logit weights v of the target
            and s the constant feature.
        """
        X = self._check_rows(X)
        v = self._check_target(X, target).as_weights(len(self.classes_))
        gap = max(self.dual_gap_ * self.objective_, 0.0)
        return self._reach(X, v) * np.sqrt(gap)

    def leave_one_out(
        self,
        X,
        X_train,
        y_train,
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
        X : array or CSR of shape (n_samples, n_features)
        X_train, y_train, sample_weight : as given to `fit`
        rows : sequence of ints or of int arrays, optional
            Training rows, or groups of them to be removed together; by default each row.
        target : as in `attribute`
            Held fixed: the same logit weights with and without the rows.
        tol : float, default=1e-9
            Relative duality gap of each solve, in float64. An effect is known to about the root
            of the gap, so that the gap of a usual fit would hide most effects.
        return_bound : bool, default=False
            Whether to return a bound on the error of each effect too.
        n_jobs : int, optional
            Threads, as in joblib: None is 1 unless ``joblib.parallel_config`` says otherwise.

        Returns
        -------
        effects : ndarray of shape (n_samples, len(rows))
            Output with the rows minus output without them, in float64. Exactly 0 for rows whose
            duals are 0.
        bounds : ndarray of shape (n_samples, len(rows))
            With `return_bound`: how far each effect may be from that of the exact optima, from
            the duality gaps of both.

        Raises
        ------
        ValueError
            For rows that are not training rows.

        Warns
        -----
        ConvergenceWarning
            When some solves did not reach `tol`; the bounds hold all the same.

        Notes
        -----
        Rows without duals cost nothing. Every other one costs a solve from the full duals, a few
        sweeps. Weights are those of the full fit, balanced class weights too.
        """
        X = self._check_rows(X)
        V = self._check_target(X, target).as_weights(len(self.classes_))
        X_train, codes = self._check_fitted_rows(X_train, y_train)
        weight = check_weights(X_train, codes, self.classes_, sample_weight, self.class_weight)
        groups = check_groups(np.arange(self.n_samples_fit_) if rows is None else rows, len(codes))
        X_train = X_train.astype(np.float64, copy=False)

        def solve(weight, start):
            size = self._size or 1.0
            options = {"dual_init": start, "intercept_scaling": size}
            return self._solve(X_train, codes, weight, self.C_, tol, **options)

        full, found = removals(solve, weight, groups, self._full_dual(), n_jobs, self.verbose)
        warn_of_missed([full, *found.values()], tol)
        effects, bounds = self._removal_effects(X, V, full, found, len(groups))
        return (effects, bounds) if return_bound else effects

    def _removal_effects(self, X, V, full, found, n_groups):
        """(effects, bounds), each (n_samples, n_groups), from results with and without groups."""
        effects = np.zeros((X.shape[0], n_groups))
        error = np.full(n_groups, 2 * np.sqrt(max(full.gap * full.objective, 0.0)))
        for k, result in found.items():
            lost = decision(X, full.coef - result.coef, full.intercept - result.intercept)
            effects[:, k] = np.einsum("jk,jk->j", V, lost)
            error[k] = error[k] / 2 + np.sqrt(max(result.gap * result.objective, 0.0))
        return effects, self._reach(X, V)[:, None] * error

    def _reach(self, X, V):
        """How far an error of norm 1 in W may move v.f(x)."""
        V = V - V.mean(axis=1, keepdims=True)
        return np.linalg.norm(V, axis=1) * np.sqrt(squared_norms(X, self._size**2))


def warn_of_missed(results, tol):
    """Tells how many solves of a `leave_one_out` stopped short."""
    missed = sum(not result.converged for result in results)
    if missed:
        warnings.warn(
            f"{missed} of {len(results)} solves did not reach a gap of {tol:.0e}: raise "
            "max_iter or tol; return_bound=True says what the effects are good for",
            ConvergenceWarning,
            stacklevel=3,
        )
