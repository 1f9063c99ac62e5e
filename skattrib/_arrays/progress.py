"""Progress of what takes long: a bar of tqdm in a terminal, lines elsewhere; and jobs of joblib."""

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from numbers import Integral

import joblib
from sklearn.utils import check_scalar, gen_batches
from sklearn.utils.parallel import Parallel

EVERY = 5  # seconds between lines


@contextmanager
def progress_bar(total: int, title: str, verbose: int) -> Iterator:
    """A bar of tqdm on stderr, or None where lines are to be printed, or nothing.

    A bar it is if `verbose` is 1, stderr is a terminal and tqdm is installed.
    """
    check_scalar(verbose, "verbose", Integral)
    bar = None
    if verbose == 1 and sys.stderr is not None and sys.stderr.isatty():
        try:
            from tqdm import tqdm
        except ImportError:
            pass
        else:
            bar = tqdm(total=total, desc=title, file=sys.stderr)
    try:
        yield bar
    finally:
        if bar is not None:
            bar.close()


def tracked(results: Iterable, total: int, *, title: str, verbose: int) -> Iterator:
    """Yield results, and tell how many there are: every few seconds, or each if `verbose` > 1."""
    with progress_bar(total, title, verbose) as bar:
        start = last = time.monotonic()
        for done, result in enumerate(results, start=1):
            yield result
            now = time.monotonic()
            if bar is not None:
                bar.update()
            elif verbose and (verbose > 1 or now - last > EVERY or done == total):
                last, spent = now, now - start
                left = spent / done * (total - done)
                print(f"[{title}] {done} of {total}, {spent:.0f} s, {left:.0f} s left")


def results_of(calls: list, n_jobs: int | None, **options) -> Iterator:
    """Yield results of delayed calls in the order in which they end."""
    try:
        parallel = Parallel(n_jobs=n_jobs, return_as="generator_unordered", **options)
    except ValueError:  # a backend that returns all or nothing is given a little at a time
        parallel = Parallel(n_jobs=n_jobs, **options)
        wave = 2 * max(1, joblib.effective_n_jobs(n_jobs))
        for part in gen_batches(len(calls), wave):
            yield from parallel(calls[part])
    else:
        yield from parallel(calls)
