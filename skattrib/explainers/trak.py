"""TRAK: kernels of the gradients of any network, as rows."""

import warnings
from numbers import Integral, Real

import numpy as np
from scipy.special import expit, logit
from sklearn.utils.validation import check_is_fitted

from .._arrays import batches, full, products
from .._arrays.checks import plain_array
from ..gradients.gauss_newton import solve_models, warn_of_sketches
from . import _scoring
from ._classifier import ClassifierExplainer
from ._kernels.similarity import TRAKKernel
from ._validation import Interval, StrOptions, check_training_data, fit_context

# rows as narrow as this are hardly sketches
NARROW = 128


class TRAKExplainer(ClassifierExplainer):
    """Explains by gradients of a network's log-odds, seen through their curvature.

    Linearizes the network in its weights: a training row is what it does to them, by its gradient
    and its residual, in the metric of the regularized curvature of all training rows.

    Parameters
    ----------
    n_models : int, default=1
        Networks whose gradients stand side by side in the rows, as many columns each.
    ridge : float, default=2.0
        The penalty, in units of the mean weighted squared norm of the training gradients: so it
        does not depend on how many there are, how wide they are or what they are scaled by.
    curvature : {"logistic", "identity"}, default="logistic"
        Weights of the training rows in the curvature: "logistic" p (1 - p), those of the
        Gauss-Newton matrix of the loss; "identity" 1, as in the paper.
    temperature : float, default=2.0
        By which the log-odds of `probabilities` are divided first: networks are surer of the rows
        they were trained on than they are right. 1 for gradients and probabilities that are those
        of divided logits already.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    effective_dimension_ : ndarray of shape (n_models,)
        ``trace(F (F + lambda I)^-1)`` of the curvature F of each model: how many directions the
        penalty leaves. Sketches should have some times as many columns.
    penalty_ : ndarray of shape (n_models,)
        lambda.
    self_influence_ : ndarray of shape (n_samples_fit_,)
        What each training row contributes to the log-odds of its own label. Lazy.
    n_samples_fit_ : int
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)

    Notes
    -----
    With gradients phi_i of the training rows and g_j of the test rows, and own probabilities p_i,
    at the temperature::

        T[j, i] = g_j^T (sum_i w_i phi_i phi_i^T + lambda I)^-1 phi_i (1 - p_i)
        lambda = ridge * mean_i w_i ||phi_i||^2

    For several models the mean over models of these products; for curvature "identity" the paper's
    two means, of the products without 1 - p_i and of 1 - p_i. The paper's TRAK has curvature
    "identity", no ridge and temperature 1.

    Sign and unit: positive, the row raises the explained output. With "logistic" the unit is that
    of the output, to first order in the weights. Attributions do not sum to the output.

    **Targets.** Gradients of test rows are those of the output that is explained: to explain
    another output, give other gradients. A `target` is checked to be a class, and changes nothing.
    `predict` is the class whose training rows raise the output most, all together.

    **Settings.** Linear datamodeling scores of one CNN of 204,000 parameters and of the mean of
    five, against 50 really retrained halves x 3 seeds of 3,000 rows (noise of the seeds leaves .75
    at most): .32 and .47 with gradients sketched to 4,096 numbers; .21 and .36 to 512, .33 and .48
    to 8,192; there temperature 1 has .27 and .41, ridge 0.3 to 10 .26 to .35 and .41 to .48.
    Several checkpoints of one training as `n_models` are better than the last alone.

    Work is in the space of the columns, or of the training rows where they are fewer. The training
    rows are kept, not copied, if they are float32 or float64 in C order: do not change them in
    place after `fit`.

    References
    ----------
    Park et al., "TRAK: Attributing model behavior at scale", ICML 2023.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.neural_network import MLPClassifier
    >>> from skattrib import TRAKExplainer, mlp_gradients
    >>> X, y = load_iris(return_X_y=True)
    >>> mlp = MLPClassifier((8,), max_iter=2000, random_state=0).fit(X, y)
    >>> p = mlp.predict_proba(X)[range(150), y]
    >>> explainer = TRAKExplainer().fit(mlp_gradients(mlp, X, y), y, probabilities=p)
    >>> explainer.attribute(mlp_gradients(mlp, X[:2])).shape
    (2, 150)
    """

    _parameter_constraints: dict = {
        "n_models": [Interval(Integral, 1, None, closed="left")],
        "ridge": [Interval(Real, 0, None, closed="neither")],
        "curvature": [StrOptions({"logistic", "identity"})],
        "temperature": [Interval(Real, 0, None, closed="neither")],
    }

    def __init__(self, n_models=1, *, ridge=2.0, curvature="logistic", temperature=2.0):
        self.n_models = n_models
        self.ridge = ridge
        self.curvature = curvature
        self.temperature = temperature

    @fit_context
    def fit(self, X, y, *, probabilities=None) -> "TRAKExplainer":
        """Factorize the curvature of the training gradients.

        Parameters
        ----------
        X : array or CSR of shape (n_samples, n_models * k)
            Gradients of the log-odds of each row's own label.
        y : array of shape (n_samples,)
        probabilities : array of shape (n_samples,) or (n_samples, n_models), optional
            Of each row's own label, as each model has it. None: 1/2 for all rows, as if the model
            were as sure of one as of the other; curvature "logistic" warns of it.

        Returns
        -------
        TRAKExplainer

        Raises
        ------
        ValueError
            For columns that `n_models` does not divide, and for what are no probabilities.
        """
        X, codes = check_training_data(self, X, y)
        p = self._checked_probabilities(probabilities, X.shape[0])
        k, rest = divmod(X.shape[1], self.n_models)
        if rest or not k:
            raise ValueError(
                f"X has {X.shape[1]} columns, which n_models={self.n_models} does not divide"
            )
        models = [X[:, m * k : (m + 1) * k] for m in range(self.n_models)]
        self._inverses, self._right = solve_models(models, p, self.curvature, self.ridge)
        self.effective_dimension_ = np.array([one.effective_dimension for one in self._inverses])
        self.penalty_ = np.array([one.penalty for one in self._inverses])
        if NARROW <= k < X.shape[0]:
            remedy = "If the rows are sketches, make them with a larger k."
            warn_of_sketches([k] * self.n_models, self.effective_dimension_, remedy)
        self._fit_X = X
        self._coef = self._class_directions(codes)
        self.n_samples_fit_ = X.shape[0]
        return self

    def _checked_probabilities(self, p, n):
        M = self.n_models
        if p is None:
            if self.curvature == "logistic":
                warnings.warn(
                    "without probabilities of the rows' own labels all rows weigh alike: give "
                    "fit(X, y, probabilities=p), or curvature='identity'",
                    UserWarning,
                    stacklevel=4,
                )
            return np.full((n, M), 0.5)
        p = plain_array(p, "probabilities", np.float64)
        p = p[:, None] if p.shape == (n,) and M == 1 else p
        if p.shape != (n, M):
            raise ValueError(
                f"probabilities must have shape ({n}, {M}), one of each row's own label for each "
                f"model, got {p.shape}"
            )
        if not ((p >= 0) & (p <= 1)).all():
            raise ValueError("probabilities must lie in 0..1")
        with np.errstate(over="ignore"):
            return expit(logit(p) / self.temperature)

    def _class_directions(self, codes):
        """H^-1 of the sums of each class's right sides, (n_classes, n_features)."""
        kernel = self._kernel()
        sums = np.zeros((len(self.classes_), self._fit_X.shape[1]))
        for rows in batches(len(codes), kernel.height):
            right = kernel.widened(np.arange(rows.start, rows.stop))
            np.add.at(sums, codes[rows], full(self._fit_X[rows]) * right)
        return kernel.solved(sums)

    def _check_target(self, X, target):
        if target is None:
            return _scoring.Target(np.zeros(X.shape[0], dtype=np.intp))
        return super()._check_target(X, target)

    def _predict_codes(self, X):
        return products(X.astype(np.float64, copy=False), self._coef).argmax(axis=1)

    def _kernel(self):
        return TRAKKernel(self._right, self._fit_X, self._inverses)

    @property
    def self_influence_(self) -> np.ndarray:
        """What each training row contributes to its own log-odds, (n_samples_fit_,)."""
        check_is_fitted(self, "n_samples_fit_")
        return self._kernel().own()
