"""The tables of DualXDA from its results; the paper's average ranks are read off its figure."""

import numpy as np
from scipy.stats import rankdata

from . import markdown, value_of

# (average rank, seconds for 2,000 test rows), off the published figure, to about 0.1 and 10 %
PAPER = {
    "mnist": {
        "DualView, C = 1e-05": (5.2, 10),
        "DualView, C = 0.001": (5.3, 10),
        "DualView, C = 0.1": (6.2, 11),
        "influence, LiSSA": (7.4, 1.1e6),
        "influence, Arnoldi": (5.8, 2.5e4),
        "influence, EK-FAC": (4.6, 1.8e3),
        "representer": (4.0, 19),
        "TRAK": (6.6, 270),
        "GradDot": (6.8, 160),
        "GradCos": (6.6, 120),
        "TracIn": (4.1, 5.8e3),
    },
    "cifar10": {
        "DualView, C = 1e-05": (5.0, 15),
        "DualView, C = 0.001": (5.2, 15),
        "DualView, C = 0.1": (4.2, 18),
        "influence, LiSSA": (6.4, 1.9e6),
        "influence, Arnoldi": (6.0, 1.5e5),
        "influence, EK-FAC": (3.6, 5.6e3),
        "representer": (5.6, 32),
        "TRAK": (6.9, 410),
        "GradDot": (8.8, 830),
        "GradCos": (9.4, 7.4e4),
        "TracIn": (4.3, 1.7e4),
    },
}
# metric -> cell, column, whether higher is better
METRICS = {
    "identical class": ("none", "class_detection", True),
    "identical subclass": ("subclasses", "subclass_detection", True),
    "mislabelled": ("flipped", "self_influence", True),
    "shortcut": ("marked", "shortcut_average_precision", True),
    "LDS, networks": ("lds", "linear_datamodeling", True),
    "LDS, last layers": ("lds_head", "linear_datamodeling", True),
    "coreset": ("curves", "coreset", True),
    "pruning": ("curves", "pruning", False),
}
METHODS = [*PAPER["mnist"], "random"]


OF_GRADIENTS = ("TRAK", "GradDot", "GradCos", "TracIn")


def _part(method):
    return "gradients" if method in OF_GRADIENTS else "features"


def tables(results):
    """Markdown by name."""
    found = {}
    for kind in PAPER:
        found[f"{kind} scores"] = _scores(results, kind)
        found[f"{kind} ranks"] = _ranks(results, kind)
    lines = []
    for kind in PAPER:
        values = (value_of(results, f"{kind}_seeds", k) for k in ("agreement", "highest_score"))
        lines.append([kind, *values])
    columns = ["networks", "two seeds on the same half: rank correlation", "highest score left"]
    return found | {"seeds": markdown(columns, lines)}


def _cell(results, kind, metric, method):
    """(value, low, high), a value, or None where it was not run."""
    cell, column, _ = METRICS[metric]
    line = value_of(results, f"{kind}_{cell}_{_part(method)}", "scores", method)
    if line is None:
        return None
    value, low, high = (line.get(column + end) for end in ("", "_low", "_high"))
    return value if low is None else (value, low, high)


def _scores(results, kind):
    lines = [
        [method, *(_cell(results, kind, metric, method) for metric in METRICS)]
        for method in METHODS
    ]
    return markdown(["method", *METRICS], lines)


def average_ranks(results, kind):
    """Mean ranks of the methods that were run, without random, over the metrics; how many.

    Networks on halves count before last layers on halves, which count where there are none.
    """
    run = [m for m in METHODS[:-1] if _cell(results, kind, "identical class", m) is not None]
    columns = {}
    for metric, (_, _, higher) in METRICS.items():
        values = [_cell(results, kind, metric, method) for method in run]
        values = [v[0] if isinstance(v, tuple) else v for v in values]
        if run and None not in values:
            columns[metric] = rankdata(np.array(values) * (-1 if higher else 1))
    if "LDS, networks" in columns:
        columns.pop("LDS, last layers", None)
    means = np.mean(list(columns.values()), axis=0) if columns else []
    return dict(zip(run, map(float, means), strict=True)), len(columns)


def _ranks(results, kind):
    ranks, n = average_ranks(results, kind)
    gradients = value_of(results, f"{kind}_none_gradients", "gradient_seconds")
    lines = []
    for method in METHODS[:-1]:
        own = value_of(results, f"{kind}_none_{_part(method)}", "scores", method)
        seconds = None
        if own is not None:
            seconds = own["fit_seconds"] + 2000 * own["seconds_per_row"]
            if method in OF_GRADIENTS:
                # one pass over three checkpoints served all four
                seconds += gradients * (1 if method == "TracIn" else 1 / 3)
        paper = PAPER[kind][method]
        lines.append([method, ranks.get(method), str(paper[0]), seconds, f"{paper[1]:,.0f}"])
    columns = [
        *("method", f"average rank of {len(ranks)} over {n} metrics", "paper's, of 11 over 7"),
        *("seconds for 2,000 test rows", "paper's"),
    ]
    return markdown(columns, lines)
