"""CIFAR-10N: rows that harm the loss on clean rows are removed, and a network is trained again."""

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import nn

from skattrib import (
    DualViewExplainer,
    InfluenceExplainer,
    LinearHead,
    SimilarityExplainer,
    TRAKExplainer,
)
from skattrib.torch_adapters import dropout_states, gradient_rows, last_layer, losses

NOISES = {"aggregate": "aggre_label", "random": "random_label1", "worst": "worse_label"}
N_TRAIN, N_VALIDATION, SIDE = 3000, 500, 16
EPOCHS, BATCH, RATE, DECAY = 8, 100, 0.1, 5e-4
COPIES, CHECKPOINTS, WIDTH = 5, 3, 2048
SEEDS = 2
RANKED_ONLY = ("LiSSA, last layer", "exact influence, last layer", "IP, last layer")


class Block(nn.Module):
    """Two convolutions, and what goes around them."""

    def __init__(self, before, after, stride):
        super().__init__()
        self.inside = nn.Sequential(
            nn.Conv2d(before, after, 3, stride, 1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(),
            nn.Conv2d(after, after, 3, 1, 1, bias=False),
            nn.BatchNorm2d(after),
        )
        same = before == after and stride == 1
        self.around = nn.Identity() if same else nn.Conv2d(before, after, 1, stride, bias=False)

    def forward(self, x):
        """Rows of channels."""
        return torch.relu(self.inside(x) + self.around(x))


def network(seed):
    """A residual network of seven convolutions and 77,000 parameters."""
    torch.manual_seed(seed)
    net = nn.Sequential(
        nn.Conv2d(3, 16, 3, 1, 1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        Block(16, 16, 1),
        Block(16, 32, 2),
        Block(32, 64, 2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, 10),
    )
    return net.to(memory_format=torch.channels_last)


def train(X, y, seed):
    """(network, states at a few epochs, learning rates summed before each)."""
    net, source = network(seed), torch.Generator().manual_seed(seed)
    X = torch.as_tensor(X).contiguous(memory_format=torch.channels_last)
    y = torch.as_tensor(y)
    optimizer = torch.optim.SGD(
        net.parameters(), lr=RATE, momentum=0.9, weight_decay=DECAY, nesterov=True
    )
    steps = EPOCHS * -(-len(y) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, RATE, total_steps=steps, pct_start=0.3, cycle_momentum=False
    )
    wanted = np.linspace(EPOCHS / CHECKPOINTS, EPOCHS, CHECKPOINTS).round()
    states, rates, total = [], [], 0.0
    net.train()
    for epoch in range(1, EPOCHS + 1):
        for rows in torch.randperm(len(y), generator=source).split(BATCH):
            flipped = torch.rand(len(rows), generator=source) < 0.5
            images = torch.where(flipped[:, None, None, None], X[rows].flip(3), X[rows])
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(images), y[rows]).backward()
            total += optimizer.param_groups[0]["lr"]
            optimizer.step()
            schedule.step()
        if epoch in wanted:
            states.append({name: t.detach().clone() for name, t in net.state_dict().items()})
            rates.append(total)
            total = 0.0
    return net.eval(), states, rates


def accuracy(net, X, y):
    """Of a trained network."""
    with torch.no_grad():
        found = torch.cat([net(part).argmax(dim=1) for part in torch.as_tensor(X).split(500)])
    return float((found.numpy() == y).mean())


def pictures(X):
    """(n, 3, SIDE, SIDE) of mean 0 and variance 1, from bytes (n, 32, 32, 3)."""
    factor = 32 // SIDE
    X = X.reshape(len(X), SIDE, factor, SIDE, factor, 3).mean(axis=(2, 4), dtype=np.float32)
    return np.ascontiguousarray((X.transpose(0, 3, 1, 2) / 255 - 0.473) / 0.24)


def rows_of(data, noise, seed):
    """(X, y noisy, y clean, X validation, y validation, X test, y test)."""
    images, human = data.load("cifar10"), data.load("cifar10n")
    clean, noisy = human["clean_label"], human[NOISES[noise]]
    if not np.array_equal(clean, images.y):
        raise ValueError("the human labels are of other rows than the images")
    order = np.random.default_rng(seed).permutation(len(clean))
    some, validation = order[:N_TRAIN], order[N_TRAIN : N_TRAIN + N_VALIDATION]
    return (
        *(pictures(images.X[some]), noisy[some], clean[some]),
        *(pictures(images.X[validation]), clean[validation]),
        *(pictures(images.X_test), images.y_test),
    )


def batches(X, y):
    """In the order of the rows."""
    return list(zip(torch.as_tensor(X).split(100), torch.as_tensor(y).split(100), strict=True))


def harms(net, states, rates, X, y, X_validation, y_validation, seed):
    """Name -> how much each training row raises the loss on the validation rows."""
    rows, others = batches(X, y), batches(X_validation, y_validation)

    def gradients(part, **options):
        """Of the loss, side by side for several states."""
        return gradient_rows(net, part, k=WIDTH, **options)

    def both(**options):
        """Of training and validation rows."""
        return gradients(rows, **options), gradients(others, **options)

    def products(train, test, columns=slice(None)):
        """Summed over the validation rows."""
        own, of_test = (np.ascontiguousarray(part.X[:, columns]) for part in (train, test))
        return SimilarityExplainer().fit(own, train.y).aggregate(of_test)

    def trak():
        own, test = gradients(rows, output="log_odds"), gradients(others)
        p = own.label_probabilities
        return TRAKExplainer().fit(own.X, own.y, probabilities=p).aggregate(test.X)

    head, test = last_layer(net, rows), last_layer(net, others)

    def influence(inverse):
        last = LinearHead(head.coef, head.intercept, temperature=2.0)
        explainer = InfluenceExplainer(last, inverse=inverse, random_state=0).fit(head.X, head.y)
        target = explainer.target_weights(test.X, "loss", test.y)
        return explainer.aggregate(test.X, target)

    def dual_view():
        explainer = DualViewExplainer(random_state=0).fit(head.X, head.y)
        target = explainer.target_weights(test.X, "margin", test.y)
        return explainer.aggregate(test.X, target)

    copies = dropout_states(net, COPIES, random_state=seed)
    path = both(states=states, weights=rates)
    effects = {
        # the last state is the network; its learning rate changes no order
        "IP": lambda: products(*path, slice(-WIDTH, None)),
        "IP-Ensemble": lambda: products(*both(states=copies, weights=[1 / COPIES] * COPIES)),
        "TracIn": lambda: products(*path),
        "TRAK": trak,
        "EK-FAC, last layer": lambda: influence("ekfac"),
        "DataInf, last layer": lambda: influence("datainf"),
        "LiSSA, last layer": lambda: influence("lissa"),
        "exact influence, last layer": lambda: influence("cholesky"),
        "IP, last layer": lambda: influence("identity"),
        "DualView, last layer": dual_view,
    }
    found = {"cross entropy": losses(net, rows).X[:, 0]}
    found |= {name: -effect() for name, effect in effects.items()}
    return found | {"random": np.random.default_rng(seed).random(len(y))}


class Study:
    """What both cells of some labels and a seed begin with."""

    def __init__(self, data, noise, seed):
        torch.set_num_threads(1)
        torch.set_flush_denormal(True)
        self.data, self.seed = data, seed
        self.rows = rows_of(data, noise, seed)
        self.wrong = self.rows[1] != self.rows[2]
        self.settings = {
            "noise": noise,
            "seed": seed,
            "rows": N_TRAIN,
            "validation_rows": N_VALIDATION,
            "side": SIDE,
            "epochs": EPOCHS,
        }
        self.by_method = data.kept("harms", self._harms, **self.settings)
        self.full = float(self.by_method.pop("full"))

    def _harms(self):
        X, y, _, X_validation, y_validation, X_test, y_test = self.rows
        net, states, rates = train(X, y, self.seed)
        found = harms(net, states, rates, X, y, X_validation, y_validation, self.seed)
        return found | {"right labels known": self.wrong, "full": accuracy(net, X_test, y_test)}

    def removed(self, method):
        """The most harmful rows, as many as are wrong."""
        order = np.argsort(-self.by_method[method].astype(float), kind="stable")
        return order[: self.wrong.sum()]

    def ranking(self):
        """Name -> how well wrong labels are found."""
        return {
            method: {
                "auc": float(roc_auc_score(self.wrong, harm)),
                "precision": float(self.wrong[self.removed(method)].mean()),
            }
            for method, harm in self.by_method.items()
        }

    def without(self, method):
        """Accuracy without the rows that a method removes."""
        X, y, *_, X_test, y_test = self.rows
        kept = np.delete(np.arange(len(y)), self.removed(method))

        def again():
            net = train(X[kept], y[kept], self.seed)[0]
            return {"accuracy": accuracy(net, X_test, y_test)}

        found = self.data.kept("again", again, method=method, **self.settings)
        return {"accuracy": float(found["accuracy"])}


def ranking(noise, seed):
    """A cell: how well each method finds wrong labels."""

    def cell(data):
        study = Study(data, noise, seed)
        about = {"wrong": float(study.wrong.mean()), "full": study.full}
        return study.settings | about | {"methods": study.ranking()}

    return cell


def removal(noise, seed):
    """A cell: accuracy without the rows that each method removes."""

    def cell(data):
        study = Study(data, noise, seed)
        names = [name for name in study.by_method if name not in RANKED_ONLY]
        return study.settings | {"methods": {name: study.without(name) for name in names}}

    return cell


CELLS = {
    f"cifar10n-{noise}-{seed}-{kind}": cell(noise, seed)
    for seed in range(SEEDS)
    for kind, cell in (("ranking", ranking), ("removal", removal))
    for noise in NOISES
}
