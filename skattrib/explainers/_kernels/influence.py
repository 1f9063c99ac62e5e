"""What InfluenceExplainer is made of: the head it reads or fits, and its kernel."""

import warnings
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from ..._arrays import batches, full
from ..._softmax.loss import widened
from ..._softmax.newton import newton
from .. import _scoring
from .._heads import LinearHead, frozen

# C of a LinearHead times the variance of the rows: that which predicts retrained networks
OF_NETWORKS = 4.0

# a head is taken for a minimum while a Newton step moves logits by no more than this share of
# their size, or where H is not solved, up to this gradient norm
SETTLED, AT_MINIMUM = 0.02, 1e-3


@dataclass
class Head:
    """A softmax head as it was given or found: public coefficients and what they minimize."""

    coef: np.ndarray
    intercept: np.ndarray
    classes: np.ndarray
    class_weight: dict | str | None
    n_iter: int = 0
    # of scikit-learn's heads: 1 / C of the weights, and of the intercept (None: no intercept)
    penalty: float | None = None
    intercept_penalty: float | None = None
    has_intercept: bool = True


ACCEPTED = (
    "InfluenceExplainer explains softmax heads: a LogisticRegression with an L2 penalty or none "
    "as FrozenEstimator(classifier), or a LinearHead"
)


def read_head(explainer):
    """The given head, or None if it is to be fitted."""
    if explainer.estimator is None:
        return None
    model = frozen(explainer.estimator)
    if isinstance(model, LinearHead):
        head = Head(model.coef_, model.intercept_, model.classes_, explainer.class_weight)
        head.has_intercept = model.intercept is not None
        return head
    if type(model) is not LogisticRegression:
        hint = " (explain its last step on transformed rows)" if hasattr(model, "steps") else ""
        raise ValueError(f"{ACCEPTED}; got {type(model).__name__}{hint}")
    return _read_logistic(explainer, model)


def _read_logistic(explainer, model):
    if explainer.class_weight is not None:
        raise ValueError("class_weight is that of the frozen LogisticRegression: leave it None")
    binary = len(model.classes_) == 2
    kind = getattr(model, "penalty", "l2")
    ratio = getattr(model, "l1_ratio", None) or 0.0
    if kind == "l1" or (kind in ("elasticnet", "deprecated") and ratio > 0):
        raise ValueError(f"{ACCEPTED}; this one has an L1 penalty")
    scheme = getattr(model, "multi_class", "auto")
    if not binary and (model.solver == "liblinear" or scheme == "ovr"):
        raise ValueError(f"{ACCEPTED}; this one is one-versus-rest")
    if binary and scheme == "multinomial":
        raise ValueError(f"{ACCEPTED}; this one has two softmax rows for two classes")
    penalty = 0.0 if kind is None or np.isinf(model.C) else 1.0 / model.C
    intercept_penalty = None
    if model.fit_intercept:
        scale = model.intercept_scaling
        intercept_penalty = penalty / scale**2 if model.solver == "liblinear" else 0.0
    coef = np.asarray(model.coef_, dtype=np.float64)
    intercept = np.zeros(len(coef)) + np.asarray(model.intercept_, dtype=np.float64)
    return Head(coef, intercept, model.classes_, model.class_weight, 0, penalty, intercept_penalty)


def own_penalty(head, scale):
    """(C, size of the constant feature); `scale` finds those that are not the head's own."""
    if head is None or head.penalty is None:
        return scale(1.0 if head is None else OF_NETWORKS)
    return (1.0 / head.penalty if head.penalty else np.inf), 1.0


def penalty_of(C, explainer, head, d):
    """(penalty of each column of theta, whether the constant feature is one of them)."""
    if head is None or head.penalty is None:
        weights = intercept = 1.0 / C
        fit_intercept = explainer.fit_intercept if head is None else head.has_intercept
    else:
        weights, intercept = head.penalty, head.intercept_penalty
        fit_intercept = intercept is not None
    out = np.full(d + fit_intercept, weights)
    if fit_intercept:
        out[d] = intercept
    # the two rows +-w/2 have half the squared norm of w
    return (2.0 if len(explainer.classes_) == 2 else 1.0) * out, fit_intercept


def fit_head(explainer, loss):
    """The head at the minimum of the loss."""
    theta, error, step, n_iter, converged = newton(
        loss, np.zeros(loss.shape), explainer.tol, explainer.max_iter, verbose=explainer.verbose
    )
    if not converged:
        warnings.warn(
            f"The softmax head stopped after {n_iter} Newton steps, the last of relative size "
            f"{step:.1e}, above tol={explainer.tol:.1e}: scale the features, lower C, or raise "
            "max_iter.",
            ConvergenceWarning,
            stacklevel=3,
        )
    theta = loss.expand(theta)
    coef, intercept = theta, np.zeros(len(theta))
    if loss.fit_intercept:
        coef, intercept = theta[:, :-1], loss.intercept_scaling * theta[:, -1]
    if len(theta) == 2:
        coef, intercept = coef[1:] - coef[:1], intercept[1:] - intercept[:1]
    return Head(coef, intercept, explainer.classes_, explainer.class_weight, max(1, n_iter))


def check_minimum(explainer, head):
    """Whether the head is a minimum on the rows; warns if it is meant to be and is not."""
    step, gradient = explainer.newton_step_, explainer.gradient_norm_
    minimum = gradient <= AT_MINIMUM if np.isnan(step) else step <= SETTLED
    of_network = head is not None and head.penalty is None and explainer.C == "scale"
    if not (minimum or head is None or of_network):
        moved = "" if np.isnan(step) else f"a Newton step moves its logits by {step:.1%}, "
        warnings.warn(
            f"The head is no minimum of its loss on these rows ({moved}relative gradient norm "
            f"{gradient:.1e}): they, or their weights, are not those it was fitted to, its fit "
            "stopped early, or it is a network's. Attributions take it for one. Give fit the rows "
            "and sample_weight of the head, fit the head with a smaller tol (and a larger "
            "max_iter), or explain the head of a network as a LinearHead with C='scale'.",
            UserWarning,
            stacklevel=4,
        )
    return bool(minimum)


def theta_of(head, fit_intercept, intercept_scaling=1.0):
    """Weights of the K logits, (K, D), summing to zero over classes."""
    out = head.coef
    if fit_intercept:
        out = np.column_stack([out, head.intercept / intercept_scaling])
    return np.concatenate([-out / 2, out / 2]) if len(out) == 1 else out - out.mean(axis=0)


class InfluenceKernel(_scoring.ProductKernel):
    """T[j, i] = (v_j (x) phi_j)^T H^-1 (r_i (x) phi_i)."""

    def __init__(self, inverse, residuals):
        n = len(residuals)
        super().__init__(residuals, np.arange(n), inverse.loss.X, n)
        self.inverse = inverse

    def as_kept(self, X):
        """Rows in the row space, where the loss is in it."""
        return self.inverse.loss.project(X)

    def _wide(self, X):
        """Rows of the loss's coordinates in float64, with its constant feature."""
        loss = self.inverse.loss
        return widened(full(X), loss.shape[1], loss.intercept_scaling)

    def left(self, X, group, rows):
        """H^-1 (v (x) phi) of test rows, the last column times the size of the constant."""
        V = group.weights[rows]
        V = V - V.mean(axis=1, keepdims=True)
        out = self.inverse.solve(
            V[:, :, None] * self._wide(self.inverse.loss.project(X))[:, None, :]
        )
        if self.inverse.loss.fit_intercept:
            out[:, :, -1] *= self.inverse.loss.intercept_scaling
        return out

    def aggregate(self, X, target, weights):
        """sum_j weights_j T[j, :], by one solve."""
        return self.against(self.moment(X, target, weights))

    def moment(self, X, target, weights):
        """sum_j weights_j H^-1 (v_j (x) phi_j), (K, D)."""
        loss = self.inverse.loss
        K, D = loss.shape
        V = target.as_weights(K) * weights[:, None]
        V = V - V.mean(axis=1, keepdims=True)
        total = np.zeros((K, D))
        for rows in batches(X.shape[0], 1024):
            part = self.inverse.loss.project(X[rows])
            total += loss.sums(part if sp.issparse(part) else self._wide(part), V[rows])
        return self.inverse.solve(total[None])[0]

    def against(self, moment):
        """The sum over test rows that have this moment."""
        return np.einsum("ik,ik->i", self.right, self.inverse.loss.logits(moment))

    def directions(self, X, pairs, side):
        """v_j . H^-1 (r_i (x) phi_i)."""
        if side == "train":
            raise ValueError(
                "directions of InfluenceExplainer are for side='test': the features of a training "
                "row are in its residual and in the Hessian of all rows too, and no direction "
                "holds that. DualViewExplainer and RepresenterExplainer have both sides"
            )
        d = X.shape[1]
        weights = pairs.target.as_weights(self.right.shape[1])
        distinct, place = np.unique(pairs.rows, return_inverse=True)
        for part in batches(len(distinct), max(1, 2**22 // np.prod(self.inverse.loss.shape))):
            right, seeds = self.right[distinct[part]], self._wide(self.vectors[distinct[part]])
            found = self.inverse.solve(right[:, :, None] * seeds[:, None, :])
            found = self.inverse.loss.expand(found)[:, :, :d]
            places = np.flatnonzero((place >= part.start) & (place < part.stop))
            for chunk in batches(len(places), max(1, 2**20 // found[0].size)):
                at = places[chunk]
                own = found[place[at] - part.start]
                yield at, np.einsum("pk,pkd->pd", weights[pairs.tests[at]], own)
