"""Features of any layer of a network, and its last layer as a linear head."""

import contextlib
import warnings

import numpy as np
import torch
from torch import nn

from ._batches import Reader, unpacker
from ._networks import Network, as_logits
from ._outputs import check_labels
from ._rows import Filler, Head, Rows, function_digest, weights_digest

ALONE = {torch.float32: 1e-3, torch.float64: 1e-6}


def layer_features(
    model, loader, layer, *, at="output", pool=None, out=None, device=None, unpack=None,
    label_key="labels", verbose=0,
) -> Rows:  # fmt: skip
    """What comes out of a layer, or goes into it, for every row of a loader.

    Parameters
    ----------
    model : torch.nn.Module
        A network of classes: it returns logits of shape (rows, n_classes), or (rows, 1) of two
        classes, or something with `.logits`. It is evaluated as by ``model.eval()``, its
        parameters of half precision as float32, and left as it was.
    loader : iterable of batches
        A DataLoader without shuffling, or a list of batches. A batch is a tensor of inputs, a tuple
        (inputs..., labels), or a mapping of keyword arguments with labels under `label_key`.
    layer : str
        Name of a module, as in ``model.named_modules()``.
    at : {"output", "input"}, default="output"
        Which side of the layer.
    pool : callable, optional
        Makes an array (rows, n_features) of what the layer gives, such as
        ``lambda hidden: hidden[:, 0]`` of a transformer. By default tensors are flattened.
    out : path, ndarray or Tensor, optional
        Where the features go. A path names an .npy file, a memory map in which a run that was
        interrupted goes on: ``<path>.progress.npz`` beside it tells how far it has come, and
        refuses another model, data or settings.
    device : torch.device or str, optional
        By default where the model is. Otherwise its weights are copied there.
    unpack : callable, optional
        Makes (inputs, labels) of a batch: inputs are a tensor, a tuple or a mapping; labels are
        integers or None.
    label_key : str, default="labels"
    verbose : int, default=0
        Positive: print progress; above 1 after each batch.

    Returns
    -------
    Rows
        X of shape (n_samples, n_features), y, probabilities and logits.

    Raises
    ------
    TypeError
        For a model, loader or batch of another kind.
    ValueError
        For a loader that gives other rows each time, rows that influence each other in a batch, a
        layer that there is not or that is not run once, labels that are no classes, features that
        are not finite, an `out` of other shape or of another run.

    Warns
    -----
    UserWarning
        Where a row of the first batch has other features without what its `attention_mask` leaves
        out: they depend on how far rows are padded.

    Examples
    --------
    >>> import torch
    >>> from skattrib.torch_adapters import layer_features
    >>> net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    >>> batches = [(torch.randn(5, 4), torch.tensor([0, 1, 2, 0, 1]))]
    >>> layer_features(net, batches, "1").X.shape
    (5, 8)
    """
    network = Network(model, device)
    tap = Tap(network, layer, at, pool)
    settings = {"function": "layer_features", "layer": layer, "at": at}
    unpacked = unpacker(unpack, label_key)
    return _features(network, loader, unpacked, tap, settings, out, verbose)


def _features(network, loader, unpacked, tap, settings, out, verbose):
    """The Rows that a tap finds."""
    with network.evaluating(), torch.no_grad():
        reader = Reader(loader, unpacked)
        values, output = tap.checked(reader.first)
        logits = tap.logits(output, len(values))

        def key():
            model = {"model": repr(network.module), "weights": weights_digest(network.state)}
            return settings | {"pool": function_digest(tap.pool)} | model

        dtype = str(values.dtype).removeprefix("torch.")
        shape = (reader.n_rows, values.shape[1])
        K = logits.shape[1]
        title = settings["function"]
        with Filler(out, shape, dtype, reader, 1, K, key, title=title, verbose=verbose) as filler:
            for start, batch in reader:
                check_labels(batch.y, start, K)
                if filler.is_done(0, start, batch.size):
                    continue
                values, output = tap(batch)
                if values.shape[1] != shape[1]:
                    raise ValueError(
                        f"layer {tap.layer!r} gives {shape[1]} features of the first rows and "
                        f"{values.shape[1]} from row {start}: give pool=, a function that makes as "
                        "many of each, such as a mean over positions"
                    )
                filler.put(0, start, slice(None), values)
                filler.end(0, start, batch.y, tap.logits(output, batch.size))
        return filler.rows()


class Tap:
    """Reads what one layer of a network takes or gives."""

    def __init__(self, network, layer, at="output", pool=None):
        modules = dict(network.module.named_modules(remove_duplicate=False))
        if layer not in modules:
            known = ", ".join(map(repr, modules))
            raise ValueError(f"layer must be one of {known}; got {layer!r}")
        if at not in ("output", "input"):
            raise ValueError(f"at must be 'output' or 'input', got {at!r}")
        self.network, self.layer, self.at, self.pool = network, layer, at, pool
        self.module = modules[layer]

    def __call__(self, batch):
        """Features (b, d) of a batch, and what the network returned."""
        found = []

        def hook(module, args, kwargs, result):
            first = next(iter((*args, *kwargs.values())), None)
            found.append(result if self.at == "output" else first)

        batch = batch.to(self.network.device, self.network.dtype)
        with hooked(self.module, hook):
            output = self.network.call(self.network.state, batch)
        if len(found) != 1:
            raise ValueError(
                f"layer {self.layer!r} is run {len(found)} times for each batch: name one that is "
                "run once"
            )
        return self._flat(found[0], batch.size), output

    def _flat(self, values, size):
        if self.pool is not None:
            values = self.pool(values)
        if not isinstance(values, torch.Tensor) or not values.is_floating_point():
            kind = getattr(values, "dtype", type(values).__name__)
            raise ValueError(
                f"layer {self.layer!r} has {kind} as {self.at}: give pool=, a function that makes "
                "a tensor of floats of it"
            )
        if not values.ndim or len(values) != size:
            raise ValueError(
                f"layer {self.layer!r} has shape {tuple(values.shape)} for {size} rows: give "
                "pool=, a function that makes (rows, features) of it"
            )
        return values.reshape(size, -1)

    def checked(self, batch):
        """As a call, after a look at some rows alone."""
        values, output = self(batch)
        for i in sorted({0, batch.size - 1}):
            try:
                alone = self(batch.rows(slice(i, i + 1)))[0]
            except Exception as error:
                raise ValueError(
                    f"the network does not take row {i} alone ({error}): rows influence each "
                    "other, as in batch norm without running statistics"
                ) from error
            check_alone(alone, values[i : i + 1], i, f"features of layer {self.layer!r}")
        what = f"features of layer {self.layer!r}"
        check_padding(batch, values, what, lambda row: self(row)[0], 5)
        return values, output

    def logits(self, output, size):
        """Logits in what the network returned."""
        return as_logits(output, size)


def _others(alone, among):
    """Which rows have other values alone than among others, (b, ...) each."""
    if alone.shape != among.shape:
        return torch.ones(len(among), dtype=torch.bool)
    # what is not finite is reported as such, later
    scale = 1 + among.abs().flatten(1).amax(dim=1, keepdim=True)
    return ((alone - among).abs().flatten(1) > ALONE.get(among.dtype, 1e-3) * scale).any(dim=1)


def check_alone(alone, among, first, what):
    """Rows have the same values alone as among others, (b, ...) each; the number of the first."""
    other = _others(alone, among)
    if other.any():
        raise ValueError(
            f"rows influence each other: {what} of row {first + int(other.int().argmax())} are "
            "others alone than in its batch. Use a network without dropout at evaluation, mixing "
            "of rows, or batch norm without running statistics"
        )


def check_padding(batch, among, what, values_of, stacklevel):
    """Warns where the values of a row depend on how far it is padded."""
    found = batch.without_padding()
    if found is None:
        return
    i, row = found
    try:
        alone = values_of(row)
    except Exception:
        # networks of one length
        return
    if alone.shape == among[i : i + 1].shape and _others(alone, among[i : i + 1]).any():
        warnings.warn(
            f"{what} of row {i} are others without its padding, so that they depend on the rows "
            "beside it: pad all batches to one length, or have the network leave out what "
            "attention_mask leaves out",
            UserWarning,
            stacklevel=stacklevel,
        )


@contextlib.contextmanager
def hooked(module, hook):
    """A forward hook for a while."""
    handle = module.register_forward_hook(hook, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


class _HeadTap(Tap):
    """Inputs of a linear layer whose outputs are the logits."""

    def __init__(self, network, layer, asked):
        super().__init__(network, layer, "input")
        if not isinstance(self.module, nn.Linear):
            raise ValueError(
                f"layer {layer!r} is a {type(self.module).__name__}: the last layer must be a "
                "torch.nn.Linear"
            )
        self.asked = asked

    def __call__(self, batch):
        def hook(module, args, kwargs, result):
            # weights as the layer sees them, which a parametrization may have made of others
            self.result, self.coef = result, module.weight.detach().clone()
            bias = module.bias
            self.intercept = torch.zeros(len(self.coef)) if bias is None else bias.detach().clone()

        with hooked(self.module, hook):
            values, output = super().__call__(batch)
        return values, self._reproduced(output)

    def _reproduced(self, output):
        """The logits of the layer, if what the network returned is made of them."""
        made = self.result
        output = output if isinstance(output, torch.Tensor) else as_logits(output, len(made))
        if made.ndim == 2 and made.shape[1] == 1 and output.shape == (len(made), 2):
            made = as_logits(made, len(made))
        behind = [name for name, f in BEHIND.items() if made.ndim == 2 and _near(output, f(made))]
        if not behind:
            raise ValueError(
                f"the network's output is not that of layer {self.layer!r}: name the linear layer "
                "whose outputs are its logits in layer="
            )
        if behind[0] and not self.asked:
            raise ValueError(
                f"a {behind[0]} stands behind the last layer, so that the network returns no "
                f"logits: give layer={self.layer!r} to take them from there"
            )
        return as_logits(made, len(made))


# what may stand between the last layer and the output; nothing, first
BEHIND = {
    "": lambda z: z,
    "softmax": lambda z: z.softmax(dim=1),
    "log-softmax": lambda z: z.log_softmax(dim=1),
    "sigmoid": lambda z: z.sigmoid(),
}


def _near(a, b):
    if a.shape != b.shape:
        return False
    # rows that are not finite are reported as such, later
    both = torch.isfinite(a).all(dim=1) & torch.isfinite(b).all(dim=1)
    a, b = a[both], b[both]
    return not len(a) or bool(((a - b).abs() <= 1e-5 * (1 + b.abs().amax())).all())


def last_layer(
    model, loader, layer=None, *, out=None, device=None, unpack=None, label_key="labels", verbose=0
) -> Head:
    """The last layer of a network as a linear head, and its inputs.

    Parameters
    ----------
    model, loader : as in `layer_features`
    layer : str, optional
        Name of the linear layer whose outputs are the logits; by default it is found. Needed
        where a softmax, log-softmax or sigmoid stands behind it.
    out, device, unpack, label_key, verbose : as in `layer_features`

    Returns
    -------
    Head
        X, y, logits, coef, intercept, and the error with which they reproduce the logits.

    Raises
    ------
    TypeError, ValueError
        As in `layer_features`; and ValueError where no linear layer makes the output.

    Examples
    --------
    >>> import torch
    >>> from skattrib import InfluenceExplainer, LinearHead
    >>> from skattrib.torch_adapters import last_layer
    >>> net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    >>> head = last_layer(net, [(torch.randn(9, 4), torch.arange(9) % 3)])
    >>> explained = LinearHead(head.coef, head.intercept, temperature=2.0)
    >>> InfluenceExplainer(explained).fit(head.X, head.y).attribute(head.X).shape
    (9, 9)
    """
    network = Network(model, device)
    unpacked = unpacker(unpack, label_key)
    with network.evaluating(), torch.no_grad():
        found = _find_head(network, Reader(loader, unpacked).first) if layer is None else layer
    tap = _HeadTap(network, found, layer is not None)
    settings = {"function": "last_layer", "layer": found}
    rows = _features(network, loader, unpacked, tap, settings, out, verbose)
    coef, intercept = tap.coef.cpu().numpy(), tap.intercept.cpu().numpy().astype(rows.logits.dtype)
    return Head(rows.X, rows.y, rows.logits, coef, intercept, _error(rows, coef, intercept))


def _error(rows, coef, intercept):
    """Largest difference of the head's logits and the network's, over the largest logit."""
    worst = 0.0
    for start in range(0, len(rows.logits), 1024):
        part = slice(start, start + 1024)
        X = rows.X[part]
        X = X.cpu().numpy() if isinstance(X, torch.Tensor) else X
        made = X @ coef.T + intercept
        made = np.hstack([-0.5 * made, 0.5 * made]) if len(coef) == 1 else made
        worst = max(worst, float(np.abs(made - rows.logits[part]).max()))
    return worst / max(float(np.abs(rows.logits).max()), np.finfo(np.float32).tiny)


def _find_head(network, batch):
    """Name of the last linear layer that is run on whole rows."""
    called = []
    modules = dict(network.module.named_modules())
    with contextlib.ExitStack() as stack:
        for name, module in modules.items():
            if isinstance(module, nn.Linear):
                handle = module.register_forward_hook(lambda *_, name=name: called.append(name))
                stack.callback(handle.remove)
        network.call(network.state, batch.to(network.device, network.dtype))
    if not called:
        raise ValueError(
            "no torch.nn.Linear is run by the network: use layer_features for the features of "
            "another layer"
        )
    return called[-1]
