"""The tables of DualView from its results."""

from . import markdown, shown, value_of

FAULTS = {
    "none": ("identical class", "class_detection"),
    "subclasses": ("identical subclass", "subclass_detection"),
    "flipped": ("label poisoning", "mislabel_detection"),
    "marked": ("domain mismatch", "shortcut_detection"),
}
METHODS = [
    *("DualView, C = 1e-05", "DualView, C = 0.001", "DualView, C = 0.1"),
    *("influence, LiSSA", "influence, exact", "representer", "SIM", "SIM-rp", "random"),
]
PUBLISHED_SIM = ["SIM-rp, own labels", "SIM-rp, the authors' code"]
KINDS = "mnist", "cifar10"
# areas of the published curves of MNIST, off the figure in the authors' repository
PAPER_POISONING = {
    "DualView": (0.71, "0.16 0.31 0.45 0.71 0.94"),
    "influence": (0.99, "0.34 0.66 0.94 1.00 1.00"),
    "representer": (0.50, "0.10 0.20 0.30 0.50 0.70"),
    "SIM-rp": (0.11, "0.01 0.02 0.04 0.10 0.27"),
}


def tables(results):
    """Markdown by name."""
    found = {"influence": _influence(results), "poisoning": _poisoning(results)}
    for kind in KINDS:
        found[f"{kind} scores"] = _scores(results, kind)
        found[f"{kind} C"] = _nine_C(results, kind)
    found["networks"] = _networks(results)
    found["cost"] = _cost(results)
    found["top"] = _top(results)
    return found


def _cell(line, column):
    if line is None or line.get(column) is None:
        return None
    return tuple(line[column + end] for end in ("", "_low", "_high"))


def _scores(results, kind):
    lines = []
    for method in METHODS:
        own = [
            _cell(value_of(results, f"{kind}_{fault}", "scores", method), column)
            for fault, (_, column) in FAULTS.items()
        ]
        marked = value_of(results, f"{kind}_marked", "scores", method)
        lines.append([method, *own, _cell(marked, "shortcut_average_precision")])
    chance = [value_of(results, f"{kind}_{fault}", "network", "chance") for fault in FAULTS]
    lines.append(["chance", *chance, chance[-1]])
    names = [name for name, _ in FAULTS.values()]
    return markdown(["method", *names, "domain mismatch, all marked rows first"], lines)


def _networks(results):
    lines = []
    for kind in KINDS:
        for fault, (name, _) in FAULTS.items():
            own = value_of(results, f"{kind}_{fault}", "network")
            values = [None] * 2 if own is None else [own["train_accuracy"], own["test_accuracy"]]
            rows = value_of(results, f"{kind}_{fault}", "scores", "random", "shortcut_rows")
            fallen = ("" if fault != "marked" else None) if rows is None else shown(int(rows))
            lines.append([f"{kind}, {name}", *values, fallen])
    columns = [
        "network",
        "accuracy, training rows",
        "test rows",
        "test rows that fall for the mark",
    ]
    return markdown(columns, lines)


def _cost(results):
    lines = []
    for method in METHODS[:-1]:
        line = [method]
        for kind in KINDS:
            own = value_of(results, f"{kind}_none", "scores", method)
            if own is None:
                line += [None] * 3
            else:
                peak = own.get("peak_mb") if not method.startswith("SIM") else None
                peak = "not measured" if peak is None else shown(peak)
                line += [own["fit_seconds"], own["seconds_per_row"], peak]
        lines.append(line)
    each = ["fit, s", "a test row, s", "peak, MB"]
    return markdown(["method", *(f"{kind}: {name}" for kind in KINDS for name in each)], lines)


def _nine_C(results, kind):
    lines = []
    for row in value_of(results, f"{kind}_nine_C", "rows") or []:
        svc = shown(row["svc_seconds"]) + ("" if row["svc_converged"] else " (not converged)")
        per_class = f"{min(row['per_class'])} to {max(row['per_class'])}"
        lines.append(
            [
                f"{row['C']:g}",
                *(row[key] for key in ("seconds", "gap", "train", "test", "agreement", "support")),
                *(per_class, svc, row["svc_train"], row["svc_test"]),
            ]
        )
    columns = [
        *("C", "s", "relative gap", "training rows", "test rows", "as the network", "support"),
        *("non-zero duals a class", "LinearSVC, s", "its training rows", "its test rows"),
    ]
    return markdown(columns, lines or [["all", *[None] * 10]])


def _influence(results):
    lines, columns = [], ["method, output"]
    methods = {
        kind: value_of(results, f"{kind}_marked_influence", "methods") or {} for kind in KINDS
    }
    for kind in KINDS:
        columns += [f"{kind}: top row marked", "all marked first", "marked rows' share of the sum"]
    for name in methods["mnist"] or methods["cifar10"]:
        line = [name]
        for kind in KINDS:
            own = methods[kind].get(name)
            keys = ("top", "average_precision", "share_of_all")
            line += [None] * 3 if own is None else [own[key] for key in keys]
        lines.append(line)
    return markdown(columns, lines or [["all", *[None] * 6]])


def _poisoning(results):
    lines = []
    for method in [*METHODS[:-1], *PUBLISHED_SIM]:
        line = [method]
        cell = "published_sim" if method in PUBLISHED_SIM else "flipped"
        for kind in KINDS:
            curve = value_of(results, f"{kind}_{cell}", "curve", method)
            line.append(None if curve is None else " ".join(f"{v:.2f}" for v in curve))
        known = next((v for k, v in PAPER_POISONING.items() if method.startswith(k + ",")), None)
        known = PAPER_POISONING.get("SIM-rp" if method in PUBLISHED_SIM else method, known)
        lines.append([*line, "unknown" if known is None else f"{known[1]} (area {known[0]})"])
    columns = ["method", *(f"{kind}: found after 10, 20, 30, 50, 70 %" for kind in KINDS)]
    return markdown([*columns, "paper, MNIST"], lines)


def _top(results):
    values = value_of(results, "mnist_none")
    if values is None:
        return markdown(["method"], [["all: not run"]])
    top = values["top"]
    heads = [
        f"predicted {p}" + ("" if p == t else f", is {t}")
        for p, t in zip(top["predicted"], top["true"], strict=True)
    ]
    lines = []
    for method, own in top["methods"].items():
        lines.append(
            [
                method,
                *(
                    f"{' '.join(map(str, up))} / {' '.join(map(str, down))}"
                    for up, down in zip(own["proponents"], own["opponents"], strict=True)
                ),
            ]
        )
    return markdown(["method", *heads], lines)
