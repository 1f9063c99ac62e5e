"""Numbers stored as text: missing values, units, currencies, thousands, the decimal comma."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# spellings of a missing value; among categories they are categories
NULLS = frozenset(
    ["", "?", "-", "--", ".", "..", "...", "*", "–", "—", "NA", "N/A", "n/a", "na", "n.a.", "#N/A"]
    + ["#NA", "<NA>", "NaN", "nan", "-nan", "NAN", "NULL", "null", "Null", "None", "none", "NONE"]
    + ["nil", "NIL", "missing", "Missing", "unknown", "Unknown", "#DIV/0!", "#VALUE!", "NaT"]
)
NUMBER = re.compile(
    r"""(?P<open>\()?\s*
    (?P<sign>[-+\u2212])?\s*
    (?P<before>[A-Z]{0,2}[$€£¥₹₩₽¢]|[A-Z]{3}(?=[\s\d]))?\s*
    (?P<sign2>[-+\u2212])?
    (?P<digits>\d[\d.,'\u2019\u00a0\u202f\ ]*|[.,]\d+)
    (?P<exponent>[eE][-+]?\d+)?\s*
    (?P<after>[^\d\s.,()'+-](?:[^\d,;()]|(?<=[A-Za-z])[23](?!\d))*)?
    (?P<close>\))?""",
    re.VERBOSE,
)
CLOCK = re.compile(r"(\d{1,3}):([0-5]\d)(?::([0-5]\d(?:\.\d+)?))?(?:\s?([AaPp])[Mm])?")
MANY = 12  # distinct texts of which a single one may be no number: it stands for a missing one


@dataclass(frozen=True)
class NumberFormat:
    """How numbers are written in a column.

    Attributes
    ----------
    decimal : str
    unit : str
        What stands before or after each number, such as ``$`` or ``cm``; empty if nothing does.
    nulls : frozenset of str
        What stands for a missing value.
    """

    decimal: str
    unit: str
    nulls: frozenset[str]

    def parse(self, texts: Sequence[str]) -> tuple[np.ndarray, list[str]]:
        """Return numbers, NaN where missing, and the texts that are neither."""
        values, bad = np.full(len(texts), np.nan), []
        for k, text in enumerate(texts):
            if text in self.nulls:
                continue
            parts = _parts(text)
            value = None if parts is None else _value(parts, self.decimal)
            # a zero needs no unit
            if value is None or not (parts.unit == self.unit or (value == 0 and not parts.unit)):
                bad.append(text)
            else:
                values[k] = value
        return values, bad


class ClockFormat(NumberFormat):
    """Times of day or durations such as ``12:30`` or ``12:30:05.5``, read as seconds."""

    def parse(self, texts: Sequence[str]) -> tuple[np.ndarray, list[str]]:
        """Return seconds, NaN where missing, and the texts that are neither."""
        values, bad = np.full(len(texts), np.nan), []
        for k, text in enumerate(texts):
            match = CLOCK.fullmatch(text)
            if match is not None:
                hours, minutes, seconds = (float(part or 0) for part in match.groups()[:3])
                if match[4]:  # a clock of twelve hours
                    hours = hours % 12 + 12 * (match[4] in "Pp")
                values[k] = 3600 * hours + 60 * minutes + seconds
            elif text not in self.nulls:
                bad.append(text)
        return values, bad


def find_format(
    texts: Sequence[str], decimal: str | None = None, nulls: Sequence[str] = ()
) -> NumberFormat | None:
    """Return how all of the texts are to be read as numbers, or None if they are none.

    Parameters
    ----------
    texts : sequence of str
        The distinct ones, without blanks around them.
    decimal : {".", ","}, optional
        Found out from the texts unless given.
    nulls : sequence of str
        More spellings of a missing value.
    """
    missing = NULLS.union(nulls)
    given = [text for text in texts if text not in missing]
    if given and all(map(CLOCK.fullmatch, given)):
        return ClockFormat(".", "seconds", missing)
    strange, found = set(), []
    for text in given:
        parts = _parts(text)
        if parts is None:
            strange.add(text)
            if len(strange) > 1 or len(given) < MANY:
                return None
        else:
            found.append(parts)
    if not found:
        return None
    units = {parts.unit for parts in found if parts.unit or parts.digits.strip("0.,")}
    if len(units) > 1:
        return None
    unit = units.pop() if units else ""
    for mark in [decimal] if decimal else _decimals(found):
        if all(_value(parts, mark) is not None for parts in found):
            return NumberFormat(mark, unit, missing | strange)
    return None


@dataclass(frozen=True)
class _Parts:
    sign: float
    digits: str
    exponent: str
    unit: str


def _parts(text):
    match = NUMBER.fullmatch(text)
    if match is None or bool(match["open"]) != bool(match["close"]):
        return None
    if match["before"] and match["after"]:
        return None
    negative = bool(match["open"]) + sum((match[s] or "+") != "+" for s in ("sign", "sign2"))
    if negative > 1:
        return None
    unit = (match["before"] or match["after"] or "").strip()
    digits = match["digits"].strip()
    return _Parts(-1.0 if negative else 1.0, digits, match["exponent"] or "", unit)


def _decimals(found):
    """Return the decimal separators that may be, the likeliest first."""
    both = [p.digits for p in found if "," in p.digits and "." in p.digits]
    if both:
        return [max(",.", key=both[0].rfind)]
    return [".", ","]  # commas are thousands unless they make no groups of three


def _value(parts, decimal):
    """Return the number, or None where digits are not grouped by three."""
    whole, mark, fraction = parts.digits.rpartition(decimal)
    if not mark:
        whole, fraction = fraction, ""
    thousands = "," if decimal == "." else "."
    groups = re.split(r"[,.'\u2019\u00a0\u202f ]", whole) if whole else ["0"]
    others = {c for c in whole if not c.isdigit()}
    if decimal in others or len(others) > 1 or (others & {",", "."}) - {thousands}:
        return None
    if len(groups) > 1 and not (
        1 <= len(groups[0]) <= 3
        and groups[0] != "0"
        and all(len(group) == 3 for group in groups[1:])
    ):
        return None
    if fraction and not fraction.isdigit():
        return None
    return parts.sign * float(f"{''.join(groups)}.{fraction or 0}{parts.exponent}")
