"""Class labels and ids of tables: as in the file, and compared as they read."""

import re
from collections.abc import Sequence

import numpy as np

from .inputs import InputError, join_names

NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.0*)?")  # 01 and 1.10 are codes
FLAGS = ({"True", "False"}, {"true", "false"}, {"TRUE", "FALSE"})


def column_labels(column, name: str, path: str) -> np.ndarray:
    """Return a column of a frame as numbers, booleans or texts.

    Raises
    ------
    InputError
        If values are missing; the rows are named.
    """
    missing = np.flatnonzero(column.isna().to_numpy())
    if len(missing):
        rows = join_names(missing[:5], str) + (" ..." if len(missing) > 5 else "")
        raise InputError(
            f"column {name!r} of {path} has {len(missing)} missing values (rows {rows}, counted "
            "from 0); fill them in, or drop those rows"
        )
    if column.dtype.kind == "b":
        return column.to_numpy()
    if column.dtype.kind in "iuf":
        values = column.to_numpy()
        return values if values.dtype.kind in "iuf" else values.astype(np.float64)
    values = column.tolist()
    if all(isinstance(value, (bool, np.bool_)) for value in values):
        return np.array(values, dtype=bool)
    return np.array([str(value).strip() for value in values])


def natural(texts: Sequence[str]) -> np.ndarray:
    """Return booleans, integers or floats where texts are nothing but these, else the texts.

    ``1.0`` and ``1`` are one number; ``01`` and ``1`` are two texts.
    """
    values = np.char.strip(np.array(list(texts), dtype=np.str_))
    distinct = set(values.tolist())
    if any(distinct <= flags for flags in FLAGS):
        return np.char.lower(values) == "true"
    if all(map(NUMBER.fullmatch, distinct)):
        if not any("." in text for text in distinct):
            numbers = np.array([int(text) for text in values.tolist()])
            return numbers if numbers.dtype.kind in "iu" else values
        return values.astype(np.float64)
    try:
        floats = np.array([float(text) for text in values.tolist()])
    except ValueError:
        return values
    exact = np.isfinite(floats).all() and [str(f) for f in floats.tolist()] == values.tolist()
    return floats if exact else values


def alike(y_test: np.ndarray, y_train: np.ndarray) -> tuple[np.ndarray, str]:
    """Return labels of TEST as those of TRAIN that read the same, and a note of the others."""
    classes = np.unique(y_train)
    known = {_key(label): label for label in classes}
    found, codes = np.unique(y_test, return_inverse=True)
    foreign = [label for label in found.tolist() if _key(label) not in known]
    if not foreign:
        return np.array([known[_key(label)] for label in found], dtype=classes.dtype)[codes], ""
    counts = dict(zip(found.tolist(), np.bincount(codes).tolist(), strict=True))
    n_rows = sum(counts[label] for label in foreign)
    shown = join_names((f"{str(label)!r} ({counts[label]:,})" for label in foreign), str)
    note = (
        f"{n_rows:,} rows have labels that the training rows lack: {shown}; the classes are "
        f"{join_names(map(str, classes))}. These rows count as misclassified: make the labels alike"
    )
    return np.array([str(known.get(_key(label), label)) for label in found])[codes], note


def find_label(classes: np.ndarray, text: str):
    """Return the class that reads like a text.

    Raises
    ------
    InputError
        If there is none.
    """
    for label in classes:
        if str(label) == text:
            return label
    for label in classes:
        if _key(label) == _key(text):
            return label
    listed = join_names(map(str, classes))
    raise InputError(f"there is no class {text!r}; the classes are {listed}")


def _key(label):
    """What labels are compared by."""
    text = str(label).strip()
    if text.lower() in ("true", "false"):
        return text.lower()
    return float(text) if NUMBER.fullmatch(text) else text
