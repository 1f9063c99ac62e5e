"""Scores that say how good attributions are, as functions of arrays.

Attributions are always (m test rows, n training rows), dense or sparse, positive where a training
row raises the explained output. Scores that rank training rows depend neither on the scale of the
attributions nor on the order of the rows: a tie counts as its expected score.
"""

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from scipy.stats import rankdata
from sklearn.utils import Bunch, check_array, gen_batches

Attributions = ArrayLike | sparse.sparray | sparse.spmatrix

_BLOCK_SIZE = 2**18  # values of a dense matrix worked on at a time


def class_detection_score(
    attributions: Attributions, y_train: ArrayLike, targets: ArrayLike
) -> float:
    """Share of test rows whose top training row has the explained class.

    Parameters
    ----------
    attributions : {array-like, sparse matrix} of shape (m, n)
        What each of n training rows contributes to the explained output of each of m test rows.
    y_train : array-like of shape (n,)
        Class of each training row, of any label type.
    targets : array-like of shape (m,)
        Explained class of each test row, usually the predicted one, in the labels of `y_train`.

    Returns
    -------
    score : float
        Between 0 and 1, higher is better. Chance is the sum over classes of p_train * p_target,
        1 / K with K balanced classes.

    Raises
    ------
    ValueError
        If attributions are empty, not 2-D or not finite, if the lengths disagree, or if labels
        are missing or of two kinds.

    Notes
    -----
    Where several training rows tie for the top, the test row counts as the share of them that
    has the explained class; an all-zero row ties everywhere.

    References
    ----------
    Hanawa et al., "Evaluation of Similarity-based Explanations", ICLR 2021, the identical class
    test.

    Examples
    --------
    >>> from skattrib.metrics import class_detection_score
    >>> class_detection_score([[2.0, 1.0], [0.0, 0.0]], ["cat", "dog"], ["cat", "dog"])
    0.75
    """
    T = _check_attributions(attributions)
    y_train = _check_entries(y_train, "y_train", *_columns(T))
    targets = _check_entries(targets, "targets", *_rows(T))
    train_codes, test_codes = _encode_labels(y_train, targets)
    return float(_top_share(T, train_codes, test_codes).mean())


def mislabel_detection_score(
    scores_or_attributions: Attributions, is_mislabeled: ArrayLike
) -> float:
    """How early an inspection in order of suspicion finds the mislabeled training rows.

    Parameters
    ----------
    scores_or_attributions : {array-like, sparse matrix} of shape (n,) or (m, n)
        One score for each training row, larger where it is more suspicious (self-influence, own
        loss); or attributions, which rank the rows by their mean absolute attribution.
    is_mislabeled : array-like of shape (n,)
        True (or 1) for the training rows whose label was flipped, False (or 0) for the others.

    Returns
    -------
    score : float
        Area under the curve of the share of flipped labels found against the share of rows
        inspected, 0 for the worst order and 1 for the best. Chance is 0.5.

    Raises
    ------
    ValueError
        If scores are empty or not finite, or if `is_mislabeled` has the wrong length, other
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
    name = "scores_or_attributions"
    if not sparse.issparse(scores_or_attributions) and np.ndim(scores_or_attributions) == 1:
        scores = _check_finite(scores_or_attributions, name)
        expected = len(scores), f"{name} has {len(scores)} entries (one per training row)"
    else:
        T = _check_attributions(scores_or_attributions, name)
        scores = _mean_magnitude_levels(T)
        expected = _columns(T, name)
    flipped = _check_mask(is_mislabeled, "is_mislabeled", *expected)
    n_flipped = int(flipped.sum())
    n_pairs = n_flipped * (len(flipped) - n_flipped)
    if n_pairs == 0:
        raise ValueError(
            f"is_mislabeled is {n_flipped > 0} for all {len(flipped)} training rows; "
            "the score needs at least one flipped and one clean row."
        )
    rank_sum = rankdata(scores)[flipped].sum()
    return float((rank_sum - n_flipped * (n_flipped + 1) / 2) / n_pairs)


def completeness_error(attributions: Attributions, outputs: ArrayLike) -> float:
    """Largest difference between summed attributions and the explained output, relative.

    Parameters
    ----------
    attributions : {array-like, sparse matrix} of shape (m, n)
        What each of n training rows contributes to the explained output of each of m test rows.
    outputs : array-like of shape (m,)
        The explained outputs, in the unit of the attributions: for a label target that column of
        the decision function.

    Returns
    -------
    error : float
        ``max_j |sum_i attributions[j, i] - outputs[j]|`` over the root mean square of `outputs`,
        summed in float64. It has no unit; 0 is a complete attribution. If all outputs are 0, it
        is 0 where all sums are exactly 0 and infinite otherwise.

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
    T = _check_attributions(attributions)
    outputs = _check_finite(outputs, "outputs").astype(np.float64, copy=False)
    _check_entries(outputs, "outputs", *_rows(T))
    # The product, because the sum of a sparse float32 matrix would be taken in float32.
    sums = T @ np.ones(T.shape[1]) if sparse.issparse(T) else T.sum(axis=1, dtype=np.float64)
    error = np.abs(sums - outputs).max()
    peak = np.abs(outputs).max()
    if peak == 0:
        return 0.0 if error == 0 else np.inf
    # Squares of outputs / peak neither overflow nor vanish.
    return float(error / peak / np.sqrt(np.mean((outputs / peak) ** 2)))


def sparsity(attributions: Attributions, mass: float = 0.9) -> Bunch:
    """How few training rows explain each test row.

    Parameters
    ----------
    attributions : {array-like, sparse matrix} of shape (m, n)
        What each of n training rows contributes to the explained output of each of m test rows.
    mass : float, default=0.9
        Share of the absolute attribution to be held, in (0, 1].

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

        Both are smaller for sparser attributions and do not depend on their scale.

    Raises
    ------
    ValueError
        If attributions are empty, not 2-D or not finite, or if `mass` is not in (0, 1].

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
    T = _check_attributions(attributions)
    if not 0 < mass <= 1:
        raise ValueError(f"mass is {mass}; expected a share of the whole in (0, 1].")
    m, n = T.shape
    result = Bunch(nonzero_share=np.zeros(m), rows_for_mass=np.zeros(m, dtype=np.intp))
    for rows, values in _row_blocks(T):
        result.nonzero_share[rows] = np.count_nonzero(values, axis=1) / n
        result.rows_for_mass[rows] = _rows_for_mass(values, mass)
    return result


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


def _top_share(T, train_codes, test_codes):
    """For each test row, the share of the rows tied for its top that have the test row's code."""
    m, n = T.shape
    if not sparse.issparse(T):
        share = np.empty(m)
        for rows, values in _row_blocks(T):
            top = values == values.max(axis=1, keepdims=True)
            hit = top & (train_codes == test_codes[rows, None])
            share[rows] = hit.sum(axis=1) / top.sum(axis=1)
        return share

    n_stored = np.diff(T.indptr)
    row = np.repeat(np.arange(m), n_stored)
    same = train_codes[T.indices] == test_codes[row]
    peak = T.max(axis=1).toarray().ravel()  # of the zeros that are not stored, too
    top = T.data == peak[row]
    n_top = np.bincount(row[top], minlength=m)
    n_hit = np.bincount(row[top & same], minlength=m)
    code_counts = np.bincount(train_codes, minlength=test_codes.max() + 1)
    n_same_not_stored = code_counts[test_codes] - np.bincount(row[same], minlength=m)
    n_top += np.where(peak == 0, n - n_stored, 0)
    n_hit += np.where(peak == 0, n_same_not_stored, 0)
    return n_hit / n_top


def _mean_magnitude_levels(T):
    """Order of the columns by mean |T[:, i]|, as integers; equal up to rounding = equal."""
    m, n = T.shape
    if sparse.issparse(T):
        weights = np.abs(T.data, dtype=np.float64)
        weights /= m  # before the sum, which cannot overflow then
        means = np.bincount(T.indices, weights=weights, minlength=n)
    else:
        means = np.zeros(n)
        for _, values in _row_blocks(T):
            means += (np.abs(values, dtype=np.float64) / m).sum(axis=0)
    order = np.argsort(means)
    means = means[order]
    # Without a tolerance, ties would come and go with the scale of T and the order of the sums.
    is_step = np.diff(means, prepend=means[0]) > (m + 2) * np.finfo(np.float64).eps * means
    levels = np.empty(n, dtype=np.intp)
    levels[order] = np.cumsum(is_step)
    return levels


def _row_blocks(T):
    """Yield test rows and their values: of a sparse T one row at a time, what it stores."""
    m, n = T.shape
    if sparse.issparse(T):
        for j in range(m):
            yield slice(j, j + 1), T.data[None, T.indptr[j] : T.indptr[j + 1]]
    else:
        for rows in gen_batches(m, max(1, _BLOCK_SIZE // n)):
            yield rows, T[rows]


def _check_finite(values, name):
    # scikit-learn looks for NaN in the sum first, which huge values turn into inf - inf.
    with np.errstate(invalid="ignore"):
        return check_array(
            values,
            accept_sparse="csr",
            dtype=[np.float64, np.float32],
            ensure_2d=False,
            allow_nd=True,
            ensure_min_samples=0,
            ensure_min_features=0,
            input_name=name,
        )


def _check_attributions(attributions, name="attributions"):
    T = _check_finite(attributions, name)
    if T.ndim != 2 or 0 in T.shape:
        raise ValueError(
            f"{name} has shape {T.shape}; expected (test rows, training rows), one or more of each."
        )
    if sparse.issparse(T) and not T.has_canonical_format:
        T = T.copy()
        T.sum_duplicates()
    return T


def _rows(T, name="attributions"):
    return T.shape[0], f"{name} has {T.shape[0]} rows (one per test row)"


def _columns(T, name="attributions"):
    return T.shape[1], f"{name} has {T.shape[1]} columns (one per training row)"


def _check_entries(values, name, length, because):
    values = np.asarray(values)
    if values.shape != (length,):
        found = f"{len(values)} entries" if values.ndim == 1 else f"shape {values.shape}"
        raise ValueError(f"{name} has {found} but {because}; expected shape ({length},).")
    return values


def _check_mask(mask, name, length, because):
    mask = _check_entries(mask, name, length, because)
    is_true = mask == 1
    if not np.all(is_true | (mask == 0)):
        raise ValueError(f"{name} has values other than True and False (or 1 and 0).")
    return is_true.astype(bool)


def _encode_labels(y_train, targets):
    """Integers that are equal where the labels are."""
    if y_train.dtype.kind != targets.dtype.kind:
        # numpy would turn numbers into strings; objects refuse to be compared instead.
        y_train, targets = y_train.astype(object), targets.astype(object)
    try:
        labels = np.concatenate([y_train, targets])
        codes = np.unique(labels, return_inverse=True)[1]
        has_nan = np.any(labels != labels)
    except TypeError:
        has_nan = True
    if has_nan:
        raise ValueError(
            "y_train and targets must hold labels of one kind, all numbers or all strings, "
            f"and none missing; got {y_train[:3]} and {targets[:3]}."
        )
    return codes[: len(y_train)], codes[len(y_train) :]
