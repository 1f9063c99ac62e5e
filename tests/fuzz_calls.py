"""Hostile calls over the public API: a right answer, ValueError or TypeError, and nothing else.

    python tests/fuzz_calls.py --calls 100000 --jobs 2 --seed 0

Every call starts from arguments that are right and has one to three of them replaced. A crash, a
call of more than ten seconds, another exception, a RuntimeWarning, a broken sparse matrix that
SciPy's compiled code is given, or a result that is not finite is a fault, named with its seed:

    python tests/fuzz_calls.py --only 4711
"""

import argparse
import contextlib
import faulthandler
import io
import os
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import joblib
import numpy as np
import scipy.sparse as sp
from fuzz_arguments import draw
from sparse_guard import guarded

from skattrib.explainers import BaseExplainer

LONGEST = 10  # seconds of one call
CHUNK = 2000  # calls of one process


def judge(result, call):
    """What is wrong with a result of a call, or None."""
    if call.startswith("plant_shortcut"):
        return None  # a copy of X, which may have missing values
    if isinstance(result, BaseExplainer):
        parts = {k: v for k, v in vars(result).items() if k.endswith("_") and k[0] != "_"}
    elif isinstance(result, dict):
        parts = result
    elif hasattr(result, "__dict__") and not isinstance(result, np.ndarray):
        parts = {} if sp.issparse(result) else vars(result)
        result = result.data if sp.issparse(result) else None
    else:
        parts = {}
    for name, value in [("result", result), *parts.items()]:
        for part in value if isinstance(value, (tuple, list)) else [value]:
            if not isinstance(part, (float, np.ndarray)) or np.asarray(part).dtype.kind != "f":
                continue
            if name == "newton_step_" and np.isnan(part):
                continue  # where H is not solved
            if np.isnan(part).any() or (
                np.isposinf(part).any() and not may_be_infinite(name, call)
            ):
                return f"{name} is not finite"
    return None


def may_be_infinite(name, call):
    """Where no count of rows is enough, and errors and slopes relative to nearly nothing."""
    return name in ("support", "slope") or call.startswith("completeness_error")


def _raise_ours(message, category, *_):
    """In the place of `showwarning`: raises what skattrib has NumPy warn of."""
    frame = sys._getframe(1)
    while frame and any(f"/{name}" in frame.f_code.co_filename for name in ("numpy/", "warnings")):
        frame = frame.f_back
    if frame and "/skattrib/" in frame.f_code.co_filename:
        raise category(message)


def fault_of(seed):
    """(words, outcome, fault or None) of the call of a seed."""
    name, function, arguments = draw(seed)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            warnings.simplefilter("always", RuntimeWarning)
            warnings.showwarning = _raise_ours
            # worker processes take seconds to start
            with joblib.parallel_config("threading"):
                result = function(**arguments)
        wrong = judge(result, name)
        return name, "answered", wrong
    except (ValueError, TypeError) as error:
        words = str(error)
        return name, type(error).__name__, None if words.strip() else "an error without words"
    except MemoryError as error:
        return name, "MemoryError", f"MemoryError: {error}"
    except Exception as error:  # whatever else is a fault
        return name, type(error).__name__, f"{type(error).__name__}: {str(error)[:150]}"


def work(first, last):
    """Makes the calls of a range of seeds, saying before each which one it is."""
    with guarded():
        for seed in range(first, last):
            print(f"at {seed}", flush=True)
            faulthandler.dump_traceback_later(LONGEST, exit=True)
            name, outcome, fault = fault_of(seed)
            faulthandler.cancel_dump_traceback_later()
            print(f"did {outcome}\t{name}\t{fault or ''}", flush=True)


def _text(file):
    file.seek(0)
    return file.read()


def supervise(first, last):
    """Outcomes and faults of a range of seeds, in processes that may die."""
    outcomes, faults = Counter(), []
    while first < last:
        command = [sys.executable, __file__, "--work", str(first), str(last)]
        # files, not pipes, which workers of a process that died may hold open
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            process = subprocess.Popen(command, stdout=out, stderr=err, start_new_session=True)
            code = process.wait()
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            lines, errors = (_text(file).splitlines() for file in (out, err))
        at = first - 1
        finished = True
        for line in lines:
            if line.startswith("at "):
                at, finished = int(line[3:]), False
            elif line.startswith("did "):
                outcome, name, fault = line[4:].split("\t", 2)
                outcomes[outcome] += 1
                finished = True
                if fault:
                    faults.append((at, name, fault))
        if not finished or code:
            end = "hangs" if any("Timeout" in line for line in errors) else "dies"
            ours = [line.strip() for line in errors if "skattrib" in line]
            faults.append((at, draw(at)[0], " ".join([end, str(code), *(ours or errors)[:2]])))
            outcomes[end] += 1
        first = at + 1
    return outcomes, faults


def main():
    """Run and report; 1 if there are faults."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="one call alone, with its traceback")
    parser.add_argument("--work", type=int, nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        work(*args.work)
        return 0
    if args.only is not None:
        name, function, arguments = draw(args.only)
        print(name, {k: v for k, v in arguments.items()})
        warnings.simplefilter("error", RuntimeWarning)
        with guarded():
            print(judge(function(**arguments), name))
        return 0
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    start, first = time.monotonic(), args.seed * 10**7
    ranges = [
        (k, min(k + CHUNK, first + args.calls)) for k in range(first, first + args.calls, CHUNK)
    ]
    outcomes, faults = Counter(), []
    with ThreadPoolExecutor(args.jobs) as pool:
        for found, wrong in pool.map(lambda r: supervise(*r), ranges):
            outcomes += found
            faults += wrong
    seen = Counter()
    for seed, name, fault in sorted(faults):
        kind = name.split("(")[0], fault[:60]
        seen[kind] += 1
        if seen[kind] <= 3:
            print(f"seed {seed}: {name}: {fault}")
    print(*(f"{count} {outcome}" for outcome, count in outcomes.most_common()), sep="\n")
    print(f"{sum(outcomes.values())} calls, {len(faults)} faults, {time.monotonic() - start:.0f} s")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
