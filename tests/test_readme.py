"""The README's Python examples print what the README says; its table has every explainer."""

import contextlib
import io
import re
from pathlib import Path

import pytest

from skattrib.explainers import EXPLAINERS

README = Path(__file__).parents[1] / "README.md"
EXAMPLES = re.findall(
    r"```python\n(.*?)```\s*```text\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL
)


def test_examples_are_found():
    assert len(EXAMPLES) == 8


@pytest.mark.parametrize("code, expected", EXAMPLES)
def test_example(code, expected):
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, str(README), "exec"), {})
    assert printed.getvalue() == expected


def test_the_readme_has_every_explainer_in_its_table():
    text = README.read_text(encoding="utf-8")
    section = text.partition("\n## Which explainer\n")[2].partition("\n## ")[0]
    table = section.strip().split("\n\n")[0]
    assert all(line.startswith("|") for line in table.splitlines())
    missing = [c.__name__ for c in EXPLAINERS if f"`{c.__name__}`" not in table]
    assert missing == []
