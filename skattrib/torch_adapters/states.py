"""States of a network near its own: parameters dropped, members of a geometric ensemble."""

import copy
from numbers import Real

import numpy as np
import torch

from ._batches import unpacker
from ._networks import Network, as_logits, unwrapped
from ._outputs import check_integer


def _number(value, name, least, most, open_below=True):
    """A real number between two others."""
    fits = isinstance(value, Real) and not isinstance(value, bool) and least <= value <= most
    if not fits or (open_below and value == least):
        raise ValueError(f"{name} must be a number from {least:g} to {most:g}, got {value!r}")
    return float(value)


def dropout_states(model, n_copies, max_rate=0.01, *, random_state=0) -> list:
    """Copies of a network's state with a few parameters set to zero: those of IP-Ensemble.

    Parameters
    ----------
    model : torch.nn.Module
        It is not changed.
    n_copies : int
    max_rate : float, default=0.01
        Each copy has a rate drawn from U(0, max_rate), at which each number of its parameters is
        zero. Others stay as they are, and so do buffers.
    random_state : int, default=0
        Copy i does not depend on `n_copies`.

    Returns
    -------
    list of dict
        State dicts, on the device of the model.

    Raises
    ------
    TypeError, ValueError
        For a number of copies or a rate that is none.

    Examples
    --------
    >>> import torch
    >>> from skattrib.torch_adapters import dropout_states, gradient_rows
    >>> net = torch.nn.Linear(4, 3)
    >>> copies = dropout_states(net, n_copies=5)
    >>> batches = [(torch.randn(9, 4), torch.arange(9) % 3)]
    >>> gradient_rows(net, batches, states=copies, weights=[1 / 5] * 5).X.shape
    (9, 75)
    """
    n_copies = check_integer(n_copies, "n_copies", 1)
    max_rate = _number(max_rate, "max_rate", 0, 1)
    seed = check_integer(random_state, "random_state")
    own = Network(model).module
    parameters = dict(own.named_parameters(remove_duplicate=False))
    copies = []
    for i in range(n_copies):
        # on the CPU: the same on any device
        source = torch.Generator().manual_seed(_seed(seed, i))
        rate = max_rate * torch.rand((), generator=source)
        state = {name: tensor.detach().clone() for name, tensor in own.state_dict().items()}
        dropped = {}
        for name, parameter in parameters.items():
            if name not in state or not parameter.is_floating_point():
                continue
            if id(parameter) not in dropped:
                kept = torch.rand(parameter.shape, generator=source) >= rate
                dropped[id(parameter)] = state[name] * kept.to(parameter.device)
            state[name] = dropped[id(parameter)]
        copies.append(state)
    return copies


def geometric_ensemble(
    model, loader, n_members=32, *, learning_rate=0.05, steps=None, momentum=0.9, weight_decay=0.0,
    device=None, unpack=None, label_key="labels", random_state=0, verbose=0,
) -> list:  # fmt: skip
    """States found by training a network on with a cyclical learning rate: those of GEX.

    Parameters
    ----------
    model : torch.nn.Module
        A trained network. It is not changed: a copy is trained on.
    loader : iterable of batches
        Training rows with labels, here better shuffled, with which the network was trained.
    n_members : int, default=32
    learning_rate : float, default=0.05
        The highest one, in the middle of each cycle; at its ends it is a hundredth of that.
    steps : int, optional
        Batches of a cycle; by default all that the loader gives, one epoch.
    momentum, weight_decay : float
        Of :class:`torch.optim.SGD`.
    device, unpack, label_key : as in `layer_features`
    random_state : int, default=0
        Seed of torch while it trains. A loader's own generator goes on as usual.
    verbose : int, default=0
        Positive: print the mean loss of each cycle.

    Returns
    -------
    list of dict
        State dicts on the CPU, one at the end of each cycle.

    Raises
    ------
    TypeError, ValueError
        For batches without labels, or numbers out of range.

    References
    ----------
    Garipov et al., "Loss surfaces, mode connectivity, and fast ensembling of DNNs", NeurIPS 2018.
    Kim, Kim and Yang, "GEX: A flexible method for approximating influence via geometric
    ensemble", NeurIPS 2023.

    Examples
    --------
    >>> import torch
    >>> from skattrib.torch_adapters import geometric_ensemble
    >>> net = torch.nn.Linear(4, 3)
    >>> batches = [(torch.randn(9, 4), torch.arange(9) % 3)]
    >>> len(geometric_ensemble(net, batches, n_members=2, steps=3))
    2
    """
    n_members = check_integer(n_members, "n_members", 1)
    if steps is not None:
        steps = check_integer(steps, "steps", 1)
    highest = _number(learning_rate, "learning_rate", 0, float("inf"))
    momentum = _number(momentum, "momentum", 0, 1, open_below=False)
    weight_decay = _number(weight_decay, "weight_decay", 0, float("inf"), open_below=False)
    seed = check_integer(random_state, "random_state")
    network = Network(model, device)
    trained = copy.deepcopy(unwrapped(model)).to(network.device, network.dtype).train()
    unpacked = unpacker(unpack, label_key)
    parameters = [p for p in trained.parameters() if p.requires_grad]
    if not parameters:
        raise ValueError("no parameter of model requires grad, so that there is nothing to train")
    optimizer = torch.optim.SGD(
        parameters, lr=highest, momentum=momentum, weight_decay=weight_decay
    )
    members: list = []
    cuda = [network.device] if network.device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda), torch.inference_mode(False), torch.enable_grad():
        torch.manual_seed(seed)
        steps = steps or sum(1 for _ in loader)
        batches = _endless(loader)
        for member in range(n_members):
            total = 0.0
            for step in range(steps):
                # up to the middle of the cycle and down again
                height = 1 - abs(2 * (step + 1) / steps - 1)
                optimizer.param_groups[0]["lr"] = highest * (0.01 + 0.99 * height)
                total += _step(trained, optimizer, unpacked(next(batches)), network)
            if not total < float("inf"):
                raise ValueError(
                    f"training diverged at learning_rate={highest:g}: give a smaller one"
                )
            if verbose:
                print(f"[members] {member + 1} of {n_members}, loss {total / steps:.4g}")
            members.append(
                {name: t.detach().cpu().clone() for name, t in trained.state_dict().items()}
            )
    return members


def _seed(seed, i):
    """One of many seeds."""
    return int(np.random.SeedSequence((seed, i)).generate_state(1, np.uint64)[0] >> 1)


def _endless(loader):
    """Batches, again and again."""
    while True:
        empty = True
        for batch in loader:
            empty = False
            yield batch
        if empty:
            raise ValueError("loader gives no batches, or can be gone through only once")


def _step(trained, optimizer, batch, network):
    """One step of training; returns the loss."""
    if batch.y is None:
        raise ValueError("the batches have no labels: make them (inputs..., labels)")
    args, kwargs = batch.to(network.device, network.dtype).arguments()
    logits = as_logits(trained(*args, **kwargs), batch.size)
    loss = torch.nn.functional.cross_entropy(logits, batch.y.to(logits.device))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return float(loss.detach())
