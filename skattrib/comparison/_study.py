"""What compare_explainers measures of one explainer after the other, on the same rows."""

import time
import tracemalloc
import warnings
from collections.abc import Mapping

import numpy as np
from sklearn.base import clone
from sklearn.utils import check_array, check_random_state

from .. import metrics as scores
from .._arrays import of_class
from .._checks import encode_labels
from ..planting import flip_labels, merge_classes, plant_shortcut
from ..retraining import leave_one_out_outputs, subset_outputs
from ..retraining.refits import check_classifier, decision_values, derived, refit, run

METRICS = (
    "class_detection",
    "subclass_detection",
    "mislabel_detection",
    "shortcut_detection",
    "linear_datamodeling",
    "leave_one_out",
    "self_influence",
    "data_removal",
    "mislabel_support",
    "coreset",
    "pruning",
    "debugging",
    "faithfulness",
    "completeness",
    "sparsity",
)
# retrained for each explainer anew, and so only on request
RETRAINED = {"data_removal", "mislabel_support", "coreset", "pruning", "debugging"}
LOWEST_IS_BEST = {"pruning"}
# not ranked: what a method is like, not how right it is
DESCRIPTIONS = {"faithfulness", "completeness", "sparsity"}


class Study:
    """What is measured, on which rows."""

    def __init__(self, X, y, X_test, y_test, metrics, confidence, random_state, verbose):
        self.X, self.X_test = (
            check_array(rows, accept_sparse="csr", dtype=[np.float64, np.float32], input_name=name)
            for rows, name in ((X, "X"), (X_test, "X_test"))
        )
        self.y = np.asarray(y)
        self.y_test = None if y_test is None else np.asarray(y_test)
        self.metrics, self.confidence, self.verbose = metrics, confidence, verbose
        self.m = self.X_test.shape[0]
        rng = check_random_state(random_state)
        # one for each use, so that a metric's score does not depend on the others chosen
        kinds = ("merge", "flip", "mark", "subsets", "left out", "bootstrap", "model", "curves")
        self.seeds = {kind: int(rng.randint(2**31 - 1)) for kind in kinds}

    def check(self, explainers, estimator, truths):
        """Settle the metrics; refuse those that cannot be had."""
        if not isinstance(explainers, Mapping) or not explainers:
            raise ValueError("explainers must be a dict of name to explainer, with one or more.")
        for name, explainer in explainers.items():
            if isinstance(explainer, type) or not hasattr(explainer, "attribute"):
                raise ValueError(f"explainers[{name!r}] is no explainer, but {explainer!r}.")
        if estimator is not None:
            check_classifier(estimator)
        if self.y.shape != (self.X.shape[0],):
            raise ValueError(f"y has shape {self.y.shape} but X has {self.X.shape[0]} rows.")
        if self.y_test is not None and self.y_test.shape != (self.m,):
            raise ValueError(f"y_test has shape {self.y_test.shape} but X_test has {self.m} rows.")
        encode_labels(self.y, self.y if self.y_test is None else self.y_test, "y and y_test")
        for name, truth in truths.items():
            if truth is not None and truth.get("output") == "decision":
                raise ValueError(f"the truth of {name!r} must be of one class a row, not of all.")
        missing = {}
        if self.y_test is None:
            needy = "subclass_detection", "shortcut_detection", "coreset", "pruning", "debugging"
            missing |= dict.fromkeys(needy, "y_test")
        if len(np.unique(self.y)) < 3:
            missing["subclass_detection"] = "three classes or more"
        if estimator is None:
            for name, parameter in (
                ("linear_datamodeling", "subset_truth"),
                ("leave_one_out", "leave_one_out_truth"),
            ):
                if truths[name] is None:
                    missing[name] = f"an estimator to retrain, or {parameter}"
            missing["faithfulness"] = "an estimator to compare with"
            missing |= dict.fromkeys(RETRAINED, "an estimator to retrain")
        if self.metrics is None:
            left_out = {*missing, "self_influence"} | RETRAINED
            self.metrics = [name for name in METRICS if name not in left_out]
        if isinstance(self.metrics, str):
            raise ValueError(f"metrics must be a list of names, such as [{self.metrics!r}].")
        self.metrics = list(self.metrics)
        for name in self.metrics:
            if name not in METRICS:
                raise ValueError(f"there is no metric {name!r}; choose from {', '.join(METRICS)}.")
            if name in missing:
                raise ValueError(
                    f"metric {name!r} needs {missing[name]}: give it, or leave it out."
                )

    def plant(self, groups, n_groups, flipped, marked_class, marked, mark, mark_value):
        """Make the rows with faults."""
        wanted, seeds = set(self.metrics), self.seeds
        if "subclass_detection" in wanted:
            self.merged = merge_classes(
                self.y, groups, n_groups=n_groups, random_state=seeds["merge"]
            )[0]
        if wanted & {"mislabel_detection", "self_influence", "debugging"}:
            self.noisy, self.is_flipped = flip_labels(self.y, flipped, random_state=seeds["flip"])
        if "shortcut_detection" in wanted:
            self.marked_class = np.unique(self.y)[0] if marked_class is None else marked_class
            value = self.X.max() if mark_value is None else mark_value
            options = {"where": mark, "value": value, "random_state": seeds["mark"]}
            self.marked_X, self.has_mark = plant_shortcut(
                self.X, self.y, self.marked_class, marked, **options
            )
            self.marked_test, is_marked = plant_shortcut(
                self.X_test, self.y_test, self.marked_class, 1.0, others=True, **options
            )
            self.marked_test = self.marked_test[np.flatnonzero(is_marked)]

    def retrain(self, estimator, truths, n_subsets, fraction, n_left_out, n_jobs):
        """Measure the ground truth that is wanted and not at hand."""
        self.truths, self.estimator, self.n_jobs = dict(truths), estimator, n_jobs
        data = estimator, self.X, self.y, self.X_test
        options = {"n_jobs": n_jobs, "verbose": self.verbose}
        if "linear_datamodeling" in self.metrics and truths["linear_datamodeling"] is None:
            self.truths["linear_datamodeling"] = subset_outputs(
                *data, n_subsets, fraction, random_state=self.seeds["subsets"], **options
            )
        if "leave_one_out" in self.metrics and truths["leave_one_out"] is None:
            rng, n = check_random_state(self.seeds["left out"]), self.X.shape[0]
            rows = np.sort(rng.choice(n, size=min(n_left_out, n), replace=False))
            self.truths["leave_one_out"] = leave_one_out_outputs(
                *data, rows=rows.tolist(), random_state=self.seeds["left out"], **options
            )
        if {"faithfulness", "data_removal", "mislabel_support"} & set(self.metrics):
            job = estimator, self.X, self.y, derived(self.seeds["model"])
            ((_, model),) = run(_fit, [job], n_jobs=1)
            self.predicted = model.predict(self.X_test)
            if "faithfulness" in self.metrics:
                self.outputs = decision_values(model, self.X_test, len(model.classes_))

    def line(self, name, explainer, memory):
        """All columns of one explainer."""
        self._say(f"{name}: fit")
        start = time.perf_counter()
        fitted = clone(explainer).fit(self.X, self.y)
        cost = {"fit_seconds": time.perf_counter() - start}
        predicted = fitted.predict(self.X_test)
        start = time.perf_counter()
        T = fitted.attribute(self.X_test, predicted)
        cost["seconds_per_row"] = (time.perf_counter() - start) / self.m
        if memory:
            self._say(f"{name}: memory")
            cost["peak_mb"] = self._peak(explainer, predicted)
        out, noisy = {"explainer": name}, None
        for metric in self.metrics:
            self._say(f"{name}: {metric}")
            if metric in self.truths:
                self._add(out, metric, *self._against_truth(metric, fitted))
            elif metric == "class_detection":
                self._add(out, metric, scores.class_detection_score, T, self.y, predicted)
            elif metric == "faithfulness":
                self._add(out, metric, *self._against_model(fitted))
            elif metric == "completeness":
                self._add(out, metric, *self._sums(fitted, T, predicted))
            elif metric == "sparsity":
                self._add(out, metric, scores.sparsity, T)
            elif metric == "subclass_detection":
                one = clone(explainer).fit(self.X, self.merged)
                attributions = one.attribute(self.X_test)
                score = scores.subclass_detection_score
                self._add(out, metric, score, attributions, self.y, self.y_test)
            elif metric in ("data_removal", "mislabel_support"):
                attributions = fitted.attribute(self.X_test, self.predicted)
                out[metric] = self._mean_flipped(metric, attributions)
            elif metric in ("coreset", "pruning"):
                out[metric] = self._mean_accuracy(metric, T, self.y)
            elif metric in ("mislabel_detection", "self_influence", "debugging"):
                noisy = noisy or clone(explainer).fit(self.X, self.noisy)
                if metric == "debugging":
                    found = noisy.attribute(self.X_test)
                    out[metric] = self._mean_accuracy(metric, found, self.noisy, self.y)
                    continue
                own = metric == "self_influence"
                found = noisy.self_influence_ if own else noisy.attribute(self.X_test)
                self._add(out, metric, scores.mislabel_detection_score, found, self.is_flipped)
            else:
                count, *found = self._fallen(name, explainer)
                self._add(out, metric, *found)
                out["shortcut_rows"] = count
        if self.y_test is not None:
            out["accuracy"] = float(np.mean(predicted == self.y_test))
        return out | cost

    def _peak(self, explainer, predicted):
        tracing = tracemalloc.is_tracing()
        if not tracing:
            tracemalloc.start()
        try:
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            clone(explainer).fit(self.X, self.y).attribute(self.X_test, predicted)
            return (tracemalloc.get_traced_memory()[1] - before) / 1e6
        finally:
            if not tracing:
                tracemalloc.stop()

    def _against_truth(self, metric, fitted):
        truth = self.truths[metric]
        T = fitted.attribute(self.X_test, truth.targets)
        if metric == "linear_datamodeling":
            return scores.linear_datamodeling_score, T, truth.masks, truth.outputs

        def agreement(T, effects, **options):
            return scores.leave_one_out_agreement(T, effects, rows=truth.rows, **options)

        return agreement, T, truth.effects

    def _mean_flipped(self, metric, T):
        score = scores.data_removal_support if metric == "data_removal" else scores.mislabel_support
        data = self.estimator, self.X, self.y, self.X_test
        return float(score(T, *data, **self._refits()).flipped.mean())

    def _mean_accuracy(self, metric, T, *labels):
        curve = getattr(scores, f"{metric}_curve")
        data = self.estimator, self.X, *labels, self.X_test, self.y_test
        return float(curve(T, *data, **self._refits()).accuracy.mean())

    def _refits(self):
        return {"n_jobs": self.n_jobs, "random_state": self.seeds["curves"]}

    def _fallen(self, name, explainer):
        one = clone(explainer).fit(self.marked_X, self.y)
        fallen = np.flatnonzero(one.predict(self.marked_test) == self.marked_class)
        if not len(fallen):
            warnings.warn(
                f"shortcut detection: no test row falls for the mark with {name!r}; choose another "
                "mark, mark_value or marked_class, or mark more rows (marked).",
                stacklevel=4,
            )
            return (0,)
        T = one.attribute(self.marked_test[fallen], self.marked_class)
        return len(fallen), scores.shortcut_detection_score, T, self.has_mark

    def _against_model(self, fitted):
        if not hasattr(fitted, "decision_function"):
            return ()
        return scores.faithfulness, fitted.decision_function(self.X_test), self.outputs

    def _sums(self, fitted, T, predicted):
        if not hasattr(fitted, "decision_function"):
            return ()
        codes = np.searchsorted(fitted.classes_, predicted)
        outputs = of_class(fitted.decision_function(self.X_test), codes)
        return scores.completeness_error, T, outputs

    def _add(self, out, name, score=None, *arguments):
        """Columns of a score, with the ends of its interval."""
        if score is None:
            out[name] = np.nan
            return
        options = {}
        if self.confidence is not None:
            options = {"confidence": self.confidence, "random_state": self.seeds["bootstrap"]}
        found = score(*arguments, **options)
        parts = {"": found} if self.confidence is None else {"": found.get("score", found)}
        parts |= {} if self.confidence is None else {"_low": found.low, "_high": found.high}
        for end, values in parts.items():
            if not isinstance(values, Mapping):
                out[name + end] = values
                continue
            for key, value in values.items():
                if key not in ("low", "high"):
                    out[_column(name, key) + end] = float(np.mean(value))

    def _say(self, text):
        if self.verbose:
            print(f"[compare_explainers] {text}")


def _column(metric, field):
    if metric == "sparsity":
        return field
    return metric if field == "correlation" else f"{metric}_{field}"


def _fit(estimator, X, y, seed):
    return refit(estimator, X, y, seed=seed)
