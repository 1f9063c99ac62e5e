"""compare_explainers: every number is what its metric says of the same fits, and cost is known."""

import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.utils import Bunch

from skattrib import (
    DualViewExplainer,
    InfluenceExplainer,
    RepresenterExplainer,
    SimilarityExplainer,
    TRAKExplainer,
    compare_explainers,
    metrics,
)
from skattrib.comparison import METRICS, _metrics
from skattrib.comparison._metrics import REGISTRY, Metric
from skattrib.gradients import mlp_gradients
from skattrib.planting import flip_labels, merge_classes, plant_shortcut
from skattrib.retraining import leave_one_out_outputs, subset_outputs

X, Y = load_digits(return_X_y=True)
X = X / 16
X_TEST, Y_TEST = X[1000:1040], Y[1000:1040]
X, Y = X[:240], Y[:240]
EXPLAINERS = {
    "dualview": DualViewExplainer(C=0.1, random_state=0),
    "influence": InfluenceExplainer(C=0.5),
    "cosine": SimilarityExplainer(metric="cosine"),
}
MODEL = LogisticRegression(C=0.5)
MARK = {"marked_class": 3, "mark": [0, 7, 56], "mark_value": 4.0}
RETRAINED = {"data_removal", "mislabel_support", "coreset", "pruning", "debugging"}
DESCRIPTIONS = {"faithfulness", "completeness", "sparsity", "top_k_cardinality"}
MEASURED = [name for name in METRICS if name not in RETRAINED]
COST = {"fit_seconds", "seconds_per_row", "peak_mb"}


def fit(name):
    return clone(EXPLAINERS[name]).fit(X, Y)


@pytest.fixture(scope="module")
def result():
    return compare_explainers(
        EXPLAINERS,
        X,
        Y,
        X_TEST,
        Y_TEST,
        estimator=MODEL,
        metrics=MEASURED,
        n_subsets=6,
        n_left_out=3,
        random_state=0,
        **MARK,
    )


def test_the_table_is_a_frame(result):
    frame = pd.DataFrame(result.table).set_index("explainer")
    assert list(frame.index) == list(EXPLAINERS) and result.n_test == 40
    assert set(MEASURED) - {"sparsity"} <= set(frame.columns)
    assert {"leave_one_out_slope", "nonzero_share", "rows_for_mass", "accuracy"} <= set(frame)
    assert frame[list(COST)].gt(0).all(axis=None)
    missing = frame.isna()
    assert missing.loc["cosine", ["faithfulness", "completeness"]].all()
    assert missing.to_numpy().sum() == 3  # the agreement as well


def test_scores_are_those_of_the_metrics(result):
    table = pd.DataFrame(result.table).set_index("explainer")
    for name in EXPLAINERS:
        fitted = fit(name)
        T, predicted = fitted.attribute(X_TEST), fitted.predict(X_TEST)
        row = table.loc[name]
        assert row.class_detection == metrics.class_detection_score(T, Y, predicted)
        assert row.nonzero_share == metrics.sparsity(T).nonzero_share.mean()
        assert row.rows_for_mass == metrics.sparsity(T).rows_for_mass.mean()
        distinct = metrics.top_k_cardinality(T, k=1)
        assert row.top_k_cardinality == distinct.cardinality
        assert row.top_k_cardinality_share == distinct.share
        assert row.accuracy == fitted.score(X_TEST, Y_TEST)
        if name != "cosine":
            f = fitted.decision_function(X_TEST).max(axis=1)
            if hasattr(fitted, "base_value"):
                f -= fitted.base_value(X_TEST)
            assert_allclose(row.completeness, metrics.completeness_error(T, f), atol=1e-12)
            model = clone(MODEL).fit(X, Y)
            expected = metrics.faithfulness(
                fitted.decision_function(X_TEST), model.decision_function(X_TEST)
            )
            assert_allclose(row.faithfulness, expected.correlation)
            assert row.faithfulness_agreement == expected.agreement
    assert table.faithfulness["influence"] > table.faithfulness["dualview"]
    assert table.self_influence["cosine"] == 0.5  # a cosine of 1 each
    assert table.linear_datamodeling.idxmax() == "influence"
    assert table.mislabel_detection["influence"] > 0.9
    assert table.shortcut_detection.between(0, 1).all() and (table.shortcut_rows > 0).all()
    assert table.shortcut_average_precision.between(0, 1).all()


def test_both_scores_of_the_shortcut():
    few = {"cosine": EXPLAINERS["cosine"]}
    options = {"metrics": ["shortcut_detection"], "memory": False, "random_state": 0, **MARK}
    found = compare_explainers(few, X, Y, X_TEST, Y_TEST, confidence=0.9, **options).table
    label = {"where": MARK["mark"], "value": MARK["mark_value"]}
    seed = np.random.RandomState(0).randint(2**31 - 1, size=3)[2]
    marked, has_mark = plant_shortcut(X, Y, 3, 0.5, random_state=seed, **label)
    test, fooled = plant_shortcut(X_TEST, Y_TEST, 3, 1.0, others=True, random_state=seed, **label)
    explainer = clone(few["cosine"]).fit(marked, Y)
    test = test[fooled]
    test = test[explainer.predict(test) == 3]
    assert found["shortcut_rows"] == [len(test)]
    T = explainer.attribute(test, 3)
    for kind, name in [("top", "detection"), ("average_precision", "average_precision")]:
        expected = metrics.shortcut_detection_score(T, has_mark, kind=kind)
        (score,), (low,), (high,) = (
            found[f"shortcut_{name}{end}"] for end in ("", "_low", "_high")
        )
        assert score == expected
        assert low <= score <= high


def test_ground_truth_at_hand():
    subsets = subset_outputs(MODEL, X, Y, X_TEST, 6, random_state=0)
    left_out = leave_one_out_outputs(MODEL, X, Y, X_TEST, rows=[5, 100, 17], random_state=0)
    names = ["linear_datamodeling", "leave_one_out"]
    options = {"metrics": names, "subset_truth": subsets, "leave_one_out_truth": left_out}
    found = compare_explainers(EXPLAINERS, X, Y, X_TEST, memory=False, **options)
    for k, name in enumerate(EXPLAINERS):
        T = fit(name).attribute(X_TEST, subsets.targets)
        expected = metrics.linear_datamodeling_score(T, subsets.masks, subsets.outputs)
        assert found.table["linear_datamodeling"][k] == expected
        expected = metrics.leave_one_out_agreement(T, left_out.effects, rows=[5, 100, 17])
        assert found.table["leave_one_out"][k] == expected.correlation
        assert found.table["leave_one_out_slope"][k] == expected.slope
    assert "peak_mb" not in found.table


def test_retrained_for_each_explainer():
    knn = KNeighborsClassifier(1)
    few = {name: EXPLAINERS[name] for name in ("influence", "cosine")}
    data = X[:90], Y[:90], X_TEST[:12], Y_TEST[:12]
    options = {"estimator": knn, "metrics": sorted(RETRAINED), "memory": False, "random_state": 0}
    found = compare_explainers(few, *data, **options)
    rows, labels, test, test_labels = data
    seed = np.random.RandomState(0).randint(2**31 - 1, size=2)[1]
    noisy = flip_labels(labels, 0.1, random_state=seed)[0]
    model = knn.fit(rows, labels)
    for k, explainer in enumerate(few.values()):
        fitted = clone(explainer).fit(rows, labels)
        explained = fitted.attribute(test, model.predict(test))
        for name, score in (
            ("data_removal", metrics.data_removal_support),
            ("mislabel_support", metrics.mislabel_support),
        ):
            expected = score(explained, knn, rows, labels, test, random_state=0).flipped.mean()
            assert found.table[name][k] == expected
        T = fitted.attribute(test)
        for name, curve in (("coreset", metrics.coreset_curve), ("pruning", metrics.pruning_curve)):
            expected = curve(T, knn, rows, labels, test, test_labels, random_state=0)
            assert found.table[name][k] == expected.accuracy.mean()
        T = clone(explainer).fit(rows, noisy).attribute(test)
        expected = metrics.debugging_curve(
            T, knn, rows, noisy, labels, test, test_labels, random_state=0
        )
        assert found.table["debugging"][k] == expected.accuracy.mean()
    assert found.table["debugging"][0] != found.table["debugging"][1]
    best = np.argmin(found.table["pruning"])
    assert found.ranks["pruning"][best] == 1 or len(set(found.table["pruning"])) == 1
    assert found.ranks["coreset"][np.argmax(found.table["coreset"])] in (1, 1.5)


def test_merged_classes():
    groups = [[0, 2, 4, 6, 8], [1, 3, 5, 7, 9]]
    found = compare_explainers(
        {"dualview": EXPLAINERS["dualview"]},
        X,
        Y,
        X_TEST,
        Y_TEST,
        metrics=["subclass_detection"],
        groups=groups,
        memory=False,
    )
    one = clone(EXPLAINERS["dualview"]).fit(X, merge_classes(Y, groups)[0])
    expected = metrics.subclass_detection_score(one.attribute(X_TEST), Y, Y_TEST)
    assert found.table["subclass_detection"] == [expected]


def test_ranks(result):
    ranks = pd.DataFrame(result.ranks, index=list(EXPLAINERS))
    assert set(ranks) == set(MEASURED) - DESCRIPTIONS
    scores = pd.DataFrame(result.table).set_index("explainer")[list(ranks)]
    assert_array_equal(ranks, scores.rank(ascending=False))
    assert_allclose(result.average_rank, ranks.mean(axis=1))
    assert result.table["average_rank"] == result.average_rank.tolist()


def test_rows_and_parameters_of_their_own():
    """Gradients of a network, each method's, beside an explainer of the columns."""
    mlp = MLPClassifier((6,), max_iter=30, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        mlp.fit(X, Y)
        truth = subset_outputs(mlp, X, Y, X_TEST, 6, random_state=0)
    p = mlp.predict_proba(X)[np.arange(len(Y)), Y]
    few = {
        "trak": TRAKExplainer(),
        "graddot": SimilarityExplainer(),
        "cosine": EXPLAINERS["cosine"],
    }
    explained = mlp_gradients(mlp, X_TEST, truth.targets)
    rows = {
        "trak": (mlp_gradients(mlp, X, Y), explained),
        "graddot": (mlp_gradients(mlp, X, Y, output="loss"), explained),
    }
    weighted = {"trak": {"probabilities": p}}
    options = {"subset_truth": truth, "memory": False, "random_state": 0} | MARK
    found = compare_explainers(few, X, Y, X_TEST, Y_TEST, rows=rows, fit_params=weighted, **options)
    for k, name in enumerate(few):
        own, own_test = rows.get(name, (X, X_TEST))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            one = clone(few[name]).fit(own, Y, **weighted.get(name, {}))
        T = one.attribute(own_test, truth.targets)
        expected = metrics.linear_datamodeling_score(T, truth.masks, truth.outputs)
        assert found.table["linear_datamodeling"][k] == expected
        predicted = one.predict(own_test)
        T = one.attribute(own_test, predicted)
        assert found.table["class_detection"][k] == metrics.class_detection_score(T, Y, predicted)
        assert found.table["accuracy"][k] == np.mean(predicted == Y_TEST)
    for name in ("subclass_detection", "mislabel_detection", "shortcut_detection"):
        assert np.isnan(found.table[name]).tolist() == [True, True, False]
    assert np.argmax(found.table["linear_datamodeling"]) == 0


def test_outputs_of_rows_of_their_own():
    """Decision values are of the explainer's rows, too."""
    wide, wide_test = np.hstack([X, X**2]), np.hstack([X_TEST, X_TEST**2])
    few = {"representer": RepresenterExplainer()}
    options = {"metrics": ["completeness", "faithfulness"], "estimator": MODEL, "memory": False}
    own = {"rows": {"representer": (wide, wide_test)}}
    found = compare_explainers(few, X, Y, X_TEST, **own, **options).table
    one = clone(few["representer"]).fit(wide, Y).decision_function(wide_test)
    expected = metrics.faithfulness(one, clone(MODEL).fit(X, Y).decision_function(X_TEST))
    assert_allclose(found["faithfulness"][0], expected.correlation)
    assert found["completeness"][0] < 1e-4


def test_a_metric_is_one_entry(monkeypatch, capsys):
    def mean(study, case):
        return {"size": case.T.shape, "low": {"size": 1}, "largest": case.fitted.predict(study.X)}

    entry = Metric("mean", mean, needs=("merged",), fields={"size": "mean", "largest": "top"})
    monkeypatch.setattr(_metrics, "REGISTRY", (entry, *REGISTRY))
    few = {"cosine": EXPLAINERS["cosine"]}
    options = {"memory": False, "metrics": ["sparsity", "mean"], "verbose": 1}
    found = compare_explainers(few, X, Y, X_TEST, **options)
    assert found.table["mean"] == [(240 + 40) / 2] and found.table["mean_low"] == [1]
    assert_allclose(found.table["top"], fit("cosine").predict(X).mean())
    assert found.ranks == {"mean": [1.0]}
    assert "[compare_explainers] cosine: mean" in capsys.readouterr().out
    with pytest.raises(ValueError, match="'mean' needs three classes"):
        compare_explainers(few, X, Y > 4, X_TEST, **options)


def test_names_and_order_of_the_metrics():
    assert tuple(metric.name for metric in REGISTRY) == METRICS
    assert {metric.name for metric in REGISTRY if metric.is_description} == DESCRIPTIONS
    assert [metric.name for metric in REGISTRY if not metric.higher_is_better] == ["pruning"]


def test_the_same_whatever_else_is_measured(result):
    again = compare_explainers(
        dict(list(EXPLAINERS.items())[:2]),
        sparse.csr_array(X),
        Y.astype(str),
        X_TEST,
        Y_TEST.astype(str),
        metrics=["shortcut_detection", "mislabel_detection"],
        random_state=0,
        **MARK | {"marked_class": "3"},
    )
    for name in again.ranks:
        assert_allclose(again.table[name], result.table[name][:2], rtol=1e-6)


def test_what_can_be_had_by_default():
    options = {"memory": False, "confidence": 0.9, "random_state": 0}
    few = {"representer": RepresenterExplainer(), "cosine": EXPLAINERS["cosine"]}
    found = compare_explainers(few, X, Y, X_TEST, **options).table
    assert "mislabel_detection" in found and "subclass_detection" not in found
    assert found["class_detection_low"][0] <= found["class_detection"][0]
    two = Y < 5
    found = compare_explainers(
        few, X, two, X_TEST, Y_TEST < 5, estimator=MODEL, n_subsets=3, n_left_out=2, **options
    ).table
    assert "subclass_detection" not in found
    assert not found.keys() & (RETRAINED | {"self_influence"})
    for name in ("linear_datamodeling", "leave_one_out", "leave_one_out_slope", "rows_for_mass"):
        assert found[f"{name}_low"][0] <= found[name][0] <= found[f"{name}_high"][0]
    assert found["completeness"][0] < 1e-5  # two classes, either sign
    for name in ("completeness", "faithfulness", "faithfulness_agreement"):
        assert found[f"{name}_low"][0] <= found[name][0] <= found[f"{name}_high"][0] + 1e-12
    model, own = clone(MODEL).fit(X, two), clone(few["representer"]).fit(X, two)
    expected = metrics.faithfulness(own.decision_function(X_TEST), model.decision_function(X_TEST))
    assert_allclose(found["faithfulness"][0], expected.correlation)


def test_a_shortcut_that_none_falls_for():
    few = {"cosine": EXPLAINERS["cosine"]}
    names = ["shortcut_detection"]
    with pytest.warns(UserWarning, match="falls for the mark with 'cosine'; choose") as caught:
        found = compare_explainers(
            few, X, Y, X_TEST, Y_TEST, metrics=names, mark_value=0.0, memory=False
        )
    assert caught[0].filename == __file__
    assert found.table["shortcut_rows"] == [0]
    assert np.isnan(found.table["shortcut_detection"][0]) and np.isnan(found.average_rank[0])


def test_progress(capsys):
    few = {"cosine": EXPLAINERS["cosine"]}
    compare_explainers(few, X, Y, X_TEST, metrics=["sparsity"], verbose=1)
    assert "[compare_explainers] cosine: sparsity" in capsys.readouterr().out
    compare_explainers(few, X, Y, X_TEST, metrics=["sparsity"])
    assert capsys.readouterr().out == ""


def test_explainers_are_not_fitted_themselves(result):
    assert not any(hasattr(one, "classes_") for one in EXPLAINERS.values())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"explainers": {}}, "explainers must be a dict"),
        ({"explainers": {"a": LogisticRegression()}}, "'a'. is no explainer, but LogisticReg"),
        ({"explainers": {"a": SimilarityExplainer}}, "'a'. is no explainer, but <class"),
        ({"estimator": Ridge()}, "Ridge is no classifier"),
        ({"y_test": Y_TEST.astype(str)}, "y and y_test must hold labels of one kind"),
        ({"metrics": "class_detection"}, r"list of names, such as \['class_detection'\]"),
        ({"metrics": FrozenEstimator(LogisticRegression())}, "metrics must be a list of names"),
        ({"metrics": sparse.csr_array(np.eye(2))}, "metrics must be a list of names"),
        ({"metrics": np.array([])}, "metrics is empty: name one or more of class_detection"),
        ({"subset_truth": Bunch(output="decision")}, "one class a row, not of all"),
        ({"metrics": ["lds"]}, "there is no metric 'lds'; choose from class_detection"),
        ({"metrics": ["linear_datamodeling"]}, "needs an estimator to retrain, or subset_truth"),
        ({"metrics": ["leave_one_out"]}, "needs an estimator to retrain, or leave_one_out_truth"),
        ({"metrics": ["faithfulness"]}, "needs an estimator to compare with"),
        ({"metrics": ["data_removal"]}, "needs an estimator to retrain"),
        ({"metrics": ["subclass_detection"]}, "needs y_test"),
        ({"metrics": ["shortcut_detection"]}, "needs y_test"),
        ({"y": Y < 5, "y_test": Y_TEST < 5, "metrics": ["subclass_detection"]}, "three classes"),
        ({"y": Y[:-1]}, "y has shape"),
        ({"y_test": Y_TEST[:-1]}, "y_test has shape"),
        ({"flipped": 2}, "flipped == 2, must be <= 1"),
        ({"rows": {"none": (X, X_TEST)}}, "rows has 'none', but the explainers are 'dualview', 'i"),
        ({"rows": {"cosine": (X[1:], X_TEST)}}, "'cosine'. has 239 and 40 rows, X and .* 240 and"),
        ({"rows": {"cosine": (X, X)}}, "'cosine'. has 240 and 240 rows"),
        ({"rows": {"cosine": (X, X_TEST * np.nan)}}, "cosine.* contains NaN"),
        ({"fit_params": {"none": {}}}, "fit_params has 'none'"),
        ({"fit_params": {"cosine": {"probabilities": 1}}}, "'cosine'. takes no 'probabilities'"),
        ({"fit_params": {"cosine": {"y": Y}}}, "takes no 'y'"),
    ],
)
def test_bad_input(options, message):
    given = {"explainers": EXPLAINERS, "X": X, "y": Y, "X_test": X_TEST} | options
    with warnings.catch_warnings(), pytest.raises(ValueError, match=message):
        compare_explainers(**given)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"explainers": [SimilarityExplainer()]}, "explainers must be a dict .* got a list"),
        ({"subset_truth": [1, 2]}, "subset_truth must be what"),
        ({"leave_one_out_truth": np.ones(3)}, "leave_one_out_truth must be what"),
        ({"memory": np.ones(2, dtype=bool)}, "memory must be"),
        ({"verbose": np.ones(2)}, "verbose must be"),
        ({"rows": [(X, X_TEST)]}, "rows must be a dict of the explainers' names, got a list"),
        ({"rows": {"cosine": X}}, r"rows.'cosine'. must be a pair \(X, X_test\), got ndarray"),
        ({"fit_params": {"cosine": 1}}, "fit_params.'cosine'. must be a dict"),
        ({"estimator": MODEL, "n_left_out": np.ones(2)}, "n_left_out must be"),
    ],
)
def test_bad_types(options, message):
    given = {"explainers": EXPLAINERS, "X": X, "y": Y, "X_test": X_TEST, "n_subsets": 2} | options
    with warnings.catch_warnings(), pytest.raises(TypeError, match=message):
        compare_explainers(**given)


def test_faults_that_the_rows_have_already():
    rng = np.random.default_rng(0)
    own = {"cosine": (X @ rng.normal(size=(64, 20)), X_TEST @ rng.normal(size=(64, 20)))}
    explainers = {name: EXPLAINERS[name] for name in ("dualview", "cosine")}
    merged, merged_test = (merge_classes(y, [[0, 1, 2, 3], range(4, 10)])[0] for y in (Y, Y_TEST))
    noisy, is_flipped = flip_labels(Y, 0.2, random_state=0)
    has_mark = (Y == 3) & (np.arange(240) % 2 == 0)
    targets = np.where(np.arange(40) % 3, Y_TEST, 3)
    cases = {
        "subclass_detection": (merged, merged_test, {"subclasses": (Y, Y_TEST)}, merged_test),
        "mislabel_detection": (noisy, Y_TEST, {"is_flipped": is_flipped}, targets),
        "shortcut_detection": (Y, Y_TEST, {"has_mark": has_mark}, targets),
    }
    fallen = (Y_TEST != 3) & (targets == 3)
    for metric, (y, y_test, faults, explained) in cases.items():
        found = compare_explainers(
            *(explainers, X, y, X_TEST, y_test),
            rows=own,
            targets=explained,
            faults=faults,
            marked_class=3,
            metrics=[metric],
            memory=False,
        )
        for k, (name, one) in enumerate(explainers.items()):
            rows, test = own.get(name, (X, X_TEST))
            T = clone(one).fit(rows, y).attribute(test, explained)
            expected = {
                "subclass_detection": lambda T=T: metrics.subclass_detection_score(T, Y, Y_TEST),
                "mislabel_detection": lambda T=T: metrics.mislabel_detection_score(T, is_flipped),
                "shortcut_detection": lambda T=T: metrics.shortcut_detection_score(
                    T[fallen], has_mark
                ),
            }
            assert found.table[metric][k] == pytest.approx(expected[metric]())
            assert found.table["accuracy"][k] == np.mean(explained == y_test)
    assert found.table["shortcut_rows"] == [fallen.sum()] * 2


def test_targets_of_a_network():
    targets = np.roll(Y_TEST, 1)
    options = {"metrics": ["class_detection", "completeness"], "memory": False}
    found = compare_explainers(EXPLAINERS, X, Y, X_TEST, targets=targets, **options)
    for k, name in enumerate(EXPLAINERS):
        T = fit(name).attribute(X_TEST, targets)
        expected = metrics.class_detection_score(T, Y, targets)
        assert found.table["class_detection"][k] == expected
    assert found.table["class_detection"][2] < 0.9
    assert found.table["completeness"][0] < 1e-6
    own = compare_explainers(EXPLAINERS, X, Y, X_TEST, **options)
    assert own.table["class_detection"][2] == 1


def test_shares_of_the_curves():
    knn = KNeighborsClassifier(1)
    options = {"estimator": knn, "metrics": ["coreset", "pruning", "debugging"], "shares": [0.5]}
    few = {"cosine": EXPLAINERS["cosine"]}
    found = compare_explainers(few, X, Y, X_TEST, Y_TEST, memory=False, random_state=0, **options)
    T = fit("cosine").attribute(X_TEST)
    data = knn, X, Y, X_TEST, Y_TEST
    for name, curve in (("coreset", metrics.coreset_curve), ("pruning", metrics.pruning_curve)):
        expected = curve(T, *data, shares=[0.5], random_state=0).accuracy.mean()
        assert found.table[name] == [expected]
    assert found.table["coreset"] != found.table["pruning"]


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"targets": Y_TEST[:3]}, ValueError, r"targets has shape \(3,\) but X_test has 40"),
        ({"targets": Y_TEST + 10}, ValueError, r"target 1\d is no class of y"),
        ({"targets": Y_TEST.astype(str)}, ValueError, "y and targets must hold labels of one kind"),
        ({"faults": [1]}, TypeError, "faults must be a dict, got a list"),
        ({"faults": {"noisy": Y}}, ValueError, "no fault 'noisy'; choose from 'subclasses', 'is_f"),
        ({"faults": {"is_flipped": Y[:3]}}, ValueError, r"'is_flipped'. has shape \(3,\); exp"),
        ({"faults": {"is_flipped": Y}}, ValueError, "values other than True and False"),
        ({"faults": {"subclasses": Y}}, TypeError, "must be a pair .* got ndarray"),
        ({"faults": {"subclasses": (Y, Y)}}, ValueError, r"shapes \(240,\) and \(240,\); expected"),
        ({"faults": {"has_mark": Y == 3}}, ValueError, "marked_class is None; name the class"),
        (
            {"faults": {"is_flipped": Y == 3}, "metrics": ["subclass_detection"]},
            ValueError,
            "needs 'subclasses' among the faults",
        ),
        (
            {"faults": {"is_flipped": Y == 3}, "metrics": ["debugging"], "estimator": MODEL},
            ValueError,
            "needs labels without the faults",
        ),
        ({"shares": [2.0], "metrics": ["coreset"], "estimator": MODEL}, ValueError, "shares must"),
    ],
)
def test_bad_targets_faults_and_shares(options, kind, message):
    few = {"cosine": EXPLAINERS["cosine"]}
    with pytest.raises(kind, match=message):
        compare_explainers(few, X, Y, X_TEST, Y_TEST, memory=False, **options)
