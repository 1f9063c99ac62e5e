"""Newton's method for the softmax head."""

import warnings
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from sklearn.exceptions import ConvergenceWarning

from .._arrays import first_equal
from .._arrays.conjugate_gradients import conjugate_gradients
from .file_loss import loss_of
from .hessian import KFAC, Cholesky
from .loss import SoftmaxLoss
from .preconditioners import ClassBlocks, LeadingDirections
from .row_space import in_row_space
from .targets import OneHot, less

# Newton systems up to this order are solved by factorization, larger ones by conjugate gradients
DIRECT = 200

# iterations of conjugate gradients in one Newton step, and those that call for new blocks
LONGEST_SOLVE = 500
STALE = 20


@dataclass
class SoftmaxResult:
    """What :func:`softmax_regression` found.

    Attributes
    ----------
    coef : (K, d) float64 array
    intercept : (K,) float64 array
    residuals : (n, K) float64 array
        s_i (q_i - p_i).
    completeness_error : float
        max over rows and classes of |W - W(alpha)| phi, over the root mean square of the logits,
        with alpha_i = C s_i (q_i - p_i); NaN if a part of the head is not penalized.
    step : float
        What a further Newton step would move at most, over the root mean square of the logits.
    n_iter : int
        Newton steps.
    converged : bool
    """

    coef: np.ndarray
    intercept: np.ndarray
    residuals: np.ndarray
    completeness_error: float
    step: float
    n_iter: int
    converged: bool


def _first(loss):
    """The inverse to precondition the first Newton step with: K-FAC is exact at theta = 0."""
    return KFAC(loss, floor=1e-12) if KFAC.fits(loss) else LeadingDirections(loss)


def _better(solver, iterations):
    """The inverse to precondition the next Newton step with, given the iterations of the last."""
    loss = solver.loss
    # a factor costs as much as this many products with H
    if iterations > max(STALE, (loss.shape[0] - 1) * loss.shape[1] // 32) and Cholesky.fits(loss):
        return Cholesky(loss, ridge=1e-14)
    if isinstance(solver, KFAC):
        if iterations > STALE and ClassBlocks.fits(loss):
            return ClassBlocks(loss)
        solver.update()
    elif isinstance(solver, LeadingDirections):
        solver.update()
    elif isinstance(solver, ClassBlocks) and iterations > STALE:
        return ClassBlocks(loss)
    return solver


def completeness_error(loss, gradient, z):
    """Max |W - W(alpha)| phi over the scale of z; NaN if a part of the head is not penalized."""
    if not (loss.penalty > 0).all():
        return np.nan
    return loss.largest(loss.logits(gradient / loss.penalty)) / (loss.rms(z) or 1.0)


def newton(loss, theta, tol, max_iter, *, complete=False, precondition=None, verbose=0):
    """Minimizes a SoftmaxLoss; returns (theta, completeness error, last step, steps, converged).

    Stops at a completeness error of tol if `complete`, else at a Newton step that moves no logit
    by more than tol times their root mean square; or where rounding lets J fall no further.
    `precondition` is an Inverse near that of the minimum, to be used all along.
    """
    K, D = loss.shape
    order = (K - 1) * D
    direct = precondition is None and order <= max(DIRECT, loss.direct)
    solver, iterations = None, 0
    theta = theta - theta.mean(axis=0)
    z = loss.logits(theta)
    value = loss.value(theta, z)
    step = np.inf
    for iteration in range(max_iter + 1):
        gradient = loss.gradient(theta, loss.at(z))
        scale = loss.rms(z) or 1.0
        error = completeness_error(loss, gradient, z)
        if verbose:
            progress = f"objective {value:.10g}, completeness error {error:.1e}, step {step:.1e}"
            print(f"Newton step {iteration}: {progress}")
        if (error if complete else step) <= tol or iteration == max_iter:
            break
        if direct:
            direction = -Cholesky(loss, ridge=1e-14).solve(gradient[None])[0]
        else:
            if precondition is None:
                solver = _better(solver, iterations) if solver else _first(loss)
            found, iterations, _ = conjugate_gradients(
                loss.product,
                (precondition or solver).solve,
                -gradient[None],
                max(1e-4, min(1e-2, np.sqrt(step))),
                LONGEST_SOLVE,
            )
            direction = found[0]
        dz = loss.logits(direction)
        slope = np.sum(gradient * direction)
        step = loss.largest(dz) / scale
        length = 1.0
        slack = 1e-12 * abs(value)
        while length > 1e-10:
            trial = loss.value(theta + length * direction, z + length * dz)
            if trial <= value + 1e-4 * length * slope + slack:
                break
            length /= 2
        else:
            break
        theta = theta + length * direction
        z = loss.logits(theta) if iteration % 4 == 3 else z + length * dz
        value = trial
    return theta, error, step, iteration, bool((error if complete else step) <= tol)


def complete_head(loss, tol, max_iter, verbose):
    """`newton` from zero to a completeness error of tol; warns where that is not reached."""
    theta, error, step, n_iter, converged = newton(
        loss, np.zeros(loss.shape), tol, max_iter, complete=True, verbose=verbose
    )
    if not converged:
        warnings.warn(
            f"The softmax head stopped after {n_iter} Newton steps at a relative completeness "
            f"error of {error:.1e}, above tol={tol:.1e}: scale the features, lower C, or raise "
            "max_iter.",
            ConvergenceWarning,
            stacklevel=3,
        )
    return theta, error, step, n_iter, converged


def softmax_regression(
    X: np.ndarray | sp.csr_array,
    q: np.ndarray | OneHot,
    C: float,
    *,
    sample_weight: np.ndarray | None = None,
    fit_intercept: bool = False,
    intercept_scaling: float = 1.0,
    tol: float = 1e-6,
    max_iter: int = 100,
    verbose: int = 0,
) -> SoftmaxResult:
    """L2-regularized softmax regression by Newton's method on the exact Hessian, in float64.

    Minimizes ``C sum_i s_i l(W x_i, q_i) + 1/2 ||W||^2``, l the cross-entropy. For two classes the
    norm is that of the difference w of the two rows, so that C and w are those of scikit-learn's
    binary LogisticRegression.

    Parameters
    ----------
    X : (n, d) array or CSR, float32 or float64, or rows in files
    q : (n, K) target probabilities, each row summing to 1, or labels as `OneHot`
    C : float > 0
    sample_weight : (n,) non-negative, optional
    fit_intercept : bool
        Whether to add a constant feature, regularized like the others, without a copy of X.
    intercept_scaling : float
        Size of the constant feature: the intercept is this times its weight.
    tol : float
        Relative completeness error at which to stop.
    max_iter : int
        Newton steps at most.
    verbose : int
        Positive: print each step.

    Returns
    -------
    SoftmaxResult

    Warns
    -----
    ConvergenceWarning
        When the error stays above `tol`.

    Notes
    -----
    Small systems are factorized, O(n (K d)^2) a step; larger ones solved by conjugate gradients,
    O(n K d) an iteration, with K-FAC as preconditioner, O(n d^2 + d^3) once. Fewer dense rows than
    features are taken to their row space first, O(n^2 d), where d is n. Of sparse rows with more
    than 2,000 features no Gram matrix is formed: a few of its leading directions precondition.
    """
    n, K = q.shape
    s = np.ones(n) if sample_weight is None else sample_weight
    # the two rows +-w/2 have half the squared norm of w
    penalty = np.full(X.shape[1] + fit_intercept, (2.0 if K == 2 else 1.0) / C)
    loss = in_row_space(loss_of(X, q, s, penalty, fit_intercept, intercept_scaling))
    theta, error, step, n_iter, converged = complete_head(loss, tol, max_iter, verbose)
    d = X.shape[1]
    intercept = intercept_scaling * theta[:, -1] if fit_intercept else np.zeros(K)
    # rounding depends on a row's place: equal rows take the probabilities of their first
    first = first_equal(X)
    repeated = (first != np.arange(n)).any()
    residuals = less(q, loss.probabilities[first] if repeated else loss.probabilities)
    residuals *= s[:, None]
    if repeated:
        gradient = SoftmaxLoss.gradient(loss, theta, residuals)
        error = completeness_error(loss, gradient, loss.logits(theta))
    theta = loss.expand(theta)
    return SoftmaxResult(theta[:, :d], intercept, residuals, error, step, n_iter, converged)
