"""A fit of one of the explainers, and what there is to say of it."""

import math
import time
from dataclasses import dataclass
from textwrap import wrap

import numpy as np
from sklearn.utils.validation import has_fit_parameter

from .._arrays import squared_norms
from ..explainers import BaseExplainer
from ..findings.report import misfit
from .inputs import Dataset, InputError
from .methods import Method
from .printing import print_table, warnings_as_notes

SHOWN_CLASSES = 20
WIDTH = 79  # of what is printed


@dataclass
class Fit:
    """A fitted explainer.

    Attributes
    ----------
    explainer : fitted explainer
    facts : list of [name, value]
    class_sizes : list of lines
        Class, training rows and, if only some contribute, those that do; with head and sum.
    warning : str
        Why attributions may not mean what is asked for; empty if nothing is known.
    """

    explainer: BaseExplainer
    facts: list[list[object]]
    class_sizes: list[list[object]]
    warning: str = ""

    def show(self) -> None:
        """Print the facts and the sizes of the classes."""
        print_table(self.facts)
        print()
        print_table(self.class_sizes)
        if self.warning:
            print(f"\n{self.warning}")


def fit(method: Method, train: Dataset, C: float | None = None, **options: object) -> Fit:
    """Fit an explainer, its C that of C="scale" unless one is given.

    Raises
    ------
    InputError
        If the explainer refuses the data, or there is nothing in them.
    """
    mean_square = _mean_square(train.X)
    if C is not None:
        options["C"] = C
    explainer = method.make(**options)
    given = {}
    if train.probabilities is not None and has_fit_parameter(explainer, "probabilities"):
        given["probabilities"] = train.probabilities
    start = time.perf_counter()
    try:
        with warnings_as_notes():
            explainer.fit(train.X, train.y, **given)
    except ValueError as error:
        raise InputError(f"cannot fit: {error}") from error
    seconds = time.perf_counter() - start
    if method.sparse and len(explainer.support_) == 0:
        raise InputError("the fit found no contributing rows: scale the features, or lower --C")
    assert train.y is not None
    n, d = train.X.shape
    facts = [["training rows", n], ["features", d], ["classes", len(np.unique(train.y))]]
    if method.takes("C"):
        C = explainer.C_
        facts += [["C", f"{C:.4g}"], ["C * mean||x||^2", f"{C * mean_square:.4g}"]]
    facts += [[words, _shown(explainer, *what)] for words, *what in method.facts]
    support = explainer.support_ if method.sparse else None
    warning = ""
    if hasattr(explainer, "decision_function"):
        follows = explainer.score(train.X, train.y)
        facts.append(["training accuracy", f"{follows:.3f}"])
        warning = "\n".join(wrap(misfit(follows), WIDTH))
    facts.append(["seconds", f"{seconds:.2f}"])
    return Fit(explainer, facts, _class_sizes(train.y, support), warning)


def _mean_square(X):
    with warnings_as_notes():
        mean_square = float(squared_norms(X, 0.0).mean())
    if not mean_square < math.inf:
        raise InputError("the features are too large to square; scale them first")
    if mean_square < 1e-300:
        raise InputError(
            "the features of the training rows are all zero, or too small to square: there is "
            "nothing to learn from"
        )
    return mean_square


def _shown(explainer, attribute, form):
    value = getattr(explainer, attribute)
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    return format(value, form)


def _class_sizes(y, support=None):
    classes, codes = np.unique(y, return_inverse=True)
    counts = [np.bincount(codes)]
    if support is not None:
        counts.append(np.bincount(codes[support], minlength=len(classes)))
    head = ["class", "rows", "support"][: 1 + len(counts)]
    lines = [head, *map(list, zip(classes[:SHOWN_CLASSES], *counts, strict=False))]
    if len(classes) > SHOWN_CLASSES:
        left = len(classes) - SHOWN_CLASSES
        lines.append([f"{left} more", *(count[SHOWN_CLASSES:].sum() for count in counts)])
    return [*lines, ["all", *(count.sum() for count in counts)]]
