"""Rows in files: read as they were written, explained as in memory, and what is refused."""

import os
import pickle
import shutil
import subprocess
import sys
import textwrap

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cases import EXPLAINERS, peak
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression

from skattrib import (
    DualViewExplainer,
    InfluenceExplainer,
    LinearHead,
    RepresenterExplainer,
    RowBlocks,
    SimilarityExplainer,
)
from skattrib._arrays import row_blocks, row_files
from skattrib._arrays.row_blocks import on_disk, survey
from skattrib._svm import blocked

DTYPES = [np.float16, np.float32, np.float64]
N, D, K = 600, 12, 4
READERS = {
    "DualView": DualViewExplainer(random_state=0),
    "Representer": RepresenterExplainer(),
    "Influence": InfluenceExplainer(),
    "dot": SimilarityExplainer(),
    "cosine": SimilarityExplainer(metric="cosine", same_class=True),
}


def clusters(n=N, d=D, k=K, dtype=np.float16, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(k, size=n)
    X = rng.normal(size=(k, d))[y] + 1.5 * rng.normal(size=(n, d))
    return X.astype(dtype), np.array(list("abcdefghijklmnopqrstuvwxyz"))[y] if k < 27 else y


def filled(A):
    return A.toarray() if hasattr(A, "toarray") else A


def shards(folder, X, sizes=(250, 0, 150, 200)):
    folder.mkdir(exist_ok=True)
    for k, part in enumerate(np.split(X, np.cumsum(sizes)[:-1])):
        np.save(folder / f"rows{k:02}.npy", part)
    return RowBlocks.from_npy(folder)


def parquet(folder, X, fixed=False):
    """Two files of two row groups each."""
    folder.mkdir()
    for k, part in enumerate(np.split(X, 2)):
        kind = pa.list_(pa.from_numpy_dtype(X.dtype), X.shape[1] if fixed else -1)
        lists = pa.array(list(part), type=kind)
        path = folder / f"rows{k}.parquet"
        pq.write_table(pa.table({"id": range(len(part)), "x": lists}), path, row_group_size=200)
    return RowBlocks.from_parquet(folder, "x")


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of so few rows that everything takes several."""
    monkeypatch.setattr(row_blocks, "BLOCK", 4096)
    monkeypatch.setattr(blocked, "RUNS", 4)
    monkeypatch.setattr(row_files, "CHUNK", 1000)
    monkeypatch.setattr(row_files, "GAP", 100)


# reading


@pytest.mark.parametrize("kind", ["npy", "parquet", "fixed"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_are_read_as_they_were_written(tmp_path, kind, dtype, small_blocks):
    X = clusters(dtype=dtype)[0]
    X[3, :4] = [0.0, -0.0, 6e-8, -65504]
    make = shards if kind == "npy" else parquet
    rows = make(tmp_path / "x", X, *([True] if kind == "fixed" else []))
    wide = np.float64 if dtype == np.float64 else np.float32
    assert rows.shape == X.shape and rows.dtype == wide and len(rows) == N and rows.ndim == 2
    assert survey(rows) == np.abs(X.astype(wide)).max()
    mask = np.arange(N) % 7 == 3
    for key in (
        slice(None),
        slice(240, 260),
        slice(10, 5),
        slice(None, None, -3),
        np.array([599, 0, 250, 249, 0, -1]),
        np.flatnonzero(mask),
        np.empty(0, dtype=np.intp),
        mask,
        7,
        -1,
        (slice(5, 400), slice(2, 5)),
        (np.array([3, 500, 4]), slice(None)),
        (np.array([3, 500, 4]), 2),
        (9, slice(2, None)),
        (9, 2),
    ):
        assert_array_equal(rows[key], X.astype(wide)[key], strict=True)
    some = np.flatnonzero(mask)
    part = rows.take(some)
    assert_array_equal(part[:], X.astype(wide)[some])
    assert_array_equal(part.take([2, 5])[::-1], X.astype(wide)[some[[5, 2]]])
    assert_array_equal(rows.astype(np.float64)[200:300], X.astype(np.float64)[200:300], strict=True)
    written = part.to_npy(tmp_path / "one.npy")
    assert_array_equal(np.load(tmp_path / "one.npy"), written[:])
    with pytest.raises(FileExistsError):
        rows.to_npy(tmp_path / "one.npy")
    for key in (N, [0, N], [0.5], "a", mask[:3], np.zeros((2, 2), dtype=int), ([0], [1])):
        with pytest.raises(IndexError):
            rows[key]


def test_memory_maps_are_rows_in_files(tmp_path):
    X = clusters(dtype=np.float32)[0]
    np.save(tmp_path / "x.npy", X)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    raw = np.memmap(tmp_path / "raw", np.float32, "w+", offset=5000, shape=X.shape)
    raw[:] = X
    for whole in (mapped, raw):
        for part in (whole, whole[100:], whole[100:][7:9]):
            rows = on_disk(part)
            assert isinstance(rows, RowBlocks)
            assert_array_equal(rows[:], np.asarray(part), strict=True)
    changeable = np.load(tmp_path / "x.npy", mmap_mode="c")
    for other in (mapped[::2], mapped[:, :3], mapped.T, mapped[0], mapped[[0, 1]], changeable):
        assert on_disk(other) is other


# explained as in memory


@pytest.mark.parametrize("name", READERS)
def test_explanations_are_those_of_rows_in_memory(tmp_path, name):
    X, y = clusters()
    memory = X.astype(np.float32)
    test, codes = memory[:30] + np.float32(0.1), y[:30]
    np.save(tmp_path / "x.npy", X)
    expected = clone(READERS[name]).fit(memory, y)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    for rows in (mapped, shards(tmp_path / "x", X), parquet(tmp_path / "p", X)):
        e = pickle.loads(pickle.dumps(clone(READERS[name]).fit(rows, y)))
        for function in (
            lambda e, X: e.attribute(X(test)),
            lambda e, X: e.attribute(X(test), codes, out=np.empty((30, N), np.float32)),
            lambda e, X: e.top_k(X(test), k=3)[1],
            lambda e, X: e.aggregate(X(test), codes),
            lambda e, X: e.decompose(X(test), e.top_k(X(test), k=2)[1]),
            lambda e, X: e.predict(X(memory)),
            lambda e, X: e.self_influence_,
        ):
            found, right = (function(one, lambda X: X) for one in (e, expected))
            assert_array_equal(filled(found), filled(right), strict=True)
        # rows to be explained may lie in files too
        assert_array_equal(e.aggregate(rows), expected.aggregate(memory))
        assert_array_equal(e.top_k(rows, k=1)[1], expected.top_k(memory, k=1)[1])
    if hasattr(e, "leave_one_out"):
        found = e.leave_one_out(test, rows, y, rows=[0, 5, [7, 8]])
        right = expected.leave_one_out(test, memory, y, rows=[0, 5, [7, 8]])
        assert_array_equal(found, right)


@pytest.mark.parametrize(
    ("k", "C", "d"),
    [(4, "scale", 12), (4, 1.0, 12), (20, "scale", 12), (70, 0.001, 6), (3, 0.01, 700)],
)
def test_dual_view_by_blocks(tmp_path, small_blocks, monkeypatch, k, C, d):
    monkeypatch.setattr(row_blocks, "BLOCK", 400 * d)
    n = N if d < N else 300  # fewer rows than half of the features: solved in the space of the rows
    X, y = clusters(n=n, k=k, d=d, seed=k)
    memory = X.astype(np.float32)
    X[5], y[5] = X[6], y[6]  # equal rows
    memory[5] = memory[6]
    weight = np.linspace(0.5, 1.5, n)
    explainer = DualViewExplainer(C, tol=1e-5, max_iter=5000, random_state=0)
    a = clone(explainer).fit(memory, y, weight)
    b = clone(explainer).fit(shards(tmp_path / "x", X, (n // 3, n - n // 3)), y, weight)
    assert b.dual_gap_ <= 1e-5
    reach = sum(np.sqrt(e.dual_gap_ * e.objective_) for e in (a, b))
    far = np.sum((a.coef_ - b.coef_) ** 2) + np.sum((a.intercept_ - b.intercept_) ** 2)
    # two rows of logits for two classes: W is within the root of twice the gap
    assert 0 < np.sqrt(far) <= np.sqrt(2) * reach
    # attributions decompose the head all the same
    assert_allclose(b.dual_coef_ @ b.support_vectors_[:], b.coef_, atol=1e-5 * abs(b.coef_).max())
    assert isinstance(b.support_vectors_, RowBlocks)
    # and are settled by canonical duals
    if k == 4 and C == "scale":
        a, b = (clone(e).set_params(canonical=True).fit(X_, y) for e, X_ in ((a, memory), (b, X)))
        b = clone(b).fit(shards(tmp_path / "x", X, (n // 3, n - n // 3)), y)
        A, B = (e.attribute(memory[:9]).toarray() for e in (a, b))
        assert_allclose(B, A, atol=1e-5)


def test_leave_one_out_by_blocks(tmp_path, small_blocks):
    X, y = clusters(n=300)
    rows = shards(tmp_path / "x", X, (100, 200))
    memory = X.astype(np.float32)
    a, b = (DualViewExplainer(random_state=0).fit(part, y) for part in (memory, rows))
    left = a.support_[:2].tolist()
    found, bound = b.leave_one_out(memory[:5], rows, y, rows=left, return_bound=True)
    assert_allclose(found, a.leave_one_out(memory[:5], memory, y, rows=left), atol=2 * bound.max())
    assert 0 < bound.max() < 0.1 * abs(found).max()


@pytest.mark.parametrize("name", ["Representer", "Influence", "cosine"])
def test_others_by_blocks(tmp_path, small_blocks, name):
    X, y = clusters()
    memory = X.astype(np.float32)
    a = clone(READERS[name]).fit(memory, y)
    b = clone(READERS[name]).fit(shards(tmp_path / "x", X), y)
    A, B = (e.attribute(memory[:20]) for e in (a, b))
    assert_allclose(B, A, atol=1e-5 * abs(A[np.isfinite(A)]).max())
    assert_allclose(b.aggregate(memory, y), a.aggregate(memory, y), rtol=1e-4, atol=1e-6)


def test_a_model_is_asked_by_blocks(tmp_path, small_blocks):
    X, y = clusters()
    memory = X.astype(np.float32)
    model = LogisticRegression(C=0.1).fit(memory, y)
    a = RepresenterExplainer(FrozenEstimator(model)).fit(memory, y)
    b = RepresenterExplainer(FrozenEstimator(model)).fit(shards(tmp_path / "x", X), y)
    assert_allclose(b.dual_coef_, a.dual_coef_, atol=1e-5 * abs(a.dual_coef_).max())
    assert b.logit_correlation_ == pytest.approx(a.logit_correlation_)


# references to files


@pytest.mark.parametrize("name", READERS)
def test_no_rows_are_pickled(tmp_path, name):
    X, y = clusters(d=500)
    np.save(tmp_path / "x.npy", X)
    e = clone(READERS[name])
    if name == "Influence":
        e.set_params(inverse="identity")
    rows = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert len(pickle.dumps(e.fit(rows, y))) < X.nbytes / 2


def test_files_that_move_or_change(tmp_path):
    X, y = clusters()
    folder = tmp_path / "x"
    rows = shards(folder, X)
    e = DualViewExplainer(random_state=0).fit(rows, y)
    text, test = pickle.dumps(e), X[:3].astype(np.float32)
    right = e.top_k(test)
    # the same content at another time
    os.utime(folder / "rows00.npy", (0, 0))
    for one in (e, pickle.loads(text)):
        assert_array_equal(one.top_k(test)[1], right[1])
    folder.rename(tmp_path / "elsewhere")
    with pytest.raises(FileNotFoundError, match=r"rows00\.npy is gone.*look_in"):
        pickle.loads(text).top_k(test)
    try:
        RowBlocks.look_in(tmp_path / "nowhere", tmp_path / "elsewhere")
        there = pickle.loads(text)
        assert_array_equal(there.top_k(test)[0], right[0])
        assert "elsewhere" in there.support_vectors_.paths[0]
    finally:
        RowBlocks.look_in()
    changed = np.load(tmp_path / "elsewhere" / "rows02.npy")
    changed[9, 3] += 1
    np.save(tmp_path / "elsewhere" / "rows02.npy", changed)
    shutil.copytree(tmp_path / "elsewhere", folder)
    for one in (e, pickle.loads(text), there):
        with pytest.raises(ValueError, match=r"rows02\.npy is not the file it was"):
            one.attribute(test)
    with pytest.raises(ValueError, match=r"rows02\.npy is not the file it was"):
        e.leave_one_out(test, rows, y, rows=[0])


def test_a_file_that_is_cut_while_in_use(tmp_path):
    X, y = clusters()
    np.save(tmp_path / "x.npy", X)
    e = SimilarityExplainer().fit(np.load(tmp_path / "x.npy", mmap_mode="r"), y)
    os.truncate(tmp_path / "x.npy", 5000)
    with pytest.raises(ValueError, match=r"x\.npy"):
        e.top_k(X[:3].astype(np.float32))


def test_attributions_do_not_overwrite_rows(tmp_path):
    X, y = clusters(n=40, d=40, dtype=np.float32)
    np.save(tmp_path / "x.npy", X)
    e = SimilarityExplainer().fit(RowBlocks.from_npy(tmp_path / "x.npy"), y)
    with pytest.raises(ValueError, match="out shares"):
        e.attribute(X, out=np.load(tmp_path / "x.npy", mmap_mode="r+"))


# what is refused


def saved(folder, **parts):
    folder.mkdir()
    for name, part in parts.items():
        np.save(folder / f"{name}.npy", part, allow_pickle=True)
    return folder


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"a": np.ones((3, 2)), "b": np.ones((3, 4))}, r"a\.npy has 2 features.*b\.npy has 4"),
        ({"a": np.ones((3, 2)), "b": np.ones((3, 2), "f4")}, "float64 and .*float32.*one type"),
        ({"a": np.ones((3, 2), "f4"), "b": np.ones((3, 2), "f2")}, "float32 and .*float16"),
        ({"a": np.ones((0, 2))}, "no rows"),
        ({"a": np.ones((3, 0))}, "no rows with features"),
        ({"a": np.arange(6).reshape(3, 2)}, r"a\.npy has int64.*astype"),
        ({"a": np.ones(3)}, r"shape \(3,\)"),
        ({"a": np.ones((3, 2), complex)}, "complex128"),
        ({"a": np.ones((3, 2), np.longdouble)}, "float128|longdouble"),
        ({"a": np.array([["x", None]], object)}, "object"),
        ({"a": np.ones((3, 2), order="F")}, "ascontiguousarray"),
        ({}, r"no \.npy files"),
        ({"a9": np.ones((3, 2)), "a10": np.ones((3, 2))}, "leading zeros"),
    ],
)
def test_folders_that_are_no_rows(tmp_path, parts, message):
    with pytest.raises(ValueError, match=message):
        RowBlocks.from_npy(saved(tmp_path / "x", **parts))


def test_files_that_are_no_rows(tmp_path):
    np.save(tmp_path / "cut.npy", np.ones((100, 3)))
    os.truncate(tmp_path / "cut.npy", 1000)
    (tmp_path / "empty.npy").touch()
    (tmp_path / "text.npy").write_text("1,2,3\n")
    np.savez(tmp_path / "x.npz", np.ones((3, 2)))
    for name, message in {
        "cut.npy": "truncated: 1,528 bytes",
        "empty.npy": "empty.npy is no .npy",
        "text.npy": "no .npy file",
        "x.npz": "no .npy file",
    }.items():
        with pytest.raises(ValueError, match=message):
            RowBlocks.from_npy(tmp_path / name)
    with pytest.raises(FileNotFoundError, match="nothing"):
        RowBlocks.from_npy(tmp_path / "nothing")
    with pytest.raises(ValueError, match="paths is empty"):
        RowBlocks.from_npy([])
    for given in (3, None, np.ones((3, 2))):
        with pytest.raises(TypeError, match="paths must be"):
            RowBlocks.from_npy(given)


def test_columns_that_are_no_rows(tmp_path):
    def write(name, **columns):
        pq.write_table(pa.table(columns), tmp_path / name)
        return tmp_path / name

    lists = [[1.0, 2.0], [3.0, 4.0], [5.0]]
    for column, message in (
        (lists, "row 2 of column 'x'.* has 1 features and the first row 2"),
        ([[1.0], None], "row 1 of .* is missing"),
        ([[1.0, 2.0], [1.0, None]], "row 1 of .* missing values"),
        ([[1], [2]], "lists of int64"),
        ([1.0, 2.0], "holds double"),
        (["a", "b"], "holds string"),
    ):
        with pytest.raises(ValueError, match=message):
            RowBlocks.from_parquet(write("x.parquet", x=column), "x")
    with pytest.raises(ValueError, match="no column 'z': it has 'x', 'y'"):
        RowBlocks.from_parquet(write("x.parquet", x=lists, y=lists), "z")
    (tmp_path / "text.parquet").write_text("no")
    with pytest.raises(ValueError, match="no Parquet file"):
        RowBlocks.from_parquet(tmp_path / "text.parquet", "x")


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("dtype", DTYPES)
def test_values_that_are_no_number_are_named(tmp_path, dtype, value, small_blocks):
    X, y = clusters(dtype=dtype)
    X[444, 5] = value
    what = "missing values" if np.isnan(value) else "infinite values"
    rows = shards(tmp_path / "x", X)
    for explainer in (DualViewExplainer(), SimilarityExplainer()):
        with pytest.raises(ValueError, match=rf"row 44 of .*rows03\.npy has {what}.*row 444 of X"):
            explainer.fit(rows, y)
    if dtype != np.float16:
        with pytest.raises(ValueError, match=r"row 144 of .*rows1\.parquet.*row 444 of X"):
            SimilarityExplainer().fit(parquet(tmp_path / "p", X), y)


def test_labels_and_widths_must_fit(tmp_path):
    X, y = clusters()
    rows = shards(tmp_path / "x", X)
    with pytest.raises(ValueError, match="599 labels.*600 rows"):
        DualViewExplainer().fit(rows, y[1:])
    with pytest.raises(ValueError, match="one class"):
        RepresenterExplainer().fit(rows, y * 0 if y.dtype.kind == "i" else np.full(N, "a"))
    with pytest.raises(ValueError, match="y"):
        DualViewExplainer().fit(rows, None)
    with pytest.raises(ValueError, match="sample_weight"):
        DualViewExplainer().fit(rows, y, np.ones(3))
    e = DualViewExplainer(random_state=0).fit(rows, y)
    with pytest.raises(ValueError, match="12"):
        e.top_k(shards(tmp_path / "z", np.ones((600, 5))))
    with pytest.raises(ValueError, match="scale the features"):
        DualViewExplainer().fit(shards(tmp_path / "big", 1e180 * np.ones((600, 5))), y)


@pytest.mark.parametrize(
    "name", [name for name in EXPLAINERS if not {"frozen", "forest"} & {*name.split("-")}]
)
def test_explainers_read_files_or_say_that_they_do_not(tmp_path, name):
    X, y = clusters(n=120, dtype=np.float32)
    e = clone(EXPLAINERS[name])
    rows = shards(tmp_path / "x", X, (60, 60))
    if e._reads_files:
        assert e.fit(rows, y).top_k(X[:2], k=1)[1].shape == (2, 1)
        return
    with pytest.raises((TypeError, ValueError), match=r"rows\[:\]"):
        e.fit(rows, y)


def test_rows_in_files_are_not_loaded_by_accident(tmp_path):
    X, y = clusters()
    rows = shards(tmp_path / "x", X)
    for use in (lambda: np.asarray(rows), lambda: LogisticRegression().fit(rows, y)):
        with pytest.raises(TypeError, match=r"rows\[:\]"):
            use()
    with pytest.raises(TypeError, match="from_npy"):
        RowBlocks(X)
    with pytest.raises(TypeError, match=r"rows\[:\]"):
        LinearHead(np.eye(D)).fit(rows)


# memory


def test_memory_besides_files(tmp_path):
    """At most 300 bytes a row, all of them support rows, with ten classes."""
    n = 40_000
    X, y = clusters(n, d=64, k=10)
    X = shards(tmp_path / "x", (0.1 * X).astype(np.float16), (n,))
    memory = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_blocks, "BLOCK", 2**19)
        patch.setattr(row_files, "CHUNK", 2**16)
        e, memory = peak(DualViewExplainer(1e-6, random_state=0).fit, X, y)
    assert len(e.support_) == n
    # a block, its duals, W and what Python has
    assert memory < 300 * n + 4 * 2**20


LIMITED = """
import resource
import numpy as np
from skattrib import DualViewExplainer, RepresenterExplainer, RowBlocks
from skattrib._arrays import row_blocks, row_files
row_blocks.BLOCK, row_files.CHUNK = 2**21, 2**19
rows, y = RowBlocks.from_npy("x.npy"), np.load("y.npy")
DualViewExplainer(tol=1).fit(rows[:50], y[:50]).top_k(rows[:2])
used = [int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmSize")]
resource.setrlimit(resource.RLIMIT_AS, 2 * [1024 * used[0] + rows.nbytes // 6])
try:
    rows[:]
except MemoryError:
    print("limited")
e = DualViewExplainer(random_state=0, tol=1e-3).fit(rows, y)
assert e.dual_gap_ <= 1e-3
assert len(e.support_) > 0.5 * len(y)
e.top_k(rows[:100]), e.aggregate(rows), e.self_influence_
print("explained")
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_fits_under_a_limit_of_memory(tmp_path):
    """Files three times the memory that there is beside the interpreter."""
    n, d = 48_000, 512
    rng = np.random.default_rng(0)
    y = np.arange(n) % 5
    X = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float16, (n, d))
    centres = rng.standard_normal((5, d), dtype=np.float32)
    for k in range(0, n, 500):
        noise = rng.integers(-128, 128, size=(500, d), dtype=np.int8)
        X[k : k + 500] = 0.03 * centres[y[k : k + 500]] + noise / np.float32(64)
    X.flush()
    np.save(tmp_path / "y.npy", y)
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(LIMITED)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == ["limited", "explained"], done.stderr


def test_blocks_that_are_others_each_time_converge_as_rows_in_memory(tmp_path, monkeypatch):
    """Rows of few classes in the same blocks again and again take several times the sweeps."""
    rng = np.random.default_rng(0)
    y = rng.integers(40, size=600)
    means = rng.normal(size=(5, 64))[np.arange(40) % 5] + 0.3 * rng.normal(size=(40, 64))
    X = np.maximum(means[y] + rng.normal(size=(600, 64)), 0).astype(np.float32)
    np.save(tmp_path / "x.npy", X)
    explainer = DualViewExplainer(tol=1e-3, random_state=0)
    sweeps = clone(explainer).fit(X, y).n_iter_
    monkeypatch.setattr(row_blocks, "BLOCK", X.nbytes // 2 + 1)
    monkeypatch.setattr(blocked, "RUNS", 64)
    rows = RowBlocks.from_npy(tmp_path)
    assert clone(explainer).fit(rows, y).n_iter_ <= 1.3 * sweeps
    monkeypatch.setattr(blocked, "RUNS", 1)
    assert clone(explainer).fit(rows, y).n_iter_ > 2 * sweeps


def test_runs_are_as_long_as_what_is_decoded_together(tmp_path, small_blocks):
    X = clusters()[0]
    decoded = blocked.HeldRows(parquet(tmp_path / "p", X))
    plain = blocked.HeldRows(shards(tmp_path / "n", X))
    assert decoded.most == plain.most == 4096 // (4 * D) and (decoded.run, plain.run) == (85, 21)
    order = np.random.default_rng(0).permutation(N).astype(np.int32)
    for held in (decoded, plain):
        pieces = held.pieces(order)
        assert_array_equal(np.sort(np.concatenate(pieces)), np.arange(N))
        assert all(0 < len(piece) <= held.most for piece in pieces)
        assert len(pieces) <= 2 * N / held.most + 1
        for piece in pieces:
            # in the order of visits
            assert (np.diff(np.argsort(order)[piece]) > 0).all()
