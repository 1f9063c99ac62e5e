"""Networks, layers and states that are refused, and networks that stay as they were."""

import copy

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.utils.data import DataLoader  # noqa: E402
from torch_cases import (  # noqa: E402
    KINDS,
    K,
    N,
    Small,
    call,
    entries,
    inputs_of,
    items,
    labels,
    loader,
    network,
)

from skattrib.torch_adapters import (  # noqa: E402
    dropout_states,
    gradient_rows,
    last_layer,
    layer_features,
    losses,
)
from skattrib.torch_adapters._row_gradients import RowGradients  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated"),
    pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated"),
    pytest.mark.filterwarnings("ignore:There is a performance drop"),
]


def never(*args):
    raise AssertionError("work was begun")


def batch_mean(x):
    return x - x.mean(0)


@entries
@pytest.mark.parametrize(
    "change",
    [
        nn.BatchNorm1d(6, track_running_stats=False),
        batch_mean,
        lambda x: x.roll(1, 0),
        lambda x: nn.functional.dropout(x, 0.5, training=True),
    ],
    ids=["batch norm", "mixing", "roll", "dropout"],
)
@pytest.mark.filterwarnings("ignore:torch.func.vmap does not")
def test_rows_that_influence_each_other(entry, change):
    with pytest.raises(ValueError, match="influence each"):
        entry(Small(change), DataLoader(items(), 9))


@entries
def test_values_that_are_not_finite(entry):
    x, y = items().tensors
    x = x.clone()
    x[6, 2], x[8, 1] = torch.nan, torch.inf
    with pytest.raises(ValueError, match=r"rows \[6, 8\] are not finite"):
        entry(Small(), [(x, y)])


@entries
@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        (lambda z: z[:, 0], ValueError, "expected logits"),
        (lambda z: z[:, :, None], ValueError, "expected logits"),
        (lambda z: z.argmax(1, keepdim=True), ValueError, "floats"),
        (lambda z: (z, z), TypeError, "tuple"),
    ],
)
def test_outputs_that_are_no_logits(entry, change, kind, message):
    class Other(Small):
        def forward(self, x):
            return change(super().forward(x))

    with pytest.raises((kind, ValueError), match=f"{message}|is not that of layer"):
        entry(Other(), DataLoader(items(), 9))


@entries
def test_wrappers_are_taken_off(entry):
    model = Small()
    expected = entry(model, DataLoader(items(), 9)).X
    compiled = torch.compile(nn.DataParallel(model))
    assert (expected == entry(compiled, DataLoader(items(), 9)).X).all()
    # which is not run
    model.compile(backend=never)
    assert (expected == entry(model, DataLoader(items(), 9)).X).all()
    assert model._compiled_call_impl is not None


@entries
def test_networks_in_pieces(entry):
    spread = Small()
    spread.fc.to("meta")
    with pytest.raises(ValueError, match="spread over"):
        entry(spread, DataLoader(items(), 9))
    with pytest.raises(TypeError, match="torch.nn.Module"):
        entry(lambda x: x, DataLoader(items(), 9))
    with pytest.raises(ValueError, match="no parameters"):
        entry(nn.Flatten(), DataLoader(items(), 9))
    with pytest.raises(ValueError, match="call the model once"):
        entry(nn.Sequential(nn.LazyLinear(3)), DataLoader(items(), 9))
    sharded = type("FullyShardedDataParallel", (Small,), {})
    with pytest.raises(ValueError, match="sharded"):
        entry(sharded(), DataLoader(items(), 9))


def test_no_parameters_that_are_trained():
    model = Small().requires_grad_(False)
    with pytest.raises(ValueError, match="parameters='all'"):
        gradient_rows(model, DataLoader(items()))
    assert len(gradient_rows(model, DataLoader(items()), parameters="all").X) == N


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.filterwarnings("ignore:torch.func.vmap does not")
def test_a_graph_that_is_cut(fails, monkeypatch):
    if fails:
        monkeypatch.setattr(RowGradients, "_vmapped", never)
    with pytest.raises(ValueError, match="zero for all rows.*detach"):
        gradient_rows(Small(torch.Tensor.detach), DataLoader(items()), parameters="first")
    # others are not cut off
    assert gradient_rows(Small(torch.Tensor.detach), DataLoader(items())).X.any(axis=1).all()


def test_layers_that_are_none():
    model, batches = Small(), DataLoader(items(), 9)
    with pytest.raises(ValueError, match="'first', 'fc'"):
        layer_features(model, batches, "second")
    with pytest.raises(ValueError, match="at must be"):
        layer_features(model, batches, "fc", at="inside")

    class Twice(Small):
        def forward(self, x):
            return self.fc(self.first(self.first(x).repeat(1, 2)[:, :8]))

    with pytest.raises(ValueError, match="run 2 times"):
        layer_features(Twice(), batches, "first")
    recurrent = network("Recurrent")
    with pytest.raises(ValueError, match="pool="):
        layer_features(recurrent, loader("Recurrent"), "lstm")
    last = layer_features(recurrent, loader("Recurrent"), "lstm", pool=lambda out: out[0][:, -1])
    assert (last.X == last_layer(recurrent, loader("Recurrent")).X).all()
    with pytest.raises(ValueError, match="pool="):
        layer_features(recurrent, loader("Recurrent"), "lstm", pool=lambda out: out[1][0])


def test_widths_that_change():
    model = network("Encoder")
    tokens, mask = inputs_of("Encoder")
    batches = [(tokens[:5], mask[:5], labels(5)), (tokens[5:9, :4], mask[5:9, :4], labels(4))]
    with pytest.raises(ValueError, match="48 features of the first rows and 32 from row 5"):
        layer_features(model, batches, "encoder")
    first = layer_features(model, batches, "encoder", pool=lambda hidden: hidden[:, 0])
    assert first.X.shape == (9, 8)


@pytest.mark.parametrize(
    ("behind", "name"),
    [(nn.Softmax(1), "softmax"), (nn.LogSoftmax(1), "log-softmax"), (nn.Sigmoid(), "sigmoid")],
)
def test_what_stands_behind_the_last_layer(behind, name):
    torch.manual_seed(0)
    width = 1 if name == "sigmoid" else 2
    model = nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, width), behind)
    batches = [(items().tensors[0], labels() % 2)]
    with pytest.raises(ValueError, match=f"a {name} stands.*layer='2'"):
        last_layer(model, batches)
    head = last_layer(model, batches, "2")
    bare = last_layer(model[:3], batches)
    assert (head.logits == bare.logits).all() and head.error < 1e-6


def test_no_last_layer():
    batches = [(items().tensors[0], labels())]
    with pytest.raises(ValueError, match="no torch.nn.Linear"):
        last_layer(
            nn.Sequential(nn.Unflatten(1, (8, 1)), nn.Conv1d(8, K, 1), nn.Flatten()), batches
        )
    with pytest.raises(ValueError, match="not that of layer 'first'"):
        last_layer(Small(), batches, "first")
    with pytest.raises(ValueError, match="not that of layer '0'"):
        last_layer(nn.Sequential(nn.Linear(8, K), nn.Tanh()), batches)
    with pytest.raises(ValueError, match="torch.nn.Linear"):
        last_layer(nn.Sequential(nn.Linear(8, K), nn.Tanh()), batches, "1")


# states


def test_states_of_other_networks():
    model, batches = Small(), DataLoader(items(), 9)
    good = model.state_dict()
    lacking = {name: tensor for name, tensor in good.items() if name != "fc.bias"}
    for states, kind, message in [
        ([lacking], ValueError, "lacks \\['fc.bias'\\]"),
        ([good | {"more": torch.ones(1)}], ValueError, "has \\['more'\\]"),
        ([good | {"fc.bias": torch.ones(4)}], ValueError, "shape"),
        ([good, 5], TypeError, "states\\[1\\]"),
        (good, TypeError, "list of state dicts"),
        ([], TypeError, "list"),
    ]:
        with pytest.raises(kind, match=message):
            gradient_rows(model, batches, states=states)
    tied = network("Tied")
    state = {name: t.clone() for name, t in tied.state_dict().items()}
    state["second.weight"] += 1
    with pytest.raises(ValueError, match="tied, but differ"):
        gradient_rows(tied, batches, states=[state])


# what is left behind


@pytest.mark.parametrize("kind", KINDS)
def test_models_stay_as_they_were(kind):
    model = network(kind)
    module = next(m for m in model.modules() if not list(m.children()))
    module.eval()
    next(model.parameters()).requires_grad_(False)
    kept, flags = copy.deepcopy(model.state_dict()), [m.training for m in model.modules()]
    random_numbers = torch.get_rng_state()
    attributes = [dict(vars(m)) for m in model.modules()]
    lists = [[list(v) for v in own.values() if isinstance(v, list)] for own in attributes]
    gradient_rows(model, loader(kind), k=8, states=dropout_states(model, 2))
    losses(model, loader(kind))
    last_layer(model, loader(kind))
    assert [m.training for m in model.modules()] == flags
    assert all(torch.equal(kept[name], tensor) for name, tensor in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random_numbers)
    assert [p.requires_grad for p in model.parameters()].count(False) == 1
    assert all(p.grad is None for p in model.parameters())
    assert not any(m._forward_hooks for m in model.modules() if kind != "OldWeightNorm")
    assert torch.backends.mha.get_fastpath_enabled()
    # such as the weight that a hook writes, and the list of weights of an LSTM
    for before, inside, m in zip(attributes, lists, model.modules(), strict=True):
        assert vars(m).keys() == before.keys()
        assert all(vars(m)[name] is value for name, value in before.items())
        now = [v for v in vars(m).values() if isinstance(v, list)]
        assert all(
            a is b for x, y in zip(now, inside, strict=True) for a, b in zip(x, y, strict=True)
        )
    model.eval()
    call(model, kind, inputs_of(kind)).sum().backward()
    assert sum(p.grad is None for p in model.parameters()) == 1


def test_an_error_leaves_models_as_they_were():
    model = Small(batch_mean)
    with pytest.raises(ValueError, match="influence"):
        gradient_rows(model, DataLoader(items(), 9))
    assert model.training and model.fc.training


def test_counters_in_buffers_do_not_count():
    class Counting(Small):
        def __init__(self):
            super().__init__()
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, x):
            self.calls += 1
            return super().forward(x)

    model = Counting()
    with pytest.warns(RuntimeWarning, match="one by one"):
        gradient_rows(model, DataLoader(items(), 9))
    assert model.calls == 0


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.filterwarnings("ignore:torch.func.vmap does not")
def test_modes_around_it(fails, monkeypatch):
    model, batches = Small(), DataLoader(items(), 9)
    if fails:
        monkeypatch.setattr(RowGradients, "_vmapped", never)
    expected = gradient_rows(model, batches).X
    for mode in (torch.inference_mode, torch.no_grad):
        with mode():
            assert (expected == gradient_rows(model, batches).X).all()


def test_encoders_whose_fast_path_leaves_padding_out():
    """Rows are those of training: positions that are padded have values, too."""

    class Mean(nn.Module):
        def __init__(self):
            super().__init__()
            layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
            self.embed, self.fc = nn.Embedding(11, 8), nn.Linear(8, K)
            self.encoder = nn.TransformerEncoder(layer, 2)

        def forward(self, tokens, mask):
            hidden = self.encoder(self.embed(tokens), src_key_padding_mask=mask == 0)
            return self.fc(hidden.mean(1))

    model = Mean()
    found = gradient_rows(model, loader("Encoder"))
    # with gradients torch does not take the fast path
    expected = model.eval()(*inputs_of("Encoder")).detach().numpy()
    assert np.abs(found.logits - expected).max() < 1e-6
    assert np.abs(losses(model, loader("Encoder")).logits - expected).max() < 1e-6


def test_data_dependent_control_flow_goes_one_by_one():
    def change(x):
        return x * 2 if x.sum() > 0 else x

    model, batches = Small(change), DataLoader(items(), 1)
    with pytest.warns(RuntimeWarning, match="one by one.*data-dependent") as warned:
        found = gradient_rows(model, batches, k=None).X
    assert len(warned) == 1
    model.eval()
    for i, (x, y) in enumerate(batches):
        loss = -nn.functional.cross_entropy(model(x), y)
        expected = torch.autograd.grad(loss, list(model.parameters()))
        expected = torch.cat([g.reshape(-1) for g in expected]).numpy()
        assert np.abs(found[i] - expected).max() < 1e-5


def test_rows_are_made_on_the_device_of_the_model():
    """Without a second device: one without values."""
    from skattrib.torch_adapters._batches import make_batch
    from skattrib.torch_adapters._networks import Network
    from skattrib.torch_adapters._outputs import output_weights
    from skattrib.torch_adapters._row_gradients import Projection

    net = Network(Small().to("meta"))
    batch = make_batch(torch.ones(5, 8), labels(5)).to(net.device, net.dtype)
    with net.evaluating():
        logits = net.logits(net.state, batch)
        for output in ("loss", "logit", "log_odds", "margin", "probability"):
            V = output_weights(logits, output, batch.y.to("meta"))
            assert V.device.type == logits.device.type == "meta"
        own = {name: net.state[name] for name in net.parameters}
        project = Projection(own, 8, 0, net.device, net.dtype).for_model(0)
        rows = project({name: torch.ones(5, *t.shape, device="meta") for name, t in own.items()})
    assert rows.device.type == "meta" and rows.shape == (5, 8)
