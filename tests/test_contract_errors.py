"""What is refused, and what the errors say."""

import numpy as np
import pytest
import reference
from cases import (
    EXPLAINERS,
    RETRAINED,
    WEIGHTED,
    X3,
    Y3,
    each,
    fit,
    fitted,
    methods,
    problem,
)
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator

BAD_FITS = {
    "nan": ({"X": np.where(np.eye(9, 2) == 1, np.nan, X3)}, "X contains NaN"),
    "inf": ({"X": np.where(np.eye(9, 2) == 1, np.inf, X3)}, "X contains infinity"),
    "sparse nan": ({"X": sparse.csr_array(np.full((9, 2), np.nan))}, "X contains NaN"),
    "flat": ({"X": X3[:, 0]}, "Reshape your data"),
    "strings": ({"X": X3.astype(str).astype(object) + "x"}, "could not convert string to float"),
    "complex": ({"X": X3 + 1j}, "Complex data not supported"),
    "no rows": ({"X": X3[:0], "y": Y3[:0]}, r"0 sample\(s\)"),
    "no features": ({"X": X3[:, :0]}, r"0 feature\(s\)"),
    "one class": ({"y": Y3 * 0}, "at least 2 classes, but y contains only one class: 0"),
    "short y": ({"y": Y3[:3]}, "inconsistent numbers of samples"),
    "y matrix": ({"y": np.ones((9, 2), dtype=int)}, "1d array"),
    "y nan": ({"y": np.where(Y3 == 0, np.nan, Y3)}, "y contains NaN"),
    "y none": ({"y": None}, "requires y to be passed"),
    "continuous y": ({"y": X3[:, 0]}, "continuous"),
    "negative weights": ({"sample_weight": -np.ones(9)}, "sample_weight.*negative nowhere"),
    "one negative weight": ({"sample_weight": X3[:, 0]}, "sample_weight.*negative nowhere"),
    "zero weights": ({"sample_weight": np.zeros(9)}, "at least one non-zero"),
    "nan weights": ({"sample_weight": np.full(9, np.nan)}, "sample_weight contains NaN"),
    "short weights": ({"sample_weight": np.ones(3)}, r"sample_weight.shape == \(3,\)"),
    "weight matrix": ({"sample_weight": np.ones((9, 1))}, "1D array"),
}


FROZEN = {"classes": ({"y": Y3 + 1}, r"label of y 3 is not one of the classes \[0, 1, 2\]")}


@each
@pytest.mark.parametrize("bad", [*BAD_FITS, *FROZEN])
def test_fit_refuses(name, bad):
    e = clone(EXPLAINERS[name])
    frozen = getattr(e, "estimator", None) is not None and name not in RETRAINED
    if frozen:
        e = e.set_params(estimator=FrozenEstimator(clone(e.estimator).fit(X3, Y3)))
    if (bad in FROZEN and not frozen) or (frozen and bad == "one class"):
        return  # classes are those of the frozen head
    data, message = (BAD_FITS | FROZEN)[bad]
    if "sample_weight" in data and name not in WEIGHTED:
        with pytest.raises(TypeError, match="sample_weight"):
            e.fit(X3, Y3, **data)
        return
    with pytest.raises(ValueError, match=message):
        e.fit(**{"X": X3, "y": Y3} | data)
    # nor does it count as fitted then
    with pytest.raises(NotFittedError):
        e.predict(X3)


@pytest.mark.parametrize("name", [name for name in EXPLAINERS if hasattr(EXPLAINERS[name], "C")])
@pytest.mark.parametrize("C", [-1.0, 0, np.inf, np.nan, "1"])
def test_C_that_is_none(name, C):
    # scikit-learn's check_param_validation has the other parameters
    with pytest.raises(ValueError, match="'C' parameter"):
        fit(EXPLAINERS[name], X3, Y3, C=C)


@each
def test_parameters_are_named_and_known(name):
    cls = type(EXPLAINERS[name])
    with pytest.raises(TypeError, match="foo"):
        cls(foo=1)
    with pytest.raises(ValueError, match="'foo'"):
        clone(EXPLAINERS[name]).set_params(foo=1)
    with pytest.raises(TypeError):
        cls(None, True)


LAZY = ("self_influence_", "leverage_", "global_importance_")


@each
def test_before_fit(name):
    X_test = problem(3)[2]
    e = EXPLAINERS[name]
    for method, args in methods(e).items():
        with pytest.raises(NotFittedError, match="Call 'fit'"):
            getattr(clone(e), method)(X_test, *args)
    with pytest.raises(NotFittedError):
        clone(e).get_feature_names_out()
    for attribute in LAZY:
        if hasattr(type(e), attribute):
            with pytest.raises(NotFittedError, match="Call 'fit'"):
                getattr(clone(e), attribute)


@each
@pytest.mark.parametrize("layout", ["dense64", "csr64"])
def test_rows_that_do_not_fit(name, layout):
    e, X_test = fitted(name, 3, layout), problem(3, layout)[2]
    bad, infinite = X_test.copy(), X_test.copy()
    for A, value in ((bad, np.nan), (infinite, np.inf)):
        (A.data if sparse.issparse(A) else A)[0] = value
    width = f"X has 2 features, but {type(e).__name__} is expecting 5"
    for method, args in methods(e).items():
        for X, message in [
            (X_test[:, :2], width),
            (bad, "X contains NaN"),
            (infinite, "X contains infinity"),
            (X_test[:0], r"0 sample\(s\)"),
            (reference.dense(X_test)[0], "Reshape your data"),
        ]:
            with pytest.raises(ValueError, match=message):
                getattr(e, method)(X, *args)
