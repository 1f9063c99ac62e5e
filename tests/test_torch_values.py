"""Features, heads and gradients of networks of many kinds: those of loops of autograd."""

import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch_cases import (  # noqa: E402
    HEADS,
    KINDS,
    K,
    N,
    call,
    dense_sketch,
    inputs_of,
    labels,
    loader,
    log_p,
    loop_of_autograd,
    network,
)

from skattrib.gradients import Sketch  # noqa: E402
from skattrib.torch_adapters import gradient_rows, last_layer, layer_features, losses  # noqa: E402
from skattrib.torch_adapters._row_gradients import Blocks, RowGradients  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated")
kinds = pytest.mark.parametrize("kind", KINDS)


def near(found, expected, limit):
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= limit * max(np.abs(expected).max(), 1.0)


@kinds
def test_features_and_heads(kind):
    model = network(kind)
    head = last_layer(model, loader(kind))
    model.eval()
    seen = []
    module = model.get_submodule(HEADS[kind])
    handle = module.register_forward_hook(lambda m, args, out: seen.append(args[0].detach()))
    with torch.no_grad():
        expected = call(model, kind, inputs_of(kind)).numpy()
    handle.remove()
    near(head.logits, expected, 1e-6)
    near(head.X, seen[0].numpy(), 1e-6)
    near(head.X @ head.coef.T + head.intercept, expected, 1e-6)
    assert head.error <= 1e-6
    assert (head.y == labels().numpy()).all() and head.y.dtype == np.int64
    rows = layer_features(model, loader(kind), HEADS[kind], at="input")
    assert (rows.X == head.X).all()
    near(layer_features(model, loader(kind), HEADS[kind]).X, expected, 1e-6)
    near(rows.probabilities, torch.tensor(expected).softmax(1).numpy(), 1e-6)


@pytest.mark.parametrize("layer", ["encoder.layers.0.linear1", "encoder.layers.1.norm2"])
def test_layers_that_the_fast_path_of_attention_goes_past(layer):
    model, seen = network("Encoder"), []
    rows = layer_features(model, loader("Encoder"), layer)
    handle = model.get_submodule(layer).register_forward_hook(lambda m, _, out: seen.append(out))
    model.eval()(*inputs_of("Encoder"))
    handle.remove()
    near(rows.X, seen[0].detach().flatten(1).numpy(), 1e-6)


@kinds
def test_gradients_of_the_loss(kind):
    model = network(kind)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        # torch's own words for an operation that it takes row by row
        wanted = "ignore" if kind == "Recurrent" else "error"
        warnings.filterwarnings(wanted, "There is a performance drop")
        rows = gradient_rows(model, loader(kind), k=None)
    near(rows.X, loop_of_autograd(model, kind, log_p(labels())), 1e-5)


@kinds
def test_one_by_one_is_the_same(kind, monkeypatch):
    model = network(kind)
    rows = gradient_rows(model, loader(kind), k=64)

    def refuse(*args):
        raise RuntimeError("no such batching rule")

    monkeypatch.setattr(RowGradients, "_vmapped", refuse)
    with pytest.warns(RuntimeWarning, match="no such batching rule") as warned:
        slow = gradient_rows(model, loader(kind), k=64)
    assert len(warned) == 1
    near(slow.X, rows.X, 1e-5)


def best_other(z, c):
    return torch.cat([z[:c], z[c + 1 :]]).max()


OUTPUTS = {
    "loss": lambda z, c: -torch.nn.functional.cross_entropy(z, torch.tensor(c)),
    "logit": lambda z, c: z[c],
    "log_odds": lambda z, c: torch.logit(z.double().softmax(0)[c]),
    "margin": lambda z, c: z[c] - best_other(z, c),
    "probability": lambda z, c: z.softmax(0)[c],
}


@pytest.mark.parametrize("output", OUTPUTS)
def test_outputs_and_targets(output):
    kind, model, y = "Images", network("Images"), labels()
    function = OUTPUTS[output]
    predicted = last_layer(model, loader(kind)).logits.argmax(1)
    given = (np.arange(N) * 7 + 1) % K
    for target, codes in [
        (None, y.tolist()),
        ("label", y.tolist()),
        ("predicted", predicted.tolist()),
        (2, [2] * N),
        (given, given.tolist()),
        (torch.tensor(given), given.tolist()),
    ]:
        rows = gradient_rows(model, loader(kind), output=output, target=target, k=None)
        expected = loop_of_autograd(model, kind, lambda z, i, c=codes: function(z, c[i]))
        near(rows.X, expected, 1e-5)
    every = gradient_rows(model, loader(kind), output=output, target="all", k=None).X
    blocks = every.reshape(N, K, -1)
    for c in range(K):
        near(blocks[:, c], loop_of_autograd(model, kind, lambda z, i, c=c: function(z, c)), 1e-5)


@pytest.mark.parametrize("output", OUTPUTS)
def test_temperature_divides_logits(output):
    kind, model, y = "Images", network("Images"), labels()
    rows = gradient_rows(model, loader(kind), output=output, temperature=2.5, k=None)
    expected = loop_of_autograd(model, kind, lambda z, i: OUTPUTS[output](z / 2.5, int(y[i])))
    near(rows.X, expected, 1e-5)
    logits = last_layer(model, loader(kind)).logits / 2.5
    near(rows.logits, logits, 1e-6)
    near(rows.probabilities, torch.tensor(logits).softmax(1).numpy(), 1e-6)


def test_temperature_of_functions_of_logits():
    kind, model = "Images", network("Images")
    rows = gradient_rows(
        model, loader(kind), output=lambda z: z.logsumexp(1) ** 2, temperature=2.5, k=None
    )
    near(rows.X, loop_of_autograd(model, kind, lambda z, i: (z / 2.5).logsumexp(0) ** 2), 1e-5)


def test_any_function_of_logits():
    kind, model = "Images", network("Images")
    rows = gradient_rows(model, loader(kind), output=lambda z: z.logsumexp(1) ** 2, k=None)
    near(rows.X, loop_of_autograd(model, kind, lambda z, i: z.logsumexp(0) ** 2), 1e-5)


@pytest.mark.parametrize("width", [1, 2])
def test_two_classes(width):
    """One logit f is -f/2 and f/2; of two logits label targets are differences."""
    torch.manual_seed(0)
    model, x, y = torch.nn.Linear(4, width), torch.randn(9, 4), torch.arange(9) % 2
    f = model(x)
    difference = f[:, 0] if width == 1 else f[:, 1] - f[:, 0]
    batches = [(x, y)]
    for output in ("logit", "log_odds", "margin"):
        rows = gradient_rows(model, batches, output=output, k=None)
        for i in range(9):
            sign = 1.0 if y[i] == 1 else -1.0
            expected = torch.autograd.grad(
                sign * difference[i], list(model.parameters()), retain_graph=True
            )
            near(rows.X[i], torch.cat([g.reshape(-1) for g in expected]).numpy(), 1e-5)
    loss = torch.nn.functional.binary_cross_entropy_with_logits(
        difference, y.float(), reduction="none"
    )
    near(losses(model, batches).X[:, 0], loss.detach().numpy(), 1e-6)
    near(rows.logits[:, 1] - rows.logits[:, 0], difference.detach().numpy(), 1e-6)
    head = last_layer(model, batches)
    assert head.coef.shape == (width, 4) and head.error < 1e-6
    assert head.logits.shape == (9, 2)


def test_chosen_parameters():
    kind, model = "Images", network("Images")
    names = ["fc1.weight", "fc1.bias", "conv.bias"]
    rows = gradient_rows(model, loader(kind), parameters=["fc1", "conv.bias"], k=None)
    near(rows.X, loop_of_autograd(model, kind, log_p(labels()), names), 1e-5)
    model.conv.requires_grad_(False)
    trained = gradient_rows(model, loader(kind), k=None).X
    assert trained.shape[1] == sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert gradient_rows(model, loader(kind), parameters="all", k=None).X.shape[1] > len(trained.T)
    tied = network("Tied")
    alias = gradient_rows(tied, loader("Tied"), parameters="second.weight", k=None).X
    near(alias, gradient_rows(tied, loader("Tied"), parameters="first.weight", k=None).X, 0)


def test_unused_parameters_have_zeros(monkeypatch):
    class Unused(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.spare, self.fc = torch.nn.Linear(8, 2), torch.nn.Linear(8, K)

        def forward(self, x):
            return self.fc(x)

    batches = [(inputs_of("Tied")[0], labels())]
    rows = gradient_rows(Unused(), batches, k=None).X
    assert (rows[:, :18] == 0).all() and (rows[:, 18:] != 0).any(axis=0).all()
    monkeypatch.setattr(RowGradients, "_vmapped", lambda *args: 1 / 0)
    with pytest.warns(RuntimeWarning):
        near(gradient_rows(Unused(), batches, k=None).X[:, :18], rows[:, :18], 0)


@pytest.mark.filterwarnings("ignore:torch.func.vmap does not")
def test_sparse_gradients_of_an_embedding():
    model = network("Bag")
    expected = gradient_rows(model, loader("Bag"), k=None).X
    model.embed.sparse = True
    near(gradient_rows(model, loader("Bag"), k=None).X, expected, 1e-6)


@pytest.mark.parametrize("k", [1, 50, 512])
def test_projection_is_the_sketch(k):
    kind, model = "Images", network("Images")
    whole = gradient_rows(model, loader(kind), k=None).X
    found = gradient_rows(model, loader(kind), k=k, random_state=3).X
    near(found, whole @ dense_sketch(model, k, 3), 1e-5)
    numpy, at = np.zeros((N, k), np.float32), 0
    for name, parameter in model.named_parameters():
        part = whole[:, at : at + parameter.numel()]
        Sketch(k, 3).project(name, part, out=numpy)
        at += parameter.numel()
    near(found, numpy, 1e-6)


def test_no_projection_of_few_parameters():
    model = network("Images")
    p = sum(parameter.numel() for parameter in model.parameters())
    whole = gradient_rows(model, loader("Images"), k=None).X
    assert (whole == gradient_rows(model, loader("Images"), k=p).X).all()
    assert gradient_rows(model, loader("Images"), k=p - 1).X.shape == (N, p - 1)


@pytest.mark.parametrize("size", [3, 64, 65, 200, 256])
def test_gathered_blocks_are_those_of_the_sketch(size):
    """What an accelerator does, on the CPU."""
    signs, shifts = Sketch(64, 1).plan("w", size)
    flat, found = torch.randn(4, size), torch.zeros(4, 64)
    Blocks(signs, shifts, 64, "cpu", torch.float32, compiled=False).add(flat, found)
    near(found.numpy(), Sketch(64, 1).project("w", flat.numpy()), 1e-6)


def test_batches_do_not_matter():
    kind, model = "Encoder", network("Encoder")
    rows = [gradient_rows(model, loader(kind, batch_size=b), k=100).X for b in (1, 4, N)]
    near(rows[1], rows[0], 1e-5)
    near(rows[2], rows[0], 1e-5)


def test_double_precision():
    kind, model = "Images", network("Images").double()
    rows = gradient_rows(model, loader(kind), k=None)
    assert rows.X.dtype == np.float64
    single = gradient_rows(model.float(), loader(kind), k=None)
    assert single.X.dtype == np.float32
    near(rows.X, single.X, 1e-5)


def test_half_precision_is_copied_to_single():
    kind, model = "Images", network("Images").bfloat16()
    expected = network("Images").bfloat16().float()
    rows = gradient_rows(model, loader(kind), k=64)
    assert rows.X.dtype == np.float32
    near(rows.X, gradient_rows(expected, loader(kind), k=64).X, 1e-6)
    assert next(model.parameters()).dtype == torch.bfloat16
    features = layer_features(model, loader(kind), "fc1")
    near(features.X, layer_features(expected, loader(kind), "fc1").X, 1e-6)
