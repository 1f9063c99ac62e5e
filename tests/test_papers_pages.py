"""The papers' pages are what their records say."""

import json
import re
from pathlib import Path

import pytest

pytest.importorskip("torch")

from papers import __main__ as machinery  # noqa: E402
from papers import baseline, dualview, dualxda, representer  # noqa: E402

ROOT = Path(__file__).parents[1]
PAPERS = {
    paper.__name__.split(".")[-1]: paper for paper in (baseline, dualview, dualxda, representer)
}


@pytest.mark.parametrize("name", PAPERS)
def test_tables_of_the_committed_results(name, tmp_path):
    results = machinery.read(ROOT / "benchmarks" / "results" / "papers" / name)
    assert results.keys() <= PAPERS[name].CELLS.keys()
    settings = json.loads(json.dumps(PAPERS[name].SETTINGS))
    assert all(record["settings"] == settings for record in results.values())
    page, published = tmp_path / "page.md", ROOT / "docs" / "papers" / f"{name}.md"
    page.write_text(published.read_text())
    machinery.write_tables(PAPERS[name], results, page)
    assert page.read_text() == published.read_text()
    machinery.write_tables(PAPERS[name], {}, page)
    # all but the table of what differs from the paper
    lines = r"^\| (?:representer|influence) \| (?!last layer).*"
    numbers = re.findall(lines, page.read_text(), re.MULTILINE)
    assert numbers and all("not run" in line for line in numbers)
