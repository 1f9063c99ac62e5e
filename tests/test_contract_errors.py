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
from sklearn import config_context
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


class TensorWithGradient:
    """As a tensor of torch that requires grad: NumPy cannot have it."""

    requires_grad, shape, ndim, dtype = True, (9, 2), 2, "float32"

    def __len__(self):
        return 9

    def __array__(self, *_, **__):
        raise RuntimeError("Can't call numpy() on Tensor that requires grad.")


@each
def test_networks_are_explained_by_last_layer_features(name):
    e, tensor, images = fitted(name, 3), TensorWithGradient(), np.ones((9, 2, 2, 3))
    words = r"X is a tensor that requires grad: give X.detach\(\).* last-layer features"
    shape = r"X has shape \(9, 2, 2, 3\); expected \(rows, features\).* last-layer features"
    for X, message in [(tensor, words), (images, shape)]:
        with pytest.raises(ValueError, match=message):
            clone(e).fit(X, problem(3)[1])
        for method, args in methods(e).items():
            with pytest.raises(ValueError, match=message):
                getattr(e, method)(X, *args)


@each
def test_probabilities_that_are_none(name):
    e = fitted(name, 3)
    for method in ("predict_proba", "predict_log_proba"):
        if hasattr(e, method) or not hasattr(e, "decision_function"):
            continue
        words = (
            f"{type(e).__name__} has no {method}: .*Use decision_function.*CalibratedClassifierCV"
        )
        for one in (e, clone(e)):
            with pytest.raises(AttributeError, match=words) as caught:
                getattr(one, method)
            assert caught.value.name == method
    with pytest.raises(AttributeError, match=f"'{type(e).__name__}' object has no attribute 'foo'"):
        _ = e.foo


def test_what_has_no_probabilities():
    without = {"DualView", "DualViewCV", "Datamodel", "LeaveOneOut", "Averaged-mixed"}
    heads = {name for name in EXPLAINERS if hasattr(fitted(name, 3), "decision_function")}
    assert {name for name in heads if not hasattr(fitted(name, 3), "predict_proba")} == without


@pytest.mark.parametrize("container", ["pandas", "polars"])
@each
def test_sparse_attributions_fit_no_frame(name, container):
    e = clone(EXPLAINERS[name])
    if "sparse_output" not in e.get_params():
        return
    X, y, X_test = problem(3)
    e = fit(e, X, y, sparse_output=True)
    words = rf"sparse, which {container} output .* {type(e).__name__}\(sparse_output=False\)"
    with config_context(transform_output=container), pytest.raises(ValueError, match=words):
        e.transform(X_test)
    with pytest.raises(ValueError, match=words):
        e.set_output(transform=container).transform(X_test)
    with pytest.raises(ValueError, match=words):
        e.fit_transform(X, y)
    assert sparse.issparse(e.set_output(transform="default").transform(X_test))
    e = fit(e, X, y, sparse_output=False).set_output(transform=container)
    assert e.transform(X_test).shape == (len(X_test), len(X))


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
