"""Target probabilities that are labels, without a number for each class."""

import numpy as np


class OneHot:
    """Probabilities (n, K) that are 1 for one class a row; rows of them are arrays."""

    __array_ufunc__ = None  # so that NumPy leaves products to it

    def __init__(self, codes, n_classes):
        self.codes = codes
        self.shape = len(codes), n_classes

    def __getitem__(self, rows):
        return np.eye(self.shape[1])[self.codes[rows]]

    def __rmatmul__(self, s):
        """The weight of each class."""
        return np.bincount(self.codes, weights=s, minlength=self.shape[1])


def less(q, p):
    """Targets less probabilities."""
    if not isinstance(q, OneHot):
        return q - p
    out = -p
    out[np.arange(len(p)), q.codes] += 1.0
    return out


def along(q, z):
    """The sum of the logits of each row, weighted by targets."""
    if isinstance(q, OneHot):
        return z[np.arange(len(z)), q.codes]
    return np.einsum("ik,ik->i", q, z)
