"""Orders of training rows, ties included."""

import numpy as np
from scipy import sparse

from .._arrays.checks import plain_array
from ._checks import check_attributions, check_finite, n_columns, row_blocks


def global_levels(scores_or_attributions, name="scores_or_attributions"):
    """Integers in the order of one score per training row; and (n, words) for checks of length."""
    if not sparse.issparse(scores_or_attributions):
        scores_or_attributions = plain_array(scores_or_attributions, name)
    if scores_or_attributions.ndim == 1:
        scores = check_finite(scores_or_attributions, name)
        levels = np.unique(scores, return_inverse=True)[1]
        return levels, (len(scores), f"{name} has {len(scores)} entries (one per training row)")
    T = check_attributions(scores_or_attributions, name, excluded="zero")
    return _mean_magnitude_levels(T), n_columns(T, name)


def _mean_magnitude_levels(T):
    m, n = T.shape
    if sparse.issparse(T):
        weights = np.abs(T.data, dtype=np.float64)
        weights /= m  # before the sum, which cannot overflow then
        means = np.bincount(T.indices, weights=weights, minlength=n)
    else:
        means = np.zeros(n)
        for _, values in row_blocks(T):
            means += (np.abs(values, dtype=np.float64) / m).sum(axis=0)
    return levels_of_sums(means[None], (m + 2) * np.finfo(np.float64).eps)[0]


def levels_of_sums(sums, rtol, scale=None):
    """Integers in the order of each row of sums; neighbours closer than rounding are equal.

    Without a tolerance, ties would come and go with the scale of what is summed and its order.
    """
    order = np.argsort(sums, axis=1)
    ordered = np.take_along_axis(sums, order, axis=1)
    tolerance = rtol * (ordered if scale is None else scale[:, None])
    is_step = np.diff(ordered, axis=1, prepend=ordered[:, :1]) > tolerance
    levels = np.empty(sums.shape, dtype=np.intp)
    np.put_along_axis(levels, order, np.cumsum(is_step, axis=1), axis=1)
    return levels


def evened(values):
    """Rows of values; those of them that vary by no more than rounding are made constant.

    But for entries of -inf, which stay excluded.
    """
    ranked = values > -np.inf
    low = values.min(axis=1, initial=np.inf, where=ranked)
    high = values.max(axis=1)
    with np.errstate(invalid="ignore"):  # of rows without candidates
        even = high / 2 - low / 2 <= np.finfo(values.dtype).eps * np.maximum(abs(high), abs(low))
    even &= high > low
    if not even.any():
        return values
    return np.where(even[:, None] & ranked, high[:, None], values)


def shuffled_order(scores, rng):
    """Training rows from the highest score down, ties in random order, without rows at -inf."""
    shuffled = rng.permutation(len(scores))
    order = shuffled[np.argsort(-scores[shuffled], kind="stable")]
    return order[scores[order] > -np.inf]


def expected_precision(scores, relevant):
    """Average precision of one order, the mean over all orders of tied rows (McSherry and Najork).

    What scores -inf is never found.
    """
    order = np.argsort(-scores, kind="stable")
    scores, relevant = scores[order], relevant[order]
    n = len(scores)
    new = np.append(True, scores[1:] != scores[:-1])
    group, first = np.cumsum(new) - 1, np.flatnonzero(new)
    size = np.diff(np.append(first, n))
    hits = np.add.reduceat(relevant.astype(np.float64), first)
    before = np.cumsum(hits) - hits
    # of a place taken by a relevant row: those before its group, among its ties, and itself
    place = np.arange(n) - first[group]
    others = place * ((hits - 1) / np.maximum(size - 1, 1))[group]
    precision = (before[group] + others + 1) / np.arange(1, n + 1)
    chance = (hits / size)[group] * (scores > -np.inf)
    return float(chance @ precision / hits.sum())


def top_k_chances(values, k):
    """For each row of values, the probability of each column to be among the k largest.

    Certain above the k-th largest value; the columns tied with it share the places that are left.
    """
    n = values.shape[1]
    kth = np.partition(values, n - k, axis=1)[:, n - k, None]
    above, tied = values > kth, values == kth
    share = (k - above.sum(axis=1, keepdims=True)) / tied.sum(axis=1, keepdims=True)
    return above + tied * share
