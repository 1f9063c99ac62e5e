"""Inverses of the softmax head's Hessian, exact and approximate, and what they are good for."""

from inspect import signature

import numpy as np
import scipy.linalg as la
import scipy.sparse as sp

from .._arrays import full
from .loss import BATCH_FLOATS, contrasts

# order up to which matrices are formed unasked, of dense rows and of sparse ones: half a gigabyte
# and 32 MB. It is also the largest that is formed of sparse rows at all
LARGEST_ORDER = 8000
LARGEST_SPARSE_ORDER = 2000

SINGULAR = (
    "the Hessian is singular: features are linearly dependent and the head is not penalized. Give "
    "damping > 0, or a penalized head"
)


class Inverse:
    """An inverse Hessian: `solve` maps V of shape (m, K, D), summing to zero over K, to H^-1 V.

    What a class is, its attributes say. Its keyword-only arguments are those of `inverse_params`:
    positive numbers, integers where the default is one.

    Attributes
    ----------
    name : str or None
        By which influence is asked for it.
    exact : bool
        It solves H and not something in its place.
    random : bool
        It takes a `seed`.
    needs_determined : bool
        It would not notice that H is singular: `check_determined` comes first.
    preconditions : bool
        One `solve` is cheap and near enough to H^-1 to precondition conjugate gradients.
    """

    name: str | None = None
    exact = False
    random = False
    needs_determined = True
    preconditions = False

    def __init__(self, loss, damping=0.0):
        self.loss, self.damping = loss, damping

    @staticmethod
    def order(loss):
        """Order of the largest matrix that is formed besides X."""
        return 0

    @classmethod
    def parameters(cls):
        """Names and defaults of what `inverse_params` may hold."""
        known = signature(cls).parameters.values()
        return {one.name: one.default for one in known if one.kind is one.KEYWORD_ONLY}

    def solve(self, V):
        """H^-1 V."""
        raise NotImplementedError

    def leverage(self):
        """Yields (rows, M): M_i = (I (x) phi_i)^T H^-1 (I (x) phi_i), in the sum-to-zero gauge."""
        K, D = self.loss.shape
        Z = contrasts(K)
        for rows, part in self.loss.batches(2**22 // (K * (K - 1)), least=1):
            part = full(part)
            V = Z.T[None, :, :, None] * part[:, None, None, :]
            U = self.solve(V.reshape(-1, K, D)).reshape(len(part), K - 1, K, D)
            yield rows, np.matmul(Z, np.einsum("ilkd,id->ilk", U, part, optimize=True))


class Cholesky(Inverse):
    """H^-1 itself, by Cholesky factorization of H scaled to a unit diagonal."""

    name = "cholesky"
    exact = True
    needs_determined = False
    preconditions = True

    def __init__(self, loss, damping=0.0, ridge=0.0):
        super().__init__(loss, damping)
        self.Z = contrasts(loss.shape[0])
        if not ridge:
            check_rank(loss, damping)
        H = loss.hessian(damping)
        diagonal = np.diag(H).copy()
        if ridge:
            # columns of zeros hold no gradient: anything does
            diagonal[diagonal == 0] = 1.0
        if not (diagonal > 0).all():
            raise la.LinAlgError(SINGULAR)
        self.scale = 1 / np.sqrt(diagonal)
        H *= self.scale
        H *= self.scale[:, None]
        H[np.diag_indices_from(H)] = 1.0 + ridge
        self.factor = _cholesky(H, ridge)

    @staticmethod
    def order(loss):
        """(K - 1) D."""
        K, D = loss.shape
        return (K - 1) * D

    @staticmethod
    def fits(loss):
        """Whether H is at most of order 8,000, of sparse rows 2,000."""
        return Cholesky.order(loss) <= largest_order(loss)

    def solve(self, V):
        """H^-1 V."""
        m, K, D = V.shape
        right = np.matmul(self.Z.T, V).reshape(m, -1) * self.scale
        out = la.cho_solve((self.factor, True), right.T, check_finite=False).T * self.scale
        return np.matmul(self.Z, out.reshape(m, K - 1, D))

    def leverage(self):
        """As for every inverse, from the explicit inverse of H."""
        K, D = self.loss.shape
        inverse = la.lapack.dpotri(self.factor, lower=True)[0]
        inverse = inverse.T * self.scale * self.scale[:, None]
        inverse = inverse.reshape(K - 1, D, K - 1, D)
        for rows, part in self.loss.batches(4 * BATCH_FLOATS):
            part = full(part)
            M = np.empty((len(part), K - 1, K - 1))
            for k in range(K - 1):
                # dpotri fills one triangle
                block = np.triu(inverse[k, :, k, :])
                block = block + np.triu(block, 1).T
                M[:, k, k] = np.einsum("id,id->i", part @ block, part)
                if k + 1 < K - 1:
                    right = inverse[k, :, k + 1 :, :].reshape(D, -1)
                    right = (part @ right).reshape(len(part), -1, D)
                    M[:, k, k + 1 :] = np.einsum("ild,id->il", right, part, optimize=True)
                    M[:, k + 1 :, k] = M[:, k, k + 1 :]
            yield rows, np.matmul(np.matmul(self.Z, M), self.Z.T)


def _cholesky(H, ridge=0.0):
    """Lower factor of a matrix of unit diagonal, which is overwritten."""
    norm = np.abs(H).sum(axis=0).max()
    try:
        # H is symmetric: its transpose is in Fortran order, to be overwritten
        factor = la.cholesky(H.T, lower=True, overwrite_a=True, check_finite=False)
    except la.LinAlgError as error:
        raise la.LinAlgError(SINGULAR) from error
    if not ridge and la.lapack.dpocon(factor, norm, uplo="L")[0] < 1e-15:
        raise la.LinAlgError(SINGULAR)
    return factor


def largest_order(loss):
    """Order of matrices that are formed unasked."""
    return LARGEST_SPARSE_ORDER if sp.issparse(loss.X) else LARGEST_ORDER


def check_rank(loss, damping=0.0):
    """Refuses a loss of more columns without a penalty than rows."""
    if loss.free_columns(damping) > loss.total_weight()[1]:
        raise la.LinAlgError(SINGULAR)


def check_determined(loss, damping=0.0):
    """Refuses a loss whose H is singular beyond the shift of logits.

    It is where the Gram matrix of the columns without a penalty is.
    """
    free = np.flatnonzero(loss.penalty + damping == 0)
    if not len(free):
        return
    check_rank(loss, damping)
    if sp.issparse(loss.X) and len(free) > LARGEST_ORDER:
        raise la.LinAlgError(
            f"whether {loss.X.shape[1]:,} sparse features without a penalty are linearly dependent "
            "takes too large a matrix to tell: give damping > 0, or a penalized head"
        )
    gram = loss.gram(free)
    size = np.diag(gram)
    if not (size > 0).all():
        raise la.LinAlgError(SINGULAR)
    scale = 1 / np.sqrt(size)
    gram = gram * scale * scale[:, None]
    gram[np.diag_indices_from(gram)] = 1.0
    _cholesky(gram)


class KFAC(Inverse):
    """(S (x) sum_i s_i phi_i phi_i^T + penalty)^-1, S the mean of B (Martens and Grosse 2015).

    The basis makes the sum and the penalty diagonal at once, so that K-FAC with an unpenalized
    intercept is solved as it stands.
    """

    name = "kfac"
    preconditions = True

    @staticmethod
    def order(loss):
        """D."""
        return loss.shape[1]

    @staticmethod
    def fits(loss):
        """Always for dense rows; for sparse ones of at most 2,000 columns."""
        return not sp.issparse(loss.X) or KFAC.order(loss) <= LARGEST_SPARSE_ORDER

    def __init__(self, loss, damping=0.0, floor=0.0):
        super().__init__(loss, damping)
        K, D = loss.shape
        gram = loss.gram()
        penalty = loss.penalty + damping
        penalty = penalty + floor * max(np.trace(gram) / D, np.finfo(np.float64).tiny)
        try:
            shares, self.basis = la.eigh(gram, gram + np.diag(penalty))
        except la.LinAlgError as error:
            raise la.LinAlgError(SINGULAR) from error
        self.shares = np.clip(shares, 0.0, 1.0)
        self.Z = contrasts(K)
        self.update()

    def update(self):
        """Takes the probabilities of the loss."""
        mean = self.loss.curvature() / self.loss.total_weight()[0]
        values, vectors = np.linalg.eigh(self.Z.T @ mean @ self.Z)
        self.vectors = self.Z @ vectors
        self.diagonal = np.maximum(values, 0.0)[:, None] * self.shares + (1 - self.shares)

    def solve(self, V):
        """The inverse times V."""
        inside = np.matmul(self.vectors.T, V @ self.basis)
        return np.matmul(self.vectors, inside / self.diagonal) @ self.basis.T

    def leverage(self):
        """As for every inverse, from the diagonal."""
        for rows, part in self.loss.batches():
            M = np.asarray(part @ self.basis) ** 2 @ (1 / self.diagonal).T
            yield rows, np.matmul(self.vectors * M[:, None, :], self.vectors.T)


class EKFAC(KFAC):
    """K-FAC with the diagonal of H in the same basis (George et al. 2018, Grosse et al. 2023)."""

    name = "ekfac"

    def update(self):
        """Takes the probabilities of the loss."""
        super().update()
        self.diagonal = self.loss.curvature_along(self.vectors, self.basis)
        self.diagonal += (self.loss.penalty + self.damping) @ self.basis**2
