"""Flaws planted on purpose, whose finding tells good attributions: bad labels, shortcuts, ..."""

from collections.abc import Mapping, Sequence
from numbers import Integral, Real

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from sklearn.utils import check_array, check_random_state, check_scalar

from ._arrays.checks import canonical_csr, check_plain, entries, plain_array

__all__ = ["flip_labels", "merge_classes", "plant_shortcut"]


def flip_labels(
    y: ArrayLike, fraction: float, *, kind: str = "uniform", random_state=None
) -> tuple[np.ndarray, np.ndarray]:
    """Give a share of the rows a wrong label.

    For :func:`~skattrib.metrics.mislabel_detection_score`.

    Parameters
    ----------
    y : array-like of shape (n,)
        Labels of two classes or more.
    fraction : float
        Share of the rows to flip, in [0, 1], rounded to whole rows.
    kind : {"uniform", "pair"}, default="uniform"
        "uniform": to any other class, all equally likely; "pair": to the next class in sorted
        order, the first after the last.
    random_state : int, RandomState or None, default=None
        Decides which rows are flipped, and to what.

    Returns
    -------
    y_noisy : ndarray of shape (n,)
    is_flipped : ndarray of shape (n,), bool
        Exactly where `y_noisy` differs from `y`.

    Raises
    ------
    ValueError
        For fewer than two classes, missing labels, a fraction outside [0, 1] or another kind.

    Examples
    --------
    >>> from skattrib.planting import flip_labels
    >>> y, is_flipped = flip_labels(["a", "b", "a", "b"], 0.5, random_state=0)
    >>> int(is_flipped.sum())
    2
    """
    y, classes, codes = _classes(y)
    _check_share(fraction)
    if not isinstance(kind, str) or kind not in ("uniform", "pair"):
        raise ValueError(f'kind is {kind!r}; expected "uniform" or "pair".')
    if len(classes) < 2:
        raise ValueError("y has one class only; there is no other to flip labels to.")
    rng = check_random_state(random_state)
    rows = rng.choice(len(y), size=round(fraction * len(y)), replace=False)
    shift = rng.randint(1, len(classes), size=len(rows)) if kind == "uniform" else 1
    noisy = y.copy()
    noisy[rows] = classes[(codes[rows] + shift) % len(classes)]
    is_flipped = np.zeros(len(y), dtype=bool)
    is_flipped[rows] = True
    return noisy, is_flipped


def merge_classes(
    y: ArrayLike,
    groups: Mapping | Sequence[Sequence] | None = None,
    *,
    n_groups: int = 2,
    random_state=None,
) -> tuple[np.ndarray, np.ndarray]:
    """Hide the classes of y in fewer, merged ones.

    For :func:`~skattrib.metrics.subclass_detection_score`: a model trained on the merged labels
    never sees the subclasses.

    Parameters
    ----------
    y : array-like of shape (n,)
    groups : mapping of label to group, or sequence of sequences of labels, optional
        What is merged. Every label of y is in exactly one group; others may be named too, so that
        training and test labels can be merged alike. By default groups of equal size (or one
        more) are drawn at random from the labels in y.
    n_groups : int, default=2
        Number of groups that are drawn.
    random_state : int, RandomState or None, default=None
        Decides what is drawn.

    Returns
    -------
    merged : ndarray of shape (n,)
        The group of each row: the values of the mapping, or positions in the sequence.
    subclasses : ndarray of shape (n,)
        The labels as they were.

    Raises
    ------
    ValueError
        If a label is in no group or in two, or if `n_groups` is not between 2 and the number of
        labels.

    Examples
    --------
    >>> from skattrib.planting import merge_classes
    >>> merged, subclasses = merge_classes(["cat", "car", "dog"], [["cat", "dog"], ["car"]])
    >>> merged
    array([0, 1, 0])
    """
    y, classes, codes = _classes(y)
    if groups is None:
        if not isinstance(n_groups, Integral) or not 2 <= n_groups <= len(classes):
            raise ValueError(
                f"n_groups must be an integer in 2..{len(classes)}, the number of labels; "
                f"got {n_groups!r}."
            )
        merged = np.empty(len(classes), dtype=np.intp)
        merged[check_random_state(random_state).permutation(len(classes))] = (
            np.arange(len(classes)) % n_groups
        )
        return merged[codes], y
    if not isinstance(groups, Mapping):
        try:
            groups = entries(groups, "groups", "lists of labels")
            groups = [entries(group, "group", "labels") for group in groups]
            named = [label for group in groups for label in group]
            n_distinct = len(set(named))
        except (TypeError, ValueError):
            raise TypeError(
                f"groups must map labels to groups, or be lists of labels; got {groups!r}."
            ) from None
        if n_distinct < len(named):
            raise ValueError("a label is in two groups; name each once.")
        groups = {label: place for place, group in enumerate(groups) for label in group}
    missing = [label for label in classes.tolist() if label not in groups]
    if missing:
        raise ValueError(f"label {missing[0]!r} of y is in no group; name every label.")
    return np.array([groups[label] for label in classes.tolist()])[codes], y


def plant_shortcut(
    X,
    y: ArrayLike,
    marked_class,
    fraction: float = 0.5,
    *,
    others: bool = False,
    where=None,
    value: float | None = None,
    random_state=None,
):
    """Mark a share of the rows of one class, so that a model learns the mark for the class.

    For :func:`~skattrib.metrics.shortcut_detection_score`: mark training rows of the class, then
    test rows of the other classes, and explain those that are predicted as the marked class.

    Parameters
    ----------
    X : array-like or sparse matrix of shape (n, d), or array of images of shape (n, height, ...)
    y : array-like of shape (n,)
    marked_class : label
        One of the labels in y.
    fraction : float, default=0.5
        Share of the rows of that class to mark, in [0, 1], rounded to whole rows.
    others : bool, default=False
        Mark the rows of all other classes in its place: the test rows.
    where : index into one row, optional
        The features that are the mark: column numbers, or for images what indexes one image, such
        as ``np.s_[:3, :3]``. By default the first column, or of images the upper left corner of
        3 by 3 pixels.
    value : float, optional
        What the features of the mark are set to. By default the largest value in X; give it for
        test rows, to have the mark of the training rows.
    random_state : int, RandomState or None, default=None
        Decides which rows are marked.

    Returns
    -------
    X_marked : array or CSR like X
        A copy.
    has_mark : ndarray of shape (n,), bool

    Raises
    ------
    ValueError
        If there is no row to mark, if X and y differ in length, if `where` is not in a row, if
        the type of X cannot hold the value, or if X has NaN and there is no `value`.

    Examples
    --------
    >>> import numpy as np
    >>> from skattrib.planting import plant_shortcut
    >>> X, has_mark = plant_shortcut(np.zeros((2, 3)), [0, 1], 1, 1.0, where=[2], value=9)
    >>> X
    array([[0., 0., 0.],
           [0., 0., 9.]])
    """
    check_plain(X, "X")
    kind = sparse.csr_matrix if isinstance(X, sparse.spmatrix) else sparse.csr_array
    X = check_array(
        canonical_csr(X, "X") if sparse.issparse(X) else X,
        accept_sparse="csr",
        dtype=None,
        allow_nd=True,
        ensure_all_finite=False,
        copy=True,
    )
    y = _classes(y)[0]
    if y.shape != (X.shape[0],):
        raise ValueError(f"y has shape {y.shape}; expected ({X.shape[0]},), one a row of X.")
    _check_share(fraction)
    if plain_array(marked_class, "marked_class").ndim:
        raise ValueError(f"marked_class is {marked_class!r}; expected one label.")
    if (y.dtype.kind in "US") != isinstance(marked_class, str) and y.dtype.kind != "O":
        raise ValueError(f"marked_class is {marked_class!r}, but labels are as {y.tolist()[0]!r}.")
    check_scalar(others, "others", (bool, np.bool_))
    candidates = np.flatnonzero((y == marked_class) != others)
    if len(candidates) == 0:
        raise ValueError(
            f"no row is of {'another class than' if others else 'class'} {marked_class!r}; "
            "there is nothing to mark."
        )
    value = _largest(X) if value is None else value
    if plain_array(value, "value").ndim:
        raise ValueError(f"value is {value!r}; expected one number.")
    if value != value:
        raise ValueError("the largest value of X is missing, for X has NaN; give `value`.")
    if isinstance(value, Real) and not np.isfinite(float(value)):
        raise ValueError("value is infinite, or the largest of X is; give a finite `value`.")
    if not _holds(X.dtype, value):
        raise ValueError(f"value {value} cannot be held by X of type {X.dtype}.")
    size = round(fraction * len(candidates))
    rows = check_random_state(random_state).choice(candidates, size=size, replace=False)
    has_mark = np.zeros(len(y), dtype=bool)
    has_mark[rows] = True
    if where is None:
        where = 0 if X.ndim == 2 else np.s_[:3, :3]
    columns = np.zeros(X.shape[1:], dtype=bool)
    try:
        columns[where] = True
    except (IndexError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"where={where!r} is not in a row of shape {X.shape[1:]}.") from error
    if sparse.issparse(X):
        X = X.tolil()
        X[np.ix_(np.sort(rows), np.flatnonzero(columns))] = value
        return kind(X), has_mark
    for row in rows:
        X[row][columns] = value
    return X, has_mark


def _largest(X):
    try:
        return X.max()
    except TypeError:
        raise ValueError("values of X have no largest one: give `value`.") from None


def _classes(y) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    y = plain_array(y, "y")
    if y.ndim != 1 or len(y) == 0:
        raise ValueError(f"y has shape {y.shape}; expected one label a row.")
    if any(label is None or label != label for label in y.tolist()):
        raise ValueError("y has missing labels; drop those rows.")
    if y.dtype.kind == "f" and not np.isfinite(y).all():
        raise ValueError("y has labels that are not finite; drop those rows.")
    try:
        classes, codes = np.unique(y, return_inverse=True)
    except TypeError:
        raise ValueError(f"y has labels of several kinds, such as {y[:3].tolist()}.") from None
    return y.copy(), classes, codes


def _holds(dtype, value):
    try:
        with np.errstate(invalid="ignore", over="ignore"):
            return bool(np.asarray(value).astype(dtype) == value)
    except (TypeError, ValueError, OverflowError):
        return False


def _check_share(fraction):
    if not isinstance(fraction, Real) or not 0 <= fraction <= 1:
        raise ValueError(f"fraction is {fraction!r}; expected a share in [0, 1].")
