"""Sparse matrices whose indices or pointers lead outside never reach what follows them."""

import subprocess
import sys
from contextlib import suppress

import numpy as np
import pytest
from fuzz_arguments import choose
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sparse_guard import guarded

from skattrib import SimilarityExplainer
from skattrib._arrays.checks import canonical_csr

# one matrix can be rows, logit weights, duals or attributions
N, K = 30, 4


def matrix(rng, shape=(N, K), dtype=np.float64):
    X = rng.random(shape) + 0.1
    X[rng.random(shape) < 0.4] = 0.0
    return sparse.csr_array(X.astype(dtype))


def entries(A):
    """Dense A by following its pointers one by one, or None if one leads outside."""
    pointers, columns, out = A.indptr.tolist(), A.indices.tolist(), np.zeros(A.shape, A.dtype)
    if len(pointers) != A.shape[0] + 1 or pointers[0] != 0 or len(columns) != len(A.data):
        return None
    for i in range(A.shape[0]):
        if not pointers[i] <= pointers[i + 1] <= len(columns):
            return None
        for j in range(pointers[i], pointers[i + 1]):
            if not 0 <= columns[j] < A.shape[1]:
                return None
            out[i, columns[j]] += A.data[j]
    return out


def damage(A, rng):
    """Changes an index, a pointer, or the length of an array, perhaps to something valid."""
    A = A.copy()
    if rng.random() < 0.5:
        assert A.has_canonical_format  # noted by scipy, and stale after this
    index = rng.choice([np.int32, np.int64])
    A.indices, A.indptr = A.indices.astype(index), A.indptr.astype(rng.choice([np.int32, index]))
    d, nnz = A.shape[1], len(A.data)
    match rng.choice(["index", "pointer", "swap", "cut", "pad"], p=[0.4, 0.35, 0.1, 0.1, 0.05]):
        case "index":
            where = rng.integers(nnz)
            values = [-1, -5, d, d - 1, 0, 10**6, 2**31 - 1, -(2**31)]
            A.indices[where] = rng.choice(values)
        case "pointer":
            where = rng.choice([0, rng.integers(len(A.indptr)), len(A.indptr) - 1])
            A.indptr[where] += rng.choice([-nnz, -4, -1, 1, 4, nnz, 10**6])
        case "swap":
            a, b = rng.integers(nnz, size=2)
            A.indices[[a, b]] = A.indices[[b, a]]
        case "cut":
            name = rng.choice(["indices", "indptr", "data"])
            setattr(A, name, getattr(A, name)[: -rng.integers(1, 4)])
        case "pad":
            A.indices, A.data = np.r_[A.indices, d + 5], np.r_[A.data, 1.0]
    return A


def minus(A):
    """-A, whatever is wrong with it."""
    if not sparse.issparse(A):
        return -A
    B = sparse.csr_array(A.shape)
    B.indptr, B.indices, B.data = A.indptr, A.indices, -A.data
    return B


def entry_points(rng):
    """Functions of a sparse (N, K) matrix that end in compiled code."""
    import skattrib
    from skattrib import metrics
    from skattrib._svm.crammer_singer import crammer_singer

    X, y = matrix(rng).toarray(), np.arange(N) % K
    indices = np.zeros((N, 2), dtype=int)
    for kind, options in [
        (skattrib.DualViewExplainer, {"tol": 1e-9, "random_state": 0, "sparse_output": False}),
        (skattrib.RepresenterExplainer, {}),
        (skattrib.InfluenceExplainer, {}),
        (skattrib.SimilarityExplainer, {}),
    ]:
        name, new, fitted = kind.__name__, kind(**options), kind(**options).fit(X, y)
        yield f"{name}.fit", lambda A, new=new: new.fit(A, y).attribute(X, target=1)
        for call in ("attribute", "aggregate", "predict"):
            yield f"{name}.{call}", getattr(fitted, call)
        yield f"{name}.top_k", lambda A, fitted=fitted: fitted.top_k(A, target=1)[0]
        yield f"{name}.decompose", lambda A, fitted=fitted: fitted.decompose(A, indices, target=1)
    head = skattrib.DualViewExplainer(tol=1e-9, random_state=0, sparse_output=False).fit(X, y)
    yield "target", lambda A: head.attribute(X, target=A)
    yield "leave_one_out", lambda A: head.leave_one_out(X[:2], A, y, rows=[0], target=1)
    yield "crammer_singer", lambda A: crammer_singer(A, y, 1.0, tol=1e-9).coef
    yield "dual_init", lambda A: crammer_singer(X, y, 1.0, tol=1e-9, dual_init=minus(A)).coef
    yield "detection", lambda A: metrics.class_detection_score(A, np.arange(K), y)
    yield "completeness", lambda A: metrics.completeness_error(A, np.ones(N))


def main(seed, n):
    """Damaged matrices at every entry point: a ValueError, or what the dense matrix gives."""
    rng = np.random.default_rng(seed)
    refused = 0
    for name, call in entry_points(rng):
        for _ in range(n):
            A = damage(matrix(rng, dtype=rng.choice([np.float32, np.float64])), rng)
            dense = entries(A)
            before = [a.copy() for a in (A.indptr, A.indices, A.data)]
            try:
                found = call(A)
            except ValueError as reason:
                refused += 1
                stale = name == "crammer_singer" and "canonical" in str(reason)
                assert dense is None or stale, (name, reason)
                assert "broken CSR" in str(reason) or stale, (name, reason)
            else:
                assert dense is not None, (name, "accepted", before)
                found = found.toarray() if sparse.issparse(found) else found
                expected = np.reshape(call(dense), np.shape(found))
                assert_allclose(found, expected, rtol=1e-3, atol=1e-4, err_msg=name)
            for a, copy in zip((A.indptr, A.indices, A.data), before, strict=True):
                assert_array_equal(a, copy)
    print("refused", refused)


@pytest.mark.parametrize("seed", range(2))
def test_damaged_matrices_are_refused_or_right_at_every_entry(seed):
    # in another process, which a read out of bounds may end
    done = subprocess.run(
        [sys.executable, "-W", "ignore", __file__, str(seed)], capture_output=True, text=True
    )
    assert done.returncode == 0, (done.returncode, done.stderr)
    assert int(done.stdout.split()[-1]) > 150


@pytest.mark.parametrize("index", [np.int32, np.int64])
@pytest.mark.parametrize("column", [-1, K, 10**6])
def test_the_row_and_the_column_are_named(index, column):
    A = matrix(np.random.default_rng(0))
    A.indices, A.indptr = A.indices.astype(index), A.indptr.astype(index)
    A.indices[A.indptr[7]] = column
    with pytest.raises(ValueError, match=f"X is a broken CSR.*row 7 .*column {column} of {K}"):
        canonical_csr(A, "X")
    A.indices[A.indptr[7]] = 0
    A.indptr[9] = 10**6
    with pytest.raises(ValueError, match="X is a broken CSR.*row 8 .*1000000 of"):
        canonical_csr(A, "X")


@pytest.mark.parametrize("format", ["csc", "bsr", "coo"])
def test_other_formats_are_checked_before_they_are_converted(format):
    A = matrix(np.random.default_rng(0), (12, 4))
    assert_array_equal(canonical_csr(A.asformat(format), "X").toarray(), A.toarray())
    broken = A.asformat(format)
    if format == "coo":
        broken.coords = (broken.coords[0], broken.coords[1] + 4)
    else:
        broken.indices[3] = 10**6
    with pytest.raises(ValueError, match=f"X is a broken {format.upper()} matrix"):
        canonical_csr(broken, "X")


@pytest.mark.parametrize("kind", [sparse.csr_matrix, sparse.csc_matrix, sparse.coo_matrix])
def test_matrices_become_arrays(kind):
    A = matrix(np.random.default_rng(0), (12, 4))
    found = canonical_csr(kind(A), "X")
    assert isinstance(found, sparse.csr_array)
    assert_array_equal(found.toarray(), A.toarray())
    B = sparse.csr_matrix(A)
    assert np.shares_memory(canonical_csr(B, "X").data, B.data)


def test_canonical_rows_are_not_copied():
    A = matrix(np.random.default_rng(0))
    assert canonical_csr(A, "X") is A
    assert A.has_canonical_format
    A.indices[:2] = A.indices[1::-1]
    again = canonical_csr(A, "X")
    assert again is not A
    assert_array_equal(np.sort(again.indices[:2]), again.indices[:2])
    assert_array_equal(again.toarray(), entries(A))


def out_of_bounds(format, shape=(24, 5)):
    """A matrix that would have SciPy read or write elsewhere."""
    A = sparse.csr_array(np.ones(shape)).asformat(format)
    if format == "coo":
        A.coords = (A.coords[0], A.coords[1] + 10**6)
    else:
        A.indices = A.indices + 10**6
    return A


def public_calls():
    """Name -> function and right arguments, of all that the fuzz of calls knows."""
    found = {}
    for seed in range(600):
        name, function, arguments = choose(np.random.default_rng(seed))
        found.setdefault(name, (function, arguments))
    return found


def each_argument():
    """Calls and one argument each, of fits once an explainer and of methods once."""
    seen, calls = set(), []
    for name, (function, arguments) in public_calls().items():
        for argument in arguments:
            kind, _, method = name.partition(".")
            key = (kind, argument) if not argument.startswith("call_") else (method, argument)
            if key not in seen:
                seen.add(key)
                label = f"{name}({argument})"
                calls.append(pytest.param(function, arguments, argument, id=label))
    return calls


@pytest.mark.parametrize("format", ["csr", "coo"])
@pytest.mark.parametrize("function, arguments, argument", each_argument())
@pytest.mark.filterwarnings("ignore")
def test_no_argument_brings_a_broken_matrix_to_scipy(function, arguments, argument, format):
    with guarded(), suppress(ValueError, TypeError):
        function(**{**arguments, argument: out_of_bounds(format)})


@pytest.mark.parametrize("format", ["csr", "csc", "bsr", "coo"])
def test_plots_refuse_broken_matrices(format):
    plots = pytest.importorskip("skattrib.plots")
    pytest.importorskip("matplotlib").use("agg")
    A, row, x = (out_of_bounds(format, shape) for shape in ((24, 5), (1, 24), (1, 2)))
    T, X, y = np.ones(24), np.arange(48.0).reshape(24, 2), np.arange(24) % 2
    explainer = SimilarityExplainer().fit(X, y)
    show = plots.AttributionDisplay.from_predictions
    masks, outputs = np.eye(24, dtype=bool), np.ones((24, 1))
    calls = {
        "attributions": lambda: show(row),
        "images": lambda: show(T, images=A, image_shape=(5, 1)),
        "X": lambda: plots.AttributionDisplay.from_estimator(explainer, x),
        "masks": lambda: plots.DatamodelingDisplay.from_predictions(row, masks, outputs),
        "Cs": lambda: plots.SupportDisplay.from_estimator(explainer, X, y, Cs=A),
        "result": lambda: plots.SupportDisplay.from_result(A),
    }
    with guarded():
        for name, call in calls.items():
            with pytest.raises((ValueError, TypeError)):
                call()
                raise AssertionError(name)


@pytest.mark.parametrize("one_d", ["csr", "coo"])
def test_vectors_are_checked_too(one_d):
    A = sparse.csr_array(sparse.coo_array(np.arange(5.0)))
    assert A.ndim == 1
    assert_array_equal(canonical_csr(A.asformat(one_d), "x").toarray(), np.arange(5.0))
    A = A.asformat(one_d)
    if one_d == "coo":
        A.coords = (A.coords[0] + 5,)
    else:
        A.indices = A.indices + 5
    with pytest.raises(ValueError, match="x is a broken"):
        canonical_csr(A, "x")


if __name__ == "__main__":
    main(int(sys.argv[1]), 10)
