"""Attribution by really training again: datamodels and leave-one-out, for any classifier."""

from functools import cached_property
from numbers import Integral, Real
from os import PathLike

import numpy as np
from sklearn.base import is_classifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, enet_path
from sklearn.utils.validation import check_is_fitted

from .._arrays import batches, logits
from .._arrays.checks import check_estimator
from .._arrays.outputs import label_directions
from ..retraining.refits import (
    decision_values,
    derived,
    draw_seed,
    draw_subset,
    refit,
    run,
    run_kept,
)
from ..retraining.result_folder import ModelFolder, digest, key_of
from . import _scoring
from ._heads import HeadExplainer
from ._validation import HasMethods, Interval, check_training_data, fit_context

# rows explained at a time
EXPLAINED_ROWS = 64


class _RefitKernel(_scoring.Kernel):
    """T[j] = attributions(outputs (m, models), full outputs (m,)) of the retrained models."""

    def __init__(self, decisions, attributions, n_samples):
        super().__init__(np.arange(n_samples), None, n_samples)
        self.decisions, self.attributions = decisions, attributions

    def groups(self, target):
        """All test rows and all training rows."""
        V = target.as_weights(self.decisions.n_classes)
        yield _scoring.Group(np.arange(len(V)), self.support, None, V)

    def values(self, part, vectors=None):
        """Attributions of some test rows, `part` being (X, logit weights), to all training rows."""
        X, V = part
        full, refitted = self.decisions(X)
        outputs = np.einsum("smk,mk->ms", refitted, V)
        return self.attributions(outputs, np.einsum("mk,mk->m", full, V))

    def blocks(self, X, groups):
        """As for every kernel, but over test rows first: outputs are dear."""
        one = np.ones((1, _scoring.COLUMNS), dtype=X.dtype)
        for group in groups:
            for rows in batches(len(group.rows), EXPLAINED_ROWS):
                T = self.values((X[group.rows[rows]], group.weights[rows]))
                for columns in batches(self.n_samples, _scoring.COLUMNS):
                    block = np.ascontiguousarray(T[:, columns], dtype=X.dtype)
                    yield group, rows, columns, one[:, : block.shape[1]], block

    def directions(self, X, pairs, side):
        """Retraining does not tell features apart."""
        raise ValueError(
            "decompose and directions need a linear head, and retraining tells nothing of "
            "features; use DualViewExplainer, RepresenterExplainer or InfluenceExplainer"
        )


class _Decisions:
    """Logits of the full model, (m, K), and of the retrained ones, (models, m, K)."""

    def __init__(self, full, models, n_classes):
        self.full, self.models, self.n_classes = full, models, n_classes

    def __call__(self, X):
        full, *each = [
            logits(decision_values(model, X, self.n_classes)) for model in (self.full, *self.models)
        ]
        return full, np.array(each)


class _RefitExplainer(HeadExplainer):
    """An explainer that keeps models fitted to some of the rows."""

    def _fit_models(self, X, y, jobs_of, **settings):
        """Fit the estimator on all rows and on those of each job, (rows, seed)."""
        self.__dict__.pop("self_influence_", None)
        X, codes = check_training_data(self, X, y)
        estimator = LogisticRegression() if self.estimator is None else self.estimator
        check_estimator(estimator)
        has_outputs = hasattr(estimator, "decision_function") or hasattr(estimator, "predict_proba")
        is_frozen = isinstance(estimator, FrozenEstimator)
        if is_frozen or not has_outputs or not is_classifier(estimator):
            raise ValueError(
                f"estimator must be a classifier that can be fitted again, with decision_function "
                f"or predict_proba; {type(estimator).__name__} is not"
            )
        seed = draw_seed(self.random_state)
        jobs = {
            f"{i:06d}": (estimator, X, codes, *job) for i, job in enumerate(jobs_of(codes, seed))
        }
        folder = ModelFolder(self.folder, self._key(X, codes, estimator, settings))
        full = estimator, X, codes, None, derived(seed, 0, 0)
        ((_, self.estimator_),) = run(_refit, [full], n_jobs=1)
        models = dict(run_kept(_refit, jobs, folder, n_jobs=self.n_jobs, verbose=self.verbose))
        self.estimators_ = [models[k] for k in range(len(jobs))]
        self._fit_X = X
        self.n_samples_fit_ = X.shape[0]
        return self

    def _key(self, X, codes, estimator, settings):
        if self.folder is None:
            return None
        data = {"data": digest([X, codes]), "estimator": digest(estimator)}
        return key_of(self.random_state, kind=type(self).__name__, **data, **settings)

    @property
    def _decisions(self):
        return _Decisions(self.estimator_, self.estimators_, len(self.classes_))

    def _decision(self, X):
        return decision_values(self.estimator_, X, len(self.classes_))

    def _kernel(self):
        return _RefitKernel(self._decisions, self._attributions, self.n_samples_fit_)

    @cached_property
    def self_influence_(self) -> np.ndarray:
        """What each training row contributes to its own class at itself. Lazy."""
        check_is_fitted(self, "n_samples_fit_")
        V = label_directions(len(self.classes_))[self._fit_codes]
        out, kernel = np.empty(self.n_samples_fit_), self._kernel()
        for rows in batches(self.n_samples_fit_, EXPLAINED_ROWS):
            T = kernel.values((self._fit_X[rows], V[rows]))
            out[rows] = T[np.arange(len(T)), np.arange(self.n_samples_fit_)[rows]]
        return out


def _refit(estimator, X, y, rows, seed):
    return refit(estimator, X, y, rows, seed=seed)


_CONSTRAINTS = {
    "estimator": [HasMethods(["fit", "predict"]), None],
    "folder": [str, PathLike, None],
    "n_jobs": [Integral, None],
    "random_state": ["random_state"],
    "verbose": ["verbose"],
}


class DatamodelExplainer(_RefitExplainer):
    """Explains any classifier by a sparse regression of its outputs on what it was trained on.

    Clones are fitted to random subsets of the rows. For each test row, their outputs are regressed
    on the subsets: the coefficient of a training row is what its presence adds.

    Parameters
    ----------
    estimator : classifier, default=None
        With `decision_function` or `predict_proba`; never fitted itself. None is
        ``LogisticRegression()``.
    n_subsets : int, default=200
        Refits. As many as there are rows is a start: on 300 rows of digits, the linear
        datamodeling score was 0.82, 0.92 and 0.94 with 100, 300 and 1000.
    fraction : float, default=0.5
        Share of each class in a subset, at least one row.
    alpha : float, default=0.05
        Penalty as a share of the smallest one that leaves no row: the larger, the sparser.
    l1_ratio : float, default=1.0
        In 1e-6..1: 1 is the lasso, less an elastic net.
    folder : path-like, default=None
        Keeps each refitted model as soon as it is done, so that a fit that was killed goes on
        where it ended, with identical results. It holds those of one set of data, estimator,
        settings and versions and refuses any other; it needs an integer `random_state`. Models
        are unpickled from it, which can run any code: give a folder that you trust.
    n_jobs : int or None, default=None
        Refits at a time, as in joblib; results do not depend on it.
    random_state : int, RandomState or None, default=None
        Of the subsets and of the clones.
    verbose : int, default=0
        Positive: print the progress of the refits.

    Attributes
    ----------
    estimator_ : classifier
        Fitted to all rows: what is predicted and explained.
    estimators_ : list of n_subsets classifiers
        They are kept to explain new rows. All see class positions instead of labels.
    subset_masks_ : ndarray of shape (n_subsets, n_samples_fit_), bool
    classes_ : ndarray of shape (n_classes,)
    self_influence_ : ndarray of shape (n_samples_fit_,)
        What each training row contributes to its own class at itself: a regression each. Lazy.
    n_samples_fit_ : int
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)

    Notes
    -----
    Sign and unit: positive, the row raises the explained output, in whose unit it is: the decision
    value, or the log-odds where there is none. The regression has an intercept, so that
    attributions do not sum to the output. `decompose` is refused.

    Cost: `n_subsets` refits and as many fitted models in memory; each explained row costs a
    prediction of every model and a regression on an (n_subsets, n_samples_fit_) matrix.

    The training rows, which `self_influence_` reads, are kept, not copied, if they are float32 or
    float64 in C order: do not change them in place before it has been asked for.

    References
    ----------
    Ilyas et al., "Datamodels: Predicting predictions from training data", ICML 2022.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.preprocessing import scale
    >>> from skattrib import DatamodelExplainer
    >>> X, y = load_iris(return_X_y=True)
    >>> X = scale(X)
    >>> explainer = DatamodelExplainer(n_subsets=20, random_state=0).fit(X, y)
    >>> explainer.attribute(X[:2]).shape
    (2, 150)
    """

    _parameter_constraints: dict = {
        **_CONSTRAINTS,
        "n_subsets": [Interval(Integral, 2, 1_000_000, closed="both")],
        "fraction": [Interval(Real, 0, 1, closed="neither")],
        "alpha": [Interval(Real, 0, 1, closed="right")],
        "l1_ratio": [Interval(Real, 1e-6, 1, closed="both")],
    }

    def __init__(
        self,
        estimator=None,
        *,
        n_subsets=200,
        fraction=0.5,
        alpha=0.05,
        l1_ratio=1.0,
        folder=None,
        n_jobs=None,
        random_state=None,
        verbose=0,
    ):
        self.estimator = estimator
        self.n_subsets = n_subsets
        self.fraction = fraction
        self.alpha = alpha
        self.l1_ratio = l1_ratio
        self.folder = folder
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    @fit_context
    def fit(self, X, y) -> "DatamodelExplainer":
        """Fit the estimator to all rows and to random subsets.

        Parameters
        ----------
        X : array or CSR of shape (n_samples, n_features)
        y : array of shape (n_samples,)

        Returns
        -------
        DatamodelExplainer

        Raises
        ------
        ValueError
            For data that are not finite, one class only, an estimator without outputs, or a folder
            of other models.
        """

        def jobs(codes, seed):
            masks = [draw_subset(codes, self.fraction, seed, i) for i in range(self.n_subsets)]
            self.subset_masks_ = np.array(masks)
            return [(np.flatnonzero(mask), derived(seed, 1 + i, 1)) for i, mask in enumerate(masks)]

        return self._fit_models(X, y, jobs, fraction=float(self.fraction))

    def _attributions(self, outputs, full):
        """Coefficients of outputs (m, n_subsets) on the masks, (m, n_samples_fit_)."""
        masks = np.asfortranarray(self.subset_masks_ - self.subset_masks_.mean(axis=0))
        outputs = outputs - outputs.mean(axis=1, keepdims=True)
        largest = np.abs(outputs @ masks).max(axis=1) / (len(masks) * self.l1_ratio)
        T = np.zeros((len(outputs), self.n_samples_fit_))
        for j in np.flatnonzero(largest > 0):
            # on outputs of unit size, so that `tol` means the same for all
            coef = enet_path(
                masks,
                outputs[j] / largest[j],
                l1_ratio=self.l1_ratio,
                alphas=[self.alpha],
                tol=1e-5,
                max_iter=10_000,
                random_state=0,  # not used, but None draws from the global generator
            )[1]
            T[j] = largest[j] * coef[:, 0]
        return T


class LeaveOneOutExplainer(_RefitExplainer):
    """Explains any classifier by really fitting it without each row: the ground truth itself.

    Parameters
    ----------
    estimator : classifier, default=None
        With `decision_function` or `predict_proba`; never fitted itself. None is
        ``LogisticRegression()``. Its tolerance should be far below the effect of a row.
    folder : path-like, default=None
        Keeps each refitted model, so that a fit that was killed goes on where it ended. As for
        DatamodelExplainer, it must be one that you trust, and `random_state` an integer.
    n_jobs : int or None, default=None
        Refits at a time, as in joblib; results do not depend on it.
    random_state : int, RandomState or None, default=None
        Of the clones, the same for all.
    verbose : int, default=0
        Positive: print the progress of the refits.

    Attributes
    ----------
    estimator_ : classifier
        Fitted to all rows: what is predicted and explained.
    estimators_ : list of n_samples_fit_ classifiers
        Each without one row. They are kept to explain new rows. All see class positions instead
        of labels.
    classes_ : ndarray of shape (n_classes,)
    self_influence_ : ndarray of shape (n_samples_fit_,)
        What each training row contributes to its own class at itself. Lazy.
    n_samples_fit_ : int
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)

    Notes
    -----
    Sign and unit: output with the row minus output without it, in the unit of the output: the
    decision value, or the log-odds where there is none. Attributions do not sum to the output.
    `decompose` is refused.

    Cost: n_samples_fit_ refits and as many fitted models in memory; each explained row costs a
    prediction of every model. DualViewExplainer and InfluenceExplainer have a `leave_one_out` of
    their own heads, which is far cheaper.

    The training rows, which `self_influence_` reads, are kept, not copied, if they are float32 or
    float64 in C order: do not change them in place before it has been asked for.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skattrib import LeaveOneOutExplainer
    >>> X, y = load_iris(return_X_y=True)
    >>> explainer = LeaveOneOutExplainer().fit(X[::10], y[::10])
    >>> explainer.attribute(X[:2]).shape
    (2, 15)
    """

    _parameter_constraints: dict = dict(_CONSTRAINTS)

    def __init__(self, estimator=None, *, folder=None, n_jobs=None, random_state=None, verbose=0):
        self.estimator = estimator
        self.folder = folder
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    @fit_context
    def fit(self, X, y) -> "LeaveOneOutExplainer":
        """Fit the estimator to all rows, and to all but each.

        Parameters
        ----------
        X : array or CSR of shape (n_samples, n_features)
        y : array of shape (n_samples,)

        Returns
        -------
        LeaveOneOutExplainer

        Raises
        ------
        ValueError
            For data that are not finite, one class only, a class of a single row, an estimator
            without outputs, or a folder of other models.
        """

        def jobs(codes, seed):
            single = np.flatnonzero(np.bincount(codes) == 1)
            if len(single):
                raise ValueError(
                    f"class {self.classes_[single].tolist()[0]!r} has one row only, without which "
                    "its output is not defined: give more rows, or leave that class out"
                )
            each = np.arange(len(codes))
            return [(np.delete(each, i), derived(seed, 0, 0)) for i in each]

        return self._fit_models(X, y, jobs)

    def _attributions(self, outputs, full):
        return full[:, None] - outputs
