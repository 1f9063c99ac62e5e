"""What the pages say of explained rows, and of kinds of error: texts, bars, shades, pictures."""

import math
from collections.abc import Iterable
from numbers import Real
from typing import Any

import numpy as np
from scipy import sparse

from .._arrays import full, take
from .images import share_map, thumbnail
from .misclassifications import CAUTION, ErrorKind, misclassifications
from .records import ExplainedRow, Query, Rows, same_labels
from .text import aligned, cell, number, printable, shortened

SHOWN_LABELS = 8  # whose rows are summed one by one
LONGEST_BAR = 70  # pixels to either side
LONGEST_TEXT, LONGEST_NAME, LONGEST_NUMBER = 400, 40, 10  # columns
DARKEST = 0.55  # opacity of the largest share
DIGITS = 4  # of the largest value of a column, but two decimals at least
LOOSE = 0.25  # of the decision value, beyond which a bound says little
SHOWN_KINDS = 5  # of error, the most frequent
COMPARED_ROWS = 2000  # test rows at most among which kinds of error are looked for
OPPONENTS = 20  # of an error that count as its strongest


def row_view(row: ExplainedRow, id_name: str, *, query=None, shape=None) -> dict:
    """What a page says of one row; sums by label and pictures come from the query."""
    columns = [] if shape else row.columns
    texts = [_column(row, c) for c in range(len(columns))]
    has_texts = row.text is not None and any(pair.text is not None for pair in row.pairs)
    view = {
        "id_name": cell(id_name),
        "id": cell(row.id),
        "label": named(row.label),
        "predicted": predicted_words(row),
        "target": target_words(row),
        "verdict": verdict(row),
        "output": "" if row.decision_value is None else number(row.decision_value),
        "base": "" if row.base_value is None else number(row.base_value),
        "bound": "" if row.bound is None else f"{row.bound:.2g}",
        "loose": loose(row),
        "text": None if row.text is None else shortened(row.text, LONGEST_TEXT),
        "has_texts": has_texts,
        "columns": [
            (shortened(name, LONGEST_NAME), style)
            for name, (_, style) in zip(columns, texts, strict=True)
        ],
        "cells": [(found[0], style) for found, style in texts],
        "entries": _entries(row, texts),
        "image": "",
        "sums": [],
    }
    if query is not None:
        X, target = take(query.test.X, [row.row]), query.targets[[row.row]]
        if row.decision_value is not None and query.has_classes:
            view["sums"] = _sums_by_label(query, X, target)
        if shape is not None:
            _add_pictures(view, row, query, X, target, shape)
    return view


def named(value: Any) -> str:
    """A label, class or number in one cell; nothing where there is none."""
    if value is None:
        return ""
    is_long = isinstance(value, float) and len(str(value)) > LONGEST_NUMBER
    return cell(f"{value:.6g}" if is_long else value)


def predicted_words(row: ExplainedRow) -> str:
    """What is predicted."""
    return "several numbers" if row.predicted is None else named(row.predicted)


def verdict(row: ExplainedRow) -> tuple[str, str] | None:
    """Style and words of whether the prediction is right, or None without labels."""
    if row.right is None:
        return None if row.label is None else ("", f"labelled {named(row.label)}")
    return ("right", "right") if row.right else ("wrong", f"but labelled {named(row.label)}")


def target_words(row: ExplainedRow) -> str:
    """Whose decision value it is."""
    return "the outputs as weighed" if row.of == "weights" else f"{row.of} {named(row.target)}"


def loose(row: ExplainedRow) -> str:
    """What to say of a bound that leaves much of the decision value open."""
    if row.bound is None or row.decision_value is None:
        return ""
    if row.bound <= LOOSE * abs(row.decision_value):
        return ""
    return "which is wide beside this value: a smaller tol narrows it"


def _column(row, c):
    """Texts of the row and of its pairs in one column, and their style.

    Shares where what training rows have is not known, and of terms.
    """
    known = [pair.shown[c][0] for pair in row.pairs]
    if row.text is None and any(value is not None for value in known):
        return column_cells([row.values[c], *known])
    own, style = column_cells([row.values[c]])
    shares = [pair.shown[c][1] for pair in row.pairs]
    texts = zip(aligned(shares, 2), shares, strict=True)
    return own + [text if share else "" for text, share in texts], style or "number"


def column_cells(values) -> tuple[list[str], str]:
    """Texts of what rows have in one column, and its style; numbers have as many decimals each."""
    known = [value for value in values if value is not None]
    if not known or not all(_is_number(value) for value in known):
        return ["" if value is None else cell(value) for value in values], ""
    texts = [f"{value:.6g}" for value in known]
    decimals = max(len(text.partition(".")[2]) for text in texts)
    if any("e" in text for text in texts) or not all(math.isfinite(value) for value in known):
        return ["" if value is None else f"{value:.6g}" for value in values], "number"
    largest = max(map(abs, known)) or 1
    decimals = min(decimals, max(DIGITS - math.ceil(math.log10(largest)), 2))
    return ["" if value is None else f"{value:.{decimals}f}" for value in values], "number"


def _is_number(value):
    return isinstance(value, (Real, np.number)) and not isinstance(value, (bool, np.bool_))


def _entries(row, texts):
    """What the page says of each training row that explains a test row."""
    values = aligned(pair.value for pair in row.pairs)
    peak = max((abs(pair.value) for pair in row.pairs), default=1.0) or 1.0
    darkest = max((abs(share) for pair in row.pairs for _, share in pair.shown), default=0.0)
    return [
        {
            "kind": pair.kind,
            "id": cell(pair.id),
            "label": named(pair.label),
            "value": value,
            **_bar(pair.value, peak),
            "image": "",
            "map": "",
            "text": "" if pair.text is None else shortened(pair.text, LONGEST_TEXT),
            "cells": [
                (found[q], f"{style} {_side(share)}", _opacity(share, darkest))
                for (found, style), (_, share) in zip(texts, pair.shown, strict=False)
            ],
        }
        for q, (pair, value) in enumerate(zip(row.pairs, values, strict=True), start=1)
    ]


def _add_pictures(view, row, query, X, target, shape):
    """Pictures of the rows, and of the pixels' shares where there are any."""
    train, test = pixels(query.train, shape), pixels(query.test, shape)
    view["image"] = thumbnail(test, row.row, shape)
    indices = np.array([[pair.row for pair in row.pairs]], dtype=np.intp)
    try:
        shares = full(query.explainer.decompose(X, indices, target=target)).astype(np.float64)
        shares = shares.reshape(indices.size, -1)
    except ValueError:  # nothing else is left to refuse: it tells features not apart
        shares = np.zeros((0, 0))
    drawn = shares.shape[1:] == (math.prod(shape),)
    darkest = np.abs(shares).max(initial=0.0)
    for q, (entry, pair) in enumerate(zip(view["entries"], row.pairs, strict=True)):
        entry["image"] = "" if train is None else thumbnail(train, pair.row, shape)
        entry["map"] = share_map(shares[q], darkest, shape) if drawn else ""


def pixels(rows: Rows, shape: tuple[int, ...] | None) -> Any:
    """What is drawn of rows: as they were before they were encoded, where that is an array.

    Raises
    ------
    ValueError
        For rows of another number of columns than pixels.
    """
    if shape is None:
        return None
    drawn = rows.X if rows.table is None else rows.table
    drawn = drawn.to_numpy() if hasattr(drawn, "to_numpy") else drawn
    if drawn is not None and drawn.shape[1:] != (math.prod(shape),):
        raise ValueError(f"image_shape {tuple(shape)} does not fit rows of {drawn.shape[1:]}")
    return drawn


def _sums_by_label(query: Query, X, target):
    """What the training rows of each label contribute together, the largest first."""
    T = query.explainer.attribute(X, target)
    T = (T.toarray() if sparse.issparse(T) else T)[0].astype(np.float64)
    labels, codes = np.unique(query.train.y, return_inverse=True)
    sums = np.bincount(codes, weights=T, minlength=len(labels))
    sums[np.abs(sums) <= 1e-12 * np.abs(T).sum()] = 0  # rounding
    n_labels = np.count_nonzero(sums)
    # the others as one, unless it is one
    n_shown = min(n_labels, SHOWN_LABELS + (n_labels == SHOWN_LABELS + 1))
    shown = np.argsort(-np.abs(sums), kind="stable")[:n_shown]
    names = [cell(labels[c]) for c in shown]
    values = sums[shown].tolist()
    if n_labels > len(shown):
        names.append(f"{n_labels - len(shown)} others")
        values.append(float(np.delete(sums, shown).sum()))
    peak = max(map(abs, values), default=1.0) or 1.0
    return [
        {"name": printable(name), "value": text, **_bar(value, peak)}
        for name, value, text in zip(names, values, aligned(values), strict=True)
    ]


def errors_view(
    query: Query, rows: Iterable[int], *, shape: tuple[int, ...] | None = None
) -> dict | None:
    """What the report says of kinds of error among test rows, each of which counts once.

    None without labels, without kinds of a few errors, and of explainers without margins.
    """
    explainer, test = query.explainer, query.test
    if test.y is None or not query.has_classes or not hasattr(explainer, "decision_function"):
        return None
    compared = np.unique(np.fromiter(rows, dtype=np.intp))
    n_rows = len(compared)
    if n_rows > COMPARED_ROWS:
        compared = np.sort(np.random.RandomState(0).choice(compared, COMPARED_ROWS, replace=False))
    agree = same_labels(test.y[compared, None], explainer.classes_)
    labelled = agree.any(axis=1)
    known, y = compared[labelled], explainer.classes_[agree.argmax(axis=1)[labelled]]
    k = min(OPPONENTS, explainer.n_samples_fit_)
    found = misclassifications(
        explainer, take(test.X, known), y, y_pred=query.predicted[known], k=k
    )
    if not found:
        return None
    drawn = pixels(query.train, shape)
    return {
        "n_errors": found.n_errors,
        "n_compared": len(known),
        "n_rows": n_rows if len(compared) < n_rows else 0,
        "n_unknown": len(compared) - len(known),
        "n_kinds": len(found),
        "min_errors": found.min_errors,
        "k": k,
        "caution": CAUTION,
        "kinds": [_kind_view(kind, query, drawn, shape) for kind in found[:SHOWN_KINDS]],
    }


def _kind_view(kind: ErrorKind, query: Query, drawn: Any, shape: tuple[int, ...] | None) -> dict:
    train, shown = query.train, kind.rows[: query.top].tolist()
    values = aligned(kind.values[: query.top])
    return {
        "true": named(kind.true),
        "predicted": named(kind.predicted),
        "n_errors": kind.n_errors,
        "n_control": kind.n_control,
        "rows": [
            {
                "id": cell(train.ids[i]),
                "label": named(None if train.y is None else train.y[i]),
                "image": "" if drawn is None else thumbnail(drawn, i, shape),
                "value": value,
                "share": f"{share:.0%}",
                "control": "none" if math.isnan(control) else f"{control:.0%}",
            }
            for i, value, share, control in zip(
                shown, values, kind.share, kind.control_share, strict=False
            )
        ],
    }


def _bar(value, peak):
    """Where a bar starts and how long it is, in pixels, of an axis with 0 in the middle."""
    width = max(1, round(LONGEST_BAR * abs(value) / peak))
    return {
        "side": _side(value),
        "width": width,
        "start": LONGEST_BAR - (0 if value > 0 else width),
    }


def _side(value):
    return "for" if value > 0 else "against"


def _opacity(share, darkest):
    return f"{DARKEST * abs(share) / darkest if darkest > 0 else 0.0:.2f}"
