"""The kernels of the similarity explainers."""

import numpy as np
from joblib import Parallel, delayed
from sklearn.metrics.pairwise import euclidean_distances
from sklearn.utils.extmath import row_norms

from . import _scoring


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
        block = _scoring.products(part, vectors)
        if self.metric == "cosine":
            block *= _inverse_norms(part)[:, None]
            block *= _inverse_norms(vectors)
        return block

    def shares(self, X, indices, target):
        """Terms of the inner product."""
        if self.metric == "euclidean":
            raise ValueError("decompose is for metric 'dot' or 'cosine': a distance is no sum")
        out = np.empty((*indices.shape, X.shape[1]), dtype=X.dtype)
        for j in range(len(indices)):
            if self.codes is not None and (self.codes[indices[j]] != target.codes[j]).any():
                raise ValueError(
                    f"indices of row {j} hold training rows of other classes than its target, "
                    "which same_class=True excludes"
                )
            row = _scoring.full(X[[j]])
            vectors = _scoring.full(self.vectors[indices[j]]).astype(X.dtype)
            out[j] = row * vectors
            if self.metric == "cosine":
                out[j] *= _inverse_norms(row) * _inverse_norms(vectors)[:, None]
        return out


def group(rows, columns):
    """Test rows and the training rows that they are compared with."""
    return _scoring.Group(rows, columns, np.ones(len(columns)))


def _inverse_norms(X):
    norms = row_norms(X)
    return np.divide(1, norms, out=np.zeros_like(norms), where=norms > 0)


def _distances(A, B):
    """Euclidean distances; those of near rows from their differences, without cancellation."""
    out = euclidean_distances(A, B)
    size = row_norms(A)[:, None] + row_norms(B)
    near = np.nonzero(out <= 0.03 * size)
    for pairs in _scoring.batches(len(near[0]), 4096):
        i, j = near[0][pairs], near[1][pairs]
        out[i, j] = row_norms(_scoring.full(A[i] - B[j]))
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
        return np.array(Parallel(n_jobs=self.n_jobs, prefer="threads")(tasks))[:, None, :]

    def shares(self, X, indices, target):
        """Terms of w . phi_i / ||w||."""
        planes = self.left(X)[:, 0, :-1]
        vectors = (_scoring.full(self.vectors[rows]) for rows in indices)
        return np.array([w * rows for w, rows in zip(planes, vectors, strict=True)], dtype=X.dtype)
