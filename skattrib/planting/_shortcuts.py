"""Marks that a model learns in the place of what it should learn."""

from numbers import Real

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from sklearn.utils import check_array, check_random_state, check_scalar

from .._arrays.checks import canonical_csr, check_plain, plain_array
from ._labels import check_share, classes_of


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
    y = classes_of(y)[0]
    if y.shape != (X.shape[0],):
        raise ValueError(f"y has shape {y.shape}; expected ({X.shape[0]},), one a row of X.")
    check_share(fraction)
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


def _holds(dtype, value):
    try:
        with np.errstate(invalid="ignore", over="ignore"):
            return bool(np.asarray(value).astype(dtype) == value)
    except (TypeError, ValueError, OverflowError):
        return False
