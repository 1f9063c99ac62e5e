"""Gradients and losses of single rows, of one network or of several states of it."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch

from ._batches import Reader, unpacker
from ._networks import Network
from ._outputs import (
    PREDICTED,
    Target,
    check_integer,
    check_labels,
    check_output,
    check_temperature,
    derivatives,
    output_weights,
)
from ._row_gradients import Projection, RowGradients
from ._rows import Filler, Rows, function_digest, weights_digest
from .features import check_alone, check_padding

# of how many batches one is compared with its rows alone, after the first
CHECKED = 16


def gradient_rows(
    model, loader, *, output="loss", target=None, temperature=1.0, parameters=None, k=4096,
    states=None, weights=None, random_state=0, out=None, device=None, unpack=None,
    label_key="labels", verbose=0,
) -> Rows:  # fmt: skip
    """Gradients of an output of each row in the parameters of a network, projected to k numbers.

    Parameters
    ----------
    model : torch.nn.Module
        As in `layer_features`: never changed, evaluated as by ``model.eval()``.
    loader : iterable of batches
        As in `layer_features`.
    output : str or callable, default="loss"
        What is differentiated, for class c of the row, as `target_weights` of the explainers:

        - "loss": log p_c, that is *minus* the cross-entropy, so that the inner product with the
          gradient of any output of a test row is positive where the row raises it
        - "logit": logit c; for two classes c's minus the other's
        - "log_odds": log p_c / (1 - p_c)
        - "margin": logit c minus the largest other one
        - "probability": p_c
        - a function of logits (rows, n_classes) that returns one number a row, (rows,), in torch
    target : None, "label", "predicted", "all", int or array of shape (n_samples,), optional
        Class c: the row's label (as None), the one that `model` as it is predicts, one class, one
        class a row, or all classes one after the other, each in its block of columns. None for a
        callable.
    temperature : float, default=1.0
        By which logits are divided before anything else: outputs, probabilities and logits are
        those of a network that is less sure. The same for training and test rows.
    parameters : str or list of str, optional
        Names of parameters, or of modules for all of theirs. By default those that require grad;
        "all": all.
    k : int or None, default=4096
        Numbers that are kept of each gradient, by :class:`Sketch`: more cost memory, hardly time.
        Gradients that have no more, or all with None, stay as they are, parameters in the order of
        ``named_parameters()``.
    states : list, optional
        State dicts, or files of them for :func:`torch.load`: checkpoints, members of an ensemble.
        Each has its block of columns, with a projection of its own. None in it is the model as it
        is.
    weights : array of shape (n_states,), optional
        Weights of the states in inner products of the rows: blocks are multiplied by their roots.
        Learning rates for TracIn, one over the number of copies for a mean.
    random_state : int, default=0
        Seed of the projection, which must be the same for training and test rows.
    out, device, unpack, label_key, verbose : as in `layer_features`

    Returns
    -------
    Rows
        X of shape (n_samples, n_states * n_blocks * min(k, n_parameters)), y, probabilities and
        logits. In float32, or float64 if the model is.

    Raises
    ------
    TypeError
        For a model, loader, batch or state of another kind.
    ValueError
        For what `layer_features` refuses, unknown names, a target that is no class, states of
        another network, and gradients that are not finite.

    Warns
    -----
    RuntimeWarning
        Where `torch.func.vmap` does not take the network, so that it takes several times longer.
    UserWarning
        As `layer_features`, of padding.

    Notes
    -----
    One gradient costs two to four times a forward and backward pass of a batch's row. Memory is
    needed for the gradients of up to 32 rows, about 256 MB of those of large networks.

    Gradients are those of rows alone. That rows in batches have the same logits is looked at in the
    first and every 16th batch: in all of them it would cost a quarter more.

    With an inner product (:class:`~skattrib.SimilarityExplainer`) rows of the loss are GradDot and
    GradCos, of several `states` and `weights` TracIn or an ensemble, and blocks of all classes SIM:
    ``X.reshape(n_samples, n_classes, -1)[:, c]`` are compared with test rows explained by class c.

    References
    ----------
    Charpiat et al., "Input similarity from the neural network perspective", NeurIPS 2019. Pruthi
    et al., "Estimating training data influence by tracing gradient descent", NeurIPS 2020. Park et
    al., "TRAK: Attributing model behavior at scale", ICML 2023 (projected gradients).

    Examples
    --------
    >>> import torch
    >>> from skattrib import SimilarityExplainer
    >>> from skattrib.torch_adapters import gradient_rows
    >>> net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    >>> batches = [(torch.randn(9, 4), torch.arange(9) % 3)]
    >>> rows = gradient_rows(net, batches, k=32)
    >>> test = gradient_rows(net, batches, k=32, output="log_odds", target="predicted")
    >>> values, at = SimilarityExplainer().fit(rows.X, rows.y).top_k(test.X, k=2)
    >>> at.shape
    (9, 2)
    """
    check_output(output)
    if k is not None:
        k = check_integer(k, "k", 1)
    random_state = check_integer(random_state, "random_state")
    network = Network(model, device, check_temperature(temperature))
    names = network.chosen(parameters)
    given = _states(states)
    roots = _roots(weights, len(given))
    with network.evaluating():
        reader = Reader(loader, unpacker(unpack, label_key))
        wanted = Target(target, reader.n_rows, reader.has_labels, not callable(output))
        state = network.state_of(given[0], 0)
        first = _logits(network, state, reader.first)
        _check_rows_alone(network, state, reader.first, first)
        K = first.shape[1]
        blocks = wanted.check(K)
        project = Projection(
            {name: state[name] for name in names}, k, random_state, network.device, network.dtype
        )
        width = project.width

        def key():
            return {
                "function": "gradient_rows",
                "output": function_digest(output),
                "target": wanted.kind if wanted.codes is None else wanted.codes.tolist(),
                "temperature": network.temperature,
                "parameters": names,
                "k": width,
                "random_state": random_state,
                "weights": roots.tolist(),
            } | _models_key(network, given)

        weights_of = partial(_given, output)
        gradients = RowGradients(network, names, weights_of)
        shape = (reader.n_rows, len(given) * blocks * width)
        with _filler(network, reader, out, shape, len(given), K, key, verbose) as filler:
            for m, own in enumerate(given):
                state = network.state_of(own, m)
                project.for_model(m)
                expected = moved = False
                for number, (start, batch) in enumerate(reader):
                    if filler.is_done(m, start, batch.size):
                        continue
                    check_labels(batch.y, start, K)
                    placed = batch.to(network.device, network.dtype)
                    among = predicted = None
                    if number == m == 0:
                        among = first
                    elif callable(output) or number % CHECKED == 0:
                        among = _logits(network, state, placed)
                    if wanted.kind == PREDICTED and own is not None:
                        predicted = _logits(network, network.state, placed).argmax(dim=1)
                    if callable(output):
                        each = [derivatives(output, among)]
                    else:
                        each = wanted.of(start, batch.y, batch.size, K, predicted)
                    for block, of_rows in enumerate(each):
                        of_rows, alone = of_rows.to(network.device), []
                        columns = slice(
                            (m * blocks + block) * width, (m * blocks + block + 1) * width
                        )
                        for part, found, logits in gradients(state, placed, of_rows, start, among):
                            rows = project(found)
                            moved = moved or bool(rows.any())
                            expected = expected or bool(weights_of(logits, of_rows[part]).any())
                            if roots[m] != 1.0:
                                rows *= roots[m]
                            filler.put(m, start + part.start, columns, rows)
                            alone.append(logits)
                    filler.end(m, start, batch.y, torch.cat(alone))
                if expected and not moved:
                    raise ValueError(
                        "gradients in the chosen parameters are zero for all rows: logits do not "
                        "depend on them, or the network cuts the graph by detach() or no_grad()"
                    )
        return filler.rows(several=states is not None)


def losses(
    model, loader, *, states=None, out=None, device=None, unpack=None, label_key="labels", verbose=0
) -> Rows:
    """Cross-entropy of each row's label, for one network or for several states of it.

    Parameters
    ----------
    model, loader, out, device, unpack, label_key, verbose : as in `layer_features`
    states : list, optional
        As in `gradient_rows`.

    Returns
    -------
    Rows
        X of shape (n_samples, n_states), the losses in nats (positive), y, probabilities, logits.

    Raises
    ------
    TypeError, ValueError
        As in `gradient_rows`; and ValueError for batches without labels.

    Examples
    --------
    GEX: differences of losses to those of the model, side by side.

    >>> import torch
    >>> from skattrib import SimilarityExplainer
    >>> from skattrib.torch_adapters import geometric_ensemble, losses
    >>> net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    >>> batches = [(torch.randn(9, 4), torch.arange(9) % 3)]
    >>> members = geometric_ensemble(net, batches, n_members=4, steps=2)
    >>> found = losses(net, batches, states=[None, *members])
    >>> rows = (found.X[:, 1:] - found.X[:, :1]) / len(members) ** 0.5
    >>> gex = SimilarityExplainer(metric="dot").fit(rows, found.y).attribute(rows)
    """
    network = Network(model, device)
    given = _states(states)
    with network.evaluating(), torch.no_grad():
        reader = Reader(loader, unpacker(unpack, label_key))
        if not reader.has_labels:
            raise ValueError("the batches have no labels: make them (inputs..., labels)")
        state = network.state_of(given[0], 0)
        logits = _logits(network, state, reader.first)
        _check_rows_alone(network, state, reader.first, logits)

        def key():
            return {"function": "losses"} | _models_key(network, given)

        shape = (reader.n_rows, len(given))
        K = logits.shape[1]
        with _filler(network, reader, out, shape, len(given), K, key, verbose) as filler:
            for m, own in enumerate(given):
                state = network.state_of(own, m)
                for start, batch in reader:
                    if filler.is_done(m, start, batch.size):
                        continue
                    check_labels(batch.y, start, K)
                    logits = _logits(network, state, batch)
                    own_label = batch.y.to(logits.device)
                    loss = torch.nn.functional.cross_entropy(logits, own_label, reduction="none")
                    filler.put(m, start, slice(m, m + 1), loss[:, None])
                    filler.end(m, start, batch.y, logits)
        return filler.rows(several=states is not None)


def _given(output, logits, given):
    """Derivatives in the logits: of a named output, or those that are given."""
    return given if callable(output) else output_weights(logits, output, given)


def _states(states):
    """A list of states; of the model as it is without any."""
    if states is None:
        return [None]
    if isinstance(states, (str, dict)) or not isinstance(states, Sequence) or not len(states):
        raise TypeError(
            f"states must be a list of state dicts or files of them, got {type(states).__name__}"
        )
    return states


def _roots(weights, n_states):
    """Factors of the states' blocks."""
    if weights is None:
        return np.ones(n_states)
    weights = np.asarray(weights, dtype=np.float64)
    if weights.shape != (n_states,):
        raise ValueError(
            f"weights must be one for each of {n_states} states, got shape {weights.shape}"
        )
    if not np.isfinite(weights).all() or (weights < 0).any():
        raise ValueError("weights must be finite and not negative")
    return np.sqrt(weights)


def _logits(network, state, batch):
    """Logits of a batch, without a graph."""
    with torch.no_grad():
        return network.logits(state, batch.to(network.device, network.dtype))


def _check_rows_alone(network, state, batch, logits):
    for i in sorted({0, batch.size - 1}):
        try:
            alone = _logits(network, state, batch.rows(slice(i, i + 1)))
        except Exception as error:
            raise ValueError(
                f"the network does not take row {i} alone ({error}): rows influence each other, as "
                "in batch norm without running statistics"
            ) from error
        check_alone(alone, logits[i : i + 1], i, "logits")
    check_padding(batch, logits, "logits", partial(_logits, network, state), 4)


def _models_key(network, given):
    digests = [weights_digest(network.state_of(own, m)) for m, own in enumerate(given)]
    return {"model": repr(network.module), "states": digests}


def _filler(network, reader, out, shape, n_states, n_classes, key, verbose):
    dtype = str(network.dtype).removeprefix("torch.")
    title = "rows" if n_states == 1 else f"rows of {n_states} states"
    return Filler(out, shape, dtype, reader, n_states, n_classes, key, title=title, verbose=verbose)
