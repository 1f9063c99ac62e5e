"""Small CNNs on Fashion-MNIST, trained on all rows and on random halves of them.

    python benchmarks/cnn_truth.py FOLDER

trains what FOLDER does not hold yet: five networks on all rows, with checkpoints, then networks on
halves, first one of each half, then the second. It can be ended at any time and goes on where it
was; a folder of other data or settings is refused. A network on a half takes
5 seconds of one core.
"""

import gzip
import os
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

from skattrib.retraining.refits import draw_subset, run_kept
from skattrib.retraining.result_folder import ResultFolder, digest

DATA = Path(os.environ.get("SKATTRIB_FASHION_MNIST", "/usr/share/datasets/fashion-mnist"))
HALVES = int(os.environ.get("SKATTRIB_HALVES", "50"))
SEEDS = int(os.environ.get("SKATTRIB_SEEDS", "2"))
N_NETWORKS = 5
N_TRAIN, N_TEST = 3000, 400
EPOCHS, BATCH, RATE, DECAY = 10, 50, 0.03, 5e-4
# epochs between checkpoints
EVERY = 2


def read(part, n):
    """n random rows, images (n, 1, 28, 28) of mean 0 and variance 1, and labels."""
    found = []
    for kind, offset in (("images-idx3", 16), ("labels-idx1", 8)):
        with gzip.open(DATA / f"{part}-{kind}-ubyte.gz") as file:
            found.append(np.frombuffer(file.read(), dtype=np.uint8, offset=offset))
    pixels, y = found
    pixels = pixels.reshape(len(y), 1, 28, 28)
    rows = np.random.default_rng(0).permutation(len(y))[:n]
    images = (pixels[rows].astype(np.float32) / 255 - 0.286) / 0.353
    return images, y[rows].astype(np.int64)


def network(seed=0):
    """204,000 parameters, 160 features before the last layer."""
    net = nn.Sequential(
        nn.Conv2d(1, 24, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(24, 48, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(48, 64, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2, ceil_mode=True),
        nn.Flatten(),
        nn.Linear(1024, 160),
        nn.ReLU(),
        nn.Linear(160, 10),
    )
    source = torch.Generator().manual_seed(seed)
    for layer in net:
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=source)
            nn.init.zeros_(layer.bias)
    return net.to(memory_format=torch.channels_last)


def train(X, y, seed, epochs=EPOCHS):
    """(network, states every few epochs, learning rate summed over the steps before each)."""
    net, source = network(seed), torch.Generator().manual_seed(seed)
    X = torch.as_tensor(X).contiguous(memory_format=torch.channels_last)
    y = torch.as_tensor(y)
    optimizer = torch.optim.SGD(net.parameters(), lr=RATE, momentum=0.9, weight_decay=DECAY)
    steps = epochs * -(-len(y) // BATCH)
    # to the highest rate and down to almost nothing
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, RATE, total_steps=steps, pct_start=0.2, cycle_momentum=False
    )
    states, sums, total = [], [], 0.0
    for epoch in range(1, epochs + 1):
        for rows in torch.randperm(len(y), generator=source).split(BATCH):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(X[rows]), y[rows]).backward()
            total += optimizer.param_groups[0]["lr"]
            optimizer.step()
            schedule.step()
        if epoch % EVERY == 0:
            states.append({name: t.detach().clone() for name, t in net.state_dict().items()})
            sums.append(total)
            total = 0.0
    return net.eval(), states, sums


def logits(net, X):
    """(n, classes) in float64."""
    with torch.no_grad():
        return torch.cat([net(part) for part in torch.as_tensor(X).split(256)]).double().numpy()


class StateFolder(ResultFolder):
    """Checkpoints of networks."""

    suffix = ".pt"

    def _read(self, file):
        return torch.load(file, weights_only=True)

    def _problem(self, value):
        return None if isinstance(value, dict) and "states" in value else "holds no states"

    def _dump(self, value, file):
        torch.save(value, file)


def _on_all(X, y, seed):
    _, states, sums = train(X, y, seed)
    return {"states": states, "rates": sums}


def _on_some(X, y, X_test, rows, seed):
    return logits(train(X[rows], y[rows], seed)[0], X_test)


class Truth:
    """Data, networks on all rows, and logits of those on halves.

    Parameters
    ----------
    folder : path-like
    n_halves, n_seeds, n_networks : int

    Attributes
    ----------
    X, y, X_test, y_test : ndarray
    nets : list of Module
    states, rates : list of lists
        Checkpoints of each of them, and the learning rate summed over the steps before each.
    masks : ndarray of shape (n_halves, n)
    logits : ndarray of shape (n_seeds, n_halves, m, n_classes)
    """

    def __init__(self, folder, n_halves=HALVES, n_seeds=SEEDS, n_networks=N_NETWORKS):
        self.X, self.y = read("train", N_TRAIN)
        self.X_test, self.y_test = read("t10k", N_TEST)
        key = {
            "data": digest([self.X, self.y, self.X_test]),
            "network": digest([p.detach().numpy() for p in network().parameters()]),
            "training": [EPOCHS, BATCH, RATE, DECAY, EVERY],
            "versions": [np.__version__, torch.__version__],
        }
        jobs = {f"network_{e}": (self.X, self.y, e) for e in range(n_networks)}
        kept = StateFolder(Path(folder) / "networks", key)
        found = dict(run_kept(_on_all, jobs, kept, verbose=2, title="networks"))
        self.states = [found[e]["states"] for e in range(n_networks)]
        self.rates = [found[e]["rates"] for e in range(n_networks)]
        self.nets = []
        for states in self.states:
            self.nets.append(network().eval())
            self.nets[-1].load_state_dict(states[-1])
        self.masks = np.array(
            [draw_subset(np.zeros(N_TRAIN), 0.5, 0, half) for half in range(n_halves)]
        )
        jobs = {
            f"half_{half:03d}_{seed}": (
                self.X,
                self.y,
                self.X_test,
                np.flatnonzero(self.masks[half]),
                1000 + 1000 * seed + half,
            )
            for seed in range(n_seeds)
            for half in range(n_halves)
        }
        kept = ResultFolder(Path(folder) / "halves", key)
        kept.shape = (N_TEST, 10)
        found = dict(run_kept(_on_some, jobs, kept, verbose=2, title="halves"))
        self.logits = np.stack([found[i] for i in range(len(jobs))]).reshape(
            n_seeds, n_halves, N_TEST, 10
        )


def one_thread():
    """As all is measured, and without the slowness of tiny numbers."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)


if __name__ == "__main__":
    one_thread()
    made = Truth(sys.argv[1])
    right = made.logits.argmax(axis=3) == made.y_test
    print(f"accuracy on halves {right.mean():.3f}")
