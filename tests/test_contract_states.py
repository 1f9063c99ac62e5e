"""Fitted, fitted again, pickled: what an explainer remembers."""

import pickle
from functools import cached_property

import numpy as np
import pandas as pd
import pytest
import reference
from cases import (
    EXPLAINERS,
    WEIGHTED,
    X3,
    Y3,
    attributions,
    each,
    each_fit,
    each_head,
    fit,
    fitted,
    methods,
    problem,
    targets,
    two_layouts,
)
from numpy.testing import assert_array_equal
from scipy import sparse
from sklearn.base import BaseEstimator, clone

from skattrib import (
    RepresenterExplainer,
)


@each
def test_methods_are_all_listed(name):
    public = {
        method
        for method in dir(EXPLAINERS[name])
        if not method.startswith(("_", "fit", "get_", "set_")) and not method.endswith("_")
    }
    assert public - EXPLAINERS[name].get_params().keys() == methods(EXPLAINERS[name]).keys()


@each_head
def test_parameters_set_after_fit_wait_for_the_next_fit(name):
    X, y, X_test = problem(3)
    e = fit(EXPLAINERS[name], X, y)
    T, p = attributions(e, X_test), e.decision_function(X_test)
    changes = {"estimator": None, "fit_intercept": False, "C": 5.0, "Cs": [5.0], "n_subsets": 9}
    changes |= {"class_weight": "balanced", "inverse": "identity", "damping": 3.0}
    changes |= {"leverage_correction": False, "random_state": 9}
    e.set_params(**{key: changes[key] for key in changes.keys() & e.get_params().keys()})
    assert_array_equal(attributions(e, X_test), T)
    assert_array_equal(e.decision_function(X_test), p)


# models, whose attributions are; seconds
NOT_COMPARED = {"estimator_", "estimators_", "cv_results_", "path_", "explainers_", "columns_"}


def state(e):
    """All public fitted attributes, lazy ones too."""
    names = {a for a in dir(e) if a.endswith("_") and not a.startswith("_")}
    return {a: getattr(e, a) for a in names - NOT_COMPARED}


def assert_same_state(a, b):
    assert a.keys() == b.keys()
    for key in a:
        A, B = (v.toarray() if sparse.issparse(v) else v for v in (a[key], b[key]))
        assert_array_equal(A, B, key)


@each_fit
@pytest.mark.filterwarnings("ignore:X has feature names")  # the forest has none
def test_refit_forgets(name):
    X, y, X_test = problem(2)
    frame = pd.DataFrame(X3).add_prefix("f")
    e = fit(EXPLAINERS[name], frame, Y3.astype(str))
    first = state(e)
    assert first["n_samples_fit_"] == 9 and "feature_names_in_" in first
    e.attribute(frame)
    new = fit(EXPLAINERS[name], X, y)
    if hasattr(e, "estimator"):
        e.set_params(estimator=new.estimator)  # a frozen one is fitted to other classes
    assert_same_state(state(e.fit(X, y)), state(new))
    assert_array_equal(attributions(e, X_test), attributions(new, X_test))
    # and of another kind of head
    if name == "Representer-forest":
        plain = RepresenterExplainer(C=0.5, tol=1e-10)
        e.set_params(estimator=None).fit(X, y)
        assert_same_state(state(e), state(plain.fit(X, y)))


@each
def test_notebooks_show_what_is_at_hand_and_compute_nothing(name):
    e = fit(EXPLAINERS[name], *problem(3)[:2])
    kind = type(e)
    kinds = property, cached_property
    public = [key for key in dir(kind) if key.endswith("_") and key[0] != "_"]
    lazy = {key for key in public if isinstance(getattr(kind, key), kinds)} - set(vars(e))
    assert "self_influence_" in lazy | set(vars(e))

    def dear(self):
        raise MemoryError("n times K times K numbers")

    e.__class__ = type(kind.__name__, (kind,), dict.fromkeys(lazy, property(dear)))
    before = set(vars(e))
    page = e._repr_html_()
    assert set(vars(e)) == before
    assert kind.__name__ in page
    if hasattr(BaseEstimator, "_get_fitted_attr_html"):  # scikit-learn 1.9
        shown = e._get_fitted_attr_html()
        assert "n_samples_fit_" in page and "n_samples_fit_" in shown
        assert not lazy & set(shown)


@each
@two_layouts
def test_pickle(name, layout):
    X, y, X_test = problem(2, layout)
    e = fit(fitted(name, 2, layout), X, y)
    fresh = pickle.loads(pickle.dumps(e))
    expected = state(e)
    forms = targets(e, X_test).values()
    matrices = [attributions(e, X_test, target) for target in forms]
    # before and after lazy attributes are there
    for read in (fresh, pickle.loads(pickle.dumps(e))):
        assert_same_state(state(read), expected)
        for target, T in zip(forms, matrices, strict=True):
            assert_array_equal(attributions(read, X_test, target), T)


@each_fit
@two_layouts
def test_fit_transform_is_transform_after_fit(name, layout):
    X, y, _ = problem(3, layout)
    e = fitted(name, 3, layout)
    weight = {"sample_weight": np.linspace(0, 2, len(y))} if name in WEIGHTED else {}
    both = clone(e).fit_transform(X, y, **weight)
    one = clone(e).fit(X, y, **weight).transform(X)
    assert both.shape == (60, 60) and both.dtype == X.dtype
    assert_array_equal(reference.dense(both), reference.dense(one))
