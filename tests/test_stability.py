"""What was released stays: the frozen API, and the versions that files name."""

import re
import tomllib
from pathlib import Path

import public_api
import pytest

import skattrib

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
FROZEN = (ROOT / "docs/api/public_api.txt").read_text(encoding="utf-8").splitlines()
NOW = {line.partition("(")[0]: line for line in public_api.lines()}
OPTIONAL = {"torch_adapters", "distributed"} - {*public_api.PACKAGES}


def test_frozen_names_take_what_they_took():
    found = [line for line in FROZEN if line.split(".")[1] not in OPTIONAL]
    assert len(found) > 200
    wrong = {}
    for line in found:
        name = line.partition("(")[0]
        if reason := "is gone" if name not in NOW else public_api.broken(line, NOW[name]):
            wrong[name] = reason
    assert wrong == {}


@pytest.mark.parametrize(
    "new, reason",
    [
        ("f(a, b=1, *, c=2)", ""),
        ("f(a, b=1, d=None, *, c=2, e=0)", ""),
        ("f(a, b=2, *, c=2)", "defaults"),
        ("f(b=1, *, a, c=2)", "position"),
        ("f(a, b=1, *, d=2)", "no longer"),
        ("f(a, b=1, *, c=2, e)", "needs"),
    ],
)
def test_a_broken_call_is_found(new, reason):
    found = public_api.broken("f(a, b=1, *, c=2)", new)
    assert reason in found and bool(reason) == bool(found)


def test_files_agree_on_the_version():
    version = skattrib.__version__
    cff = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    recipe = (ROOT / "recipe/recipe.yaml").read_text(encoding="utf-8")
    assert re.search(r'^version: "?([^"\n]*)', cff, re.MULTILINE)[1] == version
    assert re.search(r'^  version: "?([^"\n]*)', recipe, re.MULTILINE)[1] == version
    released = re.search(r"^date-released: (\S+)", cff, re.MULTILINE)[1]
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## [{version}] - {released}" in changes


def test_yaml_files_hold_what_their_readers_look_for():
    yaml = pytest.importorskip("yaml")
    cff, recipe = (
        yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))
        for name in ("CITATION.cff", "recipe/recipe.yaml")
    )
    assert {"cff-version", "message", "title", "authors"} <= {*cff}
    assert all({"type", "title", "authors"} <= {*one} for one in cff["references"])
    assert {"context", "package", "source", "build", "requirements", "tests", "about"} <= {*recipe}
    assert recipe["about"]["license"] == PROJECT["license"]
    assert (ROOT / "recipe" / recipe["source"]["path"]).resolve() == ROOT
    needed = {re.split("[ >=]", one)[0]: one.replace(" ", "") for one in PROJECT["dependencies"]}
    runs = {one.split()[0]: one.replace(" ", "") for one in recipe["requirements"]["run"]}
    assert {*runs} == {*needed, "python"}
    assert {name: runs[name] for name in needed} == needed


HINTS = sorted(
    {
        (extra, path.relative_to(ROOT).as_posix())
        for folder, end in (("skattrib", "*.py"), ("docs", "*.md"), (".", "*.md"))
        for path in (ROOT / folder).glob(f"**/{end}" if folder != "." else end)
        for named in re.findall(r"pip install [^\n`]*?\[([\w, ]+)\]", path.read_text("utf-8"))
        for extra in named.split(",")
    }
)


def test_hints_are_found():
    found = {extra for extra, path in HINTS if path.startswith("skattrib/")}
    assert found >= {"cli", "dask", "plots", "report", "torch"}


@pytest.mark.parametrize("extra, path", HINTS)
def test_extras_that_are_named_exist(extra, path):
    assert extra.strip() in PROJECT["optional-dependencies"], path
