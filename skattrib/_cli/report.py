"""The report of the command line: one HTML file that needs nothing else to be opened."""

import base64
import math
import struct
import zlib
from importlib.metadata import version

import numpy as np
from scipy import sparse

from .._arrays import full
from ..findings import find_label_issues
from .inputs import InputError
from .outputs import replacing
from .printing import cell, printable, warnings_as_notes
from .records import explanations
from .report_page import PAGE

SHOWN_COLUMNS = 5  # whose values stand beside each row
SHOWN_ISSUES = 20
SHOWN_LABELS = 8  # whose rows are summed one by one
LONGEST_BAR = 70  # pixels to either side
DARKEST = 0.55  # opacity of the largest share
BLUE, RED = (31, 119, 180), (214, 39, 40)  # as on the page


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

    def add_fit(self, method, fitted):
        """How the fit went."""
        facts = list(fitted.facts)
        if method.sparse:
            facts.append(["support rows", len(fitted.explainer.support_)])
        self._content |= {"method": method.name, "meaning": method.meaning, "facts": facts}
        self._content["warning"] = fitted.warning

    def add_scores(self, train_path, test_path, scores):
        """What was read, and what the test labels say."""
        self._content |= {
            "train": printable(train_path),
            "test": printable(test_path),
            "scores": scores,
        }

    def add_issues(self, query):
        """Training rows with labels that the explainer contradicts."""
        explainer, train = query.explainer, query.train
        n, shape = train.X.shape[0], image_shape(train.X)
        with warnings_as_notes():
            found = find_label_issues(explainer, train.X, train.y, n_neighbors=min(10, n - 1))
        has_head = hasattr(explainer, "decision_function")
        self._content |= {
            "issues": [
                {
                    "id": cell(train.ids[found.row[k]]),
                    "image": thumbnail(train.X, found.row[k], shape),
                    "given": cell(found.given[k]),
                    "suggested": cell(found.suggested[k]),
                    "score": f"{found.score[k]:.3g}",
                    "evidence": cell(train.ids[found.evidence[k]]),
                    "evidence_image": thumbnail(train.X, found.evidence[k], shape),
                }
                for k in range(min(SHOWN_ISSUES, len(found.row)))
            ],
            "n_issues": len(found.row),
            "n_train": n,
            "judge": "the classifier" if has_head else "the vote of the most similar rows",
            "train_id_name": cell(train.id_name),
            "has_images": shape is not None,
        }

    def add_rows(self, query, rows):
        """Explanations of test rows."""
        shape = image_shape(query.train.X)
        self._content["rows"] = [
            _explained(query, explanation, shape) for explanation in explanations(query, rows)
        ]

    def write(self, path):
        """Write the page.

        Raises
        ------
        InputError
            If the file cannot be written.
        """
        with replacing(path) as file:
            file.write(self._page.render(self._content))


def _explained(query, explanation, shape):
    """What the page says of one test row."""
    row, test = explanation.row, query.test
    X, target = test.X[[row]], query.targets[[row]]
    shares = _shares(query, X, target, explanation)
    columns = [] if shape else _heaviest(np.abs(shares).sum(axis=0), SHOWN_COLUMNS)
    names = None if test.table is None else list(test.table.columns)
    output, bound = explanation.output, ""
    if hasattr(query.explainer, "decision_error_bound"):
        bound = f"{query.explainer.decision_error_bound(X, target)[0]:.2g}"
    return {
        "id_name": cell(test.id_name),
        "id": cell(test.ids[row]),
        "label": "" if test.y is None else cell(test.y[row]),
        "predicted": cell(query.predicted[row]),
        "target": cell(target[0]),
        "verdict": _verdict(query, row),
        "output": "" if output is None else f"{output:+#.4g}",
        "base": "" if explanation.base is None else f"{explanation.base:+#.4g}",
        "bound": bound,
        "columns": [f"column {c}" if names is None else cell(names[c]) for c in columns],
        "cells": _values(test, row, columns),
        "image": thumbnail(test.X, row, shape),
        "entries": _entries(query.train, explanation, shares, columns, shape),
        "sums": _sums_by_label(query, X, target) if output is not None else [],
    }


def _verdict(query, row):
    """Style and words of whether the prediction is right, or None without labels."""
    if query.right is None:
        return None
    if query.right[row]:
        return "right", "right"
    return "wrong", f"but labelled {cell(query.test.y[row])}"


def _entries(train, explanation, shares, columns, shape):
    """What the page says of each training row that explains a test row."""
    rows = [("proponent", *pair) for pair in explanation.proponents]
    rows += [("opponent", *pair) for pair in explanation.opponents]
    peak = max((abs(value) for *_, value in rows), default=1.0)
    darkest = np.abs(shares if shape else shares[:, columns]).max(initial=0.0)
    return [
        {
            "kind": kind,
            "id": cell(train.ids[i]),
            "label": cell(train.y[i]),
            "value": f"{value:+#.4g}",
            **_bar(value, peak),
            "image": thumbnail(train.X, i, shape),
            "map": share_map(share, darkest, shape),
            "cells": [
                (text, *_shade(share[c], darkest))
                for c, text in zip(columns, _values(train, i, columns), strict=True)
            ],
        }
        for (kind, i, value), share in zip(rows, shares, strict=True)
    ]


def _sums_by_label(query, X, target):
    """What the training rows of each label contribute together, the largest first."""
    classes, T = query.explainer.classes_, query.explainer.attribute(X, target)
    T = (T.toarray() if sparse.issparse(T) else T)[0].astype(np.float64)
    codes = np.searchsorted(classes, query.train.y)
    sums = np.bincount(codes, weights=T, minlength=len(classes))
    sums[np.abs(sums) <= 1e-12 * np.abs(T).sum()] = 0  # rounding
    n_labels = np.count_nonzero(sums)
    # the others as one, unless it is one
    shown = _heaviest(np.abs(sums), min(n_labels, SHOWN_LABELS + (n_labels == SHOWN_LABELS + 1)))
    found = [(cell(classes[c]), sums[c]) for c in shown]
    if n_labels > len(shown):
        found.append((f"{n_labels - len(shown)} others", np.delete(sums, shown).sum()))
    peak = max((abs(value) for _, value in found), default=1.0) or 1.0
    return [{"name": name, "value": f"{value:+#.4g}", **_bar(value, peak)} for name, value in found]


def _bar(value, peak):
    """Where a bar starts and how long it is, in pixels, of an axis with 0 in the middle."""
    width = max(1, round(LONGEST_BAR * abs(value) / peak))
    side = "for" if value > 0 else "against"
    return {"side": side, "width": width, "start": LONGEST_BAR - (0 if value > 0 else width)}


def _shares(query, X, target, explanation):
    """How much of each attribution shown goes through each column, (entries, columns)."""
    train, pairs = query.train, explanation.proponents + explanation.opponents
    n_columns = train.X.shape[1] if train.table is None else train.table.shape[1]
    if not pairs:
        return np.zeros((0, n_columns))
    indices = np.array([[i for i, _ in pairs]])
    shares = full(query.explainer.decompose(X, indices, target=target)).astype(np.float64)
    shares = shares.reshape(len(pairs), -1)
    if train.sources is None:
        return shares
    return np.array(
        [np.bincount(train.sources, weights=row, minlength=n_columns) for row in shares]
    )


def _heaviest(weights, k):
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
    colors = np.where(share.reshape(*shape, 1) > 0, BLUE, RED)
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
