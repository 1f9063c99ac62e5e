"""What is explained: labels, logit weights and named outputs as targets."""

import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
import reference
from cases import (
    COEF,
    HEADS,
    TARGETED,
    assert_close,
    attributions,
    each,
    each_and_n_classes,
    each_head,
    everything,
    fitted,
    label_weights,
    labels_of,
    largest,
    layouts,
    logits,
    methods,
    n_classes,
    problem,
    targets,
)
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from scipy.special import log_softmax, softmax

from skattrib import (
    InfluenceExplainer,
    LinearHead,
)


@each_and_n_classes
def test_forms_of_labels(name, K):
    _, _, X_test = problem(K)
    e = fitted(name, K)
    label = e.classes_[1]
    labels = np.repeat(label, len(X_test))
    expected = attributions(e, X_test, labels)
    for form in (
        label,
        label.item(),
        labels.tolist(),
        tuple(labels),
        labels.astype(object),
        pd.Series(labels, index=labels),
        pl.Series(labels.tolist()),
    ):
        assert_array_equal(attributions(e, X_test, form), expected)
    assert_array_equal(attributions(e, X_test), attributions(e, X_test, e.predict(X_test)))


@everything
def test_labels_are_logit_weights(name, K, layout):
    X, _, X_test = problem(K, layout)
    e = fitted(name, K, layout)
    labels = np.resize(e.classes_, X_test.shape[0])
    V = label_weights(e, labels)
    if name not in HEADS:
        with pytest.raises(ValueError, match="no logits: target must be one label or one label a"):
            e.attribute(X_test, V)
        return
    expected = attributions(e, X_test, labels)
    for form in (V, V.astype(int), V.tolist(), pd.DataFrame(V), pl.DataFrame(V), V.astype("f4")):
        assert_close(attributions(e, X_test, form), expected)
    assert_close(attributions(e, X_test, sparse.csr_array(V)), expected)
    if name == "Datamodel":
        return
    # linear in the weights, as a sparse regression is not
    W = targets(e, X_test)["weights"]
    both = attributions(e, X_test, V - 2 * W)
    assert_close(expected - 2 * attributions(e, X_test, W), both)


@each_head
def test_binary_weights_act_on_half_the_decision_value(name):
    _, _, X_test = problem(2)
    e = fitted(name, 2)
    T = attributions(e, X_test, "yes")
    for v, expected in [((1, 0), -T / 2), ((0, 1), T / 2), ((-1, 1), T), ((1, 1), 0 * T)]:
        found = attributions(e, X_test, np.tile(v, (len(X_test), 1)))
        assert_allclose(found, expected, rtol=0, atol=1e-14 * largest(T))
    assert_close(attributions(e, X_test, "no"), -T)


BAD_TARGETS = {
    "label": (5, r"target 5 is not one of the classes \[-1, 4, 7\]"),
    "nan": (np.nan, "not one of the classes"),
    "between": (4.5, "target 4.5 is not one"),
    "string": ("4", "target '4' is not one"),
    "one of many": ([4] * 7 + [5], "target 5 is not one"),
    "mixed": (np.array([4] * 7 + ["x"], dtype=object), "target 'x' is not one"),
    "missing": (np.array([4] * 7 + [None], dtype=object), "target None is not one"),
    "too few": ([4] * 3, r"target has 3 labels but X has 8 rows"),
    "empty": ([], "target has 0 labels"),
    "width": (np.ones((8, 2)), r"shape \(8, 3\), got \(8, 2\)"),
    "column": (np.ones((8, 1)), r"shape \(8, 3\), got \(8, 1\)"),
    "height": (np.ones((3, 3)), r"shape \(8, 3\), got \(3, 3\)"),
    "cube": (np.ones((8, 3, 1)), r"shape \(8, 3\)"),
    "sparse": (sparse.csr_array(np.ones((3, 3))), r"shape \(8, 3\)"),
    "infinite": (np.full((8, 3), np.inf), "finite"),
}


@each
@pytest.mark.parametrize("bad", BAD_TARGETS)
def test_bad_targets(name, bad):
    e, X_test = fitted(name, 3), problem(3)[2]
    target, message = BAD_TARGETS[bad]
    if name not in HEADS and (sparse.issparse(target) or np.ndim(target) > 1):
        message = "no logits: target must be one label"
    for method, args in methods(e).items():
        if method in TARGETED:
            with pytest.raises(ValueError, match=message):
                getattr(e, method)(X_test, *args, target=target)


@each_head
@pytest.mark.parametrize("layout", ["dense32", "dense64"])
@pytest.mark.filterwarnings("error:overflow")
def test_logit_weights_that_no_output_holds(name, layout):
    e, X = fitted(name, 3, layout), problem(3, layout)[2]
    V = np.random.default_rng(0).normal(size=(len(X), 3))
    large, beyond = (1e15, 1e17) if layout == "dense32" else (1e100, 1e200)
    expected, sums = attributions(e, X, V), e.aggregate(X, V)
    assert_allclose(attributions(e, X, V * large), expected * large, rtol=1e-3, atol=1e-5 * large)
    assert_allclose(e.aggregate(X, V * large), sums * large, rtol=1e-3, atol=1e-5 * large)
    for method in ("attribute", "aggregate", "top_k"):
        with pytest.raises(ValueError, match="logit weights as large as .* scale the weights"):
            getattr(e, method)(X, target=V * beyond)
    if layout == "dense64":
        with pytest.raises(ValueError, match="sums with weights as large as .*e[+]300 overflow"):
            e.aggregate(X, V * 1e100, weights=np.full(len(X), 1e300))


@each
def test_numbers_are_no_labels_of_strings(name):
    with pytest.raises(ValueError, match=r"target 1 is not one of the classes \['no', 'yes'\]"):
        fitted(name, 2).attribute(problem(2)[2], 1)


@pytest.mark.parametrize("name", COEF)
@n_classes
@layouts
def test_predictions_of_heads(name, K, layout):
    X, y, X_test = problem(K, layout)
    e = fitted(name, K, layout)
    f = e.decision_function(X_test)
    assert f.dtype == np.float64 and f.shape == ((len(f),) if K == 2 else (len(f), K))
    rows = 1 if K == 2 else K
    assert e.coef_.shape == (rows, X.shape[1]) and e.intercept_.shape == (rows,)
    expected = reference.decision_function(e.coef_, e.intercept_, X_test)
    assert_allclose(logits(e, X_test)[:, -rows:] * (2 if K == 2 else 1), expected, rtol=1e-12)
    z = logits(e, X_test)
    assert_array_equal(e.predict(X_test), e.classes_[z.argmax(axis=1)])
    weight = np.arange(X.shape[0]) % 3
    assert e.score(X, y, weight) == np.average(e.predict(X) == y, weights=weight)
    if hasattr(e, "predict_proba"):
        assert_allclose(e.predict_proba(X_test), softmax(z, axis=1), rtol=1e-12)
        assert_allclose(e.predict_log_proba(X_test), log_softmax(z, axis=1), rtol=1e-12)


OUTPUTS = ("logit", "margin", "log_odds", "probability", "loss")


def output_values(z, codes, output):
    """The named output of logits (m, K), by its definition."""
    at = np.arange(len(codes)), codes
    p = softmax(z, axis=1)[at]
    others = np.where(np.eye(z.shape[1], dtype=bool)[codes], -np.inf, z)
    return {
        "logit": z[at] if z.shape[1] > 2 else 2 * z[at],
        "margin": z[at] - others.max(axis=1),
        "log_odds": np.log(p / (1 - p)),
        "probability": p,
        "loss": np.log(p),
    }[output]


@each_head
@n_classes
def test_target_weights_are_derivatives(name, K):
    _, _, X_test = problem(K)
    e = fitted(name, K)
    m, d = X_test.shape
    step = 1e-5
    labels = np.resize(e.classes_, m)
    for output in OUTPUTS if hasattr(e, "predict_proba") else OUTPUTS[:2]:
        for y in (None, e.classes_[1], labels):
            if output == "loss" and y is None:
                continue
            codes = np.searchsorted(e.classes_, labels_of(e, X_test, y))
            V = e.target_weights(X_test, output, y)
            assert V.shape == (m, K) and V.dtype == np.float64
            if output != "logit" or K == 2:
                assert_allclose(V.sum(axis=1), 0, atol=1e-15)
            for k in range(d):
                ahead, behind = (logits(e, X_test + s * step * np.eye(d)[k]) for s in (1, -1))
                change = output_values(ahead, codes, output) - output_values(behind, codes, output)
                expected = np.sum(V * (ahead - behind), axis=1)
                # third derivatives times step**3, and rounding
                assert_allclose(change, expected, rtol=0, atol=1e-13)
    assert_array_equal(e.target_weights(X_test, y=labels), label_weights(e, labels))


@n_classes
def test_target_weights_in_logit_space(K):
    # a head whose logits are the features: differentiate along each logit
    rng = np.random.default_rng(0)
    Z, y = rng.normal(size=(30, K)), np.arange(30) % K
    e = InfluenceExplainer(LinearHead(np.eye(K))).fit(Z, y)
    step = 1e-5
    for output in OUTPUTS:
        numeric = [
            output_values(logits(e, Z + step * one), y, output)
            - output_values(logits(e, Z - step * one), y, output)
            for one in np.eye(K)
        ]
        numeric = np.transpose(numeric) / (2 * step)
        assert_allclose(e.target_weights(Z, output, y), numeric, rtol=0, atol=1e-8)


@n_classes
@pytest.mark.parametrize("output", OUTPUTS)
def test_target_weights_of_saturated_probabilities(K, output):
    e = InfluenceExplainer(LinearHead(np.eye(K))).fit(np.eye(K), np.arange(K))
    Z = np.concatenate([1000 * np.eye(K), -1000 * np.eye(K)])
    sure, wrong = np.arange(K), (np.arange(K) + 1) % K
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        V = e.target_weights(Z, output, np.concatenate([sure, sure]))
        W = e.target_weights(Z[:K], output, wrong)
        assert np.isfinite(e.attribute(Z, V)).all()
    assert np.isfinite(V).all() and np.isfinite(W).all()
    one, other = np.eye(K)[wrong], np.eye(K)[sure]
    expected = {
        "logit": one - other if K == 2 else one,
        "margin": one - other,
        "log_odds": one - other,
        "probability": 0 * one,
        "loss": one - other,
    }[output]
    assert_allclose(W, expected, atol=1e-300)
    if output in ("probability", "loss"):
        # nothing is left to gain
        assert_allclose(V[:K], 0, atol=1e-300)


@each_head
def test_outputs_that_do_not_exist(name):
    e, X_test = fitted(name, 3), problem(3)[2]
    known = "'logit', 'margin'"
    if hasattr(e, "predict_proba"):
        known += ", 'log_odds', 'probability', 'loss'"
        with pytest.raises(ValueError, match="'loss' needs y"):
            e.target_weights(X_test, "loss")
    else:
        for output in OUTPUTS[2:]:
            with pytest.raises(ValueError, match=f"{known} for {type(e).__name__}, got '{output}'"):
                e.target_weights(X_test, output, 4)
    with pytest.raises(ValueError, match=f"one of {known} for {type(e).__name__}, got 'foo'"):
        e.target_weights(X_test, "foo")
    with pytest.raises(ValueError, match="one label or one label a row"):
        e.target_weights(X_test, y=np.ones((8, 3)))
    with pytest.raises(ValueError, match="not one of the classes"):
        e.target_weights(X_test, y=5)
