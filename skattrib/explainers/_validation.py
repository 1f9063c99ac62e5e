"""Checks of what `fit` and the other methods are given, and scikit-learn's private names."""

from collections.abc import Callable
from inspect import signature
from numbers import Real
from typing import TypeVar

import numpy as np
import scipy.sparse as sp
from sklearn.base import _fit_context
from sklearn.utils import compute_class_weight, compute_sample_weight
from sklearn.utils._indexing import _get_column_indices as column_indices
from sklearn.utils._param_validation import HasMethods, Interval, Options, StrOptions
from sklearn.utils._set_output import _get_output_config as output_config
from sklearn.utils.metaestimators import _BaseComposition as BaseComposition
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, validate_data

from .._arrays.checks import (
    canonical_csr,
    check_features,
    check_plain,
    check_same_rows,
    codes_of,
    index_ids,
    plain_array,
)
from .._arrays.row_blocks import in_files, on_disk, survey

__all__ = [
    "BaseComposition",
    "HasMethods",
    "Interval",
    "Options",
    "StrOptions",
    "canonical",
    "check_regression_data",
    "check_rows",
    "check_training_data",
    "check_weights",
    "column_indices",
    "fit_context",
    "fit_context_of_parts",
    "output_config",
]

F = TypeVar("F", bound=Callable)

# decorates `fit`: parameters are checked against `_parameter_constraints`
fit_context: Callable[[F], F] = _fit_context(prefer_skip_nested_validation=True)
fit_context_of_parts: Callable[[F], F] = _fit_context(prefer_skip_nested_validation=False)


# scikit-learn looks for NaN in the sum of the rows, which huge values turn into inf - inf: its
# checks run without warnings
LAYOUT: dict = {"accept_sparse": "csr", "dtype": [np.float64, np.float32], "order": "C"}


def check_training_data(estimator, X, y, classes=None):
    """Validated (X, codes) with `classes_` set; rows C-ordered or canonical CSR, float32 or 64.

    The estimator remembers what the rows are called and their labels: small, for explanations.
    """
    X = _mapped(estimator, X)
    check_features(X, "X")
    check_plain(y, "y")
    check_same_rows(exactly=False, X=X, y=y)
    estimator._fit_ids = index_ids(X, y)
    if in_files(X):
        validate_data(estimator, X, skip_check_array=True)
        y = validate_data(estimator, y=y)
        if len(y) != X.shape[0]:
            raise ValueError(
                f"y has {len(y)} labels, but the files of X have {X.shape[0]} rows: give one label "
                "a row, in the order of the files"
            )
    else:
        with np.errstate(invalid="ignore", over="ignore"):
            X, y = validate_data(estimator, canonical(X), y, **LAYOUT)
    check_classification_targets(y)
    _check_size(estimator, X)
    if classes is not None:
        estimator.classes_, codes = classes, codes_of(y, classes, "label of y")
    else:
        estimator.classes_, codes = np.unique(y, return_inverse=True)
        if len(estimator.classes_) < 2:
            raise ValueError(
                f"{type(estimator).__name__} needs rows of at least 2 classes, but y contains only "
                f"one class: {estimator.classes_.tolist()[0]!r}"
            )
    estimator._fit_codes = codes.astype(np.min_scalar_type(len(estimator.classes_)))
    return X, codes


def check_regression_data(estimator, X, y):
    """Validated (X, targets in float64); rows as those of `check_training_data`."""
    X = _mapped(estimator, X)
    check_features(X, "X")
    check_same_rows(exactly=False, X=X, y=y)
    estimator._fit_ids = index_ids(X, y)
    y = None if y is None else plain_array(y, "y")
    options = {"multi_output": True, "y_numeric": True, **LAYOUT}
    with np.errstate(invalid="ignore", over="ignore"):
        X, y = validate_data(estimator, canonical(X), y, **options)
    _check_size(estimator, X)
    return X, y.astype(np.float64)


def check_weights(X, codes, classes, sample_weight, class_weight):
    """Sample weights times class weights of checked rows, in float64; no codes, no classes."""
    if not (sample_weight is None or isinstance(sample_weight, Real)):
        sample_weight = plain_array(sample_weight, "sample_weight", np.float64)
    weight = _check_sample_weight(sample_weight, X, dtype=np.float64)
    if class_weight == "balanced" and (weight > 0).any():
        weight = weight * _balanced(codes, weight)
    elif class_weight is not None:
        weight = weight * compute_sample_weight(class_weight, classes[codes])
    if not (np.isfinite(weight).all() and (weight >= 0).all() and weight.any()):
        what = "sample_weight" if codes is None else "sample_weight times class_weight"
        raise ValueError(
            f"{what} must be finite, negative nowhere and positive for some rows; it lies in "
            f"{weight.min()}..{weight.max()}"
        )
    return weight


def _balanced(codes, weight):
    """Class weights of the rows as the installed scikit-learn has them; it used to count rows."""
    used = weight > 0
    present = np.unique(codes[used])
    options = {"class_weight": "balanced", "classes": present, "y": codes[used]}
    if "sample_weight" in signature(compute_class_weight).parameters:
        options["sample_weight"] = weight[used]
    factors = np.zeros(codes.max() + 1)
    factors[present] = compute_class_weight(**options)
    return factors[codes]


def check_rows(estimator, X):
    """Rows of the width and names that the estimator knows, C-ordered or canonical CSR."""
    X = _mapped(estimator, X)
    check_features(X, "X")
    if in_files(X):
        validate_data(estimator, X, reset=False, skip_check_array=True)
    else:
        with np.errstate(invalid="ignore", over="ignore"):
            X = validate_data(estimator, canonical(X), reset=False, **LAYOUT)
    _check_size(estimator, X)
    return X


def _mapped(estimator, X):
    """Memory maps as rows in files, where the estimator reads these; refused where it does not."""
    if getattr(estimator, "_reads_files", False):
        return on_disk(X)
    if in_files(X):
        raise TypeError(
            f"{type(estimator).__name__} needs all rows in memory: give rows[:] "
            f"({X.nbytes / 2**30:.2g} GB) in the place of rows in files, or use DualViewExplainer, "
            "RepresenterExplainer, InfluenceExplainer or SimilarityExplainer, which read blocks"
        )
    return X


def _check_size(estimator, X):
    """Refuses rows whose squares overflow: no attribution would be finite."""
    if in_files(X):
        largest = survey(X)
    else:
        values = X.data if sp.issparse(X) else X
        largest = max(values.max(initial=0), -values.min(initial=0))
    if largest > estimator._largest_norm(X.dtype) / np.sqrt(X.shape[1]):
        raise ValueError(
            f"features as large as {largest:.1e} are beyond what {type(estimator).__name__} can "
            f"square and sum in {X.dtype}: scale the features"
        )


def canonical(X, name="X"):
    """Sparse X as canonical CSR, on a copy if need be; anything else as it is."""
    return canonical_csr(X, name) if sp.issparse(X) else X
