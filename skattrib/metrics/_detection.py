"""Detection: do the top training rows have what the test row has."""

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from sklearn.utils import Bunch

from .._arrays.checks import encode_labels
from ._checks import (
    Attributions,
    check_attributions,
    check_both,
    check_entries,
    check_has_candidates,
    check_mask,
    dense_blocks,
    n_columns,
    n_rows,
    row_blocks,
)
from ._intervals import mean_with_interval
from ._ranks import evened, expected_precision


def class_detection_score(
    attributions: Attributions,
    y_train: ArrayLike,
    targets: ArrayLike,
    *,
    confidence: float | None = None,
    n_resamples: int = 1000,
    random_state=None,
) -> float | Bunch:
    """Share of test rows whose top training row has the explained class.

    Parameters
    ----------
    attributions : {array-like, sparse matrix} of shape (m, n)
        What each of n training rows contributes to the explained output of each of m test rows;
        -inf where the training row is excluded, which never is the top row.
    y_train : array-like of shape (n,)
        Class of each training row, of any label type.
    targets : array-like of shape (m,)
        Explained class of each test row, usually the predicted one, in the labels of `y_train`.
    confidence : float, optional
        Level of a percentile bootstrap interval over the test rows, such as 0.95.
    n_resamples : int, default=1000
        Samples that the bootstrap draws.
    random_state : int, RandomState or None, default=None
        Decides what the bootstrap draws.

    Returns
    -------
    score : float, or :class:`~sklearn.utils.Bunch` of score, low and high with a confidence
        Between 0 and 1, higher is better. Chance is the sum over classes of p_train * p_target,
        1 / K with K balanced classes.

    Raises
    ------
    ValueError
        If attributions are empty, not 2-D, NaN or +inf, or exclude all training rows; if the
        lengths disagree, or if labels are missing or of two kinds.

    Notes
    -----
    Where several training rows tie for the top, the test row counts as the share of them that
    has the explained class; an all-zero row ties everywhere, and so does one that is constant but
    for rounding.

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
    T = check_attributions(attributions)
    y_train = check_entries(y_train, "y_train", *n_columns(T))
    targets = check_entries(targets, "targets", *n_rows(T))
    share = _top_share(T, *encode_labels(y_train, targets))
    return mean_with_interval(share, confidence, n_resamples, random_state)


def subclass_detection_score(
    attributions: Attributions,
    subclasses_train: ArrayLike,
    subclasses_test: ArrayLike,
    *,
    confidence: float | None = None,
    n_resamples: int = 1000,
    random_state=None,
) -> float | Bunch:
    """Share of test rows whose top training row shares their hidden subclass.

    The explained model is trained on merged classes (:func:`~skattrib.planting.merge_classes`)
    and never sees the subclasses.

    Parameters
    ----------
    attributions : {array-like, sparse matrix} of shape (m, n)
        What each of n training rows contributes to the explained output of each of m test rows;
        -inf where the training row is excluded, which never is the top row.
    subclasses_train : array-like of shape (n,)
        Original label of each training row, of any type.
    subclasses_test : array-like of shape (m,)
        Original label of each test row.
    confidence : float, optional
        Level of a percentile bootstrap interval over the test rows, such as 0.95.
    n_resamples : int, default=1000
        Samples that the bootstrap draws.
    random_state : int, RandomState or None, default=None
        Decides what the bootstrap draws.

    Returns
    -------
    score : float, or :class:`~sklearn.utils.Bunch` of score, low and high with a confidence
        Between 0 and 1, higher is better. Chance is the sum over subclasses of p_train * p_test,
        1 / S with S balanced ones; a method that finds the merged class and no more reaches
        1 / (subclasses in a class). Ties as in :func:`class_detection_score`.

    Raises
    ------
    ValueError
        As :func:`class_detection_score`.

    References
    ----------
    Hanawa et al., "Evaluation of Similarity-based Explanations", ICLR 2021, the identical
    subclass test.

    Examples
    --------
    >>> from skattrib.metrics import subclass_detection_score
    >>> subclass_detection_score([[2.0, 1.0], [2.0, 3.0]], ["cat", "lynx"], ["cat", "cat"])
    0.5
    """
    T = check_attributions(attributions)
    train = check_entries(subclasses_train, "subclasses_train", *n_columns(T))
    test = check_entries(subclasses_test, "subclasses_test", *n_rows(T))
    codes = encode_labels(train, test, "subclasses_train and subclasses_test")
    return mean_with_interval(_top_share(T, *codes), confidence, n_resamples, random_state)


def shortcut_detection_score(
    attributions: Attributions,
    has_shortcut: ArrayLike,
    *,
    kind: str = "top",
    confidence: float | None = None,
    n_resamples: int = 1000,
    random_state=None,
) -> float | Bunch:
    """How far the top training rows carry the planted mark that test rows fell for.

    Parameters
    ----------
    attributions : {array-like, sparse matrix} of shape (m, n)
        Attributions of test rows that fell for the shortcut: of another class than the marked
        one, carrying the mark (:func:`~skattrib.planting.plant_shortcut`) and predicted as the
        marked class, which is the explained one. -inf where the training row is excluded, which
        never is the top row.
    has_shortcut : array-like of shape (n,)
        True (or 1) for the training rows that carry the mark, False (or 0) for the others.
    kind : {"top", "average_precision"}, default="top"
        "top": share of the test rows whose top training row carries the mark. "average_precision":
        whether all marked rows come before the others: the mean over marked rows of the share of
        marked ones among the rows down to it, averaged over test rows. A method that names one
        marked row and no more has the first at 1 and the second near 0.
    confidence : float, optional
        Level of a percentile bootstrap interval over the test rows, such as 0.95.
    n_resamples : int, default=1000
        Samples that the bootstrap draws.
    random_state : int, RandomState or None, default=None
        Decides what the bootstrap draws.

    Returns
    -------
    score : float, or :class:`~sklearn.utils.Bunch` of score, low and high with a confidence
        Between 0 and 1, higher is better. Chance is the share of marked training rows (by average
        precision a little more, with few of them); a method that finds the marked class and no
        more reaches the share marked in that class. Ties as in :func:`class_detection_score`: the
        mean over all orders of tied rows. By average precision an excluded row is never found.

    Raises
    ------
    ValueError
        If attributions are empty, not 2-D, NaN or +inf, or exclude all training rows; if
        `has_shortcut` has the wrong length, other values than booleans, or only one of them; and
        for another kind.

    References
    ----------
    Yolcu et al., "DualView: Data Attribution from the Dual Perspective", 2024, section 5.1.4.
    McSherry and Najork, "Computing information retrieval performance measures efficiently in the
    presence of tied scores", ECIR 2008.

    Examples
    --------
    >>> from skattrib.metrics import shortcut_detection_score
    >>> shortcut_detection_score([[2.0, 1.0], [2.0, 3.0]], [True, False])
    0.5
    >>> T, marked = [[3.0, 2.0, 1.0, 0.0]], [True, False, False, True]
    >>> shortcut_detection_score(T, marked), shortcut_detection_score(
    ...     T, marked, kind="average_precision"
    ... )
    (1.0, 0.75)
    """
    T = check_attributions(attributions)
    marked = check_mask(has_shortcut, "has_shortcut", *n_columns(T))
    check_both(marked, "has_shortcut", "marked and one unmarked")
    if not isinstance(kind, str) or kind not in ("top", "average_precision"):
        raise ValueError(f'kind is {kind!r}; expected "top" or "average_precision".')
    if kind == "top":
        share = _top_share(T, marked.astype(np.intp), np.ones(T.shape[0], dtype=np.intp))
    else:
        share = np.empty(T.shape[0])
        for rows, values in dense_blocks(T):
            check_has_candidates(values.max(axis=1))
            share[rows] = [expected_precision(row, marked) for row in evened(values)]
    return mean_with_interval(share, confidence, n_resamples, random_state)


def _top_share(T, train_codes, test_codes):
    """For each test row, the share of the rows tied for its top that have the test row's code."""
    m, n = T.shape
    if not sparse.issparse(T):
        share = np.empty(m)
        for rows, values in row_blocks(T):
            check_has_candidates(values.max(axis=1))
            values = evened(values)
            peak = values.max(axis=1, keepdims=True)
            top = values == peak
            hit = top & (train_codes == test_codes[rows, None])
            share[rows] = hit.sum(axis=1) / top.sum(axis=1)
        return share

    n_stored = np.diff(T.indptr)
    row = np.repeat(np.arange(m), n_stored)
    same = train_codes[T.indices] == test_codes[row]
    peak = T.max(axis=1).toarray().ravel()  # of the zeros that are not stored, too
    check_has_candidates(peak)
    low = T.copy()
    low.data[low.data == -np.inf] = np.inf
    low = np.minimum(low.min(axis=1).toarray().ravel(), peak)
    even = peak / 2 - low / 2 <= np.finfo(T.dtype).eps * np.maximum(abs(peak), abs(low))
    top = (T.data == peak[row]) | (even[row] & (T.data > -np.inf))
    n_top = np.bincount(row[top], minlength=m)
    n_hit = np.bincount(row[top & same], minlength=m)
    code_counts = np.bincount(train_codes, minlength=test_codes.max() + 1)
    n_same_not_stored = code_counts[test_codes] - np.bincount(row[same], minlength=m)
    n_top += np.where(peak == 0, n - n_stored, 0)
    n_hit += np.where(peak == 0, n_same_not_stored, 0)
    return n_hit / n_top
