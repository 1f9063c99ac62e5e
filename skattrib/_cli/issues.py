"""The command `issues`: labels that look wrong, as a list to hand on."""

import argparse
import csv
import json
import warnings

import numpy as np
from scipy import sparse

from ..findings import LabelIssues, find_label_issues
from ..findings.label_issues import N_EVIDENCE
from ..preprocessing import table_preprocessor
from ..preprocessing.decisions import summary
from .inputs import Dataset, InputError, is_table, numbered
from .matrices import read_matrices
from .outputs import check_outputs, inert, replacing
from .printing import print_table, printable, warnings_as_notes
from .reading import Reading, add_reading_options
from .tables import read_table

LARGEST_DENSE = 20_000_000  # entries of an encoded table that forests get as a dense matrix
SHOWN = 10
ISSUES = """\
Find the rows of TRAIN whose label the other rows contradict: a linear model, nearest rows and two
forests judge each label without having seen it. No test file is needed.

The output has a line for each suspicious label, the most suspicious first: the row, the label
given and the one suggested, a score (log odds; positive where the label is contradicted), and up
to five rows labelled as suggested that are most like it. They are suspicions, not corrections:
what is printed says how many are wrong by estimate."""
EXAMPLES = """\
examples:
  skattrib issues train.csv --target species --output issues.csv
  skattrib issues train.parquet --target churn --id customer --output issues.json
  skattrib issues train.npy --labels y_train.npy --n-rows 50"""


def add_issues_command(commands: argparse._SubParsersAction, style: dict) -> None:
    """Add the command and its options."""
    style = style | {"description": ISSUES, "epilog": EXAMPLES}
    command = commands.add_parser("issues", help="find labels that look wrong", **style)
    command.set_defaults(run=issues)
    add = command.add_argument
    add("train", metavar="TRAIN", help="rows with labels: a table, .npz or .npy")
    add("--target", metavar="COLUMN", help="column of the class labels (tables)")
    add("--id", metavar="COLUMN", help="column of row ids, not a feature (tables)")
    add("--labels", metavar="FILE.npy", help="class labels (matrices)")
    add("--n-rows", type=_count, metavar="N", help="how many rows (default: those contradicted)")
    add("--jobs", type=_count, default=1, metavar="N", help="processors to use (default: 1)")
    add("--output", metavar="FILE", help="write the list to a .csv or .json file")
    add("--verbose", action="store_true", help="say what is fitted, and how well")
    add_reading_options(command)


def issues(args: argparse.Namespace) -> None:
    """List the suspicious labels of a file."""
    check_outputs([("--output", args.output, (".csv", ".json"))], [args.train, args.labels])
    with warnings_as_notes():
        train = _read(args)
    n = train.X.shape[0]
    if args.n_rows is not None and args.n_rows > n:
        raise InputError(f"--n-rows asks for {args.n_rows} rows, but {args.train} has {n}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # the summary says it
            found = find_label_issues(
                train.X,
                train.y,
                k=args.n_rows,
                n_jobs=args.jobs,
                random_state=0,
                verbose=args.verbose,
            )
    except ValueError as error:
        raise InputError(f"{args.train}: {error}") from error
    if args.output is not None:
        _write(found, train, args.output)
    for line in ["columns:", *train.columns, ""] if train.columns else []:
        print(printable(line))
    print(printable(found.summary()))
    _print_first(found, train)
    if args.output is not None:
        print(f"\nWrote {len(found.row)} rows to {printable(args.output)}")


def _count(text):
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be an integer of 1 or more, got {text!r}")
    return int(text)


def _read(args) -> Dataset:
    if not is_table(args.train):
        if args.target is not None or args.id is not None:
            raise InputError("--target and --id are for tables; matrices have --labels FILE.npy")
        return read_matrices(args.train, args.train, args.labels)[0]
    if args.target is None:
        raise InputError("tables need --target COLUMN, the column of the class labels")
    if args.labels is not None:
        raise InputError("--labels is for matrices; tables have --target")
    options = Reading.of(args)
    table = read_table(args.train, args.target, args.id, options)
    preprocessor = table_preprocessor(missing=options.missing, decimal=table.decimal)
    try:
        X = preprocessor.fit_transform(table.frame)
    except ValueError as error:
        raise InputError(f"{args.train}: {error}") from error
    if sparse.issparse(X) and np.prod(X.shape, dtype=float) <= LARGEST_DENSE:
        X = X.toarray()
    data = numbered(X, table.y)
    data.ids, data.id_name, data.columns = (
        table.ids,
        table.id_name,
        summary(preprocessor.decisions_),
    )
    return data


def _records(found: LabelIssues, train: Dataset):
    """Return one dict a row, with plain values."""
    columns = [found.row, train.ids[found.row], found.given, found.suggested, found.score]
    rows = zip(*(column.tolist() for column in columns), found.contradicted_by, strict=True)
    for row, name, given, suggested, score, by in rows:
        yield {
            "row": row,
            "id": name,
            "given": given,
            "suggested": suggested,
            "score": float(f"{score:.6g}"),
            "contradicted_by": train.ids[by].tolist(),
        }


def _write(found, train, path):
    with replacing(path) as file:
        if path.lower().endswith(".json"):
            json.dump(list(_records(found, train)), file, ensure_ascii=False, indent=1)
            file.write("\n")
            return
        writer = csv.writer(file)
        head = ["row", "id", "given", "suggested", "score"]
        writer.writerow([*head, *(f"contradicted_by_{k + 1}" for k in range(N_EVIDENCE))])
        for record in _records(found, train):
            by = record["contradicted_by"]
            cells = [*(record[name] for name in head), *by, *[""] * (N_EVIDENCE - len(by))]
            writer.writerow([inert(value) for value in cells])


def _print_first(found, train):
    lines = [
        [r["id"], r["given"], r["suggested"], f"{r['score']:.2f}", *r["contradicted_by"][:3]]
        for r, _ in zip(_records(found, train), range(SHOWN), strict=False)
    ]
    if not lines:
        return
    width = max(map(len, lines))
    head = [train.id_name, "given", "suggested", "score", "contradicted by"]
    lines = [head, *lines]
    print()
    print_table([line + [""] * (max(width, 5) - len(line)) for line in lines])
    if len(found.row) > SHOWN:
        print(f"... and {len(found.row) - SHOWN} more")
