"""Certificates of many random solves, checked in extended precision and against a QP solver.

    python tests/fuzz_certificates.py --solves 100000 --jobs 2 --seed 0

Each solve has its own seed, which is named when something is wrong:

    python tests/fuzz_certificates.py --only 4711
"""

import argparse
import sys
import time
import warnings
from collections import Counter

import numpy as np
import reference
import scipy.sparse as sp
from sklearn.utils.parallel import Parallel, delayed

from skattrib import DualViewExplainer
from skattrib._svm.crammer_singer import crammer_singer, crammer_singer_path

# one solve in so many is compared with the QP solver, if it is of a scale that one can solve
QP_EVERY = 8

wide = np.longdouble
eps = np.finfo(np.float64).eps


def draw(rng):
    """A problem of random size, scale, layout and options."""
    n, d = int(rng.integers(1, 40)), int(rng.integers(1, 12))
    K = int(
        rng.choice(
            [2, 3, 4, 7, 15, 16, 17, 24, 130], p=[0.3, 0.2, 0.15, 0.1, 0.05, 0.05, 0.05, 0.05, 0.05]
        )
    )
    single = rng.random() < 0.4
    scale = 10.0 ** rng.uniform(-8, 6) if rng.random() < 0.3 else 10.0 ** rng.uniform(-1, 1)
    X = rng.normal(size=(n, d)) * scale
    kind = rng.choice(["normal", "sparse", "relu", "repeated", "constant", "collinear"])
    if kind == "sparse":
        X[rng.random(X.shape) < 0.8] = 0.0
    elif kind == "relu":
        X = np.maximum(X, 0)
    elif kind == "repeated":
        X = X[rng.integers(n, size=n)]
    elif kind == "constant":
        X[:] = X[0]
    elif kind == "collinear":
        X = np.outer(rng.normal(size=n), X[0])
    X = np.ascontiguousarray(X, dtype=np.float32 if single else np.float64)
    y = rng.integers(K, size=n)
    if rng.random() < 0.2:
        y[:] = y[0]
    weight = None
    if rng.random() < 0.4:
        weight = 10.0 ** rng.uniform(-6, 6, size=n) if rng.random() < 0.3 else rng.uniform(0, 2, n)
        weight[rng.random(n) < 0.2] = 0.0
        if not weight.any():
            weight[0] = 1.0
    size = float(np.mean(np.sum(X.astype(float) ** 2, axis=1)))
    C = 10.0 ** rng.uniform(-4, 5) / (size if size > 0 else 1.0)
    options = {
        "n_classes": K,
        "sample_weight": weight,
        "fit_intercept": bool(rng.random() < 0.5),
        "tol": 10.0 ** rng.uniform(-9, -1),
        "max_iter": int(rng.choice([1, 5, 1000], p=[0.05, 0.05, 0.9])),
        "canonical": bool(rng.random() < 0.2),
        "random_state": int(rng.integers(1000)),
    }
    if rng.random() < 0.2:
        options["dual_init"] = rng.normal(size=(n, K)) * C
    A = sp.csr_array(X) if rng.random() < 0.3 else X
    return A, X, y, C, options


def exact_values(X, y, C, found, options):
    """P, D, how far alpha is from feasible, in extended precision; what rounding W does to D."""
    alpha = reference.dense(found.dual).astype(wide)
    X = reference.with_constant(X, options["fit_intercept"]).astype(wide)
    W = found.coef.astype(wide)
    if options["fit_intercept"]:
        W = np.column_stack([W, found.intercept.astype(wide)])
    s = options["sample_weight"]
    cap = wide(C) * (np.ones(len(y)) if s is None else s).astype(wide)
    each = np.arange(len(y))
    logits = X @ W.T
    rivals = logits + 1
    rivals[each, y] -= 1
    loss = rivals.max(axis=1) - logits[each, y]
    primal = (W**2).sum() / 2 + cap @ loss
    own = alpha[each, y]
    dual = -((alpha.T @ X) ** 2).sum() / 2 + own.sum()
    others = alpha.copy()
    others[each, y] = 0
    broken = max(
        (np.abs(alpha.sum(axis=1)) - eps * alpha.shape[1] * cap).max(),
        (-own).max(),
        (own - cap * (1 + 2 * eps)).max(),
        others.max(),
    )
    # W is alpha^T X but for n roundings, of duals that may be large and cancel
    off = eps * len(y) * (np.abs(alpha).T @ np.abs(X))
    rounded = (np.abs(W) * off + off**2 / 2).sum()
    return primal, dual, broken, float(rounded)


def check(seed):
    """Problems found with the solve of one seed, as a list of words, and what kind it was."""
    rng = np.random.default_rng(seed)
    A, X, y, C, options = draw(rng)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if rng.random() < 0.1:
            path = dict(options)
            found = crammer_singer_path(A, y, Cs=[C / 10, C], **path)[1]
        else:
            found = crammer_singer(A, y, C, **options)
    wrong = []
    primal, dual, broken, rounded = exact_values(X, y, C, found, options)
    claimed = wide(found.gap) * wide(found.objective)
    W = np.column_stack([found.coef, found.intercept])
    rounding = reference.rounding(
        found.coef, found.intercept, X, y, C, options["sample_weight"], options["fit_intercept"]
    )
    if not (np.isfinite(found.gap) and np.isfinite(found.objective) and np.isfinite(W).all()):
        wrong.append("not finite")
    if broken > 0:
        wrong.append(f"alpha is infeasible by {float(broken):.1e}")
    if primal - dual > claimed + rounding + rounded:
        wrong.append(f"gap {float(primal - dual):.3e}, claimed {float(claimed):.3e}")
    if abs(primal - wide(found.objective)) > 1e-9 * abs(primal) + rounding:
        wrong.append(f"objective {float(primal):.6e}, claimed {found.objective:.6e}")
    if found.converged != (found.gap <= options["tol"]):
        wrong.append("converged is not gap <= tol")
    kind = "converged" if found.converged else "stopped"
    small = len(y) * options["n_classes"] <= 200 and 1e-3 < C < 1e4 and np.abs(X).max() < 100
    if seed % QP_EVERY == 0 and small:
        kind += ", compared with a QP"
        wrong += against_qp(X, y, C, found, options, claimed, rounding, rng)
    return wrong, kind


def against_qp(X, y, C, found, options, claimed, rounding, rng):
    """Whether decision values are within the certified distance of the exact optimum's."""
    s, bias = options["sample_weight"], options["fit_intercept"]
    if s is not None and s[s > 0].min() < 1e-3 * s.max():
        return []
    alpha, W, b, best = reference.solve_qp(X, y, C, s, bias, options["n_classes"])
    slack = max(best - reference.dual(alpha, X, y, bias), 0.0)
    wrong = []
    if found.objective < best - slack - rounding:
        wrong.append(f"P is {found.objective:.9e}, below the optimum {best:.9e}")
    test = rng.normal(size=(5, X.shape[1])) * max(1.0, float(np.abs(X).max()))
    f = test @ found.coef.T + found.intercept
    optimum = test @ W.T + b
    difference = f[:, 0] - f[:, -1] - optimum[:, 0] + optimum[:, -1]
    size = np.sqrt(2 * ((test**2).sum(axis=1) + bias))
    # the reference is itself within sqrt(2 slack) of the optimum
    bound = size * (np.sqrt(float(claimed) + rounding) + np.sqrt(2 * (slack + rounding)))
    if (np.abs(difference) > bound).any():
        wrong.append(f"outputs off by {np.max(np.abs(difference) / bound):.2f} of the bound")
    return wrong


def check_explainer(seed):
    """As `check`, through the estimator: its bound of decision values, its gap, its sums."""
    rng = np.random.default_rng([seed, 1])
    A, X, y, C, options = draw(rng)
    if len(np.unique(y)) < 2 or (s := options["sample_weight"]) is not None and not s.all():
        return [], "no explainer"
    names = ("fit_intercept", "tol", "max_iter", "canonical", "random_state")
    explainer = DualViewExplainer(C, sparse_output=False, **{k: options[k] for k in names})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        explainer.fit(A, y, sample_weight=options["sample_weight"])
    tight = DualViewExplainer(C, tol=1e-11, **{k: options[k] for k in names if k != "tol"})
    tight.set_params(max_iter=1000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tight.fit(A, y, sample_weight=options["sample_weight"])
    target = explainer.classes_[0]
    f, exact = (e.decision_function(X) for e in (explainer, tight))
    if f.ndim > 1:
        f, exact = f[:, 0], exact[:, 0]
    bound = explainer.decision_error_bound(X, target) + tight.decision_error_bound(X, target)
    size = np.abs(X.astype(float)) @ np.abs(explainer.coef_).sum(axis=0) + 1
    wrong = []
    if (np.abs(f - exact) > bound + 1e-10 * size).any():
        wrong.append("outputs beyond decision_error_bound")
    T = explainer.attribute(X, target).astype(float)
    sign = -1 if len(explainer.classes_) == 2 else 1
    base = explainer.base_value(X, target)
    off = np.abs(T.sum(axis=1) + base - sign * f)
    allowed = 1e-4 if X.dtype == np.float32 else 1e-9
    if (off > allowed * (np.abs(T).sum(axis=1) + np.abs(base) + 1e-300)).any():
        wrong.append("attributions do not sum to the output")
    return wrong, "explainer"


def run(seeds):
    """(seed, words) of what is wrong, and counts by kind."""
    failures, kinds = [], Counter()
    for seed in seeds:
        for test in (check, check_explainer) if seed % 10 == 0 else (check,):
            try:
                wrong, kind = test(seed)
            except ValueError as error:
                # a refusal is an answer, but draw() makes nothing that ought to be refused
                wrong, kind = [f"refused: {error}"], "refused"
            kinds[kind] += 1
            failures += [(seed, test.__name__, words) for words in wrong]
    return failures, kinds


def main():
    """Run and report; 1 if a certificate is violated."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--solves", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", type=int, help="one seed alone")
    args = parser.parse_args()
    first = args.seed * 10**7
    seeds = range(first, first + args.solves) if args.only is None else [args.only]
    chunks = [seeds[k : k + 250] for k in range(0, len(seeds), 250)]
    start = time.monotonic()
    failures, kinds = [], Counter()
    for found, counts in Parallel(args.jobs, return_as="generator_unordered")(
        delayed(run)(chunk) for chunk in chunks
    ):
        failures += found
        kinds += counts
    for seed, test, words in sorted(failures)[:50]:
        print(f"seed {seed}, {test}: {words}")
    print(*(f"{count} {kind}" for kind, count in kinds.most_common()), sep="\n")
    print(f"{len(seeds)} solves, {len(failures)} faults, {time.monotonic() - start:.0f} s")
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())
