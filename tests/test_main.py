"""The command line: its numbers are those of the explainer, its errors one line with a remedy."""

import io
import json
import subprocess
import sys
import warnings
from importlib.metadata import version

import numpy as np
import pandas as pd
import pytest
from command_line import (
    SPECIES,
    C,
    assert_same_records,
    encode,
    expected_of_tables,
    expected_records,
    explain,
    fails,
    make_matrices,
    make_table,
    run_on_table,
    save_tables,
)
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split

from skattrib.__main__ import main
from skattrib.explainers.dual_view import DualViewExplainer
from skattrib.metrics import class_detection_score


@pytest.fixture
def tables(tmp_path):
    return save_tables(tmp_path)


@pytest.fixture
def matrices():
    return make_matrices()


def test_demo_prints_the_fit_the_scores_and_the_misclassified_rows_first(capsys):
    assert main([]) == 0
    out, err = capsys.readouterr()
    assert err == ""

    X, y = load_digits(return_X_y=True)
    parts = train_test_split(X / 16, y, np.arange(len(y)), stratify=y, random_state=0)
    X_train, X_test, y_train, y_test, ids, test_ids = parts
    explainer = DualViewExplainer(C=0.1, random_state=0).fit(X_train, y_train)
    predicted = explainer.predict(X_test)
    lines = [line.split() for line in out.splitlines()]
    assert ["training", "rows", "1347"] in lines
    assert ["features", "64"] in lines
    assert ["classes", "10"] in lines
    assert ["C", "0.1"] in lines
    assert ["C", "*", "mean||x||^2", f"{0.1 * (X_train**2).sum(1).mean():.4g}"] in lines
    assert ["relative", "gap", f"{explainer.dual_gap_:.1e}"] in lines
    support = y_train[explainer.support_]
    for digit in range(10):
        counts = [str(np.sum(y_train == digit)), str(np.sum(support == digit))]
        assert [str(digit), *counts] in lines

    accuracy = np.mean(predicted == y_test)
    assert accuracy > 0.95
    assert f"accuracy on 450 test rows: {accuracy:.3f}" in out
    score = class_detection_score(explainer.attribute(X_test), y_train, predicted)
    assert f"class detection: {score:.3f}" in out
    assert "positive value raises" in out
    assert "the base value, which is the\nhead's intercept, sum to it" in out

    wrong = np.flatnonzero(predicted != y_test)
    first = wrong[0]
    heading = f"Test row {test_ids[first]}: predicted {predicted[first]}, "
    assert heading + f"but labelled {y_test[first]}" in out
    assert out.count("but labelled") == min(4, len(wrong))
    values = explainer.attribute(X_test[[first]]).toarray()[0]
    block = out[out.index(heading) :].splitlines()
    output = explainer.decision_function(X_test)[first].max()
    base = explainer.base_value(X_test)[first]
    assert block[1] == (
        f"decision value of class {predicted[first]}: {output:+#.4g}, "
        f"{base:+#.4g} of it the base value"
    )
    best, worst = values.argmax(), values.argmin()
    assert block[3].split() == [
        *(str(ids[best]), str(y_train[best]), f"{values[best]:+#.4g}"),
        *(str(ids[worst]), str(y_train[worst]), f"{values[worst]:+#.4g}"),
    ]


def test_demo_takes_C(capsys):
    assert main(["--C", "0.01"]) == 0
    assert ["C", "0.01"] in [line.split() for line in capsys.readouterr().out.splitlines()]


def test_json_holds_the_attributions_of_the_explainer(tables, tmp_path, capsys):
    output = tmp_path / "why.json"
    run_on_table(capsys, tables, "--output", output, "--top", 4)
    records = json.loads(output.read_text("utf-8"))
    assert_same_records(records, expected_of_tables(*tables[:2], top=4), rtol=1e-6)


def test_all_training_rows_sum_to_the_decision_value(tables, tmp_path, capsys):
    output = tmp_path / "why.json"
    run_on_table(capsys, tables, "--output", output, "--top", 10**6)
    for record in json.loads(output.read_text("utf-8")):
        raised = [entry["value"] for entry in record["proponents"]]
        lowered = [entry["value"] for entry in record["opponents"]]
        assert min(raised) > 0 > max(lowered)
        assert raised == sorted(raised, reverse=True)
        assert lowered == sorted(lowered)
        total = sum(raised) + sum(lowered) + record["base_value"]
        assert total == pytest.approx(record["decision_value"], abs=1e-12)
        assert abs(record["base_value"]) > 1e-3


def test_target_class_replaces_the_predicted_class(tables, tmp_path, capsys):
    output = tmp_path / "why.json"
    out = run_on_table(capsys, tables, "--output", output, "--target-class", "été")
    records = json.loads(output.read_text("utf-8"))
    assert_same_records(records, expected_of_tables(*tables[:2], target="été"), rtol=1e-6)
    assert out.count("decision value of class été") == 5


@pytest.mark.parametrize("label", ["False", "True"])
def test_binary_decision_values_are_those_of_the_target_class(tmp_path, capsys, label):
    train, test = make_table(60, 3, n_classes=2), make_table(10, 4, n_classes=2)
    for frame, name in ((train, "train"), (test, "test")):
        frame["species"] = frame["species"] == SPECIES[1]
        frame.to_csv(tmp_path / f"{name}.csv", index=False)
    output = tmp_path / "why.json"
    paths = tmp_path / "train.csv", tmp_path / "test.csv"
    tables = train, test, *map(str, paths)
    run_on_table(capsys, tables, "--output", output, "--target-class", label)
    expected = expected_of_tables(train, test, target=label == "True")
    assert_same_records(json.loads(output.read_text("utf-8")), expected, rtol=1e-6)


def test_misclassified_rows_are_shown_first(tables, capsys):
    train, test = tables[:2]
    explainer = DualViewExplainer(C=C, random_state=0).fit(encode(train, train), train["species"])
    right = explainer.predict(encode(test, train)) == test["species"]
    assert 0 < np.sum(~right) < 20
    out = run_on_table(capsys, tables, "--n-rows", 1000)
    shown = [line.split(":")[0] for line in out.splitlines() if line.startswith("Test key")]
    expected = [*test["key"][~right], *test["key"][right]]
    assert shown == [f"Test key {key}" for key in expected]
    assert out.count("but labelled") == np.sum(~right)
    assert f"accuracy on 20 test rows: {np.mean(right):.3f}" in out
    assert "class detection" in out


def test_rows_and_n_rows_choose_what_is_explained(tables, tmp_path, capsys):
    output = tmp_path / "why.json"
    out = run_on_table(capsys, tables, "--output", output, "--rows", "7,3")
    records = json.loads(output.read_text("utf-8"))
    keys = list(tables[1]["key"][[7, 3]])
    assert [record["test_id"] for record in records] == keys
    assert out.index(f"Test key {keys[0]}:") < out.index(f"Test key {keys[1]}:")
    assert out.count("Test key") == 2

    out = run_on_table(capsys, tables, "--output", output, "--n-rows", 3)
    assert out.count("Test key") == len(json.loads(output.read_text("utf-8"))) == 3
    out = run_on_table(capsys, tables, "--output", output)
    assert out.count("Test key") == 5
    records = json.loads(output.read_text("utf-8"))
    assert [record["test_id"] for record in records] == list(tables[1]["key"])


def test_default_C_is_one_over_the_variance(tables, capsys):
    out = explain(capsys, *tables[2:], "--target", "species", "--id", "key")
    train = tables[0]
    lines = [line.split() for line in out.splitlines()]
    X = encode(train, train)
    C = 1 / X.var(axis=0).sum()
    assert ["C", f"{C:.4g}"] in lines
    assert ["C", "*", "mean||x||^2", f"{C * (X**2).sum(1).mean():.4g}"] in lines


def test_options_before_the_command_hold(tables, capsys):
    assert main(["--C", "0.3", "explain", *tables[2:], "--target", "species"]) == 0
    assert ["C", "0.3"] in [line.split() for line in capsys.readouterr().out.splitlines()]


def test_fit_intercept_can_be_switched_off(matrices, tmp_path, capsys):
    X, y, X_test, _ = matrices
    np.savez(tmp_path / "train.npz", X=X, y=y)
    np.savez(tmp_path / "test.npz", X=X_test)
    output = tmp_path / "why.json"
    paths = tmp_path / "train.npz", tmp_path / "test.npz"
    for switch, fit_intercept in (("--fit-intercept", True), ("--no-fit-intercept", False)):
        explain(capsys, *paths, "--C", C, "--output", output, switch)
        explainer = DualViewExplainer(C=C, fit_intercept=fit_intercept, random_state=0).fit(X, y)
        expected = expected_records(explainer, X_test, range(15), y, range(50))
        assert_same_records(json.loads(output.read_text()), expected, rtol=1e-9)


BAD_USES = {
    "C=0": (["--C", "0"], ["--C", "positive number"]),
    "C<0": (["--C=-1"], ["--C", "positive number"]),
    "C=nan": (["--C", "nan"], ["--C", "positive number"]),
    "C=x": (["--C", "x"], ["--C", "positive number, got 'x'"]),
    "top": (["--top", "0"], ["--top", "1 or more"]),
    "n-rows": (["--n-rows", "-1"], ["--n-rows"]),
    "max-iter": (["--max-iter", "1.5"], ["--max-iter", "1 or more"]),
    "row text": (["--rows", "1,x"], ["--rows", "such as 0,7,12"]),
    "row empty": (["--rows", ""], ["--rows"]),
    "row below": (["--rows=-1"], ["--rows"]),
    "row above": (["--rows", "3,20"], ["row 20", "20 rows, 0 to 19"]),
    "both": (["--rows", "3", "--n-rows", "2"], ["not allowed with"]),
    "class": (
        ["--target-class", "rosa"],
        ["no class 'rosa'", "the classes are 'setosa', 'vir ginica', 'été'"],
    ),
    "output type": (["--output", "why.txt"], ["why.txt", ".csv or .json"]),
    "output folder": (["--output", "no/such/folder/why.csv"], ["cannot write no/such"]),
    "labels": (["--labels", "y.npy"], ["--labels", "matrices"]),
    "id is target": (["--id", "species"], ["same column 'species'"]),
    "unknown": (["--bogus"], ["--bogus", "--help"]),
    "abbreviated": (["--target-cl", "rosa"], ["--target-cl"]),
}


@pytest.mark.parametrize("name", BAD_USES)
def test_bad_use(tables, capsys, name):
    args, expected = BAD_USES[name]
    fails(capsys, ["explain", *tables[2:], "--target", "species", *args], *expected)


def test_bad_use_of_the_command(tables, tmp_path, capsys):
    fails(capsys, ["bogus"], "bogus", "explain")
    fails(capsys, ["explain"], "TRAIN", "--help")
    fails(capsys, ["--C", "-3"], "--C")
    fails(capsys, ["explain", *tables[2:]], "--target COLUMN")
    fails(capsys, ["explain", tables[2], "x.npz", "--target", "y"], "both be tables or both")
    fails(capsys, ["explain", "x.npz", "x.npz", "--target", "y"], "--target", "--labels FILE.npy")


def test_hostile_names_and_labels_stay_on_their_line(tmp_path, capsys):
    label = "=cmd()\x1b[31m\nTest row 9: \u202e" + "京" * 99
    frame = pd.DataFrame({"x\n\x1b[2J": [0.0, 1, 2, 3], "{y}%s": ["a", "a", label, label]})
    path, output = tmp_path / "hostile.csv", tmp_path / "why.json"
    frame.to_csv(path, index=False)
    out = explain(capsys, path, path, "--target", "{y}%s", "--output", output, "--rows", "3")
    assert all(line.isprintable() for line in out.splitlines())
    assert out.count("\nTest row") == 1
    assert max(map(len, out.splitlines())) < 120
    assert json.loads(output.read_text("utf-8"))[0]["predicted"] == label
    fails(capsys, ["explain", path, path, "--target", "\x1b[2J\n"], r"\x1b", r"'x\n\x1b[2J'")


def test_convergence_warning_is_a_note(tables, capsys):
    args = ["explain", *tables[2:], "--target", "species", "--C", "10", "--max-iter", "1"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert main(args) == 0
    err = capsys.readouterr().err
    assert err.startswith("skattrib: note: ")
    assert err.count("\n") == 1
    assert ConvergenceWarning.__name__ not in err and ".py" not in err
    assert "max_iter" in err


def test_interrupt(capsys, monkeypatch):
    def interrupt(self, X, y):
        raise KeyboardInterrupt

    monkeypatch.setattr(DualViewExplainer, "fit", interrupt)
    assert main([]) == 130
    assert capsys.readouterr().err == "skattrib: interrupted\n"


def test_what_the_explainer_refuses_is_an_error(tables, capsys, monkeypatch):
    def refuse(self, X, y):
        raise ValueError("one line\nand another")

    monkeypatch.setattr(DualViewExplainer, "fit", refuse)
    args = ["explain", *tables[2:], "--target", "species"]
    fails(capsys, args, r"cannot fit: one line\nand another")


def test_a_fit_without_support_is_an_error(tables, capsys, monkeypatch):
    fit = DualViewExplainer.fit

    def fit_nothing(self, X, y):
        fit(self, X, y).support_ = np.array([], dtype=int)

    monkeypatch.setattr(DualViewExplainer, "fit", fit_nothing)
    fails(capsys, ["explain", *tables[2:], "--target", "species"], "scale the features", "--C")


def test_out_of_memory(tables, capsys, monkeypatch):
    def exhaust(self, X, y):
        raise MemoryError("Unable to allocate 9 TiB")

    monkeypatch.setattr(DualViewExplainer, "fit", exhaust)
    args = ["explain", *tables[2:], "--target", "species"]
    fails(capsys, args, "out of memory Unable to allocate 9 TiB")


def test_help_and_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"skattrib {version('skattrib')}\n"
    for args in (["--help"], ["explain", "--help"]):
        assert main(args) == 0
        out = capsys.readouterr().out
        assert "skattrib explain train.csv test.csv --target" in out


def test_verbose_reaches_the_solver(tables, capsys):
    quiet = run_on_table(capsys, tables)
    assert len(run_on_table(capsys, tables, "--verbose")) > len(quiet)


def test_a_narrow_encoding_gets_escapes(tables, monkeypatch, capsys):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    args = ["explain", *tables[2:], "--target", "species", "--target-class", "été"]
    assert main(args) == 0
    assert b"class \\xe9t\\xe9" in raw.getvalue()


def test_module_as_a_process_without_optional_packages_and_with_a_closed_pipe():
    code = (
        "import runpy, sys\n"
        "try: runpy.run_module('skattrib', run_name='__main__')\n"
        "except SystemExit as stop: assert not stop.code, stop.code\n"
        "loaded = {'torch', 'matplotlib'} & set(sys.modules)\n"
        "assert not loaded, loaded\n"
    )
    run = [sys.executable, "-c", code]
    with subprocess.Popen(run, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        err = process.stderr.read()
    assert process.returncode == 0, err
    assert err == b""


def test_python_dash_m_reports_bad_input(tmp_path):
    run = [sys.executable, "-m", "skattrib", "explain", "a.csv", "b.csv", "--target", "y"]
    result = subprocess.run(run, capture_output=True, text=True, cwd=tmp_path)
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr == "skattrib: error: a.csv: no such file\n"
