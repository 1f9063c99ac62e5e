"""Checks that several floors share: sparse matrices, estimators, counts, labels, groups."""

import reprlib
from collections.abc import Iterable
from numbers import Integral

import numpy as np
import scipy.sparse as sp
from sklearn.base import is_classifier

from ._csr import check_pointers


def canonical_csr(X, name):
    """Sparse X as a CSR array with sorted, distinct columns: X itself if it is that, else a copy.

    A CSR matrix, whose * and ** are others, becomes an array of the same data. The one place where
    indices and pointers are checked before compiled code follows them.
    """
    if X.format in ("csc", "bsr", "coo"):
        _check_indices(X, name)
    csr = X.tocsr()
    if isinstance(csr, sp.spmatrix):
        csr = sp.csr_array(csr)
    if not _check_indices(csr, name) and csr.ndim == 2:
        # a copy forgets what was noted of the columns before they were changed
        csr = csr.copy()
        csr.prune()
        csr.sum_duplicates()
    return csr


def _check_indices(X, name):
    """Whether rows (of CSC: columns) have sorted, distinct indices; ValueError for broken ones."""
    try:
        if X.format == "coo":
            for indices, size in zip(X.coords, X.shape, strict=True):
                if len(indices) != len(X.data):
                    raise ValueError(f"{len(X.data)} values have {len(indices)} indices")
                if len(indices) and not 0 <= indices.min() <= indices.max() < size:
                    raise ValueError(f"an index is outside 0..{size - 1}")
            return True
        shape = X.shape[::-1] if X.format == "csc" else (1, *X.shape)[-2:]
        if X.format == "bsr":
            shape = np.floor_divide(X.shape, X.blocksize)
        indptr, indices = (
            a if a.dtype.char in "iql" and a.dtype.isnative else a.astype(np.int64)
            for a in (np.ascontiguousarray(X.indptr), np.ascontiguousarray(X.indices))
        )
        data_ndim = 3 if X.format == "bsr" else 1
        if (
            indptr.shape != (shape[0] + 1,)
            or indices.shape != X.data.shape[:1]
            or X.data.ndim != data_ndim
        ):
            raise ValueError(
                f"indptr, indices and data have shapes {indptr.shape}, {indices.shape} and "
                f"{X.data.shape}"
            )
        return check_pointers(indptr, indices, shape[1])
    except ValueError as reason:
        what = X.format.upper()
        raise ValueError(f"{name} is a broken {what} matrix: {reason}; build it anew") from None


def check_estimator(estimator):
    """The estimator, if it is one of scikit-learn's kind."""
    refuse_network(estimator)
    needed = "fit", "get_params", "__sklearn_tags__"
    known = not isinstance(estimator, type) and all(hasattr(estimator, name) for name in needed)
    known = known and (hasattr(estimator, "predict") or hasattr(estimator, "predict_proba"))
    try:
        # asks what is inside, too
        known = known and is_classifier(estimator) in (False, True)
    except AttributeError:
        known = False
    if not known:
        raise TypeError(
            "estimator must be an instance of a classifier (or, where one is taken, a regressor) "
            f"of scikit-learn's kind, derived from BaseEstimator; got {reprlib.repr(estimator)}"
        )
    return estimator


def is_network(estimator):
    """Whether it is a network of torch, which is not imported for that."""
    kinds = type(estimator).__mro__
    return any(f"{kind.__module__}.".startswith("torch.nn.") for kind in kinds)


def refuse_network(estimator):
    """Refuses networks of torch, and says what of them to give."""
    inner = getattr(estimator, "estimator", None)  # of a FrozenEstimator
    for one in estimator if isinstance(estimator, (list, tuple)) else (estimator, inner):
        if is_network(one):
            raise TypeError(
                f"{type(one).__name__} is a torch network, no estimator of scikit-learn's kind: "
                "give its last layer as LinearHead(W, b), fitted to its last-layer features, the "
                "inputs of that layer; skattrib.torch_adapters.last_layer(net, loader) has W, b "
                "and these"
            )


def check_count(value, name, most=1_000_000):
    """A positive integer, no larger than what anybody waits for."""
    if not isinstance(value, Integral) or isinstance(value, bool) or not 1 <= value <= most:
        raise ValueError(f"{name} must be a positive integer up to {most:,}; got {value!r}.")
    return int(value)


def check_workers(n_jobs, n_tasks):
    """`n_jobs` of joblib, but no more workers than tasks."""
    if n_jobs is None:
        return None
    if not isinstance(n_jobs, Integral) or isinstance(n_jobs, bool) or n_jobs == 0:
        raise ValueError(f"n_jobs must be None or an integer other than 0; got {n_jobs!r}.")
    return int(min(n_jobs, max(n_tasks, 1)))


def codes_of(labels, classes, what):
    """Positions of labels in sorted classes."""
    labels = plain_array(labels, what)
    try:
        codes = np.minimum(np.searchsorted(classes, labels), len(classes) - 1)
        unknown = np.atleast_1d(labels)[np.atleast_1d(classes[codes] != labels)].tolist()
    except TypeError:
        # labels that do not compare with the classes
        known = classes.tolist()
        unknown = [label for label in np.atleast_1d(labels).tolist() if label not in known]
    if unknown:
        raise ValueError(f"{what} {unknown[0]!r} is not one of the classes {classes.tolist()}")
    return codes


def check_groups(rows, n):
    """What is left out together, each time: arrays of distinct training rows, of n.

    The same group may come again: it is a column again.
    """
    groups = entries(rows, "rows", "training rows")
    if not groups:
        raise ValueError("rows is empty; name at least one training row to leave out")
    return [check_group(group, n) for group in groups]


def entries(values, name, of):
    """A list of what a list, array or other iterable holds, but of no text or sparse matrix."""
    try:
        if not isinstance(values, Iterable) or isinstance(values, (str, bytes)):
            raise TypeError
        # rows of a sparse matrix are no entries, and those of a broken one are not in memory
        if hasattr(values, "tocsr"):
            raise TypeError
        return list(values)
    except TypeError:
        raise ValueError(f"{name} must be a list of {of}, such as [{values!r}]") from None


def check_group(group, n, name="rows"):
    """One training row of n, or several distinct ones, as an array."""
    try:
        found = np.atleast_1d(np.asarray(group))
    except ValueError:  # lists of unequal lengths
        found = np.zeros(0)
    if (
        found.ndim != 1
        or not len(found)
        or found.dtype.kind not in "iu"
        or not 0 <= found.min() <= found.max() < n
    ):
        raise ValueError(
            f"{name} must be training rows 0..{n - 1}, or groups of one or more of them; got "
            f"{reprlib.repr(group)}"
        )
    if len(found) > 1:
        each, count = np.unique(found, return_counts=True)
        if count.max() > 1:
            raise ValueError(
                f"{name} must hold distinct training rows in each group, but one has row "
                f"{each[count.argmax()]} {count.max()} times: name it once"
            )
    return found.astype(np.intp)


def check_same_rows(*, exactly=True, **given):
    """Refuses frames and series whose indexes say that they mean other rows.

    Rows are taken by position. Not `exactly`: only where both have the same index in another order.
    """
    (first, *others) = [(name, one) for name, one in given.items() if hasattr(one, "iloc")] or [()]
    for name, one in others:
        a, b = first[1].index, one.index
        if a.equals(b) or not (exactly or (a.isin(b).all() and b.isin(a).all())):
            continue
        raise ValueError(
            f"the indexes of {first[0]} and {name} differ: rows are taken by position, so give "
            f"both in one order ({name}.loc[{first[0]}.index]), or without an index"
        )


def index_ids(*given):
    """(name, ids) of the first frame or series with an index other than 0, 1, ..., or None."""
    for one in given:
        if hasattr(one, "iloc"):
            ids = one.index.to_numpy()
            if ids.dtype.kind not in "iu" or not np.array_equal(ids, np.arange(len(ids))):
                return one.index.name, ids
    return None


def encode_labels(y_train, targets, names="y_train and targets"):
    """Integers that are equal where the labels are."""
    if y_train.dtype.kind != targets.dtype.kind:
        # numpy would turn numbers into strings; objects refuse to be compared instead.
        y_train, targets = y_train.astype(object), targets.astype(object)
    try:
        labels = np.concatenate([y_train, targets])
        codes = np.unique(labels, return_inverse=True)[1]
        has_nan = np.any(labels != labels)
    except TypeError:
        has_nan = True
    if has_nan:
        raise ValueError(
            f"{names} must hold labels of one kind, all numbers or all strings, "
            f"and none missing; got {y_train[:3]} and {targets[:3]}."
        )
    return codes[: len(y_train)], codes[len(y_train) :]


def check_plain(values, name):
    """Refuse tensors that NumPy cannot read, and what it would read without a part of it."""
    if getattr(values, "requires_grad", False) is True:
        raise ValueError(
            f"{name} is a tensor that requires grad: give {name}.detach().cpu().numpy(); of a "
            "network the last-layer features, that is the inputs of its last layer"
        )
    if isinstance(values, np.ma.MaskedArray):
        raise ValueError(f"{name} is a masked array: fill it, or leave out what is masked")
    if getattr(getattr(values, "dtype", None), "kind", None) == "c":
        raise ValueError(f"Complex data not supported: {name} would lose its imaginary part")


def check_here(remedy, **given):
    """Refuse dask collections, which are elsewhere; the remedy names them by {name}."""
    for name, values in given.items():
        if hasattr(values, "__dask_graph__"):
            what = f"{name} is a dask {type(values).__name__}"
            raise TypeError(f"{what}: {remedy.format(name=name)}")


def check_features(X, name):
    """Refuse what is no matrix of features, such as images."""
    check_plain(X, name)
    if getattr(X, "ndim", 2) > 2:
        raise ValueError(
            f"{name} has shape {tuple(X.shape)}; expected (rows, features). Of images or sequences "
            "give a network's last-layer features (the inputs of its last layer), or raw columns "
            f"as {name}.reshape(len({name}), -1)"
        )


def plain_array(values, name, dtype=None) -> np.ndarray:
    """The values as an array, or the ValueError that says why they are none."""
    check_plain(values, name)
    if hasattr(values, "tocsr"):
        raise ValueError(f"{name} must not be sparse: give {name}.toarray()")
    try:
        array = np.asarray(values)
        if dtype is not None and array.dtype.kind != "c":
            return array.astype(dtype, copy=False)
    except (TypeError, ValueError, OverflowError) as error:
        kind = "an array" if dtype is None else "numbers"
        raise ValueError(f"{name} must be {kind}: {error}") from None
    check_plain(array, name)
    return array
