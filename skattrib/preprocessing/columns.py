"""Which column of a table each feature was made of, and shares of features summed by column."""

import copy
import re
from collections.abc import Sequence

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.utils.validation import check_is_fitted

MARK = re.compile("\ue000([0-9]+)\ue001")  # stands for an input in names of outputs
UNKNOWN = -1


def column_groups(
    transformer: BaseEstimator,
    feature_names_in: Sequence[str] | None = None,
    *,
    n_features_out: int | None = None,
) -> tuple[list[str], np.ndarray]:
    """Which column of its input each feature of a fitted transformer was made of.

    Parameters
    ----------
    transformer : fitted transformer
        `table_preprocessor`, skrub's TableVectorizer, ColumnTransformer, FeatureUnion, a Pipeline
        of transformers (``pipeline[:-1]``), or any other with `get_feature_names_out`.
    feature_names_in : sequence of str, optional
        Names of the columns; by default those seen in fit, or x0, x1, ...
    n_features_out : int, optional
        How many features there are; needed where the transformer does not tell.

    Returns
    -------
    names : list of str
        The columns of the input, then the own name of each feature that was made of several of
        them, or of nobody knows which.
    groups : int ndarray of shape (n_features_out,)
        Of each feature, the number of its name. Below the number of columns it is a column.

    Raises
    ------
    ValueError
        If the transformer is not fitted, names are of the wrong number, or features cannot be
        counted.

    Examples
    --------
    >>> from sklearn.compose import make_column_transformer
    >>> from sklearn.preprocessing import OneHotEncoder, StandardScaler
    >>> from skattrib.preprocessing import column_groups
    >>> X = [[1.0, 3], [2.0, 5], [4.0, 5]]
    >>> encoder = make_column_transformer((OneHotEncoder(), [1]), (StandardScaler(), [0])).fit(X)
    >>> names, groups = column_groups(encoder, ["height", "colour"])
    >>> [names[g] for g in groups]
    ['colour', 'colour', 'height']
    """
    if hasattr(transformer, "fit"):
        check_is_fitted(transformer)
    names = _input_names(transformer, feature_names_in)
    origins = _origins(transformer, len(names), n_features_out)
    if origins is None:
        raise ValueError(
            f"{type(transformer).__name__} does not tell how many features it makes: "
            "give n_features_out"
        )
    if n_features_out is not None and len(origins) != n_features_out:
        raise ValueError(
            f"{type(transformer).__name__} makes {len(origins)} features, n_features_out says "
            f"{n_features_out}"
        )
    groups = np.array(origins, dtype=np.intp)
    lost = np.flatnonzero(groups == UNKNOWN)
    if len(lost):
        own = _output_names(transformer)
        if own is None or len(own) != len(groups):
            own = [f"feature {f}" for f in range(len(groups))]
        groups[lost] = len(names) + np.arange(len(lost))
        names = [*names, *(str(own[f]) for f in lost)]
    return names, groups


def sum_shares(
    shares: np.ndarray | sparse.csr_array, groups: np.ndarray, n_columns: int
) -> np.ndarray | sparse.csr_array:
    """Sum what `decompose` returns over the features of each column.

    Parameters
    ----------
    shares : ndarray of shape (n_samples, k, n_features), or CSR of (n_samples * k, n_features)
    groups : int ndarray of shape (n_features,)
        The column of each feature, 0..n_columns - 1, as `column_groups` returns them.
    n_columns : int
        How many there are: the number of names.

    Returns
    -------
    ndarray of shape (n_samples, k, n_columns), or CSR of (n_samples * k, n_columns)
        Of the same float type. What is missing to the whole attribution stays missing.

    Raises
    ------
    ValueError
        If `groups` are not one column for each feature.

    Examples
    --------
    >>> import numpy as np
    >>> from skattrib.preprocessing import sum_shares
    >>> shares = np.array([[[0.5, 0.25, -1.0]]])
    >>> sum_shares(shares, np.array([0, 0, 1]), 2)
    array([[[ 0.75, -1.  ]]])
    """
    groups = np.asarray(groups)
    n_features = shares.shape[-1]
    if groups.shape != (n_features,) or groups.dtype.kind not in "iu":
        raise ValueError(f"groups must be integers of shape ({n_features},), one for each feature")
    if n_features and not 0 <= groups.min() <= groups.max() < n_columns:
        raise ValueError(f"groups must be columns, 0..{n_columns - 1}")
    members = sparse.csr_array(
        (np.ones(n_features), (np.arange(n_features), groups)), shape=(n_features, n_columns)
    )
    if sparse.issparse(shares):
        return sparse.csr_array(shares @ members).astype(shares.dtype)
    summed = shares.reshape(-1, n_features) @ members
    return summed.reshape(*shares.shape[:-1], n_columns).astype(shares.dtype)


def _input_names(transformer, given):
    """Names of the columns of the input; none where the input has no columns, as texts."""
    first = transformer
    while isinstance(first, Pipeline):
        first = next((step for _, step in first.steps if not _passes_through(step)), None)
    seen = getattr(first, "feature_names_in_", None)
    width = getattr(first, "n_features_in_", None) if seen is None else len(seen)
    if given is None:
        if seen is not None:
            return [str(name) for name in seen]
        return [f"x{i}" for i in range(width or 0)]
    names = [str(name) for name in given]
    if width is not None and len(names) != width:
        raise ValueError(f"feature_names_in has {len(names)} names for {width} columns")
    return names


def _passes_through(step):
    return step is None or (isinstance(step, str) and step == "passthrough")


def _origins(transformer, n_inputs, n_outputs=None):
    """Return the input that each output is made of, or None if outputs cannot be counted."""
    if _passes_through(transformer):
        return list(range(n_inputs))
    if isinstance(transformer, Pipeline):
        return _of_pipeline(transformer, n_inputs, n_outputs)
    if isinstance(transformer, ColumnTransformer):
        return _of_column_transformer(transformer, n_inputs)
    if isinstance(transformer, FeatureUnion):
        return _of_union(transformer, n_inputs)
    if hasattr(transformer, "output_to_input_"):  # skrub's record, and that of ours
        return _recorded(transformer)
    marked = _marked_names(transformer, n_inputs)
    if marked is None:
        own = _output_names(transformer)
        count = n_outputs if own is None else len(own)
        # what is made of a single column can come from nowhere else
        return None if count is None else [0 if n_inputs == 1 else UNKNOWN] * count
    if n_inputs == 1:
        return [0] * len(marked)
    found = [set(MARK.findall(name)) for name in marked]
    return [int(*inputs) if len(inputs) == 1 else UNKNOWN for inputs in found]


def _of_pipeline(pipeline, n_inputs, n_outputs):
    origins = list(range(n_inputs))
    steps = [step for _, step in pipeline.steps]
    for number, step in enumerate(steps):
        last = number == len(steps) - 1
        width = n_outputs if last else getattr(steps[number + 1], "n_features_in_", None)
        made = _origins(step, len(origins), width)
        if made is None:
            return None
        origins = [UNKNOWN if f == UNKNOWN else origins[f] for f in made]
    return origins


def _of_column_transformer(transformer, n_inputs):
    spans = transformer.output_indices_
    origins = [UNKNOWN] * max((span.stop for span in spans.values()), default=0)
    names = list(getattr(transformer, "feature_names_in_", []))
    for name, part, columns in transformer.transformers_:
        span = spans.get(name, slice(0, 0))
        width = span.stop - span.start
        if width == 0 or (isinstance(part, str) and part == "drop"):
            continue
        inputs = _chosen(columns, names, n_inputs)
        made = _origins(part, len(inputs), width)
        if made is not None and len(made) == width:
            origins[span] = [UNKNOWN if f == UNKNOWN else inputs[f] for f in made]
    return origins


def _chosen(columns, names, n_inputs):
    """Numbers of the columns that a ColumnTransformer was told."""
    if isinstance(columns, slice):
        if isinstance(columns.start, str) or isinstance(columns.stop, str):  # both ends included
            start = 0 if columns.start is None else names.index(columns.start)
            stop = n_inputs if columns.stop is None else names.index(columns.stop) + 1
            return list(range(n_inputs))[start : stop : columns.step]
        return list(range(n_inputs))[columns]
    columns = np.atleast_1d(np.asarray(columns, dtype=None if len(np.shape(columns)) else object))
    if columns.dtype.kind == "b":
        return np.flatnonzero(columns).tolist()
    return [names.index(c) if isinstance(c, str) else range(n_inputs)[c] for c in columns.tolist()]


def _of_union(union, n_inputs):
    origins = []
    for _, part in union.transformer_list:
        if isinstance(part, str) and part == "drop":
            continue
        made = _origins(part, n_inputs)
        if made is None:
            return None
        origins += made
    return origins


def _recorded(transformer):
    inputs = {str(name): number for number, name in enumerate(transformer.feature_names_in_)}
    sources = transformer.output_to_input_
    names = transformer.get_feature_names_out()
    return [inputs.get(str(sources.get(name)), UNKNOWN) for name in names]


def _marked_names(transformer, n_inputs):
    """Names of the outputs, with marks in the place of the inputs' names, or None."""
    if n_inputs == 0 or not hasattr(transformer, "get_feature_names_out"):
        return None
    nameless = copy.copy(transformer)
    vars(nameless).pop("feature_names_in_", None)  # or other names would be refused
    marks = np.array([f"\ue000{i}\ue001" for i in range(n_inputs)], dtype=object)
    try:
        return [str(name) for name in nameless.get_feature_names_out(marks)]
    except (AttributeError, TypeError, ValueError):
        return None


def _output_names(transformer):
    try:
        return list(transformer.get_feature_names_out())
    except (AttributeError, TypeError, ValueError):
        return None
