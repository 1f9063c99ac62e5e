"""DualXDA (Yolcu et al., TMLR 2025): nine methods by seven metrics on MNIST and CIFAR-10."""

from .networks import NetworkClassifier, trained
from .planted import rows
from .truth import halves

SETTINGS = {"rows": 2000, "test_rows": 500, "halves": 32, "shares": [0.1, 0.3]}
OPTIONS = {
    "mnist": {"epochs": 10, "rate": 0.05},
    "cifar10": {"epochs": 12, "rate": 0.1, "decay": 5e-4},
}


def network(data, kind, fault):
    """The explained network and its rows."""
    found = rows(data, kind, fault, SETTINGS["rows"], SETTINGS["test_rows"])
    estimator = NetworkClassifier(kind, **OPTIONS[kind])
    return trained(data, f"{kind}_{fault}", estimator, found.X, found.y), found


def truth(data, kind):
    """Networks on halves."""
    net, found = network(data, kind, "none")
    return halves(
        *(data, kind, NetworkClassifier(kind, **OPTIONS[kind]), found.X, found.y, found.X_test),
        *(net.predict(found.X_test), SETTINGS["halves"]),
    )
