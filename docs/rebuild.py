"""Rebuilds all of the documentation from raw results: python docs/rebuild.py [FOLDER].

Tables of the guide and of the papers are written anew from the JSON files of benchmarks/results,
reference and gallery from the package, and the site is checked. It needs the extra `docs`; with
torch and dask their pages are in it, and without torch the papers' tables stay as they are. Nothing
is fetched.
"""

import importlib.util
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def commands(folder):
    """What is run, one after the other."""
    python = sys.executable
    yield [python, "benchmarks/tables.py", "--write"]
    has_torch = importlib.util.find_spec("torch") is not None
    if not has_torch:
        print("no torch: the papers' tables stay as they are", file=sys.stderr)
    for paper in sorted((ROOT / "docs/papers").glob("*.md")):
        if has_torch and paper.stem != "index":
            yield [python, "-m", "benchmarks.papers", paper.stem, "--tables"]
    yield [python, "-m", "sphinx", "-q", "-W", "docs", folder]
    yield [python, ".ci/site", folder]


def main(folder="build/site"):
    for command in commands(folder):
        print(*command)
        subprocess.run(command, cwd=ROOT, check=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
