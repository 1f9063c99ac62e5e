"""Rows and outputs that tests of `RepresenterRegressor` fit it to."""

import numpy as np
import pytest
import reference
from scipy import sparse
from scipy.special import expit

from skattrib import RepresenterRegressor

layouts = pytest.mark.parametrize("layout", ["dense64", "dense32", "csr64", "csr32"])


def laid_out(X, layout):
    X = X.astype(np.float32 if layout.endswith("32") else np.float64)
    return sparse.csr_array(X) if layout.startswith("csr") else X


def problem(name, n=40, d=4, U=3, seed=0):
    """Rows in multiples of 1/8, weights, and outputs that the activation can have, with noise."""
    rng = np.random.default_rng(seed)
    X = np.round(8 * rng.normal(size=(n, d))) / 8
    X[rng.random(size=X.shape) < 0.2] = 0.0
    z = X @ rng.normal(size=(d, U)) + rng.normal(size=(n, U)) / 2 + 0.3
    t = {
        "identity": lambda: z,
        "leaky_relu": lambda: np.where(z > 0, z, 0.01 * z),
        "relu": lambda: np.maximum(z, 0),
        "sigmoid": lambda: (rng.random(size=z.shape) < expit(z)).astype(float),
        "tanh": lambda: np.tanh(z),
        "exp": lambda: rng.poisson(np.exp(np.minimum(z, 3))).astype(float),
    }[name]()
    return X, t, rng.integers(0, 4, size=n) / 2


def phi_of(X, size):
    return np.column_stack([reference.dense(X), np.full(X.shape[0], size)]) if size else X


def fitted(name, X, t, weight=None, **options):
    return RepresenterRegressor(name, tol=1e-10, **options).fit(X, t, weight)


class Scaled:
    """Twice the identity, as an object of the user's."""

    def primitive(self, z):
        return z**2

    def value(self, z):
        return 2 * z

    def derivative(self, z):
        return np.full_like(z, 2.0)
