"""Methods of the command line: a place for each explainer, the numbers of each, its options."""

import json

import numpy as np
import pytest
from command_line import encode, explain, fails, save_tables
from scipy import sparse

import skattrib._cli.explain as commands
from skattrib import (
    DualViewExplainer,
    DualViewExplainerCV,
    InfluenceExplainer,
    RepresenterExplainer,
    SimilarityExplainer,
    TRAKExplainer,
)
from skattrib._cli.methods import METHODS, NOT_OFFERED, OFFERED
from skattrib.explainers import EXPLAINERS, REGRESSORS
from skattrib.metrics import class_detection_score


@pytest.fixture
def tables(tmp_path):
    return save_tables(tmp_path)


def test_each_explainer_is_offered_or_has_a_reason_why_not():
    offered = [method.explainer for method in OFFERED]
    assert sorted(map(str, [*offered, *NOT_OFFERED])) == sorted(map(str, EXPLAINERS + REGRESSORS))
    assert all(NOT_OFFERED.values())
    assert [method.name for method in OFFERED] == list(METHODS)


# method, its explainer, and a line on its fit
BY_HAND = {
    "dualview": (DualViewExplainer(C=0.05, random_state=0), "relative gap"),
    "dualview-cv": (DualViewExplainerCV(random_state=0), "C, by cross-validation"),
    "representer": (RepresenterExplainer(C=0.05), "completeness error"),
    "influence": (InfluenceExplainer(C=0.05, random_state=0), "leverage correction"),
    "similarity": (SimilarityExplainer(metric="cosine"), "cosine"),
    "trak": (TRAKExplainer(), "ridge"),
}


@pytest.mark.parametrize("name", METHODS)
def test_numbers_are_those_of_the_explainer(name, tables, tmp_path, capsys):
    train, test = tables[:2]
    explainer, line = BY_HAND[name]
    output = tmp_path / "why.json"
    options = ["--C", 0.05] if hasattr(explainer, "C") else []
    args = [*tables[2:], "--target", "species", "--id", "key", "--method", name, *options]
    out = explain(capsys, *args, "--output", output)
    assert line in out and METHODS[name].meaning in out

    X = encode(test, train)
    explainer.fit(encode(train, train), train["species"])
    predicted, T = explainer.predict(X), explainer.attribute(X)
    T = T.toarray() if sparse.issparse(T) else T
    records = json.loads(output.read_text("utf-8"))
    assert [record["predicted"] for record in records] == predicted.tolist()
    for j, (record, row) in enumerate(zip(records, T, strict=True)):
        for side, values in (("proponents", -np.sort(-row)[:5]), ("opponents", np.sort(row)[:5])):
            wanted = values[values * (1 if side == "proponents" else -1) > 0]
            found = [entry["value"] for entry in record[side]]
            assert found == pytest.approx(wanted.tolist(), rel=1e-5)
        if hasattr(explainer, "decision_function"):
            best = explainer.decision_function(X[[j]])[0].max()
            assert record["decision_value"] == pytest.approx(best, rel=1e-6)
        else:
            assert record["decision_value"] is None


@pytest.mark.parametrize(
    ("name", "options", "named"),
    [
        ("similarity", ["--C", 1], "no --C:"),
        ("similarity", ["--no-fit-intercept", "--max-iter", 3], "no --fit-intercept, --max-iter:"),
        ("dualview-cv", ["--C", 1], "no --C:"),
    ],
)
def test_options_that_the_explainer_lacks_are_refused(name, options, named, tables, capsys):
    args = ["explain", *tables[2:], "--target", "species", "--method", name, *options]
    fails(capsys, args, f"--method {name} has {named} leave it out")


@pytest.mark.parametrize("n_models", [None, 1])
def test_probabilities_beside_gradients(n_models, tmp_path, capsys):
    rng = np.random.default_rng(0)
    G, y, p = rng.normal(size=(40, 6)), rng.integers(2, size=40), rng.random(size=40)
    train, test, output = (tmp_path / name for name in ("train.npz", "test.npz", "why.json"))
    np.savez(train, X=G, y=y, probabilities=p if n_models is None else p[:, None])
    np.savez(test, X=G[:3] + 0.1)
    explain(capsys, train, test, "--method", "trak", "--output", output)
    T = TRAKExplainer().fit(G, y, probabilities=p).attribute(G[:3] + 0.1)
    for record, row in zip(json.loads(output.read_text("utf-8")), T, strict=True):
        found = [entry["value"] for entry in record["proponents"]]
        assert found == pytest.approx(-np.sort(-row)[:5], rel=1e-5)
    # others have no use for them
    explain(capsys, train, test, "--method", "similarity")
    np.savez(train, X=G, y=y, probabilities=p + 1)
    fails(capsys, ["explain", train, test, "--method", "trak"], "probabilities must lie in 0..1")


def test_an_unknown_method_is_refused(tables, capsys):
    args = ["explain", *tables[2:], "--target", "species", "--method", "shap"]
    fails(capsys, args, "--method", "shap", *METHODS)


def save_rows(folder, X, y, X_test, y_test):
    np.savez(folder / "train.npz", X=X, y=y)
    np.savez(folder / "test.npz", X=X_test, y=y_test)
    return folder / "train.npz", folder / "test.npz"


def detection(out):
    return next(line for line in out.splitlines() if line.startswith("class detection"))


@pytest.mark.parametrize("name", ["dualview", "similarity"])
def test_class_detection_shares_hits_among_ties(name, tmp_path, capsys):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(30, 3)).repeat(2, axis=0)
    y = rng.integers(2, size=60)  # equal rows of different labels
    X_test = np.vstack([rng.normal(size=(20, 3)), np.zeros((1, 3))])
    files = save_rows(tmp_path, X, y, X_test, np.zeros(21, dtype=int))
    options = ["--C", 0.1] if name == "dualview" else []
    out = explain(capsys, *files, "--method", name, *options)
    explainer = METHODS[name].make(C=0.1).fit(X, y)
    predicted = explainer.predict(X_test)
    score = class_detection_score(explainer.attribute(X_test), y, predicted)
    hits = y[explainer.top_k(X_test, 1)[1][:, 0]] == predicted
    assert f"{score:.3f}" != f"{hits.mean():.3f}"
    assert detection(out) == (
        f"class detection: {score:.3f} of top training rows have the predicted class"
    )


def test_class_detection_looks_at_some_of_many_rows(tmp_path, capsys, monkeypatch):
    rng = np.random.default_rng(1)
    X, y = rng.normal(size=(40, 3)), np.arange(40) % 4
    X_test = rng.normal(size=(300, 3))
    files = save_rows(tmp_path, X, y, X_test, np.zeros(300, dtype=int))
    args = [*files, "--C", 10, "--method", "influence"]
    whole = detection(explain(capsys, *args))
    monkeypatch.setattr(commands, "SCORED_ROWS", 50)
    some = detection(explain(capsys, *args))
    assert some.endswith("have the predicted class (50 of the test rows, drawn at random)")
    assert detection(explain(capsys, *args)) == some
    explainer = InfluenceExplainer(C=10, random_state=0).fit(X, y)
    hits = y[explainer.top_k(X_test, 1)[1][:, 0]] == explainer.predict(X_test)
    share = float(some.split()[2])
    assert 0 < hits.mean() < 1 and f"{hits.mean():.3f}" in whole
    assert share != hits[:50].mean() and abs(share - hits.mean()) < 4 * hits.std() / 50**0.5


def test_a_head_that_does_not_follow_the_labels_is_named(tmp_path, capsys):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(200, 3)), rng.integers(2, size=200)
    files = save_rows(tmp_path, X, y, X[:5], y[:5])
    report = tmp_path / "report.html"
    out = explain(capsys, *files, "--report", report)
    follows = METHODS["dualview"].make().fit(X, y).score(X, y)
    assert 0.5 < follows < 0.9
    assert ["training", "accuracy", f"{follows:.3f}"] in [line.split() for line in out.splitlines()]
    said = f"The head predicts the label of {follows:.1%} of the training rows"
    assert said in out and said in report.read_text("utf-8")
    y = (X[:, 0] > 0).astype(int)
    files = save_rows(tmp_path, X, y, X[:5], y[:5])
    out = explain(capsys, *files, "--report", report)
    assert "predicts the label of" not in out + report.read_text("utf-8")
    assert "training accuracy" not in explain(capsys, *files, "--method", "similarity")
