"""Explainers side by side on one's own data: scores of the papers, cost, ranks."""

import time
import tracemalloc
import warnings
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import rankdata
from sklearn.base import clone
from sklearn.utils import Bunch, check_array, check_random_state

from . import metrics as scores
from .planting import flip_labels, merge_classes, plant_shortcut
from .retraining import leave_one_out_outputs, subset_outputs

__all__ = ["METRICS", "compare_explainers"]

METRICS = (
    "class_detection",
    "subclass_detection",
    "mislabel_detection",
    "shortcut_detection",
    "linear_datamodeling",
    "leave_one_out",
    "self_influence",
    "completeness",
    "sparsity",
)
# not ranked: what a method is like, not how right it is
_DESCRIPTIONS = {"completeness", "sparsity"}


def compare_explainers(
    explainers: Mapping,
    X,
    y: ArrayLike,
    X_test,
    y_test: ArrayLike | None = None,
    *,
    estimator=None,
    metrics: Sequence[str] | None = None,
    groups: Mapping | Sequence[Sequence] | None = None,
    n_groups: int = 2,
    flipped: float = 0.1,
    marked_class=None,
    marked: float = 0.5,
    mark=None,
    mark_value: float | None = None,
    n_subsets: int = 50,
    fraction: float = 0.5,
    n_left_out: int = 20,
    subset_truth: Bunch | None = None,
    leave_one_out_truth: Bunch | None = None,
    memory: bool = True,
    confidence: float | None = None,
    n_jobs: int | None = None,
    random_state=None,
    verbose: int = 0,
) -> Bunch:
    """Fit explainers, score their attributions in the ways of the papers, and rank them.

    Parameters
    ----------
    explainers : mapping of name to unfitted explainer
        Each is cloned and fitted once for the rows as they are, and once more for each planted
        fault. An explainer of a frozen classifier explains that one, which knows no fault.
    X : array, CSR or frame of shape (n, n_features)
    y : array-like of shape (n,)
    X_test : as X, of m rows
        The rows that are explained. All (m, n) attributions of a method are in memory at once.
    y_test : array-like of shape (m,), optional
        True labels, which subclass and shortcut detection need.
    estimator : classifier, optional
        What is retrained for the ground truth of "linear_datamodeling" and "leave_one_out": the
        kind of model whose training the attributions should tell of. Its tolerance should be far
        below the effect of a row, or "leave_one_out" measures noise.
    metrics : sequence of str, optional
        By default all that can be had, but "self_influence".

        - "class_detection": the top row has the predicted class
        - "subclass_detection": of classes that are merged, the top row has the hidden one
        - "mislabel_detection": mean absolute attribution finds flipped labels
        - "self_influence": `self_influence_` finds them
        - "shortcut_detection": of test rows that fall for a planted mark, the top row carries it
        - "linear_datamodeling", "leave_one_out" (with its slope): agreement with retraining
        - "completeness": error of the sum of attributions; where there is a decision function
        - "sparsity": share of non-zero rows, and rows that hold 90 % of the mass
    groups, n_groups : optional
        How :func:`~skattrib.planting.merge_classes` merges classes.
    flipped : float, default=0.1
        Share of labels that are flipped.
    marked_class : label, optional
        Class that is marked; by default the first.
    marked, mark, mark_value : optional
        `fraction`, `where` and `value` of :func:`~skattrib.planting.plant_shortcut`.
    n_subsets, fraction : optional
        Of :func:`~skattrib.retraining.subset_outputs`.
    n_left_out : int, default=20
        Training rows, drawn at random, that are left out one at a time.
    subset_truth, leave_one_out_truth : Bunch, optional
        Ground truth at hand for X, y and X_test, of one output a test row, as the two functions of
        :mod:`skattrib.retraining` return it; nothing is retrained for it.
    memory : bool, default=True
        Measure the peak memory, in a further fit and explanation under tracemalloc.
    confidence : float, optional
        Level of bootstrap intervals over the test rows, such as 0.95.
    n_jobs : int, optional
        Refits of `estimator` at a time.
    random_state : int, RandomState or None, default=None
        Decides what is planted, drawn and resampled. Explainers keep their own.
    verbose : int, default=0
        Positive: print progress.

    Returns
    -------
    result : :class:`~sklearn.utils.Bunch`
        Dictionary-like object, with fields:

        table : dict of str to list
            Columns of one entry for each explainer, ready for ``pandas.DataFrame(table)``:
            "explainer", one a metric, NaN where it does not exist for the explainer
            ("leave_one_out" also has "_slope", shortcut detection "shortcut_rows": how many test
            rows fell for it; "sparsity" is "nonzero_share" and "rows_for_mass"; with `confidence`
            also "_low" and "_high"), "accuracy" if there is `y_test`, "fit_seconds",
            "seconds_per_row" of attributions, "peak_mb" and "average_rank".
        ranks : dict of str to list
            For each metric but "completeness" and "sparsity", 1 for the highest score; ties share
            the mean of their ranks.
        average_rank : ndarray of shape (n_explainers,)
            Mean over those metrics that the explainer has.
        n_test : int

    Raises
    ------
    ValueError
        For no explainers, unknown metrics, and metrics whose needs are not met.

    Warns
    -----
    UserWarning
        If no test row falls for the shortcut of some explainer: its score is NaN.

    Notes
    -----
    All but the seconds and megabytes is the same for the same `random_state`. Memory counts what
    numpy and Python allocate, not the threads of BLAS. Explained are the predicted classes of each
    explainer, but for the ground truth those of `estimator`.

    References
    ----------
    Hanawa et al., "Evaluation of similarity-based explanations", ICLR 2021. Yolcu et al.,
    "DualXDA", 2025, the average rank against cost.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skattrib import DualViewExplainer, SimilarityExplainer, compare_explainers
    >>> X, y = load_iris(return_X_y=True)
    >>> explainers = {"dualview": DualViewExplainer(C=0.01), "nearest": SimilarityExplainer()}
    >>> result = compare_explainers(
    ...     explainers, X[::2], y[::2], X[1::2], metrics=["class_detection"], random_state=0
    ... )
    >>> result.table["explainer"]
    ['dualview', 'nearest']
    """
    study = _Study(X, y, X_test, y_test, metrics, confidence, random_state, verbose)
    truths = {"linear_datamodeling": subset_truth, "leave_one_out": leave_one_out_truth}
    study.check(explainers, estimator, truths)
    study.plant(groups, n_groups, flipped, marked_class, marked, mark, mark_value)
    study.retrain(estimator, truths, n_subsets, fraction, n_left_out, n_jobs)
    lines = []
    for name, explainer in explainers.items():
        lines.append(study.line(name, explainer, memory))
    columns = list(dict.fromkeys(key for line in lines for key in line))
    table = {key: [line.get(key, np.nan) for line in lines] for key in columns}
    ranked = [name for name in study.metrics if name not in _DESCRIPTIONS]
    ranks = {name: _ranks(table[name]) for name in ranked}
    average = _mean_of_known(list(ranks.values()), len(lines))
    table["average_rank"] = average.tolist()
    return Bunch(table=table, ranks=ranks, average_rank=average, n_test=study.m)


class _Study:
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
        kinds = ("merge", "flip", "mark", "subsets", "left out", "bootstrap")
        self.seeds = {kind: int(rng.randint(2**31 - 1)) for kind in kinds}

    def check(self, explainers, estimator, truths):
        """Settle the metrics; refuse those that cannot be had."""
        if not isinstance(explainers, Mapping) or not explainers:
            raise ValueError("explainers must be a dict of name to explainer, with one or more.")
        if self.y.shape != (self.X.shape[0],):
            raise ValueError(f"y has shape {self.y.shape} but X has {self.X.shape[0]} rows.")
        if self.y_test is not None and self.y_test.shape != (self.m,):
            raise ValueError(f"y_test has shape {self.y_test.shape} but X_test has {self.m} rows.")
        missing = {}
        if self.y_test is None:
            missing |= dict.fromkeys(("subclass_detection", "shortcut_detection"), "y_test")
        if len(np.unique(self.y)) < 3:
            missing["subclass_detection"] = "three classes or more"
        if estimator is None:
            for name, parameter in (
                ("linear_datamodeling", "subset_truth"),
                ("leave_one_out", "leave_one_out_truth"),
            ):
                if truths[name] is None:
                    missing[name] = f"an estimator to retrain, or {parameter}"
        if self.metrics is None:
            self.metrics = [name for name in METRICS if name not in {*missing, "self_influence"}]
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
        if wanted & {"mislabel_detection", "self_influence"}:
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
        self.truths = dict(truths)
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
            elif metric == "completeness":
                out[metric] = _completeness(fitted, self.X_test, T, predicted)
            elif metric == "sparsity":
                found = scores.sparsity(T)
                out |= {key: float(value.mean()) for key, value in found.items()}
            elif metric == "subclass_detection":
                one = clone(explainer).fit(self.X, self.merged)
                attributions = one.attribute(self.X_test)
                score = scores.subclass_detection_score
                self._add(out, metric, score, attributions, self.y, self.y_test)
            elif metric in ("mislabel_detection", "self_influence"):
                noisy = noisy or clone(explainer).fit(self.X, self.noisy)
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
        for end, value in parts.items():
            if isinstance(value, Mapping):
                out[name + end] = value["correlation"]
                out[f"{name}_slope{end}"] = value["slope"]
            else:
                out[name + end] = value

    def _say(self, text):
        if self.verbose:
            print(f"[compare_explainers] {text}")


def _completeness(fitted, X_test, T, predicted):
    if not hasattr(fitted, "decision_function"):
        return np.nan
    outputs = fitted.decision_function(X_test)
    if outputs.ndim == 1:
        outputs = np.where(predicted == fitted.classes_[1], outputs, -outputs)
    else:
        outputs = outputs[np.arange(len(outputs)), np.searchsorted(fitted.classes_, predicted)]
    return scores.completeness_error(T, outputs)


def _ranks(values):
    """1 for the highest; NaN where there is none."""
    values = np.asarray(values, dtype=float)
    out = np.full(len(values), np.nan)
    known = ~np.isnan(values)
    out[known] = rankdata(-values[known])
    return out.tolist()


def _mean_of_known(columns, n):
    columns = np.array(columns, dtype=float).reshape(-1, n)
    known = ~np.isnan(columns)
    total = np.where(known, columns, 0).sum(axis=0)
    return np.divide(total, known.sum(axis=0), out=np.full(n, np.nan), where=known.any(axis=0))
