"""The command line: its numbers are those of the explainer, its errors one line with a remedy."""

import csv
import io
import json
import os
import subprocess
import sys
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split

from skattrib.__main__ import main
from skattrib.explainers.dual_view import DualViewExplainer
from skattrib.metrics import class_detection_score

C = 0.05
CITIES = ["Łódź", "京都", "Rome"]
SPECIES = ["setosa", "été", "vir ginica"]


def make_table(n, seed, n_classes=3):
    rng = np.random.default_rng(seed)
    codes = rng.integers(n_classes, size=n)
    return pd.DataFrame(
        {
            "key": [f"{i:03d}" for i in rng.permutation(n)],
            "age": rng.normal(size=n) + codes,
            "height": rng.integers(100, 200, size=n) - 20 * codes,
            "city": np.array(CITIES)[(codes + (rng.random(n) < 0.4)) % 3],
            "member": rng.random(n) < 0.5,
            "species": np.array(SPECIES)[codes],
        }
    )


def encode(frame, fitted_on):
    """Standardize and one-hot encode by hand."""
    columns = [
        (frame[name] - fitted_on[name].mean()) / fitted_on[name].std(ddof=0)
        for name in ("age", "height")
    ]
    columns += [frame["city"] == city for city in sorted(set(fitted_on["city"]))]
    columns += [frame["member"] == flag for flag in (False, True)]
    return np.column_stack([np.asarray(column, dtype=float) for column in columns])


@pytest.fixture
def tables(tmp_path):
    """Both tables as frames and in files, with the options that nearly all tests use."""
    train, test = make_table(60, 0), make_table(20, 1)
    paths = tmp_path / "train.csv", tmp_path / "test.csv"
    train.to_csv(paths[0], index=False)
    test.to_csv(paths[1], index=False)
    return train, test, *map(str, paths)


@pytest.fixture
def matrices(tmp_path):
    rng = np.random.default_rng(2)
    y, y_test = rng.integers(3, size=50) + 7, rng.integers(3, size=15) + 7
    X = rng.normal(size=(50, 4)) + y[:, None] * [0.5, 0, -0.5, 0.2]
    X_test = rng.normal(size=(15, 4)) + y_test[:, None] * [0.5, 0, -0.5, 0.2]
    return X, y, X_test, y_test


def explain(capsys, *args):
    """Run ``skattrib explain`` and return what it prints."""
    code = main(["explain", *map(str, args)])
    out, err = capsys.readouterr()
    assert code == 0, err
    return out


def run_on_table(capsys, tables, *args):
    return explain(capsys, *tables[2:], "--target", "species", "--id", "key", "--C", C, *args)


def expected_records(explainer, X, ids, y_train, train_ids, target=None, top=5):
    """Explanations by sorting the full attribution matrix."""
    predicted = explainer.predict(X)
    targets = predicted if target is None else np.full_like(predicted, target)
    T = explainer.attribute(X, targets).toarray()
    records = []
    for j, row in enumerate(T):
        entries = {}
        for kind, order in {"proponents": np.argsort(-row), "opponents": np.argsort(row)}.items():
            chosen = [i for i in order[:top] if (row[i] > 0 if kind[0] == "p" else row[i] < 0)]
            entries[kind] = [
                {"rank": k, "train_id": train_ids[i], "train_label": y_train[i], "value": row[i]}
                for k, i in enumerate(chosen, start=1)
            ]
        head = {"test_id": ids[j], "predicted": predicted[j], "target_class": targets[j]}
        records.append({**head, "decision_value": row.sum(), **entries})
    return records


def assert_same_records(found, expected, rtol):
    assert len(found) == len(expected)
    for record, wanted in zip(found, expected, strict=True):
        assert list(record) == list(wanted)
        for key in ("test_id", "predicted", "target_class"):
            assert record[key] == wanted[key]
        assert record["decision_value"] == pytest.approx(wanted["decision_value"], rel=rtol)
        for kind in ("proponents", "opponents"):
            assert [[e["rank"], e["train_id"], e["train_label"]] for e in record[kind]] == [
                [e["rank"], e["train_id"], e["train_label"]] for e in wanted[kind]
            ]
            values = [e["value"] for e in wanted[kind]]
            assert [e["value"] for e in record[kind]] == pytest.approx(values, rel=rtol)


def expected_of_tables(train, test, **options):
    explainer = DualViewExplainer(C=C, random_state=0).fit(encode(train, train), train["species"])
    return expected_records(
        explainer,
        encode(test, train),
        list(test["key"]),
        list(train["species"]),
        list(train["key"]),
        **options,
    )


# what comes out


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
    assert "values sum to it" in out

    wrong = np.flatnonzero(predicted != y_test)
    first = wrong[0]
    heading = f"Test row {test_ids[first]}: predicted {predicted[first]}, "
    assert heading + f"but labelled {y_test[first]}" in out
    assert out.count("but labelled") == min(4, len(wrong))
    values = explainer.attribute(X_test[[first]]).toarray()[0]
    block = out[out.index(heading) :].splitlines()
    output = explainer.decision_function(X_test)[first].max()
    assert block[1] == f"decision value of class {predicted[first]}: {output:+#.4g}"
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


def test_csv_is_the_json_in_long_format(tables, tmp_path, capsys):
    run_on_table(capsys, tables, "--output", tmp_path / "why.json")
    run_on_table(capsys, tables, "--output", tmp_path / "why.csv")
    expected = [
        [r["test_id"], r["predicted"], r["target_class"], r["decision_value"]]
        + [e["rank"], kind[:-1], e["train_id"], e["train_label"], e["value"]]
        for r in json.loads((tmp_path / "why.json").read_text("utf-8"))
        for kind in ("proponents", "opponents")
        for e in r[kind]
    ]
    with open(tmp_path / "why.csv", encoding="utf-8", newline="") as file:
        header, *lines = csv.reader(file)
    assert header == [
        *("test_id", "predicted", "target_class", "decision_value"),
        *("rank", "kind", "train_id", "train_label", "value"),
    ]
    assert lines == [[str(cell) for cell in line] for line in expected]


def test_all_training_rows_sum_to_the_decision_value(tables, tmp_path, capsys):
    output = tmp_path / "why.json"
    run_on_table(capsys, tables, "--output", output, "--top", 10**6)
    for record in json.loads(output.read_text("utf-8")):
        raised = [entry["value"] for entry in record["proponents"]]
        lowered = [entry["value"] for entry in record["opponents"]]
        assert min(raised) > 0 > max(lowered)
        assert raised == sorted(raised, reverse=True)
        assert lowered == sorted(lowered)
        assert sum(raised) + sum(lowered) == pytest.approx(record["decision_value"], abs=1e-12)


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


def test_parquet_and_csv_give_the_same_answer(tables, tmp_path, capsys):
    train, test = tables[:2]
    train = train.astype({"city": "category", "height": "Int64", "member": "boolean"})
    train.set_index("key").to_parquet(tmp_path / "train.parquet")
    test.to_parquet(tmp_path / "test.PARQUET")
    paths = str(tmp_path / "train.parquet"), str(tmp_path / "test.PARQUET")
    for name, files in {"csv": tables, "parquet": (train, test, *paths)}.items():
        run_on_table(capsys, files, "--output", tmp_path / f"{name}.json")
    assert (tmp_path / "csv.json").read_bytes() == (tmp_path / "parquet.json").read_bytes()


def test_columns_of_lists_are_one_hot_encoded_too(tables, tmp_path, capsys):
    paths = tmp_path / "train.parquet", tmp_path / "test.parquet"
    for frame, path in zip(tables[:2], paths, strict=True):
        frame.assign(city=[[city] for city in frame["city"]]).to_parquet(path)
    output = tmp_path / "why.json"
    run_on_table(capsys, (*tables[:2], *paths), "--output", output)
    records = json.loads(output.read_text("utf-8"))
    assert_same_records(records, expected_of_tables(*tables[:2]), rtol=1e-6)


@pytest.mark.parametrize("how", ["absent", "empty"])
def test_test_table_without_labels(tables, tmp_path, capsys, how):
    output, path = tmp_path / "why.json", tmp_path / "unlabelled.csv"
    test = tables[1].drop(columns="species")
    test["extra"] = "ignored"
    if how == "empty":
        test["species"] = None
    test.iloc[:, ::-1].to_csv(path, index=False)
    out = run_on_table(capsys, (*tables[:3], path), "--output", output)
    assert "accuracy" not in out
    assert out.count("Test key") == 5
    records = json.loads(output.read_text("utf-8"))
    assert_same_records(records, expected_of_tables(*tables[:2]), rtol=1e-6)


def test_rows_go_by_number_without_an_id_column(tables, tmp_path, capsys):
    train, test = (frame.drop(columns="key") for frame in tables[:2])
    train.to_csv(tables[2], index=False)
    test.to_csv(tables[3], index=False)
    output = tmp_path / "why.json"
    explain(capsys, *tables[2:], "--target", "species", "--C", C, "--output", output)
    expected = expected_of_tables(train.assign(key=np.arange(60)), test.assign(key=np.arange(20)))
    assert_same_records(json.loads(output.read_text("utf-8")), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("texts", "labels"),
    [
        (["01", "1", "2"], ["01", "1", "2"]),
        (["1", "2", "10"], [1, 2, 10]),
        (["1.0", "2.0"], [1.0, 2.0]),
        (["True", "False"], [True, False]),
        (["a", "7"], ["a", "7"]),
    ],
)
def test_labels_are_reported_as_in_the_file(tmp_path, capsys, texts, labels):
    lines = [f"{k % len(texts) + k / 100},{texts[k % len(texts)]}" for k in range(24)]
    path, output = tmp_path / "train.csv", tmp_path / "why.json"
    path.write_text("\n".join(["x,y", *lines]))
    explain(capsys, path, path, "--target", "y", "--top", 99, "--output", output)
    records = json.loads(output.read_text())
    found = {entry["train_label"] for record in records for entry in record["proponents"]}
    assert {(type(label), label) for label in found} <= {(type(e), e) for e in labels}
    assert len(found) >= 2


def test_default_C_is_one_over_the_mean_square(tables, capsys):
    out = explain(capsys, *tables[2:], "--target", "species", "--id", "key")
    train = tables[0]
    lines = [line.split() for line in out.splitlines()]
    assert ["C", f"{1 / (encode(train, train) ** 2).sum(1).mean():.4g}"] in lines
    assert ["C", "*", "mean||x||^2", "1"] in lines


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


# matrices


def save(folder, form, X, y, X_test, y_test):
    """Save matrices in one form; return the arguments that name them."""
    if form == "npz":
        np.savez(folder / "train.npz", X=X, y=y)
        np.savez_compressed(folder / "test.npz", X=X_test, y=y_test)
        return [folder / "train.npz", folder / "test.npz"]
    np.save(folder / "y.npy", y[:, None])
    np.save(folder / "y_test.npy", y_test)
    options = ["--labels", folder / "y.npy", "--test-labels", folder / "y_test.npy"]
    if form == "npy":
        np.save(folder / "train.npy", np.asfortranarray(X))
        np.save(folder / "test.npy", X_test)
        return [folder / "train.npy", folder / "test.npy", *options]
    sparse.save_npz(folder / "train.npz", getattr(sparse, form)(X))
    sparse.save_npz(folder / "test.npz", getattr(sparse, form)(X_test))
    return [folder / "train.npz", folder / "test.npz", *options]


@pytest.mark.parametrize("form", ["npz", "npy", "csr_array", "csc_matrix", "coo_array"])
def test_matrices_of_every_form(matrices, tmp_path, capsys, form):
    X, y, X_test, y_test = matrices
    X, X_test = (np.where(np.abs(part) < 0.3, 0, part) for part in (X, X_test))
    output = tmp_path / "why.json"
    args = save(tmp_path, form, X, y, X_test, y_test)
    out = explain(capsys, *args, "--C", C, "--output", output)
    explainer = DualViewExplainer(C=C, random_state=0).fit(X, y)
    expected = expected_records(explainer, X_test, range(15), y, range(50))
    assert_same_records(json.loads(output.read_text()), expected, rtol=1e-6)
    accuracy = np.mean(explainer.predict(X_test) == y_test)
    assert f"accuracy on 15 test rows: {accuracy:.3f}" in out


@pytest.mark.parametrize(
    ("dtype", "fitted"),
    [
        ("f2", "f4"),
        ("f4", "f4"),
        (">f4", "f4"),
        ("f8", "f8"),
        (">f8", "f8"),
        ("i1", "f4"),
        ("u2", "f4"),
        ("i4", "f8"),
        ("i8", "f8"),
        ("?", "f4"),
    ],
)
@pytest.mark.parametrize("form", ["npz", "npy"])
def test_matrices_of_every_type(matrices, tmp_path, capsys, monkeypatch, form, dtype, fitted):
    X, y, X_test, y_test = matrices
    X = np.abs(X.round()).astype(dtype)
    seen = []
    fit = DualViewExplainer.fit
    monkeypatch.setattr(
        DualViewExplainer, "fit", lambda self, X, y: fit(self, seen.append(X) or X, y)
    )
    args = save(tmp_path, form, X, y, np.abs(X_test.round()), y_test)
    explain(capsys, *args, "--C", C)
    assert seen[0].dtype == np.dtype(fitted)
    np.testing.assert_array_equal(seen[0], X)


def test_npy_is_fitted_from_the_memory_map(matrices, tmp_path, capsys, monkeypatch):
    X, y, X_test, y_test = matrices
    seen = []
    fit = DualViewExplainer.fit
    monkeypatch.setattr(
        DualViewExplainer, "fit", lambda self, X, y: fit(self, seen.append(X) or X, y)
    )
    args = save(tmp_path, "npy", X, y, X_test, y_test)
    np.save(tmp_path / "train.npy", X)
    explain(capsys, *args)
    assert isinstance(seen[0], np.memmap)


def test_sums_of_repeated_sparse_entries_do_not_overflow(tmp_path, capsys, monkeypatch):
    entries = np.array([100, 100, 1, 2, 3], dtype=np.int8), ([0, 0, 1, 2, 3], [0, 0, 0, 1, 1])
    np.save(tmp_path / "y.npy", ["a", "a", "b", "b"])
    path = tmp_path / "X.npz"
    sparse.save_npz(path, sparse.coo_array(entries, shape=(4, 2)))
    seen = []
    fit = DualViewExplainer.fit
    monkeypatch.setattr(
        DualViewExplainer, "fit", lambda self, X, y: fit(self, seen.append(X) or X, y)
    )
    explain(capsys, path, path, "--labels", tmp_path / "y.npy")
    assert seen[0].toarray().tolist() == [[200, 0], [1, 0], [0, 2], [0, 3]]


@pytest.mark.parametrize("form", ["npz", "csr_array"])
def test_matrices_are_standardized_on_demand_only(matrices, tmp_path, capsys, form):
    X, y, X_test, y_test = matrices
    output = tmp_path / "why.json"
    args = save(tmp_path, form, X, y, X_test, y_test)
    explain(capsys, *args, "--C", C, "--output", output, "--standardize")
    mean = X.mean(0) if form == "npz" else 0
    explainer = DualViewExplainer(C=C, random_state=0).fit((X - mean) / X.std(0), y)
    expected = expected_records(explainer, (X_test - mean) / X.std(0), range(15), y, range(50))
    assert_same_records(json.loads(output.read_text()), expected, rtol=1e-6)


@pytest.mark.parametrize("form", ["csr_array", "npz"])
def test_a_sparse_and_a_dense_matrix_go_together(matrices, tmp_path, capsys, form):
    X, y, X_test, y_test = matrices
    args = save(tmp_path, form, X, y, X_test, y_test)
    outs = [explain(capsys, *args, "--standardize")]
    if form == "npz":
        sparse.save_npz(args[1], sparse.csr_array(X_test))
        np.save(tmp_path / "y_test.npy", y_test)
        args += ["--test-labels", tmp_path / "y_test.npy"]
    else:
        np.savez(args[1], X=X_test)
    outs.append(explain(capsys, *args, "--standardize"))
    blocks = [out[out.index("Test row") :] for out in outs]
    assert blocks[0] == blocks[1]


def test_labels_of_matrices_may_be_bytes(matrices, tmp_path, capsys):
    X, y, X_test, _ = matrices
    np.savez(tmp_path / "train.npz", X=X, y=np.char.encode(np.array(SPECIES)[y - 7], "utf-8"))
    np.savez(tmp_path / "test.npz", X=X_test)
    out = explain(capsys, tmp_path / "train.npz", tmp_path / "test.npz", "--target-class", "été")
    assert "decision value of class été" in out


# what goes wrong


def fails(capsys, args, *expected):
    """Check for exit code 2 and one line on stderr that says all that is expected."""
    code = main([str(arg) for arg in args])
    out, err = capsys.readouterr()
    assert code == 2
    assert out == ""
    assert err.startswith("skattrib: error: ")
    assert err.count("\n") == 1 and err.endswith("\n")
    assert "Traceback" not in err
    for text in expected:
        assert text in err


def drop(name):
    return lambda frame: frame.drop(columns=name)


def replace(name, *values):
    """Replace the first values of a column."""

    def change(frame):
        column = frame[name].astype(object)
        column.iloc[: len(values)] = values
        return frame.assign(**{name: column})

    return change


BAD_TRAIN_TABLES = {
    "no target": (drop("species"), ["no column 'species'", "'age', 'height'"]),
    "close target": (
        lambda frame: frame.rename(columns={"species": "Species"}),
        ["no column 'species'", "did you mean 'Species'?"],
    ),
    "missing target": (replace("species", None, None), ["'species'", "2 missing values", "drop"]),
    "single class": (lambda f: f.assign(species="one"), ["single class, 'one'", "two or more"]),
    "continuous": (lambda f: f.assign(species=f["age"]), ["continuous", "class labels"]),
    "ids": (lambda f: f.assign(species=f["key"]), ["different in each of 60 rows", "class labels"]),
    "missing": (
        lambda f: replace("age", None, None)(replace("city", None)(f)),
        ["missing values in 'age' (2), 'city' (1)", "fill them in, or drop"],
    ),
    "infinite": (replace("age", np.inf, -np.inf), ["'age'", "2 values that are infinite", "drop"]),
    "huge": (replace("age", 1e200), ["'age'", "1 values", "beyond"]),
    "no rows": (lambda frame: frame.iloc[:0], ["is empty", "no rows"]),
    "no features": (lambda frame: frame[["species", "key"]], ["no columns to learn from"]),
    "no id": (drop("key"), ["no column 'key'"]),
    "missing id": (replace("key", None), ["'key'", "1 missing values"]),
}


@pytest.mark.parametrize("form", ["csv", "parquet"])
@pytest.mark.parametrize("name", BAD_TRAIN_TABLES)
def test_bad_train_table(tables, tmp_path, capsys, name, form):
    change, expected = BAD_TRAIN_TABLES[name]
    path = tmp_path / f"bad.{form}"
    frame = change(tables[0])
    frame.to_csv(path, index=False) if form == "csv" else frame.to_parquet(path)
    args = ["explain", path, tables[3], "--target", "species", "--id", "key"]
    fails(capsys, args, "bad.", *expected)


BAD_TEST_TABLES = {
    "columns": (drop(["age", "city"]), ["lacks columns", "'age', 'city'"]),
    "missing": (replace("height", None), ["missing values in 'height' (1)", "fill them in"]),
    "text": (
        replace("age", 1, "old"),
        ["'age' holds numbers", "but text in", "'old'", "make them alike"],
    ),
    "flags": (replace("member", "yes"), ["'member' holds true/false", "but text in"]),
    "some labels": (replace("species", None), ["'species'", "1 missing values"]),
    "infinite": (replace("age", np.inf), ["'age'", "infinite"]),
    "no rows": (lambda frame: frame.iloc[:0], ["is empty"]),
}


@pytest.mark.parametrize("name", BAD_TEST_TABLES)
def test_bad_test_table(tables, tmp_path, capsys, name):
    change, expected = BAD_TEST_TABLES[name]
    change(tables[1]).to_csv(tmp_path / "bad.csv", index=False)
    args = ["explain", tables[2], tmp_path / "bad.csv", "--target", "species"]
    fails(capsys, args, "bad.csv", *expected)


def test_dates_are_refused(tables, tmp_path, capsys):
    path = tmp_path / "dates.parquet"
    tables[0].assign(born=pd.Timestamp("2020-01-01")).to_parquet(path)
    fails(capsys, ["explain", path, path, "--target", "species"], "dates in 'born'", "drop")


def test_text_that_looks_like_numbers_in_the_test_table_stays_text(tables, tmp_path, capsys):
    train, test = tables[:2]
    train = train.assign(city=train["city"].replace("Rome", "012"))
    train.to_csv(tables[2], index=False)
    for name, city in (("test", "012"), ("unknown", "12")):
        test.assign(city=city).to_csv(tmp_path / f"{name}.csv", index=False)
        args = [tables[2], tmp_path / f"{name}.csv", "--target", "species", "--id", "key"]
        explain(capsys, *args, "--C", C, "--output", tmp_path / f"{name}.json")
    expected = expected_of_tables(train, test.assign(city="012"))
    records = json.loads((tmp_path / "test.json").read_text("utf-8"))
    assert_same_records(records, expected, rtol=1e-6)
    expected = expected_of_tables(train, test.assign(city="a city of its own"))
    records = json.loads((tmp_path / "unknown.json").read_text("utf-8"))
    assert_same_records(records, expected, rtol=1e-6)


BAD_FILES = {
    "absent.csv": (None, "no such file"),
    "folder.csv": ("directory", "is a directory"),
    "empty.csv": (b"", "is empty"),
    "latin.csv": ("species,x\nété,1\n".encode("latin1"), "save it as UTF-8"),
    "ragged.csv": (b"species,x\na,1\nb,2,3\n", "cannot be read"),
    "wide.csv": (b"species,x\na,1,7\nb,2,3\n", "cannot be read"),
    "junk.parquet": (b"PAR1 and then nothing", "cannot be read"),
    "empty.parquet": (b"", "is empty"),
    "data.xlsx": (b"PK", "unknown extension; expected one of .csv"),
    "noextension": (b"species\n", "unknown extension"),
}


@pytest.mark.parametrize("name", BAD_FILES)
@pytest.mark.parametrize("place", ["train", "test"])
def test_bad_table_file(tables, tmp_path, capsys, name, place):
    content, expected = BAD_FILES[name]
    path = tmp_path / name
    if content == "directory":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    paths = [path, tables[3]] if place == "train" else [tables[2], path]
    fails(capsys, ["explain", *paths, "--target", "species"], name, expected)


class Evil:
    def __reduce__(self):
        return os._exit, (77,)


def bad_matrices(folder):
    """Write bad files; return for each the arguments and what the message must say."""
    X, y = np.arange(20.0).reshape(10, 2), np.arange(10) % 2
    nan = X.copy()
    nan[3, 1], nan[4, 0] = np.nan, np.inf
    np.savez(folder / "good.npz", X=X, y=y)
    cases = {
        "no X": ({"Z": X, "y": y}, ["no array named X", "'Z', 'y'"]),
        "no y": ({"X": X}, ["no labels", "--labels FILE.npy"]),
        "objects": ({"X": np.array([[Evil()]]), "y": y}, ["pickled", "never loaded"]),
        "object labels": ({"X": X, "y": y.astype(object)}, ["pickled", "y.astype(str)"]),
        "one axis": ({"X": X[0], "y": y}, ["shape (2,)", "(rows, features)"]),
        "no rows": ({"X": X[:0], "y": y[:0]}, ["is empty"]),
        "texts": ({"X": X.astype(str), "y": y}, ["must be numbers"]),
        "complex": ({"X": X * 1j, "y": y}, ["must be numbers"]),
        "nan": ({"X": nan, "y": y}, ["2 values that are not finite", "drop"]),
        "too large": ({"X": X * 1e200, "y": y}, ["too large", "scale"]),
        "half": ({"X": np.full((10, 2), np.inf, dtype=np.float16), "y": y}, ["not finite"]),
        "short y": ({"X": X, "y": y[1:]}, ["shape (9,)", "10 rows"]),
        "wide y": ({"X": X, "y": X}, ["shape (10, 2)", "expected (10,)"]),
        "nan y": ({"X": X, "y": nan[:, 1]}, ["1 missing values"]),
        "real y": ({"X": X, "y": y + 0.5}, ["continuous", "class labels"]),
        "one class": ({"X": X, "y": y * 0}, ["single class, '0'"]),
        "damaged y": ({"X": X, "y": np.full(10, 2**31).astype("u4").view("U1")}, ["damaged"]),
        "dates y": ({"X": X, "y": y.astype("M8[D]")}, ["expected numbers or strings"]),
    }
    for number, (name, (arrays, expected)) in enumerate(cases.items()):
        path = folder / f"bad{number}.npz"
        np.savez(path, **arrays)
        yield name, [path, folder / "good.npz"], expected

    good = folder / "good.npz"
    np.savez(folder / "width.npz", X=X[:, :1])
    yield "width", [good, folder / "width.npz"], ["has 1 columns", "has 2"]
    np.savez(folder / "test_y.npz", X=X, y=y[:4])
    yield "test y", [good, folder / "test_y.npz"], ["test_y.npz", "shape (4,)"]
    (folder / "junk.npz").write_bytes(b"PK\3\4junk")
    yield "junk npz", [folder / "junk.npz", good], ["cannot be read"]
    (folder / "cut.npz").write_bytes(good.read_bytes()[:-40])
    yield "cut npz", [folder / "cut.npz", good], ["cannot be read"]
    np.save(folder / "objects.npy", np.array([[Evil()]]))
    yield "npy objects", [folder / "objects.npy", good], ["pickled"]
    (folder / "junk.npy").write_bytes(b"\x80\x04junk")
    yield "junk npy", [folder / "junk.npy", good], ["cannot be read"]
    np.save(folder / "X.npy", X)
    (folder / "cut.npy").write_bytes((folder / "X.npy").read_bytes()[:-40])
    yield "cut npy", [folder / "cut.npy", good], ["cannot be read"]
    (folder / "archive.npy").write_bytes(good.read_bytes())
    yield "archive", [folder / "archive.npy", good], ["name it .npz"]
    (folder / "array.npz").write_bytes((folder / "X.npy").read_bytes())
    yield "array", [folder / "array.npz", good], ["cannot be read"]
    yield "npy without labels", [folder / "X.npy", good], ["--labels FILE.npy"]
    yield "labels csv", [folder / "X.npy", good, "--labels", "y.csv"], ["y.csv", ".npy"]
    yield "no labels file", [folder / "X.npy", good, "--labels", "no.npy"], ["no such file"]
    matrix = sparse.csr_array(X)
    matrix.indices[3] = 10**6
    sparse.save_npz(folder / "sparse.npz", matrix)
    yield "sparse", [folder / "sparse.npz", good, "--labels", "y.npy"], ["cannot be read"]
    standardize = ["--standardize"]
    yield "huge", [folder / "bad9.npz", good, *standardize], ["beyond 1e+150", "drop"]


def test_bad_matrices(tmp_path, capsys):
    n_cases = 0
    for name, args, expected in bad_matrices(tmp_path):
        try:
            fails(capsys, ["explain", *args], *expected)
        except AssertionError as error:
            raise AssertionError(name) from error
        n_cases += 1
    assert n_cases == 32


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
        ["no class 'rosa'", "the classes are setosa, vir ginica, été"],
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


def test_output_that_cannot_be_written(tables, tmp_path, capsys):
    (tmp_path / "folder.csv").mkdir()
    args = ["explain", *tables[2:], "--target", "species", "--output"]
    fails(capsys, [*args, tmp_path / "folder.csv"], "cannot write")
    before = Path(tables[3]).read_bytes()
    fails(capsys, [*args, tables[3]], "is an input", "another --output")
    assert Path(tables[3]).read_bytes() == before


def test_output_that_fails_late(tables, tmp_path, capsys, monkeypatch):
    (tmp_path / "full.csv").symlink_to("/dev/full")
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    args = ["explain", *tables[2:], "--target", "species", "--output", str(tmp_path / "full.csv")]
    assert main(args) == 2
    assert "cannot write" in capsys.readouterr().err


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


@pytest.mark.parametrize("module", ["pandas", "pyarrow"])
def test_missing_extra_is_named(tables, capsys, monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)
    args = ["explain", *tables[2:], "--target", "species"]
    fails(capsys, args, module, 'pip install "skattrib[cli]"')


def test_matrices_need_no_extra(tmp_path, capsys, matrices, monkeypatch):
    # scikit-learn looks at sys.modules["pandas"] itself, so that None there would break it
    monkeypatch.setattr("skattrib._cli.tables._import_pandas", None)
    assert "accuracy" in explain(capsys, *save(tmp_path, "npz", *matrices))


def test_a_nameless_column_is_left_out_with_a_note(tables, capsys):
    run_on_table(capsys, tables)
    plain = run_on_table(capsys, tables, "--rows", "0")
    for frame, path in zip(tables[:2], tables[2:], strict=True):
        frame.to_csv(path)
    args = ["explain", *tables[2:], "--target", "species", "--id", "key", "--C", str(C)]
    assert main([*args, "--rows", "0"]) == 0
    out, err = capsys.readouterr()
    assert err.count("skattrib: note:") == 2
    assert "'Unnamed: 0'" in err
    block = slice(out.index("Test key"), None)
    assert out[block] == plain[plain.index("Test key") :]


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
