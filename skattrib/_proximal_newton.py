"""Newton systems of the proximal steps: few rows, whatever the layout and number of classes."""

import numpy as np
import scipy.linalg as la
import scipy.sparse as sp

# Newton systems are factorized up to this many unknowns, without float32 up to fewer, and solved by
# conjugate gradients beyond
LARGEST_FACTOR = 4096
SMALL_FACTOR = 400

# up to this many classes H is built class pair by class pair
MOST_PAIRED = 16

# rows are kept converted up to this share of X, and converted when needed, so many numbers at a
# time, beyond
KEPT, PIECE = 0.125, 2**17

# bound on the numbers of a preconditioner
LARGEST_PRECONDITIONER = 2**25


class Rows:
    """Some rows of X, with the constant feature, as float64 blocks."""

    def __init__(self, X, bias, rows, kept=None, dtype=np.float64):
        self.X, self.bias, self.rows, self.kept, self.dtype = X, bias, rows, kept, dtype
        # a small X in full
        most = KEPT * (X.size + 2**18)
        if kept is None and (sp.issparse(X) or len(rows) * (X.shape[1] + bias) <= most):
            self.kept = self._block(rows)

    def __len__(self):
        return len(self.rows)

    def _block(self, rows):
        block = self.X[rows].astype(self.dtype)
        if not self.bias:
            return block
        if sp.issparse(block):
            return sp.hstack([block, np.ones((len(rows), 1), self.dtype)], format="csr")
        return np.concatenate([block, np.ones((len(rows), 1), self.dtype)], axis=1)

    def blocks(self):
        """Pairs of a slice and its rows."""
        if self.kept is not None:
            yield slice(0, len(self.rows)), self.kept
            return
        step = max(1, PIECE // self.X.shape[1])
        for first in range(0, len(self.rows), step):
            yield (
                slice(first, min(first + step, len(self.rows))),
                self._block(self.rows[first : first + step]),
            )

    def take(self, some):
        """A subset of them."""
        kept = None if self.kept is None else self.kept[some]
        return Rows(self.X, self.bias, self.rows[some], kept)

    def join(self, other):
        """Both sets."""
        kept = None
        if self.kept is not None and other.kept is not None:
            stack = sp.vstack if sp.issparse(self.kept) else np.concatenate
            kept = stack([self.kept, other.kept])
            kept = sp.csr_array(kept) if sp.issparse(kept) else kept
        return Rows(self.X, self.bias, np.concatenate([self.rows, other.rows]), kept)

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
        out = np.zeros((n_classes, self.X.shape[1] + self.bias), dtype=self.dtype)
        for part, block in self.blocks():
            a = A[part]
            if classes is not None:
                product = _listed(a, classes[part], n_classes).T @ block
                out += product.toarray() if sp.issparse(product) else product
            else:
                out += (block.T @ a).T
        return out


class Newton:
    """H = I + sum_i scale_i (I_J - 1 1^T / |J|) x_i x_i^T over rows free on their classes J."""

    def __init__(self, rows, free, scale, classes, n_classes):
        self.size = free.sum(axis=1)
        some = np.flatnonzero(self.size > 1)
        self.rows, self.free, self.size = rows.take(some), free[some], self.size[some]
        self.scale, self.K = scale[some], n_classes
        self.classes = None if classes is None else classes[some]
        self.n_edges = int((self.size - 1).sum())
        self.width = rows.X.shape[1] + rows.bias
        self.quick = None

    def direction(self, G, means):
        """-H^-1 G by the first of the means that is good enough; drops those that are not."""
        if self.n_edges == 0:
            return -G
        weights = self.K * self.width
        by_pairs = self.K <= MOST_PAIRED and not sp.issparse(self.rows.X)
        if self.n_edges <= weights or (not by_pairs and self.n_edges <= 2 * weights):
            smallest, factor = self.n_edges, self._factor_edges
        else:
            smallest, factor = weights, self._factor_weights
        means = ["double"] if smallest <= SMALL_FACTOR else means
        while means:
            done = False
            try:
                if means[0] == "classes":
                    D, done = self._conjugate_gradients(G, self._preconditioner(), 40, 0.1)
                elif smallest <= LARGEST_FACTOR and means[0] == "single":
                    D, done = self._conjugate_gradients(G, factor(np.float32), 15, 0.01)
                elif smallest <= LARGEST_FACTOR:
                    D, done = -factor(np.float64)(G), True
            except la.LinAlgError:
                pass
            if done and np.vdot(G, D) < 0.0:
                return D
            means.pop(0)
        try:
            precondition = self._preconditioner()
        except la.LinAlgError:
            precondition = np.copy
        D = self._conjugate_gradients(G, precondition, 400, 0.1)[0]
        return D if np.vdot(G, D) < 0.0 else -G

    def _edges(self):
        """Numbers i and sqrt(scale_i) u of the rows sqrt(scale_i) u x_i^T of Z, H = I + Z^T Z.

        The u of a row are an orthonormal basis of the changes it may make.
        """
        r = np.repeat(np.arange(len(self.rows)), self.size - 1)
        first = np.cumsum(self.size - 1) - (self.size - 1)
        p = (np.arange(len(r)) - np.repeat(first, self.size - 1) + 1)[:, None]
        free = self.free[r]
        place = np.cumsum(self.free, axis=1)[r] - 1
        U = np.where(free & (place < p), 1.0, 0.0) - np.where(free & (place == p), p, 0.0)
        U *= np.sqrt(self.scale[r][:, None] / (p * (p + 1.0)))
        return r, U

    def _factor_edges(self, dtype):
        """(I + Z^T Z)^-1 through I + Z Z^T."""
        r, U = self._edges()
        X = self.rows.kept if self.rows.kept is not None else self.rows._block(self.rows.rows)
        if self.classes is not None:
            U = _listed(U, self.classes[r], self.K)
        Q = _square_dense(U.astype(dtype))
        Q *= _square_dense(X[r].astype(dtype))
        Q[np.diag_indices_from(Q)] += 1.0
        factor = la.cho_factor(Q.T, lower=False, overwrite_a=True, check_finite=False)
        gather = sp.csr_array((np.ones(len(r)), (r, np.arange(len(r)))), (len(self.rows), len(r)))

        def apply(G):
            XG = (X @ G.T)[r]
            right = U.multiply(XG).sum(axis=1) if sp.issparse(U) else np.einsum("ek,ek->e", U, XG)
            right = np.asarray(right, dtype=dtype).ravel()
            t = la.cho_solve(factor, right, check_finite=False).astype(np.float64)
            if sp.issparse(U):
                spread = gather @ (sp.diags_array(t) @ U)
            else:
                spread = gather @ (U * t[:, None])
            product = X.T @ spread
            return G - (product.toarray() if sp.issparse(product) else product).T

        return apply

    def _factor_weights(self, dtype):
        """The Cholesky factor of H."""
        K, width = self.K, self.width
        H = np.zeros((K, width, K, width), dtype=dtype)
        paired = K <= MOST_PAIRED and not sp.issparse(self.rows.X)
        if not paired:
            flat = H.reshape(K * width, K * width)
            for Z in self._outer(dtype):
                flat += Z.T @ Z
        for a in range(K if paired else 0):
            for b in range(a, K):
                for _, X, some in self._pair(a, b):
                    share = 1.0 / self.size[some]
                    w = self.scale[some] * (1.0 - share if a == b else share)
                    X = (X * np.sqrt(w)[:, None]).astype(dtype)
                    H[a, :, b] += X.T @ X if a == b else -(X.T @ X)
                H[b, :, a] = H[a, :, b]
        H = H.reshape(K * width, K * width)
        H[np.diag_indices_from(H)] += 1.0
        factor = la.cho_factor(H.T, lower=False, overwrite_a=True, check_finite=False)

        def apply(G):
            G = G.ravel().astype(dtype)
            D = la.cho_solve(factor, G, check_finite=False)
            return D.astype(np.float64).reshape(K, width)

        return apply

    def _outer(self, dtype):
        """Z in pieces."""
        r, U = self._edges()
        piece = max(1, 2**22 // (self.K * self.width))
        for first in range(0, len(r), piece):
            part = r[first : first + piece]
            u = U[first : first + piece]
            if self.classes is not None:
                u = _listed(u, self.classes[part], self.K).toarray()
            x = self.rows.take(part)
            x = x.kept if x.kept is not None else x._block(x.rows)
            x = x.toarray() if sp.issparse(x) else x
            Z = u[:, :, None] * x[:, None, :]
            yield Z.reshape(len(part), -1).astype(dtype)

    def _pair(self, a, b):
        """Rows free on both classes, block by block."""
        for part, block in self.rows.blocks():
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
        weight = self.scale * (1.0 - 1.0 / self.size)
        if width**2 > LARGEST_PRECONDITIONER or (sp.issparse(self.rows.X) and width > 2048):
            diagonal = np.ones((K, width))
            for part, block in self.rows.blocks():
                square = block.multiply(block) if sp.issparse(block) else block**2
                own = Rows(self.rows.X, self.rows.bias, self.rows.rows[part], square)
                classes = None if self.classes is None else self.classes[part]
                diagonal += own.weights(self.free[part] * weight[part, None], K, classes)
            return lambda R: R / diagonal
        if self.classes is not None or K * width**2 > LARGEST_PRECONDITIONER:
            w = weight * self.size / K
            M = np.eye(width, dtype=np.float32)
            for part, block in self.rows.blocks():
                M += self._square(block, w[part])
            factor = la.cho_factor(M, overwrite_a=True, check_finite=False)
            return lambda R: la.cho_solve(
                factor, R.T.astype(np.float32), check_finite=False
            ).T.astype(float)
        factors = []
        for c in range(K):
            M = np.eye(width, dtype=np.float32)
            for _, block, some in self._pair(c, c):
                M += self._square(block, weight[some])
            factors.append(la.cho_factor(M, overwrite_a=True, check_finite=False))

        def apply(R):
            R = R.astype(np.float32)
            parts = [
                la.cho_solve(f, r, check_finite=False) for f, r in zip(factors, R, strict=True)
            ]
            return np.array(parts, dtype=np.float64)

        return apply

    @staticmethod
    def _square(block, weight):
        if sp.issparse(block):
            block = sp.diags_array(np.sqrt(weight)) @ block
            return (block.T @ block).toarray().astype(np.float32)
        block = (block * np.sqrt(weight)[:, None]).astype(np.float32)
        return block.T @ block

    def _conjugate_gradients(self, G, precondition, longest, share):
        if self.quick is None:
            # a tenth of the residual is within reach of float32 products
            kept = None if self.rows.kept is None else self.rows.kept.astype(np.float32)
            self.quick = Rows(self.rows.X, self.rows.bias, self.rows.rows, kept, np.float32)
            parts = self.free, 1.0 / self.size, self.scale[:, None]
            self.share = [part.astype(np.float32) for part in parts]
        D, r = np.zeros_like(G), -G
        z = precondition(r)
        p, rz = z, np.vdot(r, z)
        goal = share**2 * rz
        for _ in range(longest):
            Hp = self._product(p)
            step = rz / np.vdot(p, Hp)
            D += step * p
            r = r - step * Hp
            z = precondition(r)
            rz, last = np.vdot(r, z), rz
            if not rz > goal:
                return D, rz >= 0.0
            p = z + (rz / last) * p
        return D, False


def _listed(A, classes, n_classes):
    """Values at the listed classes of each row, as CSR."""
    row, k = np.nonzero(A)
    return sp.csr_array((A[row, k], (row, classes[row, k])), shape=(len(A), n_classes))


def _square_dense(A):
    """A A^T."""
    square = A @ A.T
    return square.toarray() if sp.issparse(square) else square
