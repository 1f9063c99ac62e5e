"""What was decided of each column of a table, in words."""

import shlex
from dataclasses import dataclass

LONGEST = 20  # columns named in one line


@dataclass
class ColumnDecision:
    """How a column became features.

    Attributes
    ----------
    name : str
    kind : str
        number, category, true/false, text, prose, date, duration, list of ... numbers, or why it
        was left out.
    n_missing : int
        Missing values in the training rows.
    encoding : str
        How it was encoded, in words; empty where a number was merely standardized.
    n_outputs : int
        Features made of it.
    remedy : str
        What may be done about it: "drop" or nothing.

    Examples
    --------
    >>> import pandas as pd
    >>> from skattrib import table_preprocessor
    >>> table = pd.DataFrame({"price": ["$3", "$1,200", "?", "$7"]})
    >>> decision = table_preprocessor().fit(table).decisions_[0]
    >>> decision.name, decision.kind, decision.n_missing, decision.n_outputs
    ('price', 'number', 1, 2)
    """

    name: str
    kind: str
    n_missing: int = 0
    encoding: str = ""
    n_outputs: int = 0
    remedy: str = ""

    def __str__(self) -> str:
        """Return a line such as ``age: number, 3 missing, median``."""
        parts = [self.kind]
        if self.n_missing:
            parts.append(f"{self.n_missing:,} missing")
        if self.encoding:
            parts.append(self.encoding)
        hint = f" (drop with --drop {shlex.quote(self.name)})" if self.remedy == "drop" else ""
        return f"{self.name}: {', '.join(parts)}{hint}"

    @property
    def is_plain(self) -> bool:
        """Whether nothing was done but to standardize numbers or to encode few categories."""
        return not self.n_missing and not self.remedy and self.n_outputs > 0 and self._usual

    @property
    def _usual(self):
        if self.kind == "number":
            return not self.encoding
        return self.kind in ("category", "true/false")


def summary(decisions: list[ColumnDecision]) -> list[str]:
    """Return lines that say all there is to say, plain columns of a kind in one."""
    plain: dict[str, list[ColumnDecision]] = {}
    for decision in decisions:
        if decision.is_plain:
            kind = "number" if decision.kind == "number" else "category"
            plain.setdefault(kind, []).append(decision)
    lines = []
    for kind, some in plain.items():
        names = [decision.name for decision in some[:LONGEST]]
        more = f" and {len(some) - LONGEST} more" if len(some) > LONGEST else ""
        if kind == "number":
            what, how = counted(len(some), "number"), "standardized"
        else:
            what = counted(len(some), "category")
            how = f"one-hot in {sum(decision.n_outputs for decision in some)} columns"
        lines.append(f"{what}, {how}: {', '.join(names)}{more}")
    return lines + [str(decision) for decision in decisions if not decision.is_plain]


def counted(n: int, noun: str) -> str:
    """Return a number and its noun, such as ``1 column`` and ``2 categories``."""
    if n != 1:
        noun = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{n:,} {noun}"
