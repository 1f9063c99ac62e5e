"""
Which pixels tie two images together
====================================

A small torch network is trained here, DualView names the training images behind one of its errors,
and maps over the pixels say which parts of them did it.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

from skattrib import DualViewExplainer
from skattrib.metrics import deletion
from skattrib.plots import PixelMapDisplay
from skattrib.torch_adapters import TorchFeatures, pixel_maps

images, labels = load_digits(return_X_y=True)
images = torch.tensor(images / 16, dtype=torch.float32).reshape(-1, 1, 8, 8)
train, y_train, test, y_test = images[:1200], labels[:1200], images[1200:], labels[1200:]

torch.manual_seed(0)
net = nn.Sequential(
    nn.Conv2d(1, 16, 3, padding=1),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Flatten(),
    nn.Linear(256, 32),
    nn.ReLU(),
    nn.Linear(32, 10),
)
optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
for _ in range(10):
    for rows in torch.randperm(len(train)).split(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(train[rows]), torch.tensor(y_train)[rows]).backward()
        optimizer.step()

# %%
# The explainer sees what goes into the last layer. It follows the network where it is right and
# where it is wrong, and its strongest rows are those that hold the boundary.
features = TorchFeatures(net, "6", at="input")
explainer = DualViewExplainer(tol=1e-8, random_state=0).fit(features.transform(train), y_train)
X = features.transform(test)
predicted = net(test).argmax(1).numpy()
agreed = np.mean(explainer.predict(X) == predicted)
print(f"accuracy {np.mean(predicted == y_test):.3f}, head and network agree on {agreed:.1%}")

wrong = np.flatnonzero((predicted != y_test) & (explainer.predict(X) == predicted))[:1]
values, rows = explainer.top_k(X[wrong], k=4)
print(f"a {y_test[wrong][0]} is taken for a {predicted[wrong][0]}")
print("because of images labelled", y_train[rows[0]])

# %%
# The attribution of a pair is sent back through the network to the pixels of both. Blue pixels
# raise it, red ones lower it.
maps = pixel_maps(explainer, features, test[wrong], train, rows, first="flat", bias=False)
PixelMapDisplay.from_result(maps, 0, y_train=y_train)
plt.show()

# %%
# Are these the pixels that matter? Blank the highest tenth of them in the training images: the less
# is left of the attributions, the better the map. Random pixels are the chance to compare with.
directions = explainer.directions(X[wrong], rows, side="train")[0]


def attributions(images):
    """Of the four training images, whatever is blanked in them."""
    return (directions * features.transform(images.astype(np.float32))).sum(axis=1)


chance = np.random.default_rng(0).random(maps.train[0].shape)
for name, map_ in (("these maps", maps.train[0]), ("random pixels", chance)):
    left = deletion(map_, maps.train_inputs[0], attributions, channel_axis=1).left[0]
    print(f"{name}: {left:.0%} of the attribution is left")
