"""Small networks of images and tokens with explainers of their features, for tests of maps."""

import numpy as np
import torch
from torch import nn

from skattrib import DualViewExplainer, RepresenterExplainer

N, K = 24, 3


class Skip(nn.Module):
    """Batch norm behind convolutions with and without bias, a skip connection, ReLU in place."""

    def __init__(self, channels=1, inplace=True):
        super().__init__()
        self.stem, self.norm1 = nn.Conv2d(channels, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.conv, self.norm2 = nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.relu, self.drop = nn.ReLU(inplace=inplace), nn.Dropout(0.5)
        for norm in (self.norm1, self.norm2):
            nn.init.normal_(norm.running_mean)
            nn.init.uniform_(norm.running_var, 0.5, 2.0)
            nn.init.normal_(norm.bias)

    def forward(self, x):
        x = self.relu(self.norm1(self.stem(x)))
        y = self.norm2(self.conv(x))
        y += x
        return self.drop(self.relu(y)).mean((2, 3))


def plain(channels=1, inplace=False):
    """Convolutions, pools and linear layers."""
    return nn.Sequential(
        nn.Conv2d(channels, 4, 3, padding=1),
        nn.ReLU(inplace=inplace),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 6, 3),
        nn.ReLU(inplace=inplace),
        nn.AvgPool2d(2, 1),
        nn.Flatten(),
        nn.Linear(6, 8),
        nn.ReLU(inplace=inplace),
    )


class Tokens(nn.Module):
    """A mean of transformed embeddings over what a mask leaves."""

    def __init__(self):
        super().__init__()
        self.embed, self.place = nn.Embedding(11, 6), nn.Embedding(5, 6)
        self.inner, self.outer = nn.Linear(6, 8), nn.Linear(8, 5)

    def forward(self, tokens, mask):
        hidden = self.embed(tokens) + self.place(torch.arange(tokens.shape[1]))
        hidden = self.outer(nn.functional.gelu(self.inner(hidden)))
        return (hidden * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)


def images(channels=1, n=N, seed=0):
    """Images with values of both signs."""
    return torch.randn(n, channels, 8, 8, generator=torch.Generator().manual_seed(seed))


def token_rows(n=N, seed=0):
    """Token ids and a mask."""
    source = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, 11, (n, 5), generator=source)
    mask = torch.arange(5) < torch.randint(2, 6, (n, 1), generator=source)
    return ids, mask.float()


def rows_of(net, *inputs):
    """Features, by hand."""
    was = net.training
    net.eval()
    with torch.no_grad():
        rows = net(*inputs).numpy()
    net.train(was)
    return rows


def built(make, seed=0, double=False):
    """A network in training mode, so that forgetting ``eval()`` shows."""
    torch.manual_seed(seed)
    net = make().train()
    return net.double() if double else net


class Case:
    """A network, inputs, an explainer of its features, and pairs."""

    def __init__(self, make=plain, channels=1, explainer=None, double=False, n_classes=K, m=3, k=2):
        self.net = built(lambda: make(channels), double=double)
        self.X_train = images(channels).to(torch.float64 if double else torch.float32)
        self.X = images(channels, m, seed=1).to(self.X_train)
        self.y = np.arange(N) % n_classes
        self.phi, self.phi_train = rows_of(self.net, self.X), rows_of(self.net, self.X_train)
        self.explainer = explainer or RepresenterExplainer(C=0.1)
        self.explainer.fit(self.phi_train, self.y)
        self.values, self.indices = self.explainer.top_k(self.phi, k=k)

    def arguments(self):
        """The first five of pixel_maps."""
        return self.explainer, self.net, self.X, self.X_train, self.indices


def coefficients(case, target=None):
    """v_j . alpha_i of the pairs, from attributions over inner products."""
    T = case.explainer.attribute(case.phi, target)
    T = T.toarray() if hasattr(T, "toarray") else T
    products = case.phi.astype(float) @ case.phi_train.astype(float).T
    j = np.arange(len(case.phi))[:, None]
    return (T / products)[j, case.indices]


def dual_view():
    """The explainer with rows that have no coefficient."""
    return DualViewExplainer(C=1.0, sparse_output=False, random_state=0)
