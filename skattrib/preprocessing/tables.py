"""Tables as people have them turned into features: the preprocessor of the command line."""

from collections import Counter
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
from scipy import sparse
from sklearn import get_config
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from ._blocks import CategoryBlock, NumberBlock, blocks_of
from ._kinds import Texts, kind_of
from ._numbers import NULLS
from .decisions import ColumnDecision

MISSING = ("auto", "median", "indicator", "refuse")
FEW = 10  # categories that need not be repeated
PROSE = 8  # words on average from which texts are prose
DENSE = 0.3  # share of entries from which rows are dense


def table_preprocessor(
    *,
    drop: Sequence[str] = (),
    keep: Sequence[str] = (),
    missing: str = "auto",
    null_strings: Sequence[str] = (),
    decimal: str | None = None,
    max_categories: int = 100,
    n_components: int = 30,
    sparse_output: bool | str = "auto",
    random_state: int | None = 0,
) -> "TablePreprocessor":
    """Return the transformer by which the command line reads tables, not yet fitted.

    It takes frames of pandas or polars as they are. Numbers are standardized, also if they are
    stored as text, with units, currencies, per cent signs, thousands separators, a decimal comma
    or texts such as ``?`` for missing ones; dates become year, month, ... and seconds; lists of
    equally many numbers so many numbers; categories are one-hot; columns of many different texts
    are encoded in `n_components` columns, prose as TF-IDF of its words. Constant columns are left
    out. What was decided of each column is in `decisions_`.

    Parameters
    ----------
    drop : sequence of str
        Columns to leave out.
    keep : sequence of str
        The only columns to take, if any are given.
    missing : {"auto", "median", "indicator", "refuse"}, default="auto"
        Missing numbers become the median; with "indicator" a feature says which were missing,
        with "auto" where 5 % or more are. A missing category is a category of its own.
    null_strings : sequence of str
        Texts that stand for a missing value, besides ``?``, ``-``, ``NA``, ``None`` and their like,
        which do so in columns of numbers and dates.
    decimal : {".", ","}, optional
        Decimal separator of numbers stored as text; found out from each column by default.
    max_categories : int, default=100
        Different texts at most that are categories; they must come twice on average, too.
    n_components : int, default=30
        Features of a column of many different texts.
    sparse_output : bool or "auto", default="auto"
        Whether to return CSR; by default where fewer than 30 % of the entries are not zero.
    random_state : int, RandomState or None, default=0
        Of the decomposition of texts.

    Returns
    -------
    TablePreprocessor
        A scikit-learn transformer; it needs skrub: ``pip install "skattrib[cli]"``.

    Examples
    --------
    >>> import pandas as pd
    >>> from skattrib import table_preprocessor
    >>> table = pd.DataFrame({"price": ["$3", "$1,200", "?", "$7"], "city": ["u", "v", "u", "v"]})
    >>> preprocessor = table_preprocessor().fit(table)
    >>> for decision in preprocessor.decisions_:
    ...     print(decision)
    price: number, 1 missing, in '$', median and an indicator
    city: category, one-hot in 2 columns
    """
    return TablePreprocessor(
        drop=drop,
        keep=keep,
        missing=missing,
        null_strings=null_strings,
        decimal=decimal,
        max_categories=max_categories,
        n_components=n_components,
        sparse_output=sparse_output,
        random_state=random_state,
    )


class TablePreprocessor(TransformerMixin, BaseEstimator):
    """Columns of any kind turned into features for a linear head; see `table_preprocessor`.

    Attributes
    ----------
    decisions_ : list of ColumnDecision
        What was decided of each column of the input.
    output_to_input_ : dict of str to str
        The column that each feature was made of.
    feature_names_in_ : ndarray of shape (n_features_in_,)
    n_features_in_ : int

    Examples
    --------
    >>> import pandas as pd
    >>> from skattrib import table_preprocessor
    >>> table = pd.DataFrame({"age": [3, 4, None, 9], "city": ["u", "v", "u", "v"]})
    >>> preprocessor = table_preprocessor().fit(table)
    >>> preprocessor.output_to_input_
    {'age': 'age', 'age_missing': 'age', 'city_u': 'city', 'city_v': 'city'}
    """

    def __init__(
        self,
        *,
        drop=(),
        keep=(),
        missing="auto",
        null_strings=(),
        decimal=None,
        max_categories=100,
        n_components=30,
        sparse_output="auto",
        random_state=0,
    ):
        self.drop = drop
        self.keep = keep
        self.missing = missing
        self.null_strings = null_strings
        self.decimal = decimal
        self.max_categories = max_categories
        self.n_components = n_components
        self.sparse_output = sparse_output
        self.random_state = random_state

    def fit(self, X, y=None):
        """Decide how each column is encoded.

        Parameters
        ----------
        X : DataFrame of pandas or polars, or array, of shape (n_samples, n_columns)
        y : ignored

        Returns
        -------
        self
        """
        self.fit_transform(X)
        return self

    def fit_transform(self, X, y=None):
        """Decide how each column is encoded, and encode it.

        Parameters
        ----------
        X : DataFrame of pandas or polars, or array, of shape (n_samples, n_columns)
        y : ignored

        Returns
        -------
        float64 ndarray or CSR of shape (n_samples, n_features)

        Raises
        ------
        ValueError
            If no column is left, values are infinite, or missing ones are to be refused.
        """
        self._check_parameters()
        frame = self._frame(X, reset=True)
        if len(frame) < 2:
            raise ValueError(f"a table of n_samples = {len(frame)} says nothing; give more rows")
        decided, kinds = {}, []
        for name in frame.columns:
            if name in self._left_out(frame):
                decided[name] = ColumnDecision(name, "left out, as asked")
                continue
            kind = kind_of(frame[name], self.decimal, self.null_strings)
            if isinstance(kind, Texts):
                reason = self._sort_texts(kind, frame[name])
                if reason:
                    decided[name] = ColumnDecision(name, reason)
                    continue
            kinds.append(kind)
        self._blocks = blocks_of(kinds, self.missing, self.n_components, self.random_state)
        parts = []
        for block in self._blocks:
            part, decisions = block.fit_transform(frame)
            parts.append(part)
            decided |= {decision.name: decision for decision in decisions}
        self.decisions_ = [decided[name] for name in frame.columns]
        self._refuse_missing(self.decisions_)
        self._name_outputs()
        if not self.output_to_input_:
            reasons = ", ".join(map(str, self.decisions_[:5]))
            raise ValueError(f"no column is left to learn from ({reasons})")
        if self.sparse_output == "auto":
            filled = sum(p.nnz if sparse.issparse(p) else p.size for p in parts)
            self._sparse = filled < DENSE * len(frame) * len(self.output_to_input_)
        else:
            self._sparse = bool(self.sparse_output)
        return self._joined(parts)

    def transform(self, X):
        """Encode the columns of a table like that of fit.

        Parameters
        ----------
        X : DataFrame of pandas or polars, or array, of shape (n_samples, n_columns)

        Returns
        -------
        float64 ndarray or CSR of shape (n_samples, n_features)

        Raises
        ------
        ValueError
            If columns differ from those of fit, or hold text in the place of numbers or dates.
        """
        check_is_fitted(self)
        frame = self._frame(X, reset=False)
        if self.missing == "refuse":
            self._refuse_missing(self._missing(frame))
        return self._joined([block.transform(frame) for block in self._blocks])

    def get_feature_names_out(self, input_features=None):
        """Return the names of the features.

        Parameters
        ----------
        input_features : ignored

        Returns
        -------
        ndarray of str
        """
        check_is_fitted(self)
        return np.array(list(self.output_to_input_), dtype=object)

    def unseen(self, X) -> list[str]:
        """Say which values of a table are new to the fit, and what becomes of them.

        Parameters
        ----------
        X : DataFrame of pandas or polars, or array, of shape (n_samples, n_columns)

        Returns
        -------
        list of str
            A line for each column with categories that fit has not seen, which have no features,
            or with missing numbers where fit saw none.
        """
        check_is_fitted(self)
        frame, lines = self._frame(X, reset=False), []
        for block in self._blocks:
            for name, values in block.unseen(frame) if isinstance(block, CategoryBlock) else []:
                if len(values):
                    example = next((repr(value) for value in values if value is not None), "none")
                    lines.append(
                        f"{name}: {len(values) / len(frame):.1%} of the rows have a category that "
                        f"the training rows lack, such as {example}"
                    )
        before = {decision.name: decision.n_missing for decision in self.decisions_}
        for decision in self._missing(frame):
            if decision.n_missing and not before[decision.name]:
                lines.append(f"{decision.name}: {decision.n_missing:,} missing, median")
        return lines

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.string = True
        tags.input_tags.categorical = True
        tags.transformer_tags.preserves_dtype = []
        return tags

    def _check_parameters(self):
        if self.missing not in MISSING:
            raise ValueError(f"missing must be one of {MISSING}, got {self.missing!r}")
        if self.decimal not in (None, ".", ","):
            raise ValueError(f"decimal must be '.', ',' or None, got {self.decimal!r}")
        for name in ("drop", "keep", "null_strings"):
            if isinstance(getattr(self, name), str):
                raise TypeError(f"{name} must be a sequence of texts, got {getattr(self, name)!r}")
        for name in ("max_categories", "n_components"):
            value = getattr(self, name)
            if not isinstance(value, (int, np.integer)) or value < 1:
                raise ValueError(f"{name} must be an integer of 1 or more, got {value!r}")
        if self.sparse_output not in (True, False, "auto"):
            raise ValueError(f"sparse_output must be a bool or 'auto', got {self.sparse_output!r}")

    def _frame(self, X, reset):
        """Return X as a frame of pandas with texts as names."""
        pd = _import_pandas()
        if not isinstance(X, pd.DataFrame) and not hasattr(X, "to_pandas"):
            X = validate_data(self, X, reset=reset, dtype=None, ensure_all_finite="allow-nan")
            names = [f"x{k}" for k in range(X.shape[1])]
            return pd.DataFrame(X, columns=names).infer_objects()
        names = [str(name) for name in X.columns]
        repeated = [name for name, count in Counter(names).items() if count > 1]
        if repeated:
            raise ValueError(f"several columns are named {repeated}; rename all but one")
        validate_data(self, X, reset=reset, skip_check_array=True)
        if 0 in X.shape:
            raise ValueError(f"the table is empty: its shape is {X.shape}")
        frame = X if isinstance(X, pd.DataFrame) else X.to_pandas()
        return frame.set_axis(names, axis=1)

    def _left_out(self, frame):
        for option in ("drop", "keep"):
            absent = sorted(set(map(str, getattr(self, option))) - set(frame.columns))
            if absent:
                raise ValueError(
                    f"{option} names columns that the table lacks: {absent}; it has "
                    f"{list(frame.columns[:20])}"
                )
        keep = set(map(str, self.keep)) or set(frame.columns)
        return (set(frame.columns) - keep) | set(map(str, self.drop))

    def _sort_texts(self, kind, column):
        """Tell categories from texts and prose; return why to leave the column out, if so."""
        values = kind.read(column)
        counts = Counter(values.tolist())
        n_distinct = len(counts) - (None in counts)
        if n_distinct == 0 or all(value is None or value in NULLS for value in counts):
            return "left out, all missing"
        if len(counts) == 1:
            return "left out, constant"
        if n_distinct > FEW and (n_distinct > self.max_categories or n_distinct > len(values) / 2):
            texts = [value for value in counts if value is not None]
            is_prose = np.mean([len(text.split()) for text in texts]) >= PROSE
            kind.what = "prose" if is_prose else "text"
        return ""

    def _missing(self, frame):
        """Return a decision for each column of numbers, with how many are missing."""
        return [
            ColumnDecision(kind.name, kind.what, int(np.isnan(values).any(axis=1).sum()))
            for block in self._blocks
            if isinstance(block, NumberBlock)
            for kind in block.kinds
            for values in [kind.read(frame[kind.name])]
        ]

    def _refuse_missing(self, decisions):
        found = [f"{d.name!r} ({d.n_missing})" for d in decisions if d.n_missing]
        if found and self.missing == "refuse":
            raise ValueError(
                f"missing values in {', '.join(found[:20])}; fill them in, drop those rows or "
                "columns, or have them imputed: missing='auto'"
            )

    def _name_outputs(self):
        """Give each feature a name of its own."""
        self.output_to_input_ = {}
        for block in self._blocks:
            for name, source in block.outputs:
                unique, k = name, 1
                while unique in self.output_to_input_:
                    k += 1
                    unique = f"{name}_{k}"
                self.output_to_input_[unique] = source

    def _joined(self, parts):
        if self._sparse and not self._wants_frame():
            return sparse.csr_array(sparse.hstack([sparse.csr_array(part) for part in parts]))
        parts = [part.toarray() if sparse.issparse(part) else part for part in parts]
        return parts[0] if len(parts) == 1 else np.hstack(parts)

    def _wants_frame(self):
        config = getattr(self, "_sklearn_output_config", {})
        return config.get("transform", get_config()["transform_output"]) != "default"


def _import_pandas() -> Any:
    absent = [name for name in ("pandas", "skrub") if find_spec(name) is None]
    if absent:
        raise ImportError(
            f"tables need {' and '.join(absent)}, which is not installed: "
            'install with pip install "skattrib[cli]"'
        )
    import pandas

    return pandas
