"""The cluster: tasks that are sent to it, waited for and cancelled, and sums of their results."""

import asyncio
import logging
from concurrent.futures import CancelledError
from time import monotonic
from uuid import uuid4

import dask
import numpy as np
from dask.delayed import delayed
from dask.utils import funcname, parse_bytes, parse_timedelta
from distributed import Client, KilledWorker, get_client
from distributed.system import MEMORY_LIMIT

# rows and what is made of them stay in the workers' memory up to this share of it: dask begins to
# write to disk at 0.6
HELD = 0.3
# how many results one task of a sum adds up
WIDTH = 8
# bytes that one block of attributions may have on a worker
BLOCK = 2**27
# seconds between looks at the cluster while results are waited for
LOOK = 0.5


def current_client():
    """The client in use; without one a cluster is started in this process, of one thread."""
    try:
        client = get_client()
    except ValueError:
        # one thread, for products of matrices take the processors; silent, for it ends with python
        client = Client(
            n_workers=1,
            threads_per_worker=1,
            processes=False,
            dashboard_address=None,
            silence_logs=logging.CRITICAL,
        )
    if client.asynchronous:
        raise RuntimeError(
            "explainers wait for their results, which an asynchronous client does not: make one "
            "with distributed.Client(asynchronous=False)"
        )
    return client


def setting(name, default):
    """What the user's dask configuration has under skattrib."""
    return dask.config.get(f"skattrib.{name}", default)


def candidate_memory():
    """Bytes that candidate rows may take in this process."""
    return parse_bytes(setting("candidate-memory", MEMORY_LIMIT // 2))


def aligned(value):
    """The value with all its arrays where processors like them.

    What comes over the network may begin at any byte. Products with such arrays take another way
    through NumPy, and differ in their last bits from those that were made where the arrays were.
    """
    if isinstance(value, np.ndarray):
        return value if value.flags.aligned else value.copy(order="A")
    if type(value) in (tuple, list):
        return type(value)(map(aligned, value))
    if type(value).__module__.split(".")[0] in ("skattrib", "sklearn", "scipy"):
        for name, part in getattr(value, "__dict__", {}).items():
            value.__dict__[name] = aligned(part)
    return value


def _call(function, *args):
    return function(*map(aligned, args))


def _same(value):
    return value


def task(function, *args):
    """A call to be made on the cluster, by the name of the function."""
    name = f"{funcname(function).strip('_')}-{uuid4().hex}"
    return delayed(_call, pure=False, traverse=False)(function, *args, dask_key_name=name)


def share(value):
    """A value that many tasks take: sent once, and fetched by workers from each other."""
    return task(_same, value)


def _memory(client):
    """Bytes of each worker; infinite where no limit is set."""
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    return [worker["memory_limit"] or float("inf") for worker in workers] or [0]


def smallest_memory():
    """Bytes of the worker that has least."""
    return min(_memory(current_client()))


def hold(tasks, nbytes):
    """The tasks, their results kept on the workers if there is memory for so many bytes."""
    client = current_client()
    with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1TiB"}):
        return client.persist(tasks) if nbytes <= HELD * sum(_memory(client)) else tasks


def gather(tasks, what):
    """Results of tasks, in their order; `what` is said to be going on in errors.

    Raises
    ------
    RuntimeError
        When workers die over one task again and again, when there are none for
        ``skattrib.no-workers-timeout`` of dask's configuration, and when the scheduler is gone.
    """
    client = current_client()
    # arguments are at times large on purpose
    with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1TiB"}):
        futures = client.compute(tasks)
    waiting = asyncio.run_coroutine_threadsafe(_results(client, futures), client.loop.asyncio_loop)
    try:
        return aligned(_wait(client, waiting, what))
    except BaseException as error:
        # Ctrl-C comes here too: workers end what they are at, and no more is begun
        waiting.cancel()
        if client.status == "running":
            client.cancel(futures)
        if isinstance(error, KilledWorker):
            raise RuntimeError(
                f"workers died again and again while {what}, most likely for want of memory: give "
                "X smaller chunks of rows (X.rechunk), or the workers more memory"
            ) from error
        if isinstance(error, CancelledError):
            raise RuntimeError(
                f"the cluster was lost, or its tasks were cancelled, while {what}: connect to a "
                "running one, and fit again"
            ) from error
        raise


async def _results(client, futures):
    return await client.gather(futures, asynchronous=True)


def _wait(client, waiting, what):
    """The result; looks after the workers meanwhile."""
    patience = parse_timedelta(setting("no-workers-timeout", "60s"))
    seen = monotonic()
    while True:
        try:
            return waiting.result(timeout=LOOK)
        except TimeoutError:
            if waiting.done():
                raise
        if _has_workers(client):
            seen = monotonic()
        elif monotonic() - seen > patience:
            raise RuntimeError(
                f"the cluster has had no workers for {patience:.0f} s while {what}: start some "
                "(cluster.scale), and fit again"
            )


def _has_workers(client):
    if client.status != "running":
        return False
    try:
        return bool(client.sync(client.scheduler.ncores, workers=None, callback_timeout=5))
    except (OSError, TimeoutError):
        return False


def added(parts):
    """The sum of arrays, or of each place of tuples of them, from first to last."""
    if isinstance(parts[0], tuple):
        return tuple(added(part) for part in zip(*parts, strict=True))
    out = parts[0]
    for part in parts[1:]:
        out = out + part
    return out


def sums_and_largest(parts):
    """The same, but of the last place the largest."""
    *sums, largest = zip(*parts, strict=True)
    return (*map(added, sums), max(largest))


def total(tasks, combine=added):
    """A task that sums what tasks return, in an order that depends on their number alone."""
    while len(tasks) > 1:
        tasks = [task(combine, tasks[k : k + WIDTH]) for k in range(0, len(tasks), WIDTH)]
    return tasks[0]
