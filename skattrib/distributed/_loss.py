"""The softmax loss of rows in partitions: each sum over rows is a sum over partitions."""

import numpy as np

from .._arrays import batches
from .._softmax.loss import SoftmaxLoss
from ._cluster import added, gather, share, sums_and_largest, total

# numbers of targets, and as many probabilities, that a partition works on at a time
PIECE = 2**22
# multiplications of a Hessian that is had in the time of some iterations of conjugate gradients,
# and the largest order of such
CHEAP, MOST_DIRECT = 2e10, 2000


class PartitionedLoss(SoftmaxLoss):
    """A `SoftmaxLoss` whose rows are elsewhere.

    So are its logits: what stands for them here are the weights that make them, (K, D). Sums and
    differences of these are those of the logits; all else is asked of the partitions.

    Parameters
    ----------
    rows : TrainingRows
    targets : list of tasks or None
        Target probabilities (n, K) of each partition; None: of the labels.
    penalty, fit_intercept, intercept_scaling : see `SoftmaxLoss`
    """

    def __init__(self, rows, targets, penalty, fit_intercept, intercept_scaling=1.0):
        K = len(rows.classes)
        empty = np.empty((0, rows.d)), np.empty((0, K)), np.empty(0)
        super().__init__(*empty, penalty, fit_intercept, intercept_scaling)
        self.training, self.targets = rows, targets
        # a sum takes tens of milliseconds, however few rows there are
        self.direct = min(MOST_DIRECT, int(np.sqrt(CHEAP / rows.n)))
        self.point = None
        self._evaluated = {}

    def light(self):
        """The loss without its rows."""
        return self.of(self.X, self.q, self.s)

    def _sums(self, name, *args, point=None, combine=None):
        """What a method of the partitions' losses sums to, at the probabilities of a point."""
        light = self.light()
        light.penalty = np.zeros_like(light.penalty)
        message = share((light, name, point, args))
        tasks = self.training.each(part_of_sum, message, own=self.targets)
        options = {} if combine is None else {"combine": combine}
        return gather([total(tasks, **options)], f"summing the loss's {name} over the rows")[0]

    def logits(self, theta):
        """The weights that make them."""
        return theta

    def _at_point(self, z):
        """(sum of losses, sum of residuals (x) rows, sum of squared logits, largest logit)."""
        key = z.tobytes()
        if key not in self._evaluated:
            found = self._sums("evaluate", z, combine=sums_and_largest)
            # the point where the search is and the last one that it tried
            self._evaluated = {**dict(list(self._evaluated.items())[-1:]), key: found}
        return self._evaluated[key]

    def value(self, theta, z):
        """J at theta with logits z."""
        return self._at_point(z)[0] + 0.5 * np.sum(theta**2 * self.penalty)

    def at(self, z):
        """Fixes the probabilities at which the Hessian is taken; z stands for the residuals."""
        self.point = z
        return z

    def gradient(self, theta, residuals):
        """Gradient of J, (K, D)."""
        return theta * self.penalty - self._at_point(residuals)[1]

    def rms(self, z):
        """Root mean square of logits."""
        key = z.tobytes()
        found = self._evaluated.get(key) or self._sums("extent", z, combine=sums_and_largest)
        return np.sqrt(found[-2] / (self.training.n * len(z)))

    def largest(self, z):
        """The largest logit, by its absolute value."""
        return self._sums("extent", z, combine=sums_and_largest)[-1]

    def product(self, V, damping=0.0):
        """H V for V of shape (m, K, D)."""
        return V * (self.penalty + damping) + self._sums("product", V, point=self.point)

    def gram(self, columns=slice(None)):
        """sum_i s_i phi_i phi_i^T of all D columns, or of some."""
        return self._sums("gram", columns)

    def curvature(self):
        """sum_i s_i B_i, (K, K)."""
        return self._sums("curvature", point=self.point)

    def curvature_along(self, vectors, basis):
        """See `SoftmaxLoss`."""
        return self._sums("curvature_along", vectors, basis, point=self.point)

    def class_blocks(self):
        """See `SoftmaxLoss`."""
        return self._sums("class_blocks", point=self.point)

    def total_weight(self):
        """Sum of the weights, and how many are not 0."""
        return self.training.weight

    def hessian(self, damping=0.0):
        """H on logits up to a common shift, ((K-1) D, (K-1) D)."""
        K, D = self.shape
        H = self._sums("hessian", point=self.point)
        H[np.diag_indices_from(H)] += np.tile(self.penalty + damping, K - 1)
        return H


class PartLoss(SoftmaxLoss):
    """The loss of rows of one partition, and what of it is asked at once."""

    def evaluate(self, theta):
        """(loss, sum of residuals (x) rows, sum of squared logits, largest) at theta."""
        z = self.logits(theta)
        value = self.value(np.zeros_like(theta), z)
        return value, self.against(self.at(z)), np.sum(z**2), np.abs(z).max()

    def extent(self, theta):
        """(sum of squared logits, largest) that theta makes."""
        z = self.logits(theta)
        return np.sum(z**2), np.abs(z).max()


def losses(X, codes, weight, light, q=None):
    """The losses of pieces of a partition: (rows, loss)."""
    K = light.shape[0]
    settings = light.penalty, light.fit_intercept, light.intercept_scaling
    for rows in batches(len(X), max(64, PIECE // K)):
        targets = np.eye(K)[codes[rows]] if q is None else q[rows]
        yield rows, PartLoss(X[rows], targets, weight[rows], *settings)


def part_of_sum(X, codes, weight, message, q=None):
    """The part of a partition in a sum."""
    light, name, point, args = message
    parts = []
    combine = sums_and_largest if name in ("evaluate", "extent") else added
    for _, loss in losses(X, codes, weight, light, q):
        if point is not None:
            loss.at(loss.logits(point))
        parts.append(getattr(loss, name)(*args))
        parts = [combine(parts)]
    return parts[0]
