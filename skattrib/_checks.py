"""Checks that several floors share: labels, groups of training rows."""

import numpy as np


def codes_of(labels, classes, what):
    """Positions of labels in sorted classes."""
    labels = plain_array(labels, what)
    try:
        codes = np.minimum(np.searchsorted(classes, labels), len(classes) - 1)
        unknown = np.atleast_1d(labels)[np.atleast_1d(classes[codes] != labels)].tolist()
    except TypeError:
        # labels that do not compare with the classes
        known = classes.tolist()
        unknown = [label for label in np.atleast_1d(labels).tolist() if label not in known]
    if unknown:
        raise ValueError(f"{what} {unknown[0]!r} is not one of the classes {classes.tolist()}")
    return codes


def check_groups(groups, n):
    """Each group as an array of distinct training rows, of n."""
    try:
        groups = list(groups)
    except TypeError:
        raise TypeError(
            f"rows to remove must be a list of rows or of groups of rows, got {groups!r}"
        ) from None
    checked = []
    for group in groups:
        group = np.atleast_1d(np.asarray(group))
        if group.ndim != 1 or group.dtype.kind not in "iu" or not len(group):
            raise ValueError("rows to remove must be integers, or non-empty arrays of integers")
        if not 0 <= group.min() <= group.max() < n or len(np.unique(group)) < len(group):
            raise ValueError(f"rows to remove must be distinct training rows, 0..{n - 1}")
        checked.append(group)
    return checked


def encode_labels(y_train, targets, names="y_train and targets"):
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
            f"{names} must hold labels of one kind, all numbers or all strings, "
            f"and none missing; got {y_train[:3]} and {targets[:3]}."
        )
    return codes[: len(y_train)], codes[len(y_train) :]


def check_plain(values, name):
    """Refuse masked arrays and complex numbers: the mask or imaginary part would go unseen."""
    if isinstance(values, np.ma.MaskedArray):
        raise ValueError(f"{name} is a masked array: fill it, or leave out what is masked")
    if getattr(getattr(values, "dtype", None), "kind", None) == "c":
        raise ValueError(f"Complex data not supported: {name} would lose its imaginary part")


def plain_array(values, name, dtype=None):
    """The values as an array, or the ValueError that says why they are none."""
    check_plain(values, name)
    if hasattr(values, "tocsr"):
        raise ValueError(f"{name} must not be sparse: give {name}.toarray()")
    try:
        array = np.asarray(values)
        if dtype is not None and array.dtype.kind != "c":
            return array.astype(dtype, copy=False)
    except (TypeError, ValueError, OverflowError) as error:
        kind = "an array" if dtype is None else "numbers"
        raise ValueError(f"{name} must be {kind}: {error}") from None
    check_plain(array, name)
    return array
