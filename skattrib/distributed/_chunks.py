"""Dask arrays whose chunks are rows: what is accepted, and rows cut as others are."""

from uuid import uuid4

import dask
import dask.array as da
import numpy as np
import scipy.sparse as sp
from dask._task_spec import convert_legacy_graph
from dask.base import clone_key
from dask.core import flatten
from dask.delayed import Delayed
from dask.highlevelgraph import HighLevelGraph
from distributed import Future

from .._arrays.checks import check_features, check_plain, plain_array
from ._cluster import gather, task


def is_dask(values):
    """Whether values are a dask array, or another collection that is to be refused as one."""
    return isinstance(values, da.Array) or hasattr(values, "__dask_graph__")


def fetched(values, what="fetching values"):
    """Values in this process, of a dask array or another."""
    return np.asarray(gather([values], what)[0]) if is_dask(values) else values


def check_chunks(X, name):
    """A 2-D dask array of float32 or float64 whose chunks are rows of known number.

    Sparse chunks of any format of scipy become CSR.

    Raises
    ------
    TypeError
        For what is no dask array.
    ValueError
        For chunks of columns, of other than NumPy or scipy arrays, and other than two dimensions.
    """
    if not isinstance(X, da.Array):
        kind = type(X).__name__
        if hasattr(X, "to_dask_array"):
            raise TypeError(f"{name} is a {kind}: give {name}.to_dask_array(lengths=True)")
        raise TypeError(
            f"{name} is a {kind}, but its rows are to be chunks of a dask array: give "
            f"dask.array.from_array({name}, chunks=(100_000, -1)), or use skattrib's explainers "
            "of the same names, which take arrays"
        )
    check_features(X, name)
    if X.ndim != 2:
        raise ValueError(f"{name} has {X.ndim} dimension: give rows, (n_samples, n_features)")
    if X.numblocks[1] != 1:
        raise ValueError(
            f"{name} has {X.numblocks[1]} chunks of features, but each row must be in one chunk: "
            f"give {name}.rechunk({{0: 'auto', 1: -1}})"
        )
    if not (sp.issparse(X._meta) or isinstance(X._meta, np.ndarray)):
        raise ValueError(
            f"{name} has chunks that are {type(X._meta).__name__}: give arrays of NumPy, or sparse "
            f"ones of scipy ({name}.map_blocks(..., meta=scipy.sparse.csr_array((0, 0))))"
        )
    if X.dtype.kind not in "fiub":
        raise ValueError(f"{name} must hold numbers, got {X.dtype}")
    X = known(X)
    if np.isnan(X.shape[1]) or X.shape[1] < 1 or X.shape[0] < 1:
        raise ValueError(f"{name} has shape {X.shape}: at least one row and one feature are needed")
    dtype = X.dtype if X.dtype in (np.float32, np.float64) else np.dtype(np.float64)
    if sp.issparse(X._meta):
        return X.map_blocks(as_csr, dtype, dtype=dtype, meta=sp.csr_array((0, 0), dtype=dtype))
    return X.astype(dtype)


def as_csr(part, dtype):
    """A sparse chunk as CSR of a type, or a dense one as it is, which is refused later."""
    return sp.csr_array(part, dtype=dtype) if sp.issparse(part) else part


def known(values):
    """The dask array with the sizes of its chunks, which are computed where they are not known."""
    if not np.isnan(values.chunks[0]).any():
        return values
    parts = values.to_delayed(optimize_graph=False)
    first = parts.reshape(len(values.chunks[0]), -1)[:, 0]
    shapes = gather([task(np.shape, part) for part in first], "counting the rows of chunks")
    width = [
        sizes if not np.isnan(sizes).any() else (shapes[0][axis],)
        for axis, sizes in enumerate(values.chunks[1:], start=1)
    ]
    chunks = (tuple(shape[0] for shape in shapes), *width)
    return da.Array(values.dask, values.name, chunks, meta=values._meta)


def blocks_of(values, sizes):
    """Consecutive rows of a dask array as tasks, so many each."""
    chunks = {0: tuple(map(int, sizes))} | ({1: -1} if values.ndim > 1 else {})
    (values,) = dask.optimize(values.rechunk(chunks))
    graph, names = _renamed(dict(values.__dask_graph__()))
    layer = f"rows-{uuid4().hex}"
    graph = HighLevelGraph({layer: graph}, {layer: set()})
    keys = [names.get(key, key) for key in flatten(values.__dask_keys__())]
    return [Delayed(key, graph, layer=layer) for key in keys]


def _renamed(graph):
    """(graph, new keys by the old ones) with keys that no other graph has, but for what is there.

    A scheduler knows one task by a key, and optimized with others it may be another.
    """
    there = {key: task for key, task in graph.items() if isinstance(task, Future)}
    seed = uuid4().hex
    names = {key: clone_key(key, seed) for key in graph if key not in there}
    nodes = convert_legacy_graph({key: graph[key] for key in names}, set(graph))
    for key, node in nodes.items():
        own = {other: names[other] for other in node.dependencies if other in names}
        there[names[key]] = node.substitute(own, key=names[key])
    return there, names


def pieces(values, sizes, name, ndim=(1,)):
    """Values of consecutive rows, dask or not, in parts of these sizes.

    Parts of a dask array are delayed.
    """
    if hasattr(values, "to_dask_array"):
        raise TypeError(
            f"{name} is a {type(values).__name__}: give {name}.to_dask_array(lengths=True)"
        )
    n = int(np.sum(sizes))
    if isinstance(values, da.Array):
        check_plain(values, name)
        values = known(values)
    else:
        values = plain_array(values, name)
    if values.ndim not in ndim or values.shape[0] != n:
        raise ValueError(
            f"{name} has shape {values.shape}, but X has {n} rows: give one entry a row"
        )
    if isinstance(values, da.Array):
        return blocks_of(values, sizes)
    stops = np.cumsum(sizes)
    return [values[stop - size : stop] for stop, size in zip(stops, sizes, strict=True)]
