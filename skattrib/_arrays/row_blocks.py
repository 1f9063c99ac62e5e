"""Rows in files: a matrix of which only blocks are ever in memory."""

import os
from bisect import bisect_right
from copy import copy as copy_of
from numbers import Integral

import numpy as np

from .row_files import (
    FOLDERS,
    ArrayFile,
    Changed,
    RowFile,
    npy_paths,
    parquet_paths,
)
from .row_groups import row_groups

__all__ = [
    "Changed",
    "RowBlocks",
    "block_height",
    "blocks_of",
    "in_files",
    "in_one_piece",
    "kept_rows",
    "maps_a_file_of",
    "on_disk",
    "read_together",
    "survey",
    "swept",
]

# bytes of a block of rows as they are worked on
BLOCK = 2**25
# bytes of a mapped file that is swept where it is mapped, as if it were in memory
MAPPED = 2**30


class RowBlocks:
    """Rows in files, read a block at a time: a matrix that need not fit in memory.

    Give it to `fit` of `DualViewExplainer`, `RepresenterExplainer`, `InfluenceExplainer` or
    `SimilarityExplainer` in the place of X, or to their other methods as rows to be explained. A
    memory map (``numpy.load(path, mmap_mode="r")``) is taken for one. Make it by `from_npy` or
    `from_parquet`.

    Attributes
    ----------
    shape : (n, d)
    dtype : float32 or float64
        Of rows as they are read; float16 is widened to float32, block by block.
    paths : list of str
        The files, absolute.

    Notes
    -----
    ``rows[key]`` reads rows into an array: one, a slice, integers or a mask. ``rows[:]`` is all.

    It is pickled, within an explainer too, as paths, shape and a checksum of each file, without
    rows. A file that is gone, or whose content is not what was first read, is refused by name; the
    checksum is taken anew only where size or time of the file have changed. `look_in` names folders
    in which files are looked for that have moved.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from skattrib import DualViewExplainer, RowBlocks
    >>> X, y = load_iris(return_X_y=True)
    >>> folder = tempfile.mkdtemp()
    >>> for k in range(3):
    ...     np.save(f"{folder}/rows{k}.npy", X[50 * k : 50 * k + 50].astype(np.float16))
    >>> rows = RowBlocks.from_npy(folder)
    >>> rows.shape, rows.dtype
    ((150, 4), dtype('float32'))
    >>> explainer = DualViewExplainer(random_state=0).fit(rows, y)
    >>> values, found = explainer.top_k(X[:1], k=3)
    """

    ndim = 2

    def __init__(self, files):
        if not (isinstance(files, list) and all(isinstance(file, RowFile) for file in files)):
            raise TypeError(
                "RowBlocks are made by RowBlocks.from_npy(paths) or RowBlocks.from_parquet(paths, "
                "column); memory maps are given to explainers as they are"
            )
        # a file without rows is no reason to stop
        first = next((file for file in files if file.n), None)
        if first is None or not first.width:
            raise ValueError(
                f"{files[0].path} and what comes with it hold no rows with features: give files "
                "that do"
            )
        for file in files:
            if (file.width, file.dtype) != (first.width, first.dtype) and (file.n or file.width):
                raise ValueError(
                    f"{first.path} has {first.width} features of {first.dtype} and {file.path} has "
                    f"{file.width} of {file.dtype}: rows must be as wide and of one type in all "
                    "files"
                )
        self._files = [file for file in files if file.n]
        self._starts = np.cumsum([0, *(file.n for file in self._files)]).tolist()
        self._rows = None  # which rows of the files these are: all
        self.map = self._largest = None
        wide = first.dtype.itemsize == 8
        self.dtype = np.dtype(np.float64 if wide else np.float32)
        self.shape = self._starts[-1], first.width

    @classmethod
    def from_npy(cls, paths) -> "RowBlocks":
        """Rows of .npy files.

        Parameters
        ----------
        paths : path or sequence of paths
            A folder, whose .npy files are taken in the order of their names; one file; or files in
            the order of their rows. Each holds a C-ordered matrix of float16, float32 or float64.

        Returns
        -------
        RowBlocks

        Raises
        ------
        ValueError
            For a folder without such files, or with names whose order is not that of their
            numbers; files that are no matrix of floats, truncated, or unlike in width or type.
        """
        return cls([ArrayFile.of_npy(path) for path in npy_paths(paths)])

    @classmethod
    def from_parquet(cls, paths, column: str) -> "RowBlocks":
        """Rows of Parquet files, whose column holds a list of features for each row.

        Parameters
        ----------
        paths : path or sequence of paths
            A folder, whose .parquet files are taken in the order of their names; one file; or files
            in the order of their rows.
        column : str
            Lists of float16, float32 or float64, all of one length.

        Returns
        -------
        RowBlocks

        Raises
        ------
        ValueError
            For a column that is not there or no list of floats, lists that are missing, of several
            lengths or with missing values, and row groups beyond 1 GB.
        ImportError
            Without pyarrow (``pip install "skattrib[cli]"``).

        Notes
        -----
        A row group is decoded as a whole each time that any of its rows are read: some thousand
        rows each are good. `to_npy` makes a file of it that is read at the disk's pace.
        """
        return cls([group for path in parquet_paths(paths) for group in row_groups(path, column)])

    @staticmethod
    def look_in(*folders):
        """Name folders in which files are looked for, by name, that are not where they were.

        Parameters
        ----------
        *folders : paths
            In the place of those named before. What is found there must have the same content.
        """
        FOLDERS[:] = [os.path.abspath(folder) for folder in folders]

    # as a matrix

    def __len__(self):
        return self.shape[0]

    @property
    def size(self):
        """Number of values."""
        return self.shape[0] * self.shape[1]

    @property
    def nbytes(self):
        """Bytes of all rows as they are read."""
        return self.size * self.dtype.itemsize

    @property
    def paths(self):
        """The files, absolute."""
        return list(dict.fromkeys(file.path for file in self._files))

    def __repr__(self):
        n, d = self.shape
        files = len(self.paths)
        what = self.paths[0] if files == 1 else f"{files} files"
        return f"RowBlocks({n:,} x {d:,} {self.dtype} in {what})"

    def __array__(self, dtype=None, copy=None):
        raise TypeError(
            f"{self!r} is not read into memory unasked: give it to DualViewExplainer, "
            "RepresenterExplainer, InfluenceExplainer or SimilarityExplainer, which read blocks of "
            f"it, or give rows[:], {self.nbytes / 2**30:.2g} GB"
        )

    def __getstate__(self):
        return {**vars(self), "map": None}

    def take(self, rows):
        """Some rows, increasing, as rows in files again."""
        other = copy_of(self)
        rows = np.asarray(rows)
        other._rows = rows if self._rows is None else self._rows[rows]
        other.shape = len(rows), self.shape[1]
        return other

    def __getitem__(self, key):
        if isinstance(key, tuple):
            return self._columns(*key)
        if isinstance(key, slice):
            first, stop, step = key.indices(self.shape[0])
            if step == 1 and self._rows is None:
                return self._range(first, max(stop, first))
            key = np.arange(first, stop, step)
        key = np.asarray(key)
        if key.dtype == bool:
            if key.shape != self.shape[:1]:
                raise IndexError(f"a mask of {self.shape[0]} rows has shape {key.shape}")
            key = np.flatnonzero(key)
        if key.dtype.kind not in "iu" and key.size or key.ndim > 1:
            raise IndexError("rows are taken by an integer, a slice, integers or a mask")
        if key.size and not -self.shape[0] <= key.min() <= key.max() < self.shape[0]:
            raise IndexError(f"rows must be in 0..{self.shape[0] - 1}")
        key = np.where(key < 0, key + self.shape[0], key).astype(np.intp)
        if key.ndim == 0:
            return self._gathered(key[None])[0]
        return self._gathered(key)

    def _columns(self, rows, columns):
        """Some columns of some rows, a block of rows at a time."""
        if not isinstance(columns, (Integral, slice)):
            raise IndexError("columns are taken by an integer or a slice")
        if isinstance(rows, Integral):
            return self[rows][columns]
        rows = np.arange(self.shape[0])[rows]
        parts = [self[rows[part]][:, columns] for part in blocks_of(self, len(rows))]
        return np.concatenate(parts) if parts else self[:0][:, columns]

    def astype(self, dtype, copy=True):
        """The same rows, read as another float type."""
        other = self if self.dtype == dtype else copy_of(self)
        if other is not self:
            other.dtype, other.map = np.dtype(dtype), None
        return other

    def _range(self, first, stop):
        if self.map is not None:
            self._files[0].check()
            return self.map[first:stop]
        out = np.empty((stop - first, self.shape[1]), self.dtype)
        k = bisect_right(self._starts, first) - 1
        done = 0
        while done < len(out):
            file, start = self._files[k], self._starts[k]
            file.check()
            here = min(start + file.n, stop) - (first + done)
            file.read(first + done - start, out[done : done + here])
            done, k = done + here, k + 1
        return out

    def _gathered(self, rows):
        if self._rows is not None:
            rows = self._rows[rows]
        if self.map is not None:
            self._files[0].check()
            return self.map[rows]
        increasing = len(rows) < 2 or bool((np.diff(rows) >= 0).all())
        order = None if increasing else np.argsort(rows, kind="stable")
        ordered = rows if order is None else rows[order]
        out = np.empty((len(rows), self.shape[1]), self.dtype)
        bounds = np.searchsorted(ordered, self._starts)
        for file, start, a, b in zip(
            self._files, self._starts[:-1], bounds[:-1], bounds[1:], strict=True
        ):
            if a < b:
                file.check()
                file.take(ordered[a:b] - start, out[a:b])
        if order is None:
            return out
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        return out[back]

    def to_npy(self, path):
        """Write the rows to one .npy file, a block at a time.

        Parameters
        ----------
        path : path
            A new file.

        Returns
        -------
        RowBlocks
            Of that file.
        """
        with open(path, "xb") as file:
            header = {"descr": self.dtype.str, "fortran_order": False, "shape": self.shape}
            np.lib.format.write_array_header_1_0(file, header)
            for part in blocks_of(self):
                file.write(self[part])
        return type(self).from_npy(path)


def in_files(X):
    """Whether X is rows in files."""
    return isinstance(X, RowBlocks)


def block_height(X, itemsize=None):
    """How many of the rows in files are a block, in a type of that size."""
    return max(1, BLOCK // (X.shape[1] * (itemsize or X.dtype.itemsize)))


def blocks_of(X, n=None):
    """Slices of n of the rows in files, by default all, a block at a time."""
    n, step = X.shape[0] if n is None else n, block_height(X)
    return [slice(k, min(k + step, n)) for k in range(0, n, step)]


def on_disk(X):
    """Memory maps as rows in files; all else as it is."""
    file = ArrayFile.of_map(X) if isinstance(X, np.memmap) else None
    if file is None:
        return X
    rows = RowBlocks([file])
    if rows.dtype == X.dtype:
        rows.map = np.asarray(X)
    return rows


def in_one_piece(X):
    """Whether rows in files are so few that they are worked on as if they were in memory."""
    return X.nbytes <= (BLOCK if X.map is None else MAPPED)


def swept(X):
    """Rows in files as those that are swept: as mapped, or in memory if one block holds them."""
    return X[:] if in_one_piece(X) else X


def kept_rows(X, rows):
    """Some rows of X: a copy, of rows in files a reference."""
    return X.take(rows) if in_files(X) else X[rows]


def read_together(X):
    """How many rows are read with any one, at most."""
    return max(file.together for file in X._files)


def maps_a_file_of(X, array):
    """Whether an array is a map of one of the files that rows are in."""
    path = getattr(array, "filename", None)
    return path is not None and any(
        os.path.exists(own) and os.path.samefile(own, path) for own in X.paths
    )


def survey(X):
    """The largest absolute value of rows in files, which are read once, as they are from now on.

    Raises
    ------
    ValueError
        For values that are no number, by file and row.
    """
    if X._largest is not None:
        return X._largest
    largest = 0.0
    for file, start in zip(X._files, X._starts[:-1], strict=True):
        file.check()

        def refuse(row, values, file=file, start=start):
            what = "missing values (NaN)" if np.isnan(values).any() else "infinite values"
            raise ValueError(
                f"{file.where(row)} has {what}, row {start + row} of X: impute them, or leave "
                "the row out"
            )

        largest = max(largest, file.survey(refuse))
    X._largest = largest
    return largest
