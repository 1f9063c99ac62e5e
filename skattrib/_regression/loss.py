"""Regularized losses of several units on the same rows: values, gradients, products."""

from contextlib import suppress

import numpy as np
import scipy.linalg as la
import scipy.sparse as sp
from sklearn.utils.extmath import safe_sparse_dot

from .._arrays import batches, first_equal, full

# floats of a batch of rows in double
BATCH_FLOATS = 2**19
# wider systems are preconditioned by their diagonal
WIDEST = 4096


class UnitLosses:
    """F_u(w) = C sum_i s_i (A(w.phi_i) - t_iu w.phi_i) + 1/2 ||w||^2, a row of theta each.

    theta is (U, D) in float64, D = d + 1 with an intercept (a constant feature, last).

    Parameters
    ----------
    X : (n, d) array or CSR
    t : (n, U) targets
    s : (n,) weights
    C : float
    size : float
        Of the constant feature; 0: there is none.
    activation : sigma and its primitive A
    """

    def __init__(self, X, t, s, C, size, activation):
        self.X, self.t, self.s, self.C, self.size = X, t, s, C, size
        self.activation = activation
        self.n, self.D = X.shape[0], X.shape[1] + (size > 0)

    def parts(self):
        """(slice, its rows in float64)."""
        width = 64 if sp.issparse(self.X) else self.X.shape[1]
        for rows in batches(self.n, max(256, BATCH_FLOATS // width)):
            yield rows, self.X[rows].astype(np.float64, copy=False)

    def times(self, part, W):
        """W phi of rows of a part, (b, p) for W of shape (p, D)."""
        d = part.shape[1]
        out = safe_sparse_dot(part, np.ascontiguousarray(W[:, :d].T), dense_output=True)
        if self.size:
            out += self.size * W[:, d]
        return out

    def sums(self, part, F):
        """sum_i F_i phi_i^T over rows of a part, (p, D) for F of shape (b, p)."""
        d = part.shape[1]
        out = np.empty((F.shape[1], self.D))
        out[:, :d] = safe_sparse_dot(part.T, F, dense_output=True).T
        if self.size:
            out[:, d] = self.size * F.sum(axis=0)
        return out

    def outputs(self, theta):
        """z, (n, U)."""
        out = np.empty((self.n, len(theta)))
        for rows, part in self.parts():
            out[rows] = self.times(part, theta)
        return out

    def residuals(self, z, units=slice(None)):
        """Those of all rows, s (t - sigma(z)), (n, U)."""
        return self.s[:, None] * (self.t[:, units] - self.activation.value(z))

    def curvature(self, z):
        """That of all rows, s sigma'(z), (n, U)."""
        return self.s[:, None] * self.activation.derivative(z)

    def values(self, theta, z, units):
        """(F, sum of the sizes of its terms), (U,) each."""
        primitive, product = self.activation.primitive(z), self.t[:, units] * z
        squares = 0.5 * np.sum(theta**2, axis=1)
        loss = self.C * (self.s @ (primitive - product))
        size = self.C * (self.s @ (np.abs(primitive) + np.abs(product)))
        return loss + squares, size + squares

    def gradients(self, theta, residuals):
        """Gradients of F, (U, D)."""
        out = theta.copy()
        for rows, part in self.parts():
            out -= self.C * self.sums(part, residuals[rows])
        return out

    def product(self, V, curvature):
        """H_u v_u for V of shape (U, D) and the curvature (n, U)."""
        out = V.copy()
        for rows, part in self.parts():
            out += self.C * self.sums(part, curvature[rows] * self.times(part, V))
        return out

    def gram(self, weight):
        """sum_i weight_i phi_i phi_i^T, (D, D)."""
        out = np.zeros((self.D, self.D))
        for rows, part in self.parts():
            if self.size:
                last = np.full((part.shape[0], 1), self.size)
                stack = sp.hstack if sp.issparse(part) else np.hstack
                part = stack([part, last])
            weighted = part.multiply(weight[rows, None]) if sp.issparse(part) else None
            out += full(part.T @ (weight[rows, None] * part if weighted is None else weighted))
        return out

    def squares(self):
        """sum_i s_i phi_ik^2, (D,)."""
        out = np.full(self.D, self.size**2 * self.s.sum())
        out[: self.X.shape[1]] = 0.0
        for rows, part in self.parts():
            out[: part.shape[1]] += (part**2).T @ self.s[rows]
        return out


def factor(G):
    """(Cholesky factor of I + G, whether it is one): beside a large G, I may drown in rounding."""
    diagonal = np.diag_indices_from(G)
    for ridge in (0.0, 1e-13):
        H = G.copy()
        H[diagonal] += 1.0 + ridge * G[diagonal].max()
        with suppress(la.LinAlgError):
            return la.cho_factor(H, overwrite_a=True, check_finite=False), ridge == 0.0
    raise ValueError("C times the squares of the features cannot be factorized: lower C")


class Inverses:
    """(I + C c_u G)^-1 for each unit, G the Gram matrix and c_u its mean curvature.

    One factor serves all units whose curvature is alike: of the identity there is one, and it is
    the Hessian. Beyond `WIDEST` features G is its diagonal.
    """

    def __init__(self, losses):
        self.losses, self.factors = losses, {}
        # whether they are inverses of what they say: of the identity those of its Hessian
        self.exact = losses.D <= WIDEST
        self.gram = losses.gram(losses.s) if self.exact else losses.squares()

    def levels(self, curvature):
        """Powers of two next to the mean curvature of each unit."""
        mean = curvature.sum(axis=0) / self.losses.s.sum()
        return np.round(np.log2(np.clip(mean, 2.0**-60, 2.0**60))).astype(int)

    def solve(self, V, levels):
        """The inverses times the rows of V."""
        out = np.empty_like(V)
        for level in np.unique(levels):
            own = levels == level
            weight = self.losses.C * 2.0 ** int(level)
            if self.gram.ndim == 1:
                out[own] = V[own] / (1.0 + weight * self.gram)
                continue
            if level not in self.factors:
                self.factors[level], is_exact = factor(weight * self.gram)
                self.exact = self.exact and is_exact
            out[own] = la.cho_solve(self.factors[level], V[own].T, check_finite=False).T
        return out


def row_space(X):
    """(rows in n coordinates, orthonormal basis (d, n)) of fewer dense rows than features."""
    n, d = X.shape
    if sp.issparse(X) or n >= d:
        return X, None
    basis, triangle = la.qr(
        np.array(X.T, dtype=np.float64, order="F"),
        mode="economic",
        overwrite_a=True,
        check_finite=False,
    )
    # rounding depends on a row's place
    return np.ascontiguousarray(triangle.T)[first_equal(X)], basis
