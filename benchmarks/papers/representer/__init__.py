"""Yeh, Kim, Yen and Ravikumar, "Representer point selection", NeurIPS 2018."""

import numpy as np

from .. import markdown, value_of
from . import debugging, networks, reviews, toy

SETTINGS = {"decay": debugging.DECAY, "flipped": debugging.FLIPPED, "n_flipped_rows": 2000}
CELLS = debugging.CELLS | networks.CELLS | toy.CELLS | reviews.CELLS

METHODS = ("representer", "influence", "loss", "DualView", "random")
# (test accuracy, share of flips found) after checking 40 % of the rows, read off figure 2
PAPER_DEBUGGING = {
    "representer": ("0.65", "0.44"),
    "influence": ("0.64", "0.44"),
    "random": ("0.62", "0.40"),
}
PAPER_SECONDS = {"representer": ("7.09", "0.10"), "influence, LiSSA": ("0", "267")}


def _debugging(results, kind):
    splits = [
        results[name]["values"]
        for name in CELLS
        if name.startswith(f"debugging_{kind}_") and name in results
    ]
    columns = [
        *(f"{share:.0%}" for share in debugging.SHARES[::2]),
        "flips found in 40 %",
        "area",
        *(["paper: accuracy, found"] if kind == "pixels" else []),
    ]
    rows = []
    for method in METHODS:
        row = [method]
        if splits:
            each = [split["methods"][method] for split in splits]
            row += [_spread([v["accuracy"][i] for v in each]) for i in range(0, 9, 2)]
            row += [_spread([v["found"][-1] for v in each]), _spread([v["area"] for v in each])]
        else:
            row += [None] * 7
        if kind == "pixels":
            row.append(", ".join(PAPER_DEBUGGING.get(method, ("not shown",))))
        rows.append(row)
    clean = _spread([split["clean_accuracy"] for split in splits]) if splits else None
    rows.append(["all labels right", *[clean] * 5, *[""] * (len(columns) - 5)])
    return markdown([f"checked ({len(splits)} splits)", *columns], rows)


def _spread(values):
    """Mean and standard error of splits."""
    if len(values) < 2:
        return f"{values[0]:.3f}"
    return f"{np.mean(values):.3f} ± {np.std(values, ddof=1) / len(values) ** 0.5:.3f}"


def _correlation(results):
    rows = []
    for penalty in (*networks.PENALTIES, "scale"):
        each = value_of(results, "correlation", "penalties", str(penalty))
        row = ['C="scale"' if penalty == "scale" else f"{penalty}"]
        for part in ("train", "test"):
            for key in ("probabilities", "logits", "agreement"):
                value = None if each is None else each[part][key]
                row.append(None if value is None else f"{value:.4f}")
        row += [None if each is None else each["completeness_error"]]
        row += ["0.9998, 0.9964" if penalty == 0.003 else ""]
        rows.append(row)
    columns = [
        f"{part} {key}" for part in ("train", "test") for key in ("p", "logits", "same class")
    ]
    return markdown(["lambda", *columns, "completeness error", "paper: p"], rows)


def _seconds(results):
    rows = []
    for method in (
        "representer",
        "influence, Cholesky",
        "influence, K-FAC",
        "influence, conjugate gradients",
        "influence, LiSSA",
    ):
        each = value_of(results, "seconds", "methods", method)
        row = [method, None, None]
        if each is not None:
            row = [
                method,
                each["fit_seconds"],
                f"{each['row_seconds']['mean']:.2g} ± {each['row_seconds']['std']:.1g}",
            ]
        rows.append([*row, *PAPER_SECONDS.get(method, ("", ""))])
    return markdown(["method", "fit", "a test row", "paper: fit", "paper: a test row"], rows)


def _maps(results):
    each = value_of(results, "maps", "left") or {}
    shares = value_of(results, "maps", "shares") or [0.05, 0.1, 0.2]
    rows = [
        [name, *zip(value["left"], value["low"], value["high"], strict=True)]
        for name, value in each.items()
    ]
    return markdown(["map of the training row", *(f"{share:.0%} blank" for share in shares)], rows)


def _planted(results):
    splits = value_of(results, "planted_confusion", "splits") or []
    rows = []
    for i, split in enumerate(splits):
        without = split["removed"]
        rows.append(
            [
                f"split {i}",
                split["chance"],
                split["representer"]["named_planted"],
                split["influence"]["named_planted"],
                f"{split['errors_clean']} → {split['errors']}",
                *(str(without[k]) for k in ("named", "planted", "random automobiles")),
            ]
        )
    columns = [
        "chance",
        "planted of 20 named: representer",
        "influence",
        "errors: clean → planted",
        "without as many named",
        "without the planted",
        "without random",
    ]
    return markdown(["", *columns], rows)


def _real(results):
    rows = []
    for name, kind in (value_of(results, "real_confusion", "kinds") or {}).items():
        random = kind["errors_without_random"]
        rows.append(
            [
                name,
                kind["errors"],
                f"{kind['share']:.0%}, {kind['control_share']:.0%}",
                f"{kind['dissent_named']:.0%}, {kind['dissent_class']:.0%}",
                kind["errors_without_named"],
                ", ".join(map(str, random)),
            ]
        )
    columns = [
        "errors",
        "strongest in errors, in right rows",
        "annotators dissent: named, class",
        "errors without the named",
        "without random rows",
    ]
    return markdown(["true as predicted", *columns], rows)


def _toy(results):
    names = (
        "influence on the loss",
        "influence on the log-odds",
        "influence on the loss, head fitted again",
        "representer points",
    )
    rows = []
    for name in names:
        row = [name]
        for cell in toy.CELLS:
            each = value_of(results, cell, "methods", name)
            if each is None:
                row += [None, None]
            else:
                row += [f"{each['largest'][1]:.2g}", f"{each['top_of_class']:.0%}"]
        rows.append(row)
    columns = [
        f"{cell.replace('toy_', 'scale ')}: {what}"
        for cell in toy.CELLS
        for what in ("largest", "first row of the class")
    ]
    return markdown(["method", *columns], rows)


def _lstm(results):
    def get(*path):
        return value_of(results, "lstm", *path)

    shared = get("shared_words") or {}
    rows = [
        ["test accuracy of the network", get("accuracy")],
        ["correlation of logits, distilled and network's", get("correlation_logits")],
        ["correlation of probabilities", get("correlation_probabilities")],
        ["same class", get("agreement")],
        ["first representer point has the predicted class", get("class_detection")],
        ["five first opponents have the other", get("opponents_of_other_class")],
        ["words shared with five proponents (Jaccard)", shared.get("proponents")],
        ["with five opponents", shared.get("opponents")],
        ["with random reviews", shared.get("random")],
        ["flipped labels (10 %) found: area", get("flipped_found")],
    ]
    return markdown(["", "measured"], rows)


def tables(results):
    """All tables of the page."""
    return {
        "debugging_pixels": _debugging(results, "pixels"),
        "debugging_features": _debugging(results, "features"),
        "correlation": _correlation(results),
        "seconds": _seconds(results),
        "maps": _maps(results),
        "planted": _planted(results),
        "real": _real(results),
        "toy": _toy(results),
        "lstm": _lstm(results),
    }
