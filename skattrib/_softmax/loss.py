"""The L2-regularized softmax loss of a linear head: value, gradient, exact Hessian."""

from copy import copy

import numpy as np
import scipy.sparse as sp
from scipy.special import logsumexp
from sklearn.utils import gen_batches

from .._arrays import batches, full
from .targets import along, less

# floats of a batch of rows in double: it stays in the second-level cache
BATCH_FLOATS = 2**18
# and of what products with all of sparse rows come to
PART_FLOATS = 2**22


def contrasts(K):
    """(K, K - 1) orthonormal columns that sum to zero: a basis of logits up to a common shift."""
    basis = np.tril(-np.ones((K, K - 1)), -1) / np.arange(K - 1, 0, -1)
    basis = np.eye(K, K - 1) + basis
    return basis / np.linalg.norm(basis, axis=0)


def widened(rows, width, size):
    """Dense rows in float64, with the constant feature of that size if they are to be so wide."""
    out = np.full((len(rows), width), float(size))
    out[:, : rows.shape[1]] = rows
    return out


def probabilities(z):
    """The softmax of logits, row by row."""
    p = z - z.max(axis=1, keepdims=True)
    np.exp(p, out=p)
    p /= p.sum(axis=1, keepdims=True)
    return p


# whose square is a number
LARGEST_PENALTY = 1e150


class SoftmaxLoss:
    """J(theta) = sum_i s_i l(theta phi_i, q_i) + 1/2 sum penalty theta^2, and its derivatives.

    theta is (K, D) in float64, D = d + 1 with an intercept (a constant feature, last): the
    intercept of the logits is its weight times its size. Sums over rows are made in batches of
    rows in float64; X is never copied as a whole, and sparse rows stay sparse in all but `gram`
    and `hessian`.

    Parameters
    ----------
    X : (n, d) array or CSR
    q : (n, K) target probabilities, rows summing to 1, or labels as `OneHot`
    s : (n,) weights
    penalty : (D,), of each column of theta
    fit_intercept : bool
    intercept_scaling : float
        Size of the constant feature.
    """

    # order up to which Newton's method is to factorize H, whatever its own limit
    direct = 0

    def __init__(self, X, q, s, penalty, fit_intercept, intercept_scaling=1.0):
        penalty = np.asarray(penalty, dtype=np.float64)
        used = penalty[penalty != 0]
        if not ((used < LARGEST_PENALTY) & (used > 1 / LARGEST_PENALTY)).all():
            raise ValueError(
                f"C must lie between {1 / LARGEST_PENALTY:.0e} and {LARGEST_PENALTY:.0e}, so that "
                "squares of it and of 1 / C are numbers"
            )
        self.X, self.q, self.s, self.penalty = X, q, s, penalty
        self.fit_intercept, self.intercept_scaling = fit_intercept, intercept_scaling
        self.shape = q.shape[1], X.shape[1] + fit_intercept
        self.probabilities = None

    def batches(self, size=BATCH_FLOATS, least=64):
        """(slice, its rows in float64 with the constant feature), `size` floats at a time.

        For matrices as wide as a row squared: of wide sparse rows, `parts` are the way.
        """
        n, d = self.X.shape
        for rows in gen_batches(n, min(n, max(least, size // d))):
            part = self.X[rows]
            if sp.issparse(part):
                part = part.astype(np.float64)
                last = np.full((part.shape[0], 1), self.intercept_scaling)
                yield rows, sp.hstack([part, last], format="csr") if self.fit_intercept else part
            else:
                yield rows, widened(part, self.shape[1], self.intercept_scaling)

    def parts(self, width):
        """(slice, rows for `times` and `sums`) of products with `width` vectors.

        Dense rows have the constant feature, as in `batches`. Sparse rows come as they are, so
        many at a time that (rows, width) stays below 32 MB.
        """
        if not sp.issparse(self.X):
            yield from self.batches()
            return
        n = self.X.shape[0]
        for rows in gen_batches(n, max(64, PART_FLOATS // width)):
            yield rows, self.X if rows.stop - rows.start == n else self.X[rows]

    def times(self, part, W):
        """W phi of rows of a part, (b, p) for W of shape (p, D)."""
        if not sp.issparse(part):
            return part @ W.T
        d = part.shape[1]
        out = part @ np.ascontiguousarray(W[:, :d].T)
        if self.fit_intercept:
            out += self.intercept_scaling * W[:, d]
        return out

    def sums(self, part, F):
        """sum_i F_i phi_i^T over rows of a part, (p, D) for F of shape (b, p)."""
        if not sp.issparse(part):
            return (part.T @ F).T
        d = part.shape[1]
        out = np.empty((F.shape[1], self.shape[1]))
        out[:, :d] = (part.T @ np.ascontiguousarray(F)).T
        if self.fit_intercept:
            out[:, d] = self.intercept_scaling * F.sum(axis=0)
        return out

    def of(self, X, q, s):
        """A loss of rows with all their features, penalized like this one."""
        arguments = self.penalty, self.fit_intercept, self.intercept_scaling
        return SoftmaxLoss(X, q, s, *arguments)

    def project(self, X):
        """Rows in the coordinates in which the loss has its own."""
        return X

    def compress(self, theta):
        """Weights of features as weights of these coordinates."""
        return theta

    def expand(self, theta):
        """Weights of these coordinates as weights of features, (..., D)."""
        return theta

    def free_columns(self, damping=0.0):
        """How many columns of theta nothing but the rows determines."""
        return np.count_nonzero(self.penalty + damping == 0)

    def rows(self, rows, factor=1.0):
        """The loss of some rows alone, at the same probabilities, weights times a factor."""
        other = copy(self)
        other.X, other.q, other.s = self.X[rows], self.q[rows], factor * self.s[rows]
        other.probabilities = self.probabilities[rows]
        return other

    def without(self, rows):
        """The loss without some rows, at the same probabilities."""
        other = copy(self)
        other.s = self.s.copy()
        other.s[rows] = 0.0
        return other

    def along(self, part, V):
        """Logits that V (m, K, D) gives to rows of a part, (b, m, K)."""
        return self.times(part, V.reshape(-1, V.shape[2])).reshape(-1, *V.shape[:2])

    def back(self, part, F):
        """sum_i F_i (x) phi_i over rows of a part, (m, K, D) for F of shape (b, m, K)."""
        return self.sums(part, F.reshape(len(F), -1)).reshape(*F.shape[1:], self.shape[1])

    def logits(self, theta):
        """(n, K), or (n, m) for theta of shape (m, D)."""
        out = np.empty((self.X.shape[0], len(theta)))
        for rows, part in self.parts(len(theta)):
            out[rows] = self.times(part, theta)
        return out

    def against(self, R):
        """sum_i R_i phi_i^T, (K, D) for R of shape (n, K)."""
        out = np.zeros((R.shape[1], self.shape[1]))
        for rows, part in self.parts(R.shape[1]):
            out += self.sums(part, R[rows])
        return out

    def value(self, theta, z):
        """J at theta with logits z."""
        losses = logsumexp(z, axis=1) - along(self.q, z)
        return self.s @ losses + 0.5 * np.sum(theta**2 * self.penalty)

    def rms(self, z):
        """Root mean square of logits."""
        square = sum(np.sum(z[rows] ** 2) for rows in batches(len(z), 4096))
        return np.sqrt(square / z.size)

    def largest(self, z):
        """The largest logit, by its absolute value."""
        return np.abs(z).max()

    def at(self, z):
        """Fixes the probabilities at which the Hessian is taken; returns s (q - p), (n, K)."""
        self.probabilities = probabilities(z)
        out = less(self.q, self.probabilities)
        out *= self.s[:, None]
        return out

    def gradient(self, theta, residuals):
        """Gradient of J, (K, D)."""
        return theta * self.penalty - self.against(residuals)

    def product(self, V, damping=0.0):
        """H V for V of shape (m, K, D)."""
        out = V * (self.penalty + damping)
        for rows, part in self.parts(V.shape[0] * V.shape[1]):
            p, F = self.probabilities[rows, None], self.along(part, V)
            F = p * (F - np.sum(p * F, axis=-1, keepdims=True))
            out += self.back(part, self.s[rows, None, None] * F)
        return out

    def gram(self, columns=slice(None)):
        """sum_i s_i phi_i phi_i^T of all D columns, or of some."""
        size = np.zeros(self.shape[1])[columns].size
        out = np.zeros((size, size))
        for rows, part in self.batches():
            part = full(part[:, columns])
            out += part.T @ (self.s[rows, None] * part)
        return out

    def curvature(self):
        """sum_i s_i B_i, (K, K)."""
        p, s = self.probabilities, self.s
        return np.diag(s @ p) - p.T @ (s[:, None] * p)

    def curvature_along(self, vectors, basis):
        """sum_i s_i (u_l.B_i u_l) (phi_i.b_k)^2 of the columns u_l and b_k, (l, k)."""
        out = np.zeros((vectors.shape[1], basis.shape[1]))
        p, s = self.probabilities, self.s
        for rows, part in self.batches():
            weight = p[rows] @ vectors**2 - (p[rows] @ vectors) ** 2
            out += (s[rows, None] * weight).T @ np.asarray(part @ basis) ** 2
        return out

    def class_blocks(self):
        """sum_i s_i p_ik (1 - p_ik) phi_i phi_i^T of each class k, (K, D, D)."""
        K, D = self.shape
        out = np.zeros((K, D, D))
        p = self.probabilities
        for rows, part in self.batches(4 * BATCH_FLOATS):
            part = full(part)
            for k in range(K):
                weight = self.s[rows] * p[rows, k] * (1 - p[rows, k])
                out[k] += part.T @ (weight[:, None] * part)
        return out

    def total_weight(self):
        """Sum of the weights, and how many are not 0."""
        return self.s.sum(), np.count_nonzero(self.s)

    def class_weights(self):
        """Sum of the weights of each class, by the targets."""
        return self.s @ self.q

    def hessian(self, damping=0.0):
        """H on logits up to a common shift, in the basis of `contrasts`, ((K-1) D, (K-1) D)."""
        K, D = self.shape
        Z = contrasts(K)
        H = np.zeros((K - 1, D, K - 1, D))
        p = self.probabilities
        for rows, part in self.batches(4 * BATCH_FLOATS):
            part = full(part)
            zp = p[rows] @ Z
            for k in range(K - 1):
                # s Z^T B Z, row k, columns from k on
                weight = (p[rows] * Z[:, k]) @ Z[:, k:] - zp[:, [k]] * zp[:, k:]
                weight *= self.s[rows, None]
                right = (weight[:, :, None] * part[:, None, :]).reshape(len(part), -1)
                H[k, :, k:, :] += (part.T @ right).reshape(D, K - 1 - k, D)
        for k in range(K - 1):
            H[k, range(D), k, range(D)] += self.penalty + damping
            for m in range(k):
                H[k, :, m, :] = H[m, :, k, :].T
        return H.reshape((K - 1) * D, (K - 1) * D)
