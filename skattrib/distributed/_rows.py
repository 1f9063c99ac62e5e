"""Training rows in partitions: checked, labelled and weighed where they lie."""

from copy import copy
from inspect import signature

import dask.array as da
import numpy as np
import scipy.sparse as sp
from sklearn.utils import compute_class_weight, compute_sample_weight
from sklearn.utils.extmath import row_norms
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import assert_all_finite, column_or_1d

from .._arrays import batches, row_keys, squared_norms, total_variance, variance_scale
from .._arrays.checks import canonical_csr, check_plain, codes_of
from ._chunks import blocks_of, check_chunks, pieces
from ._cluster import gather, hold, most_at_once, share, task, total


class TrainingRows:
    """Rows, codes of their labels and weights, partition by partition, as tasks.

    Functions that are called with a partition take C-ordered or canonical CSR rows (n, d), codes
    (n,) and weights (n,) in float64.

    Attributes
    ----------
    classes : ndarray
    sizes, starts : (n_partitions,) rows of each partition, and where they begin
    counts, class_weights : (n_classes,) rows of each class, and sums of their weights
    weight : sum of the weights, and number of rows that have any
    n, d, dtype : of all rows
    sparse : whether they are CSR
    row_bytes : bytes of a row's features, of sparse ones on average
    """

    def __init__(self, X, sizes):
        self.X, self.sizes = X, np.asarray(sizes)
        self.starts = np.cumsum(self.sizes) - self.sizes
        self.n = int(self.sizes.sum())
        self.classes = self.codes = self.weights = None

    def __len__(self):
        return len(self.sizes)

    def at(self, p, function, *args):
        """The task ``function(X, codes, weight, *args)`` of a partition."""
        return task(_on_rows, function, self.X[p], self.codes[p], self.weights[p], *args)

    def each(self, function, *args, own=None):
        """That task of each partition; `own` holds a last argument for each."""
        if own is None:
            return [self.at(p, function, *args) for p in range(len(self))]
        return [self.at(p, function, *args, one) for p, one in enumerate(own)]

    def split(self, rows):
        """(partition, rows within it, their places in `rows`) of the partitions that have any."""
        place = np.searchsorted(self.starts + self.sizes, rows, side="right")
        for p in np.unique(place):
            here = np.flatnonzero(place == p)
            yield int(p), rows[here] - self.starts[p], here

    def take(self, rows, what="fetching rows"):
        """(X, codes, weights) of some rows, in their order, in this process."""
        parts = list(self.split(rows))
        X = [] if self.sparse else np.empty((len(rows), self.d), dtype=self.dtype)
        codes, weights = np.empty(len(rows), dtype=np.intp), np.empty(len(rows))
        for some in self._at_once(parts):
            tasks = [self.at(p, _take, within) for p, within, _ in some]
            for (_, _, here), found in zip(some, gather(tasks, what), strict=True):
                part, codes[here], weights[here] = found
                if self.sparse:
                    X.append(part)
                else:
                    X[here] = part
        if self.sparse:
            empty = sp.csr_array((0, self.d), dtype=self.dtype)
            order = np.concatenate([here for *_, here in parts] or [rows[:0]])
            X = sp.csr_array(sp.vstack([empty, *X], format="csr"))[np.argsort(order)]
        return X, codes, weights

    def without(self, rows):
        """The same partitions, some rows with a weight of 0."""
        other, K = copy(self), len(self.classes)
        other.weights = list(self.weights)
        for p, within, _ in self.split(rows):
            other.weights[p] = task(_zeroed, self.weights[p], int(self.sizes[p]), within)
        tasks = [task(_class_sums, K, *p) for p in zip(self.codes, other.weights, strict=True)]
        _, other.class_weights, weighted = gather([total(tasks)], "weighing the rows left")[0]
        other.weight = other.class_weights.sum(), int(weighted.sum())
        return other

    def _at_once(self, parts):
        """The parts in groups that a worker, and the scheduler, have memory for."""
        most, group, n = most_at_once() // self.row_bytes, [], 0
        for part in parts:
            if group and n + len(part[1]) > most:
                yield group
                group, n = [], 0
            group.append(part)
            n += len(part[1])
        if group:
            yield group

    def scale(self, C, multiple=1.0):
        """(C, size of the constant feature); see `variance_scale`."""
        if C != "scale":
            return float(C), 1.0
        weight, mean, variance, square = gather(
            [total(self.each(_moments), _joined)], "summing the variance of the rows"
        )[0]
        eps = np.finfo(np.float64).eps
        if variance <= self.n * eps**2 * (mean @ mean):
            variance = 0.0
        return variance_scale(variance, square, multiple)


def training_rows(explainer, X, y, sample_weight=None, class_weight=None, classes=None):
    """Checked training rows; sets `n_features_in_` and `classes_` of the explainer.

    `classes`, where the head has them, are those that labels are among.
    """
    X = check_chunks(X, "X")
    if y is None:
        raise ValueError(
            f"{type(explainer).__name__} requires y to be passed, but the target y is None"
        )
    sizes = np.array([size for size in X.chunks[0] if size])
    labels = pieces(y, sizes, "y", (1, 2))
    weights = [None] * len(sizes)
    if sample_weight is not None:
        if np.ndim(sample_weight) == 0:
            sample_weight = np.full(X.shape[0], sample_weight)
        weights = pieces(sample_weight, sizes, "sample_weight")
    explainer.n_features_in_ = X.shape[1]
    rows = TrainingRows(blocks_of(X, sizes), sizes)
    rows.d, rows.dtype, rows.sparse = X.shape[1], X.dtype, sp.issparse(X._meta)
    nbytes = X.nbytes
    if rows.sparse:
        nbytes = sum(gather([task(_nbytes, part) for part in rows.X], "measuring sparse rows"))
    rows.row_bytes = max(1, nbytes // rows.n)
    rows.X = hold(rows.X, nbytes)
    known = gather(
        [
            task(_checked, explainer._largest_norm(X.dtype), rows.sparse, start, *part)
            for start, *part in zip(rows.starts, rows.X, labels, strict=True)
        ],
        "checking rows and labels",
    )
    rows.classes = explainer.classes_ = _classes(explainer, known) if classes is None else classes
    classes = share(rows.classes)
    encoded = [task(_codes, part, classes) for part in labels]
    rows.codes = hold(encoded, 8 * rows.n)
    sums = gather(
        [
            total(
                [
                    task(_class_sums, len(rows.classes), *part)
                    for part in zip(rows.codes, weights, strict=True)
                ]
            )
        ],
        "counting labels",
    )[0]
    rows.counts = sums[0]
    factors = _factors(class_weight, rows.classes, *sums[:2])
    rows.class_weights = factors * sums[1]
    rows.weight = factors @ sums[1], int(sums[2][factors > 0].sum())
    if sample_weight is None and (factors == 1).all():
        rows.weights = [None] * len(rows)
    else:
        weighed = [task(_weights, *part, factors) for part in zip(rows.codes, weights, strict=True)]
        rows.weights = hold(weighed, 8 * rows.n)
    if not 0 < rows.weight[0] < np.inf:
        raise ValueError(
            "sample_weight times class_weight must be positive for some rows, and their sum a "
            f"finite number; it is {rows.weight[0]}"
        )
    return rows


def rows_of_blocks(tasks, sizes, width, dtype, sparse=False):
    """A dask array (n, width) of what tasks return for each partition."""
    options = {"meta": sp.csr_array((0, 0), dtype=dtype)} if sparse else {}
    parts = [
        da.from_delayed(one, shape=(int(size), *width), dtype=dtype, **options)
        for one, size in zip(tasks, sizes, strict=True)
    ]
    return da.concatenate(parts, axis=0)


def plain_rows(X):
    """A chunk as it is worked on."""
    return canonical_csr(X, "X") if sp.issparse(X) else np.ascontiguousarray(X)


def _on_rows(function, X, codes, weight, *args):
    X = plain_rows(X)
    weight = np.ones(X.shape[0]) if weight is None else weight
    return function(X, codes, weight, *args)


def _take(X, codes, weight, rows):
    return X[rows], codes[rows], weight[rows]


def _zeroed(weight, n, rows):
    weight = np.ones(n) if weight is None else weight.copy()
    weight[rows] = 0.0
    return weight


def _nbytes(X):
    X = plain_rows(X)
    return X.data.nbytes + X.indices.nbytes + X.indptr.nbytes if sp.issparse(X) else X.nbytes


def _checked(largest, sparse, start, X, y):
    """Sorted labels of a partition whose rows and labels are in order."""
    try:
        check_plain(X, "X")
        if sp.issparse(X) != sparse:
            raise ValueError(
                f"X has chunks that are {type(X).__name__}, but is an array of "
                f"{'sparse' if sparse else 'dense'} ones: where it is made, give meta="
                f"{'numpy.empty((0, 0))' if sparse else 'scipy.sparse.csr_array((0, 0))'}"
            )
        X = plain_rows(X)
        with np.errstate(invalid="ignore", over="ignore"):
            values = X.data if sparse else X
            assert_all_finite(values, input_name="X")
            size = max(values.max(initial=0), -values.min(initial=0))
        if size > largest / np.sqrt(X.shape[1]):
            raise ValueError(
                f"features as large as {size:.1e} are beyond what is squared and summed in "
                f"{X.dtype}: scale the features"
            )
        y = column_or_1d(y)
        assert_all_finite(y, input_name="y")
        check_classification_targets(y)
        return np.unique(y)
    except ValueError as error:
        where = f"in training rows {start}..{start + X.shape[0] - 1}"
        raise ValueError(f"{error} ({where})") from None


def _classes(explainer, known):
    kinds = {"number" if part.dtype.kind in "iufb" else part.dtype.kind for part in known}
    if len(kinds) > 1:
        raise ValueError(
            f"labels y are of several kinds in different chunks ({', '.join(sorted(kinds))}): give "
            "numbers only, or strings only"
        )
    classes = np.unique(np.concatenate(known))
    if len(classes) < 2:
        raise ValueError(
            f"{type(explainer).__name__} needs rows of at least 2 classes, but y contains only "
            f"one class: {classes.tolist()[0]!r}"
        )
    return classes


def _codes(y, classes):
    return codes_of(column_or_1d(y), classes, "label of y").astype(np.intp)


def _class_sums(n_classes, codes, weight):
    """(rows, weight, rows of positive weight) of each class."""
    counts = np.bincount(codes, minlength=n_classes)
    if weight is None:
        return counts, counts.astype(np.float64), counts
    weight = np.asarray(weight, dtype=np.float64)
    if not (np.isfinite(weight).all() and (weight >= 0).all()):
        raise ValueError(
            "sample_weight must be finite and negative nowhere; it lies in "
            f"{weight.min()}..{weight.max()}"
        )
    sums = np.bincount(codes, weights=weight, minlength=n_classes)
    return counts, sums, np.bincount(codes[weight > 0], minlength=n_classes)


def _factors(class_weight, classes, counts, sums):
    """What multiplies the weights of each class, as the installed scikit-learn has it."""
    if class_weight == "balanced":
        weighted = "sample_weight" in signature(compute_class_weight).parameters
        mass = sums if weighted else counts.astype(np.float64)
        present = sums > 0
        out = np.zeros(len(classes))
        out[present] = mass[present].sum() / (present.sum() * mass[present])
        return out
    factors = compute_sample_weight(class_weight, classes)
    if not (np.isfinite(factors).all() and (factors >= 0).all()):
        raise ValueError(f"class_weight must be finite and negative nowhere; got {class_weight}")
    return factors


def _weights(codes, weight, factors):
    return factors[codes] if weight is None else factors[codes] * np.asarray(weight, np.float64)


def _moments(X, codes, weight):
    """(weight, mean, variance, mean ||x||^2) of a partition."""
    if not weight.any():
        return 0.0, np.zeros(X.shape[1]), 0.0, 0.0
    if sp.issparse(X):
        share = _shares(weight)
        return weight.sum(), X.T @ share, total_variance(X, weight), share @ squared_norms(X, 0.0)
    parts = []
    for rows in batches(X.shape[0], max(64, 2**19 // X.shape[1])):
        part = X[rows].astype(np.float64)
        if weight[rows].any():
            share = _shares(weight[rows])
            mean = share @ part
            part -= mean
            variance = share @ row_norms(part, squared=True)
            parts.append((weight[rows].sum(), mean, variance, mean @ mean + variance))
    return _joined(parts)


def _shares(weight):
    """Weights that sum to 1."""
    weight = weight / weight.max()
    return weight / weight.sum()


def _joined(parts):
    """Moments of several partitions together."""
    weights = np.array([part[0] for part in parts])
    if not weights.any():
        return parts[0]
    share = _shares(weights)
    mean = sum(w * part[1] for w, part in zip(share, parts, strict=True))
    square = sum(w * part[3] for w, part in zip(share, parts, strict=True))
    variance = sum(
        w * (part[2] + np.sum((part[1] - mean) ** 2)) for w, part in zip(share, parts, strict=True)
    )
    return weights.sum(), mean, variance, square


def keys_of(X, codes):
    """A number of each row that equal rows with equal labels share."""
    return row_keys(X) + codes.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
