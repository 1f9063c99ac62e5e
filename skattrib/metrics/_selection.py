"""What attributions select: how few training rows, and the same ones as others or not."""

from collections.abc import Sequence
from itertools import combinations
from numbers import Real

import numpy as np
from scipy.stats import rankdata
from sklearn.utils import Bunch

from ._checks import Attributions, check_attributions, check_k, dense_blocks, row_blocks
from ._correlations import row_correlations
from ._intervals import mean_with_interval, with_interval
from ._ranks import evened, top_k_chances


def sparsity(
    attributions: Attributions,
    mass: float = 0.9,
    *,
    confidence: float | None = None,
    n_resamples: int = 1000,
    random_state=None,
) -> Bunch:
    """How few training rows explain each test row.

    Parameters
    ----------
    attributions : {array-like, sparse matrix} of shape (m, n)
        What each of n training rows contributes to the explained output of each of m test rows;
        -inf, an excluded row, counts as 0.
    mass : float, default=0.9
        Share of the absolute attribution to be held, in (0, 1].
    confidence : float, optional
        Level of percentile bootstrap intervals over the test rows, such as 0.95.
    n_resamples : int, default=1000
        Samples that the bootstrap draws.
    random_state : int, RandomState or None, default=None
        Decides what the bootstrap draws.

    Returns
    -------
    result : :class:`~sklearn.utils.Bunch`
        Dictionary-like object, with fields:

        nonzero_share : ndarray of shape (m,)
            Share of the training rows whose attribution is not 0, between 0 and 1. Zeros that a
            sparse matrix stores are zeros.
        rows_for_mass : ndarray of shape (m,)
            Smallest number of training rows that hold `mass` of the test row's sum of absolute
            attributions, between 1 and n; 0 for an all-zero row.
        low, high : :class:`~sklearn.utils.Bunch`
            Ends of the intervals of the means of both; with a confidence only.

        Both are smaller for sparser attributions and do not depend on their scale. There is no
        chance level but 1 and about `mass` times n, those of attributions that are all alike.

    Raises
    ------
    ValueError
        If attributions are empty, not 2-D, NaN or +inf, or if `mass` is not in (0, 1].

    References
    ----------
    Yolcu et al., "DualXDA", 2025, its comparison of how sparse explanations are.

    Examples
    --------
    >>> from skattrib.metrics import sparsity
    >>> result = sparsity([[8.0, -1.0, 1.0, 0.0]], mass=0.9)
    >>> result.nonzero_share, result.rows_for_mass
    (array([0.75]), array([2]))
    """
    T = check_attributions(attributions, excluded="zero")
    if not isinstance(mass, Real) or not 0 < mass <= 1:
        raise ValueError(f"mass is {mass!r}; expected a share of the whole in (0, 1].")
    m, n = T.shape
    result = Bunch(nonzero_share=np.zeros(m), rows_for_mass=np.zeros(m, dtype=np.intp))
    for rows, values in row_blocks(T):
        result.nonzero_share[rows] = np.count_nonzero(values, axis=1) / n
        result.rows_for_mass[rows] = _rows_for_mass(values, mass)

    def means(drawn):
        return Bunch(**{name: values[drawn].mean() for name, values in result.items()})

    return with_interval(result, means, m, confidence, n_resamples, random_state)


def _rows_for_mass(values, mass):
    """Count, in each row of values, the fewest that hold a share of the absolute sum."""
    magnitudes = np.abs(values, dtype=np.float64)
    peak = magnitudes.max(axis=1, keepdims=True, initial=0.0)
    magnitudes /= np.where(peak > 0, peak, 1.0)  # so that sums do not overflow
    magnitudes.sort(axis=1)
    # From the smallest up, so that mass=1 leaves out nothing but zeros, however small the rest.
    cumulated = np.cumsum(magnitudes, axis=1)
    # The slack lets nine of ten equal rows hold 0.9, despite rounding.
    left_out = cumulated <= (1 - mass) * (1 + 1e-9) * cumulated[:, -1:]
    return np.maximum(values.shape[1] - left_out.sum(axis=1), peak[:, 0] > 0)


def top_k_overlap(
    attributions: Attributions,
    other_attributions: Attributions,
    k: int = 10,
    *,
    confidence: float | None = None,
    n_resamples: int = 1000,
    random_state=None,
) -> float | Bunch:
    """Share of the k strongest proponents that two methods have in common.

    Parameters
    ----------
    attributions, other_attributions : {array-like, sparse matrix} of shape (m, n)
        What each of n training rows contributes to the explained output of each of m test rows,
        by one method and by another; -inf where the training row is excluded, which is never
        among the strongest.
    k : int, default=10
        Training rows that each test row selects.
    confidence : float, optional
        Level of a percentile bootstrap interval over the test rows, such as 0.95.
    n_resamples : int, default=1000
        Samples that the bootstrap draws.
    random_state : int, RandomState or None, default=None
        Decides what the bootstrap draws.

    Returns
    -------
    score : float, or :class:`~sklearn.utils.Bunch` of score, low and high with a confidence
        Mean over the test rows, between 0 and 1. Chance is k / n.

    Raises
    ------
    ValueError
        If attributions are empty, not 2-D, NaN or +inf, if their shapes differ, or if a test row
        has fewer than k training rows that are not excluded.

    Notes
    -----
    Ties for the last places count as the overlap expected when both methods break theirs at
    random, independently: two all-zero rows overlap by k / n, and so do rows that are constant but
    for rounding.

    Examples
    --------
    >>> from skattrib.metrics import top_k_overlap
    >>> top_k_overlap([[3.0, 2.0, 1.0, 0.0]], [[3.0, -1.0, 2.0, 0.0]], k=2)
    0.5
    """
    A = check_attributions(attributions)
    B = check_attributions(other_attributions, "other_attributions")
    _check_same_shape(A, B, "other_attributions")
    overlaps = _overlaps(A, B, check_k(k, A.shape[1]))
    return mean_with_interval(overlaps, confidence, n_resamples, random_state)


def top_k_cardinality(attributions: Attributions, k: int = 10) -> Bunch:
    """How many different training rows stand among the k strongest proponents of all test rows.

    Parameters
    ----------
    attributions : {array-like, sparse matrix} of shape (m, n)
        What each of n training rows contributes to the explained output of each of m test rows;
        -inf where the training row is excluded, which is never among the strongest.
    k : int, default=10
        Training rows that each test row selects.

    Returns
    -------
    result : :class:`~sklearn.utils.Bunch`
        Dictionary-like object, with fields:

        cardinality : float
            Between k and the smaller of n and m k; larger where each test row has reasons of its
            own. Rows selected at random are ``n (1 - (1 - k / n)**m)`` different ones, on average.
        share : float
            Of the m k places: 1 where no training row is selected twice.

    Raises
    ------
    ValueError
        If attributions are empty, not 2-D, NaN or +inf, or if a test row has fewer than k training
        rows that are not excluded.

    Notes
    -----
    Ties for the last places count as what is expected when they are broken at random,
    independently for each test row. There is no interval: a bootstrap sample repeats test rows,
    and so has fewer training rows at the top than as many test rows would have.

    References
    ----------
    Barshan, Brunet and Dziugaite, "RelatIF: Identifying explanatory training samples via relative
    influence", AISTATS 2020, on the few training rows that explain everything. The share is the
    metric of Bareeva et al., "Quanda", 2024.

    Examples
    --------
    >>> from skattrib.metrics import top_k_cardinality
    >>> top_k_cardinality([[3.0, 2.0, 1.0], [2.0, 3.0, 1.0], [3.0, 1.0, 2.0]], k=1)
    {'cardinality': 2.0, 'share': 0.6666666666666666}
    """
    T = check_attributions(attributions)
    m, n = T.shape
    k = check_k(k, n)
    missed = np.ones(n)
    for _, values in dense_blocks(T):
        _check_candidates(values, k)
        missed *= np.prod(1 - top_k_chances(evened(values), k), axis=0)
    cardinality = float((1 - missed).sum())
    return Bunch(cardinality=cardinality, share=cardinality / (m * k))


def stability(
    attributions: Sequence[Attributions],
    k: int = 10,
    *,
    confidence: float | None = None,
    n_resamples: int = 1000,
    random_state=None,
) -> Bunch:
    """How much attributions of the same rows agree between seeds (or other repetitions).

    Parameters
    ----------
    attributions : sequence of {array-like, sparse matrix} of shape (m, n)
        Two or more, each what n training rows contribute to the explained outputs of the same m
        test rows with another seed; -inf where the training row is excluded, which is not ranked.
    k : int, default=10
        Training rows that each test row selects for the overlap.
    confidence : float, optional
        Level of percentile bootstrap intervals over the test rows, such as 0.95.
    n_resamples : int, default=1000
        Samples that the bootstrap draws.
    random_state : int, RandomState or None, default=None
        Decides what the bootstrap draws.

    Returns
    -------
    result : :class:`~sklearn.utils.Bunch`
        Dictionary-like object, with fields:

        rank_correlation : float
            Spearman correlation of the attributions of a test row between two seeds, with
            average ranks for ties, over the training rows that both rank; averaged over test
            rows and pairs of seeds. Chance is 0, which is what a row counts as that is constant,
            but for rounding.
        top_k_overlap : float
            :func:`top_k_overlap` averaged over pairs of seeds; chance is k / n.
        low, high : :class:`~sklearn.utils.Bunch`
            Ends of the intervals of both; with a confidence only.

    Raises
    ------
    ValueError
        For fewer than two attributions, and as :func:`top_k_overlap`.

    Examples
    --------
    >>> from skattrib.metrics import stability
    >>> stability([[[3.0, 2.0, 1.0]], [[3.0, 2.0, 1.0]]], k=1)
    {'rank_correlation': 1.0, 'top_k_overlap': 1.0}
    """
    if not isinstance(attributions, (Sequence, np.ndarray)) or isinstance(attributions, str):
        raise TypeError(
            "attributions must be a sequence of matrices, one a seed; got a "
            f"{type(attributions).__name__}."
        )
    names = [f"attributions[{seed}]" for seed in range(len(attributions))]
    checked = [check_attributions(*pair) for pair in zip(attributions, names, strict=True)]
    if len(checked) < 2:
        raise ValueError(f"stability compares 2 or more attributions; got {len(checked)}.")
    for T, name in zip(checked, names, strict=True):
        _check_same_shape(checked[0], T, name, names[0])
    m, n = checked[0].shape
    k = check_k(k, n)
    pairs = list(combinations(checked, 2))
    by_row = {
        "rank_correlation": sum(_rank_correlations(*pair) for pair in pairs) / len(pairs),
        "top_k_overlap": sum(_overlaps(*pair, k) for pair in pairs) / len(pairs),
    }

    def means(drawn=slice(None)):
        return Bunch(**{name: float(values[drawn].mean()) for name, values in by_row.items()})

    return with_interval(means(), means, m, confidence, n_resamples, random_state)


def _check_same_shape(A, B, name, first="attributions"):
    if A.shape != B.shape:
        raise ValueError(
            f"{name} has shape {B.shape} but {first} has {A.shape}; "
            "both must explain the same test rows by the same training rows."
        )


def _blocks_of_both(A, B):
    for (rows, a), (_, b) in zip(dense_blocks(A), dense_blocks(B), strict=True):
        yield rows, evened(a), evened(b)


def _overlaps(A, B, k):
    overlaps = np.empty(A.shape[0])
    for rows, a, b in _blocks_of_both(A, B):
        _check_candidates(a, k)
        _check_candidates(b, k)
        overlaps[rows] = (top_k_chances(a, k) * top_k_chances(b, k)).sum(axis=1) / k
    return overlaps


def _check_candidates(values, k):
    if np.sum(values > -np.inf, axis=1).min() < k:
        raise ValueError(
            f"some test row excludes (-inf) all but fewer than k={k} training rows; "
            "choose a smaller k."
        )


def _rank_correlations(A, B):
    correlations = np.empty(A.shape[0])
    for rows, a, b in _blocks_of_both(A, B):
        ranked = (a > -np.inf) & (b > -np.inf)
        if ranked.all():
            correlations[rows] = row_correlations(rankdata(a, axis=1), rankdata(b, axis=1))
            continue
        for j, both in zip(range(rows.start, rows.stop), ranked, strict=True):
            one, other = (rankdata(x[j - rows.start, both])[None] for x in (a, b))
            correlations[j] = row_correlations(one, other)[0] if both.any() else 0.0
    return correlations
