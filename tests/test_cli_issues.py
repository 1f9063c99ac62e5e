"""skattrib issues: a file of labelled rows in, a list of suspicious labels out."""

import csv
import json

import numpy as np
import pandas as pd
import pytest

from skattrib.__main__ import main
from skattrib.findings import _mixture


@pytest.fixture(autouse=True)
def few_trees(monkeypatch):
    monkeypatch.setattr(_mixture, "N_TREES", 12)


@pytest.fixture
def table(tmp_path, monkeypatch):
    """Rows of three classes with six wrong labels, in train.csv; returns their numbers."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    codes = rng.integers(3, size=150)
    frame = pd.DataFrame(
        {
            "key": [f"=row {i}" for i in range(150)],
            "height": [f"{value:.2f} cm" for value in rng.normal(size=150) + 4 * codes],
            "width": rng.normal(size=150) - 3 * (codes == 1),
            "colour": np.array(["red", "green", None], dtype=object)[codes],
        }
    )
    frame.loc[3, "width"] = np.nan
    wrong = np.sort(rng.choice(150, 6, replace=False))
    codes[wrong] = (codes[wrong] + 1) % 3
    frame["class"] = np.array(["-setosa", "versi color", "été"])[codes]
    frame.to_csv("train.csv", index=False)
    return wrong


def run(capsys, *args):
    code = main(["issues", *args])
    out = capsys.readouterr()
    return code, out.out, out.err


def test_a_table(table, capsys):
    code, out, _ = run(capsys, "train.csv", "--target", "class", "--id", "key", "--output", "i.csv")
    assert code == 0
    with open("i.csv", encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert list(lines[0])[:6] == ["row", "id", "given", "suggested", "score", "contradicted_by_1"]
    found = [int(line["row"]) for line in lines]
    assert len(set(found) & set(table)) >= 5 and len(found) <= 8
    assert [float(line["score"]) for line in lines] == sorted(
        (float(line["score"]) for line in lines), reverse=True
    )
    frame = pd.read_csv("train.csv")
    for line in lines:
        row = frame.loc[int(line["row"])]
        assert line["id"] == "'" + row["key"]  # no formula for a spreadsheet
        assert line["given"].lstrip("'") == row["class"]
        assert line["contradicted_by_1"].startswith("'=row ")
        others = [line[f"contradicted_by_{k}"].lstrip("'") for k in range(1, 6)]
        others = [name for name in others if name]
        labels = frame.set_index("key").loc[others, "class"]
        assert (labels == line["suggested"].lstrip("'")).all()
    assert f"{len(lines)} of 150 labels" in out and "Wrote" in out
    assert "width: number, 1 missing, median" in out
    assert "=row" in out.split("contradicted by")[1]


def test_json_numbers_of_rows_and_how_many(table, capsys):
    args = ("train.csv", "--target", "class", "--drop", "key", "--n-rows", "12")
    code, out, _ = run(capsys, *args, "--output", "i.json", "--verbose")
    assert code == 0 and "nats a label" in out and "... and 2 more" in out
    with open("i.json", encoding="utf-8") as file:
        records = json.load(file)
    assert len(records) == 12
    assert all(record["id"] == record["row"] for record in records)
    assert {record["given"] for record in records} <= {"-setosa", "versi color", "été"}
    assert all(isinstance(name, int) for record in records for name in record["contradicted_by"])
    again = run(capsys, *args)[1]
    assert again.splitlines()[-12:-1] == out.splitlines()[-14:-3]


def test_matrices(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=100)
    X = rng.normal(size=(100, 3)) + 4 * y[:, None]
    y[7] = 1 - y[7]
    np.savez("train.npz", X=X, y=y)
    assert run(capsys, "train.npz", "--output", "a.csv")[0] == 0
    np.save("X.npy", X)
    np.save("y.npy", y)
    assert run(capsys, "X.npy", "--labels", "y.npy", "--output", "b.csv")[0] == 0
    texts = [(tmp_path / name).read_text() for name in ("a.csv", "b.csv")]
    assert texts[0] == texts[1] and texts[0].splitlines()[1].startswith("7,7,")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["train.csv"], "tables need --target COLUMN"),
        (["train.csv", "--target", "clas"], "did you mean 'class'?"),
        (["train.csv", "--target", "class", "--labels", "y.npy"], "--labels is for matrices"),
        (["train.npz", "--target", "class"], "--target and --id are for tables"),
        (["train.csv", "--target", "class", "--output", "train.csv"], "is an input"),
        (["train.csv", "--target", "class", "--output", "i.txt"], "unknown extension"),
        (["train.csv", "--target", "class", "--n-rows", "151"], "but train.csv has 150"),
        (["train.csv", "--target", "class", "--n-rows", "0"], "must be an integer of 1 or more"),
        (["train.csv", "--target", "key"], "ids|class labels"),
        (["absent.csv", "--target", "class"], "no such file"),
        (["train.csv", "--target", "class", "--keep", "absent"], "absent"),
        ([], "TRAIN"),
    ],
)
def test_errors(table, capsys, args, message):
    code, out, err = run(capsys, *args)
    assert code == 2 and out == ""
    assert err.startswith("skattrib: error: ") and err.count("\n") == 1
    assert any(part in err for part in message.split("|"))
