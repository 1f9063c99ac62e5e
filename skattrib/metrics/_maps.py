"""Scores of maps over inputs: what is left without their highest pixels, what they add up to."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import Bunch, check_random_state

from .._arrays.checks import plain_array
from ._checks import check_entries, check_finite
from ._intervals import with_interval

SHARES = (0.1,)


def deletion(
    maps: ArrayLike,
    X: ArrayLike,
    function: Callable,
    *,
    shares: Sequence[float] = SHARES,
    baseline: ArrayLike = 0.0,
    channel_axis: int | None = None,
    confidence: float | None = None,
    n_resamples: int = 1000,
    random_state=None,
) -> Bunch:
    """What is left of a value after blanking the pixels in which its map is highest.

    Parameters
    ----------
    maps : array-like of shape (n, ...)
        A map over each input, in the unit of the value: of its shape, or of its shape without the
        channels.
    X : array-like of shape (n, ...)
        The inputs.
    function : callable
        Of inputs of the shape of X it gives their values (n,), such as the attribution of the pair
        that each belongs to.
    shares : sequence of float, default=(0.1,)
        Shares of the pixels that are blanked, increasing in [0, 1], rounded to whole pixels.
    baseline : float or array-like that broadcasts to X, default=0.0
        What is put in their place.
    channel_axis : int, optional
        Axis of X that holds the channels of a pixel, over which maps are summed and which are
        blanked together: 1 for images of torch. By default every number is a pixel.
    confidence : float, optional
        Level of percentile bootstrap intervals over the inputs, such as 0.95.
    n_resamples : int, default=1000
        Samples that the bootstrap draws.
    random_state : int, RandomState or None, default=None
        The order of equal pixels, and what the bootstrap draws.

    Returns
    -------
    result : :class:`~sklearn.utils.Bunch`
        Dictionary-like object, with fields:

        shares : ndarray of shape (s,)
            As given.
        left : ndarray of shape (s,)
            ``function(blanked) / function(X)``, the mean over inputs: the lower, the better the
            maps name the pixels that matter. Of negative values the lowest pixels are blanked.
        each : ndarray of shape (n, s)
            The same of each input.
        low, high : :class:`~sklearn.utils.Bunch`
            Ends of the intervals of `left`; with a confidence only.

    Raises
    ------
    ValueError
        For shapes that disagree, values that are not finite or 0, and shares that do not increase
        within [0, 1].

    Notes
    -----
    A random map is the chance to compare with.

    References
    ----------
    Samek et al., "Evaluating the visualization of what a deep neural network has learned", 2017.
    Petsiuk et al., "RISE", BMVC 2018, its deletion and insertion.

    Examples
    --------
    >>> from skattrib.metrics import deletion
    >>> X = [[1.0, 2.0, 3.0, 4.0]]
    >>> deletion(X, X, lambda X: X.sum(axis=1), shares=[0.25, 0.5]).left
    array([0.6, 0.3])
    """
    changed = _Changed(maps, X, function, shares, baseline, channel_axis, random_state)
    return changed.result(True, confidence, n_resamples, random_state)


def insertion(
    maps: ArrayLike,
    X: ArrayLike,
    function: Callable,
    *,
    shares: Sequence[float] = SHARES,
    baseline: ArrayLike = 0.0,
    channel_axis: int | None = None,
    confidence: float | None = None,
    n_resamples: int = 1000,
    random_state=None,
) -> Bunch:
    """What is there of a value with only the pixels in which its map is highest.

    Parameters
    ----------
    maps, X, function, baseline, channel_axis, confidence, n_resamples, random_state
        As in :func:`deletion`.
    shares : sequence of float, default=(0.1,)
        Shares of the pixels that are kept, increasing in [0, 1].

    Returns
    -------
    result : :class:`~sklearn.utils.Bunch`
        As of :func:`deletion`; the higher `left`, the better.

    Raises
    ------
    ValueError
        As :func:`deletion`.

    References
    ----------
    Petsiuk et al., "RISE", BMVC 2018.

    Examples
    --------
    >>> from skattrib.metrics import insertion
    >>> X = [[1.0, 2.0, 3.0, 4.0]]
    >>> insertion(X, X, lambda X: X.sum(axis=1), shares=[0.25, 0.5]).left
    array([0.4, 0.7])
    """
    changed = _Changed(maps, X, function, shares, baseline, channel_axis, random_state)
    return changed.result(False, confidence, n_resamples, random_state)


def conservation(maps: ArrayLike, values: ArrayLike) -> Bunch:
    """What of each value its map adds up to.

    Parameters
    ----------
    maps : array-like of shape (..., pixels), the first axes those of `values`
    values : array-like of shape (n,) or (m, k)

    Returns
    -------
    result : :class:`~sklearn.utils.Bunch`
        Dictionary-like object, with fields:

        mean : float
            Mean of the shares; 1 where maps hold everything.
        error : float
            Largest distance of a share from 1.
        shares : ndarray of the shape of `values`
            Sum of the map over the value, in float64.

    Raises
    ------
    ValueError
        For shapes that disagree, and values that are not finite or 0.

    Notes
    -----
    It says that a map is complete, not that it names the pixels that matter: see
    :func:`deletion`.

    References
    ----------
    Bach et al., "On Pixel-Wise Explanations by Layer-Wise Relevance Propagation", PLOS ONE 2015.

    Examples
    --------
    >>> from skattrib.metrics import conservation
    >>> conservation([[1.0, 2.0], [3.0, -1.0]], [4.0, 2.0]).shares
    array([0.75, 1.  ])
    """
    M, given = check_finite(maps, "maps"), check_finite(values, "values")
    n = given.ndim
    if not n or not given.size or M.ndim <= n or M.shape[:n] != given.shape:
        raise ValueError(
            f"maps has shape {M.shape} and values {given.shape}; expected a map over one or more "
            "pixels for each value."
        )
    _check_not_zero(given, "values")
    shares = M.sum(axis=tuple(range(n, M.ndim)), dtype=np.float64) / given
    return Bunch(mean=float(shares.mean()), error=float(np.abs(shares - 1).max()), shares=shares)


def _check_not_zero(values, name):
    if not values.all():
        raise ValueError(
            f"{name} is 0 for {int((values == 0).sum())} of {values.size} inputs, of which there "
            "are no shares: leave them out."
        )


class _Changed:
    """Checked arguments, and inputs of which pixels are replaced."""

    def __init__(self, maps, X, function, shares, baseline, channel_axis, random_state):
        self.X, maps = check_finite(X, "X"), check_finite(maps, "maps")
        if self.X.ndim < 2 or not self.X.size:
            raise ValueError(f"X has shape {self.X.shape}; expected (n, ...), one input a row.")
        self.axis = self._check_axis(channel_axis)
        if self.axis is not None and maps.ndim == self.X.ndim:
            maps = maps.sum(axis=self.axis, dtype=np.float64)
        shape = np.delete(self.X.shape, [] if self.axis is None else self.axis)
        if maps.shape != tuple(shape):
            raise ValueError(
                f"maps has shape {maps.shape} and X {self.X.shape}; expected the same, or with "
                "channel_axis maps without that axis."
            )
        if not callable(function):
            raise TypeError(f"function must be callable, got {type(function).__name__}.")
        self.function = function
        self.shares = plain_array(shares, "shares", np.float64)
        increasing = self.shares.ndim == 1 and len(self.shares) and np.all(np.diff(self.shares) > 0)
        if not increasing or not 0 <= self.shares[0] <= self.shares[-1] <= 1:
            raise ValueError("shares must increase within 0..1, the share of the pixels.")
        baseline = check_finite(baseline, "baseline")
        try:
            self.baseline = np.broadcast_to(baseline, self.X.shape)
        except ValueError:
            raise ValueError(
                f"baseline has shape {baseline.shape}, which does not broadcast to that of X, "
                f"{self.X.shape}."
            ) from None
        self.values = self._values(self.X, "X")
        _check_not_zero(self.values, "function(X)")
        scores = np.sign(self.values)[:, None] * maps.reshape(len(maps), -1)
        self.order = self._orders(scores, check_random_state(random_state))

    def _check_axis(self, axis):
        ndim = self.X.ndim
        if axis is None:
            return None
        valid = isinstance(axis, (int, np.integer)) and not isinstance(axis, bool)
        if not valid or not -ndim < axis < ndim or axis % ndim == 0 or ndim < 3:
            raise ValueError(
                f"channel_axis is {axis!r}; expected None or an axis of X after the first, of "
                "inputs with channels."
            )
        return int(axis) % ndim

    @staticmethod
    def _orders(scores, rng):
        """Pixels from the highest down, equal ones at random."""
        return np.lexsort((rng.random_sample(scores.shape), -scores), axis=1)

    def _values(self, X, what):
        values = check_finite(self.function(X), f"function({what})")
        n = len(self.X)
        return check_entries(values, f"function({what})", n, f"X has {n} inputs").astype(np.float64)

    def result(self, blanks, confidence, n_resamples, random_state):
        """The public form; `blanks` the highest pixels, or all others."""
        n, pixels = self.order.shape
        rank = np.empty_like(self.order)
        np.put_along_axis(rank, self.order, np.arange(pixels)[None], axis=1)
        each = np.empty((n, len(self.shares)))
        shape = np.delete(self.X.shape, [] if self.axis is None else self.axis)
        for s, share in enumerate(self.shares):
            highest = (rank < np.rint(share * pixels)).reshape(shape)
            if self.axis is not None:
                highest = np.expand_dims(highest, self.axis)
            changed = np.where(highest == blanks, self.baseline, self.X).astype(self.X.dtype)
            each[:, s] = self._values(changed, "changed") / self.values

        def left(drawn=slice(None)):
            return Bunch(left=each[drawn].mean(axis=0))

        score = Bunch(shares=self.shares, **left(), each=each)
        return with_interval(score, left, n, confidence, n_resamples, random_state)
