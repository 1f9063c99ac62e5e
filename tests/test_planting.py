"""Planted label noise, merged classes and shortcuts."""

import re

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy import sparse

from skattrib.planting import flip_labels, merge_classes, plant_shortcut

NAMES = np.array(["ant", "bee", "cat", "a dog that is long"])
Y = NAMES[np.arange(400) % 4]


@pytest.mark.parametrize("kind", ["uniform", "pair"])
@pytest.mark.parametrize("y", [Y, Y.astype(object), np.arange(400) % 3, np.arange(400) % 2 * 0.5])
def test_flipped_labels_are_wrong_and_the_others_are_not(kind, y):
    before = y.copy()
    noisy, flipped = flip_labels(y, 0.1, kind=kind, random_state=0)
    assert_array_equal(noisy != y, flipped)
    assert flipped.dtype == bool and flipped.sum() == 40
    assert set(noisy) <= set(y) and noisy.dtype == y.dtype
    assert_array_equal(y, before)
    again = flip_labels(y, 0.1, kind=kind, random_state=0)
    assert_array_equal(again[0], noisy)
    assert not np.array_equal(flip_labels(y, 0.1, kind=kind, random_state=1)[1], flipped)


def test_kinds_of_noise():
    y = np.arange(4000) % 4
    noisy, _ = flip_labels(y, 1.0, kind="pair")
    assert_array_equal(noisy, (y + 1) % 4)
    noisy, _ = flip_labels(y, 1.0, random_state=0)
    counts = np.bincount((noisy - y) % 4)
    assert counts[0] == 0 and np.all(np.abs(counts[1:] - 4000 / 3) < 150)
    assert not flip_labels(y, 0)[1].any()


def test_merged_classes():
    merged, subclasses = merge_classes(Y, [["ant", "cat"], ["bee", "a dog that is long"]])
    assert_array_equal(merged, np.arange(400) % 2)
    assert_array_equal(subclasses, Y)
    groups = {"ant": "small", "bee": "small", "cat": "large", NAMES[3]: "large", "emu": "large"}
    merged, _ = merge_classes(Y, groups)
    assert_array_equal(merged, np.array(["small", "small", "large", "large"])[np.arange(400) % 4])
    part, _ = merge_classes(Y[:1], groups)
    assert_array_equal(part, ["small"])


@pytest.mark.parametrize("n_groups", [2, 3, 4])
def test_drawn_groups_are_of_equal_size(n_groups):
    merged, subclasses = merge_classes(Y, n_groups=n_groups, random_state=0)
    members = [set(subclasses[merged == group]) for group in range(n_groups)]
    assert sum(map(len, members)) == 4
    assert max(map(len, members)) - min(map(len, members)) <= 1


def test_all_groups_may_be_drawn():
    drawn = {tuple(merge_classes(Y, random_state=seed)[0][:4]) for seed in range(60)}
    assert len(drawn) == 6


@pytest.mark.parametrize("container", [np.array, sparse.csr_array, sparse.csr_matrix])
def test_a_shortcut_is_set_in_the_marked_class(container):
    X = np.random.default_rng(0).random((400, 5))
    X[0, 0] = 7
    given = container(X)
    marked, has_mark = plant_shortcut(given, Y, "bee", 0.3, where=[1, 4], random_state=0)
    assert type(marked) is type(given)
    result = marked if container is np.array else marked.toarray()
    assert has_mark.sum() == 30 and np.all(Y[has_mark] == "bee")
    expected = X.copy()
    expected[np.ix_(has_mark, [1, 4])] = 7
    assert_array_equal(result, expected)
    assert_array_equal(given if container is np.array else given.toarray(), X)
    none, has_mark = plant_shortcut(given, Y, "bee", 0.0)
    assert not has_mark.any()


def test_a_shortcut_in_the_rows_of_other_classes():
    X = np.zeros((400, 2), dtype=np.float32)
    marked, has_mark = plant_shortcut(X, Y, "bee", 1.0, others=True, value=3)
    assert_array_equal(has_mark, Y != "bee")
    assert_array_equal(marked, np.column_stack([3 * has_mark, 0 * has_mark]))
    assert marked.dtype == np.float32


@pytest.mark.parametrize("shape", [(400, 8, 6), (400, 8, 6, 3)])
def test_a_shortcut_in_images(shape):
    X = np.zeros(shape, dtype=np.uint8)
    marked, has_mark = plant_shortcut(X, Y, "bee", value=255, random_state=0)
    assert marked.dtype == np.uint8 and not X.any()
    assert np.all(marked[has_mark, :3, :3] == 255) and not marked[has_mark, 3:].any()
    assert not marked[has_mark, :, 3:].any() and not marked[~has_mark].any()
    corner, has_mark = plant_shortcut(X, Y, "bee", where=np.s_[-2:, 1], value=9, random_state=0)
    assert np.all(corner[has_mark, -2:, 1] == 9)
    assert corner.astype(bool).sum() == has_mark.sum() * 2 * np.prod(shape[3:], dtype=int)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: flip_labels(Y, 1.2), "fraction is 1.2; expected a share"),
        (lambda: flip_labels(Y, 0.1, kind="all"), 'expected "uniform" or "pair"'),
        (lambda: flip_labels(np.zeros(5), 0.1), "one class only"),
        (lambda: flip_labels([[0, 1]], 0.1), "expected one label a row"),
        (lambda: merge_classes(Y, n_groups=5), "n_groups must be an integer in 2..4"),
        (lambda: merge_classes(Y, n_groups=1), "n_groups must be an integer in 2..4"),
        (lambda: merge_classes(Y, [["ant"], ["bee"]]), "is in no group; name every label"),
        (lambda: merge_classes(Y, [NAMES, ["bee"]]), "a label is in two groups"),
        (lambda: plant_shortcut(np.zeros((5, 2)), Y, "bee"), "y has shape (400,)"),
        (lambda: plant_shortcut(np.zeros((400, 2)), Y, "emu"), "no row is of class 'emu'"),
        (lambda: plant_shortcut(np.zeros((400, 2)), Y, 1, others=True), "labels are as '"),
        (lambda: plant_shortcut(np.full((400, 2), np.nan), Y, "bee"), "X has NaN; give `value`"),
        (lambda: flip_labels([0.0, 1.0, np.nan], 0.5), "y has missing labels"),
        (lambda: merge_classes(["a", "b", None]), "y has missing labels"),
        (lambda: flip_labels(Y, "0.1"), "expected a share"),
        (lambda: plant_shortcut(np.zeros((400, 2)), [*Y[:-1], None], "bee"), "y has missing"),
        (lambda: plant_shortcut(np.zeros((400, 2)), Y, Y, others=True), "marked_class is array"),
        (lambda: plant_shortcut(np.full((400, 2), "a"), Y, "bee"), "largest one: give `value`"),
        (
            lambda: plant_shortcut(np.zeros((400, 2)), Y, "bee", value=np.inf),
            "give a finite `value`",
        ),
        (lambda: plant_shortcut(np.full((400, 2), np.inf), Y, "bee"), "give a finite `value`"),
        (lambda: plant_shortcut(np.zeros((400, 2)), Y, "bee", value=[1, 2]), "value is [1, 2]"),
        (lambda: plant_shortcut(np.zeros((400, 2)), Y, "bee", value="a"), "cannot be held by X"),
        (lambda: plant_shortcut(np.eye(400, dtype=int), Y, "bee", value=1e160), "cannot be held"),
        (
            lambda: plant_shortcut(np.zeros((400, 2), dtype=np.uint8), Y, "bee", value=10**30),
            "cannot be held by X",
        ),
        (lambda: plant_shortcut(np.zeros((400, 2)), Y, "bee", where=10**30), "is not in a row"),
        (lambda: plant_shortcut(np.zeros((400, 2)), Y, "bee", where=[[0], [0, 1]]), "not in a row"),
        (lambda: flip_labels(Y, 0.1, kind=np.array(["uniform", "pair"])), 'expected "uniform"'),
        (lambda: plant_shortcut(np.zeros((400, 2)), Y, "bee", where=2), "where=2 is not in a row"),
        (lambda: plant_shortcut(np.zeros((400, 2)), Y, "bee", -0.1), "expected a share"),
        (
            lambda: plant_shortcut(np.zeros((400, 2), dtype=int), Y, "bee", value=0.5),
            "cannot be held by X",
        ),
        (
            lambda: plant_shortcut(np.zeros((400, 2), dtype=np.uint8), Y, "bee", value=300),
            "cannot be held by X",
        ),
    ],
)
@pytest.mark.filterwarnings("error")
def test_errors_name_the_problem(call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call()


@pytest.mark.parametrize("others", [np.ones(400, dtype=bool), np.ones(3), 10**30, 2, None, "no"])
def test_others_is_a_bool(others):
    with pytest.raises(TypeError, match="others must be"):
        plant_shortcut(np.zeros((400, 2)), Y, "bee", others=others)


@pytest.mark.parametrize("groups", [5, [1, 2], [[["ant"]], ["bee"]], ["ant"]])
def test_groups_are_lists_of_labels(groups):
    with pytest.raises(TypeError, match="groups must map labels to groups, or be lists"):
        merge_classes(Y, groups)
