"""Kinds of columns: how the values of each are read as numbers or as texts."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ._numbers import NULLS, NumberFormat, find_format

HUGE = 1e150  # squares of larger values overflow in the standardization
PLAIN = NumberFormat(".", "", NULLS)


@dataclass
class Kind:
    """What a column holds.

    Attributes
    ----------
    name : str
        Of the column.
    what : str
        The kind in words.
    """

    name: str
    what: str


@dataclass
class Numbers(Kind):
    """Numbers, or what is turned into numbers one by one: durations, times of day."""

    what: str = "number"
    form: NumberFormat = PLAIN

    def names(self) -> list[str]:
        """Return names of the features."""
        return [self.name]

    def read(self, column: Any) -> np.ndarray:
        """Return numbers of shape (n, 1), NaN where missing."""
        kind = column.dtype.kind
        if kind in "iufb":
            values = column.to_numpy(dtype=np.float64, na_value=np.nan)
        elif kind == "m":
            values = column.dt.total_seconds().to_numpy(dtype=np.float64, na_value=np.nan)
        elif kind == "M":
            raise ValueError(f"column {self.name!r} held numbers in the training rows, here dates")
        else:
            codes, found = factorized(column)
            numbers, bad = self.form.parse(found)
            if bad:
                n_bad = np.isin(codes, [found.index(text) for text in bad]).sum()
                raise ValueError(
                    f"column {self.name!r} held {self.what}s in the training rows, here "
                    f"text such as {bad[0]!r} (rows: {n_bad}); "
                    "correct or empty them, or drop the column"
                )
            values = np.append(numbers, np.nan)[codes]
        n_bad = np.count_nonzero(np.abs(values) > HUGE)
        if n_bad:
            raise ValueError(
                f"column {self.name!r} has {n_bad} values that are infinite or beyond {HUGE:g}; "
                "correct or empty them, or drop the column"
            )
        return values[:, np.newaxis]


@dataclass
class Lists(Kind):
    """Lists of equally many numbers."""

    what: str = "list"
    length: int = 0

    def names(self) -> list[str]:
        """Return names of the features."""
        return [f"{self.name}_{k}" for k in range(self.length)]

    def read(self, column: Any) -> np.ndarray:
        """Return numbers of shape (n, length), NaN where missing."""
        rows = as_lists(column)
        if rows is None or rows.shape[1] != self.length:
            raise ValueError(f"column {self.name!r} must hold lists of {self.length} numbers")
        if (np.abs(rows) > HUGE).any():
            raise ValueError(f"column {self.name!r} has values that are infinite or too large")
        return rows


@dataclass
class Dates(Kind):
    """Dates and times, encoded by skrub."""

    what: str = "date"
    parser: Any = None
    encoder: Any = None
    in_utc: bool = False

    def names(self) -> list[str]:
        """Return names of the features."""
        return [*map(str, self.encoder.all_outputs_), f"{self.name}_total_seconds"]

    def read(self, column: Any) -> np.ndarray:
        """Return years, months, days, ... of shape (n, width), NaN where missing."""
        column = self.cleaned(column)
        missing = column.isna()
        try:
            dates = in_utc(column) if self.in_utc else self.parser.transform(column)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"column {self.name!r} held dates in the training rows: {error}"
            ) from error
        lost = dates.isna() & ~missing
        if lost.any():
            raise ValueError(
                f"column {self.name!r} held dates in the training rows, here "
                f"{column[lost].iloc[0]!r} (rows: {lost.sum()}); "
                "write them alike, or drop the column"
            )
        parts = self.encoder.transform(dates).to_numpy(dtype=np.float64)
        return np.column_stack([parts, _seconds(dates)])

    def cleaned(self, column: Any) -> Any:
        """Return the column without texts that stand for a missing value."""
        if hasattr(column.dtype, "freq"):  # periods
            return column.dt.to_timestamp()
        if column.dtype.kind != "O":
            return column
        return column.mask(column.astype(str).str.strip().isin(NULLS)).rename(self.name)


@dataclass
class Texts(Kind):
    """Texts that are categories or not; `nulls` count as missing."""

    what: str = "category"
    nulls: frozenset[str] = field(default_factory=frozenset)

    def read(self, column: Any) -> np.ndarray:
        """Return texts of shape (n,), None where missing."""
        codes, found = factorized(column)
        texts = [None if text in self.nulls or not text else text for text in found]
        return np.array([*texts, None], dtype=object)[codes]


def kind_of(column: Any, decimal: str | None, nulls: Sequence[str]) -> Kind:
    """Return the kind of a column of a frame.

    Parameters
    ----------
    column : Series
    decimal : {".", ","}, optional
    nulls : sequence of str
        Further spellings of a missing value.
    """
    name, kind = str(column.name), column.dtype.kind
    texts = Texts(name, nulls=frozenset(nulls))
    if kind == "b":
        texts.what = "true/false"
        return texts
    if kind in "iuf":
        return Numbers(name)
    if kind == "m":
        return Numbers(name, "duration")
    if kind == "M" or hasattr(column.dtype, "freq"):
        return _dates(column, name) or texts
    if kind == "c":
        raise ValueError(f"column {name!r} has complex numbers; give their parts as columns")
    if hasattr(column, "cat"):
        return texts
    first = next(iter(column.dropna().head(1)), None)
    if isinstance(first, (list, tuple, np.ndarray)):
        rows = as_lists(column)
        if rows is not None:
            return Lists(name, f"list of {rows.shape[1]} numbers", rows.shape[1])
        return texts
    if isinstance(first, (bool, np.bool_)) and set(column.dropna()) <= {True, False}:
        texts.what = "true/false"
        return texts
    _, found = factorized(column)
    form = find_format(found, decimal, nulls)
    if form is not None:
        return Numbers(name, form=form)
    if _may_be_dates([text for text in found if text not in NULLS]):
        return _dates(column, name) or texts
    return texts


def _may_be_dates(texts):
    """Whether a few texts look like dates: importing skrub takes a second."""
    from pandas.tseries.api import guess_datetime_format

    def is_one(text):
        forms = (guess_datetime_format(text, dayfirst=first) for first in (False, True))
        return any(map(str.isdigit, text)) and any(forms)

    few = texts[:3]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of days before months
        return bool(few) and all(map(is_one, few))


def _dates(column, name):
    """Return the kind of a column of dates, or None if it is none."""
    from skrub import DatetimeEncoder, ToDatetime
    from skrub.core import RejectColumn

    kind = Dates(name, parser=ToDatetime())
    column = kind.cleaned(column)
    if column.isna().all():
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            dates = kind.parser.fit_transform(column)
        except RejectColumn:
            try:
                dates = in_utc(column)  # of several offsets
            except (TypeError, ValueError):
                return None
            kind.in_utc = True
    if getattr(kind.parser, "format_", None) is not None:
        kind.what = f"date ({kind.parser.format_})"
    # its seconds are float32: a minute of our days is less than their spacing
    kind.encoder = DatetimeEncoder(add_total_seconds=False, add_weekday=True).fit(dates)
    return kind


def in_utc(column: Any) -> Any:
    """Return dates with offsets of their own as dates of one time zone."""
    import pandas as pd

    return pd.to_datetime(column, format="ISO8601", utc=True)


def _seconds(dates):
    """Return the seconds since 1970."""
    import pandas as pd

    # in microseconds, for nanoseconds begin in 1677
    start = pd.Timestamp("1970-01-01", tz=dates.dt.tz).as_unit("us")
    return (dates - start).dt.total_seconds().to_numpy(dtype=np.float64)


def factorized(column: Any) -> tuple[np.ndarray, list[str]]:
    """Return codes and the distinct texts of a column; the code of a missing value is -1."""
    import pandas as pd

    kind = column.dtype.kind
    if kind == "O" and not hasattr(column, "cat"):
        try:
            codes, found = pd.factorize(column)
        except TypeError:  # lists and their like
            codes, found = pd.factorize(column.map(str, na_action="ignore"))
    else:
        codes, found = pd.factorize(column)
    texts = [as_text(value) for value in found]
    renumbered = {text: k for k, text in reversed(list(enumerate(texts)))}
    if len(renumbered) < len(texts):
        order = list(dict.fromkeys(texts))
        place = {text: k for k, text in enumerate(order)}
        codes = np.array([*(place[text] for text in texts), -1])[codes]
        texts = order
    return codes, texts


def as_text(value: object) -> str:
    """Return what a value is compared by: 1.0 and 1 are the same category."""
    if isinstance(value, (float, np.floating)) and value == np.floor(value) < 2**53:
        return str(int(value))
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace").strip()
    return str(value).strip()


def as_lists(column: Any) -> np.ndarray | None:
    """Return lists of equally many numbers as rows, NaN where missing, or None."""
    given = column.notna().to_numpy()
    try:
        rows = np.array([np.asarray(value, np.float64) for value in column[given]])
    except (TypeError, ValueError):
        return None
    if rows.ndim != 2 or rows.shape[1] == 0:
        return None
    whole = np.full((len(column), rows.shape[1]), np.nan)
    whole[given] = rows
    return whole
