"""Agreement: attributions with real retraining, with their outputs; surrogates with models."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from scipy.stats import rankdata
from sklearn.utils import Bunch, gen_batches

from .._arrays import full
from .._arrays.checks import check_groups, plain_array
from ._checks import (
    Attributions,
    as_booleans,
    check_attributions,
    check_finite,
    n_columns,
)
from ._correlations import line, rounding, row_correlations
from ._intervals import mean_with_interval
from ._ranks import levels_of_sums


def linear_datamodeling_score(
    attributions: Attributions,
    subset_masks: ArrayLike,
    subset_outputs: ArrayLike,
    *,
    confidence: float | None = None,
    n_resamples: int = 1000,
    random_state=None,
) -> float | Bunch:
    """How well sums of attributions rank the outputs of models retrained on random subsets.

    Parameters
    ----------
    attributions : {array-like, sparse matrix} of shape (m, n)
        What each of n training rows contributes to the explained output of each of m test rows;
        -inf, an excluded row, counts as 0.
    subset_masks : array-like of shape (s, n)
        True (or 1) where the training row is in the subset.
    subset_outputs : array-like of shape (s, m)
        The explained output of each test row by the model trained on each subset, as
        :func:`~skattrib.retraining.subset_outputs` measures it.
    confidence : float, optional
        Level of a percentile bootstrap interval over the test rows, such as 0.95.
    n_resamples : int, default=1000
        Samples that the bootstrap draws.
    random_state : int, RandomState or None, default=None
        Decides what the bootstrap draws.

    Returns
    -------
    score : float, or :class:`~sklearn.utils.Bunch` of score, low and high with a confidence
        Spearman correlation over the subsets of the sum of ``attributions[j, i]`` over their
        rows i with the output of test row j, averaged over j. Between -1 and 1; chance is 0. The
        best attributions stay below 1 where outputs are not linear in the subset or vary between
        trainings.

    Raises
    ------
    ValueError
        If attributions are empty, not 2-D, NaN or +inf, if shapes disagree, if masks are not
        boolean, or for fewer than 3 subsets.

    Notes
    -----
    Ties have average ranks, and sums that differ by no more than their rounding are ties. A test
    row whose sums or outputs are equal on all subsets counts as 0, its expected correlation if
    ties are broken at random.

    References
    ----------
    Park et al., "TRAK: Attributing Model Behavior at Scale", ICML 2023, definition 2.3.

    Examples
    --------
    >>> from skattrib.metrics import linear_datamodeling_score
    >>> masks = [[True, True, False], [True, False, True], [False, True, True]]
    >>> linear_datamodeling_score([[1.0, 2.0, 3.0]], masks, [[0.1], [0.2], [0.3]])
    1.0
    """
    T = check_attributions(attributions, excluded="zero")
    m, n = T.shape
    masks = plain_array(subset_masks, "subset_masks")
    if masks.ndim != 2 or masks.shape[1] != n:
        raise ValueError(
            f"subset_masks has shape {masks.shape} but {n_columns(T)[1]}; expected (subsets, {n})."
        )
    masks = as_booleans(masks, "subset_masks")
    outputs = full(check_finite(subset_outputs, "subset_outputs"))
    if outputs.shape != (len(masks), m):
        raise ValueError(
            f"subset_outputs has shape {outputs.shape}; expected ({len(masks)}, {m}): one output "
            "for each subset and each test row (of many classes, that of the explained one)."
        )
    if len(masks) < 3:
        raise ValueError(f"a rank correlation needs 3 or more subsets; got {len(masks)}.")
    correlations = np.empty(m)
    for rows in gen_batches(m, max(1, 2**22 // max(n, len(masks)))):
        sums, magnitudes = _subset_sums(T[rows], masks)
        levels = levels_of_sums(sums, (n + 2) * np.finfo(np.float64).eps, magnitudes)
        ranks = rankdata(outputs[:, rows], axis=0).T
        correlations[rows] = row_correlations(rankdata(levels, axis=1), ranks)
    return mean_with_interval(correlations, confidence, n_resamples, random_state)


def _subset_sums(T, masks):
    """Sums over subsets (test rows, subsets) and over magnitudes, of rows scaled to peak 1."""
    T = T.astype(np.float64)
    peak = abs(T).max(axis=1)
    peak = peak.toarray().ravel() if sparse.issparse(T) else peak
    peak[peak == 0] = 1
    if sparse.issparse(T):
        T.data /= np.repeat(peak, np.diff(T.indptr))
    else:
        T /= peak[:, None]
    sums = np.empty((T.shape[0], len(masks)))
    for subsets in gen_batches(len(masks), max(1, 2**22 // masks.shape[1])):
        sums[:, subsets] = T @ masks[subsets].T.astype(np.float64)
    return sums, np.asarray(abs(T).sum(axis=1)).ravel()


def leave_one_out_agreement(
    attributions: Attributions,
    effects: ArrayLike,
    *,
    rows: Sequence | None = None,
    confidence: float | None = None,
    n_resamples: int = 1000,
    random_state=None,
) -> Bunch:
    """How far attributions agree with what real leave-one-out retraining measures.

    Parameters
    ----------
    attributions : {array-like, sparse matrix} of shape (m, n)
        What each of n training rows contributes to the explained output of each of m test rows;
        -inf, an excluded row, counts as 0.
    effects : array-like of shape (m, r)
        Output of each test row with the training row minus output without it, as
        :func:`~skattrib.retraining.leave_one_out_outputs` measures it.
    rows : sequence of length r, optional
        The training row (or the group of rows, whose attributions are summed) that was left out
        for each column of `effects`. By default all of them, r = n. A group holds each of its
        rows once; the same one may have several columns.
    confidence : float, optional
        Level of a percentile bootstrap interval over the test rows, such as 0.95.
    n_resamples : int, default=1000
        Samples that the bootstrap draws.
    random_state : int, RandomState or None, default=None
        Decides what the bootstrap draws.

    Returns
    -------
    result : :class:`~sklearn.utils.Bunch`
        Dictionary-like object, with fields:

        correlation : float
            Pearson's, over all pairs of a test row and a removal; chance is 0.
        slope : float
            Of the least-squares line of attributions on effects: 1 for the right scale, above 1
            where attributions are too large, 0 by chance; infinite beyond float64.
        low, high : :class:`~sklearn.utils.Bunch`
            Ends of the intervals of both; with a confidence only.

    Raises
    ------
    ValueError
        If attributions are empty, not 2-D, NaN or +inf, if shapes disagree, if `rows` are not
        training rows, or if all effects are equal.

    Notes
    -----
    Correlation does not depend on the scale of the attributions, slope does. Attributions that
    are all equal, but for rounding, have correlation 0 and slope 0.

    References
    ----------
    Koh and Liang, "Understanding Black-box Predictions via Influence Functions", ICML 2017,
    figure 2.

    Examples
    --------
    >>> from skattrib.metrics import leave_one_out_agreement
    >>> leave_one_out_agreement([[2.0, -2.0, 0.0]], [[1.0, -1.0, 0.0]])
    {'correlation': 1.0, 'slope': 2.0}
    """
    T = check_attributions(attributions, excluded="zero")
    noise, exponent = rounding(T), 0
    if rows is not None:
        columns, dtype = _group_columns(rows, T.shape[1]), T.dtype
        terms = np.diff(columns.indptr).max(initial=0)
        # sums of values below 1 do not overflow
        exponent = int(np.frexp(float(abs(T).max()))[1])
        T = T.astype(np.float64)
        values = T.data if sparse.issparse(T) else T
        np.ldexp(values, -exponent, out=values)
        noise = rounding(abs(T) @ columns, dtype, terms)
        T = T @ columns
    T, effects = full(T), full(check_finite(effects, "effects"))
    if effects.shape != T.shape:
        raise ValueError(
            f"effects has shape {effects.shape}; expected {T.shape}: one effect for each test row "
            "and each row (or group) that was left out. Name those in `rows` if not all were."
        )
    if effects.min() == effects.max():
        raise ValueError(
            "effects are all equal: leaving rows out changed nothing that could be predicted. "
            "Was the estimator refitted?"
        )
    noises = rounding(effects), noise
    return line(effects, T, noises, confidence, n_resamples, random_state, exponent)


def _group_columns(rows, n):
    """Indicators (n, groups) that sum the columns of each group."""
    groups = check_groups(rows, n)
    index = np.concatenate(groups)
    indptr = np.cumsum([0, *map(len, groups)])
    return sparse.csc_array((np.ones(len(index)), index, indptr), shape=(n, len(groups)))
