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

    def directions(self, X, pairs, side):
        """The row of the other side; both rows over their norms, which are held fixed."""
        if self.metric == "euclidean":
            raise ValueError(
                "decompose and directions are for metric 'dot' or 'cosine': a distance is no sum"
            )
        check_compared(self.codes, pairs)
        for part in _scoring.pair_batches(len(pairs.rows), X, self.vectors):
            at = np.arange(part.start, part.stop)
            own, other = X[pairs.tests[at]], self.vectors[pairs.rows[at]]
            if side == "train":
                own, other = other, own
            if self.metric == "dot":
                yield at, other
                continue
            norms = _norms(own)
            short = (norms > 0) & (norms < 1.0 / np.finfo(X.dtype).max)
            if short.any():
                raise ValueError(
                    f"rows as short as {norms[short].min():.1e} have no direction that {X.dtype} "
                    "holds: scale the features"
                )
            factors = np.divide(1.0, norms, out=np.zeros_like(norms), where=norms > 0)
            yield at, _scoring.scaled(_unit(other.astype(np.float64)), factors)

    def shares(self, X, pairs):
        """Terms of the inner product, of the cosine whatever the size of the rows."""
        yield from super().shares(_scaled(X)[0] if self.metric == "cosine" else X, pairs)


def check_compared(codes, pairs):
    """Refuses training rows of other classes than the targets, if `codes` are given."""
    if codes is None:
        return
    other = codes[pairs.rows] != pairs.target.codes[pairs.tests]
    if other.any():
        raise ValueError(
            f"indices of row {pairs.tests[other.argmax()]} hold training rows of other classes "
            "than its target, which same_class=True excludes"
        )


def group(rows, columns):
    """Test rows and the training rows that they are compared with."""
    return _scoring.Group(rows, columns, np.ones(len(columns)))


def _scaled(X):
    """(rows whose largest entry is about 1, exponents): X are these times powers of two."""
    if sp.issparse(X):
        exponents = np.frexp(abs(X).max(axis=1).toarray().ravel())[1]
        X = X.copy()
        X.data = np.ldexp(X.data, -np.repeat(exponents, np.diff(X.indptr)))
        return X, exponents
    exponents = np.frexp(np.abs(X).max(axis=1, initial=0))[1]
    return np.ldexp(X, -exponents[:, None]), exponents


def _norms(X):
    """Norms in float64, of huge and tiny rows too."""
    X, exponents = _scaled(X.astype(np.float64))
    return np.ldexp(row_norms(X), exponents)


def _unit(X):
    """Rows of length 1, or of zeros; huge and tiny ones too."""
    X = _scaled(X)[0]
    if sp.issparse(X):
        return normalize(X, copy=False)
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

    side = "train"

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

    def directions(self, X, pairs, side):
        """Unit normals of the hyperplanes of test rows."""
        if side == "test":
            raise ValueError(
                "directions of ExemplarSVMExplainer are for side='train': the hyperplane is no "
                "linear function of its test row"
            )
        check_compared(self.codes, pairs)
        planes = self.left(X)[:, 0, :-1]
        for part in _scoring.pair_batches(len(pairs.rows), planes):
            at = np.arange(part.start, part.stop)
            yield at, planes[pairs.tests[at]]


class TRAKKernel(_scoring.ProductKernel):
    """T[j, i] = mean over models of right[i] g_j^T H^-1 phi_i, with H of the model's columns."""

    side = "train"

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

    def directions(self, X, pairs, side):
        """H^-1 of the other side's gradient, times the right side."""
        if side == "train":
            left = self.solved(self.gradients(X, pairs.target.codes))
        for part in batches(len(pairs.rows), self.height):
            at = np.arange(part.start, part.stop)
            rows = pairs.rows[at]
            if side == "train":
                found = left[pairs.tests[at]]
            else:
                found = self.solved(full(self.vectors[rows]).astype(np.float64))
            yield at, found * self.widened(rows)
