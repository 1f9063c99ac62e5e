"""Examples of the README and the guide print what is below them; the README has every explainer."""

import contextlib
import io
import re
from pathlib import Path

import pytest

from skattrib.explainers import EXPLAINERS

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").rglob("*.md"))]
EXAMPLES = [
    pytest.param(page, *example, id=f"{page.stem}-{number}")
    for page in PAGES
    for number, example in enumerate(
        re.findall(
            r"```python\n(.*?)```\s*```text\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL
        )
    )
]


def test_examples_are_found():
    assert len(EXAMPLES) >= 8


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_python_block_is_an_example(page):
    """Blocks marked `py` need names or packages that are not here; others test them."""
    blocks = page.read_text(encoding="utf-8").count("```python\n")
    assert blocks == sum(example.values[0] == page for example in EXAMPLES)


@pytest.mark.parametrize("page, code, expected", EXAMPLES)
def test_example(page, code, expected):
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, str(page), "exec"), {})
    assert printed.getvalue() == expected


def test_the_readme_has_every_explainer_in_its_table():
    text = README.read_text(encoding="utf-8")
    section = text.partition("\n## Which explainer\n")[2].partition("\n## ")[0]
    table = section.strip().split("\n\n")[0]
    assert all(line.startswith("|") for line in table.splitlines())
    missing = [c.__name__ for c in EXPLAINERS if f"`{c.__name__}`" not in table]
    assert missing == []
