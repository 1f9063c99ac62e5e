"""What the documents name exists."""

import re
from pathlib import Path

import pytest
import tables

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


# links of the README hold wherever it is read
PLACES = (
    "https://github.com/skattrib/skattrib/blob/main/",
    "https://raw.githubusercontent.com/skattrib/skattrib/main/",
)


def links(document):
    """(file or folder, anchor) of each link within the repository, and the other links."""
    inside, outside = [], []
    text = re.sub(r"```.*?```", "", read(document), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        place = next((place for place in PLACES if link.startswith(place)), None)
        target, _, anchor = link.removeprefix(place or "").partition("#")
        if place or not re.match(r"\w+:", link):
            folder = ROOT if place else (ROOT / document).parent
            inside.append((folder / target if target else ROOT / document, anchor))
        else:
            outside.append(link)
    return inside, outside


def anchors(path):
    """Those of the headings, as GitHub and MyST make them."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", text).strip().lower().replace(" ", "-") for text in headings}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_in_documents_lead_somewhere(document):
    inside, outside = links(document)
    assert [str(path) for path, _ in inside if not path.exists()] == []
    assert [anchor for path, anchor in inside if anchor and anchor not in anchors(path)] == []
    assert [
        link for link in outside if not re.fullmatch(r"https://[\w.-]+\.\w+(/\S*)?", link)
    ] == []


def test_the_readme_has_links_that_hold_where_it_is_not_among_its_files():
    links_of_readme = re.findall(r"\]\(([^)\s]+)\)", read("README.md"))
    assert [link for link in links_of_readme if not link.startswith("https://")] == []
    assert len(links("README.md")[0]) > 20
    assert len(read("README.md").splitlines()) < 250


def test_tables_of_the_guide_are_those_of_the_results():
    made, missing = tables.make_tables()
    assert missing == []
    places = []
    for page in sorted((ROOT / "docs/guide").glob("*.md")):
        text = page.read_text(encoding="utf-8")
        places += [name for name in made if f"<!-- table: {name} -->" in text]
        assert tables.with_tables(text, made) == text, page.name
    assert sorted(places) == sorted(made)


def test_the_design_has_every_room():
    text, package = read("docs/design.md"), Path(skattrib.__file__).parent
    rooms = [path.name + "/" for path in package.iterdir() if (path / "__init__.py").exists()]
    modules = [path.name for path in package.glob("*.py")]
    assert [name for name in rooms + modules if f"\n  {name}" not in text] == []


def test_the_changelog_has_the_version():
    assert f"## [{skattrib.__version__}]" in read("CHANGELOG.md")
