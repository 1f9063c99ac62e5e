"""Points in two dimensions, some with wrong labels: which does each method call harmful?"""

import copy

import numpy as np
from sklearn.datasets import make_blobs, make_moons
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.neural_network import MLPClassifier

from skattrib import (
    DualViewExplainer,
    InfluenceExplainer,
    LinearHead,
    MLPExplainer,
    SimilarityExplainer,
    TRAKExplainer,
    mlp_gradients,
)
from skattrib.planting import flip_labels

from .heads import COPIES, MAX_RATE, methods

N, FLIPPED, REPEATS = 150, 0.1, 10
EPOCHS, CHECKPOINTS = 60, 5


def points(kind, seed):
    """(X, y with wrong labels, which are, X validation, y validation, X test, y test)."""
    if kind == "linear":
        X, y = make_blobs(12 * N, centers=[[-1.5, 0], [1.5, 0]], random_state=seed)
    else:
        X, y = make_moons(12 * N, noise=0.15, random_state=seed)
    noisy, wrong = flip_labels(y[:N], FLIPPED, random_state=seed)
    return X[:N], noisy, wrong, X[N : 2 * N], y[N : 2 * N], X[2 * N :], y[2 * N :]


def linear(X, y, seed):
    """A logistic regression, its intercept the weight of a column of ones."""
    return LogisticRegression(fit_intercept=False, tol=1e-8).fit(X, y)


def linear_harms(model, X, y, X_validation, y_validation, seed):
    """Name -> how much each row raises the loss on validation rows."""
    return {
        name: -method.aggregate(X_validation, "loss", y_validation)
        for name, method in methods(model, X, y, seed).items()
    }


def network(X, y, seed):
    """A network of 32 units, with its states while it learned."""
    net = MLPClassifier((32,), learning_rate_init=0.02, batch_size=25, random_state=seed)
    net.states_ = []
    for epoch in range(1, EPOCHS + 1):
        net.partial_fit(X, y, classes=[0, 1])
        if epoch % (EPOCHS // CHECKPOINTS) == 0:
            net.states_.append(with_weights(net, lambda weights: weights.copy()))
    return net


def with_weights(net, change):
    """A network like net, its weights changed."""
    other = copy.copy(net)
    other.coefs_ = [change(weights) for weights in net.coefs_]
    other.intercepts_ = [change(weights) for weights in net.intercepts_]
    return other


def network_harms(net, X, y, X_validation, y_validation, seed):
    """The same of a network."""
    rng = np.random.default_rng(seed)

    def products(states):
        train, test = (
            np.hstack([mlp_gradients(state, *rows, output="loss") for state in states])
            for rows in ((X, y), (X_validation, y_validation))
        )
        return SimilarityExplainer().fit(train, y).aggregate(test)

    def dropped(weights):
        return weights * (rng.random(weights.shape) >= rate)

    copies = []
    for _ in range(COPIES):
        rate = rng.uniform(0, MAX_RATE)
        copies.append(with_weights(net, dropped))
    p = net.predict_proba(X)
    test = mlp_gradients(net, X_validation, y_validation, output="loss")
    trak = TRAKExplainer().fit(mlp_gradients(net, X, y), y, probabilities=p[np.arange(len(y)), y])
    newton = MLPExplainer(FrozenEstimator(net)).fit(X, y)
    rest = 1 - net.predict_proba(X_validation)[np.arange(len(y_validation)), y_validation]
    features, others = (
        np.maximum(Z @ net.coefs_[0] + net.intercepts_[0], 0) for Z in (X, X_validation)
    )
    head = LinearHead(net.coefs_[1].T, net.intercepts_[1], temperature=2.0)

    def last(inverse):
        e = InfluenceExplainer(head, inverse=inverse, random_state=seed).fit(features, y)
        return e.aggregate(others, e.target_weights(others, "loss", y_validation))

    dual_view = DualViewExplainer(random_state=seed).fit(features, y)
    effects = {
        "IP": products([net]),
        "IP-Ensemble": products(copies),
        "TracIn": products(net.states_),
        "TRAK": trak.aggregate(test),
        # the loss is the log-odds to first order, times what the probability leaves
        "Gauss-Newton, all layers": newton.aggregate(X_validation, y_validation, weights=rest),
        "EK-FAC": last("ekfac"),
        "DataInf": last("datainf"),
        "LiSSA": last("lissa"),
        "exact influence": last("cholesky"),
        "DualView": dual_view.aggregate(
            others, dual_view.target_weights(others, "margin", y_validation)
        ),
        "cross entropy": np.log(p[np.arange(len(y)), y]),
        "random": rng.normal(size=len(y)),
    }
    return {name: -effect for name, effect in effects.items()}


def cell(kind):
    """A cell: area under the curve of wrong labels, and accuracy without as many rows."""
    fit, harms = (linear, linear_harms) if kind == "linear" else (network, network_harms)

    def run(data):
        found, full = {}, []
        for seed in range(REPEATS):
            X, y, wrong, X_validation, y_validation, X_test, y_test = points(kind, seed)
            if kind == "linear":
                X, X_validation, X_test = (
                    np.column_stack([Z, np.ones(len(Z))]) for Z in (X, X_validation, X_test)
                )
            model = fit(X, y, seed)
            full.append(float(model.score(X_test, y_test)))
            for name, harm in harms(model, X, y, X_validation, y_validation, seed).items():
                kept = np.argsort(-harm, kind="stable")[wrong.sum() :]
                one = found.setdefault(name, {"auc": [], "accuracy": []})
                one["auc"].append(float(roc_auc_score(wrong, harm)))
                again = fit(X[kept], y[kept], seed)
                one["accuracy"].append(float(again.score(X_test, y_test)))
        return {"rows": N, "flipped": FLIPPED, "full": full, "methods": found}

    return run


CELLS = {"toy-linear": cell("linear"), "toy-network": cell("network")}
