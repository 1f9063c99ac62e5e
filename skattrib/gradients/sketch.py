"""Random projection of gradients: signs and cyclic shifts of blocks, a CountSketch."""

from dataclasses import dataclass
from numbers import Integral
from zlib import crc32

import numpy as np

from ._sketch_kernels import add_sketch

__all__ = ["Sketch", "add_sketch"]


@dataclass(frozen=True)
class Sketch:
    """Random projection of gradients to k numbers, parameter by parameter.

    The coordinates of a parameter are cut into blocks of k. Each coordinate gets a random sign,
    each block is shifted cyclically by a random number of places, and blocks are added up: a
    CountSketch in which coordinates of one block never meet. Inner products are kept on average,
    with a relative error of about ``1 / sqrt(k)``, at the cost of one addition a coordinate.

    Parameters
    ----------
    k : int, default=4096
        Numbers that are left of a gradient.
    random_state : int, default=0
        Seed. Sketches of the same `k` and seed are the same everywhere.

    Notes
    -----
    The projection of all parameters is the sum of those of each, and a row's does not depend on
    the rows beside it: gradients may come in any batches, and need never be whole. Where all
    parameters have at most k coordinates together, gradients are better kept as they are.

    References
    ----------
    Charikar, Chen and Farach-Colton, "Finding frequent items in data streams", ICALP 2002
    (CountSketch). Weinberger et al., "Feature hashing for large scale multitask learning", ICML
    2009 (its inner products).

    Examples
    --------
    >>> import numpy as np
    >>> from skattrib.gradients import Sketch
    >>> G = np.random.default_rng(0).normal(size=(3, 5000))
    >>> Sketch(k=512).project("layer.weight", G).shape
    (3, 512)
    """

    k: int = 4096
    random_state: int = 0

    def __post_init__(self):
        _check_integer(self.k, "k", 1)
        _check_integer(self.random_state, "random_state", 0)

    def plan(self, name, size, model=0) -> tuple[np.ndarray, np.ndarray]:
        """Signs and shifts of one parameter.

        Parameters
        ----------
        name : str
            Name of the parameter.
        size : int
            Number of its coordinates.
        model : int, default=0
            Which of several networks, each of which has projections of its own.

        Returns
        -------
        signs : ndarray of shape (size,), int8
        shifts : ndarray of shape (ceil(size / k),), int64
            Coordinate c of block b, ``b * k + c`` of all, goes to place ``(c + shifts[b]) % k``.
        """
        _check_integer(size, "size", 0)
        _check_integer(model, "model", 0)
        if not isinstance(name, str):
            raise TypeError(f"name must be a string, got {type(name).__name__}")
        entropy = (int(self.random_state), int(model), crc32(name.encode()))
        # raw words: those of `Generator` may change with the version of NumPy
        source = np.random.PCG64(np.random.SeedSequence(entropy))
        words = source.random_raw(-(-size // 64)).astype("<u8")
        signs = 1 - 2 * np.unpackbits(words.view(np.uint8), count=size).view(np.int8)
        shifts = source.random_raw(-(-size // self.k)) % np.uint64(self.k)
        return signs, shifts.astype(np.int64)

    def project(self, name, G, model=0, out=None) -> np.ndarray:
        """Projection of gradients in one parameter.

        Parameters
        ----------
        name : str
            Name of the parameter.
        G : ndarray of shape (n, size)
            Gradients of n rows in the parameter.
        model : int, default=0
            As in `plan`.
        out : ndarray of shape (n, k), optional
            To which the projection is added: so those of several parameters are summed.

        Returns
        -------
        ndarray of shape (n, k)
            `out` if given, otherwise of the float type of G.

        Raises
        ------
        TypeError
            For a name, a model or an `out` of another kind.
        ValueError
            For arrays of other shapes, and numbers that are not finite.
        """
        G = np.asarray(G)
        if G.ndim != 2 or G.dtype not in (np.float32, np.float64):
            raise ValueError(
                f"G must be float32 or float64 of shape (n, size), got {G.dtype} of {G.shape}"
            )
        n = len(G)
        if out is None:
            out = np.zeros((n, self.k), dtype=G.dtype)
        elif not isinstance(out, np.ndarray):
            raise TypeError(f"out must be an ndarray, got {type(out).__name__}")
        elif out.shape != (n, self.k) or out.dtype not in (np.float32, np.float64):
            raise ValueError(
                f"out must be float32 or float64 of shape ({n}, {self.k}), got {out.dtype} of "
                f"{out.shape}"
            )
        with np.errstate(over="ignore", invalid="ignore"):
            rows = np.ascontiguousarray(out)
            self.add(name, G, model, rows)
            if rows is not out:
                out[...] = rows
        if not np.isfinite(out).all():
            raise ValueError("G must be finite, and so must be its projection in out")
        return out

    def add(self, name, G, model, out) -> None:
        """`project` without checks: adds the projection of G to out, of rows in C order."""
        signs, shifts = self.plan(name, G.shape[1], model)
        G = np.ascontiguousarray(G, dtype=out.dtype)
        add_sketch(G, signs, shifts, out)


def _check_integer(value, name, least):
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise TypeError(f"{name} must be an integer, got {type(value).__name__}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")
