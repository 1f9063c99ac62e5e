"""Networks retrained for a benchmark: a run goes on, and other settings are refused."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import cnn_truth  # noqa: E402


@pytest.fixture
def tiny(monkeypatch):
    """Random images in the place of data, and a list of the rows that networks are trained on."""
    for name, value in {"N_TRAIN": 20, "N_TEST": 4, "EPOCHS": 3}.items():
        monkeypatch.setattr(cnn_truth, name, value)

    def read(part, n):
        rng = np.random.default_rng(len(part))
        return rng.random((n, 1, 28, 28), dtype=np.float32), np.arange(n) % 10

    train, seen = cnn_truth.train, []

    def seen_train(X, y, seed, epochs=3):
        seen.append(len(X))
        return train(X, y, seed, epochs)

    monkeypatch.setattr(cnn_truth, "read", read)
    monkeypatch.setattr(cnn_truth, "train", seen_train)
    return seen


def test_a_run_goes_on(tiny, tmp_path):
    begun = cnn_truth.Truth(tmp_path, n_halves=2, n_seeds=1, n_networks=1)
    assert tiny == [20, 10, 10]
    more = cnn_truth.Truth(tmp_path, n_halves=3, n_seeds=2, n_networks=1)
    assert tiny[3:] == [10] * 4
    assert more.logits.shape == (2, 3, 4, 10)
    assert (more.logits[:1, :2] == begun.logits).all() and (more.masks[:2] == begun.masks).all()
    # seeds and halves are each their own
    assert len({tuple(row) for row in more.logits.reshape(6, -1)}) == 6
    again = cnn_truth.Truth(tmp_path / "anew", n_halves=3, n_seeds=2, n_networks=1)
    assert (again.logits == more.logits).all()
    last = again.states[0][-1]
    for name, tensor in again.nets[0].state_dict().items():
        assert torch.equal(tensor, last[name])


def test_checkpoints_and_the_rates_that_led_to_them():
    rng = np.random.default_rng(0)
    X, y = rng.random((70, 1, 28, 28), dtype=np.float32), np.arange(70) % 10
    net, states, rates = cnn_truth.train(X, y, 0, epochs=6)
    assert len(states) == 6 // cnn_truth.EVERY
    # two steps an epoch, from a 25th of the highest rate up to it and down again
    optimizer = torch.optim.SGD(net.parameters(), lr=1.0)
    cycle = {"total_steps": 12, "pct_start": 0.2, "cycle_momentum": False}
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, cnn_truth.RATE, **cycle)
    expected = []
    for _ in range(12):
        expected.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    assert np.allclose(rates, np.reshape(expected, (len(states), -1)).sum(axis=1))


def test_other_settings_are_refused(tiny, tmp_path, monkeypatch):
    cnn_truth.Truth(tmp_path, n_halves=1, n_seeds=1, n_networks=1)
    monkeypatch.setattr(cnn_truth, "DECAY", 1e-3)
    with pytest.raises(ValueError, match="of another run, with other training"):
        cnn_truth.Truth(tmp_path, n_halves=1, n_seeds=1, n_networks=1)
