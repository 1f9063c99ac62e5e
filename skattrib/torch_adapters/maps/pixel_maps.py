"""Maps of attributions over the inputs of a network: the pixels that tie two rows."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from numbers import Real

import numpy as np
import torch

from ...retraining.refits import draw_seed
from .._outputs import check_integer
from .gradients import Gradient, integrated, noisy, single
from .lrp import Relevance
from .modules import ByPair
from .pairs import Pairs

METHODS = ("lrp", "gradient", "integrated_gradients")


@dataclass(frozen=True)
class PixelMaps:
    """Maps of the attributions of pairs over the inputs of both rows.

    Attributes
    ----------
    test : ndarray of shape (m, k, ...), or None
        For test row j and training row ``indices[j, q]`` the map over the test row's input, of the
        shape of that input; None where attributions have no direction in it.
    train : ndarray of shape (m, k, ...), or None
        The map over the training row's input.
    remainder : ndarray of shape (m, ...), or None
        The map over the test row's input of all other training rows together.
    values : ndarray of shape (m, k)
        Attributions of the pairs, but for the share of an intercept, where they have one.
    indices : ndarray of shape (m, k)
        Training rows.
    test_share, train_share : ndarray of shape (m, k), or None
        What of each value its map holds: the sum of `contributions` over the value; NaN where the
        value is 0.
    inputs : ndarray of shape (m, ...)
        What the maps are over: test inputs, or the embeddings of their tokens.
    train_inputs : ndarray of shape (m, k, ...)
        The same of the training rows.
    method : str
        Its name; of a callable followed by brackets.
    tokens : bool
        Whether the maps are over tokens; their last axis is that of the embedding.

    Examples
    --------
    >>> import torch
    >>> from skattrib import DualViewExplainer
    >>> from skattrib.torch_adapters import pixel_maps
    >>> features = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(36, 5))
    >>> X, y = torch.rand(30, 1, 6, 6), torch.arange(30).numpy() % 3
    >>> rows = features(X).detach().numpy()
    >>> explainer = DualViewExplainer().fit(rows, y)
    >>> _, indices = explainer.top_k(rows[:2], k=3)
    >>> maps = pixel_maps(explainer, features, X[:2], X, indices, method="gradient", noise=0)
    >>> maps.test.shape, maps.method, maps.contributions().shape
    ((2, 3, 1, 6, 6), 'gradient', (2, 3, 1, 6, 6))
    """

    test: np.ndarray | None
    train: np.ndarray | None
    remainder: np.ndarray | None
    values: np.ndarray
    indices: np.ndarray
    test_share: np.ndarray | None
    train_share: np.ndarray | None
    inputs: np.ndarray
    train_inputs: np.ndarray
    method: str
    tokens: bool

    def contributions(self, side: str = "train") -> np.ndarray:
        """Maps in the unit of the attribution, whatever the method.

        Parameters
        ----------
        side : {"train", "test"}

        Returns
        -------
        ndarray of shape (m, k, ...), or (m, k, length) of tokens
            Gradients times inputs for ``method="gradient"``, otherwise the maps; summed over
            embeddings of tokens. Their sums are `values`, as far as a method keeps them.

        Raises
        ------
        ValueError
            For another side, or one without maps.
        """
        if side not in ("train", "test"):
            raise ValueError(f"side must be 'train' or 'test', got {side!r}")
        maps = self.train if side == "train" else self.test
        if maps is None:
            raise ValueError(f"attributions of this explainer have no maps of the {side} rows")
        if self.method == "gradient":
            maps = maps * (self.train_inputs if side == "train" else self.inputs[:, None])
        return maps.sum(axis=-1) if self.tokens else maps


def pixel_maps(
    explainer,
    features,
    X,
    X_train,
    indices,
    *,
    target=None,
    method="lrp",
    n_samples=32,
    noise=0.1,
    conv="zplus",
    first=None,
    bias=True,
    remainder=False,
    batch_size=64,
    random_state=None,
) -> PixelMaps:
    """Which pixels of both inputs tie training rows to predictions.

    Parameters
    ----------
    explainer : fitted explainer with `directions`
        Fitted on the rows that `features` makes of X_train.
    features : torch.nn.Module, callable or TorchFeatures
        Makes the rows of features (b, d) of inputs, such as a network without its last layer. A
        scaler between the network and the explainer belongs here. It is evaluated as by
        ``eval()`` and left as it was.
    X : array, Tensor, tuple or mapping of them, Dataset, or list of its items
        Inputs of m test rows, as `features` takes them: images with any number of channels, or
        token ids. Of several inputs the first is the one that is explained.
    X_train : as X
        Inputs of all training rows; those in `indices` are read.
    indices : int array of shape (m, k)
        Training rows, such as `top_k` returns.
    target : as in `attribute`
    method : {"lrp", "gradient", "integrated_gradients"} or callable, default="lrp"
        "lrp": layer-wise relevance propagation. "gradient": gradients of the attribution, the
        mean of several with noise (SmoothGrad). "integrated_gradients": from inputs, or embeddings,
        of zero. Advice: "gradient" for networks with residual connections and for tokens.
        A callable takes a `PairModule` of one pair and one input (1, ...), and returns a map of the
        same shape in the unit of the attribution.
    n_samples : int, default=32
        Noisy inputs of "gradient", or points of "integrated_gradients".
    noise : float, default=0.1
        Standard deviation of the noise of "gradient", as a share of the range of each input; the
        same noise for all rows. 0: plain gradients.
    conv : {"zplus", "epsilon"}, default="zplus"
        Rule of "lrp" for convolutions; linear layers have epsilon.
    first : {None, "flat"}
        Rule of "lrp" for the layers that see the input. "flat" shares evenly over it.
    bias : bool, default=True
        Whether biases take their share of what "lrp" hands on. With ``first="flat"`` and
        ``bias=False`` maps hold all of the attribution.
    remainder : bool, default=False
        Whether to map what the other training rows contribute, which with the chosen ones makes
        up the gradient, or the relevance, of the explained output.
    batch_size : int, default=64
        Maps of one pass of the network.
    random_state : int, RandomState or None, default=None
        Decides the noise.

    Returns
    -------
    PixelMaps

    Raises
    ------
    TypeError
        For explainers, features and inputs of another kind.
    ValueError
        For inputs in `X_train` whose features are not the rows that the explainer was fitted on;
        for networks of which "lrp" has no rule; for rows that influence each other.

    Notes
    -----
    ``T[j, i]`` is linear in the features of either row (DualView paper, eq. 7). Its direction in
    them, `explainer.directions`, is sent back through the network: by gradients this is the
    sensitivity map of the representer paper (section 4.4), by relevance rules DualView's map.

    A map that holds all of the value need not be the one that names the pixels that matter:
    blank the highest pixels and see what is left (`skattrib.metrics.deletion`). Maps over the test
    row hardly differ between training rows; those over training rows do.

    "lrp" gives linear layers and convolutions that are modules a rule, folds batch norm into the
    layer before it, and leaves ReLU, pools and sums to autograd. It refuses all else, such as GELU
    and attention.

    References
    ----------
    Yolcu et al., "DualView", 2024, and "DualXDA", 2025. Yeh et al., "Representer Point Selection
    for Explaining Deep Neural Networks", NeurIPS 2018. Bach et al., "On Pixel-Wise Explanations by
    Layer-Wise Relevance Propagation", PLOS ONE 2015. Smilkov et al., "SmoothGrad", 2017.
    Sundararajan et al., "Axiomatic Attribution for Deep Networks", ICML 2017.

    Examples
    --------
    >>> import torch
    >>> from skattrib import DualViewExplainer
    >>> from skattrib.torch_adapters import pixel_maps
    >>> features = torch.nn.Sequential(
    ...     torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.Flatten()
    ... )
    >>> X, y = torch.rand(30, 1, 6, 6), torch.arange(30).numpy() % 3
    >>> rows = features(X).detach().numpy()
    >>> explainer = DualViewExplainer().fit(rows, y)
    >>> values, indices = explainer.top_k(rows[:2], k=3)
    >>> maps = pixel_maps(explainer, features, X[:2], X, indices)
    >>> maps.train.shape
    (2, 3, 1, 6, 6)
    """
    if isinstance(explainer, type) or not hasattr(explainer, "directions"):
        kind = explainer.__name__ if isinstance(explainer, type) else type(explainer).__name__
        raise TypeError(
            f"explainer must be a fitted explainer with directions, got {kind}; of a Pipeline "
            "give its last step, and the steps before it as features"
        )
    for name, value, known in (
        ("conv", conv, ("zplus", "epsilon")),
        ("first", first, (None, "flat")),
        ("bias", bias, (True, False)),
        ("remainder", remainder, (True, False)),
    ):
        if not isinstance(value, (str, bool, np.bool_, type(None))) or value not in known:
            raise ValueError(f"{name} must be one of {known}, got {value!r}")
    if not callable(method) and (not isinstance(method, str) or method not in METHODS):
        raise ValueError(f"method must be one of {METHODS}, or a callable; got {method!r}")
    check_integer(n_samples, "n_samples", 1)
    check_integer(batch_size, "batch_size", 1)
    if isinstance(noise, bool) or not isinstance(noise, Real) or not 0 <= float(noise) < np.inf:
        raise ValueError(f"noise must be a number from 0 on, got {noise!r}")
    pairs = Pairs(explainer, features, X, X_train, indices, target, batch_size)
    with pairs.network.evaluating(), torch.enable_grad():
        pairs.find(remainder)
        if pairs.inputs.tokens and method not in METHODS[1:]:
            raise ValueError(f"method {method!r} is for images: of tokens use 'gradient'")
        engine: Callable
        if method == "lrp":
            engine = Relevance(pairs.network, conv, first, bias)
        elif method == "gradient":
            points = noisy(n_samples, noise, draw_seed(random_state) % 2**63) if noise else single
            engine = Gradient(pairs.inputs, points, batch_size)
        elif method == "integrated_gradients":
            engine = Gradient(pairs.inputs, integrated(n_samples), batch_size, times=True)
        else:
            engine = ByPair(features, method)
        train, train_inputs = pairs.train_maps(engine)
        test, rest, inputs = pairs.test_maps(engine)
    named = isinstance(method, str)
    maps = PixelMaps(
        test=test,
        train=train,
        remainder=rest,
        values=pairs.values,
        indices=pairs.indices,
        test_share=None,
        train_share=None,
        inputs=inputs,
        train_inputs=train_inputs,
        method=method if named else f"{getattr(method, '__name__', type(method).__name__)}()",
        tokens=pairs.inputs.tokens,
    )
    shares = {
        f"{side}_share": _share(maps.contributions(side), pairs.values)
        for side, found in (("test", test), ("train", train))
        if found is not None
    }
    return replace(maps, **shares)


def _share(contributions, values):
    """What of each value a map holds."""
    held = contributions.sum(axis=tuple(range(2, contributions.ndim)), dtype=np.float64)
    return np.divide(held, values, out=np.full_like(values, np.nan), where=values != 0)
