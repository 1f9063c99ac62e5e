"""Newton systems of the proximal steps: few rows, whatever the layout and number of classes."""

import numpy as np
import scipy.linalg as la
import scipy.sparse as sp
from scipy.linalg.blas import ssyrk
from scipy.linalg.lapack import strtri

from .._arrays.conjugate_gradients import conjugate_gradients
from .factors import EdgeFactor, Edges, WeightFactor
from .selected_rows import SelectedRows

# Newton systems are factorized up to this many unknowns, always up to fewer, and solved by
# conjugate gradients beyond
MOST_FACTORIZED = 4096
ALWAYS_FACTORIZED = 400

# up to this many classes H is built class pair by class pair
MOST_PAIRED = 16

# residual that conjugate gradients leave
RESIDUAL = 0.1

# iterations of conjugate gradients: those after which a factor is tried, and at most
SHORT, LONG = 25, 400

# a preconditioner is kept while it takes at most so many iterations more than when it was new
MORE = 5

# float64 factors are kept for about so many systems, counted in float32 work
SYSTEMS = 2.5

# bound on the numbers of a preconditioner
LARGEST_PRECONDITIONER = 2**25


class Kept:
    """What one Newton system leaves to the next: the means that were good enough, and factors.

    A preconditioner goes on serving while iterations stay few, whatever H has become. Factors that
    need not be exact may be of float32.
    """

    def __init__(self, exact=True):
        self.exact = exact
        self.by_classes = self.by_factor = True
        self.renew()

    def renew(self):
        """Drops what holds for one rho only."""
        self.factor = self.precondition = None


class NewtonSystem:
    """H = I + sum_i scale_i (I_J - 1 1^T / |J|) x_i x_i^T over rows free on their classes J."""

    def __init__(self, rows, free, scale, classes, n_classes):
        self.size = free.sum(axis=1)
        self.all = rows, free, scale, classes
        some = np.flatnonzero(self.size > 1)
        self.rows, self.free, self.size = rows.take(some), free[some], self.size[some]
        self.scale, self.K = scale[some], n_classes
        self.classes = None if classes is None else classes[some]
        self.n_edges = int((self.size - 1).sum())
        self.width = rows.width
        self.quick = None

    def direction(self, G, kept):
        """-H^-1 G by the first of the means that is good enough; remembers those that are not."""
        if self.n_edges == 0:
            return -G
        weights = self.K * self.width
        self.paired = self.K <= MOST_PAIRED and not sp.issparse(self.rows.X)
        self.by_edges = self.n_edges <= (weights if self.paired else 2 * weights)
        smallest = self.n_edges if self.by_edges else weights
        worthwhile = smallest > ALWAYS_FACTORIZED and self._costs_less_than_factor(smallest)
        if kept.by_classes and worthwhile:
            D, kept.by_classes = self._iterative(G, kept, SHORT)
            if kept.by_classes:
                return D
        if kept.by_factor and smallest <= MOST_FACTORIZED:
            for _ in range(2):
                try:
                    D = -self._factor(kept).solve(G)
                    if np.vdot(G, D) < 0.0:
                        return D
                except la.LinAlgError:
                    pass
                kept.factor = None
            kept.by_factor = False
        D = self._iterative(G, kept, LONG)[0]
        return D if np.vdot(G, D) < 0.0 else -G

    def _costs_less_than_factor(self, unknowns):
        """Whether a preconditioner for each system is less work than a factor that is kept."""
        parts = 1 if self.averaged else self.K
        square = self.width**2
        preconditioner = square * (len(self.rows) + parts * self.width / 3)
        factor = unknowns**2 * (self.width + unknowns / 3) if self.by_edges else unknowns**3 / 3
        return SYSTEMS * preconditioner <= factor

    @property
    def averaged(self):
        """Whether the preconditioner is one average over the classes."""
        return self.classes is not None or self.K * self.width**2 > LARGEST_PRECONDITIONER

    def _factor(self, kept):
        """The factor that is kept, changed where few rows did, or a new one."""
        if kept.factor is not None:
            changed = np.flatnonzero(self._changed(kept.free))
            if kept.factor.change(changed, self._edges(changed)):
                return kept.factor
            kept.factor = None
        kept.free = self.all[1]
        edges = self._edges(np.arange(len(kept.free)))
        kept.factor = (
            EdgeFactor(edges, kept.exact) if self.by_edges else WeightFactor(self._matrix(), edges)
        )
        return kept.factor

    def _changed(self, before):
        """Which rows are free on other classes than before."""
        changed = np.ones(len(self.all[1]), dtype=bool)
        changed[: len(before)] = (self.all[1][: len(before)] != before).any(axis=1)
        return changed

    def _edges(self, numbers):
        rows, free, scale, classes = self.all
        classes = None if classes is None else classes[numbers]
        return Edges(rows.take(numbers), numbers, free[numbers], scale[numbers], classes, self.K)

    def _matrix(self):
        """H - I."""
        K, width = self.K, self.width
        H = np.zeros((K, width, K, width))
        if not self.paired:
            H = H.reshape(K * width, K * width)
            for Z in self._edges(np.arange(len(self.all[1]))).pieces():
                H += Z.T @ Z
            return H
        for a in range(K):
            for b in range(a, K):
                for _, X, some in self._pair(a, b):
                    share = 1.0 / self.size[some]
                    w = self.scale[some] * (1.0 - share if a == b else share)
                    X = X * np.sqrt(w)[:, None]
                    H[a, :, b] += X.T @ X if a == b else -(X.T @ X)
                H[b, :, a] = H[a, :, b]
        return H.reshape(K * width, K * width)

    def _pair(self, a, b, rows=None):
        """Rows free on both classes, block by block."""
        for part, block in (rows or self.rows).blocks():
            some = np.flatnonzero(self.free[part, a] & self.free[part, b])
            if len(some):
                yield part, block[some], some + part.start

    def _product(self, V):
        free, share, scale = self.share
        q = self.quick.scores(V.astype(np.float32), self.classes)
        q *= free
        q -= free * (q.sum(axis=1) * share)[:, None]
        q *= scale
        return V + self.quick.weights(q, self.K, self.classes)

    def _preconditioner(self):
        """H with the classes apart, or an average of them, or only its diagonal, as size allows."""
        K, width = self.K, self.width
        share = 1.0 - 1.0 / self.size
        if width**2 > LARGEST_PRECONDITIONER or (sp.issparse(self.rows.X) and width > 2048):
            diagonal = np.ones((K, width))
            for part, block in self.rows.blocks():
                square = block.multiply(block) if sp.issparse(block) else block**2
                own = SelectedRows(self.rows.X, self.rows.bias, self.rows.rows[part], square)
                classes = None if self.classes is None else self.classes[part]
                w = self.scale[part] * share[part]
                diagonal += own.weights(self.free[part] * w[:, None], K, classes)
            return lambda R: R / diagonal
        weight = self.quick_scale * share
        if self.averaged:
            w = weight * self.size / K
            M = np.eye(width, dtype=np.float32, order="F")
            for part, block in self.quick.blocks():
                M += self._square(block, w[part])
            factor = la.cho_factor(M, overwrite_a=True, check_finite=False)
            return lambda R: la.cho_solve(
                factor, R.T.astype(np.float32), check_finite=False
            ).T.astype(float)
        # U^-1 of M = U^T U: one product for all classes, positive whatever rounding does
        inverses = np.empty((K, width, width), dtype=np.float32)
        for c in range(K):
            M = np.eye(width, dtype=np.float32, order="F")
            for _, block, some in self._pair(c, c, self.quick):
                M += self._square(block, weight[some])
            inverses[c] = strtri(la.cholesky(M, overwrite_a=True, check_finite=False))[0]

        def apply(R):
            half = inverses.transpose(0, 2, 1) @ R.astype(np.float32)[:, :, None]
            return (inverses @ half)[:, :, 0].astype(np.float64)

        return apply

    @staticmethod
    def _square(block, weight):
        """The upper half of sum_i weight_i x_i x_i^T."""
        if sp.issparse(block):
            block = sp.diags_array(np.sqrt(weight)) @ block
            return (block.T @ block).toarray().astype(np.float32)
        block = block * np.sqrt(weight).astype(np.float32)[:, None]
        return ssyrk(1.0, block.T)

    def _iterative(self, G, kept, longest):
        """By conjugate gradients: the direction, and whether its residual is small."""
        if self.quick is None:
            # a tenth of the residual is within reach of float32 products, of rows in the unit in
            # which the largest scale is one, which float32 holds whatever that of X is
            unit = np.sqrt(self.scale.max())
            self.quick = self.rows.in_float32(unit)
            self.quick_scale = self.scale / unit**2
            parts = self.free, 1.0 / self.size, self.quick_scale[:, None]
            self.share = [part.astype(np.float32) for part in parts]
        D, solved = G, False
        if kept.precondition is not None:
            D, solved = self._conjugate(G, kept, min(longest, kept.fewest + MORE))
        if not solved:
            try:
                kept.precondition = self._preconditioner()
            except la.LinAlgError:
                kept.precondition = np.copy
            kept.fewest = longest
            D, solved = self._conjugate(G, kept, longest)
        return D, solved

    def _conjugate(self, G, kept, most):
        """By the preconditioner that is kept, unless it takes too many iterations."""
        size = np.abs(G).max()
        D, n, solved = conjugate_gradients(
            lambda V: self._product(V[0])[None],
            lambda R: kept.precondition(R[0])[None],
            -G[None] / size,
            RESIDUAL,
            most,
        )
        if solved[0]:
            kept.fewest = min(kept.fewest, n)
        else:
            kept.precondition, kept.fewest = None, most
        return size * D[0], solved[0]
