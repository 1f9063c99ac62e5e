"""Dask rows in, dask arrays out: what explainers say of test rows that are in chunks themselves."""

import dask.array as da
import numpy as np
import scipy.sparse as sp
from sklearn.metrics import accuracy_score
from sklearn.utils.validation import check_is_fitted

from .._arrays.checks import codes_of
from ._chunks import blocks_of, check_chunks, fetched, is_dask, known, pieces
from ._cluster import BLOCK, task, total
from ._parts import (
    against,
    checked_test,
    moment_of,
    placed,
    row_values,
    weighted_sum,
)
from ._rows import rows_of_blocks


class Lazy:
    """Methods of an explainer that take dask rows too, and give dask arrays then.

    These are computed when the user says, and values checked then.
    """

    def _blocks(self, X, target=None, width=0, k=None):
        """(X, sizes, tasks (rows, target)) of test rows, whose results are `width` numbers wide."""
        check_is_fitted(self, "n_samples_fit_")
        X = check_chunks(X, "X")
        if X.shape[1] != self.n_features_in_:
            raise ValueError(
                f"X has {X.shape[1]} features, but {type(self).__name__} is expecting "
                f"{self.n_features_in_} features as input"
            )
        most = max(1, BLOCK // (X.dtype.itemsize * max(width, 1)))
        sizes = [min(most, size - at) for size in X.chunks[0] for at in range(0, size, most)]
        target = self._default_target(X) if target is None else target
        if target is None or np.ndim(target) == 0:
            if target is not None:
                codes_of(target, self.classes_, "target")
            targets = [target] * len(sizes)
        else:
            targets = pieces(target, sizes, "target", (1, 2))
        light = self._cluster.light
        blocks = blocks_of(X, sizes)
        tests = [
            task(checked_test, light, block, some, k)
            for block, some in zip(blocks, targets, strict=True)
        ]
        return X, sizes, tests

    def _check_lazy(self):
        """Refuses dask rows where attributions are no matter of single partitions."""

    def _default_target(self, X):
        """What a target of None is where a row alone does not tell; else None."""
        return None

    def _row_values(self, method, X, width=(), dtype=np.float64, target=None, more=()):
        """What a method says of each test row alone."""
        _, sizes, tests = self._blocks(X, target, width=int(np.prod(width)))
        light = self._cluster.light
        tasks = [task(row_values, light, method, test, *more) for test in tests]
        return rows_of_blocks(tasks, sizes, width, dtype)

    def predict(self, X):
        """See the explainer of one machine; a dask array for dask rows."""
        if not is_dask(X):
            return super().predict(X)
        return self._row_values("predict", X, dtype=self.classes_.dtype)

    def score(self, X, y, sample_weight=None):
        """See the explainer of one machine."""
        predicted = fetched(self.predict(X), "predicting")
        return accuracy_score(fetched(y), predicted, sample_weight=fetched(sample_weight))

    def attribute(self, X, target=None, *, out=None):
        """See the explainer of one machine; a dask array for dask rows."""
        if not is_dask(X):
            return super().attribute(X, target, out=out)
        if out is not None:
            raise ValueError(
                "out is for NumPy rows: of dask rows, dask.array.store(attribute(X), out)"
            )
        self._check_lazy()
        training = self._cluster.training
        X, sizes, tests = self._blocks(X, target, width=int(training.sizes.max()))
        sparse = getattr(self, "sparse_output", False)
        options = {"dtype": X.dtype}
        if sparse:
            options["meta"] = sp.csr_array((0, 0), dtype=X.dtype)
        grid = [
            [
                da.from_delayed(one, shape=(size, int(width)), **options)
                for one, width in zip(self._ask("attribute", test), training.sizes, strict=True)
            ]
            for size, test in zip(sizes, tests, strict=True)
        ]
        return da.concatenate([da.concatenate(line, axis=1) for line in grid], axis=0)

    def top_k(self, X, k=5, *, target=None, largest=True):
        """See the explainer of one machine; two dask arrays for dask rows."""
        if not is_dask(X):
            return super().top_k(X, k, target=target, largest=largest)
        self._check_lazy()
        k, largest = self._check_k(k), self._check_largest(largest)
        X, sizes, tests = self._blocks(X, target, width=k, k=k)
        best = [self._best(test, k, largest) for test in tests]
        return tuple(
            rows_of_blocks([one[place] for one in best], sizes, (k,), dtype)
            for place, dtype in enumerate((X.dtype, np.int64))
        )

    def aggregate(self, X, target=None, *, weights=None):
        """See the explainer of one machine; a dask array for dask rows."""
        if not is_dask(X):
            return super().aggregate(X, target, weights=weights)
        self._check_lazy()
        X, sizes, tests = self._blocks(X, target)
        weights = (
            [np.ones(n) for n in sizes] if weights is None else pieces(weights, sizes, "weights")
        )
        if self._moment_kernel() is None:
            sums = [
                self._ask(weighted_sum, test, some)
                for test, some in zip(tests, weights, strict=True)
            ]
            tasks = [total(list(parts)) for parts in zip(*sums, strict=True)]
        else:
            light = self._cluster.light
            moments = [
                task(moment_of, light, test, some)
                for test, some in zip(tests, weights, strict=True)
            ]
            tasks = self._ask(against, total(moments))
        return rows_of_blocks(tasks, self._cluster.training.sizes, (), np.float64)

    def decompose(self, X, indices, *, target=None):
        """See the explainer of one machine; a dask array for dask rows."""
        if not is_dask(X):
            return super().decompose(X, fetched(indices), target=target)
        return self._pairs("shares", X, indices, target)

    def directions(self, X, indices, *, target=None, side="test"):
        """See the explainer of one machine; a dask array for dask rows."""
        if not is_dask(X):
            return super().directions(X, fetched(indices), target=target, side=side)
        self._check_side(side)
        return self._pairs("directions", X, indices, target, side)

    def _pairs(self, question, X, indices, target, *more):
        self._check_lazy()
        X = known(check_chunks(X, "X"))
        indices = self._check_indices(fetched(indices), X.shape[0])
        k, d = indices.shape[1], X.shape[1]
        X, sizes, tests = self._blocks(X, target, width=k * d)
        tasks, first = [], 0
        for size, test in zip(sizes, tests, strict=True):
            rows = indices[first : first + size].ravel()
            numbers = np.repeat(np.arange(size), k)
            found, places = self._ask_pairs(question, test, numbers, rows, *more)
            tasks.append(task(placed, found, places, (size, k, d), X.dtype))
            first += size
        if sp.issparse(X._meta):
            return rows_of_blocks(tasks, np.multiply(sizes, k), (d,), X.dtype, sparse=True)
        return rows_of_blocks(tasks, sizes, (k, d), X.dtype)


class LazyHead(Lazy):
    """And those of an explainer with a head."""

    def decision_function(self, X):
        """See the explainer of one machine; a dask array for dask rows."""
        if not is_dask(X):
            return super().decision_function(X)
        K = len(self.classes_)
        return self._row_values("decision_function", X, (K,) if K > 2 else ())

    def target_weights(self, X, output="logit", y=None):
        """See the explainer of one machine; a dask array for dask rows."""
        if not is_dask(X):
            return super().target_weights(X, output, y)
        one = np.zeros((1, self.n_features_in_))
        super().target_weights(one, output, None if y is None else self.classes_[0])
        width = (len(self.classes_),)
        return self._row_values("target_weights", X, width, target=y, more=(output, y is None))


class LazyDual(LazyHead):
    """And those of an explainer whose head is a sum over training rows."""

    def base_value(self, X, target=None):
        """See the explainer of one machine; a dask array for dask rows."""
        if not is_dask(X):
            return super().base_value(X, target)
        return self._row_values("base_value", X, target=target)


class LazySoftmax(LazyHead):
    """And those of an explainer with probabilities."""

    def predict_proba(self, X):
        """See the explainer of one machine; a dask array for dask rows."""
        if not is_dask(X):
            return super().predict_proba(X)
        return self._row_values("predict_proba", X, (len(self.classes_),))

    def predict_log_proba(self, X):
        """See the explainer of one machine; a dask array for dask rows."""
        if not is_dask(X):
            return super().predict_log_proba(X)
        return self._row_values("predict_log_proba", X, (len(self.classes_),))
