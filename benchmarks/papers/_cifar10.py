"""A small residual network for CIFAR-10, trained once on a CPU, and its features of all images.

The first 30,000 training images train it. The rows that the papers' experiments explain are among
the other 20,000, so that no label that is explained or flipped has shaped its own features.
"""

import time

import numpy as np
import torch
from torch import nn

from .data import Data

N_SEEN = 30_000
EPOCHS, BATCH, RATE, DECAY = 8, 125, 0.08, 5e-4
MEAN, SCALE = (0.491, 0.482, 0.447), (0.247, 0.243, 0.262)


class Residual(nn.Module):
    """Two convolutions and what goes past them."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(outputs)
        self.first_relu = nn.ReLU()
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(outputs)
        self.past = nn.Identity()
        if stride > 1 or inputs != outputs:
            self.past = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
        self.relu = nn.ReLU()

    def forward(self, x):
        """What comes out of the block."""
        inside = self.first_relu(self.first_norm(self.first(x)))
        return self.relu(self.second_norm(self.second(inside)) + self.past(x))


def network(n_classes=10, seed=0):
    """296,000 parameters, 128 features before the last layer."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 24, 3, padding=1, bias=False),
        nn.BatchNorm2d(24),
        nn.ReLU(),
        nn.MaxPool2d(2),
        Residual(24, 24, 1),
        Residual(24, 48, 2),
        Residual(48, 128, 2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(128, n_classes),
    ).to(memory_format=torch.channels_last)


def normalized(images):
    """uint8 images (n, 32, 32, 3) as the network takes them, (n, 3, 32, 32)."""
    x = torch.tensor(images).permute(0, 3, 1, 2).float() / 255
    mean, scale = (torch.tensor(part).view(1, 3, 1, 1) for part in (MEAN, SCALE))
    return ((x - mean) / scale).contiguous(memory_format=torch.channels_last)


def shifted(x, source):
    """Images flipped at random, and all of them shifted by up to 3 pixels."""
    flip = torch.rand(len(x), generator=source) < 0.5
    x = torch.where(flip.view(-1, 1, 1, 1), x.flip(3), x)
    dx, dy = torch.randint(0, 7, (2,), generator=source).tolist()
    padded = nn.functional.pad(x, (3, 3, 3, 3))
    return padded[:, :, dy : dy + 32, dx : dx + 32].contiguous(memory_format=torch.channels_last)


def train(net, images, y, *, epochs=EPOCHS, rate=RATE, seed=0, state=None, say=None):
    """Train a network; where `state` names a file, it goes on from that epoch."""
    y = torch.as_tensor(y)
    optimizer = torch.optim.SGD(
        net.parameters(), lr=rate, momentum=0.9, weight_decay=DECAY, nesterov=True
    )
    steps = epochs * -(-len(y) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, rate, total_steps=steps, pct_start=0.25, cycle_momentum=False
    )
    parts, done = {"network": net, "optimizer": optimizer, "schedule": schedule}, 0
    if state is not None and state.exists():
        kept = torch.load(state, weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(kept[name])
        done = kept["epochs"]
    for epoch in range(done, epochs):
        source = torch.Generator().manual_seed(1000 * seed + epoch)
        start = time.process_time()
        net.train()
        for rows in torch.randperm(len(y), generator=source).split(BATCH):
            x = shifted(normalized(images[rows.numpy()]), source)
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x), y[rows], label_smoothing=0.05).backward()
            optimizer.step()
            schedule.step()
        if state is not None:
            kept = {name: part.state_dict() for name, part in parts.items()}
            torch.save(kept | {"epochs": epoch + 1}, state.with_suffix(".part"))
            state.with_suffix(".part").replace(state)
        if say is not None:
            say(f"  epoch {epoch + 1}: {time.process_time() - start:.0f} s of the processor")
    return net.eval()


def features(net, images):
    """(n, 128) activations before the last layer, and (n, n_classes) logits, float32."""
    found, outputs = [], []
    with torch.no_grad():
        for start in range(0, len(images), 500):
            rows = net[:-1](normalized(images[start : start + 500]))
            found.append(rows)
            outputs.append(net[-1](rows))
    return torch.cat(found).numpy(), torch.cat(outputs).numpy()


def rows(data):
    """Features and logits of all images, and the network's weights, made once.

    A dict of arrays `train`, `test` (n, 128), `train_logits`, `test_logits` (n, 10), `y`, `y_test`
    and, by the names of its state with "net." before them, the weights.
    """
    shared = Data(data.folder, "cifar10", out=data.out)

    def make():
        images = data.load("cifar10")
        state = data.folder / "kept" / "cifar10" / f"network-{N_SEEN}-{EPOCHS}.pt"
        state.parent.mkdir(parents=True, exist_ok=True)
        net = train(network(), images.X[:N_SEEN], images.y[:N_SEEN], state=state, say=data.say)
        made = {"y": images.y, "y_test": images.y_test}
        for name, X in (("train", images.X), ("test", images.X_test)):
            made[name], made[f"{name}_logits"] = features(net, X)
        weights = {f"net.{name}": value.numpy() for name, value in net.state_dict().items()}
        return made | weights

    return shared.kept("features", make, seen=N_SEEN, epochs=EPOCHS, batch=BATCH, rate=RATE)


def trained(found):
    """The network of `rows`."""
    net = network()
    weights = {
        name.removeprefix("net."): torch.as_tensor(value)
        for name, value in found.items()
        if name.startswith("net.")
    }
    net.load_state_dict(weights)
    return net.eval()


def unseen(found, n_per_class, seed, classes=range(10)):
    """Positions of random training images that the network has not seen, as many of each class."""
    rng = np.random.default_rng(seed)
    y = found["y"]
    chosen = [
        rng.choice(np.flatnonzero(y[N_SEEN:] == c) + N_SEEN, n_per_class, replace=False)
        for c in classes
    ]
    return np.sort(np.concatenate(chosen))
