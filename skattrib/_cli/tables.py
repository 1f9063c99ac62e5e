"""CSV and Parquet files read as tables, and encoded."""

import difflib
import warnings

import numpy as np
from sklearn.compose import make_column_transformer
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from .inputs import (
    PARQUET,
    Dataset,
    InputError,
    check_labels,
    check_not_huge,
    join_names,
    numbered,
    reading,
)

MISSING = " (texts such as NA, None and null count as missing)"


def read_tables(
    train_path: str, test_path: str, target: str, id_column: str | None = None
) -> tuple[Dataset, Dataset]:
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
    train, test : Dataset

    Raises
    ------
    InputError
        If a file, a column or a value is not what it must be.
    """
    _import_pandas()
    if id_column == target:
        raise InputError(f"--id and --target name the same column {target!r}")
    special = [name for name in (target, id_column) if name is not None]
    train, kinds = _read_train(train_path, special)
    test = _read_test(test_path, special, id_column, kinds, train_path)

    y_train = _labels(train, target, train_path)
    check_labels(y_train, f"target {target!r} of {train_path}")
    has_labels = target in test.columns and not test[target].isna().all()
    y_test = _labels(test, target, test_path) if has_labels else None
    X_train, X_test, sources = _encoded(train, test, kinds, train_path, test_path)
    datasets = numbered(X_train, y_train), numbered(X_test, y_test)
    columns = sorted(kinds, key=lambda name: kinds[name] != "numbers")  # as they are encoded
    for data, frame, path in zip(datasets, (train, test), (train_path, test_path), strict=True):
        data.table, data.sources = frame[columns], sources
        if id_column is not None:
            data.ids, data.id_name = _labels(frame, id_column, path), id_column
    return datasets


def _read_train(path, special):
    """Return a frame and the kind of each of its features."""
    frame = _read_table(path, special)
    for name in special:
        _check_has(frame, name, path)
    features = [name for name in frame.columns if name not in special]
    if not features:
        raise InputError(f"{path} has no columns to learn from besides {join_names(special)}")
    return frame, _checked_kinds(frame, features, path)


def _read_test(path, special, id_column, kinds, train_path):
    """Return a frame with features like those of the training table."""
    # Text stays text: a test file that happens to hold "012" only must not turn it into 12.
    frame = _read_table(path, special, [name for name, kind in kinds.items() if kind == "text"])
    if id_column is not None:
        _check_has(frame, id_column, path)
    absent = [name for name in kinds if name not in frame.columns]
    if absent:
        raise InputError(f"{path} lacks columns that {train_path} has: {join_names(absent)}")
    for name, kind in _checked_kinds(frame, list(kinds), path).items():
        if kind != kinds[name]:
            raise InputError(
                f"column {name!r} holds {kinds[name]} in {train_path} but {kind} in {path} "
                f"(such as {_example(frame[name])!r}); make them alike"
            )
    return frame


def _encoded(train, test, kinds, train_path, test_path):
    """Return both matrices, and which column each feature is made of, numeric columns first."""
    numeric = [name for name, kind in kinds.items() if kind == "numbers"]
    others = [name for name in kinds if name not in numeric]
    encoder = make_column_transformer(
        (StandardScaler(), numeric), (OneHotEncoder(handle_unknown="ignore"), others)
    )
    X_train = encoder.fit_transform(_features(train, kinds, train_path))
    X_test = encoder.transform(_features(test, kinds, test_path))
    widths = [1] * len(numeric)
    if others:
        widths += [len(found) for found in encoder.named_transformers_["onehotencoder"].categories_]
    return X_train, X_test, np.repeat(np.arange(len(kinds)), widths)


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
        raise InputError(f"{path} has several columns named {join_names(repeated)}")
    nameless = [c for c in frame.columns if c.startswith("Unnamed: ") and c not in special]
    if nameless:
        warnings.warn(f"{path}: left out {join_names(nameless)}, without a name", stacklevel=2)
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
        raise InputError(f"{path} has no column {name!r}{hint}; it has {join_names(frame.columns)}")


def _checked_kinds(frame, names, path):
    """Kind of each column, numbers, true/false or text, and no value missing."""
    missing = frame[names].isna().sum()
    missing = [f"{name!r} ({count})" for name, count in missing.items() if count]
    if missing:
        raise InputError(
            f"{path} has missing values in {join_names(missing, str)}; "
            f"fill them in, or drop those rows or columns{MISSING}"
        )
    kinds = {name: _kind(frame[name]) for name in names}
    dates = [name for name, kind in kinds.items() if kind == "dates"]
    if dates:
        raise InputError(
            f"{path} has dates in {join_names(dates)}; turn them into numbers, or drop"
        )
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


def _features(frame, kinds, path):
    """Return the columns as float64 or as text, so that both files meet the encoder alike."""
    frame = frame[list(kinds)].copy()
    for name, kind in kinds.items():
        if kind == "numbers":
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
            f"fill them in, or drop those rows{MISSING}"
        )
    kind = _kind(column)
    if kind == "true/false":
        return column.to_numpy(dtype=bool)
    if kind == "numbers":
        values = column.to_numpy()
        return values if values.dtype.kind in "iuf" else column.to_numpy(dtype=np.float64)
    return column.astype(str).to_numpy(dtype=np.str_)
