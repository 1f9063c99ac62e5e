"""Fidelity: surrogates with the models they stand for, attributions with what they sum to."""

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from sklearn.utils import Bunch

from ._checks import Attributions, check_attributions, check_entries, check_finite, n_rows
from ._correlations import line, rounding
from ._intervals import mean_with_interval, with_interval


def faithfulness(
    surrogate_outputs: ArrayLike,
    model_outputs: ArrayLike,
    *,
    confidence: float | None = None,
    n_resamples: int = 1000,
    random_state=None,
) -> Bunch:
    """How closely an explainer's head reproduces the model that it stands for.

    Parameters
    ----------
    surrogate_outputs : array-like of shape (m, n_classes) or (m,)
        Logits of the explainer's head for m test rows, as its `decision_function` gives them; for
        two classes one value, positive for the second class.
    model_outputs : array-like of the same shape
        Logits of the model.
    confidence : float, optional
        Level of a percentile bootstrap interval over the test rows, such as 0.95.
    n_resamples : int, default=1000
        Samples that the bootstrap draws.
    random_state : int, RandomState or None, default=None
        Decides what the bootstrap draws.

    Returns
    -------
    result : :class:`~sklearn.utils.Bunch`
        Dictionary-like object, with fields:

        agreement : float
            Share of test rows for which both predict the same class; where logits tie, the
            probability of it with ties broken at random. Chance is the sum over classes of
            p_surrogate * p_model.
        correlation : float
            Pearson's r over all logits of all test rows; chance is 0, and it is 0 where either
            side is constant.
        low, high : :class:`~sklearn.utils.Bunch`
            Ends of the intervals of both; with a confidence only.

    Raises
    ------
    ValueError
        If either is empty or not finite, or if their shapes differ.

    References
    ----------
    Yeh et al., "Representer Point Selection for Explaining Deep Neural Networks", NeurIPS 2018,
    figure 1.

    Examples
    --------
    >>> from skattrib.metrics import faithfulness
    >>> faithfulness([1.0, -2.0, 0.5], [2.0, -4.0, 1.0])
    {'agreement': 1.0, 'correlation': 1.0}
    """
    a = check_finite(surrogate_outputs, "surrogate_outputs")
    b = check_finite(model_outputs, "model_outputs")
    if a.shape != b.shape or a.ndim not in (1, 2) or 0 in a.shape:
        raise ValueError(
            f"surrogate_outputs and model_outputs have shapes {a.shape} and {b.shape}; expected "
            "the same (test rows, classes), or (test rows,) of two classes, from both."
        )
    if a[0].size == 1:
        a, b = a.ravel(), b.ravel()
        same = (_votes(np.column_stack([-a, a])) * _votes(np.column_stack([-b, b]))).sum(axis=1)
        a, b = a[:, None], b[:, None]
    else:
        same = (_votes(a) * _votes(b)).sum(axis=1)
    noises = rounding(b), rounding(a)
    fit = line(b, a, noises, confidence, n_resamples, random_state)
    agreement = mean_with_interval(same, confidence, n_resamples, random_state)
    if confidence is None:
        return Bunch(agreement=agreement, correlation=fit.correlation)
    return Bunch(
        agreement=agreement.score,
        correlation=fit.correlation,
        low=Bunch(agreement=agreement.low, correlation=fit.low.correlation),
        high=Bunch(agreement=agreement.high, correlation=fit.high.correlation),
    )


def _votes(logits):
    top = logits == logits.max(axis=1, keepdims=True)
    return top / top.sum(axis=1, keepdims=True)


def completeness_error(
    attributions: Attributions,
    outputs: ArrayLike,
    *,
    confidence: float | None = None,
    n_resamples: int = 1000,
    random_state=None,
) -> float | Bunch:
    """Largest difference between summed attributions and the explained output, relative.

    Parameters
    ----------
    attributions : {array-like, sparse matrix} of shape (m, n)
        What each of n training rows contributes to the explained output of each of m test rows.
    outputs : array-like of shape (m,)
        The explained outputs, in the unit of the attributions: for a label target that column of
        the decision function.
    confidence : float, optional
        Level of a percentile bootstrap interval over the test rows, such as 0.95. It is that of a
        maximum, which no sample exceeds by much: `high` is hardly above the error.
    n_resamples : int, default=1000
        Samples that the bootstrap draws.
    random_state : int, RandomState or None, default=None
        Decides what the bootstrap draws.

    Returns
    -------
    error : float, or :class:`~sklearn.utils.Bunch` of score, low and high with a confidence
        ``max_j |sum_i attributions[j, i] - outputs[j]|`` over the root mean square of `outputs`,
        summed in float64. It has no unit; 0 is a complete attribution, and there is no level of
        chance: attributions of 0 have the largest output over the root mean square. If all
        outputs are 0, it is 0 where all sums are exactly 0 and infinite otherwise, as it is
        beyond float64.

    Raises
    ------
    ValueError
        If attributions are empty or not 2-D, if outputs are not one number per test row, or if
        either is not finite.

    References
    ----------
    The completeness axiom of Sundararajan et al., "Axiomatic Attribution for Deep Networks",
    ICML 2017, with training rows in the place of features.

    Examples
    --------
    >>> from skattrib.metrics import completeness_error
    >>> completeness_error([[1.0, 2.0], [-1.0, -2.0]], [3.0, -3.0])
    0.0
    """
    T = check_attributions(attributions, excluded="refuse")
    outputs = check_finite(outputs, "outputs").astype(np.float64, copy=False)
    check_entries(outputs, "outputs", *n_rows(T))
    # Larger sums would overflow.
    largest_value = max(T.max(), -T.min(), np.abs(outputs).max())
    unit = 2.0 * T.shape[1] if largest_value > np.finfo(np.float64).max / 2 / T.shape[1] else 1.0
    T = T if unit == 1 else T / unit
    # The product, because the sum of a sparse float32 matrix would be taken in float32.
    sums = T @ np.ones(T.shape[1]) if sparse.issparse(T) else T.sum(axis=1, dtype=np.float64)
    errors = np.abs(sums - np.divide(outputs, unit))

    def largest(drawn=slice(None)):
        error, peak = errors[drawn].max(), np.abs(outputs[drawn]).max()
        if peak == 0:
            return 0.0 if error == 0 else np.inf
        # Squares of outputs / peak neither overflow nor vanish.
        size = np.sqrt(np.mean((outputs[drawn] / peak) ** 2))
        with np.errstate(over="ignore"):
            return float(error / peak / size * unit)

    return with_interval(largest(), largest, len(errors), confidence, n_resamples, random_state)
