"""Columns of one kind encoded side by side."""

import warnings
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from ._kinds import Dates, Kind, Lists, Numbers, Texts
from ._numbers import NULLS
from .decisions import ColumnDecision, counted

INDICATED = 0.05  # share of missing numbers from which a feature says so, with missing="auto"
TERMS = 2**15
COUNTED = 20  # rows from which a column that counts them is pointed out


class NumberBlock:
    """Numbers, and what is read as such: missing ones imputed, then standardized."""

    def __init__(self, kinds: list[Any], missing: str):
        self.kinds = kinds
        self.missing = missing

    def fit_transform(self, frame: Any) -> tuple[np.ndarray, list[ColumnDecision]]:
        """Return features, and what was decided of each column."""
        values, absent = self._read(frame)
        share = absent.mean(axis=0)
        least = {"indicator": 1e-300, "auto": INDICATED}.get(self.missing, 2.0)
        self.indicated = np.flatnonzero((share >= least) & (share < 1))
        given = (column[~np.isnan(column)] for column in values.T)
        self.medians = np.array([np.median(some) if len(some) else 0.0 for some in given])
        self.scaler = StandardScaler()
        features = self._filled(values, absent)
        with np.errstate(over="ignore", invalid="ignore"):
            self.varying = np.ptp(features, axis=0) > 0
        names = [(name, kind.name) for kind in self.kinds for name in kind.names()]
        names += [(f"{self.kinds[k].name}_missing", self.kinds[k].name) for k in self.indicated]
        self.outputs = [pair for pair, varies in zip(names, self.varying, strict=True) if varies]
        widths = {kind.name: 0 for kind in self.kinds}
        for _, source in self.outputs:
            widths[source] += 1
        features = features[:, self.varying]
        if self.outputs:
            # the parts of a date, which say much the same, weigh as much as one number
            dates = {kind.name for kind in self.kinds if isinstance(kind, Dates)}
            parts = [widths[source] if source in dates else 1 for _, source in self.outputs]
            self.scaler.fit(features).scale_ *= np.sqrt(parts)
            features = self.scaler.transform(features)
        decisions = [
            self._decision(kind, values[:, start], absent[:, k], widths[kind.name], k)
            for k, (kind, start) in enumerate(zip(self.kinds, self._starts(), strict=True))
        ]
        if all(widths.values()):
            return features, decisions
        # what is left out need not be read again
        self.kinds = [kind for kind in self.kinds if widths[kind.name]]
        left_out = [decision for decision in decisions if not decision.n_outputs]
        features, decisions = self.fit_transform(frame)
        return features, decisions + left_out

    def transform(self, frame: Any) -> np.ndarray:
        """Return features."""
        features = self._filled(*self._read(frame))[:, self.varying]
        return self.scaler.transform(features) if self.outputs else features

    def _read(self, frame):
        """Return numbers, and which rows lack which column."""
        if not self.kinds:
            return np.zeros((len(frame), 0)), np.zeros((len(frame), 0), dtype=bool)
        parts = [kind.read(frame[kind.name]) for kind in self.kinds]
        absent = np.column_stack([np.isnan(part).any(axis=1) for part in parts])
        return np.hstack(parts), absent

    def _starts(self):
        widths = [len(kind.names()) for kind in self.kinds]
        return np.cumsum([0, *widths])[:-1]

    def _filled(self, values, absent):
        filled = np.where(np.isnan(values), self.medians, values)
        return np.hstack([filled, absent[:, self.indicated]])

    def _decision(self, kind, first, absent, width, k):
        n_missing = int(absent.sum())
        if width == 0:
            reason = "left out, all missing" if n_missing == len(absent) else "left out, constant"
            return ColumnDecision(kind.name, reason, n_missing % len(absent))
        notes = []
        remedy = ""
        if isinstance(kind, Numbers):
            if kind.form.unit:
                notes.append(f"in {kind.form.unit!r}")
            if kind.form.decimal == ",":
                notes.append("decimal comma")
            odd = sorted(kind.form.nulls - NULLS)
            if odd and n_missing:
                notes.append(f"{', '.join(map(repr, odd))} as missing")
            if not n_missing and len(first) >= COUNTED and np.all(np.diff(first) == 1):
                notes.append("counts the rows")
                remedy = "drop"
        if n_missing:
            indicated = k in self.indicated
            notes.append("median and an indicator" if indicated else "median")
        if isinstance(kind, (Dates, Lists)):
            notes.append(f"encoded in {counted(width, 'column')}")
        return ColumnDecision(kind.name, kind.what, n_missing, ", ".join(notes), width, remedy)


class CategoryBlock:
    """Categories, one-hot; a missing value is one of them."""

    def __init__(self, kinds: list[Texts]):
        self.kinds = kinds

    def fit_transform(self, frame: Any) -> tuple[sparse.csr_array, list[ColumnDecision]]:
        """Return features, and what was decided of each column."""
        values = self._read(frame)
        self.encoder = OneHotEncoder(handle_unknown="ignore")
        features = sparse.csr_array(self.encoder.fit_transform(values))
        self.outputs = [
            (f"{kind.name}_{'missing' if value is None else value}", kind.name)
            for kind, found in zip(self.kinds, self.encoder.categories_, strict=True)
            for value in found
        ]
        decisions = []
        for k, (kind, found) in enumerate(zip(self.kinds, self.encoder.categories_, strict=True)):
            n_missing = sum(value is None for value in values[:, k])
            encoding = f"one-hot in {counted(len(found), 'column')}" + (
                ", one of them for missing values" if n_missing else ""
            )
            decisions.append(ColumnDecision(kind.name, kind.what, n_missing, encoding, len(found)))
        return features, decisions

    def transform(self, frame: Any) -> sparse.csr_array:
        """Return features; values that fit has not seen have none."""
        return sparse.csr_array(self.encoder.transform(self._read(frame)))

    def unseen(self, frame: Any) -> list[tuple[str, np.ndarray]]:
        """Return of each column its name and the values that fit has not seen."""
        values = self._read(frame)
        return [
            (kind.name, column[[value not in known for value in column]])
            for kind, column, known in zip(
                self.kinds, values.T, map(set, self.encoder.categories_), strict=True
            )
        ]

    def _read(self, frame):
        return np.column_stack([kind.read(frame[kind.name]) for kind in self.kinds])


class TextBlock:
    """A column of many different texts: a few components of their n-grams, by skrub."""

    def __init__(self, kind: Texts, n_components: int, random_state: Any):
        self.kind = kind
        self.n_components = n_components
        self.random_state = random_state

    def fit_transform(self, frame: Any) -> tuple[np.ndarray, list[ColumnDecision]]:
        """Return features, and what was decided of the column."""
        from skrub import StringEncoder

        self.encoder = StringEncoder(self.n_components, random_state=self.random_state)
        texts = self._read(frame)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The matrix shape is")
            features = self.encoder.fit_transform(texts).to_numpy(dtype=np.float64)
        names = self.encoder.all_outputs_
        self.outputs = [(str(name), self.kind.name) for name in names]
        n_missing = int(texts.isna().sum())
        encoding = f"{texts.nunique():,} distinct of {len(texts):,}, encoded in "
        encoding += counted(len(names), "column")
        kind, width = self.kind, len(names)
        return features, [ColumnDecision(kind.name, "text", n_missing, encoding, width, "drop")]

    def transform(self, frame: Any) -> np.ndarray:
        """Return features."""
        return self.encoder.transform(self._read(frame)).to_numpy(dtype=np.float64)

    def _read(self, frame):
        import pandas as pd

        return pd.Series(self.kind.read(frame[self.kind.name]), dtype="str", name=self.kind.name)


class ProseBlock:
    """A column of sentences: TF-IDF of their words."""

    def __init__(self, kind: Texts):
        self.kind = kind

    def fit_transform(self, frame: Any) -> tuple[sparse.csr_array, list[ColumnDecision]]:
        """Return features, and what was decided of the column."""
        texts = self._read(frame)
        self.encoder = TfidfVectorizer(sublinear_tf=True, min_df=2, max_features=TERMS)
        try:
            features = sparse.csr_array(self.encoder.fit_transform(texts))
        except ValueError:  # no word comes twice
            self.encoder.min_df = 1
            features = sparse.csr_array(self.encoder.fit_transform(texts))
        name, terms = self.kind.name, self.encoder.get_feature_names_out()
        self.outputs = [(f"{name}_{term}", name) for term in terms]
        n_missing = sum(not text for text in texts)
        encoding = f"TF-IDF of {counted(len(terms), 'word')}"
        return features, [ColumnDecision(name, "prose", n_missing, encoding, len(terms), "drop")]

    def transform(self, frame: Any) -> sparse.csr_array:
        """Return features."""
        return sparse.csr_array(self.encoder.transform(self._read(frame)))

    def _read(self, frame):
        return ["" if text is None else text for text in self.kind.read(frame[self.kind.name])]


Block = NumberBlock | CategoryBlock | TextBlock | ProseBlock


def blocks_of(kinds: list[Kind], missing: str, n_components: int, random_state: Any) -> list[Block]:
    """Return the blocks of columns, neighbours of one kind in one."""
    blocks: list[Block] = []
    for kind in kinds:
        last = blocks[-1] if blocks else None
        if isinstance(kind, Texts) and kind.what == "prose":
            blocks.append(ProseBlock(kind))
        elif isinstance(kind, Texts) and kind.what == "text":
            blocks.append(TextBlock(kind, n_components, random_state))
        elif isinstance(kind, Texts):
            if isinstance(last, CategoryBlock):
                last.kinds.append(kind)
            else:
                blocks.append(CategoryBlock([kind]))
        elif isinstance(last, NumberBlock):
            last.kinds.append(kind)
        else:
            blocks.append(NumberBlock([kind], missing))
    return blocks
