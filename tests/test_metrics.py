"""Evaluation scores against their definitions, on dense and sparse attributions."""

import re
import tracemalloc
from functools import cache

import numpy as np
import pytest
import reference_metrics as reference
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from scipy.stats import spearmanr
from sklearn.metrics import average_precision_score

from skattrib.metrics import (
    class_detection_score,
    completeness_error,
    faithfulness,
    leave_one_out_agreement,
    linear_datamodeling_score,
    mislabel_detection_score,
    shortcut_detection_score,
    sparsity,
    stability,
    subclass_detection_score,
    top_k_cardinality,
    top_k_overlap,
)


def with_stored_zeros(T):
    """CSR that stores every second zero."""
    stored = T != 0
    stored.ravel()[np.flatnonzero(~stored)[::2]] = True
    row, column = np.nonzero(stored)
    return sparse.csr_array(
        (T[stored], column, np.searchsorted(row, np.arange(len(T) + 1))), T.shape
    )


def with_split_entries(T):
    """CSR that stores each value as two entries of one position, in no order."""
    half = sparse.csr_array(T)
    order = np.concatenate(
        [
            np.tile(np.arange(a, b)[::-1], 2)
            for a, b in zip(half.indptr, half.indptr[1:], strict=False)
        ]
    ).astype(int)
    return sparse.csr_array((half.data[order] / 2, half.indices[order], 2 * half.indptr), T.shape)


FORMATS = {
    "C order": np.ascontiguousarray,
    "Fortran order": np.asfortranarray,
    "float32": lambda T: T.astype(np.float32),
    "float16": lambda T: T.astype(np.float16),
    "integers": lambda T: T.astype(np.int8),
    "lists": lambda T: T.tolist(),
    "csr_array": sparse.csr_array,
    "csr_matrix": sparse.csr_matrix,
    "float32 csr": lambda T: sparse.csr_array(T, dtype=np.float32),
    "csc_array": sparse.csc_array,
    "coo_matrix": sparse.coo_matrix,
    "stored zeros": with_stored_zeros,
    "all stored": lambda T: sparse.csr_array(
        (T.ravel(), np.tile(np.arange(T.shape[1]), len(T)), np.arange(0, T.size + 1, T.shape[1])),
        T.shape,
    ),
    "split entries": with_split_entries,
}


def small_attributions(n=7):
    """Few distinct values, so that ties abound; among them rows that sparse formats get wrong."""
    T = np.random.default_rng(0).integers(-2, 3, size=(40, n)).astype(float)
    T[0] = 0
    T[1] = -1
    T[2] = [-2, 0] * (n // 2) + [-1] * (n % 2)
    T[3] = [0] * (n - 1) + [-1]
    T[4] = [5] + [0] * (n - 1)
    T[:, 5] = 0
    return T


@pytest.fixture(params=FORMATS)
def as_format(request):
    return FORMATS[request.param]


TIED = small_attributions()
Y_TRAIN = np.array([0, 1, 2, 0, 1, 1, 2])
TARGETS = np.random.default_rng(1).integers(0, 3, size=len(TIED))
FLIPPED = np.array([0, 1, 0, 0, 1, 1, 0], dtype=bool)
EXPECTED_FOUND = reference.mislabel_detection_score(reference.mean_magnitudes(TIED), FLIPPED)
KINDS = "top", "average_precision"
SCALES = [1e-30, 1e-9, 3.0, 1e30, 1e308]


def all_scores(T, y_train=Y_TRAIN, targets=TARGETS, flipped=FLIPPED):
    """Scores of T alone that neither its scale nor the order of training rows may change."""
    spread = [sparsity(T, mass=mass) for mass in (0.3, 0.5, 0.9, 1.0)]
    return np.concatenate(
        [
            [class_detection_score(T, y_train, targets)],
            [subclass_detection_score(T, y_train, targets)],
            [shortcut_detection_score(T, flipped, kind=kind) for kind in KINDS],
            list(top_k_cardinality(T, k=2).values()),
            [mislabel_detection_score(T, flipped)],
            *[result.nonzero_share for result in spread],
            *[result.rows_for_mass for result in spread],
        ]
    )


OTHER = np.random.default_rng(4).integers(-2, 3, size=TIED.shape).astype(float)
MASKS = np.random.default_rng(5).random((30, TIED.shape[1])) < 0.5
OUTPUTS = np.random.default_rng(6).integers(0, 9, size=(30, len(TIED))).astype(float)


def scores_with_others(T, other=OTHER, masks=MASKS):
    """The same of scores that compare T with something else."""
    return np.array(
        [
            linear_datamodeling_score(T, masks, OUTPUTS),
            *[top_k_overlap(T, other, k) for k in (1, 3, 7)],
            *stability([T, other, T], k=2).values(),
            leave_one_out_agreement(T, other).correlation,
        ]
    )


# The definitions


def test_class_detection_is_its_definition(as_format):
    expected = reference.class_detection_score(TIED.tolist(), Y_TRAIN, TARGETS)
    assert class_detection_score(as_format(TIED), Y_TRAIN, TARGETS) == pytest.approx(expected)


def test_average_precision_of_the_shortcut_is_its_definition(as_format):
    T = TIED[:12]
    expected = [reference.average_precision(row, FLIPPED) for row in T.tolist()]
    found = [
        shortcut_detection_score(as_format(row[None]), FLIPPED, kind="average_precision")
        for row in T
    ]
    assert_allclose(found, expected, rtol=1e-12)
    assert shortcut_detection_score(as_format(T), FLIPPED, kind="average_precision") == (
        pytest.approx(np.mean(expected), rel=1e-12)
    )


def test_average_precision_is_that_of_scikit_learn_without_ties():
    rng = np.random.default_rng(0)
    T, marked = rng.normal(size=(20, 50)), rng.random(50) < 0.3
    expected = np.mean([average_precision_score(marked, row) for row in T])
    found = shortcut_detection_score(T, marked, kind="average_precision")
    assert found == pytest.approx(expected, rel=1e-12)


def test_top_k_cardinality_is_its_definition(as_format):
    for rows in ([0, 1, 5], [2, 3, 4], [6, 7, 8]):
        T = TIED[rows][:, :5]
        for k in (1, 2, 5):
            result = top_k_cardinality(as_format(T), k)
            assert result.cardinality == pytest.approx(reference.top_k_cardinality(T, k))
            assert result.share == pytest.approx(result.cardinality / (3 * k))


def test_top_k_cardinality_of_random_rows():
    m, n, k = 300, 200, 3
    found = top_k_cardinality(np.random.default_rng(0).normal(size=(m, n)), k)
    assert found.cardinality == pytest.approx(n * (1 - (1 - k / n) ** m), rel=0.05)
    one = np.tile(np.arange(n, dtype=float), (m, 1))
    assert top_k_cardinality(one, k) == {"cardinality": k, "share": pytest.approx(1 / m)}
    assert top_k_cardinality(np.eye(n), 1) == {"cardinality": n, "share": 1.0}


def test_mislabel_detection_is_its_definition(as_format):
    assert mislabel_detection_score(as_format(TIED), FLIPPED) == pytest.approx(EXPECTED_FOUND)


def test_completeness_error_is_its_definition(as_format):
    outputs = TIED.sum(axis=1) + np.linspace(-0.3, 0.2, len(TIED))
    expected = reference.completeness_error(TIED, outputs)
    assert completeness_error(as_format(TIED), outputs) == pytest.approx(expected)


@pytest.mark.parametrize("mass", [0.01, 0.5, 0.8, 0.9, 0.99, 1.0])
def test_sparsity_is_its_definition(as_format, mass):
    result = sparsity(as_format(TIED), mass)
    assert_allclose(result.nonzero_share, reference.nonzero_share(TIED))
    assert_array_equal(result.rows_for_mass, reference.rows_for_mass(TIED, mass))


def test_subclass_detection_is_class_detection_of_the_subclasses(as_format):
    expected = reference.class_detection_score(TIED.tolist(), Y_TRAIN, TARGETS)
    assert subclass_detection_score(as_format(TIED), Y_TRAIN, TARGETS) == pytest.approx(expected)


def test_shortcut_detection_is_its_definition(as_format):
    marked = [True] * len(TIED)
    expected = reference.class_detection_score(TIED.tolist(), FLIPPED, marked)
    assert shortcut_detection_score(as_format(TIED), FLIPPED) == pytest.approx(expected)


def test_linear_datamodeling_score_is_its_definition(as_format):
    expected = reference.linear_datamodeling_score(TIED, MASKS, OUTPUTS)
    score = linear_datamodeling_score(as_format(TIED), MASKS, OUTPUTS)
    assert score == pytest.approx(expected, abs=1e-12)
    assert abs(expected) > 0.01


def test_linear_datamodeling_score_is_the_mean_of_spearman_correlations():
    rng = np.random.default_rng(0)
    T, outputs = rng.standard_normal((5, 7)), rng.standard_normal((30, 5))
    each = [spearmanr(MASKS @ T[j], outputs[:, j]).statistic for j in range(5)]
    assert linear_datamodeling_score(T, MASKS, outputs) == pytest.approx(np.mean(each))


def test_leave_one_out_agreement_is_its_definition(as_format):
    result = leave_one_out_agreement(as_format(TIED), OTHER)
    expected = reference.correlation(OTHER.ravel(), TIED.ravel())
    assert result.correlation == pytest.approx(expected)
    assert result.slope == pytest.approx(reference.slope(OTHER.ravel(), TIED.ravel()))


@pytest.mark.parametrize("last", [[1, 4, 5], [2, 0]], ids=["another", "the same again"])
def test_leave_one_out_agreement_of_chosen_rows_and_groups(as_format, last):
    rows = [3, [0, 2], (6,), np.array(last)]
    sums = np.column_stack([TIED[:, np.atleast_1d(row)].sum(axis=1) for row in rows])
    effects = OTHER[:, :4]
    result = leave_one_out_agreement(as_format(TIED), effects, rows=rows)
    assert result.correlation == pytest.approx(reference.correlation(effects.ravel(), sums.ravel()))
    assert result.slope == pytest.approx(reference.slope(effects.ravel(), sums.ravel()))


@cache
def expected_overlap(k):
    return reference.top_k_overlap(TIED[:8, :5], OTHER[:8, :5], k)


@pytest.mark.parametrize("k", [1, 2, 4, 5])
def test_top_k_overlap_is_its_definition(as_format, k):
    A, B = TIED[:8, :5], OTHER[:8, :5]
    assert top_k_overlap(as_format(A), as_format(B), k) == pytest.approx(expected_overlap(k))


def test_stability_is_its_definition(as_format):
    seeds = [TIED, OTHER, OTHER[::-1]]
    result = stability([as_format(T) for T in seeds], k=3)
    pairs = [(0, 1), (0, 2), (1, 2)]
    ranks = [[reference.average_ranks(row) for row in T] for T in seeds]
    correlations = [
        np.mean([reference.correlation(a, b) for a, b in zip(ranks[i], ranks[j], strict=True)])
        for i, j in pairs
    ]
    assert result.rank_correlation == pytest.approx(np.mean(correlations))
    overlaps = [top_k_overlap(seeds[i], seeds[j], 3) for i, j in pairs]
    assert result.top_k_overlap == pytest.approx(np.mean(overlaps))


def test_faithfulness_is_its_definition():
    a, b = TIED[:, :3], OTHER[:, :3]
    result = faithfulness(a, b)
    assert result.agreement == pytest.approx(reference.agreement(a.tolist(), b.tolist()))
    assert result.correlation == pytest.approx(reference.correlation(a.ravel(), b.ravel()))


def test_faithfulness_of_two_classes_is_that_of_both_logits():
    a, b = TIED[:, 0], OTHER[:, 0]
    both = faithfulness(np.column_stack([-a, a]) / 2, np.column_stack([-b, b]) / 2)
    one = faithfulness(a, b)
    assert one.agreement == pytest.approx(both.agreement)
    assert one.correlation == pytest.approx(reference.correlation(a, b))


@settings(max_examples=40, deadline=None)
@given(
    T=hnp.arrays(
        float,
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=5).filter(lambda shape: shape[1] > 1),
        elements=st.sampled_from([-3.0, -0.125, -0.0, 0.0, 0.125, 0.5, 1.0, 1e5]),
    ),
    data=st.data(),
)
def test_definitions_hold_for_any_small_attributions(T, data):
    m, n = T.shape
    labels = st.sampled_from("abc")
    y_train = data.draw(st.lists(labels, min_size=n, max_size=n))
    targets = data.draw(st.lists(labels, min_size=m, max_size=m))
    mask = st.lists(st.booleans(), min_size=n, max_size=n).filter(lambda x: 0 < sum(x) < n)
    flipped = data.draw(mask)
    detected = reference.class_detection_score(T.tolist(), y_train, targets)
    found = reference.mislabel_detection_score(T[0], flipped)
    for S in (T, sparse.csr_array(T), with_stored_zeros(T)):
        assert class_detection_score(S, y_train, targets) == pytest.approx(detected)
        assert_array_equal(sparsity(S).rows_for_mass, reference.rows_for_mass(T, 0.9))
    assert mislabel_detection_score(T[0], flipped) == pytest.approx(found)


@pytest.mark.parametrize("block_size", [1, 3 * TIED.shape[1]])
def test_blocks_of_test_rows_do_not_show(block_size, monkeypatch):
    whole, compared = all_scores(TIED), scores_with_others(TIED)
    monkeypatch.setattr("skattrib.metrics._checks._BLOCK_SIZE", block_size)
    assert_array_equal(all_scores(TIED), whole)
    assert_array_equal(scores_with_others(TIED), compared)


# Scale and order


@pytest.mark.parametrize("container", [np.asarray, sparse.csr_array, with_stored_zeros])
@pytest.mark.parametrize("scale", SCALES)
def test_positive_scale_changes_nothing(container, scale):
    T = TIED / 10
    assert_allclose(all_scores(container(T * scale)), all_scores(T), rtol=1e-12)
    compared = scores_with_others(container(T * scale), container(OTHER * 3))
    assert_allclose(compared, scores_with_others(T), rtol=1e-11)


@pytest.mark.parametrize("container", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("scale", [1.0, *SCALES])
def test_means_that_differ_by_rounding_are_ties(container, scale):
    rng = np.random.default_rng(3)
    column = rng.standard_normal(50) / 10
    T = np.column_stack([rng.permutation(column) for _ in range(20)])
    assert mislabel_detection_score(container(T * scale), np.arange(20) < 7) == 0.5
    in_float32 = container(T.astype(np.float32))
    assert mislabel_detection_score(in_float32, np.arange(20) < 7) == 0.5
    thirds = container(np.array([[1, 2], [2, 2], [3, 2]], dtype=np.float32))
    assert mislabel_detection_score(thirds, [True, False]) == 0.5


def test_means_that_differ_by_more_than_rounding_are_no_ties():
    assert mislabel_detection_score([[1.0, 1.0 + 1e-14]], [False, True]) == 1
    assert mislabel_detection_score([1.0, 1.0 + 1e-15], [False, True]) == 1


def test_float32_attributions_may_be_huge():
    T = TIED.astype(np.float32) * np.float32(6e37)
    assert_allclose(all_scores(T), all_scores(TIED), rtol=1e-12)


@pytest.mark.parametrize("container", [np.asarray, sparse.csr_array, with_stored_zeros])
def test_order_of_rows_changes_nothing(container):
    T = TIED / 10
    rng = np.random.default_rng(2)
    for _ in range(5):
        order = rng.permutation(T.shape[1])
        permuted = all_scores(container(T[:, order]), Y_TRAIN[order], flipped=FLIPPED[order])
        assert_allclose(permuted, all_scores(T), rtol=1e-12)
        permuted = scores_with_others(container(T[:, order]), OTHER[:, order], MASKS[:, order])
        assert_allclose(permuted, scores_with_others(T), rtol=1e-11)
    order = rng.permutation(len(T))
    of_test_rows = mislabel_detection_score(container(T[order]), FLIPPED)
    assert of_test_rows == pytest.approx(mislabel_detection_score(T, FLIPPED), rel=1e-12)


def test_sign_matters_to_the_top_row_and_not_to_magnitudes():
    T = np.array([[3.0, -5.0]])
    assert class_detection_score(T, ["a", "b"], ["a"]) == 1
    assert class_detection_score(-T, ["a", "b"], ["a"]) == 0
    assert mislabel_detection_score(T, [False, True]) == 1
    assert mislabel_detection_score(-T, [False, True]) == 1
    assert mislabel_detection_score(T[0], [False, True]) == 0


def test_slope_scales_and_correlation_does_not():
    for scale in (1e-9, 1e200):
        result = leave_one_out_agreement(TIED * scale, TIED)
        assert (result.correlation, result.slope) == pytest.approx((1, scale))
        assert leave_one_out_agreement(TIED, TIED * scale).slope == pytest.approx(1 / scale)
    assert leave_one_out_agreement(-2 * TIED, TIED).slope == pytest.approx(-2)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_attributions_that_differ_by_rounding_agree_with_nothing(dtype, scale):
    rng = np.random.default_rng(0)
    effects = rng.standard_normal((5, 7))
    steps = rng.integers(0, 2, (5, 7))
    equal = np.full((5, 7), 0.1 * scale, dtype=dtype)
    noisy = np.where(steps, np.nextafter(equal, dtype(np.inf)), equal)
    assert 0 < np.ptp(noisy) < 1e-6 * scale
    nothing = {"correlation": 0.0, "slope": 0.0}
    assert leave_one_out_agreement(noisy, effects) == nothing
    assert leave_one_out_agreement(effects, noisy) == nothing
    assert faithfulness(noisy, effects).correlation == 0
    assert faithfulness(effects, noisy).correlation == 0
    more = np.where(steps, equal * dtype(1 + 1e-5), equal)
    line = leave_one_out_agreement(more, effects)
    expected = np.corrcoef(steps.ravel(), effects.ravel())[0, 1]
    assert_allclose(line.correlation, expected, rtol=0.05 if dtype == np.float32 else 1e-6)


@pytest.mark.parametrize("container", [np.asarray, sparse.csr_array])
def test_sums_of_groups_that_differ_by_rounding_agree_with_nothing(container):
    """All rows are in each group, in another order: their sums are equal, be they 1 or 0."""
    rng = np.random.default_rng(0)
    effects = rng.standard_normal((5, 7))
    rows = [rng.permutation(40) for _ in range(7)]
    positive = rng.random((5, 40))
    shares = positive / positive.sum(axis=1, keepdims=True)
    for T in (shares, positive - positive.mean(axis=1, keepdims=True)):
        found = leave_one_out_agreement(container(T), effects, rows=rows)
        assert found == {"correlation": 0.0, "slope": 0.0}
    assert leave_one_out_agreement(T, effects, rows=range(7)).correlation != 0


def test_a_resample_of_one_constant_row_agrees_with_nothing():
    """Of two test rows with constant attributions, half the samples draw one of them only."""
    rng = np.random.default_rng(0)
    effects = rng.standard_normal((2, 11))
    for constants in rng.random((40, 2)):
        T = np.repeat(constants[:, None], 11, axis=1)
        found = leave_one_out_agreement(
            T, effects, confidence=0.999, n_resamples=30, random_state=0
        )
        ends = {found.low.correlation, found.high.correlation}
        assert ends == {0.0, found.correlation} and abs(found.correlation) > 0.1


def test_a_row_that_is_left_out_twice_is_refused():
    for rows in ([[3, 3], 5], [[0, 1], [2, 2]]):
        with pytest.raises(ValueError, match="must hold distinct training rows in each group"):
            leave_one_out_agreement(TIED, OTHER[:, :2], rows=rows)


@pytest.mark.parametrize("confidence", [[0.9], np.full(2, 0.9), "0.9", np.nan, 1, {}])
def test_confidence_is_one_probability(confidence):
    with pytest.raises(ValueError, match="confidence is .* expected a probability"):
        sparsity(TIED, confidence=confidence)


@pytest.mark.parametrize("name", ["attributions", "outputs"])
@pytest.mark.parametrize("bad", [["a"], [None, 1j], [[1.0], [1.0, 2.0]], {}, 3j])
def test_what_is_no_array_of_numbers_is_refused_by_name(name, bad):
    given = {"attributions": TIED, "outputs": np.ones(len(TIED))} | {name: bad}
    with pytest.raises(ValueError, match=f"^{name} must be|not supported: {name} would"):
        completeness_error(**given)


def test_sums_over_subsets_that_differ_by_rounding_are_ties():
    # each subset holds the same values, which are summed in another order
    rng = np.random.default_rng(0)
    values = rng.standard_normal(20) / 10
    T = np.concatenate([rng.permutation(values) for _ in range(8)])[None]
    masks = np.kron(np.eye(8, dtype=bool), np.ones(20, dtype=bool))
    for scale in (1, *SCALES[:-1]):
        for container in (np.asarray, sparse.csr_array):
            outputs = np.arange(8.0)[:, None]
            assert linear_datamodeling_score(container(T * scale), masks, outputs) == 0


@pytest.mark.parametrize("container", [np.asarray, sparse.csr_array])
def test_sums_over_subsets_may_overflow(container):
    sums = np.array([[1.5e308, 1.5e308, 1.4e308, 0.0]])
    masks = np.array([[1, 1, 0, 0], [1, 0, 1, 0], [0, 0, 1, 1]])
    assert linear_datamodeling_score(container(sums), masks, [[3], [2], [1]]) == 1


# Excluded rows


@pytest.mark.parametrize("container", [np.asarray, sparse.csr_array])
def test_excluded_rows_are_never_at_the_top(container):
    T = container(np.array([[-np.inf, -2.0, -3.0], [1.0, -np.inf, 2.0]]))
    assert class_detection_score(T, ["a", "b", "b"], ["b", "b"]) == 1
    assert subclass_detection_score(T, ["a", "b", "c"], ["b", "c"]) == 1
    assert shortcut_detection_score(T, [True, False, False]) == 0
    # of the first test row it is never found, of the second second
    marked, kind = [True, False, False], "average_precision"
    assert shortcut_detection_score(T, marked, kind=kind) == (0 + 1 / 2) / 2
    assert top_k_cardinality(T, 1) == {"cardinality": 2, "share": 1}
    with pytest.raises(ValueError, match="choose a smaller k"):
        top_k_cardinality(T, 3)
    other = np.array([[-3.0, -1.0, -2.0], [3.0, 5.0, 4.0]])
    assert top_k_overlap(T, other, k=1) == 0.5
    # both order the rows alike that both rank
    assert stability([T, other], k=1).rank_correlation == 1
    with pytest.raises(ValueError, match="choose a smaller k"):
        top_k_overlap(T, other, k=3)


@pytest.mark.parametrize("container", [np.asarray, sparse.csr_array])
def test_excluded_rows_add_nothing_to_sums(container):
    T, with_zeros = TIED.copy(), TIED.copy()
    T[:, 3], with_zeros[:, 3] = -np.inf, 0
    T[7, 2], with_zeros[7, 2] = -np.inf, 0
    T = container(T)

    def sums(T):
        return [
            mislabel_detection_score(T, FLIPPED),
            linear_datamodeling_score(T, MASKS, OUTPUTS),
            *leave_one_out_agreement(T, OTHER).values(),
            *sparsity(T).rows_for_mass,
        ]

    assert_array_equal(sums(T), sums(with_zeros))
    with pytest.raises(ValueError, match="attributions contains infinity"):
        completeness_error(T, TARGETS)


@pytest.mark.parametrize("container", [np.asarray, sparse.csr_array])
def test_a_test_row_without_candidates_is_refused(container):
    T = TIED.copy()
    T[3] = -np.inf
    for call in (
        lambda: class_detection_score(container(T), Y_TRAIN, TARGETS),
        lambda: shortcut_detection_score(container(T), FLIPPED),
    ):
        with pytest.raises(ValueError, match="excludes every training row .* leave these out"):
            call()


# Best, worst and chance


def test_best_and_worst_attributions_score_one_and_zero():
    same_class = np.where(TARGETS[:, None] == Y_TRAIN, 1.0, 0.5)
    assert class_detection_score(same_class, Y_TRAIN, TARGETS) == 1
    assert class_detection_score(-same_class, Y_TRAIN, TARGETS) == 0
    assert mislabel_detection_score(FLIPPED * 1.0, FLIPPED) == 1
    assert mislabel_detection_score(FLIPPED * -1.0, FLIPPED) == 0
    assert mislabel_detection_score(np.tile(FLIPPED - 3.0, (4, 1)), FLIPPED) == 0
    marked = np.tile(FLIPPED * 1.0, (4, 1))
    assert shortcut_detection_score(marked, FLIPPED) == 1
    assert shortcut_detection_score(-marked, FLIPPED) == 0
    linear = MASKS @ TIED.T
    moves = np.ptp(linear, axis=0) > 0
    assert linear_datamodeling_score(TIED[moves], MASKS, linear[:, moves]) == pytest.approx(1)
    assert linear_datamodeling_score(-TIED[moves], MASKS, linear[:, moves]) == pytest.approx(-1)
    ranked = np.argsort(np.random.default_rng(0).random((6, 9)), axis=1) * 1.0
    assert top_k_overlap(ranked, ranked, k=4) == 1
    assert top_k_overlap(ranked, -ranked, k=4) == 0
    assert tuple(stability([ranked, ranked], k=4).values()) == pytest.approx((1, 1))
    assert tuple(stability([ranked, -ranked], k=4).values()) == pytest.approx((-1, 0))
    assert tuple(faithfulness(ranked, 3 * ranked + 1).values()) == pytest.approx((1, 1))
    assert tuple(faithfulness(ranked, -ranked).values()) == pytest.approx((0, -1))


def test_random_attributions_score_chance():
    rng = np.random.default_rng(0)
    m, n = 3000, 200
    T = rng.standard_normal((m, n))
    y_train, targets = rng.choice(3, size=n, p=[0.6, 0.3, 0.1]), rng.choice(3, size=m)
    chance = np.bincount(targets) / m @ np.bincount(y_train) / n
    assert class_detection_score(T, y_train, targets) == pytest.approx(chance, abs=0.03)
    mean = np.mean([mislabel_detection_score(t, y_train == 1) for t in T[:300]])
    assert mean == pytest.approx(0.5, abs=0.01)
    share = shortcut_detection_score(T, y_train == 1)
    assert share == pytest.approx(np.mean(y_train == 1), abs=0.03)
    T, other = T[:300], T[300:600]
    masks, outputs = rng.random((50, n)) < 0.5, rng.standard_normal((50, 300))
    assert linear_datamodeling_score(T, masks, outputs) == pytest.approx(0, abs=0.03)
    assert tuple(leave_one_out_agreement(T, other).values()) == pytest.approx((0, 0), abs=0.02)
    assert top_k_overlap(T, other, k=20) == pytest.approx(0.1, abs=0.01)
    assert tuple(stability([T, other], k=20).values()) == pytest.approx((0, 0.1), abs=0.01)
    agreement, correlation = faithfulness(T[:, :4], other[:, :4]).values()
    assert (agreement, correlation) == pytest.approx((0.25, 0), abs=0.07)


@pytest.mark.parametrize("container", [np.asarray, sparse.csr_array])
def test_attributions_of_zero_score_exactly_chance(container):
    T = container(np.zeros((len(TARGETS), len(Y_TRAIN))))
    chance = np.bincount(TARGETS) / len(TARGETS) @ np.bincount(Y_TRAIN) / len(Y_TRAIN)
    assert class_detection_score(T, Y_TRAIN, TARGETS) == pytest.approx(chance)
    assert mislabel_detection_score(T, FLIPPED) == 0.5
    assert shortcut_detection_score(T, FLIPPED) == FLIPPED.mean()
    assert linear_datamodeling_score(T, MASKS, OUTPUTS) == 0
    assert tuple(leave_one_out_agreement(T, OTHER).values()) == (0, 0)
    assert top_k_overlap(T, OTHER, k=3) == pytest.approx(3 / 7)
    assert top_k_overlap(T, T, k=3) == pytest.approx(3 / 7)
    assert tuple(stability([T, T], k=3).values()) == pytest.approx((0, 3 / 7))
    assert_array_equal(sparsity(T).nonzero_share, 0)
    assert_array_equal(sparsity(T).rows_for_mass, 0)


# Intervals


ERRORS = np.full(len(TIED), 0.1)

INTERVALS = {
    "class": lambda T, **how: class_detection_score(T, Y_TRAIN, TARGETS, **how),
    "subclass": lambda T, **how: subclass_detection_score(T, Y_TRAIN, TARGETS, **how),
    "shortcut": lambda T, **how: shortcut_detection_score(T, FLIPPED, **how),
    "shortcut precision": lambda T, **how: shortcut_detection_score(
        T, FLIPPED, kind="average_precision", **how
    ),
    "mislabel": lambda T, **how: mislabel_detection_score(T, FLIPPED, **how),
    "lds": lambda T, **how: linear_datamodeling_score(T, MASKS, OUTPUTS, **how),
    "overlap": lambda T, **how: top_k_overlap(T, OTHER, 2, **how),
    "leave one out": lambda T, **how: leave_one_out_agreement(T, OTHER + T, **how),
    "stability": lambda T, **how: stability([T, OTHER], 2, **how),
    "faithfulness": lambda T, **how: faithfulness(T, OTHER + T, **how),
    "completeness": lambda T, **how: completeness_error(T, T.sum(axis=1) + ERRORS, **how),
}


@pytest.mark.parametrize("score", INTERVALS.values(), ids=INTERVALS)
def test_intervals_hold_the_score_and_grow_with_confidence(score):
    plain = score(TIED)
    result = score(TIED, confidence=0.95, n_resamples=200, random_state=0)
    wider = score(TIED, confidence=0.99, n_resamples=200, random_state=0)
    again = score(TIED, confidence=0.95, n_resamples=200, random_state=0)
    if isinstance(plain, float):
        plain = {"score": plain}
        ends = {"score": (result.low, result.high, wider.low, wider.high)}
        assert (again.low, again.high) == (result.low, result.high)
    else:
        assert again.low == result.low and again.high == result.high
        ends = {
            name: (result.low[name], result.high[name], wider.low[name], wider.high[name])
            for name in plain
        }
    assert result.keys() == {*plain, "low", "high"}
    for name, value in plain.items():
        low, high, wide_low, wide_high = ends[name]
        assert result[name] == value
        assert wide_low <= low < value < high <= wide_high
    for bad in (0, 1, 95, -0.5):
        with pytest.raises(ValueError, match="confidence is .* expected a probability"):
            score(TIED, confidence=bad)
    with pytest.raises(ValueError, match="n_resamples must be a positive integer"):
        score(TIED, confidence=0.9, n_resamples=0)


def test_intervals_of_completeness_are_of_a_maximum():
    result = completeness_error([[1.0], [1.0], [1.0]], [1.0, 1.0, 1.5], confidence=0.9)
    assert 0 == result.low < result.score <= result.high
    zeros = completeness_error(np.zeros((3, 2)), [0.0, 0.0, 1.0], confidence=0.9, random_state=0)
    assert zeros.low == 0 and zeros.score == zeros.high == pytest.approx(3**0.5)


def test_intervals_of_sparsity_are_of_its_means():
    result = sparsity(TIED, confidence=0.9, n_resamples=300, random_state=0)
    for name in ("nonzero_share", "rows_for_mass"):
        assert result.low[name] < result[name].mean() < result.high[name]


@pytest.mark.parametrize("confidence, deviations", [(0.5, 0.674), (0.9, 1.645), (0.99, 2.576)])
def test_intervals_of_means_are_as_wide_as_normal_ones(confidence, deviations):
    rng = np.random.default_rng(0)
    T, y_train, targets = (
        rng.standard_normal((500, 20)),
        np.arange(20) % 4,
        rng.integers(4, size=500),
    )
    how = {"confidence": confidence, "n_resamples": 4000, "random_state": 0}
    result = class_detection_score(T, y_train, targets, **how)
    width = deviations * np.sqrt(result.score * (1 - result.score) / 500)
    ends = result.score - width, result.score + width
    assert (result.low, result.high) == pytest.approx(ends, abs=0.12 * width)


def test_an_interval_needs_two_units():
    with pytest.raises(ValueError, match="2 or more rows to draw from, got 1"):
        class_detection_score(TIED[:1], Y_TRAIN, TARGETS[:1], confidence=0.95)
    with pytest.raises(ValueError, match="2 or more rows to draw from, got 1"):
        mislabel_detection_score(TIED, np.arange(7) == 3, confidence=0.95)


# Labels and masks


@pytest.mark.parametrize(
    "as_labels",
    [
        lambda y: np.array(["cat", "dog", "emu"])[y],
        lambda y: np.array(["cat", "dog", "emu"], dtype=object)[y],
        lambda y: ["cat" if label == 0 else "a longer name" + "!" * label for label in y],
        lambda y: y.astype(object),
        lambda y: y - 5.5,
        lambda y: y.astype(np.uint8),
        lambda y: y.astype("datetime64[D]"),
    ],
)
def test_labels_of_any_type(as_labels):
    expected = class_detection_score(TIED, Y_TRAIN, TARGETS)
    assert class_detection_score(TIED, as_labels(Y_TRAIN), as_labels(TARGETS)) == expected


def test_equal_labels_of_different_types_are_equal():
    expected = class_detection_score(TIED, Y_TRAIN, TARGETS)
    assert class_detection_score(TIED, Y_TRAIN.astype(np.uint64), TARGETS * 1.0) == expected
    names = np.array(["cat", "dog", "emu"])
    assert class_detection_score(TIED, names[Y_TRAIN], names.astype(object)[TARGETS]) == expected


def test_a_class_without_training_rows_is_never_detected():
    targets = np.full(len(TIED), 99)
    for T in (TIED, sparse.csr_array(TIED)):
        assert class_detection_score(T, Y_TRAIN, targets) == 0


def test_masks_of_zeros_and_ones():
    expected = mislabel_detection_score(TIED, FLIPPED)
    for mask in (FLIPPED.astype(int), FLIPPED.tolist(), FLIPPED.astype(object)):
        assert mislabel_detection_score(TIED, mask) == expected


def test_pandas_labels_masks_and_attributions():
    pd = pytest.importorskip("pandas")
    y_train, targets = pd.Series(Y_TRAIN), pd.Series(TARGETS)
    frame, flipped = pd.DataFrame(TIED), pd.Series(FLIPPED)
    assert_array_equal(all_scores(frame, y_train, targets, flipped), all_scores(TIED))
    category = class_detection_score(frame, y_train.astype("category"), targets)
    assert category == class_detection_score(TIED, Y_TRAIN, TARGETS)


# Numerical care


def test_sums_are_taken_in_float64():
    # 2**24 + 1 is no float32: a sum in float32 stays at 2**24.
    T = np.array([[2**24, 1, 1, 1, 1, -(2**24)]], dtype=np.float32)
    for container in (np.asarray, sparse.csr_array):
        assert completeness_error(container(T), [4.0]) == 0


def test_completeness_error_of_outputs_that_are_zero():
    assert completeness_error([[1.0, -1.0], [0.0, 0.0]], [0.0, 0.0]) == 0
    assert completeness_error([[1.0, -1.0], [1e-9, 0.0]], [0.0, 0.0]) == np.inf


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_completeness_error_of_tiny_and_huge_outputs(scale):
    outputs = TIED.sum(axis=1) + 0.25
    expected = completeness_error(TIED, outputs)
    assert expected > 0.05
    assert completeness_error(TIED * scale, outputs * scale) == pytest.approx(expected)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("container", [np.asarray, sparse.csr_array])
def test_sums_of_the_completeness_error_may_overflow(container):
    T = np.full((2, 10), 1.5e308) * [[1.0], [-1.0]]
    found = completeness_error(container(T), [1.5e308, -0.75e308])
    assert found == pytest.approx(14.25 / np.sqrt((1.5**2 + 0.75**2) / 2), rel=1e-12)
    assert completeness_error(container(T), T[:, 0]) == pytest.approx(9, rel=1e-12)
    assert completeness_error(container(T), [1e-320, 0.0]) == np.inf


@pytest.mark.filterwarnings("error")
def test_outputs_of_any_size():
    small, large = 1e-320 * np.arange(1, 9), 1e308 * np.arange(-0.5, 1.5, 0.25)
    for one, other in [(small, large), (large, small)]:
        assert faithfulness(one, other).correlation == pytest.approx(1, rel=1e-3)
    result = completeness_error(np.eye(8), small, confidence=0.9, random_state=0)
    assert result == {"score": np.inf, "low": np.inf, "high": np.inf}


@pytest.mark.filterwarnings("error")
def test_slopes_of_any_size():
    effects = np.array([[1.0, -2.0, 3.0]])
    assert leave_one_out_agreement(1e300 * effects, 1e-300 * effects).slope == np.inf
    assert leave_one_out_agreement(1e-300 * effects, 1e300 * effects).slope == 0
    # the quotient of the largest values is beyond float64, the slope is not
    T, x = np.array([[0.0, 1.7e308], [1e-3, 0.0]]), np.array([[0.0, 0.1], [0.9, 0.0]])
    line = np.polyfit(x.ravel(), T.ravel() / 1e300, 1)[0]
    assert leave_one_out_agreement(T, x).slope == pytest.approx(line * 1e300)
    groups = [[0, 1], [2, 3], [4]]
    halves = np.repeat(0.5e308 * effects, 2, axis=1)[:, :5]
    found = leave_one_out_agreement(halves, effects, rows=groups)
    expected = leave_one_out_agreement(halves / 1e308, effects, rows=groups)
    assert found.correlation == pytest.approx(expected.correlation)
    assert found.slope == pytest.approx(expected.slope * 1e308)


@pytest.mark.parametrize("container", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scale", [-1e30, 1e-30, 1.0])
def test_attributions_that_are_equal_but_for_rounding_rank_nothing(container, dtype, scale):
    rng = np.random.default_rng(0)
    equal = np.full(TIED.shape, 0.1 * scale, dtype=dtype)
    noisy = np.where(rng.integers(0, 2, TIED.shape), np.nextafter(equal, dtype(np.inf)), equal)
    more = equal + 2000 * (noisy - equal)
    noisy[2:, 0] = equal[2:, 0] = -np.inf
    assert len(np.unique(noisy)) == 3
    T, even = container(noisy), container(equal)

    def ranked(T):
        return [
            class_detection_score(T, Y_TRAIN, TARGETS),
            subclass_detection_score(T, Y_TRAIN, TARGETS),
            *(shortcut_detection_score(T, FLIPPED, kind=kind) for kind in KINDS),
            *top_k_cardinality(T, k=2).values(),
            top_k_overlap(T, OTHER, k=2),
            top_k_overlap(OTHER, T, k=2),
            stability([T, OTHER], k=2).rank_correlation,
            stability([T, T], k=2).rank_correlation,
        ]

    assert_array_equal(ranked(T), ranked(even))
    assert ranked(T)[-2:] == [0, 0]
    # a thousand times as much is no rounding
    more = container(more)
    assert stability([more, more], k=2).rank_correlation > 0.9


def test_mass_is_reached_despite_rounding():
    for n_rows in (10, 20, 1000):
        assert sparsity(np.full((1, n_rows), 0.1)).rows_for_mass == [0.9 * n_rows]


def test_mass_is_summed_in_float64():
    # A float32 sum in the tens of thousands rounds each further third in the same direction.
    T = np.array([[1] + 299_999 * [1 / 3]], dtype=np.float32)
    expected = sparsity(T.astype(np.float64)).rows_for_mass
    for container in (np.asarray, sparse.csr_array):
        assert_array_equal(sparsity(container(T)).rows_for_mass, expected)


def test_mass_may_overflow():
    assert sparsity(np.full((1, 10), 1.5e308)).rows_for_mass == [9]


def test_all_of_the_mass_takes_all_nonzero_rows():
    assert sparsity([[1.0, 1e-20, 0.0]], mass=1.0).rows_for_mass == [2]


def test_some_of_the_mass_takes_a_row():
    assert sparsity([[1.0, 1.0]], mass=1e-18).rows_for_mass == [1]


def test_inputs_are_left_as_they_were():
    for S in (with_split_entries(TIED), with_stored_zeros(TIED)):
        before = S.data.copy(), S.indices.copy()
        all_scores(S)
        completeness_error(S, TARGETS)
        assert_array_equal(S.data, before[0])
        assert_array_equal(S.indices, before[1])
    read_only = TIED.copy()
    read_only.flags.writeable = False
    assert_array_equal(all_scores(read_only), all_scores(TIED))


@pytest.mark.parametrize("is_sparse", [False, True])
def test_memory_stays_below_one_dense_copy(is_sparse):
    m, n = 400, 5000
    if is_sparse:
        T = sparse.random_array((m, n), density=0.001, format="csr", rng=0)
    else:
        T = np.random.default_rng(0).standard_normal((m, n))
    y_train, targets = np.arange(n) % 10, np.arange(m) % 10
    tracemalloc.start()
    all_scores(T, y_train, targets, y_train == 0)
    completeness_error(T, targets)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < m * n * 8 / 2


# Errors


def score_with(T):
    return [
        lambda: class_detection_score(T, Y_TRAIN, TARGETS),
        lambda: mislabel_detection_score(T, FLIPPED),
        lambda: completeness_error(T, TARGETS),
        lambda: sparsity(T),
        lambda: subclass_detection_score(T, Y_TRAIN, TARGETS),
        lambda: shortcut_detection_score(T, FLIPPED),
        lambda: linear_datamodeling_score(T, MASKS, OUTPUTS),
        lambda: leave_one_out_agreement(T, OTHER),
        lambda: top_k_cardinality(T, 2),
        lambda: top_k_overlap(T, OTHER, 2),
        lambda: top_k_overlap(OTHER, T, 2),
    ]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("container", [np.asarray, sparse.csr_array])
def test_attributions_must_be_finite(bad, container):
    T = TIED.copy()
    T[2, 3] = bad
    T[2, 4] = -np.inf
    for call in score_with(container(T)):
        with pytest.raises(ValueError, match="attributions contains (NaN|infinity)"):
            call()


@pytest.mark.parametrize(
    "T", [np.zeros((0, 7)), np.zeros((40, 0)), np.zeros((40, 7, 1)), 3.0, sparse.csr_array((40, 0))]
)
def test_attributions_must_have_test_rows_and_training_rows(T):
    for call in score_with(T):
        with pytest.raises(
            ValueError, match=r"attributions has shape .*\(test rows, training rows"
        ):
            call()


def test_one_row_of_attributions_must_still_be_a_matrix():
    for call in (
        lambda: class_detection_score(TIED[0], Y_TRAIN, [0]),
        lambda: completeness_error(TIED[0], [0.0]),
        lambda: sparsity(TIED[0]),
    ):
        with pytest.raises(
            ValueError, match=r"attributions has shape \(7,\); expected \(test rows"
        ):
            call()


@pytest.mark.parametrize(
    "call, message",
    [
        (
            lambda: class_detection_score(TIED, Y_TRAIN[:-1], TARGETS),
            "y_train has 6 entries but attributions has 7 columns (one per training row)",
        ),
        (
            lambda: class_detection_score(TIED, Y_TRAIN, TARGETS[1:]),
            "targets has 39 entries but attributions has 40 rows (one per test row)",
        ),
        (
            lambda: class_detection_score(TIED, Y_TRAIN[:, None], TARGETS),
            "y_train has shape (7, 1) but attributions has 7 columns",
        ),
        (
            lambda: class_detection_score(TIED, Y_TRAIN, 1),
            "targets has shape () but attributions has 40 rows",
        ),
        (
            lambda: mislabel_detection_score(TIED, FLIPPED[1:]),
            "is_mislabeled has 6 entries but scores_or_attributions has 7 columns",
        ),
        (
            lambda: mislabel_detection_score(TIED[0], FLIPPED[1:]),
            "is_mislabeled has 6 entries but scores_or_attributions has 7 entries",
        ),
        (
            lambda: mislabel_detection_score([], FLIPPED),
            "is_mislabeled has 7 entries but scores_or_attributions has 0 entries",
        ),
        (
            lambda: completeness_error(TIED, TARGETS[1:]),
            "outputs has 39 entries but attributions has 40 rows (one per test row)",
        ),
        (
            lambda: completeness_error(TIED, np.full(len(TIED), np.nan)),
            "outputs contains NaN",
        ),
        (
            lambda: mislabel_detection_score([1.0, np.nan], [True, False]),
            "scores_or_attributions contains NaN",
        ),
        (
            lambda: mislabel_detection_score([], []),
            "for all 0 training rows",
        ),
        (
            lambda: subclass_detection_score(TIED, Y_TRAIN[1:], TARGETS),
            "subclasses_train has 6 entries but attributions has 7 columns",
        ),
        (
            lambda: subclass_detection_score(TIED, Y_TRAIN.astype(str), TARGETS),
            "subclasses_train and subclasses_test must hold labels of one kind",
        ),
        (
            lambda: shortcut_detection_score(TIED, np.zeros(7)),
            "has_shortcut is False for all 7 training rows; "
            "the score needs at least one marked and one unmarked row",
        ),
        (
            lambda: linear_datamodeling_score(TIED, MASKS[:, 1:], OUTPUTS),
            "subset_masks has shape (30, 6) but attributions has 7 columns",
        ),
        (
            lambda: linear_datamodeling_score(TIED, np.arange(7)[None], OUTPUTS),
            "subset_masks has values other than True and False",
        ),
        (
            lambda: linear_datamodeling_score(TIED, MASKS, OUTPUTS.T),
            "subset_outputs has shape (40, 30); expected (30, 40)",
        ),
        (
            lambda: linear_datamodeling_score(TIED, MASKS[:2], OUTPUTS[:2]),
            "needs 3 or more subsets; got 2",
        ),
        (
            lambda: leave_one_out_agreement(TIED, OTHER[:, 1:]),
            "effects has shape (40, 6); expected (40, 7)",
        ),
        (
            lambda: leave_one_out_agreement(TIED, OTHER, rows=[0, 7]),
            "rows must be training rows 0..6, or groups of one or more of them; got 7",
        ),
        (
            lambda: leave_one_out_agreement(TIED, OTHER, rows=[[3, 3], 6]),
            "rows must hold distinct training rows in each group, but one has row 3 2 times",
        ),
        (
            lambda: leave_one_out_agreement(TIED, OTHER, rows=3),
            "rows must be a list of training rows, such as [3]",
        ),
        (
            lambda: leave_one_out_agreement(TIED, np.zeros(TIED.shape)),
            "effects are all equal",
        ),
        (
            lambda: top_k_overlap(TIED, OTHER[1:], 2),
            "other_attributions has shape (39, 7) but attributions has (40, 7)",
        ),
        *[
            (lambda k=k: top_k_overlap(TIED, OTHER, k), "k must be an integer in 1..7")
            for k in (0, 8, 2.0, True)
        ],
        (lambda: top_k_cardinality(TIED, 8), "k must be an integer in 1..7"),
        *[
            (
                lambda kind=kind: shortcut_detection_score(TIED, FLIPPED, kind=kind),
                f'kind is {kind!r}; expected "top" or "average_precision"',
            )
            for kind in ("auc", None, 1)
        ],
        (lambda: stability([TIED]), "compares 2 or more attributions; got 1"),
        (
            lambda: stability([TIED, OTHER[:, 1:]]),
            "attributions[1] has shape (40, 6) but attributions[0] has (40, 7)",
        ),
        (
            lambda: faithfulness(TIED, OTHER[:, 1:]),
            "surrogate_outputs and model_outputs have shapes (40, 7) and (40, 6)",
        ),
        (
            lambda: mislabel_detection_score(TIED, np.ones(7, dtype=bool)),
            "is_mislabeled is True for all 7 training rows; "
            "the score needs at least one flipped and one clean row",
        ),
        (
            lambda: mislabel_detection_score(TIED, np.zeros(7)),
            "is_mislabeled is False for all 7 training rows",
        ),
        *[
            (
                lambda mask=mask: mislabel_detection_score(TIED, mask),
                "is_mislabeled has values other than True and False (or 1 and 0)",
            )
            for mask in (np.arange(7), np.full(7, np.nan), np.array(list("0101010")), FLIPPED - 1)
        ],
    ],
)
def test_errors_name_the_problem_and_the_remedy(call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call()


@pytest.mark.parametrize(
    "y_train",
    [
        Y_TRAIN.astype(str),
        Y_TRAIN.astype(str).astype(object),
        Y_TRAIN.astype(bytes),
        np.full(7, np.nan),
        np.full(7, None),
        np.array([0, 1, 2, 0, 1, None, 2], dtype=object),
        np.array([0, 1, 2, 0, 1, np.nan, 2], dtype=object),
    ],
)
def test_labels_must_be_of_one_kind_and_present(y_train):
    with pytest.raises(ValueError, match="labels of one kind, all numbers or all strings"):
        class_detection_score(TIED, y_train, TARGETS)


@pytest.mark.parametrize("mass", [0, -0.1, 1.01, 90, np.nan, [0.5], np.full(2, 0.5), "0.5", None])
def test_mass_must_be_a_share(mass):
    with pytest.raises(ValueError, match=r"mass is .*; expected a share of the whole in \(0, 1\]"):
        sparsity(TIED, mass)


def test_outputs_of_subsets_may_be_sparse():
    expected = linear_datamodeling_score(TIED, MASKS, OUTPUTS)
    assert linear_datamodeling_score(TIED, MASKS, sparse.csr_array(OUTPUTS)) == expected
