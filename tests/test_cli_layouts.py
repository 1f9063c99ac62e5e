"""Text files of the command line as people have them: layouts, labels, decisions on columns."""

import bz2
import gzip
import json
import zipfile

import numpy as np
import pandas as pd
import pytest
from command_line import explain, fails

from skattrib.__main__ import main
from skattrib._cli.delimited import find_layout
from skattrib._cli.reading import Reading

ROWS = [
    (k, f"{k % 7}.{k % 10}", "tall tree" if k % 2 else "fox", "é" if k % 3 else "b")
    for k in range(24)
]
PLAIN = "n,x,z,y\n" + "".join(f"{n},{x},{z},{y}\n" for n, x, z, y in ROWS)


def answers(capsys, path, *options, target="y", test=None):
    """Return the records of an explanation of a file by itself."""
    output = path.parent / f"{path.name}.json"
    args = [path, test or path, "--target", target, "--output", output, *options]
    explain(capsys, *args)
    return json.loads(output.read_text("utf-8"))


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The records of the plain table."""
    path = tmp_path_factory.mktemp("plain") / "plain.csv"
    path.write_text(PLAIN, encoding="utf-8")
    output = path.with_suffix(".json")
    assert main(["explain", str(path), str(path), "--target", "y", "--output", str(output)]) == 0
    return json.loads(output.read_text("utf-8"))


def table(sep=",", decimal=".", header=True, blank=""):
    lines = [("n", "x", "z", "y")] * header + ROWS
    quote = '"' if sep == " " else ""
    return "".join(
        sep.join(
            (blank if k else "")
            + (f"{quote}{cell}{quote}" if k == 2 else str(cell).replace(".", decimal))
            for k, cell in enumerate(line)
        )
        + "\n"
        for line in lines
    )


def packed(pack):
    return lambda: pack(PLAIN.encode())


def zipped(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("inside.csv", PLAIN)


LAYOUTS = {
    "semicolons.csv": lambda: table(";", ",").encode(),
    "tab.tsv": lambda: table("\t").encode(),
    "pipe.txt": lambda: table("|").encode(),
    "blanks.data": lambda: table(" ").encode(),
    "initial_blanks.csv": lambda: table(blank=" ").encode(),
    "comments.csv": lambda: b"# by X\n# on Y\n\n" + PLAIN.encode(),
    "title.csv": lambda: b"Export of the table\n" + table(";", ",").encode(),
    "commented_header.csv": lambda: b"#" + PLAIN.encode(),
    "utf16.csv": lambda: PLAIN.encode("utf-16"),
    "utf16le.csv": lambda: PLAIN.encode("utf-16-le"),
    "bom.csv": lambda: PLAIN.encode("utf-8-sig"),
    "latin.csv": lambda: PLAIN.encode("latin-1"),
    "mac.csv": lambda: PLAIN.replace("\n", "\r").encode(),
    "table.csv.gz": packed(gzip.compress),
    "table.tab.bz2": packed(bz2.compress),
    "table.csv.zip": zipped,
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts_are_found_out(name, tmp_path, capsys, plain):
    path = tmp_path / name
    if name.endswith("zip"):
        zipped(path)
    else:
        path.write_bytes(LAYOUTS[name]())
    assert answers(capsys, path) == plain


def test_decimal_commas_are_no_separators(tmp_path):
    path = tmp_path / "table.txt"
    path.write_text("x;z\n" + "".join(f"{k},5;{k % 3},25\n" for k in range(9)))
    layout = find_layout(str(path), Reading())
    assert (layout.sep, layout.decimal, layout.names) == (";", ",", ["x", "z"])


OPTIONS = {
    "sep": (table(";"), ["--sep", ";"], "y"),
    "named tab": (table("\t"), ["--sep", "tab"], "y"),
    "decimal": (table(";", ","), ["--decimal", ","], "y"),
    "encoding": (table().encode("cp1252"), ["--encoding", "cp1252"], "y"),
    "no header": (table(header=False), ["--no-header"], "x3"),
    "keep": (PLAIN, ["--keep", "n,x", "--keep", "z"], "y"),
    "drop": (
        PLAIN.replace("n,", "w,n,", 1).replace("\n", "\n5,")[: -len("5,")],
        ["--drop", "w"],
        "y",
    ),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_options_of_layouts(name, tmp_path, capsys, plain):
    content, options, target = OPTIONS[name]
    path = tmp_path / "table.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert answers(capsys, path, *options, target=target) == plain


def test_columns_of_one_name(tmp_path, capsys, plain):
    (tmp_path / "plain.csv").write_text(PLAIN, encoding="utf-8")
    path, lines = tmp_path / "twice.csv", PLAIN.splitlines()
    same = [f"{line.split(',')[0]},{line}" for line in lines]
    path.write_text("\n".join(same), encoding="utf-8")
    assert answers(capsys, path) == plain
    other = [f"{k},{line}" if k else f"n,{line}" for k, line in enumerate(lines)]
    path.write_text("\n".join(other), encoding="utf-8")
    args = ["explain", path, path, "--target", "y"]
    fails(capsys, args, "several columns named 'n'", "leave them out with --drop")
    wanted = answers(capsys, tmp_path / "plain.csv", "--drop", "n")
    assert answers(capsys, path, "--drop", "n") == wanted
    # the label would be one of the features
    path.write_text("\n".join(f"{line},{line.split(',')[-1]}" for line in lines), encoding="utf-8")
    fails(capsys, args, "several columns named 'y'; rename all but one")


BAD = {
    "headless": (table(header=False), [], ["no column 'y'", "looks like data: --no-header"]),
    "single column": (PLAIN.replace(",", "~"), [], ["no column 'y'", "--sep"]),
    "wrong sep": (PLAIN, ["--sep", ";"], ["single column when split by --sep ';'"]),
    "long sep": (PLAIN, ["--sep", ";;"], ["--sep ';;' must be a single character"]),
    "encoding": (PLAIN, ["--encoding", "utf-99"], ["--encoding 'utf-99' is unknown"]),
    "wrong encoding": (PLAIN, ["--encoding", "ascii"], ["not text of that --encoding"]),
    "drop": (PLAIN, ["--drop", "weight"], ["no column 'weight'", "'n', 'x', 'z'"]),
    "drop all": (PLAIN, ["--drop", "n,x,z"], ["no columns to learn from", "--drop and --keep"]),
    "class": (PLAIN, ["--target-class", "c"], ["no class 'c'", "the classes are 'b', 'é'"]),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_layouts_name_the_remedy(name, tmp_path, capsys):
    content, options, expected = BAD[name]
    path = tmp_path / "table.csv"
    path.write_text(content, encoding="utf-8")
    fails(capsys, ["explain", path, path, "--target", "y", *options], *expected)


def run_labels(tmp_path, capsys, train, test, *options):
    """Explain a table with labels by one with others; return the records, stdout and stderr."""
    for name, labels in (("train", train), ("test", test)):
        lines = [f"{k % len(train) + k / 99},{labels[k % len(labels)]}" for k in range(24)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["x,y", *lines]), encoding="utf-8")
    paths = [str(tmp_path / f"{name}.csv") for name in ("train", "test")]
    output = tmp_path / "why.json"
    code = main(["explain", *paths, "--target", "y", "--output", str(output), *options])
    out, err = capsys.readouterr()
    assert code == 0, err
    return json.loads(output.read_text("utf-8")), out, err


@pytest.mark.parametrize(
    ("train", "test"),
    [
        (["1", "0"], ["1.0", "0.0"]),
        (["1.0", "0.0"], ["1", "0"]),
        (["True", "False"], ["true", "false"]),
        (["1.5", "2.5"], ["1.5", "2.5"]),
        (["None", "brick"], ["None", "brick"]),
        (["NA", "null", "nan"], ["NA", "null", "nan"]),
        (["true", "maybe"], ["True", "maybe"]),
        (["yes", "no"], ["yes ", " no"]),
    ],
)
def test_labels_compare_as_they_read(tmp_path, capsys, train, test):
    options = ["--force"] if "." in train[0] else []
    records, out, err = run_labels(tmp_path, capsys, train, test, *options)
    assert "lack" not in err
    plain = run_labels(tmp_path, capsys, train, train, *options)[1]
    accuracy = next(line for line in plain.splitlines() if "accuracy on" in line)
    assert accuracy in out and "0.000" not in accuracy
    assert len({str(record["predicted"]) for record in records}) > 1


def test_one_number_is_one_class(tmp_path, capsys):
    out = run_labels(tmp_path, capsys, ["1.0", "1", "0"], ["1"])[1]
    assert next(line.split() for line in out.splitlines() if "classes" in line)[-1] == "2"


def test_labels_that_train_lacks_are_named(tmp_path, capsys):
    _, _, err = run_labels(tmp_path, capsys, ["yes", "no"], ["yes", "no.", "No"])
    assert "16 rows have labels that the training rows lack: 'No' (8), 'no.' (8)" in err
    assert "the classes are 'no', 'yes'" in err and "make the labels alike" in err


def test_measurements_are_no_classes_unless_forced(tmp_path, capsys):
    path = tmp_path / "prices.csv"
    lines = [f"{k},{k * k % 89}" for k in range(200)]
    path.write_text("\n".join(["x,price", *lines]))
    args = ["explain", path, path, "--target", "price"]
    fails(capsys, args, "45 different numbers in 200 rows", "as a measurement has", "--force")
    assert main([str(arg) for arg in [*args, "--force", "--rows", "0"]]) == 0


def said(capsys, folder, train, test=None, *options):
    """Explain a frame by another; return what is said of columns."""
    for name, frame in (("train", train), ("test", train if test is None else test)):
        frame.to_csv(folder / f"{name}.csv", index=False)
    paths = [folder / f"{name}.csv" for name in ("train", "test")]
    out = explain(capsys, *paths, "--target", "y", "--rows", "0", *options)
    return out[out.index("columns:") :].split("\n\n")[0].splitlines()[1:]


def test_what_was_decided_is_printed(tmp_path, capsys):
    train = pd.DataFrame(
        {
            "age": [str(k % 13) if k else "?" for k in range(40)],
            "name": [f"person {k}" for k in range(40)],
            "born": pd.date_range("2001-01-01", periods=40).strftime("%d.%m.%Y"),
            "city": np.array(["u", "v"])[np.arange(40) // 2 % 2],
            "same": "w",
            "y": np.array(["a", "b"])[np.arange(40) % 2],
        }
    )
    lines = said(capsys, tmp_path, train, train.assign(city=["w", *["u"] * 39]))
    assert lines == [
        "1 category, one-hot in 2 columns: city",
        "age: number, 1 missing, median",
        "name: text, 40 distinct of 40, encoded in 30 columns (drop with --drop name)",
        "born: date (%d.%m.%Y), encoded in 4 columns",
        "same: left out, constant",
        "in TEST: city: 2.5% of the rows have a category that the training rows lack, such as 'w'",
    ]
    lines = said(capsys, tmp_path, train, None, "--missing", "indicator")
    assert lines[1] == "age: number, 1 missing, median and an indicator"
    fails(
        capsys,
        ["explain", *[tmp_path / "train.csv"] * 2, "--target", "y", "--missing", "refuse"],
        "missing values in 'age' (1)",
    )


def test_dates_of_csv_and_parquet_are_encoded_alike(tmp_path, capsys):
    times = pd.date_range("2001-01-01", periods=24, freq="31h")
    frame = pd.DataFrame({"born": times, "y": np.array(["a", "b"])[np.arange(24) // 12]})
    frame.to_parquet(tmp_path / "table.parquet")
    frame.to_csv(tmp_path / "table.csv", index=False)
    assert answers(capsys, tmp_path / "table.parquet") == answers(capsys, tmp_path / "table.csv")


def test_lists_of_numbers_are_numbers(tmp_path, capsys):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(30, 3)), np.array(["a", "b", "c"])[np.arange(30) % 3]
    pd.DataFrame({"v": list(X), "y": y}).to_parquet(tmp_path / "lists.parquet")
    pd.DataFrame(X, columns=["v0", "v1", "v2"]).assign(y=y).to_csv(tmp_path / "plain.csv")
    found = answers(capsys, tmp_path / "lists.parquet")
    assert found == answers(capsys, tmp_path / "plain.csv", "--drop", "Unnamed: 0")


def test_options_of_tables_are_not_for_matrices(tmp_path, capsys):
    np.savez(tmp_path / "rows.npz", X=np.eye(6), y=np.arange(6) % 2)
    args = ["explain", *[tmp_path / "rows.npz"] * 2, "--drop", "x0"]
    fails(capsys, args, "such as --drop, are not for matrices")
