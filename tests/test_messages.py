"""The page of messages has every warning of the package, and quotes what the package says."""

import ast
import re
from pathlib import Path

import pytest

import skattrib

PACKAGE = Path(skattrib.__file__).parent
PAGE = Path(__file__).parents[1] / "docs/concepts/messages.md"
# warnings whose words are made by a function: the file and the function
MADE_BY = {
    "_cli/tables.py": ("_cli/labels.py", "alike"),
    "findings/label_issues.py": ("findings/label_issues.py", "_warning"),
}
TREES = {
    path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
    for path in sorted(PACKAGE.rglob("*.py"))
}


def words(node):
    """A text with … for each value put into it; None for what is no text."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return re.sub("…+", "…", "".join(words(part) or "…" for part in node.values))
    return None


def texts(tree):
    """Whole texts: the parts of f-strings are none."""
    if (found := words(tree)) is not None:
        return [found]
    return [text for child in ast.iter_child_nodes(tree) for text in texts(child)]


def warned():
    """(file, words) of each warning."""
    for file, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "warnings.warn":
                text = words(node.args[0]) or ""
                if re.search("[a-z]", text):
                    yield file, text
                    continue
                where, name = MADE_BY[file]
                made = next(n for n in ast.walk(TREES[where]) if getattr(n, "name", "") == name)
                yield from ((file, text) for text in texts(made) if len(text) > 40 and "…" in text)


def plain(text):
    return " ".join(text.split()).strip("… ")


QUOTED = [
    plain(block)
    for block in re.findall(r"```text\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
]
WARNED = sorted(set(warned()))


def test_warnings_are_found():
    assert len(WARNED) > 20 and len(QUOTED) > 40


@pytest.mark.parametrize("file, text", WARNED, ids=[f"{f}-{k}" for k, (f, _) in enumerate(WARNED)])
def test_the_page_explains_every_warning(file, text):
    assert any(plain(text) in quote for quote in QUOTED), text


def test_the_page_quotes_what_the_package_says():
    said = {plain(text) for tree in TREES.values() for text in texts(tree)}
    # what is put together of two texts has one of them nearly whole
    unsaid = [
        quote
        for quote in QUOTED
        if not any(quote in text or text in quote and 2 * len(text) > len(quote) for text in said)
    ]
    assert unsaid == []
