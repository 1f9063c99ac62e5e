"""Cheap inverses near that of the softmax head's Hessian, behind which conjugate gradients run."""

import numpy as np
import scipy.linalg as la
import scipy.sparse as sp

from .hessian import EKFAC, KFAC, Inverse
from .loss import contrasts


class ClassBlocks(Inverse):
    """H without its blocks between different classes.

    It needs K times the memory and the time of a Gram matrix and leaves a handful of iterations
    at every strength of the penalty, where `KFAC` may need hundreds.
    """

    preconditions = True

    def __init__(self, loss, damping=0.0):
        super().__init__(loss, damping)
        blocks = loss.class_blocks()
        diagonal = np.einsum("kdd->kd", blocks)
        diagonal += loss.penalty + damping
        diagonal += 1e-12 * diagonal.mean(axis=1, keepdims=True) + np.finfo(np.float64).tiny
        self.factors = [la.cholesky(block, lower=True, overwrite_a=True) for block in blocks]

    @staticmethod
    def fits(loss):
        """Whether the blocks stay below 1 GB, of sparse rows 128 MB."""
        K, D = loss.shape
        most = 2**24 if sp.issparse(loss.X) else 2**27
        return most >= K * D * D

    def solve(self, V):
        """The inverse times V."""
        out = np.empty_like(V)
        for k, factor in enumerate(self.factors):
            out[:, k] = la.cho_solve((factor, True), V[:, k].T).T
        return out - out.mean(axis=1, keepdims=True)


class LeadingDirections(Inverse):
    """K-FAC in the few leading directions of wide sparse rows, a diagonal beside them.

    H is taken for S (x) U G U^T + I (x) d: S the mean of B over rows, U G U^T the leading part of
    the Gram matrix in which a row weighs as much as its B, d the penalty and what that part leaves
    of the matrix's diagonal. In text a few directions stand out, those of frequent words.
    """

    preconditions = True
    rank, spare, iterations = 16, 8, 3

    def __init__(self, loss, damping=0.0):
        super().__init__(loss, damping)
        D = loss.shape[1]
        self.directions = np.random.default_rng(0).normal(size=(min(self.rank + self.spare, D), D))
        self.update(self.iterations)

    def update(self, iterations=1):
        """Takes the probabilities of the loss, and goes on from the directions it has."""
        loss, K = self.loss, self.loss.shape[0]
        p, s = loss.probabilities, loss.s
        weight = s * (1 - np.sum(p**2, axis=1)) / K
        total = weight.sum()
        mean = (np.diag(s @ p) - p.T @ (s[:, None] * p)) / (total if total > 0 else 1.0)
        Z = contrasts(K)
        values, vectors = np.linalg.eigh(Z.T @ mean @ Z)
        self.vectors = Z @ vectors
        part = self._leading(weight, iterations)
        size, penalty = self._sizes(weight), loss.penalty + self.damping
        rest = np.where(penalty > 0, penalty + np.maximum(size - np.sum(part**2, axis=0), 0), size)
        # columns of zeros hold no gradient: anything does
        self.scale = 1 / np.sqrt(np.where(rest > 0, rest, 1.0))
        part *= self.scale
        shares, axes = np.linalg.eigh(part @ part.T)
        kept = shares > 1e-12 * shares[-1]
        self.basis = (axes[:, kept].T @ part) / np.sqrt(shares[kept, None])
        self.shrink = 1 / (1 + np.maximum(values, 0.0)[:, None] * shares[kept]) - 1

    def _sizes(self, weight):
        """Diagonal of the Gram matrix."""
        loss, size = self.loss, np.zeros(self.loss.shape[1])
        for rows, part in loss.parts(1):
            size += loss.sums(part**2, weight[rows, None])[0]
        if loss.fit_intercept and sp.issparse(loss.X):
            size[-1] *= loss.intercept_scaling
        return size

    def _leading(self, weight, iterations):
        """Rows whose outer products sum to the leading part of the Gram matrix, (rank, D)."""
        loss = self.loss

        def gram(Q):
            out = np.zeros_like(Q)
            for rows, part in loss.parts(len(Q)):
                out += loss.sums(part, weight[rows, None] * loss.times(part, Q))
            return out

        Q = self.directions
        for _ in range(iterations):
            Q = np.linalg.qr(gram(Q).T)[0].T
        self.directions = Q
        values, vectors = np.linalg.eigh(Q @ gram(Q).T)
        leading = slice(-self.rank, None)
        return np.sqrt(np.maximum(values[leading, None], 0.0)) * (vectors[:, leading].T @ Q)

    def solve(self, V):
        """The inverse times V."""
        out = V * self.scale
        inside = np.matmul(self.vectors.T, out @ self.basis.T)
        out += np.matmul(self.vectors, inside * self.shrink) @ self.basis
        out *= self.scale
        return out - out.mean(axis=1, keepdims=True)


def preconditioner(loss, damping=0.0):
    """The best of the cheap inverses that memory allows."""
    if ClassBlocks.fits(loss):
        return ClassBlocks(loss, damping)
    if KFAC.fits(loss):
        return EKFAC(loss, damping, floor=1e-12)
    return LeadingDirections(loss, damping)
