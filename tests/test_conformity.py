"""Every explainer is a scikit-learn estimator: scikit-learn's own checks, parameters, docstrings.

All tests here run for the tool of each of `cases.SETUPS`; test_conformity_tools.py has the rest.
"""

import inspect

import numpy as np
import pytest
import reference
from cases import (
    FEW,
    SCALED,
    SETUPS,
    TOOLS,
    VARIANTS,
    Y,
    each_tool,
    each_tool_with,
    fitted,
    has,
    iris,
    name,
)
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import parametrize_with_checks

from skattrib import DualViewExplainer, DualViewExplainerCV, LinearHead
from skattrib.explainers import EXPLAINERS

pytestmark = pytest.mark.usefixtures("quiet")


def test_each_explainer_is_set_up():
    assert SETUPS.keys() == set(EXPLAINERS)
    for explainer, setup in SETUPS.items():
        shown = [setup.tool, *setup.variants, *setup.contract.values()]
        assert setup.contract and {type(one) for one in shown} == {explainer}


def declared(explainer):
    """Checks that cannot hold, each with its reason."""
    reason = "a repeated row is one more training row, so transform has one more column"
    checks = (
        "check_sample_weight_equivalence_on_dense_data",
        "check_sample_weight_equivalence_on_sparse_data",
    )
    return {check: reason for check in checks if has(explainer, "sample_weight")}


# the others are held to some of them in their own modules: their fits are too dear for all
ALL_CHECKS = [explainer for explainer in TOOLS if SETUPS[type(explainer)].every == 1]


@parametrize_with_checks(ALL_CHECKS + VARIANTS, expected_failed_checks=declared)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


def without_transform(explainer, **parameters):
    """The same explainer, whose instances have no transform."""

    class Head(type(explainer), auto_wrap_output_keys=None):
        @property
        def transform(self):
            raise AttributeError("transform")

    return Head(**explainer.get_params(deep=False)).set_params(**parameters)


@each_tool_with("sample_weight")
@pytest.mark.parametrize("check", declared(TOOLS[0]))
def test_weights_are_repetitions_for_the_head(explainer, check):
    # one C, as folds count rows whatever they weigh, and one without tied classes
    options = {"tol": 1e-10, "Cs": [0.3]} if has(explainer, "Cs") else {"tol": 1e-12}
    if not has(explainer, "tol"):
        options = {f"{part[0]}__tol": 1e-12 for part in explainer.explainers}
    head = without_transform(explainer, **options)
    assert not hasattr(head, "transform") and hasattr(head, "decision_function")
    getattr(estimator_checks, check)(name(head), head)


@pytest.mark.parametrize("explainer", ALL_CHECKS, ids=name)
@pytest.mark.parametrize(
    "check",
    [
        "check_transformer_get_feature_names_out",
        "check_transformer_get_feature_names_out_pandas",
        "check_set_output_transform",
        "check_set_output_transform_pandas",
        "check_set_output_transform_polars",
        "check_global_output_transform_pandas",
        "check_global_set_output_transform_polars",
        "check_dataframe_column_names_consistency",
        "check_param_validation",
        "check_get_feature_names_out_error",
    ],
)
def test_further_scikit_learn_checks(explainer, check):
    getattr(estimator_checks, check)(name(explainer), clone(explainer))


@each_tool_with("class_weight")
def test_balanced_class_weights(explainer):
    estimator_checks.check_class_weight_balanced_linear_classifier(
        name(explainer), clone(explainer)
    )


# of a head that is given, not fitted: the checks that need no other head for other rows, and
# the width of their rows
HEAD_CHECKS = {
    "check_no_attributes_set_in_init": 3,
    "check_do_not_raise_errors_in_init_or_set_params": 3,
    "check_get_params_invariance": 3,
    "check_set_params": 3,
    "check_estimator_cloneable": 3,
    "check_estimator_repr": 3,
    "check_mixin_order": 3,
    "check_valid_tag_types": 3,
    "check_estimators_overwrite_params": 2,
    "check_dont_overwrite_parameters": 3,
    "check_estimators_fit_returns_self": 2,
    "check_fit_idempotent": 2,
    "check_dict_unchanged": 3,
    "check_readonly_memmap_input": 2,
    "check_f_contiguous_array_estimator": 3,
    "check_estimators_dtypes": 5,
    "check_dtype_object": 10,
    "check_complex_data": 3,
    "check_estimators_nan_inf": 3,
    "check_estimators_empty_data_messages": 3,
    "check_n_features_in_after_fitting": 4,
    "check_fit1d": 3,
    "check_fit2d_predict1d": 3,
    "check_fit2d_1sample": 10,
    "check_methods_sample_order_invariance": 3,
    "check_methods_subset_invariance": 3,
    "check_pipeline_consistency": 3,
    "check_estimators_pickle": 3,
    "check_estimator_sparse_tag": 3,
}


@pytest.mark.parametrize("check", HEAD_CHECKS)
@pytest.mark.parametrize("rows", [1, 3])
def test_scikit_learn_checks_of_a_given_head(check, rows):
    head = LinearHead(np.eye(3, HEAD_CHECKS[check])[:rows] + 0.1)
    getattr(estimator_checks, check)("LinearHead", head)


def test_given_head():
    # what LogisticRegression says, from its coefficients in another order of the classes
    labels = np.array(["setosa", "versicolor", "virginica"])[Y]
    for rows in (Y < 2, Y < 3):
        model = LogisticRegression().fit(SCALED[rows], labels[rows])
        order = np.arange(len(model.classes_))[::-1]
        coef, intercept, classes = model.coef_, model.intercept_, model.classes_
        heads = [LinearHead(coef, intercept, classes)]
        if len(classes) == 2:
            heads.append(LinearHead(-coef, -intercept, classes[order]))
            coef, intercept = np.vstack([0 * coef, coef]), np.append(0, intercept)
        heads.append(LinearHead(coef[order], intercept[order], classes[order]))
        for head in heads:
            assert_array_equal(head.classes_, model.classes_)
            assert_allclose(head.coef_, model.coef_)
            assert_allclose(head.intercept_, model.intercept_)
            for A in (SCALED, sparse.csr_array(SCALED)):
                expected = model.decision_function(SCALED)
                assert_allclose(head.decision_function(A), expected, rtol=1e-12, atol=1e-12)
                assert_allclose(head.predict_proba(A), model.predict_proba(SCALED), rtol=1e-10)
                assert_array_equal(head.predict(A), model.predict(SCALED))
    assert_array_equal(LinearHead(np.eye(3)).predict(np.eye(3)), [0, 1, 2])
    assert_array_equal(LinearHead([[1.0, -1.0]]).predict(np.eye(2)), [1, 0])


@pytest.mark.parametrize(
    "parameters, message",
    [
        (([1.0, 2.0],), "coef must be a finite matrix"),
        (([[np.nan]],), "coef must be a finite matrix"),
        ((np.eye(3), np.zeros(2)), "intercept must be 3 finite numbers"),
        ((np.eye(3), [0, 0, np.inf]), "intercept must be 3 finite numbers"),
        ((np.eye(3), None, ["a", "b"]), "coef has 3 rows: classes must be as many distinct"),
        ((np.eye(3), None, ["a", "b", "a"]), "coef has 3 rows: classes must be as many distinct"),
        ((np.eye(1), None, ["a"]), "classes must be as many distinct"),
    ],
)
def test_heads_that_are_none(parameters, message):
    head = LinearHead(*parameters)
    with pytest.raises(ValueError, match=message):
        head.predict(np.zeros((1, 3)))


def test_all_parameters_have_constraints():
    for explainer in TOOLS + VARIANTS:
        assert explainer.get_params(deep=False).keys() == explainer._parameter_constraints.keys()


@each_tool
def test_parameters_round_trip(explainer):
    rows, y = iris(explainer)
    for one in (explainer, *SETUPS[type(explainer)].variants):
        seed = {"random_state": 0} if has(one, "random_state") else {}
        one = clone(one).set_params(**seed)
        given = one.get_params(deep=False)
        needed = {"explainers": []} if has(one, "explainers") else {}
        other = type(one)(**needed).set_params(**given)
        assert repr(other) == repr(one)
        assert all(other.get_params(deep=False)[key] is given[key] for key in given)
        T = other.fit(rows, y).transform(FEW)
        assert_array_equal(reference.dense(T), reference.dense(one.fit(rows, y).transform(FEW)))


@each_tool_with("random_state")
def test_random_states(explainer):
    rows, y = iris(explainer)

    def transformed(random_state):
        e = clone(explainer).set_params(random_state=random_state)
        return e.fit(rows, y).transform(FEW)

    np.random.seed(0)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    T = transformed(3)
    assert_array_equal(transformed(3), T)
    one = np.random.RandomState(3)  # noqa: NPY002
    other = np.random.RandomState(3)  # noqa: NPY002
    assert_array_equal(transformed(one), transformed(other))
    # the global generator is drawn from when asked to, and only then
    assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002
    drawn = []
    for _ in range(2):
        np.random.seed(1)  # noqa: NPY002
        drawn.append(transformed(None))
    assert_array_equal(*drawn)


@each_tool_with("sample_weight")
def test_unit_weights_are_no_weights(explainer):
    rows, y = iris(explainer)
    expected = clone(explainer).fit(rows, y).transform(FEW)
    for ones in (np.ones(len(y)), [1] * len(y), None, 1.0):
        T = clone(explainer).fit(rows, y, sample_weight=ones).transform(FEW)
        assert_array_equal(T, expected)


def listed(cls, section):
    """Names in a section of a numpydoc docstring."""
    lines = inspect.getdoc(cls).splitlines()
    start = lines.index(section) + 2
    end = next(i for i in range(start, len(lines)) if lines[i].startswith("---")) - 1
    heads = [line.split(" : ")[0] for line in lines[start:end] if line and line[0] != " "]
    return {name for head in heads for name in head.split(", ")}


@each_tool
def test_docstrings_list_parameters_and_attributes(explainer):
    cls = type(explainer)
    assert listed(cls, "Parameters") == explainer.get_params(deep=False).keys()
    found = {"feature_names_in_"}  # where there are names
    for key in SETUPS[cls].contract:
        found |= {a for a in dir(fitted(key, 3)) if a.endswith("_") and a[0] != "_"}
    documented = listed(cls, "Attributes")
    if cls is DualViewExplainerCV:  # which says so
        documented |= listed(DualViewExplainer, "Attributes")
    assert documented == found
