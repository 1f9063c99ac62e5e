"""How the suite runs: on all processors, a file or two in one process."""

import os
import sys
import warnings
from pathlib import Path

import pytest

pytest.register_assert_rewrite("cases")
# other processes find functions of tests by the names of their modules; the package comes first
# from where it is installed
sys.path.append(str(Path(__file__).parents[1]))
if "PYTEST_XDIST_WORKER" in os.environ:
    # before any test imports NumPy: a worker has one processor, and so have its processes
    for library in ("OPENBLAS", "OMP", "MKL"):
        os.environ.setdefault(f"{library}_NUM_THREADS", "1")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config):
    """No workers for a file or two: those are done before a worker has started."""
    few = len(config.args) < 3 and not any(Path(argument).is_dir() for argument in config.args)
    return 0 if few else None


@pytest.fixture
def quiet():
    """For data that are not scaled: many a fit stops short."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        # some fit without names what they transform with them
        warnings.filterwarnings("ignore", "X .* feature names", UserWarning)
        yield
