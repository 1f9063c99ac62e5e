"""The documentation site has every public name and page."""

import re
from pathlib import Path

import public_api

DOCS = Path(__file__).parents[1] / "docs"
REFERENCE = "".join(path.read_text(encoding="utf-8") for path in DOCS.glob("api/*.rst"))


def test_the_reference_has_every_public_name():
    names = [name.rpartition(".")[2] for name, _ in public_api.public_names()]
    assert [n for n in names if not re.search(rf"^   (\w+\.)?{n}$", REFERENCE, re.M)] == []


def test_the_guide_leads_to_every_page():
    listed = (DOCS / "guide/index.md").read_text(encoding="utf-8").split()
    pages = {path.stem for path in (DOCS / "guide").glob("*.md")} - {"index"}
    pages |= {f"../concepts/{path.stem}" for path in (DOCS / "concepts").glob("*.md")}
    assert pages - {*listed} == set()


def test_the_home_page_has_five_doors():
    readme = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    home = readme.partition("<!-- end of home -->")[0]
    doors = "tables", "forests", "text", "networks", "label_errors"
    assert [door for door in doors if f"docs/guide/{door}.md" not in home] == []
    assert home.count("![") == 1 and home.count("```python") == 1
    lines = home.partition("```python\n")[2].partition("```")[0].splitlines()
    assert len([line for line in lines if line]) == 10


def test_examples_have_a_title_and_a_name_that_makes_them_run():
    examples = sorted((DOCS / "examples").glob("*.py"))
    assert len(examples) >= 14
    for path in examples:
        assert path.name.startswith("plot_")
        assert re.match(r'"""\n[^\n]+\n=+\n\n', path.read_text(encoding="utf-8")), path.name
