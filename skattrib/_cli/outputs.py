"""Output files: never an input, never half written, no cell that a spreadsheet would run."""

import csv
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

from .inputs import InputError

FORMULA = re.compile("[=+@\t\r\n\uff1d\uff0b\uff0d\uff20-]")  # how a formula may begin
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def check_outputs(
    outputs: Iterable[tuple[str, str | None, tuple[str, ...]]], inputs: Iterable[str | None]
) -> None:
    """Refuse outputs that would fail after the work is done, or destroy an input or each other.

    Parameters
    ----------
    outputs : iterable of (option, path, extensions)
        Paths of options that were not given are None.
    inputs : iterable of paths

    Raises
    ------
    InputError
    """
    taken = [(path, "an input") for path in inputs if path is not None]
    for option, path, extensions in outputs:
        if path is None:
            continue
        if not path.lower().endswith(extensions):
            expected = " or ".join(extensions)
            raise InputError(f"{path} has an unknown extension; expected an output in {expected}")
        target = os.path.realpath(path)
        folder = os.path.dirname(target)
        if os.path.isdir(target) or not os.path.isdir(folder):
            raise InputError(f"cannot write {path}: it or its folder is not there to be written")
        places = [target] if os.path.exists(target) else []
        if not places or os.path.isfile(target):
            places.append(folder)  # for the file that takes its place
        if not all(os.access(place, os.W_OK) for place in places):
            raise InputError(f"cannot write {path}: permission denied")
        for other, what in taken:
            if _is_same_file(path, other):
                raise InputError(f"{path} is {what}; choose another {option}")
        taken.append((path, f"the file of {option}"))


def _is_same_file(a, b):
    """Whether two paths, links of either sort included, lead to one file."""
    if os.path.exists(a) and os.path.exists(b):
        return os.path.samefile(a, b)
    return os.path.realpath(a) == os.path.realpath(b)


@contextmanager
def replacing(path: str) -> Iterator[TextIO]:
    """Open a text file that takes the place of `path` when all of it is on disk, or never.

    A symbolic link stays one: its target is replaced. Permissions stay too.

    Raises
    ------
    InputError
        If the file cannot be written; what was there before is still there.
    """
    target = os.path.realpath(path)
    exists = os.path.exists(target)
    draft = os.path.join(os.path.dirname(target), f".skattrib-{secrets.token_hex(8)}.tmp")
    try:
        if exists and not os.path.isfile(target):  # a device or a pipe
            with _open(target, "w") as file:
                yield file
            return
        try:
            with _open(draft, "x") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            if exists:
                shutil.copymode(target, draft)
            os.replace(draft, target)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(draft)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error


def _open(path, mode):
    return open(path, mode, encoding="utf-8", errors="backslashreplace", newline="")


def write_records(records: Iterable[dict], path: str) -> None:
    """Write records of explained rows as they come, in long CSV format or as a JSON list."""
    with replacing(path) as file:
        if path.lower().endswith(".json"):
            _write_json(records, file)
        else:
            _write_csv(records, file)


def _write_json(records, file):
    for number, record in enumerate(records):
        file.write("[\n" if number == 0 else ",\n")
        file.write(json.dumps(record, ensure_ascii=False))
    file.write("\n]\n")


def _write_csv(records, file):
    head = ["test_id", "predicted", "target_class", "decision_value", "base_value"]
    entry = ["train_id", "train_label", "value"]
    writer = csv.writer(file)
    writer.writerow([*head, "rank", "kind", *entry])
    for record in records:
        start = [inert(record[key]) for key in head]
        for kind in ("proponent", "opponent"):
            for row in record[f"{kind}s"]:
                writer.writerow([*start, row["rank"], kind, *(inert(row[key]) for key in entry)])


def inert(value: object) -> object:
    """Return the value of a CSV cell, with an apostrophe before a text that is a formula."""
    is_formula = isinstance(value, str) and FORMULA.match(value) and not NUMBER.fullmatch(value)
    return f"'{value}" if is_formula else value
