"""Refits of any estimator on some of its rows: seeded, parallel, one BLAS thread each; outputs."""

import threading
from contextlib import contextmanager
from numbers import Integral

import numpy as np
import scipy.sparse as sp
import sklearn
from sklearn.base import clone, is_classifier
from sklearn.dummy import DummyClassifier
from sklearn.pipeline import Pipeline
from sklearn.utils import check_scalar, indexable
from sklearn.utils.parallel import delayed
from sklearn.utils.validation import has_fit_parameter
from threadpoolctl import ThreadpoolController

from .._arrays import count, log_odds, of_class, take
from .._arrays.checks import (
    canonical_csr,
    check_estimator,
    check_plain,
    check_same_rows,
    check_workers,
    plain_array,
)
from .._arrays.progress import results_of, tracked

CLASSIFIER_OUTPUTS = ("logit", "margin", "log_odds", "probability", "loss", "decision")
REGRESSOR_OUTPUTS = ("prediction", "loss")


def check_refit_data(X, y, X_test, y_test=None, sample_weight=None):
    """Rows that can be indexed, and 1-D arrays as long as they are."""
    check_same_rows(X=X, y=y, sample_weight=sample_weight)
    check_same_rows(X_test=X_test, y_test=y_test)
    check_plain(X, "X")
    check_plain(X_test, "X_test")
    for rows, name in ((X, "X"), (X_test, "X_test")):
        if sp.issparse(rows):
            canonical_csr(rows, name)  # broken ones would be read, and written, out of bounds
    X, X_test = indexable(X)[0], indexable(X_test)[0]
    n, m = count(X), count(X_test)
    y = _check_length(y, "y", n, "X")
    if y_test is not None:
        y_test = _check_length(y_test, "y_test", m, "X_test")
    if sample_weight is not None:
        sample_weight = _check_length(sample_weight, "sample_weight", n, "X").astype(np.float64)
        if not (np.isfinite(sample_weight).all() and (sample_weight >= 0).all()):
            raise ValueError("sample_weight must be finite and negative nowhere.")
    if n < 2 or m < 1:
        raise ValueError(f"X has {n} rows and X_test {m}; give 2 or more and 1 or more.")
    return X, y, X_test, y_test, sample_weight


def check_classifier(estimator):
    """The estimator, if it is a classifier."""
    if not is_classifier(check_estimator(estimator)):
        raise ValueError(f"{type(estimator).__name__} is no classifier, which is needed here.")
    return estimator


def _check_length(values, name, length, of):
    values = plain_array(values, name)
    if values.shape != (length,):
        raise ValueError(
            f"{name} has shape {values.shape}; expected ({length},), one a row of {of}."
        )
    return values


def draw_seed(random_state):
    """An integer from which all seeds are derived."""
    if isinstance(random_state, (int, np.integer)) and not isinstance(random_state, bool):
        if random_state < 0:
            raise ValueError(f"random_state must not be negative; got {random_state}.")
        return int(random_state)
    return int(sklearn.utils.check_random_state(random_state).randint(2**31 - 1))


def derived(seed, *key):
    """The seed at a place of the tree of seeds, whatever is drawn elsewhere in it."""
    return np.random.SeedSequence(seed, spawn_key=key)


def refit(estimator, X, y, rows=None, *, sample_weight=None, seed=None):
    """A clone fitted on some rows; its random states come from a SeedSequence.

    A classifier left with rows of one class becomes a constant one, which most refuse to fit.
    """
    model = clone(estimator)
    if seed is not None:
        names = sorted(
            name
            for name in model.get_params(deep=True)
            if name == "random_state" or name.endswith("__random_state")
        )
        states = seed.generate_state(len(names)) >> 1  # some libraries want them below 2**31
        model.set_params(**dict(zip(names, states.tolist(), strict=True)))
    if rows is not None:
        X, y = take(X, rows), y[rows]
    if is_classifier(model) and (y == y[0]).all():
        return DummyClassifier(strategy="most_frequent").fit(X, y)
    if sample_weight is None:
        return model.fit(X, y)
    weight = sample_weight if rows is None else sample_weight[rows]
    return model.fit(X, y, **{_weight_parameter(model): weight})


def _weight_parameter(model):
    if isinstance(model, Pipeline):
        name, last = model.steps[-1]
        return f"{name}__{_weight_parameter(last)}"
    if not has_fit_parameter(model, "sample_weight"):
        raise ValueError(
            f"{type(model).__name__}.fit takes no sample_weight; leave sample_weight out."
        )
    return "sample_weight"


def run(function, jobs, *, n_jobs=None, verbose=0, title="refits"):
    """Yield (k, function(*jobs[k])) in the order in which jobs end.

    Results do not depend on `n_jobs` because every job sees one BLAS thread.
    """
    check_scalar(verbose, "verbose", Integral)
    calls = [delayed(_alone)(function, k, job) for k, job in enumerate(jobs)]
    results = results_of(calls, check_workers(n_jobs, len(calls)))
    yield from tracked(results, len(calls), title=title, verbose=verbose)


def run_kept(function, jobs, folder, *, n_jobs=None, verbose=0, title="refits"):
    """As `run`, of jobs by name: results that a folder keeps come first, new ones are kept."""
    check_scalar(verbose, "verbose", Integral)
    missing = []
    for k, name in enumerate(jobs):
        found = folder.load(name)
        if found is None:
            missing.append((k, name))
        else:
            yield k, found
    if verbose and len(missing) < len(jobs):
        print(f"[{title}] {len(jobs) - len(missing)} of {len(jobs)} found in {folder.path}")
    calls = [jobs[name] for _, name in missing]
    for done, result in run(function, calls, n_jobs=n_jobs, verbose=verbose, title=title):
        k, name = missing[done]
        folder.save(name, result)
        yield k, result


def _alone(function, k, job):
    with _one_thread():
        return k, function(*job)


@contextmanager
def _one_thread():
    """One thread of OpenMP, which has a number for each of ours, and one of BLAS."""
    pools = ThreadpoolController()
    with pools.select(user_api="openmp").limit(limits=1):
        ONE_BLAS_THREAD.enter(pools.select(user_api="blas"))
        try:
            yield
        finally:
            ONE_BLAS_THREAD.leave()


class _OneBlasThread:
    """One BLAS thread while anybody is inside: the number is that of the process.

    The first to leave must not lift the limit of those who stay, nor the last put back what it
    found, which was the limit of another.
    """

    def __init__(self):
        self.lock, self.inside, self.limited = threading.Lock(), 0, []

    def enter(self, pools):
        """Counts one in; the first sets the limit."""
        with self.lock:
            # the first, or a library has been loaded since
            if any(pool["num_threads"] != 1 for pool in pools.info()):
                _release(pools)
                self.limited.append((pools, pools.limit(limits=1)))
                _release(pools)
            self.inside += 1

    def leave(self):
        """Counts one out; the last lifts the limit."""
        with self.lock:
            self.inside -= 1
            while self.limited and not self.inside:
                pools, limit = self.limited.pop()
                _release(pools)
                limit.restore_original_limits()
                _release(pools)


def _release(pools):
    # from 3.8 on threadpoolctl ignores all threads but the first that sets OpenBLAS's number
    for library in pools.lib_controllers:
        if hasattr(library, "clear_controlling_thread"):
            library.clear_controlling_thread(force=True)


ONE_BLAS_THREAD = _OneBlasThread()


def read_output(model, X_test, targets, classes, output):
    """The output of a fitted model for each test row."""
    if callable(output):
        values = np.asarray(output(model, X_test, targets), dtype=np.float64)
        if values.ndim < 1 or len(values) != count(X_test):
            raise ValueError(
                f"output returned shape {values.shape}; expected {count(X_test)} rows, one for "
                "each test row."
            )
    elif classes is None:
        values = np.asarray(model.predict(X_test), dtype=np.float64)
        values = -((values - targets) ** 2) if output == "loss" else values
    else:
        values = _read_class(model, X_test, targets, classes, output)
    if not np.isfinite(values).all():
        raise ValueError("a refit has outputs that are not finite.")
    return values


def _read_class(model, X_test, targets, classes, output):
    missing = np.setdiff1d(classes, model.classes_)
    if len(missing) and output != "probability":
        raise ValueError(
            f"a refit is left without any row of class {missing.tolist()[0]!r}, whose {output} is "
            "not defined; keep more rows, draw with stratify=True, or measure output='probability'."
        )
    codes = np.searchsorted(classes, targets)
    if output == "decision":
        return np.asarray(model.decision_function(X_test), dtype=np.float64)
    if output in ("logit", "margin"):
        values = decision_values(model, X_test, len(classes))
        own = of_class(values, codes)
        if output == "logit" or values.ndim == 1:
            return own
        values[np.arange(len(codes)), codes] = -np.inf
        return own - values.max(axis=1)
    shares = np.zeros((len(codes), len(classes)))
    shares[:, np.searchsorted(classes, model.classes_)] = model.predict_proba(X_test)
    if output == "log_odds":
        return of_class(log_odds(shares), codes)
    own = of_class(shares, codes)
    return own if output == "probability" else np.log(np.maximum(own, np.finfo(np.float64).eps))


def decision_values(model, X, n_classes):
    """Decision values, or log-odds where there are none: (m, n_classes), or (m,) of two classes."""
    if hasattr(model, "decision_function"):
        f = np.array(model.decision_function(X), dtype=np.float64)
    else:
        f = log_odds(model.predict_proba(X))
        f = f[:, 1] if n_classes == f.shape[1] == 2 else f
    if f.shape[1:] != (() if n_classes == 2 else (n_classes,)):
        columns = 1 if f.ndim == 1 else f.shape[1]
        raise ValueError(
            f"decision_function has {columns} columns for {n_classes} classes; choose an estimator "
            "with one each (decision_function_shape='ovr')."
        )
    return f


def check_output(estimator, output, y_test):
    """The name of an output that the estimator has, or the function."""
    if callable(output):
        return output
    known = CLASSIFIER_OUTPUTS if is_classifier(estimator) else REGRESSOR_OUTPUTS
    if output is None:
        if not is_classifier(estimator):
            return "prediction"
        output = "logit" if hasattr(estimator, "decision_function") else "log_odds"
    if output not in known:
        raise ValueError(f"output is {output!r}; expected one of {known} or a function.")
    if output == "loss" and y_test is None:
        raise ValueError("the loss needs the true classes (or values): give y_test.")
    needed = {"prediction": "predict", "log_odds": "predict_proba", "probability": "predict_proba"}
    if is_classifier(estimator):
        method = {**needed, "loss": "predict_proba"}.get(output, "decision_function")
        if not hasattr(estimator, method):
            raise ValueError(
                f"output {output!r} needs {method}, which {type(estimator).__name__} has not; "
                "choose another output or a function."
            )
    return output


def draw_subset(strata, fraction, seed, i):
    """Mask of subset i: a share of each stratum."""
    rng = np.random.default_rng(derived(seed, 1 + i, 0))
    mask = np.zeros(len(strata), dtype=bool)
    for value in np.unique(strata):
        members = np.flatnonzero(strata == value)
        size = max(1, round(fraction * len(members)))
        mask[rng.choice(members, size=size, replace=False)] = True
    return mask
