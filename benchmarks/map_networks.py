"""A plain and a residual network of Fashion-MNIST, trained on 10,000 rows, with explainers."""

import gzip
import os
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import nn

from skattrib import DualViewExplainer

N, N_TEST = 10_000, 2_000
CLASSES = np.array(
    "T-shirt trouser pullover dress coat sandal shirt sneaker bag boot".split()  # noqa: SIM905
)


def images_of(part, n):
    """Images (n, 1, 28, 28) in 0..1 and labels."""
    folder = Path(os.environ.get("SKATTRIB_FASHION_MNIST", "/usr/share/datasets/fashion-mnist"))
    with gzip.open(folder / f"{part}-images-idx3-ubyte.gz") as file:
        X = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 1, 28, 28)[:n]
    with gzip.open(folder / f"{part}-labels-idx1-ubyte.gz") as file:
        y = np.frombuffer(file.read(), np.uint8, offset=8)[:n]
    return torch.tensor(X / np.float32(255)), y.astype(np.int64)


class Block(nn.Module):
    """Two convolutions with batch norm beside a short way."""

    def __init__(self, inside, out, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inside, out, 3, stride, 1, bias=False)
        self.norm1, self.relu = nn.BatchNorm2d(out), nn.ReLU(inplace=True)
        self.conv2, self.norm2 = nn.Conv2d(out, out, 3, 1, 1, bias=False), nn.BatchNorm2d(out)
        short = nn.Conv2d(inside, out, 1, stride, bias=False), nn.BatchNorm2d(out)
        self.short = nn.Identity() if inside == out else nn.Sequential(*short)

    def forward(self, x):
        y = self.norm2(self.conv2(self.relu(self.norm1(self.conv1(x)))))
        y += self.short(x)
        return self.relu(y)


def plain():
    """Its features; 128 of them."""
    return nn.Sequential(
        *(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(32 * 49, 128), nn.ReLU()),
    )


def residual():
    """Its features; 64 of them."""
    return nn.Sequential(
        *(nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(inplace=True)),
        *(Block(16, 16, 1), Block(16, 32, 2), Block(32, 64, 2)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    )


class Setup:
    """A trained network without its last layer, images, and DualView on its features."""

    def __init__(self, make):
        torch.manual_seed(0)
        self.features = make()
        width = 128 if make is plain else 64
        self.net = nn.Sequential(self.features, nn.Linear(width, 10))
        self.X, self.y = images_of("train", N)
        self.X_test, self.y_test = images_of("t10k", N_TEST)
        self._train(6 if make is plain else 4)
        self.phi, self.phi_test = self.rows(self.X), self.rows(self.X_test)
        self.explainer = DualViewExplainer(random_state=0).fit(self.phi, self.y)

    def _train(self, epochs):
        optimizer = torch.optim.Adam(self.net.parameters(), 1e-3)
        y = torch.tensor(self.y)
        for _ in range(epochs):
            for part in torch.randperm(N).split(64):
                optimizer.zero_grad()
                nn.functional.cross_entropy(self.net(self.X[part]), y[part]).backward()
                optimizer.step()
        self.net.eval()

    @torch.no_grad()
    def rows(self, X):
        """Features of images."""
        return torch.cat([self.features(part) for part in X.split(500)]).numpy()

    @torch.no_grad()
    def accuracy(self):
        """On test rows."""
        codes = torch.cat([self.net(part).argmax(1) for part in self.X_test.split(500)])
        return float((codes.numpy() == self.y_test).mean())

    def arguments(self, rows, k, largest=True):
        """The first five of pixel_maps, of test rows and their strongest proponents."""
        _, indices = self.explainer.top_k(self.phi_test[rows], k=k, largest=largest)
        return self.explainer, self.features, self.X_test[rows], self.X, indices


@cache
def setup(name):
    """One of both, trained once."""
    return Setup({"plain": plain, "residual": residual}[name])
