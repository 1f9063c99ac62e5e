"""Gradients of single rows in the parameters of a network, and their projection."""

import warnings

import torch

from ..gradients import Sketch
from ..gradients.sketch import add_sketch
from .features import check_alone

# bytes that the gradients of the rows of one call may take, and the most rows of one
BUDGET, MOST = 2**28, 32


class RowGradients:
    """Gradients of an output row by row, by `torch.func.vmap`, or one by one where that fails.

    Parameters
    ----------
    network : Network
    names : list of str
        Parameters in which it is differentiated.
    weights : function of logits (b, K) and what is given of each row
        Derivatives of the output in the logits, (b, K).
    """

    def __init__(self, network, names, weights):
        self.network, self.names, self.weights = network, names, weights
        numbers = sum(network.state[name].numel() for name in names)
        self.chunk = max(1, min(MOST, BUDGET // (4 * max(numbers, 1))))
        self.batched = True

    def __call__(self, state, batch, given, first, logits=None):
        """Yield (slice of rows, gradients by name of shape (rows, *shape), logits of rows alone).

        Parameters
        ----------
        state : dict of str to Tensor
        batch : Batch
        given : Tensor of shape (b, ...)
            The class of each row, or the derivatives themselves.
        first : int
            Number of its first row.
        logits : Tensor of shape (b, K), optional
            Of the whole batch, with which those of rows alone are compared.
        """
        for start in range(0, batch.size, self.chunk):
            part = slice(start, min(start + self.chunk, batch.size))
            found, alone = self._rows(state, batch.rows(part), given[part])
            if logits is not None:
                check_alone(alone, logits[part], first + start, "logits")
            yield part, found, alone

    def _rows(self, state, batch, given):
        if self.batched:
            try:
                return self._vmapped(state, batch, given)
            except (MemoryError, torch.cuda.OutOfMemoryError):
                raise
            except Exception as error:
                self.batched = False
                cause = str(error).strip().partition("\n")[0][:200]
                warnings.warn(
                    "torch.func.vmap does not take this network, so that its rows are "
                    f"differentiated one by one, several times slower: {cause}",
                    RuntimeWarning,
                    stacklevel=4,
                )
        return self._one_by_one(state, batch, given)

    def _split(self, state):
        chosen = {name: state[name] for name in self.names}
        return chosen, {name: t for name, t in state.items() if name not in chosen}

    def _vmapped(self, state, batch, given):
        chosen, rest = self._split(state)

        def of_row(chosen, tensors, given):
            tensors = tuple(tensor[None] for tensor in tensors)
            logits = self.network.logits(rest | chosen, batch, tensors)
            V = self.weights(logits.detach(), given[None])
            return (V * logits).sum(), logits[0].detach()

        gradient = torch.func.grad(of_row, has_aux=True)
        return torch.func.vmap(gradient, in_dims=(None, 0, 0))(chosen, batch.tensors, given)

    def _one_by_one(self, state, batch, given):
        chosen, rest = self._split(state)
        chosen = {name: tensor.detach().requires_grad_() for name, tensor in chosen.items()}
        found = {name: t.new_empty((batch.size, *t.shape)) for name, t in chosen.items()}
        alone = []
        with torch.enable_grad():
            for i in range(batch.size):
                row = slice(i, i + 1)
                logits = self.network.logits(rest | chosen, batch.rows(row))
                alone.append(logits[0].detach())
                gradients = (None,) * len(chosen)
                if logits.requires_grad:
                    V = self.weights(logits.detach(), given[row])
                    gradients = torch.autograd.grad(
                        (V * logits).sum(), list(chosen.values()), allow_unused=True
                    )
                for name, gradient in zip(chosen, gradients, strict=True):
                    found[name][i] = 0.0 if gradient is None else gradient.to_dense()
        return found, torch.stack(alone)


class Projection:
    """Rows of a fixed width out of gradients by name: sketches, or gradients side by side.

    Parameters
    ----------
    shapes : dict of str to Tensor
        Parameters by name, in order.
    k : int or None
        None, or no fewer than there are numbers: gradients stay as they are.
    random_state : int
    device, dtype : of the rows
    """

    def __init__(self, parameters, k, random_state, device, dtype):
        self.sizes = {name: tensor.numel() for name, tensor in parameters.items()}
        total = sum(self.sizes.values())
        self.sketch = None if k is None or k >= total else Sketch(k, random_state)
        self.width = total if self.sketch is None else k
        self.device, self.dtype, self.model, self.plans = device, dtype, None, {}

    def for_model(self, model):
        """From now on the projections of one of several networks."""
        if self.sketch is not None and model != self.model:
            self.model, self.plans = model, {}
            for name, size in self.sizes.items():
                signs, shifts = self.sketch.plan(name, size, model)
                self.plans[name] = Blocks(
                    signs, shifts, self.width, self.device, self.dtype, self.device.type == "cpu"
                )
        return self

    def __call__(self, gradients):
        """Rows (b, width); the gradients are dropped one after the other."""
        b = len(next(iter(gradients.values())))
        out = torch.zeros((b, self.width), device=self.device, dtype=self.dtype)
        start = 0
        for name, size in self.sizes.items():
            flat = gradients.pop(name).reshape(b, size)
            if self.sketch is None:
                out[:, start : start + size] = flat
                start += size
            else:
                self.plans[name].add(flat, out)
        return out


class Blocks:
    """Adds the sketch of one parameter's gradients, as `Sketch.project` does, on any device."""

    def __init__(self, signs, shifts, k, device, dtype, compiled):
        self.k, self.size, self.dtype, self.compiled = k, len(signs), dtype, compiled
        if compiled:
            self.signs, self.shifts = signs, shifts
            return
        # one kernel that gathers in place of many small ones that add
        at = torch.arange(k, device=device)
        self.gathered = (at - torch.tensor(shifts, device=device)[:, None]) % k
        signs = torch.from_numpy(signs).to(device, dtype)
        whole = len(shifts) * k - self.size
        self.signs = torch.nn.functional.pad(signs, (0, whole)).view(-1, k)

    def add(self, flat, out):
        """Add the sketch of flat (b, size) to out (b, k)."""
        if self.compiled:
            rows = flat.to(self.dtype).contiguous().numpy()
            add_sketch(rows, self.signs, self.shifts, out.numpy())
            return
        blocks = torch.nn.functional.pad(flat, (0, self.signs.numel() - self.size))
        blocks = blocks.view(len(flat), -1, self.k) * self.signs
        out += blocks.gather(2, self.gathered.expand(len(flat), -1, -1)).sum(dim=1)
