"""Figure 2: flipped labels found, mended, and the head fitted again."""

import numpy as np
from sklearn.linear_model import LogisticRegression

from skattrib import DualViewExplainer, InfluenceExplainer, RepresenterExplainer
from skattrib.metrics import debugging_curve, mislabel_detection_score
from skattrib.planting import flip_labels

from .. import _cifar10

AUTOMOBILE, HORSE = 1, 7
N_PER_CLASS, FLIPPED, N_SPLITS = 1000, 0.4, 5
# of the mean loss, as in the authors' code: C = 1 / (n decay)
DECAY = 0.01
SHARES = tuple(round(0.05 * i, 2) for i in range(9))


def suspicions(X, y, seed):
    """Scores of the training rows by the name of the method: the higher, the more suspicious."""
    C = 1 / (DECAY * len(y))
    representer = RepresenterExplainer(C=C).fit(X, y)
    influence = InfluenceExplainer(C=C).fit(X, y)
    p = influence.predict_proba(X)[np.arange(len(y)), y]
    return {
        "representer": representer.global_importance_,
        "influence": influence.self_influence_,
        "loss": -np.log(p),
        "DualView": DualViewExplainer(random_state=0).fit(X, y).self_influence_,
        "random": np.random.default_rng(seed).random(len(y)),
    }


def debug(X, y_clean, X_test, y_test, seed):
    """Curves of test accuracy and of flips found, and areas, by method."""
    y = flip_labels(y_clean, FLIPPED, random_state=seed)[0]
    C = 1 / (DECAY * len(y))
    head = LogisticRegression(C=C, max_iter=1000, tol=1e-3)
    found = {}
    for name, scores in suspicions(X, y, seed).items():
        curve = debugging_curve(
            scores, head, X, y, y_clean, X_test, y_test, shares=SHARES, random_state=seed
        )
        found[name] = {
            "accuracy": curve.accuracy.tolist(),
            "found": curve.found.tolist(),
            "area": float(mislabel_detection_score(scores, y != y_clean)),
        }
    clean = head.fit(X, y_clean).score(X_test, y_test)
    return {"methods": found, "clean_accuracy": float(clean), "n": len(y), "seed": seed}


def _chosen(y, n, seed, first=0):
    rng = np.random.default_rng(seed)
    return np.concatenate(
        [rng.choice(np.flatnonzero(y[first:] == c) + first, n, False) for c in (AUTOMOBILE, HORSE)]
    )


def _codes(y):
    return (y == HORSE).astype(np.int64)


def on_pixels(seed):
    """The cell of one split, on the numbers of the pixels."""

    def cell(data):
        images = data.load("cifar10")
        rows = _chosen(images.y, N_PER_CLASS, seed)
        tests = np.flatnonzero(np.isin(images.y_test, (AUTOMOBILE, HORSE)))
        X, X_test = (
            part.reshape(len(part), -1).astype(np.float32) / 255
            for part in (images.X[rows], images.X_test[tests])
        )
        return debug(X, _codes(images.y[rows]), X_test, _codes(images.y_test[tests]), seed)

    return cell


def on_features(seed):
    """The cell of one split, on features of a network that has not seen these rows."""

    def cell(data):
        found = _cifar10.rows(data)
        rows = _chosen(found["y"], N_PER_CLASS, seed, _cifar10.N_SEEN)
        tests = np.flatnonzero(np.isin(found["y_test"], (AUTOMOBILE, HORSE)))
        X, X_test = found["train"][rows], found["test"][tests]
        return debug(X, _codes(found["y"][rows]), X_test, _codes(found["y_test"][tests]), seed)

    return cell


CELLS = {
    **{f"debugging_pixels_{seed}": on_pixels(seed) for seed in range(N_SPLITS)},
    **{f"debugging_features_{seed}": on_features(seed) for seed in range(N_SPLITS)},
}
