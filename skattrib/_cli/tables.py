"""Text and Parquet files read as tables, and encoded."""

import difflib
import warnings
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np

from ..preprocessing import column_groups, table_preprocessor
from ..preprocessing.decisions import summary
from .delimited import COPY, read_text
from .inputs import PARQUET, Dataset, InputError, check_labels, join_names, numbered, reading
from .labels import alike, column_labels, natural
from .reading import Reading

PLAIN = Reading()
NAMELESS = "Unnamed: "  # pandas calls columns without a name so, and they are left out


@dataclass
class Table:
    """A table as it is in a file, its labels and ids apart.

    Attributes
    ----------
    path : str
    frame : DataFrame of pandas
        The features, not encoded.
    y : ndarray of shape (n,), or None
        The labels, where the table has any.
    ids : ndarray of shape (n,)
        What to call the rows; their numbers unless a column was named.
    id_name : str
        "row" for row numbers, else the column's name.
    decimal : str
        The decimal separator of numbers stored as text, where it is known.
    """

    path: str
    frame: object
    y: np.ndarray | None
    ids: np.ndarray
    id_name: str
    decimal: str | None


def read_table(
    path: str, target: str, id_column: str | None = None, options: Reading = PLAIN
) -> Table:
    """Read one table of training rows.

    Parameters
    ----------
    path : str
        Text or Parquet file.
    target : str
        Column of the labels.
    id_column : str, optional
        Column of row ids, not a feature.
    options : Reading, optional

    Returns
    -------
    Table

    Raises
    ------
    InputError
        If the file, a column or a label is not what it must be.
    """
    if id_column == target:
        raise InputError(f"--id and --target name the same column {target!r}")
    special = [name for name in (target, id_column) if name is not None]
    frame, layout = _read_frame(path, special, options)
    for name in special:
        _check_has(frame, name, path, layout)
    table = _split(frame, path, target, id_column, layout)
    table.frame = table.frame[_chosen(table.frame, options, path, special)]
    if table.y is not None:
        check_labels(table.y, f"target {target!r} of {path}", options.force)
        if table.y.dtype.kind == "f" and np.any(table.y % 1):
            table.y = table.y.astype(str)  # classifiers take fractions for measurements
    return table


def read_tables(
    train_path: str,
    test_path: str,
    target: str,
    id_column: str | None = None,
    options: Reading = PLAIN,
) -> tuple[Dataset, Dataset]:
    """Read two tables and encode their columns by `table_preprocessor`, fitted to the first.

    Parameters
    ----------
    train_path, test_path : str
        Text or Parquet files. Further columns of the test table are ignored.
    target : str
        Column of the labels; the test table may lack it, or have it empty.
    id_column : str, optional
        Column of row ids, not a feature.
    options : Reading, optional

    Returns
    -------
    train, test : Dataset
        The first with `columns`, what was decided of each.

    Raises
    ------
    InputError
        If a file, a column or a value is not what it must be.
    """
    train = read_table(train_path, target, id_column, options)
    test = _read_test(test_path, train, target, id_column, options)
    foreign = ""
    if train.y is not None and test.y is not None:
        test.y, foreign = alike(test.y, train.y)
    if foreign:
        warnings.warn(f"{test_path}: {foreign}", stacklevel=2)
    preprocessor = table_preprocessor(missing=options.missing, decimal=train.decimal)
    try:
        X_train = preprocessor.fit_transform(train.frame)
    except ValueError as error:
        raise InputError(f"{train_path}: {error}") from error
    try:
        X_test = preprocessor.transform(test.frame)
    except ValueError as error:
        raise InputError(f"{test_path}: {error}") from error
    _, sources = column_groups(preprocessor)
    datasets = numbered(X_train, train.y), numbered(X_test, test.y)
    for data, table in zip(datasets, (train, test), strict=True):
        data.table, data.sources = table.frame, sources
        data.ids, data.id_name = table.ids, table.id_name
    datasets[0].columns = summary(preprocessor.decisions_)
    datasets[1].columns = preprocessor.unseen(test.frame) + [foreign] * bool(foreign)
    return datasets


def _read_test(path, train, target, id_column, options):
    """Return a table with features like those of the training table."""
    special = [name for name in (target, id_column) if name is not None]
    # text stays text: a test file that happens to hold "012" only must not turn it into 12
    text = [name for name in train.frame if train.frame[name].dtype.kind not in "iufb"]
    frame, layout = _read_frame(path, special, options, text)
    if id_column is not None:
        _check_has(frame, id_column, path, layout)
    absent = [name for name in train.frame.columns if name not in frame.columns]
    if absent:
        raise InputError(
            f"{path} lacks columns that {train.path} has: {join_names(absent)}"
            f"{_header_hint(layout)}"
        )
    labelled = target in frame.columns and not frame[target].isna().all()
    table = _split(frame, path, target, id_column, layout, labelled)
    table.frame = table.frame[list(train.frame.columns)]
    return table


def _split(frame, path, target, id_column, layout, labelled=True):
    """Take labels and ids out of a frame."""
    y = column_labels(frame[target], target, path) if labelled else None
    ids, id_name = np.arange(len(frame)), "row"
    if id_column is not None:
        ids, id_name = column_labels(frame[id_column], id_column, path), id_column
    features = frame.drop(columns=[c for c in (target, id_column) if c in frame.columns])
    return Table(path, features, y, ids, id_name, layout and layout.decimal)


def _chosen(frame, options, path, special):
    """Return the features that --drop and --keep leave."""
    keep, drop = (_listed(frame, given, path, special) for given in (options.keep, options.drop))
    left = [name for name in frame.columns if name not in drop and (name in keep or not keep)]
    if not left:
        which = " that --drop and --keep leave" if keep or drop else ""
        raise InputError(
            f"{path} has no columns to learn from besides {join_names(special)}{which}"
        )
    return left


def _listed(frame, given, path, special):
    """Return the columns that an option names, one each time or with commas between."""
    names = []
    for text in given:
        parts = [text] if text in frame.columns else [part.strip() for part in text.split(",")]
        for name in parts:
            if name not in special and not name.startswith(NAMELESS):
                _check_has(frame, name, path)
        names += parts
    return names


def _import_pandas():
    # without importing them: skrub takes a second, and few tables need it
    absent = [name for name in ("pandas", "pyarrow", "skrub") if find_spec(name) is None]
    if absent:
        raise InputError(
            f"tables need {join_names(absent, str)}, which is not installed: "
            'install with pip install "skattrib[cli]"'
        )
    import pandas

    return pandas


def _read_frame(path, special, options, text=()):
    """Return a frame with special columns as labels, and the layout if it was a text file."""
    pd = _import_pandas()
    layout = None
    with reading(path):
        if str(path).lower().endswith(PARQUET):
            frame = pd.read_parquet(path, engine="pyarrow")
            frame = frame.reset_index([name for name in frame.index.names if name in special])
        else:
            frame, layout = read_text(path, pd, options, [*special, *text])
            for name in frame.columns.intersection(special):
                if not frame[name].isna().any():
                    frame[name] = natural(frame[name])
    frame.columns = [str(name).strip() for name in frame.columns]
    frame = _without_copies(frame, path, special, options)
    nameless = [c for c in frame.columns if c.startswith(NAMELESS) and c not in special]
    if nameless:
        warnings.warn(f"{path}: left out {join_names(nameless)}, without a name", stacklevel=2)
        frame = frame.drop(columns=nameless)
    if len(frame) == 0:
        raise InputError(f"{path} is empty: it has no rows{_header_hint(layout)}")
    return frame, layout


def _without_copies(frame, path, special, options):
    """Take one of the columns that are the same by name and values; refuse others of one name."""
    names = frame.columns.str.rstrip(COPY)
    dropped = {part.strip() for text in options.drop for part in [text, *text.split(",")]}
    for name in names[names.duplicated()].unique():
        copies = frame.loc[:, names == name]
        same = all(copies.iloc[:, k].equals(copies.iloc[:, 0]) for k in range(copies.shape[1]))
        if name in special or not (same or name in dropped):
            remedy = "" if name in special else ", or leave them out with --drop"
            raise InputError(
                f"{path} has several columns named {name!r}; rename all but one{remedy}"
            )
        warnings.warn(f"{path}: took one of {copies.shape[1]} columns named {name!r}", stacklevel=2)
    first = ~names.duplicated()
    return frame.loc[:, first].set_axis(names[first], axis=1)


def _check_has(frame, name, path, layout=None):
    if name not in frame.columns:
        close = difflib.get_close_matches(name, list(frame.columns), n=1, cutoff=0.5)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        raise InputError(
            f"{path} has no column {name!r}{hint}; it has {join_names(frame.columns)}"
            f"{_header_hint(layout)}"
        )


def _header_hint(layout):
    """Return what to do where the first line of a text file is no header."""
    if layout is None:
        return ""
    if layout.seems_headless:
        return "; its first line looks like data: --no-header names the columns x0, x1, ..."
    if len(layout.names) == 1:
        return "; if fields are separated otherwise, name the character with --sep"
    return ""
