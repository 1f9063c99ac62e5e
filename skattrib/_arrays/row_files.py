"""Files of rows: what is accepted, parts read into arrays, and what tells that they changed."""

import os
import zlib
from mmap import ALLOCATIONGRANULARITY
from pathlib import Path

import numpy as np

# bytes of a file that are read together, and such as are read through rather than jumped over
CHUNK, GAP = 2**21, 2**15
# NumPy widens float16 one by one; its bits, moved to where a float32 has them, are a power of two
# away
HALF_BITS, HALF_SCALE = np.int32(-0x70002000), np.float32(2.0**112)
PIECE = 2**15


class Changed(ValueError):
    """A file of rows is not what it was."""


class RowFile:
    """Consecutive rows of one file; `read` and `take` give them in the dtype of an array.

    What tells whether the file is the same is its size and CRC-32; while size, time of change and
    inode stand still it is not read anew to find out.

    Attributes
    ----------
    path : absolute
    n, width, dtype : of the rows as they are stored
    together : how many rows are read with any one
    """

    together = 1

    def __init__(self, path):
        self.path = os.path.abspath(path)
        self.crc = None
        self.seen = _state(self.path)

    def __getstate__(self):
        """The CRC is known to whom a file is sent, and what the file was seen to be is not."""
        self.crc = self.checksum() if self.crc is None else self.crc
        return {**vars(self), "seen": (self.seen[0], None, None)}

    def check(self):
        """Refuses a file that is gone or not the same."""
        try:
            state = _state(self.path)
        except OSError:
            state = self._find()
        if state == self.seen:
            return
        if self.crc is None:
            # nobody has read it yet
            same = state[0] == self.seen[0]
        else:
            same = state[0] == self.seen[0] and self.checksum() == self.crc
        if not same:
            raise Changed(
                f"{self.path} is not the file it was: its rows have changed since they were "
                "first read. Restore it, or fit again"
            )
        self.seen = state

    def _find(self):
        for folder in FOLDERS:
            path = os.path.join(folder, os.path.basename(self.path))
            if os.path.isfile(path):
                self.path = path
                return _state(path)
        raise FileNotFoundError(
            f"{self.path} is gone, where rows are read from: put it back, or say where it is now "
            "by RowBlocks.look_in(folder)"
        )

    def checksum(self):
        """CRC-32 of the whole file."""
        found = 0
        with open(self.path, "rb", buffering=0) as file:
            while chunk := file.read(CHUNK):
                found = zlib.crc32(chunk, found)
        return found

    def where(self, row):
        """The place of a row, for errors."""
        return f"row {row} of {self.path}"


# where files are looked for that are not where they were
FOLDERS: list[str] = []


def _state(path):
    found = os.stat(path)
    return found.st_size, found.st_mtime_ns, found.st_ino


class ArrayFile(RowFile):
    """Rows in C order from some byte of a file on."""

    def __init__(self, path, offset, shape, dtype):
        super().__init__(path)
        self.offset, (self.n, self.width), self.dtype = offset, shape, np.dtype(dtype)

    @classmethod
    def of_npy(cls, path):
        """The rows of an .npy file, whose header is checked."""
        name = os.fspath(path)
        with open(path, "rb") as file:
            try:
                version = np.lib.format.read_magic(file)
                read = {
                    (1, 0): np.lib.format.read_array_header_1_0,
                    (2, 0): np.lib.format.read_array_header_2_0,
                }[version]
                shape, fortran, dtype = read(file)
            except (ValueError, KeyError, EOFError) as error:
                raise ValueError(f"{name} is no .npy file of numbers: {error}") from None
            offset = file.tell()
        if len(shape) != 2 or dtype.kind != "f" or dtype.itemsize > 8:
            raise ValueError(
                f"{name} has {dtype} values of shape {shape}: rows must be a matrix of float16, "
                "float32 or float64. Give a list of the files of rows if others lie beside them, "
                "or save rows as X.astype('float32')"
            )
        if fortran and min(shape) > 1:
            raise ValueError(
                f"{name} is in Fortran order, column by column: save numpy.ascontiguousarray(X)"
            )
        missing = offset + shape[0] * shape[1] * dtype.itemsize - os.path.getsize(path)
        if missing > 0:
            raise ValueError(
                f"{name} is truncated: {missing:,} bytes are missing to its {shape[0]:,} rows of "
                f"{shape[1]:,} features. Write it again"
            )
        return cls(path, offset, shape, dtype)

    @classmethod
    def of_map(cls, X):
        """The rows of a memory map, or None where these are not simply rows in a file."""
        path = getattr(X, "filename", None)
        held = getattr(X, "_mmap", None)
        if (
            path is None
            or held is None
            or X.ndim != 2
            or not X.size
            or not X.flags.c_contiguous
            or X.dtype not in (np.float16, np.float32, np.float64)
            or not X.dtype.isnative
            or X.mode == "c"
            or "joblib_memmapping_folder" in os.fspath(path)  # gone with its workers
            or not os.path.isfile(path)
        ):
            return None
        # the offset of a map is that of the array it is a part of
        begin = X.offset - X.offset % ALLOCATIONGRANULARITY
        offset = begin + X.ctypes.data - np.frombuffer(held, np.uint8).ctypes.data
        return cls(path, int(offset), X.shape, X.dtype)

    @property
    def row_bytes(self):
        """Bytes of a row."""
        return self.width * self.dtype.itemsize

    def read(self, first, out):
        """Rows from `first` on, into all of `out`."""
        with open(self.path, "rb", buffering=0) as file:
            self._read(file, first, out)

    def _read(self, file, first, out):
        file.seek(self.offset + first * self.row_bytes)
        direct = out.dtype == self.dtype and out.flags.c_contiguous
        if direct:
            self._fill(file, out)
            return
        step = max(1, CHUNK // max(self.row_bytes, 1))
        for k in range(0, len(out), step):
            part = np.empty((min(step, len(out) - k), self.width), self.dtype)
            self._fill(file, part)
            convert(part, out[k : k + step])

    def _fill(self, file, part):
        view = memoryview(part).cast("B") if part.size else memoryview(b"")
        while len(view):
            # one call reads 2 GB at most
            got = file.readinto(view[: 2**30])
            if not got:
                raise Changed(f"{self.path} was truncated while rows were read from it")
            view = view[got:]

    def take(self, rows, out):
        """Increasing rows, into all of `out`."""
        if not len(rows):
            return
        # rows so near to the one before that what is between is read through
        far = np.flatnonzero(np.diff(rows) * self.row_bytes > GAP + self.row_bytes) + 1
        most = max(1, CHUNK // max(self.row_bytes, 1))
        with open(self.path, "rb", buffering=0) as file:
            for a, b in zip([0, *far.tolist()], [*far.tolist(), len(rows)], strict=True):
                if rows[b - 1] - rows[a] == b - a - 1:
                    self._read(file, int(rows[a]), out[a:b])
                    continue
                while a < b:
                    end = int(np.searchsorted(rows[a:b], rows[a] + most)) + a
                    part = np.empty((int(rows[end - 1] - rows[a]) + 1, self.width), self.dtype)
                    file.seek(self.offset + int(rows[a]) * self.row_bytes)
                    self._fill(file, part)
                    convert(part[rows[a:end] - rows[a]], out[a:end])
                    a = end

    def survey(self, problem):
        """Largest absolute value, in one pass that finds the CRC too.

        `problem(row, values)` is called for a row with one that is no number.
        """
        found, largest, position = 0, 0.0, 0
        begin, end = self.offset, self.offset + self.n * self.row_bytes
        step = max(1, CHUNK // max(self.row_bytes, 1)) * self.row_bytes
        with open(self.path, "rb", buffering=0) as file:
            # what is before rows and after them, and rows in whole ones
            edges = [0, *range(begin, end, step or 1), end, max(end, self.seen[0])]
            buffer = np.empty(max(np.diff(edges), default=0), np.uint8)
            for position, stop in zip(edges, edges[1:], strict=False):
                file.seek(position)
                part = buffer[: stop - position]
                self._fill(file, part)
                found = zlib.crc32(part, found)
                if begin <= position < end and len(part):
                    part = part.view(self.dtype).reshape(-1, self.width)
                    size = largest_of(part)
                    if not size < np.inf:
                        bad = int(np.flatnonzero(~np.isfinite(part).all(axis=1))[0])
                        problem((position - begin) // self.row_bytes + bad, part[bad])
                    largest = max(largest, size)
        self.crc = found
        return largest


def convert(rows, out):
    """Copies rows into `out` of another float type."""
    half = rows.dtype == np.float16 and rows.dtype.isnative and out.dtype == np.float32
    if not (half and rows.flags.c_contiguous and out.flags.c_contiguous):
        out[...] = rows
        return
    bits, flat = rows.reshape(-1).view(np.int16), out.reshape(-1)
    wide = flat.view(np.int32)
    for k in range(0, len(bits), PIECE):
        part, narrow = wide[k : k + PIECE], bits[k : k + PIECE]
        if (narrow & np.int16(0x7FFF)).max(initial=0) >= 0x7C00:
            # infinite values and NaN
            flat[k : k + PIECE] = narrow.view(np.float16)
            continue
        part[:] = narrow
        part <<= 13
        part &= HALF_BITS
        flat[k : k + PIECE] *= HALF_SCALE


def largest_of(rows):
    """Largest absolute value of rows; not finite if any value is."""
    if rows.dtype == np.float16 and rows.dtype.isnative:
        bits = (rows.view(np.uint16) & np.uint16(0x7FFF)).max(initial=0)
        return float(bits.view(np.float16))
    return float(max(rows.max(initial=0.0), -rows.min(initial=0.0)))


def npy_paths(given):
    """Paths of the rows of a folder, of one file or of a list of files."""
    return _paths(given, ".npy")


def parquet_paths(given):
    """The same of Parquet files."""
    return _paths(given, ".parquet")


def _paths(given, suffix):
    if isinstance(given, (str, os.PathLike)):
        path = Path(given)
        if not path.is_dir():
            given = [path]
        else:
            given = sorted(p for p in path.iterdir() if p.suffix == suffix and p.is_file())
            if not given:
                raise ValueError(f"{path} has no {suffix} files: name the folder that has them")
            _check_order(given)
    try:
        paths = [Path(path) for path in given]
    except TypeError:
        raise TypeError(
            f"paths must be a folder, a file or a list of files, got {type(given).__name__}"
        ) from None
    if not paths:
        raise ValueError("paths is empty: name at least one file of rows")
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(f"{path} is no file: name files of rows, or one folder of them")
    return paths


def _check_order(paths):
    """Refuses names whose numbers are in another order than the names."""
    numbers = [_numbers(path.stem) for path in paths]
    for a, b, one, other in zip(paths, paths[1:], numbers, numbers[1:], strict=False):
        if one[0] == other[0] and one[1] > other[1]:
            raise ValueError(
                f"{a.name} comes before {b.name} by name but not by number, and rows must be in "
                f"the order of their labels: give a list of the files in that order, or names with "
                "leading zeros"
            )


def _numbers(name):
    """(the name without its numbers, these)."""
    text, numbers, digits = [], [], ""
    for character in f"{name} ":
        if character in "0123456789":
            digits += character
            continue
        if digits:
            numbers.append(int(digits))
            text.append("0")
            digits = ""
        text.append(character)
    return "".join(text), numbers
