"""Accuracy after retraining on chosen or mended rows, as a curve over their share."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import Bunch

from .._arrays.checks import check_count, encode_labels, plain_array
from ..retraining.refits import check_classifier, check_refit_data, derived, draw_seed, refit, run
from ._checks import Attributions, check_entries
from ._intervals import with_interval
from ._ranks import global_levels, shuffled_order, top_k_chances

SHARES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def coreset_curve(
    scores_or_attributions: Attributions,
    estimator,
    X,
    y: ArrayLike,
    X_test,
    y_test: ArrayLike,
    *,
    shares: Sequence[float] = SHARES,
    sample_weight: ArrayLike | None = None,
    n_repeats: int = 1,
    confidence: float | None = None,
    n_resamples: int = 1000,
    n_jobs: int | None = None,
    random_state=None,
    verbose: int = 0,
) -> Bunch:
    """Test accuracy after retraining on the most important rows only.

    Parameters
    ----------
    scores_or_attributions : {array-like, sparse matrix} of shape (n,) or (m, n)
        One score for each training row, larger where it is more important; or attributions, which
        rank the rows by their mean absolute attribution (-inf, an excluded row, counts as 0).
    estimator : classifier
        Any of scikit-learn's kind; it is cloned and refitted for each share.
    X : array, sparse matrix, frame or list of n rows
    y : array-like of shape (n,)
    X_test : as X, of any number of rows
    y_test : array-like, one a row of X_test
    shares : sequence of float, default=(0.05, 0.1, 0.2, ..., 0.9)
        Shares of the training rows, increasing in (0, 1], rounded to whole rows and at least one.
    sample_weight : array-like of shape (n,), optional
        Passed on to `fit`.
    n_repeats : int, default=1
        Refits of each share with different seeds and orders of tied rows, which are averaged.
    confidence : float, optional
        Level of percentile bootstrap intervals over the rows of X_test, such as 0.95.
    n_resamples : int, default=1000
        Samples that the bootstrap draws.
    n_jobs : int, optional
        Refits at a time, by joblib; results do not depend on it.
    random_state : int, RandomState or None, default=None
        The order of tied rows, the seeds of the refits (the same for each share) and of the
        bootstrap.
    verbose : int, default=0
        Positive: print progress.

    Returns
    -------
    result : :class:`~sklearn.utils.Bunch`
        Dictionary-like object, with fields:

        shares : ndarray of shape (s,)
            As given.
        n_rows : ndarray of shape (s,)
            Rows kept.
        accuracy : ndarray of shape (s,)
            Share of X_test that is predicted right. Chance is what random scores reach.
        low, high : :class:`~sklearn.utils.Bunch`
            Ends of the intervals of `accuracy`; with a confidence only.

    Raises
    ------
    ValueError
        If scores are empty, NaN or infinite, if lengths disagree, if the estimator is no
        classifier, or if shares do not increase within (0, 1].

    References
    ----------
    Yolcu et al., "DualXDA", 2025, its coreset selection.

    Examples
    --------
    >>> from sklearn.neighbors import KNeighborsClassifier
    >>> from skattrib.metrics import coreset_curve
    >>> X, y, scores = [[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1], [2.0, 1.0, 1.5, 0.0]
    >>> knn = KNeighborsClassifier(n_neighbors=1)
    >>> coreset_curve(scores, knn, X, y, X, y, shares=[0.25, 0.5]).accuracy
    array([0.5, 1. ])
    """
    curve = _Curve(
        scores_or_attributions, estimator, X, y, X_test, y_test, shares, sample_weight, n_repeats
    )
    curve.sizes = np.maximum(curve.sizes, 1)
    return curve.result(
        lambda order, size: (np.sort(order[:size]), curve.y),
        *(confidence, n_resamples, n_jobs, random_state, verbose, "coreset_curve"),
    )


def pruning_curve(
    scores_or_attributions: Attributions,
    estimator,
    X,
    y: ArrayLike,
    X_test,
    y_test: ArrayLike,
    *,
    shares: Sequence[float] = SHARES,
    sample_weight: ArrayLike | None = None,
    n_repeats: int = 1,
    confidence: float | None = None,
    n_resamples: int = 1000,
    n_jobs: int | None = None,
    random_state=None,
    verbose: int = 0,
) -> Bunch:
    """Test accuracy after retraining without the most important rows.

    Parameters
    ----------
    scores_or_attributions, estimator, X, y, X_test, y_test, sample_weight, n_repeats
        As in :func:`coreset_curve`.
    shares : sequence of float, default=(0.05, 0.1, 0.2, ..., 0.9)
        Shares of the training rows that are dropped, increasing in [0, 1).
    confidence, n_resamples, n_jobs, random_state, verbose
        As in :func:`coreset_curve`.

    Returns
    -------
    result : :class:`~sklearn.utils.Bunch`
        As of :func:`coreset_curve`; `n_rows` are dropped. The faster accuracy falls, the better
        the scores name what matters; for scores of suspicion it should rise. Chance is what
        random scores reach.

    Raises
    ------
    ValueError
        As :func:`coreset_curve`.

    References
    ----------
    Yolcu et al., "DualXDA", 2025, its data pruning.

    Examples
    --------
    >>> from sklearn.neighbors import KNeighborsClassifier
    >>> from skattrib.metrics import pruning_curve
    >>> X, y, scores = [[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1], [2.0, 1.0, 1.5, 0.0]
    >>> knn = KNeighborsClassifier(n_neighbors=1)
    >>> pruning_curve(scores, knn, X, y, X, y, shares=[0.25, 0.75]).accuracy
    array([1. , 0.5])
    """
    curve = _Curve(
        scores_or_attributions, estimator, X, y, X_test, y_test, shares, sample_weight, n_repeats
    )
    if curve.sizes[-1] >= len(curve.y):
        raise ValueError(f"shares go up to {curve.shares[-1]}; leave at least one row to fit on.")
    return curve.result(
        lambda order, size: (np.sort(order[size:]), curve.y),
        *(confidence, n_resamples, n_jobs, random_state, verbose, "pruning_curve"),
    )


def debugging_curve(
    scores_or_attributions: Attributions,
    estimator,
    X,
    y: ArrayLike,
    y_clean: ArrayLike,
    X_test,
    y_test: ArrayLike,
    *,
    shares: Sequence[float] = SHARES,
    sample_weight: ArrayLike | None = None,
    n_repeats: int = 1,
    confidence: float | None = None,
    n_resamples: int = 1000,
    n_jobs: int | None = None,
    random_state=None,
    verbose: int = 0,
) -> Bunch:
    """Test accuracy after mending labels in order of suspicion, and retraining.

    Parameters
    ----------
    scores_or_attributions : {array-like, sparse matrix} of shape (n,) or (m, n)
        One score for each training row, larger where it is more suspicious; or attributions, as
        in :func:`coreset_curve`.
    estimator, X
        As in :func:`coreset_curve`.
    y : array-like of shape (n,)
        Labels with mistakes (:func:`~skattrib.planting.flip_labels`).
    y_clean : array-like of shape (n,)
        Right labels, which inspected rows are given.
    X_test, y_test, sample_weight, n_repeats
        As in :func:`coreset_curve`.
    shares : sequence of float, default=(0.05, 0.1, 0.2, ..., 0.9)
        Shares of the training rows that are inspected, increasing in [0, 1].
    confidence, n_resamples, n_jobs, random_state, verbose
        As in :func:`coreset_curve`.

    Returns
    -------
    result : :class:`~sklearn.utils.Bunch`
        As of :func:`coreset_curve`; `n_rows` are inspected; and

        found : ndarray of shape (s,)
            Share of the mistakes among the inspected rows, expected over the orders of tied rows.
            Chance is the share inspected.

    Raises
    ------
    ValueError
        As :func:`coreset_curve`, and if no label differs from the clean one.

    References
    ----------
    Yeh et al., "Representer Point Selection for Explaining Deep Neural Networks", NeurIPS 2018,
    section 4.1.

    Examples
    --------
    >>> from sklearn.neighbors import KNeighborsClassifier
    >>> from skattrib.metrics import debugging_curve
    >>> X, y, y_clean, scores = [[0.0], [1.0], [2.0]], [0, 1, 1], [0, 0, 1], [0.1, 0.9, 0.2]
    >>> knn = KNeighborsClassifier(n_neighbors=1)
    >>> debugging_curve(scores, knn, X, y, y_clean, X, y_clean, shares=[0.0, 0.34]).found
    array([0., 1.])
    """
    curve = _Curve(
        scores_or_attributions, estimator, X, y, X_test, y_test, shares, sample_weight, n_repeats
    )
    clean = check_entries(y_clean, "y_clean", len(curve.y), f"X has {len(curve.y)} rows")
    wrong = curve.y != clean
    if not np.any(wrong):
        raise ValueError("y and y_clean are equal; there is nothing to find.")

    def mend(order, size):
        inspected = np.isin(np.arange(len(order)), order[:size])
        return None, np.where(inspected, clean, curve.y)

    result = curve.result(
        mend, *(confidence, n_resamples, n_jobs, random_state, verbose, "debugging_curve")
    )
    levels = curve.levels[None]
    found = [top_k_chances(levels, size)[0, wrong].mean() if size else 0.0 for size in curve.sizes]
    return Bunch(**result, found=np.array(found))


class _Curve:
    """Checked arguments of a curve, and its refits."""

    def __init__(
        self,
        scores_or_attributions,
        estimator,
        X,
        y,
        X_test,
        y_test,
        shares,
        sample_weight,
        n_repeats,
    ):
        self.levels, (length, because) = global_levels(scores_or_attributions)
        self.X, self.y, self.X_test, self.y_test, self.weight = check_refit_data(
            X, y, X_test, y_test, sample_weight
        )
        check_entries(self.y, "y", length, because)
        encode_labels(self.y, self.y_test, "y and y_test")
        self.estimator = check_classifier(estimator)
        self.shares = plain_array(shares, "shares", np.float64)
        increasing = self.shares.ndim == 1 and len(self.shares) and np.all(np.diff(self.shares) > 0)
        if not increasing or not 0 <= self.shares[0] <= self.shares[-1] <= 1:
            raise ValueError("shares must increase within 0..1, the share of the training rows.")
        self.sizes = np.rint(self.shares * length).astype(np.intp)
        self.n_repeats = check_count(n_repeats, "n_repeats", most=10_000)

    def result(self, select, confidence, n_resamples, n_jobs, random_state, verbose, title):
        """The public form of the curve; select(order, size) gives rows and labels to fit on."""
        seed = draw_seed(random_state)
        data = self.estimator, self.X, self.X_test, self.y_test, self.weight
        jobs = []
        for repeat in range(self.n_repeats):
            rng = np.random.default_rng(derived(seed, 1, repeat))
            order = shuffled_order(self.levels, rng)
            for size in self.sizes:
                jobs.append((*data, *select(order, size), derived(seed, 0, repeat)))
        correct = np.zeros((len(self.sizes), len(self.y_test)))
        for k, hits in run(_hits, jobs, n_jobs=n_jobs, verbose=verbose, title=title):
            correct[k % len(self.sizes)] += hits
        correct /= self.n_repeats

        def accuracy(drawn=slice(None)):
            return Bunch(accuracy=correct[:, drawn].mean(axis=1))

        score = Bunch(shares=self.shares, n_rows=self.sizes, **accuracy())
        return with_interval(score, accuracy, len(self.y_test), confidence, n_resamples, seed)


def _hits(estimator, X, X_test, y_test, weight, rows, labels, seed):
    model = refit(estimator, X, labels, rows, sample_weight=weight, seed=seed)
    return model.predict(X_test) == y_test
