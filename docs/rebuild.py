"""Rebuilds all of the documentation from raw results: python docs/rebuild.py [FOLDER].

Tables of the guide and of the papers are written anew from the JSON files of benchmarks/results,
reference and gallery from the package, and the site is checked. It needs the extra `docs`; with
torch and dask their pages are in it. Nothing is fetched.
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def commands(folder):
    """What is run, one after the other."""
    python = sys.executable
    yield [python, "benchmarks/tables.py", "--write"]
    for paper in sorted((ROOT / "docs/papers").glob("*.md")):
        if paper.stem != "index":
            yield [python, "-m", "benchmarks.papers", paper.stem, "--tables"]
    yield [python, "-m", "sphinx", "-q", "-W", "docs", folder]
    yield [python, ".ci/site", folder]


def main(folder="build/site"):
    for command in commands(folder):
        print(*command)
        subprocess.run(command, cwd=ROOT, check=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
