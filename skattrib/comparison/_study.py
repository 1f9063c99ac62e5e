"""What all explainers are measured on: the rows, faults planted in them, and ground truth."""

import time
import tracemalloc
from collections.abc import Mapping
from functools import cached_property
from numbers import Integral, Real

import numpy as np
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.utils import Bunch, check_array, check_random_state, check_scalar
from sklearn.utils.validation import has_fit_parameter

from .._arrays.checks import (
    canonical_csr,
    check_features,
    check_same_rows,
    encode_labels,
    plain_array,
)
from ..planting import flip_labels, merge_classes, plant_shortcut
from ..retraining import leave_one_out_outputs, subset_outputs
from ..retraining.refits import check_classifier, decision_values, derived, refit, run

# faults in rows or labels that the explainer does not see; what `faults` calls them
PLANTED = {"merged": "subclasses", "noisy": "is_flipped", "marked": "has_mark"}
TRUTHS = {
    "subset_truth": {"targets", "masks", "outputs"},
    "leave_one_out_truth": {"targets", "rows", "effects"},
}


class Study:
    """Rows, and what is planted or retrained for several metrics, each once and when asked for.

    `options` are the parameters of `compare_explainers` of the same names.
    """

    bar = None  # of progress, where there is one

    def __init__(self, explainers, X, y, X_test, y_test, estimator, options):
        check_same_rows(X=X, y=y)
        check_same_rows(X_test=X_test, y_test=y_test)
        self.X, self.X_test = _rows(X, "X"), _rows(X_test, "X_test")
        self.y = plain_array(y, "y")
        self.y_test = None if y_test is None else plain_array(y_test, "y_test")
        self.estimator = None if estimator is None else check_classifier(estimator)
        self.options = options
        self.n, self.m = self.X.shape[0], self.X_test.shape[0]
        if self.y.shape != (self.n,):
            raise ValueError(f"y has shape {self.y.shape} but X has {self.n} rows.")
        if self.y_test is not None and self.y_test.shape != (self.m,):
            raise ValueError(f"y_test has shape {self.y_test.shape} but X_test has {self.m} rows.")
        encode_labels(self.y, self.y if self.y_test is None else self.y_test, "y and y_test")
        for name, fields in TRUTHS.items():
            truth = options[name]
            if isinstance(truth, Mapping) and truth.get("output") == "decision":
                raise ValueError(f"{name} must be of one class a row, not of all.")
            if truth is not None and not (isinstance(truth, Mapping) and fields <= truth.keys()):
                raise TypeError(f"{name} must be what skattrib.retraining returns, got {truth!r}.")
        for name in ("flipped", "marked"):
            check_scalar(options[name], name, Real, min_val=0, max_val=1)
        self.targets = self._targets()
        self.faults = self._faults()
        self.own_rows = self._own_rows(explainers)
        self.fit_params = self._fit_params(explainers)
        check_scalar(options.memory, "memory", (bool, np.bool_))
        check_scalar(options.verbose, "verbose", Integral)
        rng = check_random_state(options.random_state)
        # one for each use, so that a metric's score does not depend on the others chosen
        kinds = ("merge", "flip", "mark", "subsets", "left out", "bootstrap", "model", "curves")
        self.seeds = {kind: int(rng.randint(2**31 - 1)) for kind in kinds}

    def _targets(self):
        """The explained classes, where they are given."""
        if self.options.targets is None:
            return None
        found = plain_array(self.options.targets, "targets")
        if found.shape != (self.m,):
            raise ValueError(f"targets has shape {found.shape} but X_test has {self.m} rows.")
        encode_labels(self.y, found, "y and targets")
        strange = ~np.isin(found, self.y)
        if strange.any():
            raise ValueError(f"target {found[strange].tolist()[0]!r} is no class of y.")
        return found

    def _faults(self):
        """Faults that the rows have already, checked."""
        given = self.options.faults
        given = {} if given is None else given
        if not isinstance(given, Mapping):
            raise TypeError(f"faults must be a dict, got a {type(given).__name__}.")
        strange = [key for key in given if key not in PLANTED.values()]
        if strange:
            known = ", ".join(map(repr, PLANTED.values()))
            raise ValueError(f"there is no fault {strange[0]!r}; choose from {known}.")
        found = dict(given)
        for name in found.keys() - {"subclasses"}:
            found[name] = plain_array(found[name], f"faults[{name!r}]")
            if found[name].shape != (self.n,):
                raise ValueError(
                    f"faults[{name!r}] has shape {found[name].shape}; expected ({self.n},), "
                    "true or false for each row of X."
                )
        if "subclasses" in found:
            pair = found["subclasses"]
            if not isinstance(pair, (tuple, list)) or len(pair) != 2:
                raise TypeError(
                    "faults['subclasses'] must be a pair of the labels of X and of X_test, got "
                    f"{type(pair).__name__}."
                )
            pair = [plain_array(labels, "faults['subclasses']") for labels in pair]
            if [labels.shape for labels in pair] != [(self.n,), (self.m,)]:
                shapes = " and ".join(str(labels.shape) for labels in pair)
                raise ValueError(
                    f"faults['subclasses'] have shapes {shapes}; expected ({self.n},) and "
                    f"({self.m},), the labels of X and of X_test."
                )
            found["subclasses"] = pair
        return found

    def _of_explainers(self, name, explainers):
        """A mapping of explainers' names, of the options."""
        given = self.options[name]
        given = {} if given is None else given
        if not isinstance(given, Mapping):
            raise TypeError(
                f"{name} must be a dict of the explainers' names, got a {type(given).__name__}."
            )
        strange = [key for key in given if key not in explainers]
        if strange:
            known = ", ".join(map(repr, explainers))
            raise ValueError(f"{name} has {strange[0]!r}, but the explainers are {known}.")
        return given

    def _own_rows(self, explainers):
        found = {}
        for name, pair in self._of_explainers("rows", explainers).items():
            place = f"rows[{name!r}]"
            if not isinstance(pair, (tuple, list)) or len(pair) != 2:
                raise TypeError(f"{place} must be a pair (X, X_test), got {type(pair).__name__}.")
            X, X_test = (_rows(part, place) for part in pair)
            if (X.shape[0], X_test.shape[0]) != (self.n, self.m):
                raise ValueError(
                    f"{place} has {X.shape[0]} and {X_test.shape[0]} rows, X and X_test have "
                    f"{self.n} and {self.m}: give one for each."
                )
            found[name] = X, X_test
        return found

    def _fit_params(self, explainers):
        found = self._of_explainers("fit_params", explainers)
        for name, params in found.items():
            if not isinstance(params, Mapping):
                raise TypeError(
                    f"fit_params[{name!r}] must be a dict of parameters of fit, got a "
                    f"{type(params).__name__}."
                )
            for key in params:
                if key in ("X", "y") or not has_fit_parameter(explainers[name], key):
                    raise ValueError(f"fit of explainers[{name!r}] takes no {key!r}.")
        return found

    def lacking(self, needs):
        """What must be given for the first of the needs that cannot be met; None if all can."""
        words = {}
        if self.faults:
            names = {need: told for need, told in PLANTED.items() if told not in self.faults}
            words |= {need: f"{told!r} among the faults" for need, told in names.items()}
            words["corrected"] = "labels without the faults, which X and y have already"
        if self.y_test is None:
            words["y_test"] = "y_test"
        if len(np.unique(self.y)) < 3 and not self.faults:
            words["merged"] = "three classes or more"
        if self.estimator is None:
            words["estimator"] = "an estimator to retrain"
            words["outputs"] = "an estimator to compare with"
            for name in TRUTHS:
                if self.options[name] is None:
                    words[name] = f"an estimator to retrain, or {name}"
        return next((words[need] for need in needs if need in words), None)

    def say(self, text):
        """Tell what is done next."""
        if self.bar is not None:
            self.bar.set_postfix_str(text)
            self.bar.update()
        elif self.options.verbose:
            print(f"[compare_explainers] {text}")

    @property
    def interval(self):
        """Options of a score: whether it comes with an interval."""
        if self.options.confidence is None:
            return {}
        confidence = self.options.confidence
        return {"confidence": confidence, "random_state": self.seeds["bootstrap"]}

    @property
    def refits(self):
        """Options of a score that retrains."""
        return {"n_jobs": self.options.n_jobs, "random_state": self.seeds["curves"]}

    @property
    def curves(self):
        """Options of a curve."""
        shares = self.options.shares
        return self.refits | ({} if shares is None else {"shares": shares})

    # what metrics need, by the names in `needs`

    corrected = True  # no fault but what is planted here

    @cached_property
    def merged(self):
        """Labels of merged classes, and the classes of training and test rows."""
        if self.faults:
            subclasses, of_test = self.faults["subclasses"]
            return Bunch(y=self.y, subclasses=subclasses, of_test=of_test)
        groups, n_groups = self.options.groups, self.options.n_groups
        y = merge_classes(self.y, groups, n_groups=n_groups, random_state=self.seeds["merge"])[0]
        return Bunch(y=y, subclasses=self.y, of_test=self.y_test)

    @cached_property
    def noisy(self):
        """Labels of which some are flipped, and where."""
        if self.faults:
            return Bunch(y=self.y, is_flipped=self.faults["is_flipped"])
        y, is_flipped = flip_labels(self.y, self.options.flipped, random_state=self.seeds["flip"])
        return Bunch(y=y, is_flipped=is_flipped)

    @cached_property
    def marked(self):
        """Rows of which some of one class are marked, and all test rows of the others."""
        if self.faults:
            return self._marked_already()
        label, value = self.options.marked_class, self.options.mark_value
        label = np.unique(self.y)[0] if label is None else label
        options = {
            "where": self.options.mark,
            "value": self.X.max() if value is None else value,
            "random_state": self.seeds["mark"],
        }
        X, has_mark = plant_shortcut(self.X, self.y, label, self.options.marked, **options)
        X_test, is_marked = plant_shortcut(
            self.X_test, self.y_test, label, 1.0, others=True, **options
        )
        return Bunch(X=X, has_mark=has_mark, X_test=X_test, label=label, is_marked=is_marked)

    def _marked_already(self):
        label = self.options.marked_class
        if label is None or not np.isin(label, self.y):
            raise ValueError(f"marked_class is {label!r}; name the class that 'has_mark' tells of.")
        others = self.y_test != label
        if not others.any():
            raise ValueError(f"y_test has only rows of class {label!r}; the mark is on the others.")
        has_mark = self.faults["has_mark"]
        return Bunch(X=self.X, has_mark=has_mark, X_test=self.X_test, label=label, is_marked=others)

    @cached_property
    def subset_truth(self):
        """Outputs retrained on subsets, given or measured."""
        if self.options.subset_truth is not None:
            return self.options.subset_truth
        sizes = self.options.n_subsets, self.options.fraction
        return self._retrain(subset_outputs, "subsets", *sizes)

    @cached_property
    def leave_one_out_truth(self):
        """Effects of leaving out a few rows, given or measured."""
        if self.options.leave_one_out_truth is not None:
            return self.options.leave_one_out_truth
        size = check_scalar(self.options.n_left_out, "n_left_out", Integral, min_val=1)
        rng = check_random_state(self.seeds["left out"])
        rows = np.sort(rng.choice(self.n, size=min(size, self.n), replace=False))
        return self._retrain(leave_one_out_outputs, "left out", rows=rows.tolist())

    def _retrain(self, function, kind, *sizes, **options):
        return function(
            *(self.estimator, self.X, self.y, self.X_test, *sizes),
            random_state=self.seeds[kind],
            n_jobs=self.options.n_jobs,
            verbose=self.options.verbose,
            **options,
        )

    @cached_property
    def reference(self):
        """`estimator` fitted to all rows."""
        job = self.estimator, self.X, self.y, derived(self.seeds["model"])
        ((_, model),) = run(_fit, [job], n_jobs=1)
        return model

    @cached_property
    def predicted(self):
        """What the reference predicts."""
        return self.reference.predict(self.X_test)

    @cached_property
    def outputs(self):
        """Decision values of the reference."""
        return decision_values(self.reference, self.X_test, len(self.reference.classes_))


def _rows(rows, name):
    """Finite float rows, canonical where they are sparse."""
    check_features(rows, name)
    if sp.issparse(rows):
        rows = canonical_csr(rows, name)
    return check_array(rows, accept_sparse="csr", dtype=[np.float64, np.float32], input_name=name)


class Case:
    """One explainer of a study: what it says of the rows as they are, and what that costs."""

    def __init__(self, study, name, explainer):
        self.study, self.name, self.explainer = study, name, explainer
        self.X, self.X_test = study.own_rows.get(name, (study.X, study.X_test))
        study.say(f"{name}: fit")
        start = time.perf_counter()
        self.fitted = self.fit(self.X, study.y)
        self.cost = {"fit_seconds": time.perf_counter() - start}
        self.predicted = study.targets
        if study.targets is None:
            self.predicted = self.fitted.predict(self.X_test)
        start = time.perf_counter()
        self.T = self.fitted.attribute(self.X_test, self.predicted)
        self.cost["seconds_per_row"] = (time.perf_counter() - start) / study.m
        if study.options.memory:
            study.say(f"{name}: memory")
            self.cost["peak_mb"] = self._peak()

    def meets(self, needs):
        """Whether its rows can have the faults that a metric needs."""
        known = self.name not in self.study.own_rows or bool(self.study.faults)
        return known or PLANTED.keys().isdisjoint(needs)

    def fit(self, X, y):
        """A fitted clone of the explainer."""
        return clone(self.explainer).fit(X, y, **self.study.fit_params.get(self.name, {}))

    def attribute(self, target):
        """Attributions of a target to the rows as they are."""
        return self.fitted.attribute(self.X_test, target)

    @cached_property
    def noisy(self):
        """The explainer fitted to labels of which some are flipped."""
        return self.fitted if self.study.faults else self.fit(self.study.X, self.study.noisy.y)

    @cached_property
    def fooled(self):
        """The explainer fitted to marked rows, and the marked test rows that fall for the mark."""
        marked = self.study.marked
        if self.study.faults:
            one, X_test, predicted = self.fitted, self.X_test, self.predicted
        else:
            one, X_test = self.fit(marked.X, self.study.y), marked.X_test
            predicted = one.predict(X_test)
        return one, X_test[np.flatnonzero(marked.is_marked & (predicted == marked.label))]

    def _peak(self):
        tracing = tracemalloc.is_tracing()
        if not tracing:
            tracemalloc.start()
        try:
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            self.fit(self.X, self.study.y).attribute(self.X_test, self.predicted)
            return (tracemalloc.get_traced_memory()[1] - before) / 1e6
        finally:
            if not tracing:
                tracemalloc.stop()


def _fit(estimator, X, y, seed):
    return refit(estimator, X, y, seed=seed)
