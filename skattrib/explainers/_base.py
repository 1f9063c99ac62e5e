"""The public contract of every explainer: the forms attributions take, on checked rows."""

from abc import ABCMeta, abstractmethod
from numbers import Integral
from types import SimpleNamespace

import numpy as np
import scipy.sparse as sp
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_scalar
from sklearn.utils.validation import check_is_fitted

from .._arrays.checks import plain_array, refuse_network
from . import _scoring
from ._validation import check_rows, output_config


class BaseExplainer(
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    BaseEstimator,
    metaclass=ABCMeta,
):
    """Attributions to training rows in every form, from a kernel that knows their blocks.

    Subclasses set `n_samples_fit_`; what can be explained, `_check_target` says.

    Examples
    --------
    >>> from skattrib import RepresenterRegressor, SimilarityExplainer
    >>> from skattrib.explainers import BaseExplainer
    >>> isinstance(SimilarityExplainer(), BaseExplainer)
    True
    >>> isinstance(RepresenterRegressor(), BaseExplainer)
    True
    """

    # whether rows may lie in files, to be read a block at a time
    _reads_files = False

    @abstractmethod
    def _kernel(self) -> _scoring.Kernel: ...

    @abstractmethod
    def _check_target(self, X, target) -> _scoring.Target: ...

    @staticmethod
    def _largest_norm(dtype):
        """Norm that a row may have at most."""
        return 1e-3 * np.sqrt(np.finfo(dtype).max)

    def __sklearn_tags__(self):
        """Sparse rows are welcome and attributions keep the float type of the rows."""
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def _get_fitted_attr_html(self, doc_link=""):
        """Attributes that notebooks show: those at hand, not those computed when asked for."""
        shown = BaseEstimator._get_fitted_attr_html(SimpleNamespace(**vars(self)), doc_link)
        shown.estimator_class = type(self)
        return shown

    def _validate_params(self):
        refuse_network(getattr(self, "estimator", None))
        super()._validate_params()

    @property
    def _n_features_out(self):
        return self.n_samples_fit_

    def _check_rows(self, X):
        # not any attribute: a fit that failed leaves some behind
        check_is_fitted(self, "n_samples_fit_")
        return check_rows(self, X)

    def _check_candidates(self, k, target):
        """Refuses more rows than a target compares with; most compare with all."""

    # attributions

    def transform(self, X):
        """Attributions to the predicted class.

        Parameters
        ----------
        X : array or CSR of shape (n_samples, n_features)

        Returns
        -------
        CSR array if `sparse_output`, else ndarray, of shape (n_samples, n_samples_fit_)
            Entry (j, i): what training row i contributes to the decision value of the class
            predicted for row j.

        Raises
        ------
        ValueError
            If `set_output` asks for dense containers and `sparse_output` is True.

        Notes
        -----
        ``fit_transform(X, y)`` is this for the training rows: n_samples_fit_ squared entries.
        """
        check_is_fitted(self, "n_samples_fit_")
        container = output_config("transform", self)["dense"]
        if container != "default" and getattr(self, "sparse_output", False):
            raise ValueError(
                f"attributions are sparse, which {container} output cannot hold: give "
                f"{type(self).__name__}(sparse_output=False), or set_output(transform='default')"
            )
        return self.attribute(X)

    def attribute(self, X, target=None, *, out=None):
        """What each training row contributes to an output at each row of X.

        Parameters
        ----------
        X : array or CSR of shape (n_samples, n_features)
        target : None, label, labels of shape (n_samples,), or (n_samples, n_classes)
            What is explained: the decision value of the predicted class, of one class for all
            rows, of one class a row, or any linear functional of the logits, as weights. For two
            classes a label means the margin of that class, and weights act on the logits
            (-f/2, +f/2) of the decision value f.
        out : ndarray of shape (n_samples, n_samples_fit_), optional
            Where to write dense attributions, of the float type of X; may be a memory map.

        Returns
        -------
        CSR array or ndarray of shape (n_samples, n_samples_fit_)
            `out` if given; otherwise CSR if `sparse_output`. Of the float type of X.
            Positive: the training row raises the output. Unit: that of the output.

        Raises
        ------
        ValueError
            For targets that are not classes, or of the wrong shape, and for an `out` that is unfit
            or shares memory with rows.
        """
        X = self._check_rows(X)
        return self._attribute(X, self._check_target(X, target), out)

    def _attribute(self, X, target, out):
        kernel = self._kernel()
        groups = kernel.groups(target)
        if out is not None:
            self._check_out(out, [X, *kernel.read()])
        elif getattr(self, "sparse_output", False):
            return _scoring.csr(kernel, X, groups)
        else:
            out = np.empty((X.shape[0], self.n_samples_fit_), dtype=X.dtype)
        return _scoring.dense(kernel, X, groups, out)

    def aggregate(self, X, target=None, *, weights=None) -> np.ndarray:
        """Sum of attributions over the rows of X, without the matrix of attributions.

        Parameters
        ----------
        X : array or CSR of shape (n_samples, n_features)
        target : as in `attribute`
        weights : ndarray of shape (n_samples,), optional
            Weight of each row; by default 1.

        Returns
        -------
        ndarray of shape (n_samples_fit_,)
            float64.
        """
        X = self._check_rows(X)
        target = self._check_target(X, target)
        weights = np.ones(X.shape[0]) if weights is None else weights
        weights = plain_array(weights, "weights", np.float64)
        if weights.shape != (X.shape[0],) or not np.isfinite(weights).all():
            raise ValueError(f"weights must be {X.shape[0]} finite numbers, one a row of X")
        with np.errstate(over="ignore", invalid="ignore"):
            sums = self._aggregate(X, target, weights)
        if np.isnan(sums).any() or np.isposinf(sums).any():
            raise ValueError(
                f"sums with weights as large as {np.abs(weights).max():.1e} overflow: scale the "
                "weights"
            )
        return sums

    def _check_out(self, out, read):
        _scoring.check_out(out, (read[0].shape[0], self.n_samples_fit_), read)

    def _aggregate(self, X, target, weights):
        return self._kernel().aggregate(X, target, weights)

    def top_k(
        self, X, k: int = 5, *, target=None, largest: bool = True
    ) -> tuple[np.ndarray, np.ndarray]:
        """The k strongest proponents (or opponents) of each row, without the full matrix.

        Parameters
        ----------
        X : array or CSR of shape (n_samples, n_features)
        k : int in 1..n_samples_fit_
            Of explainers with `same_class`, at most the training rows of each target class.
        target : as in `attribute`
        largest : bool
            True: the largest attributions first; False: the smallest (most negative) first.

        Returns
        -------
        values : ndarray of shape (n_samples, k)
        indices : ndarray of shape (n_samples, k)
            Training rows; equal values are in the order of the training rows.

        Raises
        ------
        ValueError
            For k out of range.
        TypeError
            If `largest` is no bool.
        """
        X = self._check_rows(X)
        target = self._check_target(X, target)
        self._check_candidates(k, target)
        return self._top_k(X, self._check_k(k), target, self._check_largest(largest))

    def _check_k(self, k):
        if not isinstance(k, Integral) or isinstance(k, bool) or not 1 <= k <= self.n_samples_fit_:
            raise ValueError(
                f"k must be an integer in 1..{self.n_samples_fit_}, the number of training rows; "
                f"got {k!r}"
            )
        return int(k)

    def _check_largest(self, largest):
        check_scalar(largest, "largest", (bool, np.bool_))
        return bool(largest)

    def _top_k(self, X, k, target, largest):
        kernel = self._kernel()
        return _scoring.top_k(kernel, X, kernel.groups(target), k, largest)

    def decompose(self, X, indices, *, target=None) -> np.ndarray | sp.csr_array:
        """How the features share the attributions of chosen training rows.

        Parameters
        ----------
        X : array or CSR of shape (n_samples, n_features)
        indices : int array of shape (n_samples, k)
            Training rows, such as `top_k` returns.
        target : as in `attribute`

        Returns
        -------
        ndarray of shape (n_samples, k, n_features), or for CSR rows CSR of (n_samples * k, ...)
            The part of ``attribute(X)[j, indices[j, q]]`` that runs through each feature (DualView
            paper, eq. 7), in [j, q] or in row ``j * k + q``. What is missing to the whole is the
            share of an intercept, where attributions have one.

        Raises
        ------
        ValueError
            For indices that are not training rows or of the wrong shape.
        """
        X, shape, pairs = self._check_pairs(X, indices, target)
        return _scoring.of_pairs(self._of_pairs("shares", X, pairs), shape, X)

    def directions(
        self, X, indices, *, target=None, side: str = "test"
    ) -> np.ndarray | sp.csr_array:
        """Gradients of the attributions of chosen training rows by the features of either row.

        Parameters
        ----------
        X : array or CSR of shape (n_samples, n_features)
        indices : int array of shape (n_samples, k)
            Training rows, such as `top_k` returns.
        target : as in `attribute`
        side : {"test", "train"}
            Whose features are meant: those of the row of X, or of the training row.

        Returns
        -------
        ndarray of shape (n_samples, k, n_features), or for CSR rows CSR of (n_samples * k, ...)
            Its product with the row's own features is ``attribute(X)[j, indices[j, q]]``, in
            [j, q] or in row ``j * k + q``, but for the share of an intercept, where attributions
            have one: feature by feature it is `decompose`. Sent back through the network whose
            features the rows are, it says which of its inputs carry the attribution.

        Raises
        ------
        ValueError
            For indices that are not training rows or of the wrong shape, and for a side that
            attributions are not linear in.

        Notes
        -----
        Coefficients are held fixed: of DualView and representer points the duals, and of a cosine
        both norms, without which the gradient would be perpendicular to the row and carry nothing
        of the attribution. Attributions of influence are linear in the test row alone, those of an
        exemplar SVM in the training row alone, whose features `decompose` then means; TRAK's in
        both gradients, of which `decompose` means the training row's.
        """
        X, shape, pairs = self._check_pairs(X, indices, target)
        self._check_side(side)
        return _scoring.of_pairs(self._of_pairs("directions", X, pairs, side), shape, X)

    def _check_side(self, side):
        if not (isinstance(side, str) and side in ("test", "train")):
            raise ValueError(f"side must be 'test' or 'train', got {side!r}")

    def _check_pairs(self, X, indices, target):
        """Checked rows, the shape of indices, and the pairs that they make."""
        X = self._check_rows(X)
        indices = self._check_indices(indices, X.shape[0])
        target = self._check_target(X, target)
        tests = np.repeat(np.arange(X.shape[0]), indices.shape[1])
        return X, indices.shape, _scoring.Pairs(tests, indices.ravel(), target)

    def _of_pairs(self, question, X, pairs, *more):
        return getattr(self._kernel(), question)(X, pairs, *more)

    def _check_indices(self, indices, m):
        indices = plain_array(indices, "indices")
        if indices.ndim != 2 or len(indices) != m or indices.dtype.kind not in "iu":
            raise ValueError(f"indices must be integers of shape ({m}, k)")
        if indices.size and not 0 <= indices.min() <= indices.max() < self.n_samples_fit_:
            raise ValueError(f"indices must be training rows, 0..{self.n_samples_fit_ - 1}")
        return indices.astype(np.intp)
