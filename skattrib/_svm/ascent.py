"""The first engine, sequential ascent on the dual: which rows to sweep, when to stop."""

import numpy as np

from ._crammer_singer import shuffle
from .screening import NEARLY, ListedScreening, Screening

# float32 sweeps are good to about this relative gap; below it duals and W become float64
FLOAT32_FLOOR = 1e-6

# a sweep over few rows counts as this share of a sweep over all
SMALLEST_SWEEP = 0.01

# sweeps over open rows before all rows that may have opened are scored again
LONGEST_DESCENT = 200

# a descent ends when the gap is this share of what it was, or this share of the target: sweeps over
# the listed classes of many are cheap beside the scores of all
SHARES, LISTED_SHARES = (1.0 / 3.0, 0.3), (0.1, 0.5)

# consecutive rows that a sweep over all rows visits together, so that memory is read in order
RUN = 32


class Sweeps:
    """Sweeps of a search in random order, and the work they are, in sweeps over all rows."""

    def __init__(self, search, most, seed):
        self.search, self.most, self.seed = search, most, seed
        self.work = 0.0

    def over_all(self):
        """One sweep over all rows, in runs of consecutive ones; returns the rows that are open."""
        rows = self.search.rows
        runs = np.arange(-(-len(rows) // RUN), dtype=np.int32)
        self.seed = shuffle(runs, self.seed)
        position = (runs[:, None] * RUN + np.arange(RUN, dtype=np.int32)).ravel()
        order = rows[position[position < len(rows)]]
        kept, _ = self.search.sweep(order)
        self.work += 1.0
        return order[:kept]

    def descend(self, left, target):
        """Sweeps the rows left open until their gap is a part of what it was at first."""
        first, work, budget = None, 0.0, self.most - self.work
        listed, part = self.search.listed, self.search.listed_part()
        of_first, of_target = LISTED_SHARES if listed else SHARES
        for _ in range(LONGEST_DESCENT):
            if work >= budget or len(left) == 0:
                break
            work += max(part * len(left) / len(self.search.rows), SMALLEST_SWEEP)
            self.seed = shuffle(left, self.seed)
            kept, gap = self.search.sweep(left, listed)
            left = left[:kept]
            first = gap if first is None else first
            if gap <= max(of_first * first, of_target * target):
                break
        self.work += work


def ascend(search, tol, max_iter, seed, verbose):
    """Sweeps until the relative gap is tol; returns the number of sweeps."""
    sweeps = Sweeps(search, max_iter, seed)
    screening = (ListedScreening if search.listed else Screening)(search)
    if search.cold and len(search.rows):
        _start(search, sweeps, screening.slack)
    search.cold = False
    search.sum_anew()
    largest, best, stalled = 0.0, np.inf, 0
    while True:
        norm = search.norm()
        if norm < 0.1 * largest:
            # W was much larger on the way: sum it anew, without the rounding of that time
            search.sum_anew()
            largest = norm
        largest = max(largest, norm)
        _measure(search, screening, tol, sweeps.work >= max_iter)
        gap, primal = search.gap, search.objective
        if verbose:
            print(
                f"[crammer_singer] sweep {sweeps.work:.1f}: relative gap {gap / primal:.2e}, "
                f"objective {primal:.6g}, {len(screening.open())} open rows"
            )
        # a gap that is not a number ends the search too
        if not gap > tol * primal or sweeps.work >= max_iter:
            break
        stalled = 0 if gap < 0.7 * best else stalled + 1
        best = min(best, gap)
        if search.single and (gap <= FLOAT32_FLOOR * primal or stalled >= 5):
            search.use_float64()
            best, stalled = np.inf, 0
            continue
        near = screening.open(NEARLY)
        moves = _descend(search, sweeps, search.rows[near], tol * primal)
        screening.moved(near, screening.extent(*moves))
    search.slack = screening.least_slack()
    if search.listed:
        search.duals.drop_zeros(search.worker, search.exact)
    return int(np.ceil(min(sweeps.work, max_iter)))


def _start(search, sweeps, slack):
    """The first sweeps, over all rows and then those that look open, before W is summed."""
    for _ in range(min(1 if search.listed else 2, sweeps.most)):
        left = sweeps.over_all()
    if search.listed:
        return
    sweeps.descend(left, 0.0)
    search.worker.score(search.rows, slack)
    sweeps.descend(search.rows[slack <= NEARLY], 0.0)


def _measure(search, screening, tol, last):
    """The gap at W, in float32 while that is enough and no decision rests on it."""
    np.copyto(search.work[0], search.W)
    np.copyto(search.work[1], search.b)
    rounding = 2.0 * (search.longest + 32) * np.finfo(np.float32).eps
    screening.margin = rounding * screening.extent(search.W, search.b)
    search.gap = screening.score(search)
    search.objective = search.primal(search.gap)
    if search.single and (last or search.solved(tol)):
        search.gap = screening.score_again(search)
        search.objective = search.primal(search.gap)


def _descend(search, sweeps, active, target):
    """Sweeps the active rows; returns how W and b moved."""
    before = search.W.copy(), search.b.copy()
    most = 2 * len(active) > len(search.rows)
    if not most:
        search.move(active, -1.0)
    sweeps.descend(active.copy(), target)
    if most:
        search.sum_anew()
    else:
        search.move(active, 1.0)
    return [
        np.subtract(now, then, out=then)
        for now, then in zip((search.W, search.b), before, strict=True)
    ]


def ease(search, difficulty, max_iter, seed):
    """Takes the duals, scaled, of a rough solution at an easier C; returns its W and sweeps."""
    factor = difficulty / search.difficulty
    cap, row_cap = search.cap.copy(), search.row_cap
    search.duals.scale(factor, factor * cap)
    search.row_cap = factor * row_cap
    n_iter = ascend(search, 1e-2, max_iter, seed, 0)
    W = search.augmented()
    search.duals.scale(1.0 / factor, cap)
    search.row_cap = row_cap
    return W, n_iter
