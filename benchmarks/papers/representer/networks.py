"""Figure 1, table 1, sensitivity maps and misclassified rows, on the network of CIFAR-10."""

import time

import numpy as np
import torch
from scipy.special import softmax
from sklearn.frozen import FrozenEstimator

from skattrib import InfluenceExplainer, LinearHead, RepresenterExplainer, misclassifications
from skattrib.metrics import deletion, faithfulness
from skattrib.torch_adapters import pixel_maps

from .. import _cifar10
from ..data import CIFAR10

# of the mean loss, as in the authors' code
PENALTIES = (0.03, 0.003, 0.0003)
N_TIMED, TIMED_ROWS = 50, 10_000
N_MAPPED, TOP = 24, 2
TRUCK, AUTOMOBILE, CAT, DOG = 9, 1, 3, 5
N_PER_CLASS, PLANTED, NAMED, N_PLANTINGS = 500, 0.25, 20, 2


def head_of(found):
    """The network's last layer."""
    return LinearHead(found["net.9.weight"], found["net.9.bias"])


def seen(found):
    """Features and labels of the images that trained the network."""
    return found["train"][: _cifar10.N_SEEN], found["y"][: _cifar10.N_SEEN]


def pearson(a, b):
    """Correlation of all numbers."""
    return float(np.corrcoef(np.ravel(a), np.ravel(b))[0, 1])


def correlation(data):
    """Outputs of the distilled head with those of the network, in training and in test rows."""
    found = _cifar10.rows(data)
    X, y = seen(found)
    logits = {"train": found["train_logits"][: len(X)], "test": found["test_logits"]}
    rows = {"train": X, "test": found["test"]}
    each = {}
    for penalty in (*PENALTIES, "scale"):
        C = "scale" if penalty == "scale" else 1 / (2 * penalty * len(X))
        start = time.process_time()
        explainer = RepresenterExplainer(FrozenEstimator(head_of(found)), C=C).fit(X, y)
        values = {
            "fit_seconds": time.process_time() - start,
            "C": explainer.C_,
            "completeness_error": explainer.completeness_error_,
            "steps": explainer.n_iter_,
        }
        for part in ("train", "test"):
            mine, theirs = explainer.decision_function(rows[part]), logits[part].astype(float)
            theirs -= theirs.mean(axis=1, keepdims=True)
            score = faithfulness(mine, theirs)
            values[part] = {
                "probabilities": pearson(softmax(mine, axis=1), softmax(theirs, axis=1)),
                "logits": score.correlation,
                "agreement": score.agreement,
            }
        each[str(penalty)] = values
    accuracy = float((logits["test"].argmax(1) == found["y_test"]).mean())
    return {"penalties": each, "n": len(X), "n_test": len(found["test"]), "accuracy": accuracy}


def timed(explainer, X, n):
    """Mean and standard deviation of seconds a test row, explained one at a time."""
    explainer.attribute(X[:1])
    each = []
    for row in range(n):
        start = time.process_time()
        explainer.attribute(X[row : row + 1])
        each.append(time.process_time() - start)
    return {"mean": float(np.mean(each)), "std": float(np.std(each)), "rows": n}


def seconds(data):
    """Fit and a test row of representer points and of influence by four inverses."""
    found = _cifar10.rows(data)
    X, y = (part[:TIMED_ROWS] for part in seen(found))
    head = head_of(found)
    methods = {
        "representer": (RepresenterExplainer(FrozenEstimator(head)), N_TIMED),
        "influence, Cholesky": (InfluenceExplainer(head, inverse="cholesky"), N_TIMED),
        "influence, K-FAC": (InfluenceExplainer(head, inverse="kfac"), N_TIMED),
        "influence, conjugate gradients": (InfluenceExplainer(head, inverse="cg"), 3),
        "influence, LiSSA": (InfluenceExplainer(head, inverse="lissa", random_state=0), 3),
    }
    each = {}
    for name, (explainer, n) in methods.items():
        start = time.process_time()
        explainer.fit(X, y)
        fit = time.process_time() - start
        each[name] = {"fit_seconds": fit, "row_seconds": timed(explainer, found["test"], n)}
        data.say(f"  {name}: {each[name]}")
    return {"methods": each, "n": len(X), "n_features": X.shape[1]}


def maps(data):
    """Whether sensitivity maps sum to the gradient, and what is left without their top pixels."""
    found = _cifar10.rows(data)
    images, net = data.load("cifar10"), _cifar10.trained(found)
    chosen = _cifar10.unseen(found, 200, 0)
    X, y = found["train"][chosen], found["y"][chosen]
    explainer = RepresenterExplainer().fit(X, y)
    X_test = found["test"][:N_MAPPED]
    inputs = _cifar10.normalized(images.X_test[:N_MAPPED])
    inputs_train = _cifar10.normalized(images.X[chosen])
    target = explainer.predict(X_test)
    _, best = explainer.top_k(X_test, TOP, target=target)
    _, worst = explainer.top_k(X_test, TOP, target=target, largest=False)
    rows = np.hstack([best, worst])
    features = net[:-1]

    def made(method, **settings):
        return pixel_maps(
            explainer, features, inputs, inputs_train, rows,
            target=target, method=method, random_state=0, **settings,
        )  # fmt: skip

    plain = made("gradient", noise=0.0, n_samples=1, remainder=True)
    summed = plain.test.sum(axis=1) + plain.remainder
    x = inputs.clone().requires_grad_()
    weights = torch.as_tensor(explainer.coef_[target], dtype=torch.float32)
    (features(x) * weights).sum().backward()
    error = np.abs(summed - x.grad.numpy()).max() / np.abs(x.grad.numpy()).max()

    # of the pair of a test row and its first training row, seen over the training row
    pairs = inputs_train[rows[:, 0]].numpy()
    first = explainer.dual_coef_[target, rows[:, 0]]
    sides = X_test * first[:, None]
    part = np.arange(N_MAPPED)

    def value(changed):
        with torch.no_grad():
            return (features(torch.as_tensor(changed)).numpy() * sides[: len(changed)]).sum(axis=1)

    smooth = made("gradient", noise=0.1, n_samples=8)
    relevance = made("lrp")
    kinds = {
        "gradient times input": plain.contributions("train")[part, 0],
        "size of the gradient": np.abs(plain.train[part, 0]),
        "size of the gradient, 8 noisy inputs": np.abs(smooth.train[part, 0]),
        "relevance (LRP)": relevance.train[part, 0],
        "random": np.random.default_rng(0).random(pairs.shape),
    }
    left = {}
    for name, each in kinds.items():
        score = deletion(
            each, pairs, value,
            shares=(0.05, 0.1, 0.2), channel_axis=1, confidence=0.95, random_state=0,
        )  # fmt: skip
        left[name] = {
            "left": score.left.tolist(),
            "low": score.low.left.tolist(),
            "high": score.high.left.tolist(),
        }
    # how alike the maps of the first two training rows are, over either side
    alike = {
        side: float(np.mean([pearson(np.abs(a[0]), np.abs(a[1])) for a in getattr(smooth, side)]))
        for side in ("test", "train")
    }
    return {"sum_error": float(error), "left": left, "shares": [0.05, 0.1, 0.2], "alike": alike,
            "n_test": N_MAPPED, "n": len(X)}  # fmt: skip


def _errors(explainer, X, y, true, taken):
    """How many rows of one class are taken for another."""
    return int(((y == true) & (explainer.predict(X) == taken)).sum())


def _kind(kinds, true, taken):
    return next((kind for kind in kinds if (kind.true, kind.predicted) == (true, taken)), None)


def _without(X, y, rows, X_test, y_test, true, taken):
    keep = np.setdiff1d(np.arange(len(y)), rows)
    return _errors(RepresenterExplainer().fit(X[keep], y[keep]), X_test, y_test, true, taken)


def planted_confusion(data):
    """A quarter of the trucks called automobiles: are these the rows named for the errors?"""
    found = _cifar10.rows(data)
    each = []
    for seed in range(N_PLANTINGS):
        chosen = _cifar10.unseen(found, N_PER_CLASS, seed)
        X, y_clean = found["train"][chosen], found["y"][chosen]
        rng = np.random.default_rng(seed)
        trucks = np.flatnonzero(y_clean == TRUCK)
        planted = rng.choice(trucks, round(PLANTED * len(trucks)), replace=False)
        y = y_clean.copy()
        y[planted] = AUTOMOBILE
        X_test, y_test = found["test"], found["y_test"]
        tests = X_test, y_test, TRUCK, AUTOMOBILE
        values = {
            "errors_clean": _errors(RepresenterExplainer().fit(X, y_clean), *tests),
            "errors": _errors(RepresenterExplainer().fit(X, y), *tests),
            "chance": len(planted) / int((y == AUTOMOBILE).sum()),
        }
        for name, explainer in {
            "representer": RepresenterExplainer(),
            "influence": InfluenceExplainer(),
        }.items():
            kind = _kind(misclassifications(explainer.fit(X, y), X_test, y_test, k=NAMED), TRUCK,
                         AUTOMOBILE)  # fmt: skip
            among = int(np.isin(kind.rows, planted).sum())
            values[name] = {"named_planted": among / NAMED, "share": float(kind.share.mean())}
        test_trucks = X_test[y_test == TRUCK]
        margin = _margin(TRUCK, AUTOMOBILE, len(test_trucks))
        pushes = RepresenterExplainer().fit(X, y).aggregate(test_trucks, margin)
        named = np.argsort(pushes, kind="stable")[: len(planted)]
        values["removed"] = {
            "named": _without(X, y, named, *tests),
            "random automobiles": _without(
                X, y, rng.choice(np.flatnonzero(y == AUTOMOBILE), len(planted), False), *tests
            ),
            "planted": _without(X, y, planted, *tests),
        }
        values["named_of_all"] = float(np.isin(named, planted).mean())
        each.append(values)
    return {"splits": each, "n": 10 * N_PER_CLASS, "n_planted": round(PLANTED * N_PER_CLASS)}


def _margin(true, taken, n):
    weights = np.zeros((n, 10))
    weights[:, true], weights[:, taken] = 1.0, -1.0
    return weights


def real_confusion(data):
    """Cats taken for dogs: who is named, what human annotators say of them, what removal does."""
    found = _cifar10.rows(data)
    human = data.load("cifar10n")
    chosen = _cifar10.unseen(found, N_PER_CLASS, 0)
    X, y = found["train"][chosen], found["y"][chosen]
    X_test, y_test = found["test"], found["y_test"]
    explainer = RepresenterExplainer().fit(X, y)
    kinds = misclassifications(explainer, X_test, y_test, k=NAMED)
    rng = np.random.default_rng(0)
    each = {}
    for true, taken in ((CAT, DOG), (DOG, CAT)):
        kind = _kind(kinds, true, taken)
        dissent = np.mean([human[f"random_label{i}"][chosen] != y for i in (1, 2, 3)], axis=0)
        others = np.flatnonzero(y == taken)
        random = [
            _without(X, y, rng.choice(others, NAMED, False), X_test, y_test, true, taken)
            for _ in range(2)
        ]
        each[f"{CIFAR10[true]} as {CIFAR10[taken]}"] = {
            "errors": kind.n_errors,
            "named_of_class_taken": float((y[kind.rows] == taken).mean()),
            "share": float(kind.share.mean()),
            "control_share": float(kind.control_share.mean()),
            "dissent_named": float(dissent[kind.rows].mean()),
            "dissent_class": float(dissent[others].mean()),
            "errors_without_named": _without(X, y, kind.rows, X_test, y_test, true, taken),
            "errors_without_random": random,
        }
    return {"kinds": each, "n": len(y), "n_named": NAMED}


CELLS = {
    "correlation": correlation,
    "seconds": seconds,
    "maps": maps,
    "planted_confusion": planted_confusion,
    "real_confusion": real_confusion,
}
