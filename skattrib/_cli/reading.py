"""How tables are to be read: the options of the commands that take them."""

import argparse
from dataclasses import dataclass, fields

from ..preprocessing.tables import MISSING


@dataclass(frozen=True)
class Reading:
    """Options of the commands that read tables.

    Attributes
    ----------
    drop, keep : tuple of str
        Columns to leave out, and the only ones to take.
    missing : str
        What becomes of missing values; see `table_preprocessor`.
    sep, decimal, encoding : str, optional
        Found out from the file unless given.
    header : bool
        Whether the first line has the names of the columns.
    force : bool
        Whether to take many numbers for classes.
    """

    drop: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    missing: str = "auto"
    sep: str | None = None
    decimal: str | None = None
    encoding: str | None = None
    header: bool = True
    force: bool = False

    @classmethod
    def of(cls, args: argparse.Namespace) -> "Reading":
        """Return the options that were given."""
        values = {field.name: getattr(args, field.name) for field in fields(cls)}
        return cls(**values | {name: tuple(values[name] or ()) for name in ("drop", "keep")})


def add_reading_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `Reading` to a command."""
    add = parser.add_argument_group("reading tables").add_argument
    add("--drop", action="append", metavar="COLUMN", help="leave a column out; may be repeated")
    add("--keep", action="append", metavar="COLUMN", help="take this column only, and other --keep")
    add(
        "--missing",
        choices=MISSING,
        default="auto",
        help="missing numbers: the median, with a column that says so (indicator) where 5%% or "
        "more are missing (auto), or not at all (refuse)",
    )
    add("--sep", metavar="CHARACTER", help="between fields: a character, tab or space")
    add(
        "--decimal",
        choices=[".", ","],
        metavar="MARK",
        help="decimal separator, point or comma (default: found out)",
    )
    add("--encoding", metavar="NAME", help="such as latin-1 (default: UTF-8, UTF-16)")
    add("--no-header", dest="header", action="store_false", help="name the columns x0, x1, ...")
    add("--force", action="store_true", help="take a target of many numbers for classes")
