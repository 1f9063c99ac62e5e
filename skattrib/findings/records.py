"""Explained rows: what is said of each and of the training rows behind it, and as JSON has it."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from scipy import sparse

from .._arrays import batches, logits, of_class, take
from ..explainers import BaseExplainer
from ..preprocessing import sum_shares

EXPLAINED_AT_ONCE = 256  # test rows
LARGEST_SHARES = 2**22  # numbers at a time
SHOWN_COLUMNS = 5  # of a row, whose values stand beside each training row
TOP_COLUMNS = 3  # of each training row
KINDS = "proponent", "opponent"


@dataclass
class Rows:
    """Rows as an explainer sees them, and as people know them.

    Attributes
    ----------
    X : array, frame or CSR of shape (n, d), or None
    y : ndarray of shape (n,), or None
        Their labels.
    ids : ndarray of shape (n,)
        What to call the rows.
    id_name : str
        "row" for row numbers, else the name of the ids.
    table : frame, array, CSR or 1-D array of texts, of n rows, or None
        The rows as they were before they were encoded, where they were.
    """

    X: Any
    y: np.ndarray | None
    ids: np.ndarray
    id_name: str = "row"
    table: Any = None


@dataclass
class Columns:
    """The columns of a table, and which of them each feature was made of.

    Attributes
    ----------
    names : sequence of str
        Those of the table, then those of features that were made of several or of none of them.
    groups : int ndarray of shape (d,), or None
        Each feature's name; None: names are those of the features, one each.
    n_table : int
        How many names are columns of the table.
    """

    names: Sequence[str]
    groups: np.ndarray | None
    n_table: int

    def value(self, rows: Rows, i: int, column: int) -> Any:
        """What row i has in a column, or None where nobody knows."""
        if rows.table is not None and column < self.n_table and not is_texts(rows.table):
            return _entry(rows.table, i, column)
        if rows.X is None:
            return None
        if self.groups is None:
            return _entry(rows.X, i, column)
        (features,) = np.nonzero(self.groups == column)
        return _entry(rows.X, i, features[0]) if len(features) == 1 else None


def _entry(table, i, column):
    return table.iloc[i, column] if hasattr(table, "iloc") else table[i, column]


@dataclass
class Query:
    """What is explained.

    Attributes
    ----------
    explainer : fitted explainer
    train, test : Rows
    predicted : ndarray of shape (n_test,), or of a regressor of several units (n_test, n_units)
        Predicted class of each test row.
    targets : ndarray of shape (n_test,) or (n_test, n_classes)
        Explained class of each test row, or weights of the logits; of a regressor the same of
        units.
    top : int
        Training rows of either sign at most.
    columns : Columns or None
    """

    explainer: BaseExplainer
    train: Any
    test: Any
    predicted: np.ndarray
    targets: np.ndarray
    top: int = 5
    columns: Columns | None = None

    @property
    def has_classes(self) -> bool:
        """Whether classes are explained, not numbers."""
        return hasattr(self.explainer, "classes_")

    @cached_property
    def right(self) -> np.ndarray | None:
        """Whether each prediction is the label of the test row, if there are labels."""
        if self.test.y is None or not self.has_classes:
            return None
        return same_labels(self.predicted, self.test.y)


@dataclass
class Pair:
    """One training row behind an explained row.

    Attributes
    ----------
    kind : "proponent" or "opponent"
    rank : int
        From 1.
    row : int
        Number of the training row.
    id, label : object
        Its id and label; the label is None where nobody knows.
    value : float
        Its attribution.
    columns : list of (str, float)
        The columns with the largest shares of the value, and these shares.
    shown : list of (object, float)
        Its value in each of the explained row's `columns`, and the share.
    text : str or None
        The training row itself where it is a text.
    """

    kind: str
    rank: int
    row: int
    id: Any
    label: Any
    value: float
    columns: list[tuple[str, float]] = field(default_factory=list)
    shown: list[tuple[Any, float]] = field(default_factory=list)
    text: str | None = None


@dataclass
class ExplainedRow:
    """One explained row.

    Attributes
    ----------
    row : int
        Its number.
    id : object
    label : object
        Its label, None if it has none.
    predicted : object
        The predicted class.
    right : bool or None
        Whether that is the label.
    target : object
        The explained class, or unit of a regressor; None where logits are weighed.
    of : str
        What the target is: "class", "unit" or "weights".
    decision_value : float or None
        The explained output, if there are decision values.
    base_value : float or None
        What of it is no training row's, if the values of all of them and it sum to it.
    bound : float or None
        How far the decision value may be from the exact optimum's.
    columns : list of str
        Those through which most of the values run.
    values : list of object
        What the row has in them.
    proponents, opponents : list of Pair
        The strongest first.
    text : str or None
        The row itself where it is a text.
    """

    row: int
    id: Any
    label: Any
    predicted: Any
    right: bool | None
    target: Any
    of: str
    decision_value: float | None
    base_value: float | None
    bound: float | None
    proponents: list[Pair]
    opponents: list[Pair]
    columns: list[str] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)
    text: str | None = None

    @property
    def pairs(self) -> list[Pair]:
        """Proponents, then opponents."""
        return self.proponents + self.opponents


def explanations(
    query: Query, rows: Iterable[int], *, with_columns: bool = False
) -> Iterator[ExplainedRow]:
    """Yield the explanations of test rows, those of columns where they are asked for and there."""
    rows = np.asarray(rows, dtype=np.intp)
    size = EXPLAINED_AT_ONCE
    n, d = query.explainer.n_samples_fit_, query.test.X.shape[1]
    k = min(query.top, n)
    if with_columns and not sparse.issparse(query.test.X):
        size = max(1, min(size, LARGEST_SHARES // (2 * k * d)))
    for batch in batches(len(rows), size):
        yield from _explained(query, rows[batch], k, with_columns)


def _explained(query, rows, k, with_columns):
    explainer, train, test = query.explainer, query.train, query.test
    X, target = take(test.X, rows), query.targets[rows]
    outputs = _decision_values(query, X, target)
    nothing = [None] * len(rows)
    bases = bounds = nothing
    if hasattr(explainer, "base_value"):
        bases = explainer.base_value(X, target).tolist()
    if hasattr(explainer, "decision_error_bound"):
        bounds = explainer.decision_error_bound(X, target).tolist()
    sides = [explainer.top_k(X, k, target=target, largest=largest) for largest in (True, False)]
    shares = _shares(query, X, np.hstack([side[1] for side in sides]), target, with_columns)
    for position, row in enumerate(rows.tolist()):
        pairs, kept = [], []
        for offset, kind, (values, indices) in zip((0, k), KINDS, sides, strict=True):
            chosen = np.flatnonzero(_counts(explainer, kind, values[position]))
            kept.extend((offset + chosen).tolist())
            for rank, q in enumerate(chosen, start=1):
                i = int(indices[position, q])
                label = None if train.y is None else train.y[i]
                value = float(values[position, q])
                text = str(train.table[i]) if is_texts(train.table) else None
                pairs.append(Pair(kind, rank, i, train.ids[i], label, value, text=text))
        explained = ExplainedRow(
            row=row,
            id=test.ids[row],
            label=None if test.y is None else test.y[row],
            predicted=_prediction(query, row),
            right=None if query.right is None else bool(query.right[row]),
            target=query.targets[row] if target.ndim == 1 else None,
            of="weights" if target.ndim == 2 else "class" if query.has_classes else "unit",
            decision_value=outputs[position],
            base_value=bases[position],
            bound=bounds[position],
            proponents=[pair for pair in pairs if pair.kind == "proponent"],
            opponents=[pair for pair in pairs if pair.kind == "opponent"],
        )
        if is_texts(test.table):
            explained.text = str(test.table[row])
        if shares is not None and pairs:
            at = 2 * k * position + np.array(kept)
            _add_columns(query, explained, shares[at])
        yield explained


def _counts(explainer, kind, values):
    """Which values are those of proponents, or of opponents."""
    if getattr(explainer, "metric", None) == "euclidean":
        # minus a distance: nearest rows speak for, and no row speaks against
        return (values > -np.inf) & (kind == "proponent")
    return np.isfinite(values) & (values > 0 if kind == "proponent" else values < 0)


def _shares(query, X, indices, target, with_columns):
    """Shares of columns of all pairs, (rows * pairs, columns), or None where there are none."""
    several_blocks = getattr(query.explainer, "n_models", 1) > 1
    if not with_columns or query.columns is None or several_blocks:
        return None
    try:
        shares = query.explainer.decompose(X, indices, target=target)
    except ValueError:  # nothing else is left to refuse: it tells features not apart
        return None
    columns = query.columns
    if columns.groups is not None:
        shares = sum_shares(shares, columns.groups, len(columns.names))
    return shares if sparse.issparse(shares) else shares.reshape(-1, shares.shape[-1])


def _add_columns(query, explained, shares):
    """Columns of one row and of its pairs, from shares (pairs, columns)."""
    columns, train = query.columns, query.train
    total = np.asarray(abs(shares).sum(axis=0)).ravel()
    # of a narrow table all, whether values run through them or not
    narrow = len(total) <= SHOWN_COLUMNS
    shown = (
        np.argsort(-total, kind="stable").tolist() if narrow else _heaviest(total, SHOWN_COLUMNS)
    )
    explained.columns = [str(columns.names[c]) for c in shown]
    explained.values = [columns.value(query.test, explained.row, c) for c in shown]
    for q, pair in enumerate(explained.pairs):
        one = shares[[q]].toarray()[0] if sparse.issparse(shares) else shares[q]
        top = _heaviest(np.abs(one), TOP_COLUMNS)
        pair.columns = [(str(columns.names[c]), float(one[c])) for c in top]
        pair.shown = [(columns.value(train, pair.row, c), float(one[c])) for c in shown]


def _heaviest(weights, k):
    """Positions of the k largest weights that are not zero."""
    candidates = np.flatnonzero(weights > 0)
    return candidates[np.argsort(-weights[candidates], kind="stable")[:k]].tolist()


def is_texts(table: Any) -> bool:
    """Whether rows are texts, each one value."""
    return isinstance(table, np.ndarray) and table.ndim == 1


def as_record(explained: ExplainedRow) -> dict[str, object]:
    """Return an explanation as JSON has it."""
    sides = {
        side: [_pair_record(pair) for pair in getattr(explained, side)]
        for side in ("proponents", "opponents")
    }
    label = {} if explained.label is None else {"test_label": plain(explained.label)}
    return {
        "test_id": plain(explained.id),
        **label,
        "predicted": plain(explained.predicted),
        "target_class": plain(explained.target),
        "decision_value": plain(explained.decision_value),
        "base_value": plain(explained.base_value),
        **sides,
    }


def _pair_record(pair):
    record = {
        "rank": pair.rank,
        "train_id": plain(pair.id),
        "train_label": plain(pair.label),
        "value": plain(pair.value),
    }
    if pair.columns:
        record["columns"] = [
            {"column": name, "share": plain(share)} for name, share in pair.columns
        ]
    return record


def plain(value: Any) -> Any:
    """A value as JSON has it: numbers that are finite, texts, true, false or null."""
    if isinstance(value, np.generic) and value.dtype.kind not in "mM":
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, (int, str, bool, type(None))) else str(value)


def _prediction(query, row):
    """Return the predicted class, or of a regressor the output of the explained unit."""
    if query.predicted.ndim == 1:
        return query.predicted[row]
    return query.predicted[row, query.targets[row]] if query.targets.ndim == 1 else None


def _decision_values(query, X, target):
    """Return the explained output of each row, or None without a head."""
    explainer = query.explainer
    if not hasattr(explainer, "decision_function"):
        return [None] * X.shape[0]
    f = explainer.decision_function(X)
    if query.has_classes and target.ndim == 1:
        return of_class(f, np.searchsorted(explainer.classes_, target)).tolist()
    f = logits(f) if query.has_classes else f.reshape(len(f), -1)
    if target.ndim == 1:
        return f[np.arange(len(f)), target].tolist()
    return np.einsum("jk,jk->j", f, target).tolist()


def same_labels(a: np.ndarray, b: np.ndarray) -> Any:
    """Whether labels agree; those of different types do where they print alike."""
    if (a.dtype.kind == "U") != (b.dtype.kind == "U"):
        a, b = a.astype(str), b.astype(str)
    return a == b
