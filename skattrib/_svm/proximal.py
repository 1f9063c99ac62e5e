"""Proximal point steps on the Crammer-Singer dual, for problems where sequential ascent stalls.

From duals beta0, with a weight rho > 0 in units of the margin, a step finds

    argmax_beta D(beta) - sum_i ||beta_i - beta0_i||^2 / (2 rho C s_i)

by the semismooth Newton method on its dual, an unconstrained problem in W of gradient W - W(b),
b_i = Proj(beta0_i + rho C s_i (W x_i + 1 - e_{y_i})). Only rows with mass on several classes enter
the Newton system. rho grows from step to step: the more of it, the closer to the optimum. A last
step centred at alpha = 0 settles duals that D leaves free.

Rockafellar, "Monotone operators and the proximal point algorithm", SIAM J. Control Optim. 1976;
Li, Sun and Toh, "A highly efficient semismooth Newton augmented Lagrangian method for solving
Lasso problems", SIAM J. Optim. 2018.
"""

import numpy as np

from ._crammer_singer import LANES, proximal_slope, proximal_step
from .newton_system import Kept, NewtonSystem
from .selected_rows import SelectedRows

# rows with less slack than this, in units of the margin, take part in a step from the start; in
# later steps those with less than twice what scores moved by in the one before
NEAR = 0.5

# a step ends when 1/2 ||W - W(b)||^2 is so many times its proximal term; the last one goes on
LOOSE, TIGHTEST, CLOSEST = 3.0, 1e-4, 1e-9
LONGEST_STEP = 200

# the first rho, in units of margin / sqrt(C mean ||x||^2); rows of many classes are open on more of
# them, and the more so the larger rho is
FIRST_RHO, FIRST_RHO_MANY = 5.0, 0.5

# the search ends after so many steps in a row that leave the gap above 0.7 of the best; failed ones
# count as three
MOST_STALLED = 30

# so many Newton steps in a row that promise less than so many times P, for nothing, are rounding
MOST_STUCK, RESOLUTION = 5, 1e-12

# the last rho is one of these powers of four; how closely it is searched for and solved
STAIR, LOWEST_RUNG, HIGHEST_RUNG = 4.0, 2, 50
ROUGH, SETTLED, FEW = 1e-4, 1e-15, 10

# beyond this rho float64 resolves too little
HIGHEST = 4e3

# beyond this many classes a row's step is on so many of them: its support and the highest scores
CLASSES, CANDIDATES = 128, 32


class Step:
    """One proximal step: the rows that may move, the centre (their duals, or alpha = 0), and W."""

    def __init__(self, search, rows, W, rho, kept, at_zero=False):
        self.kept = kept
        self.search, self.rho, self.W, self.at_zero = search, rho, W, at_zero
        self.K = search.K
        self.rows = SelectedRows(search.X, search.bias, rows)
        self._start(rows, self.rows)
        # what all the other rows contribute
        self.rest = search.augmented() + self.rows.weights(self.held, self.K, self.classes)
        self.n_newton = 0

    def _start(self, rows, blocks):
        search = self.search
        self.classes = None
        if self.K > CLASSES:
            self.classes = search.duals.candidates(rows, blocks, self.W, CANDIDATES)
        self.held, self.score, self.own = self._at(rows, blocks, self.classes)
        self.start = np.zeros_like(self.held) if self.at_zero else self.held
        self.cap = search.cap[rows]

    def _at(self, rows, blocks, classes):
        y = self.search.y[rows]
        held = np.ascontiguousarray(self.search.duals.values_at(rows, classes))
        own = y if classes is None else np.argmax(classes == y[:, None], axis=1).astype(np.int32)
        score = blocks.scores(self.W, classes) + 1.0
        score[np.arange(len(rows)), own] -= 1.0
        return held, score, np.ascontiguousarray(own, dtype=np.int32)

    def extend(self, rows):
        """Lets more rows move."""
        more = SelectedRows(self.search.X, self.search.bias, rows)
        classes = None
        if self.K > CLASSES:
            classes = self.search.duals.candidates(rows, more, self.W, self.classes.shape[1])
            classes = classes[:, : self.classes.shape[1]]
            self.classes = np.concatenate([self.classes, classes])
        held, score, own = self._at(rows, more, classes)
        self.rest = self.rest + more.weights(held, self.K, classes)
        self.rows = self.rows.join(more)
        self.held = np.concatenate([self.held, held])
        self.start = np.zeros_like(self.held) if self.at_zero else self.held
        self.score = np.concatenate([self.score, score])
        self.own = np.concatenate([self.own, own])
        self.cap = np.concatenate([self.cap, self.search.cap[rows]])

    def solve(self, accuracy, most, small, longest):
        """Newton steps until 1/2 ||W - W(b)||^2 <= accuracy times the proximal term, and most.

        Returns whether that was reached before too many steps, or several that promised less than
        small and did not bring it closer.
        """
        start, own, cap = self.start, self.own, self.cap
        step = self.rho * cap
        self.value = value = np.empty_like(start)
        scratch = np.empty(start.shape[1])
        before, total = None, None
        last, stuck = np.inf, 0
        for _ in range(longest):
            proximal_step(start, self.score, step, own, cap, value)
            total = self._weights(value, before, total)
            before = value.copy()
            G = self.W - self.rest + total
            off = 0.5 * np.vdot(G, G)
            moved = 0.5 * np.sum(np.einsum("ij,ij->i", value - start, value - start) / step)
            if off <= min(accuracy * moved, most):
                return True
            free = value > 0.0
            place = np.arange(len(own)), own
            free[place] = value[place] > -cap
            system = NewtonSystem(self.rows, free, step, self.classes, self.K)
            D = system.direction(G, self.kept)
            slope = np.vdot(G, D)
            stuck = stuck + 1 if -slope <= small and off >= 0.9 * last else 0
            last = off
            if stuck >= MOST_STUCK:
                return False
            move = self.rows.scores(D, self.classes)
            t = self._line_search(D, move, slope, scratch)
            self.W = self.W + t * D
            self.score += t * move
            self.n_newton += 1
        proximal_step(start, self.score, step, own, cap, value)
        return False

    def _weights(self, value, before, total):
        """sum_i value_i x_i^T, from what it was before where few rows differ."""
        if before is None:
            return self.rows.weights(value, self.K, self.classes)
        some = np.flatnonzero((value != before).any(axis=1))
        if 2 * len(some) > len(value):
            return self.rows.weights(value, self.K, self.classes)
        classes = None if self.classes is None else self.classes[some]
        return total + self.rows.take(some).weights(value[some] - before[some], self.K, classes)

    def gap(self):
        """What the rows and ||W - W(b)|| add to the gap after a step was solved."""
        loss = self.score.max(axis=1) - self.score[np.arange(len(self.own)), self.own]
        G = self.W - self.rest + self.rows.weights(self.value, self.K, self.classes)
        return self.cap @ loss - np.vdot(self.value, self.score) + 0.5 * np.vdot(G, G)

    def _line_search(self, D, move, slope, scratch):
        """Where the slope along D is a tenth of what it is at first."""
        base, curve = np.vdot(self.W - self.rest, D), np.vdot(D, D)
        low, at_low, high, at_high = 0.0, slope, None, None
        t = 1.0
        for _ in range(30):
            rows = proximal_slope(
                self.start, self.score, move, t, self.rho * self.cap, self.own, self.cap, scratch
            )
            s = base + t * curve + rows
            # or what is left is rounding
            if abs(s) <= 0.1 * abs(slope) or abs(s) <= 1e-14 * (abs(base) + abs(rows)):
                break
            if s < 0:
                low, at_low = t, s
                if high is None:
                    t *= 2.0
                    continue
            else:
                high, at_high = t, s
            share = at_low / (at_low - at_high)
            t = low + (high - low) * min(max(share, 0.02), 0.98)
        return t


class Centre:
    """Where the next step starts: any W beside the search's duals, and the slack of rows there."""

    def __init__(self, search, W):
        self.search, self.W = search, W
        self.dual = search.objective - search.gap
        self.slack = np.empty(len(search.rows), dtype=np.float32)
        self.gap, self.primal = search.gap_at(W, self.slack)

    def take(self, step, inside, near, accuracy, tol, longest):
        """Solves a step, as closely as it takes where it may be the last; whether that was met.

        Rows with less slack than near at its end, if not inside, are let in.
        """
        search, rows, slack = self.search, self.search.rows, self.slack
        while True:
            left = min(LONGEST_STEP, longest) - step.n_newton
            met = step.solve(accuracy, 0.1 * self.gap, RESOLUTION * self.primal, left)
            search.gap_at(step.W, slack)
            outside = np.ones(len(rows), dtype=bool)
            outside[inside] = False
            some_left = (outside & (slack < 0.0)).any()
            if met and some_left:
                new = np.flatnonzero(outside & (slack < near))
                inside = np.concatenate([inside, new])
                step.extend(rows[new])
                continue
            search.replace(step.rows.rows, step.classes, step.value)
            due = slice(None) if some_left else inside
            part = slack[due]
            self.gap, self.primal = search.gap_at(step.W, part, rows[due])
            slack[due] = part
            if self.gap > tol * self.primal:
                return met
            # W(beta), which is returned, is as good as W only after a step solved closely
            search.certify()
            accuracy *= 1e-2
            if search.solved(tol) or not met or accuracy < CLOSEST:
                return False

    def move(self, step, best):
        """Goes to where a step ended; takes it back if it lowered D and brought no better gap."""
        if self.primal - self.gap >= self.dual or self.gap < best:
            self.W, self.dual = step.W, self.primal - self.gap
            return
        self.search.replace(step.rows.rows, step.classes, step.held)
        if not np.isfinite(self.gap):
            self.search.sum_anew()
        self.gap, self.primal = self.search.gap_at(self.W, self.slack)


class Schedule:
    """How the next step is taken, from how the last one went."""

    def __init__(self, difficulty, n_classes, gap):
        first = FIRST_RHO if n_classes <= LANES else FIRST_RHO_MANY
        self.rho = min(1.0, first / np.sqrt(difficulty))
        self.loose, self.near, self.best, self.stalled = LOOSE, NEAR, gap, 0

    def follow(self, met, n_newton, moved, gap):
        """After a step of so many Newton steps that moved scores by at most so much."""
        # the next step will hardly go further
        self.near = min(NEAR, 2.0 * moved)
        if gap < 0.7 * self.best:
            self.stalled = 0
        else:
            self.stalled += 1 if met and self.rho < HIGHEST else 3
            self.loose = max(0.1 * self.loose, TIGHTEST)
        self.best = min(self.best, gap)
        n = n_newton
        factor = 0.1 if not met else 5.0 if n <= 4 else 3.0 if n <= 7 else 2.0 if n <= 14 else 1.5
        self.rho = min(factor * self.rho, HIGHEST)


def proximal_point(search, W, tol, max_iter, verbose):
    """Steps of growing rho from search's duals and any W; returns the number of Newton steps.

    A step that meets its accuracy cannot lower D, though the gap may rise on the way. One that
    lowers D, kept from its accuracy by rounding or max_iter, is taken back; the next has a smaller
    rho.
    """
    if search.certify() <= tol * search.objective:
        return 0
    centre, kept, work = Centre(search, W), Kept(exact=False), 0
    plan = Schedule(search.difficulty, search.K, centre.gap)
    while work < max_iter and plan.stalled < MOST_STALLED and np.isfinite(centre.gap):
        inside = np.flatnonzero(centre.slack < plan.near)
        kept.renew()
        step = Step(search, search.rows[inside], centre.W, plan.rho, kept)
        score = step.score.copy()
        met = centre.take(step, inside, 0.5 * plan.near, plan.loose, tol, max_iter - work)
        work += max(step.n_newton, 1)
        if search.solved(tol):
            return work
        if verbose:
            print(
                f"[crammer_singer] Newton step {work}: relative gap "
                f"{centre.gap / centre.primal:.2e} at rho = {plan.rho:.1e}, "
                f"{np.count_nonzero(centre.slack <= 0)} open rows"
            )
        # what was too inaccurate will not do for a larger rho
        kept.by_factor |= not kept.by_classes
        centre.move(step, plan.best)
        moved = abs(step.score[: len(score)] - score).max(initial=0.0)
        plan.follow(met, step.n_newton, moved, centre.gap)
    return work


def settle_duals(search, tol, max_iter, verbose):
    """Replaces duals of a gap below tol by well-defined ones; returns the number of Newton steps.

    They are the unique maximizer of D(beta) - sum_i ||alpha_i||^2 / (2 rho C s_i) for the smallest
    power rho of STAIR that leaves a gap of at most tol / 2: a proximal step centred at alpha = 0.
    """
    rows, W, known = search.rows, search.augmented(), search.slack
    target = 0.5 * tol * search.objective
    # a row between two classes adds about C s_i / (3 rho)
    open_cap = search.cap[rows[known < 0.0]].sum()
    if not 0.0 < open_cap < 3.0 * target * STAIR**HIGHEST_RUNG:
        return 0
    search.use_float64()
    rung = max(int(np.floor(np.log(open_cap / (3.0 * target)) / np.log(STAIR))), LOWEST_RUNG)
    # at the centre alpha = 0 rows of slack 2 / rho have all their mass on one class
    inside = known < 8.0 / STAIR**rung
    step = Step(search, rows[inside], W, STAIR**rung, Kept(), at_zero=True)
    value = _climb(search, step, inside, rung, target, max_iter)
    search.replace(step.rows.rows, step.classes, value)
    far = np.sqrt(np.sum((search.augmented() - W) ** 2))
    due = rows[inside | (known <= far * search.reach)]
    gap = search.measure(due, np.empty(len(due), dtype=np.float32))
    if verbose:
        print(
            f"[crammer_singer] {step.n_newton} Newton steps to the duals of rho = {step.rho:.1e}: "
            f"relative gap {gap / search.objective:.2e}"
        )
    if not search.solved(tol):
        search.replace(step.rows.rows, step.classes, step.held)
        search.certify()
    return step.n_newton


def _climb(search, step, inside, rung, target, max_iter):
    """Values at the smallest rung whose gap is at most target; marks the rows let in as inside."""
    W, known = step.W, search.slack
    accuracy, climbed, found = ROUGH, False, None
    while rung <= HIGHEST_RUNG:
        step.rho = STAIR**rung
        step.kept.renew()
        longest = min(LONGEST_STEP if found is None else FEW, max_iter - step.n_newton)
        met = step.solve(accuracy, np.inf, RESOLUTION * search.objective, longest)
        far = np.sqrt(np.sum((step.W - W) ** 2))
        due = np.flatnonzero(~inside & (known - far * search.reach < 3.0 / step.rho))
        slack = np.empty(len(due), dtype=np.float32)
        search.gap_at(step.W, slack, search.rows[due])
        new = due[slack < 3.0 / step.rho]
        if met and len(new):
            inside[new] = True
            step.extend(search.rows[new])
            found = None
        elif not met:
            break
        elif found is None and step.gap() > target:
            rung, climbed = rung + 1, True
        elif found is None and not climbed and rung > LOWEST_RUNG:
            rung -= 1
        else:
            # as close as float64 allows
            found = step.value
            if accuracy <= SETTLED:
                break
            accuracy *= 1e-2
    return step.value if found is None else found
