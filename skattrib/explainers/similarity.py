"""Similarity of test and training rows as attribution: the baselines."""

from numbers import Integral, Real

import numpy as np
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.svm import LinearSVC
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from .._arrays import full, squared_norms
from . import _scoring
from ._classifier import ClassifierExplainer
from ._kernels.similarity import ExemplarKernel, SimilarityKernel, group
from ._validation import Interval, StrOptions, check_training_data, fit_context

# LIBLINEAR does not end where squares of features underflow
NEGLIGIBLE = 1e-150
# LIBLINEAR stops where the objective falls by no more than 1e-12 of itself
UNMOVED = 1e-10


class _Similarities(ClassifierExplainer):
    """What the two explainers without a head share: training rows kept, label targets only."""

    def _keep(self, X, y):
        X, _ = check_training_data(self, X, y)
        self._fit_same_class = self.same_class
        self._fit_X, self.n_samples_fit_ = X, X.shape[0]
        return self

    def _class_counts(self):
        return np.bincount(self._fit_codes, minlength=len(self.classes_))

    def _check_target(self, X, target):
        if target is None and not self._fit_same_class:
            # rows of all classes are compared: to predict one would double the cost
            return _scoring.Target(np.zeros(X.shape[0], dtype=np.intp))
        return super()._check_target(X, target)

    def _check_candidates(self, k, target):
        if not (self._fit_same_class and isinstance(k, Integral)):
            return
        rows = self._class_counts()
        scarce = target.codes[rows[target.codes] < k]
        if len(scarce):
            raise ValueError(
                f"k={k}, but class {self.classes_.tolist()[scarce[0]]!r} has only "
                f"{rows[scarce[0]]} training rows, and same_class=True compares no others"
            )


class SimilarityExplainer(_Similarities):
    """Explains by similar training rows: the baseline that every attribution has to beat.

    What it says depends on what the rows are. Embeddings: the embedding baseline, with
    ``same_class=True``. Gradients of the loss: GradDot and GradCos, and of several checkpoints or
    dropout copies side by side: TracIn and the inner-product ensemble. See the examples.

    Parameters
    ----------
    metric : {"dot", "cosine", "euclidean"}, default="dot"
        "euclidean" is minus the distance. The cosine with a row of zeros is 0.
    same_class : bool, default=False
        Compare only with training rows of the target class. The others are -inf in dense
        attributions, absent from CSR and from `aggregate`, and never returned by `top_k`.
    sparse_output : bool, default=False
        Whether `transform` and `attribute` return CSR.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    self_influence_ : ndarray of shape (n_samples_fit_,)
        Similarity of each training row to itself.
    n_samples_fit_ : int
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)

    Notes
    -----
    Sign and unit: larger is more similar, in the unit of the metric. There is no model here, so
    that attributions sum to nothing in particular; targets are labels and matter only with
    `same_class`. `predict` gives the label of the most similar training row.

    Attributions cost as much as the product of test rows with all training rows.

    The training rows are kept, not copied, if they are float32 or float64 in C order: they may be
    a memory map or `RowBlocks` larger than memory, of which pickles hold a reference. Do not change
    them in place after `fit`, or attributions change with them.

    References
    ----------
    Charpiat et al., "Input similarity from the neural network perspective", NeurIPS 2019 (GradDot,
    GradCos). Hanawa et al., "Evaluation of similarity-based explanations", ICLR 2021. Pruthi et
    al., "Estimating training data influence by tracing gradient descent", NeurIPS 2020 (TracIn).

    Examples
    --------
    GradDot and GradCos of a softmax head, whose loss gradient is (p - q) (x) phi:

    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skattrib import SimilarityExplainer
    >>> X, y = load_iris(return_X_y=True)
    >>> head = LogisticRegression(max_iter=1000).fit(X, y)
    >>> def gradients(X, y, head=head):
    ...     residual = head.predict_proba(X) - np.eye(3)[y]
    ...     return (residual[:, :, None] * X[:, None, :]).reshape(len(X), -1)
    >>> G = gradients(X, y)
    >>> SimilarityExplainer(metric="dot").fit(G, y).transform(G).shape
    (150, 150)
    >>> cosine = SimilarityExplainer(metric="cosine").fit(G, y)
    >>> values, rows = cosine.top_k(G[:1], k=1)
    >>> int(rows[0, 0])
    0

    SIM-rp, the same on random projections:

    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.random_projection import GaussianRandomProjection
    >>> projection = GaussianRandomProjection(8, random_state=0)
    >>> make_pipeline(projection, SimilarityExplainer()).fit(G, y).transform(G).shape
    (150, 150)

    TracIn, checkpoints side by side, each scaled by the root of its learning rate:

    >>> heads = [LogisticRegression(C=C, max_iter=1000).fit(X, y) for C in (0.1, 1.0)]
    >>> rates = [0.5, 0.1]
    >>> G = np.hstack([eta**0.5 * gradients(X, y, h) for eta, h in zip(rates, heads)])
    >>> tracin = SimilarityExplainer(metric="dot").fit(G, y).attribute(G)

    IP-Ensemble, dropout copies side by side, scaled by one over the root of their number:

    >>> rng = np.random.default_rng(0)
    >>> copies = [X * (rng.random(X.shape) >= rng.uniform(0, 0.01)) for _ in range(4)]
    >>> G = np.hstack([gradients(copy, y) / 4**0.5 for copy in copies])
    >>> ensemble = SimilarityExplainer(metric="dot").fit(G, y).attribute(G)
    """

    _reads_files = True
    _parameter_constraints: dict = {
        "metric": [StrOptions({"dot", "cosine", "euclidean"})],
        "same_class": ["boolean"],
        "sparse_output": ["boolean"],
    }

    def __init__(self, *, metric="dot", same_class=False, sparse_output=False):
        self.metric = metric
        self.same_class = same_class
        self.sparse_output = sparse_output

    @fit_context
    def fit(self, X, y) -> "SimilarityExplainer":
        """Keep the training rows.

        Parameters
        ----------
        X : array or CSR of shape (n_samples, n_features)
            Kept without a copy if float32 or float64 in C order.
        y : array of shape (n_samples,)

        Returns
        -------
        SimilarityExplainer

        Raises
        ------
        ValueError
            For data that are not finite, or one class only.
        """
        self._fit_metric = self.metric
        return self._keep(X, y)

    def _predict_codes(self, X):
        kernel = SimilarityKernel(self._fit_X, None, self._fit_metric)
        groups = [group(np.arange(X.shape[0]), np.arange(self.n_samples_fit_))]
        return self._fit_codes[_scoring.top_k(kernel, X, groups, 1, True)[1][:, 0]]

    def _kernel(self):
        codes = self._fit_codes if self._fit_same_class else None
        return SimilarityKernel(self._fit_X, codes, self._fit_metric)

    @property
    def self_influence_(self) -> np.ndarray:
        """Similarity of each training row to itself, (n_samples_fit_,)."""
        check_is_fitted(self, "n_samples_fit_")
        squares = squared_norms(self._fit_X, 0.0)
        if self._fit_metric == "dot":
            return squares
        return (squares > 0).astype(float) * (self._fit_metric == "cosine")


class ExemplarSVMExplainer(_Similarities):
    """Explains by the distance of training rows to an SVM with the test row as the one positive.

    The hyperplane weighs the features that tell the test row from the rest: a similarity made for
    each test row.

    Parameters
    ----------
    C : float, default=1.0
        Of the SVM's squared hinge loss, as in scikit-learn's LinearSVC.
    same_class : bool, default=False
        As in SimilarityExplainer. The SVM sees all training rows in any case.
    sparse_output : bool, default=False
        Whether `transform` and `attribute` return CSR.
    tol : float, default=1e-4
        Of LinearSVC.
    n_jobs : int or None, default=None
        Threads that fit SVMs, as in joblib.
    random_state : int, RandomState or None, default=None
        Of LinearSVC.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    self_influence_ : ndarray of shape (n_samples_fit_,)
        Distance of each training row to the hyperplane made for it: n_samples_fit_ SVMs. Lazy.
    n_samples_fit_ : int
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)

    Notes
    -----
    Sign and unit: the signed distance of the training row to the hyperplane, positive on the side
    of the test row, in the unit of the features. The positive weighs as much as all training rows
    together. `decompose` leaves out the intercept's share.

    Every test row costs the fit of a LinearSVC on all training rows.

    The training rows are kept, not copied, if they are float32 or float64 in C order: do not
    change them in place after `fit`, or attributions change with them.

    References
    ----------
    Malisiewicz, Gupta and Efros, "Ensemble of exemplar-SVMs for object detection and beyond",
    ICCV 2011.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skattrib import ExemplarSVMExplainer
    >>> X, y = load_iris(return_X_y=True)
    >>> explainer = ExemplarSVMExplainer(random_state=0).fit(X[1:], y[1:])
    >>> values, rows = explainer.top_k(X[:1], k=3)
    >>> y[1:][rows]
    array([[0, 0, 0]])
    """

    _parameter_constraints: dict = {
        "C": [Interval(Real, 1e-100, 1e100, closed="both")],
        "same_class": ["boolean"],
        "sparse_output": ["boolean"],
        "tol": [Interval(Real, 0, None, closed="neither")],
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        *,
        C=1.0,
        same_class=False,
        sparse_output=False,
        tol=1e-4,
        n_jobs=None,
        random_state=None,
    ):
        self.C = C
        self.same_class = same_class
        self.sparse_output = sparse_output
        self.tol = tol
        self.n_jobs = n_jobs
        self.random_state = random_state

    @fit_context
    def fit(self, X, y) -> "ExemplarSVMExplainer":
        """Keep the training rows.

        Parameters
        ----------
        X : array or CSR of shape (n_samples, n_features)
            Kept without a copy if float32 or float64 in C order.
        y : array of shape (n_samples,)

        Returns
        -------
        ExemplarSVMExplainer

        Raises
        ------
        ValueError
            For data that are not finite, or one class only.
        """
        self._keep(X, y)
        self._svm = LinearSVC(
            C=self.C,
            dual=False,
            class_weight={1: self.n_samples_fit_},
            tol=self.tol,
            max_iter=10_000,
            random_state=int(check_random_state(self.random_state).randint(2**31 - 1)),
        )
        return self

    @staticmethod
    def _largest_norm(dtype):
        # beyond, LIBLINEAR's Newton steps come to nothing
        return 1e8

    def _plane(self, row):
        """Unit normal and offset of the hyperplane of one test row, (d + 1,)."""
        n = self.n_samples_fit_
        if sp.issparse(row) or sp.issparse(self._fit_X):
            rows = sp.csr_array(sp.vstack([row, self._fit_X]))
            if rows.nnz <= np.iinfo(np.int32).max:
                # LIBLINEAR has no others
                rows.indices, rows.indptr = rows.indices.astype("i4"), rows.indptr.astype("i4")
        else:
            rows = np.vstack([row, self._fit_X])
        values = rows.data if sp.issparse(rows) else rows
        values[np.abs(values) < NEGLIGIBLE] = 0.0
        svm = clone(self._svm).fit(rows, np.arange(n + 1) == 0)
        plane = np.append(svm.coef_[0], svm.intercept_)
        norm = np.linalg.norm(svm.coef_)
        if norm == 0 and 0 < self.C * (n + 1) * squared_norms(rows, 0.0).max() < UNMOVED:
            raise ValueError(
                f"C = {self.C:.1e} is so small for rows of this size that LIBLINEAR does not move: "
                "raise C, or scale the features"
            )
        return plane / norm if norm > 0 else np.zeros_like(plane)

    def _predict_codes(self, X):
        kernel = ExemplarKernel(self._fit_X, None, self._plane, self.n_jobs)
        groups = kernel.groups(_scoring.Target(np.zeros(X.shape[0], dtype=np.intp)))
        return self._fit_codes[_scoring.top_k(kernel, X, groups, 1, True)[1][:, 0]]

    def _kernel(self):
        codes = self._fit_codes if self._fit_same_class else None
        return ExemplarKernel(self._fit_X, codes, self._plane, self.n_jobs)

    @property
    def self_influence_(self) -> np.ndarray:
        """Distance of each training row to its own hyperplane, (n_samples_fit_,)."""
        check_is_fitted(self, "n_samples_fit_")
        planes = self._kernel().left(self._fit_X)[:, 0]
        rows = full(self._fit_X)
        return np.einsum("id,id->i", planes[:, :-1], rows) + planes[:, -1]
