"""Correlations, and what is no more than rounding."""

import numpy as np
from sklearn.utils import Bunch

from ._intervals import with_interval


def row_correlations(a, b):
    """Pearson correlation of each row of a with that of b; 0 where either is constant."""
    a = a - a.mean(axis=1, keepdims=True)
    b = b - b.mean(axis=1, keepdims=True)
    norms = np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
    return np.divide((a * b).sum(axis=1), norms, out=np.zeros(len(a)), where=norms > 0)


def rounding(values, dtype=None, terms=0):
    """By how much values, or sums of terms below them, may differ though they are equal."""
    eps = 2 * np.finfo(dtype or values.dtype).eps + terms * np.finfo(np.float64).eps
    return eps * abs(values).max()


def line(x, y, noises, confidence, n_resamples, random_state, exponent=0):
    """Correlation of y with x and slope of y on x, over all entries; rows are resampled.

    Either is constant if it varies by no more than its noise. The slope is in units of
    ``2**exponent``, infinite beyond float64.
    """
    units = []
    for values, noise in zip((x, y), noises, strict=True):
        spread = values.max() / 2 - values.min() / 2  # which does not overflow
        values = values.astype(np.float64) if spread > noise / 2 else np.zeros(values.shape)
        unit = np.abs(values).max() or 1.0  # so that squares neither overflow nor vanish
        values /= unit
        units.append((values - values.mean(), unit))
    (x, x_unit), (y, y_unit) = units
    (x_unit, x_exponent), (y_unit, y_exponent) = np.frexp(x_unit), np.frexp(y_unit)
    moments = np.stack([a.sum(axis=1) for a in (x, y, x * x, y * y, x * y)])

    def fit(drawn=slice(None)):
        mean_x, mean_y, xx, yy, xy = moments[:, drawn].mean(axis=1) / x.shape[1]
        var_x, var_y, cov = xx - mean_x**2, yy - mean_y**2, xy - mean_x * mean_y
        noise = x.size * np.finfo(np.float64).eps
        if var_x <= noise * xx or var_y <= noise * yy:
            return Bunch(correlation=0.0, slope=0.0)
        correlation = np.clip(cov / np.sqrt(var_x) / np.sqrt(var_y), -1, 1)
        with np.errstate(over="ignore"):
            slope = np.ldexp(cov / var_x * (y_unit / x_unit), y_exponent - x_exponent + exponent)
        return Bunch(correlation=float(correlation), slope=float(slope))

    return with_interval(fit(), fit, len(x), confidence, n_resamples, random_state)
