"""The metrics of compare_explainers: to add one is to add an entry to REGISTRY."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from .. import metrics as scores
from .._arrays import of_class
from .._arrays.checks import entries


@dataclass(frozen=True)
class Metric:
    """One entry of the registry.

    Parameters
    ----------
    name : what it is called in `metrics`, in the ranks and, mostly, in the table
    measure : function of a Study and a Case
        Returns what a function of `skattrib.metrics` returns: a number or a Bunch, with a
        confidence and its ends `low` and `high`; None if the explainer has no such score.
    needs : attributes of a Study
        They are found before any explainer is fitted.
    fields : mapping of fields of the Bunch to columns of the table
    higher_is_better : bool
    is_description : bool
        What a method is like, not how right it is: not ranked.
    on_request : bool
        Left out unless it is named.
    """

    name: str
    measure: Callable
    needs: tuple = ()
    fields: Mapping = field(default_factory=dict)
    higher_is_better: bool = True
    is_description: bool = False
    on_request: bool = False

    def columns(self, study, case):
        """Columns of the table for one explainer, with the ends of intervals that are known."""
        fields = self.fields or {"score": self.name}
        found = _as_fields(self.measure(study, case) if case.meets(self.needs) else None)
        out = dict.fromkeys(fields.values(), np.nan)
        for end in ("", "_low", "_high"):
            values = _as_fields(found.get(end[1:])) if end else found
            for key, value in values.items():
                if key in fields:
                    out[fields[key] + end] = float(np.mean(value)) if np.ndim(value) else value
        return out


def _as_fields(found):
    if isinstance(found, Mapping):
        return found
    return {} if found is None else {"score": found}


def _class_detection(study, case):
    return scores.class_detection_score(case.T, study.y, case.predicted, **study.interval)


def _subclass_detection(study, case):
    merged = study.merged
    T = case.T if study.faults else case.fit(study.X, merged.y).attribute(study.X_test)
    labels = merged.subclasses, merged.of_test
    return scores.subclass_detection_score(T, *labels, **study.interval)


def _mislabel_detection(study, case):
    T = case.T if study.faults else case.noisy.attribute(study.X_test)
    return scores.mislabel_detection_score(T, study.noisy.is_flipped, **study.interval)


def _self_influence(study, case):
    own = case.noisy.self_influence_
    return scores.mislabel_detection_score(own, study.noisy.is_flipped, **study.interval)


def _shortcut_detection(study, case):
    marked = study.marked
    one, X_test = case.fooled
    if not X_test.shape[0]:
        warnings.warn(
            f"shortcut detection: no test row falls for the mark with {case.name!r}; choose "
            "another mark, mark_value or marked_class, or mark more rows (marked).",
            stacklevel=5,
        )
        return {"rows": 0}
    T = one.attribute(X_test, marked.label)
    found = {
        kind: _as_fields(
            scores.shortcut_detection_score(T, marked.has_mark, kind=kind, **study.interval)
        )
        for kind in ("top", "average_precision")
    }

    def of_both(name):
        return {kind: one[name] for kind, one in found.items() if name in one}

    ends = {"low": of_both("low"), "high": of_both("high")}
    return {"rows": X_test.shape[0], **of_both("score"), **ends}


def _linear_datamodeling(study, case):
    truth = study.subset_truth
    T = case.attribute(truth.targets)
    return scores.linear_datamodeling_score(T, truth.masks, truth.outputs, **study.interval)


def _leave_one_out(study, case):
    truth = study.leave_one_out_truth
    T = case.attribute(truth.targets)
    return scores.leave_one_out_agreement(T, truth.effects, rows=truth.rows, **study.interval)


def _support(score, study, case):
    T = case.attribute(study.predicted)
    found = score(T, study.estimator, study.X, study.y, study.X_test, **study.refits)
    return found.flipped.mean()


def _curve(curve, study, case):
    data = study.X, study.y, study.X_test, study.y_test
    return curve(case.T, study.estimator, *data, **study.curves).accuracy.mean()


def _debugging(study, case):
    T = case.noisy.attribute(study.X_test)
    data = study.X, study.noisy.y, study.y, study.X_test, study.y_test
    return scores.debugging_curve(T, study.estimator, *data, **study.curves).accuracy.mean()


def _faithfulness(study, case):
    if not hasattr(case.fitted, "decision_function"):
        return None
    own = case.fitted.decision_function(case.X_test)
    return scores.faithfulness(own, study.outputs, **study.interval)


def _completeness(study, case):
    if not hasattr(case.fitted, "decision_function"):
        return None
    codes = np.searchsorted(case.fitted.classes_, case.predicted)
    outputs = of_class(case.fitted.decision_function(case.X_test), codes)
    if hasattr(case.fitted, "base_value"):
        outputs = outputs - case.fitted.base_value(case.X_test, case.predicted)
    return scores.completeness_error(case.T, outputs, **study.interval)


def _sparsity(study, case):
    return scores.sparsity(case.T, **study.interval)


def _top_k_cardinality(study, case):
    # of the top row, which all explainers have
    return scores.top_k_cardinality(case.T, k=1)


# those that retrain for each explainer anew are had on request only
REGISTRY = (
    Metric("class_detection", _class_detection),
    Metric("subclass_detection", _subclass_detection, needs=("y_test", "merged")),
    Metric("mislabel_detection", _mislabel_detection, needs=("noisy",)),
    Metric(
        "shortcut_detection",
        _shortcut_detection,
        needs=("y_test", "marked"),
        fields={
            "top": "shortcut_detection",
            "average_precision": "shortcut_average_precision",
            "rows": "shortcut_rows",
        },
    ),
    Metric("linear_datamodeling", _linear_datamodeling, needs=("subset_truth",)),
    Metric(
        "leave_one_out",
        _leave_one_out,
        needs=("leave_one_out_truth",),
        fields={"correlation": "leave_one_out", "slope": "leave_one_out_slope"},
    ),
    Metric("self_influence", _self_influence, needs=("noisy",), on_request=True),
    Metric(
        "data_removal",
        partial(_support, scores.data_removal_support),
        needs=("estimator", "predicted"),
        on_request=True,
    ),
    Metric(
        "mislabel_support",
        partial(_support, scores.mislabel_support),
        needs=("estimator", "predicted"),
        on_request=True,
    ),
    Metric(
        "coreset",
        partial(_curve, scores.coreset_curve),
        needs=("estimator", "y_test"),
        on_request=True,
    ),
    Metric(
        "pruning",
        partial(_curve, scores.pruning_curve),
        needs=("estimator", "y_test"),
        higher_is_better=False,
        on_request=True,
    ),
    Metric(
        "debugging",
        _debugging,
        needs=("corrected", "estimator", "y_test", "noisy"),
        on_request=True,
    ),
    Metric(
        "faithfulness",
        _faithfulness,
        needs=("outputs",),
        fields={"correlation": "faithfulness", "agreement": "faithfulness_agreement"},
        is_description=True,
    ),
    Metric("completeness", _completeness, is_description=True),
    Metric(
        "sparsity",
        _sparsity,
        fields={"nonzero_share": "nonzero_share", "rows_for_mass": "rows_for_mass"},
        is_description=True,
    ),
    Metric(
        "top_k_cardinality",
        _top_k_cardinality,
        fields={"cardinality": "top_k_cardinality", "share": "top_k_cardinality_share"},
        is_description=True,
    ),
)
METRICS = tuple(metric.name for metric in REGISTRY)


def choose(names, study):
    """Entries of the registry by name, by default all that can be had; refuses the others."""
    if names is None:
        return [
            metric
            for metric in REGISTRY
            if not metric.on_request and study.lacking(metric.needs) is None
        ]
    known, chosen = {metric.name: metric for metric in REGISTRY}, []
    names = entries(names, "metrics", "names")
    if not names:
        raise ValueError(f"metrics is empty: name one or more of {', '.join(known)}.")
    for name in names:
        if not isinstance(name, str) or name not in known:
            raise ValueError(f"there is no metric {name!r}; choose from {', '.join(known)}.")
        lacking = study.lacking(known[name].needs)
        if lacking is not None:
            raise ValueError(f"metric {name!r} needs {lacking}: give it, or leave it out.")
        chosen.append(known[name])
    return chosen
