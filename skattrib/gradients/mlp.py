"""Gradients of single rows in all weights of scikit-learn's MLPClassifier."""

from numbers import Real

import numpy as np
from scipy.special import expit, softmax
from sklearn.neural_network import MLPClassifier
from sklearn.utils.validation import check_is_fitted, validate_data

from .._arrays import batches, full, logits
from .._arrays.checks import canonical_csr, check_features, codes_of, plain_array
from .._arrays.outputs import OUTPUTS, output_weights
from .sketch import Sketch

# numbers of the outer products of one layer and some rows
BLOCK = 2**21

SLOPES = {
    "identity": np.ones_like,
    "logistic": lambda h: h * (1 - h),
    "tanh": lambda h: 1 - h**2,
    "relu": lambda h: (h > 0).astype(h.dtype),
}
ACTIVATIONS = {
    "identity": lambda a: a,
    "logistic": expit,
    "tanh": np.tanh,
    "relu": lambda a: np.maximum(a, 0),
}


def mlp_gradients(
    mlp,
    X,
    y=None,
    *,
    output="log_odds",
    target=None,
    k=None,
    temperature=1.0,
    random_state=0,
) -> np.ndarray:
    """Gradient of an output at each row in all weights and biases of a fitted MLPClassifier.

    The features of TRAK, GradDot and every method that compares gradients, for a network that
    needs no other library than scikit-learn. Exact: not of batches, nor with the penalty `alpha`.

    Parameters
    ----------
    mlp : MLPClassifier
        Fitted to two classes or more; any activation.
    X : array or CSR of shape (n_samples, n_features)
    y : label or labels of shape (n_samples,), optional
        The class of which the output is, by default the predicted ones. Required for "loss".
    output : {"log_odds", "logit", "margin", "probability", "loss"}, default="log_odds"
        The output that is differentiated, as in `target_weights` of explainers. "log_odds":
        log p / (1 - p) of the class. "logit": the class's input of the softmax. "margin": the
        class's logit minus the best other one. "probability": p. "loss": log p, minus the
        cross-entropy. For two classes the first three are the input f of the logistic function,
        or -f for ``classes_[0]``.
    target : array of shape (n_samples, n_classes), optional
        In the place of `y` and `output`: weights of the logits whose weighted sum is
        differentiated; for two classes the logits are (-f/2, +f/2).
    k : int, optional
        Gradients of more than k numbers are projected to k by a :class:`Sketch`, layer by layer:
        they are never held whole.
    temperature : float, default=1.0
        By which logits are divided first.
    random_state : int, default=0
        Seed of the sketch.

    Returns
    -------
    ndarray of shape (n_samples, p) or (n_samples, k)
        Of the float type of X. The columns of whole gradients are ``coefs_[0]`` in C order,
        ``intercepts_[0]``, ``coefs_[1]`` and so on.

    Raises
    ------
    TypeError
        For another estimator.
    ValueError
        For a network of several labels a row, unknown outputs or labels.
    NotFittedError
        For a network that is not fitted.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.neural_network import MLPClassifier
    >>> from skattrib import mlp_gradients
    >>> X, y = load_iris(return_X_y=True)
    >>> mlp = MLPClassifier((8,), max_iter=2000, random_state=0).fit(X, y)
    >>> mlp_gradients(mlp, X, y).shape  # 4 * 8 + 8 + 8 * 3 + 3
    (150, 67)
    """
    mlp = check_mlp(mlp)
    X = check_mlp_rows(mlp, X)
    number = isinstance(temperature, Real) and not isinstance(temperature, bool)
    if not number or not 0 < float(temperature) < np.inf:
        raise ValueError(f"temperature must be a positive number, got {temperature!r}")
    if not isinstance(output, str) or output not in OUTPUTS:
        known = ", ".join(map(repr, OUTPUTS))
        raise ValueError(f"output must be one of {known}, got {output!r}")
    n, K = X.shape[0], len(mlp.classes_)
    codes = weights = None
    if target is not None:
        if y is not None:
            raise ValueError("y and target both say what is differentiated: give one of them")
        weights = plain_array(target, "target", np.float64)
        if weights.shape != (n, K) or not np.isfinite(weights).all():
            raise ValueError(f"target must be finite weights of the logits of shape ({n}, {K})")
    elif y is not None:
        codes = codes_of(y, mlp.classes_, "label of y")
        if codes.shape not in ((), (n,)):
            raise ValueError(f"y must be one label or {n} labels, one a row of X")
        codes = np.broadcast_to(codes, n)
    elif output == "loss":
        raise ValueError("output 'loss' needs y, the labels whose loss is meant")
    sketch = None if k is None else Sketch(k, random_state)
    return mlp_rows(mlp, X, codes, weights, output, float(temperature), sketch)[0]


def check_mlp(mlp) -> MLPClassifier:
    """The network, if it is fitted and has one label a row."""
    if not isinstance(mlp, MLPClassifier):
        raise TypeError(
            f"mlp must be a fitted MLPClassifier of scikit-learn, got {type(mlp).__name__}; of a "
            "Pipeline give its last step, and rows transformed by the steps before"
        )
    check_is_fitted(mlp)
    if mlp.out_activation_ == "logistic" and mlp.n_outputs_ > 1:
        raise ValueError("mlp has several labels a row: its outputs are no softmax of classes")
    return mlp


def check_mlp_rows(mlp, X):
    """Rows of the width and names that the network knows, float32 or float64."""
    check_features(X, "X")
    X = canonical_csr(X, "X") if hasattr(X, "tocsr") else X
    return validate_data(
        mlp, X, reset=False, accept_sparse="csr", dtype=[np.float64, np.float32], order="C"
    )


def n_parameters(mlp) -> int:
    """Number of all weights and biases."""
    return sum(part.size for part in [*mlp.coefs_, *mlp.intercepts_])


def mlp_logits(mlp, X):
    """Logits (n, K) of checked rows in float64, those of two classes being -f/2 and f/2."""
    out = np.empty((X.shape[0], len(mlp.classes_)))
    with np.errstate(over="ignore", invalid="ignore"):
        for rows in batches(X.shape[0], 4096):
            f = _forward(mlp, full(X[rows]))[-1]
            out[rows] = logits(f[:, 0] if f.shape[1] == 1 else f)
            _check_finite(rows, out[rows])
    return out


def mlp_rows(mlp, X, codes, weights, output, temperature, sketch=None, model=0):
    """(gradients, logits over the temperature) of checked rows; projected where that is less.

    What is differentiated is given by weights (n, K), or an output of the classes in codes (n,),
    the predicted ones if there is neither.
    """
    n, p = X.shape[0], n_parameters(mlp)
    if sketch is not None and sketch.k >= p:
        sketch = None
    G = np.zeros((n, p if sketch is None else sketch.k), dtype=X.dtype)
    z = np.empty((n, len(mlp.classes_)))
    widest = max(W.size for W in mlp.coefs_)
    with np.errstate(over="ignore", invalid="ignore"):
        for rows in batches(n, max(1, min(256, BLOCK // widest))):
            activations = _forward(mlp, full(X[rows]))
            f = activations.pop().astype(np.float64)
            z[rows] = logits(f[:, 0] if f.shape[1] == 1 else f) / temperature
            V = weights[rows] if weights is not None else None
            if V is None:
                own = z[rows].argmax(axis=1) if codes is None else codes[rows]
                V = output_weights(z[rows], own, output)
            V = (V[:, 1:] - V[:, :1]) / 2 if len(mlp.classes_) == 2 else V
            layers = _backward(mlp, activations, (V / temperature).astype(X.dtype))
            _write(layers, G[rows], sketch, model)
            _check_finite(rows, G[rows], z[rows])
    return G, z


def _check_finite(rows, *found):
    """Nothing overflowed, and no weight of the network is missing."""
    wrong = ~np.logical_and.reduce([np.isfinite(part).all(axis=1) for part in found])
    if wrong.any():
        raise ValueError(
            f"gradients of row {rows.start + int(wrong.argmax())} are not finite: look at the "
            "weights of the network, scale the columns of X, or divide logits by a higher "
            "temperature"
        )


def _forward(mlp, X):
    """Inputs of all layers, and the input of the last activation."""
    activations = [X]
    last = len(mlp.coefs_) - 1
    for layer, (W, b) in enumerate(zip(mlp.coefs_, mlp.intercepts_, strict=True)):
        a = activations[-1] @ W.astype(X.dtype, copy=False) + b.astype(X.dtype, copy=False)
        activations.append(a if layer == last else ACTIVATIONS[mlp.activation](a))
    return activations


def _backward(mlp, activations, delta):
    """Yields (layer, its inputs, gradients in its outputs) from the last layer to the first."""
    for layer in reversed(range(len(mlp.coefs_))):
        H = activations[layer]
        yield layer, H, delta
        if layer:
            W = mlp.coefs_[layer].astype(delta.dtype, copy=False)
            delta = (delta @ W.T) * SLOPES[mlp.activation](H)


def _write(layers, out, sketch, model):
    """Gradients of some rows, side by side from the last layer to the first, or projected."""
    end, n = out.shape[1], len(out)
    for layer, H, delta in layers:
        if sketch is not None:
            outer = (H[:, :, None] * delta[:, None, :]).reshape(n, -1)
            sketch.add(f"coefs_.{layer}", outer, model, out)
            sketch.add(f"intercepts_.{layer}", delta, model, out)
            continue
        inner = end - delta.shape[1]
        out[:, inner:end] = delta
        end = inner - H.shape[1] * delta.shape[1]
        block = out[:, end:inner].reshape(n, H.shape[1], delta.shape[1])
        np.multiply(H[:, :, None], delta[:, None, :], out=block)


def own_probabilities(z, codes):
    """Softmax of logits z (n, K) at one class a row, (n,)."""
    return softmax(z, axis=1)[np.arange(len(z)), codes]
