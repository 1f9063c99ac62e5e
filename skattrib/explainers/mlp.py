"""TRAK of scikit-learn's MLPClassifier, on raw columns."""

from numbers import Integral, Real

import numpy as np
from scipy.special import softmax
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.neural_network import MLPClassifier
from sklearn.utils.validation import check_is_fitted

from .._arrays.outputs import OUTPUTS
from ..gradients.gauss_newton import solve_models, warn_of_sketches
from ..gradients.mlp import check_mlp, mlp_logits, mlp_rows, n_parameters, own_probabilities
from ..gradients.sketch import Sketch
from ..retraining.refits import draw_seed
from ._classifier import ClassifierExplainer
from ._kernels.similarity import TRAKKernel
from ._validation import HasMethods, Interval, StrOptions, check_training_data, fit_context


class MLPKernel(TRAKKernel):
    """Attributions of networks' outputs; test rows are raw columns."""

    def __init__(self, right, vectors, inverses, gradients):
        super().__init__(right, vectors, inverses)
        self._gradients = gradients

    def gradients(self, X, codes):
        """Gradients of the explained output of the classes in codes, in all networks."""
        return self._gradients(X, codes)

    def read(self):
        """The training rows themselves are not kept."""
        return []

    def directions(self, X, pairs, side):
        """Attributions run through the weights of the networks."""
        raise ValueError(
            "decompose and directions need a linear head: attributions to networks are sums over "
            "all their weights, not over the columns of X"
        )


class MLPExplainer(ClassifierExplainer):
    """Explains scikit-learn's MLPClassifier by what each training row did to all its weights.

    TRAK on exact gradients of all layers: see :class:`TRAKExplainer`. Several networks, trained
    alike from different seeds, explain better than one.

    Parameters
    ----------
    estimator : FrozenEstimator, MLPClassifier, list of these, or None, default=None
        ``FrozenEstimator(mlp)``: the fitted network to explain, and of a list the mean of several.
        Networks that are not frozen are cloned and fitted here; None is ``MLPClassifier()``.
    output : {"log_odds", "logit", "margin", "probability", "loss"}, default="log_odds"
        What is explained, for the class in question: as in `mlp_gradients`.
    ridge : float, default=2.0
    curvature : {"logistic", "identity"}, default="logistic"
        As in TRAKExplainer.
    temperature : float, default=2.0
        By which logits are divided first: networks are surer of the rows they were trained on than
        they are right.
    k : int or None, default=2048
        Gradients of more than k numbers are projected to k, so that the training rows take at most
        ``n * k`` numbers for each network. None: never, which on the networks below raised the
        scores by .015 at most and took up to ten times as long.
    random_state : int, RandomState or None, default=0
        Of the projection.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    estimators_ : list of MLPClassifier
        The networks that are explained.
    effective_dimension_ : ndarray of shape (n_networks,)
    penalty_ : ndarray of shape (n_networks,)
    self_influence_ : ndarray of shape (n_samples_fit_,)
        As in TRAKExplainer.
    n_samples_fit_ : int
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)

    Notes
    -----
    Sign and unit: positive, the row raises the explained output, in the unit of the output over
    the temperature, to first order in the weights. Attributions do not sum to the output. The
    class explained by default is the one that the networks predict, by the mean of their
    probabilities.

    The rows given to `fit` must be those that the networks were fitted to.

    Measured on networks of 64 and 32 units with 40 really retrained halves of the rows, linear
    datamodeling scores of one network and of the mean of three, without projection; ridge 1 to 4
    is a plateau, on which longer training wants less:

    =====================  =============  =============  =============
    rows, epochs           temperature 2  temperature 1  temperature 2
                                                         ridge 4
    =====================  =============  =============  =============
    digits, 40             .455 / .478    .342 / .373    .460 / .476
    digits, 200            .504 / .547    .419 / .469    .468 / .502
    breast cancer, 50      .300 / .326    .329 / .348    .336 / .353
    census, 20             .517 / .597    .549 / .627    .577 / .642
    census, 100            .441 / .552    .432 / .516    .451 / .536
    =====================  =============  =============  =============

    References
    ----------
    Park et al., "TRAK: Attributing model behavior at scale", ICML 2023.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.frozen import FrozenEstimator
    >>> from sklearn.neural_network import MLPClassifier
    >>> from skattrib import MLPExplainer
    >>> X, y = load_iris(return_X_y=True)
    >>> mlp = MLPClassifier((8,), max_iter=2000, random_state=0).fit(X, y)
    >>> explainer = MLPExplainer(FrozenEstimator(mlp)).fit(X, y)
    >>> values, rows = explainer.top_k(X[:2], k=3)
    >>> y[rows]
    array([[0, 0, 0],
           [0, 0, 0]])
    """

    _parameter_constraints: dict = {
        "estimator": [HasMethods(["fit", "predict"]), list, tuple, None],
        "output": [StrOptions(set(OUTPUTS))],
        "ridge": [Interval(Real, 0, None, closed="neither")],
        "curvature": [StrOptions({"logistic", "identity"})],
        "temperature": [Interval(Real, 0, None, closed="neither")],
        "k": [Interval(Integral, 1, None, closed="left"), None],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        estimator=None,
        *,
        output="log_odds",
        ridge=2.0,
        curvature="logistic",
        temperature=2.0,
        k=2048,
        random_state=0,
    ):
        self.estimator = estimator
        self.output = output
        self.ridge = ridge
        self.curvature = curvature
        self.temperature = temperature
        self.k = k
        self.random_state = random_state

    @fit_context
    def fit(self, X, y) -> "MLPExplainer":
        """Take the gradients of the training rows and factorize their curvature.

        Parameters
        ----------
        X : array or CSR of shape (n_samples, n_features)
            The columns that the networks see.
        y : array of shape (n_samples,)

        Returns
        -------
        MLPExplainer

        Raises
        ------
        TypeError
            For other estimators than MLPClassifier.
        ValueError
            For fitted networks that are not frozen, networks of different classes, or rows that
            they do not know.
        """
        given = (
            [self.estimator] if not isinstance(self.estimator, (list, tuple)) else self.estimator
        )
        if not given:
            raise ValueError("estimator is an empty list: give a network at least")
        frozen = [isinstance(one, FrozenEstimator) for one in given]
        known = check_mlp(given[frozen.index(True)].estimator).classes_ if any(frozen) else None
        rows, codes = check_training_data(self, X, y, known)
        networks = [self._network(one, rows, y) for one in given]
        for network in networks:
            if network.n_features_in_ != rows.shape[1]:
                raise ValueError(
                    f"X has {rows.shape[1]} features, but a network of {network.n_features_in_} is "
                    "to be explained"
                )
            if not np.array_equal(network.classes_, self.classes_):
                raise ValueError(
                    f"networks of different classes: {self.classes_.tolist()} and "
                    f"{network.classes_.tolist()}"
                )
        self.estimators_, self._fit_temperature = networks, float(self.temperature)
        self._fit_output = self.output
        self._sketch = None if self.k is None else Sketch(self.k, draw_seed(self.random_state))
        found = list(self._rows(rows, codes, "log_odds"))
        models = [G for G, _ in found]
        p = np.column_stack([own_probabilities(z, codes) for _, z in found])
        self._inverses, self._right = solve_models(models, p, self.curvature, self.ridge)
        self.effective_dimension_ = np.array([one.effective_dimension for one in self._inverses])
        self.penalty_ = np.array([one.penalty for one in self._inverses])
        whole = [n_parameters(network) for network in networks]
        sketched = [m for m, G in enumerate(models) if G.shape[1] < whole[m]]
        widths = [models[m].shape[1] for m in sketched]
        warn_of_sketches(widths, self.effective_dimension_[sketched], "Give a larger k.")
        self._fit_G = models[0] if len(models) == 1 else np.hstack(models)
        self.n_samples_fit_ = rows.shape[0]
        return self

    def _network(self, one, X, y):
        """The network inside a FrozenEstimator, or a clone fitted to the rows."""
        if isinstance(one, FrozenEstimator):
            return check_mlp(one.estimator)
        one = MLPClassifier() if one is None else one
        if not isinstance(one, MLPClassifier):
            return check_mlp(one)
        try:
            check_is_fitted(one)
        except NotFittedError:
            return check_mlp(clone(one).fit(X, y))
        raise ValueError(
            "a fitted network must be given as sklearn.frozen.FrozenEstimator(mlp), or as "
            "sklearn.base.clone(mlp) to be fitted here"
        )

    def _rows(self, X, codes, output):
        """(gradients, logits) of each network."""
        for m, network in enumerate(self.estimators_):
            T = self._fit_temperature
            yield mlp_rows(network, X, codes, None, output, T, self._sketch, m)

    def _gradients(self, X, codes):
        return np.hstack([G for G, _ in self._rows(X, codes, self._fit_output)])

    def _probabilities(self, X):
        return np.mean([softmax(mlp_logits(one, X), axis=1) for one in self.estimators_], axis=0)

    def _predict_codes(self, X):
        return self._probabilities(X).argmax(axis=1)

    def predict_proba(self, X) -> np.ndarray:
        """Probabilities of the classes, the mean over networks.

        Parameters
        ----------
        X : array or CSR of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
        """
        return self._probabilities(self._check_rows(X))

    def _kernel(self):
        return MLPKernel(self._right, self._fit_G, self._inverses, self._gradients)

    @property
    def self_influence_(self) -> np.ndarray:
        """What each training row contributes to its own log-odds, (n_samples_fit_,)."""
        check_is_fitted(self, "n_samples_fit_")
        return self._kernel().own()
