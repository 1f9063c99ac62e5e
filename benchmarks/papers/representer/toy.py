"""Appendix B: two far clusters, where the loss is flat and influence of the loss is zero."""

import numpy as np
import torch
from sklearn.datasets import make_blobs
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from skattrib import InfluenceExplainer, LinearHead, RepresenterExplainer

N_HIDDEN, STEPS, RATE, DECAY = 256, 3000, 0.001, 0.001
# below, as good as nothing
TINY = 1e-12


def clusters(scale):
    """The authors' toy rows: blobs that are pulled apart, then scaled."""
    X, y = make_blobs(n_samples=1000, n_features=2, centers=2, random_state=1, cluster_std=1)
    X = StandardScaler().fit_transform(X + 2 * np.random.RandomState(2).uniform(size=X.shape))
    X += np.where(y == 1, 6, -6)[:, None]
    parts = train_test_split(X * scale, y, test_size=0.4, random_state=42)
    return [part.astype(np.float32) if part.ndim == 2 else part for part in parts]


def trained(X, y):
    """A network of two hidden layers, the last of 256 units."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Linear(2, N_HIDDEN),
        torch.nn.ReLU(),
        torch.nn.Linear(N_HIDDEN, N_HIDDEN),
        torch.nn.ReLU(),
        torch.nn.Linear(N_HIDDEN, 2),
    )
    # the authors' Adam, with weights in the loss
    optimizer = torch.optim.Adam(net.parameters(), lr=RATE)
    X, y = torch.as_tensor(X), torch.as_tensor(y)
    for _ in range(STEPS):
        optimizer.zero_grad()
        weights = sum((p**2).sum() / 2 for name, p in net.named_parameters() if "weight" in name)
        (torch.nn.functional.cross_entropy(net(X), y) + DECAY * weights).backward()
        optimizer.step()
    return net.eval()


def measured(scale):
    """Largest values of both, and what their top rows are."""
    X, X_test, y, y_test = clusters(scale)
    net = trained(X, y)
    with torch.no_grad():
        rows, tests = (net[:-1](torch.as_tensor(part)).numpy() for part in (X, X_test))
        probabilities = torch.softmax(net(torch.as_tensor(X_test)), 1).numpy()
    head = LinearHead(net[-1].weight.detach().numpy(), net[-1].bias.detach().numpy())
    influence = InfluenceExplainer(head, damping=1e-2).fit(rows, y)
    representer = RepresenterExplainer(FrozenEstimator(head), C=1 / (2 * 0.003 * len(y)))
    representer.fit(rows, y)
    own = InfluenceExplainer().fit(rows, y)
    loss = influence.target_weights(tests, "loss", y_test)
    odds = influence.target_weights(tests, "log_odds", y_test)
    values = {
        "influence on the loss": influence.attribute(tests, loss),
        "influence on the log-odds": influence.attribute(tests, odds),
        "influence on the loss, head fitted again": own.attribute(
            tests, own.target_weights(tests, "loss", y_test)
        ),
        "representer points": representer.attribute(tests, y_test),
    }
    # as the network's own float32 has it: a probability of 1 leaves no gradient
    flat = probabilities[np.arange(len(y_test)), y_test] == 1
    each = {}
    for name, T in values.items():
        peak = np.abs(T).max(axis=1)
        top = np.abs(T).argmax(axis=1)
        each[name] = {
            "largest": np.percentile(peak, [0, 50, 100]).tolist(),
            "tiny": float((peak < TINY).mean()),
            "zero": float((peak == 0).mean()),
            "top_of_class": float((y[top] == y_test).mean()),
            "distance_of_top": float(np.mean(np.linalg.norm(X[top] - X_test, axis=1)) / scale),
        }
    return {
        "methods": each,
        "flat_in_float32": float(flat.mean()),
        "accuracy": float((probabilities.argmax(1) == y_test).mean()),
        "scale": scale,
        "n": len(y),
        "n_test": len(y_test),
    }


CELLS = {f"toy_{scale}": (lambda data, scale=scale: measured(scale)) for scale in (1, 10, 100)}
