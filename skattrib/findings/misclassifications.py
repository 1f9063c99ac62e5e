"""Kinds of error, and the training rows that push towards each."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any, overload

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from .._arrays import count, take
from .._arrays.checks import (
    canonical_csr,
    check_count,
    check_plain,
    check_same_rows,
    codes_of,
    plain_array,
)
from ..explainers import ClassifierExplainer

__all__ = ["ErrorKind", "Misclassifications", "misclassifications"]

# rows predicted rightly that a kind of error is held against, at most
CONTROLS = 200
# rows of a kind that are printed
SHOWN = 5

CAUTION = (
    "These rows are named, not causes: errors of a kind need not go if its rows are removed.\n"
    "A row whose second share is as large as its first leads where the model is right, too."
)


@dataclass(frozen=True, eq=False)
class ErrorKind:
    """Errors of one kind, true taken for predicted, and the training rows that push towards them.

    Attributes
    ----------
    true, predicted : labels
    n_errors : int
    errors : ndarray of shape (n_errors,)
        Where they are among the rows that were given.
    rows : ndarray of shape (k,), or fewer
        Training rows, the one that pushes most first.
    values : ndarray, as long as rows
        Mean attribution to the margin, decision value of `true` minus that of `predicted`, over the
        errors: negative, for the rows lower it.
    share : ndarray, as long as rows
        Share of the errors of which the row is among the k strongest opponents of the margin.
    control_share : ndarray, as long as rows
        The same share among rows of the class `true` that are predicted rightly, with the same
        margin; NaN where there are none.
    n_control : int
        How many of these were looked at: all, or 200 of them in even steps.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skattrib import RepresenterExplainer, misclassifications
    >>> X, y = load_digits(return_X_y=True)
    >>> explainer = RepresenterExplainer().fit(X[:500], y[:500])
    >>> kind = misclassifications(explainer, X[900:], y[900:])[0]
    >>> kind.rows.shape == kind.values.shape == kind.share.shape
    True
    >>> bool((kind.values < 0).all())
    True
    """

    true: Any
    predicted: Any
    n_errors: int
    errors: np.ndarray = field(repr=False)
    rows: np.ndarray
    values: np.ndarray
    share: np.ndarray
    control_share: np.ndarray
    n_control: int

    def __str__(self) -> str:
        """What it is, and a line for each of its first rows."""
        lines = [f"{self.true!s} taken for {self.predicted!s}: {self.n_errors} errors"]
        columns = zip(self.rows, self.values, self.share, self.control_share, strict=True)
        for row, value, share, control in list(columns)[:SHOWN]:
            right = "none" if np.isnan(control) else f"{control:.0%}"
            lines.append(f"{row:>9} {value:>+11.3g} {share:>10.0%} {right:>14}")
        return "\n".join(lines if len(self.rows) else [*lines, "  no row pushes towards it"])


class Misclassifications(Sequence):
    """Kinds of error, the most frequent first: a list of :class:`ErrorKind`.

    Parameters
    ----------
    kinds : sequence of ErrorKind
    n_errors, n_samples : int
        All errors, also of kinds that are not listed, and the rows they are among.
    min_errors : int
        Errors that a kind has at least.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skattrib import RepresenterExplainer, misclassifications
    >>> X, y = load_digits(return_X_y=True)
    >>> explainer = RepresenterExplainer().fit(X[:500], y[:500])
    >>> kinds = misclassifications(explainer, X[900:], y[900:])
    >>> [kind.n_errors for kind in kinds] == sorted((k.n_errors for k in kinds), reverse=True)
    True
    """

    def __init__(self, kinds, n_errors, n_samples, min_errors):
        self.kinds, self.n_errors = tuple(kinds), n_errors
        self.n_samples, self.min_errors = n_samples, min_errors

    def __len__(self) -> int:
        return len(self.kinds)

    def __iter__(self) -> Iterator[ErrorKind]:
        return iter(self.kinds)

    @overload
    def __getitem__(self, index: int) -> ErrorKind: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[ErrorKind, ...]: ...

    def __getitem__(self, index):
        return self.kinds[index]

    def __repr__(self) -> str:
        head = (
            f"{self.n_errors} errors among {self.n_samples} rows; kinds with at least "
            f"{self.min_errors}: {len(self)}"
        )
        if not self.kinds:
            return head
        note = (
            "Training rows, their mean attribution to the margin, and the shares of errors and of "
            "rows\npredicted rightly in which they are among its strongest opponents:\n"
        )
        columns = f"{'row':>9} {'margin':>11} {'of errors':>10} {'of right rows':>14}"
        return "\n".join([head, note, columns, *map(str, self.kinds), "", CAUTION])


def misclassifications(
    explainer: ClassifierExplainer,
    X,
    y: ArrayLike,
    *,
    y_pred: ArrayLike | None = None,
    k: int = 20,
    min_errors: int = 5,
) -> Misclassifications:
    """Name the training rows that push rows of one class towards another, for each kind of error.

    Parameters
    ----------
    explainer : fitted explainer of a head
        With logits, so that margins can be explained. `RepresenterExplainer` names planted causes
        best: see the notes.
    X : array, CSR or frame of shape (n_samples, n_features)
        Rows to be predicted, such as a test set.
    y : array-like of shape (n_samples,)
        What they are.
    y_pred : array-like of shape (n_samples,), optional
        What they are taken for, such as by the network whose features the rows are; by default what
        the explainer predicts.
    k : int, default=20
        Training rows named of each kind, at most; also how many of an error's opponents count as
        its strongest.
    min_errors : int, default=5
        Errors that a kind has at least.

    Returns
    -------
    Misclassifications
        A list of :class:`ErrorKind` with true, predicted, n_errors, rows, values, share and
        control_share, the most frequent kind first. Printed, it is a text.

    Raises
    ------
    ValueError
        For explainers without logits, labels that are not among the classes, and k or min_errors
        out of range.

    Notes
    -----
    What is explained is the margin, the decision value of the true class minus that of the one
    predicted: rows with negative attributions push towards the error. They are ranked by their mean
    over all errors of the kind, which `aggregate` has without the matrix of attributions.

    **Rows are named, not causes.** Where 40 neighbours of one class were relabelled on purpose, of
    10,000 images of clothes and for eight kinds of error, 72 % of the ten rows named were among
    them with representer points, 41 % with influence and 29 % with DualView (.4 % by chance). But
    to remove the ten rows did not change how many errors of the kind there were. `control_share`
    tells rows that push towards errors from those that are strong opponents of every row of the
    class: one in 99 % of the errors was in all of the right rows too.

    References
    ----------
    Yeh, Kim, Yen and Ravikumar, "Representer point selection for explaining deep neural
    networks", NeurIPS 2018, section 4.3.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skattrib import RepresenterExplainer, misclassifications
    >>> X, y = load_digits(return_X_y=True)
    >>> explainer = RepresenterExplainer().fit(X[:900], y[:900])
    >>> kinds = misclassifications(explainer, X[900:], y[900:])
    >>> kinds[0].true, kinds[0].predicted, kinds[0].rows.shape
    (1, 9, (20,))
    """
    if not isinstance(explainer, ClassifierExplainer):
        raise ValueError(
            f"{type(explainer).__name__} explains no classifier; of a Pipeline give the last step, "
            "and X as that one sees it"
        )
    if not hasattr(explainer, "decision_function"):
        raise ValueError(
            f"{type(explainer).__name__} has no logits, hence no margins between two classes: use "
            "RepresenterExplainer"
        )
    check_is_fitted(explainer, "n_samples_fit_")
    n = explainer.n_samples_fit_
    if not isinstance(k, Integral) or isinstance(k, bool) or not 1 <= k <= n:
        raise ValueError(f"k must be an integer in 1..{n}, the number of training rows; got {k!r}")
    min_errors = check_count(min_errors, "min_errors")
    check_same_rows(X=X, y=y, y_pred=y_pred)
    check_plain(X, "X")
    X = canonical_csr(X, "X") if sp.issparse(X) else X  # some formats have no rows
    predicted = explainer.predict(X) if y_pred is None else y_pred
    codes = {"y": _codes(explainer, X, y, "y"), "y_pred": _codes(explainer, X, predicted, "y_pred")}
    true, taken = codes["y"], codes["y_pred"]
    K = len(explainer.classes_)
    number = np.bincount(true * K + taken, minlength=K * K).reshape(K, K)
    n_errors = int(number.sum() - np.trace(number))
    np.fill_diagonal(number, 0)
    pairs = sorted(zip(*np.nonzero(number >= min_errors), strict=True), key=lambda p: -number[p])
    kinds = []
    for a, b in pairs:
        errors = np.flatnonzero((true == a) & (taken == b))
        right = np.flatnonzero((true == a) & (taken == a))
        if len(right) > CONTROLS:
            right = right[np.linspace(0, len(right) - 1, CONTROLS).round().astype(int)]
        kinds.append(_kind(explainer, X, int(k), a, b, errors, right))
    return Misclassifications(kinds, n_errors, len(true), min_errors)


def _codes(explainer, X, labels, name):
    labels, n_rows = plain_array(labels, name), count(X) if np.ndim(X) == 2 else 0
    if labels.shape != (n_rows,):
        raise ValueError(
            f"{name} must have one label for each of the {n_rows} rows of X, got shape "
            f"{labels.shape}"
        )
    return codes_of(labels, explainer.classes_, f"label of {name}")


def _kind(explainer, X, k, a, b, errors, right):
    """The kind of error that is class a taken for class b."""
    classes = explainer.classes_.tolist()
    direction = np.zeros(len(classes))
    direction[[a, b]] = 1.0, -1.0
    chosen = np.append(errors, right)
    part, V = take(X, chosen), np.tile(direction, (len(chosen), 1))
    weights = np.repeat([1.0 / len(errors), 0.0], [len(errors), len(right)])
    values = explainer.aggregate(part, V, weights=weights)
    rows = np.argsort(values, kind="stable")[:k]
    rows = rows[values[rows] < 0]
    lowest, opponents = explainer.top_k(part, k, target=V, largest=False)
    # a row without any attribution is no opponent
    opponents = np.where(lowest < 0, opponents, -1)
    leads = np.array([(opponents == row).any(axis=1) for row in rows], dtype=bool)
    leads = leads.reshape(len(rows), len(chosen))
    share, control = leads[:, : len(errors)].mean(axis=1), np.full(len(rows), np.nan)
    if len(right):
        control = leads[:, len(errors) :].mean(axis=1)
    return ErrorKind(
        classes[a], classes[b], len(errors), errors, rows, values[rows], share, control, len(right)
    )
