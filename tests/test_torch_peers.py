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
    explainer = TRAKExplainer(ridge=ridge, curvature="identity")
    explainer.fit(train.X, train.y, probabilities=train.label_probabilities)
    found = explainer.attribute(test.X)
    scale = (found * expected).sum() / (expected**2).sum()
    assert scale > 0
    assert np.abs(found - scale * expected).max() < 1e-3 * np.abs(found).max()
