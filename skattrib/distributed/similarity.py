"""Similarity to training rows on a cluster."""

from copy import copy

import numpy as np

from .. import explainers
from ._chunks import is_dask
from ._cluster import gather, share, task, total
from ._explainer import ClusterExplainer
from ._parts import codes_at
from ._rows import rows_of_blocks, training_rows


class SimilarityPart(explainers.SimilarityExplainer):
    """Of some of the training rows; what a target compares with is known of all."""

    def _class_counts(self):
        return self._fit_counts


class SimilarityExplainer(ClusterExplainer, explainers.SimilarityExplainer):
    """`skattrib.SimilarityExplainer` of training rows on a Dask cluster.

    Parameters
    ----------
    metric, same_class, sparse_output
        See `skattrib.SimilarityExplainer`.

    Attributes
    ----------
    classes_, n_samples_fit_, n_features_in_
        See `skattrib.SimilarityExplainer`.
    self_influence_ : dask array of shape (n_samples_fit_,)

    Examples
    --------
    >>> import dask.array as da
    >>> from sklearn.datasets import load_iris
    >>> from skattrib.distributed import SimilarityExplainer
    >>> X, y = load_iris(return_X_y=True)
    >>> rows = da.from_array(X, chunks=(50, -1))
    >>> explainer = SimilarityExplainer(metric="euclidean").fit(rows, y)
    >>> values, found = explainer.top_k(X[:1], k=1)
    >>> found
    array([[0]])
    """

    _single = SimilarityPart

    def fit(self, X, y) -> "SimilarityExplainer":
        """Keep the training rows where they are.

        Parameters
        ----------
        X : dask array of shape (n_samples, n_features)
            In chunks of rows; kept in the memory of the workers if it takes no more than 0.3 of
            that, read for every call otherwise.
        y : dask array or array of shape (n_samples,)

        Returns
        -------
        SimilarityExplainer

        Raises
        ------
        TypeError
            For rows that are no dask array.
        ValueError
            For chunks of columns, data that are not finite, or one class only.
        RuntimeError
            When the cluster has lost its workers.
        """
        self._validate_params()
        training = training_rows(self, X, y)
        self._given, self._fit_counts = (X, y, None), training.counts
        self._fit_same_class, self._fit_metric = self.same_class, self.metric
        self.n_samples_fit_ = training.n
        self._connect(training)
        return self

    def _light(self):
        light = self._bare()
        light._fit_X = np.empty((0, self.n_features_in_))
        light._fit_codes = np.empty(0, dtype=np.intp)
        return light

    @staticmethod
    def _part(light, X, codes, weight, state):
        part = copy(light)
        part._fit_X, part._fit_codes, part.n_samples_fit_ = X, codes, X.shape[0]
        return part

    def _class_counts(self):
        return self._fit_counts

    def _check_question(self, question):
        if self._fit_metric == "euclidean":
            raise ValueError(
                "decompose and directions are for metric 'dot' or 'cosine': a distance is no sum"
            )

    def predict(self, X):
        """See `skattrib.SimilarityExplainer`; a dask array for dask rows."""
        if not is_dask(X):
            return super().predict(X)
        _, sizes, tests = self._blocks(X, self.classes_[0])
        classes = share(self.classes_)
        tasks = [task(np.take, classes, self._nearest(test)) for test in tests]
        return rows_of_blocks(tasks, sizes, (), self.classes_.dtype)

    def _predict_codes(self, X):
        codes = np.empty(X.shape[0], dtype=np.intp)
        target = self._check_target(X, self.classes_[0])
        for rows, _, test in self._pieces(X, target, X.shape[1]):
            codes[rows] = gather([self._nearest(test)], "looking for the nearest rows")[0]
        return codes

    def _default_target(self, X):
        return self.predict(X) if self._fit_same_class else None

    def _nearest(self, test):
        """A task: codes of the most similar training rows, of whatever class."""
        light = self._light()
        light._fit_same_class = False
        best = self._best(test, 1, True, light=share(light))
        training = self._cluster.training
        parts = zip(training.codes, training.starts, strict=True)
        return total([task(codes_at, *part, best) for part in parts])
