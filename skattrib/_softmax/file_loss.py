"""The softmax loss of rows in files: logits are made again for each sum, and never kept."""

import numpy as np
from scipy.special import logsumexp

from .._arrays.row_blocks import in_files, in_one_piece
from .loss import SoftmaxLoss, probabilities
from .targets import OneHot, along, less


class FileLoss(SoftmaxLoss):
    """A `SoftmaxLoss` for Newton's method, whose logits are the weights that make them, (K, D).

    Besides its rows it has nothing but probabilities as large as (n, K).
    """

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self._evaluated = {}

    def logits(self, theta):
        """The weights that make them."""
        return theta

    def made(self, theta):
        """Pairs of a slice and the logits of its rows."""
        for rows, part in self.parts(len(theta)):
            yield rows, self.times(part, theta), part

    def _at_point(self, theta):
        """(sum of losses, sum of residuals (x) rows, sum of squared logits)."""
        key = theta.tobytes()
        if key not in self._evaluated:
            value, against, square = 0.0, np.zeros(self.shape), 0.0
            for rows, z, part in self.made(theta):
                q, s = self.q[rows], self.s[rows]
                value += s @ (logsumexp(z, axis=1) - along(q, z))
                against += self.sums(part, s[:, None] * less(q, probabilities(z)))
                square += np.sum(z**2)
            # the point where the search is and the last one that it tried
            last = dict(list(self._evaluated.items())[-1:])
            self._evaluated = {**last, key: (value, against, square)}
        return self._evaluated[key]

    def value(self, theta, z):
        """J at theta with logits z."""
        return self._at_point(z)[0] + 0.5 * np.sum(theta**2 * self.penalty)

    def rms(self, z):
        """Root mean square of logits."""
        return np.sqrt(self._at_point(z)[2] / (len(self.s) * len(z)))

    def largest(self, z):
        """The largest logit, by its absolute value."""
        return max(np.abs(part).max() for _, part, _ in self.made(z))

    def at(self, z):
        """Fixes the probabilities at which the Hessian is taken; z stands for the residuals."""
        if self.probabilities is None:
            self.probabilities = np.empty((len(self.s), len(z)))
        for rows, part, _ in self.made(z):
            self.probabilities[rows] = probabilities(part)
        return z

    def gradient(self, theta, residuals):
        """Gradient of J, (K, D)."""
        return theta * self.penalty - self._at_point(residuals)[1]


def loss_of(X, *arguments):
    """The loss of rows, by which Newton's method needs least memory where they lie in files."""
    kind = FileLoss if in_files(X) and not in_one_piece(X) else SoftmaxLoss
    return kind(X, *arguments)


def labels_as_targets(X, codes, n_classes):
    """Labels as probabilities; of rows in files without a number for each class."""
    return OneHot(codes, n_classes) if in_files(X) else np.eye(n_classes)[codes]
