"""The regularized curvature of gradients and its inverse, in the space of columns or of rows."""

import warnings

import numpy as np
import scipy.linalg as la

from .._arrays import batches, full, products

# numbers of a block of rows in float64
BLOCK = 2**22


class GaussNewton:
    """H = Phi^T D Phi + lambda I of gradients Phi (n, k), factorized where it is smaller.

    lambda is `ridge` times the mean weighted squared norm of a gradient, trace(Phi^T D Phi) / n:
    so it depends neither on n nor on k, and scaled gradients meet a scaled penalty.

    Parameters
    ----------
    Phi : array or CSR of shape (n, k)
        Kept, not copied.
    weight : ndarray of shape (n,)
        The diagonal of D.
    ridge : float

    Attributes
    ----------
    penalty : float
        lambda.
    effective_dimension : float
        trace(F H^-1) of F = Phi^T D Phi.
    """

    def __init__(self, Phi, weight, ridge):
        self.Phi, self.root = Phi, np.sqrt(weight)
        n, k = Phi.shape
        self.by_rows = n < k
        with np.errstate(over="ignore", invalid="ignore"):
            F = self._gram() if self.by_rows else self._scatter()
            trace = np.trace(F)
            # without any gradient nothing depends on it
            self.penalty = float(ridge * (trace / n)) if trace != 0 else 1.0
        if not np.isfinite(self.penalty):
            raise ValueError(f"ridge={ridge!r} times these gradients overflows: scale them")
        F.flat[:: len(F) + 1] += self.penalty
        try:
            self.factor = la.cholesky(F, lower=True, overwrite_a=True, check_finite=False)
        except la.LinAlgError:
            raise ValueError(
                f"ridge={ridge!r} is too small for the curvature of these gradients: rounding has "
                "more"
            ) from None
        inverse = la.lapack.dtrtri(self.factor, lower=1)[0]
        inverse *= np.sqrt(self.penalty)
        self.effective_dimension = float(len(F) - np.sum(inverse**2))

    def _scatter(self):
        n, k = self.Phi.shape
        F = np.zeros((k, k))
        for rows in batches(n, max(1, BLOCK // k)):
            part = full(self.Phi[rows]) * self.root[rows, None]
            F += part.T @ part
        return F

    def _gram(self):
        n, k = self.Phi.shape
        F = np.zeros((n, n))
        for columns in batches(k, max(1, BLOCK // n)):
            part = full(self.Phi[:, columns]) * self.root[:, None]
            F += part @ part.T
        return F

    def solve(self, G):
        """G H^-1 of rows G (m, k), in float64."""
        G = np.asarray(G, dtype=np.float64)
        if not self.by_rows:
            return la.cho_solve((self.factor, True), G.T, check_finite=False).T
        # (Psi^T Psi + lambda I)^-1 = (I - Psi^T (Psi Psi^T + lambda I)^-1 Psi) / lambda
        inner = np.zeros((len(G), len(self.root)))
        out = np.empty_like(G)
        parts = list(batches(G.shape[1], max(1, BLOCK // len(self.root))))
        for columns in parts:
            inner += products(G[:, columns], full(self.Phi[:, columns]).astype(np.float64))
        inner *= self.root
        inner = la.cho_solve((self.factor, True), inner.T, check_finite=False).T * self.root
        for columns in parts:
            out[:, columns] = G[:, columns] - inner @ full(self.Phi[:, columns])
        return out / self.penalty


def solve_models(models, p, curvature, ridge):
    """(inverse of each model's curvature, right sides) of gradients and probabilities (n, M)."""
    weights = p * (1 - p) if curvature == "logistic" else np.ones_like(p)
    if not weights.any(axis=0).all():
        raise ValueError(
            "all probabilities are 0 or 1, which leaves no curvature: divide logits by a higher "
            "temperature, or give curvature='identity'"
        )
    inverses = [GaussNewton(Phi, w, ridge) for Phi, w in zip(models, weights.T, strict=True)]
    right = 1 - p
    # the paper's two means, or one of products
    return inverses, right if curvature == "logistic" else right.mean(axis=1, keepdims=True)


def warn_of_sketches(widths, dimensions, remedy):
    """Warns of sketches that are small beside the effective dimension."""
    for width, dimension in zip(widths, dimensions, strict=True):
        if width < 3 * dimension:
            warnings.warn(
                f"the effective dimension of the gradients is {dimension:.0f} of {width} columns: "
                f"sketches keep inner products well with some times as many. {remedy}",
                UserWarning,
                stacklevel=4,
            )
            return
