"""NPZ and NPY files read as matrices."""

import sys
from dataclasses import replace

import numpy as np
from scipy import sparse
from sklearn.preprocessing import StandardScaler

from .._arrays import batches
from .inputs import (
    Dataset,
    InputError,
    check_labels,
    check_not_huge,
    join_names,
    numbered,
    reading,
)

INTEGERS = {"shape", "indices", "indptr", "row", "col", "offsets"}  # of sparse matrices


def read_matrices(
    train_path: str,
    test_path: str,
    labels: str | None = None,
    test_labels: str | None = None,
    standardize: bool = False,
) -> tuple[Dataset, Dataset]:
    """Read two matrices with their labels; nothing pickled is ever loaded.

    Parameters
    ----------
    train_path, test_path : str
        NPZ files with arrays X and y (y optional in the second), NPZ files as
        ``scipy.sparse.save_npz`` writes them, or NPY files, which are memory-mapped. Training rows
        that are gradients may have an array `probabilities`, of each row's own label.
    labels, test_labels : str, optional
        NPY files of labels, which replace y.
    standardize : bool, default=False
        Whether to give each column variance 1 over the training rows and, unless it is sparse,
        mean 0.

    Returns
    -------
    train, test : Dataset

    Raises
    ------
    InputError
        If a file, a shape, a type or a value is not what it must be.
    """
    X_train, y_train = _read_matrix(train_path)
    X_test, y_test = _read_matrix(test_path)
    d = X_train.shape[1]
    if X_test.shape[1] != d:
        raise InputError(f"{test_path} has {X_test.shape[1]} columns but {train_path} has {d}")

    # before the matrices are converted: a damaged file may claim any number of rows
    y_train = y_train if labels is None else _read_labels(labels)
    if y_train is None:
        raise InputError(f"{train_path} has no labels: give them as --labels FILE.npy")
    y_test = y_test if test_labels is None else _read_labels(test_labels)
    y_train = _as_labels(y_train, labels or f"y of {train_path}", X_train, train_path)
    check_labels(y_train, labels or f"y of {train_path}")
    if y_test is not None:
        y_test = _as_labels(y_test, test_labels or f"y of {test_path}", X_test, test_path)
    X_train = _as_float(X_train, train_path)
    X_test = _as_float(X_test, test_path, X_train.dtype)

    if standardize:
        for X, path in ((X_train, train_path), (X_test, test_path)):
            check_not_huge(X.data if sparse.issparse(X) else X, f"{path} has")
        scaler = StandardScaler(with_mean=not sparse.issparse(X_train))
        X_train = scaler.fit_transform(X_train)
        if sparse.issparse(X_test) != sparse.issparse(X_train):
            X_test = X_test.toarray() if sparse.issparse(X_test) else sparse.csr_array(X_test)
        X_test = scaler.transform(X_test)
    train = numbered(X_train, y_train)
    return replace(train, probabilities=_read_probabilities(train_path)), numbered(X_test, y_test)


def _read_matrix(path):
    """Return X, a matrix of numbers with rows and columns, and y, or None in the place of y."""
    X, y = _load_matrix(path)
    if X.ndim != 2:
        raise InputError(f"{path} has shape {X.shape}; expected (rows, features)")
    if 0 in X.shape:
        raise InputError(f"{path} is empty: its shape is {X.shape}")
    if X.dtype.kind not in "fiub":
        raise InputError(f"{path} holds values of type {X.dtype}; features must be numbers")
    if sparse.issparse(X) and max(X.shape) > max(10**7, 1000 * X.nnz):
        raise InputError(
            f"{path} has {X.nnz} entries but claims the shape {X.shape}; it is damaged, or too "
            "sparse: drop empty rows and columns"
        )
    return X, y


def _read_probabilities(path):
    if not str(path).lower().endswith(".npz"):
        return None
    with reading(path), np.load(path, allow_pickle=False) as arrays:
        return arrays["probabilities"] if "probabilities" in arrays.files else None


def _load_matrix(path):
    with reading(path):
        if str(path).lower().endswith(".npy"):
            return _load_npy(path), None
        with np.load(path, allow_pickle=False) as arrays:
            names = arrays.files
            if "X" in names:
                return arrays["X"], arrays["y"] if "y" in names else None
            if not {"format", "shape", "data"} <= set(names):
                raise InputError(f"{path} has no array named X; it has {join_names(names)}")
            for name in INTEGERS.intersection(names):
                if arrays[name].dtype.kind not in "iu":  # would be cut to integers
                    raise InputError(f"{path} is damaged: it holds {name} that are no integers")
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
    size = 2**20 if sparse.issparse(X) else max(1, 2**20 // X.shape[1])
    n_bad = sum(np.count_nonzero(~np.isfinite(values[rows])) for rows in batches(len(values), size))
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
