"""Checks and blocks that the scores share."""

from numbers import Integral

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from sklearn.utils import assert_all_finite, check_array, gen_batches

from .._arrays import full
from .._arrays.checks import canonical_csr, check_plain, plain_array

Attributions = ArrayLike | sparse.sparray | sparse.spmatrix

_BLOCK_SIZE = 2**18  # values of a dense matrix worked on at a time


def check_finite(values, name, ensure_all_finite=True):
    """Float array of any dimension or canonical CSR."""
    check_plain(values, name)
    if sparse.issparse(values):
        values = canonical_csr(values, name)
    else:
        values = plain_array(values, name)
        if values.dtype.kind not in "biuf":
            values = plain_array(values, name, np.float64)
    # scikit-learn looks for NaN in the sum first, which huge values turn into inf - inf.
    with np.errstate(invalid="ignore"):
        return check_array(
            values,
            accept_sparse="csr",
            dtype=[np.float64, np.float32],
            ensure_2d=False,
            allow_nd=True,
            ensure_all_finite=ensure_all_finite,
            ensure_min_samples=0,
            ensure_min_features=0,
            input_name=name,
        )


def check_attributions(attributions, name="attributions", excluded="keep"):
    """Attributions as a float array or canonical CSR.

    Entries of -inf are rows that the explainer excludes: kept where rows are ranked ("keep"), 0
    where they are summed ("zero"), an error where every row counts ("refuse").
    """
    T = check_finite(attributions, name, ensure_all_finite=False)
    if T.ndim != 2 or 0 in T.shape:
        raise ValueError(
            f"{name} has shape {T.shape}; expected (test rows, training rows), one or more of each."
        )
    values = T.data if sparse.issparse(T) else T
    lowest, highest = values.min(initial=0.0), values.max(initial=0.0)  # NaN where there is one
    if lowest == -np.inf and highest < np.inf and excluded != "refuse":
        return _without_excluded(T) if excluded == "zero" else T
    if not (np.isfinite(lowest) and np.isfinite(highest)):
        with np.errstate(invalid="ignore"):
            assert_all_finite(values, input_name=name)
    return T


def _without_excluded(T):
    T = T.copy()
    values = T.data if sparse.issparse(T) else T
    values[values == -np.inf] = 0
    return T


def check_has_candidates(peak, name="attributions"):
    """Refuse test rows whose largest attribution is -inf."""
    if peak.min() == -np.inf:
        raise ValueError(
            f"{name} excludes every training row (-inf) for some test rows; leave these out, "
            f"they are np.isneginf({name}).all(axis=1)."
        )


def row_blocks(T):
    """Yield test rows and their values: of a sparse T one row at a time, what it stores."""
    m, n = T.shape
    if sparse.issparse(T):
        for j in range(m):
            yield slice(j, j + 1), T.data[None, T.indptr[j] : T.indptr[j + 1]]
    else:
        for rows in gen_batches(m, max(1, _BLOCK_SIZE // n)):
            yield rows, T[rows]


def dense_blocks(T):
    """Yield test rows and their values with all zeros, as float arrays."""
    for rows in gen_batches(T.shape[0], max(1, _BLOCK_SIZE // T.shape[1])):
        yield rows, full(T[rows])


def n_rows(T, name="attributions"):
    """Number of test rows and the words that say where it comes from."""
    return T.shape[0], f"{name} has {T.shape[0]} rows (one per test row)"


def n_columns(T, name="attributions"):
    """Number of training rows and the words that say where it comes from."""
    return T.shape[1], f"{name} has {T.shape[1]} columns (one per training row)"


def check_entries(values, name, length, because):
    """1-D array of a given length."""
    values = plain_array(values, name)
    if values.shape != (length,):
        found = f"{len(values)} entries" if values.ndim == 1 else f"shape {values.shape}"
        raise ValueError(f"{name} has {found} but {because}; expected shape ({length},).")
    return values


def check_mask(mask, name, length, because):
    """1-D boolean array of a given length, from booleans or 0 and 1."""
    return as_booleans(check_entries(mask, name, length, because), name)


def as_booleans(mask, name):
    """Booleans from an array of booleans or of 0 and 1."""
    is_true = mask == 1
    if not np.all(is_true | (mask == 0)):
        raise ValueError(f"{name} has values other than True and False (or 1 and 0).")
    return is_true.astype(bool)


def check_both(mask, name, kinds):
    """Refuses a mask of one kind only."""
    if mask.all() or not mask.any():
        raise ValueError(
            f"{name} is {mask.any()} for all {len(mask)} training rows; "
            f"the score needs at least one {kinds} row."
        )


def check_k(k, n):
    """Number of top rows."""
    if not isinstance(k, Integral) or isinstance(k, bool) or not 1 <= k <= n:
        raise ValueError(f"k must be an integer in 1..{n}, the number of training rows; got {k!r}.")
    return int(k)
