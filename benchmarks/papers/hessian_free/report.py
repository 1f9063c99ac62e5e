"""The tables of the page."""

import numpy as np
from scipy.stats import t

from .. import markdown, shown
from . import cifar, people

HEADS = [
    *("IP", "IP-Ensemble", "TracIn", "TRAK", "EK-FAC", "DataInf", "LiSSA", "exact influence"),
    *("DualView", "cross entropy", "random"),
]
LAST = ["EK-FAC, last layer", "DataInf, last layer", "LiSSA, last layer"]
LAST += ["exact influence, last layer", "IP, last layer", "DualView, last layer"]
NETWORKS = ["IP", "IP-Ensemble", "TracIn", "TRAK", *LAST, "cross entropy", "random"]


def interval(values):
    """(mean, low, high) of repetitions, 95 % by Student's t."""
    values = np.asarray(values, dtype=float)
    half = t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5
    return values.mean(), values.mean() - half, values.mean() + half


def values(results, cell):
    """What a cell found, or an empty dict."""
    return results[cell]["values"] if cell in results else {}


def toy(results):
    """Areas and accuracies on points in the plane."""
    cells = [values(results, f"toy-{kind}") for kind in ("linear", "network")]
    rows = [["all rows", *(part for c in cells for part in ("", _mean(c.get("full"))))]]
    for method in ["IP", "IP-Ensemble", "TracIn", "TRAK", "Gauss-Newton, all layers", *HEADS[4:]]:
        found = [c.get("methods", {}).get(method) for c in cells]
        rows.append([method])
        for cell, of in zip(cells, found, strict=True):
            missing = "–" if cell else None
            for key in ("auc", "accuracy"):
                rows[-1].append(interval(of[key]) if of else missing)
    columns = ["AUC, linear", "accuracy", "AUC, network", "accuracy"]
    return markdown(["method", *columns], rows)


def _mean(found):
    return interval(found) if found else None


def cifar10n(results):
    """Areas, precision and accuracies on human labels, means over the seeds that were run."""

    def means(noise, kind, *path):
        found = []
        for seed in range(cifar.SEEDS):
            value = values(results, f"cifar10n-{noise}-{seed}-{kind}")
            for key in path:
                value = value.get(key, {})
            found += [value] if value != {} else []
        return float(np.mean(found)) if found else None

    rows = [["all rows"]]
    for noise in cifar.NOISES:
        rows[0] += ["", "", means(noise, "ranking", "full")]
    for name in ["right labels known", *NETWORKS]:
        rows.append([name])
        for noise in cifar.NOISES:
            again = means(noise, "removal", "methods", name, "accuracy")
            rows[-1] += [means(noise, "ranking", "methods", name, k) for k in ("auc", "precision")]
            rows[-1].append("–" if name in cifar.RANKED_ONLY else again)
    keys = "AUC", "precision", "accuracy"
    columns = [f"{key}, {noise}" for noise in cifar.NOISES for key in keys]
    return markdown(["method", *columns], rows)


def curve(results, cell, method, key, shares):
    """Means over seeds at some shares, as one text."""
    found = values(results, cell).get("curves", {}).get(method)
    if found is None:
        return None
    at = [people.SHARES.index(share) for share in shares]
    means = np.mean([[seed[i][key] for i in at] for seed in found], axis=0)
    return " / ".join(shown(float(mean)) for mean in means)


def at(results, cell, method, key, share):
    """(mean, low, high) over seeds at one share."""
    found = values(results, cell).get("curves", {}).get(method)
    if found is None:
        return None
    i = people.SHARES.index(share)
    return interval([seed[i][key] for seed in found])


TASKS = {
    f"{table}, {short}": f"{name}-{kind}"
    for table, name in (("Adult", "adult"), ("COMPAS", "compas"), ("COMPAS score", "compas-score"))
    for short, kind in (("DP", "demographic-parity"), ("EO", "equal-opportunity"))
}


def fairness(results):
    """Gaps of mean probabilities without 2, 5 and 10 % of the rows."""
    whole = ["all rows", *(curve(results, c, "IP", "gap", [0.0]) for c in TASKS.values())]
    rows = [
        [m, *(curve(results, c, m, "gap", [0.02, 0.05, 0.1]) for c in TASKS.values())]
        for m in HEADS
    ]
    return markdown(["method", *TASKS], [whole, *rows])


def rates(results):
    """Gaps of rates of predictions, and accuracy, without 5 % of the rows."""
    rows = []
    for method, share in [("IP", 0.0), *((m, 0.05) for m in HEADS)]:
        rows.append(["all rows" if share == 0.0 else method])
        for cell in TASKS.values():
            gap = at(results, cell, method, "gap of rates", share)
            accuracy = curve(results, cell, method, "accuracy", [share])
            rows[-1].append(None if gap is None else f"{shown(gap)}; {accuracy}")
    return markdown(["method", *TASKS], rows)


def robustness(results):
    """Losses and accuracy at moved rows without 5 % of the rows."""
    names = {"Adult": "adult", "COMPAS": "compas", "COMPAS score": "compas-score"}
    keys = {"first attack": "loss, first attack", "attacked anew": "loss"}
    keys["accuracy anew"] = "attacked accuracy"
    rows = []
    for method, share in [("IP", 0.0), *((m, 0.05) for m in HEADS)]:
        rows.append(["all rows" if share == 0.0 else method])
        for name in names.values():
            cell = f"{name}-robustness"
            rows[-1] += [curve(results, cell, method, key, [share]) for key in keys.values()]
    return markdown(["method", *(f"{n}, {key}" for n in names for key in keys)], rows)


def linear_truth(results):
    """Leave-one-out and halves of logistic regressions."""
    names = {"digits": "digits", "Adult": "adult", "COMPAS": "compas"}
    rows = []
    for method in [*HEADS[:8], "influence, leverage corrected", *HEADS[8:]]:
        rows.append([method])
        for name in names.values():
            found = values(results, f"counterfactual-{name}").get("methods", {}).get(method)
            for key in ("loo", "slope", "lds"):
                rows[-1].append(None if found is None else found[key])
    columns = [f"{n}, {key}" for n in names for key in ("LOO r", "slope", "LDS")]
    return markdown(["method", *columns], rows)


def network_truth(results):
    """Halves of networks."""
    found = values(results, "counterfactual-networks").get("methods", {})
    names = ["IP", "IP-Ensemble", "TracIn", "GradCos", "TRAK", *LAST, "cross entropy", "random"]
    return markdown(["method", "LDS"], [[name, found.get(name)] for name in names])


def tables(results):
    """Name -> Markdown."""
    return {
        "toy": toy(results),
        "cifar10n": cifar10n(results),
        "fairness": fairness(results),
        "rates": rates(results),
        "robustness": robustness(results),
        "linear truth": linear_truth(results),
        "network truth": network_truth(results),
    }
