"""The explainers of the papers' tables, on rows of one network: features, gradients, or given."""

import time
from functools import cache, partial
from types import SimpleNamespace

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.frozen import FrozenEstimator

from skattrib import (
    DualViewExplainer,
    InfluenceExplainer,
    LinearHead,
    RepresenterExplainer,
    SimilarityExplainer,
    TRAKExplainer,
)
from skattrib.torch_adapters import gradient_rows

# the papers' depth is that of an epoch and more, repeated 10 times
LISSA = {"depth": 1000, "batch_size": 32, "repeats": 1}


class LossInfluence(InfluenceExplainer):
    """Influence on the loss of the explained class, as the papers have it, for logits."""

    def fit(self, X, y):
        """Keeps the rows for the self-influence."""
        self._rows = X, y
        return super().fit(X, y)

    @property
    def self_influence_(self):
        """By LiSSA from one solve a row, where the package takes one a class for each."""
        if self.inverse == "lissa":
            return np.diagonal(self.attribute(*self._rows))
        return super().self_influence_

    def attribute(self, X, target=None, *, out=None):
        """Attributions to minus the loss."""
        return super().attribute(X, self.target_weights(X, "loss", target), out=out)


class Given(BaseEstimator):
    """Attributions that are at hand: its rows are their own places, one column of 0, 1, 2, ..."""

    def __init__(self, T=None, own=None):
        self.T = T
        self.own = own

    def fit(self, X, y):
        """Nothing is left to fit."""
        self.classes_, self.self_influence_ = np.unique(y), self.own
        return self

    def attribute(self, X, target=None):
        """Those of the asked test rows."""
        return self.T[X[:, 0].astype(int)]


def places(T):
    """Rows for Given."""
    return tuple(np.arange(n, dtype=float)[:, None] for n in T.shape[::-1])


class Explained:
    """A network, its rows in one setting, and what it predicts."""

    def __init__(self, net, rows):
        self.net, self.rows = net, rows
        self.targets = net.predict(rows.X_test)
        self.head = net.head(rows.X, rows.y)
        self.head_test = net.head(rows.X_test, self.targets)
        self.features = tuple(one.X.astype(np.float64) for one in (self.head, self.head_test))

    def linear(self, temperature=1.0):
        """The last layer."""
        head = self.head
        return LinearHead(
            head.coef, head.intercept, classes=self.net.classes_, temperature=temperature
        )

    def dualview(self, *Cs):
        """Name -> DualView of the last layer's inputs."""
        return {f"DualView, C = {C:g}": DualViewExplainer(C=C, random_state=0) for C in Cs}

    def influence(self, *inverses):
        """Name -> influence on the loss by way of the last layer."""
        found = {}
        for name in inverses:
            inverse = {"LiSSA": "lissa", "Arnoldi": "arnoldi", "EK-FAC": "ekfac"}.get(name, "auto")
            params = LISSA if inverse == "lissa" else None
            found[f"influence, {name}"] = LossInfluence(
                self.linear(), inverse=inverse, inverse_params=params, random_state=0
            )
        return found

    def representer(self):
        """Representer points of the head that has the network's probabilities."""
        return {"representer": RepresenterExplainer(FrozenEstimator(self.linear()))}

    def random(self):
        """What chance has."""
        shape = len(self.targets), len(self.rows.y)
        return np.random.default_rng(0).normal(size=shape)

    def sim(self, data, name):
        """SIM and SIM-rp: cosines of gradients of the explained logit, and their seconds.

        SIM in all parameters; SIM-rp of 128 random projections of them, of dense layers by products
        of projections of the two factors of a gradient.
        """
        found = data.kept(f"{name}_sim", self._sim, rows=len(self.rows.y))
        return {
            "SIM": (found["T"], float(found["seconds"])),
            "SIM-rp": (found["T_rp"], float(found["seconds_rp"])),
        }

    def _sim(self, k=128):
        shape = len(self.targets), len(self.rows.y)
        found = {"T": np.zeros(shape, np.float32), "T_rp": np.zeros(shape, np.float32)}
        seconds, net = np.zeros(3), self.net.network_
        codes = np.searchsorted(self.net.classes_, self.targets)
        X, X_test = (
            torch.cat([images for images, _ in self.net.batches(*pair)])
            for pair in ((self.rows.X, self.rows.y), (self.rows.X_test, self.targets))
        )
        for c in np.unique(codes):
            mine = np.flatnonzero(codes == c)
            test = list(layers(net, X_test[mine], c))
            norms = sum(layer.squares() for layer in test).sqrt()
            own = sum(layer.projected(k, i) for i, layer in enumerate(test))
            for part in torch.arange(len(self.rows.y)).split(500):
                clock = [time.perf_counter()]
                train = list(layers(net, X[part], c))
                clock.append(time.perf_counter())
                dots = sum(a.products(b) for a, b in zip(test, train, strict=True))
                scale = torch.outer(norms, sum(layer.squares() for layer in train).sqrt())
                at = np.ix_(mine, part.numpy())
                found["T"][at] = (dots / scale.clamp(min=1e-30)).numpy()
                clock.append(time.perf_counter())
                rows = sum(layer.projected(k, i) for i, layer in enumerate(train))
                found["T_rp"][at] = torch.nn.functional.cosine_similarity(own[:, None], rows, -1)
                clock.append(time.perf_counter())
                seconds += np.diff(clock)
        shared, exact, projected = seconds
        return found | {"seconds": shared + exact, "seconds_rp": shared + projected}

    def published_sim(self, k=128):
        """SIM-rp of the logit of a row's own label, cosines and as in the authors' code.

        There a training row has the gradient of its given label, divided by its norm, and a test
        row that of its predicted class, which is not.
        """
        net = self.net
        pairs = (self.rows.X, self.rows.y), (self.rows.X_test, self.targets)
        train, test = (
            gradient_rows(net.network_, net.batches(*pair), output="logit", k=k).X for pair in pairs
        )
        norms = [np.linalg.norm(part, axis=1) for part in (train, test)]
        T = test @ (train / np.maximum(norms[0], 1e-30)[:, None]).T
        cosines = T / np.maximum(norms[1], 1e-30)[:, None]
        return {"SIM-rp, own labels": cosines, "SIM-rp, the authors' code": T}

    def gradients(self, data, name, k=1024):
        """Sketched gradients of the log-odds at each checkpoint, and what else methods need.

        Those of the loss are these times 1 - p, which keeps its digits where p is nearly 1.
        """
        found = data.kept(f"{name}_gradients", partial(self._gradients, k), k=k)
        return SimpleNamespace(**found)

    def _gradients(self, k):
        start, found = time.perf_counter(), {"rates": np.array(self.net.rates_)}
        for part, X, labels in (
            ("", self.rows.X, self.rows.y),
            ("_test", self.rows.X_test, self.targets),
        ):
            rows = gradient_rows(
                self.net.network_,
                self.net.batches(X, labels),
                output="log_odds",
                k=k,
                states=self.net.states_,
            )
            n, shape = len(labels), (len(labels), len(self.net.states_), -1)
            at = np.searchsorted(self.net.classes_, labels)
            # 1 - p of the label, without cancellation
            others = rows.probabilities.copy()
            others[np.arange(n), :, at] = 0
            found |= {f"X{part}": rows.X.reshape(shape), f"q{part}": others.sum(axis=2)}
            found[f"p{part}"] = rows.label_probabilities
        return found | {"seconds": time.perf_counter() - start}

    def of_gradients(self, data, name):
        """(name -> explainer, name -> rows, name -> fit parameters, seconds of the gradients)."""
        g = self.gradients(data, name)
        last = g.X[:, -1], g.X_test[:, -1]
        losses = [X * q[:, :, None] for X, q in ((g.X, g.q), (g.X_test, g.q_test))]
        at_end = tuple(np.ascontiguousarray(X[:, -1]) for X in losses)
        weighted = [X * np.sqrt(g.rates)[None, :, None] for X in losses]
        explainers = {
            "TRAK": TRAKExplainer(),
            "GradDot": SimilarityExplainer(),
            "GradCos": SimilarityExplainer(metric="cosine"),
            "TracIn": SimilarityExplainer(),
        }
        rows = {
            "TRAK": tuple(map(np.ascontiguousarray, last)),
            "GradDot": at_end,
            "GradCos": at_end,
            "TracIn": tuple(X.reshape(len(X), -1).astype(np.float32) for X in weighted),
        }
        p = np.clip(g.p[:, -1], None, 1 - 1e-15)
        return explainers, rows, {"TRAK": {"probabilities": p}}, float(g.seconds)


def influences(of):
    """Name -> how influence on the last layer may be had, the output, whether it is normalized."""
    head = of.linear()
    sampled = partial(
        InfluenceExplainer, head, inverse="lissa", inverse_params=LISSA, random_state=0
    )
    soft = partial(InfluenceExplainer, of.linear(temperature=2.0))
    return {
        "LiSSA, loss": (sampled, "loss", False),
        "exact, loss": (partial(InfluenceExplainer, head), "loss", False),
        "exact, logit": (partial(InfluenceExplainer, head), "logit", False),
        "exact, log-odds, temperature 2": (soft, "log_odds", False),
        "exact, log-odds, temperature 2, over the root of self-influence": (soft, "log_odds", True),
        "exact, head fitted anew, loss": (InfluenceExplainer, "loss", False),
        "representer": (partial(RepresenterExplainer, FrozenEstimator(head)), "logit", False),
    } | {
        f"DualView, C = {C:g}": (
            partial(DualViewExplainer, C=C, sparse_output=False),
            "logit",
            False,
        )
        for C in (1e-5, 1e-3, 1e-1)
    }


@cache
def normal(n, k, seed):
    """Normal numbers (n, k)."""
    return torch.randn(n, k, generator=torch.Generator().manual_seed(seed))


class Layer:
    """Gradients of rows in the weights of one layer: explicit, or left as two factors."""

    def __init__(self, left, right=None):
        self.left, self.right = left, right

    def products(self, other):
        """Inner products with those of other rows."""
        found = self.left @ other.left.T
        return found if self.right is None else found * (self.right @ other.right.T)

    def projected(self, k, seed):
        """k random projections."""
        found = self.left @ normal(self.left.shape[1], k, seed)
        if self.right is None:
            return found
        return found * (self.right @ normal(self.right.shape[1], k, seed + 1000))

    def squares(self):
        """Squared norms."""
        found = self.left.square().sum(dim=1)
        return found if self.right is None else found * self.right.square().sum(dim=1)


def layers(net, images, c):
    """Each layer's gradients of logit c."""
    seen, hooks = [], []
    kinds = torch.nn.Linear, torch.nn.Conv2d, torch.nn.BatchNorm2d
    for module in net.modules():
        if isinstance(module, kinds):
            hooks.append(
                module.register_forward_hook(lambda m, args, out: seen.append((m, args[0], out)))
            )
    try:
        logits = net(images)
    finally:
        for hook in hooks:
            hook.remove()
    found = torch.autograd.grad(logits[:, c].sum(), [out for _, _, out in seen])
    for (module, x, _), grad in zip(seen, found, strict=True):
        x = x.detach()
        if isinstance(module, torch.nn.Linear):
            yield Layer(x, grad)
        elif isinstance(module, torch.nn.Conv2d):
            x = torch.nn.functional.unfold(
                x, module.kernel_size, padding=module.padding, stride=module.stride
            )
            yield Layer((grad.flatten(2) @ x.transpose(1, 2)).flatten(1))
        else:
            mean, var = module.running_mean, module.running_var
            x = (x - mean[:, None, None]) / (var + module.eps).sqrt()[:, None, None]
            yield Layer((grad * x).sum(dim=(2, 3)))
        if getattr(module, "bias", None) is not None:
            yield Layer(grad.flatten(2).sum(dim=2) if grad.ndim == 4 else grad)
