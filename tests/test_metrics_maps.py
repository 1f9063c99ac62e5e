"""Scores of maps: against loops, at their ends, with ties, and what is refused."""

import numpy as np
import pytest

from skattrib.metrics import conservation, deletion, insertion


def blanked(x, scores, share, baseline, keep=False):
    """One input (channels, height, width) without its highest pixels, in a loop."""
    pixels = sorted(np.ndindex(scores.shape), key=lambda p: -scores[p])
    highest = set(pixels[: round(share * len(pixels))])
    out = x.copy()
    for p in pixels:
        if (p in highest) != keep:
            out[(slice(None), *p)] = baseline
    return out


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    X, W = rng.normal(size=(2, 5, 3, 4, 6))
    return X, W, lambda X: np.tanh((X * W).sum(axis=(1, 2, 3)) / 10) + 0.1


@pytest.mark.parametrize("score", [deletion, insertion])
def test_equal_to_a_loop(data, score):
    X, W, function = data
    maps, shares = X * W, [0.0, 0.1, 0.55, 1.0]
    found = score(maps, X, function, shares=shares, baseline=0.3, channel_axis=1)
    sign = np.sign(function(X))
    for s, share in enumerate(shares):
        changed = [
            blanked(x, c * scores.sum(axis=0), share, 0.3, score is insertion)
            for x, c, scores in zip(X, sign, maps, strict=True)
        ]
        expected = function(np.array(changed)) / function(X)
        np.testing.assert_allclose(found.each[:, s], expected)
    np.testing.assert_allclose(found.left, found.each.mean(axis=0))
    np.testing.assert_array_equal(found.shares, shares)
    summed = score(maps.sum(axis=1), X, function, shares=shares, baseline=0.3, channel_axis=1)
    np.testing.assert_allclose(summed.each, found.each)


def test_ends():
    X = np.arange(1.0, 13).reshape(2, 6)
    total = lambda X: X.sum(axis=1)  # noqa: E731
    np.testing.assert_array_equal(deletion(X, X, total, shares=[0, 1]).left, [1, 0])
    np.testing.assert_array_equal(insertion(X, X, total, shares=[0, 1]).left, [0, 1])
    # the map that names what matters leaves least, its opposite most
    left = [deletion(maps, X, total, shares=[0.5]).left[0] for maps in (X, -X)]
    assert left[0] < 0.5 < left[1]
    # of negative values the lowest pixels are those that matter
    negative = deletion(-X, X, lambda X: -X.sum(axis=1), shares=[0.5]).left[0]
    assert negative == left[0]
    # a baseline for each pixel
    np.testing.assert_allclose(deletion(X, X, total, shares=[1], baseline=X / 2).left, 0.5)


def test_equal_pixels_are_in_random_order():
    X = np.arange(1.0, 101)[None]
    seeds = [
        deletion(np.zeros((1, 100)), X, lambda X: X.sum(axis=1), shares=[0.3], random_state=s)
        for s in range(40)
    ]
    left = [found.left[0] for found in seeds]
    assert len(set(left)) > 30 and abs(np.mean(left) - 0.7) < 0.03
    again = deletion(np.zeros((1, 100)), X, lambda X: X.sum(axis=1), shares=[0.3], random_state=0)
    assert again.left[0] == left[0]


def test_neither_scale_nor_type_matters(data):
    X, W, function = data
    expected = deletion(X * W, X, function, channel_axis=1).each
    np.testing.assert_array_equal(
        deletion(1e-9 * X * W, X, function, channel_axis=1).each, expected
    )
    single = deletion((X * W).astype(np.float32), X, function, channel_axis=-3).each
    np.testing.assert_array_equal(single, expected)

    def typed(X):
        assert X.dtype == np.float32
        return function(X)

    deletion(X * W, X.astype(np.float32), typed, channel_axis=1)


def test_intervals(data):
    X, W, function = data
    found = deletion(X * W, X, function, shares=[0.1, 0.5], confidence=0.9, random_state=0)
    assert (found.low.left <= found.left).all() and (found.left <= found.high.left).all()
    assert found.low.left[1] < found.high.left[1]


def test_conservation():
    rng = np.random.default_rng(1)
    maps, values = rng.normal(size=(2, 3, 4, 5)), rng.normal(size=(2, 3))
    found = conservation(maps, values)
    expected = [[maps[j, q].sum() / values[j, q] for q in range(3)] for j in range(2)]
    np.testing.assert_allclose(found.shares, expected)
    assert found.mean == pytest.approx(np.mean(expected))
    assert found.error == pytest.approx(np.abs(np.array(expected) - 1).max())
    whole = conservation(maps / np.array(expected)[:, :, None, None], values)
    assert whole.mean == pytest.approx(1) and whole.error < 1e-12
    # sums of many small numbers are those of float64
    assert conservation(np.full((1, 10**6), 0.1, np.float32), [1e5]).error < 1e-6


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"maps": np.ones((5, 3))}, "maps has shape"),
        ({"maps": np.ones((4, 3, 4, 6))}, "maps has shape"),
        ({"X": np.ones(5)}, "one input a row"),
        ({"X": np.full((5, 3, 4, 6), np.nan)}, "NaN"),
        ({"maps": np.full((5, 3, 4, 6), np.inf)}, "infinity"),
        ({"shares": []}, "increase within"),
        ({"shares": [0.5, 0.1]}, "increase within"),
        ({"shares": [1.1]}, "increase within"),
        ({"shares": 0.1}, "increase within"),
        ({"baseline": np.ones(7)}, "broadcast"),
        ({"baseline": np.nan}, "NaN"),
        ({"channel_axis": 0}, "channel_axis"),
        ({"channel_axis": 4}, "channel_axis"),
        ({"channel_axis": True}, "channel_axis"),
        ({"channel_axis": "1"}, "channel_axis"),
        ({"function": lambda X: X[:, 0, 0, 0] * 0}, r"function\(X\) is 0 for 5 of 5"),
        ({"function": lambda X: X}, "expected shape"),
        ({"function": lambda X: X[:3, 0, 0, 0]}, "3 entries"),
        ({"function": lambda X: np.full(5, np.nan)}, "NaN"),
        ({"confidence": 2}, "confidence"),
    ],
)
@pytest.mark.parametrize("score", [deletion, insertion])
def test_refused(data, change, match, score):
    X, W, function = data
    given = {"maps": X * W, "X": X, "function": function} | change
    with pytest.raises(ValueError, match=match):
        score(**given)


def test_refused_otherwise(data):
    X, W, _ = data
    with pytest.raises(TypeError, match="callable"):
        deletion(X * W, X, "sum")
    for maps, values, match in (
        (np.ones((2, 3)), np.ones(3), "maps has shape"),
        (np.ones(3), np.ones(3), "maps has shape"),
        (np.ones((2, 3)), np.array([1.0, 0.0]), "values is 0 for 1 of 2"),
        (np.ones((2, 3)), np.array([1.0, np.nan]), "NaN"),
        (np.ones((0, 3)), np.ones(0), "maps has shape"),
        (np.ones(3), 1.0, "maps has shape"),
    ):
        with pytest.raises(ValueError, match=match):
            conservation(maps, values)
