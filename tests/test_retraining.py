"""Ground truth by retraining, against naive loops of clone and fit."""

import json
import os
import subprocess
import sys
import threading
import time

import joblib
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from scipy.special import log_softmax
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.datasets import load_digits, load_wine
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Ridge, SGDClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier
from threadpoolctl import threadpool_info, threadpool_limits

from skattrib import DatamodelExplainer, InfluenceExplainer, RepresenterExplainer
from skattrib.metrics import coreset_curve, leave_one_out_agreement, linear_datamodeling_score
from skattrib.retraining import leave_one_out_outputs, refits, subset_outputs
from skattrib.retraining.result_folder import digest

X_ALL, Y_ALL = load_wine(return_X_y=True)
X_ALL = StandardScaler().fit_transform(X_ALL)
ORDER = np.random.default_rng(0).permutation(len(X_ALL))
X, Y = X_ALL[ORDER[:60]], Y_ALL[ORDER[:60]]
X_TEST, Y_TEST = X_ALL[ORDER[60:70]], Y_ALL[ORDER[60:70]]
LOGISTIC = LogisticRegression(C=0.5)
BINARY = np.where(Y == 0, "no", "yes")
BINARY_TEST = np.where(Y_TEST == 0, "no", "yes")


# What is measured


def logits_of(model, codes):
    values = model.decision_function(X_TEST)
    values = np.column_stack([-values / 2, values / 2]) if values.ndim == 1 else values
    return values, np.arange(len(values)), codes


def naive_output(model, codes, output):
    """Of a softmax model, through its logits."""
    logits, each, codes = logits_of(model, codes)
    own = logits[each, codes]
    others = np.array([np.delete(row, c) for row, c in zip(logits, codes, strict=True)])
    logs = log_softmax(logits, axis=1)[each, codes]
    return {
        "logit": own if logits.shape[1] > 2 else 2 * own,
        "margin": own - others.max(axis=1),
        "log_odds": own - np.log(np.exp(others).sum(axis=1)),
        "probability": np.exp(logs),
        "loss": logs,
    }[output]


@pytest.mark.parametrize("output", ["logit", "margin", "log_odds", "probability", "loss"])
@pytest.mark.parametrize("labels", [(Y, Y_TEST), (BINARY, BINARY_TEST)], ids=["three", "two"])
def test_subset_outputs_are_those_of_clones_fitted_on_the_subsets(output, labels):
    y, y_test = labels
    truth = subset_outputs(
        LOGISTIC, X, y, X_TEST, 4, 0.5, y_test=y_test, output=output, random_state=0
    )
    assert truth.masks.shape == (4, 60) and truth.masks.dtype == bool
    assert_array_equal(truth.masks.sum(axis=1), 30)
    assert len({mask.tobytes() for mask in truth.masks}) == 4
    codes = np.searchsorted(np.unique(y), y_test)
    for mask, outputs in zip(truth.masks, truth.outputs, strict=True):
        model = clone(LOGISTIC).fit(X[mask], y[mask])
        assert_allclose(outputs, naive_output(model, codes, output), rtol=1e-6, atol=1e-12)
    model = clone(LOGISTIC).fit(X, y)
    assert_allclose(truth.full_outputs, naive_output(model, codes, output), rtol=1e-6)


def test_the_explained_class_is_by_default_what_the_full_model_predicts():
    truth = subset_outputs(LOGISTIC, X, Y, X_TEST, 2, random_state=0)
    predicted = clone(LOGISTIC).fit(X, Y).predict(X_TEST)
    assert_array_equal(truth.targets, predicted)
    given = subset_outputs(LOGISTIC, X, Y, X_TEST, 2, y_test=predicted, random_state=0)
    assert_array_equal(truth.outputs, given.outputs)
    assert truth.output == "logit"
    assert subset_outputs(KNeighborsClassifier(), X, Y, X_TEST, 1).output == "log_odds"


def test_logits_of_all_classes_and_of_a_function():
    every = subset_outputs(LOGISTIC, X, Y, X_TEST, 3, output="decision", random_state=0)
    assert every.outputs.shape == (3, 10, 3) and every.full_outputs.shape == (10, 3)
    own = subset_outputs(LOGISTIC, X, Y, X_TEST, 3, random_state=0)
    assert_array_equal(every.outputs[:, np.arange(10), own.targets], own.outputs)

    def confidence(model, X_test, targets):
        assert_array_equal(targets, own.targets)
        return model.predict_proba(X_test).max(axis=1)

    truth = subset_outputs(LOGISTIC, X, Y, X_TEST, 3, output=confidence, random_state=0)
    probability = subset_outputs(LOGISTIC, X, Y, X_TEST, 3, output="probability", random_state=0)
    assert np.all(truth.outputs >= probability.outputs)


def test_regressors():
    truth = subset_outputs(Ridge(), X, Y * 1.0, X_TEST, 3, random_state=0)
    loss = subset_outputs(
        Ridge(), X, Y * 1.0, X_TEST, 3, y_test=Y_TEST, output="loss", random_state=0
    )
    for mask, outputs, losses in zip(truth.masks, truth.outputs, loss.outputs, strict=True):
        predicted = Ridge().fit(X[mask], Y[mask]).predict(X_TEST)
        assert_allclose(outputs, predicted)
        assert_allclose(losses, -((predicted - Y_TEST) ** 2))
    assert truth.targets is None and truth.output == "prediction"


def test_leave_one_out_outputs_are_those_of_clones_fitted_without():
    rows = [5, [1, 2, 30], 0, 5, [30, 1, 2]]
    truth = leave_one_out_outputs(LOGISTIC, X, Y, X_TEST, rows=rows)
    codes = clone(LOGISTIC).fit(X, Y).predict(X_TEST)
    assert truth.effects.shape == (10, 5) and truth.outputs.shape == (5, 10)
    assert truth.rows == rows
    for row, outputs, effects in zip(rows, truth.outputs, truth.effects.T, strict=True):
        model = clone(LOGISTIC).fit(np.delete(X, row, axis=0), np.delete(Y, row))
        assert_allclose(outputs, naive_output(model, codes, "logit"), rtol=1e-6)
        assert_array_equal(effects, truth.full_outputs - outputs)
    # 1-nearest neighbours notice only the neighbour
    knn = KNeighborsClassifier(n_neighbors=1)
    all_rows = leave_one_out_outputs(knn, X, Y, X[:3], output="probability")
    assert all_rows.effects.shape == (3, 60)
    assert np.all(all_rows.effects[:, 3:] == 0) and np.all(all_rows.effects >= 0)


def test_sample_weights_go_with_their_rows():
    weight = np.linspace(0.1, 3, len(X))
    for estimator, name in [
        (LOGISTIC, "sample_weight"),
        (make_pipeline(StandardScaler(), LOGISTIC), "logisticregression__sample_weight"),
    ]:
        truth = subset_outputs(
            estimator, X, Y, X_TEST, 2, sample_weight=weight, output="decision", random_state=0
        )
        for mask, outputs in zip(truth.masks, truth.outputs, strict=True):
            model = clone(estimator).fit(X[mask], Y[mask], **{name: weight[mask]})
            assert_allclose(outputs, model.decision_function(X_TEST), rtol=1e-6)


@pytest.mark.parametrize("kind", ["csr", "csc", "frame", "float32", "list"])
def test_rows_of_any_kind(kind):
    if kind == "frame":
        as_kind = pytest.importorskip("pandas").DataFrame
    else:
        as_kind = {
            "csr": sparse.csr_array,
            "csc": sparse.csc_matrix,
            "float32": lambda X: X.astype(np.float32),
            "list": lambda X: X.tolist(),
        }[kind]
    expected = subset_outputs(LOGISTIC, X, Y, X_TEST, 2, random_state=0)
    truth = subset_outputs(LOGISTIC, as_kind(X), Y.tolist(), as_kind(X_TEST), 2, random_state=0)
    assert_allclose(truth.outputs, expected.outputs, rtol=1e-2 if kind == "float32" else 1e-5)


def test_rows_of_text():
    texts, y = ["good film", "bad film", "good good", "so bad"] * 5, ["+", "-", "+", "-"] * 5
    model = make_pipeline(CountVectorizer(), LogisticRegression())
    truth = leave_one_out_outputs(model, texts, y, ["good", "bad"], rows=[0, 1])
    assert truth.effects[0, 0] > 0 > truth.effects[0, 1]
    assert_array_equal(truth.targets, ["+", "-"])


def test_a_copy_is_fitted_and_not_the_estimator():
    model = LogisticRegression()
    subset_outputs(model, X, Y, X_TEST, 1)
    assert not hasattr(model, "coef_")


# Classes that a subset lacks


def test_missing_classes_have_probability_zero_and_no_logit():
    y = np.where(np.arange(60) == 3, 9, BINARY == "yes")
    alone = leave_one_out_outputs(
        LOGISTIC, X, y, X_TEST[:2], rows=[3], y_test=[9, 1], output="probability"
    )
    assert alone.outputs[0, 0] == 0 < alone.full_outputs[0]
    assert alone.outputs[0, 1] > 0
    for output in ("logit", "margin", "log_odds", "loss", "decision"):
        with pytest.raises(ValueError, match="without any row of class 9.*stratify=True"):
            leave_one_out_outputs(
                LOGISTIC, X, y, X_TEST[:2], rows=[3], y_test=[9, 1], output=output
            )


def test_one_class_left():
    rows = [np.flatnonzero(BINARY == "no")]
    truth = leave_one_out_outputs(
        LOGISTIC, X, BINARY, X_TEST, rows=rows, y_test=BINARY_TEST, output="probability"
    )
    assert_array_equal(truth.outputs[0], BINARY_TEST == "yes")


def test_stratified_subsets_keep_a_share_of_each_class():
    y = np.where(np.arange(60) == 3, 9, Y)
    truth = subset_outputs(LOGISTIC, X, y, X_TEST, 5, 0.25, stratify=True, random_state=0)
    for mask in truth.masks:
        for label in np.unique(y):
            assert np.sum(y[mask] == label) == max(1, round(0.25 * np.sum(y == label)))


# Seeds


class Noise(ClassifierMixin, BaseEstimator):
    """Its output is its seed."""

    def __init__(self, random_state=None):
        self.random_state = random_state

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        return np.full(len(X), self.classes_[0])

    def decision_function(self, X):
        return np.full((len(X), len(self.classes_)), float(self.random_state))


def test_each_refit_of_a_subset_has_its_own_seed():
    pipeline = make_pipeline(StandardScaler(), Noise(random_state=3))
    seeds = subset_outputs(pipeline, X, Y, X_TEST, 6, random_state=0).outputs[:, 0]
    assert len(np.unique(seeds)) == 6
    more = subset_outputs(pipeline, X, Y, X_TEST, 9, random_state=0)
    assert_array_equal(more.outputs[:6, 0], seeds)
    other = subset_outputs(pipeline, X, Y, X_TEST, 6, random_state=1)
    assert not np.isin(other.outputs, seeds).any()
    assert pipeline[-1].random_state == 3


def test_the_seed_with_a_row_is_the_seed_without_it():
    truth = leave_one_out_outputs(Noise(), X, Y, X_TEST, rows=[0, 1, 2])
    assert np.all(truth.effects == 0) and truth.full_outputs[0] > 0
    forest = RandomForestClassifier(5, random_state=0)
    one, two = (
        leave_one_out_outputs(forest, X, Y, X_TEST, rows=[0, 1], random_state=seed).outputs
        for seed in (0, 1)
    )
    assert not np.array_equal(one, two)


def test_repeats_are_averaged():
    once = [
        subset_outputs(Noise(), X, Y, X_TEST, 2, random_state=0, n_repeats=k).outputs[:, 0]
        for k in (1, 2, 3)
    ]
    assert not np.any(once[0] == once[1])
    second, third = 2 * once[1] - once[0], 3 * once[2] - 2 * once[1]
    assert len(np.unique([*once[0], *second, *third])) == 6


def test_random_state_of_all_kinds():
    first, again = (
        subset_outputs(LOGISTIC, X, Y, X_TEST, 2, random_state=np.random.RandomState(0)).masks
        for _ in range(2)
    )
    assert_array_equal(first, again)
    drawn = [subset_outputs(LOGISTIC, X, Y, X_TEST, 2).masks for _ in range(2)]
    assert not np.array_equal(*drawn)


# Independence of n_jobs

DIGITS, DIGIT_LABELS = load_digits(return_X_y=True)
# wide enough that BLAS would use threads
WIDE = np.tile(DIGITS[:400] / 16, 4)


@pytest.mark.parametrize("backend", ["loky", "threading", "multiprocessing"])
def test_results_do_not_depend_on_n_jobs(backend):
    estimator = make_pipeline(
        StandardScaler(), SGDClassifier(loss="log_loss", max_iter=5, tol=None)
    )
    if backend == "loky":
        estimator = LogisticRegression(max_iter=8)
    arguments = estimator, WIDE[:-20], DIGIT_LABELS[:380], WIDE[-20:], 5
    with pytest.warns() if backend == "loky" else np.errstate():
        one = subset_outputs(*arguments, n_jobs=1, random_state=0)
        with joblib.parallel_config(backend):
            two = subset_outputs(*arguments, n_jobs=2, random_state=0)
    assert_array_equal(one.outputs, two.outputs)
    assert_array_equal(one.full_outputs, two.full_outputs)
    assert_array_equal(one.masks, two.masks)


@pytest.mark.parametrize("n_jobs, backend", [(1, "loky"), (2, "loky"), (2, "threading")])
def test_every_refit_has_one_thread(n_jobs, backend):
    # in here, because processes cannot import a test module
    def count_threads(model, X_test, targets):
        info = threadpool_info()
        assert info
        return np.full(len(X_test), max(library["num_threads"] for library in info))

    # more than one for all but the refits, whatever the environment says
    inner = {"inner_max_num_threads": 2} if backend == "loky" else {}
    with threadpool_limits(2):
        before = threadpool_info()
        assert {library["num_threads"] for library in before} == {2}
        with joblib.parallel_config(backend, **inner):
            truth = subset_outputs(LOGISTIC, X, Y, X_TEST, 4, output=count_threads, n_jobs=n_jobs)
        assert np.all(truth.outputs == 1) and np.all(truth.full_outputs == 1)
        assert threadpool_info() == before


def blas_threads():
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


def test_overlapping_runs_leave_the_number_of_threads_as_it_was():
    """Each of three ends while a later one is at work, which still has one thread."""
    inside, leave = ([threading.Event() for _ in range(3)] for _ in range(2))
    seen = []

    def work(k):
        def output(model, X_test, targets):
            inside[k].set()
            assert leave[k].wait(60)
            seen.append(blas_threads())
            return np.zeros(len(X_test))

        subset_outputs(LOGISTIC, X, Y, X_TEST, 1, output=output, random_state=0)

    with threadpool_limits(2, user_api="blas"):
        runs = [threading.Thread(target=work, args=(k,)) for k in range(3)]
        found = []
        for k, run in enumerate(runs):
            run.start()
            assert inside[k].wait(60)
        for k, run in enumerate(runs):
            found.append(blas_threads())
            leave[k].set()
            run.join(60)
            assert not run.is_alive()
        assert found == [{1}] * 3 and blas_threads() == {2}
    assert seen == [{1}] * 6


def test_verbose_reports_progress(capsys):
    subset_outputs(LOGISTIC, X, Y, X_TEST, 3)
    assert capsys.readouterr().out == ""
    subset_outputs(LOGISTIC, X, Y, X_TEST, 3, verbose=1)
    assert "[subset_outputs] 3 of 3" in capsys.readouterr().out
    leave_one_out_outputs(LOGISTIC, X, Y, X_TEST, rows=[0, 1], verbose=2)
    assert capsys.readouterr().out.count("[leave_one_out_outputs]") == 2


# Folders

SCRIPT = """
import os, signal, sys
import numpy as np
from sklearn.datasets import load_wine
from sklearn.linear_model import SGDClassifier
from skattrib.retraining import subset_outputs

X, y = load_wine(return_X_y=True)

def output(model, X_test, targets):
    kept = [name for name in os.listdir(sys.argv[1]) if name.endswith(".npy")]
    if len(kept) == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
    return model.decision_function(X_test)[:, 0]

truth = subset_outputs(SGDClassifier(), X, y, X[:5], 8, output=output, folder=sys.argv[1],
                       random_state=0)
np.save(sys.argv[3], truth.outputs)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="kills by signal")
def test_a_killed_run_goes_on_where_it_ended(tmp_path):
    script = tmp_path / "job.py"
    script.write_text(SCRIPT)

    folder, result = tmp_path / "folder", tmp_path / "result.npy"
    folder.mkdir()

    def start(kill_at):
        command = [sys.executable, script, folder, str(kill_at), result]
        return subprocess.run(command, capture_output=True, text=True)

    assert start(5).returncode == -9
    assert not result.exists()
    first = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.npy")}
    assert len(first) == 5
    done = start(-1)
    assert done.returncode == 0, done.stderr
    after = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.npy")}
    assert len(after) == 8 and first.items() <= after.items()
    assert not [path for path in folder.iterdir() if path.name[0] == "."]
    X, y = load_wine(return_X_y=True)
    straight = subset_outputs(SGDClassifier(), X, y, X[:5], 8, output=first_logit, random_state=0)
    assert_array_equal(np.load(result), straight.outputs)


@pytest.mark.filterwarnings("ignore:.*tasks which were still being processed")
def test_an_interrupted_run_in_parallel_loses_nothing_that_was_done(tmp_path, monkeypatch):
    run, saved = refits.run, []

    def interrupted(*args, **kwargs):
        for result in run(*args, **kwargs):
            yield result
            saved.append(result)
            if len(saved) == 3:
                raise KeyboardInterrupt

    how = {"folder": tmp_path, "random_state": 0, "n_jobs": 2}
    monkeypatch.setattr(refits, "run", interrupted)
    with pytest.raises(KeyboardInterrupt), joblib.parallel_config("threading"):
        subset_outputs(LOGISTIC, X, Y, X_TEST, 8, **how)
    monkeypatch.undo()
    assert len(list(tmp_path.glob("*.npy"))) == 3
    resumed = subset_outputs(LOGISTIC, X, Y, X_TEST, 8, folder=tmp_path, random_state=0)
    straight = subset_outputs(LOGISTIC, X, Y, X_TEST, 8, random_state=0)
    assert_array_equal(resumed.outputs, straight.outputs)


def test_a_folder_serves_more_subsets_and_other_rows(tmp_path, monkeypatch):
    how = {"folder": tmp_path / "subsets", "random_state": 0}
    few = subset_outputs(LOGISTIC, X, Y, X_TEST, 3, **how)
    many = subset_outputs(LOGISTIC, X, Y, X_TEST, 5, **how)
    assert_array_equal(few.outputs, many.outputs[:3])
    how["folder"] = tmp_path / "rows"
    leave_one_out_outputs(LOGISTIC, X, Y, X_TEST, rows=[3, 7, [1, 2]], **how)
    fits = []
    fit = LogisticRegression.fit
    monkeypatch.setattr(
        LogisticRegression, "fit", lambda self, X, y: fits.append(len(y)) or fit(self, X, y)
    )
    rows = [[2, 1], 7, [4, 5, 6]]
    again = leave_one_out_outputs(LOGISTIC, X, Y, X_TEST, rows=rows, **how)
    assert fits == [60, 57]
    straight = leave_one_out_outputs(LOGISTIC, X, Y, X_TEST, rows=rows, random_state=0)
    assert_array_equal(again.effects, straight.effects)


def center(X):
    return X - 1


def shift(X):
    return X - 2


def first_logit(model, X_test, targets):
    return model.decision_function(X_test)[:, 0]


BASE = {
    "estimator": LOGISTIC,
    "X": X,
    "y": Y,
    "X_test": X_TEST,
    "n_subsets": 1,
    "random_state": 0,
}
FITTED = [clone(LOGISTIC).fit(X[rows], Y[rows]) for rows in (slice(50), slice(60))]


@pytest.mark.parametrize(
    "first, second, changed",
    [
        ({}, {"X": X * (1 + 1e-15)}, "data"),
        ({}, {"y": np.where(np.arange(60) == 59, (Y + 1) % 3, Y)}, "data"),
        ({}, {"X_test": X_TEST[::-1]}, "data"),
        ({}, {"y_test": Y_TEST}, "data"),
        ({}, {"sample_weight": np.ones(60)}, "data"),
        ({}, {"estimator": LogisticRegression(C=0.6)}, "estimator"),
        ({}, {"estimator": LinearSVC(C=0.5)}, "estimator"),
        (
            {"estimator": make_pipeline(FunctionTransformer(center), LOGISTIC)},
            {"estimator": make_pipeline(FunctionTransformer(shift), LOGISTIC)},
            "estimator",
        ),
        (
            {"estimator": make_pipeline(FrozenEstimator(FITTED[0]))},
            {"estimator": make_pipeline(FrozenEstimator(FITTED[1]))},
            "estimator",
        ),
        ({}, {"fraction": 0.4}, "fraction"),
        ({}, {"output": "margin"}, "output"),
        ({}, {"output": first_logit}, "output"),
        ({}, {"n_repeats": 2}, "n_repeats"),
        ({}, {"stratify": True}, "stratify"),
        ({}, {"random_state": 1}, "random_state"),
    ],
)
def test_a_folder_of_other_results_is_refused(tmp_path, first, second, changed):
    subset_outputs(**{**BASE, **first}, folder=tmp_path)
    subset_outputs(**{**BASE, **first}, folder=tmp_path)
    with pytest.raises(ValueError, match=f"of another run, with other {changed} .* use another"):
        subset_outputs(**{**BASE, **second}, folder=tmp_path)


def test_a_folder_of_other_versions_or_of_another_function_is_refused(tmp_path):
    subset_outputs(**BASE, folder=tmp_path)
    with pytest.raises(ValueError, match="with other .*kind"):
        leave_one_out_outputs(LOGISTIC, X, Y, X_TEST, folder=tmp_path, random_state=0)
    key = json.loads((tmp_path / "key.json").read_text())
    assert key["versions"].keys() == {"numpy", "scipy", "sklearn", "skattrib"}
    key["versions"]["sklearn"] = "0.1"
    (tmp_path / "key.json").write_text(json.dumps(key))
    with pytest.raises(ValueError, match="with other versions .*0.1"):
        subset_outputs(**BASE, folder=tmp_path)
    os.remove(tmp_path / "key.json")
    with pytest.raises(ValueError, match="no key.json; use an empty folder"):
        subset_outputs(**BASE, folder=tmp_path)


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("key.json", b"", "key.json is damaged.* use another folder"),
        ("key.json", b'{"kind": "sub', "key.json is damaged"),
        ("key.json", b"[]", "key.json is damaged"),
        ("key.json", b"\xff\xfe", "key.json is damaged"),
        ("000000.npy", b"", "000000.npy cannot be read.* delete it"),
        ("000000.npy", 100, "000000.npy cannot be read.* delete it"),
        ("000000.npy", b"text", "000000.npy cannot be read.* delete it"),
        (
            "000000.npy",
            np.array(1.0),
            r"000000.npy holds an array of shape \(\) instead",
        ),
        ("000000.npy", np.zeros(9), r"000000.npy holds an array of shape \(9,\) instead of"),
        ("000000.npy", np.full(10, np.nan), "000000.npy holds values that are not finite; delete"),
        ("000000.npy", np.zeros(10, dtype=int), "000000.npy holds no array of float64"),
    ],
)
def test_damaged_files_are_named(tmp_path, name, content, message):
    first = subset_outputs(**BASE, folder=tmp_path)
    file = tmp_path / name
    if isinstance(content, np.ndarray):
        np.save(file, content)
    elif isinstance(content, int):
        file.write_bytes(file.read_bytes()[:content])
    else:
        file.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        subset_outputs(**BASE, folder=tmp_path)
    if name != "key.json":
        file.unlink()
        assert_array_equal(subset_outputs(**BASE, folder=tmp_path).outputs, first.outputs)


def test_what_a_killed_run_left_half_written_goes_after_a_day(tmp_path):
    subset_outputs(**BASE, folder=tmp_path)
    kept = {file.name for file in tmp_path.iterdir()}
    recent, old = (f".00000{k}.npy.{k:032x}" for k in range(2))
    for name in (recent, old, ".notes"):
        (tmp_path / name).write_bytes(b"half")
    for name in (old, ".notes"):
        os.utime(tmp_path / name, (time.time() - 25 * 3600,) * 2)
    subset_outputs(**BASE, folder=tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {*kept, recent, ".notes"}


def test_an_edited_function_is_another_one(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    digests = []
    for k, text in enumerate(["X - 1", "X - 2", "X - 2"]):
        (tmp_path / f"edited{k}.py").write_text(f"def move(X):\n    return {text}\n")
        move = __import__(f"edited{k}").move
        move.__module__ = "edited"
        digests.append(digest(FunctionTransformer(move)))
    assert digests[0] != digests[1] == digests[2]


def test_seeds_of_the_estimator_do_not_matter_to_a_folder(tmp_path):
    first, second = (
        subset_outputs(
            DecisionTreeClassifier(random_state=seed),
            X,
            Y,
            X_TEST,
            2,
            folder=tmp_path,
            output="probability",
            random_state=0,
        ).outputs
        for seed in (1, np.random.RandomState(2))
    )
    assert_array_equal(first, second)


@pytest.mark.parametrize("seed", [None, np.random.RandomState(0)])
def test_a_folder_needs_an_integer_seed(tmp_path, seed):
    with pytest.raises(ValueError, match="folder of results needs an integer random_state"):
        subset_outputs(LOGISTIC, X, Y, X_TEST, 1, folder=tmp_path, random_state=seed)


# Errors


@pytest.mark.parametrize(
    "change, message",
    [
        ({"y": Y[1:]}, r"y has shape \(59,\); expected \(60,\)"),
        ({"y_test": Y}, r"y_test has shape \(60,\); expected \(10,\)"),
        ({"sample_weight": -np.ones(60)}, "sample_weight must be finite and negative nowhere"),
        ({"sample_weight": np.ones(60), "estimator": KNeighborsClassifier()}, "no sample_weight"),
        ({"y": np.zeros(60)}, "y has one class only"),
        ({"y_test": np.full(10, 7)}, "y_test has 7"),
        ({"fraction": 0}, "fraction is 0; expected a share"),
        ({"fraction": 1.0}, "fraction is 1.0; expected a share"),
        ({"fraction": np.nan}, "fraction is nan; expected a share"),
        ({"n_subsets": 0}, "n_subsets must be a positive integer"),
        ({"n_repeats": 1.5}, "n_repeats must be a positive integer"),
        ({"output": "logits"}, "output is 'logits'; expected one of"),
        ({"output": "loss"}, "the loss needs the true classes"),
        ({"output": "logit", "estimator": KNeighborsClassifier()}, "needs decision_function"),
        ({"output": "log_odds", "estimator": LinearSVC()}, "needs predict_proba"),
        ({"output": "logit", "estimator": Ridge()}, "expected one of .*prediction"),
        ({"stratify": True, "estimator": Ridge()}, "stratify needs classes"),
        ({"output": lambda model, X, y: 1.0}, "output returned shape"),
        ({"output": lambda model, X, y: np.full(10, np.nan)}, "not finite"),
        ({"random_state": -1}, "random_state must not be negative"),
        ({"X": X[:1], "y": Y[:1]}, "give 2 or more"),
        ({"n_repeats": 10**30}, "n_repeats must be a positive integer up to 10,000"),
        ({"n_subsets": 10**30}, "n_subsets must be a positive integer up to 1,000,000"),
        ({"n_subsets": True}, "n_subsets must be a positive integer"),
    ],
)
def test_errors_name_the_problem(change, message):
    with pytest.raises(ValueError, match=message):
        subset_outputs(**{**BASE, **change})


class Duck:
    """Looks like a classifier, but is none of scikit-learn's kind."""

    def fit(self, X, y):
        return self

    def predict(self, X):
        return np.zeros(len(X))

    predict_proba = predict


@pytest.mark.parametrize(
    "estimator",
    [3, "svc", None, LogisticRegression, Duck(), StandardScaler()],
    ids=["number", "text", "None", "class", "duck", "transformer"],
)
def test_what_is_no_estimator_is_named(estimator):
    with pytest.raises(TypeError, match="estimator must be an instance of a classifier"):
        subset_outputs(estimator, X, Y, X_TEST, 1)
    with pytest.raises(TypeError, match="estimator must be an instance of a classifier"):
        leave_one_out_outputs(estimator, X, Y, X_TEST, rows=[0])
    with pytest.raises(TypeError, match="estimator must be an instance of a classifier"):
        coreset_curve(np.ones((10, 60)), estimator, X, Y, X_TEST, Y_TEST)
    if isinstance(estimator, Duck):
        frozen = FrozenEstimator(estimator)
        for explainer in (
            DatamodelExplainer(estimator),
            RepresenterExplainer(frozen),
            InfluenceExplainer(frozen),
        ):
            with pytest.raises(TypeError, match="estimator must be an instance of a classifier"):
                explainer.fit(X, Y)


def test_pairwise_decision_values_are_refused():
    y = np.arange(60) % 4
    model = SVC(decision_function_shape="ovo")
    with pytest.raises(ValueError, match="6 columns for 4 classes.*decision_function_shape"):
        subset_outputs(model, X, y, X_TEST, 1)


@pytest.mark.parametrize(
    "rows, message",
    [
        ([60], "rows must be training rows 0..59"),
        ([-1], "rows must be training rows 0..59"),
        ([0.5], "rows must be training rows 0..59"),
        ([[]], "rows must be training rows 0..59"),
        ([], "rows is empty"),
        (3, r"rows must be a list of training rows, such as \[3\]"),
        ("3", r"rows must be a list of training rows, such as \['3'\]"),
        (FrozenEstimator(None), r"rows must be a list of training rows"),
        (sparse.csr_array(np.eye(2, dtype=int)), r"rows must be a list of training rows"),
        ([range(60)], "holds all training rows"),
        ([7, [3, 4, 3]], "distinct training rows in each group, but one has row 3 2 times"),
        ([[[1], [2, 3]]], "rows must be training rows 0..59, or groups"),
        ([True], "rows must be training rows 0..59, or groups"),
        (["7"], "rows must be training rows 0..59, or groups"),
        ([2**70], "rows must be training rows 0..59, or groups"),
    ],
)
def test_rows_must_be_training_rows(rows, message):
    with pytest.raises(ValueError, match=message):
        leave_one_out_outputs(LOGISTIC, X, Y, X_TEST, rows=rows)


def test_rows_that_are_read_once():
    found = leave_one_out_outputs(LOGISTIC, X, Y, X_TEST, rows=iter([7, [3, 4]]))
    assert found.rows == [7, [3, 4]] and found.effects.shape == (10, 2)


# Together with the scores


def test_exact_influence_of_ridge_agrees_with_its_retraining():
    """Leave-one-out of a linear smoother is known in closed form."""
    X1 = np.column_stack([X, np.ones(60)])
    ridge = Ridge(alpha=2.0, fit_intercept=False)
    y = Y * 1.0
    inverse = np.linalg.inv(X1.T @ X1 + 2 * np.eye(14))
    test = np.column_stack([X_TEST, np.ones(10)])
    residual = y - X1 @ inverse @ X1.T @ y
    leverage = np.einsum("ij,jk,ik->i", X1, inverse, X1)
    T = test @ inverse @ X1.T * residual
    truth = leave_one_out_outputs(ridge, X1, y, test)
    exact = leave_one_out_agreement(T / (1 - leverage), truth.effects)
    assert (exact.correlation, exact.slope) == pytest.approx((1, 1), rel=1e-9)
    first_order = leave_one_out_agreement(T, truth.effects)
    assert 0.9 < first_order.correlation < 1 - 1e-6 and first_order.slope < 0.99
    subsets = subset_outputs(ridge, X1, y, test, 60, 0.7, random_state=0)
    score = linear_datamodeling_score(T, subsets.masks, subsets.outputs)
    assert 0.5 < score < 1
    assert linear_datamodeling_score(-T, subsets.masks, subsets.outputs) == pytest.approx(-score)
