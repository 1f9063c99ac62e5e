"""The networks that the papers' tables explain, in torch, as classifiers of scikit-learn's kind."""

import io
from functools import partial

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from torch import nn

from skattrib.torch_adapters import last_layer

from .data import Data

# of pixels in [0, 1]
STATISTICS = {"mnist": (0.1307, 0.3081), "cifar10": (0.4734, 0.2516)}
SHAPES = {"mnist": (28, 28, 1), "cifar10": (32, 32, 3)}


def convolutions(n_classes):
    """DualView's network for MNIST: 3 convolutions, 3 dense layers, no biases, 100 features."""
    linear, conv = partial(nn.Linear, bias=False), partial(nn.Conv2d, bias=False)
    return nn.Sequential(
        *(conv(1, 5, 3), nn.ReLU(), conv(5, 10, 3), nn.ReLU(), conv(10, 5, 3), nn.ReLU()),
        *(nn.Flatten(), linear(2420, 500), nn.ReLU(), linear(500, 100), nn.ReLU()),
        linear(100, n_classes),
    )


class Block(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, n_in, n_out, stride):
        super().__init__()
        self.first = nn.Sequential(
            nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False), nn.BatchNorm2d(n_out), nn.ReLU()
        )
        self.second = nn.Sequential(
            nn.Conv2d(n_out, n_out, 3, 1, 1, bias=False), nn.BatchNorm2d(n_out)
        )
        same = stride == 1 and n_in == n_out
        self.shortcut = nn.Identity() if same else nn.Conv2d(n_in, n_out, 1, stride, bias=False)

    def forward(self, x):
        """As residual networks do."""
        return torch.relu(self.second(self.first(x)) + self.shortcut(x))


def residual(n_classes, width=16):
    """A residual net of 8 layers and 64 features, in the place of ResNet-18's 18 and 512."""
    return nn.Sequential(
        *(nn.Conv2d(3, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()),
        *(Block(width, width, 1), Block(width, 2 * width, 2), Block(2 * width, 4 * width, 2)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4 * width, n_classes)),
    )


NETWORKS = {"mnist": convolutions, "cifar10": residual}


def images(X, kind):
    """Standardized images (n, channels, height, width) of rows of pixels in [0, 1]."""
    mean, deviation = STATISTICS[kind]
    X = torch.as_tensor(np.asarray(X, np.float32)).reshape(-1, *SHAPES[kind])
    X = ((X - mean) / deviation).permute(0, 3, 1, 2)
    return X.contiguous(memory_format=torch.channels_last)


def pixels(X):
    """Rows of pixels in [0, 1] of images of bytes."""
    return X.reshape(len(X), -1).astype(np.float32) / 255


class NetworkClassifier(ClassifierMixin, BaseEstimator):
    """A network trained on rows of pixels in [0, 1], by momentum and one cycle of the rate."""

    def __init__(
        self, kind="mnist", epochs=10, rate=0.05, batch=64, decay=0.0, checkpoints=2, random_state=0
    ):
        self.kind = kind
        self.epochs = epochs
        self.rate = rate
        self.batch = batch
        self.decay = decay
        self.checkpoints = checkpoints
        self.random_state = random_state

    def fit(self, X, y):
        """Trains; keeps states at equal distances, and the learning rates summed up to each."""
        self.classes_, codes = np.unique(y, return_inverse=True)
        X, y = images(X, self.kind), torch.as_tensor(codes)
        torch.manual_seed(self.random_state)
        net = NETWORKS[self.kind](len(self.classes_)).to(memory_format=torch.channels_last)
        optimizer = torch.optim.SGD(
            net.parameters(), lr=self.rate, momentum=0.9, weight_decay=self.decay
        )
        steps = self.epochs * -(-len(y) // self.batch)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, self.rate, total_steps=steps, pct_start=0.2, cycle_momentum=False
        )
        kept = {self.epochs * i // (self.checkpoints + 1) for i in range(1, self.checkpoints + 1)}
        self.states_, self.rates_, total = [], [], 0.0
        for epoch in range(1, self.epochs + 1):
            for rows in torch.randperm(len(y)).split(self.batch):
                optimizer.zero_grad()
                nn.functional.cross_entropy(net(X[rows]), y[rows]).backward()
                total += optimizer.param_groups[0]["lr"]
                optimizer.step()
                schedule.step()
            if epoch in kept | {self.epochs}:
                self.states_.append({k: v.detach().clone() for k, v in net.state_dict().items()})
                self.rates_.append(total)
                total = 0.0
        self.network_ = net.eval()
        return self

    def decision_function(self, X):
        """Logits (n, n_classes) in float64."""
        with torch.no_grad():
            found = [self.network_(part) for part in images(X, self.kind).split(256)]
        return torch.cat(found).double().numpy()

    def predict(self, X):
        """Labels."""
        return self.classes_[self.decision_function(X).argmax(axis=1)]

    def batches(self, X, labels):
        """Batches of images and codes of labels, for the adapters."""
        codes = torch.as_tensor(np.searchsorted(self.classes_, labels))
        return list(zip(images(X, self.kind).split(100), codes.split(100), strict=True))

    def head(self, X, labels):
        """Last layer and its inputs."""
        return last_layer(self.network_, self.batches(X, labels))

    def packed(self):
        """Arrays to keep."""
        buffer = io.BytesIO()
        torch.save({"states": self.states_, "rates": self.rates_}, buffer)
        return {"network": np.frombuffer(buffer.getvalue(), np.uint8), "classes": self.classes_}

    def unpacked(self, arrays):
        """The fitted classifier of such arrays."""
        found = torch.load(io.BytesIO(arrays["network"].tobytes()), weights_only=True)
        self.classes_, self.states_, self.rates_ = arrays["classes"], *found.values()
        net = NETWORKS[self.kind](len(self.classes_))
        net.load_state_dict(self.states_[-1])
        self.network_ = net.to(memory_format=torch.channels_last).eval()
        return self


def trained(data, name, estimator, X, y):
    """The classifier fitted to these rows, kept under a name that tells which they are."""
    settings = {**estimator.get_params(), "rows": len(y)}
    shared = Data(data.folder, "networks", data.out)
    return estimator.unpacked(shared.kept(name, lambda: estimator.fit(X, y).packed(), **settings))
