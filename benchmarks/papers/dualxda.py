"""DualXDA (Yolcu et al., TMLR 2025): its methods by its seven metrics on MNIST and CIFAR-10."""

from functools import partial

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.utils import Bunch

from skattrib import compare_explainers
from skattrib.retraining import subset_outputs

from ._methods import Explained, Given, places
from ._networks import NetworkClassifier, trained
from ._planted import FAULTS, MARKED_CLASS, rows
from ._tables_dualxda import tables
from ._truth import halves, seeds

SETTINGS = {
    **{"rows": 2000, "test_rows": 500, "halves": 32, "shares": [0.1, 0.3, 0.5, 0.7]},
    **{"C": [1e-5, 1e-3, 1e-1], "k": 1024},
}
# halves that are trained from two seeds
TWICE = 12
OPTIONS = {
    "mnist": {"epochs": 10, "rate": 0.05},
    "cifar10": {"epochs": 12, "rate": 0.1, "decay": 5e-4},
}
# at the rate above a fifth of the networks on halves of MNIST die: no biases, no normalization
OF_HALVES = OPTIONS | {"mnist": {"epochs": 10, "rate": 0.02}}
METRICS = {
    "none": ["class_detection"],
    "subclasses": ["subclass_detection"],
    "flipped": ["mislabel_detection", "self_influence"],
    "marked": ["shortcut_detection"],
}


def explained(data, kind, fault):
    """The network of a setting, and its rows."""
    found = rows(data, kind, fault, SETTINGS["rows"], SETTINGS["test_rows"])
    estimator = NetworkClassifier(kind, **OPTIONS[kind])
    return Explained(trained(data, f"{kind}_{fault}", estimator, found.X, found.y), found)


def head():
    """What is retrained in the place of a network: its last layer."""
    return LogisticRegression(C=0.1, max_iter=500)


def network_truth(data, kind, of):
    """Log-odds of networks on halves of the rows as they are."""
    given = of.rows.X, of.rows.y, of.rows.X_test, of.targets
    estimator, n = NetworkClassifier(kind, **OF_HALVES[kind]), SETTINGS["halves"]
    settings = {**estimator.get_params(), "rows": len(of.rows.y), "halves": n}
    return Bunch(
        **data.kept(f"{kind}_truth", lambda: halves(data, kind, estimator, *given, n), **settings)
    )


def head_truth(data, kind, of):
    """The same of last layers only."""
    folder = data.folder / "kept" / data.paper / f"{kind}_last_layers"
    return subset_outputs(
        *(head(), of.features[0], of.rows.y, of.features[1], 40),
        y_test=of.targets,
        output="log_odds",
        folder=folder,
        random_state=0,
    )


def compared(data, kind, fault, part, metrics, truth=None):
    """What compare_explainers measures of the methods on features, or on gradients."""
    of = explained(data, kind, fault)
    options = {} if truth is None else {"subset_truth": truth(data, kind, of)}
    about = {"test_accuracy": float(np.mean(of.targets == of.rows.y_test))}
    if truth is network_truth:
        of_halves = options["subset_truth"]
        about["lowest_agreement"] = float(of_halves.agreement.min())
        about["trained_again"] = int(of_halves.trained_again)
    if part == "features":
        chance = of.random()
        explainers = (
            of.dualview(*SETTINGS["C"])
            | of.influence("LiSSA", "Arnoldi", "EK-FAC")
            | of.representer()
            | {"random": Given(chance, chance[0])}
        )
        own, fit_params = {"random": places(chance)}, {}
    else:
        explainers, own, fit_params, seconds = of.of_gradients(data, f"{kind}_{fault}")
        about["gradient_seconds"] = seconds
    result = compare_explainers(
        *(explainers, of.features[0], of.rows.y, of.features[1], of.rows.y_test),
        rows=own,
        fit_params=fit_params,
        targets=of.targets,
        faults=of.rows.faults,
        marked_class=MARKED_CLASS,
        estimator=head(),
        metrics=metrics,
        shares=SETTINGS["shares"],
        memory=False,
        confidence=0.95,
        random_state=0,
        **options,
    )
    scores = {}
    for i, name in enumerate(result.table["explainer"]):
        line = {key: result.table[key][i] for key in result.table if key != "explainer"}
        scores[name] = {k: None if np.isnan(v) else float(v) for k, v in line.items()}
    return {"scores": scores, **about}


def trained_twice(data, kind):
    """What the seed of a network leaves of the linear datamodeling score."""
    of, estimator = explained(data, kind, "none"), NetworkClassifier(kind, **OF_HALVES[kind])
    given = of.rows.X, of.rows.y, of.rows.X_test, network_truth(data, kind, of)
    return seeds(data, kind, estimator, *given, TWICE)


CELLS = {}
for kind in OPTIONS:
    for part in ("features", "gradients"):
        of_kind = partial(compared, kind=kind, part=part)
        for fault in FAULTS:
            name = f"{kind}_{fault}_{part}"
            CELLS[name] = partial(of_kind, fault=fault, metrics=METRICS[fault])
        of_rows = partial(of_kind, fault="none")
        CELLS[f"{kind}_curves_{part}"] = partial(of_rows, metrics=["coreset", "pruning"])
        lds = partial(of_rows, metrics=["linear_datamodeling"])
        CELLS[f"{kind}_lds_head_{part}"] = partial(lds, truth=head_truth)
        CELLS[f"{kind}_lds_{part}"] = partial(lds, truth=network_truth)
    CELLS[f"{kind}_seeds"] = partial(trained_twice, kind=kind)

__all__ = ["CELLS", "SETTINGS", "tables"]
