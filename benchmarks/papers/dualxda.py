"""DualXDA (Yolcu et al., TMLR 2025): its methods by its seven metrics on MNIST and CIFAR-10."""

from functools import partial

import numpy as np

from skattrib import compare_explainers

from .methods import Explained, Given, places
from .networks import NetworkClassifier, trained
from .planted import FAULTS, MARKED_CLASS, rows
from .tables_dualxda import tables
from .truth import halves

SETTINGS = {
    **{"rows": 2000, "test_rows": 500, "halves": 32, "shares": [0.1, 0.3]},
    **{"C": [1e-5, 1e-3, 1e-1], "k": 1024},
}
OPTIONS = {
    "mnist": {"epochs": 10, "rate": 0.05},
    "cifar10": {"epochs": 12, "rate": 0.1, "decay": 5e-4},
}
METRICS = {
    "none": "class_detection",
    "subclasses": "subclass_detection",
    "flipped": "mislabel_detection",
    "marked": "shortcut_detection",
}


def explained(data, kind, fault):
    """The network of a setting, and its rows."""
    found = rows(data, kind, fault, SETTINGS["rows"], SETTINGS["test_rows"])
    estimator = NetworkClassifier(kind, **OPTIONS[kind])
    return Explained(trained(data, f"{kind}_{fault}", estimator, found.X, found.y), found)


def truth(data, kind):
    """Log-odds of networks on halves of the rows as they are."""
    of = explained(data, kind, "none")
    given = of.rows.X, of.rows.y, of.rows.X_test, of.targets
    return halves(data, kind, NetworkClassifier(kind, **OPTIONS[kind]), *given, SETTINGS["halves"])


def compared(data, kind, fault, metrics, with_truth=False):
    """What compare_explainers measures of all methods."""
    of = explained(data, kind, fault)
    options = {"subset_truth": truth(data, kind)} if with_truth else {}
    explainers, own, fit_params, seconds = of.of_gradients(data, f"{kind}_{fault}")
    on_features = (
        of.dualview(*SETTINGS["C"]) | of.influence("LiSSA", "Arnoldi", "EK-FAC") | of.representer()
    )
    chance = of.random()
    result = compare_explainers(
        on_features | explainers | {"random": Given(chance)},
        *(of.rows.X, of.rows.y, of.rows.X_test, of.rows.y_test),
        rows=dict.fromkeys(on_features, of.features) | own | {"random": places(chance)},
        fit_params=fit_params,
        targets=of.targets,
        faults=of.rows.faults,
        marked_class=MARKED_CLASS,
        estimator=NetworkClassifier(kind, **OPTIONS[kind]),
        metrics=metrics,
        shares=SETTINGS["shares"],
        memory=False,
        confidence=0.95,
        random_state=0,
        verbose=0,
        **options,
    )
    scores = {}
    for i, name in enumerate(result.table["explainer"]):
        line = {key: result.table[key][i] for key in result.table if key != "explainer"}
        scores[name] = {k: None if np.isnan(v) else float(v) for k, v in line.items()}
    accuracy = float(np.mean(of.targets == of.rows.y_test))
    return {"scores": scores, "gradient_seconds": seconds, "test_accuracy": accuracy}


CELLS = {
    f"{kind}_{fault}": partial(compared, kind=kind, fault=fault, metrics=[METRICS[fault]])
    for kind in OPTIONS
    for fault in FAULTS
}
for kind in OPTIONS:
    of_kind = partial(compared, kind=kind, fault="none")
    CELLS[f"{kind}_lds"] = partial(of_kind, metrics=["linear_datamodeling"], with_truth=True)
    CELLS[f"{kind}_curves"] = partial(of_kind, metrics=["coreset", "pruning"])

__all__ = ["CELLS", "SETTINGS", "tables"]
