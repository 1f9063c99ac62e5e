"""The SVM without some of its rows, solved from the duals of all of them."""

import warnings
from functools import partial

import numpy as np
import scipy.sparse as sp
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.parallel import delayed

from .._arrays.checks import check_workers
from .._arrays.progress import results_of, tracked


def removals(solve, weight, groups, start, n_jobs, verbose):
    """(result with all rows, {position of a group: result without it}); no group without duals.

    `solve(weight, dual_init)` returns a CrammerSingerResult; `start` are duals to begin with.
    """
    without = partial(_without, solve, weight)
    full = without(np.zeros(0, dtype=np.intp), sp.csr_array(start))
    dual = sp.csr_array(full.dual)
    used = np.diff(dual.indptr) > 0
    tasks = [k for k, group in enumerate(groups) if used[group].any()]
    calls = [delayed(_numbered)(k, without, groups[k], dual) for k in tasks]
    results = results_of(calls, check_workers(n_jobs, len(tasks)), prefer="threads")
    return full, dict(tracked(results, len(tasks), title="leave_one_out", verbose=int(verbose)))


def _numbered(k, function, *arguments):
    return k, function(*arguments)


def _without(solve, weight, group, start):
    kept = np.ones(len(weight))
    kept[group] = 0.0
    left = weight * kept
    if not left.any():
        raise ValueError("no row of positive weight would be left")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return solve(left, sp.csr_array(sp.diags_array(kept) @ start))
