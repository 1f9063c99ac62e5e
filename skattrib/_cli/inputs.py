"""What a file holds for an explainer, and the checks that all readers share."""

import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from scipy import sparse

TEXT = (".csv", ".tsv", ".tab", ".txt", ".data", ".test", ".dat")
PACKED = (".gz", ".bz2", ".xz", ".zip")
PARQUET = (".parquet", ".pq")
MATRICES = (".npz", ".npy")
MANY_NUMBERS = 20  # of a target of numbers; more are no classes if each has few rows
NOTED_NUMBERS = 50
HUGE = 1e150  # squares of larger values overflow in the standardization


class InputError(ValueError):
    """Bad input; the message is for the person who gave it."""


@dataclass
class Dataset:
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
    probabilities : ndarray of shape (n,) or (n, n_models), or None
        Of each row's own label, where the file has them beside gradients.
    columns : list of str
        What is to be said of the columns: how they were encoded, or what is new in them.
    """

    X: np.ndarray | sparse.csr_array
    y: np.ndarray | None
    ids: np.ndarray
    id_name: str = "row"
    table: object = None
    sources: np.ndarray | None = None
    probabilities: np.ndarray | None = None
    columns: list[str] = field(default_factory=list)


def is_table(path: str) -> bool:
    """Whether the name is that of a table (True) or of matrices (False).

    Raises
    ------
    InputError
        If it is neither.
    """
    name = str(path).lower()
    for packed in PACKED:
        name = name.removesuffix(packed)
    if name.endswith(TEXT) or str(path).lower().endswith(PARQUET):
        return True
    if str(path).lower().endswith(MATRICES):
        return False
    expected = ", ".join(TEXT + PARQUET + MATRICES)
    raise InputError(
        f"{path} has an unknown extension; expected one of {expected}, text also packed as "
        f"{join_names(PACKED, str)}"
    )


def check_labels(y: np.ndarray, where: str, force: bool = False) -> None:
    """Refuse targets that are not two or more classes.

    Parameters
    ----------
    y : ndarray
    where : str
        What they are, for messages.
    force : bool
        Whether to take numbers for classes that look like measurements.

    Raises
    ------
    InputError
        If `y` has one class only, is continuous, has many different numbers, or is different in
        every row of many.
    """
    numbers = y
    if y.dtype.kind == "U":
        try:
            numbers = y.astype(float)
        except ValueError:
            numbers = np.zeros(0)
    remedy = "cut it into classes first, or take each number for a class with --force"
    fractional = np.isfinite(numbers) & (numbers % 1 != 0) if numbers.dtype.kind == "f" else []
    if np.any(fractional) and not force:
        raise InputError(
            f"{where} is continuous (such as {y[fractional][0]}); it must hold class labels: "
            f"{remedy}"
        )
    n_classes = len(np.unique(y))
    if n_classes == 1:
        raise InputError(f"{where} has a single class, {str(y[0])!r}; two or more are needed")
    if n_classes == len(y) > 20:
        raise InputError(
            f"{where} is different in each of {len(y)} rows; it must hold class labels, not ids"
        )
    is_number = numbers.dtype.kind in "iuf" and len(numbers) == len(y)
    if is_number and not force and n_classes > max(MANY_NUMBERS, len(y) / 10):
        raise InputError(
            f"{where} has {n_classes} different numbers in {len(y)} rows, as a measurement has; "
            f"it must hold class labels: {remedy}"
        )
    if is_number and n_classes > NOTED_NUMBERS:
        warnings.warn(
            f"{where} has {n_classes} different numbers, each of which is taken for a class",
            stacklevel=2,
        )


def numbered(X: np.ndarray | sparse.csr_array, y: np.ndarray | None) -> Dataset:
    """Return rows that go by their numbers."""
    return Dataset(X, y, np.arange(X.shape[0]))


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
            message = f"it is not text of that --encoding ({message}); save it as UTF-8"
        raise InputError(f"{path} cannot be read: {message or type(error).__name__}") from error


def check_not_huge(values: np.ndarray, where: str) -> None:
    """Refuse values that are infinite, missing or too large to be standardized."""
    n_bad = np.count_nonzero(~(np.abs(values) < HUGE))
    if n_bad:
        raise InputError(
            f"{where} {n_bad} values that are infinite or beyond {HUGE:g}; "
            "correct them, or drop those rows"
        )


def join_names(names: Iterable[str], show: Callable[[str], str] = repr) -> str:
    """Return names for a message, twenty at most."""
    names = list(names)
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return ", ".join(show(name) for name in names[:20]) + more
