"""Text that people read: cells in which no label can steer a terminal, tables, aligned numbers."""

import math
import unicodedata
from collections.abc import Iterable, Sequence

WIDEST = 24  # columns of the terminal for one label or id
DIGITS = 4  # of the largest number of a column
WIDEST_DECIMALS = 8


def table_lines(lines: Iterable[Iterable[object]], indent: str = "") -> list[str]:
    """Lines of a table of cells: the first column flush left, the others flush right."""
    return free_lines([[cell(value) for value in line] for line in lines], indent)


def free_lines(
    lines: Iterable[Sequence[str]], indent: str = "", left: Sequence[int] = (0,)
) -> list[str]:
    """Lines of a table of printable texts of any width, some of its columns flush left."""
    lines = [[printable(text) for text in line] for line in lines]
    widths = [max(map(width, column)) for column in zip(*lines, strict=True)]
    out = []
    for line in lines:
        padded = [
            text + " " * (wide - width(text)) if k in left else " " * (wide - width(text)) + text
            for k, (text, wide) in enumerate(zip(line, widths, strict=True))
        ]
        out.append((indent + "  ".join(padded)).rstrip())
    return out


def cell(value: object) -> str:
    """Return a text for one cell: printable, and not too wide."""
    return shortened(value, WIDEST)


def shortened(value: object, widest: int) -> str:
    """Return a printable text of at most so many columns."""
    text = printable(value)
    if width(text) <= widest:
        return text
    text = text[: widest - 3]
    while width(text) > widest - 3:
        text = text[:-1]
    return text + "..."


def width(text: str) -> int:
    """Columns that a text takes in a terminal."""
    return len(text) + sum(unicodedata.east_asian_width(c) in "WF" for c in text)


def printable(value: object) -> str:
    """Return a text on one line, with escapes for what could steer a terminal."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(value)
    )


def aligned(values: Iterable[float], digits: int = DIGITS) -> list[str]:
    """Signed numbers of one column with as many decimals each, so that their points align.

    The largest has `digits` digits and the smallest at least one; with exponents where that would
    be too wide.
    """
    values = list(values)
    sizes = [math.floor(math.log10(abs(v))) for v in values if v and math.isfinite(v)]
    if not sizes:
        return [f"{value:+.0f}" for value in values]
    decimals = max(digits - 1 - max(sizes), -min(sizes), 0)
    if decimals > WIDEST_DECIMALS or max(sizes) >= 2 * digits:
        return [f"{value:+.{digits - 1}e}" for value in values]
    return [f"{value:+.{decimals}f}" for value in values]


def number(value: float) -> str:
    """A signed number by itself, with four digits."""
    return f"{value:+#.{DIGITS}g}"
