"""Commands that fit, explain and print."""

import math
import os
import time

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.utils import gen_batches
from sklearn.utils.extmath import row_norms

from ..metrics import class_detection_score
from .inputs import InputError, Rows, is_table
from .matrices import read_matrices
from .methods import METHODS
from .records import BATCH, explanations, same_labels
from .report import Report
from .tables import cell, print_table, printable, read_tables, warnings_as_notes, write

DEMO_C = 0.1
SHOWN = 5  # rows explained on screen unless asked otherwise


def demo(args):
    X, y = load_digits(return_X_y=True)
    parts = train_test_split(X / 16, y, np.arange(len(y)), stratify=y, random_state=0)
    train, test = Rows(parts[0], parts[2], parts[4]), Rows(parts[1], parts[3], parts[5])
    print("DualView on the handwritten digits of scikit-learn; rows are numbered as there.\n")
    method = METHODS["dualview"]
    explainer, _ = _fit(method, train, args.C or DEMO_C, verbose=bool(args.verbose))
    predicted = explainer.predict(test.X)
    _print_scores(explainer, train, test, predicted)
    _print_explanations(
        method, explainer, train, test, _order(test, predicted)[:4], predicted, predicted
    )


def explain(args):
    method = METHODS[args.method]
    options = {"fit_intercept": args.fit_intercept, "max_iter": args.max_iter}
    options = {name: value for name, value in options.items() if value is not None}
    if not method.has_head and (options or args.C is not None):
        raise InputError(
            f"--method {args.method} fits no classifier: leave out --C, --fit-intercept, --max-iter"
        )
    for option, extensions in (("output", (".csv", ".json")), ("report", (".html",))):
        _check_output(args, option, extensions)
    report = None if args.report is None else Report()
    with warnings_as_notes():
        train, test = _read(args)
    classes = np.unique(train.y)
    target = None if args.target_class is None else _find_class(classes, args.target_class)
    n_test = test.X.shape[0]
    if args.rows is not None and max(args.rows) >= n_test:
        raise InputError(
            f"--rows asks for row {max(args.rows)}, but {args.test} has {n_test} rows, "
            f"0 to {n_test - 1}"
        )
    explainer, facts = _fit(method, train, args.C, verbose=bool(args.verbose), **options)
    predicted = explainer.predict(test.X)
    targets = predicted if target is None else np.full_like(predicted, target)
    shown = written = args.rows
    if shown is None:
        order = _order(test, predicted)
        shown, written = order[: args.n_rows or SHOWN], np.sort(order[: args.n_rows])
    if args.output is not None:
        records = explanations(explainer, train, test, written, predicted, targets, args.top)
        write(records, args.output)
    scores = _print_scores(explainer, train, test, predicted)
    _print_explanations(method, explainer, train, test, shown, predicted, targets, args.top)
    if args.output is not None:
        print(f"\nWrote the explanations of {len(written)} rows to {printable(args.output)}")
    if report is not None:
        report.add_head(args.method, method.meaning, args.train, args.test, facts, scores)
        report.add_issues(explainer, train)
        report.add_rows(explainer, train, test, shown, predicted, targets, args.top)
        report.write(args.report)
        print(f"\nWrote the report to {printable(args.report)}")


def _read(args):
    tables = is_table(args.train)
    if is_table(args.test) != tables:
        raise InputError(f"{args.train} and {args.test} must both be tables or both matrices")
    if tables:
        if args.target is None:
            raise InputError("tables need --target COLUMN, the column of the class labels")
        if args.labels is not None or args.test_labels is not None:
            raise InputError("--labels and --test-labels are for matrices; tables have --target")
        return read_tables(args.train, args.test, args.target, args.id)
    if args.target is not None or args.id is not None:
        raise InputError("--target and --id are for tables; matrices have --labels FILE.npy")
    return read_matrices(args.train, args.test, args.labels, args.test_labels, args.standardize)


def _check_output(args, option, extensions):
    """Refuse an output that would fail after the work is done, or destroy the input."""
    path = getattr(args, option)
    if path is None:
        return
    if not path.lower().endswith(extensions):
        expected = " or ".join(extensions)
        raise InputError(f"{path} has an unknown extension; expected an output in {expected}")
    if os.path.isdir(path) or not os.path.isdir(os.path.dirname(path) or "."):
        raise InputError(f"cannot write {path}: it or its folder is not there to be written")
    inputs = [args.train, args.test, args.labels, args.test_labels]
    if os.path.realpath(path) in [os.path.realpath(name) for name in inputs if name is not None]:
        raise InputError(f"{path} is an input; choose another --{option}")


def _find_class(classes, text):
    for label in classes:
        if str(label) == text:
            return label
    listed = ", ".join(str(label) for label in classes[:20])
    more = f" and {len(classes) - 20} more" if len(classes) > 20 else ""
    raise InputError(f"there is no class {text!r}; the classes are {listed}{more}")


def _order(test, predicted):
    """Numbers of the test rows, misclassified ones first."""
    if test.y is None:
        return np.arange(len(predicted))
    return np.argsort(same_labels(predicted, test.y), kind="stable")


def _fit(method, train, C=None, **options):
    """Fit; print and return what was fitted."""
    with warnings_as_notes():
        mean_square = float(np.mean(row_norms(train.X, squared=True), dtype=np.float64))
    if not mean_square < math.inf:
        raise InputError("the features are too large to square; scale them first")
    if C is None:
        C = 1 / mean_square if mean_square > 1e-300 else 1.0
    explainer = method.make(C, **options)
    start = time.perf_counter()
    try:
        with warnings_as_notes():
            explainer.fit(train.X, train.y)
    except ValueError as error:
        raise InputError(f"cannot fit: {error}") from error
    seconds = time.perf_counter() - start
    if method.sparse and len(explainer.support_) == 0:
        raise InputError("the fit found no contributing rows: scale the features, or lower --C")

    classes, codes = np.unique(train.y, return_inverse=True)
    counts = [np.bincount(codes)]
    if method.sparse:
        counts.append(np.bincount(codes[explainer.support_], minlength=len(classes)))
    size = [["C", f"{C:.4g}"], ["C * mean||x||^2", f"{C * mean_square:.4g}"]]
    facts = [
        ["training rows", train.X.shape[0]],
        ["features", train.X.shape[1]],
        ["classes", len(classes)],
        *(size if method.has_head else []),
        *method.facts(explainer),
        ["seconds", f"{seconds:.2f}"],
    ]
    print_table(facts)
    lines = [
        ["class", "rows", "support"][: 1 + len(counts)],
        *zip(classes[:20], *counts, strict=False),
    ]
    if len(classes) > 20:
        lines.append([f"{len(classes) - 20} more", *(count[20:].sum() for count in counts)])
    print()
    print_table([*lines, ["all", *(count.sum() for count in counts)]])
    if method.sparse:
        facts.append(["support rows", len(explainer.support_)])
    return explainer, facts


def _print_scores(explainer, train, test, predicted):
    """Print and return what the labels of the test rows say, if there are any."""
    if test.y is None:
        return []
    n = len(predicted)
    hits = sum(
        class_detection_score(explainer.attribute(test.X[b]), train.y, predicted[b])
        * len(predicted[b])
        for b in gen_batches(n, BATCH)
    )
    accuracy = np.mean(same_labels(predicted, test.y))
    lines = [
        f"accuracy on {n} test rows: {accuracy:.3f}",
        f"class detection: {hits / n:.3f} of top training rows have the predicted class",
    ]
    print("", *lines, sep="\n")
    return lines


def _print_explanations(method, explainer, train, test, rows, predicted, targets, top=5):
    print(f"\n{method.meaning}")
    records = explanations(explainer, train, test, rows, predicted, targets, top)
    for row, record in zip(rows, records, strict=True):
        verdict = ""
        if test.y is not None:
            right = same_labels(predicted[[row]], test.y[[row]])[0]
            verdict = ", right" if right else f", but labelled {cell(test.y[row])}"
        name = f"{cell(test.id_name)} {cell(record['test_id'])}"
        print(f"\nTest {name}: predicted {cell(record['predicted'])}{verdict}")
        output = record["decision_value"]
        if output is not None:
            print(f"decision value of class {cell(record['target_class'])}: {output:+#.4g}")
        sides = [record["proponents"], record["opponents"]]
        lines = [[train.id_name, "label", "proponent", "   ", train.id_name, "label", "opponent"]]
        for k in range(max(len(side) for side in sides)):
            cells = [_side(side[k]) if k < len(side) else [""] * 3 for side in sides]
            lines.append([*cells[0], "", *cells[1]])
        print_table(lines, indent="  ")


def _side(entry):
    return [entry["train_id"], entry["train_label"], f"{entry['value']:+#.4g}"]
