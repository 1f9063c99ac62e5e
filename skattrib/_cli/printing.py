"""What the command prints: tables on stdout, warnings as notes on stderr."""

import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from ..findings.text import cell, printable, table_lines

__all__ = ["cell", "print_table", "printable", "warnings_as_notes"]


def print_table(lines: Iterable[Iterable[object]], indent: str = "") -> None:
    """Print columns: the first flush left, the others flush right."""
    print(*table_lines(lines, indent), sep="\n")


@contextmanager
def warnings_as_notes() -> Iterator[None]:
    """Collect warnings for users and print each as one line on stderr."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", UserWarning)  # ConvergenceWarning is one
        yield
    for message in dict.fromkeys(printable(warning.message) for warning in caught):
        print(f"skattrib: note: {message}", file=sys.stderr)
