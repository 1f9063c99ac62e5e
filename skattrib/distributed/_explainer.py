"""What explainers of rows on a cluster share: an explainer of one machine for each partition."""

import operator as op
from copy import copy
from functools import partial
from typing import NamedTuple

import dask.array as da
import numpy as np
import scipy.sparse as sp
from sklearn.utils.validation import check_is_fitted

from .._arrays import batches
from ..explainers import BaseExplainer
from ._cluster import (
    BLOCK,
    current_client,
    gather,
    hold,
    most_at_once,
    share,
    task,
    total,
)
from ._lazy import Lazy
from ._parts import against, answer, best_of, merged, named, of_pairs, weighted_sum
from ._rows import TrainingRows, rows_of_blocks, training_rows


class There(NamedTuple):
    """What an explainer has on a cluster."""

    client: str
    training: TrainingRows
    state: list  # what the fit made of each partition, as tasks
    light: object  # the explainer without rows, as a task


class ClusterExplainer(Lazy, BaseExplainer):
    """An explainer whose training rows are partitions of a dask array.

    Subclasses stand before the explainer of one machine, `_single`, and keep in `_given` what
    `fit` was given. Each partition answers for its own rows, as an explainer of that class.
    """

    _reads_files = False
    _single: type
    _given: tuple
    _fit_class_weight = None
    _fit_ids = None  # rows have numbers only
    # attributes that are left out of what is sent to workers, and of what is pickled
    _not_sent: tuple[str, ...] = ("_given", "_there")
    _not_kept: tuple[str, ...] = ("_there",)

    def _light(self):
        """An explainer of one machine with this head and no training rows."""
        raise NotImplementedError

    @staticmethod
    def _part(light, X, codes, weight, state):
        """That explainer with the rows of a partition."""
        raise NotImplementedError

    def _make_state(self, training):
        """What of the fit each partition keeps, as tasks or None."""
        return [None] * len(training)

    def _bare(self):
        """An explainer of one machine with the attributes of this one."""
        light = self._single.__new__(self._single)
        light.__dict__.update(vars(self))
        for name in self._not_sent:
            light.__dict__.pop(name, None)
        return light

    def __getstate__(self):
        """Of what is on the cluster nothing is kept: it is made again where it is needed."""
        state = dict(super().__getstate__())
        for name in self._not_kept:
            state.pop(name, None)
        return state

    def _connect(self, training):
        """Keeps on the cluster what attributions are made of."""
        client = current_client().id
        state, light = self._make_state(training), hold([share(self._light())], 0)[0]
        self._there = There(client, training, state, light)

    @property
    def _cluster(self):
        check_is_fitted(self, "n_samples_fit_")
        there = self.__dict__.get("_there")
        if there is None or there.client != current_client().id:
            options = self._fit_class_weight, self.classes_
            self._connect(training_rows(self, *self._given, *options))
        return self._there

    def _training_of(self, X_train, y_train, sample_weight):
        """The training rows; checked anew where they are not the objects that `fit` was given."""
        given = X_train, y_train, sample_weight
        if all(one is None for one in given) or all(map(op.is_, given, self._given)):
            return self._cluster.training
        options = self._fit_class_weight, self.classes_
        training = training_rows(copy(self), *given, *options)
        if (training.n, training.d) != (self.n_samples_fit_, self.n_features_in_):
            raise ValueError(
                f"X_train and y_train must be the {self.n_samples_fit_} rows of "
                f"{self.n_features_in_} features given to fit, got {training.n} of {training.d}"
            )
        return training

    def _kernel(self):
        raise NotImplementedError("the training rows are on a cluster")

    @property
    def _fit_codes(self):
        """Codes of the labels of all training rows, in as few bytes as hold them."""
        small = np.min_scalar_type(len(self.classes_))
        tasks = [task(np.ndarray.astype, part, small) for part in self._cluster.training.codes]
        return np.concatenate(gather(tasks, "fetching labels"))

    def _ask(self, function, *args, where=None, light=None):
        """Tasks ``function(explainer, start, *args)``, of each partition's explainer."""
        _, training, state, known = self._cluster
        light = known if light is None else light
        where = range(len(training)) if where is None else where
        return [
            training.at(p, answer, self._part, light, state[p], function, training.starts[p], *args)
            for p in where
        ]

    # test rows of one machine

    def _light_for(self, X, target):
        """The task of the explainer that answers for these test rows."""
        return self._cluster.light

    def _most_rows(self, nbytes):
        """Test rows that are asked for at once, if each takes so many bytes."""
        return max(1, BLOCK // nbytes)

    def _pieces(self, X, target, width):
        """(slice, explainer, test rows and target), whose results are `width` numbers wide."""
        for rows in batches(X.shape[0], self._most_rows(X.dtype.itemsize * width)):
            some = target.rows(rows)
            yield rows, self._light_for(X[rows], some), share((X[rows], named(self, some)))

    def _attribute(self, X, target, out):
        n = self.n_samples_fit_
        sparse = out is None and getattr(self, "sparse_output", False)
        if out is not None:
            self._check_out(out, [X])
        elif not sparse:
            out = np.empty((X.shape[0], n), dtype=X.dtype)
        parts = [sp.csr_array((0, n), dtype=X.dtype)]
        largest = int(self._cluster.training.sizes.max())
        # what partitions send back stays below what is fetched at once
        width = max(largest, n * BLOCK // max(1, most_at_once()))
        for rows, light, test in self._pieces(X, target, width):
            tasks = self._ask("attribute", test, light=light)
            found = gather(tasks, "attributing to training rows")
            if sparse:
                parts.append(sp.hstack(found, format="csr"))
                continue
            for start, block in zip(self._cluster.training.starts, found, strict=True):
                out[rows, start : start + block.shape[1]] = (
                    block.toarray() if sp.issparse(block) else block
                )
        return sp.csr_array(sp.vstack(parts, format="csr")) if sparse else out

    def _top_k(self, X, k, target, largest):
        values = np.empty((X.shape[0], k), dtype=X.dtype)
        indices = np.empty((X.shape[0], k), dtype=np.int64)
        for rows, light, test in self._pieces(X, target, max(k, X.shape[1])):
            best = self._best(test, k, largest, light)
            values[rows], indices[rows] = gather([best], "looking for the strongest rows")[0]
        return values, indices

    def _best(self, test, k, largest, light=None):
        """A task: the k strongest training rows of test rows, (values, indices)."""
        n = self.n_samples_fit_
        parts = self._ask(best_of, test, k, largest, n, light=light)
        # of one partition too: places without a row are last
        return total(parts, partial(merged, k=k, largest=largest))

    def _aggregate(self, X, target, weights):
        kernel = self._moment_kernel()
        if kernel is None:
            args = share((X, named(self, target))), share(weights)
            tasks = self._ask(weighted_sum, *args)
        else:
            tasks = self._ask(against, share(kernel.moment(X, target, weights)))
        return np.concatenate(gather(tasks, "aggregating over training rows"))

    def _moment_kernel(self):
        """What makes moments of test rows, where sums of attributions follow from them."""
        return None

    def _of_pairs(self, question, X, pairs, *more):
        test = share((X, named(self, pairs.target)))
        tasks, places = self._ask_pairs(question, test, pairs.tests, pairs.rows, *more)
        return zip(places, gather(tasks, "fetching pairs of rows"), strict=True)

    def _ask_pairs(self, question, test, tests, rows, *more):
        """(tasks of the partitions that have any of the rows, places of these among the pairs)."""
        self._check_question(question)
        parts = list(self._cluster.training.split(rows))
        tasks = [
            self._ask(of_pairs, question, test, tests[here], some, *more, where=[p])[0]
            for p, some, here in parts
        ]
        return tasks, [here for *_, here in parts]

    def _check_question(self, question):
        """Refuses what single partitions cannot say of pairs."""

    # training rows

    def _of_rows(self, name, width=(), dtype=np.float64):
        """An attribute of all training rows, as a dask array."""
        tasks = self._ask(name)
        return rows_of_blocks(tasks, self._cluster.training.sizes, width, dtype)

    @property
    def self_influence_(self) -> da.Array:
        """What each training row contributes at itself, a dask array (n_samples_fit_,)."""
        return self._of_rows("self_influence_")
