"""Row groups of Parquet files, one column of which holds a list of features for each row."""

import os

import numpy as np

from .row_files import RowFile, convert, largest_of

# bytes of a row group, which is decoded as a whole
LARGEST_GROUP = 2**30


class RowGroup(RowFile):
    """One row group of a Parquet file, whose column holds lists of one length."""

    def __init__(self, path, group, column, n, width, dtype, before):
        super().__init__(path)
        self.group, self.column, self.n, self.width = group, column, n, width
        self.dtype, self.before = np.dtype(dtype), before
        self.together = n

    def read(self, first, out):
        """Rows from `first` on, into all of `out`."""
        convert(self._decoded()[first : first + len(out)], out)

    def take(self, rows, out):
        """Increasing rows, into all of `out`."""
        if len(rows):
            convert(self._decoded()[rows], out)

    def _decoded(self):
        key = self.path, self.group, self.column, self.seen
        if DECODED.get("key") != key:
            DECODED.clear()
            rows = decoded(self.path, self.group, self.column, self.width, self.before)[0]
            DECODED.update(key=key, rows=rows)
        return DECODED["rows"]

    def survey(self, problem):
        """Largest absolute value; `problem(row, values)` for a row with one that is no number."""
        rows = self._decoded()
        size = largest_of(rows) if rows.size else 0.0
        if not size < np.inf:
            bad = int(np.flatnonzero(~np.isfinite(rows).all(axis=1))[0])
            problem(bad, rows[bad])
        if self.crc is None:
            self.crc = self.checksum()
        return size

    def where(self, row):
        """The place of a row, for errors."""
        return f"row {self.before + row} of {self.path}"


# the row group decoded last
DECODED: dict = {}


def row_groups(path, column):
    """The row groups of a Parquet file, their lists checked to be of one length."""
    try:
        import pyarrow.parquet as pq
    except ImportError as error:
        raise ImportError(
            'rows in Parquet files need pyarrow: pip install "skattrib[cli]"'
        ) from error
    try:
        file = pq.ParquetFile(path)
    except (OSError, ValueError) as error:
        raise ValueError(f"{os.fspath(path)} is no Parquet file: {error}") from None
    with file:
        names = file.schema_arrow.names
        if column not in names:
            raise ValueError(
                f"{os.fspath(path)} has no column {column!r}: it has {', '.join(map(repr, names))}"
            )
        meta = file.metadata
        counts = [meta.row_group(k).num_rows for k in range(meta.num_row_groups)]
    out, before, width = [], 0, None
    for group, n in enumerate(counts):
        rows, width = decoded(path, group, column, width, before)
        out.append(RowGroup(path, group, column, n, rows.shape[1], rows.dtype, before))
        before += n
    return out


def decoded(path, group, column, width, before):
    """((n, width) values of one row group, width)."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    where = f"column {column!r} of {os.fspath(path)}"
    with pq.ParquetFile(path) as file:
        kind = file.schema_arrow.field(column).type
        fixed = pa.types.is_fixed_size_list(kind)
        if not (fixed or pa.types.is_list(kind) or pa.types.is_large_list(kind)):
            raise ValueError(
                f"{where} holds {kind}, but rows must be lists of floats, one list a row: put the "
                "features into one column of lists"
            )
        if not pa.types.is_floating(kind.value_type):
            raise ValueError(
                f"{where} holds lists of {kind.value_type}: give lists of float16, float32 or "
                "float64"
            )
        meta = file.metadata.row_group(group)
        size = sum(
            meta.column(k).total_uncompressed_size
            for k in range(meta.num_columns)
            if meta.column(k).path_in_schema.split(".")[0] == column
        )
        if size > LARGEST_GROUP:
            raise ValueError(
                f"{where} has a row group of {size / 2**30:.1f} GB, which is decoded as a whole: "
                "write the file with smaller ones (row_group_size=10_000)"
            )
        lists = file.read_row_group(group, columns=[column]).column(0).combine_chunks()
    if isinstance(lists, pa.ChunkedArray):
        lists = pa.concat_arrays(lists.chunks) if lists.num_chunks else pa.array([], kind)
    n = len(lists)
    if lists.null_count:
        bad = int(np.flatnonzero(~lists.is_valid().to_numpy(zero_copy_only=False))[0])
        raise ValueError(f"row {before + bad} of {where} is missing: drop such rows")
    lengths = np.full(n, kind.list_size) if fixed else np.diff(lists.offsets.to_numpy())
    width = int(lengths[0]) if width is None and n else width or 0
    if (lengths != width).any():
        bad = int(np.flatnonzero(lengths != width)[0])
        raise ValueError(
            f"row {before + bad} of {where} has {lengths[bad]} features and the first row {width}: "
            "all rows must be as long"
        )
    values = lists.flatten()
    if values.null_count:
        bad = int(np.flatnonzero(~values.is_valid().to_numpy(zero_copy_only=False))[0])
        raise ValueError(
            f"row {before + bad // width} of {where} has missing values: impute or drop them"
        )
    return values.to_numpy(zero_copy_only=False).reshape(n, width), width
