"""Does a method say what happens without a row, or with half of the rows?"""

import importlib.util
from pathlib import Path

import numpy as np
from scipy.special import logsumexp
from scipy.stats import spearmanr
from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator

from skattrib import (
    DualViewExplainer,
    InfluenceExplainer,
    LinearHead,
    SimilarityExplainer,
    TRAKExplainer,
)
from skattrib.metrics import leave_one_out_agreement, linear_datamodeling_score
from skattrib.retraining import subset_outputs

from . import people
from .heads import COPIES, methods

N, M, HALVES = 400, 50, 100
NETWORK_HALVES, NETWORK_SEEDS, WIDTH = 50, 3, 4096
INTERVAL = {"confidence": 0.95, "random_state": 0}


def rows_of(data, name):
    """(X, y, X test), the last column being 1."""
    if name == "digits":
        X, y = load_digits(return_X_y=True)
        order = np.random.default_rng(0).permutation(len(y))
        X, y = np.column_stack([X / 16, np.ones(len(y))])[order], y[order]
        return X[:N], y[:N], X[N : N + M]
    (X, y, _), _, (X_test, _, _), _ = people.rows_of(data, name, 0)
    return X[:N], y[:N], X_test[:M]


def scored(T, truth, halves):
    """Agreement with leaving out each row, and with halves."""
    T = T.toarray() if hasattr(T, "toarray") else T
    agreement = leave_one_out_agreement(T, truth, **INTERVAL)
    lds = linear_datamodeling_score(T, halves.masks, halves.outputs, **INTERVAL)
    ranks = [spearmanr(a, b).statistic for a, b in zip(T, truth, strict=True)]
    return {
        "loo": [part.correlation for part in (agreement, agreement.low, agreement.high)],
        "slope": agreement.slope,
        "loo, ranks": float(np.mean(ranks)),
        "lds": [lds.score, lds.low, lds.high],
    }


def linear(name):
    """A cell: a logistic regression, all its rows left out one by one, and halves."""

    def cell(data):
        X, y, X_test = rows_of(data, name)
        model = people.fitted(X, y)
        targets = model.predict(X_test)
        exact = InfluenceExplainer(FrozenEstimator(model)).fit(X, y)
        truth = exact.leave_one_out(X_test, X, y, target=targets)
        halves = subset_outputs(model, X, y, X_test, HALVES, 0.5, y_test=targets, random_state=0)
        found = {
            method: scored(effects.attribute(X_test, "logit", targets), truth, halves)
            for method, effects in methods(model, X, y, 0).items()
        }
        return {"rows": N, "test_rows": M, "halves": HALVES, "methods": found}

    return cell


def truth_of(data):
    """Networks on Fashion-MNIST and on halves of it: of benchmarks/cnn_truth.py."""
    path = Path(__file__).parents[2] / "cnn_truth.py"
    spec = importlib.util.spec_from_file_location("cnn_truth", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.one_thread()
    return module.Truth(data.folder / "cnn_truth", NETWORK_HALVES, NETWORK_SEEDS)


def networks(data):
    """A cell: the linear datamodeling score of networks that were really trained on halves."""
    import torch

    from skattrib.torch_adapters import dropout_states, gradient_rows, last_layer

    truth = truth_of(data)
    net = truth.nets[0]

    def batches(X, y):
        return list(zip(*(torch.as_tensor(a).split(100) for a in (X, y)), strict=True))

    head = last_layer(net, batches(truth.X, truth.y))
    test = last_layer(net, batches(truth.X_test, truth.y_test))
    targets = test.logits.argmax(axis=1)
    rows, explained = batches(truth.X, truth.y), batches(truth.X_test, targets)
    at = np.arange(len(targets))
    others = truth.logits.copy()
    others[..., at, targets] = -np.inf
    outputs = (truth.logits[..., at, targets] - logsumexp(others, axis=-1)).mean(axis=0)

    def gradients(**options):
        """Of the loss, of training and test rows."""
        return [gradient_rows(net, part, k=WIDTH, **options) for part in (rows, explained)]

    def products(own, of_test, metric="dot"):
        return SimilarityExplainer(metric=metric).fit(own.X, own.y).attribute(of_test.X)

    def trak():
        own, of_test = (
            gradient_rows(net, part, output="log_odds", k=WIDTH) for part in (rows, explained)
        )
        explainer = TRAKExplainer().fit(own.X, own.y, probabilities=own.label_probabilities)
        return explainer.attribute(of_test.X, targets)

    def last(inverse):
        layer = LinearHead(head.coef, head.intercept, temperature=2.0)
        e = InfluenceExplainer(layer, inverse=inverse, random_state=0).fit(head.X, head.y)
        return e.attribute(test.X, e.target_weights(test.X, "log_odds", targets))

    def dual_view():
        return DualViewExplainer(random_state=0).fit(head.X, head.y).attribute(test.X, targets)

    copies, single = dropout_states(net, COPIES, random_state=0), gradients()
    p = head.logits - logsumexp(head.logits, axis=1, keepdims=True)
    effects = {
        "IP": lambda: products(*single),
        "IP-Ensemble": lambda: products(*gradients(states=copies, weights=[1 / COPIES] * COPIES)),
        "TracIn": lambda: products(*gradients(states=truth.states[0], weights=truth.rates[0])),
        "GradCos": lambda: products(*single, "cosine"),
        "TRAK": trak,
        "IP, last layer": lambda: last("identity"),
        "EK-FAC, last layer": lambda: last("ekfac"),
        "DataInf, last layer": lambda: last("datainf"),
        "LiSSA, last layer": lambda: last("lissa"),
        "exact influence, last layer": lambda: last("cholesky"),
        "DualView, last layer": dual_view,
        "cross entropy": lambda: np.tile(p[np.arange(len(head.y)), head.y], (len(targets), 1)),
        "random": lambda: np.random.default_rng(0).normal(size=(len(targets), len(head.y))),
    }
    found = {}
    for method, attributions in effects.items():
        lds = linear_datamodeling_score(attributions(), truth.masks, outputs, **INTERVAL)
        found[method] = [lds.score, lds.low, lds.high]
        data.say(f"  {method} {lds.score:.3f}")
    return {"halves": NETWORK_HALVES, "seeds": NETWORK_SEEDS, "methods": found}


CELLS = {f"counterfactual-{name}": linear(name) for name in ("digits", "adult", "compas")}
CELLS["counterfactual-networks"] = networks
