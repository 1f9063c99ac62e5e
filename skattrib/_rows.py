"""Rows for explainers, the checks that all readers share, and NPZ and NPY matrices."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from sklearn.preprocessing import StandardScaler
from sklearn.utils import gen_batches

CSV = (".csv", ".csv.gz")
PARQUET = (".parquet", ".pq")
MATRICES = (".npz", ".npy")

_LARGEST = 1e150  # squares of larger values overflow in the standardization


class InputError(ValueError):
    """Bad input; the message is for the person who gave it."""


@dataclass
class Rows:
    """What a file holds, ready for an explainer.

    Attributes
    ----------
    X : float32 or float64 ndarray, or CSR, of shape (n, d)
    y : ndarray of shape (n,), or None
        Labels as in the file: numbers, booleans or strings.
    ids : ndarray of shape (n,)
        What to call the rows; their numbers unless the file has a column for it.
    id_name : str
        "row" for row numbers, else the column's name.
    table : frame of n rows, or None
        The columns as they were before they were encoded.
    sources : ndarray of shape (d,), or None
        Which of these columns each feature is made of.
    """

    X: np.ndarray | sparse.csr_array
    y: np.ndarray | None
    ids: np.ndarray
    id_name: str = "row"
    table: object = None
    sources: np.ndarray | None = None


def is_table(path: str) -> bool:
    """Whether the name is that of a table (True) or of matrices (False).

    Raises
    ------
    InputError
        If it is neither.
    """
    name = str(path).lower()
    if name.endswith(CSV + PARQUET):
        return True
    if name.endswith(MATRICES):
        return False
    expected = ", ".join(CSV + PARQUET + MATRICES)
    raise InputError(f"{path} has an unknown extension; expected one of {expected}")


def read_matrices(
    train_path: str,
    test_path: str,
    labels: str | None = None,
    test_labels: str | None = None,
    standardize: bool = False,
) -> tuple[Rows, Rows]:
    """Read two matrices with their labels; nothing pickled is ever loaded.

    Parameters
    ----------
    train_path, test_path : str
        NPZ files with arrays X and y (y optional in the second), NPZ files as
        ``scipy.sparse.save_npz`` writes them, or NPY files, which are memory-mapped.
    labels, test_labels : str, optional
        NPY files of labels, which replace y.
    standardize : bool, default=False
        Whether to give each column variance 1 over the training rows and, unless it is sparse,
        mean 0.

    Returns
    -------
    train, test : Rows

    Raises
    ------
    InputError
        If a file, a shape, a type or a value is not what it must be.
    """
    X_train, y_train = _read_matrix(train_path)
    X_test, y_test = _read_matrix(test_path)
    X_train = _as_float(X_train, train_path)
    X_test = _as_float(X_test, test_path, X_train.dtype)
    d = X_train.shape[1]
    if X_test.shape[1] != d:
        raise InputError(f"{test_path} has {X_test.shape[1]} columns but {train_path} has {d}")

    y_train = y_train if labels is None else _read_labels(labels)
    if y_train is None:
        raise InputError(f"{train_path} has no labels: give them as --labels FILE.npy")
    y_test = y_test if test_labels is None else _read_labels(test_labels)
    y_train = _as_labels(y_train, labels or f"y of {train_path}", X_train, train_path)
    check_labels(y_train, labels or f"y of {train_path}")
    if y_test is not None:
        y_test = _as_labels(y_test, test_labels or f"y of {test_path}", X_test, test_path)

    if standardize:
        for X, path in ((X_train, train_path), (X_test, test_path)):
            check_not_huge(X.data if sparse.issparse(X) else X, f"{path} has")
        scaler = StandardScaler(with_mean=not sparse.issparse(X_train))
        X_train = scaler.fit_transform(X_train)
        if sparse.issparse(X_test) != sparse.issparse(X_train):
            X_test = X_test.toarray() if sparse.issparse(X_test) else sparse.csr_array(X_test)
        X_test = scaler.transform(X_test)
    return numbered(X_train, y_train), numbered(X_test, y_test)


def _read_matrix(path):
    """Return X and y, or None in the place of y."""
    with reading(path):
        if str(path).lower().endswith(".npy"):
            return _load_npy(path), None
        with np.load(path, allow_pickle=False) as arrays:
            names = arrays.files
            if "X" in names:
                return arrays["X"], arrays["y"] if "y" in names else None
            if not {"format", "shape", "data"} <= set(names):
                raise InputError(f"{path} has no array named X; it has {listed(names)}")
        X = sparse.load_npz(path)
        if hasattr(X, "check_format"):
            X.check_format(full_check=True)  # indices out of range would be read as memory
        return X, None


def _read_labels(path):
    if not str(path).lower().endswith(".npy"):
        raise InputError(f"{path} has an unknown extension; expected labels in a .npy file")
    with reading(path):
        return np.array(_load_npy(path))


def _load_npy(path):
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    if not isinstance(array, np.ndarray):
        raise InputError(f"{path} is an archive of arrays; name it .npz")
    return array


def _as_float(X, path, dtype=None):
    """Return X as a float matrix in C order, the same object where it is one already."""
    if X.ndim != 2:
        raise InputError(f"{path} has shape {X.shape}; expected (rows, features)")
    if 0 in X.shape:
        raise InputError(f"{path} is empty: its shape is {X.shape}")
    if X.dtype.kind not in "fiub":
        raise InputError(f"{path} holds values of type {X.dtype}; features must be numbers")
    if dtype is None:
        small = X.dtype.itemsize <= 2 or X.dtype.newbyteorder("=") == np.float32
        dtype = np.float32 if small else np.float64
    with np.errstate(over="ignore"), reading(path):
        if sparse.issparse(X):
            X = sparse.csr_array(X.astype(dtype))  # first, because sums of small integers overflow
            X.sum_duplicates()
        else:
            X = X.astype(dtype, order="C", copy=False)
    values = X.data if sparse.issparse(X) else X
    size = max(1, 2**20 // values[0].size) if len(values) else 1
    n_bad = sum(
        np.count_nonzero(~np.isfinite(values[rows])) for rows in gen_batches(len(values), size)
    )
    if n_bad:
        raise InputError(
            f"{path} has {n_bad} values that are not finite in {X.dtype}; "
            "fill them in, or drop those rows"
        )
    return X


def _as_labels(y, where, X, path):
    if y.ndim == 2 and y.shape[1] == 1:
        y = y.ravel()
    n = X.shape[0]
    if y.shape != (n,):
        raise InputError(f"{where} has shape {y.shape} but {path} has {n} rows; expected ({n},)")
    if y.dtype.kind == "S":
        y = np.char.decode(y, "utf-8", "replace")
    if y.dtype.kind not in "biufU":
        raise InputError(f"{where} holds values of type {y.dtype}; expected numbers or strings")
    if y.dtype.kind == "f":
        y = y.astype(np.float64)
        n_missing = np.count_nonzero(~np.isfinite(y))
        if n_missing:
            raise InputError(
                f"{where} has {n_missing} missing values (not finite); "
                "fill them in, or drop those rows"
            )
    y = np.ascontiguousarray(y.astype(y.dtype.newbyteorder("="), copy=False))
    if y.dtype.kind == "U" and y.dtype.itemsize and y.view(np.uint32).max() > sys.maxunicode:
        raise InputError(f"{where} is damaged: it holds characters that do not exist")
    return y


def check_labels(y: np.ndarray, where: str) -> None:
    """Refuse targets that are not two or more classes.

    Raises
    ------
    InputError
        If `y` is continuous, has one class only, or is different in every row of many.
    """
    numbers = y
    if y.dtype.kind == "U":
        try:
            numbers = y.astype(float)
        except ValueError:
            numbers = np.zeros(0)
    fractional = np.isfinite(numbers) & (numbers % 1 != 0) if numbers.dtype.kind == "f" else []
    if np.any(fractional):
        raise InputError(
            f"{where} is continuous (such as {y[fractional][0]}); it must hold class labels: "
            "cut it into classes first"
        )
    n_classes = len(np.unique(y))
    if n_classes == 1:
        raise InputError(f"{where} has a single class, {str(y[0])!r}; two or more are needed")
    if n_classes == len(y) > 20:
        raise InputError(
            f"{where} is different in each of {len(y)} rows; it must hold class labels, not ids"
        )


def numbered(X: np.ndarray | sparse.csr_array, y: np.ndarray | None) -> Rows:
    """Return rows that go by their numbers."""
    return Rows(X, y, np.arange(X.shape[0]))


@contextmanager
def reading(path: str) -> Iterator[None]:
    """Turn whatever a reader raises into an InputError that names the file."""
    if not os.path.exists(path):
        raise InputError(f"{path}: no such file")
    if os.path.isdir(path):
        raise InputError(f"{path} is a directory; expected a file")
    if os.path.getsize(path) == 0:
        raise InputError(f"{path} is empty")
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # damaged files raise all sorts: BadZipFile, KeyError, EOFError
        message = " ".join(str(error).split())[:300]
        if "pickle" in message.lower() or "Python objects" in message:
            message = (
                "it holds pickled Python objects, which are never loaded, or is damaged; "
                "save numbers, or labels as fixed-width strings: y.astype(str)"
            )
        elif isinstance(error, UnicodeDecodeError):
            message = f"it is not UTF-8 text ({message}); save it as UTF-8"
        raise InputError(f"{path} cannot be read: {message or type(error).__name__}") from error


def check_not_huge(values: np.ndarray, where: str) -> None:
    """Refuse values that are infinite, missing or too large to be standardized."""
    n_bad = np.count_nonzero(~(np.abs(values) < _LARGEST))
    if n_bad:
        raise InputError(
            f"{where} {n_bad} values that are infinite or beyond {_LARGEST:g}; "
            "correct them, or drop those rows"
        )


def listed(names: Iterable[str], show: Callable[[str], str] = repr) -> str:
    """Return names for a message, twenty at most."""
    names = list(names)
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return ", ".join(show(name) for name in names[:20]) + more
