"""Newton's method for regressions by the loss of an activation, all units at once."""

import warnings
from dataclasses import dataclass

import numpy as np
import scipy.linalg as la
import scipy.sparse as sp
from sklearn.exceptions import ConvergenceWarning

from .._arrays import batches, first_equal
from .loss import Inverses, UnitLosses, factor, row_space

# numbers of an array of rows x units
UNIT_FLOATS = 2**23
# iterations of conjugate gradients in one step; of a small Hessian only those that cost less than
# a factor of it
LONGEST_SOLVE, PATIENCE, SMALL = 500, 30, 1024
# points at which a step is tried
LONGEST_SEARCH = 60


@dataclass
class MatchingResult:
    """What :func:`matching_regression` found.

    Attributes
    ----------
    coef : (U, d) float64 array
    intercept : (U,) float64 array
    residuals : (n, U) float64 array
        s_i (t_iu - sigma(z_iu)).
    completeness_error : float
        max over rows and units of |w - w(alpha)| phi over the root mean square of the unit's z,
        with alpha_iu = C times the residuals.
    n_iter : int
        Newton steps of the unit that took most.
    converged : bool
    """

    coef: np.ndarray
    intercept: np.ndarray
    residuals: np.ndarray
    completeness_error: float
    n_iter: int
    converged: bool


def _size(values, otherwise=1.0):
    """Root mean square of each column, without underflow; for columns of zeros `otherwise`."""
    largest = np.abs(values).max(axis=0)
    safe = np.where(largest > 0, largest, 1.0)
    root = safe * np.sqrt(np.mean((values / safe) ** 2, axis=0))
    return np.where(largest > 0, root, otherwise)


def errors_of(losses, gradients, z):
    """Completeness error of each unit, (U,)."""
    differences = losses.outputs(gradients)
    # nothing is explained yet: all is missing
    size = _size(z, _size(differences))
    return np.abs(differences).max(axis=0) / size


def conjugate_gradients(losses, inverses, curvature, V, tol, most):
    """Solves of H_u x_u = v_u: (x (U, D), iterations of each unit, whether it got there)."""
    levels = inverses.levels(curvature)
    x, r = np.zeros_like(V), V.copy()
    z = inverses.solve(r, levels)
    direction = z.copy()
    rz = np.einsum("ud,ud->u", r, z)
    goal, taken = tol**2 * rz, np.zeros(len(V), dtype=int)
    for _ in range(most):
        active = np.flatnonzero(rz > goal)
        if not len(active):
            break
        part = direction[active]
        image = losses.product(part, curvature[:, active])
        bend = np.einsum("ud,ud->u", part, image)
        step = np.divide(rz[active], bend, out=np.zeros(len(active)), where=bend > 0)
        x[active] += step[:, None] * part
        r[active] -= step[:, None] * image
        z = inverses.solve(r[active], levels[active])
        new = np.einsum("ud,ud->u", r[active], z)
        direction[active] = z + (new / rz[active])[:, None] * part
        # of a unit whose H is not positive within rounding no more is to be had
        rz[active] = np.where(bend > 0, new, 0.0)
        taken[active] += 1
    return x, taken, rz <= goal


def _directions(losses, inverses, z, gradients, forcing, hard):
    """Newton directions; units whose systems conjugate gradients are slow with become hard."""
    curvature, out = losses.curvature(z), np.empty_like(gradients)
    soft = np.flatnonzero(~hard)
    most = max(PATIENCE, losses.D // 4) if losses.D <= SMALL else LONGEST_SOLVE
    if len(soft):
        out[soft], _, done = conjugate_gradients(
            losses, inverses, curvature[:, soft], -gradients[soft], forcing[soft], most
        )
        hard[soft] = ~done & (losses.D <= SMALL)
    for u in np.flatnonzero(hard):
        H, _ = factor(losses.C * losses.gram(curvature[:, u]))
        out[u] = -la.cho_solve(H, gradients[u], check_finite=False)
    return out


def _search(losses, units, theta, z, direction, slope):
    """(theta, z, whether they moved) near the minimum of each F along its direction.

    The slope along it does not fall. A step of 1 is taken if it does not lead uphill, else one
    after which the slope is negative still and no more than half of what it was, or nearly 0.
    """
    dz, count = losses.outputs(direction), len(units)
    value, terms = losses.values(theta, z, units)
    length, low, high = np.ones(count), np.zeros(count), np.full(count, np.inf)
    # slopes at both ends; those of F are parts of them that need no rows
    at_low, at_high = slope.copy(), np.full(count, np.inf)
    along = np.einsum("ud,ud->u", theta, direction), np.einsum("ud,ud->u", direction, direction)
    left, first = np.arange(count), True
    for _ in range(LONGEST_SEARCH):
        own = length[left]
        with np.errstate(over="ignore", invalid="ignore"):
            at = z[:, left] + own * dz[:, left]
            pull = np.einsum("nu,nu->u", losses.residuals(at, units[left]), dz[:, left])
            found = along[0][left] + own * along[1][left] - losses.C * pull
            trial = losses.values(theta[left] + own[:, None] * direction[left], at, units[left])[0]
        down, start = found <= 0, -slope[left]
        lower = trial <= value[left] - 1e-4 * own * start + 1e-14 * terms[left]
        done = (down & (first | (found >= -0.5 * start))) | ((found <= 0.1 * start) & lower)
        low[left[done]] = own[done]
        left, own, found, down = (part[~done] for part in (left, own, found, down))
        if not len(left):
            break
        low[left[down]], at_low[left[down]] = own[down], found[down]
        high[left[~down]], at_high[left[~down]] = own[~down], found[~down]
        a, b = at_low[left], at_high[left]
        share = np.where(np.isfinite(b), -a / np.where(np.isfinite(b), b - a, 1.0), 0.5)
        # neither end may stand still
        length[left] = low[left] + np.clip(share, 0.1, 0.9) * (high[left] - low[left])
        first = False
    return theta + low[:, None] * direction, z + low * dz, low > 0


def newton(losses, inverses, theta, tol, max_iter, verbose=0):
    """Minimizes all units of `losses`: (theta, completeness errors, steps, z)."""
    U = len(theta)
    z, errors, steps = losses.outputs(theta), np.full(U, np.inf), np.zeros(U, dtype=int)
    units, hard = np.arange(U), np.zeros(U, dtype=bool)
    for iteration in range(max_iter + 1):
        gradients = losses.gradients(theta[units], losses.residuals(z[:, units], units))
        errors[units] = errors_of(losses, gradients, z[:, units])
        if verbose:
            worst = errors.max()
            print(f"Newton step {iteration}: completeness error {worst:.1e}, {len(units)} units")
        going = errors[units] > tol
        if iteration == max_iter or not going.any():
            break
        units, gradients = units[going], gradients[going]
        forcing = np.clip(np.minimum(errors[units], 1.0) ** 0.5, 1e-4, 1e-2)
        alike, own = hard[units], z[:, units]
        direction = _directions(losses, inverses, own, gradients, forcing, alike)
        hard[units] = alike
        slope = np.einsum("ud,ud->u", gradients, direction)
        theta[units], own, moved = _search(losses, units, theta[units], own, direction, slope)
        # sums of steps drift
        z[:, units] = losses.outputs(theta[units]) if iteration % 4 == 3 else own
        steps[units] += 1
        units = units[moved]
        if not len(units):
            break
    return theta, errors, steps, z


def matching_regression(
    X: np.ndarray | sp.csr_array,
    t: np.ndarray,
    C: float,
    activation,
    *,
    sample_weight: np.ndarray,
    intercept_scaling: float = 0.0,
    tol: float = 1e-6,
    max_iter: int = 100,
    verbose: int = 0,
) -> MatchingResult:
    """Minimizes C sum_i s_i (A(z_iu) - t_iu z_iu) + 1/2 ||w_u||^2 for each unit u, in float64.

    A is the primitive of the activation sigma, z = X w: the loss has sigma(z) - t as its slope.

    Parameters
    ----------
    X : (n, d) array or CSR, float32 or float64
    t : (n, U) array
    C : float > 0
    activation : object with primitive, value and derivative
    sample_weight : (n,) non-negative array
    intercept_scaling : float
        Size of the constant feature, regularized like the others; 0: there is none.
    tol : float
        Relative completeness error at which to stop.
    max_iter : int
        Newton steps at most.
    verbose : int
        Positive: print each step.

    Returns
    -------
    MatchingResult

    Warns
    -----
    ConvergenceWarning
        When the error stays above `tol`.

    Notes
    -----
    F is 1-strongly convex: a gradient g leaves w within ||g|| of the minimum. Newton systems are
    solved by conjugate gradients, O(n U d) an iteration for all units, behind factors of the Gram
    matrix, O(n d^2 + d^3) once: one iteration for the identity. Of up to 1,024 features the exact
    Hessian is factorized where they are slow. Fewer dense rows than features are taken to their row
    space first, O(n^2 d), where d is n.
    """
    n, U = t.shape
    rows, basis = row_space(X)
    losses = UnitLosses(rows, t, sample_weight, C, intercept_scaling, activation)
    inverses = Inverses(losses)
    theta, errors = np.zeros((U, losses.D)), np.empty(U)
    residuals, steps = np.empty((n, U)), 0
    first = first_equal(X)
    for units in batches(U, max(1, UNIT_FLOATS // n)):
        own = UnitLosses(rows, t[:, units], sample_weight, C, intercept_scaling, activation)
        found, errors[units], taken, z = newton(own, inverses, theta[units], tol, max_iter, verbose)
        # rounding depends on a row's place: equal rows take the outputs of their first
        residuals[:, units] = own.residuals(z[first])
        if (first != np.arange(n)).any():
            gradients = own.gradients(found, residuals[:, units])
            errors[units] = errors_of(own, gradients, z)
        steps = max(steps, taken.max())
    converged = bool(errors.max() <= tol)
    if not converged:
        warnings.warn(
            f"The regression stopped after {steps} Newton steps at a relative completeness error "
            f"of {errors.max():.1e}, above tol={tol:.1e}: scale the features, lower C, or raise "
            "max_iter.",
            ConvergenceWarning,
            stacklevel=3,
        )
    width = rows.shape[1]
    coef, intercept = theta[:, :width], np.zeros(U)
    if intercept_scaling:
        intercept = intercept_scaling * theta[:, width]
    coef = coef if basis is None else coef @ basis.T
    return MatchingResult(coef, intercept, residuals, errors.max(), int(steps), converged)


def leave_out(X, alpha, factors, size, groups, X_test):
    """The z with less that without each group of rows of a ridge regression, (m, U) each.

    ``phi_j H^-1 Phi_S^T (I - D_S Phi_S H^-1 Phi_S^T)^-1 alpha_S``, D the diagonal of the factors
    C s_i, alpha (n, U) the coefficients of the fit with all rows.
    """
    X, basis = row_space(X)
    # what a test row has beside the space of the training rows, none of them reaches
    X_test = X_test if basis is None else np.asarray(X_test @ basis)
    losses = UnitLosses(X, alpha, factors, 1.0, size, None)
    inverses = Inverses(losses)
    test = UnitLosses(X_test, alpha, factors, 1.0, size, None)
    for group in groups:
        own = UnitLosses(X[group], alpha[group], factors[group], 1.0, size, None)
        ((_, part),) = own.parts()
        Phi = own.sums(part, np.eye(len(group)))
        solved = inverses.solve(Phi, np.zeros(len(group), dtype=int))
        if not inverses.exact:
            curvature = np.broadcast_to(factors[:, None], (len(factors), len(group)))
            solved = conjugate_gradients(losses, inverses, curvature, Phi, 1e-12, 10_000)[0]
        within = np.eye(len(group)) - factors[group, None] * (Phi @ solved.T)
        yield test.outputs(solved) @ la.solve(within, alpha[group])
