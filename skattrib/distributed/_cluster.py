"""The cluster: tasks that are sent to it, waited for and cancelled, and sums of their results."""

import asyncio
from concurrent.futures import CancelledError
from time import monotonic

import dask
from dask.delayed import delayed
from dask.utils import parse_bytes, parse_timedelta
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
        # one thread: products of matrices take the processors
        client = Client(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None)
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


def _same(value):
    return value


def share(value):
    """A value that many tasks take: sent once, and fetched by workers from each other."""
    return delayed(_same, pure=False)(value)


def task(function, *args):
    """A call to be made on the cluster."""
    return delayed(function, pure=False, traverse=False)(*args)


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
        return _wait(client, waiting, what)
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
