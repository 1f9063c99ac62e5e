"""Gaps between the outputs of two groups of test rows, and the weights that make them targets."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import Bunch

from .._arrays.checks import plain_array
from ._checks import check_entries, check_finite
from ._intervals import with_interval


def demographic_parity_gap(
    outputs: ArrayLike,
    sensitive_features: ArrayLike,
    groups: Sequence | None = None,
    *,
    confidence: float | None = None,
    n_resamples: int = 1000,
    random_state=None,
) -> Bunch:
    """How much larger an output is for one group than for another, on average.

    Parameters
    ----------
    outputs : array-like of shape (m,) or (m, K)
        Of a model at m test rows: probabilities or decision values, of one class or of K classes;
        or 0 and 1, whether a class is predicted, for the gap between rates of selection.
    sensitive_features : array-like of shape (m,)
        The group of each row. Of one group against all others: ``values == group``.
    groups : pair of groups, optional
        The gap is the mean in the first minus the mean in the second; rows of others count
        nothing. By default, where there are two groups, the second in sorted order and the first.
    confidence : float, optional
        Level of percentile bootstrap intervals over the rows of each group, such as 0.95.
    n_resamples : int, default=1000
        Samples that the bootstrap draws.
    random_state : int, RandomState or None, default=None
        Decides what the bootstrap draws.

    Returns
    -------
    result : :class:`~sklearn.utils.Bunch`
        Dictionary-like object, with fields:

        gap : float, or ndarray of shape (K,)
            With a sign, in the unit of the outputs; 0 is parity. The largest absolute one of K
            classes is the usual single number.
        weights : ndarray of the shape of outputs
            Of the rows in the gap: ``gap == (weights * outputs).sum(axis=0)``.
        low, high : :class:`~sklearn.utils.Bunch`
            Ends of the intervals of `gap`; with a confidence only.

    Raises
    ------
    ValueError
        If outputs are not finite numbers, if lengths disagree, for a group without a row, or if
        there are more than two groups and none are named.

    Notes
    -----
    The gap is a weighted sum of outputs, and so can be explained: ``explainer.aggregate(X,
    target, weights=result.weights)`` is what each training row contributes to it, with the class
    or logit weights that outputs are as `target`. Removing rows whose contribution has the sign of
    the gap narrows it; see the examples. With probabilities this is to first order, and says
    nothing of rates of predictions that no probability is near to.

    References
    ----------
    Dwork et al., "Fairness through awareness", ITCS 2012. For several classes Denis et al.,
    "Fairness guarantees in multi-class classification with demographic parity", JMLR 2024.

    Examples
    --------
    >>> from skattrib.metrics import demographic_parity_gap
    >>> demographic_parity_gap([1.0, 0.5, 0.5, 0.25], ["b", "b", "a", "a"]).gap
    0.375

    The training rows that widen the gap in the probability of the second class:

    >>> from sklearn.datasets import load_breast_cancer
    >>> from skattrib import InfluenceExplainer
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> explainer = InfluenceExplainer().fit(X[::2], y[::2])
    >>> p = explainer.predict_proba(X[1::2])[:, 1]
    >>> found = demographic_parity_gap(p, X[1::2, 1] > 20)
    >>> target = explainer.target_weights(X[1::2], "probability", 1)
    >>> effects = explainer.aggregate(X[1::2], target, weights=found.weights)
    >>> widening = (effects * found.gap).argsort()[::-1]
    """
    values = _check_outputs(outputs)
    pair = _pair(sensitive_features, groups, len(values))
    of_groups = [np.flatnonzero(mask) for mask in pair.masks]
    for rows, group in zip(of_groups, pair.names, strict=True):
        if not len(rows):
            raise ValueError(f"no row is of group {group!r}; name groups that are there.")
    weights = np.zeros_like(values)
    for rows, sign in zip(of_groups, (1, -1), strict=True):
        weights[rows] = sign / len(rows)

    def gap(*drawn):
        parts = [values[rows[at]] for rows, at in zip(of_groups, drawn, strict=True)]
        return Bunch(gap=parts[0].mean(axis=0) - parts[1].mean(axis=0))

    every = gap(slice(None), slice(None))
    result = Bunch(gap=_number(every.gap), weights=weights)
    sizes = tuple(map(len, of_groups))
    return with_interval(result, gap, sizes, confidence, n_resamples, random_state)


def equal_opportunity_gap(
    outputs: ArrayLike,
    y_true: ArrayLike,
    sensitive_features: ArrayLike,
    groups: Sequence | None = None,
    *,
    labels=None,
    confidence: float | None = None,
    n_resamples: int = 1000,
    random_state=None,
) -> Bunch:
    """How much larger the output of their own class is for one group than for another.

    Parameters
    ----------
    outputs : array-like of shape (m,) or (m, K)
        As for :func:`demographic_parity_gap`; with 0 and 1, whether a class is predicted, the gap
        is between true positive rates.
    y_true : array-like of shape (m,)
        True labels.
    sensitive_features, groups
        As for :func:`demographic_parity_gap`.
    labels : label, or sequence of K labels, optional
        The class of outputs (m,), or those of the columns of outputs (m, K). By default the second
        of two classes in sorted order, or the K classes in sorted order.
    confidence, n_resamples, random_state
        As for :func:`demographic_parity_gap`, over the rows of each group and class.

    Returns
    -------
    result : :class:`~sklearn.utils.Bunch`
        As of :func:`demographic_parity_gap`, but that a column counts only rows whose true label is
        its class.

    Raises
    ------
    ValueError
        As :func:`demographic_parity_gap`; and if `labels` are not as many as columns, or a group
        has no row of a class.

    References
    ----------
    Hardt, Price and Srebro, "Equality of opportunity in supervised learning", NeurIPS 2016. For
    several classes, each against its own gap, Putzel and Lee, "Blackbox post-processing for
    multiclass fairness", SafeAI 2022.

    Examples
    --------
    >>> from skattrib.metrics import equal_opportunity_gap
    >>> p, y_true, group = [1.0, 0.5, 0.5, 0.25], [1, 1, 1, 0], ["b", "b", "a", "a"]
    >>> equal_opportunity_gap(p, y_true, group).gap
    0.25
    """
    values = _check_outputs(outputs)
    m = len(values)
    labelled = check_entries(y_true, "y_true", m, f"outputs has {m} rows")
    pair = _pair(sensitive_features, groups, m)
    columns = values.reshape(m, -1)
    cells, weights = [], np.zeros_like(columns)
    for c, label in enumerate(_labels(labels, _known(labelled, "y_true"), values)):
        for mask, group, sign in zip(pair.masks, pair.names, (1, -1), strict=True):
            rows = np.flatnonzero(mask & (labelled == label))
            if not len(rows):
                raise ValueError(
                    f"no row of group {group!r} is of class {label!r}; leave that class out of "
                    "outputs and labels."
                )
            cells.append((rows, c))
            weights[rows, c] = sign / len(rows)

    def gap(*drawn):
        means = [columns[rows[at], c].mean() for (rows, c), at in zip(cells, drawn, strict=True)]
        return Bunch(gap=np.subtract(means[::2], means[1::2]).reshape(values.shape[1:]))

    every = gap(*[slice(None)] * len(cells))
    result = Bunch(gap=_number(every.gap), weights=weights.reshape(values.shape))
    sizes = tuple(len(rows) for rows, _ in cells)
    return with_interval(result, gap, sizes, confidence, n_resamples, random_state)


def _check_outputs(outputs):
    outputs = plain_array(outputs, "outputs")
    if outputs.dtype.kind not in "biuf":
        raise ValueError(
            "outputs must be numbers, probabilities or decision values; of predicted labels give "
            "whether they are the class, such as predicted == label."
        )
    outputs = check_finite(outputs, "outputs")
    if outputs.ndim not in (1, 2) or 0 in outputs.shape:
        raise ValueError(
            f"outputs has shape {outputs.shape}; expected (test rows,) or (test rows, classes)."
        )
    return outputs.astype(np.float64)


def _pair(sensitive_features, groups, m):
    """Names and masks of the two groups."""
    values = check_entries(
        sensitive_features, "sensitive_features", m, f"outputs has {m} rows (one per test row)"
    )
    each = _known(values, "sensitive_features")
    if groups is None:
        try:
            found = sorted(set(each))
        except TypeError:
            raise ValueError("sensitive_features has values of several kinds.") from None
        if len(found) != 2:
            raise ValueError(
                f"sensitive_features has {len(found)} groups, {', '.join(map(repr, found[:5]))}; "
                "name two of them, groups=(first, second)."
            )
        groups = found[::-1]
    else:
        groups = plain_array(groups, "groups").tolist()
        if not isinstance(groups, list) or len(groups) != 2 or groups[0] == groups[1]:
            raise ValueError(f"groups must be two different groups, (first, second); got {groups}.")
    masks = [np.array([value == group for value in each], dtype=bool) for group in groups]
    return Bunch(names=groups, masks=masks)


def _known(values, name):
    """A list of values, none of which is missing."""
    each = values.tolist()
    if any(map(_is_missing, each)):
        raise ValueError(f"{name} has missing values; leave those rows out.")
    return each


def _is_missing(value):
    try:
        return value is None or bool(value != value)
    except TypeError:  # of pandas' NA not even that is known
        return True


def _labels(labels, y_true, outputs):
    """The class of each column."""
    n_columns = outputs.shape[1] if outputs.ndim == 2 else 1
    if labels is not None:
        found = plain_array(labels, "labels")
        if found.shape != outputs.shape[1:]:
            expected = "one label" if outputs.ndim == 1 else f"{n_columns} labels, one a column"
            raise ValueError(f"labels must be {expected} of outputs; got shape {found.shape}.")
        found = np.atleast_1d(found).tolist()
        if len(set(found)) < len(found):
            raise ValueError("labels names a class twice; each column is of a class of its own.")
        return found
    try:
        classes = sorted(set(y_true))
    except TypeError:
        raise ValueError("y_true has labels of several kinds.") from None
    expected = 2 if outputs.ndim == 1 else n_columns
    if len(classes) != expected:
        raise ValueError(
            f"y_true has {len(classes)} classes, outputs {n_columns} column"
            f"{'s' * (n_columns > 1)}: say by labels of which class each is."
        )
    return classes if outputs.ndim == 2 else classes[1:]


def _number(gap):
    return float(gap) if np.ndim(gap) == 0 else gap
