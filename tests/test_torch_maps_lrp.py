"""Relevance: rules written out on matrices, folded batch norm, what adds up, what is refused."""

import copy

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from map_cases import Case, Skip, plain  # noqa: E402
from torch import nn  # noqa: E402

from skattrib.metrics import conservation  # noqa: E402
from skattrib.torch_adapters import pixel_maps  # noqa: E402

RULES = [
    {"conv": conv, "first": first, "bias": bias}
    for conv in ("zplus", "epsilon")
    for first in (None, "flat")
    for bias in (True, False)
]


# oracle: every layer is a matrix, found by sending unit vectors through it


def matrix(layer, shape):
    """A and b with layer(x) = A x + b on flat x, and which inputs each output has."""
    unit = torch.eye(int(np.prod(shape)), dtype=torch.float64).reshape(-1, *shape)
    b = layer(0 * unit[:1])
    A = (layer(unit) - b).flatten(1).T
    ones = copy.deepcopy(layer)
    nn.init.ones_(ones.weight)
    reach = (ones(unit) - ones(0 * unit[:1])).flatten(1).T > 0
    return A.detach().numpy(), b.detach().flatten().numpy(), reach.numpy()


def rule(A, b, reach, x, R, kind, bias):
    """Relevance of the inputs of one linear layer, term by term."""
    b = b if bias else 0 * b
    if kind == "flat":
        return (reach / reach.sum(axis=1, keepdims=True)).T @ R
    terms = A * x
    if kind == "zplus":
        terms, b = np.maximum(terms, 0), np.maximum(b, 0)
    total = terms.sum(axis=1) + b
    return (terms / (total + 1e-6 * np.where(total < 0, -1, 1))[:, None]).T @ R


def relevance_by_hand(net, x, start, conv, first, bias):
    """Relevance of one input of a chain of layers; `start` is that of its output."""
    values = [x[None].double()]
    for layer in net:
        values.append(layer(values[-1]))
    R = start
    seen = [type(layer) for layer in net]
    at_first = min(i for i, kind in enumerate(seen) if kind in (nn.Conv2d, nn.Linear))
    for place in reversed(range(len(net))):
        layer, before = net[place], values[place].detach()
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            kind = conv if isinstance(layer, nn.Conv2d) else "epsilon"
            kind = "flat" if first == "flat" and place == at_first else kind
            A, b, reach = matrix(layer, before.shape[1:])
            R = rule(A, b, reach, before.flatten().numpy(), R, kind, bias)
        elif isinstance(layer, (nn.MaxPool2d, nn.AvgPool2d)):
            # each output's relevance to its inputs in proportion to what they bring
            after = layer(before.clone().requires_grad_())
            B = torch.autograd.functional.jacobian(layer, before).reshape(after.numel(), -1)
            brought = B.numpy() * before.flatten().numpy()
            total = brought.sum(axis=1)
            R = np.divide(brought, total[:, None], out=0 * brought, where=total[:, None] != 0).T @ R
    return R.reshape(x.shape)


def grouped(channels):
    return nn.Sequential(
        nn.Conv2d(channels, 4, 3, padding=2, dilation=2),
        nn.ReLU(),
        nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(96, 7, bias=False),
        nn.ReLU(),
        nn.Linear(7, 5),
    )


def split(channels):
    """The first layer has groups."""
    return nn.Sequential(
        nn.Conv2d(channels, 6, 3, padding="same", groups=2), nn.ReLU(), nn.Flatten()
    )


@pytest.mark.parametrize("given", RULES, ids=str)
@pytest.mark.parametrize(("make", "channels"), [(plain, 1), (grouped, 3), (split, 4)])
def test_rules_are_those_on_matrices(make, channels, given):
    case = Case(make, channels, double=True, m=2, k=1)
    maps = pixel_maps(*case.arguments(), method="lrp", **given)
    shares = case.explainer.decompose(case.phi, case.indices)
    for j, i in enumerate(case.indices[:, 0]):
        for x, found in ((case.X[j], maps.test[j, 0]), (case.X_train[int(i)], maps.train[j, 0])):
            expected = relevance_by_hand(case.net, x, shares[j, 0], **given)
            np.testing.assert_allclose(found, expected, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize("given", RULES, ids=str)
def test_batch_norm_is_folded(given):
    from torch.fx.experimental.optimization import fuse

    case = Case(Skip, double=True)
    fused = fuse(copy.deepcopy(case.net).eval())
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fused.modules())
    found = pixel_maps(*case.arguments(), **given)
    explainer, _, *rest = case.arguments()
    expected = pixel_maps(explainer, fused, *rest, **given)
    np.testing.assert_allclose(found.train, expected.train, atol=1e-9)
    np.testing.assert_allclose(found.test, expected.test, atol=1e-9)


def test_batch_norm_behind_a_linear_layer_and_twice():
    class Shared(nn.Module):
        """One convolution before a batch norm and without one."""

        def __init__(self, channels):
            super().__init__()
            self.stem = nn.Conv2d(channels, 2, 3, padding=1)
            self.norm, self.fc = nn.BatchNorm2d(2), nn.Linear(2, 5)
            self.last = nn.BatchNorm1d(5, affine=False)
            nn.init.uniform_(self.norm.running_var, 0.5, 2.0)
            nn.init.normal_(self.last.running_mean)

        def forward(self, x):
            x = self.stem(x)
            x = self.norm(x).relu() + x.relu()
            return self.last(self.fc(x.mean((2, 3)))).relu()

    case = Case(Shared, double=True, k=3)
    found = pixel_maps(*case.arguments(), first="flat", bias=False, batch_size=1)
    assert conservation(found.train, found.values).error < 0.002
    again = pixel_maps(*case.arguments(), first="flat", bias=False, batch_size=50)
    np.testing.assert_allclose(found.train, again.train, atol=1e-9)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("make", [plain, Skip])
def test_flat_and_without_bias_all_is_kept(make, channels):
    case = Case(make, channels, k=4)
    maps = pixel_maps(*case.arguments(), first="flat", bias=False)
    for side in ("train", "test"):
        assert conservation(getattr(maps, side), case.values).error < 0.002
    np.testing.assert_allclose(maps.train_share, 1, atol=0.002)
    np.testing.assert_allclose(maps.test_share, 1, atol=0.002)
    with_bias = pixel_maps(*case.arguments())
    assert conservation(with_bias.train, case.values).error > 0.05


@pytest.mark.parametrize("make", [plain, Skip])
def test_in_place_or_not(make):
    maps = [
        pixel_maps(*Case(lambda channels, p=p: make(channels, inplace=p)).arguments())
        for p in (False, True)
    ]
    np.testing.assert_allclose(maps[0].train, maps[1].train, atol=1e-6)
    np.testing.assert_allclose(maps[0].test, maps[1].test, atol=1e-6)


def test_images_in_another_order_of_memory():
    case = Case(plain, 3)
    expected = pixel_maps(*case.arguments(), first="flat")
    explainer, net, X, X_train, indices = case.arguments()
    X, X_train = (x.contiguous(memory_format=torch.channels_last) for x in (X, X_train))
    maps = pixel_maps(explainer, net, X, X_train, indices, first="flat")
    np.testing.assert_allclose(maps.train, expected.train, atol=1e-6)


def test_a_network_in_another_order_of_memory():
    """Its mean over all pixels is strided again by torch."""

    def pooled(channels):
        layers = nn.Conv2d(channels, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        return nn.Sequential(*layers)

    case = Case(pooled, 3)
    expected = pixel_maps(*case.arguments())
    case.net.to(memory_format=torch.channels_last)
    explainer, net, X, X_train, indices = case.arguments()
    X, X_train = (x.contiguous(memory_format=torch.channels_last) for x in (X, X_train))
    assert "AsStrided" in net[2](net[0](X)).grad_fn.name()
    maps = pixel_maps(explainer, net, X, X_train, indices)
    np.testing.assert_allclose(maps.train, expected.train, atol=1e-6)


def test_epsilon_with_biases_is_gradient_times_input():
    case = Case(Skip, double=True)
    relevance = pixel_maps(*case.arguments(), conv="epsilon")
    gradient = pixel_maps(*case.arguments(), method="gradient", noise=0)
    np.testing.assert_allclose(relevance.train, gradient.contributions(), atol=1e-3)


def test_padding_of_other_kinds():
    def make(channels):
        layer = nn.Conv2d(channels, 4, 3, padding=1, padding_mode="circular")
        return nn.Sequential(layer, nn.ReLU(), nn.Flatten())

    case = Case(make, double=True)
    maps = pixel_maps(*case.arguments(), bias=False)
    assert conservation(maps.train, maps.values).error < 0.002


# refusals


class Behind(nn.Module):
    """What is done to the features of a network."""

    def __init__(self, channels, change):
        super().__init__()
        self.net, self.change = plain(channels), change

    def forward(self, x):
        return self.change(self.net(x))


class Own(nn.Linear):
    """A linear layer that is none."""

    def forward(self, x):
        return super().forward(x).square()


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 1, batch_first=True)

    def forward(self, x):
        x = x.reshape(-1, 2, 4)
        return self.attention(x, x, x)[0].flatten(1)


def weighted(x):
    return nn.functional.linear(x, torch.eye(8))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (nn.GELU(), "no rule for Gelu"),
        (nn.SiLU(), "no rule for Silu"),
        (nn.ReLU6(), "no rule for Hardtanh"),
        (nn.Sigmoid(), "no rule for Sigmoid"),
        (nn.LayerNorm(8), "no rule for NativeLayerNorm"),
        (nn.Softmax(1), "no rule for Softmax"),
        (Attention(), "method='gradient'"),
        (Own(8, 8), "no rule for Own"),
        (weighted, "modules of features"),
        (lambda x: x * x.sigmoid(), "no rule for"),
        (lambda x: x * x, "two values that both depend"),
        (lambda x: x / (1 + x.sum(1, keepdim=True)), "two values that both depend"),
        (nn.BatchNorm1d(8), "right before it"),
        (nn.Sequential(nn.Linear(8, 8), nn.ReLU(inplace=True), nn.BatchNorm1d(8)), "right before"),
        (nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.0), nn.Sigmoid()), "no rule for Sigmoid"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_has_no_rule(change, match):
    case = Case(lambda channels: Behind(channels, change))
    with pytest.raises(ValueError, match=match) as error:
        pixel_maps(*case.arguments())
    assert "method='gradient'" in str(error.value)
    maps = pixel_maps(*case.arguments(), method="gradient", noise=0)
    assert np.isfinite(maps.train).all()


def test_batch_norm_of_the_batch():
    net = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3, track_running_stats=False))
    case = Case(lambda channels: nn.Sequential(*net, nn.ReLU(), nn.Flatten()), m=1, k=24)
    # one batch of all rows, as they were fitted on; the test row alone is itself
    order = np.arange(24)[None]
    with pytest.raises(ValueError, match="without running statistics"):
        pixel_maps(*case.arguments()[:4], order)


class Scaled(nn.Module):
    """Scales its input first."""

    def __init__(self, channels, change):
        super().__init__()
        self.net, self.change = plain(channels), change

    def forward(self, x):
        return self.net(self.change(x))


@pytest.mark.parametrize(
    "change", [lambda x: (x - 0.2) / 0.5, lambda x: x.relu_(), lambda x: x.mT, lambda x: x * 1.0]
)
def test_flat_needs_to_see_the_input(change):
    case = Case(lambda channels: Scaled(channels, change))
    with pytest.raises(ValueError, match="sees X itself"):
        pixel_maps(*case.arguments(), first="flat")
    assert np.isfinite(pixel_maps(*case.arguments()).train).all()
    seen = Case(lambda channels: Scaled(channels, lambda x: x.reshape(len(x), channels, 8, 8)))
    maps = pixel_maps(*seen.arguments(), first="flat", bias=False)
    assert conservation(maps.train, maps.values).error < 0.002


def test_constants_take_a_share_as_biases_do():
    case = Case(lambda channels: Scaled(channels, lambda x: x - 0.2))
    with pytest.raises(ValueError, match="adds a constant"):
        pixel_maps(*case.arguments(), bias=False)
    beside = Case(lambda channels: Scaled(2, lambda x: torch.cat([x, torch.ones_like(x)], dim=1)))
    with pytest.raises(ValueError, match="adds a constant"):
        pixel_maps(*beside.arguments(), bias=False)
    assert np.isfinite(pixel_maps(*beside.arguments()).train).all()


def test_a_graph_that_is_cut():
    case = Case(lambda channels: Scaled(channels, torch.Tensor.detach))
    with pytest.raises(ValueError, match="do not depend on X"):
        pixel_maps(*case.arguments())
