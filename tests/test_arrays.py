"""Helpers of arrays against their definitions."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

from skattrib._arrays import first_equal, log_odds, logits, of_class


@pytest.mark.parametrize("layout", (np.ascontiguousarray, sparse.csr_array))
@pytest.mark.parametrize("dtype", (np.float32, np.float64))
def test_first_equal_is_a_search(layout, dtype):
    rng = np.random.default_rng(0)
    X = rng.integers(-1, 2, size=(200, 4)).astype(dtype)
    X[rng.random(X.shape) < 0.2] = -0.0
    X[50:60] *= 1e-30
    X[60:70] *= 1 + np.finfo(dtype).eps
    expected = [next(j for j in range(i + 1) if (X[i] == X[j]).all()) for i in range(len(X))]
    assert 60 < len(set(expected)) < 130
    assert_array_equal(first_equal(layout(X)), expected)


def test_first_equal_looks_at_the_rows_where_keys_collide(monkeypatch):
    class Zeros:
        def integers(self, *_, size, dtype):
            return np.zeros(size, dtype)

    monkeypatch.setattr(np.random, "default_rng", lambda seed: Zeros())
    for layout in (np.asarray, sparse.csr_array):
        assert_array_equal(
            first_equal(layout(np.array([[1.0], [2.0], [1.0], [2.0]])))[:3], [0, 1, 0]
        )


@pytest.mark.parametrize("K", (2, 3, 5))
def test_log_odds_keep_their_digits_where_one_class_is_almost_certain(K):
    small = np.array([1e-3, 1e-12, 1e-15])
    for c in range(K):
        p = np.repeat(small[:, None] / (K - 1), K, axis=1)
        p[:, c] = 1 - small
        expected = np.log(1 - small) - np.log(small)
        assert_allclose(of_class(log_odds(p), np.full(3, c)), expected, rtol=1e-13)
    assert_array_equal(log_odds(np.eye(K))[0, :2], [-np.log(2**-52), np.log(2**-52)])


def test_of_class_is_the_logit_or_the_one_value_with_its_sign():
    f, codes = np.array([1.5, -2.0, 0.5]), np.array([1, 1, 0])
    assert_array_equal(of_class(f, codes), [1.5, -2.0, -0.5])
    assert_array_equal(of_class(f, codes), 2 * logits(f)[np.arange(3), codes])
    z = np.arange(9.0).reshape(3, 3)
    assert_array_equal(of_class(z, np.array([2, 0, 1])), [2, 3, 7])
