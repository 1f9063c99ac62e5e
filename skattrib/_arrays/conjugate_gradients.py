"""Preconditioned conjugate gradients for several right sides at once."""

import numpy as np


def conjugate_gradients(product, precondition, V, tol, max_iter):
    """H^-1 V for V of shape (m, K, D), each residual to be tol times its start.

    Residuals are measured in the norm of the preconditioner. Returns the solutions, the iterations
    and which right sides met tol. One whose curvature is not positive, so that H is not positive
    definite within rounding, stays where it was before.
    """
    x = np.zeros_like(V)
    r = V.copy()
    z = precondition(r)
    direction = z.copy()
    rz = np.einsum("mkd,mkd->m", r, z)
    goal = tol**2 * rz
    iterations = 0
    # solutions that are good enough stand still, and those given up: NaN compares as false
    while iterations < max_iter and len(active := np.flatnonzero(rz > goal)):
        part = direction[active]
        image = product(part)
        curvature = np.einsum("mkd,mkd->m", part, image)
        step = np.divide(rz[active], curvature, out=np.zeros(len(active)), where=curvature > 0)
        x[active] += step[:, None, None] * part
        r[active] -= step[:, None, None] * image
        z = precondition(r[active])
        new = np.einsum("mkd,mkd->m", r[active], z)
        direction[active] = z + (new / rz[active])[:, None, None] * part
        rz[active] = np.where(curvature > 0, new, np.nan)
        iterations += 1
    return x, iterations, (rz >= 0) & (rz <= goal)
