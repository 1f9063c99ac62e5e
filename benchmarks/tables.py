"""Prints the tables of the guide: python benchmarks/tables.py.

They are made of what bench_comparison.py, bench_label_issues.py, bench_networks.py, bench_cnn.py
and bench_intercept.py left in benchmarks/results; of those that have not run there is no table.
"""

import json
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
SCORES = {
    "linear_datamodeling": "ranks retrained outputs (LDS)",
    "leave_one_out": "correlation with real leave-one-out",
    "leave_one_out_slope": "its slope",
    "mislabel_detection": "finds a tenth of flipped labels: mean abs. attribution",
    "self_influence": "the same by self-influence",
    "subclass_detection": "top row is of the hidden subclass",
    "shortcut_detection": "top row carries the planted mark",
    "shortcut_average_precision": "marked rows by average precision",
    "class_detection": "top row is of the predicted class",
    "average_rank": "average rank in these but the slope",
    "faithfulness": "correlation of its head's logits with the model's",
    "nonzero_share": "training rows that contribute",
    "fit_seconds": "seconds to fit",
    "seconds_per_row": "milliseconds a test row",
    "peak_mb": "peak MB",
}
LOW_IS_BEST = {"average_rank"}
UNRANKED = {"shortcut_average_precision", "leave_one_out_slope", "faithfulness", "nonzero_share"}
COST = {"fit_seconds", "seconds_per_row", "peak_mb"}


def read(name):
    """Rows of one table of results."""
    return json.loads((RESULTS / f"{name}.json").read_text())["rows"]


def table(head, lines):
    """Markdown."""
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, ["---"] * len(head), *lines])


def comparison():
    """One column an explainer, one line a score on both data sets; the best in bold."""
    rows = read("comparison")
    data = list(dict.fromkeys(row["data"] for row in rows))
    names = list(dict.fromkeys(row["explainer"] for row in rows))
    found = {(r["data"], r["explainer"], r["score"]): r for r in rows}
    lines = []
    for score, title in SCORES.items():
        cells = [[text_of(found, of, name, score, names) for name in names] for of in data]
        if score == "linear_datamodeling":
            lines += [[f"{title}, {of}", *line] for of, line in zip(data, cells, strict=True)]
        else:
            lines.append([title, *(join(pair) for pair in zip(*cells, strict=True))])
    return table([f"{' / '.join(data)}", *names], lines)


def text_of(found, data, name, score, names):
    row = found[data, name, score]
    if row["value"] is None:
        return ""
    text = show(score, row["value"])
    known = [found[data, other, score]["value"] for other in names]
    best = (min if score in LOW_IS_BEST else max)(value for value in known if value is not None)
    if score not in UNRANKED | COST and text == show(score, best):
        text = f"**{text}**"
    if score == "linear_datamodeling":
        text += f" [{show(score, row['low'])}, {show(score, row['high'])}]"
    return text


def join(texts):
    """Of both data sets, once if they are the same."""
    return texts[0] if len(set(texts)) == 1 else " / ".join(texts)


def show(score, value):
    if score == "nonzero_share":
        return f"{value:.0%}"
    if score in COST:
        value = 1e3 * value if score == "seconds_per_row" else value
        return f"{value:.0f}" if value >= 10 else f"{value:.2g}"
    if score == "linear_datamodeling":
        return f"{value:.3f}"
    return f"{value:.2f}".replace("-0.00", "0.00")


def label_issues():
    """Average precision at both settings of C, one column a kind of noise on a data set."""
    rows = read("label_issues")
    columns = list(dict.fromkeys((r["data"], r["noise"]) for r in rows))
    columns.sort(key=lambda column: (column[0] == "cnn128", column[0] == "breast cancer"))
    columns.remove(("breast cancer", "pair"))  # the same as uniform
    found = {(r["method"], r["setting"], r["data"], r["noise"]): r for r in rows}
    methods = [m for m in dict.fromkeys(r["method"] for r in rows) if m != "influence"]
    settings = ["0.1", "1"]
    best = {}
    for column in columns:
        all_of = [r for r in rows if (r["data"], r["noise"]) == column and r["setting"] in settings]
        best[column] = max(r["average_precision"] for r in all_of)
    lines = []
    for method in sorted(methods, key=lambda m: m.startswith(("nearest", "loss", "cleanlab"))):
        cells = []
        for column in columns:
            both = [found.get((method, setting, *column)) for setting in settings]
            both = [r for r in both if r] or [found[method, "", *column]]
            texts = [f"{r['average_precision']:.3f}" for r in both]
            top = f"{best[column]:.3f}"
            cells.append(" / ".join(f"**{text}**" if text == top else text for text in texts))
        lines.append([method, *cells])
    return table(["", *(f"{data}, {noise}" for data, noise in columns)], lines)


def networks():
    """Scores against retrained networks: of one network's features / the average of all."""
    found, sets, methods = {}, {}, {}
    for row in read("networks"):
        if row["method"].startswith("trial"):
            continue
        found[row["method"], row["data"], row["networks"]] = row["lds"]
        sets[row["data"]] = methods[row["method"]] = None
    lines = []
    for method in methods:
        cells = []
        for data in sets:
            both = [found.get((method, data, kind)) for kind in ("one", "average")]
            cells.append(" / ".join(f"{value:.2f}" for value in both if value is not None))
        lines.append([method, *cells])
    return table(["LDS, one network / the average of three", *sets], lines)


def cnn():
    """Scores against retrained CNNs with their intervals, best first."""
    rows = [row for row in read("cnn") if row["kind"] == "methods"]
    found = {(row["method"], row["networks"]): row for row in rows}
    lines = []
    for row in sorted(rows, key=lambda row: -row["lds"]):
        if row["networks"] == "average":
            both = (found[row["method"], networks] for networks in ("one", "average"))
            cells = [f"{r['lds']:.2f} [{r['low']:.2f}, {r['high']:.2f}]" for r in both]
            lines.append([row["method"], *cells, f"{row['seconds']:.3g}"])
    return table(["LDS", "one network", "average of five", "seconds a network"], lines)


def intercept():
    """What the intercept's share does to rankings."""
    scores = {
        "share_of_mass": "the intercept's share of the absolute mass",
        "subclass_detection": "top row is of the hidden subclass",
        "linear_datamodeling": "LDS",
        "mislabel_detection": "finds a tenth of flipped labels",
    }
    rows = read("intercept")
    columns = list(dict.fromkeys((row["data"], row["explainer"]) for row in rows))
    found = {(row["data"], row["explainer"], row["intercept"]): row for row in rows}
    lines = []
    for score, title in scores.items():
        ways = ["included"] if score == "share_of_mass" else ["included", "left out"]
        values = [[found[*column, way][score] for way in ways] for column in columns]
        lines.append([title, *(" / ".join(f"{value:.2f}" for value in pair) for pair in values)])
    return table(["included / left out", *(", ".join(column) for column in columns)], lines)


if __name__ == "__main__":
    for make in (comparison, label_issues, networks, cnn, intercept):
        try:
            print(make(), end="\n\n")
        except FileNotFoundError as error:
            print(f"no {error.filename}\n")
