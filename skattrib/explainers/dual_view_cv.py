"""DualView with its C chosen by cross-validation along warm-started paths."""

from collections.abc import Iterable
from numbers import Integral, Real

import numpy as np
from scipy.stats import rankdata
from sklearn.metrics import check_scoring
from sklearn.model_selection import check_cv
from sklearn.utils.parallel import Parallel, delayed

from .._arrays.checks import check_workers, entries
from .._svm.crammer_singer import crammer_singer_path
from ._heads import scaled_penalty
from ._validation import (
    Interval,
    Options,
    StrOptions,
    check_training_data,
    check_weights,
    fit_context,
)
from .dual_view import DualViewExplainer

__all__ = ["DualViewExplainerCV", "fidelity_scorer", "sparsest_within_one_standard_error"]


def fidelity_scorer(model):
    """A scorer of agreement with a model, for explainers that stand for it.

    Parameters
    ----------
    model : fitted classifier

    Returns
    -------
    scorer : callable (estimator, X, y=None, sample_weight=None) -> float
        Share of the rows for which estimator and model predict the same; labels are not looked at.
        To be given as `scoring`.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.ensemble import RandomForestClassifier
    >>> from skattrib import DualViewExplainerCV, fidelity_scorer
    >>> X, y = load_iris(return_X_y=True)
    >>> forest = RandomForestClassifier(random_state=0).fit(X, y)
    >>> search = DualViewExplainerCV(Cs=[1e-3, 1e-2], scoring=fidelity_scorer(forest), cv=3)
    >>> search.fit(X, forest.predict(X)).scores_.shape
    (3, 2)
    """
    return _Fidelity(model)


class _Fidelity:
    """Picklable, so that it serves in processes too."""

    def __init__(self, model):
        self.model = model

    def __call__(self, estimator, X, y=None, sample_weight=None):
        same = np.asarray(estimator.predict(X)) == np.asarray(self.model.predict(X))
        return float(np.average(same, weights=sample_weight))


def sparsest_within_one_standard_error(cv_results) -> int:
    """The candidate with the fewest support rows whose score is within one error of the best.

    To be given as `refit` to DualViewExplainerCV or to scikit-learn's GridSearchCV over C, where
    the larger C stands for the fewer support rows.

    Parameters
    ----------
    cv_results : dict
        With "mean_test_score", "split0_test_score", ... and a parameter "param_C" or
        "param_..__C"; "mean_n_support", if there, decides which candidate is sparsest.

    Returns
    -------
    best_index : int

    Raises
    ------
    ValueError
        If no parameter or more than one is called C.

    Notes
    -----
    The standard error is that of the best candidate's mean over the folds.

    Examples
    --------
    >>> import numpy as np
    >>> from skattrib import sparsest_within_one_standard_error
    >>> cv_results = {
    ...     "param_C": [0.1, 1.0, 10.0],
    ...     "split0_test_score": np.array([0.80, 0.92, 0.93]),
    ...     "split1_test_score": np.array([0.82, 0.90, 0.91]),
    ...     "mean_test_score": np.array([0.81, 0.91, 0.92]),
    ...     "mean_n_support": np.array([90, 40, 60]),
    ... }
    >>> int(sparsest_within_one_standard_error(cv_results))
    1
    """
    mean = np.asarray(cv_results["mean_test_score"], dtype=np.float64)
    names = [name for name in cv_results if name == "param_C" or name.endswith("__C")]
    if len(names) != 1:
        raise ValueError(f"cv_results must have one parameter C, found {names}")
    splits = [
        name for name in cv_results if name.startswith("split") and name.endswith("_test_score")
    ]
    best = int(np.nanargmax(mean))
    folds = np.array([np.asarray(cv_results[name])[best] for name in splits])
    error = folds.std(ddof=1) / np.sqrt(len(folds)) if len(folds) > 1 else 0.0
    near = np.flatnonzero(mean >= mean[best] - error)
    if "mean_n_support" in cv_results:
        return int(near[np.argmin(np.asarray(cv_results["mean_n_support"])[near])])
    return int(near[np.argmax(np.asarray(cv_results[names[0]], dtype=np.float64)[near])])


class DualViewExplainerCV(DualViewExplainer):
    """DualViewExplainer with C chosen by cross-validation.

    Every fold solves all C in one warm-started path, which costs little more than the hardest
    of them alone; GridSearchCV over DualViewExplainer gives the same scores up to `tol`, slower.

    Parameters
    ----------
    Cs : int, array of floats or None, default=10
        C to try, or how many (at most 10,000; None: 10) between 1e-4 and 1e4 times that of
        C="scale", on a logarithmic scale.
    cv : int, cross-validation generator or None, default=None
        Folds; stratified five by default.
    scoring : str, callable or None, default=None
        What to choose by; accuracy by default. `fidelity_scorer(model)` for agreement with a model.
    refit : True or callable, default=True
        True: the C of the best mean score, the smallest of equally good ones. A callable maps
        results as GridSearchCV has them in `cv_results_` to the index of the chosen C, such as
        `sparsest_within_one_standard_error`.
    n_jobs : int or None, default=None
        Folds at a time, as in joblib.
    fit_intercept, intercept_share, class_weight, tol, max_iter, sparse_output
        As in DualViewExplainer.
    canonical, random_state, verbose
        As in DualViewExplainer; `canonical` applies to the last fit.

    Attributes
    ----------
    C_ : float
        The chosen C.
    Cs_ : ndarray of shape (n_Cs,)
    scores_ : ndarray of shape (n_folds, n_Cs)
        On the rows left out.
    cv_results_ : dict
        "param_C", "mean_test_score", "std_test_score", "split0_test_score", ..., "rank_test_score"
        and "mean_n_support".
    path_ : dict of ndarrays of length n_Cs
        How the path ran: "n_support" and "seconds" (means over folds), "gap" (the largest) and
        "train_score" (accuracy on the rows fitted to, by weight, mean over folds), and
        "n_support_per_class" of shape (n_Cs, n_classes).

    Notes
    -----
    All other attributes are those of DualViewExplainer, fitted on all rows with `C_`.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.preprocessing import scale
    >>> from skattrib import DualViewExplainerCV, sparsest_within_one_standard_error
    >>> X, y = load_iris(return_X_y=True)
    >>> search = DualViewExplainerCV(
    ...     Cs=[0.01, 0.1, 1], refit=sparsest_within_one_standard_error, random_state=0
    ... )
    >>> search.fit(scale(X), y).scores_.shape
    (5, 3)
    """

    _reads_files = False
    _parameter_constraints: dict = {
        "Cs": [Interval(Integral, 1, 10_000, closed="both"), "array-like", None],
        "cv": ["cv_object"],
        "scoring": [str, callable, None],
        "refit": [callable, Options(bool, {True})],
        "n_jobs": [Integral, None],
        "fit_intercept": ["boolean"],
        "intercept_share": ["boolean"],
        "class_weight": [dict, StrOptions({"balanced"}), None],
        "tol": [Interval(Real, 0, None, closed="neither")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "sparse_output": ["boolean"],
        "canonical": ["boolean"],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        *,
        Cs=10,
        cv=None,
        scoring=None,
        refit=True,
        n_jobs=None,
        fit_intercept=True,
        intercept_share=False,
        class_weight=None,
        tol=1e-5,
        max_iter=1000,
        sparse_output=True,
        canonical=False,
        random_state=None,
        verbose=0,
    ):
        self.Cs = Cs
        self.cv = cv
        self.scoring = scoring
        self.refit = refit
        self.n_jobs = n_jobs
        self.fit_intercept = fit_intercept
        self.intercept_share = intercept_share
        self.class_weight = class_weight
        self.tol = tol
        self.max_iter = max_iter
        self.sparse_output = sparse_output
        self.canonical = canonical
        self.random_state = random_state
        self.verbose = verbose

    @fit_context
    def fit(self, X, y, sample_weight=None) -> "DualViewExplainerCV":
        """Choose C by cross-validation, then fit all rows.

        Parameters
        ----------
        X : array or CSR of shape (n_samples, n_features)
        y : array of shape (n_samples,)
        sample_weight : array of shape (n_samples,), optional
            For the fits; scores do not weigh the rows.

        Returns
        -------
        DualViewExplainerCV

        Raises
        ------
        ValueError
            As DualViewExplainer, and for Cs that are not positive.

        Warns
        -----
        ConvergenceWarning
            For every fit that `max_iter` ends before the gap is `tol`.
        """
        X, codes = check_training_data(self, X, y)
        weight = check_weights(X, codes, self.classes_, sample_weight, self.class_weight)
        self.Cs_, self._scaling = self._grid(X, weight)
        if isinstance(self.cv, Iterable) and not hasattr(self.cv, "split"):
            folds = entries(self.cv, "cv", "pairs of training and test rows")
        else:
            folds = list(check_cv(self.cv, codes, classifier=True).split(X, codes))
        folds = _checked_folds(folds, len(codes))
        tasks = (delayed(self._fold)(X, codes, weight, *fold) for fold in folds)
        found = Parallel(n_jobs=check_workers(self.n_jobs, len(folds)))(tasks)
        self.scores_ = np.array([fold["score"] for fold in found])
        self.path_ = {
            name: np.mean([fold[name] for fold in found], axis=0)
            for name in ("n_support", "seconds", "train_score", "n_support_per_class")
        }
        self.path_["gap"] = np.max([fold["gap"] for fold in found], axis=0)
        self.cv_results_ = self._results()
        mean = self.cv_results_["mean_test_score"]
        chosen = self.refit(self.cv_results_) if callable(self.refit) else int(np.nanargmax(mean))
        if not (isinstance(chosen, Integral) and 0 <= int(chosen) < len(self.Cs_)):
            raise ValueError(
                f"refit must return the index of one of {len(self.Cs_)} C, got {chosen!r}"
            )
        self.C_ = float(self.Cs_[chosen])
        (best,) = self._path(X, codes, weight, [self.C_], self.canonical)
        self._keep(X, best, self.C_, self._scaling)
        self._warn_if_loose(best)
        return self

    def _grid(self, X, weight):
        """(Cs, size of the constant feature)."""
        if self.Cs is None or isinstance(self.Cs, Integral):
            C, size = scaled_penalty("scale", X, weight)
            return np.logspace(-4, 4, self.Cs or 10) * C, size
        Cs = np.asarray(self.Cs, dtype=np.float64)
        if Cs.ndim != 1 or not len(Cs) or not (np.isfinite(Cs).all() and (Cs > 0).all()):
            raise ValueError(f"Cs must be a number of values or positive values, got {self.Cs!r}")
        return Cs, 1.0

    def _path(self, X, codes, weight, Cs, canonical=False):
        return crammer_singer_path(
            X,
            codes,
            Cs=Cs,
            n_classes=len(self.classes_),
            sample_weight=weight,
            fit_intercept=self.fit_intercept,
            intercept_scaling=self._scaling,
            tol=self.tol,
            max_iter=self.max_iter,
            canonical=canonical,
            random_state=self.random_state,
            verbose=self.verbose,
        )

    def _fold(self, X, codes, weight, train, test):
        """What each C gives on the rows left out of one fold, and how its path ran."""
        rows, labels = X[train], self.classes_[codes]
        scores = []
        path = self._path(rows, codes[train], weight[train], self.Cs_)
        for C, found in zip(self.Cs_, path, strict=True):
            head = DualViewExplainer(C=C, fit_intercept=self.fit_intercept)
            head.classes_, head.n_features_in_ = self.classes_, X.shape[1]
            head._keep(rows, found, C, self._scaling)
            scorer = check_scoring(head, self.scoring)
            scores.append(scorer(head, X[test], labels[test]))
        support = [found.n_support_per_class for found in path]
        return {
            "score": scores,
            "n_support_per_class": support,
            "n_support": [per_class.sum() for per_class in support],
            "train_score": [found.train_accuracy for found in path],
            "gap": [found.gap for found in path],
            "seconds": [found.seconds for found in path],
        }

    def _results(self):
        mean = self.scores_.mean(axis=0)
        out = {f"split{k}_test_score": scores for k, scores in enumerate(self.scores_)}
        return out | {
            "param_C": self.Cs_,
            "mean_test_score": mean,
            "std_test_score": self.scores_.std(axis=0),
            "rank_test_score": rankdata(-mean, method="min").astype(np.int32),
            "mean_n_support": self.path_["n_support"],
        }


def _checked_folds(folds, n):
    """Training and test rows of each fold, at least one of each."""
    each, found = np.arange(n), []
    try:
        for train, test in folds:
            found.append((each[np.asarray(train)], each[np.asarray(test)]))
    except (TypeError, ValueError, IndexError):
        found = []
    if not found or any(part.ndim != 1 or not len(part) for fold in found for part in fold):
        raise ValueError(
            "cv gives no folds, or other things than pairs of arrays of training and test rows: "
            "give a number of folds, or a splitter"
        )
    return found
