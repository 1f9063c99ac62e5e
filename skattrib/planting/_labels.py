"""Labels made wrong, and classes merged."""

from collections.abc import Mapping, Sequence
from numbers import Integral, Real

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_random_state

from .._arrays.checks import entries, plain_array


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
    y, classes, codes = classes_of(y)
    check_share(fraction)
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
    y, classes, codes = classes_of(y)
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


def classes_of(y) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Checked labels, the classes, and which each row is of."""
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


def check_share(fraction):
    """Refuses what is no share of the rows."""
    if not isinstance(fraction, Real) or not 0 <= fraction <= 1:
        raise ValueError(f"fraction is {fraction!r}; expected a share in [0, 1].")
