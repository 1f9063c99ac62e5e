"""What it takes to flip a prediction: top training rows removed or relabelled, and a refit."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import Bunch

from .._arrays import count, full, take
from .._arrays.checks import plain_array
from ..retraining.refits import check_classifier, check_refit_data, derived, draw_seed, refit, run
from ._checks import Attributions, check_attributions
from ._intervals import with_interval
from ._ranks import shuffled_order


def data_removal_support(
    attributions: Attributions,
    estimator,
    X,
    y: ArrayLike,
    X_test,
    *,
    counts: Sequence[int] | None = None,
    sample_weight: ArrayLike | None = None,
    confidence: float | None = None,
    n_resamples: int = 1000,
    n_jobs: int | None = None,
    random_state=None,
    verbose: int = 0,
) -> Bunch:
    """How few top training rows must be removed, retraining, to flip a prediction.

    Parameters
    ----------
    attributions : {array-like, sparse matrix} of shape (m, n)
        What each of n training rows contributes to the predicted class of each of m test rows;
        -inf where the training row is excluded, which is never removed.
    estimator : classifier
        Any of scikit-learn's kind; it is cloned and refitted, up to ``m * len(counts)`` times.
    X : array, sparse matrix, frame or list of n rows
    y : array-like of shape (n,)
    X_test : as X, of m rows
    counts : sequence of int, optional
        Increasing numbers of rows that are tried. By default powers of 2 up to n / 2; all of
        1, 2, 3, ... for exact support.
    sample_weight : array-like of shape (n,), optional
        Passed on to `fit`.
    confidence : float, optional
        Level of percentile bootstrap intervals over the test rows, such as 0.95.
    n_resamples : int, default=1000
        Samples that the bootstrap draws.
    n_jobs : int, optional
        Test rows at a time, by joblib; results do not depend on it.
    random_state : int, RandomState or None, default=None
        The order of tied rows, the seed of all refits (the same in each) and of the bootstrap.
    verbose : int, default=0
        Positive: print progress.

    Returns
    -------
    result : :class:`~sklearn.utils.Bunch`
        Dictionary-like object, with fields:

        support : ndarray of shape (m,)
            Smallest of the `counts` that flips the prediction of the model fitted on all rows;
            infinite where none does. Smaller is better.
        flipped : ndarray of shape (len(counts),)
            Share of test rows whose support is at most each count: larger is better. Chance is
            what random attributions reach.
        counts : ndarray
            As given.
        low, high : :class:`~sklearn.utils.Bunch`
            Ends of the intervals of `flipped`; with a confidence only.

    Raises
    ------
    ValueError
        If attributions are empty, not 2-D, NaN or +inf, if lengths disagree, if the estimator is
        no classifier, or if counts do not increase within 1..n-1.

    Notes
    -----
    Refits are not averaged over the orders of tied rows: one order is drawn, another for each
    test row. Without one of the classes the prediction is among the others, without all but one
    it is that one.

    References
    ----------
    Ilyas et al., "Datamodels: Predicting Predictions from Training Data", ICML 2022, data support.
    Singla et al., "A Simple and Efficient Baseline for Data Attribution on Images", 2023.

    Examples
    --------
    >>> from sklearn.neighbors import KNeighborsClassifier
    >>> from skattrib.metrics import data_removal_support
    >>> X, y = [[0.0], [1.0], [3.0]], [0, 0, 1]
    >>> knn = KNeighborsClassifier(n_neighbors=1)
    >>> data_removal_support([[2.0, 1.0, 0.0]], knn, X, y, [[0.0]], counts=[1, 2]).support
    array([2.])
    """
    flips = _Flips(attributions, estimator, X, y, X_test, counts, sample_weight, random_state)
    flipping = [(row, None) for row in range(flips.m)]
    support = flips.support(flipping, n_jobs, verbose, "data_removal_support")
    return flips.result(support, confidence, n_resamples)


def mislabel_support(
    attributions: Attributions,
    estimator,
    X,
    y: ArrayLike,
    X_test,
    *,
    counts: Sequence[int] | None = None,
    sample_weight: ArrayLike | None = None,
    confidence: float | None = None,
    n_resamples: int = 1000,
    n_jobs: int | None = None,
    random_state=None,
    verbose: int = 0,
) -> Bunch:
    """How few top training rows must be relabelled, retraining, to flip a prediction.

    As :func:`data_removal_support`, but the rows stay and get the label of the runner-up: the
    class that the model fitted on all rows finds second most likely for the test row.

    Parameters
    ----------
    attributions, X, y, X_test, counts, sample_weight, confidence, n_resamples, n_jobs
        As in :func:`data_removal_support`.
    estimator : classifier
        With `decision_function` or `predict_proba`, by which the runner-up is found.
    random_state, verbose
        As in :func:`data_removal_support`.

    Returns
    -------
    result : :class:`~sklearn.utils.Bunch`
        Dictionary-like object, with fields `support`, `flipped`, `counts` and with a confidence
        `low` and `high`, as of :func:`data_removal_support`; and

        runner_up : ndarray of shape (m,)
            The label that the top rows were given.

    Raises
    ------
    ValueError
        As :func:`data_removal_support`, and if the estimator gives no order of the classes.

    References
    ----------
    Singla et al., "A Simple and Efficient Baseline for Data Attribution on Images", 2023.

    Examples
    --------
    >>> from sklearn.neighbors import KNeighborsClassifier
    >>> from skattrib.metrics import mislabel_support
    >>> X, y = [[0.0], [1.0], [3.0]], [0, 0, 1]
    >>> knn = KNeighborsClassifier(n_neighbors=1)
    >>> mislabel_support([[2.0, 1.0, 0.0]], knn, X, y, [[0.0]], counts=[1, 2]).support
    array([1.])
    """
    flips = _Flips(attributions, estimator, X, y, X_test, counts, sample_weight, random_state)
    runner_up = flips.runner_up()
    flipping = list(enumerate(runner_up))
    support = flips.support(flipping, n_jobs, verbose, "mislabel_support")
    result = flips.result(support, confidence, n_resamples)
    return Bunch(**result, runner_up=runner_up)


class _Flips:
    """Checked arguments and the model fitted on all rows, whose predictions are to be flipped."""

    def __init__(self, attributions, estimator, X, y, X_test, counts, sample_weight, random_state):
        self.T = check_attributions(attributions)
        X, y, X_test, _, weight = check_refit_data(X, y, X_test, None, sample_weight)
        self.data = X, y, X_test, weight
        self.m, self.n = count(X_test), count(X)
        if self.T.shape != (self.m, self.n):
            raise ValueError(
                f"attributions has shape {self.T.shape}; expected ({self.m}, {self.n}), a row of "
                "X_test by a row of X."
            )
        self.estimator, self.counts = check_classifier(estimator), _check_counts(counts, self.n)
        self.seed = draw_seed(random_state)
        self.refit_seed = derived(self.seed, 0)
        call = estimator, X, y, None, weight, self.refit_seed
        ((_, self.model),) = run(_fit, [call], n_jobs=1)
        self.predicted = self.model.predict(X_test)

    def runner_up(self):
        """The second most likely class of each test row."""
        method = next(
            (name for name in ("decision_function", "predict_proba") if hasattr(self.model, name)),
            None,
        )
        if method is None:
            raise ValueError(
                f"{type(self.estimator).__name__} has neither decision_function nor predict_proba "
                "to name a runner-up; use data_removal_support."
            )
        classes = self.model.classes_
        order = np.asarray(getattr(self.model, method)(self.data[2]), dtype=np.float64)
        if order.ndim == 1:
            order = np.column_stack([-order, order])
        if order.shape[1] != len(classes):
            raise ValueError(
                f"{method} has {order.shape[1]} columns for {len(classes)} classes; choose an "
                "estimator with one each (decision_function_shape='ovr')."
            )
        order[self.predicted[:, None] == classes] = -np.inf
        return classes[order.argmax(axis=1)]

    def support(self, flipping, n_jobs, verbose, title):
        """Smallest count that flips each (test row, new label of top rows or None: removed)."""
        X, y, X_test, weight = self.data
        jobs = []
        for row, label in flipping:
            rng = np.random.default_rng(derived(self.seed, 1, row))
            order = shuffled_order(full(self.T[[row]])[0], rng)
            test = take(X_test, [row])
            setting = test, self.predicted[row], order, label, self.counts, self.refit_seed
            jobs.append((self.estimator, X, y, weight, *setting))
        support = np.empty(self.m)
        for row, found in run(_flip, jobs, n_jobs=n_jobs, verbose=verbose, title=title):
            support[row] = found
        return support

    def result(self, support, confidence, n_resamples):
        """The public form of support."""

        def flipped(drawn=slice(None)):
            return Bunch(flipped=(support[drawn, None] <= self.counts).mean(axis=0))

        score = Bunch(support=support, **flipped(), counts=self.counts)
        return with_interval(score, flipped, self.m, confidence, n_resamples, self.seed)


def _fit(estimator, X, y, rows, weight, seed):
    return refit(estimator, X, y, rows, sample_weight=weight, seed=seed)


def _flip(estimator, X, y, weight, test, predicted, order, label, counts, seed):
    """Smallest count of top rows whose removal (or relabelling) changes the prediction."""
    for size in counts[counts <= len(order)]:
        rows, labels = None, y
        if label is None:
            rows = np.setdiff1d(np.arange(len(y)), order[:size])
        else:
            labels = y.copy()
            labels[order[:size]] = label
        model = refit(estimator, X, labels, rows, sample_weight=weight, seed=seed)
        if model.predict(test)[0] != predicted:
            return size
    return np.inf


def _check_counts(counts, n):
    if counts is None:
        return 2 ** np.arange(np.log2(max(1, n // 2)).astype(int) + 1)
    counts = plain_array(counts, "counts")
    whole = counts.ndim == 1 and len(counts) and counts.dtype.kind in "iu"
    if not whole or np.any(np.diff(counts) <= 0) or counts[0] < 1 or counts[-1] >= n:
        raise ValueError(f"counts must be integers that increase within 1..{n - 1}.")
    return counts
