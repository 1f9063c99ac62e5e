"""Rows moved a little so that a linear classifier is as wrong of them as possible."""

from numbers import Real

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from sklearn.base import is_classifier
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted

from .._arrays import batches, decision, logits
from .._arrays.checks import check_count, check_estimator, check_features, codes_of, plain_array
from .._arrays.outputs import output_weights

NORMS = ("inf", "l2")


def adversarial_examples(
    estimator,
    X,
    y: ArrayLike,
    epsilon: float,
    *,
    norm: str = "inf",
    n_steps: int = 1,
    step_size: float | None = None,
    clip: tuple | None = None,
) -> np.ndarray:
    """Rows near those of X of which a linear classifier is less sure: FGSM and PGD.

    Parameters
    ----------
    estimator : fitted classifier with `coef_`, `intercept_` and `classes_`
        Such as LogisticRegression, a :class:`~skattrib.LinearHead` or an explainer of a head; may
        be in a FrozenEstimator.
    X : array-like of shape (m, d)
        Finite numbers, not sparse. Of a network the inputs of its last layer.
    y : array-like of shape (m,)
        True labels, of which the loss is raised.
    epsilon : float
        How far a row may be moved, in the unit of X: scale the features first.
    norm : {"inf", "l2"}, default="inf"
        "inf": each feature by at most `epsilon`; "l2": the row by at most `epsilon`.
    n_steps : int, default=1
        1 is the fast gradient (sign) method; more are projected gradient descent.
    step_size : float, optional
        By default `epsilon` for one step, else ``2.5 * epsilon / n_steps``.
    clip : pair of float or array-like of shape (d,), optional
        Lowest and highest values of features, such as (0, 1).

    Returns
    -------
    ndarray of shape (m, d)
        A copy, of the float type of X. No row has a smaller loss than before after one step
        without `clip`, for the loss is convex in the row. For two classes these are then the worst
        rows there are; for more classes, and with `clip`, more steps mostly find worse ones.

    Raises
    ------
    TypeError
        For an estimator that is not linear.
    ValueError
        For rows that are not finite, labels that are no classes, or numbers out of range.

    Notes
    -----
    The loss is the cross-entropy of the softmax of the decision values. Steps follow the gradient
    of the log-odds, which has its direction and does not vanish where probabilities round to 0
    and 1.

    Robustness is a target like any other: with ``X_moved`` in the place of X and
    ``explainer.target_weights(X_moved, "loss", y)`` as target, `aggregate` says what each training
    row contributes to (minus) the loss at the moved rows. The moved rows stay those of the head as
    it is: attack again to judge a head that was trained again.

    Of a network of torch, the inputs are moved with its own gradients, and are rows like others::

        x.requires_grad_(True)
        loss = torch.nn.functional.cross_entropy(model(x), y, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, x)
        moved = (x + epsilon * gradient.sign()).detach()
        rows = gradient_rows(model, [(moved, y)], output="loss")

    References
    ----------
    Goodfellow, Shlens and Szegedy, "Explaining and harnessing adversarial examples", ICLR 2015.
    Madry et al., "Towards deep learning models resistant to adversarial attacks", ICLR 2018.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skattrib.planting import adversarial_examples
    >>> X, y = load_iris(return_X_y=True)
    >>> head = LogisticRegression(max_iter=1000).fit(X, y)
    >>> moved = adversarial_examples(head, X, y, 0.5)
    >>> bool(head.score(moved, y) < head.score(X, y) - 0.1)
    True
    """
    estimator, (coef, intercept, classes) = _head(estimator)
    check_features(X, "X")
    if sparse.issparse(X):
        raise ValueError("X must not be sparse, for moved rows are not: give X.toarray()")
    X = check_array(X, dtype=[np.float64, np.float32], input_name="X")
    if X.shape[1] != coef.shape[1]:
        raise ValueError(f"X has {X.shape[1]} features, but the estimator has {coef.shape[1]}")
    _check_linear(estimator, X[:5], decision(X[:5], coef, intercept))
    if len(classes) == 2:
        coef, intercept = logits(coef[0]).T, logits(intercept)[0]
    codes = codes_of(y, classes, "label of y")
    if codes.shape != (len(X),):
        raise ValueError(f"y must have one label for each of {len(X)} rows, got {codes.shape}")
    epsilon = _check_length(epsilon, "epsilon")
    if not isinstance(norm, str) or norm not in NORMS:
        raise ValueError(f'norm is {norm!r}; expected "inf" or "l2"')
    n_steps = check_count(n_steps, "n_steps", most=100_000)
    if step_size is None:
        step_size = epsilon if n_steps == 1 else 2.5 * epsilon / n_steps
    step_size = _check_length(step_size, "step_size")
    low, high = _check_clip(clip, X)
    moved = np.empty_like(X)
    for rows in batches(len(X), 1024):
        start = X[rows].astype(np.float64)
        place = start
        for _ in range(n_steps):
            z = decision(place, coef, intercept)
            uphill = -output_weights(z, codes[rows], "log_odds") @ coef
            shift = place - start + step_size * _unit(uphill, norm)
            place = np.clip(start + _within(shift, epsilon, norm), low, high)
        moved[rows] = place
    return moved


def _head(estimator):
    """The classifier itself; its weights and intercepts, one row for two classes; the classes."""
    if isinstance(estimator, FrozenEstimator):
        estimator = estimator.estimator
    if isinstance(estimator, Pipeline):
        raise TypeError(
            "estimator is a Pipeline: give its last step, and rows that the steps before have "
            "transformed, estimator[-1] and estimator[:-1].transform(X)"
        )
    names = "coef_", "intercept_", "classes_", "decision_function"
    if isinstance(estimator, type) or not is_classifier(check_estimator(estimator)):
        raise TypeError(f"estimator must be a fitted linear classifier, got {estimator!r}")
    check_is_fitted(estimator)
    if not all(hasattr(estimator, name) for name in names):
        raise TypeError(
            f"estimator must be linear, with {', '.join(names)}; {type(estimator).__name__} is "
            "not. Of a network move the inputs with its own gradients"
        )
    coef, intercept, classes = (getattr(estimator, name) for name in names[:3])
    if sparse.issparse(coef):
        coef = coef.toarray()
    coef = np.atleast_2d(plain_array(coef, "coef_", np.float64))
    intercept = np.atleast_1d(plain_array(intercept, "intercept_", np.float64))
    if coef.ndim != 2 or len(coef) != (1 if len(classes) == 2 else len(classes)):
        raise TypeError(
            f"coef_ of {type(estimator).__name__} has shape {coef.shape}, no row for each of its "
            f"{len(classes)} classes: it is no linear classifier of single labels"
        )
    return estimator, (coef, np.broadcast_to(intercept, len(coef)), classes)


def _check_linear(estimator, X, z):
    """Refuses an estimator whose decision values are others, such as one-versus-one SVMs."""
    expected = np.asarray(estimator.decision_function(X), dtype=np.float64)
    expected = expected[:, None] if expected.ndim == 1 else expected
    if expected.shape != z.shape or not np.allclose(z, expected, rtol=1e-3, atol=1e-6):
        raise TypeError(
            f"decision values of {type(estimator).__name__} are not X @ coef_.T + intercept_: "
            "it is no linear classifier, or not of rows as they are"
        )


def _check_length(value, name):
    if not isinstance(value, Real) or isinstance(value, bool) or not 0 < value < np.inf:
        raise ValueError(f"{name} must be a positive number, got {value!r}")
    return float(value)


def _check_clip(clip, X):
    """Lowest and highest values, (d,) each."""
    if clip is None:
        return -np.inf, np.inf
    if not isinstance(clip, (tuple, list)) or len(clip) != 2:
        raise ValueError(f"clip must be a pair (lowest, highest), got {clip!r}")
    low, high = (plain_array(end, "clip", np.float64) for end in clip)
    if not {low.shape, high.shape} <= {(), X.shape[1:]}:
        raise ValueError(f"clip must be two numbers, or two arrays of {X.shape[1]} of them")
    if not ((low <= X) & (high >= X)).all():
        raise ValueError("X has values outside of clip: give the range that values can have")
    return low, high


def _unit(gradient, norm):
    """The direction of the longest way uphill within a ball of radius 1; zeros stay."""
    if norm == "inf":
        return np.sign(gradient)
    length = _lengths(gradient)
    return np.divide(gradient, length, out=np.zeros_like(gradient), where=length > 0)


def _within(shift, epsilon, norm):
    """The nearest shift of at most epsilon."""
    if norm == "inf":
        return np.clip(shift, -epsilon, epsilon)
    return shift * (epsilon / np.maximum(_lengths(shift), epsilon))


def _lengths(rows):
    """Euclidean norms, (n, 1), of squares that neither overflow nor vanish."""
    peak = np.abs(rows).max(axis=1, keepdims=True)
    scaled = np.divide(rows, peak, out=np.zeros_like(rows), where=peak > 0)
    return peak * np.linalg.norm(scaled, axis=1, keepdims=True)
