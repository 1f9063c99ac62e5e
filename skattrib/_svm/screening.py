"""Which rows and classes need no visit: they have more slack than W can have used up since."""

import numpy as np

# what float32 makes of the 1 in the score of a class that is not the label, twice and to be safe
ROUNDING_OF_ONE = 4.0 * np.finfo(np.float32).eps

# rows with less slack than this, in units of the margin, are visited with the open ones
NEARLY = 0.03

# classes on a list beside the support: those of the highest scores
EXTRA = 8


class Screening:
    """Which rows may be open: one is settled while W moves by less than its slack allows."""

    def __init__(self, search):
        self.rows, self.reach = search.rows, search.reach
        self.slack = np.empty(len(self.rows), dtype=np.float32)
        # a row is settled while W has moved by less than `safe` in all
        self.safe = np.full(len(self.rows), -np.inf)
        self.travelled = 0.0
        # what float32 slacks may be wrong by, in units of travel: now, and when rows were scored
        self.margin, self.margins = 0.0, np.zeros(len(self.rows))

    def score(self, search):
        """The gap at the search's W; scores the rows that are not known to be settled."""
        due = self._due()
        slack = self.slack[: len(due)]
        gap = (search.worker if search.single else search.exact).score(self.rows[due], slack)
        self.safe[due] = self._reaches(slack, due)
        self.margins[due] = self.margin
        return gap

    def score_again(self, search):
        """The same in float64, with nothing new about what is settled."""
        due = self._due()
        return search.exact.score(self.rows[due], self.slack[: len(due)])

    def extent(self, W, b):
        """At least what scores at W differ by, for any row, in units of its reach."""
        return np.sqrt(np.vdot(W, W) + np.vdot(b, b))

    def _due(self):
        return np.flatnonzero(self.safe <= self.travelled + self.margins)

    def _reaches(self, slack, places):
        """How far W has gone, in all, when the rows have used up their slack."""
        return (slack - ROUNDING_OF_ONE) / self.reach[places] + self.travelled

    def open(self, slack=0.0):
        """Places of the rows with at most that much slack, in units of the margin."""
        return np.flatnonzero(self.safe <= self.travelled + slack / self.reach)

    def moved(self, places, distance):
        """W went that far while these rows were visited: their duals may be others now."""
        self.travelled += distance
        self.safe[places] = -np.inf

    def least_slack(self):
        """At least this much slack is left to each row."""
        return (self.safe - self.travelled - self.margins) * self.reach


class ListedScreening(Screening):
    """With lists: only their classes are scored while no other can have come up to the top."""

    def __init__(self, search):
        super().__init__(search)
        self.beyond = np.empty(len(self.rows), dtype=np.float32)
        # the same as safe and margins, of the classes that are not on a row's list
        self.list_safe = np.full(len(self.rows), -np.inf)
        self.list_margins = np.zeros(len(self.rows))

    def score(self, search):
        due = self._due()
        listed, full = self._split(due)
        slack, beyond = self.slack[: len(full)], self.beyond[: len(full)]
        search.duals.make_room(self.rows[full], EXTRA, search.worker, search.exact)
        gap = search.worker.score(self.rows[full], slack, beyond, NEARLY)
        self.safe[full] = self._reaches(slack, full)
        self.margins[full] = self.margin
        self.list_safe[full] = self._reaches(beyond, full)
        self.list_margins[full] = self.margin
        slack = self.slack[: len(listed)]
        gap += search.worker.score_listed(self.rows[listed], slack)
        self.safe[listed] = np.minimum(self._reaches(slack, listed), self.list_safe[listed])
        self.margins[listed] = np.maximum(self.margin, self.list_margins[listed])
        return gap

    def score_again(self, search):
        listed, full = self._split(self._due())
        gap = search.exact.score(self.rows[full], self.slack[: len(full)])
        return gap + search.exact.score_listed(self.rows[listed], self.slack[: len(listed)])

    def extent(self, W, b):
        # two classes at a time: with many, far less than all
        squares = np.einsum("kd,kd->k", W, W) + b[: len(W)] ** 2
        largest = np.sqrt(np.partition(squares, -2)[-2:]).sum() / np.sqrt(2.0)
        return min(largest, np.sqrt(squares.sum()))

    def _split(self, places):
        listed = self.list_safe[places] > self.travelled + self.list_margins[places]
        return places[listed], places[~listed]
