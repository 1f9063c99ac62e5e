"""What it takes to make an error right: against a naive loop, and rows that must stay."""

import re

import numpy as np
import pytest
import reference_metrics as reference
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_wine
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from skattrib.metrics import mending_support

X_ALL, Y_ALL = load_wine(return_X_y=True)
X_ALL = StandardScaler().fit_transform(X_ALL)
ORDER = np.random.default_rng(0).permutation(len(X_ALL))
X, Y, X_TEST = X_ALL[ORDER[:40]], Y_ALL[ORDER[:40]], X_ALL[ORDER[40:48]]
BAYES, KNN = GaussianNB(), KNeighborsClassifier(n_neighbors=1)
T = np.random.default_rng(1).standard_normal((8, 40))
COUNTS = [1, 5, 9, 13, 17, 30]
# the first six rows of X_TEST are wanted to be of another class than they are
WRONG = GaussianNB().fit(X, Y).predict(X_TEST)
RIGHT = np.where(np.arange(8) < 6, (WRONG + 1) % 3, WRONG)


def fit_bayes(X, y):
    return clone(BAYES).fit(X, y)


@pytest.mark.parametrize("container", [np.asarray, sparse.csr_array])
def test_mending_support_is_its_definition(container):
    # rows of every class but the right one are opponents, so that some errors can be mended
    opponents = T - 6 * (WRONG[:, None] == Y)
    result = mending_support(container(opponents), BAYES, X, Y, X_TEST, RIGHT, counts=COUNTS)
    cases = zip(X_TEST, RIGHT, np.argsort(opponents, axis=1).tolist(), strict=True)
    expected = [
        reference.mending(fit_bayes, X.tolist(), Y.tolist(), *case, COUNTS) for case in cases
    ]
    assert_array_equal(result.support, expected)
    errors = result.support[~np.isnan(expected)]
    assert len(errors) == 6 and len(set(errors)) > 2
    assert_allclose(result.mended, [np.mean(errors <= count) for count in COUNTS])
    with_ends = mending_support(
        opponents, BAYES, X, Y, X_TEST, RIGHT, counts=COUNTS, confidence=0.9, random_state=0
    )
    assert_array_equal(with_ends.mended, result.mended)
    assert np.all(with_ends.low.mended <= result.mended) and with_ends.low.mended[-1] < 1


def test_mending_leaves_excluded_rows_and_needs_an_error():
    X, y = [[0.0], [0.1], [9.0]], [0, 0, 1]
    result = mending_support([[-2.0, -1.0, 0.0]], KNN, X, y, [[1.0]], [1], counts=[1, 2])
    assert_array_equal(result.support, [2])
    result = mending_support([[-2.0, -np.inf, 0.0]], KNN, X, y, [[1.0]], [1], counts=[1, 2])
    assert_array_equal(result.support, [np.inf])
    with pytest.raises(ValueError, match="no row of X_test is predicted wrongly"):
        mending_support([[-2.0, -1.0, 0.0]], KNN, X, y, [[1.0]], [0], counts=[1])
    with pytest.raises(ValueError, match="y_test is None; give the right label"):
        mending_support([[-2.0, -1.0, 0.0]], KNN, X, y, [[1.0]], None, counts=[1])
    with pytest.raises(ValueError, match="y and y_test must hold labels of one kind"):
        mending_support([[-2.0, -1.0, 0.0]], KNN, X, y, [[1.0]], ["0"], counts=[1])
    with pytest.raises(ValueError, match=re.escape("y_test has shape (2,)")):
        mending_support([[-2.0, -1.0, 0.0]], KNN, X, y, [[1.0]], [0, 1], counts=[1])
