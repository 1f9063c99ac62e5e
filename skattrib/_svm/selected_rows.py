"""Some rows of X as float64 blocks, whatever the layout."""

import numpy as np
import scipy.sparse as sp

from .._arrays.row_blocks import block_height, in_files

# rows are kept converted up to this share of X, and converted when needed, so many numbers or at
# least rows at a time, beyond
KEPT, PIECE, FEWEST = 0.125, 2**17, 512


class SelectedRows:
    """Some rows of X, with a constant feature of size bias if it is not 0, as float64 blocks.

    Or as blocks of another dtype, times a factor.
    """

    def __init__(self, X, bias, rows, kept=None, dtype=np.float64, factor=1.0):
        self.X, self.bias, self.rows, self.kept, self.dtype = X, bias, rows, kept, dtype
        self.factor = factor
        self.width = X.shape[1] + (bias != 0)
        # a small X in full
        most = KEPT * (X.size + 2**18)
        if in_files(X):
            most = min(most, X.shape[1] * block_height(X, 8))
        if kept is None and (sp.issparse(X) or len(rows) * self.width <= most):
            self.kept = self._block(rows)

    def __len__(self):
        return len(self.rows)

    def _block(self, rows):
        block = self.X[rows]
        if self.factor != 1.0:
            block = block.astype(np.float64) * self.factor
        block = block.astype(self.dtype)
        if not self.bias:
            return block
        constant = np.full((len(rows), 1), self.bias * self.factor, self.dtype)
        if sp.issparse(block):
            return sp.hstack([block, constant], format="csr")
        return np.concatenate([block, constant], axis=1)

    def blocks(self):
        """Pairs of a slice and its rows."""
        if self.kept is not None:
            yield slice(0, len(self.rows)), self.kept
            return
        step = max(FEWEST, PIECE // self.X.shape[1])
        for first in range(0, len(self.rows), step):
            yield (
                slice(first, min(first + step, len(self.rows))),
                self._block(self.rows[first : first + step]),
            )

    def take(self, some):
        """A subset of them."""
        kept = None if self.kept is None else self.kept[some]
        return SelectedRows(self.X, self.bias, self.rows[some], kept)

    def in_float32(self, factor):
        """All of them in float32, times a factor."""
        kept = None if self.kept is None else (self.kept * factor).astype(np.float32)
        return SelectedRows(self.X, self.bias, self.rows, kept, np.float32, factor)

    def join(self, other):
        """Both sets."""
        kept = None
        if self.kept is not None and other.kept is not None:
            stack = sp.vstack if sp.issparse(self.kept) else np.concatenate
            kept = stack([self.kept, other.kept])
            kept = sp.csr_array(kept) if sp.issparse(kept) else kept
        return SelectedRows(self.X, self.bias, np.concatenate([self.rows, other.rows]), kept)

    def scores(self, W, classes=None):
        """W x of each row, for all classes or the listed ones."""
        width = W.shape[0] if classes is None else classes.shape[1]
        out = np.empty((len(self.rows), width), dtype=self.dtype)
        for part, block in self.blocks():
            s = block @ W.T
            out[part] = s if classes is None else np.take_along_axis(s, classes[part], axis=1)
        return out

    def weights(self, A, n_classes, classes=None):
        """sum_i A_i x_i^T."""
        out = np.zeros((n_classes, self.width), dtype=self.dtype)
        for part, block in self.blocks():
            a = A[part]
            if classes is not None:
                product = listed(a, classes[part], n_classes).T @ block
                out += product.toarray() if sp.issparse(product) else product
            else:
                out += (block.T @ a).T
        return out

    def block(self):
        """All of them."""
        return self._block(self.rows) if self.kept is None else self.kept


def listed(A, classes, n_classes):
    """Values at the listed classes of each row, as CSR."""
    row, k = np.nonzero(A)
    return sp.csr_array((A[row, k], (row, classes[row, k])), shape=(len(A), n_classes))
