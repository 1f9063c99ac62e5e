"""Solves at hostile scales, to be run with a sanitizer: nothing is read or written out of bounds.

    python tests/fuzz_solver.py --seconds 60 --seed 0

Each solve ends in a ValueError or in feasible duals and a gap that is a number, or is said not to
have converged. In every other one the bound on C s ||x||^2 is lifted, so that scores overflow and
are NaN: then only memory counts.
"""

import argparse
import time
import warnings

import numpy as np
import reference
from scipy import sparse

from skattrib import DualViewExplainer
from skattrib._svm import _crammer_singer, crammer_singer
from skattrib._svm import problem as limits


def problem(rng, bounded):
    """Rows, labels and options, at any scale."""
    n, d = int(rng.integers(2, 60)), int(rng.integers(1, 40))
    K = int(rng.choice([2, 3, 7, 15, 16, 17, 20, 31, 32, 33, 40, 64, 129, 140]))
    dtype = rng.choice([np.float32, np.float64])
    X = rng.standard_normal((n, d)) * 10.0 ** rng.uniform(-30, 14)
    if rng.random() < 0.3:
        X *= 10.0 ** rng.uniform(-10, 10, size=(n, 1))
    X[rng.random((n, d)) < rng.choice([0.0, 0.5, 0.9])] = 0.0
    if rng.random() < 0.3:
        X[n // 2 :] = X[: n - n // 2]
    X = X.astype(dtype)
    y = rng.integers(0, K, n)
    if len(np.unique(y)) < 2:
        y[:2] = 0, K - 1
    C = 10.0 ** rng.uniform(-20, 20)
    if not bounded or rng.random() < 0.5:
        # as hard as it gets while digits are left, or much beyond
        difficulty = rng.uniform(-4, 12) if bounded else rng.uniform(20, 60)
        size = max(np.mean(X.astype(float) ** 2) * d, 1e-60)
        C = min(10.0**difficulty / size, 1e29 if dtype == np.float32 else 1e60)
    options = {"fit_intercept": bool(rng.random() < 0.5), "max_iter": int(rng.integers(1, 60))}
    if rng.random() < 0.5:
        options["sample_weight"] = 10.0 ** rng.uniform(-6, 6, n) * (rng.random(n) < 0.9)
        options["sample_weight"][0] = 1.0
    return sparse.csr_array(X) if rng.random() < 0.4 else X, y, K, C, options


def solve(X, y, K, C, options, rng):
    """The solver itself, from a start or none, or twice with the duals of the first."""
    options = options | {"tol": 10.0 ** rng.uniform(-9, -2), "canonical": bool(rng.random() < 0.3)}
    if rng.random() < 0.4:
        start = rng.standard_normal((len(y), K)) * 10.0 ** rng.uniform(-10, 10)
        start = sparse.csr_array(start) if rng.random() < 0.5 else start
        options["dual_init"] = start
    result = crammer_singer.crammer_singer(X, y, C, n_classes=K, random_state=0, **options)
    if rng.random() < 0.2:
        options["dual_init"] = result.dual
        result = crammer_singer.crammer_singer(X, y, C, n_classes=K, random_state=1, **options)
    return result


def explain(X, y, C, options, rng):
    """An explainer, and outputs without some of its rows."""
    weight = options.pop("sample_weight", None)
    explainer = DualViewExplainer(
        C=C, random_state=0, canonical=bool(rng.random() < 0.3), **options
    )
    explainer.fit(X, y, weight)
    explainer.attribute(X[:3])
    explainer.leave_one_out(X[:2], X, y, weight, rows=[0, 1])


def check(result, y, C, options):
    """Duals are feasible and what is said of them holds together."""
    alpha = reference.dense(result.dual)
    weight = options.get("sample_weight")
    assert np.isfinite(alpha).all() and np.isfinite(result.coef).all()
    assert reference.infeasibility(alpha, y, C, weight) <= 1e-10
    assert np.isfinite(result.gap) and np.isfinite(result.objective) and result.objective >= 0


def main():
    """Fuzzes for so many seconds; prints what became of the solves."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    np.seterr(all="ignore")
    kernels = []
    for name in ("baseline", "avx2", "avx512"):
        try:
            kernels.append(_crammer_singer.instruction_set(name))
        except ValueError:
            print(f"this processor has no {name}")
    counts = dict.fromkeys(["solved", "explained", "refused", "overflowed"], 0)
    bound = limits.MOST_DIFFICULT
    start = time.monotonic()
    number = arguments.seed * 10**6
    while time.monotonic() < start + arguments.seconds:
        number += 1
        rng = np.random.default_rng(number)
        _crammer_singer.instruction_set(str(rng.choice(kernels)))
        bounded = number % 2 == 0
        X, y, K, C, options = problem(rng, bounded)
        limits.MOST_DIFFICULT = bound if bounded else np.inf
        try:
            if rng.random() < 0.2:
                explain(X, y, C, options, rng)
                counts["explained"] += 1
            else:
                result = solve(X, y, K, C, options, rng)
                counts["solved"] += 1
                if bounded:
                    check(result, y, C, options)
        except ValueError as reason:
            counts["refused" if "scale the features" in str(reason) else "overflowed"] += 1
            assert not bounded or "scale" in str(reason) or "raise C" in str(reason), (
                number,
                reason,
            )
        except Exception as reason:
            if bounded:
                print(f"problem {number}")
                raise
            counts["overflowed"] += isinstance(reason, (ArithmeticError, np.linalg.LinAlgError))
    print(", ".join(f"{count} {what}" for what, count in counts.items()))
    assert counts["solved"] > 10


if __name__ == "__main__":
    main()
