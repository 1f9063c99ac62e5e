"""Text files of columns: encoding, separator and header found out, or named with the remedy."""

import bz2
import codecs
import csv
import gzip
import lzma
import re
import warnings
import zipfile
from collections import Counter
from dataclasses import dataclass

from .inputs import InputError, join_names

HEAD = 2**18  # bytes that the separator is judged by
RECORDS = 200
SEPARATORS = {"\t": "tab", ";": "';'", "|": "'|'", ",": "','", r"\s+": "blanks"}
SPELLED = {"tab": "\t", r"\t": "\t", "space": r"\s+", "blank": r"\s+", " ": r"\s+", "": r"\s+"}
BOMS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
COPY = "\0"  # after the name of a column, once for each before it that has the same
COMMENTS = ("#", "%", "//")
NUMBER = re.compile(r"[+-]?(\d+[.,]?\d*|[.,]\d+)([eE][+-]?\d+)?")
LINE_END = re.compile("\r\n|\r|\n")
DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+")


@dataclass(frozen=True)
class Layout:
    """How a text file is to be read.

    Attributes
    ----------
    encoding, sep : str
    decimal : str, optional
        None where it may be either in numbers stored as text.
    skip : int
        Lines above the header, or above the first row where there is none.
    names : list of str
        Of the columns; those without a name are ``Unnamed: k``, and `COPY` marks repeated ones.
    seems_headless : bool
        Whether the first line looks like data.
    """

    encoding: str
    sep: str
    decimal: str | None
    skip: int
    names: list[str]
    seems_headless: bool


def read_text(path, pd, reading, text=()):
    """Read a text file into a frame of pandas; columns in `text` are not parsed.

    Parameters
    ----------
    path : str
    pd : module
        pandas
    reading : Reading
    text : iterable of str

    Returns
    -------
    frame : DataFrame
    layout : Layout
    """
    layout = find_layout(path, reading)
    while True:
        try:
            return _parse(path, pd, layout, reading, text), layout
        except UnicodeDecodeError:
            if reading.encoding is not None or layout.encoding != "utf-8":
                raise
            layout = find_layout(path, reading, "cp1252")
            warnings.warn(
                f"{path} is not UTF-8 text and was read as Windows-1252 (latin-1); "
                "name another --encoding if letters come out wrong",
                stacklevel=2,
            )


def _parse(path, pd, layout, reading, text):
    with warnings.catch_warnings():
        # more fields than names: pandas would cut them off and warn
        warnings.simplefilter("error", pd.errors.ParserWarning)
        return pd.read_csv(
            path,
            sep=layout.sep,
            decimal=layout.decimal or ".",
            encoding=layout.encoding,
            encoding_errors="strict",
            header=0 if reading.header else None,
            skiprows=layout.skip,
            names=layout.names,
            dtype=dict.fromkeys(set(text) & set(layout.names), str),
            index_col=False,
            keep_default_na=False,  # NA, None and null may be categories
            na_values=[""],
            skipinitialspace=True,
            low_memory=False,
        )


def find_layout(path, reading, fallback="utf-8"):
    """Find out how a text file is to be read.

    Raises
    ------
    InputError
        If it is no text, or has a single column or a repeated name.
    """
    head, whole = _head(path)
    encoding = reading.encoding or _encoding(head, path) or fallback
    try:
        codecs.lookup(encoding)
    except LookupError:
        raise InputError(f"--encoding {encoding!r} is unknown; try utf-8 or latin-1") from None
    lines = LINE_END.split(head.decode(encoding, "replace"))
    lines = lines if whole or len(lines) < 2 else lines[:-1]
    if not any(line.strip() for line in lines):
        raise InputError(f"{path} is empty")
    comments = [
        n for n, line in enumerate(lines[:RECORDS]) if line.startswith(COMMENTS) or not line.strip()
    ]
    start = next(n for n in range(len(lines)) if n >= len(comments) or comments[n] != n)
    sep = reading.sep and SPELLED.get(reading.sep.lower(), reading.sep)
    sep, skip = _separator(lines[start : start + RECORDS], path, sep)
    start += skip
    records = _records(lines[start : start + RECORDS], sep)
    if reading.header and start and _is_data(records):
        # the header may stand in the last comment
        above = _records([re.sub(r"^[#%/\s]+", "", lines[start - 1])], sep)
        if above and len(above[0]) == len(records[0]):
            start, records = start - 1, [*above, *records]
    n_above = sum(bool(line.strip()) for line in lines[:start])
    if n_above:
        shown = "1 line" if n_above == 1 else f"{n_above} lines"
        warnings.warn(f"{path}: left out {shown} above the table", stacklevel=2)
    return Layout(
        encoding,
        sep,
        reading.decimal or _decimal(records, sep),
        start,
        _names(records, path, reading.header),
        reading.header and _is_data(records),
    )


def _head(path):
    """Return the first bytes of a file, unpacked, and whether they are all of it."""
    name = str(path).lower()
    opened = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}.get(name[name.rfind(".") :])
    if name.endswith(".zip"):
        with zipfile.ZipFile(path) as archive:
            inside = [entry for entry in archive.namelist() if not entry.endswith("/")]
            if len(inside) != 1:
                raise InputError(
                    f"{path} holds {len(inside)} files ({join_names(inside)}); "
                    "unpack it and name the one to read"
                )
            with archive.open(inside[0]) as file:
                head = file.read(HEAD + 1)
    else:
        with (opened or open)(path, "rb") as file:
            head = file.read(HEAD + 1)
    return head[:HEAD], len(head) <= HEAD


def _encoding(head, path):
    """Return the encoding that the first bytes tell of, or None."""
    for bom, encoding in BOMS.items():
        if head.startswith(bom):
            return encoding
    if b"\0" not in head:
        return None
    even, odd = head[::2].count(0), head[1::2].count(0)
    if max(even, odd) > len(head) / 5 and min(even, odd) < len(head) / 50:
        return "utf-16-be" if even > odd else "utf-16-le"
    raise InputError(f"{path} holds zero bytes: it is no text, or names no --encoding we know")


def _records(lines, sep):
    """Split lines into fields, stripped; lines without any are left out."""
    options = {"delimiter": " " if sep == r"\s+" else sep, "skipinitialspace": True}
    try:
        found = list(csv.reader([f"{line.strip(' ')}\n" for line in lines], **options))
    except csv.Error:
        return []
    return [[field.strip() for field in record] for record in found if any(map(str.strip, record))]


def _separator(lines, path, given):
    """Return the separator, and the number of lines before the first with several fields."""
    scores = {}
    for rank, sep in enumerate(SEPARATORS if given is None else [given]):
        if len(sep) != 1 and sep != r"\s+":
            raise InputError(f"--sep {sep!r} must be a single character, tab or space")
        counts = [len(record) for line in lines for record in _records([line], sep) or [[]]]
        skip = next((n for n, count in enumerate(counts) if count > 1), None)
        whole = _records(lines, sep)
        if whole and len(whole[0]) > 1:
            skip = 0  # a quoted name may go on in the next line
        if skip is None:
            continue
        above = sum(count > 0 for count in counts[:skip])
        widths = [len(record) for record in _records(lines[skip:], sep)]
        width, n_rows = Counter(widths).most_common(1)[0]
        if sep == r"\s+" and given is None and n_rows < len(widths):
            continue  # texts of words
        scores[n_rows / len(widths), -above, width, -rank] = sep, skip
    if not scores:
        if given is not None:
            raise InputError(f"{path} has a single column when split by --sep {given!r}")
        return ",", 0  # what is missing will be named
    return scores[max(scores)]


def _decimal(records, sep):
    """Return ',' where commas can only be decimal ones: other separators, numbers with them."""
    if sep == ",":
        return None
    fields = [field for record in records for field in record]
    return "," if any(map(DECIMAL_COMMA.fullmatch, fields)) else None


def _names(records, path, header):
    if not header:
        width = Counter(map(len, records)).most_common(1)[0][0]
        return [f"x{k}" for k in range(width)]
    names = records[0]
    widths = Counter(map(len, records[1:]))
    if widths and min(widths) > len(names):
        raise InputError(
            f"{path} cannot be read: its rows have {min(widths)} fields, its header has "
            f"{len(names)}; correct the header, or name another --sep"
        )
    names = [name or f"Unnamed: {k}" for k, name in enumerate(names)]
    return [name + COPY * names[:k].count(name) for k, name in enumerate(names)]


def _is_data(records):
    """Whether the first line has numbers where the others have them, too."""
    first, rest = records[0], records[1:50]
    numbers = [k for k, field in enumerate(first) if NUMBER.fullmatch(field)]
    return bool(numbers) and any(
        all(len(record) > k and NUMBER.fullmatch(record[k]) for record in rest) for k in numbers
    )
