"""Tables: CSV and Parquet files read and encoded, explanations written and printed."""

import csv
import difflib
import json
import sys
import unicodedata
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import numpy as np
from sklearn.compose import make_column_transformer
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from .inputs import (
    PARQUET,
    InputError,
    Rows,
    check_labels,
    check_not_huge,
    listed,
    numbered,
    reading,
)

WIDEST = 24  # columns of the terminal for one label or id


def read_tables(
    train_path: str, test_path: str, target: str, id_column: str | None = None
) -> tuple[Rows, Rows]:
    """Read two tables; numeric columns are standardized, all others one-hot encoded.

    Parameters
    ----------
    train_path, test_path : str
        CSV or Parquet files. Further columns of the test table are ignored.
    target : str
        Column of the labels; the test table may lack it, or have it empty.
    id_column : str, optional
        Column of row ids, not a feature.

    Returns
    -------
    train, test : Rows

    Raises
    ------
    InputError
        If a file, a column or a value is not what it must be.
    """
    _import_pandas()
    if id_column == target:
        raise InputError(f"--id and --target name the same column {target!r}")
    special = [name for name in (target, id_column) if name is not None]
    train = _read_table(train_path, special)
    for name in special:
        _check_has(train, name, train_path)
    features = [name for name in train.columns if name not in special]
    if not features:
        raise InputError(f"{train_path} has no columns to learn from besides {listed(special)}")
    kinds = _checked_kinds(train, features, train_path)

    # Text stays text: a test file that happens to hold "012" only must not turn it into 12.
    text = [name for name in features if kinds[name] == "text"]
    test = _read_table(test_path, special, text)
    if id_column is not None:
        _check_has(test, id_column, test_path)
    absent = [name for name in features if name not in test.columns]
    if absent:
        raise InputError(f"{test_path} lacks columns that {train_path} has: {listed(absent)}")
    for name, kind in _checked_kinds(test, features, test_path).items():
        if kind != kinds[name]:
            raise InputError(
                f"column {name!r} holds {kinds[name]} in {train_path} but {kind} in {test_path} "
                f"(such as {_example(test[name])!r}); make them alike"
            )

    y_train = _labels(train, target, train_path)
    check_labels(y_train, f"target {target!r} of {train_path}")
    has_labels = target in test.columns and not test[target].isna().all()
    y_test = _labels(test, target, test_path) if has_labels else None

    numeric = [name for name in features if kinds[name] == "numbers"]
    train_features = _features(train, numeric, features, train_path)
    test_features = _features(test, numeric, features, test_path)
    others = [name for name in features if name not in numeric]
    encoder = make_column_transformer(
        (StandardScaler(), numeric), (OneHotEncoder(handle_unknown="ignore"), others)
    )
    X_train, X_test = encoder.fit_transform(train_features), encoder.transform(test_features)
    if id_column is None:
        rows = numbered(X_train, y_train), numbered(X_test, y_test)
    else:
        rows = (
            Rows(X_train, y_train, _labels(train, id_column, train_path), id_column),
            Rows(X_test, y_test, _labels(test, id_column, test_path), id_column),
        )
    widths = [1] * len(numeric)
    if others:
        widths += [len(kinds) for kinds in encoder.named_transformers_["onehotencoder"].categories_]
    for part, frame in zip(rows, (train, test), strict=True):
        part.table = frame[numeric + others]
        part.sources = np.repeat(np.arange(len(features)), widths)
    return rows


def _import_pandas():
    try:
        import pandas
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"CSV and Parquet files need pandas and pyarrow ({error}): "
            'install with pip install "skattrib[cli]"'
        ) from error
    return pandas


def _read_table(path, special, text=()):
    """Return a frame; of CSV, special columns as written and text columns as text."""
    pd = _import_pandas()
    with reading(path):
        if str(path).lower().endswith(PARQUET):
            frame = pd.read_parquet(path, engine="pyarrow")
            frame = frame.reset_index([name for name in frame.index.names if name in special])
        else:
            with warnings.catch_warnings():
                # More fields than names: pandas would cut them off and warn.
                warnings.simplefilter("error", pd.errors.ParserWarning)
                dtype = dict.fromkeys([*special, *text], str)
                frame = pd.read_csv(path, dtype=dtype, index_col=False, low_memory=False)
            for name in frame.columns.intersection(special):
                frame[name] = _natural(frame[name])
    frame.columns = [str(name) for name in frame.columns]
    if not frame.columns.is_unique:
        repeated = frame.columns[frame.columns.duplicated()].unique()
        raise InputError(f"{path} has several columns named {listed(repeated)}")
    nameless = [c for c in frame.columns if c.startswith("Unnamed: ") and c not in special]
    if nameless:
        warnings.warn(f"{path}: left out {listed(nameless)}, without a name", stacklevel=2)
        frame = frame.drop(columns=nameless)
    if len(frame) == 0:
        raise InputError(f"{path} is empty: it has no rows")
    return frame


def _natural(texts):
    """Integers, floats or booleans where these print as the very same texts, else the texts."""
    values = list(texts)
    if texts.isna().any():
        return texts
    if set(values) <= {"True", "False"}:
        return texts == "True"
    for number in (int, float):
        try:
            numbers = np.array([number(value) for value in values])
        except ValueError:
            continue
        exact = numbers.dtype.kind in "if" and np.isfinite(numbers).all()
        if exact and [str(value) for value in numbers.tolist()] == values:
            return numbers
    return texts


def _check_has(frame, name, path):
    if name not in frame.columns:
        close = difflib.get_close_matches(name, list(frame.columns), n=1, cutoff=0.5)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        raise InputError(f"{path} has no column {name!r}{hint}; it has {listed(frame.columns)}")


def _checked_kinds(frame, names, path):
    """Kind of each column, numbers, true/false or text, and no value missing."""
    missing = frame[names].isna().sum()
    missing = [f"{name!r} ({count})" for name, count in missing.items() if count]
    if missing:
        raise InputError(
            f"{path} has missing values in {listed(missing, str)}; "
            "fill them in, or drop those rows or columns"
        )
    kinds = {name: _kind(frame[name]) for name in names}
    dates = [name for name, kind in kinds.items() if kind == "dates"]
    if dates:
        raise InputError(f"{path} has dates in {listed(dates)}; turn them into numbers, or drop")
    return kinds


def _kind(column):
    pd = _import_pandas()
    types = pd.api.types
    if isinstance(column.dtype, pd.CategoricalDtype):
        return "text"
    inferred = types.infer_dtype(column) if types.is_object_dtype(column) else ""
    if types.is_bool_dtype(column) or inferred == "boolean":
        return "true/false"
    if types.is_datetime64_any_dtype(column) or types.is_timedelta64_dtype(column):
        return "dates"
    if inferred.startswith(("date", "time")):
        return "dates"
    if types.is_numeric_dtype(column) or inferred in ("decimal", "integer", "floating"):
        return "numbers"
    return "text"


def _example(column):
    """Return a value of a column of the wrong kind, one that is no number if there is one."""
    is_number = _import_pandas().to_numeric(column, errors="coerce").notna().to_numpy()
    return str(column.iloc[int(np.argmin(is_number))])


def _features(frame, numeric, features, path):
    """Return the columns as float64 or as text, so that both files meet the encoder alike."""
    frame = frame[features].copy()
    for name in features:
        if name in numeric:
            frame[name] = frame[name].astype(np.float64)
            check_not_huge(frame[name].to_numpy(), f"column {name!r} of {path} has")
        else:
            frame[name] = frame[name].astype(str).astype(object)
    return frame


def _labels(frame, name, path):
    column = frame[name]
    n_missing = int(column.isna().sum())
    if n_missing:
        raise InputError(
            f"column {name!r} of {path} has {n_missing} missing values; "
            "fill them in, or drop those rows"
        )
    kind = _kind(column)
    if kind == "true/false":
        return column.to_numpy(dtype=bool)
    if kind == "numbers":
        values = column.to_numpy()
        return values if values.dtype.kind in "iuf" else column.to_numpy(dtype=np.float64)
    return column.astype(str).to_numpy(dtype=np.str_)


def write(records: Iterable[dict], path: str) -> None:
    """Write records of explained rows as they come, in long CSV format or as a JSON list."""
    try:
        with open(path, "w", encoding="utf-8", errors="backslashreplace", newline="") as file:
            if path.lower().endswith(".json"):
                for number, record in enumerate(records):
                    file.write("[\n" if number == 0 else ",\n")
                    file.write(json.dumps(record, ensure_ascii=False))
                file.write("\n]\n")
                return
            head = ["test_id", "predicted", "target_class", "decision_value"]
            entry = ["train_id", "train_label", "value"]
            writer = csv.writer(file)
            writer.writerow([*head, "rank", "kind", *entry])
            for record in records:
                for kind in ("proponent", "opponent"):
                    for row in record[f"{kind}s"]:
                        start = [record[key] for key in head]
                        writer.writerow([*start, row["rank"], kind, *(row[key] for key in entry)])
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from error


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
