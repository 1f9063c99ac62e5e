"""Regressions by the loss that belongs to an activation, by its definition.

Slow on purpose: sums over rows as loops, one unit at a time. phi are rows with the constant feature
where there is one (`reference.with_constant`).
"""

import math

import clarabel
import numpy as np
from scipy import sparse
from scipy.optimize import minimize

# name -> (primitive, value) of one number
ACTIVATIONS = {
    "identity": (lambda z: z * z / 2, lambda z: z),
    "relu": (lambda z: max(z, 0.0) ** 2 / 2, lambda z: max(z, 0.0)),
    "leaky_relu": (
        lambda z: z * z / 2 if z > 0 else 0.01 * z * z / 2,
        lambda z: z if z > 0 else 0.01 * z,
    ),
    "sigmoid": (
        lambda z: max(z, 0.0) + math.log1p(math.exp(-abs(z))),
        lambda z: 1 / (1 + math.exp(-z)),
    ),
    "tanh": (lambda z: math.log(math.cosh(z)), math.tanh),
    "exp": (math.exp, math.exp),
}


def fit(name, phi, t, s, C):
    """The w that minimizes C sum_i s_i (A(w.phi_i) - t_i w.phi_i) + 1/2 ||w||^2."""
    primitive, value = ACTIVATIONS[name]

    def objective(w):
        out, slope = w @ w / 2, w.copy()
        for x, target, weight in zip(phi, t, s, strict=True):
            z = w @ x
            out += C * weight * (primitive(z) - target * z)
            slope += C * weight * (value(z) - target) * x
        return out, slope

    options = {"ftol": 1e-16, "gtol": 1e-11, "maxiter": 10_000, "maxcor": 50}
    return minimize(
        objective, np.zeros(phi.shape[1]), jac=True, method="L-BFGS-B", options=options
    ).x


def relu_fit(phi, t, s, C):
    """The same for "relu" as a quadratic program: p_i >= z_i, p_i >= 0 for relu(z_i)."""
    n, d = phi.shape
    H = sparse.diags_array(np.concatenate([np.ones(d), C * s])).tocsc()
    slope = np.concatenate([-C * (s * t) @ phi, np.zeros(n)])
    A = sparse.csc_array(np.block([[phi, -np.eye(n)], [np.zeros((n, d)), -np.eye(n)]]))
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = 1e-13
    cones = [clarabel.NonnegativeConeT(2 * n)]
    solver = clarabel.DefaultSolver(
        sparse.csc_matrix(H), slope, sparse.csc_matrix(A), np.zeros(2 * n), cones, settings
    )
    return np.array(solver.solve().x)[:d]


def alphas(name, phi, t, s, C, w):
    """alpha_i = C s_i (t_i - sigma(w.phi_i))."""
    value = ACTIVATIONS[name][1]
    rows = zip(phi, t, s, strict=True)
    return np.array([C * weight * (target - value(w @ x)) for x, target, weight in rows])
