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
    check_entries,
    check_finite,
    n_columns,
    n_rows,
)
from ._intervals import mean_with_interval, with_interval
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


def row_correlations(a, b):
    """Pearson correlation of each row of a with that of b; 0 where either is constant."""
    a = a - a.mean(axis=1, keepdims=True)
    b = b - b.mean(axis=1, keepdims=True)
    norms = np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
    return np.divide((a * b).sum(axis=1), norms, out=np.zeros(len(a)), where=norms > 0)


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
            where attributions are too large, 0 by chance.
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
    noise = _rounding(T)
    if rows is not None:
        columns = _group_columns(rows, T.shape[1])
        terms = np.diff(columns.indptr).max(initial=0)
        noise = _rounding(abs(T).astype(np.float64) @ columns, T.dtype, terms)
        T = T.astype(np.float64) @ columns
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
    noises = _rounding(effects), noise
    return _line(effects, T, noises, confidence, n_resamples, random_state)


def _rounding(values, dtype=None, terms=0):
    """By how much values, or sums of terms below them, may differ though they are equal."""
    eps = 2 * np.finfo(dtype or values.dtype).eps + terms * np.finfo(np.float64).eps
    return eps * abs(values).max()


def _group_columns(rows, n):
    """Indicators (n, groups) that sum the columns of each group."""
    groups = check_groups(rows, n)
    index = np.concatenate(groups)
    indptr = np.cumsum([0, *map(len, groups)])
    return sparse.csc_array((np.ones(len(index)), index, indptr), shape=(n, len(groups)))


def _line(x, y, noises, confidence, n_resamples, random_state):
    """Correlation of y with x and slope of y on x, over all entries; rows are resampled.

    Either is constant if it varies by no more than its noise.
    """
    units = []
    for values, noise in zip((x, y), noises, strict=True):
        values = values.astype(np.float64) if np.ptp(values) > noise else np.zeros(values.shape)
        unit = np.abs(values).max() or 1.0  # so that squares neither overflow nor vanish
        values /= unit
        units.append((values - values.mean(), unit))
    (x, x_unit), (y, y_unit) = units
    moments = np.stack([a.sum(axis=1) for a in (x, y, x * x, y * y, x * y)])

    def fit(drawn=slice(None)):
        mean_x, mean_y, xx, yy, xy = moments[:, drawn].mean(axis=1) / x.shape[1]
        var_x, var_y, cov = xx - mean_x**2, yy - mean_y**2, xy - mean_x * mean_y
        noise = x.size * np.finfo(np.float64).eps
        if var_x <= noise * xx or var_y <= noise * yy:
            return Bunch(correlation=0.0, slope=0.0)
        correlation = np.clip(cov / np.sqrt(var_x) / np.sqrt(var_y), -1, 1)
        return Bunch(correlation=float(correlation), slope=float(cov / var_x * (y_unit / x_unit)))

    return with_interval(fit(), fit, len(x), confidence, n_resamples, random_state)


def faithfulness(
    surrogate_outputs: ArrayLike,
    model_outputs: ArrayLike,
    *,
    confidence: float | None = None,
    n_resamples: int = 1000,
    random_state=None,
) -> Bunch:
    """How closely an explainer's head reproduces the model that it stands for.

    Parameters
    ----------
    surrogate_outputs : array-like of shape (m, n_classes) or (m,)
        Logits of the explainer's head for m test rows, as its `decision_function` gives them; for
        two classes one value, positive for the second class.
    model_outputs : array-like of the same shape
        Logits of the model.
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

        agreement : float
            Share of test rows for which both predict the same class; where logits tie, the
            probability of it with ties broken at random. Chance is the sum over classes of
            p_surrogate * p_model.
        correlation : float
            Pearson's r over all logits of all test rows; chance is 0, and it is 0 where either
            side is constant.
        low, high : :class:`~sklearn.utils.Bunch`
            Ends of the intervals of both; with a confidence only.

    Raises
    ------
    ValueError
        If either is empty or not finite, or if their shapes differ.

    References
    ----------
    Yeh et al., "Representer Point Selection for Explaining Deep Neural Networks", NeurIPS 2018,
    figure 1.

    Examples
    --------
    >>> from skattrib.metrics import faithfulness
    >>> faithfulness([1.0, -2.0, 0.5], [2.0, -4.0, 1.0])
    {'agreement': 1.0, 'correlation': 1.0}
    """
    a = check_finite(surrogate_outputs, "surrogate_outputs")
    b = check_finite(model_outputs, "model_outputs")
    if a.shape != b.shape or a.ndim not in (1, 2) or 0 in a.shape:
        raise ValueError(
            f"surrogate_outputs and model_outputs have shapes {a.shape} and {b.shape}; expected "
            "the same (test rows, classes), or (test rows,) of two classes, from both."
        )
    if a[0].size == 1:
        a, b = a.ravel(), b.ravel()
        same = (_votes(np.column_stack([-a, a])) * _votes(np.column_stack([-b, b]))).sum(axis=1)
        a, b = a[:, None], b[:, None]
    else:
        same = (_votes(a) * _votes(b)).sum(axis=1)
    noises = _rounding(b), _rounding(a)
    line = _line(b, a, noises, confidence, n_resamples, random_state)
    agreement = mean_with_interval(same, confidence, n_resamples, random_state)
    if confidence is None:
        return Bunch(agreement=agreement, correlation=line.correlation)
    return Bunch(
        agreement=agreement.score,
        correlation=line.correlation,
        low=Bunch(agreement=agreement.low, correlation=line.low.correlation),
        high=Bunch(agreement=agreement.high, correlation=line.high.correlation),
    )


def _votes(logits):
    top = logits == logits.max(axis=1, keepdims=True)
    return top / top.sum(axis=1, keepdims=True)


def completeness_error(
    attributions: Attributions,
    outputs: ArrayLike,
    *,
    confidence: float | None = None,
    n_resamples: int = 1000,
    random_state=None,
) -> float | Bunch:
    """Largest difference between summed attributions and the explained output, relative.

    Parameters
    ----------
    attributions : {array-like, sparse matrix} of shape (m, n)
        What each of n training rows contributes to the explained output of each of m test rows.
    outputs : array-like of shape (m,)
        The explained outputs, in the unit of the attributions: for a label target that column of
        the decision function.
    confidence : float, optional
        Level of a percentile bootstrap interval over the test rows, such as 0.95. It is that of a
        maximum, which no sample exceeds by much: `high` is hardly above the error.
    n_resamples : int, default=1000
        Samples that the bootstrap draws.
    random_state : int, RandomState or None, default=None
        Decides what the bootstrap draws.

    Returns
    -------
    error : float, or :class:`~sklearn.utils.Bunch` of score, low and high with a confidence
        ``max_j |sum_i attributions[j, i] - outputs[j]|`` over the root mean square of `outputs`,
        summed in float64. It has no unit; 0 is a complete attribution, and there is no level of
        chance: attributions of 0 have the largest output over the root mean square. If all
        outputs are 0, it is 0 where all sums are exactly 0 and infinite otherwise.

    Raises
    ------
    ValueError
        If attributions are empty or not 2-D, if outputs are not one number per test row, or if
        either is not finite.

    References
    ----------
    The completeness axiom of Sundararajan et al., "Axiomatic Attribution for Deep Networks",
    ICML 2017, with training rows in the place of features.

    Examples
    --------
    >>> from skattrib.metrics import completeness_error
    >>> completeness_error([[1.0, 2.0], [-1.0, -2.0]], [3.0, -3.0])
    0.0
    """
    T = check_attributions(attributions, excluded="refuse")
    outputs = check_finite(outputs, "outputs").astype(np.float64, copy=False)
    check_entries(outputs, "outputs", *n_rows(T))
    # The product, because the sum of a sparse float32 matrix would be taken in float32.
    sums = T @ np.ones(T.shape[1]) if sparse.issparse(T) else T.sum(axis=1, dtype=np.float64)
    errors = np.abs(sums - outputs)

    def largest(drawn=slice(None)):
        error, peak = errors[drawn].max(), np.abs(outputs[drawn]).max()
        if peak == 0:
            return 0.0 if error == 0 else np.inf
        # Squares of outputs / peak neither overflow nor vanish.
        return float(error / peak / np.sqrt(np.mean((outputs[drawn] / peak) ** 2)))

    return with_interval(largest(), largest, len(errors), confidence, n_resamples, random_state)
