"""What users call features, as one module; and the module from an input to attributions."""

import contextlib
import inspect

import numpy as np
import torch
from torch import nn

from .._networks import LOCK, Network, unwrapped
from ..features import hooked
from ..transformer import TorchFeatures


class PairModule(nn.Module):
    """The module from an input to the attributions of pairs, for captum and other engines.

    Parameters
    ----------
    features : torch.nn.Module, callable or TorchFeatures
        Makes the rows (b, d) that an explainer was fitted on of inputs.
    directions : array of shape (d,) or (k, d)
        Of pairs, as ``explainer.directions`` gives them: with ``side="test"`` the inputs are test
        rows, with ``side="train"`` they are the training row.

    Attributes
    ----------
    features : torch.nn.Module
        Evaluated as by ``eval()`` in each call, and left as it was.
    head : torch.nn.Linear
        Without a bias; its weights are the directions.

    Notes
    -----
    It returns (b,) for one direction and (b, k) for several: what of ``T[j, i]`` runs through the
    features, which is all but the share of an intercept, where attributions have one.

    Examples
    --------
    >>> import torch
    >>> from skattrib.torch_adapters import PairModule
    >>> net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU())
    >>> PairModule(net, torch.ones(3, 8))(torch.randn(2, 4)).shape
    torch.Size([2, 3])
    """

    def __init__(self, features, directions):
        super().__init__()
        self.features = as_module(features)
        directions = torch.as_tensor(directions).detach()
        if directions.ndim not in (1, 2) or not directions.is_floating_point():
            raise ValueError(
                "directions must be floats of shape (d,) or (k, d), as explainer.directions(X, "
                f"indices)[j] is; got {directions.dtype} of shape {tuple(directions.shape)}"
            )
        self.single = directions.ndim == 1
        weight = torch.atleast_2d(directions)
        first = next(self.features.parameters(), weight)
        self.head = nn.utils.skip_init(nn.Linear, *reversed(weight.shape), bias=False)
        self.head.weight = nn.Parameter(weight.to(first.device, first.dtype), requires_grad=False)

    def forward(self, *inputs, **more):
        """Attributions of the pairs at inputs."""
        with _evaluating(self.features):
            rows = self.features(*inputs, **more)
        out = self.head(rows.flatten(1).to(self.head.weight.dtype))
        return out[:, 0] if self.single else out


@contextlib.contextmanager
def _evaluating(module):
    """As by ``module.eval()`` for a while; nothing else is touched, hooks of engines least."""
    with LOCK:
        flags = [(part, part.training) for part in module.modules()]
        try:
            module.eval()
            yield
        finally:
            for part, training in flags:
                part.training = training


def as_module(features):
    """A module that makes rows (b, d) of inputs."""
    if isinstance(features, TorchFeatures):
        return Layer(features)
    if isinstance(features, nn.Module):
        return unwrapped(features)
    if not callable(features) or isinstance(features, type):
        kind = features.__name__ if isinstance(features, type) else type(features).__name__
        raise TypeError(
            "features must be a torch.nn.Module, a function from inputs to rows of features, or a "
            f"TorchFeatures, got {kind}"
        )
    return Function(features)


class Function(nn.Module):
    """A function; of a module, if it is a method of one."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        owner = getattr(function, "__self__", None)
        if inspect.ismethod(function) and isinstance(owner, nn.Module):
            self.owner = owner

    def forward(self, *inputs, **more):
        """What the function returns."""
        return self.function(*inputs, **more)


class Layer(nn.Module):
    """What TorchFeatures reads of a network."""

    def __init__(self, features):
        super().__init__()
        # which checks the layer
        tap = features._tap()
        self.network, self.pool = tap.network.module, tap.pool
        self.at, self.layer = tap.at, tap.layer

    def forward(self, *inputs, **more):
        """Outputs or inputs of the layer."""
        found = []

        def hook(module, args, kwargs, result):
            first = next(iter((*args, *kwargs.values())), None)
            found.append(result if self.at == "output" else first)

        with hooked(self.network.get_submodule(self.layer), hook):
            self.network(*inputs, **more)
        if len(found) != 1:
            raise ValueError(f"layer {self.layer!r} is run {len(found)} times, not once")
        return found[0] if self.pool is None else self.pool(found[0])


class ByPair:
    """Maps that a function makes pair by pair.

    Parameters
    ----------
    features : as users give them
    method : callable
        Of a PairModule and one input (1, ...) makes the map.
    """

    rows = None

    def __init__(self, features, method):
        self.features, self.method = features, method

    def __call__(self, batch, values, G):
        """Maps (q, b, ...) of values (b, ...) for directions G (q, b, d)."""
        maps = values.new_empty((len(G), *values.shape))
        for q, b in np.ndindex(*maps.shape[:2]):
            x = values[b : b + 1].clone()
            found = torch.as_tensor(self.method(PairModule(self.features, G[q, b]), x))
            if found.shape != x.shape:
                raise ValueError(
                    f"method returned shape {tuple(found.shape)} for an input of shape "
                    f"{tuple(x.shape)}; expected the same"
                )
            maps[q, b] = found.detach()[0]
        return maps


class Features:
    """Rows of features as a differentiable function, with weights that have no gradients.

    Parameters
    ----------
    features : as users give them
    """

    def __init__(self, features):
        module = as_module(features)
        self.closed = next(module.parameters(), None) is None
        if self.closed:
            # a function whose network, if any, cannot be seen: rows decide on device and type
            module = Function(module)
            module.anchor = nn.Parameter(torch.empty(0), requires_grad=False)
        if any(isinstance(part, torch.jit.ScriptModule) for part in module.modules()):
            raise ValueError(
                "features holds modules of torch.jit, in which nothing can be seen: give the "
                "module that was scripted"
            )
        self.network = Network(module)
        self.module = self.network.module

    def evaluating(self):
        """As in ``eval()``, with gradients; everything is as before afterwards."""
        return self.network.evaluating()

    def placed(self, batch):
        """A batch where the network is, in its type."""
        if self.closed:
            return batch
        return batch.to(self.network.device, self.network.dtype)

    def __call__(self, batch, tensors=None):
        """Rows (b, d) of a batch, or of other tensors in the place of its own."""
        rows = self.network.call(self.network.state, batch, tensors)
        size = batch.size if tensors is None else len(tensors[0])
        if not isinstance(rows, torch.Tensor) or not rows.is_floating_point():
            kind = getattr(rows, "dtype", type(rows).__name__)
            raise TypeError(f"features returns {kind}; expected floats of shape ({size}, d)")
        if not rows.ndim or len(rows) != size:
            raise ValueError(
                f"features returns shape {tuple(rows.shape)} for {size} rows; expected ({size}, d)"
            )
        return rows.reshape(size, -1)
