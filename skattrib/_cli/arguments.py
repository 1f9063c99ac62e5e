"""The arguments of the command line."""

import argparse
import math
from importlib.metadata import version

from .explain import DEMO_C, SHOWN_ROWS, demo, explain
from .inputs import InputError
from .issues import add_issues_command
from .methods import METHODS
from .reading import add_reading_options

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
  skattrib explain train.csv test.csv --target species --report report.html
  skattrib issues train.csv --target species --output issues.csv"""
EXPLAIN = """\
Fit a classifier on TRAIN and explain its decisions on the rows of TEST: DualView's multiclass SVM,
or by --method the same with C by cross-validation, the softmax head of representer points or of
influence functions, similarity, or TRAK on gradients.

Tables (pip install "skattrib[cli]"): .csv, .tsv, .txt, .data, also as .gz, .bz2, .xz or .zip, and
.parquet, as they are. Separator, decimal comma and encoding are found out. Numbers, also those
stored as text, are standardized, dates and lists of numbers turned into numbers, categories one-hot
encoded, columns of many different texts encoded by their n-grams, prose by its words; missing
values are imputed. What was made of each column is printed.
Matrices: NPZ with arrays X and y, NPZ of scipy.sparse.save_npz, or NPY with --labels: used as they
are. TEST may have labels too: then its misclassified rows come first.

A positive value raises the explained decision value (a proponent), a negative one lowers it (an
opponent); what the values sum to is printed with them. Rows are numbered from 0.

Outputs replace what was there once they are complete. In CSV, a text that a spreadsheet would run
as a formula, one that begins with =, +, -, @, a tab or the end of a line and is no number, has an
apostrophe put before it; JSON has texts as they are."""


class _Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message):
        raise InputError(f"{message} (see {self.prog} --help)")


def parser():
    """Parse into the command to run and its options."""
    style = {"formatter_class": argparse.RawDescriptionHelpFormatter, "allow_abbrev": False}
    parser = _Parser(prog="skattrib", description=DESCRIPTION, epilog=EXAMPLES, **style)
    parser.add_argument("--version", action="version", version=f"skattrib {version('skattrib')}")
    parser.set_defaults(run=demo)
    _add_fit_options(parser, f"{DEMO_C} on digits", None)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")

    add_issues_command(commands, style)
    style |= {"description": EXPLAIN, "epilog": EXAMPLES}
    command = commands.add_parser("explain", help="explain the rows of a file", **style)
    command.set_defaults(run=explain)
    add = command.add_argument
    add("train", metavar="TRAIN", help="training rows: a table, .npz or .npy")
    add("test", metavar="TEST", help="rows to explain, in a file of the same sort")
    add("--target", metavar="COLUMN", help="column of the class labels (tables)")
    add("--id", metavar="COLUMN", help="column of row ids, not a feature (tables)")
    add("--labels", metavar="FILE.npy", help="class labels of TRAIN (matrices)")
    add("--test-labels", metavar="FILE.npy", help="class labels of TEST (matrices)")
    add("--standardize", action="store_true", help="mean 0, variance 1 (matrices)")
    add("--method", choices=list(METHODS), default="dualview", help="default: dualview")
    # A value given before the command stays, hence no default here.
    _add_fit_options(command, "1 over the variance of the rows", argparse.SUPPRESS)
    add("--fit-intercept", action=argparse.BooleanOptionalAction)
    add("--max-iter", type=_count, metavar="N", help="sweeps or Newton steps of the solver at most")
    add("--top", type=_count, default=5, metavar="K", help="rows of either sign (default: 5)")
    add("--target-class", metavar="LABEL", help="explain this class, not the predicted one")
    which = command.add_mutually_exclusive_group()
    which.add_argument("--rows", type=_numbers, metavar="I,J,...", help="rows of TEST to explain")
    which.add_argument(
        "--n-rows",
        type=_count,
        metavar="N",
        help=f"how many rows to explain (default: {SHOWN_ROWS} on screen, all in the output)",
    )
    add_reading_options(command)
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
