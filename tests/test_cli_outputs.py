"""Outputs of the command line: whole or not at all, never an input, nothing that runs."""

import csv
import errno
import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from command_line import fails, run_on_table, save_tables

from skattrib.__main__ import main
from skattrib._cli import outputs

needs_links = pytest.mark.skipif(os.name == "nt", reason="links and modes of POSIX")


@pytest.fixture
def tables(tmp_path):
    return save_tables(tmp_path)


def test_output_that_cannot_be_written(tables, tmp_path, capsys):
    (tmp_path / "folder.csv").mkdir()
    args = ["explain", *tables[2:], "--target", "species", "--output"]
    fails(capsys, [*args, tmp_path / "folder.csv"], "cannot write")
    before = Path(tables[3]).read_bytes()
    fails(capsys, [*args, tables[3]], "is an input", "another --output")
    assert Path(tables[3]).read_bytes() == before


@needs_links
def test_a_pipe_is_written_to(tmp_path):
    path = tmp_path / "why.csv"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with outputs.replacing(str(path)) as file:
        file.write("all of it")
    assert os.read(reader, 100) == b"all of it"
    os.close(reader)
    assert path.is_fifo() and list(tmp_path.iterdir()) == [path]


def test_csv_is_the_json_in_long_format(tables, tmp_path, capsys):
    run_on_table(capsys, tables, "--output", tmp_path / "why.json")
    run_on_table(capsys, tables, "--output", tmp_path / "why.csv")
    expected = [
        [r["test_id"], r["predicted"], r["target_class"], r["decision_value"], r["base_value"]]
        + [e["rank"], kind[:-1], e["train_id"], e["train_label"], e["value"]]
        for r in json.loads((tmp_path / "why.json").read_text("utf-8"))
        for kind in ("proponents", "opponents")
        for e in r[kind]
    ]
    with open(tmp_path / "why.csv", encoding="utf-8", newline="") as file:
        header, *lines = csv.reader(file)
    assert header == [
        *("test_id", "predicted", "target_class", "decision_value", "base_value"),
        *("rank", "kind", "train_id", "train_label", "value"),
    ]
    assert lines == [[str(cell) for cell in line] for line in expected]


def ask(tables, *options):
    return ["explain", *tables[2:], "--target", "species", "--C", "0.05", *map(str, options)]


def link_to(source, way, folder, monkeypatch):
    """Return another name of a file, ending in .csv."""
    if way == "relative path":
        monkeypatch.chdir(folder)
        return os.path.join("..", folder.name, source.name)
    (folder / "links").mkdir()
    link = folder / "links" / "why.csv"
    if way == "symbolic link":
        link.symlink_to(source)
    elif way == "hard link":
        os.link(source, link)
    else:
        (folder / "links" / "here").symlink_to(folder, target_is_directory=True)
        return folder / "links" / "here" / source.name
    return link


WAYS = ["relative path", "symbolic link", "hard link", "link to its folder"]


@needs_links
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("place", [2, 3])
def test_an_input_by_another_name_is_no_output(way, place, tables, tmp_path, capsys, monkeypatch):
    source = Path(tables[place])
    before = source.read_bytes()
    output = link_to(source, way, tmp_path, monkeypatch)
    fails(capsys, ask(tables, "--output", output), f"{output} is an input", "another --output")
    assert source.read_bytes() == before


@needs_links
@pytest.mark.parametrize("way", WAYS[1:3])
@pytest.mark.parametrize("option", ["--labels", "--test-labels"])
def test_labels_by_another_name_are_no_output(option, way, tmp_path, capsys, monkeypatch):
    np.savez(tmp_path / "rows.npz", X=np.eye(6), y=np.arange(6) % 2)
    np.save(tmp_path / "y.npy", np.arange(6) % 2)
    output = link_to(tmp_path / "y.npy", way, tmp_path, monkeypatch)
    args = ["explain", *[tmp_path / "rows.npz"] * 2, option, tmp_path / "y.npy"]
    fails(capsys, [*args, "--output", output], "is an input")


@needs_links
@pytest.mark.parametrize("exists", [True, False])
def test_output_and_report_are_two_files(exists, tables, tmp_path, capsys):
    report = tmp_path / "report.html"
    if exists:
        report.write_text("old")
    (tmp_path / "why.csv").symlink_to(report)
    args = ask(tables, "--output", tmp_path / "why.csv", "--report", report)
    fails(capsys, args, "is the file of --output", "another --report")
    assert report.exists() == exists


class FullDisk(io.TextIOWrapper):
    """A file with room for 200 characters."""

    n_written = 0

    def write(self, text):
        self.n_written += len(text)
        if self.n_written > 200:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(text)


def full_open(path, mode, **options):
    return FullDisk(io.BufferedWriter(io.FileIO(path, mode)), **options)


def no_fsync(fd):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("moment", ["write", "fsync"])
@pytest.mark.parametrize("name", ["why.csv", "why.json", "report.html"])
@pytest.mark.parametrize("exists", [True, False])
def test_a_full_disk_leaves_what_was_there(
    exists, name, moment, tables, tmp_path, capsys, monkeypatch
):
    path = tmp_path / name
    if exists:
        path.write_text("old")
    before = sorted(tmp_path.iterdir())
    if moment == "write":
        monkeypatch.setattr(outputs, "open", full_open, raising=False)
    else:
        monkeypatch.setattr(os, "fsync", no_fsync)
    option = "--report" if name == "report.html" else "--output"
    assert main(ask(tables, option, path)) == 2
    err = capsys.readouterr().err
    assert f"cannot write {path}: {os.strerror(errno.ENOSPC)}" in err and err.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before
    assert not exists or path.read_text() == "old"


@pytest.mark.parametrize("exists", [True, False])
def test_an_interrupt_leaves_what_was_there(exists, tmp_path):
    path = tmp_path / "why.csv"
    if exists:
        path.write_text("old")
    before = list(tmp_path.iterdir())
    with pytest.raises(KeyboardInterrupt), outputs.replacing(str(path)) as file:
        file.write("half of the ")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == before
    assert not exists or path.read_text() == "old"


@needs_links
def test_links_and_permissions_stay(tmp_path):
    (tmp_path / "plain").touch()
    usual = (tmp_path / "plain").stat().st_mode
    kept, link, new = tmp_path / "kept.csv", tmp_path / "link.csv", tmp_path / "new.csv"
    kept.write_text("old")
    kept.chmod(0o640)
    link.symlink_to(kept)
    for path in (link, new):
        with outputs.replacing(str(path)) as file:
            file.write("new")
    assert link.is_symlink() and kept.read_text() == new.read_text() == "new"
    assert kept.stat().st_mode & 0o777 == 0o640
    assert new.stat().st_mode == usual
    dangling = tmp_path / "dangling.csv"
    dangling.symlink_to(tmp_path / "later.csv")
    with outputs.replacing(str(dangling)) as file:
        file.write("new")
    assert dangling.is_symlink() and (tmp_path / "later.csv").read_text() == "new"


@pytest.mark.parametrize("denied", ["why.csv", "."])
def test_what_may_not_be_written_is_refused_at_once(denied, tables, tmp_path, capsys, monkeypatch):
    (tmp_path / "why.csv").touch()
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path / denied)
    args = ask(tables, "--output", tmp_path / "why.csv")
    fails(capsys, args, "why.csv: permission denied")


@pytest.mark.parametrize("text", ["=1+1", "+x", "-x", "@x", "\tx", "\rx", "\nx", "-", "-1+cmd()"])
def test_formulas_get_an_apostrophe(text):
    assert outputs.inert(text) == f"'{text}"


@pytest.mark.parametrize("value", ["a=1", "-5", "+1", "-2.5e-3", "", "'x", -5, -2.5, True, None])
def test_other_cells_stay(value):
    assert outputs.inert(value) is value


def test_no_cell_of_the_csv_is_a_formula(tables, tmp_path, capsys):
    for frame, path in zip(tables[:2], tables[2:], strict=True):
        labels = frame["species"].map({"setosa": "=a", "été": "-1", "vir ginica": "@b"})
        frame.assign(key="=HYPERLINK(" + frame["key"] + ")", species=labels).to_csv(
            path, index=False
        )
    for name in ("why.csv", "why.json"):
        assert main(ask(tables, "--id", "key", "--output", tmp_path / name)) == 0
    with open(tmp_path / "why.csv", encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert {line["test_id"] for line in lines} == set("'=HYPERLINK(" + tables[1]["key"] + ")")
    assert all(line["train_id"].startswith("'=HYPERLINK(") for line in lines)
    for column in ("predicted", "target_class", "train_label"):
        assert {line[column] for line in lines} == {"'=a", "-1", "'@b"}
    assert min(float(line["value"]) for line in lines) < 0
    records = json.loads((tmp_path / "why.json").read_text("utf-8"))
    assert {record["predicted"] for record in records} == {"=a", "-1", "@b"}


class Impatient(io.StringIO):
    """A reader that has had enough at once, such as ``head -0``."""

    def write(self, text):
        raise BrokenPipeError


def test_files_are_written_before_anything_is_printed(tables, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.stdout", Impatient())
    monkeypatch.setattr(os, "dup2", lambda *descriptors: None)
    output, report = tmp_path / "why.csv", tmp_path / "report.html"
    assert main(ask(tables, "--output", output, "--report", report)) == 0
    assert output.read_text("utf-8") and report.read_text("utf-8").endswith("</html>")
