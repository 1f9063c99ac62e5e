"""The inverse Hessians that influence can be asked for by name."""

import warnings
from numbers import Integral, Real
from sys import float_info

import numpy as np
import scipy.linalg as la
import scipy.sparse as sp
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.extmath import row_norms

from .._arrays import batches
from .._arrays.conjugate_gradients import conjugate_gradients
from .hessian import (
    EKFAC,
    KFAC,
    LARGEST_ORDER,
    SINGULAR,
    Cholesky,
    Inverse,
    check_determined,
)
from .preconditioners import preconditioner

# steps, rows or directions that can be asked for
MOST = 1_000_000


class Identity(Inverse):
    """No inverse at all: attributions are inner products of gradients."""

    name = "identity"
    needs_determined = False

    def solve(self, V):
        """V itself."""
        return V


class ConjugateGradients(Inverse):
    """H^-1 by preconditioned conjugate gradients on exact products with H."""

    name = "cg"
    exact = True

    def __init__(self, loss, damping=0.0, *, tol=1e-8, max_iter=1000):
        super().__init__(loss, damping)
        self.tol, self.max_iter = tol, max_iter
        self.preconditioner = preconditioner(loss, damping)

    def solve(self, V):
        """H^-1 V, warning where `max_iter` iterations do not reach `tol`."""
        out, longest = np.empty_like(V), 0
        # one vector at a time of wide sparse rows: the cache holds no more
        height = max(1, 2**19 // V[0].size) if sp.issparse(self.loss.X) else len(V)
        for part in batches(len(V), height):
            out[part], iterations, _ = conjugate_gradients(
                lambda V: self.loss.product(V, self.damping),
                self.preconditioner.solve,
                V[part],
                self.tol,
                self.max_iter,
            )
            longest = max(longest, iterations)
        if longest == self.max_iter:
            warnings.warn(
                f"conjugate gradients stopped after {longest} iterations before the relative "
                f"residual was {self.tol:.0e}: raise inverse_params['max_iter'], or give damping",
                ConvergenceWarning,
                stacklevel=2,
            )
        return out


class Lissa(Inverse):
    """A truncated Neumann series on Hessians of sampled rows (Agarwal, Bullins and Hazan 2017).

    h <- V + (I - H_batch / scale) h, `depth` times, averaged over `repeats`; H^-1 V is h / scale.
    """

    name = "lissa"
    random = True

    def __init__(
        self, loss, damping=0.0, seed=0, *, depth=1000, batch_size=256, repeats=1, scale=None
    ):
        super().__init__(loss, damping)
        self.depth, self.repeats, self.seed = depth, repeats, seed
        self.batch_size = min(batch_size, loss.X.shape[0])
        # twice the largest eigenvalue: Hessians of few rows have larger ones than H
        self.scale = 2 * self._largest_eigenvalue() if scale is None else scale

    def _largest_eigenvalue(self):
        rng = np.random.default_rng(self.seed)
        V = rng.normal(size=(1, *self.loss.shape))
        V -= V.mean(axis=1, keepdims=True)
        for _ in range(30):
            V = self.loss.product(V / _norm(V), self.damping)
        return _norm(V)

    def solve(self, V):
        """The series times V; the same rows are sampled in every call."""
        rng = np.random.default_rng(self.seed)
        total = np.zeros_like(V)
        n = self.loss.X.shape[0]
        limit = 1e6 * self.depth * np.abs(V).max(initial=0.0)
        for _ in range(self.repeats):
            h = V.copy()
            for _ in range(self.depth):
                rows = np.sort(rng.integers(n, size=self.batch_size))
                h += V - self.loss.rows(rows, n / len(rows)).product(h, self.damping) / self.scale
                if not np.abs(h).max(initial=0.0) <= limit:
                    raise ValueError(
                        "the LiSSA series diverges: raise inverse_params['scale'] above "
                        f"{self.scale:.3g}, or inverse_params['batch_size']"
                    )
            total += h
        return total / (self.repeats * self.scale)


class Arnoldi(Inverse):
    """The inverse on the leading eigenvectors, found in a Krylov space (Schioppa et al. 2022).

    `n_iter` products with H span the space; the `rank` largest Ritz values are kept.
    """

    name = "arnoldi"
    random = True

    def __init__(self, loss, damping=0.0, seed=0, *, n_iter=200, rank=100):
        super().__init__(loss, damping)
        K, D = loss.shape
        start = np.random.default_rng(seed).normal(size=loss.shape)
        start -= start.mean(axis=0)
        steps = min(n_iter, (K - 1) * D)
        basis, projected = np.empty((steps, K * D)), np.zeros((steps, steps))
        basis[0] = start.ravel() / _norm(start)
        for step in range(steps):
            image = loss.product(basis[step].reshape(1, K, D), damping).ravel()
            known = basis[: step + 1]
            projected[: step + 1, step] = projected[step, : step + 1] = known @ image
            rest = image - known.T @ projected[: step + 1, step]
            rest -= known.T @ (known @ rest)
            norm = _norm(rest)
            if norm <= 1e-10 * _norm(image):
                basis, projected = known, projected[: step + 1, : step + 1]
                break
            if step + 1 < steps:
                basis[step + 1] = rest / norm
        values, vectors = np.linalg.eigh(projected)
        kept = slice(max(0, len(values) - rank), None)
        self.values = values[kept]
        if not self.values[0] > 0:
            raise la.LinAlgError(SINGULAR)
        self.vectors = vectors[:, kept].T @ basis

    def solve(self, V):
        """The inverse on the kept directions; nothing of the others."""
        flat = V.reshape(len(V), -1)
        return ((flat @ self.vectors.T / self.values) @ self.vectors).reshape(V.shape)


class DataInf(Inverse):
    """The mean of the inverses of each row's gradient outer product (Kwon et al. 2024).

    H is taken for sum_i s_i (g_i g_i^T + penalty / sum s), g_i = (p_i - q_i) (x) phi_i, and the
    inverse of that mean for the mean of the inverses. Its own matrix: it does not solve H.
    """

    name = "datainf"
    needs_determined = False

    def __init__(self, loss, damping=0.0):
        super().__init__(loss, damping)
        self.diagonal = loss.penalty + damping
        if not (self.diagonal > 0).all():
            raise la.LinAlgError(
                "DataInf inverts each row's matrix alone: with an unpenalized intercept or head, "
                "give damping > 0"
            )
        # phi^T penalty^-1 phi
        root = 1 / np.sqrt(self.diagonal)
        self.sizes = np.empty(len(loss.s))
        for rows, part in loss.batches():
            part = part.multiply(root) if sp.issparse(part) else part * root
            self.sizes[rows] = row_norms(part, squared=True)

    def solve(self, V):
        """The mean of inverses times V."""
        loss = self.loss
        m, K, D = V.shape
        total = loss.s.sum()
        scaled = V / self.diagonal
        out = np.zeros_like(V)
        for rows, part in loss.parts(m * K):
            g = loss.probabilities[rows] - loss.q[rows]
            # g_i^T penalty^-1 g_i and g_i^T penalty^-1 V, of the gradients g (x) phi
            square = np.sum(g**2, axis=1) * self.sizes[rows]
            inner = np.einsum("imk,ik->im", loss.along(part, scaled), g)
            share = inner * (loss.s[rows] / (1 / total + square) / total)[:, None]
            out += loss.back(part, share[:, :, None] * g[:, None, :])
        return scaled - out / self.diagonal


# another inverse Hessian is another class, named here
INVERSES = {
    kind.name: kind
    for kind in (Cholesky, ConjugateGradients, Lissa, Arnoldi, KFAC, EKFAC, DataInf, Identity)
}


def _norm(V):
    # NumPy's squares the values, which may overflow
    return la.norm(np.ravel(V), check_finite=False)


def make_inverse(name, loss, damping, params, seed):
    """The inverse of a name; for "auto" the best of the exact ones that memory allows."""
    kind = INVERSES.get(name) or (Cholesky if Cholesky.fits(loss) else ConjugateGradients)
    check_params(kind, params)
    if sp.issparse(loss.X) and kind.order(loss) > LARGEST_ORDER:
        others = [repr(name) for name, other in INVERSES.items() if not other.order(loss)]
        raise ValueError(
            f"inverse={name!r} takes a dense matrix of order {kind.order(loss):,} for these sparse "
            f"rows, and {LARGEST_ORDER:,} is the most: choose among {', '.join(others)}"
        )
    if kind.needs_determined:
        check_determined(loss, damping)
    return kind(loss, damping, **({"seed": seed} if kind.random else {}), **params)


def check_params(kind, params):
    """Refuses what the class does not take, or not as a positive number of its kind."""
    known = kind.parameters()
    for name, value in params.items():
        if name not in known:
            raise ValueError(
                f"inverse_params has no {name!r} for inverse={kind.name!r}; it knows "
                f"{', '.join(known) or 'none'}"
            )
        default = known[name]
        number, most, wanted = Real, float_info.max, "a positive finite number"
        if isinstance(default, int):
            number, most, wanted = Integral, MOST, f"an integer in 1..{MOST:,}"
        if value is None and default is None:
            continue
        if isinstance(value, bool) or not isinstance(value, number) or not 0 < value <= most:
            wanted += " or None" if default is None else ""
            raise ValueError(f"inverse_params[{name!r}] must be {wanted}, got {value!r}")
