"""Watches what SciPy's compiled code is given: a broken matrix has it read out of bounds."""

import importlib
from contextlib import contextmanager

import numpy as np
from scipy.sparse import _sparsetools

MODULES = ("_sparsetools", "_bsr", "_compressed", "_construct", "_coo", "_csc", "_csr")
WATCHED = ("csr_", "csc_", "bsr_", "coo_to", "expandptr")
# where the pointers stand among the arguments if they are not the first array
POINTERS = {"csr_row_index": 2, "csr_row_slice": 3, "csr_column_index1": 4}
# their second argument is not the width, or they do no more than compare neighbouring indices
WITHOUT_WIDTH = {
    *POINTERS,
    "csr_has_sorted_indices",
    "csr_has_canonical_format",
    "csr_sort_indices",
    "expandptr",
}
# follow what others made or have checked
FOLLOWERS = {"csr_column_index2", "csr_hstack", "csr_sample_values", "csr_sample_offsets"}


def flaw(name, arguments):
    """What is wrong with the (first) sparse matrix among the arguments, or None."""
    arrays = [k for k, a in enumerate(arguments) if isinstance(a, np.ndarray)]
    first = POINTERS.get(name, arrays[0])
    one, other = arguments[first : first + 2]
    if name.startswith("coo"):
        sizes = arguments[:2]
        if len(one) != len(other):
            return "coordinates of two lengths"
        pairs = zip((one, other), sizes, strict=True)
        return next(("an index out of range" for a, n in pairs if _outside(a, n)), None)
    if one[0] != 0 or (np.diff(one) < 0).any() or one[-1] > len(other):
        return "broken pointers"
    width = arguments[0 if name.startswith("csc") else 1]
    if "matmat" in name:  # as many as the other factor has rows
        width = len(arguments[first + (2 if name.endswith("maxnnz") else 3)]) - 1
    if name not in WITHOUT_WIDTH and _outside(other[: one[-1]], width):
        return "an index out of range"
    return None


def _outside(indices, size):
    return len(indices) > 0 and not 0 <= indices.min() <= indices.max() < size


def _guarded(name, function):
    def call(*arguments):
        found = flaw(name, arguments)
        if found:
            raise AssertionError(f"{name} of SciPy is given a matrix with {found}")
        return function(*arguments)

    return call


@contextmanager
def guarded():
    """Within, SciPy's compiled code raises AssertionError for a broken matrix."""
    modules = [importlib.import_module(f"scipy.sparse.{module}") for module in MODULES]
    replaced = []
    for name, function in vars(_sparsetools).items():
        if name.startswith(WATCHED) and name not in FOLLOWERS:
            replaced += [(m, name, function) for m in modules if vars(m).get(name) is function]
    for module, name, function in replaced:
        setattr(module, name, _guarded(name, function))
    try:
        yield
    finally:
        for module, name, function in replaced:
            setattr(module, name, function)
