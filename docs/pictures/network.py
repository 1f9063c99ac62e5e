"""Draws the picture of a network's predictions and the training rows behind them.

    python docs/pictures/network.py

Trains a small CNN on 10,000 images of Fashion-MNIST (SKATTRIB_FASHION_MNIST: a folder of its idx
files; by default where Debian's dataset-fashion-mnist puts them), half a minute on one thread.
"""

import gzip
import io
import os
from pathlib import Path

import matplotlib
import numpy as np
import torch
from PIL import Image
from sklearn.pipeline import make_pipeline
from torch import nn

from skattrib import InfluenceExplainer, LinearHead
from skattrib.torch_adapters import TorchFeatures

matplotlib.use("agg")

PLACE = Path(__file__).with_name("network.png")
NAMES = (
    *("T-shirt", "trouser", "pullover", "dress", "coat"),
    *("sandal", "shirt", "sneaker", "bag", "boot"),
)
RAISES, LOWERS = "#1f4e99", "#b03030"


def clothes(part, n):
    """Images (n, 1, 28, 28) in 0..1 and labels."""
    folder = Path(os.environ.get("SKATTRIB_FASHION_MNIST", "/usr/share/datasets/fashion-mnist"))
    with gzip.open(folder / f"{part}-images-idx3-ubyte.gz") as file:
        X = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 1, 28, 28)[:n]
    with gzip.open(folder / f"{part}-labels-idx1-ubyte.gz") as file:
        y = np.frombuffer(file.read(), np.uint8, offset=8)[:n]
    return X.astype(np.float32) / 255, y.astype(np.int64)


class Network(nn.Module):
    """A CNN with a head of 64 features."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(12, 24, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(1176, 64), nn.ReLU(),
        )  # fmt: skip
        self.fc = nn.Linear(64, 10)

    def forward(self, x):
        """Logits."""
        return self.fc(self.body(x))


def trained(X, y, epochs=8):
    """The network after some epochs."""
    torch.manual_seed(0)
    net, X, y = Network(), torch.from_numpy(X), torch.from_numpy(y)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    for _ in range(epochs):
        for rows in torch.randperm(len(X)).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(X[rows]), y[rows]).backward()
            optimizer.step()
    return net


def show(ax, image, text, color, edge):
    """One image with a line of text above."""
    ax.imshow(image[0], cmap="gray_r", interpolation="nearest")
    ax.set(xticks=[], yticks=[])
    ax.set_title(text, fontsize=7, color=color, pad=2)
    for spine in ax.spines.values():
        spine.set(color=edge, linewidth=1.2)


def main():
    """Train, explain, draw."""
    from matplotlib import pyplot

    images, labels = clothes("train", 10_000)
    new, new_labels = clothes("t10k", 1_000)
    net = trained(images, labels)

    features = TorchFeatures(net, "fc", at="input")
    weight, bias = (p.detach().numpy() for p in (net.fc.weight, net.fc.bias))
    head = LinearHead(weight, bias, temperature=2.0)
    pipeline = make_pipeline(features, InfluenceExplainer(head)).fit(images, labels)
    predicted = pipeline.predict(new)
    print(f"accuracy {np.mean(predicted == new_labels):.3f}")

    wrong = np.flatnonzero(predicted != new_labels)
    right = np.flatnonzero(predicted == new_labels)
    # one that is right, and two mistakes that tell something
    shown = [right[1], wrong[2], wrong[13]]
    x, k = features.transform(new[shown]), 5
    sides = [pipeline[-1].top_k(x, k=k, largest=largest) for largest in (True, False)]

    figure, axes = pyplot.subplots(
        len(shown),
        2 * k + 3,
        figsize=(10, 3.6),
        width_ratios=[1.25, 0.15, *[1] * k, 0.15, *[1] * k],
    )
    for line, j in zip(axes, shown, strict=True):
        for ax in (line[1], line[k + 2]):
            ax.set_axis_off()
        is_right = predicted[j] == new_labels[j]
        text = f"predicted {NAMES[predicted[j]]}"
        text += "" if is_right else f",\nlabelled {NAMES[new_labels[j]]}"
        show(line[0], new[j], text, "black", "black")
    for (values, rows), start, color in zip(sides, (2, k + 3), (RAISES, LOWERS), strict=True):
        for line, own, at in zip(axes, values, rows, strict=True):
            for ax, value, row in zip(line[start : start + k], own, at, strict=True):
                show(ax, images[row], f"{NAMES[labels[row]]} {value:+.2f}", color, color)
    figure.subplots_adjust(left=0.01, right=0.99, top=0.86, bottom=0.01, wspace=0.08, hspace=0.45)
    heads = ((0, "test image"), (2, "training images that raise the prediction"))
    for at, text in (*heads, (k + 3, "training images that lower it")):
        place = axes[0][at].get_position().x0
        figure.text(place, 0.95, text, fontsize=9, weight="bold")
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=110)
    # a palette: half the bytes
    Image.open(drawn).convert("RGB").quantize(48).save(PLACE, optimize=True)


if __name__ == "__main__":
    main()
