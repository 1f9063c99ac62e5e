"""Representer points of regressions, and of the units of any layer."""

from numbers import Integral, Real

import numpy as np
import scipy.sparse as sp
from sklearn.base import MultiOutputMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted

from .._arrays import decision, squared_norms
from .._arrays.checks import check_groups, check_same_rows, plain_array
from .._regression.activations import check_activation, check_range, of_name
from .._regression.newton import leave_out, matching_regression
from . import _scoring
from ._heads import DualForm, scaled_penalty
from ._validation import (
    HasMethods,
    Interval,
    StrOptions,
    canonical,
    check_regression_data,
    check_rows,
    check_weights,
    fit_context,
)

# beyond, squares of targets times C are no numbers
LARGEST_C, LARGEST_TARGET = 1e80, 1e70


class RepresenterRegressor(MultiOutputMixin, RegressorMixin, DualForm):
    """Explains numbers by the training rows: of a regression, of counts, of the units of a layer.

    Each output is ``activation(z)`` of a linear z, fitted by the one convex loss whose slope is
    ``activation(z) - y``. At its minimum the weights are a sum over training rows,
    ``w = sum_i alpha_i x_i`` with ``alpha_i = C s_i (y_i - activation(z_i))``: so is each z.

    Parameters
    ----------
    activation : str or object, default="identity"
        What makes outputs of z: "identity" (ridge regression), "exp" (counts: Poisson regression),
        "sigmoid" (labels that may come together, coded 0 and 1), "relu", "leaky_relu" (slope 0.01)
        or "tanh" (units of a layer). Or an object with methods `primitive`, `value` and
        `derivative` of an array, each the slope of the one before; `value` must not fall anywhere.
    C : float or "scale", default="scale"
        ``C sum_i s_i loss_i + 1/2 ||w||^2`` of each output; 1 over Ridge's `alpha`. "scale": 1 over
        the total variance of the rows, their weighted mean squared distance from their mean, so
        that the unit of X does not matter.
    fit_intercept : bool, default=True
        Adds a constant feature, regularized like the others: 1, or with C="scale" as large as the
        root of the variance.
    intercept_share : bool, default=False
        Whether attributions hold the rows' shares of the intercept, the same for every test row.
        If not, it is the `base_value` of all of them.
    tol : float, default=1e-6
        Completeness error at which the solver stops.
    max_iter : int, default=100
        Newton steps at most.
    verbose : int, default=0
        Positive: print each Newton step.

    Attributes
    ----------
    coef_ : ndarray of shape (n_units, n_features)
        float64; also of one unit.
    intercept_ : ndarray of shape (n_units,)
    C_ : float
        The C of the fit.
    support_ : ndarray of shape (n_support,)
        Training rows that contribute: those of positive weight that are not fitted exactly.
    support_vectors_ : array or CSR of shape (n_support, n_features)
        The training rows themselves, not a copy, when all contribute.
    dual_coef_ : ndarray of shape (n_units, n_support)
        The alpha_i.
    self_influence_ : ndarray of shape (n_samples_fit_,), or (n_samples_fit_, n_units)
        What each training row contributes to z at itself.
    completeness_error_ : float
        Largest difference, over training rows and units, of z and the sum of its attributions and
        shares of the intercept, over the root mean square of the unit's z.
    n_iter_ : int
        Newton steps of the unit that took most.
    n_samples_fit_ : int
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)

    Notes
    -----
    Sign and unit: a positive attribution raises z, in whose unit it is: that of y for "identity",
    its logarithm for "exp", the log-odds for "sigmoid". Attributions and `base_value` sum to z
    (`decision_function`) up to the completeness error; `predict` is the activation of it.

    Several outputs are fitted each for itself. A `target` is one unit (a column of y), one unit a
    row, or weights of shape (n_samples, n_units), such as a row of the next layer's weights; of
    one unit it can be left out.

    **Units of a layer.** X is what goes into the layer, y what comes out of it after the
    activation, which is given by name. Where z itself is at hand, "identity" of it is one step. The
    fit is another function than the layer: see `score`. A row's alpha is then what shrinkage leaves
    of its output: it says how z is put together from the training rows, not what made the network.

    An activation that falls somewhere, such as GELU or SiLU, has no convex loss.

    Equal rows with equal y have coefficients in proportion to their weights, to the last bit.

    The training rows are kept, not copied, if they are float32 or float64 in C order and all
    contribute. Do not change them in place after `fit`, or attributions change with them.

    A fit takes O(n d^2 + d^3) once for all units and O(n d) for each of some tens of products and
    unit; of "identity" one or two. Beyond 4,096 features (or dense rows, if these are fewer) more
    products are needed, and nothing is squared.

    References
    ----------
    Yeh, Kim, Yen and Ravikumar, "Representer point selection for explaining deep neural
    networks", NeurIPS 2018, section 3 (suitable losses) and theorem 3.1.

    Examples
    --------
    Which patients make the prediction for the first one, and how it would change without them:

    >>> import numpy as np
    >>> from sklearn.datasets import load_diabetes
    >>> from skattrib import RepresenterRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> explainer = RepresenterRegressor().fit(X[1:], y[1:])
    >>> values, rows = explainer.top_k(X[:1], k=3)
    >>> effects = explainer.leave_one_out(X[:1], X[1:], y[1:], rows=rows[0])
    >>> effects.shape
    (1, 3)

    A hidden layer of a network, the second unit of it:

    >>> from sklearn.datasets import load_iris
    >>> from sklearn.neural_network import MLPClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> mlp = MLPClassifier((8,), max_iter=2000, random_state=0).fit(X, y)
    >>> hidden = np.maximum(X @ mlp.coefs_[0] + mlp.intercepts_[0], 0)
    >>> layer = RepresenterRegressor("relu", C=100.0).fit(X, hidden)
    >>> layer.attribute(X[:2], target=1).shape
    (2, 150)
    """

    _parameter_constraints: dict = {
        "activation": [str, HasMethods(["primitive", "value", "derivative"])],
        "C": [Interval(Real, 0, None, closed="neither"), StrOptions({"scale"})],
        "fit_intercept": ["boolean"],
        "intercept_share": ["boolean"],
        "tol": [Interval(Real, 0, None, closed="neither")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        activation="identity",
        *,
        C="scale",
        fit_intercept=True,
        intercept_share=False,
        tol=1e-6,
        max_iter=100,
        verbose=0,
    ):
        self.activation = activation
        self.C = C
        self.fit_intercept = fit_intercept
        self.intercept_share = intercept_share
        self.tol = tol
        self.max_iter = max_iter
        self.verbose = verbose

    def __sklearn_tags__(self):
        """Counts and probabilities are not negative."""
        tags = super().__sklearn_tags__()
        named = isinstance(self.activation, str)
        tags.target_tags.positive_only = named and self.activation in ("exp", "relu", "sigmoid")
        return tags

    @fit_context
    def fit(self, X, y, sample_weight=None) -> "RepresenterRegressor":
        """Fit each output, and find what each row contributes to it.

        Parameters
        ----------
        X : array or CSR of shape (n_samples, n_features)
            float32 and float64 in C order are used without a copy, read-only memory maps too.
        y : array of shape (n_samples,) or (n_samples, n_units)
            Numbers that the activation can have.
        sample_weight : array of shape (n_samples,), optional
            Non-negative; a row of weight 0 contributes nothing.

        Returns
        -------
        RepresenterRegressor

        Raises
        ------
        ValueError
            For data that are not finite, an activation that falls, y that it does not take, and
            negative or all-zero weights.

        Warns
        -----
        ConvergenceWarning
            When the completeness error stays above `tol`.
        """
        activation = check_activation(self.activation)
        X, y = check_regression_data(self, X, y)
        weight = check_weights(X, None, None, sample_weight, None)
        t = y[:, None] if y.ndim == 1 else y
        self._check_targets(activation, t)
        self.C_, size = scaled_penalty(self.C, X, weight)
        most = self.C_ * weight.max()
        if not 1 / LARGEST_C < most < LARGEST_C:
            raise ValueError(
                f"C times the largest sample_weight must lie between {1 / LARGEST_C:.0e} and "
                f"{LARGEST_C:.0e}, got {most:.1e}"
            )
        found = matching_regression(
            X,
            t,
            self.C_,
            activation,
            sample_weight=weight,
            intercept_scaling=size if self.fit_intercept else 0.0,
            tol=self.tol,
            max_iter=self.max_iter,
            verbose=self.verbose,
        )
        self.coef_, self.intercept_ = found.coef, found.intercept
        self.completeness_error_, self.n_iter_ = found.completeness_error, max(1, found.n_iter)
        self._keep_dual(X, self.C_ * found.residuals)
        self._keep_constant(size)
        self._fit_activation, self._is_flat = self.activation, y.ndim == 1
        self.n_samples_fit_ = X.shape[0]
        return self

    @staticmethod
    def _check_targets(activation, t):
        if t.shape[1] == 0:
            raise ValueError("y has no columns: give one for each output")
        largest = np.abs(t).max()
        if largest > LARGEST_TARGET:
            raise ValueError(f"y has numbers as large as {largest:.1e}: scale y")
        check_range(activation, t)

    def _decision(self, X):
        z = decision(X, self.coef_, self.intercept_)
        return z[:, 0] if self._is_flat else z

    def decision_function(self, X) -> np.ndarray:
        """What is explained: z, of which outputs are the activation.

        Parameters
        ----------
        X : array or CSR of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,), or (n_samples, n_units) if y was a matrix
            float64.
        """
        return self._decision(self._check_rows(X))

    def predict(self, X) -> np.ndarray:
        """Outputs, the activation of `decision_function`.

        Parameters
        ----------
        X : array or CSR of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,), or (n_samples, n_units) if y was a matrix
        """
        z = self._decision(self._check_rows(X))
        with np.errstate(over="ignore"):
            return np.asarray(of_name(self._fit_activation).value(z), dtype=np.float64)

    # targets

    def _check_target(self, X, target):
        """A target from None, a unit, a unit a row, or weights of the units."""
        m, U = X.shape[0], len(self.coef_)
        if target is None:
            if U > 1:
                raise ValueError(
                    f"give a target, one of the {U} units 0..{U - 1}: attribute(X, target=0)"
                )
            target = 0
        if sp.issparse(target):
            target = canonical(target, "target").toarray()
        target = plain_array(target, "target")
        if target.ndim == 2:
            return self._weights_target(X, target)
        units = np.full(m, target) if target.ndim == 0 else target
        if units.dtype.kind not in "iu" or units.shape != (m,):
            raise ValueError(
                f"target must be one unit, one unit for each of the {m} rows (integers in "
                f"0..{U - 1}), or weights of the units of shape ({m}, {U}); got {target.dtype} of "
                f"shape {target.shape}"
            )
        if m and not 0 <= units.min() <= units.max() < U:
            raise ValueError(f"target must be units, 0..{U - 1}; got {units.min()}..{units.max()}")
        return _scoring.UnitTarget(units.astype(np.intp))

    def _weights_target(self, X, target):
        m, U = X.shape[0], len(self.coef_)
        if target.shape != (m, U):
            raise ValueError(
                f"weights of units in target must have shape ({m}, {U}), got {target.shape}"
            )
        weights = plain_array(target, "target", np.float64)
        if not np.isfinite(weights).all():
            raise ValueError("weights of units in target must be finite numbers")
        largest = np.abs(weights).max(initial=0.0)
        if largest > self._largest_norm(X.dtype):
            raise ValueError(
                f"weights as large as {largest:.1e} are beyond what {X.dtype} attributions hold: "
                "scale the weights in target"
            )
        return _scoring.UnitTarget(None, weights)

    # what it would be without

    @property
    def self_influence_(self) -> np.ndarray:
        """What each training row contributes to z at itself, (n_samples_fit_,) or with units."""
        check_is_fitted(self, "n_samples_fit_")
        out = np.zeros((self.n_samples_fit_, len(self.coef_)))
        norms = squared_norms(self.support_vectors_, self._bias)
        out[self.support_] = norms[:, None] * self.dual_coef_.T
        return out[:, 0] if self._is_flat else out

    def leave_one_out(
        self, X, X_train, y_train, sample_weight=None, *, rows=None, target=None
    ) -> np.ndarray:
        """What rows contribute, by the regression without them: exact, and without a refit.

        Parameters
        ----------
        X : array or CSR of shape (n_samples, n_features)
        X_train, y_train, sample_weight : as given to `fit`
        rows : sequence of ints or of int arrays, optional
            Training rows, or groups of them to be removed together; by default each row.
        target : as in `attribute`

        Returns
        -------
        ndarray of shape (n_samples, len(rows))
            z with the rows minus z without them, in float64.

        Raises
        ------
        ValueError
            For other activations than "identity", rows that are not training rows, and data that
            cannot be those given to `fit`.

        Notes
        -----
        C and the size of the constant feature are those of the full fit. For one row it is
        ``(phi_j H^-1 phi_i) alpha_i / (1 - C s_i phi_i H^-1 phi_i)`` with
        ``H = I + C sum_i s_i phi_i phi_i^T``.
        """
        X = self._check_rows(X)
        if not (isinstance(self._fit_activation, str) and self._fit_activation == "identity"):
            raise ValueError(
                "leave_one_out is for activation='identity', of which it is exact without a refit; "
                "of others fit again without the rows"
            )
        target = self._check_target(X, target)
        X_train, t = self._check_fitted_rows(X_train, y_train)
        weight = check_weights(X_train, None, None, sample_weight, None)
        groups = check_groups(range(len(t)) if rows is None else rows, len(t))
        alpha = self.C_ * weight[:, None] * (t - decision(X_train, self.coef_, self.intercept_))
        found = leave_out(X_train, alpha, self.C_ * weight, self._size, groups, X)
        V = target.as_weights(len(self.coef_))
        return np.column_stack([np.einsum("mu,mu->m", V, effect) for effect in found])

    def _check_fitted_rows(self, X_train, y_train):
        """(X_train, y_train as a matrix) of rows that can be those given to `fit`."""
        check_same_rows(X_train=X_train, y_train=y_train)
        X_train = check_rows(self, X_train)
        t = plain_array(y_train, "y_train", np.float64)
        n, U = self.n_samples_fit_, len(self.coef_)
        if X_train.shape[0] != n or t.shape != ((n,) if self._is_flat else (n, U)):
            raise ValueError(
                f"X_train and y_train must be the {n} rows given to fit and their outputs, got "
                f"{X_train.shape[0]} rows and outputs of shape {t.shape}"
            )
        if not np.isfinite(t).all():
            raise ValueError("y_train must be finite numbers")
        return X_train, t.reshape(n, U)
