"""Effects of training rows on a logistic regression, by each method of the tables.

The last column of the rows is 1, so that the intercept has the penalty of the other weights, as
LiSSA and DataInf want it.
"""

import warnings

import numpy as np
from scipy.special import softmax
from sklearn.frozen import FrozenEstimator

from skattrib import DualViewExplainer, InfluenceExplainer, LinearHead, TRAKExplainer

# rates up to which weights are dropped are the paper's
COPIES, MAX_RATE = 5, 0.01
STEPS, EVERY = 100, 20


def target_of(explainer, X, output, y):
    """Logit weights of an output; the margin where a head has no probabilities."""
    if output != "logit" and not hasattr(explainer, "predict_proba"):
        output = "margin"
    return explainer.target_weights(X, output, y)


class Mean:
    """The weighted sum of what some explainers say, each of its own output."""

    def __init__(self, *parts):
        self.parts = parts

    def attribute(self, X, output, y=None):
        """(m, n)."""
        return sum(w * e.attribute(X, target_of(e, X, output, y)) for w, e in self.parts)

    def aggregate(self, X, output, y=None, weights=None):
        """(n,)."""
        return sum(
            w * e.aggregate(X, target_of(e, X, output, y), weights=weights) for w, e in self.parts
        )


class Projected:
    """TRAK without projection: gradients of a head are rows."""

    def __init__(self, head, X, y):
        self.head, codes = head, np.searchsorted(head.classes_, y)
        p = head.predict_proba(X)[np.arange(len(X)), codes]
        self.trak = TRAKExplainer(temperature=1.0)
        self.trak.fit(self.rows(X, "log_odds", y), y, probabilities=p)

    def rows(self, X, output, y):
        """Gradients of an output in the weights."""
        V = self.head.target_weights(X, output, y)
        return (V[:, :, None] * X[:, None]).reshape(len(X), -1)

    def attribute(self, X, output, y=None):
        """(m, n)."""
        return self.trak.attribute(self.rows(X, output, y))

    def aggregate(self, X, output, y=None, weights=None):
        """(n,)."""
        return self.trak.aggregate(self.rows(X, output, y), weights=weights)


class Chance:
    """Random numbers."""

    def __init__(self, n, seed):
        self.n, self.rng = n, np.random.default_rng(seed)

    def attribute(self, X, output, y=None):
        """(m, n)."""
        return self.rng.normal(size=(len(X), self.n))

    def aggregate(self, X, output, y=None, weights=None):
        """(n,)."""
        return self.rng.normal(size=self.n)


class Losses(Chance):
    """Minus the loss of each row, for every test row."""

    def __init__(self, head, X, y):
        p = head.predict_proba(X)[np.arange(len(X)), np.searchsorted(head.classes_, y)]
        self.scores = np.log(p)

    def attribute(self, X, output, y=None):
        """(m, n)."""
        return np.tile(self.scores, (len(X), 1))

    def aggregate(self, X, output, y=None, weights=None):
        """(n,)."""
        return self.scores


def checkpoints(X, y, C):
    """(weights (K, d), learning rates summed before) of gradient descent."""
    classes, codes = np.unique(y, return_inverse=True)
    q = np.eye(len(classes))[codes]
    rate = 1 / (0.5 * np.linalg.norm(X, 2) ** 2 / len(X) + 1 / (C * len(X)))
    W = np.zeros((len(classes), X.shape[1]))
    for step in range(1, STEPS + 1):
        r = softmax(X @ W.T, axis=1) - q
        W -= rate * (r.T @ X / len(X) + W / (C * len(X)))
        if step % EVERY == 0:
            yield W.copy(), rate * EVERY


def methods(model, X, y, seed):
    """Name -> what says the effects of the rows on a fitted LogisticRegression."""

    def influence(**options):
        explainer = InfluenceExplainer(FrozenEstimator(model), random_state=seed, **options)
        return explainer.fit(X, y)

    def products(coef):
        head = LinearHead(coef, classes=model.classes_)
        explainer = InfluenceExplainer(head, C=model.C, fit_intercept=False, inverse="identity")
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The head is no minimum")
            return explainer.fit(X, y)

    rng, copies = np.random.default_rng(seed), []
    for _ in range(COPIES):
        rate = rng.uniform(0, MAX_RATE)
        kept = rng.random(model.coef_.shape) >= rate
        copies.append((1 / COPIES, products(model.coef_ * kept)))
    path = [(rate, products(W)) for W, rate in checkpoints(X, y, model.C)]
    exact = influence(leverage_correction=False)
    return {
        "IP": Mean((1, influence(inverse="identity"))),
        "IP-Ensemble": Mean(*copies),
        "TracIn": Mean(*path),
        "TRAK": Projected(exact, X, y),
        "EK-FAC": Mean((1, influence(inverse="ekfac"))),
        "DataInf": Mean((1, influence(inverse="datainf"))),
        "LiSSA": Mean((1, influence(inverse="lissa"))),
        "exact influence": Mean((1, exact)),
        "influence, leverage corrected": Mean((1, influence(leverage_correction=True))),
        "DualView": Mean((1, DualViewExplainer(fit_intercept=False, random_state=seed).fit(X, y))),
        "cross entropy": Losses(exact, X, y),
        "random": Chance(len(y), seed),
    }
