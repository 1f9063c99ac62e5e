"""Rows as pictures: square grey images, maps of shares, as addresses of PNG files."""

import base64
import io
import math
import struct
import zlib

import numpy as np
from scipy import sparse

BLUE, RED = (31, 119, 180), (214, 39, 40)  # as on the page


def image_shape(X):
    """(side, side) if the rows look like square grey images, else None.

    They do if their width is a square and they hold integers up to 255, or numbers up to 1.
    """
    side = math.isqrt(X.shape[1])
    if side < 4 or side * side != X.shape[1]:
        return None
    part = X[:1000]
    values = part.data if sparse.issparse(part) else part
    if not values.size or values.min() < 0:
        return None
    is_grey = values.max() <= 1 or (values.max() <= 255 and np.all(values == np.floor(values)))
    return (side, side) if is_grey else None


def figure_address(figure):
    """A figure of matplotlib as the address of a PNG image; the figure is closed."""
    from matplotlib import pyplot

    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=100, bbox_inches="tight")
    pyplot.close(figure)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"


def thumbnail(X, i, shape):
    """Row i as the address of a PNG image, from black to the white of its largest value."""
    if shape is None:
        return ""
    row = X[[i]]
    pixels = (row.toarray() if sparse.issparse(row) else np.asarray(row)).reshape(shape)
    peak = pixels.max()
    return _png(np.round(255 * np.clip(pixels / peak if peak > 0 else pixels, 0, 1)))


def share_map(share, largest, shape):
    """Shares of the pixels as a PNG image: white is none, blue raises, red lowers."""
    if shape is None:
        return ""
    depth = np.abs(share / largest if largest > 0 else share).reshape(*shape, 1)
    colors = np.where(share.reshape(*shape, 1) > 0, BLUE, RED)
    return _png(np.round(255 - depth * (255 - colors)))


def _png(pixels):
    """Address of a PNG image of grey (height, width) or coloured (height, width, 3) pixels."""
    height, width = pixels.shape[:2]
    lines = pixels.astype(np.uint8).reshape(height, -1)
    lines = np.pad(lines, ((0, 0), (1, 0))).tobytes()  # each starts with the number of its filter
    head = struct.pack(">2I5B", width, height, 8, 2 * (pixels.ndim - 2), 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(lines)), (b"IEND", b""))
    data = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in parts
    )
    return "data:image/png;base64," + base64.b64encode(data).decode()
