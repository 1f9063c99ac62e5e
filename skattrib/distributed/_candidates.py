"""Crammer and Singer's SVM on rows elsewhere: solved on candidates here, certified on all there."""

import warnings
from math import fsum

import numpy as np
import scipy.sparse as sp
from dask.utils import format_bytes
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.random import sample_without_replacement

from .._arrays import batches, squared_norms
from .._svm.crammer_singer import CrammerSingerResult, crammer_singer
from ._cluster import candidate_memory, gather, share
from ._rows import keys_of

# the first rough solution is one of this share of the rows, of so many at least: it says which
# others are worth fetching
SHARE, FEWEST = 10, 10_000
# its gap and the most sweeps for it
ROUGH, SWEEPS = 1e-2, 100
# the gap of the first round, and by how much that of a round is below that of the last
FIRST, CLOSER = 3e-3, 0.1
# of the sampled rows one in so many is not solved on: at them losses are those of any row. At first
# so many rows are fetched as have duals in the sample, and some more
HELD_OUT, MORE = 5, 1.1
# so small a share of the candidates is no reason to solve roughly once more
FEW = 0.01
# each round but the last takes rows in
MOST_ROUNDS = 100
# what losses of equal rows may differ by, relative to the products that they are made of
ROUNDING = 1e-11
# bytes of the solver for a row, besides its features and a dual for each of 16 classes
SOLVER = 300


class Candidates:
    """Rows that may have duals, in this process, in the order of the training rows."""

    def __init__(self, training):
        self.training = training
        self.rows = np.empty(0, dtype=np.int64)
        empty = sp.csr_array if training.sparse else np.empty
        self.X = empty((0, training.d), dtype=training.dtype)
        self.codes, self.weight = np.empty(0, dtype=np.intp), np.empty(0)
        self.dual = None

        # a copy is made when more are taken in
        self.size = 2 * training.row_bytes + SOLVER

    def check_room(self, more, limit):
        """Refuses more rows than memory holds."""
        n = len(self.rows) + more
        need = n * self.size
        if need > limit:
            raise ValueError(
                f"{n:,} of {self.training.n:,} rows are candidates for a place in the solution, "
                f"and to solve on them takes {format_bytes(need)} in this process, beyond the "
                f"{format_bytes(limit)} it may use: raise skattrib.candidate-memory in dask's "
                "configuration, project the features to fewer, or raise C, with which fewer rows "
                "have a place where the classes lie apart"
            )

    def take_in(self, new, limit):
        """Fetches rows that are not among them yet."""
        if not len(new):
            return
        self.check_room(len(new), limit)
        X, codes, weight = self.training.take(new, "fetching candidate rows")
        order = np.argsort(np.concatenate([self.rows, new]), kind="stable")
        self.X = _merged(self.X, X, order)
        if self.dual is not None:
            none = sp.csr_array((len(new), self.dual.shape[1]))
            self.dual = sp.csr_array(sp.vstack([sp.csr_array(self.dual), none]))[order]
        self.rows = np.concatenate([self.rows, new])[order]
        self.codes = np.concatenate([self.codes, codes])[order]
        self.weight = np.concatenate([self.weight, weight])[order]

    def masks(self):
        """Of each partition, which of its rows are candidates, as bits."""
        training = self.training
        out = []
        for start, size in zip(training.starts, training.sizes, strict=True):
            mask = np.zeros(size, dtype=bool)
            lower, upper = np.searchsorted(self.rows, [start, start + size])
            mask[self.rows[lower:upper] - start] = True
            out.append(np.packbits(mask))
        return out


def _merged(X, more, order):
    """Rows of both in an order."""
    if not X.shape[0]:
        return more[order] if (np.diff(order) < 0).any() else more
    if sp.issparse(X):
        return sp.csr_array(sp.vstack([X, more], format="csr"))[order]
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    both = np.empty((len(order), X.shape[1]), dtype=X.dtype)
    both[place[: len(X)]], both[place[len(X) :]] = X, more
    return both


def solve(training, C, *, tol, max_iter, canonical, random_state, verbose, start=None, **options):
    """(candidates, what was found on them, with gap and objective of all rows).

    The gap is that of the candidates and the losses of all others, which have no duals: a sum of
    non-negative terms in float64, and so the certificate of the whole problem.

    Parameters
    ----------
    training : TrainingRows
    C, tol, max_iter, canonical, random_state, verbose : as for `crammer_singer`
    start : (rows, duals (rows, K), W with its intercepts) to start from, or None
    options : fit_intercept, intercept_scaling
    """
    limit = candidate_memory()
    candidates = Candidates(training)
    options |= {"n_classes": len(training.classes), "verbose": max(int(verbose) - 1, 0)}
    options |= {"random_state": random_state}
    W, work = None, 0
    if start is not None:
        rows, candidates.dual, W = start
        dual, candidates.dual = candidates.dual, None
        candidates.take_in(rows, limit)
        candidates.dual = dual
    elif (sample := _sample(candidates, random_state, limit)) is None:
        candidates.take_in(np.arange(training.n), limit)
    else:
        found, near = _rough(training, C, sample, max_iter, options)
        _, rows, _ = score(candidates, found, C, near)
        if verbose:
            print(
                f"[candidates] solved on {len(sample):,} sampled rows: {len(rows):,} of "
                f"{training.n:,} are near enough to a loss"
            )
        candidates.take_in(rows if len(rows) else sample, limit)
    everything = len(candidates.rows) == training.n
    final = tol if canonical or everything else 0.9 * tol
    goal = final if everything else max(FIRST, final)
    for number in range(1, MOST_ROUNDS + 1):
        found = solve_candidates(
            candidates, C, goal, max_iter - work, canonical and goal <= final, W, options
        )
        work += found.n_iter
        candidates.dual = found.dual
        W = (
            np.column_stack([found.coef, found.intercept])
            if options["fit_intercept"]
            else found.coef
        )
        lost, rows, twins = score(candidates, found, C, twins=found.gap <= tol)
        inside, found.objective = found.gap * found.objective, found.objective + lost
        found.gap = (inside + lost) / found.objective
        if verbose:
            print(
                f"[candidates] round {number}: {len(candidates.rows):,} candidates, relative gap "
                f"of all {training.n:,} rows {found.gap:.2e} after {work} sweeps and Newton steps, "
                f"{len(rows):,} others have losses"
            )
        solved = found.gap <= tol
        settled = solved and not (canonical and (goal > final or len(rows)))
        if settled:
            rows = twins
        # nothing to take in, or nothing to be had by it
        if work >= max_iter or not len(rows) and (settled or goal <= final):
            break
        few = len(rows) <= FEW * len(candidates.rows)
        goal = final if solved or few else max(final, min(goal, CLOSER * found.gap))
        candidates.take_in(rows, limit)
    found.n_iter, found.converged = work, bool(found.gap <= tol)
    if not found.converged:
        warnings.warn(
            f"The solver on candidate rows stopped after {work} sweeps and Newton steps at a "
            f"relative gap of {found.gap:.1e} over all rows, above tol={tol:.1e}: scale the "
            "features or lower C, or raise max_iter.",
            ConvergenceWarning,
            stacklevel=4,
        )
    return candidates, found


def _sample(candidates, random_state, limit):
    """Rows of the first rough solution; None where all rows are not many more."""
    training = candidates.training
    size = max(FEWEST, training.n // SHARE)
    size = min(size, limit // (4 * candidates.size))
    if training.n <= max(size, FEWEST):
        return None
    seed = check_random_state(random_state).randint(np.iinfo(np.int32).max)
    return np.sort(sample_without_replacement(training.n, max(size, 2), random_state=seed))


def _rough(training, C, sample, max_iter, options):
    """(what is found on a sample, how near to a loss rows are that may have duals).

    Each row has the weight of as many as it stands for. A head that follows its own rows closely
    has few of them near a loss, and others further on the wrong side: how near is near is taken
    from rows of the sample that it has not seen.
    """
    X, codes, weight = training.take(sample, "fetching sampled rows")
    unseen = np.arange(len(sample)) % HELD_OUT == 0
    solved_on = np.flatnonzero(~unseen)
    weights = weight[solved_on]
    share = training.weight[0] / weights.sum() if weights.any() else 0.0
    if not 0 < share < np.inf:
        # none has weight: all rows have losses
        weights, share = np.ones(len(solved_on)), 1.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = crammer_singer(
            X[solved_on],
            codes[solved_on],
            C,
            sample_weight=share * weights,
            tol=ROUGH,
            max_iter=min(max_iter, SWEEPS),
            **options,
        )
    used = np.count_nonzero(np.diff(sp.csr_array(found.dual).indptr))
    others = np.flatnonzero(unseen & (weight > 0))
    if not len(others):
        return found, 0.0
    losses = losses_of(X[others], codes[others], found.coef, found.intercept)
    least = np.quantile(losses, max(0.0, 1.0 - MORE * used / np.count_nonzero(weights)))
    return found, max(0.0, -least)


def solve_candidates(candidates, C, tol, max_iter, canonical, W, options):
    """What is found on the candidates, from their duals."""
    if not candidates.weight.any():
        return _nothing(candidates, options["n_classes"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return crammer_singer(
            candidates.X,
            candidates.codes,
            C,
            sample_weight=candidates.weight,
            tol=tol,
            max_iter=max(1, max_iter),
            canonical=canonical,
            dual_init=candidates.dual,
            coef_init=None if candidates.dual is None else W,
            **options,
        )


def _nothing(candidates, K):
    """A head of zeros, which all other rows have losses of."""
    none = sp.csr_array((len(candidates.rows), K))
    coef, intercept = np.zeros((K, candidates.training.d)), np.zeros(K)
    return CrammerSingerResult(none, coef, intercept, 0.0, 0.0, 1, True, 0.0)


def score(candidates, found, C, near=0.0, twins=False):
    """Of the rows that are no candidates: (loss, which have any or nearly, `twins` or none).

    These are equal to a candidate that has duals, of which they are to have their share.
    """
    training = candidates.training
    head = share((found.coef, found.intercept, near, _marks(candidates, found) if twins else None))
    parts = gather(training.each(lost_by, head, own=candidates.masks()), "scoring all rows")
    rows = [
        np.concatenate(
            [part[k] + start for part, start in zip(parts, training.starts, strict=True)]
        )
        for k in (1, 2)
    ]
    return C * fsum(part[0] for part in parts), *rows


def _marks(candidates, found):
    """What tells rows equal to a candidate that has duals: (keys, losses, how far these are off).

    None where there is no such candidate, or no other row.
    """
    used = np.flatnonzero(np.diff(sp.csr_array(candidates.dual).indptr))
    if len(candidates.rows) == candidates.training.n or not len(used):
        return None
    head, largest = (found.coef, found.intercept), 0.0
    losses, keys = np.empty(len(used)), np.empty(len(used), dtype=np.uint64)
    for some in batches(len(used), 4096):
        X, codes = candidates.X[used[some]], candidates.codes[used[some]]
        losses[some], keys[some] = losses_of(X, codes, *head), keys_of(X, codes)
        largest = max(largest, squared_norms(X, 1.0).max())
    products = np.sqrt(largest) * np.abs(found.coef).sum(axis=1).max()
    off = ROUNDING * (1.0 + products + np.abs(found.intercept).max())
    return np.unique(keys), np.sort(losses), off


def losses_of(X, codes, coef, intercept):
    """1 + the largest score of another class - that of the label, of each row in float64."""
    loss = np.empty(X.shape[0])
    for rows in batches(X.shape[0], 4096):
        scores = X[rows].astype(np.float64, copy=False) @ coef.T + intercept
        each, own = np.arange(len(scores)), codes[rows]
        label = scores[each, own]
        scores[each, own] = -np.inf
        loss[rows] = 1.0 + scores.max(axis=1) - label
    return loss


def outside(mask, weight):
    """Rows of positive weight outside the mask, some thousands at a time."""
    rest = np.flatnonzero((np.unpackbits(mask, count=len(weight)) == 0) & (weight > 0))
    return (rest[rows] for rows in batches(len(rest), 4096))


def lost_by(X, codes, weight, head, mask):
    """Of the rows of a partition outside the mask: (weighted loss, which have any, twins)."""
    coef, intercept, near, marks = head
    lost, close, alike = 0.0, [np.empty(0, dtype=np.intp)], [np.empty(0, dtype=np.intp)]
    for rows in outside(mask, weight):
        loss = losses_of(X[rows], codes[rows], coef, intercept)
        lost += float(weight[rows] @ np.maximum(loss, 0.0))
        close.append(rows[loss > -near])
        if marks is not None:
            # equal rows have equal losses, and keys take longer than these
            _, losses, off = marks
            place = np.searchsorted(losses, loss - off)
            alike.append(rows[losses.take(place, mode="clip") <= loss + off])
    rows = np.concatenate(alike)
    if len(rows):
        found = keys_of(X[rows], codes[rows])
        rows = rows[marks[0].take(np.searchsorted(marks[0], found), mode="clip") == found]
    return lost, np.concatenate(close), rows
