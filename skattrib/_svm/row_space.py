"""Dense rows that are fewer than their features: the same problem in as many features as rows.

The dual and W(alpha) know of the rows only by their inner products. With X = L Q^T, Q orthonormal
columns and L square, the rows of L have the same duals, objective and gap, and W = W_L Q^T.
"""

import numpy as np
import scipy.linalg as la
import scipy.sparse as sp

from .search import Search

# rows times WIDER are at most the features; as many rows at most
WIDER, MOST_ROWS = 2, 4096

# columns that are taken up together: so many times the rows, and FEWEST numbers at least
COLUMNS, FEWEST = 4, 2**20


def is_wide(search):
    """Whether rows are so few that they are hardly ever dependent."""
    return WIDER * len(search.rows) <= search.X.shape[1]


def in_row_space(search, W, tol, most, engine):
    """Runs engine(search, W, most), of Newton steps, where that is cheapest; returns its work."""
    if sp.issparse(search.X) or not is_wide(search) or not 0 < len(search.rows) <= MOST_ROWS:
        return engine(search, W, most)
    rows = search.rows
    search.certify()
    before = search.gap / search.objective
    alpha = sp.csr_array(search.duals.alpha(search.exact, rows))[rows]
    square = square_rows(search.X, rows)
    inner = Search(square, search.y[rows], 1.0, search.K, search.cap[rows], search.bias, alpha)
    inner.difficulty = search.difficulty
    inner.certify()
    # all that is known of W there is its size beside W(alpha)
    here, there = search.augmented(), inner.augmented()
    work = engine(inner, np.vdot(W, here) / max(np.vdot(here, here), 1e-300) * there, most)
    search.use_float64()
    _take(search, inner.spread(inner.duals.alpha(inner.exact, inner.rows)))
    if inner.solved(tol) and not search.solved(tol) and work < most:
        # rounding: the gap that counts is that of the given rows
        if search.gap > before * search.objective:
            _take(search, alpha)
        work += engine(search, search.augmented(), most - work)
    return work


def _take(search, alpha):
    alpha = alpha.toarray() if sp.issparse(alpha) else alpha
    search.replace(search.rows, None, -alpha)
    search.certify()


def square_rows(X, rows):
    """(n, n) rows with the inner products of the listed ones, by QR of a few columns at a time."""
    n, d = len(rows), X.shape[1]
    R = np.zeros((0, n))
    step = max(COLUMNS * n, FEWEST // n)
    for first in range(0, d, step):
        part = X[rows, first : first + step].T.astype(np.float64)
        part = np.concatenate([R, part])
        R = la.qr(part, overwrite_a=True, mode="r", check_finite=False)[0][:n]
    return np.ascontiguousarray(R.T)
