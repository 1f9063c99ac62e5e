"""Gradient methods of the papers, from a network to its proponents: those of loops of autograd."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch_cases import (  # noqa: E402
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

from skattrib import (  # noqa: E402
    InfluenceExplainer,
    LinearHead,
    SimilarityExplainer,
    TRAKExplainer,
)
from skattrib.torch_adapters import (  # noqa: E402
    dropout_states,
    geometric_ensemble,
    gradient_rows,
    last_layer,
    losses,
)

KIND, M = "Images", 6


def test_rows():
    return loader(KIND, seed=1, n=M)


test_rows.__test__ = False


def with_state(state):
    model = network(KIND)
    model.load_state_dict(state)
    return model


def loss_gradients(model, seed=0, n=N):
    """Of the cross-entropy itself, positive."""
    return -loop_of_autograd(model, KIND, log_p(labels(n)), seed=seed, n=n)


def same_ranking(explainer, test, expected):
    """Values and rows of top_k are those of a matrix (M, N)."""
    values, rows = explainer.top_k(test, k=5)
    order = np.argsort(-expected, axis=1, kind="stable")[:, :5]
    limit = 1e-4 * np.abs(expected).max()
    assert np.abs(values - np.take_along_axis(expected, order, axis=1)).max() < limit
    assert np.abs(np.take_along_axis(expected, rows, axis=1) - values).max() < limit
    assert np.abs(explainer.attribute(test) - expected).max() < limit


@pytest.mark.parametrize("metric", ["dot", "cosine"])
def test_grad_dot_and_grad_cos(metric):
    model = network(KIND)
    train, test = (
        gradient_rows(model, loader(KIND), k=None),
        gradient_rows(model, test_rows(), k=None),
    )
    a, b = loss_gradients(model, 1, M), loss_gradients(model)
    if metric == "cosine":
        a, b = (g / np.linalg.norm(g, axis=1, keepdims=True) for g in (a, b))
    same_ranking(SimilarityExplainer(metric=metric).fit(train.X, train.y), test.X, a @ b.T)


def test_a_training_step_raises_what_the_sign_says():
    """A small step down the loss of a training row changes outputs as the products say."""
    model = network(KIND).double()
    train = gradient_rows(model, loader(KIND), k=None).X
    test = gradient_rows(model, test_rows(), output="log_odds", target=1, k=None).X
    products = test @ train[0]
    x, test_x = inputs_of(KIND)[0][:1].double(), inputs_of(KIND, 1, M)[0].double()
    model.eval()

    def outputs():
        with torch.no_grad():
            return torch.logit(model(test_x).softmax(1)[:, 1]).numpy()

    before, rate = outputs(), 1e-5
    torch.nn.functional.cross_entropy(model(x), labels()[:1]).backward()
    with torch.no_grad():
        for p in model.parameters():
            p -= rate * p.grad
    assert np.abs((outputs() - before) / rate - products).max() < 1e-3 * np.abs(products).max()


def checkpoints():
    """States of a training, and the learning rates with which they were left."""
    model = network(KIND)
    x, y = inputs_of(KIND)[0], labels()
    states, rates = [], [0.5, 0.3, 0.05]
    for rate in rates:
        torch.nn.functional.cross_entropy(model(x), y).backward()
        with torch.no_grad():
            for p in model.parameters():
                p -= rate * p.grad
                p.grad = None
        states.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
    return states, rates


def test_tracin():
    states, rates = checkpoints()
    model = network(KIND, seed=9)
    rows = [
        gradient_rows(model, batches, states=states, weights=rates, k=None)
        for batches in (loader(KIND), test_rows())
    ]
    expected = sum(
        rate * loss_gradients(with_state(s), 1, M) @ loss_gradients(with_state(s)).T
        for s, rate in zip(states, rates, strict=True)
    )
    same_ranking(SimilarityExplainer().fit(rows[0].X, rows[0].y), rows[1].X, expected)
    assert rows[0].logits.shape == rows[0].probabilities.shape == (N, 3, K)
    for m, state in enumerate(states):
        expected = call(with_state(state).eval(), KIND, inputs_of(KIND)).detach().numpy()
        assert np.abs(rows[0].logits[:, m] - expected).max() < 1e-6


def test_tracin_from_files(tmp_path):
    states, rates = checkpoints()
    files = []
    for i, state in enumerate(states):
        files.append(tmp_path / f"{i}.pt")
        torch.save({f"module.{name}": t for name, t in state.items()}, files[-1])
    model = network(KIND)
    rows = [
        gradient_rows(model, loader(KIND), states=given, weights=rates, k=40).X
        for given in (states, files)
    ]
    assert (rows[0] == rows[1]).all()


def test_states_have_projections_of_their_own():
    model = network(KIND)
    one = gradient_rows(model, loader(KIND), k=40).X
    two = gradient_rows(model, loader(KIND), k=40, states=[None, model.state_dict()]).X
    assert (two[:, :40] == one).all()
    assert np.abs(two[:, 40:] - one).max() > 0.1 * np.abs(one).max()


@pytest.mark.parametrize("max_rate", [0.01, 0.2])
def test_ip_ensemble(max_rate):
    model = network(KIND)
    copies = dropout_states(model, 4, max_rate=max_rate, random_state=5)
    rows = [
        gradient_rows(model, batches, states=copies, weights=[1 / 4] * 4, k=None)
        for batches in (loader(KIND), test_rows())
    ]
    expected = np.mean(
        [loss_gradients(with_state(s), 1, M) @ loss_gradients(with_state(s)).T for s in copies],
        axis=0,
    )
    same_ranking(SimilarityExplainer().fit(rows[0].X, rows[0].y), rows[1].X, expected)


def test_dropped_parameters():
    model = network(KIND)
    own, copies = model.state_dict(), dropout_states(model, 200, max_rate=0.4)
    shares = []
    for copy in copies:
        zero = [(copy[name] == 0).flatten() for name in own]
        for name, tensor in own.items():
            kept = copy[name] != 0
            assert (copy[name][kept] == tensor[kept]).all()
        shares.append(float(torch.cat(zero).float().mean()))
    # U(0, 0.4)
    assert 0.17 < np.mean(shares) < 0.23 and 0.1 < np.std(shares) < 0.13
    assert min(shares) < 0.03 and 0.36 < max(shares) < 0.46  # of some 900 numbers each
    again = dropout_states(model, 3, max_rate=0.4)
    assert all((a[n] == b[n]).all() for a, b in zip(again, copies, strict=False) for n in own)
    assert not (copies[0]["fc1.weight"] == copies[1]["fc1.weight"]).all()
    tied = dropout_states(network("Tied"), 1, max_rate=0.9)[0]
    assert (tied["first.weight"] == tied["second.weight"]).all()
    norms = dropout_states(network("Residual"), 1, max_rate=0.9)[0]
    assert (norms["norm1.running_var"] > 0).all()


@pytest.mark.parametrize("k", [None, 64])
def test_sim(k):
    """Charpiat et al.: gradients of the same class's logit at both rows, the test row's class.

    With k, SIM-rp: all classes' blocks, and the test rows, have one projection.
    """
    model = network(KIND)
    train = gradient_rows(model, loader(KIND), output="logit", target="all", k=k)
    test = gradient_rows(model, test_rows(), output="logit", target="predicted", k=k)
    S = 1.0 if k is None else dense_sketch(model, k, 0)
    blocks, codes = train.X.reshape(N, K, -1), test.logits.argmax(axis=1)
    assert len(np.unique(codes)) > 1
    for c in np.unique(codes):
        own = codes == c
        a, b = (
            loop_of_autograd(model, KIND, lambda z, i, c=c: z[c], seed=seed, n=n)
            for seed, n in ((1, M), (0, N))
        )
        expected = a[own] @ b.T if k is None else (a[own] @ S) @ (b @ S).T
        same_ranking(SimilarityExplainer().fit(blocks[:, c], train.y), test.X[own], expected)


def test_gex():
    model = network(KIND)
    members = geometric_ensemble(model, loader(KIND), n_members=5, steps=2, learning_rate=0.1)
    found = [losses(model, rows, states=[None, *members]) for rows in (loader(KIND), test_rows())]
    rows = [(f.X[:, 1:] - f.X[:, :1]) / 5**0.5 for f in found]

    def loss(state, seed, n):
        z = call(with_state(state).eval(), KIND, inputs_of(KIND, seed, n))
        return torch.nn.functional.cross_entropy(z, labels(n), reduction="none").detach().numpy()

    zero = model.state_dict()
    differences = [
        [loss(m, seed, n) - loss(zero, seed, n) for m in members] for seed, n in ((1, M), (0, N))
    ]
    expected = np.mean([np.outer(a, b) for a, b in zip(*differences, strict=True)], axis=0)
    same_ranking(SimilarityExplainer().fit(rows[0], found[0].y), rows[1], expected)


def test_geometric_ensemble():
    model = network("Residual")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    made = [
        geometric_ensemble(model, loader("Residual"), 3, steps=4, learning_rate=0.1)
        for _ in range(2)
    ]
    for one, other in zip(*made, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)
    assert not torch.equal(made[0][0]["fc.weight"], made[0][1]["fc.weight"])
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert model.training and all(p.grad is None for p in model.parameters())
    with pytest.raises(ValueError, match="learning_rate"):
        geometric_ensemble(model, loader("Residual"), 3, learning_rate=0.0)
    with pytest.raises(ValueError, match="diverged"):
        geometric_ensemble(model, loader("Residual"), 2, steps=20, learning_rate=1e30)
    with pytest.raises(ValueError, match="no labels"):
        geometric_ensemble(model, [inputs_of("Residual")[0]], 2)
    with pytest.raises(ValueError, match="only once"):
        geometric_ensemble(model, iter(loader("Residual")), 2)


def test_a_cycle_of_learning_rates(monkeypatch):
    """Up to the middle and down again: least where a member is taken."""
    seen = []
    step = torch.optim.SGD.step
    monkeypatch.setattr(
        torch.optim.SGD,
        "step",
        lambda self, *args: (seen.append(self.param_groups[0]["lr"]), step(self, *args))[1],
    )
    geometric_ensemble(network(KIND), loader(KIND), 2, steps=4, learning_rate=0.1)
    assert np.allclose(seen[:4], [0.0505, 0.1, 0.0505, 0.001]) and seen[4:] == seen[:4]


def test_influence_of_the_last_layer():
    """Koh & Liang in the weights of the last layer, by gradients and a Hessian of autograd."""
    model = network(KIND).double()
    head, test = last_layer(model, loader(KIND)), last_layer(model, test_rows())
    explained = LinearHead(head.coef, head.intercept, temperature=2.0)
    explainer = InfluenceExplainer(explained, leverage_correction=False).fit(head.X, head.y)
    assert (explainer.predict(test.X) == test.logits.argmax(1)).all()
    assert np.abs(explainer.decision_function(test.X) - test.logits / 2).max() < 1e-12

    model.eval()
    taken = []
    model.fc2.register_forward_pre_hook(lambda _, args: taken.append(args[0].detach()))
    model(inputs_of(KIND)[0].double()), model(inputs_of(KIND, 1, M)[0].double())
    # a constant feature beside the others, as large as their spread
    size = (taken[0] - taken[0].mean(0)).square().sum(1).mean().sqrt()
    phi, phi_test = (torch.nn.functional.pad(h, (0, 1), value=float(size)) for h in taken)
    theta = torch.cat([model.fc2.weight, model.fc2.bias[:, None] / size], dim=1).detach() / 2

    def objective(flat):
        z = phi @ flat.view(K, -1).T
        loss = torch.nn.functional.cross_entropy(z, labels(), reduction="sum")
        return loss + 0.5 * size**2 / 4 * flat.square().sum()

    H = torch.autograd.functional.hessian(objective, theta.flatten())
    flat = theta.flatten().requires_grad_()

    def gradient(row, c, of_loss):
        z = flat.view(K, -1) @ row
        (g,) = torch.autograd.grad(z.log_softmax(0)[c] if of_loss else z[c], flat)
        return g

    codes = torch.tensor(test.logits.argmax(1))
    g = torch.stack([gradient(row, c, False) for row, c in zip(phi_test, codes, strict=True)])
    r = torch.stack([gradient(row, c, True) for row, c in zip(phi, labels(), strict=True)])
    same_ranking(explainer, test.X, (g @ torch.linalg.solve(H, r.T)).numpy())


@pytest.mark.parametrize("curvature", ["logistic", "identity"])
def test_trak(curvature):
    """One formula, two networks, gradients of log-odds by loops of autograd."""
    model = network(KIND)
    states = [network(KIND, seed).state_dict() for seed in (1, 2)]
    train = gradient_rows(model, loader(KIND), output="log_odds", states=states, k=None)
    codes = np.arange(M) % 2
    test = gradient_rows(model, test_rows(), output="log_odds", target=codes, states=states, k=None)
    p = train.label_probabilities
    assert p.shape == (N, 2)
    explainer = TRAKExplainer(2, ridge=0.5, curvature=curvature, temperature=1.0)
    explainer.fit(train.X, train.y, probabilities=p)
    kernels, y = [], labels()
    for m, state in enumerate(states):
        net = with_state(state)
        own = call(net.eval(), KIND, inputs_of(KIND)).softmax(1)[range(N), y].detach().numpy()
        assert np.abs(own - p[:, m]).max() < 1e-6

        def log_odds(z, c):
            return torch.logit(z.double().softmax(0)[c])

        phi = loop_of_autograd(net, KIND, lambda z, i: log_odds(z, y[i])).astype(float)
        g = loop_of_autograd(net, KIND, lambda z, i: log_odds(z, codes[i]), seed=1, n=M)
        w = own * (1 - own) if curvature == "logistic" else np.ones(N)
        F = (phi.T * w) @ phi
        F += 0.5 * np.trace(F) / N * np.eye(len(F))
        kernel = g @ np.linalg.solve(F, phi.T)
        kernels.append(kernel * (1 - own) if curvature == "logistic" else kernel)
    expected = np.mean(kernels, axis=0)
    if curvature == "identity":
        expected *= 1 - p.mean(axis=1)
    same_ranking(explainer, test.X, expected)


def test_the_model_as_it_is_predicts_for_all_states():
    """So that members of an ensemble explain the same class."""
    model = network(KIND)
    states = [network(KIND, seed).state_dict() for seed in (3, 4)]
    codes = last_layer(model, loader(KIND)).logits.argmax(axis=1)
    found = gradient_rows(model, loader(KIND), target="predicted", states=states)
    assert (found.logits.argmax(axis=2) != codes[:, None]).any(axis=0).all()
    assert (found.X == gradient_rows(model, loader(KIND), target=codes, states=states).X).all()
