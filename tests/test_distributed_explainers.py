"""Explainers of rows on a cluster say what those of one machine say of the same rows."""

import pickle
import re

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression

import skattrib

pytest.importorskip("distributed")
import dask
import dask.array as da
import joblib
from distributed import Client, LocalCluster

from skattrib import distributed
from skattrib._arrays import total_variance
from skattrib._softmax.loss import SoftmaxLoss
from skattrib.distributed import _candidates, _cluster, _loss, _removals, _rows
from skattrib.distributed._rows import keys_of

X, y = load_digits(return_X_y=True)
X, y = X[:360, ::3] / 16, y[:360] % 4
X[200] = X[5]  # equal rows in two partitions
y[200] = y[5]
weight = np.random.default_rng(0).integers(0, 4, size=len(X)) / 2.0
weight[[5, 200]] = 1.0, 2.0
query = X[::40] + 1 / 64
forest = FrozenEstimator(RandomForestClassifier(5, random_state=0).fit(X, y))
logistic = FrozenEstimator(LogisticRegression(C=0.5, tol=1e-10).fit(X, y, weight))

EXPLAINERS = {
    "DualView": ("DualViewExplainer", {"canonical": True, "tol": 1e-7, "random_state": 0}),
    "DualView-C": (
        "DualViewExplainer",
        {
            "C": 0.5,
            "canonical": True,
            "tol": 1e-9,
            "intercept_share": True,
            "sparse_output": False,
            "random_state": 0,
        },
    ),
    "Representer": ("RepresenterExplainer", {"class_weight": "balanced"}),
    "Representer-forest": ("RepresenterExplainer", {"estimator": forest}),
    "Influence": ("InfluenceExplainer", {}),
    "Influence-frozen": ("InfluenceExplainer", {"estimator": logistic, "inverse": "cholesky"}),
    "Influence-cg": ("InfluenceExplainer", {"inverse": "cg", "leverage_correction": False}),
    "Influence-ekfac": ("InfluenceExplainer", {"inverse": "ekfac"}),
    "dot": ("SimilarityExplainer", {}),
    "same_class": ("SimilarityExplainer", {"metric": "cosine", "same_class": True}),
}


@pytest.fixture(scope="module", autouse=True)
def client():
    # workers take long to start again where the processors are busy
    with (
        dask.config.set({"distributed.deploy.lost-worker-timeout": "5m"}),
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):
        yield client


def rows(values=X, chunks=(100, 0, 130, 130)):
    return (
        da.from_array(values[:100], chunks=-1)
        if chunks is None
        else da.concatenate(
            [
                da.from_array(values[stop - size : stop], chunks=(max(size, 1), -1))
                for stop, size in zip(np.cumsum(chunks), chunks, strict=True)
            ]
        )
    )


@pytest.fixture(scope="module")
def fitted(client):
    """Pairs of an explainer on the cluster and one here, each made once."""
    known = {}

    def pair(name):
        if name not in known:
            kind, parameters = EXPLAINERS[name]
            weights = () if kind == "SimilarityExplainer" else (weight,)
            here = getattr(skattrib, kind)(**parameters).fit(X, y, *weights)
            there = getattr(distributed, kind)(**parameters)
            with pytest.MonkeyPatch.context() as patch:
                # a sample of a sixth, so that candidates are taken in
                patch.setattr(_candidates, "FEWEST", 60)
                there.fit(rows(), da.from_array(y, chunks=77), *weights)
            known[name] = there, here
        return known[name]

    return pair


each = pytest.mark.parametrize("name", EXPLAINERS)
lazy = pytest.mark.parametrize("name", [name for name in EXPLAINERS if name != "Influence-cg"])


def full(values):
    values = values.toarray() if sparse.issparse(values) else np.asarray(values)
    return np.where(np.isfinite(values), values, -1e3)


def same(found, expected):
    found, expected = full(found), full(expected)
    assert found.dtype == expected.dtype and found.shape == expected.shape
    # what another order of the rows may do to canonical duals
    assert_allclose(found, expected, atol=5e-7 * np.abs(expected).max(), rtol=0)


@each
def test_attributions_to_rows_of_one_machine(fitted, name):
    there, here = fitted(name)
    found, expected = there.attribute(query), here.attribute(query)
    assert sparse.issparse(found) == sparse.issparse(expected)
    same(found, expected)
    same(
        there.aggregate(query, y[0], weights=np.arange(9.0)),
        here.aggregate(query, y[0], weights=np.arange(9.0)),
    )
    same(there.top_k(query, 7)[0], here.top_k(query, 7)[0])
    assert_array_equal(there.predict(query), here.predict(query))
    out = np.empty((9, 360))
    assert there.attribute(query, out=out) is out
    same(out, here.attribute(query, out=np.empty((9, 360))))


@lazy
def test_attributions_to_rows_on_the_cluster(fitted, name):
    there, here = fitted(name)
    test, target = da.from_array(query, chunks=(4, -1)), y[::40]
    values, indices = there.top_k(test, 7, target=target, largest=False)
    found = {
        "attribute": (there.attribute(test), here.attribute(query)),
        "labels": (there.attribute(test, da.from_array(target)), here.attribute(query, target)),
        "top_k": (values, here.top_k(query, 7, target=target, largest=False)[0]),
        "aggregate": (
            there.aggregate(test, weights=da.arange(9.0, chunks=5)),
            here.aggregate(query, weights=np.arange(9.0)),
        ),
        "decompose": (
            there.decompose(test, indices, target=target),
            here.decompose(query, np.asarray(indices), target=target),
        ),
        "self_influence_": (there.self_influence_, here.self_influence_),
    }
    for method in (
        "predict_proba",
        "predict_log_proba",
        "decision_function",
        "decision_error_bound",
    ):
        assert hasattr(there, method) == hasattr(here, method)
        if hasattr(here, method) and method != "decision_error_bound":
            found[method] = getattr(there, method)(test), getattr(here, method)(query)
    if hasattr(here, "target_weights"):
        found["target_weights"] = (
            there.target_weights(test, "margin", target),
            here.target_weights(query, "margin", target),
        )
    if hasattr(here, "base_value"):
        found["base_value"] = there.base_value(test), here.base_value(query)
    assert all(isinstance(one, da.Array) for one, _ in found.values())
    for one, expected in found.values():
        same(one.compute(), expected)
    same(there.decompose(query, np.asarray(indices), target=target), found["decompose"][1])
    expected = here.directions(query, np.asarray(indices), target=target)
    same(there.directions(query, indices, target=target), expected)
    same(there.directions(test, indices, target=target).compute(), expected)
    assert_array_equal(there.predict(test).compute(), here.predict(query))
    assert there.score(rows(), da.from_array(y)) == here.score(X, y)


@pytest.mark.parametrize("name", ["DualView", "Representer", "Influence"])
def test_fitted_attributes(fitted, name):
    there, here = fitted(name)
    for attribute in ("classes_", "coef_", "intercept_", "C_", "n_samples_fit_", "n_features_in_"):
        assert_allclose(getattr(there, attribute), getattr(here, attribute), atol=1e-8)
    for attribute in (
        "support_",
        "dual_coef_",
        "support_vectors_",
        "global_importance_",
        "leverage_",
    ):
        if attribute != "leverage_" or name == "Influence":
            assert hasattr(there, attribute) == hasattr(here, attribute)
        if hasattr(here, attribute):
            assert_allclose(
                np.asarray(getattr(there, attribute)), getattr(here, attribute), atol=1e-7
            )


@pytest.mark.parametrize("C", [0.003, "scale", 3.0])
def test_the_gap_is_that_of_all_rows(monkeypatch, capsys, C):
    monkeypatch.setattr(_candidates, "FEWEST", 60)
    options = {"tol": 1e-4, "random_state": 0, "verbose": 1}
    there = distributed.DualViewExplainer(C, **options).fit(rows(), y, weight)
    *_, last = capsys.readouterr().out.splitlines()
    assert f"relative gap of all 360 rows {there.dual_gap_:.2e}" in last
    here = skattrib.DualViewExplainer(C, tol=1e-9, random_state=0).fit(X, y, weight)
    scores = X @ there.coef_.T + there.intercept_
    label = scores[np.arange(len(y)), y][:, None]
    loss = (scores + (np.arange(4) != y[:, None]) - label).max(axis=1)
    s, b = there._size, there.intercept_ / there._size
    square = np.sum(there.coef_**2) + np.sum(b**2)
    primal = 0.5 * square + there.C_ * weight @ loss
    dual = np.zeros((4, len(y)))
    dual[:, there.support_] = there.dual_coef_
    assert_allclose(dual @ X, there.coef_, atol=1e-12)
    assert_allclose(s**2 * dual.sum(axis=1), there.intercept_, atol=1e-12)
    assert (dual[y, np.arange(len(y))] <= there.C_ * weight + 1e-12).all()
    gap = primal - dual[y, np.arange(len(y))].sum() + 0.5 * square
    assert_allclose(there.objective_, primal, rtol=1e-10)
    assert_allclose(there.dual_gap_ * primal, gap, rtol=1e-6, atol=1e-10)
    assert there.dual_gap_ <= 1e-4
    off = (
        np.sum((there.coef_ - here.coef_) ** 2)
        + np.sum((there.intercept_ - here.intercept_) ** 2) / s**2
    )
    assert np.sqrt(off) <= np.sqrt(gap) + np.sqrt(here.dual_gap_ * here.objective_)
    # equal rows, in two partitions, by weight
    assert_allclose(dual[:, 200], 2 * dual[:, 5], atol=1e-14)


def test_rows_that_are_all_candidates_have_the_fit_of_one_machine(monkeypatch):
    monkeypatch.setattr(_cluster, "FETCHED", 1)  # a partition at a time
    there = distributed.DualViewExplainer(0.5, random_state=3).fit(rows(), y)
    here = skattrib.DualViewExplainer(0.5, random_state=3).fit(X, y)
    assert_array_equal(there.coef_, here.coef_)
    assert_array_equal(there.dual_coef_, here.dual_coef_)
    again = there.set_params(warm_start=True, C=1.01 * there.C_).fit(rows(), y)
    assert again.dual_gap_ <= again.tol and again.n_iter_ < here.n_iter_


@pytest.mark.parametrize("of", [np.asarray, sparse.csr_array])
def test_rows_equal_to_those_of_the_solution_are_found(of):
    coef = np.random.default_rng(0).normal(size=(4, X.shape[1]))
    there, codes = np.vstack([X[::-1], X[:3] + 1e-3]), np.r_[y[::-1], y[:3]]
    used = np.array([5, 90, 91])
    losses = np.sort(_candidates.losses_of(of(X[used]), y[used], coef, np.ones(4)))
    marks = np.unique(keys_of(of(X[used]), y[used])), losses, 1e-10
    candidates = np.zeros(len(there), dtype=bool)
    candidates[359 - 91] = True
    head = coef, np.ones(4), 0.0, marks
    *_, found = _candidates.lost_by(
        of(there), codes, np.ones(len(there)), head, np.packbits(candidates)
    )
    # row 200 is equal to row 5
    assert_array_equal(found, [359 - 200, 359 - 90, 359 - 5])


def test_ties_are_in_the_order_of_the_training_rows(client):
    repeated = np.tile(np.eye(3), (8, 1))
    there = distributed.SimilarityExplainer().fit(
        da.from_array(repeated, chunks=(5, -1)), np.arange(24) % 2
    )
    values, indices = there.top_k(np.eye(3), 10)
    expected = skattrib.SimilarityExplainer().fit(repeated, np.arange(24) % 2).top_k(np.eye(3), 10)
    assert_array_equal(values, expected[0])
    assert_array_equal(indices, expected[1])


@pytest.mark.parametrize("name", ["DualView", "Representer", "Influence-cg", "same_class"])
def test_a_pickled_explainer_finds_its_rows_again(fitted, name):
    there, _ = fitted(name)
    again = pickle.loads(pickle.dumps(there))
    assert_array_equal(again.top_k(query, 3)[1], there.top_k(query, 3)[1])
    assert clone(there).get_params().keys() == there.get_params().keys()


@pytest.mark.parametrize("name", ["DualView", "dot"])
@pytest.mark.parametrize("options", [{}, {"k": 5, "ids": [f"row {i}" for i in range(360)]}])
def test_label_issues(fitted, name, options):
    there, here = fitted(name)
    wrong = np.where(np.arange(360) % 30 == 7, (y + 1) % 4, y)
    found = distributed.find_label_issues(there, rows(), da.from_array(wrong, chunks=50), **options)
    expected = skattrib.find_label_issues(here, X, wrong, **options)
    assert len(found.row) == len(expected.row) > 3
    for column in expected:
        if column == "score":
            assert_allclose(found[column], expected[column], atol=1e-6)
        else:
            assert_array_equal(found[column], expected[column])


def test_rows_that_are_not_kept_by_the_workers(monkeypatch, fitted):
    monkeypatch.setattr(_cluster, "HELD", 0.0)
    there = distributed.RepresenterExplainer(class_weight="balanced").fit(rows(), y, weight)
    assert_array_equal(there.coef_, fitted("Representer")[0].coef_)


def test_refits_through_the_dask_backend_of_joblib(client):
    explainer = skattrib.DualViewExplainerCV(Cs=[1e-3, 0.1], cv=2, random_state=0, n_jobs=2)
    with joblib.parallel_config("dask"):
        there = clone(explainer).fit(X, y)
    assert there.C_ == explainer.fit(X, y).C_
    assert_array_equal(there.coef_, explainer.coef_)


GROUPS = [5, [200, 5], 7, list(range(150)), 40, [300, 301, 302], 90]


@pytest.mark.parametrize("name", ["DualView", "DualView-C"])
def test_rows_are_left_out_of_dual_view_as_on_one_machine(monkeypatch, fitted, name):
    monkeypatch.setattr(_removals, "WAVE", 4)
    there, here = fitted(name)
    groups = [*GROUPS, int(np.setdiff1d(np.arange(360), here.support_)[0]), here.support_[:-3]]
    options = {"rows": groups, "target": 1, "return_bound": True}
    expected, reach = here.leave_one_out(query, X, y, weight, **options)
    found, bounds = there.leave_one_out(query, **options)
    assert (np.abs(found - expected) <= bounds + reach).all()
    assert_allclose(found, expected, atol=1e-6 * np.abs(expected).max())
    assert_array_equal(found == 0, expected == 0)
    assert (found == 0).all(axis=0).any() and (bounds < 0.03).all()
    again = there.leave_one_out(
        da.from_array(query, chunks=(4, -1)), rows(), da.from_array(y, chunks=90), weight, **options
    )
    for one, other in zip(again, (found, bounds), strict=True):
        assert isinstance(one, da.Array)
        assert_allclose(one.compute(), other, atol=1e-7)


@pytest.mark.parametrize("name", ["Influence", "Influence-cg"])
def test_rows_are_left_out_of_influence_as_on_one_machine(fitted, name):
    there, here = fitted(name)
    group, given = np.arange(90, 140), (rows(), y, weight)
    if name == "Influence-cg":
        test, given = query, ()
    else:
        test = da.from_array(query, chunks=(4, -1))
    expected = here.group_effect(query, group, 1)
    same(np.asarray(there.group_effect(test, group, 1)), expected)
    expected = here.leave_one_out(query, X, y, weight, rows=[5, group])
    same(np.asarray(there.leave_one_out(test, *given, rows=[5, group])), expected)
    with pytest.raises(ValueError, match="no row of positive weight"):
        there.group_effect(query, np.flatnonzero(weight))


def test_losses_by_heads_that_differ_little_from_one():
    rng = np.random.default_rng(0)
    coef, intercept = rng.normal(size=(4, X.shape[1])), rng.normal(size=4)
    heads = [
        (coef + scale * rng.normal(size=coef.shape), intercept + scale * rng.normal(size=4))
        for scale in (0.0, 0.1, 2.0)
    ]
    reach = [_removals.reach_of(one, (coef, intercept)) for one in heads]
    mask = np.arange(360) % 7 == 0
    known = (coef, intercept), heads, reach
    lost, found = _removals.lost_by_each(X, y, weight, known, np.packbits(mask))
    losses = np.array([_candidates.losses_of(X, y, *one) for one in heads]) * ~mask
    losses = np.maximum(losses, 0) * (weight > 0)
    assert_allclose(lost, losses @ weight)
    assert_array_equal(found, np.flatnonzero(losses.any(axis=0)))


def test_candidates_without_weight_have_a_head_of_zeros():
    there = distributed.DualViewExplainer(warm_start=True, random_state=0).fit(rows(), y)
    left = np.ones(360)
    left[there.support_] = 0.0
    there.fit(rows(), y, left)
    assert there.dual_gap_ <= there.tol
    assert left[there.support_].min() == 1


def refused(error, match, X=None, y=y, name="DualViewExplainer", weights=None, **parameters):
    explainer = getattr(distributed, name)(**parameters)
    weights = () if weights is None else (weights,)
    with pytest.raises(error, match=match):
        explainer.fit(rows() if X is None else X, y, *weights)


def test_unfit_training_rows_are_refused():
    refused(TypeError, "from_array", X)
    refused(ValueError, "rechunk", rows().rechunk((100, 5)))
    refused(ValueError, r"\(rows, features\)", da.zeros((4, 3, 2)))
    refused(
        ValueError, "give meta=scipy", rows().map_blocks(sparse.csr_array, meta=np.empty((0, 0)))
    )
    refused(
        ValueError, "give meta=numpy", rows().map_blocks(same_part, meta=sparse.csr_array((0, 0)))
    )
    refused(ValueError, "masked array", rows().map_blocks(np.ma.asarray, dtype=X.dtype))
    holed = X.copy()
    holed[250, 3] = np.nan
    refused(ValueError, r"NaN(.|\n)*training rows 230\.\.359", rows(holed))
    refused(ValueError, "scale the features", rows(1e200 * X))
    refused(ValueError, "one class", y=np.zeros(360))
    refused(ValueError, "one entry a row", y=y[:-1])
    refused(ValueError, "requires y", y=None)
    refused(ValueError, "Unknown label type", y=np.linspace(0, 1, 360))
    refused(ValueError, "negative nowhere", weights=-weight)
    refused(ValueError, "positive for some", weights=0 * weight)
    refused(ValueError, "one entry a row", weights=weight[1:])
    refused(ValueError, "'C' parameter", C=-1)
    refused(ValueError, "choose among", name="InfluenceExplainer", inverse="lissa")
    refused(
        ValueError,
        "has 22 features",
        name="InfluenceExplainer",
        estimator=FrozenEstimator(LogisticRegression().fit(X[:, 1:], y)),
        y=y,
    )
    with dask.config.set({"skattrib.candidate-memory": "100 kB"}):
        refused(ValueError, r"360 of 360 rows are candidates.* beyond the 97\.66 kiB")


def test_candidates_that_outgrow_the_memory_are_refused_with_the_numbers(monkeypatch):
    monkeypatch.setattr(_candidates, "FEWEST", 60)
    told = (
        r"(?P<n>\d+) of 360 rows are candidates .*takes (?P<need>[\d.]+) kiB in this process, "
        r"beyond the 97\.66 kiB .*raise skattrib\.candidate-memory .*features to fewer.*raise C"
    )
    there = distributed.DualViewExplainer(random_state=0)
    with dask.config.set({"skattrib.candidate-memory": "100 kB"}):
        with pytest.raises(ValueError, match=told) as refusal:
            there.fit(rows(), y)
        found = re.search(told, str(refusal.value))
        # rows of 22 features, twice, and 300 bytes
        assert_allclose(
            float(found["need"]), int(found["n"]) * (2 * 8 * 22 + 300) / 1024, atol=0.01
        )
        assert 150 < int(found["n"]) < 360
    assert there.fit(rows(), y).dual_gap_ <= there.tol
    with (
        dask.config.set({"skattrib.candidate-memory": "20 kB"}),
        pytest.raises(ValueError, match="of 360 rows are candidates"),
    ):
        there.leave_one_out(query, rows=[5])


def same_part(part):
    return part


SPARSE = {"meta": sparse.csr_array((0, 0)), "dtype": X.dtype}


@pytest.mark.parametrize("name", ["DualView", "Representer", "Influence", "same_class"])
def test_sparse_chunks(monkeypatch, name):
    monkeypatch.setattr(_candidates, "FEWEST", 60)
    kind, parameters = EXPLAINERS[name]
    few, test = sparse.csr_array(X * (X > 0.5)), sparse.csr_array(query)
    few[200] = few[5]
    chunks = rows(few.toarray(), (100, 130, 130)).map_blocks(sparse.csr_matrix, **SPARSE)
    there = getattr(distributed, kind)(**parameters).fit(chunks.rechunk((150, -1)), y)
    here = getattr(skattrib, kind)(**parameters).fit(few, y)
    tests = da.from_array(query, chunks=(4, -1)).map_blocks(sparse.coo_matrix, **SPARSE)
    same(there.attribute(test), here.attribute(test))
    values, indices = (one.compute() for one in there.top_k(tests, 5))
    same(values, here.top_k(test, 5)[0])
    for method in "decompose", "directions":
        expected = getattr(here, method)(test, indices)
        for rows_of in test, tests:
            found = getattr(there, method)(rows_of, indices)
            found = found.compute() if rows_of is tests else found
            assert sparse.issparse(found)
            same(found, expected)
        dense = getattr(there, method)(query, indices)
        same(dense, getattr(here, method)(query, indices))
    if hasattr(here, "support_vectors_"):
        assert_array_equal(there.support_vectors_.compute().toarray(), few[here.support_].toarray())
    assert there.score(chunks, y) == here.score(few, y)


# each chunk lacks classes, one has no rows, and one no weight
BY_CLASS = np.argsort(y, kind="stable")
NO_WEIGHT = np.where((np.arange(360) < 100) | (np.arange(360) >= 230), weight[BY_CLASS], 0.0)


@pytest.mark.parametrize(
    ("name", "of"),
    [
        ("DualView", np.asarray),
        ("DualView", sparse.csr_array),
        ("Representer", sparse.csr_array),
        ("Influence", np.asarray),
    ],
)
def test_a_chunk_without_weight(monkeypatch, name, of):
    monkeypatch.setattr(_candidates, "FEWEST", 60)
    kind, parameters = EXPLAINERS[name]
    labels, chunks = y[BY_CLASS], rows(X[BY_CLASS])
    if of is sparse.csr_array:
        chunks = chunks.map_blocks(of, **SPARSE)
    there = getattr(distributed, kind)(**parameters).fit(chunks, labels, NO_WEIGHT)
    here = getattr(skattrib, kind)(**parameters).fit(of(X[BY_CLASS]), labels, NO_WEIGHT)
    assert_allclose(there.C_, here.C_)
    same(there.attribute(of(query)), here.attribute(of(query)))
    same(there.self_influence_.compute(), here.self_influence_)


@pytest.mark.parametrize("of", [np.asarray, sparse.csr_array])
def test_moments_of_parts_are_those_of_all_rows(of):
    rng = np.random.default_rng(0)
    # wide rows are summed 64 at a time
    values, weights = rng.normal(size=(200, 9000)) + 1, rng.random(200)
    weights[64:128] = 0.0
    codes = np.zeros(200, dtype=int)
    parts = [
        _rows._moments(of(values[part]), codes[part], weights[part])
        for part in (slice(0, 150), slice(0, 0), slice(70, 120), slice(150, 200))
    ]
    weight, mean, variance, square = _rows._joined(parts)
    assert_allclose(weight, weights.sum())
    assert_allclose(mean, np.average(values, weights=weights, axis=0), atol=1e-12)
    assert_allclose(variance, total_variance(of(values), weights))
    assert_allclose(square, np.average(np.sum(values**2, axis=1), weights=weights))


@pytest.mark.filterwarnings("error")
def test_what_memory_held_before_is_no_target(monkeypatch):
    monkeypatch.setattr(np, "empty", lambda shape, dtype=float: np.full(shape, np.inf, dtype))
    loss = SoftmaxLoss(X[:0], np.zeros((0, 4)), np.zeros(0), np.ones(X.shape[1]), False)
    message = loss, np.zeros((4, X.shape[1]))
    assert (_loss.probabilities_at(X, y, np.zeros(360), message) == 0.25).all()


@pytest.mark.parametrize("name", ["DualView-C", "Representer", "Influence", "dot"])
def test_explanations_of_rows_here(fitted, name):
    there, here = fitted(name)
    found, expected = (skattrib.explain(one, query[:3], k=2, X_train=X) for one in (there, here))
    found, expected = found.to_frame(), expected.to_frame()
    numbers = expected.select_dtypes("number").columns
    same(found[numbers], expected[numbers])
    assert found.drop(columns=numbers).equals(expected.drop(columns=numbers))
    with pytest.raises(TypeError, match=r"give X\.compute\(\)"):
        skattrib.explain(there, rows())
    with pytest.raises(TypeError, match=r"X_train.*or leave it out"):
        skattrib.explain(there, query, X_train=rows())
    with pytest.raises(TypeError, match=r"skattrib\.distributed\.find_label_issues"):
        skattrib.find_label_issues(there, rows(), y)


def test_tasks_have_names_of_their_own(caplog, client):
    """A scheduler that knows two tasks by one name may wait for ever."""
    made = 2 * rows() + 1
    there = distributed.SimilarityExplainer().fit(made, y)
    assert there.score(made, y) == skattrib.SimilarityExplainer().fit(2 * X + 1, y).score(
        2 * X + 1, y
    )
    kept = made.persist()
    again = distributed.SimilarityExplainer().fit(kept, y)
    assert_array_equal(again.top_k(kept[:3] + 1, 2)[1], there.top_k(2 * X[:3] + 2, 2)[1])
    assert "run_spec" not in caplog.text


def test_chunks_of_unknown_size_are_counted():
    unknown = rows()[da.from_array(np.arange(360) % 2 == 0, chunks=90)]
    there = distributed.SimilarityExplainer().fit(unknown, y[::2])
    assert there.n_samples_fit_ == 180
    assert np.isnan(unknown.shape[0])
    test = unknown[:, :]
    assert_array_equal(there.predict(test).compute(), there.predict(X[::2]))


def test_unfit_calls_are_refused(fitted):
    dual, conjugate = fitted("DualView")[0], fitted("Influence-cg")[0]
    test = da.from_array(query, chunks=(4, -1))
    with pytest.raises(ValueError, match="k must be"):
        dual.top_k(test, 361)
    with pytest.raises(ValueError, match="features"):
        dual.attribute(test[:, 1:])
    with pytest.raises(ValueError, match="dask.array.store"):
        dual.attribute(test, out=np.empty((9, 360)))
    with pytest.raises(ValueError, match="not one of the classes"):
        dual.attribute(test, 9)
    with pytest.raises(ValueError, match="not one of the classes"):
        dual.attribute(test, np.full(9, 9)).compute()
    with pytest.raises(ValueError, match="training rows"):
        dual.decompose(test, np.full((9, 1), 360))
    with pytest.raises(ValueError, match="NaN"):
        dual.predict(test * np.nan).compute()
    with pytest.raises(ValueError, match="cholesky"):
        conjugate.top_k(test, 3)
    with pytest.raises(AttributeError, match="cholesky"):
        _ = conjugate.self_influence_
    with pytest.raises(ValueError, match=r"0\.\.359"):
        dual.leave_one_out(query, rows=[360])
    with pytest.raises(ValueError, match="tol == 0"):
        dual.leave_one_out(query, tol=0)
    with pytest.raises(ValueError, match="no row of positive weight"):
        dual.leave_one_out(query, rows=[np.arange(360)])
    with pytest.raises(ValueError, match="the 360 rows of 22 features given to fit, got 100"):
        dual.leave_one_out(query, rows(chunks=None), y[:100])
    scarce = np.bincount(y).min()
    with pytest.raises(ValueError, match="training rows, and same_class"):
        dask.compute(
            *fitted("same_class")[0].top_k(
                test, int(scarce) + 1, target=int(np.bincount(y).argmin())
            )
        )
    with pytest.raises(ValueError, match="no fitted explainer"):
        distributed.find_label_issues(skattrib.SimilarityExplainer(), rows(), y)
