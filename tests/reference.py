"""DualView by the formulas of its papers: loops over rows, and a generic QP solver.

alpha is (n, K) and dense, W is (K, d), b is (K,); s are sample weights (None: ones). With an
intercept every row has one more feature, the constant 1, whose weights are b.
"""

import clarabel
import numpy as np
from scipy import sparse


def dense(A):
    """A matrix as a float64 array."""
    return np.asarray(A.todense() if sparse.issparse(A) else A, dtype=np.float64)


def with_constant(X, fit_intercept):
    X = dense(X)
    return np.column_stack([X, np.ones(len(X))]) if fit_intercept else X


def ones_unless_given(s, X):
    return np.ones(X.shape[0]) if s is None else np.asarray(s, dtype=np.float64)


def hinge(logits, label):
    """max_m (1[m != label] + logits_m) - logits_label."""
    return np.max(logits + (np.arange(len(logits)) != label)) - logits[label]


def primal(W, b, X, y, C, s=None, fit_intercept=False):
    """1/2 ||W||^2 + C sum_i s_i xi_i."""
    value = 0.5 * np.sum(W**2) + (0.5 * np.sum(b**2) if fit_intercept else 0.0)
    for x, label, weight in zip(dense(X), y, ones_unless_given(s, X), strict=True):
        logits = W @ x + (b if fit_intercept else 0.0)
        value += C * weight * hinge(logits, label)
    return value


def weights(alpha, X, fit_intercept=False):
    """W(alpha) = sum_i alpha_i x_i^T, and the constant feature's column of it."""
    W = np.zeros((alpha.shape[1], X.shape[1]))
    b = np.zeros(alpha.shape[1])
    for a, x in zip(dense(alpha), dense(X), strict=True):
        W += np.outer(a, x)
        b += a * fit_intercept
    return W, b


def dual(alpha, X, y, fit_intercept=False):
    """-1/2 ||W(alpha)||^2 + sum_i alpha_{i, y_i}."""
    W, b = weights(alpha, X, fit_intercept)
    return -0.5 * np.sum(W**2) - 0.5 * np.sum(b**2) + sum(dense(alpha)[np.arange(len(y)), y])


def rounding(W, b, X, y, C, s=None, fit_intercept=False):
    """What float64 can get wrong in P or D at W: eps times the sizes of all that is summed."""
    X = with_constant(X, fit_intercept)
    W = np.column_stack([W, b]) if fit_intercept else W
    sizes = np.abs(X) @ np.abs(W).T
    total = np.sum(W**2) + C * ones_unless_given(s, X) @ (1 + 2 * sizes.max(axis=1))
    return np.finfo(np.float64).eps * (sum(X.shape) + len(W)) * total


def infeasibility(alpha, y, C, s=None):
    """Largest violation of a constraint of alpha, as a share of C s_i.

    sum_m alpha_im = 0, 0 <= alpha_{i, y_i} <= C s_i, alpha_im <= 0 for m != y_i; infinite where
    C s_i = 0 and alpha_i is not 0.
    """
    worst = 0.0
    for a, label, weight in zip(dense(alpha), y, ones_unless_given(s, alpha), strict=True):
        others = np.delete(a, label)
        violation = max(abs(a.sum()), -a[label], a[label] - C * weight, others.max(), 0.0)
        if violation > 0:
            worst = max(worst, violation / (C * weight) if weight else np.inf)
    return worst


def projection(v, size):
    """The point of {b >= 0, sum b = size} nearest to v."""
    u = np.sort(v)[::-1]
    excess = (np.cumsum(u) - size) / np.arange(1, len(v) + 1)
    return np.maximum(v - excess[np.flatnonzero(u > excess)[-1]], 0.0)


def scores(W, b, x, label):
    """W x + b + 1 - e_label."""
    return W @ x + b + (np.arange(len(W)) != label)


def sweep(alpha, X, y, C, order, fit_intercept=False):
    """Moves one row after the other to the maximizer of D over its duals.

    Returns alpha and sum_i sum_m beta_im (max_k s_ik - s_im), beta_i = C e_{y_i} - alpha_i, where
    the scores s_i are those that row i was met with.
    """
    alpha, X = alpha.copy(), dense(X)
    W, b = weights(alpha, X, fit_intercept)
    gap = 0.0
    for i in order:
        unit = np.eye(len(W))[y[i]]
        beta, s = C * unit - alpha[i], scores(W, b, X[i], y[i])
        gap += beta @ (s.max() - s)
        moved = projection(beta + s / (X[i] @ X[i] + fit_intercept), C)
        W += np.outer(beta - moved, X[i])
        b += (beta - moved) * fit_intercept
        alpha[i] = C * unit - moved
    return alpha, gap


def slacks(alpha, W, b, X, y, C):
    """How far the class with all of a row's mass is above the others; -1 if there is none."""
    out = []
    for a, x, label in zip(alpha, dense(X), y, strict=True):
        beta, s = C * np.eye(len(W))[label] - a, scores(W, b, x, label)
        k = np.argmax(beta)
        settled = np.count_nonzero(beta) == 1 and s[k] == s.max()
        out.append(s[k] - np.delete(s, k).max() if settled else -1.0)
    return np.array(out)


def solve_qp(X, y, C, sample_weight=None, fit_intercept=False, n_classes=None):
    """The primal as a quadratic program over (W, xi); alpha from its multipliers.

    Minimize 1/2 ||W||^2 + C sum_i s_i xi_i subject to, for every row i and class m,
    (w_{y_i} - w_m).x_i + xi_i >= 1[m != y_i], whose multiplier is -alpha_im for m != y_i.

    Rows of weight zero are left out. Returns alpha (n, K), feasible to rounding, W (K, d), b (K,)
    and P(W). Twice P(W) - D(alpha) bounds the squared distance of (W, b) to the optimum.
    """
    y = np.asarray(y)
    s = ones_unless_given(sample_weight, X)
    K = n_classes or int(y.max()) + 1
    A = with_constant(X, fit_intercept)
    rows = np.flatnonzero(s > 0)
    d = A.shape[1]
    constraints = np.zeros((len(rows) * K, K * d + len(rows)))
    bounds = np.zeros(len(rows) * K)
    for k, i in enumerate(rows):
        for m in range(K):
            one = constraints[k * K + m]
            one[y[i] * d : (y[i] + 1) * d] -= A[i]
            one[m * d : (m + 1) * d] += A[i]
            one[K * d + k] = -1
            bounds[k * K + m] = -float(m != y[i])
    # in units of C s_i for the slacks' prices; the multipliers are then beta_im / (C s_i)
    price = C * s[rows]
    constraints[:, K * d :] /= price
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = 1e-13
    settings.static_regularization_constant = 1e-12
    settings.iterative_refinement_reltol = settings.iterative_refinement_abstol = 1e-15
    settings.max_iter = 200
    quadratic = sparse.diags_array(np.r_[np.ones(K * d), np.zeros(len(rows))]).tocsc()
    linear = np.r_[np.zeros(K * d), np.ones(len(rows))]
    cones = [clarabel.NonnegativeConeT(len(bounds))]
    solution = clarabel.DefaultSolver(
        quadratic, linear, sparse.csc_array(constraints), bounds, cones, settings
    ).solve()
    W = np.reshape(solution.x[: K * d], (K, d))
    beta = np.maximum(np.reshape(solution.z, (len(rows), K)), 0.0)
    alpha = np.zeros((len(y), K))
    for k, i in enumerate(rows):
        share = beta[k] / beta[k].sum()
        alpha[i] = -price[k] * share
        alpha[i, y[i]] = price[k] * np.delete(share, y[i]).sum()
    W, b = (W[:, :-1], W[:, -1]) if fit_intercept else (W, np.zeros(K))
    return alpha, W, b, primal(W, b, X, y, C, s, fit_intercept)


def decision_function(W, b, X):
    """(m, K) logits W x + b."""
    return np.array([W @ x + b for x in dense(X)])


def attributions(alpha, X, X_test, V, bias=False):
    """T[j, i] = sum_c v_jc alpha_ic (phi_i . phi_j + bias)."""
    alpha, X, X_test = dense(alpha), dense(X), dense(X_test)
    T = np.zeros((len(X_test), len(X)))
    for j, test in enumerate(X_test):
        for i, train in enumerate(X):
            for c in range(alpha.shape[1]):
                T[j, i] += V[j][c] * alpha[i, c] * (train @ test + float(bias))
    return T


def decompose(alpha, X, X_test, V):
    """S[j, i, k] = (v_j . alpha_i) phi_ik phi_jk: the features' shares of T, bias left out."""
    alpha, X, X_test = dense(alpha), dense(X), dense(X_test)
    shares = np.zeros((len(X_test), len(X), X.shape[1]))
    for j, test in enumerate(X_test):
        for i, train in enumerate(X):
            for k in range(X.shape[1]):
                shares[j, i, k] = (V[j] @ alpha[i]) * train[k] * test[k]
    return shares


def directions(alpha, X, X_test, V, side):
    """G[j, i, k] = (v_j . alpha_i) times feature k of the row of the other side."""
    alpha, X, X_test = dense(alpha), dense(X), dense(X_test)
    found = np.zeros((len(X_test), len(X), X.shape[1]))
    for j, test in enumerate(X_test):
        for i, train in enumerate(X):
            found[j, i] = (V[j] @ alpha[i]) * (train if side == "test" else test)
    return found


def self_influence(alpha, X, y, bias=False):
    """alpha_{i, y_i} (||phi_i||^2 + bias)."""
    rows = zip(dense(alpha), dense(X), y, strict=True)
    return np.array([a[label] * (x @ x + float(bias)) for a, x, label in rows])


def decision_error_bound(gap, X_test, V, bias=False):
    """||v_j - mean(v_j)|| sqrt(P - D) ||(phi_j, 1)||, gap = P - D absolute."""
    rows = zip(V, dense(X_test), strict=True)
    return np.array(
        [np.linalg.norm(v - np.mean(v)) * np.sqrt(gap * (x @ x + float(bias))) for v, x in rows]
    )
