"""Activations with their primitives: the losses that have them as what they predict."""

from dataclasses import dataclass
from numbers import Real
from typing import Protocol

import numpy as np
from scipy.special import expit

# of nn.LeakyReLU
SLOPE = 0.01
# where an activation that is given is looked at, and how far a step of differences goes
GRID, STEP = np.linspace(-20.0, 20.0, 801), 1e-4


class Activation(Protocol):
    """Functions of arrays: a non-decreasing `value`, its integral and its slope."""

    def primitive(self, z): ...

    def value(self, z): ...

    def derivative(self, z): ...


@dataclass(frozen=True)
class _Given:
    """Functions of numpy, and the interval of their values."""

    primitive: object
    value: object
    derivative: object
    range: tuple[float, float] = (-np.inf, np.inf)


def _log_cosh(z):
    return np.logaddexp(z, -z) - np.log(2.0)


def _leaky(slope, low=-np.inf):
    """The three functions of max(z, slope z); at 0 the slope is 1, as for all larger z."""
    return _Given(
        lambda z: 0.5 * z**2 * np.where(z >= 0, 1.0, slope),
        lambda z: z * np.where(z >= 0, 1.0, slope),
        lambda z: np.where(z >= 0, 1.0, slope),
        (low, np.inf),
    )


ACTIVATIONS = {
    "identity": _Given(lambda z: 0.5 * z**2, lambda z: z, np.ones_like),
    "relu": _leaky(0.0, 0.0),
    "leaky_relu": _leaky(SLOPE),
    "sigmoid": _Given(
        lambda z: np.logaddexp(0.0, z), expit, lambda z: expit(z) * expit(-z), (0.0, 1.0)
    ),
    "tanh": _Given(_log_cosh, np.tanh, lambda z: 1.0 - np.tanh(z) ** 2, (-1.0, 1.0)),
    "exp": _Given(np.exp, np.exp, np.exp, (0.0, np.inf)),
}
FALLING = ("gelu", "silu", "swish", "mish", "hardswish", "softmax", "sin")


def of_name(activation) -> Activation:
    """The activation of a name, or the object itself."""
    return ACTIVATIONS[activation] if isinstance(activation, str) else activation


def check_activation(activation) -> Activation:
    """The activation of a name, or an object that is one as far as it can be seen."""
    if isinstance(activation, str):
        if activation in ACTIVATIONS:
            return ACTIVATIONS[activation]
        known = ", ".join(map(repr, ACTIVATIONS))
        hint = ""
        if activation.lower() in FALLING:
            hint = (
                f". {activation!r} falls somewhere, so that no convex loss belongs to it: explain "
                "its pre-activations with 'identity'"
            )
        raise ValueError(
            f"activation must be one of {known}, or an object with primitive, value and "
            f"derivative; got {activation!r}{hint}"
        )
    functions = {}
    for name in ("primitive", "value", "derivative"):
        with np.errstate(all="ignore"):
            found = np.asarray(getattr(activation, name)(GRID.copy()), dtype=np.float64)
            next_ = np.asarray(getattr(activation, name)(GRID + STEP), dtype=np.float64)
        if found.shape != GRID.shape or np.isnan(found).any():
            raise ValueError(
                f"activation.{name} must be a function of an array that gives a number for each of "
                f"its numbers; of {GRID.size} it gave {found.shape}, with NaN "
                f"{np.isnan(found).sum()} times"
            )
        functions[name] = found, next_
    _check_slopes(functions)
    return activation


def _check_slopes(functions):
    """Refuses functions that fall, and those that are not each other's slopes."""
    value, later = functions["value"]
    falls = (functions["derivative"][0] < 0) | (np.diff(value, append=np.inf) < 0) | (later < value)
    if falls.any():
        raise ValueError(
            f"activation falls near {GRID[falls.argmax()]:.3g}: its value must be non-decreasing, "
            "or no convex loss belongs to it"
        )
    for name, slope in (("primitive", "value"), ("value", "derivative")):
        (start, end), (left, right) = functions[name], functions[slope]
        with np.errstate(all="ignore"):
            found = (end - start) / STEP
            # in between, but for rounding of the differences
            rest = 1e-3 * (1 + np.abs(left)) + 1e-11 * np.abs(start) / STEP
            low, high = np.minimum(left, right) - rest, np.maximum(left, right) + rest
        wrong = (found < low) | (found > high)
        # a corner may lie in a step
        if wrong.sum() > 8:
            at = wrong.argmax()
            raise ValueError(
                f"activation.{slope} must be the slope of activation.{name}, which near "
                f"{GRID[at]:.3g} is {found[at]:.4g}, not {left[at]:.4g}"
            )


def check_range(activation, targets):
    """Refuses targets that the activation never takes, nor comes near to."""
    low, high = getattr(activation, "range", (-np.inf, np.inf))
    if not (isinstance(low, Real) and isinstance(high, Real) and low < high):
        raise ValueError(f"activation.range must be two numbers, low < high; got {low!r}, {high!r}")
    smallest, largest = targets.min(), targets.max()
    if smallest < low or largest > high:
        raise ValueError(
            f"y must lie in {low:g}..{high:g}, the values of the activation, but lies in "
            f"{smallest:.6g}..{largest:.6g}"
        )
