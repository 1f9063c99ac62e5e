"""The softmax loss in coordinates of the space of its rows, where these are fewer than features."""

import numpy as np
import scipy.linalg as la
import scipy.sparse as sp

from .._arrays import first_equal
from .loss import SoftmaxLoss


class RowSpaceLoss(SoftmaxLoss):
    """The loss of n dense rows in n coordinates, X = A Q^T with orthonormal columns of Q.

    Weights orthogonal to all rows meet their penalty alone: at a minimum there are none, and no
    gradient has any. What is made of H is block diagonal, this loss being one block, so that all
    that starts from gradients of training rows stays within.

    Parameters
    ----------
    loss : SoftmaxLoss
        With the same penalty for all weights but the intercept's.
    """

    def __init__(self, loss):
        n, d = loss.X.shape
        rows = np.array(loss.X[:].T, dtype=np.float64, order="F")
        self.basis, triangle = la.qr(rows, mode="economic", overwrite_a=True, check_finite=False)
        # rounding depends on a row's place
        A = np.ascontiguousarray(triangle.T)[first_equal(loss.X)]
        penalty = np.concatenate([np.full(n, loss.penalty[0]), loss.penalty[d:]])
        super().__init__(A, loss.q, loss.s, penalty, loss.fit_intercept, loss.intercept_scaling)
        self.probabilities = loss.probabilities

    def of(self, X, q, s):
        """As for every loss."""
        d, n = self.basis.shape
        penalty = np.concatenate([np.full(d, self.penalty[0]), self.penalty[n:]])
        arguments = penalty, self.fit_intercept, self.intercept_scaling
        return SoftmaxLoss(X, q, s, *arguments)

    def project(self, X):
        """X Q."""
        return np.asarray(X @ self.basis)

    def compress(self, theta):
        """Theta Q, the intercept as it is."""
        d = len(self.basis)
        return np.concatenate([theta[..., :d] @ self.basis, theta[..., d:]], axis=-1)

    def expand(self, theta):
        """Theta Q^T, the intercept as it is."""
        n = self.basis.shape[1]
        return np.concatenate([theta[..., :n] @ self.basis.T, theta[..., n:]], axis=-1)

    def free_columns(self, damping=0.0):
        """How many weights of features, and of the constant, nothing but the rows determines."""
        d, n = self.basis.shape
        hidden = (d - n) * (self.penalty[0] + damping == 0)
        return super().free_columns(damping) + hidden


def in_row_space(loss):
    """The loss in the space of its rows, where they are dense and fewer than their features."""
    n, d = loss.X.shape
    if sp.issparse(loss.X) or n >= d or np.ptp(loss.penalty[:d]):
        return loss
    return RowSpaceLoss(loss)
