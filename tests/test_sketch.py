"""Projection of gradients by signs and shifts of blocks."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skattrib.gradients import Sketch
from skattrib.gradients.sketch import add_sketch

SIZES = {"first.weight": 50, "first.bias": 7, "last.weight": 16, "none": 0}
SIGNS = [-1, -1, -1, 1, 1, 1, 1, 1, -1, -1]
SHIFTS = [1, 2, 2]


def matrix(sketch, name, size, model=0):
    """(size, k): the projection, column by column."""
    signs, shifts = sketch.plan(name, size, model)
    S = np.zeros((size, sketch.k))
    for j in range(size):
        block, c = divmod(j, sketch.k)
        S[j, (c + shifts[block]) % sketch.k] = signs[j]
    return S


@pytest.mark.parametrize("k", [1, 5, 16, 17, 100])
def test_projection_is_a_product_with_a_matrix(k):
    sketch, rng = Sketch(k, random_state=3), np.random.default_rng(0)
    total, expected = np.zeros((4, k)), 0.0
    for model in (0, 1):
        for name, size in SIZES.items():
            G = rng.normal(size=(4, size))
            part = G @ matrix(sketch, name, size, model)
            assert_allclose(sketch.project(name, G, model), part, atol=1e-13)
            assert sketch.project(name, G, model, out=total) is total
            expected = expected + part
    assert_allclose(total, expected, atol=1e-13)


def test_plan():
    sketch = Sketch(16)
    signs, shifts = sketch.plan("a", 1000)
    assert signs.dtype == np.int8 and shifts.dtype == np.int64
    assert signs.shape == (1000,) and shifts.shape == (63,)
    assert set(signs.tolist()) == {-1, 1} and abs(signs.sum()) < 150
    assert set(shifts.tolist()) <= set(range(16)) and len(set(shifts.tolist())) > 12
    # a longer parameter of the same name shares its signs, not its meaning
    again = Sketch(16, random_state=0).plan("a", 1000)
    assert_array_equal(signs, again[0])
    assert_array_equal(shifts, again[1])
    for other in (Sketch(16).plan("b", 1000), Sketch(16).plan("a", 1000, 1), Sketch(16, 1)):
        other = other.plan("a", 1000) if isinstance(other, Sketch) else other
        assert 300 < (other[0] != signs).sum() < 700
        assert (other[1] != shifts).any()


def test_plan_is_the_same_everywhere():
    signs, shifts = Sketch(4, random_state=7).plan("layer.weight", 10, model=2)
    assert_array_equal(signs, SIGNS)
    assert_array_equal(shifts, SHIFTS)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_projection_does_not_depend_on_the_batch(dtype):
    G = np.random.default_rng(0).normal(size=(37, 100)).astype(dtype)
    sketch = Sketch(9)
    whole = sketch.project("a", G)
    assert whole.dtype == dtype
    assert_array_equal(
        whole, np.vstack([sketch.project("a", G[i : i + 5]) for i in range(0, 37, 5)])
    )
    assert_array_equal(whole, sketch.project("a", np.asfortranarray(G)))


@pytest.mark.parametrize("layout", ["F", "part", "strided"])
def test_rows_and_sums_of_any_layout(layout):
    """Sums go into what was given, and nowhere else."""
    G = np.random.default_rng(0).normal(size=(6, 100)).astype(np.float32)
    sketch, room = Sketch(9), np.zeros((12, 18))
    expected = sketch.project("a", G.astype(float))
    out = {"F": np.zeros((9, 6)).T, "part": room[3:9, :9], "strided": room[::2, ::2]}[layout]
    assert sketch.project("a", np.asfortranarray(G), out=out) is out
    assert_allclose(out, expected, atol=1e-5)
    assert_allclose(np.abs(room).sum(), np.abs(out).sum() if layout != "F" else 0.0)


@pytest.mark.parametrize("size", [40_000, 33_000])
def test_long_rows_go_in_tiles(size):
    G = np.random.default_rng(0).normal(size=(3, size))
    for k in (100, 20_000, size + 5):
        signs, shifts = Sketch(k).plan("a", size)
        padded = np.zeros((3, len(shifts) * k))
        padded[:, :size] = G * signs
        blocks = np.split(padded, len(shifts), axis=1)
        expected = sum(np.roll(block, s, axis=1) for block, s in zip(blocks, shifts, strict=True))
        assert_allclose(Sketch(k).project("a", G), expected, atol=1e-11)


def test_parts_that_do_not_belong_together():
    """The compiled code writes nowhere but into its sums."""
    G, out = np.ones((2, 10)), np.zeros((2, 4))
    signs, shifts = Sketch(4).plan("a", 10)
    for parts in [
        (G, signs[1:], shifts, out),
        (G, signs, shifts[1:], out),
        (G, signs, shifts, out[:1]),
        (G, signs, shifts, out[:, :0].copy()),
        (G, signs, shifts + 4, out),
        (G, signs, shifts - 4, out),
    ]:
        with pytest.raises(ValueError):
            add_sketch(*parts)
    assert not out.any()


def test_inner_products_are_unbiased_with_the_variance_of_a_dense_sketch():
    """Mean and variance over seeds; of a dense sign matrix the variance is (|a|²|b|² + ...) / k."""
    rng = np.random.default_rng(0)
    k, size = 32, 300
    a, b = rng.normal(size=(2, size))
    found = [
        np.multiply(*(Sketch(k, seed).project("w", np.stack([a, b])))).sum() for seed in range(4000)
    ]
    outer = np.outer(a, b)
    pairs = (outer + outer.T) ** 2 / 2
    np.fill_diagonal(pairs, 0.0)
    dense = pairs.sum() / k
    assert abs(np.mean(found) - a @ b) < 4 * np.sqrt(dense / len(found))
    assert 0.85 * dense < np.var(found) < 1.1 * dense


def test_refusals():
    for k in (0, -1):
        with pytest.raises(ValueError, match="k must be at least 1"):
            Sketch(k)
    for k in (2.0, "8", True, None):
        with pytest.raises(TypeError, match="k must be an integer"):
            Sketch(k)
    with pytest.raises(ValueError, match="random_state must be at least 0"):
        Sketch(4, random_state=-1)
    sketch = Sketch(4)
    with pytest.raises(TypeError, match="name must be a string"):
        sketch.plan(3, 10)
    with pytest.raises(ValueError, match="model must be at least 0"):
        sketch.plan("a", 10, -1)
    for G in (np.ones(3), np.ones((2, 3), int), np.ones((2, 3), np.float16)):
        with pytest.raises(ValueError, match="G must be float32 or float64 of shape"):
            sketch.project("a", G)
    for out in (np.zeros((2, 3)), np.zeros((2, 4), int)):
        with pytest.raises(
            ValueError, match=r"out must be float.* of shape \(2, 4\), got .* of \(2"
        ):
            sketch.project("a", np.ones((2, 3)), out=out)
    with pytest.raises(TypeError, match="out must be an ndarray, got list"):
        sketch.project("a", np.ones((2, 3)), out=[[0.0] * 4] * 2)
    for value in (np.nan, np.inf, 1e308):
        with pytest.raises(ValueError, match="G must be finite"), warnings.catch_warnings():
            warnings.simplefilter("error")
            sketch.project("a", np.full((2, 9), value), out=np.full((2, 4), value))
