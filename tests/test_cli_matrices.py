"""Matrices of the command line: every form and type, and errors that name the file."""

import json
import os

import numpy as np
import pytest
from command_line import (
    SPECIES,
    C,
    assert_same_records,
    expected_records,
    explain,
    fails,
    make_matrices,
)
from scipy import sparse
from sparse_guard import guarded

from skattrib._cli.inputs import InputError
from skattrib._cli.matrices import read_matrices
from skattrib.explainers.dual_view import DualViewExplainer


@pytest.fixture
def matrices():
    return make_matrices()


def save(folder, form, X, y, X_test, y_test):
    """Save matrices in one form; return the arguments that name them."""
    if form == "npz":
        np.savez(folder / "train.npz", X=X, y=y)
        np.savez_compressed(folder / "test.npz", X=X_test, y=y_test)
        return [folder / "train.npz", folder / "test.npz"]
    np.save(folder / "y.npy", y[:, None])
    np.save(folder / "y_test.npy", y_test)
    options = ["--labels", folder / "y.npy", "--test-labels", folder / "y_test.npy"]
    if form == "npy":
        np.save(folder / "train.npy", np.asfortranarray(X))
        np.save(folder / "test.npy", X_test)
        return [folder / "train.npy", folder / "test.npy", *options]
    sparse.save_npz(folder / "train.npz", getattr(sparse, form)(X))
    sparse.save_npz(folder / "test.npz", getattr(sparse, form)(X_test))
    return [folder / "train.npz", folder / "test.npz", *options]


@pytest.mark.parametrize("form", ["npz", "npy", "csr_array", "csc_matrix", "coo_array"])
def test_matrices_of_every_form(matrices, tmp_path, capsys, form):
    X, y, X_test, y_test = matrices
    X, X_test = (np.where(np.abs(part) < 0.3, 0, part) for part in (X, X_test))
    output = tmp_path / "why.json"
    args = save(tmp_path, form, X, y, X_test, y_test)
    out = explain(capsys, *args, "--C", C, "--output", output)
    explainer = DualViewExplainer(C=C, random_state=0).fit(X, y)
    expected = expected_records(explainer, X_test, range(15), y, range(50))
    assert_same_records(json.loads(output.read_text()), expected, rtol=1e-6)
    accuracy = np.mean(explainer.predict(X_test) == y_test)
    assert f"accuracy on 15 test rows: {accuracy:.3f}" in out


@pytest.mark.parametrize(
    ("dtype", "fitted"),
    [
        ("f2", "f4"),
        ("f4", "f4"),
        (">f4", "f4"),
        ("f8", "f8"),
        (">f8", "f8"),
        ("i1", "f4"),
        ("u2", "f4"),
        ("i4", "f8"),
        ("i8", "f8"),
        ("?", "f4"),
    ],
)
@pytest.mark.parametrize("form", ["npz", "npy"])
def test_matrices_of_every_type(matrices, tmp_path, capsys, monkeypatch, form, dtype, fitted):
    X, y, X_test, y_test = matrices
    X = np.abs(X.round()).astype(dtype)
    seen = []
    fit = DualViewExplainer.fit
    monkeypatch.setattr(
        DualViewExplainer, "fit", lambda self, X, y: fit(self, seen.append(X) or X, y)
    )
    args = save(tmp_path, form, X, y, np.abs(X_test.round()), y_test)
    explain(capsys, *args, "--C", C)
    assert seen[0].dtype == np.dtype(fitted)
    np.testing.assert_array_equal(seen[0], X)


def test_npy_is_fitted_from_the_memory_map(matrices, tmp_path, capsys, monkeypatch):
    X, y, X_test, y_test = matrices
    seen = []
    fit = DualViewExplainer.fit
    monkeypatch.setattr(
        DualViewExplainer, "fit", lambda self, X, y: fit(self, seen.append(X) or X, y)
    )
    args = save(tmp_path, "npy", X, y, X_test, y_test)
    np.save(tmp_path / "train.npy", X)
    explain(capsys, *args)
    assert isinstance(seen[0], np.memmap)


def test_sums_of_repeated_sparse_entries_do_not_overflow(tmp_path, capsys, monkeypatch):
    entries = np.array([100, 100, 1, 2, 3], dtype=np.int8), ([0, 0, 1, 2, 3], [0, 0, 0, 1, 1])
    np.save(tmp_path / "y.npy", ["a", "a", "b", "b"])
    path = tmp_path / "X.npz"
    sparse.save_npz(path, sparse.coo_array(entries, shape=(4, 2)))
    seen = []
    fit = DualViewExplainer.fit
    monkeypatch.setattr(
        DualViewExplainer, "fit", lambda self, X, y: fit(self, seen.append(X) or X, y)
    )
    explain(capsys, path, path, "--labels", tmp_path / "y.npy")
    assert seen[0].toarray().tolist() == [[200, 0], [1, 0], [0, 2], [0, 3]]


@pytest.mark.parametrize("form", ["npz", "csr_array"])
def test_matrices_are_standardized_on_demand_only(matrices, tmp_path, capsys, form):
    X, y, X_test, y_test = matrices
    output = tmp_path / "why.json"
    args = save(tmp_path, form, X, y, X_test, y_test)
    explain(capsys, *args, "--C", C, "--output", output, "--standardize")
    mean = X.mean(0) if form == "npz" else 0
    explainer = DualViewExplainer(C=C, random_state=0).fit((X - mean) / X.std(0), y)
    expected = expected_records(explainer, (X_test - mean) / X.std(0), range(15), y, range(50))
    assert_same_records(json.loads(output.read_text()), expected, rtol=1e-6)


@pytest.mark.parametrize("form", ["csr_array", "npz"])
def test_a_sparse_and_a_dense_matrix_go_together(matrices, tmp_path, capsys, form):
    X, y, X_test, y_test = matrices
    args = save(tmp_path, form, X, y, X_test, y_test)
    outs = [explain(capsys, *args, "--standardize")]
    if form == "npz":
        sparse.save_npz(args[1], sparse.csr_array(X_test))
        np.save(tmp_path / "y_test.npy", y_test)
        args += ["--test-labels", tmp_path / "y_test.npy"]
    else:
        np.savez(args[1], X=X_test)
    outs.append(explain(capsys, *args, "--standardize"))
    blocks = [out[out.index("Test row") :] for out in outs]
    assert blocks[0] == blocks[1]


def test_labels_of_matrices_may_be_bytes(matrices, tmp_path, capsys):
    X, y, X_test, _ = matrices
    np.savez(tmp_path / "train.npz", X=X, y=np.char.encode(np.array(SPECIES)[y - 7], "utf-8"))
    np.savez(tmp_path / "test.npz", X=X_test)
    out = explain(capsys, tmp_path / "train.npz", tmp_path / "test.npz", "--target-class", "été")
    assert "decision value of class été" in out


class Evil:
    def __reduce__(self):
        return os._exit, (77,)


def bad_matrices(folder):
    """Write bad files; return for each the arguments and what the message must say."""
    X, y = np.arange(20.0).reshape(10, 2), np.arange(10) % 2
    nan = X.copy()
    nan[3, 1], nan[4, 0] = np.nan, np.inf
    np.savez(folder / "good.npz", X=X, y=y)
    cases = {
        "no X": ({"Z": X, "y": y}, ["no array named X", "'Z', 'y'"]),
        "no y": ({"X": X}, ["no labels", "--labels FILE.npy"]),
        "objects": ({"X": np.array([[Evil()]]), "y": y}, ["pickled", "never loaded"]),
        "object labels": ({"X": X, "y": y.astype(object)}, ["pickled", "y.astype(str)"]),
        "one axis": ({"X": X[0], "y": y}, ["shape (2,)", "(rows, features)"]),
        "no rows": ({"X": X[:0], "y": y[:0]}, ["is empty"]),
        "texts": ({"X": X.astype(str), "y": y}, ["must be numbers"]),
        "complex": ({"X": X * 1j, "y": y}, ["must be numbers"]),
        "nan": ({"X": nan, "y": y}, ["2 values that are not finite", "drop"]),
        "too large": ({"X": X * 1e200, "y": y}, ["too large", "scale"]),
        "half": ({"X": np.full((10, 2), np.inf, dtype=np.float16), "y": y}, ["not finite"]),
        "short y": ({"X": X, "y": y[1:]}, ["shape (9,)", "10 rows"]),
        "wide y": ({"X": X, "y": X}, ["shape (10, 2)", "expected (10,)"]),
        "nan y": ({"X": X, "y": nan[:, 1]}, ["1 missing values"]),
        "real y": ({"X": X, "y": y + 0.5}, ["continuous", "class labels"]),
        "one class": ({"X": X, "y": y * 0}, ["single class, '0'"]),
        "damaged y": ({"X": X, "y": np.full(10, 2**31).astype("u4").view("U1")}, ["damaged"]),
        "dates y": ({"X": X, "y": y.astype("M8[D]")}, ["expected numbers or strings"]),
    }
    for number, (name, (arrays, expected)) in enumerate(cases.items()):
        path = folder / f"bad{number}.npz"
        np.savez(path, **arrays)
        yield name, [path, folder / "good.npz"], expected

    good = folder / "good.npz"
    np.savez(folder / "width.npz", X=X[:, :1])
    yield "width", [good, folder / "width.npz"], ["has 1 columns", "has 2"]
    np.savez(folder / "test_y.npz", X=X, y=y[:4])
    yield "test y", [good, folder / "test_y.npz"], ["test_y.npz", "shape (4,)"]
    (folder / "junk.npz").write_bytes(b"PK\3\4junk")
    yield "junk npz", [folder / "junk.npz", good], ["cannot be read"]
    (folder / "cut.npz").write_bytes(good.read_bytes()[:-40])
    yield "cut npz", [folder / "cut.npz", good], ["cannot be read"]
    np.save(folder / "objects.npy", np.array([[Evil()]]))
    yield "npy objects", [folder / "objects.npy", good], ["pickled"]
    (folder / "junk.npy").write_bytes(b"\x80\x04junk")
    yield "junk npy", [folder / "junk.npy", good], ["cannot be read"]
    np.save(folder / "X.npy", X)
    (folder / "cut.npy").write_bytes((folder / "X.npy").read_bytes()[:-40])
    yield "cut npy", [folder / "cut.npy", good], ["cannot be read"]
    (folder / "archive.npy").write_bytes(good.read_bytes())
    yield "archive", [folder / "archive.npy", good], ["name it .npz"]
    (folder / "array.npz").write_bytes((folder / "X.npy").read_bytes())
    yield "array", [folder / "array.npz", good], ["cannot be read"]
    yield "npy without labels", [folder / "X.npy", good], ["--labels FILE.npy"]
    yield "labels csv", [folder / "X.npy", good, "--labels", "y.csv"], ["y.csv", ".npy"]
    yield "no labels file", [folder / "X.npy", good, "--labels", "no.npy"], ["no such file"]
    matrix = sparse.csr_array(X)
    matrix.indices[3] = 10**6
    sparse.save_npz(folder / "sparse.npz", matrix)
    np.save(folder / "y.npy", y)
    yield "sparse", [folder / "sparse.npz", good, "--labels", folder / "y.npy"], ["cannot be read"]
    yield from bad_sparse_matrices(folder, X, ["--labels", folder / "y.npy"])
    standardize = ["--standardize"]
    yield "huge", [folder / "bad9.npz", good, *standardize], ["beyond 1e+150", "drop"]


def bad_sparse_matrices(folder, X, labels):
    """Sparse matrices of a wrong shape or type, or that claim what they do not hold."""
    cases = {
        "all zero": (sparse.csr_array(X.shape), ["all zero", "nothing to learn"]),
        "no columns": (sparse.csr_array((10, 0)), ["is empty", "(10, 0)"]),
        "no rows": (sparse.csr_array((0, 2)), ["is empty", "(0, 2)"]),
        "complex": (sparse.csr_array(X * 1j), ["must be numbers"]),
        "many rows": (sparse.coo_array(([1.0], ([0], [0])), shape=(10**12, 2)), ["1 entries"]),
        "many columns": (sparse.coo_array(([1.0], ([0], [0])), shape=(10, 10**12)), ["1 entries"]),
        "more rows": (sparse.coo_array(([1.0], ([0], [0])), shape=(10**7, 2)), ["10000000 rows"]),
    }
    for name, (matrix, expected) in cases.items():
        path = folder / f"sparse {name}.npz"
        sparse.save_npz(path, matrix)
        yield f"sparse {name}", [path, path, *labels], expected
    ints = "no integers"
    parts = {
        "shape": {ints: ([10.5, 2], ["10", "2"]), "cannot be read": ([-10, 2], [10, 2, 1], 7)},
        "data": {
            "must be numbers": (["a"] * 19,),
            "cannot be read": ([[1.0] * 19], np.ones(3), 1.0),
        },
        "indices": {
            ints: (np.full(19, 0.5), ["0"] * 19),
            "cannot be read": (np.full(19, -1), np.full(19, 2), np.zeros(3, int), [[0] * 19]),
        },
        "indptr": {
            ints: (np.arange(11.0), ["0"] * 11),
            "cannot be read": ([0, 19], np.full(11, -3), np.arange(11)[::-1]),
        },
        "format": {"cannot be read": ("xyz", 3, b"\xff")},
    }
    for part, values in parts.items():
        for expected, value in [(text, value) for text in values for value in values[text]]:
            path = folder / f"{part}.npz"
            sparse.save_npz(path, sparse.csr_array(X))
            with np.load(path) as stored:
                arrays = dict(stored)
            np.savez(path, **arrays | {part: value})
            yield f"{part} {value}", [path, path, *labels], [expected]


def test_bad_matrices(tmp_path, capsys):
    n_cases = 0
    for name, args, expected in bad_matrices(tmp_path):
        try:
            fails(capsys, ["explain", *args], *expected)
        except AssertionError as error:
            raise AssertionError(name) from error
        n_cases += 1
    assert n_cases == 62


@pytest.mark.parametrize("form", ["csr", "csc", "bsr", "coo", "dia"])
@pytest.mark.parametrize("standardize", [False, True])
def test_damaged_archives_never_reach_compiled_code(tmp_path, form, standardize):
    rng = np.random.default_rng(0)
    good, bad, labels = (str(tmp_path / name) for name in ("good.npz", "bad.npz", "y.npy"))
    sparse.save_npz(good, sparse.csr_array(rng.random((12, 6)) + 0.1).asformat(form))
    np.save(labels, np.arange(12) % 3)
    refused = 0
    for _ in range(30):
        arrays = dict(np.load(good))
        found = {"indices", "indptr", "row", "col", "coords", "offsets", "shape"} & arrays.keys()
        name = rng.choice(sorted(found))
        arrays[name].ravel()[rng.integers(arrays[name].size)] = rng.choice(
            [-1, 7, 10**6, 2**31 - 1]
        )
        np.savez(bad, **arrays)
        with guarded():
            try:
                read_matrices(bad, bad, labels, standardize=standardize)
            except InputError:
                refused += 1
    assert refused > 5


def test_matrices_need_no_extra(tmp_path, capsys, matrices, monkeypatch):
    # scikit-learn looks at sys.modules["pandas"] itself, so that None there would break it
    monkeypatch.setattr("skattrib._cli.tables._import_pandas", None)
    assert "accuracy" in explain(capsys, *save(tmp_path, "npz", *matrices))
