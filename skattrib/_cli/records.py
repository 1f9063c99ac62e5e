"""Explanations of test rows, and as records ready to be written."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .._arrays import batches, of_class
from ..explainers import BaseExplainer
from .inputs import Dataset

EXPLAINED_AT_ONCE = 256  # test rows


@dataclass
class Query:
    """What is explained.

    Attributes
    ----------
    explainer : fitted explainer
    train, test : Dataset
    predicted, targets : ndarray of shape (n_test,)
        Predicted and explained class of each test row.
    top : int
        Training rows of either sign at most.
    """

    explainer: BaseExplainer
    train: Dataset
    test: Dataset
    predicted: np.ndarray
    targets: np.ndarray
    top: int = 5

    @cached_property
    def right(self) -> np.ndarray | None:
        """Whether each prediction is the label of the test row, if there are labels."""
        return None if self.test.y is None else _same_labels(self.predicted, self.test.y)


@dataclass
class Explanation:
    """One explained test row.

    Attributes
    ----------
    row : int
    output : float or None
        The decision value of the explained class, if there are decision values.
    base : float or None
        What of it is no training row's, if the values of all of them and it sum to it.
    proponents, opponents : list of (int, float)
        Training rows and their values, the strongest first.
    """

    row: int
    output: float | None
    base: float | None
    proponents: list[tuple[int, float]]
    opponents: list[tuple[int, float]]


def explanations(query: Query, rows: Iterable[int]) -> Iterator[Explanation]:
    """Yield the explanations of test rows."""
    rows, k = np.asarray(rows), min(query.top, query.train.X.shape[0])
    for batch in batches(len(rows), EXPLAINED_AT_ONCE):
        X, target = query.test.X[rows[batch]], query.targets[rows[batch]]
        outputs = _decision_values(query.explainer, X, target)
        bases = [None] * X.shape[0]
        if hasattr(query.explainer, "base_value"):
            bases = query.explainer.base_value(X, target).tolist()
        highest, lowest = (
            query.explainer.top_k(X, k, target=target, largest=largest) for largest in (True, False)
        )
        for position, row in enumerate(rows[batch]):
            sides = _signed(highest, position, 1), _signed(lowest, position, -1)
            yield Explanation(int(row), outputs[position], bases[position], *sides)


def _signed(top, position, sign):
    """Return training rows and their values where these have the sign."""
    values, indices = (part[position] for part in top)
    return [(int(i), float(v)) for v, i in zip(values, indices, strict=True) if sign * v > 0]


def as_record(query: Query, explanation: Explanation) -> dict[str, object]:
    """Return an explanation as JSON has it."""
    row, train = explanation.row, query.train
    assert train.y is not None
    sides = {
        side: [
            {
                "rank": rank,
                "train_id": train.ids[i].item(),
                "train_label": train.y[i].item(),
                "value": value,
            }
            for rank, (i, value) in enumerate(getattr(explanation, side), start=1)
        ]
        for side in ("proponents", "opponents")
    }
    return {
        "test_id": query.test.ids[row].item(),
        "predicted": query.predicted[row].item(),
        "target_class": query.targets[row].item(),
        "decision_value": explanation.output,
        "base_value": explanation.base,
        **sides,
    }


def _decision_values(explainer, X, targets):
    """Return the decision value of one class for each row, or None without a head."""
    if not hasattr(explainer, "decision_function"):
        return [None] * X.shape[0]
    codes = np.searchsorted(explainer.classes_, targets)
    return of_class(explainer.decision_function(X), codes).tolist()


def _same_labels(a, b):
    """Whether labels agree; those of different types do where they print alike."""
    if (a.dtype.kind == "U") != (b.dtype.kind == "U"):
        a, b = a.astype(str), b.astype(str)
    return a == b
