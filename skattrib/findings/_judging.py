"""Labels judged without an explainer: by models of several kinds that have not seen them."""

import numpy as np
import scipy.sparse as sp
from sklearn.frozen import FrozenEstimator
from sklearn.utils import check_array, check_random_state

from .._arrays import batches
from .._arrays.checks import canonical_csr, check_features
from ..preprocessing import LeafFeatures, table_preprocessor
from ._noise import find_noise

LARGEST_DENSE = 20_000_000  # entries of an encoded table that forests get as a dense matrix
AT_ONCE = 256


def judge(X, y, *, seed, n_jobs, say):
    """Noise of the labels, their classes and codes, and the features of leaves for evidence.

    Models are fitted twice: the second time the labels that look wrong count for less.
    """
    from ._mixture import out_of_sample  # imports scikit-learn's models

    classes, codes = _codes(y)
    rows = _rows(X, len(y), say)
    rng = check_random_state(seed)
    weight, mixed = None, 0.0
    for number, words in enumerate(("all labels count alike", "doubtful labels count for less")):
        say(f"{words}:")
        seed = int(rng.randint(np.iinfo(np.int32).max))
        shares, forest = out_of_sample(
            rows, codes, len(classes), weight=weight, seed=seed, n_jobs=n_jobs, say=say
        )
        mixed = (mixed + 2 * shares) / 3 if number else shares
        noise = find_noise(mixed, codes)
        with np.errstate(over="ignore"):
            weight = 1 / (1 + np.exp(noise.score))
        say(f"{(noise.score > 0).sum()} of {len(codes)} labels look wrong")
    leaves = LeafFeatures(FrozenEstimator(forest)).fit(rows).transform(rows)
    return noise, classes, codes, leaves


def nearest_of_class(leaves, codes, believed, rows, suggested, k):
    """Rows labelled as suggested that share most leaves with each row, at most k, as arrays.

    Believed labels only, where the class has any.
    """
    found = [None] * len(rows)
    for code in np.unique(suggested):
        members = np.flatnonzero(codes == code)
        sure = members[believed[members]]
        members = sure if len(sure) else members
        chosen = np.flatnonzero(suggested == code)
        for batch in batches(len(chosen), AT_ONCE):
            common = (leaves[rows[chosen[batch]]] @ leaves[members].T).toarray()
            for i, values in zip(chosen[batch], common, strict=True):
                values[members == rows[i]] = -1  # where the given label is the suggested one
                order = np.argsort(-values, kind="stable")[:k]
                order = order[(values[order] > 0) | (np.arange(len(order)) == 0)]
                found[i] = members[order]
    return found


def _codes(y):
    try:
        classes, codes = np.unique(y, return_inverse=True)
        missing = bool(np.any(classes != classes))
    except TypeError:
        missing = True
    if missing:
        raise ValueError("y holds missing labels, or labels of several kinds: fill in or drop them")
    if y.dtype.kind == "f" and np.any(classes % 1 != 0):
        raise ValueError(f"y is continuous (such as {y[y % 1 != 0][0]}): it must hold class labels")
    if not 2 <= len(classes) <= len(y) / 2:
        raise ValueError(
            f"y has {len(classes)} classes in {len(y)} rows; two or more are needed, with two rows "
            "each on average: labels of one row have nothing to be compared with"
        )
    return classes, codes


def _rows(X, n, say):
    """Features of numbers, from arrays, CSR, or frames of any columns."""
    if hasattr(X, "columns") and not _is_numeric(X):
        preprocessor = table_preprocessor()
        rows = preprocessor.fit_transform(X)
        for decision in preprocessor.decisions_:
            say(str(decision))
        if sp.issparse(rows) and np.prod(rows.shape) <= LARGEST_DENSE:
            rows = rows.toarray()
        return rows
    check_features(X, "X")
    X = canonical_csr(X, "X") if sp.issparse(X) else X
    try:
        rows = check_array(X, accept_sparse="csr", dtype=[np.float64, np.float32], input_name="X")
    except ValueError as error:
        fits = "infinity" in str(error) or hasattr(X, "columns") or getattr(X, "ndim", 2) != 2
        remedy = "" if fits else "; columns of any kind are read from a DataFrame"
        raise ValueError(f"{error}{remedy}") from None
    rows = _of_usual_size(rows)
    if sp.issparse(rows) and rows.indices.dtype != np.int32:
        rows = sp.csr_array(
            (rows.data, rows.indices.astype(np.int32), rows.indptr.astype(np.int32)), rows.shape
        )
    return rows


def _of_usual_size(rows):
    """Columns that trees, which work in float32, can tell from infinity and from zero."""
    low, high = 1e-30, 1e30
    if sp.issparse(rows):
        if abs(rows.data).max(initial=0) > high:
            raise ValueError(f"X has values beyond {high:g}: scale the features")
        return rows
    largest = np.maximum(rows.max(axis=0), -rows.min(axis=0))
    odd = (largest > 0) & ((largest < low) | (largest > high))
    return rows / np.where(odd, largest, 1) if odd.any() else rows


def _is_numeric(frame):
    """Whether a frame of pandas holds numbers and nothing else."""
    kinds = [getattr(dtype, "kind", "O") for dtype in frame.dtypes]
    return set(kinds) <= set("iuf") and not np.isnan(frame.to_numpy(np.float64)).any()
