"""What leaving rows out does to a softmax head: Newton steps, corrections by leverage, refits."""

import warnings
from operator import itemgetter

import numpy as np
import scipy.linalg as la
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.parallel import delayed

from .._arrays import decision, full, squared_norms
from .._arrays.checks import check_workers
from .._arrays.conjugate_gradients import conjugate_gradients
from .._arrays.progress import results_of, tracked
from .hessian import Cholesky, Inverse, check_determined
from .newton import DIRECT, newton
from .preconditioners import preconditioner

# how close the group's Newton step and the refits get to their solution
GROUP_TOL = 1e-10
REFIT_TOL = 1e-7
REFIT_STEPS = 100


def row_sizes(loss):
    """Norms of the rows, the constant feature included."""
    return np.sqrt(squared_norms(loss.X, loss.intercept_scaling**2 if loss.fit_intercept else 0.0))


def gradient_norm(loss, gradient, residuals):
    """Norm of the gradient over the sum of the norms of its terms."""
    terms = np.linalg.norm(residuals, axis=1) @ row_sizes(loss)
    return float(np.linalg.norm(gradient) / terms) if terms > 0 else 0.0


def newton_step(inverse, gradient, theta):
    """How far a Newton step moves the logits of training rows, over their size; NaN without H^-1.

    Gradient and theta are those of all features.
    """
    if not inverse.exact:
        return np.nan
    loss = inverse.loss
    size = loss.rms(loss.logits(loss.compress(theta)))
    change = loss.logits(inverse.solve(loss.compress(gradient)[None])[0])
    return float(loss.rms(change) / size) if size > 0 else float(loss.largest(change))


def corrected(inverse, residuals, first=0):
    """((I - s B M)^-1 r of each row, what it contributes to the row's own log probability).

    Errors count the training rows from `first` on.
    """
    loss = inverse.loss
    out = np.empty_like(residuals)
    own = np.empty(len(residuals))
    for rows, M in inverse.leverage():
        p, s, r = loss.probabilities[rows], loss.s[rows, None, None], residuals[rows]
        root = np.sqrt(p)
        # B = F F^T, so that (I - s B M)^-1 = I + s F (I - s F^T M F)^-1 F^T M
        F = root[:, :, None] * np.eye(p.shape[1]) - p[:, :, None] * root[:, None, :]
        MF = np.matmul(M, F)
        inner = np.eye(p.shape[1]) - s * np.matmul(F.swapaxes(1, 2), MF)
        try:
            np.linalg.cholesky(inner)
        except np.linalg.LinAlgError as error:
            low = np.linalg.eigvalsh(inner)[:, 0]
            raise ValueError(
                f"training row {first + rows.start + low.argmin()} has a leverage of 1 or more, so "
                "that there is no leverage correction: give leverage_correction=False, damping, or "
                "an exact inverse"
            ) from error
        change = np.linalg.solve(inner, np.einsum("ikl,ik->il", MF, r)[:, :, None])
        out[rows] = r + s[:, 0] * np.matmul(F, change)[:, :, 0]
        own[rows] = np.einsum("ik,ikl,il->i", loss.q[rows] - p, M, out[rows])
    return out, own


def self_influence(inverse, residuals):
    """(q - p)^T M r of each row."""
    loss = inverse.loss
    own = np.empty(len(residuals))
    if type(inverse).leverage is Inverse.leverage:
        # M would take K - 1 solves of each row
        for rows, part in loss.batches(2**22 // loss.shape[0], least=1):
            part = full(part)
            change = loss.q[rows] - loss.probabilities[rows]
            found = inverse.solve(change[:, :, None] * part[:, None, :])
            own[rows] = np.einsum("ik,ik->i", residuals[rows], np.einsum("ikd,id->ik", found, part))
        return own
    for rows, M in inverse.leverage():
        change = loss.q[rows] - loss.probabilities[rows]
        own[rows] = np.einsum("ik,ikl,il->i", change, M, residuals[rows])
    return own


def check_removable(groups, loss, damping=0.0):
    """Refuses checked groups without one of which the head has no minimum."""
    with_all, free = loss.class_weights() > 0, (loss.penalty == 0).any()
    for group in groups:
        reduced = loss.without(group)
        left = reduced.class_weights() > 0
        if not left.any():
            raise ValueError("no row of positive weight would be left")
        if free and (with_all > left).any():
            raise ValueError(
                "removing these rows leaves a class without rows, and a head that is not fully "
                f"penalized has no minimum then: {group[:5].tolist()}"
            )
        if loss.penalty[0] == 0:
            try:
                check_determined(reduced, damping)
            except la.LinAlgError as error:
                raise ValueError(
                    "nothing determines the head without these rows: give damping > 0, or a "
                    f"penalized head: {group[:5].tolist()}"
                ) from error


def group_step(inverse, group):
    """H_S^-1 sum_S r (x) phi, (K, D): what the head loses without the group, to one Newton step."""
    loss = inverse.loss
    reduced = loss.without(group)
    part = loss.rows(group)
    residuals = part.s[:, None] * (part.q - part.probabilities)
    near = inverse if inverse.preconditions else preconditioner(loss, inverse.damping)
    found, iterations, _ = conjugate_gradients(
        lambda V: reduced.product(V, inverse.damping),
        near.solve,
        part.against(residuals)[None],
        GROUP_TOL,
        REFIT_STEPS * 10,
    )
    if iterations == REFIT_STEPS * 10:
        raise ValueError("nothing determines the head without this group: give damping > 0")
    return found[0]


def refits(loss, start, groups, n_jobs, verbose):
    """Head with all rows minus head without each group, (K, D) each."""
    full, *_ = newton(loss, start, REFIT_TOL, REFIT_STEPS)
    loss.at(loss.logits(full))
    small = (loss.shape[0] - 1) * loss.shape[1] <= DIRECT
    near = None
    if not small:
        near = Cholesky(loss, ridge=1e-14) if Cholesky.fits(loss) else preconditioner(loss)

    def refit(k):
        theta, _, step, n_iter, converged = newton(
            loss.without(groups[k]), full, REFIT_TOL, REFIT_STEPS, precondition=near
        )
        return k, full - theta, converged

    calls = [delayed(refit)(k) for k in range(len(groups))]
    results = results_of(calls, check_workers(n_jobs, len(groups)), prefer="threads")
    found = sorted(
        tracked(results, len(groups), title="leave_one_out", verbose=int(verbose)),
        key=itemgetter(0),
    )
    missed = sum(not converged for *_, converged in found)
    if missed:
        warnings.warn(
            f"{missed} of {len(groups)} refits did not converge: scale the features or lower C",
            ConvergenceWarning,
            stacklevel=3,
        )
    return [change for _, change, _ in found]


def outputs(loss, X, V, change):
    """V . (change phi) of each row, in float64."""
    d, change = X.shape[1], loss.expand(change)
    intercept = loss.intercept_scaling * change[:, d] if loss.fit_intercept else 0.0
    return np.einsum("jk,jk->j", V, decision(X, change[:, :d], intercept))
