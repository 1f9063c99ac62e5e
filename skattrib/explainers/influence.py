"""Influence functions: what the softmax head would lose without a training row."""

from functools import cached_property, partial
from numbers import Integral, Real

import numpy as np
import scipy.linalg as la
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from .._arrays.checks import check_group, check_groups
from .._softmax.file_loss import labels_as_targets, loss_of
from .._softmax.hessian import Cholesky
from .._softmax.inverses import INVERSES, make_inverse
from .._softmax.loss import SoftmaxLoss
from .._softmax.removals import (
    check_removable,
    corrected,
    gradient_norm,
    group_step,
    newton_step,
    outputs,
    refits,
    self_influence,
)
from .._softmax.row_space import in_row_space
from ._heads import SoftmaxExplainer, scaled_penalty
from ._kernels.influence import (
    InfluenceKernel,
    check_minimum,
    fit_head,
    own_penalty,
    penalty_of,
    read_head,
    theta_of,
)
from ._validation import (
    HasMethods,
    Interval,
    StrOptions,
    check_training_data,
    check_weights,
    fit_context,
)


class InfluenceExplainer(SoftmaxExplainer):
    """Explains a softmax head by what each training row does to it through the fit.

    To first order, removing row i moves an output v.f(x) of the head by minus
    ``T[j, i] = (v (x) x)^T H^-1 (r_i (x) x_i)``, H being the Hessian of the regularized loss at
    the head and r_i = s_i (q_i - p_i) the row's residual. With the leverage correction it is the
    exact Newton step of the head without the row.

    Parameters
    ----------
    estimator : FrozenEstimator, LinearHead or None, default=None
        The head to explain; see the table below. None: it is fitted here.
    C : float or "scale", default="scale"
        ``C sum_i s_i loss_i + 1/2 ||W||^2``, as in scikit-learn. For two classes it is the C of
        scikit-learn's binary LogisticRegression. "scale": 1, or 4 for a LinearHead, over the total
        variance of the rows, their weighted mean squared distance from their mean, so that the
        unit of X does not matter. A frozen LogisticRegression has its own.
    fit_intercept : bool, default=True
        Adds a constant feature, regularized like the others: 1, or with C="scale" as large as the
        root of the variance.
    class_weight : dict, "balanced" or None, default=None
        Multiplies the sample weights.
    inverse : str, default="auto"
        How H^-1 is applied. "cholesky": exact, by factorization. "cg": exact up to a tolerance, by
        conjugate gradients. These two solve H. The others put something else in its place:
        "lissa" a sampled Neumann series, "arnoldi" the leading eigenvectors, "kfac" and "ekfac"
        Kronecker factors, "datainf" a mean of inverses of single rows, "identity" nothing: the
        inner product of gradients, not in units of the output. "auto": "cholesky" while
        (n_classes - 1) * D is at most 8,000, or 2,000 for sparse X, else "cg", with D below.
    inverse_params : dict or None, default=None
        "cg": tol=1e-8, max_iter=1000. "lissa": depth=1000, batch_size=256, repeats=1 and scale,
        at least the largest eigenvalue of H (None: twice it). "arnoldi": n_iter=200, rank=100.
    damping : float, default=0.0
        Added to the diagonal of H. Needed only where H is singular.
    leverage_correction : "auto" or bool, default="auto"
        Whether r_i is replaced by (I - s_i B_i M_i)^-1 r_i, with B_i the Hessian of the row's loss
        in its logits and M_i its `leverage_`. "auto": where H is solved, by "cholesky" or "cg",
        and small enough for "auto" to factorize it ("cg" takes n * (K - 1) solves), and the head
        is a minimum, with a `newton_step_` of at most 0.02.
    tol : float, default=1e-8
        The head fitted here is done when a Newton step moves no logit of a training row by more
        than this, relative to their root mean square.
    max_iter : int, default=100
        Newton steps at most.
    random_state : int, RandomState or None, default=None
        For "lissa" and "arnoldi".
    verbose : int, default=0
        Positive: print each Newton step, and what takes long.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    coef_ : ndarray of shape (n_classes, n_features), or (1, n_features) for two classes
        float64; of the frozen head as it was given.
    intercept_ : ndarray of shape (n_classes,) or (1,)
    C_ : float
        The C of the head; infinite for one without a penalty.
    inverse_ : str
        The inverse that "auto" chose.
    leverage_correction_ : bool
        Whether attributions are corrected.
    gradient_norm_ : float
        Norm of the gradient of the loss at the head over the sum of the norms of its terms: zero
        up to rounding at a minimum. Attributions take the head for a minimum.
    newton_step_ : float
        What a Newton step would move the logits of training rows, over their size (root mean
        squares): about what attributions are in error for the head not being a minimum. NaN where
        H is not solved.
    leverage_ : ndarray of shape (n_samples_fit_, n_classes, n_classes)
        M_i, how the logits of row i answer to a change of its own residual, for logits that sum
        to zero (a common shift changes no probability). Lazy; as dear as the correction.
    self_influence_ : ndarray of shape (n_samples_fit_,)
        What each training row contributes to the logarithm of its own probability, to first order
        in its logits; never negative. Lazy.
    n_iter_ : int
        Newton steps of a head fitted here.
    n_samples_fit_ : int
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)

    Notes
    -----
    Sign and unit: positive, the row raises the explained output; the unit is that of the output.
    Attributions do not sum to the output. For two classes there is one decision value f, positive
    for ``classes_[1]``.

    Heads that are explained:

    ==========================================  ================  =========================
    `estimator`                                 penalty           class weights, classes
    ==========================================  ================  =========================
    None                                        `C`, intercept    of the explainer, of y
                                                included
    LinearHead                                  `C`, intercept    of the explainer, of the
                                                included          head
    FrozenEstimator(LogisticRegression), L2     its own C, free   its own, its own
    or no penalty                               intercept
    the same with solver="liblinear", binary    its own C, with   its own, its own
                                                intercept
    ==========================================  ================  =========================

    The rows given to `fit` must be those that the head was fitted to, with the same
    `sample_weight`. Everything else is refused: other classifiers, penalties with an L1 part,
    one-versus-rest, pipelines (explain the last step on transformed rows).

    Singular H: without a penalty, dependent features leave H singular, and `damping` is asked
    for. That a common shift of the logits changes nothing (with a free intercept H does not see
    it) is no such case and is taken care of.

    Cost, with D = n_features + 1, or n_samples + 1 for dense X of fewer rows than features, which
    is taken to the space of its rows first: "cholesky" forms H in O(n (K D)^2) and factorizes it
    in O((K D)^3), with 8 (K D)^2 bytes of memory; the leverage correction costs O(n (K D)^2) again.
    A test row costs O((K D)^2) for its solve and O(n K D) for its products with training rows.
    "cg" costs O(n K D) for each iteration and test row, some tens of iterations; for sparse X, n D
    is the number of values stored. "kfac" and "ekfac" take memory for D^2 numbers, "arnoldi" for
    n_iter K D, the others for some tens of K D. Of sparse X no matrix of order beyond 8,000 is
    formed: a ValueError names the inverses that need none.

    The training rows are kept, not copied, if they are float32 or float64 in C order and no fewer
    than their features: they may be a memory map or `RowBlocks` larger than memory, of which
    pickles hold a reference. Do not change them in place after `fit`, or attributions change with
    them.

    References
    ----------
    Koh and Liang, "Understanding black-box predictions via influence functions", ICML 2017.
    Pregibon, "Logistic regression diagnostics", Annals of Statistics 1981 (the one-step
    correction). Those of the inverses stand with their classes in `_softmax/hessian.py` and
    `_softmax/inverses.py`.

    Examples
    --------
    The rows that hurt most on a test set's loss:

    >>> import numpy as np
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.frozen import FrozenEstimator
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.preprocessing import scale
    >>> from skattrib import InfluenceExplainer
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> X = scale(X)
    >>> X_train, X_test, y_train, y_test = X[::2], X[1::2], y[::2], y[1::2]
    >>> head = LogisticRegression(tol=1e-8).fit(X_train, y_train)
    >>> explainer = InfluenceExplainer(FrozenEstimator(head)).fit(X_train, y_train)
    >>> target = explainer.target_weights(X_test, "loss", y_test)
    >>> effect = explainer.aggregate(X_test, target)
    >>> worst = effect.argsort()[:5]
    >>> bool((effect[worst] < 0).all())
    True

    The rows that drive a gap between two groups in the mean predicted probability of class 1:

    >>> group = X_test[:, 0] > 0
    >>> target = explainer.target_weights(X_test, "probability", 1)
    >>> weights = np.where(group, 1 / group.sum(), -1 / (~group).sum())
    >>> gap = explainer.aggregate(X_test, target, weights=weights)
    >>> gap.shape
    (285,)
    """

    _reads_files = True
    _parameter_constraints: dict = {
        "estimator": [HasMethods(["fit", "predict"]), None],
        "C": [Interval(Real, 0, None, closed="neither"), StrOptions({"scale"})],
        "fit_intercept": ["boolean"],
        "class_weight": [dict, StrOptions({"balanced"}), None],
        "inverse": [StrOptions({"auto", *INVERSES})],
        "inverse_params": [dict, None],
        "damping": [Interval(Real, 0, None, closed="left")],
        "leverage_correction": [StrOptions({"auto"}), "boolean"],
        "tol": [Interval(Real, 0, None, closed="neither")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        estimator=None,
        *,
        C="scale",
        fit_intercept=True,
        class_weight=None,
        inverse="auto",
        inverse_params=None,
        damping=0.0,
        leverage_correction="auto",
        tol=1e-8,
        max_iter=100,
        random_state=None,
        verbose=0,
    ):
        self.estimator = estimator
        self.C = C
        self.fit_intercept = fit_intercept
        self.class_weight = class_weight
        self.inverse = inverse
        self.inverse_params = inverse_params
        self.damping = damping
        self.leverage_correction = leverage_correction
        self.tol = tol
        self.max_iter = max_iter
        self.random_state = random_state
        self.verbose = verbose

    @fit_context
    def fit(self, X, y, sample_weight=None) -> "InfluenceExplainer":
        """Fit or take over the head, and make its Hessian ready.

        Parameters
        ----------
        X : array or CSR of shape (n_samples, n_features)
            The rows that the head was or is to be fitted to. They are kept.
        y : array of shape (n_samples,)
        sample_weight : array of shape (n_samples,), optional
            Non-negative; that of the frozen head's own fit. A row of weight 0 contributes nothing.

        Returns
        -------
        InfluenceExplainer

        Raises
        ------
        ValueError
            For data that are not finite, one class only, negative or all-zero weights, a head
            that is not among those explained, a singular Hessian, or a leverage correction that
            is asked for where it does not exist.

        Warns
        -----
        ConvergenceWarning
            When `max_iter` Newton steps do not reach `tol`.
        UserWarning
            When a given head is no minimum of its loss on these rows: by its `newton_step_`, or
            with a `gradient_norm_` beyond 1e-3 where H is not solved. Not for a `LinearHead` with
            C="scale", which is meant for the heads of networks.
        """
        for name in ("leverage_", "self_influence_"):
            self.__dict__.pop(name, None)
        head = read_head(self)
        X, codes = check_training_data(self, X, y, head and head.classes)
        if head and head.coef.shape[1] != X.shape[1]:
            raise ValueError(
                f"X has {X.shape[1]} features, but the head that is explained has "
                f"{head.coef.shape[1]}"
            )
        class_weight = head.class_weight if head else self.class_weight
        weight = check_weights(X, codes, self.classes_, sample_weight, class_weight)
        self.C_, size = own_penalty(head, partial(scaled_penalty, self.C, X, weight))
        penalty, fit_intercept = penalty_of(self.C_, self, head, X.shape[1])
        parts = X, labels_as_targets(X, codes, len(self.classes_)), weight
        loss = SoftmaxLoss(*parts, penalty, fit_intercept, size)
        reduced = in_row_space(loss)
        if head is None:
            lean = loss_of(*parts, penalty, fit_intercept, size)
            self._head = fit_head(self, lean if reduced is loss else reduced)
        else:
            self._head = head
        self.n_iter_ = self._head.n_iter
        self.coef_, self.intercept_ = self._head.coef, self._head.intercept
        self._theta = theta_of(self._head, fit_intercept, size)
        residuals = loss.at(loss.logits(self._theta))
        gradient = loss.gradient(self._theta, residuals)
        self.gradient_norm_ = gradient_norm(loss, gradient, residuals)
        reduced.probabilities = loss.probabilities
        self._loss = loss = reduced
        seed = int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max))
        try:
            self._inverse = make_inverse(
                self.inverse, loss, self.damping, self.inverse_params or {}, seed
            )
        except la.LinAlgError as error:
            raise ValueError(str(error)) from error
        self.inverse_ = self._inverse.name
        self.newton_step_ = newton_step(self._inverse, gradient, self._theta)
        minimum = check_minimum(self, head)
        self.leverage_correction_ = self.leverage_correction is True or (
            self.leverage_correction == "auto"
            and self._inverse.exact
            and Cholesky.fits(loss)
            and minimum
        )
        self._residuals = residuals
        if self.leverage_correction_:
            if self.verbose:
                print(f"correcting {X.shape[0]} residuals for their leverage")
            self._residuals, self.self_influence_ = corrected(self._inverse, residuals)
        self.n_samples_fit_ = X.shape[0]
        return self

    def _kernel(self):
        return InfluenceKernel(self._inverse, self._residuals)

    @cached_property
    def leverage_(self) -> np.ndarray:
        """M_i of each training row, (n_samples_fit_, n_classes, n_classes)."""
        check_is_fitted(self, "n_samples_fit_")
        K = len(self.classes_)
        out = np.empty((self.n_samples_fit_, K, K))
        for rows, M in self._inverse.leverage():
            out[rows] = M
        return out

    @cached_property
    def self_influence_(self) -> np.ndarray:
        """What each training row does to the logarithm of its own probability."""
        check_is_fitted(self, "n_samples_fit_")
        return self_influence(self._inverse, self._residuals)

    def group_effect(self, X, indices, target=None) -> np.ndarray:
        """What a group of training rows contributes to an output at each row of X.

        One Newton step of the head without the group, on the Hessian without the group, whatever
        `inverse` is: not the sum of single effects, which misses that the rows stand in for each
        other.

        Parameters
        ----------
        X : array or CSR of shape (n_samples, n_features)
        indices : int array of shape (n_rows,)
            Training rows, each once.
        target : as in `attribute`

        Returns
        -------
        ndarray of shape (n_samples,)
            Output with the group minus predicted output without it, in float64.

        Raises
        ------
        ValueError
            For indices that are not distinct training rows, and where nothing determines the head
            without them.

        Notes
        -----
        Costs O(n K D) for each of some tens of iterations, for all of X at once.
        """
        X = self._check_rows(X)
        V = self._check_target(X, target).as_weights(len(self.classes_))
        group = check_group(indices, self.n_samples_fit_, "indices")
        check_removable([group], self._loss, self._inverse.damping)
        step = group_step(self._inverse, group)
        return outputs(self._loss, X, V, step)

    def leave_one_out(
        self, X, X_train, y_train, sample_weight=None, *, rows=None, target=None, n_jobs=None
    ) -> np.ndarray:
        """What rows contribute, by really fitting the head again without them.

        Parameters
        ----------
        X : array or CSR of shape (n_samples, n_features)
        X_train, y_train, sample_weight : as given to `fit`
        rows : sequence of ints or of int arrays, optional
            Training rows, or groups of them to be removed together; by default each row.
        target : as in `attribute`
            Held fixed: the same logit weights with and without the rows.
        n_jobs : int, optional
            Threads, as in joblib: None is 1 unless ``joblib.parallel_config`` says otherwise.

        Returns
        -------
        ndarray of shape (n_samples, len(rows))
            Output with the rows minus output without them, in float64; both heads are minima.

        Raises
        ------
        ValueError
            For rows that are not training rows, and where the head without them has no minimum.

        Notes
        -----
        The head is fitted again by Newton's method from where it was, with the inverse Hessian
        at the full fit as preconditioner: about three to five steps, each a few products of
        O(n K D). Weights are those of the full fit, balanced class weights too.
        """
        X = self._check_rows(X)
        V = self._check_target(X, target).as_weights(len(self.classes_))
        X_train, codes = self._check_fitted_rows(X_train, y_train)
        weight = check_weights(
            X_train, codes, self.classes_, sample_weight, self._head.class_weight
        )
        q = labels_as_targets(X_train, codes, len(self.classes_))
        loss = in_row_space(self._loss.of(X_train, q, weight))
        n = self.n_samples_fit_
        groups = check_groups(range(n) if rows is None else rows, n)
        check_removable(groups, loss)
        steps = refits(loss, loss.compress(self._theta), groups, n_jobs, self.verbose)
        return np.column_stack([outputs(loss, X, V, step) for step in steps])
