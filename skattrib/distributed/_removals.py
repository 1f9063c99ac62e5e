"""DualView's head without some rows: solved on candidates here, certified on all rows there."""

import warnings
from copy import copy
from dataclasses import dataclass, field
from math import fsum

import numpy as np
import scipy.sparse as sp
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.parallel import delayed

from .._arrays import batches, squared_norms
from .._arrays.checks import check_workers
from .._arrays.progress import results_of, tracked
from ._candidates import ROUNDING, losses_of, outside, score, solve, solve_candidates
from ._cluster import BLOCK, candidate_memory, gather, share

# removals that are certified in the same passes over the partitions, at most
WAVE = 32
# rows this near to a loss, in units of the margin, are fetched before any is removed
NEAR = 0.02


@dataclass
class Head:
    """What a solve found: the head, its gap, objective and whether that is small enough."""

    coef: np.ndarray
    intercept: np.ndarray
    gap: float
    objective: float
    converged: bool


@dataclass
class Removal:
    """A search for the head without a group: its duals are those of some candidates."""

    group: np.ndarray
    rows: np.ndarray
    dual: sp.csr_array
    work: int = 0
    head: Head = field(init=False)


def removals(training, C, groups, start, *, tol, max_iter, n_jobs, verbose, **options):
    """(head with all rows, {position of a group: head without it}); no group without duals.

    Parameters
    ----------
    training : TrainingRows
    C : float
    groups : list of arrays of distinct rows
    start : see `solve`
    tol, max_iter : of each solve, as for `crammer_singer`
    n_jobs : int or None
        Threads that solve.
    verbose : int
    options : fit_intercept, intercept_scaling, random_state
    """
    limit = candidate_memory()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        candidates, found = solve(
            training,
            C,
            tol=tol,
            max_iter=max_iter,
            canonical=False,
            verbose=verbose,
            start=start,
            **options,
        )
    full = Head(found.coef, found.intercept, found.gap, found.objective, found.converged)
    dual = sp.csr_array(candidates.dual)
    used = candidates.rows[np.diff(dual.indptr) > 0]
    owner = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    tasks = np.unique(owner[np.isin(np.concatenate(groups), used)]).tolist()
    if not tasks:
        return full, {}
    candidates.take_in(score(candidates, full, C, NEAR)[1], limit)
    left_out = np.unique(np.concatenate([groups[k] for k in tasks]))
    candidates.take_in(np.setdiff1d(left_out, candidates.rows), limit)
    options |= {"n_classes": len(training.classes), "verbose": 0}
    search = _Search(candidates, C, full, limit, tol, max_iter, n_jobs, options)
    width = max(1, min(WAVE, BLOCK // (8 * full.coef.size)))
    waves = (search.wave(groups, tasks[some]) for some in batches(len(tasks), width))
    heads = (pair for wave in waves for pair in wave)
    return full, dict(tracked(heads, len(tasks), title="leave_one_out", verbose=int(verbose)))


class _Search:
    """What removals share: the candidates, the head of all rows, and when to stop."""

    def __init__(self, candidates, C, full, limit, tol, max_iter, n_jobs, options):
        self.candidates, self.C, self.full, self.limit = candidates, C, full, limit
        self.tol, self.max_iter, self.n_jobs, self.options = tol, max_iter, n_jobs, options

    def wave(self, groups, tasks):
        """Some (position, head without that group), in the order of the positions."""
        candidates = self.candidates
        dual = sp.csr_array(candidates.dual)
        searches = {k: Removal(groups[k], candidates.rows, dual) for k in tasks}
        for removal in searches.values():
            self._check_left(removal.group)
        going = list(searches.values())
        while going:
            calls = [delayed(self._solve)(k, removal) for k, removal in enumerate(going)]
            for _ in results_of(calls, check_workers(self.n_jobs, len(calls)), prefer="threads"):
                pass
            lost, rows = self._score(going)
            for removal, more in zip(going, lost, strict=True):
                self._certify(removal.head, self.C * more)
            # nothing to take in of those that have no losses elsewhere
            going = [
                removal
                for removal, more in zip(going, lost, strict=True)
                if more and not removal.head.converged and removal.work < self.max_iter
            ]
            if going:
                candidates.take_in(rows, self.limit)
        return [(k, removal.head) for k, removal in searches.items()]

    def _check_left(self, group):
        place = np.searchsorted(self.candidates.rows, group)
        weighted = np.count_nonzero(self.candidates.weight[place])
        if weighted == self.candidates.training.weight[1]:
            raise ValueError("no row of positive weight would be left")

    def _solve(self, k, removal):
        """Goes on with a search, on the candidates that there are now."""
        some = copy(self.candidates)
        kept = np.ones(len(some.rows))
        kept[np.searchsorted(some.rows, removal.group)] = 0.0
        some.weight = some.weight * kept
        start = _among(removal.dual, removal.rows, some.rows)
        some.dual = sp.csr_array(sp.diags_array(kept) @ start)
        everything = len(some.rows) == some.training.n
        goal = self.tol if everything else 0.9 * self.tol
        most = self.max_iter - removal.work
        found = solve_candidates(some, self.C, goal, most, False, None, self.options)
        removal.rows, removal.dual = some.rows, sp.csr_array(found.dual)
        removal.work += found.n_iter
        removal.head = Head(found.coef, found.intercept, found.gap, found.objective, False)

    def _certify(self, head, lost):
        """The gap of a head with the losses of the rows that are no candidates."""
        inside, head.objective = head.gap * head.objective, head.objective + lost
        head.gap = (inside + lost) / head.objective if head.objective else 0.0
        head.converged = bool(head.gap <= self.tol)

    def _score(self, going):
        """(losses of the rows that are no candidates by each head, those that have any)."""
        training, full = self.candidates.training, self.full
        heads = [(removal.head.coef, removal.head.intercept) for removal in going]
        at = full.coef, full.intercept
        reach = [reach_of(head, at) for head in heads]
        known = share((at, heads, reach))
        tasks = training.each(lost_by_each, known, own=self.candidates.masks())
        parts = gather(tasks, "scoring all rows without those left out")
        rows = [part[1] + start for part, start in zip(parts, training.starts, strict=True)]
        lost = [fsum(values) for values in zip(*(part[0] for part in parts), strict=True)]
        return lost, np.concatenate(rows)


def _among(dual, rows, more):
    """Duals of some candidates as those of more, which have none."""
    counts = np.zeros(len(more) + 1, dtype=dual.indptr.dtype)
    counts[np.searchsorted(more, rows) + 1] = np.diff(dual.indptr)
    shape = len(more), dual.shape[1]
    return sp.csr_array((dual.data, dual.indices, np.cumsum(counts)), shape=shape)


def reach_of(head, other):
    """(a, b), so that losses by two heads differ by a ||x|| + b at most, rounding included."""
    # of the difference of two rows of W no more than that of all
    far = [np.sqrt(2) * np.linalg.norm(one - two) for one, two in zip(head, other, strict=True)]
    coef, intercept = head
    noise = ROUNDING * np.abs(coef).sum(), ROUNDING * (1.0 + np.abs(intercept).max())
    return far[0] + noise[0], far[1] + noise[1]


def lost_by_each(X, codes, weight, known, mask):
    """(weighted losses by each head of rows outside the mask, those that have any) of a partition.

    A head that differs little from that of all rows moves losses little: most rows it cannot bring
    to one.
    """
    full, heads, reach = known
    lost, close = np.zeros(len(heads)), [np.empty(0, dtype=np.intp)]
    for rows in outside(mask, weight):
        part, own = X[rows], codes[rows]
        loss, norms = losses_of(part, own, *full), np.sqrt(squared_norms(part, 0.0))
        for k, (coef, intercept) in enumerate(heads):
            near = np.flatnonzero(loss > -(reach[k][0] * norms + reach[k][1]))
            found = losses_of(part[near], own[near], coef, intercept)
            lost[k] += weight[rows[near]] @ np.maximum(found, 0.0)
            close.append(rows[near[found > 0]])
    return lost.tolist(), np.unique(np.concatenate(close))
