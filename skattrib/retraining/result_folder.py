"""Results kept in a folder, under a hash of what decides them."""

import contextlib
import functools
import inspect
import json
import os
import re
import sys
import time
import uuid
from importlib.metadata import version
from numbers import Integral
from pathlib import Path
from types import FunctionType

import joblib
import numpy as np
import scipy
import sklearn
from sklearn.frozen import FrozenEstimator

# names of files while they are written, and the seconds after which nobody is at it any more
TEMPORARY = re.compile(r"\..+\.[0-9a-f]{32}")
ABANDONED = 24 * 3600


class ResultFolder:
    """Arrays in a folder, one file each, all made under one key.

    Parameters
    ----------
    path : path-like or None
        None keeps nothing.
    key : dict
        JSON values that decide the results. A folder made under another key is refused.
    """

    suffix = ".npy"
    # of the arrays; None: any
    shape = None

    def __init__(self, path, key):
        self.path = None if path is None else Path(path)
        if path is None:
            return
        self.path.mkdir(parents=True, exist_ok=True)
        self._sweep()
        manifest = self.path / "key.json"
        key = json.loads(json.dumps(key))
        if manifest.exists():
            self._compare(self._read_key(manifest), key)
        elif any(self.path.glob(f"*{self.suffix}")):
            raise ValueError(
                f"{self.path} holds {self.suffix} files but no key.json; use an empty folder."
            )
        else:
            text = json.dumps(key, indent=1).encode()
            self._write(manifest, lambda file: file.write(text))

    def _sweep(self):
        """Removes what killed runs left half written, but nothing that may still be written to."""
        for file in self.path.glob(".*"):
            if TEMPORARY.fullmatch(file.name) and time.time() - file.stat().st_mtime > ABANDONED:
                file.unlink(missing_ok=True)

    def _read_key(self, manifest):
        try:
            key = json.loads(manifest.read_text())
        except ValueError as error:
            key = error
        if not isinstance(key, dict):
            raise ValueError(
                f"{manifest} is damaged, so that nothing says what the results beside it are of; "
                "use another folder, or delete this one."
            )
        return key

    def _compare(self, old, new):
        changed = [
            f"{name} ({old.get(name)!r} then, {new.get(name)!r} now)"
            for name in sorted(old.keys() | new.keys())
            if old.get(name) != new.get(name)
        ]
        if changed:
            raise ValueError(
                f"the results in {self.path} are of another run, with other {', '.join(changed)}; "
                "use another folder, or delete this one."
            )

    def load(self, name):
        """What is kept under a name, or None."""
        file = None if self.path is None else self.path / f"{name}{self.suffix}"
        if file is None or not file.exists():
            return None
        try:
            value = self._read(file)
        except MemoryError:
            raise
        except Exception as error:  # unpickling raises anything
            raise ValueError(
                f"{file} cannot be read ({type(error).__name__}: {error}); delete it, and it is "
                "made again."
            ) from error
        problem = self._problem(value)
        if problem:
            raise ValueError(f"{file} {problem}; delete it, and it is made again.")
        return value

    def save(self, name, value):
        """Keep a value; a reader sees all of it or nothing."""
        if self.path is not None:
            write = functools.partial(self._dump, value)
            self._write(self.path / f"{name}{self.suffix}", write)

    def _read(self, file):
        return np.load(file, allow_pickle=False)

    def _problem(self, value):
        """What is wrong with a value that was read, or None."""
        if not isinstance(value, np.ndarray) or value.dtype != np.float64:
            return "holds no array of float64"
        if self.shape is not None and value.shape != self.shape:
            return f"holds an array of shape {value.shape} instead of {self.shape}"
        return None if np.isfinite(value).all() else "holds values that are not finite"

    def _dump(self, value, file):
        np.save(file, value, allow_pickle=False)

    def _write(self, target, write):
        temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
        try:
            with open(temporary, "wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)


class ModelFolder(ResultFolder):
    """Fitted models instead of arrays: to load them is to unpickle, which can run any code."""

    suffix = ".joblib"

    def _read(self, file):
        return joblib.load(file)

    def _problem(self, value):
        return None if hasattr(value, "predict") else "holds no model"

    def _dump(self, value, file):
        joblib.dump(value, file)


def key_of(random_state, **settings):
    """The key of a folder: what was asked for, the seed, and what computes the results."""
    if not isinstance(random_state, Integral) or isinstance(random_state, bool):
        raise ValueError(
            "a folder of results needs an integer random_state; otherwise another call would "
            "draw other seeds."
        )
    return {**settings, "random_state": int(random_state), "versions": versions()}


def versions():
    """Of what computes the results."""
    found = {module.__name__: module.__version__ for module in (np, scipy, sklearn)}
    return {**found, "skattrib": version("skattrib")}


def digest(value):
    """A hash of data, parameters, an estimator (not of what it has learned) or a function."""
    return joblib.hash(_describe(value), coerce_mmap=True)


def _describe(value):
    if isinstance(value, (list, tuple)):
        return [type(value).__name__, *map(_describe, value)]
    if isinstance(value, dict):
        return ["dict", *sorted((repr(k), _describe(v)) for k, v in value.items())]
    if isinstance(value, functools.partial):
        return ["partial", _describe([value.func, value.args, value.keywords])]
    if isinstance(value, FunctionType):
        return _describe_function(value)
    if hasattr(value, "get_params") and not isinstance(value, type):
        named = _describe_class(type(value))
        if isinstance(value, FrozenEstimator):
            return [named, joblib.hash(value.estimator)]
        params = value.get_params(deep=False)
        params.pop("random_state", None)  # replaced by derived seeds
        return [named, _describe(params)]
    try:
        return joblib.hash(value, coerce_mmap=True)
    except Exception as error:
        raise ValueError(
            f"{value!r} cannot be hashed, so that results could not be told from stale ones; "
            "leave folder out, or use something that can be pickled."
        ) from error


def _describe_class(kind):
    library = sys.modules.get(kind.__module__.partition(".")[0])
    version = getattr(library, "__version__", None)
    if version is None:
        # somebody's own class; in an interactive session there is no source
        with contextlib.suppress(OSError, TypeError):
            version = inspect.getsource(kind)
    return [kind.__module__, kind.__qualname__, version]


def _describe_function(function):
    # its name alone would not tell a function from an edited one
    try:
        source = inspect.getsource(function)
    except (OSError, TypeError) as error:
        raise ValueError(
            f"the source of {function.__qualname__} cannot be read, so that results could not be "
            "told from stale ones; leave folder out, or define it in a file."
        ) from error
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    defaults = [function.__defaults__, function.__kwdefaults__, cells]
    return [function.__module__, function.__qualname__, source, _describe(defaults)]
