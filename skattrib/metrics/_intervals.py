"""Bootstrap intervals of the scores."""

from numbers import Real

import numpy as np
from sklearn.utils import Bunch, check_random_state

from .._arrays.checks import check_count


def with_interval(score, resampled, n_units, confidence, n_resamples, random_state):
    """The score, or with a confidence a Bunch of it and its percentile bootstrap interval.

    `score` is a number, or a Bunch of which `resampled` gives some or all fields. `resampled`
    maps the indices of drawn units (test rows, mostly) to the score of that sample; of several
    kinds of units where `n_units` is a tuple.
    """
    if confidence is None:
        return score
    if not isinstance(confidence, Real) or not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence!r}; expected a probability such as 0.95.")
    n_resamples = check_count(n_resamples, "n_resamples")
    sizes = np.atleast_1d(n_units)
    if sizes.min() < 2:
        raise ValueError(
            f"an interval needs 2 or more rows to draw from, got {sizes.min()}; "
            "leave confidence at None."
        )
    rng = check_random_state(random_state)
    drawn = [resampled(*(rng.randint(n, size=n) for n in sizes)) for _ in range(n_resamples)]
    tails = (1 - confidence) / 2, (1 + confidence) / 2
    if not isinstance(score, Bunch):
        low, high = _quantiles(drawn, tails)
        return Bunch(score=score, low=float(low), high=float(high))
    low, high = Bunch(), Bunch()
    for name in drawn[0]:
        ends = _quantiles([sample[name] for sample in drawn], tails)
        low[name], high[name] = ends if ends.ndim > 1 else ends.tolist()
    return Bunch(**score, low=low, high=high)


def _quantiles(drawn, tails):
    # between infinite scores there is nothing to interpolate
    method = "linear" if np.isfinite(drawn).all() else "nearest"
    return np.quantile(drawn, tails, axis=0, method=method)


def mean_with_interval(values, confidence, n_resamples, random_state):
    """The mean over test rows, with its interval where one is asked for."""
    return with_interval(
        float(values.mean()),
        lambda drawn: values[drawn].mean(),
        len(values),
        confidence,
        n_resamples,
        random_state,
    )
