"""Proximal point steps on the Crammer-Singer dual, for problems where sequential ascent stalls.

From duals beta0, with a weight rho > 0 in units of the margin, a step finds

    argmax_beta D(beta) - sum_i ||beta_i - beta0_i||^2 / (2 rho C s_i)

by the semismooth Newton method on its dual, an unconstrained problem in W of gradient W - W(b),
b_i = Proj(beta0_i + rho C s_i (W x_i + 1 - e_{y_i})). Only rows with mass on several classes enter
the Newton system. rho grows from step to step: the more of it, the closer to the optimum.

Rockafellar, "Monotone operators and the proximal point algorithm", SIAM J. Control Optim. 1976;
Li, Sun and Toh, "A highly efficient semismooth Newton augmented Lagrangian method for solving
Lasso problems", SIAM J. Optim. 2018.
"""

import numpy as np
import scipy.linalg as la
import scipy.sparse as sp

from ._crammer_singer import proximal_slope, proximal_step

# rows with less slack than this, in units of the margin, take part in a step from the start
NEAR = 0.5

# a step ends when 1/2 ||W - W(b)||^2 is so many times its proximal term; the last one goes on
LOOSE, CLOSEST = 1.0, 1e-9
LONGEST_STEP = 200
HIGHEST = 4e3  # rho

# Newton systems are factorized up to this many unknowns, solved by conjugate gradients beyond
LARGEST_FACTOR = 4096
MOST_PAIRED = 16
SMALL_FACTOR = 400

# rows of a step are kept in float64 up to this many numbers, converted when needed beyond
KEPT = 2**24

# bound on the numbers of a preconditioner
LARGEST_PRECONDITIONER = 2**25

# beyond this many classes a row's step is on so many of them: its support and the highest scores
CLASSES, CANDIDATES = 64, 32


class Rows:
    """Some rows of X, with the constant feature, as float64 blocks."""

    def __init__(self, X, bias, rows, kept=None, dtype=np.float64):
        self.X, self.bias, self.rows, self.kept, self.dtype = X, bias, rows, kept, dtype
        if kept is None and (sp.issparse(X) or len(rows) * (X.shape[1] + bias) <= KEPT):
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
        step = max(1, 2**20 // self.X.shape[1])
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


class Step:
    """One proximal step: the rows that may move, where they start, and W."""

    def __init__(self, search, rows, W, rho):
        self.search, self.rho, self.W = search, rho, W
        self.K = search.K
        self.rows = Rows(search.X, search.bias, rows)
        self._start(rows, self.rows)
        # what all the other rows contribute
        self.rest = search.augmented() + self.rows.weights(self.start, self.K, self.classes)
        self.means = ["classes", "single", "double"]
        self.n_newton, self.falling = 0, True

    def _start(self, rows, blocks):
        search = self.search
        self.classes = None
        if self.K > CLASSES:
            self.classes = search.duals.candidates(rows, blocks, self.W, CANDIDATES)
        self.start, self.score, self.own = self._at(rows, blocks, self.classes)
        self.cap = search.cap[rows]

    def _at(self, rows, blocks, classes):
        y = self.search.y[rows]
        start = np.ascontiguousarray(self.search.duals.values_at(rows, classes))
        own = y if classes is None else np.argmax(classes == y[:, None], axis=1).astype(np.int32)
        score = blocks.scores(self.W, classes) + 1.0
        score[np.arange(len(rows)), own] -= 1.0
        return start, score, np.ascontiguousarray(own, dtype=np.int32)

    def extend(self, rows):
        """Lets more rows move."""
        more = Rows(self.search.X, self.search.bias, rows)
        classes = None
        if self.K > CLASSES:
            classes = self.search.duals.candidates(rows, more, self.W, self.classes.shape[1])
            classes = classes[:, : self.classes.shape[1]]
            self.classes = np.concatenate([self.classes, classes])
        start, score, own = self._at(rows, more, classes)
        self.rest = self.rest + more.weights(start, self.K, classes)
        self.rows = self.rows.join(more)
        self.start = np.concatenate([self.start, start])
        self.score = np.concatenate([self.score, score])
        self.own = np.concatenate([self.own, own])
        self.cap = np.concatenate([self.cap, self.search.cap[rows]])

    def solve(self, accuracy, most, longest):
        """Newton steps until 1/2 ||W - W(b)||^2 <= accuracy times the proximal term, and most."""
        start, own, cap = self.start, self.own, self.cap
        step = self.rho * cap
        self.value = value = np.empty_like(start)
        scratch = np.empty(start.shape[1])
        last, stuck = np.inf, 0
        for _ in range(longest):
            proximal_step(start, self.score, step, own, cap, value)
            G = self.W - self.rest + self.rows.weights(value, self.K, self.classes)
            off = 0.5 * np.vdot(G, G)
            moved = 0.5 * np.sum(np.einsum("ij,ij->i", value - start, value - start) / step)
            stuck, last = (0, off) if off < 0.9 * last else (stuck + 1, last)
            self.falling = stuck < 20
            if off <= min(accuracy * moved, most) or not self.falling:
                return
            free = value > 0.0
            place = np.arange(len(own)), own
            free[place] = value[place] > -cap
            system = Newton(self.rows, free, step, self.classes, self.K)
            D = system.direction(G, self.means)
            move = self.rows.scores(D, self.classes)
            t = self._line_search(D, move, np.vdot(G, D), scratch)
            self.W = self.W + t * D
            self.score += t * move
            self.n_newton += 1
        proximal_step(start, self.score, step, own, cap, value)

    def _line_search(self, D, move, slope, scratch):
        """Where the slope along D is a tenth of what it is at first."""
        base, curve = np.vdot(self.W - self.rest, D), np.vdot(D, D)
        low, at_low, high, at_high = 0.0, slope, None, None
        t = 1.0
        for _ in range(30):
            rows = proximal_slope(
                self.start, self.score, move, t, self.rho * self.cap, self.own, self.cap, scratch
            )
            s = base + t * curve + rows
            # or what is left is rounding
            if abs(s) <= 0.1 * abs(slope) or abs(s) <= 1e-14 * (abs(base) + abs(rows)):
                break
            if s < 0:
                low, at_low = t, s
                if high is None:
                    t *= 2.0
                    continue
            else:
                high, at_high = t, s
            share = at_low / (at_low - at_high)
            t = low + (high - low) * min(max(share, 0.02), 0.98)
        return t


def proximal_point(search, W, tol, max_iter, verbose):
    """Steps of growing rho from search's duals and any W; returns the number of Newton steps."""
    rows = search.rows
    slack = np.empty(len(rows), dtype=np.float32)
    rho = min(1.0, 10.0 / np.sqrt(search.difficulty))
    search.certify()
    gap, primal = search.gap_at(W, slack)
    ceiling, loose, work, best, stalled, good = HIGHEST, LOOSE, 0, np.inf, 0, W
    while work < max_iter and stalled < 12 and np.isfinite(gap):
        inside = slack < NEAR
        step = Step(search, rows[inside], W, rho)
        accuracy = loose
        while True:
            step.solve(accuracy, 0.1 * gap, min(LONGEST_STEP, max_iter - work - step.n_newton))
            search.gap_at(step.W, slack)
            new = ~inside & (slack < 0.0)
            if new.any() and step.n_newton + work < max_iter:
                new = ~inside & (slack < 0.5 * NEAR)
                inside |= new
                step.extend(rows[new])
                continue
            search.replace(step.rows.rows, step.classes, step.value)
            gap, primal = search.gap_at(step.W, slack)
            if gap > tol * primal:
                break
            # W(beta), which is returned, is as good as W only after a step solved closely
            if search.certify() <= tol * search.objective:
                return work + max(step.n_newton, 1)
            accuracy *= 1e-2
            if accuracy < CLOSEST or step.n_newton + work >= max_iter or not step.falling:
                # duals are rounded to about rho C s_i times the rounding of scores
                ceiling = rho / 30.0
                break
        W, n = step.W, step.n_newton
        work += max(n, 1)
        if verbose:
            print(
                f"[crammer_singer] Newton step {work}: relative gap {gap / primal:.2e} at rho = "
                f"{rho:.1e}, {np.count_nonzero(slack <= 0)} open rows"
            )
        if gap > 10.0 * best:
            # beyond what float64 resolves: back to the last good W, with less weight
            W = good
            gap, primal = search.gap_at(W, slack)
            ceiling = min(ceiling, rho / 10.0)
        if gap < 0.7 * best:
            good = W
            rho *= 5.0 if n <= 4 else 3.0 if n <= 7 else 2.0 if n <= 14 else 1.5
        else:
            loose = max(0.1 * loose, 1e-4)
        rho = min(rho, ceiling)
        stalled = 0 if gap < 0.7 * best else stalled + 1
        best = min(best, gap)
    return work
