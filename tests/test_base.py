"""The contract of every explainer against hostile arguments: refused by name, never misread."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from scipy import sparse

from skattrib import (
    DualViewExplainer,
    InfluenceExplainer,
    LinearHead,
    RepresenterExplainer,
    SimilarityExplainer,
)
from skattrib.metrics import leave_one_out_agreement, linear_datamodeling_score, sparsity
from skattrib.planting import flip_labels, plant_shortcut
from skattrib.plots import AttributionDisplay, DetectionCurveDisplay
from skattrib.retraining import subset_outputs

RNG = np.random.default_rng(0)
N, M, K = 30, 4, 3
X, Y, TEST = RNG.standard_normal((N, 5)), np.arange(N) % K, RNG.standard_normal((M, 5))
T = RNG.standard_normal((M, N))
EXPLAINERS = [
    DualViewExplainer(C=0.1, random_state=0),
    InfluenceExplainer(C=0.1),
    RepresenterExplainer(C=0.1),
    SimilarityExplainer(),
]
each = pytest.mark.parametrize("explainer", EXPLAINERS, ids=lambda e: type(e).__name__)
HEAD = DualViewExplainer(C=0.1, random_state=0).fit(X, Y)


def masked(values):
    return np.ma.masked_array(values, mask=np.arange(np.size(values)).reshape(np.shape(values)) < 2)


TAKERS = {
    "X of fit": lambda bad: DualViewExplainer().fit(bad(X), Y),
    "y of fit": lambda bad: DualViewExplainer().fit(X, bad(Y)),
    "sample_weight": lambda bad: DualViewExplainer().fit(X, Y, sample_weight=bad(np.ones(N))),
    "X": lambda bad: HEAD.predict(bad(TEST)),
    "target of labels": lambda bad: HEAD.attribute(TEST, bad(np.zeros(M))),
    "target of weights": lambda bad: HEAD.attribute(TEST, bad(np.ones((M, K)))),
    "y": lambda bad: HEAD.target_weights(TEST, y=bad(np.zeros(M))),
    "weights": lambda bad: HEAD.aggregate(TEST, weights=bad(np.ones(M))),
    "indices": lambda bad: HEAD.decompose(TEST, bad(np.zeros((M, 1), dtype=int))),
    "coef": lambda bad: LinearHead(bad(np.ones((K, 5)))).fit(X, Y),
    "intercept": lambda bad: LinearHead(np.ones((K, 5)), bad(np.ones(K))).fit(X, Y),
    "attributions": lambda bad: sparsity(bad(T)),
    "subset_masks": lambda bad: linear_datamodeling_score(T, bad(np.ones((3, N))), np.ones((3, M))),
    "effects": lambda bad: leave_one_out_agreement(T, bad(T)),
    "y of planting": lambda bad: flip_labels(bad(Y), 0.1),
    "y of retraining": lambda bad: subset_outputs(HEAD, X, bad(Y), TEST, 3),
    "attributions of plots": lambda bad: AttributionDisplay.from_predictions(bad(T[0])),
}


@pytest.mark.parametrize("taker", TAKERS)
def test_masked_arrays_are_refused(taker):
    with pytest.raises(ValueError, match="is a masked array: fill it"):
        TAKERS[taker](masked)


@pytest.mark.parametrize("taker", TAKERS)
def test_complex_numbers_are_refused(taker):
    with pytest.raises(ValueError, match=r"^Complex data not supported: \w+ would lose"):
        TAKERS[taker](lambda values: np.asarray(values) + 1j)


def test_complex_sparse_targets_are_refused():
    with pytest.raises(ValueError, match="not supported: target would lose its imaginary part"):
        HEAD.attribute(TEST, sparse.csr_array(np.ones((M, K)) * 1j))
    with pytest.raises(ValueError, match="weights must not be sparse"):
        HEAD.aggregate(TEST, weights=sparse.csr_array(np.ones((1, M))))


def as_training_rows(explainer, dtype):
    """Rows that the explainer keeps as they are, and an `out` in their memory."""
    memory = np.zeros(N * N + N * 5, dtype=dtype)
    rows = memory[-N * 5 :].reshape(N, 5)
    rows[:] = X
    return rows, memory[: N * N].reshape(N, N), memory[-N * N :].reshape(N, N)


@each
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_out_may_not_share_memory_with_rows(explainer, dtype):
    rows, apart, overlapping = as_training_rows(explainer, dtype)
    explainer.fit(X.astype(dtype), Y)
    expected = np.zeros((N, N), dtype=dtype)
    explainer.attribute(rows.copy(), out=expected)
    with pytest.raises(ValueError, match="out shares memory with X"):
        explainer.attribute(rows, out=overlapping)
    assert_array_equal(explainer.attribute(rows, out=apart), expected)
    wide = sparse.csr_array(rows)
    wide.data = rows.reshape(-1)
    with pytest.raises(ValueError, match="out shares memory with X"):
        explainer.attribute(wide, out=overlapping)
    assert_array_equal(rows, X.astype(dtype))


@pytest.mark.parametrize("explainer", EXPLAINERS[1:], ids=lambda e: type(e).__name__)
def test_out_may_not_share_memory_with_training_rows(explainer):
    rows, _, overlapping = as_training_rows(explainer, np.float64)
    explainer.fit(rows, Y)
    with pytest.raises(ValueError, match="out shares memory with X or the training rows"):
        explainer.attribute(X, out=overlapping)


def test_masked_out_is_refused():
    with pytest.raises(ValueError, match="out is a masked array"):
        HEAD.attribute(TEST, out=np.ma.zeros((M, N)))


@each
@pytest.mark.parametrize("largest", [np.ones(2, dtype=bool), [], None, "no", 1, 0.0])
def test_largest_is_a_bool(explainer, largest):
    with pytest.raises(TypeError, match="largest must be"):
        explainer.fit(X, Y).top_k(TEST, 2, largest=largest)
    values = explainer.top_k(TEST, 2, largest=np.bool_(True))[0]
    assert_array_equal(values, explainer.top_k(TEST, 2)[0])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: HEAD.decompose(TEST, np.ones((M, 2), dtype=bool)), "indices must be integers"),
        (lambda: HEAD.decompose(TEST, [[0], [1, 2]]), "indices must be an array"),
        (lambda: HEAD.aggregate(TEST, weights=["a"] * M), "weights must be numbers"),
        (lambda: HEAD.aggregate(TEST, weights=[10**400] * M), "weights must be numbers"),
        (lambda: HEAD.attribute(TEST, [[1.0], [1.0, 2.0]]), "target must be an array"),
        (lambda: HEAD.attribute(TEST, [0, None, "a", 1]), "target None is not one of the classes"),
        (lambda: HEAD.target_weights(TEST, np.array(["logit", "margin"])), "output must be one of"),
        (lambda: DualViewExplainer().fit(X, Y, ["a"] * N), "sample_weight must be numbers"),
    ],
)
def test_what_is_no_array_of_the_right_kind(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_what_is_plain_passes():
    explainer = DualViewExplainer(C=0.1, random_state=0).fit(X, Y, 2)
    assert_array_equal(explainer.coef_, HEAD.__class__(C=0.2, random_state=0).fit(X, Y).coef_)
    frame = HEAD.aggregate(TEST, weights=pd.Series(np.arange(M)))
    assert_array_equal(frame, HEAD.aggregate(TEST, weights=range(M)))


def test_an_explainer_without_a_name_is_refused():
    with pytest.raises(TypeError, match="must be a fitted explainer, got a list"):
        DetectionCurveDisplay.from_estimator([HEAD], Y == 0)
    with pytest.raises(ValueError, match="y has labels of several kinds"):
        plant_shortcut(X, np.array([0, "a"] * 15, dtype=object), 0)
