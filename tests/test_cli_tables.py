"""Tables of the command line: read alike from CSV and Parquet, errors with a remedy."""

import json
import sys
import zipfile

import numpy as np
import pytest
from command_line import (
    C,
    assert_same_records,
    expected_of_tables,
    explain,
    fails,
    run_on_table,
    save_tables,
)

from skattrib.__main__ import main


@pytest.fixture
def tables(tmp_path):
    return save_tables(tmp_path)


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
    assert "accuracy on" not in out
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
    "missing target": (
        replace("species", None, None),
        ["'species'", "2 missing values (rows 0, 1,", "drop"],
    ),
    "single class": (lambda f: f.assign(species="one"), ["single class, 'one'", "two or more"]),
    "continuous": (lambda f: f.assign(species=f["age"]), ["continuous", "class labels"]),
    "ids": (lambda f: f.assign(species=f["key"]), ["different in each of 60 rows", "class labels"]),
    "all missing": (lambda f: f.assign(species=None), ["60 missing values", "rows 0, 1, 2"]),
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
    "text": (
        replace("age", 1, "old"),
        ["'age' held numbers in the training rows", "'old' (rows: 1)", "correct or empty"],
    ),
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
    "binary.csv": (bytes(range(256)) * 9, "zero bytes"),
    "two.csv.zip": ("zip", "holds 2 files ('a.csv', 'b.csv')"),
    "repeated.csv": (b"x,species, species\n1,a,a\n", "several columns named 'species'"),
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
    elif content == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a.csv", "")
            archive.writestr("b.csv", "")
    elif content is not None:
        path.write_bytes(content)
    paths = [path, tables[3]] if place == "train" else [tables[2], path]
    fails(capsys, ["explain", *paths, "--target", "species"], name, expected)


@pytest.mark.parametrize("module", ["pandas", "pyarrow", "skrub"])
def test_missing_extra_is_named(tables, capsys, monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)
    args = ["explain", *tables[2:], "--target", "species"]
    fails(capsys, args, module, 'pip install "skattrib[cli]"')


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
