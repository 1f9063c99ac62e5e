"""DualView (Yolcu et al., 2024): scores of six methods, seconds, nine C, figures as tables."""

import time
import warnings
from functools import partial

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.svm import LinearSVC

from skattrib import DualViewExplainer, compare_explainers
from skattrib.metrics import mislabel_detection_score, shortcut_detection_score

from ._methods import Explained, Given, influences, places
from ._networks import NetworkClassifier, trained
from ._planted import FAULTS, MARKED_CLASS, rows
from ._tables_dualview import tables

SETTINGS = {"rows": 2000, "test_rows": 500, "C": [1e-5, 1e-3, 1e-1]}
# of networks; batch 64, momentum 0.9, one cycle of the learning rate
OPTIONS = {
    "mnist": {"epochs": 10, "rate": 0.05},
    "cifar10": {"epochs": 12, "rate": 0.1, "decay": 5e-4},
}
METRICS = {
    "none": ("class_detection", "sparsity"),
    "subclasses": ("subclass_detection",),
    "flipped": ("mislabel_detection",),
    "marked": ("shortcut_detection",),
}
NINE_C = [10.0**e for e in range(-6, 3)]
SHARES = (0.1, 0.2, 0.3, 0.5, 0.7)


def explained(data, kind, fault):
    """The network of a setting, and its rows."""
    found = rows(data, kind, fault, SETTINGS["rows"], SETTINGS["test_rows"])
    estimator = NetworkClassifier(kind, **OPTIONS[kind])
    net = trained(data, f"{kind}_{fault}", estimator, found.X, found.y)
    return Explained(net, found)


def compared(data, kind, fault):
    """Scores of all methods in one setting, with the network's accuracy."""
    of = explained(data, kind, fault)
    sim = of.sim(data, f"{kind}_{fault}")
    given = {name: T for name, (T, _) in sim.items()} | {"random": of.random()}
    explainers = (
        of.dualview(*SETTINGS["C"])
        | of.influence("LiSSA", "exact")
        | of.representer()
        | {name: Given(T) for name, T in given.items()}
    )
    n_features = of.features[0].shape[1]
    result = compare_explainers(
        *(explainers, of.features[0], of.rows.y, of.features[1], of.rows.y_test),
        rows={name: places(T) for name, T in given.items()},
        targets=of.targets,
        faults=of.rows.faults,
        marked_class=MARKED_CLASS,
        metrics=METRICS[fault],
        memory=fault == "none",
        confidence=0.95,
        random_state=0,
    )
    found = {
        name: {key: _plain(result.table[key][k]) for key in result.table if key != "explainer"}
        for k, name in enumerate(explainers)
    }
    for name, (_, seconds) in sim.items():
        found[name] |= {"fit_seconds": 0.0, "seconds_per_row": seconds / result.n_test}
    found["random"] |= {"fit_seconds": None, "seconds_per_row": None}
    net = of.net
    about = {
        "train_accuracy": float(np.mean(net.predict(of.rows.X) == of.rows.y)),
        "test_accuracy": float(np.mean(of.targets == of.rows.y_test)),
        "features": n_features,
        "chance": _chance(of, fault),
    }
    extra = {"curve": _poisoning(of, explainers, given)} if fault == "flipped" else {}
    if fault == "none":
        extra = {"top": _top_rows(of, explainers, given)}
    return {"scores": found, "network": about, **extra}


def _plain(value):
    value = float(value)
    return None if np.isnan(value) else value


def _chance(of, fault):
    if fault == "none":
        classes, codes = np.unique(of.rows.y, return_inverse=True)
        return float((np.bincount(codes) / len(codes))[np.searchsorted(classes, of.targets)].mean())
    if fault == "subclasses":
        train, test = of.rows.faults["subclasses"]
        return float(np.mean(train == test[:, None]))
    if fault == "flipped":
        return 0.5
    return float(of.rows.faults["has_mark"].mean())


def _attributions(of, explainers, given):
    for name, explainer in explainers.items():
        if name in given:
            yield name, given[name]
        else:
            fitted = explainer.fit(of.features[0], of.rows.y)
            T = fitted.attribute(of.features[1], of.targets)
            yield name, T.toarray() if hasattr(T, "toarray") else T


def _poisoning(of, explainers, given):
    """Share of flipped labels found after so much of the rows, by mean absolute attribution."""
    is_flipped, n = of.rows.faults["is_flipped"], len(of.rows.y)
    found = {}
    for name, T in _attributions(of, explainers, given):
        scores = np.abs(T).mean(axis=0)
        # ties by chance
        order = np.lexsort((np.random.default_rng(0).random(n), -scores))
        share = np.cumsum(is_flipped[order]) / is_flipped.sum()
        found[name] = [float(share[round(s * n) - 1]) for s in SHARES]
    return found


def _top_rows(of, explainers, given, n_shown=5):
    """Labels of the five strongest rows either way, for the first test rows."""
    found = {}
    for name, T in _attributions(of, explainers, given):
        order = np.argsort(T[:n_shown], axis=1, kind="stable")
        found[name] = {
            "proponents": of.rows.y[order[:, ::-1][:, :5]].tolist(),
            "opponents": of.rows.y[order[:, :5]].tolist(),
        }
    shown = {"predicted": of.targets[:n_shown].tolist(), "true": of.rows.y_test[:n_shown].tolist()}
    return shown | {"methods": found}


def nine_C(data, kind):
    """Table 3: DualView of nine C, and LinearSVC of the same problem."""
    of = explained(data, kind, "none")
    (X, X_test), y, targets = of.features, of.rows.y, of.targets
    found = []
    for C in NINE_C:
        start = time.perf_counter()
        own = DualViewExplainer(C=C, random_state=0).fit(X, y)
        seconds = time.perf_counter() - start
        per_class = np.atleast_2d(np.asarray(_dense(own.dual_coef_)) != 0).sum(axis=1)
        peer = LinearSVC(multi_class="crammer_singer", C=C, max_iter=20_000, random_state=0)
        start = time.perf_counter()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ConvergenceWarning)
            peer.fit(X, y)
        peer_seconds = time.perf_counter() - start
        found.append(
            {
                "C": C,
                "seconds": seconds,
                "gap": float(own.dual_gap_),
                "train": own.score(X, y),
                "test": own.score(X_test, of.rows.y_test),
                "agreement": float(np.mean(own.predict(X_test) == targets)),
                "support": len(own.support_),
                "per_class": per_class.tolist(),
                "svc_seconds": peer_seconds,
                "svc_converged": not caught,
                "svc_train": peer.score(X, y),
                "svc_test": peer.score(X_test, of.rows.y_test),
            }
        )
        data.say(f"  C = {C:g}")
    return {"rows": found}


def _dense(matrix):
    return matrix.toarray() if hasattr(matrix, "toarray") else matrix


def marked_influence(data, kind):
    """Why influence does not find the marked rows: exact and not, of several outputs."""
    of = explained(data, kind, "marked")
    y, has_mark = of.rows.y, of.rows.faults["has_mark"]
    fallen = np.flatnonzero((of.rows.y_test != MARKED_CLASS) & (of.targets == MARKED_CLASS))
    X, X_test = of.features[0], of.features[1][fallen]
    own_class = y == MARKED_CLASS
    found = {}
    for name, (make, output, normalized) in influences(of).items():
        explainer = make().fit(X, y)
        target = explainer.target_weights(X_test, output, MARKED_CLASS)
        T = np.asarray(explainer.attribute(X_test, target))
        if normalized:
            T = T / np.sqrt(np.maximum(explainer.self_influence_, 1e-300))
        marked, others = (own_class & has_mark), (own_class & ~has_mark)
        found[name] = {
            "top": shortcut_detection_score(T, has_mark),
            "average_precision": shortcut_detection_score(T, has_mark, kind="average_precision"),
            "mean_marked": float(T[:, marked].mean()),
            "mean_unmarked": float(T[:, others].mean()),
            "share_of_all": float((T[:, marked].sum(axis=1) / T.sum(axis=1)).mean()),
            "own_class_on_top": float(np.mean(own_class[T.argmax(axis=1)])),
        }
    p = of.net.decision_function(of.rows.X)
    p = np.exp(p - p.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    residual = 1 - p[np.arange(len(y)), np.searchsorted(of.net.classes_, y)]
    without = NetworkClassifier(kind, **OPTIONS[kind]).fit(of.rows.X[~has_mark], y[~has_mark])
    return {
        "methods": found,
        "fallen": len(fallen),
        "marked_rows": int(has_mark.sum()),
        "residual_marked": float(np.median(residual[own_class & has_mark])),
        "residual_unmarked": float(np.median(residual[own_class & ~has_mark])),
        "residual_others": float(np.median(residual[~own_class])),
        "fallen_without_marked_rows": int(
            np.sum(without.predict(of.rows.X_test[fallen]) == MARKED_CLASS)
        ),
    }


def published_sim(data, kind):
    """Label poisoning by SIM-rp as in the authors' code."""
    of = explained(data, kind, "flipped")
    given = of.published_sim()
    is_flipped = of.rows.faults["is_flipped"]
    areas = {name: float(mislabel_detection_score(T, is_flipped)) for name, T in given.items()}
    return {"area": areas, "curve": _poisoning(of, given, given)}


CELLS = {
    f"{kind}_{fault}": partial(compared, kind=kind, fault=fault)
    for kind in OPTIONS
    for fault in FAULTS
}
CELLS |= {f"{kind}_nine_C": partial(nine_C, kind=kind) for kind in OPTIONS}
CELLS |= {f"{kind}_published_sim": partial(published_sim, kind=kind) for kind in OPTIONS}
CELLS |= {f"{kind}_marked_influence": partial(marked_influence, kind=kind) for kind in OPTIONS}

__all__ = ["CELLS", "SETTINGS", "tables"]
