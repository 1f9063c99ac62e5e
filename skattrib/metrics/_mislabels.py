"""Are mislabelled training rows found early."""

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import Bunch

from ._checks import Attributions, check_both, check_mask
from ._intervals import with_interval
from ._ranks import global_levels


def mislabel_detection_score(
    scores_or_attributions: Attributions,
    is_mislabeled: ArrayLike,
    *,
    confidence: float | None = None,
    n_resamples: int = 1000,
    random_state=None,
) -> float | Bunch:
    """How early an inspection in order of suspicion finds the mislabeled training rows.

    Parameters
    ----------
    scores_or_attributions : {array-like, sparse matrix} of shape (n,) or (m, n)
        One score for each training row, larger where it is more suspicious (self-influence, own
        loss); or attributions, which rank the rows by their mean absolute attribution (-inf, an
        excluded row, counts as 0).
    is_mislabeled : array-like of shape (n,)
        True (or 1) for the training rows whose label was flipped, False (or 0) for the others.
    confidence : float, optional
        Level of a percentile bootstrap interval, such as 0.95; flipped and clean rows are drawn
        separately.
    n_resamples : int, default=1000
        Samples that the bootstrap draws.
    random_state : int, RandomState or None, default=None
        Decides what the bootstrap draws.

    Returns
    -------
    score : float, or :class:`~sklearn.utils.Bunch` of score, low and high with a confidence
        Area under the curve of the share of flipped labels found against the share of rows
        inspected, 0 for the worst order and 1 for the best. Chance is 0.5.

    Raises
    ------
    ValueError
        If scores are empty, NaN or infinite, or if `is_mislabeled` has the wrong length, other
        values than booleans, or only one of them.

    Notes
    -----
    Between its worst and best value, the expected area over the orders of tied rows is the ROC
    AUC: the probability that a flipped row outranks a clean one, ties counting one half.
    Mean attributions that differ by no more than the rounding of their sums are ties.

    References
    ----------
    Yolcu et al., "DualView: Data Attribution from the Dual Perspective", 2024, section 5.1.3.

    Examples
    --------
    >>> from skattrib.metrics import mislabel_detection_score
    >>> mislabel_detection_score([0.9, 0.1, 0.4, 0.2], [True, False, False, True])
    0.75
    """
    levels, flipped = _levels_and_flipped(scores_or_attributions, is_mislabeled)
    flipped, clean = levels[flipped], levels[~flipped]

    return with_interval(
        _share_outranked(flipped, clean),
        lambda f, c: _share_outranked(flipped[f], clean[c]),
        (len(flipped), len(clean)),
        confidence,
        n_resamples,
        random_state,
    )


def mislabel_detection_curve(
    scores_or_attributions: Attributions, is_mislabeled: ArrayLike
) -> tuple[np.ndarray, np.ndarray]:
    """Share of the flipped labels found by inspecting the rows in the order of a score.

    Parameters
    ----------
    scores_or_attributions, is_mislabeled
        As `mislabel_detection_score` takes them.

    Returns
    -------
    inspected, found : ndarray of shape (n_levels + 1,)
        Shares of all rows and of the flipped ones, from 0 to 1; equal scores are inspected
        together. The area under the curve, drawn in straight lines, is not min-max normalized.

    Raises
    ------
    ValueError
        For other lengths, values that are not finite, or labels of one kind only.

    Examples
    --------
    >>> from skattrib.metrics import mislabel_detection_curve
    >>> inspected, found = mislabel_detection_curve([0.9, 0.1, 0.4, 0.2], [1, 0, 0, 1])
    >>> found.tolist()
    [0.0, 0.5, 0.5, 1.0, 1.0]
    """
    levels, flipped = _levels_and_flipped(scores_or_attributions, is_mislabeled)
    n_levels = levels.max() + 1
    curves = []
    for of in (levels, levels[flipped]):
        at = np.bincount(of, minlength=n_levels)[::-1]
        curves.append(np.concatenate([[0.0], np.cumsum(at) / len(of)]))
    return curves[0], curves[1]


def _levels_and_flipped(scores_or_attributions, is_mislabeled):
    """Integers in the order of suspicion, and a mask of flipped rows, some but not all."""
    levels, expected = global_levels(scores_or_attributions)
    flipped = check_mask(is_mislabeled, "is_mislabeled", *expected)
    check_both(flipped, "is_mislabeled", "flipped and one clean")
    return levels, flipped


def _share_outranked(flipped, clean):
    """Probability that a flipped row outranks a clean one, ties counting one half."""
    n_levels = max(flipped.max(), clean.max()) + 1
    at = np.bincount(clean, minlength=n_levels)
    below = np.cumsum(at) - at
    n_flipped = np.bincount(flipped, minlength=n_levels)
    return float(n_flipped @ (2 * below + at) / (2 * len(flipped) * len(clean)))
