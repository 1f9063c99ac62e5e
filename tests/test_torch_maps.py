"""Maps by gradients against loops of autograd and captum; inputs of all kinds; what is refused."""

import copy
import re
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from map_cases import (  # noqa: E402
    Case,
    K,
    N,
    Skip,
    Tokens,
    built,
    coefficients,
    dual_view,
    images,
    plain,
    rows_of,
    token_rows,
)
from torch import nn  # noqa: E402
from torch.utils.data import TensorDataset  # noqa: E402

from skattrib import (  # noqa: E402
    AveragedExplainer,
    InfluenceExplainer,
    RepresenterExplainer,
    RepresenterRegressor,
    SimilarityExplainer,
)
from skattrib.torch_adapters import PairModule, TorchFeatures, pixel_maps  # noqa: E402

PLAIN = {"method": "gradient", "noise": 0}


def gradient_loop(net, x, direction):
    """The gradient of direction . features(x) by one input."""
    x = x.detach()[None].clone().requires_grad_()
    net.eval()
    (net(x)[0] * torch.as_tensor(direction).to(x)).sum().backward()
    net.train()
    return x.grad[0].numpy()


@pytest.mark.parametrize("explainer", [RepresenterExplainer(C=0.1), dual_view()])
@pytest.mark.parametrize("make", [plain, Skip])
def test_gradients_are_those_of_a_loop(make, explainer):
    case = Case(make, 3, explainer, double=True)
    maps = pixel_maps(*case.arguments(), **PLAIN)
    assert maps.test.shape == maps.train.shape == (3, 2, 3, 8, 8)
    np.testing.assert_allclose(maps.values, case.values, rtol=1e-9)
    for (j, q), c in np.ndenumerate(coefficients(case)):
        i = case.indices[j, q]
        test = gradient_loop(case.net, case.X[j], c * case.phi_train[i])
        train = gradient_loop(case.net, case.X_train[i], c * case.phi[j])
        np.testing.assert_allclose(maps.test[j, q], test, atol=1e-10)
        np.testing.assert_allclose(maps.train[j, q], train, atol=1e-10)
    np.testing.assert_array_equal(maps.inputs, case.X)
    np.testing.assert_array_equal(
        maps.train_inputs, case.X_train[case.indices.ravel()].reshape(maps.train.shape)
    )


def test_contributions_and_shares():
    case = Case()
    maps = pixel_maps(*case.arguments(), **PLAIN)
    train = maps.train * case.X_train.numpy()[case.indices]
    np.testing.assert_array_equal(maps.contributions(), train)
    np.testing.assert_allclose(maps.train_share, train.sum(axis=(2, 3, 4)) / case.values, rtol=1e-4)
    test = maps.test * case.X.numpy()[:, None]
    np.testing.assert_allclose(maps.test_share, test.sum(axis=(2, 3, 4)) / case.values, rtol=1e-4)
    with pytest.raises(ValueError, match="side must be"):
        maps.contributions("both")


@pytest.mark.parametrize("target", [None, 1, [2, 0, 1], "weights"])
@pytest.mark.parametrize("method", ["gradient", "lrp", "integrated_gradients"])
def test_chosen_rows_and_the_remainder_are_the_output(target, method):
    case = Case(double=True, explainer=dual_view())
    if target == "weights":
        target = np.array([[1.0, -0.5, 0.0], [0.0, 2.0, 1.0], [0.3, 0.3, -1.0]])
    given = {
        "method": method,
        "target": target,
        "remainder": True,
        "random_state": 5,
        "n_samples": 4,
    }
    found = [
        pixel_maps(case.explainer, case.net, case.X, case.X_train, case.indices[:, :k], **given)
        for k in (1, 2)
    ]
    sums = [maps.test.sum(axis=1) + maps.remainder for maps in found]
    np.testing.assert_allclose(*sums, atol=1e-10)
    codes = case.explainer.predict(case.phi) if target is None else target
    V = np.eye(K)[np.broadcast_to(codes, 3)] if np.ndim(target) < 2 else target
    if method == "gradient":
        maps = pixel_maps(*case.arguments(), **given | {"noise": 0})
        for j, direction in enumerate(V @ case.explainer.coef_):
            expected = gradient_loop(case.net, case.X[j], direction)
            total = maps.test[j].sum(axis=0) + maps.remainder[j]
            np.testing.assert_allclose(total, expected, atol=1e-6 * np.abs(expected).max())


def test_two_classes():
    case = Case(n_classes=2, double=True)
    maps = pixel_maps(*case.arguments(), remainder=True, **PLAIN)
    sign = np.where(case.explainer.predict(case.phi) == 1, 1.0, -1.0)
    for j in range(3):
        expected = gradient_loop(case.net, case.X[j], sign[j] * case.explainer.coef_[0])
        np.testing.assert_allclose(
            maps.test[j].sum(axis=0) + maps.remainder[j], expected, atol=1e-9
        )


def test_regressions():
    case = Case(double=True)
    t = np.column_stack([case.phi_train[:, 1] ** 2, case.y])
    explainer = RepresenterRegressor().fit(case.phi_train, t)
    maps = pixel_maps(explainer, *case.arguments()[1:], target=1, remainder=True, **PLAIN)
    for j in range(3):
        expected = gradient_loop(case.net, case.X[j], explainer.coef_[1])
        np.testing.assert_allclose(
            maps.test[j].sum(axis=0) + maps.remainder[j], expected, atol=1e-9
        )
    one = RepresenterRegressor().fit(case.phi_train, t[:, 0])
    maps = pixel_maps(one, *case.arguments()[1:], remainder=True, **PLAIN)
    expected = gradient_loop(case.net, case.X[0], np.ravel(one.coef_))
    assert expected.any()
    np.testing.assert_allclose(maps.test[0].sum(axis=0) + maps.remainder[0], expected, atol=1e-9)


def test_smoothing_takes_the_same_noise_for_all_rows():
    case = Case(double=True)
    case.X[2] = case.X_train[int(case.indices[2, 0])]
    case.phi = rows_of(case.net, case.X)
    given = {"method": "gradient", "n_samples": 7, "noise": 0.2, "random_state": 3}
    maps = pixel_maps(*case.arguments(), **given)
    noise = torch.randn(
        (7, 1, 1, 8, 8), generator=torch.Generator().manual_seed(3), dtype=torch.float64
    )[:, 0]
    c = coefficients(case)
    for j, q in ((0, 0), (1, 1), (2, 0)):
        i = case.indices[j, q]
        for x, g, found in (
            (case.X[j], c[j, q] * case.phi_train[i], maps.test[j, q]),
            (case.X_train[i], c[j, q] * case.phi[j], maps.train[j, q]),
        ):
            shifts = 0.2 * (x.max() - x.min()) * noise
            loop = np.mean([gradient_loop(case.net, x + shift, g) for shift in shifts], axis=0)
            np.testing.assert_allclose(found, loop, atol=1e-10)
    again = pixel_maps(*case.arguments(), **given, batch_size=2)
    np.testing.assert_allclose(again.train, maps.train, atol=1e-12)
    other = pixel_maps(*case.arguments(), **given | {"random_state": 4})
    assert np.abs(other.train - maps.train).max() > 1e-4


def test_captum_says_the_same():
    attr = pytest.importorskip("captum.attr")
    case = Case(Skip)
    maps = pixel_maps(*case.arguments(), method="integrated_gradients", n_samples=9)
    directions = case.explainer.directions(case.phi, case.indices, side="train")
    for j, q in ((0, 1), (2, 0)):
        module = PairModule(case.net, directions[j, q])
        x = case.X_train[[int(case.indices[j, q])]]
        expected = attr.IntegratedGradients(module).attribute(x, n_steps=9)
        np.testing.assert_allclose(maps.train[j, q], expected[0], atol=1e-5)
        expected = attr.Saliency(module).attribute(x, abs=False)
        found = pixel_maps(*case.arguments(), **PLAIN).train[j, q]
        np.testing.assert_allclose(found, expected[0].detach(), atol=1e-6)

    def integrated(module, x):
        return attr.IntegratedGradients(module).attribute(x, n_steps=9)

    given = pixel_maps(*case.arguments(), method=integrated)
    assert given.method == "integrated()"
    np.testing.assert_allclose(given.train, maps.train, atol=1e-5)
    np.testing.assert_allclose(given.test, maps.test, atol=1e-5)


def test_integrated_gradients_add_up():
    case = Case(
        lambda channels: nn.Sequential(nn.Flatten(), nn.Linear(64, 5), nn.Tanh()), double=True
    )
    maps = pixel_maps(*case.arguments(), method="integrated_gradients")
    at_zero = rows_of(case.net, 0 * case.X[:1])
    directions = case.explainer.directions(case.phi, case.indices)
    expected = case.values - directions @ at_zero[0]
    np.testing.assert_allclose(maps.test.sum(axis=(2, 3, 4)), expected, rtol=1e-6)


def test_the_module_of_pairs():
    case = Case(Skip)
    directions = case.explainer.directions(case.phi, case.indices)
    T = torch.stack(
        [PairModule(case.net, g)(x[None])[0] for g, x in zip(directions, case.X, strict=True)]
    )
    np.testing.assert_allclose(T.detach(), case.values, rtol=1e-5)
    one = PairModule(case.net, torch.as_tensor(directions[0, 1]))
    np.testing.assert_allclose(one(case.X[:1]).item(), case.values[0, 1], rtol=1e-5)
    assert case.net.training and case.net.norm1.training
    for wrong in (torch.ones(2, 3, 4), torch.ones(3).long()):
        with pytest.raises(ValueError, match="directions must be"):
            PairModule(case.net, wrong)


# inputs and features of many kinds


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_any_number_of_channels(channels):
    case = Case(plain, channels)
    for method in ("lrp", "gradient"):
        maps = pixel_maps(*case.arguments(), method=method, n_samples=2)
        assert maps.train.shape == (3, 2, channels, 8, 8) and np.isfinite(maps.train).all()


def test_inputs_in_many_forms():
    case = Case()
    expected = pixel_maps(*case.arguments())
    explainer, net, X, X_train, indices = case.arguments()
    data = TensorDataset(X_train, torch.zeros(N).long())
    for test, train in (
        (X.numpy(), X_train.numpy()),
        (X.double(), X_train.numpy()[::-1][::-1]),
        (list(X), [*X_train]),
        ((X,), data),
        (X, [{"x": x, "labels": 0} for x in X_train]),
    ):
        wrapped = net
        if isinstance(train, list) and isinstance(train[0], dict):

            class Named(nn.Module):
                def __init__(self):
                    super().__init__()
                    self.inner = net

                def forward(self, x):
                    return self.inner(x)

            wrapped, test = Named().train(), {"x": X}
        maps = pixel_maps(explainer, wrapped, test, train, indices)
        np.testing.assert_array_equal(maps.train, expected.train)
        np.testing.assert_array_equal(maps.test, expected.test)


class Whole(nn.Module):
    """A network with its last layer, and a method that leaves it out."""

    def __init__(self, net):
        super().__init__()
        self.net, self.fc = net, nn.Linear(8, K)

    def embed(self, x):
        return self.net(x)

    def forward(self, x):
        return self.fc(self.embed(x))


@pytest.mark.parametrize("method", ["lrp", "gradient"])
def test_features_in_many_forms(method):
    case = Case()
    given = {"method": method, "noise": 0}
    expected = pixel_maps(*case.arguments(), **given)
    explainer, net, *rest = case.arguments()
    whole = Whole(net).train()
    for features in (
        TorchFeatures(whole, "net"),
        TorchFeatures(whole, "fc", at="input"),
        whole.embed,
        nn.DataParallel(net),
        lambda x: net.eval()(x),
    ):
        if (
            method == "lrp"
            and not isinstance(features, (TorchFeatures, nn.Module))
            and features != whole.embed
        ):
            with pytest.raises(ValueError, match="modules of features"):
                pixel_maps(explainer, features, *rest, **given)
            continue
        maps = pixel_maps(explainer, features, *rest, **given)
        np.testing.assert_allclose(maps.train, expected.train, atol=1e-6)
        np.testing.assert_allclose(maps.test, expected.test, atol=1e-6)


def test_raw_pixels_have_their_products():
    case = Case(
        lambda channels: nn.Sequential(nn.Flatten(), nn.Identity(), nn.ReLU()), double=False
    )
    maps = pixel_maps(
        case.explainer, nn.Flatten(), case.X.relu(), case.X_train.relu(), case.indices, **PLAIN
    )
    shares = case.explainer.decompose(case.phi, case.indices)
    np.testing.assert_allclose(maps.contributions().reshape(shares.shape), shares, atol=1e-6)


def test_tokens_have_maps_by_their_embeddings():
    net = built(Tokens).double()
    train, test = token_rows(), token_rows(3, seed=1)
    train, test = (train[0], train[1].double()), (test[0], test[1].double())
    phi, phi_train = rows_of(net, *test), rows_of(net, *train)
    explainer = RepresenterExplainer(C=10.0).fit(phi_train, np.arange(N) % K)
    values, indices = explainer.top_k(phi, k=2)
    maps = pixel_maps(explainer, net, test, train, indices, **PLAIN)
    assert (
        maps.tokens and maps.train.shape == (3, 2, 5, 6) and maps.contributions().shape == (3, 2, 5)
    )
    directions = explainer.directions(phi, indices, side="train")
    net.eval()
    for j, q in np.ndindex(3, 2):
        ids, mask = (part[[int(indices[j, q])]] for part in train)
        e = net.embed(ids).detach().requires_grad_()
        hidden = net.outer(nn.functional.gelu(net.inner(e + net.place(torch.arange(5)))))
        row = (hidden * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
        (row[0] * torch.as_tensor(directions[j, q])).sum().backward()
        np.testing.assert_allclose(maps.train[j, q], e.grad[0], atol=1e-10)
        np.testing.assert_allclose(
            maps.contributions()[j, q], (e.grad * e).sum(-1)[0].detach(), atol=1e-10
        )
        # padding carries nothing
        assert not maps.contributions()[j, q][mask[0].numpy() == 0].any()
    integrated = pixel_maps(explainer, net, test, train, indices, method="integrated_gradients")
    assert integrated.contributions("test").shape == (3, 2, 5)
    twice = built(Tokens).double()
    twice.place = nn.Embedding(11, 6).double()
    twice.forward = lambda ids, mask: twice.embed(ids).mean(1) + twice.place(ids).mean(1)
    with pytest.raises(ValueError, match="2 torch.nn.Embedding"):
        pixel_maps(explainer, twice, test, train, indices, **PLAIN)
    for method in ("lrp", lambda module, x: x):
        with pytest.raises(ValueError, match="is for images"):
            pixel_maps(explainer, net, test, train, indices, method=method)


def test_the_guide_explains_an_error(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib").use("agg")
    monkeypatch.chdir(tmp_path)
    page = Path(__file__).parents[1] / "docs/guide/maps.md"
    (code,) = re.findall(r"```py\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
    layers = [*plain()[:-2], nn.Linear(6, 8)]
    net = nn.Sequential(OrderedDict([*((f"part{i}", p) for i, p in enumerate(layers[:-1]))]))
    net.add_module("fc1", layers[-1])
    net.add_module("fc2", nn.Linear(8, K))
    names = {"net": net, "images": images(), "labels": np.arange(N) % K, "new_images": images(n=2)}
    exec(code, names)  # noqa: S102
    assert names["maps"].train.shape == (2, 5, 1, 8, 8) and (tmp_path / "maps.png").is_file()


# explainers


def test_influence_has_maps_of_the_test_row():
    case = Case(explainer=InfluenceExplainer(C=1.0))
    maps = pixel_maps(*case.arguments(), **PLAIN)
    assert maps.train is None and maps.train_share is None and maps.test.shape == (3, 2, 1, 8, 8)
    directions = case.explainer.directions(case.phi, case.indices)
    expected = gradient_loop(case.net, case.X[1], directions[1, 0])
    np.testing.assert_allclose(maps.test[1, 0], expected, atol=1e-5)
    with pytest.raises(ValueError, match="no maps of the train rows"):
        maps.contributions("train")


def test_fewer_rows_than_features_and_averages():
    wide = nn.Linear(8, 40)
    case = Case(lambda channels: nn.Sequential(plain(channels), wide))
    members = [
        ("dual", dual_view(), slice(0, 20)),
        ("influence", InfluenceExplainer(), slice(20, 40)),
    ]
    for explainer in (InfluenceExplainer(C=1.0), AveragedExplainer(members)):
        explainer.fit(case.phi_train, case.y)
        maps = pixel_maps(explainer, *case.arguments()[1:], **PLAIN)
        directions = explainer.directions(case.phi, case.indices)
        expected = gradient_loop(case.net, case.X[2], directions[2, 1])
        np.testing.assert_allclose(maps.test[2, 1], expected, atol=1e-5)
        refused("not the row", case=case, explainer=explainer, X_train=case.X_train.flip(0))
        with pytest.raises(ValueError, match="remainder=True needs"):
            pixel_maps(explainer, *case.arguments()[1:], remainder=True)


def test_rows_without_a_coefficient_have_maps_of_zero():
    case = Case()
    # classes that a line parts
    y = case.phi_train[:, 0] + case.phi_train[:, 1] > np.median(case.phi_train[:, :2].sum(axis=1))
    explainer = dual_view().set_params(C=1e4).fit(case.phi_train, y)
    none = np.setdiff1d(np.arange(N), explainer.support_)[:1]
    assert len(none)
    indices = np.column_stack([np.repeat(none, 3), np.repeat(explainer.support_[:1], 3)])
    maps = pixel_maps(explainer, *case.arguments()[1:4], indices)
    assert not maps.train[:, 0].any() and np.isnan(maps.train_share[:, 0]).all()
    assert maps.train[:, 1].any() and np.isfinite(maps.train_share[:, 1]).all()


def test_similarities_have_maps():
    case = Case(explainer=SimilarityExplainer(metric="cosine"))
    maps = pixel_maps(*case.arguments(), **PLAIN)
    np.testing.assert_allclose(maps.values, case.values, rtol=1e-5)
    with pytest.raises(ValueError, match="distance"):
        pixel_maps(*Case(explainer=SimilarityExplainer(metric="euclidean")).arguments())


# networks stay as they were


@pytest.mark.parametrize("method", ["lrp", "gradient", "integrated_gradients", lambda m, x: 0 * x])
@pytest.mark.parametrize("make", [plain, Skip])
def test_networks_are_not_touched(make, method):
    case = Case(lambda channels: make(channels, inplace=True))
    net = case.net
    next(net.parameters()).requires_grad_(False)
    net.register_forward_hook(lambda *_: None)
    before = copy.deepcopy(net.state_dict())
    flags = [(m.training, len(m._forward_hooks), sorted(vars(m))) for m in net.modules()]
    grads = [(p.requires_grad, p.grad, p.data_ptr()) for p in net.parameters()]
    torch.manual_seed(7)
    state = torch.get_rng_state()
    pixel_maps(*case.arguments(), method=method, random_state=0)
    assert torch.equal(torch.get_rng_state(), state)
    assert flags == [(m.training, len(m._forward_hooks), sorted(vars(m))) for m in net.modules()]
    assert grads == [(p.requires_grad, p.grad, p.data_ptr()) for p in net.parameters()]
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


def test_networks_are_not_touched_by_failures():
    case = Case(lambda channels: nn.Sequential(plain(channels), nn.GELU()))
    with pytest.raises(ValueError, match="Gelu"):
        pixel_maps(*case.arguments())
    assert all(m.training and not m._forward_hooks for m in case.net.modules())
    with torch.no_grad(), torch.inference_mode():
        inside = pixel_maps(*case.arguments(), **PLAIN)
    np.testing.assert_array_equal(inside.train, pixel_maps(*case.arguments(), **PLAIN).train)


# refusals


def refused(match, kind=ValueError, case=None, **changes):
    case, changes = case or Case(), PLAIN | changes
    names = "explainer", "features", "X", "X_train", "indices"
    given = dict(zip(names, case.arguments(), strict=True)) | changes
    with pytest.raises(kind, match=match):
        pixel_maps(*[given.pop(name) for name in names], **given)


def test_networks_that_are_not_the_one_fitted_on():
    case = Case(Skip)
    refused("not the row that explainer was fitted on", case=case, X_train=case.X_train.flip(0))
    refused("not the row", case=case, X_train=2 * case.X_train + 1)
    scaled = nn.Sequential(case.net, nn.LayerNorm(4, elementwise_affine=False))
    refused("such as a scaler", case=case, features=scaled)
    refused("training mode", case=case, features=lambda x: case.net.train()(x))
    wide = nn.Sequential(case.net, nn.Linear(4, 5))
    refused("4 features|5 features", case=case, features=wide)
    nan = case.X_train.clone()
    nan[int(case.indices[0, 0])] = torch.nan
    refused("not the row|NaN", case=case, X_train=nan)


def test_rows_that_influence_each_other():
    case = Case()
    refused("influence each", case=case, features=lambda x: case.net.eval()(x) + (len(x) == 3))


def test_arguments_that_are_refused():
    case = Case()
    refused("give its last step", TypeError, explainer=nn.Flatten())
    refused("got InfluenceExplainer|fitted", (TypeError, ValueError), explainer=InfluenceExplainer)
    refused("features must be", TypeError, features="net")
    refused("features must be", TypeError, features=nn.Flatten)
    refused("not fitted", explainer=RepresenterExplainer())
    refused("torch.jit", features=torch.jit.script(plain()))
    refused("an item of X is", TypeError, X=case.X.tolist())
    refused("X has no rows", X=torch.tensor(1.0))
    refused("as many rows", TypeError, X=(case.X, case.X[:2]))
    refused("X_train has 3 rows", X_train=case.X)
    refused("X is", TypeError, X=3)
    refused("expected arrays or tensors", TypeError, X=())
    refused("X has no rows", X=case.X[:0], indices=case.indices[:0])
    for indices in (case.indices[0], case.indices[:2], case.indices[:, :0], "a"):
        refused("indices has shape", indices=indices)
    refused("training rows", indices=case.indices + 1000)
    refused("integers", indices=case.indices + 0.5)
    refused("no torch.nn.Embedding", X=case.X.long())
    refused("is not one of the classes", target=9)
    refused("method must be", method="saliency")
    refused("method must be", method=3)
    refused("conv must be", conv="gamma")
    refused("first must be", first="z+")
    refused("bias must be", bias=None)
    refused("remainder must be", remainder="yes")
    refused("noise must be", method="gradient", noise=-1)
    refused("noise must be", method="gradient", noise=np.nan)
    refused("at least 1", n_samples=0)
    refused("integer", TypeError, batch_size=2.5)
    refused("method returned shape", method=lambda module, x: x[0])
    refused("do not depend on X", method="gradient", features=lambda x: case.net.eval()(x).detach())
    refused("expected floats", TypeError, features=lambda x: None)
    refused("expected", features=lambda x: case.net.eval()(x)[:-1])
