"""Kernels that compare rows: similarities, exemplar SVMs, and gradients through a curvature."""

import numpy as np
import scipy.sparse as sp
from sklearn.metrics.pairwise import euclidean_distances
from sklearn.preprocessing import normalize
from sklearn.utils.extmath import row_norms
from sklearn.utils.parallel import Parallel, delayed

from ..._arrays import batches, full, products
from ..._arrays.checks import check_workers
from .. import _scoring


class SimilarityKernel(_scoring.Kernel):
    """T[j, i] = similarity(phi_j, phi_i); given `codes`, among rows of the target class."""

    def __init__(self, vectors, codes, metric):
        n = vectors.shape[0]
        super().__init__(np.arange(n), vectors, n)
        self.codes, self.metric = codes, metric
        self.absent = 0.0 if codes is None else -np.inf

    def groups(self, target):
        """One group, or one for each class."""
        if self.codes is None:
            yield group(np.arange(len(target.codes)), np.arange(self.n_samples))
            return
        for c in np.unique(target.codes):
            columns = np.flatnonzero(self.codes == c)
            yield group(np.flatnonzero(target.codes == c), columns)

    def values(self, part, vectors):
        """Similarities of a block."""
        if self.metric == "euclidean":
            return -_distances(part, vectors)
        if self.metric == "cosine":
            part, vectors = _unit(part), _unit(vectors)
        return products(part, vectors)

    def shares(self, X, indices, target):
        """Terms of the inner product."""
        if self.metric == "euclidean":
            raise ValueError("decompose is for metric 'dot' or 'cosine': a distance is no sum")
        check_compared(self.codes, indices, target)
        unit = _unit if self.metric == "cosine" else lambda rows: rows
        if sp.issparse(X):
            distinct, place = np.unique(indices, return_inverse=True)
            vectors = unit(self.vectors[distinct].astype(X.dtype))
            ones = np.ones(indices.shape)
            return _scoring.row_products(unit(X), vectors, place.reshape(indices.shape), ones)
        out = np.empty((*indices.shape, X.shape[1]), dtype=X.dtype)
        for j in range(len(indices)):
            vectors = full(self.vectors[indices[j]]).astype(X.dtype)
            out[j] = unit(X[[j]]) * unit(vectors)
        return out


def check_compared(codes, indices, target):
    """Refuses training rows of other classes than the targets, if `codes` are given."""
    if codes is None:
        return
    other = (codes[indices] != target.codes[:, None]).any(axis=1)
    if other.any():
        raise ValueError(
            f"indices of row {other.argmax()} hold training rows of other classes than its target, "
            "which same_class=True excludes"
        )


def group(rows, columns):
    """Test rows and the training rows that they are compared with."""
    return _scoring.Group(rows, columns, np.ones(len(columns)))


def _unit(X):
    """Rows of length 1, or of zeros; huge and tiny ones too."""
    if sp.issparse(X):
        exponents = np.frexp(abs(X).max(axis=1).toarray().ravel())[1]
        X = X.copy()
        X.data = np.ldexp(X.data, -np.repeat(exponents, np.diff(X.indptr)))
        return normalize(X, copy=False)
    exponents = np.frexp(np.abs(X).max(axis=1, initial=0))[1]
    X = np.ldexp(X, -exponents[:, None])
    norms = row_norms(X)[:, None]
    return np.divide(X, norms, out=np.zeros_like(X), where=norms > 0)


def _distances(A, B):
    """Euclidean distances; those of near rows from their differences, without cancellation."""
    out = euclidean_distances(A, B)
    size = row_norms(A)[:, None] + row_norms(B)
    near = np.nonzero(out <= 0.03 * size)
    for pairs in batches(len(near[0]), 4096):
        i, j = near[0][pairs], near[1][pairs]
        out[i, j] = row_norms(full(A[i] - B[j]))
    return np.ascontiguousarray(out, dtype=A.dtype)


class ExemplarKernel(_scoring.ProductKernel):
    """T[j, i] = signed distance of training row i to the hyperplane of test row j."""

    def __init__(self, vectors, codes, plane, n_jobs):
        n = vectors.shape[0]
        super().__init__(np.ones((n, 1)), np.arange(n), vectors, n)
        self.codes, self.plane, self.n_jobs = codes, plane, n_jobs
        self.absent = 0.0 if codes is None else -np.inf

    groups = SimilarityKernel.groups

    def left(self, X, group=None, rows=None):
        """Hyperplanes of test rows, (len(X), 1, d + 1)."""
        tasks = (delayed(self.plane)(X[[j]]) for j in range(X.shape[0]))
        n_jobs = check_workers(self.n_jobs, X.shape[0])
        return np.array(Parallel(n_jobs=n_jobs, prefer="threads")(tasks))[:, None, :]

    def shares(self, X, indices, target):
        """Terms of w . phi_i / ||w||."""
        check_compared(self.codes, indices, target)
        planes = self.left(X)[:, 0, :-1]
        if sp.issparse(X):
            place = np.arange(indices.size)
            vectors = sp.csr_array(self.vectors[indices.ravel()], dtype=X.dtype)
            planes = np.repeat(planes, indices.shape[1], axis=0)
            return _scoring.row_products(vectors, planes, place[:, None], np.ones((len(place), 1)))
        vectors = (full(self.vectors[rows]) for rows in indices)
        return np.array([w * rows for w, rows in zip(planes, vectors, strict=True)], dtype=X.dtype)


class TRAKKernel(_scoring.ProductKernel):
    """T[j, i] = mean over models of right[i] g_j^T H^-1 phi_i, with H of the model's columns."""

    def __init__(self, right, vectors, inverses):
        n = vectors.shape[0]
        super().__init__(right / len(inverses), np.arange(n), vectors, n)
        self.inverses = inverses
        ends = np.cumsum([0, *(inverse.Phi.shape[1] for inverse in inverses)]).tolist()
        self.columns = [slice(*pair) for pair in zip(ends, ends[1:], strict=False)]
        # gradients of 32 MB at a time
        self.height = max(1, min(_scoring.ROWS, 2**22 // ends[-1]))

    def gradients(self, X, codes):
        """Gradients of the explained outputs, (len(X), sum of k)."""
        return full(X)

    def solved(self, G):
        """H^-1 of each model, applied to rows of gradients."""
        pairs = zip(self.inverses, self.columns, strict=True)
        return np.hstack([inverse.solve(G[:, columns]) for inverse, columns in pairs])

    def groups(self, target):
        """Some test rows at a time, and all training rows."""
        for rows in batches(len(target.codes), self.height):
            at = np.arange(rows.start, rows.stop)
            yield _scoring.Group(at, self.support, weights=target.codes[rows])

    def left(self, X, group, rows):
        """H^-1 g of test rows, (len(X), 1, sum of k)."""
        return self.solved(self.gradients(X, group.weights[rows]))[:, None]

    def values(self, part, vectors):
        """Products of a block, each model's with its own right side if they differ."""
        right, left = part
        left = left[:, 0]
        if len(right) == 1:
            return products(left, vectors) * right
        parts = zip(right, self.columns, strict=True)
        return sum(
            products(np.ascontiguousarray(left[:, at]), vectors[:, at]) * own for own, at in parts
        )

    def aggregate(self, X, target, weights):
        """The attributions of sum_j weights_j g_j."""
        total = np.zeros((1, self.vectors.shape[1]))
        for rows in batches(X.shape[0], self.height):
            total += weights[rows] @ self.gradients(X[rows], target.codes[rows])
        return self.of_sum(total)[0]

    def of_sum(self, G):
        """Attributions (len(G), n) of few rows of gradients, in float64."""
        left = self.solved(G)[:, None]
        out = np.empty((len(G), self.n_samples))
        for columns in batches(self.n_samples, _scoring.COLUMNS):
            vectors = self.vectors[columns].astype(np.float64)
            out[:, columns] = self.values((self.right[columns].T, left), vectors)
        return out

    def widened(self, rows):
        """The right side of some training rows for each column of gradients."""
        widths = [at.stop - at.start for at in self.columns]
        right = np.broadcast_to(self.right[rows], (len(rows), len(widths)))
        return np.repeat(right, widths, axis=1)

    def own(self):
        """T[i, i] of training rows, given their gradients, (n,)."""
        out = np.empty(self.n_samples)
        for rows in batches(self.n_samples, self.height):
            G = full(self.vectors[rows]).astype(np.float64)
            right = self.widened(np.arange(rows.start, rows.stop))
            out[rows] = np.einsum("ij,ij,ij->i", self.solved(G), G, right)
        return out

    def shares(self, X, indices, target):
        """Terms of the inner product of H^-1 g_j with right phi_i."""
        left = self.solved(self.gradients(X, target.codes))
        if sp.issparse(X):
            at = indices.ravel()
            vectors = sp.csr_array(self.vectors[at], dtype=X.dtype)
            left = np.repeat(left, indices.shape[1], axis=0) * self.widened(at)
            ones = np.ones((len(at), 1))
            return _scoring.row_products(vectors, left, np.arange(len(at))[:, None], ones)
        out = np.empty((*indices.shape, X.shape[1]), dtype=X.dtype)
        for j, rows in enumerate(indices):
            out[j] = left[j] * full(self.vectors[rows]) * self.widened(rows)
        return out
