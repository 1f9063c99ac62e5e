"""Similarities against loops, and the gradient methods that are similarities of their gradients.

Sources: Charpiat et al. 2019 (GradDot, GradCos), Hanawa et al. 2021, Pruthi et al. 2020 (TracIn),
Malisiewicz et al. 2011 (exemplar SVM).
"""

import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn import config_context, get_config
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.random_projection import GaussianRandomProjection
from sklearn.svm import LinearSVC

from skattrib import ExemplarSVMExplainer, SimilarityExplainer

LABELS = np.array(["a", "b", "c"])
METRICS = {
    "dot": lambda a, b: a @ b,
    "cosine": lambda a, b: a @ b / (np.linalg.norm(a) * np.linalg.norm(b)),
    "euclidean": lambda a, b: -np.linalg.norm(a - b),
}


def problem(n=30, m=7, d=5):
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, d)), LABELS[rng.permutation(n) % 3], rng.normal(size=(m, d))


def loop(metric, X, test):
    return np.array([[METRICS[metric](a, b) for b in X] for a in test])


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("layout", (np.ascontiguousarray, sparse.csr_array))
def test_metrics_are_their_formulas(metric, layout):
    X, y, test = problem()
    X[np.abs(X) < 0.3] = 0.0
    e = SimilarityExplainer(metric=metric).fit(layout(X), y)
    expected = loop(metric, X, test)
    assert_allclose(e.attribute(layout(test)), expected, atol=1e-13)
    assert_array_equal(e.predict(layout(test)), y[expected.argmax(axis=1)])
    own = [METRICS[metric](x, x) for x in X]
    assert_allclose(e.self_influence_, own, atol=1e-13)
    sparse_output = SimilarityExplainer(metric=metric, sparse_output=True).fit(layout(X), y)
    assert_allclose(sparse_output.transform(layout(test)).toarray(), expected, atol=1e-13)
    # labels say nothing without same_class
    assert_array_equal(e.attribute(test, "c"), e.attribute(test, "a"))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("layout", (np.ascontiguousarray, sparse.csr_array))
@pytest.mark.parametrize("dtype", (np.float32, np.float64))
def test_the_cosine_does_not_depend_on_the_size_of_rows(layout, dtype):
    """From denormal to huge rows, without a warning; that with a row of zeros is 0."""
    A = np.array([[3, -4, 0, 1], [1, 1, 2, 0], [2, 0, -1, 5], [0, 0, 0, 0]], dtype=dtype)
    lowest, highest = np.finfo(dtype).smallest_subnormal, 1e-4 * np.sqrt(np.finfo(dtype).max)
    sizes = np.array([lowest, highest, 1.0, 1.0])[:, None].astype(dtype)
    e = SimilarityExplainer(metric="cosine").fit(layout(A * sizes), LABELS[[0, 1, 2, 0]])
    expected = loop("cosine", A[:3].astype(float), A[:3].astype(float))
    found = e.attribute(layout(A * sizes[::-1][[0, 2, 3, 1]]))
    assert_allclose(found[:3, :3], expected, rtol=0, atol=4 * np.finfo(dtype).eps)
    assert_array_equal(found[3], 0)
    assert_array_equal(found[:, 3], 0)


@pytest.mark.parametrize("metric", METRICS)
def test_same_class_knows_rows_of_the_target_class_only(metric):
    X, y, test = problem()
    e = SimilarityExplainer(metric=metric, same_class=True).fit(X, y)
    labels = LABELS[np.arange(len(test)) % 3]
    same = y == labels[:, None]
    expected = np.where(same, loop(metric, X, test), -np.inf)
    assert_allclose(e.attribute(test, labels), expected, atol=1e-13)
    for largest in (True, False):
        values, rows = e.top_k(test, 10, target=labels, largest=largest)
        assert (y[rows] == labels[:, None]).all()
        order = np.sort(np.where(same, expected, np.nan), axis=1)[:, :10]
        assert_allclose(values, order[:, ::-1] if largest else order, atol=1e-13)
    with pytest.raises(ValueError, match="k=11, but class .*'a'.* has only 10 training rows"):
        e.top_k(test, 11, target="a")
    summed = np.where(same, expected, 0.0).sum(axis=0)
    assert_allclose(e.aggregate(test, labels), summed, atol=1e-12)
    e.sparse_output = True
    T = e.attribute(test, labels)
    assert_array_equal(np.diff(T.indptr), same.sum(axis=1))
    assert_array_equal(T.toarray() != 0, same)


def test_too_large_a_k_names_the_class_plainly():
    X, y, test = problem()
    with pytest.raises(ValueError, match="k=11, but class 'a' has only 10"):
        SimilarityExplainer(same_class=True).fit(X, y).top_k(test, 11, target="a")


def test_same_class_defaults_to_the_class_of_the_nearest_row():
    X, y, test = problem()
    e = SimilarityExplainer(metric="euclidean", same_class=True).fit(X, y)
    nearest = y[loop("euclidean", X, test).argmax(axis=1)]
    assert_array_equal(e.predict(test), nearest)
    assert_array_equal(e.attribute(test), e.attribute(test, nearest))


@pytest.mark.parametrize("dtype", (np.float32, np.float64))
@pytest.mark.parametrize("layout", (np.ascontiguousarray, sparse.csr_array))
@pytest.mark.parametrize("origin", (0.0, 1e4))
def test_equal_rows_are_at_distance_zero(dtype, layout, origin):
    """And near ones at the distance of their differences, however far from the origin."""
    X, y, _ = problem()
    X = (X + origin).astype(dtype)
    e = SimilarityExplainer(metric="euclidean").fit(layout(X), y)
    T = e.attribute(layout(X))
    assert T.dtype == dtype
    assert_array_equal(np.diag(T), 0)
    assert_array_equal(e.self_influence_, 0)
    near = X.copy()
    near[:, 0] += np.spacing(near[:, 0]) * 4
    moved = np.abs(near[:, 0].astype(float) - X[:, 0].astype(float))
    assert (moved > 0).all()
    assert_allclose(np.diag(e.attribute(layout(near))), -moved, rtol=1e-6)
    rest = loop("euclidean", X.astype(float), X.astype(float))
    # relative, and where norms of 2e4 are subtracted: those are the near ones, from differences
    assert_allclose(T, rest, rtol=1e-5 if dtype == np.float32 else 1e-9)


def test_cosine_with_a_row_of_zeros_is_zero():
    X, y, test = problem()
    X[0], test[0] = 0.0, 0.0
    e = SimilarityExplainer(metric="cosine").fit(X, y)
    T = e.attribute(test)
    assert_array_equal(T[0], 0)
    assert_array_equal(T[:, 0], 0)
    assert_array_equal(e.self_influence_, np.arange(30) > 0)
    assert_array_equal(e.decompose(test[:1], np.array([[0, 1]])), 0)


def as_cube(shares, indices):
    """Shares (m, k, d), of sparse rows too."""
    shares = shares.toarray() if sparse.issparse(shares) else shares
    return shares.reshape(*indices.shape, -1)


@pytest.mark.parametrize("metric", ("dot", "cosine"))
@pytest.mark.parametrize("layout", (np.ascontiguousarray, sparse.csr_array))
def test_decompose_is_the_terms_of_the_inner_product(metric, layout):
    X, y, test = problem()
    e = SimilarityExplainer(metric=metric).fit(layout(X), y)
    indices = np.random.default_rng(0).integers(len(X), size=(len(test), 3))
    shares = as_cube(e.decompose(layout(test), indices), indices)
    for j, row in enumerate(indices):
        for k, i in enumerate(row):
            norms = np.linalg.norm(test[j]) * np.linalg.norm(X[i]) if metric == "cosine" else 1.0
            assert_allclose(shares[j, k], test[j] * X[i] / norms, atol=1e-14)


def test_decompose_refuses_distances_and_other_classes():
    X, y, test = problem()
    indices = np.zeros((len(test), 1), dtype=int)
    with pytest.raises(ValueError, match="a distance is no sum"):
        SimilarityExplainer(metric="euclidean").fit(X, y).decompose(test, indices)
    e = SimilarityExplainer(same_class=True).fit(X, y)
    other = np.setdiff1d(LABELS, y[:1])[0]
    with pytest.raises(ValueError, match="other classes than its target"):
        e.decompose(test, indices, target=other)
    assert_allclose(e.decompose(test, indices, target=y[0])[:, 0], test * X[0])


@pytest.mark.parametrize("explainer", (SimilarityExplainer(), ExemplarSVMExplainer()))
def test_there_are_no_logits(explainer):
    X, y, test = problem()
    with pytest.raises(ValueError, match="has no logits"):
        explainer.fit(X, y).attribute(test, np.ones((len(test), 3)))


# gradients as rows


def gradient(head, x, label):
    """of the cross-entropy in the weights of a softmax head: (p - q) (x) phi."""
    residual = head.predict_proba(x[None])[0] - (head.classes_ == label)
    return np.outer(residual, x).ravel()


@pytest.fixture(scope="module")
def training():
    """Rows, labels, test rows, their labels, and the checkpoints of a training."""
    X, y, test = problem()
    heads = [LogisticRegression(C=C).fit(X, y) for C in (0.01, 0.1, 1.0)]
    return X, y, test, LABELS[np.arange(len(test)) % 3], heads


def gradients(head, X, y):
    return np.array([gradient(head, x, label) for x, label in zip(X, y, strict=True)])


@pytest.mark.parametrize("metric", ("dot", "cosine"))
def test_grad_dot_and_grad_cos(training, metric):
    """Of a softmax head the inner product is (p - q).(p' - q') times that of the features."""
    X, y, test, labels, (head, *_) = training
    G, g = gradients(head, X, y), gradients(head, test, labels)
    T = SimilarityExplainer(metric=metric).fit(G, y).attribute(g)
    for j in range(len(test)):
        for i in range(len(X)):
            a = head.predict_proba(test[[j]])[0] - (head.classes_ == labels[j])
            b = head.predict_proba(X[[i]])[0] - (head.classes_ == y[i])
            norms = np.prod([np.linalg.norm(v) for v in (a, b, test[j], X[i])])
            expected = (a @ b) * (test[j] @ X[i]) / (norms if metric == "cosine" else 1.0)
            assert_allclose(T[j, i], expected, atol=1e-13)


def test_tracin_is_checkpoints_side_by_side(training):
    """sum_t eta_t grad_t(x).grad_t(x_i)."""
    X, y, test, labels, heads = training
    rates = (0.5, 0.2, 0.1)
    beside = [
        np.hstack([rate**0.5 * gradients(h, *rows) for rate, h in zip(rates, heads, strict=True)])
        for rows in ((X, y), (test, labels))
    ]
    T = SimilarityExplainer().fit(beside[0], y).attribute(beside[1])
    expected = np.zeros_like(T)
    for rate, head in zip(rates, heads, strict=True):
        for j, x in enumerate(test):
            for i, row in enumerate(X):
                product = gradient(head, x, labels[j]) @ gradient(head, row, y[i])
                expected[j, i] += rate * product
    assert_allclose(T, expected, atol=1e-13)


def test_ip_ensemble_is_dropout_copies_side_by_side(training):
    """The mean over copies of inner products, each of the same copy's gradients."""
    X, y, test, labels, (head, *_) = training
    rng = np.random.default_rng(0)
    masks = [rng.random(X.shape[1]) >= rng.uniform(0, 0.5) for _ in range(4)]
    beside = [
        np.hstack([gradients(head, rows * mask, of) / len(masks) ** 0.5 for mask in masks])
        for rows, of in ((X, y), (test, labels))
    ]
    T = SimilarityExplainer().fit(beside[0], y).attribute(beside[1])
    for j, x in enumerate(test):
        for i, row in enumerate(X):
            products = [
                gradient(head, x * mask, labels[j]) @ gradient(head, row * mask, y[i])
                for mask in masks
            ]
            assert_allclose(T[j, i], np.mean(products), atol=1e-13)


def test_sim_rp_is_similarity_behind_a_random_projection(training):
    X, y, test, labels, (head, *_) = training
    G, g = gradients(head, X, y), gradients(head, test, labels)
    projection = GaussianRandomProjection(8, random_state=0)
    pipeline = make_pipeline(projection, SimilarityExplainer(metric="cosine")).fit(G, y)
    R = GaussianRandomProjection(8, random_state=0).fit(G).components_
    assert_allclose(pipeline.transform(g), loop("cosine", G @ R.T, g @ R.T), atol=1e-13)


# exemplar SVM


def test_one_svm_for_each_test_row(monkeypatch):
    """Unless rows of other classes are excluded, no class has to be predicted."""
    fits, fit = [], LinearSVC.fit
    monkeypatch.setattr(LinearSVC, "fit", lambda self, *args: fits.append(1) or fit(self, *args))
    X, y = np.eye(6)[[0, 1, 2, 3, 4, 5, 0, 2]], np.arange(8) % 2
    ExemplarSVMExplainer(random_state=0).fit(X, y).attribute(X[:3])
    assert len(fits) == 3


def exemplar(X, row, C, tol, weight):
    """Unit normal and offset of the SVM of one positive against all training rows."""
    svm = LinearSVC(C=C, dual=False, class_weight={1: weight}, tol=tol, max_iter=100_000)
    svm.fit(np.vstack([row, X]), np.r_[1, np.zeros(len(X))])
    norm = np.linalg.norm(svm.coef_)
    return svm.coef_[0] / norm, svm.intercept_[0] / norm


@pytest.mark.parametrize("C", (0.1, 1.0))
@pytest.mark.parametrize("layout", (np.ascontiguousarray, sparse.csr_array))
def test_exemplar_svm_is_a_loop_of_linear_svcs(C, layout):
    X, y, test = problem()
    e = ExemplarSVMExplainer(C=C, tol=1e-8, random_state=0).fit(layout(X), y)
    T = e.attribute(layout(test))
    indices = np.arange(len(test))[:, None] + np.arange(3)
    shares = as_cube(e.decompose(layout(test), indices), indices)
    for j, row in enumerate(test):
        w, b = exemplar(X, row, C, 1e-8, len(X))
        assert_allclose(T[j], X @ w + b, atol=1e-6)
        # up to the offset, the distance is a sum over features
        assert_allclose(shares[j], w * X[indices[j]], atol=1e-6)
        assert_allclose(shares[j].sum(axis=1) + b, T[j, indices[j]], atol=1e-6)
        # positive on the side of the test row
        assert w @ row + b > 0
    own = []
    for x in X:
        w, b = exemplar(X, x, C, 1e-8, len(X))
        own.append(w @ x + b)
    assert_allclose(e.self_influence_, own, atol=1e-6)


@pytest.mark.parametrize("same_class", (False, True))
def test_exemplar_svm_in_parallel(same_class):
    X, y, test = problem()
    options = {"same_class": same_class, "random_state": 0}
    one = ExemplarSVMExplainer(n_jobs=1, **options).fit(X, y)
    two = ExemplarSVMExplainer(n_jobs=2, **options).fit(X, y)
    T = one.attribute(test, "b")
    assert_array_equal(T, two.attribute(test, "b"))
    assert_array_equal(np.isneginf(T), np.tile(same_class & (y != "b"), (len(test), 1)))
    # the SVM sees the rows of all classes
    everything = ExemplarSVMExplainer(random_state=0).fit(X, y).attribute(test)
    assert_array_equal(T[:, y == "b"], everything[:, y == "b"])


@pytest.mark.parametrize("n_jobs", (1, 2))
def test_exemplar_svms_see_the_configuration_of_scikit_learn(n_jobs, monkeypatch):
    X, y, test = problem()
    e = ExemplarSVMExplainer(n_jobs=n_jobs).fit(X, y)
    seen, plane = [], e._plane
    spy = lambda row: seen.append(get_config()["assume_finite"]) or plane(row)  # noqa: E731
    monkeypatch.setattr(e, "_plane", spy)
    with config_context(assume_finite=True):
        e.attribute(test)
    assert seen == [True] * len(test)


@pytest.mark.parametrize("layout", (np.ascontiguousarray, sparse.csr_array))
def test_exemplar_svm_of_features_whose_squares_vanish(layout):
    """LIBLINEAR alone would not end; they are zeros to it."""
    X, y, test = problem()
    tiny = np.full(5, 1e-200)
    e = ExemplarSVMExplainer(random_state=0).fit(layout(X * tiny), y)
    assert_array_equal(e.attribute(layout(test * tiny)), 0)
    one, without = np.where(np.arange(5) == 2, tiny, 1.0), (np.arange(5) != 2).astype(float)
    found, expected = (
        ExemplarSVMExplainer(random_state=0).fit(layout(X * scale), y).attribute(test * scale)
        for scale in (one, without)
    )
    assert_array_equal(found, expected)


def test_exemplar_svm_of_constant_features_knows_nothing():
    X, y, _ = problem()
    e = ExemplarSVMExplainer().fit(np.zeros_like(X), y)
    assert_array_equal(e.attribute(np.zeros((2, X.shape[1]))), 0)


@pytest.mark.parametrize("same_class", [False, True])
def test_the_strongest_rows_of_a_frame_come_without_a_warning(same_class):
    frame = pd.DataFrame(np.eye(6), columns=list("abcdef"))
    explainer = SimilarityExplainer(same_class=same_class).fit(frame, [0, 0, 0, 1, 1, 1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_array_equal(explainer.top_k(frame, 1)[1][:, 0], np.arange(6))


@pytest.mark.parametrize("scale, C", [(1.0, 1e-20), (1.0, 1e-100), (1e-9, 1.0)])
def test_planes_that_liblinear_does_not_move(scale, C):
    X = scale * np.random.default_rng(0).normal(size=(24, 5))
    e = ExemplarSVMExplainer(C=C).fit(X, np.arange(24) % 3)
    with pytest.raises(ValueError, match="LIBLINEAR does not move: raise C, or scale"):
        e.attribute(X[:1])
    with pytest.raises(ValueError, match="'C' parameter"):
        ExemplarSVMExplainer(C=1e-170).fit(X, np.arange(24) % 3)
