"""Other libraries of torch as oracles; each test is skipped where its library is not installed."""

import logging

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch_cases import Items, N, inputs_of, labels, loader, network  # noqa: E402

from skattrib import SimilarityExplainer, TRAKExplainer  # noqa: E402
from skattrib.torch_adapters import dropout_states, gradient_rows  # noqa: E402

M = 6


def tests_of(kind):
    return loader(kind, seed=1, n=M)


@pytest.mark.parametrize("kind", ["Images", "Residual"])
def test_captum_tracin(kind, tmp_path):
    captum = pytest.importorskip("captum.influence")
    model, rates = network(kind), [0.5, 0.1]
    states = dropout_states(model, 2, max_rate=0.3)
    files = [str(tmp_path / f"{i}.pt") for i in range(2)]
    for state, file in zip(states, files, strict=True):
        torch.save(state, file)

    def load(model, file):
        # captum differentiates as it finds the model
        model.load_state_dict(torch.load(file))
        model.eval()
        return rates[files.index(file)]

    peer = captum.TracInCP(
        network(kind),
        Items(inputs_of(kind), labels()),
        files,
        checkpoints_load_func=load,
        loss_fn=torch.nn.CrossEntropyLoss(reduction="none"),
        batch_size=5,
        # the other way drops parameters of norms
        sample_wise_grads_per_batch=False,
    )
    expected = peer.influence((*inputs_of(kind, 1, M), labels(M))).numpy()
    train, test = (
        gradient_rows(model, rows, states=files, weights=rates, k=None)
        for rows in (loader(kind), tests_of(kind))
    )
    found = SimilarityExplainer().fit(train.X, train.y).attribute(test.X)
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize("kind", ["Images", "Residual"])
def test_traker(kind, tmp_path):
    """One model, no projection; up to a scale, for it divides its inverse by the mean entry."""
    trak = pytest.importorskip("trak")
    from trak.projectors import NoOpProjector

    model = network(kind).eval()
    p = sum(parameter.numel() for parameter in model.parameters())
    train, test = (
        gradient_rows(model, rows, output="log_odds", k=None)
        for rows in (loader(kind), tests_of(kind))
    )
    ridge = 0.5
    peer = trak.TRAKer(
        model=model,
        task="image_classification",
        train_set_size=N,
        save_dir=tmp_path,
        device="cpu",
        projector=NoOpProjector(p, 0, 0, "", "cpu"),
        proj_dim=0,
        logging_level=logging.ERROR,
        use_half_precision=False,
        # it divides gradients by the root of their number
        lambda_reg=float(ridge * (train.X**2).sum() / N / p),
    )
    peer.load_checkpoint(model.state_dict(), model_id=0)
    for batch in loader(kind):
        peer.featurize(batch, num_samples=len(batch[1]))
    peer.finalize_features()
    peer.start_scoring_checkpoint("test", model.state_dict(), model_id=0, num_targets=M)
    for batch in tests_of(kind):
        peer.score(batch, num_samples=len(batch[1]))
    expected = peer.finalize_scores("test").T
    explainer = TRAKExplainer(ridge=ridge, curvature="identity", temperature=1.0)
    explainer.fit(train.X, train.y, probabilities=train.label_probabilities)
    found = explainer.attribute(test.X)
    scale = (found * expected).sum() / (expected**2).sum()
    assert scale > 0
    assert np.abs(found - scale * expected).max() < 1e-3 * np.abs(found).max()


def dattri_task(kind, output, states):
    """A network's output of a row's label, to be attributed at states."""
    task = pytest.importorskip("dattri.task")
    model = network(kind).eval()

    def of_row(weights, data):
        x, y = data
        z = torch.func.functional_call(model, weights, (x[None],))
        return output(z[0], y)

    return task.AttributionTask(of_row, model, states)


@pytest.mark.parametrize("kind", ["Images", "Residual"])
@pytest.mark.parametrize("metric", ["dot", "cosine"])
def test_dattri_tracin(kind, metric):
    """TracIn, and GradCos of one state; without projection."""
    pytest.importorskip("dattri")
    from dattri.algorithm.tracin import TracInAttributor

    model = network(kind)
    rates = [0.5, 0.1] if metric == "dot" else [1.0]
    states = dropout_states(model, len(rates), max_rate=0.3)

    def loss(z, y):
        return torch.nn.functional.cross_entropy(z[None], y[None])

    task = dattri_task(kind, loss, states)
    peer = TracInAttributor(task, torch.tensor(rates), normalized_grad=metric == "cosine")
    peer.projector_kwargs = None
    expected = peer.attribute(loader(kind), tests_of(kind)).numpy().T
    train, test = (
        gradient_rows(model, rows, states=states, weights=rates, k=None)
        for rows in (loader(kind), tests_of(kind))
    )
    found = SimilarityExplainer(metric=metric).fit(train.X, train.y).attribute(test.X)
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize("n_models", [1, 2])
def test_dattri_trak(n_models, monkeypatch):
    """The paper's two means over networks; its projection is taken out, its ridge is ours."""
    pytest.importorskip("dattri")
    from dattri.algorithm import trak as peers

    monkeypatch.setattr(peers, "random_project", lambda *_, **__: lambda G, ensemble_id: G)
    kind, model = "Images", network("Images")
    states = [network(kind, seed).state_dict() for seed in range(1, n_models + 1)]

    def log_odds(z, y):
        log_p = z.log_softmax(0)[y[None]].squeeze(0)
        return log_p - torch.log(-torch.expm1(log_p))

    def probability(weights, data):
        x, y = data
        z = torch.func.functional_call(model.eval(), weights, (x[None],))
        return z.softmax(1)[0, y[None]].squeeze(0)

    train, test = (
        gradient_rows(model, rows, output="log_odds", states=states, k=None)
        for rows in (loader(kind), tests_of(kind))
    )
    p = train.X.shape[1] // n_models
    # one penalty for all networks there, one for each here
    norms = [(train.X[:, m * p : (m + 1) * p] ** 2).sum() / N for m in range(n_models)]
    found = 0
    for m, norm in enumerate(norms):
        ridge = float(0.5 * norms[0] / norm)
        own = TRAKExplainer(ridge=ridge, curvature="identity", temperature=1.0)
        X, g = (rows.X[:, m * p : (m + 1) * p] for rows in (train, test))
        own.fit(X, train.y, probabilities=np.zeros(N))
        found = found + own.attribute(g) / n_models
    found *= 1 - train.label_probabilities.mean(axis=1)
    peer = peers.TRAKAttributor(
        dattri_task(kind, log_odds, states),
        probability,
        # it divides gradients by the root of their number
        regularization=float(0.5 * norms[0] / p),
    )
    peer.cache(loader(kind))
    expected = peer.attribute(tests_of(kind)).numpy().T
    assert np.abs(found - expected).max() < 1e-3 * np.abs(expected).max()
