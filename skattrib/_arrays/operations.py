"""What everyone needs of arrays: batches, rows, products, norms, outputs of classifiers."""

import numpy as np
import scipy.sparse as sp
from sklearn.utils import gen_batches
from sklearn.utils.extmath import row_norms, safe_sparse_dot

from .row_blocks import block_height, in_files


def batches(n, size):
    """Slices of at most `size` that cover range(n); none if n is 0."""
    return gen_batches(n, size) if n else ()


def row_batches(X, size=4096):
    """Slices of the rows of X, at most `size`; a quarter of a block in float64 of rows in files."""
    return batches(X.shape[0], min(size, block_height(X, 32)) if in_files(X) else size)


def full(rows) -> np.ndarray:
    """Some rows as a plain array."""
    return rows.toarray() if sp.issparse(rows) else rows


def products(left, right):
    """Left @ right.T as a C-ordered array, whether either is sparse or not."""
    if sp.issparse(left) or sp.issparse(right):
        return np.ascontiguousarray(safe_sparse_dot(left, right.T, dense_output=True))
    return np.matmul(left, right.T)


def squared_norms(X, bias):
    """||phi||^2 of each row in float64, with the constant feature if there is one."""
    out = np.empty(X.shape[0])
    for rows in row_batches(X):
        out[rows] = row_norms(X[rows].astype(np.float64), squared=True)
    return out + bias


def total_variance(X, weight):
    """Weighted mean of ||x - mean||^2 in float64; 0 where rounding has all of it."""
    weight = weight / weight.max()
    weight = weight / weight.sum()
    n, d = X.shape
    parts = list(batches(n, 4096 if sp.issparse(X) else max(64, 2**19 // d)))
    mean, square = np.zeros(d), 0.0
    for rows in parts:
        mean += safe_sparse_dot(X[rows].astype(np.float64, copy=False).T, weight[rows])
    for rows in parts:
        part, share = X[rows].astype(np.float64), weight[rows]
        if sp.issparse(part):
            # what is not stored lies the mean away
            stored = sp.csr_array((np.ones(part.nnz), part.indices, part.indptr), part.shape)
            square += max(share.sum() * (mean @ mean) - share @ (stored @ mean**2), 0.0)
            part.data -= mean[part.indices]
        else:
            part -= mean
        square += share @ row_norms(part, squared=True)
    eps = np.finfo(np.float64).eps
    noise = 4 * eps if sp.issparse(X) else n * eps**2
    return float(square) if square > noise * (mean @ mean) else 0.0


def variance_scale(variance, square, multiple=1.0):
    """(C, size of the constant feature) of "scale": `multiple` over the variance, and its root.

    With both, scaled rows have the same head in other units. `square` is the mean ||x||^2.
    """
    if variance == 0.0:
        # equal rows: nothing depends on C but the share of the intercept
        variance = square or 1.0
    if not 1e-145 < variance < 1e145:
        raise ValueError(
            f"the variance of the rows is {variance:.1e}, of which C='scale' cannot take the "
            "inverse: scale the features, or give C as a number"
        )
    return multiple / variance, float(np.sqrt(variance))


def row_keys(X):
    """A number for each row, the same for equal rows and hardly ever for others."""
    n, d = X.shape
    multipliers = np.random.default_rng(0).integers(2**64, size=d, dtype=np.uint64)
    keys = np.empty(n, dtype=np.uint64)
    for rows in batches(n, max(1, 2**20 // d)):
        part = X[rows]
        # + 0.0: -0.0 is equal to 0.0
        values = (part.data if sp.issparse(part) else part) + 0.0
        bits = values.astype(np.float64, copy=False).view(np.uint64)
        # round numbers differ in their upper bits only
        bits = bits ^ (bits >> np.uint64(32))
        if sp.issparse(part):
            bits = sp.csr_array((bits, part.indices, part.indptr), shape=part.shape)
        keys[rows] = bits @ multipliers
    return keys


def first_equal(X):
    """For each row the first row that is equal to it, itself or an earlier one."""
    n, d = X.shape
    keys = row_keys(X)
    first, place = np.unique(keys, return_index=True, return_inverse=True)[1:]
    first = first[place]
    later = np.flatnonzero(first != np.arange(n))
    for rows in batches(len(later), max(1, 2**20 // d)):
        b = later[rows]
        pairs = X[first[b]], X[b]
        if sp.issparse(X):
            differ = abs(pairs[0] - pairs[1]).max(axis=1).toarray().ravel() > 0
        else:
            differ = (pairs[0] != pairs[1]).any(axis=1)
        first[b[differ]] = b[differ]
    return first


def decision(X, coef, intercept):
    """X coef^T + intercept in float64, without a float64 copy of all of X."""
    out = np.empty((X.shape[0], len(coef)))
    for rows in row_batches(X):
        part = X[rows].astype(np.float64, copy=False)
        out[rows] = safe_sparse_dot(part, coef.T, dense_output=True)
    return out + intercept


def logits(f):
    """(n, K) logits of decision values; those of two classes are -f/2 and f/2."""
    return np.column_stack([-f / 2, f / 2]) if f.ndim == 1 else f


def of_class(f, codes):
    """Decision values of one class a row, (n,); of two classes the one value, or minus it."""
    if f.ndim == 1:
        return np.where(codes == 1, f, -f)
    return f[np.arange(len(f)), codes]


def log_odds(p):
    """Log p - log (1 - p) of each class, both kept above 2e-16, from probabilities (n, K)."""
    p = np.asarray(p, dtype=np.float64)
    none = np.zeros((len(p), 1))
    # 1 - p as the sum of the others: near 1 the difference would be rounding
    before = np.cumsum(np.hstack([none, p[:, :-1]]), axis=1)
    after = np.cumsum(np.hstack([none, p[:, :0:-1]]), axis=1)[:, ::-1]
    eps = np.finfo(np.float64).eps
    return np.log(np.maximum(p, eps)) - np.log(np.maximum(before + after, eps))


def take(X, rows):
    """Rows of an array, a sparse matrix, a frame or a list."""
    if hasattr(X, "iloc"):
        return X.iloc[rows]
    return X[rows] if hasattr(X, "shape") else [X[row] for row in rows]


def count(X):
    """Number of rows."""
    return X.shape[0] if hasattr(X, "shape") else len(X)
