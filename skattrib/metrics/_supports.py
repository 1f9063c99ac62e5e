"""What it takes to change a prediction: training rows removed or relabelled, and a refit."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import Bunch

from .._arrays import count, full, take
from .._arrays.checks import encode_labels, plain_array
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


def mending_support(
    attributions: Attributions,
    estimator,
    X,
    y: ArrayLike,
    X_test,
    y_test: ArrayLike,
    *,
    counts: Sequence[int] | None = None,
    sample_weight: ArrayLike | None = None,
    confidence: float | None = None,
    n_resamples: int = 1000,
    n_jobs: int | None = None,
    random_state=None,
    verbose: int = 0,
) -> Bunch:
    """How few opponents must be removed, retraining, to make a wrong prediction right.

    Parameters
    ----------
    attributions : {array-like, sparse matrix} of shape (m, n)
        What each of n training rows contributes to an output of each of m test rows that is high
        where the right class is predicted, such as its margin (``target_weights(X_test, "margin",
        y_test)``): the lowest are removed first. -inf where the training row is excluded, which is
        never removed.
    estimator, X, y, counts, sample_weight, n_resamples, n_jobs, random_state, verbose
        As in :func:`data_removal_support`.
    X_test : as X, of m rows
        Some of them are predicted wrongly by the estimator fitted on all rows.
    y_test : array-like of shape (m,)
        Right labels.
    confidence : float, optional
        Level of percentile bootstrap intervals over the errors, such as 0.95.

    Returns
    -------
    result : :class:`~sklearn.utils.Bunch`
        Dictionary-like object, with fields:

        support : ndarray of shape (m,)
            Smallest of the `counts` after which the prediction is right; infinite where none
            does, NaN where it is right with all rows. Smaller is better.
        mended : ndarray of shape (len(counts),)
            Share of the errors whose support is at most each count: larger is better. Chance is
            what random attributions reach.
        counts : ndarray
            As given.
        low, high : :class:`~sklearn.utils.Bunch`
            Ends of the intervals of `mended`; with a confidence only.

    Raises
    ------
    ValueError
        As :func:`data_removal_support`, and if no row of X_test is predicted wrongly.

    References
    ----------
    Singla et al., "A Simple and Efficient Baseline for Data Attribution on Images", 2023.

    Examples
    --------
    >>> from sklearn.neighbors import KNeighborsClassifier
    >>> from skattrib.metrics import mending_support
    >>> X, y = [[0.0], [1.0], [3.0]], [0, 1, 1]
    >>> knn = KNeighborsClassifier(n_neighbors=1)
    >>> mending_support([[-2.0, 1.0, 0.0]], knn, X, y, [[0.4]], [1], counts=[1]).support
    array([1.])
    """
    if y_test is None:
        raise ValueError("y_test is None; give the right label of each row of X_test.")
    flips = _Flips(
        attributions, estimator, X, y, X_test, counts, sample_weight, random_state, y_test
    )
    wrong = np.flatnonzero(flips.predicted != flips.y_test)
    if not len(wrong):
        raise ValueError(
            "no row of X_test is predicted wrongly by the estimator fitted on all rows: there is "
            "nothing to mend."
        )
    support = np.full(flips.m, np.nan)
    support[wrong] = flips.mending(wrong, n_jobs, verbose)
    result = flips.result(support[wrong], confidence, n_resamples, "mended")
    return Bunch(**(result | {"support": support}))


class _Flips:
    """Checked arguments and the model fitted on all rows, whose predictions are to be changed."""

    def __init__(
        self,
        attributions,
        estimator,
        X,
        y,
        X_test,
        counts,
        sample_weight,
        random_state,
        y_test=None,
    ):
        self.T = check_attributions(attributions)
        X, y, X_test, self.y_test, weight = check_refit_data(X, y, X_test, y_test, sample_weight)
        if y_test is not None:
            encode_labels(y, self.y_test, "y and y_test")
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
        jobs = [
            self._job(row, full(self.T[[row]])[0], (self.predicted[row], False), label)
            for row, label in flipping
        ]
        return self._found(jobs, n_jobs, verbose, title)

    def mending(self, wrong, n_jobs, verbose):
        """Smallest count of lowest rows without which each of these is predicted right."""
        jobs = []
        for row in wrong:
            values = full(self.T[[row]])[0]
            # an excluded row stays excluded
            scores = np.where(values == -np.inf, -np.inf, -values)
            jobs.append(self._job(row, scores, (self.y_test[row], True), None))
        return self._found(jobs, n_jobs, verbose, "mending_support")

    def _job(self, row, scores, goal, label):
        X, y, X_test, weight = self.data
        order = shuffled_order(scores, np.random.default_rng(derived(self.seed, 1, row)))
        setting = take(X_test, [row]), goal, order, label, self.counts, self.refit_seed
        return (self.estimator, X, y, weight, *setting)

    @staticmethod
    def _found(jobs, n_jobs, verbose, title):
        support = np.empty(len(jobs))
        for k, found in run(_change, jobs, n_jobs=n_jobs, verbose=verbose, title=title):
            support[k] = found
        return support

    def result(self, support, confidence, n_resamples, name="flipped"):
        """The public form of support."""

        def share(drawn=slice(None)):
            return Bunch(**{name: (support[drawn, None] <= self.counts).mean(axis=0)})

        score = Bunch(support=support, **share(), counts=self.counts)
        return with_interval(score, share, len(support), confidence, n_resamples, self.seed)


def _fit(estimator, X, y, rows, weight, seed):
    return refit(estimator, X, y, rows, sample_weight=weight, seed=seed)


def _change(estimator, X, y, weight, test, goal, order, label, counts, seed):
    """Smallest count of first rows whose removal (or relabelling) brings a prediction about.

    `goal` is a class, and whether it is to be predicted or no longer to be.
    """
    wanted, equal = goal
    for size in counts[counts <= len(order)]:
        rows, labels = None, y
        if label is None:
            rows = np.setdiff1d(np.arange(len(y)), order[:size])
        else:
            labels = y.copy()
            labels[order[:size]] = label
        model = refit(estimator, X, labels, rows, sample_weight=weight, seed=seed)
        if (model.predict(test)[0] == wanted) == equal:
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
