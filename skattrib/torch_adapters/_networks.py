"""A network as a function of its weights and of batches, itself never changed."""

import contextlib
import difflib
import os
import threading
from collections.abc import Mapping

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

HALF = (torch.float16, torch.bfloat16)
# flags of modules are everybody's
LOCK = threading.RLock()


def unwrapped(model):
    """The module inside of torch.compile, DataParallel and DistributedDataParallel."""
    while True:
        if not isinstance(model, nn.Module):
            raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
        if type(model).__name__ in ("FullyShardedDataParallel", "FSDP"):
            raise ValueError(
                "model is sharded (FSDP), so that no process has all of its parameters: load its "
                "full state dict into a module of its own, and give that"
            )
        if isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            model = model.module
        elif "_orig_mod" in model._modules:
            model = model._orig_mod
        else:
            return model


class Network:
    """A module, its weights on one device, and what is called with them.

    Parameters
    ----------
    model : torch.nn.Module
    device : torch.device, str or None
        None: where the parameters are.
    temperature : float
        By which logits are divided.

    Attributes
    ----------
    state : dict of str to Tensor
        Parameters and buffers, detached; copies where half precision became float32 or the device
        is another.
    parameters, buffers : list of str
        Names in `state`; tied parameters have one.
    """

    def __init__(self, model, device=None, temperature=1.0):
        self.module, self.temperature = unwrapped(model), temperature
        own = dict(self.module.named_parameters())
        buffers = dict(self.module.named_buffers())
        self._check(own, buffers)
        devices = {tensor.device for tensor in (*own.values(), *buffers.values())}
        if len(devices) > 1:
            raise ValueError(
                f"model is spread over {sorted(map(str, devices))}: bring it to one device, such "
                "as by model.to('cpu')"
            )
        self.device = torch.device(device) if device is not None else min(devices, key=str)
        floats = [p.dtype for p in own.values() if p.is_floating_point()]
        self.dtype = torch.float64 if torch.float64 in floats else torch.float32
        self.parameters, self.buffers = list(own), list(buffers)
        self.trainable = [name for name, p in own.items() if p.requires_grad]
        self._canonical = {id(p): name for name, p in own.items()}
        # buffers are cloned: some networks count their calls in them
        self.state = {name: self._placed(p) for name, p in own.items()}
        self.state |= {name: self._placed(b).clone() for name, b in buffers.items()}

    @staticmethod
    def _check(own, buffers):
        if not own:
            raise ValueError("model has no parameters")
        for name, tensor in (own | buffers).items():
            if isinstance(tensor, nn.parameter.UninitializedTensorMixin):
                raise ValueError(f"{name} of model has no shape yet: call the model once")
            if type(tensor).__name__ == "DTensor":
                raise ValueError(f"{name} of model is sharded: give a module with whole parameters")
            if tensor.is_complex():
                raise ValueError(f"{name} of model is complex, of which there are no gradient rows")

    def _placed(self, tensor):
        tensor = tensor.detach()
        dtype = torch.float32 if tensor.dtype in HALF else tensor.dtype
        return tensor.to(self.device, dtype)

    @contextlib.contextmanager
    def evaluating(self):
        """As in ``model.eval()``; afterwards modules and random numbers are as before."""
        cuda = [self.device] if self.device.type == "cuda" else []
        with contextlib.ExitStack() as stack:
            stack.enter_context(LOCK)
            modules = list(self.module.modules())
            before = [_attributes(module) for module in modules]
            fast = torch.backends.mha.get_fastpath_enabled()
            cudnn = torch.backends.cudnn.enabled
            stack.enter_context(torch.random.fork_rng(devices=cuda))
            stack.enter_context(torch.inference_mode(False))
            if any(isinstance(module, nn.RNNBase) for module in modules):
                # it has no gradients of recurrent networks in evaluation
                stack.callback(setattr, torch.backends.cudnn, "enabled", cudnn)
                torch.backends.cudnn.enabled = False
            if self.device.type == "cpu":
                # of other kinds of attention on processors there are no batches of gradients
                stack.enter_context(sdpa_kernel(SDPBackend.MATH))
            try:
                self.module.eval()
                for module in modules:
                    module._compiled_call_impl = None
                # which would go past layers whose values are wanted
                torch.backends.mha.set_fastpath_enabled(False)
                yield self
            finally:
                torch.backends.mha.set_fastpath_enabled(fast)
                for module, attributes in zip(modules, before, strict=True):
                    _restore(module, attributes)

    def call(self, state, batch, tensors=None):
        """What the module returns for a batch with the weights of a state."""
        args, kwargs = batch.arguments(tensors)
        return torch.func.functional_call(self.module, state, args, kwargs)

    def logits(self, state, batch, tensors=None):
        """Logits of a batch, (b, K); of a binary logit f those are (-f/2, f/2)."""
        size = batch.size if tensors is None else 1
        logits = as_logits(self.call(state, batch, tensors), size)
        return logits if self.temperature == 1.0 else logits / self.temperature

    def chosen(self, parameters):
        """Names of parameters: those asked for by name or by module, or those that are trained."""
        if parameters is None:
            if not self.trainable:
                raise ValueError(
                    "no parameter of model requires grad: name those that matter in parameters, or "
                    "give parameters='all'"
                )
            names = self.trainable
        elif isinstance(parameters, str) and parameters == "all":
            names = self.parameters
        else:
            asked = [parameters] if isinstance(parameters, str) else list(parameters)
            named = set().union(*map(self._named, asked))
            names = [name for name in self.parameters if name in named]
        names = [name for name in names if self.state[name].is_floating_point()]
        if not names:
            raise ValueError("parameters names none: give names, names of modules, or 'all'")
        return names

    def _named(self, asked):
        everywhere = {
            name: self._canonical[id(p)]
            for name, p in self.module.named_parameters(remove_duplicate=False)
        }
        found = {own for name, own in everywhere.items() if f"{name}.".startswith(f"{asked}.")}
        if not found:
            known = [*everywhere, *(name for name, _ in self.module.named_modules() if name)]
            close = difflib.get_close_matches(str(asked), known, 4) or list(everywhere)[:4]
            raise ValueError(
                f"model has no parameter {asked!r}; close to it are {', '.join(map(repr, close))}"
            )
        return found

    def state_of(self, given, place):
        """Weights and buffers of a state dict or of a file that holds one."""
        if given is None:
            return self.state
        if isinstance(given, (str, os.PathLike)):
            given = torch.load(given, map_location="cpu", weights_only=True)
        if not isinstance(given, Mapping):
            raise TypeError(
                f"states[{place}] must be a state dict or a file of one, got {type(given).__name__}"
            )
        given = dict(given)
        for prefix in ("module.", "_orig_mod."):
            if given and all(str(name).startswith(prefix) for name in given):
                given = {name.removeprefix(prefix): tensor for name, tensor in given.items()}
        known = self.module.state_dict(keep_vars=True)
        extra = {name for name in known if name.endswith("_extra_state")}
        missing, strange = known.keys() - given.keys() - extra, given.keys() - known.keys()
        strange -= set(self.buffers)
        if missing or strange:
            raise ValueError(
                f"states[{place}] is of another network: it lacks {sorted(missing)[:3]} and has "
                f"{sorted(map(str, strange))[:3]}; give what model.state_dict() returned"
            )
        state = dict(self.state)
        for name in given.keys() - extra:
            own, tensor = self._canonical.get(id(known.get(name)), name), given[name]
            if not isinstance(tensor, torch.Tensor) or tensor.shape != self.state[own].shape:
                raise ValueError(
                    f"states[{place}] has {name} of shape {tuple(getattr(tensor, 'shape', ()))}, "
                    f"but model of {tuple(self.state[own].shape)}"
                )
            if own != name and own in given and not torch.equal(tensor, given[own]):
                raise ValueError(f"states[{place}]: {name} and {own} are tied, but differ")
            state[own] = self._placed(tensor)
        return state


def _attributes(module):
    """What a call may change of a module: flags, caches, the list of an LSTM's weights."""
    return {n: (v, list(v) if type(v) is list else None) for n, v in vars(module).items()}


def _restore(module, attributes):
    for name in vars(module).keys() - attributes.keys():
        del module.__dict__[name]
    for name, (value, inside) in attributes.items():
        module.__dict__[name] = value
        if inside is not None:
            value[:] = inside


def as_logits(output, size):
    """The (size, K) logits in what a network returned."""
    if isinstance(output, Mapping) and "logits" in output:
        output = output["logits"]
    elif not isinstance(output, torch.Tensor):
        output = getattr(output, "logits", output)
    if not isinstance(output, torch.Tensor):
        raise TypeError(
            f"model returns {type(output).__name__}; expected a tensor of logits or something with "
            ".logits: wrap it in a module that returns them"
        )
    if output.ndim != 2 or len(output) != size or not output.shape[1]:
        raise ValueError(
            f"model returns shape {tuple(output.shape)} for {size} rows; expected logits of shape "
            f"({size}, n_classes), or ({size}, 1) of two classes"
        )
    if not output.is_floating_point():
        raise ValueError(f"model returns {output.dtype}; expected logits, which are floats")
    return torch.cat([-0.5 * output, 0.5 * output], dim=1) if output.shape[1] == 1 else output
