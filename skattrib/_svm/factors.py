"""Factors of H = I + Z^T Z that follow H as rows of Z come and go.

Rows of Z are edges: sqrt(scale_i) u x_i^T with the u of row i an orthonormal basis of the changes
that its free classes J allow, so that H = I + sum_i scale_i (I_J - 1 1^T / |J|) x_i x_i^T.
"""

import copy

import numpy as np
import scipy.linalg as la
import scipy.sparse as sp
from scipy.linalg.blas import get_blas_funcs

from .selected_rows import listed

# a factor follows changes of up to so many edges for each of its rows
LARGEST_BORDER, LARGEST_UPDATE = 0.25, 0.1

# I + Z Z^T is factorized in float32 only from so many edges on, where that counts, and while its
# diagonal stays below this
FEWEST_SINGLE, MOST_SINGLE = 1000, 1e5


class Edges:
    """The rows of Z that belong to some rows of X, numbered, and their free classes."""

    def __init__(self, rows, numbers, free, scale, classes, n_classes):
        size = free.sum(axis=1) - 1
        some = np.flatnonzero(size > 0)
        self.rows, self.numbers, self.n_classes = rows.take(some), numbers[some], n_classes
        # place of the edge's row among them, and of the edge among those of its row, from one
        self.row = np.repeat(np.arange(len(some)), size[some])
        first = np.repeat(np.cumsum(size[some]) - size[some], size[some])
        self.p = np.arange(len(self.row)) - first + 1
        self.free = free[some][self.row]
        place, p = np.cumsum(self.free, axis=1) - 1, self.p[:, None]
        U = np.where(self.free & (place < p), 1.0, 0.0)
        U -= np.where(self.free & (place == p), p, 0.0)
        U *= np.sqrt(scale[some][self.row][:, None] / (p * (p + 1.0)))
        self.U = U if classes is None else listed(U, classes[some][self.row], n_classes)

    def __len__(self):
        return len(self.row)

    def take(self, some):
        """A subset of the edges."""
        part = copy.copy(self)
        part.row, part.p, part.free, part.U = (
            values[some] for values in (self.row, self.p, self.free, self.U)
        )
        return part

    def of(self, numbers):
        """Which edges belong to the numbered rows."""
        return np.flatnonzero(np.isin(self.numbers, numbers)[self.row])

    def keys(self):
        """What tells edges apart."""
        patterns = [free.tobytes() for free in self.free]
        return list(zip(self.numbers[self.row].tolist(), self.p.tolist(), patterns, strict=True))

    def products(self, G):
        """Z G."""
        XG = self.rows.scores(G)[self.row]
        if sp.issparse(self.U):
            return np.asarray(self.U.multiply(XG).sum(axis=1)).ravel()
        return np.einsum("ek,ek->e", self.U, XG)

    def spread(self, t):
        """Z^T t."""
        one = np.ones(len(self)), (self.row, np.arange(len(self)))
        gather = sp.csr_array(one, shape=(len(self.rows), len(self)))
        sparse = sp.issparse(self.U)
        parts = gather @ (sp.diags_array(t) @ self.U if sparse else self.U * t[:, None])
        product = self.rows.block().T @ parts
        return (product.toarray() if sp.issparse(product) else product).T

    def gram(self, other):
        """Z Z'^T."""
        Q = _dense(self.U @ other.U.T)
        Q *= _dense(self.rows.block()[self.row] @ other.rows.block()[other.row].T)
        return Q

    def norms(self):
        """||z||^2 of each row z of Z."""
        X, U = self.rows.block(), self.U
        x = X.multiply(X).sum(axis=1) if sp.issparse(X) else np.einsum("ij,ij->i", X, X)
        u = U.multiply(U).sum(axis=1) if sp.issparse(U) else np.einsum("ij,ij->i", U, U)
        return np.ravel(u) * np.ravel(x)[self.row]

    def square(self, dtype):
        """The upper half of Z Z^T."""
        X, U = self.rows.block().astype(dtype, copy=False)[self.row], self.U.astype(dtype)
        syrk = get_blas_funcs("syrk", dtype=dtype)
        Q = _dense(X @ X.T) if sp.issparse(X) else syrk(1.0, X.T, trans=True)
        Q *= _dense(U @ U.T).T
        return Q

    def pieces(self):
        """Z in pieces of bounded size."""
        X = self.rows.block()
        piece = max(1, 2**22 // (self.n_classes * X.shape[1]))
        for first in range(0, len(self), piece):
            u = _dense(self.U[first : first + piece])
            x = _dense(X[self.row[first : first + piece]])
            yield (u[:, :, None] * x[:, None, :]).reshape(len(u), -1)


class EdgeFactor:
    """H^-1 through the Cholesky factor U^T U of I + Z Z^T, bordered by the edges that changed.

    In float32 if it need not be exact and is not too far from I.
    """

    def __init__(self, edges, exact):
        self.base = edges
        single = not exact and len(edges) >= FEWEST_SINGLE and edges.norms().max() < MOST_SINGLE
        self.dtype = np.float32 if single else np.float64
        Q = edges.square(self.dtype)
        Q[np.diag_indices_from(Q)] += 1.0
        self.upper = la.cho_factor(Q, lower=False, overwrite_a=True, check_finite=False)[0]
        self.most = int(LARGEST_BORDER * len(edges))
        # columns of the border, U^-T of theirs, and the products of these; those in use
        self.place, self.border = {}, np.empty((len(edges), self.most), self.dtype, "F")
        self.square = np.empty((self.most, self.most))
        self.used, self.added = np.empty(0, dtype=int), None

    def change(self, numbers, added):
        """Takes edges in for those of the numbered rows; returns False where they are too many."""
        taken = self.base.of(numbers)
        keys = added.keys() + taken.tolist()
        new = [k for k, key in enumerate(keys) if key not in self.place]
        first, last = len(self.place), len(self.place) + len(new)
        if last > self.most:
            return False
        self.place.update({keys[k]: first + c for c, k in enumerate(new)})
        n, new = len(added), np.array(new, dtype=int)
        V = np.zeros((len(self.base), len(new)), self.dtype, "F")
        some = new[new < n]
        if len(some):
            V[:, : len(some)] = self.base.gram(added.take(some))
        V[taken[new[len(some) :] - n], np.arange(len(some), len(new))] = 1.0
        V = la.solve_triangular(self.upper, V, trans="T", overwrite_b=True, check_finite=False)
        self.border[:, first:last] = V
        product = self.border[:, :last].T @ V
        self.square[:last, first:last] = product
        self.square[first:last, :last] = product.T
        self.used = np.array([self.place[key] for key in keys], dtype=int)
        self.added = added
        return True

    def solve(self, G):
        """H^-1 G."""
        w = self.base.products(G).astype(self.dtype, copy=False)
        w = la.solve_triangular(self.upper, w, trans="T", overwrite_b=True, check_finite=False)
        out = G
        if len(self.used):
            n, border = len(self.added), self.border[:, : len(self.place)]
            S = -self.square[np.ix_(self.used, self.used)]
            S[:n, :n] += self.added.gram(self.added)
            S[np.arange(n), np.arange(n)] += 1.0
            right = -(border.T @ w)[self.used]
            right[:n] += self.added.products(G)
            t = _solve_small(S, right)
            out = out - self.added.spread(t[:n])
            spread = np.zeros(border.shape[1], self.dtype)
            spread[self.used] = t
            w -= border @ spread
        t = la.solve_triangular(self.upper, w, overwrite_b=True, check_finite=False)
        return out - self.base.spread(t)


class WeightFactor:
    """H^-1 through the Cholesky factor U^T U of H at some edges, and those that changed."""

    def __init__(self, H, edges):
        H[np.diag_indices_from(H)] += 1.0
        self.upper = la.cho_factor(H.T, lower=False, overwrite_a=True, check_finite=False)[0]
        self.base, self.most = edges, int(LARGEST_UPDATE * len(H))
        self.changed = None

    def change(self, numbers, added):
        """Takes edges in for those of the numbered rows; returns False where they are too many."""
        taken = self.base.take(self.base.of(numbers))
        if len(added) + len(taken) > self.most:
            return False
        Z = np.concatenate([np.zeros((0, len(self.upper))), *added.pieces(), *taken.pieces()])
        self.changed = la.solve_triangular(
            self.upper, Z.T, trans="T", overwrite_b=True, check_finite=False
        )
        self.sign = np.repeat([1.0, -1.0], [len(added), len(taken)])
        return True

    def solve(self, G):
        """H^-1 G."""
        w = la.solve_triangular(self.upper, G.ravel(), trans="T", check_finite=False)
        if self.changed is not None:
            V = self.changed
            w -= V @ _solve_small(V.T @ V + np.diag(self.sign), V.T @ w)
        return la.solve_triangular(self.upper, w, check_finite=False).reshape(G.shape)


def _solve_small(S, right):
    """S^-1 right, S scaled to a diagonal of ones."""
    size = 1.0 / np.sqrt(np.maximum(np.abs(np.diagonal(S)), 1e-300))
    return size * np.linalg.solve(S * size * size[:, None], size * right)


def _dense(A):
    return A.toarray() if sp.issparse(A) else A
