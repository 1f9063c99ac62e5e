"""Prints the tables of the guide: python benchmarks/tables.py, with --write into its pages.

They are made of what bench_comparison.py, bench_label_issues.py, bench_networks.py, bench_cnn.py
and bench_intercept.py left in benchmarks/results; of those that have not run there is no table.
In a page a table stands between `<!-- table: NAME -->` and `<!-- end -->`. Results behind such
tables are kept in the repository.
"""

import json
import re
import sys
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
GUIDE = Path(__file__).parents[1] / "docs/guide"
DATA = {
    "cnn128": "deep features",
    "newsgroups": "text",
    "adult_e4": "Adult, 4 epochs",
    "adult_e50": "50",
    "digits_e10": "digits, 10",
    "digits_e120": "120",
    "fmp_e4": "Fashion, 4",
    "fmp_e40": "40",
    "LetterRecognition": "letters",
}
NOISES = {"uniform": "uniformly", "pair": "to the next class", "nearest": "to the nearest class"}
ISSUE_METHODS = {
    "`find_label_issues(X, y)`": lambda row: row["method"] == "find_label_issues(X, y)",
    "cleanlab, forest": lambda row: is_cleanlab(row, "forest"),
    "cleanlab, linear": lambda row: is_cleanlab(row, "linear"),
    "cleanlab, nearest rows": lambda row: is_cleanlab(row, "15 nearest"),
    "DualView": lambda row: row["method"] == "DualView",
    "DualView on leaves": lambda row: row["method"] == "DualView on leaves",
}
EXPLAINED = ["digits", "breast cancer", "cnn128"]
EXPLAINERS = {
    "DualView": "DualView",
    "representer": "representer",
    "nearest rows, cosine": "nearest rows, cosine",
    "loss": "loss",
    "cleanlab, self_confidence": "cleanlab, self-confidence",
    "cleanlab, normalized_margin": "cleanlab, normalized margin",
}
CNN_METHODS = {"TRAK": "`TRAKExplainer` on all layers, defaults"}
NETWORK_METHODS = {
    "influence, last layer, T = 2": "influence, last layer, T = 2",
    "influence, refitted": "influence, head fitted anew",
    "influence, refitted, C = 1": "the same at C = 1",
    "representer": "representer",
    "DualView": "DualView",
    "cosine": "cosine",
    "influence, raw columns": "influence, raw columns",
}
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
            named = zip(data, cells, strict=True)
            lines += [[f"{title}, {DATA.get(of, of)}", *line] for of, line in named]
        else:
            lines.append([title, *(join(pair) for pair in zip(*cells, strict=True))])
    return table([" / ".join(DATA.get(of, of) for of in data), *names], lines)


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


def is_cleanlab(row, kind):
    return row["method"].startswith("cleanlab") and row["setting"].startswith(kind)


def label_issues():
    """Average precision of what wants no choice, and of the best ranking and setting of others."""
    rows = read("label_issues")
    lines = []
    for data, noise in dict.fromkeys((r["data"], r["noise"]) for r in rows):
        of = [r for r in rows if (r["data"], r["noise"]) == (data, noise)]
        best = [
            max((r for r in of if in_column(r)), key=lambda r: r["average_precision"])
            for in_column in ISSUE_METHODS.values()
        ]
        texts = [f"{r['average_precision']:.3f}" for r in best]
        texts = [f"**{text}**" if text == max(texts) else text for text in texts]
        returned = [f"{r['precision_returned']:.2f} / {r['recall_returned']:.2f}" for r in best[:2]]
        lines.append([f"{DATA.get(data, data)}, {NOISES[noise]}", *texts, *returned])
    names = [*ISSUE_METHODS, "returned: ours", "returned: cleanlab, forest"]
    return table(["table, labels flipped", *names], lines)


def label_explainers():
    """The same of explainers, at both settings of C, one column a kind of noise on a data set."""
    rows = [r for r in read("label_issues") if r["data"] in EXPLAINED and r["noise"] != "nearest"]
    columns = list(dict.fromkeys((r["data"], r["noise"]) for r in rows))
    found = {(r["method"], r["setting"], r["data"], r["noise"]): r for r in rows}
    kinds = [["0.1", "1"], ["linear, 0.1", "linear, 1"], [""]]
    shown = {
        (method, *column): [found[method, s, *column] for s in settings]
        for method in EXPLAINERS
        for column in columns
        for settings in kinds
        if (method, settings[0], *column) in found
    }
    best = {
        column: max(
            r["average_precision"]
            for (_, *of), both in shown.items()
            for r in both
            if tuple(of) == column
        )
        for column in columns
    }
    lines = []
    for method, title in EXPLAINERS.items():
        cells = []
        for column in columns:
            top = f"{best[column]:.3f}"
            texts = [f"{r['average_precision']:.3f}" for r in shown[method, *column]]
            cells.append(" / ".join(f"**{text}**" if text == top else text for text in texts))
        lines.append([title, *cells])
    heads = (f"{DATA.get(data, data)}, {NOISES[noise]}" for data, noise in columns)
    return table(["", *heads], lines)


def networks():
    """Scores against retrained networks: of one network's features / the average of all."""
    rows = read("networks")
    found = {(row["method"], row["data"], row["networks"]): row["lds"] for row in rows}
    sets = [data for data in DATA if any(row["data"] == data for row in rows)]
    features = [method for method in NETWORK_METHODS if method != "influence, raw columns"]
    best = {data: max(found[method, data, "average"] for method in features) for data in sets}
    lines = []
    for method, title in NETWORK_METHODS.items():
        cells = []
        for data in sets:
            one, average = (found.get((method, data, kind)) for kind in ("one", "average"))
            texts = [short(value) for value in (one, average) if value is not None]
            if average is not None and average == best[data]:
                texts[-1] = f"**{texts[-1]}**"
            cells.append(" / ".join(texts))
        lines.append([title, *cells])
    return table(["", *(DATA[data] for data in sets)], lines)


def short(value):
    """Two digits, without the zero before the point."""
    return f"{value:.2f}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:.2f}"


def cnn():
    """Scores against retrained CNNs with their intervals, best first."""
    rows = read("cnn")
    found = {(row["method"], row["networks"]): row for row in rows}
    lines = []
    for row in sorted(rows, key=lambda row: -row["lds"]):
        if row["networks"] == "average":
            both = (found[row["method"], networks] for networks in ("one", "average"))
            cells = [f"{r['lds']:.2f} [{r['low']:.2f}, {r['high']:.2f}]" for r in both]
            cells = [cell.replace("-0.00", "0.00") for cell in cells]
            title = CNN_METHODS.get(row["method"], row["method"])
            lines.append([title, *cells, f"{row['seconds']:.3g}"])
    seconds = "seconds a network (one core of a loaded machine)"
    return table(["LDS", "one network", "average of five", seconds], lines)


def intercept():
    """What the intercept's share does to rankings; bold, what is ahead by more than .1."""
    scores = {
        "share_of_mass": "its share of the absolute mass",
        "subclass_detection": "top row is of the hidden subclass",
        "linear_datamodeling": "ranks retrained outputs (LDS)",
        "mislabel_detection": "finds flipped labels by mean abs. attribution",
    }
    rows = read("intercept")
    columns = list(dict.fromkeys((row["data"], row["explainer"]) for row in rows))
    found = {(row["data"], row["explainer"], row["intercept"]): row for row in rows}
    lines = []
    for score, title in scores.items():
        ways = ["included"] if score == "share_of_mass" else ["included", "left out"]
        cells = []
        for column in columns:
            values = [found[*column, way][score] for way in ways]
            ahead = max(values) if max(values) - min(values) > 0.1 else None
            texts = [f"**{short(v)}**" if v == ahead else short(v) for v in values]
            cells.append(" / ".join(texts))
        lines.append([title, *cells])
    head, last = [""], None
    for data, explainer in columns:
        head.append(explainer if data == last else f"{DATA.get(data, data)}, {explainer}")
        last = data
    return table(head, lines)


TABLES = {
    "comparison": comparison,
    "label_issues": label_issues,
    "label_explainers": label_explainers,
    "networks": networks,
    "cnn": cnn,
    "intercept": intercept,
}


def with_tables(text, tables):
    """A page with the tables that it has places for."""
    for name, made in tables.items():
        place = re.compile(rf"(<!-- table: {name} -->\n).*?(\n<!-- end -->)", re.DOTALL)
        text = place.sub(lambda m, made=made: m[1] + made + m[2], text)
    return text


def make_tables():
    """(tables by name, files of results that are not there)."""
    tables, missing = {}, []
    for name, make in TABLES.items():
        try:
            tables[name] = make()
        except FileNotFoundError as error:
            missing.append(error.filename)
    return tables, missing


def main(write):
    tables, missing = make_tables()
    for page in sorted(GUIDE.glob("*.md")) if write else ():
        text = page.read_text(encoding="utf-8")
        if (made := with_tables(text, tables)) != text:
            page.write_text(made, encoding="utf-8")
            print(f"wrote {page}")
    if not write:
        print(*tables.values(), sep="\n\n")
    for name in missing:
        print(f"no {name}: its table stays as it is", file=sys.stderr)


if __name__ == "__main__":
    main("--write" in sys.argv[1:])
