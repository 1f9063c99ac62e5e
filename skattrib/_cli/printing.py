"""Text on the terminal: tables, cells and notes in which no label can steer it."""

import sys
import unicodedata
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

WIDEST = 24  # columns of the terminal for one label or id


def print_table(lines: Iterable[Iterable[object]], indent: str = "") -> None:
    """Print columns: the first flush left, the others flush right."""
    lines = [[cell(value) for value in line] for line in lines]
    widths = [max(map(_width, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        padded = [
            text + " " * (width - _width(text)) if k == 0 else " " * (width - _width(text)) + text
            for k, (text, width) in enumerate(zip(line, widths, strict=True))
        ]
        print((indent + "  ".join(padded)).rstrip())


def cell(value: object) -> str:
    """Return a text for one cell: printable, and not too wide."""
    text = printable(value)
    if _width(text) <= WIDEST:
        return text
    text = text[: WIDEST - 3]
    while _width(text) > WIDEST - 3:
        text = text[:-1]
    return text + "..."


def _width(text):
    """Columns that a text takes in a terminal."""
    return len(text) + sum(unicodedata.east_asian_width(c) in "WF" for c in text)


def printable(value: object) -> str:
    """Return a text on one line, with escapes for what could steer a terminal."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(value)
    )


@contextmanager
def warnings_as_notes() -> Iterator[None]:
    """Collect warnings for users and print each as one line on stderr."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", UserWarning)  # ConvergenceWarning is one
        yield
    for message in dict.fromkeys(printable(warning.message) for warning in caught):
        print(f"skattrib: note: {message}", file=sys.stderr)
