"""The softmax head, influence functions and representer points by their papers' formulas.

Slow on purpose: sums over rows as loops, the full K D x K D Hessian of logits that are not reduced
by their gauge, pseudo-inverses. theta is (K, D); phi are rows with the constant feature where there
is one (`reference.with_constant`); penalty is (D,), that of each column of theta.
"""

import numpy as np


def softmax(z):
    e = np.exp(z - np.max(z))
    return e / e.sum()


def bend(p):
    """B = diag(p) - p p^T, the Hessian of the cross-entropy in the logits."""
    return np.diag(p) - np.outer(p, p)


def objective(theta, phi, q, s, penalty):
    """J = sum_i s_i l_i + 1/2 sum penalty theta^2."""
    value = 0.5 * np.sum(theta**2 * penalty)
    for x, target, weight in zip(phi, q, s, strict=True):
        z = theta @ x
        shift = z.max()
        value += weight * (shift + np.log(np.exp(z - shift).sum()) - target @ z)
    return value


def residuals(theta, phi, q, s):
    """r_i = s_i (q_i - p_i)."""
    rows = zip(phi, q, s, strict=True)
    return np.array([w * (target - softmax(theta @ x)) for x, target, w in rows])


def gradient(theta, phi, q, s, penalty):
    """of J, (K, D)."""
    out = theta * penalty
    for r, x in zip(residuals(theta, phi, q, s), phi, strict=True):
        out = out - np.outer(r, x)
    return out


def hessian(theta, phi, s, penalty, damping=0.0):
    """sum_i s_i B_i (x) phi_i phi_i^T + Lambda, (K D, K D)."""
    K = len(theta)
    out = np.diag(np.tile(penalty + damping, K))
    for x, weight in zip(phi, s, strict=True):
        out += weight * np.kron(bend(softmax(theta @ x)), np.outer(x, x))
    return out


def gauge(K, D):
    """Projects theta onto rows that sum to zero."""
    return np.kron(np.eye(K) - 1 / K, np.eye(D))


def inverse(H, K):
    """H^-1 in the sum-to-zero gauge."""
    P = gauge(K, len(H) // K)
    return np.linalg.pinv(P @ H @ P, rcond=1e-13, hermitian=True)


def minimum(phi, q, s, penalty, start=None):
    """theta of least J, by Newton's method with halved steps."""
    theta = np.zeros((q.shape[1], phi.shape[1])) if start is None else start - start.mean(axis=0)
    for _ in range(50):
        G = inverse(hessian(theta, phi, s, penalty), len(theta))
        slope = gradient(theta, phi, q, s, penalty).reshape(-1)
        step, length = -(G @ slope).reshape(theta.shape), 1.0
        # what rounding alone may add to J
        most = objective(theta, phi, q, s, penalty) * (1 + 1e-13)
        while objective(theta + length * step, phi, q, s, penalty) > most:
            length /= 2
        theta = theta + length * step
        if np.abs(step).max() <= 1e-9 * np.abs(theta).max():
            return theta
    raise AssertionError("the oracle did not converge")


def leverage(theta, phi, G):
    """M_i = (I (x) phi_i)^T G (I (x) phi_i)."""
    K = len(theta)
    out = []
    for x in phi:
        column = np.kron(np.eye(K), x[:, None])
        out.append(column.T @ G @ column)
    return np.array(out)


def corrected(theta, phi, q, s, G):
    """(I - s_i B_i M_i)^-1 r_i."""
    r, M = residuals(theta, phi, q, s), leverage(theta, phi, G)
    out = np.zeros_like(r)
    for i, x in enumerate(phi):
        B = bend(softmax(theta @ x))
        out[i] = np.linalg.solve(np.eye(len(B)) - s[i] * B @ M[i], r[i])
    return out


def influence(phi, phi_test, r, G, V):
    """T[j, i] = (v_j (x) phi_j)^T G (r_i (x) phi_i)."""
    T = np.zeros((len(phi_test), len(phi)))
    for j, test in enumerate(phi_test):
        row = np.kron(V[j], test) @ G
        for i, train in enumerate(phi):
            T[j, i] = row @ np.kron(r[i], train)
    return T


def self_influence(phi, r, G, change):
    """(change_i (x) phi_i)^T G (r_i (x) phi_i), the diagonal of T."""
    rows = zip(phi, r, change, strict=True)
    return np.array([np.kron(c, x) @ G @ np.kron(a, x) for x, a, c in rows])


def effect_without(theta, phi, q, s, penalty, rows, phi_test, V, damping=0.0):
    """Output minus what one Newton step on J without the rows leaves of it."""
    keep = np.setdiff1d(np.arange(len(phi)), rows)
    H = hessian(theta, phi[keep], s[keep], penalty, damping)
    lost = np.zeros(theta.size)
    for i in rows:
        lost += s[i] * np.kron(q[i] - softmax(theta @ phi[i]), phi[i])
    change = (inverse(H, len(theta)) @ lost).reshape(theta.shape)
    return np.array([v @ change @ x for v, x in zip(V, phi_test, strict=True)])


def shares_of_test_row(phi, phi_test, r, G, V):
    """S[j, i, k] = v_j . phi_jk [G (r_i (x) phi_i)]_k, over features k and the constant."""
    S = np.zeros((len(phi_test), len(phi), phi.shape[1]))
    for i, train in enumerate(phi):
        change = (G @ np.kron(r[i], train)).reshape(V.shape[1], -1)
        for j, test in enumerate(phi_test):
            for k in range(phi.shape[1]):
                S[j, i, k] = test[k] * (V[j] @ change[:, k])
    return S


# what the approximate inverses stand for, each by its paper


def kfac(theta, phi, s, penalty, damping=0.0):
    """(sum s) E[B] (x) E[phi phi^T] + Lambda (Martens and Grosse 2015), to be inverted."""
    K, D = theta.shape
    S, A = np.zeros((K, K)), np.zeros((D, D))
    for x, weight in zip(phi, s, strict=True):
        S += weight * bend(softmax(theta @ x)) / s.sum()
        A += weight * np.outer(x, x) / s.sum()
    return s.sum() * np.kron(S, A) + np.diag(np.tile(penalty + damping, K))


def ekfac(theta, phi, s, penalty, damping=0.0):
    """The diagonal of H in the eigenbasis of E[B] (x) E[phi phi^T] (George et al. 2018)."""
    K, D = theta.shape
    S, A = np.zeros((K, K)), np.zeros((D, D))
    for x, weight in zip(phi, s, strict=True):
        S += weight * bend(softmax(theta @ x))
        A += weight * np.outer(x, x)
    H = hessian(theta, phi, s, penalty, damping)
    out = np.zeros_like(H)
    for u in np.linalg.eigh(S)[1].T:
        for a in np.linalg.eigh(A)[1].T:
            direction = np.kron(u, a)
            out += (direction @ H @ direction) * np.outer(direction, direction)
    return out


def datainf(theta, phi, q, s, penalty, damping=0.0):
    """Mean of (g_i g_i^T + Lambda / sum s)^-1, over sum s (Kwon et al. 2024, eq. 5)."""
    total = s.sum()
    out = np.zeros((theta.size, theta.size))
    for x, target, weight in zip(phi, q, s, strict=True):
        g = np.kron(softmax(theta @ x) - target, x)
        one = np.outer(g, g) + np.diag(np.tile(penalty + damping, len(theta))) / total
        out += weight / total * np.linalg.inv(one) / total
    return out


def leading(H, K, rank):
    """The inverse on the `rank` leading eigenvectors of H in the gauge (Schioppa et al. 2022)."""
    P = gauge(K, len(H) // K)
    values, vectors = np.linalg.eigh(P @ H @ P)
    values, vectors = values[-rank:], vectors[:, -rank:]
    return vectors @ np.diag(1 / values) @ vectors.T


def neumann(H, scale, depth):
    """sum_t=0..depth (I - H / scale)^t / scale (Agarwal, Bullins and Hazan 2017)."""
    term = np.eye(len(H))
    out = np.zeros_like(H)
    for _ in range(depth + 1):
        out += term / scale
        term = term @ (np.eye(len(H)) - H / scale)
    return out


# representer points


def representer_alpha(theta, phi, q, s, C):
    """alpha_i = C s_i (q_i - p_i)."""
    return C * residuals(theta, phi, q, s)


def completeness_error(theta, phi, alpha):
    """max abs(sum_i alpha_ic phi_i . phi_j - f_c(phi_j)) over the RMS of the logits."""
    logits = phi @ theta.T
    errors = (phi @ phi.T) @ alpha - logits
    return np.abs(errors).max() / np.sqrt(np.mean(logits**2))
