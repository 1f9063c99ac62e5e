"""Explanations of rows as records, ready to be printed or written."""

from collections.abc import Iterator

import numpy as np
from sklearn.utils import gen_batches

from .._arrays import of_class

BATCH = 256  # test rows scored at a time


def explanations(explainer, train, test, rows, predicted, targets, top) -> Iterator[dict]:
    """Yield one record, ready for JSON, for each of the test rows asked for."""
    rows, top = np.asarray(rows), min(top, train.X.shape[0])
    for batch in gen_batches(len(rows), BATCH):
        j = rows[batch]
        X, target = test.X[j], targets[j]
        outputs = target_values(explainer, X, target)
        strongest = [
            explainer.top_k(X, top, target=target, largest=largest) for largest in (True, False)
        ]
        for position, row in enumerate(j):
            kinds = [
                _ranked(values[position], indices[position], sign, train)
                for (values, indices), sign in zip(strongest, (1, -1), strict=True)
            ]
            yield {
                "test_id": test.ids[row].item(),
                "predicted": predicted[row].item(),
                "target_class": target[position].item(),
                "decision_value": None if outputs[position] is None else float(outputs[position]),
                "proponents": kinds[0],
                "opponents": kinds[1],
            }


def _ranked(values, indices, sign, train):
    """Describe the training rows whose values have the sign; the strongest come first."""
    return [
        {
            "rank": rank,
            "train_id": train.ids[i].item(),
            "train_label": train.y[i].item(),
            "value": float(value),
        }
        for rank, (value, i) in enumerate(zip(values, indices, strict=True), start=1)
        if sign * value > 0
    ]


def target_values(explainer, X, targets):
    """Return the decision value of one class for each row, or None without a head."""
    if not hasattr(explainer, "decision_function"):
        return [None] * X.shape[0]
    codes = np.searchsorted(explainer.classes_, targets)
    return of_class(explainer.decision_function(X), codes)


def same_labels(a, b):
    """Whether labels agree; those of different types do where they print alike."""
    if (a.dtype.kind == "U") != (b.dtype.kind == "U"):
        a, b = a.astype(str), b.astype(str)
    return a == b
