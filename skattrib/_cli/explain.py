"""The commands: they read, fit, explain, print and write."""

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from .._arrays import batches
from ..findings.lines import explained_lines
from ..findings.records import EXPLAINED_AT_ONCE, Columns, Query, as_record, explanations
from ..metrics import class_detection_score
from .fitting import fit
from .inputs import Dataset, InputError, is_table
from .labels import find_label
from .matrices import read_matrices
from .methods import METHODS
from .outputs import check_outputs, write_records
from .printing import printable, warnings_as_notes
from .reading import Reading
from .report import Report
from .tables import read_tables

DEMO_C = 0.1
SHOWN_ROWS = 5  # explained on screen unless asked otherwise
SCORED_ROWS = 1000  # test rows at most that class detection looks at


def demo(args):
    """Explain digits that scikit-learn bundles."""
    X, y = load_digits(return_X_y=True)
    parts = train_test_split(X / 16, y, np.arange(len(y)), stratify=y, random_state=0)
    train, test = Dataset(*parts[::2]), Dataset(*parts[1::2])
    print("DualView on the handwritten digits of scikit-learn; rows are numbered as there.\n")
    method = METHODS["dualview"]
    fitted = fit(method, train, args.C or DEMO_C, verbose=bool(args.verbose))
    fitted.show()
    predicted = fitted.explainer.predict(test.X)
    query = Query(fitted.explainer, train, test, predicted, predicted)
    print("", *_scores(query), sep="\n")
    _print_explanations(query, _order(query)[:4], method.meaning)


def explain(args):
    """Explain the rows of a file."""
    method = METHODS[args.method]
    options = _fit_options(args, method)
    inputs = [args.train, args.test, args.labels, args.test_labels]
    outputs = ("--output", args.output, (".csv", ".json")), ("--report", args.report, (".html",))
    check_outputs(outputs, inputs)
    report = None if args.report is None else Report()
    with warnings_as_notes():
        train, test = _read(args)
    target = None
    if args.target_class is not None:
        target = find_label(np.unique(train.y), args.target_class)
    _check_row_numbers(args, test)

    fitted = fit(method, train, **options)
    predicted = fitted.explainer.predict(test.X)
    targets = predicted if target is None else np.full_like(predicted, target)
    query = Query(fitted.explainer, train, test, predicted, targets, args.top, _origins(train))
    shown, written = _chosen_rows(args, query)
    if args.output is not None:
        write_records(map(as_record, explanations(query, written)), args.output)
    scores, columns = _scores(query), _columns(train, test)
    if report is not None:
        report.add_method(method, fitted)
        report.add_scores(args.train, args.test, scores)
        report.add_notes(columns)
        report.add_query(query, shown)
        report.write(args.report)

    # files first: whoever reads the rest through a pipe may stop early
    if columns:
        print("columns:", *map(printable, columns), "", sep="\n")
    fitted.show()
    if scores:
        print("", *scores, sep="\n")
    _print_explanations(query, shown, method.meaning)
    if args.output is not None:
        print(f"\nWrote the explanations of {len(written)} rows to {printable(args.output)}")
    if report is not None:
        print(f"\nWrote the report to {printable(args.report)}")


def _columns(train, test):
    """Return in words how the columns were encoded, and what is new in those of TEST."""
    return [*train.columns, *(f"in TEST: {line}" for line in test.columns)]


def _fit_options(args, method):
    """Return the options of the fit that were given; refuse those that the explainer lacks."""
    options = {name: getattr(args, name) for name in ("C", "fit_intercept", "max_iter")}
    options = {name: value for name, value in options.items() if value is not None}
    foreign = [f"--{name.replace('_', '-')}" for name in options if not method.takes(name)]
    if foreign:
        raise InputError(f"--method {args.method} has no {', '.join(foreign)}: leave it out")
    return options | {"verbose": bool(args.verbose)}


def _read(args):
    tables = is_table(args.train)
    if is_table(args.test) != tables:
        raise InputError(f"{args.train} and {args.test} must both be tables or both matrices")
    if tables:
        if args.target is None:
            raise InputError("tables need --target COLUMN, the column of the class labels")
        if args.labels is not None or args.test_labels is not None:
            raise InputError("--labels and --test-labels are for matrices; tables have --target")
        return read_tables(args.train, args.test, args.target, args.id, Reading.of(args))
    if args.target is not None or args.id is not None:
        raise InputError("--target and --id are for tables; matrices have --labels FILE.npy")
    if Reading.of(args) != Reading():
        raise InputError("the options of reading tables, such as --drop, are not for matrices")
    return read_matrices(args.train, args.test, args.labels, args.test_labels, args.standardize)


def _check_row_numbers(args, test):
    n = test.X.shape[0]
    if args.rows is not None and max(args.rows) >= n:
        raise InputError(
            f"--rows asks for row {max(args.rows)}, but {args.test} has {n} rows, 0 to {n - 1}"
        )


def _chosen_rows(args, query):
    """Return the test rows to explain on screen and those to explain in the output."""
    if args.rows is not None:
        return args.rows, args.rows
    order = _order(query)
    return order[: args.n_rows or SHOWN_ROWS], np.sort(order[: args.n_rows])


def _order(query):
    """Numbers of the test rows, misclassified ones first."""
    if query.right is None:
        return np.arange(len(query.predicted))
    return np.argsort(query.right, kind="stable")


def _scores(query):
    """Return in words what the labels of the test rows say, if there are any."""
    if query.test.y is None:
        return []
    n = len(query.predicted)
    share, n_scored = _class_detection(query)
    some = "" if n_scored == n else f" ({n_scored} of the test rows, drawn at random)"
    return [
        f"accuracy on {n} test rows: {np.mean(query.right):.3f}",
        f"class detection: {share:.3f} of top training rows have the predicted class{some}",
    ]


def _class_detection(query):
    """Return the class detection score, and of how many test rows it is."""
    n, explainer, y = len(query.predicted), query.explainer, query.train.y
    rows = np.arange(n)
    if n > SCORED_ROWS:
        rows = np.sort(np.random.RandomState(0).choice(n, SCORED_ROWS, replace=False))
    X, predicted = query.test.X[rows], query.predicted[rows]
    values, indices = explainer.top_k(X, min(2, len(y)))
    # the score shares a hit among rows that tie for the top, and those may be many
    tied = np.flatnonzero(values[:, 0] == values[:, -1])
    hits = np.sum(np.delete(y[indices[:, 0]] == predicted, tied))
    for batch in batches(len(tied), EXPLAINED_AT_ONCE):
        some = tied[batch]
        T = explainer.attribute(X[some])
        hits += class_detection_score(T, y, predicted[some]) * len(some)
    return hits / len(rows), len(rows)


def _print_explanations(query, rows, meaning):
    print(f"\n{meaning}")
    with_columns = query.train.table is not None
    for explained in explanations(query, rows, with_columns=with_columns):
        print("", *explained_lines(explained, query.test.id_name, query.train.id_name), sep="\n")


def _origins(train):
    """Return the columns that features were made of, those of a matrix by number."""
    if train.table is None:
        return Columns([f"column {f}" for f in range(train.X.shape[1])], None, 0)
    return Columns(list(train.table.columns), train.sources, train.table.shape[1])
