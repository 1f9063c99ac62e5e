"""The softmax loss of rows in partitions: each sum over rows is a sum over partitions."""

from copy import copy

import numpy as np

from .._arrays import batches
from .._softmax.loss import SoftmaxLoss
from ._cluster import added, gather, hold, share, sums_and_largest, total

# numbers of targets, and as many probabilities, that a partition works on at a time
PIECE = 2**22
# what is summed at given probabilities
AT_A_POINT = ("product", "curvature", "curvature_along", "class_blocks", "hessian")
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
        self._evaluated = {}

    def light(self):
        """The loss without its rows."""
        return self.of(self.X, self.q, self.s)

    def _sums(self, name, *args, combine=added):
        """What a method of the partitions' losses sums to."""
        light = self.light()
        light.penalty = np.zeros_like(light.penalty)
        message, training = share((light, name, args)), self.training
        none = [None] * len(training)
        targets = self.targets if self.targets and name == "evaluate" else none
        there = self._there if name in AT_A_POINT else none
        tasks = [
            training.at(p, part_of_sum, message, *given)
            for p, given in enumerate(zip(targets, there, strict=True))
        ]
        return gather([total(tasks, combine)], f"summing the loss's {name} over the rows")[0]

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
        training = self.training
        self._point = z
        tasks = training.each(probabilities_at, share((self.light(), z)))
        self._there = hold(tasks, 8 * training.n * len(z))
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
        return V * (self.penalty + damping) + self._sums("product", V)

    def gram(self, columns=slice(None)):
        """sum_i s_i phi_i phi_i^T of all D columns, or of some."""
        return self._sums("gram", columns)

    def curvature(self):
        """sum_i s_i B_i, (K, K)."""
        return self._sums("curvature")

    def curvature_along(self, vectors, basis):
        """See `SoftmaxLoss`."""
        return self._sums("curvature_along", vectors, basis)

    def class_blocks(self):
        """See `SoftmaxLoss`."""
        return self._sums("class_blocks")

    def total_weight(self):
        """Sum of the weights, and how many are not 0."""
        return self.training.weight

    def class_weights(self):
        """Sum of the weights of each class."""
        return self.training.class_weights

    def without(self, rows):
        """The loss without some rows, at the same probabilities."""
        other = copy(self)
        other.training, other._evaluated = self.training.without(rows), {}
        return other

    def rows(self, rows, factor=1.0):
        """The loss of some rows alone, in this process, at the same probabilities."""
        X, codes, weight = self.training.take(rows)
        part = self.of(X, np.eye(self.shape[0])[codes], factor * weight)
        part.at(part.logits(self._point))
        return part

    def hessian(self, damping=0.0):
        """H on logits up to a common shift, ((K-1) D, (K-1) D)."""
        K, D = self.shape
        H = self._sums("hessian")
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
    for rows in batches(X.shape[0], max(64, PIECE // K)):
        targets = np.eye(K)[codes[rows]] if q is None else q[rows]
        yield rows, PartLoss(X[rows], targets, weight[rows], *settings)


def probabilities_at(X, codes, weight, message):
    """The probabilities of a partition's rows where theta makes their logits."""
    light, theta = message
    # numbers: they stand in for targets, too
    out = np.zeros((X.shape[0], len(theta)))
    for rows, loss in losses(X, codes, weight, light, out):
        loss.at(loss.logits(theta))
        out[rows] = loss.probabilities
    return out


def part_of_sum(X, codes, weight, message, targets=None, there=None):
    """The part of a partition in a sum."""
    light, name, args = message
    parts = []
    combine = sums_and_largest if name in ("evaluate", "extent") else added
    # probabilities stand in for targets that are not asked for
    for rows, loss in losses(X, codes, weight, light, targets if there is None else there):
        loss.probabilities = None if there is None else there[rows]
        parts = [combine([*parts, getattr(loss, name)(*args)])]
    return parts[0]
