"""How labels got wrong, and how many are: estimated from probabilities that do not know them."""

from dataclasses import dataclass

import numpy as np

PRIOR = 0.3  # weight of flips to all classes alike against those that were counted
FEWEST = 5  # rows that a class needs, and the estimate of how many labels are wrong
SEEN = 0.2  # share of planted flips that it rests on, at least


@dataclass
class Noise:
    """Scores of all rows, and what is thought of them together.

    Attributes
    ----------
    score : ndarray of shape (n,)
        Log odds that the label is wrong, less those at which rows are worth a look.
    suggested : ndarray of shape (n,)
        The likeliest other class.
    n_wrong : float
        How many labels are wrong, in all.
    precision : float
        How many of those with a positive score are.
    rare : ndarray of shape (n_classes,), bool
        Classes of so few rows that their labels are not judged.
    """

    score: np.ndarray
    suggested: np.ndarray
    n_wrong: float
    precision: float
    rare: np.ndarray


def find_noise(shares, codes):
    """Judge labels by probabilities of their classes that were found without them.

    Parameters
    ----------
    shares : ndarray of shape (n, n_classes)
        Positive, summing to one.
    codes : ndarray of shape (n,)

    Returns
    -------
    Noise
    """
    n = len(codes)
    each = np.arange(n)
    flips = _flips(shares, codes)
    # odds[i, y]: that row i is of another class and was labelled y, to that it is of class y
    odds = np.log(shares @ flips + 1e-12) - np.log(shares)
    wrong = odds[each, codes]
    found, precision, n_wrong = _how_many(odds, wrong, _planted(shares, codes, flips))
    others = shares * flips[:, codes].T
    others[each, codes] = -np.inf
    rare = np.bincount(codes, minlength=shares.shape[1]) < FEWEST
    order = np.sort(wrong)[::-1]
    if found == 0:
        cut = order[0]
    elif found == n:
        cut = order[-1] - 1
    else:
        cut = (order[found - 1] + order[found]) / 2
    score = wrong - cut
    # of so few rows nothing was learnt, and all would be contradicted
    score[rare[codes]] = np.minimum(score.min(), 0)
    return Noise(score, others.argmax(axis=1), n_wrong, precision, rare)


def _flips(shares, codes):
    """Rates at which rows of one class (rows) get the label of another (columns), relative.

    Counted where another class is likelier than that of the label, by how much, squared: few sure
    cases say more than many doubtful ones.
    """
    n, n_classes = shares.shape
    each, likeliest = np.arange(n), shares.argmax(axis=1)
    lead = shares[each, likeliest] - shares[each, codes]
    counted = np.zeros((n_classes, n_classes))
    np.add.at(counted, (likeliest, codes), lead**2)
    sizes = np.bincount(codes, minlength=n_classes).astype(np.float64)
    alike = np.outer(sizes, sizes)
    np.fill_diagonal(alike, 0)
    alike *= max(counted.sum(), 1 / n) / alike.sum()
    return (counted + PRIOR * alike) / (1 + PRIOR) / np.maximum(sizes, 1)[:, None]


def _planted(shares, codes, flips):
    """How likely each other label is to be a row's own after a flip, (n, n_classes)."""
    each = np.arange(len(codes))
    weight = flips[codes] / flips[codes].sum(axis=1, keepdims=True)
    believed = shares[each, codes] / shares.max(axis=1)
    return weight * believed[:, None]


def _how_many(odds, wrong, planted):
    """How many rows to return, how many of those are wrong, as a share, and how many are in all.

    Scores of right labels are not known, those of wrong ones are: flips that are planted show
    them. Wrong labels cannot be more than leave enough scores above each value, hence their
    number; hence the number above each value, and the value with the best F1.
    """
    n = len(wrong)
    descending = np.argsort(-odds.ravel())
    values = odds.ravel()[descending]
    share = np.cumsum(planted.ravel()[descending])
    share /= share[-1]
    found = np.arange(1, n + 1)
    order = np.sort(wrong)[::-1]
    above = share[np.maximum(np.searchsorted(-values, -order, side="right") - 1, 0)]
    usable = (above >= SEEN) & (found >= min(FEWEST, n))
    n_wrong = (found[usable] / above[usable]).min() if usable.any() else 0.0
    right_finds = np.minimum(n_wrong * above, found)
    if not 0 < n_wrong <= n / 2:  # more: planted flips look like the labels there are
        return 0, 1.0, n_wrong
    best = int((2 * right_finds / (found + n_wrong)).argmax())
    return best + 1, right_finds[best] / (best + 1), n_wrong
