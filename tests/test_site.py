"""The documentation site has every public name and page."""

import importlib
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
REFERENCE = "".join(path.read_text(encoding="utf-8") for path in DOCS.glob("api/*.rst"))
MODULES = [
    "skattrib",
    *(
        f"skattrib.{m}"
        for m in ("findings", "metrics", "plots", "planting", "preprocessing", "retraining")
    ),
]


@pytest.mark.parametrize("module", MODULES)
def test_the_reference_has_every_public_name(module):
    names = importlib.import_module(module).__all__
    assert [n for n in names if not re.search(rf"^   (\w+\.)?{n}$", REFERENCE, re.M)] == []


def test_the_guide_leads_to_every_page():
    listed = (DOCS / "guide/index.md").read_text(encoding="utf-8").split()
    pages = {path.stem for path in (DOCS / "guide").glob("*.md")} - {"index"}
    assert pages - {*listed} == set()


def test_examples_have_a_title_and_a_name_that_makes_them_run():
    examples = sorted((DOCS / "examples").glob("*.py"))
    assert len(examples) >= 9
    for path in examples:
        assert path.name.startswith("plot_")
        assert re.match(r'"""\n[^\n]+\n=+\n\n', path.read_text(encoding="utf-8")), path.name
