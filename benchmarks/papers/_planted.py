"""DualView's four settings: rows as they are, merged classes, flipped labels, marked rows."""

from functools import cache

import numpy as np
from sklearn.utils import Bunch

from skattrib.planting import flip_labels, merge_classes, plant_shortcut

from ._networks import SHAPES, pixels

FAULTS = ("none", "subclasses", "flipped", "marked")
# pairs of neighbours, as in the papers
PAIRS = [[2 * i, 2 * i + 1] for i in range(5)]
SHARE, MARKED_CLASS = 0.3, 2


@cache
def mark(kind):
    """The frame of 2 pixels and the middle square of 6, among the pixels of a row.

    White on MNIST, red on CIFAR-10: there the other two channels are `mark(kind)[1]`.
    """
    height, width, channels = SHAPES[kind]
    where = np.zeros((height, width, channels), dtype=bool)
    where[:2], where[-2:], where[:, :2], where[:, -2:] = True, True, True, True
    where[height // 2 - 3 : height // 2 + 3, width // 2 - 3 : width // 2 + 3] = True
    red = where.copy()
    red[..., 1:] = False
    return np.flatnonzero(red), np.flatnonzero(where & ~red)


def _marked(X, y, kind, fraction, others=False):
    on, off = mark(kind)
    for where, value in ((on, 1.0), (off, 0.0)):
        if len(where):
            X, has_mark = plant_shortcut(
                X,
                y,
                MARKED_CLASS,
                fraction,
                others=others,
                where=where,
                value=value,
                random_state=0,
            )
    return X, has_mark


def rows(data, kind, fault, n, m):
    """The first n training rows and m test rows of a data set in one of the settings.

    Returns a Bunch of X, y, X_test, y_test and `faults`, as `compare_explainers` takes them.
    """
    all_rows = data.load(kind)
    X, y = pixels(all_rows.X[:n]), all_rows.y[:n]
    X_test, y_test = pixels(all_rows.X_test[:m]), all_rows.y_test[:m]
    faults = {}
    if fault == "subclasses":
        faults = {"subclasses": (y, y_test)}
        y, y_test = (merge_classes(labels, PAIRS)[0] for labels in (y, y_test))
    elif fault == "flipped":
        y, is_flipped = flip_labels(y, SHARE, random_state=0)
        faults = {"is_flipped": is_flipped}
    elif fault == "marked":
        X, has_mark = _marked(X, y, kind, SHARE)
        X_test, _ = _marked(X_test, y_test, kind, 1.0, others=True)
        faults = {"has_mark": has_mark}
    return Bunch(X=X, y=y, X_test=X_test, y_test=y_test, faults=faults)
