"""What the documents name exists."""

import re
from pathlib import Path

import pytest

import skattrib

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted(
    path.relative_to(ROOT).as_posix() for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
)
# where a path in backticks may start; names in capitals stand for what a reader fills in
ROOTS = ("", "skattrib/", "csrc/")
PLACE = re.compile(r"`([\w./*-]+(?:\.(?:py|pyx|c|h|inc|md|cff|toml|yml)|/))`")


def read(document):
    return (ROOT / document).read_text(encoding="utf-8")


def exists(place):
    return any(next(ROOT.glob(root + place.rstrip("/")), None) for root in ROOTS)


def test_documents_are_found():
    assert {"README.md", "CONTRIBUTING.md", "docs/design.md", "docs/mathematics.md"} <= {*DOCUMENTS}
    assert len(PLACE.findall(read("docs/mathematics.md"))) > 10
    assert exists("explainers/_base.py") and not exists("explainers/none.py")


@pytest.mark.parametrize("document", DOCUMENTS)
def test_paths_in_documents_exist(document):
    named = {place for place in PLACE.findall(read(document)) if "NAME" not in place}
    assert {place for place in named if not exists(place)} == set()


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_in_documents_lead_somewhere(document):
    targets = re.findall(r"\]\(([^)#:]+)\)", read(document))
    folder = (ROOT / document).parent
    assert [target for target in targets if not (folder / target).exists()] == []


def test_the_design_has_every_room():
    text, package = read("docs/design.md"), Path(skattrib.__file__).parent
    rooms = [path.name + "/" for path in package.iterdir() if (path / "__init__.py").exists()]
    modules = [path.name for path in package.glob("*.py")]
    assert [name for name in rooms + modules if f"\n  {name}" not in text] == []


def test_the_changelog_has_the_version():
    assert f"## [{skattrib.__version__}]" in read("CHANGELOG.md")
