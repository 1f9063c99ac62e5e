"""The report of the command line: one HTML file that needs nothing else to be opened."""

import base64
import math
import struct
import zlib
from importlib.metadata import version

import numpy as np
from scipy import sparse

from ..label_issues import find_label_issues
from .inputs import InputError
from .records import same_labels, target_values
from .report_page import PAGE
from .tables import cell, printable, warnings_as_notes

COLUMNS = 5  # columns whose values are shown with each row
ISSUES = 20  # suspicious rows shown
LONGEST_BAR = 70  # pixels to either side
LABELS = 8  # labels whose rows are summed one by one
DARKEST = 0.55  # opacity of the largest share
RAISES, LOWERS = (31, 119, 180), (214, 39, 40)  # as on the page


class Report:
    """What is known so far, and how it becomes a page.

    Raises
    ------
    InputError
        If Jinja2 is not installed.
    """

    def __init__(self):
        try:
            import jinja2
        except ImportError as error:
            raise InputError(
                f'a report needs jinja2 ({error}): install with pip install "skattrib[report]"'
            ) from error
        environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
        self._page = environment.from_string(PAGE)
        self._content = {"version": version("skattrib")}

    def add_head(self, method, meaning, train_path, test_path, facts, scores):
        """How the fit went and what the test labels say."""
        self._content |= {
            "method": method,
            "meaning": meaning,
            "train": printable(train_path),
            "test": printable(test_path),
            "facts": facts,
            "scores": scores,
        }

    def add_issues(self, explainer, train):
        """Training rows with labels that the explainer contradicts."""
        n = train.X.shape[0]
        with warnings_as_notes():
            found = find_label_issues(explainer, train.X, train.y, n_neighbors=min(10, n - 1))
        shape = image_shape(train.X)
        issues = [
            {
                "id": cell(train.ids[i]),
                "image": thumbnail(train.X, i, shape),
                "given": cell(given),
                "suggested": cell(suggested),
                "score": f"{score:.3g}",
                "evidence": cell(train.ids[evidence]),
                "evidence_image": thumbnail(train.X, evidence, shape),
            }
            for i, _, given, suggested, score, evidence in list(zip(*found.values(), strict=True))[
                :ISSUES
            ]
        ]
        has_head = hasattr(explainer, "decision_function")
        self._content |= {
            "issues": issues,
            "n_issues": len(found.row),
            "n_train": n,
            "judge": "the classifier" if has_head else "the vote of the most similar rows",
            "train_id_name": cell(train.id_name),
            "has_images": shape is not None,
        }

    def add_rows(self, explainer, train, test, rows, predicted, targets, top):
        """Explanations of test rows."""
        shape = image_shape(train.X)
        self._content["rows"] = [
            _explained(explainer, train, test, row, predicted, targets, top, shape) for row in rows
        ]

    def write(self, path):
        """Write the page.

        Raises
        ------
        InputError
            If the file cannot be written.
        """
        text = self._page.render(self._content)
        try:
            with open(path, "w", encoding="utf-8", errors="backslashreplace") as file:
                file.write(text)
        except OSError as error:
            raise InputError(f"cannot write {path}: {error.strerror}") from error


def _explained(explainer, train, test, row, predicted, targets, top, shape):
    X, target = test.X[[row]], targets[[row]]
    top = min(top, train.X.shape[0])
    entries = []
    for largest, kind, side in ((True, "proponent", "for"), (False, "opponent", "against")):
        values, indices = explainer.top_k(X, top, target=target, largest=largest)
        entries += [
            {"kind": kind, "side": side, "index": int(i), "number": float(value)}
            for value, i in zip(values[0], indices[0], strict=True)
            if (value > 0) == largest and value != 0
        ]
    shares = _shares(explainer, train, X, target, entries)
    columns = [] if shape else _largest(np.abs(shares).sum(axis=0), COLUMNS)
    peak = max((abs(entry["number"]) for entry in entries), default=1.0)
    darkest = np.abs(shares if shape else shares[:, columns]).max(initial=0.0)
    for entry, share in zip(entries, shares, strict=True):
        i = entry["index"]
        entry |= {
            "id": cell(train.ids[i]),
            "label": cell(train.y[i]),
            "value": f"{entry['number']:+#.4g}",
            **_bar(entry["number"], peak),
            "image": thumbnail(train.X, i, shape),
            "map": share_map(share, darkest, shape),
            "cells": [
                (text, *_shade(share[c], darkest))
                for c, text in zip(columns, _values(train, i, columns), strict=True)
            ],
        }
    output, bound = target_values(explainer, X, target)[0], ""
    if hasattr(explainer, "decision_error_bound"):
        bound = f"{explainer.decision_error_bound(X, target)[0]:.2g}"
    verdict = None
    if test.y is not None:
        right = same_labels(predicted[[row]], test.y[[row]])[0]
        verdict = ("right", "right") if right else ("wrong", f"but labelled {cell(test.y[row])}")
    names = None if train.table is None else list(train.table.columns)
    return {
        "id_name": cell(test.id_name),
        "id": cell(test.ids[row]),
        "label": "" if test.y is None else cell(test.y[row]),
        "predicted": cell(predicted[row]),
        "target": cell(target[0]),
        "verdict": verdict,
        "output": "" if output is None else f"{output:+#.4g}",
        "bound": bound,
        "columns": [f"column {c}" if names is None else cell(names[c]) for c in columns],
        "cells": _values(test, row, columns),
        "image": thumbnail(test.X, row, shape),
        "entries": entries,
        "sums": _sums_by_label(explainer, train, X, target) if output is not None else [],
    }


def _sums_by_label(explainer, train, X, target):
    """What the training rows of each label contribute together, the largest first."""
    T = explainer.attribute(X, target)
    T = (T.toarray() if sparse.issparse(T) else T)[0].astype(np.float64)
    codes = np.searchsorted(explainer.classes_, train.y)
    sums = np.bincount(codes, weights=T, minlength=len(explainer.classes_))
    sums[np.abs(sums) <= 1e-12 * np.abs(T).sum()] = 0  # rounding
    shown = _largest(np.abs(sums), LABELS if np.count_nonzero(sums) > LABELS + 1 else LABELS + 1)
    found = [(cell(explainer.classes_[c]), sums[c]) for c in shown if sums[c] != 0]
    if np.count_nonzero(sums) > len(shown):
        left = np.delete(sums, shown)
        found.append((f"{np.count_nonzero(left)} others", left.sum()))
    peak = max((abs(value) for _, value in found), default=1.0) or 1.0
    return [{"name": name, "value": f"{value:+#.4g}", **_bar(value, peak)} for name, value in found]


def _bar(value, peak):
    """Where a bar starts and how long it is, in pixels, of an axis with 0 in the middle."""
    width = max(1, round(LONGEST_BAR * abs(value) / peak))
    side = "for" if value > 0 else "against"
    return {"side": side, "width": width, "start": LONGEST_BAR - (0 if value > 0 else width)}


def _shares(explainer, train, X, target, entries):
    """How much of each attribution shown goes through each column, (entries, columns)."""
    n_columns = train.X.shape[1] if train.table is None else train.table.shape[1]
    if not entries:
        return np.zeros((0, n_columns))
    indices = np.array([[entry["index"] for entry in entries]])
    shares = np.asarray(explainer.decompose(X, indices, target=target)[0], dtype=np.float64)
    if train.sources is None:
        return shares
    return np.array(
        [np.bincount(train.sources, weights=row, minlength=n_columns) for row in shares]
    )


def _largest(weights, k):
    return np.argsort(-weights, kind="stable")[:k].tolist()


def _shade(share, darkest):
    opacity = DARKEST * abs(share) / darkest if darkest > 0 else 0.0
    return "for" if share > 0 else "against", f"{opacity:.2f}"


def _values(rows, i, columns):
    if rows.table is not None:
        return [cell(_short(rows.table.iloc[i, c])) for c in columns]
    return [f"{rows.X[i, c]:.4g}" for c in columns]


def _short(value):
    return f"{value:.6g}" if isinstance(value, (float, np.floating)) else value


def image_shape(X):
    """(side, side) if the rows look like square grey images, else None.

    They do if their width is a square and they hold integers up to 255, or numbers up to 1.
    """
    side = math.isqrt(X.shape[1])
    if side < 4 or side * side != X.shape[1]:
        return None
    part = X[:1000]
    values = part.data if sparse.issparse(part) else part
    if not values.size or values.min() < 0:
        return None
    is_grey = values.max() <= 1 or (values.max() <= 255 and np.all(values == np.floor(values)))
    return (side, side) if is_grey else None


def thumbnail(X, i, shape):
    """Row i as the address of a PNG image, from black to the white of its largest value."""
    if shape is None:
        return ""
    row = X[[i]]
    pixels = (row.toarray() if sparse.issparse(row) else np.asarray(row)).reshape(shape)
    peak = pixels.max()
    return _png(np.round(255 * np.clip(pixels / peak if peak > 0 else pixels, 0, 1)))


def share_map(share, largest, shape):
    """Shares of the pixels as a PNG image: white is none, blue raises, red lowers."""
    if shape is None:
        return ""
    depth = np.abs(share / largest if largest > 0 else share).reshape(*shape, 1)
    colors = np.where(share.reshape(*shape, 1) > 0, RAISES, LOWERS)
    return _png(np.round(255 - depth * (255 - colors)))


def _png(pixels):
    """Address of a PNG image of grey (height, width) or coloured (height, width, 3) pixels."""
    height, width = pixels.shape[:2]
    lines = pixels.astype(np.uint8).reshape(height, -1)
    lines = np.pad(lines, ((0, 0), (1, 0))).tobytes()  # each starts with the number of its filter
    head = struct.pack(">2I5B", width, height, 8, 2 * (pixels.ndim - 2), 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(lines)), (b"IEND", b""))
    data = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in parts
    )
    return "data:image/png;base64," + base64.b64encode(data).decode()
