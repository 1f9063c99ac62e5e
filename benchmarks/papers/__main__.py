"""Runs what a paper's tables need, one cell at a time, and writes its tables.

    python -m benchmarks.papers PAPER --data DIR [--cells PATTERN]
    python -m benchmarks.papers PAPER --tables

The first runs the cells that have no result yet and keeps each as one JSON file, so that an
interrupted run loses one cell. The second puts the tables into docs/papers/PAPER.md, between
`<!-- table: NAME -->` and `<!-- end -->`; the prose around them stays. `--list` says which cells
there are. DIR holds the data packages; `--fetch` prints the commands that fetch them.
"""

import argparse
import fnmatch
import importlib
import json
import os
import pkgutil
import platform
import re
import resource
import sys
import time
from pathlib import Path

import skattrib

from . import markdown
from .data import ARCHIVES, Data

ROOT = Path(__file__).parents[2]


def machine():
    """The machine in words: cores, instruction set, threads, load. No names of hosts."""
    return {
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "processor": f"{platform.machine()}, {skattrib.instruction_set()}",
        "threads": os.environ.get("OMP_NUM_THREADS", "all"),
        "load": round(os.getloadavg()[0], 1),
    }


def read(folder):
    """The records of a folder by the names of their cells."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}


def run(paper, data, folder, pattern="*"):
    """Runs the cells that match and have no record; yields the name and the record of each.

    A record is written whole or not at all. One made with other settings is refused: it would stand
    in one table with results that it cannot be compared with.
    """
    settings = getattr(paper, "SETTINGS", {})
    folder.mkdir(parents=True, exist_ok=True)
    for name, cell in paper.CELLS.items():
        path = folder / f"{name}.json"
        if not fnmatch.fnmatchcase(name, pattern):
            continue
        if path.exists():
            if json.loads(path.read_text())["settings"] != settings:
                raise ValueError(f"{path} was made with other settings: delete it to run it again")
            continue
        data.say(f"{name} ...")
        about, wall, cpu = machine(), time.perf_counter(), time.process_time()
        values = cell(data)
        record = {
            "values": values,
            "seconds": round(time.perf_counter() - wall, 2),
            "processor_seconds": round(time.process_time() - cpu, 2),
            "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
            "machine": about,
            "skattrib": skattrib.__version__,
            "settings": settings,
        }
        text = json.dumps(record, indent=1, allow_nan=False)
        part = path.with_suffix(".part")
        part.write_text(text + "\n")
        part.replace(path)
        data.say(f"{name}: {record['seconds']} s")
        yield name, record


def cells_table(paper, results):
    """What each cell took, or that it was not run."""
    rows = []
    for name in paper.CELLS:
        record = results.get(name)
        if record is None:
            rows.append([name, None, None, None])
        else:
            about = record["machine"]
            words = f"{about['cores']} cores ({about['processor']}), load {about['load']}"
            rows.append([name, record["seconds"], record["processor_seconds"], words])
    return markdown(["cell", "seconds", "processor seconds", "machine"], rows)


def write_tables(paper, results, page):
    """Puts each table between its marks in the page."""
    tables = paper.tables(results) | {"cells": cells_table(paper, results)}
    text = page.read_text()
    for name, table in tables.items():
        # an empty table has its end on the next line
        marks = re.compile(rf"(<!-- table: {re.escape(name)} -->\n).*?(<!-- end -->)", re.DOTALL)
        text, found = marks.subn(lambda m, table=table: f"{m[1]}{table}\n{m[2]}", text)
        if found != 1:
            raise ValueError(
                f"{page} has {found} places for table {name!r}, not one: "
                f"give it the lines '<!-- table: {name} -->' and '<!-- end -->'"
            )
    page.write_text(text)


def main(arguments=None):
    """The command line."""
    names = [found.name for found in pkgutil.iter_modules([str(Path(__file__).parent)])]
    papers = sorted(name for name in names if name[0] != "_" and name != "data")
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.papers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("paper", nargs="?", choices=papers)
    parser.add_argument("--data", type=Path, metavar="DIR")
    parser.add_argument("--cells", default="*", metavar="PATTERN")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "papers")
    parser.add_argument("--pages", type=Path, default=ROOT / "docs" / "papers")
    parser.add_argument("--tables", action="store_true")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--fetch", action="store_true")
    asked = parser.parse_args(arguments)
    if asked.fetch:
        print(*sorted({archive.command for archive in ARCHIVES.values()}), sep="\n")
        return
    if asked.paper is None:
        parser.error(f"name a paper: {', '.join(papers)}")
    runs = not (asked.list or asked.tables)
    if runs and (asked.data is None or not asked.data.is_dir()):
        given = "" if asked.data is None else f"; {asked.data} is none"
        parser.error(
            f"--data DIR is the folder of the data packages{given}; --fetch says how to fill it"
        )
    try:
        paper = importlib.import_module(f".{asked.paper}", __package__)
    except ModuleNotFoundError as error:
        parser.error(f"{asked.paper} needs {error.name}: pip install torch pandas pillow")
    folder = asked.out / asked.paper
    if asked.list:
        for name in paper.CELLS:
            print(name, "done" if (folder / f"{name}.json").exists() else "not run")
    elif asked.tables:
        write_tables(paper, read(folder), asked.pages / f"{asked.paper}.md")
    else:
        for _ in run(paper, Data(asked.data, asked.paper), folder, asked.cells):
            pass


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
