"""The papers' tables and figures, measured again: `python -m benchmarks.papers` says how.

Each paper is a module of this package (or a package of modules) with

- `SETTINGS`, a dict of plain values that its results depend on;
- `CELLS`, a dict from the name of a cell to a function of `Data` that returns a dict of plain
  numbers, texts, lists and dicts. A cell is what an interrupted run may lose;
- `tables(results)`, a function from a dict of the cells' records that are there (`values`,
  `seconds`, `machine`, ...) to a dict from the name of a table to its Markdown.

Cells share what takes long, such as trained networks, by `Data.kept`.
"""

import math


def markdown(columns, rows):
    """A table from the names of its columns and rows of texts and numbers; None is not run."""
    lines = [list(columns), ["---"] + ["--:"] * (len(columns) - 1)]
    lines += [[shown(value) for value in row] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def shown(value, digits=3):
    """A number in a few digits, a text as it is, (value, low, high) as an interval."""
    if value is None:
        return "not run"
    if isinstance(value, str):
        return value
    if isinstance(value, (list, tuple)):
        middle, low, high = (shown(part, digits) for part in value)
        return f"{middle} ({low} to {high})"
    if isinstance(value, int) or not math.isfinite(value):
        return str(value)
    if value == 0 or 1e-3 <= abs(value) < 1:
        return f"{value:.{digits}f}"
    if abs(value) >= 10 ** (digits - 1):
        return f"{value:,.0f}"
    return f"{value:.{digits}g}"


def value_of(results, cell, *path):
    """What stands under `path` in the values of a cell, None where it was not run."""
    found = results[cell]["values"] if cell in results else None
    for key in path:
        found = None if found is None else found.get(key)
    return found
