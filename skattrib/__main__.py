"""The command line: a demonstration on digits, and explanations of the rows of a file."""

import argparse
import io
import math
import os
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.utils import gen_batches
from sklearn.utils.extmath import row_norms

from skattrib._methods import METHODS
from skattrib._records import BATCH, explanations, same_labels
from skattrib._report import Report
from skattrib._rows import InputError, Rows, is_table, read_matrices
from skattrib._tables import cell, print_table, printable, read_tables, warnings_as_notes, write
from skattrib.metrics import class_detection_score

DEMO_C = 0.1
SHOWN = 5  # rows explained on screen unless asked otherwise

DESCRIPTION = """\
Which training rows made a linear classifier say this, and by how much.

Without a command: a demonstration on the handwritten digits of scikit-learn."""

EXAMPLES = """\
examples:
  skattrib
  skattrib explain train.csv test.csv --target species
  skattrib explain train.parquet test.csv --target churn --id customer --output why.csv
  skattrib explain train.npz test.npz --C 0.01 --rows 3,17 --target-class cat
  skattrib explain train.csv test.csv --target species --method influence
  skattrib explain train.npy test.npy --labels y_train.npy --output why.json
  skattrib explain train.csv test.csv --target species --report report.html"""

EXPLAIN = """\
Fit a classifier on TRAIN and explain its decisions on the rows of TEST: DualView's multiclass SVM,
or by --method the softmax head of representer points or of influence functions, or similarity.

CSV and Parquet (pip install "skattrib[cli]"): numeric columns are standardized, all others one-hot
encoded. NPZ with arrays X and y, NPZ of scipy.sparse.save_npz, or NPY with --labels: used as they
are. TEST may have labels too: then its misclassified rows come first.

A positive value raises the explained decision value (a proponent), a negative one lowers it (an
opponent); what the values sum to is printed with them. Rows are numbered from 0."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments, those of the process by default.

    Returns
    -------
    code : int
        0 if all went well, 2 for bad input or usage, 130 if interrupted.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # labels beyond the terminal's encoding
    try:
        try:
            args = _parser().parse_args(argv)
            args.run(args)
            code = 0
        except SystemExit as stop:  # --help, --version
            code = stop.code or 0
        sys.stdout.flush()
        return code
    except InputError as error:
        message = str(error)
    except BrokenPipeError:
        # The reader has had enough; what is still buffered must not fail once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except KeyboardInterrupt:
        print("skattrib: interrupted", file=sys.stderr)
        return 130
    except MemoryError as error:
        message = f"out of memory {error}"
    except OSError as error:
        message = f"cannot write the output: {error}"
    print(f"skattrib: error: {printable(message)}", file=sys.stderr)
    return 2


class _Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message):
        raise InputError(f"{message} (see {self.prog} --help)")


def _parser():
    style = {"formatter_class": argparse.RawDescriptionHelpFormatter, "allow_abbrev": False}
    parser = _Parser(prog="skattrib", description=DESCRIPTION, epilog=EXAMPLES, **style)
    parser.add_argument("--version", action="version", version=f"skattrib {version('skattrib')}")
    parser.set_defaults(run=_demo)
    _add_fit_options(parser, f"{DEMO_C} on digits", None)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")

    style |= {"description": EXPLAIN, "epilog": EXAMPLES}
    explain = commands.add_parser("explain", help="explain the rows of a file", **style)
    explain.set_defaults(run=_explain)
    add = explain.add_argument
    add("train", metavar="TRAIN", help="training rows: .csv, .parquet, .npz or .npy")
    add("test", metavar="TEST", help="rows to explain, in a file of the same sort")
    add("--target", metavar="COLUMN", help="column of the class labels (tables)")
    add("--id", metavar="COLUMN", help="column of row ids, not a feature (tables)")
    add("--labels", metavar="FILE.npy", help="class labels of TRAIN (matrices)")
    add("--test-labels", metavar="FILE.npy", help="class labels of TEST (matrices)")
    add("--standardize", action="store_true", help="mean 0, variance 1 (matrices)")
    add("--method", choices=list(METHODS), default="dualview", help="default: dualview")
    # A value given before the command stays, hence no default here.
    _add_fit_options(explain, "1 / mean||x||^2", argparse.SUPPRESS)
    add("--fit-intercept", action=argparse.BooleanOptionalAction)
    add("--max-iter", type=_count, metavar="N", help="sweeps or Newton steps of the solver at most")
    add("--top", type=_count, default=5, metavar="K", help="rows of either sign (default: 5)")
    add("--target-class", metavar="LABEL", help="explain this class, not the predicted one")
    which = explain.add_mutually_exclusive_group()
    which.add_argument("--rows", type=_numbers, metavar="I,J,...", help="rows of TEST to explain")
    which.add_argument(
        "--n-rows",
        type=_count,
        metavar="N",
        help=f"how many rows to explain (default: {SHOWN} on screen, all in the output)",
    )
    add("--output", metavar="FILE", help="write the explanations to a .csv or .json file")
    add("--report", metavar="FILE", help="write what is on screen, and more, to an .html file")
    return parser


def _add_fit_options(parser, default_C, default):
    parser.add_argument(
        "--C",
        type=_positive,
        default=default,
        metavar="C",
        help=f"weight of the losses against ||W||^2 / 2 (default: {default_C})",
    )
    parser.add_argument(
        "--verbose", action="store_true", default=default, help="follow the solver's progress"
    )


def _positive(text):
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a positive number, got {text!r}")
    return value


def _count(text):
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be an integer of 1 or more, got {text!r}")
    return int(text)


def _numbers(text):
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise argparse.ArgumentTypeError(f"must be row numbers such as 0,7,12, got {text!r}")
    return [int(part) for part in parts]


def _demo(args):
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


def _explain(args):
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


if __name__ == "__main__":
    sys.exit(main())
