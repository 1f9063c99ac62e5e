"""The cluster: tasks that are sent to it, waited for and cancelled, and sums of their results."""

import asyncio
import logging
from concurrent.futures import CancelledError
from contextlib import nullcontext, suppress
from time import monotonic
from uuid import uuid4

import dask
import numpy as np
from dask.delayed import delayed
from dask.utils import funcname, parse_bytes, parse_timedelta
from distributed import Client, KilledWorker, futures_of, get_client, get_worker, worker_client
from distributed.comm import CommClosedError
from distributed.system import MEMORY_LIMIT

# rows and what is made of them stay in the workers' memory up to this share of it: dask begins to
# write to disk at 0.6
HELD = 0.3
# how many results one task of a sum adds up
WIDTH = 8
# bytes that one block of attributions may have on a worker, and that all results of a pass may
# have; of the latter at most this share of a worker's memory, which they may all be in
BLOCK, FETCHED, FETCHED_SHARE = 2**27, 2**28, 0.1
# seconds between looks at results that are waited for, and that an answer of a running scheduler
# may take
LOOK, ANSWER = 0.5, 5


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
            scheduler_kwargs={"dashboard": False, "dashboard_address": ":0"},
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


def smallest_memory():
    """Bytes of the worker that has least; infinite where no limit is set."""
    return min(_memory(current_client()))


def most_at_once():
    """Bytes of results to be fetched at once."""
    return int(min(FETCHED, FETCHED_SHARE * smallest_memory()))


def _memory(client):
    """Bytes of each worker; infinite where no limit is set."""
    workers = _workers(client, _patience())
    if workers is None:
        raise RuntimeError(
            "the cluster was lost: its scheduler does not answer; connect to a running one, and "
            "fit again"
        )
    return [worker["memory_limit"] or float("inf") for worker in workers.values()] or [0]


def hold(tasks, nbytes):
    """The tasks, their results kept on the workers if there is memory for so many bytes."""
    client = current_client()
    kept = nbytes <= HELD * sum(_memory(client))
    return _sent(client, client.persist, tasks, "keeping rows") if kept else tasks


def gather(tasks, what):
    """Results of tasks, in their order; `what` is said to be going on in errors.

    Within a task of the same cluster its thread is given back meanwhile.

    Raises
    ------
    RuntimeError
        When workers die over one task again and again, when there are none, or all that there are
        do nothing, for ``skattrib.no-workers-timeout`` of dask's configuration, and when the
        scheduler is gone.
    """
    with worker_client() if _in_a_task() else nullcontext():
        client = current_client()
        futures = _sent(client, client.compute, tasks, what)
        loop = client.loop.asyncio_loop
        waiting = asyncio.run_coroutine_threadsafe(_results(client, futures), loop)
        try:
            return aligned(_wait(client, waiting, what))
        except BaseException as error:
            # Ctrl-C comes here too: workers end what they are at, and no more is begun
            waiting.cancel()
            _take_back(client, futures)
            if isinstance(error, KilledWorker):
                raise RuntimeError(
                    f"workers died again and again while {what}, most likely for want of memory: "
                    "give X smaller chunks of rows (X.rechunk), or the workers more memory"
                ) from error
            if isinstance(error, (CancelledError, CommClosedError)):
                raise _lost(what) from error
            raise


def _in_a_task():
    try:
        get_worker()
    except ValueError:
        return False
    return True


def _sent(client, method, tasks, what):
    """What a method of the client makes of tasks."""
    # arguments are at times large on purpose
    with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1TiB"}):
        try:
            return method(tasks)
        except ValueError as error:
            if all(future.client is client for future in futures_of(tasks)):
                raise
            raise _lost(what) from error


def _lost(what):
    return RuntimeError(
        f"the cluster was lost, or its tasks were cancelled, while {what}: connect to a running "
        "one, and fit again"
    )


async def _results(client, futures):
    return await client.gather(futures, asynchronous=True)


def _take_back(client, futures):
    """Cancels tasks, if there is still someone to tell."""
    if client.status == "running":
        with suppress(TimeoutError, CancelledError, RuntimeError):
            cancelled = client.cancel(futures, asynchronous=True)
            loop = client.loop.asyncio_loop
            asyncio.run_coroutine_threadsafe(cancelled, loop).result(timeout=ANSWER)


def _patience():
    """Seconds that a cluster may do nothing."""
    return parse_timedelta(setting("no-workers-timeout", "60s"))


def _wait(client, waiting, what):
    """The result; looks after the workers meanwhile."""
    patience = _patience()
    alive = looked = monotonic()
    before = None
    while True:
        try:
            return waiting.result(timeout=LOOK)
        except TimeoutError:
            if waiting.done():
                raise
        now = monotonic()
        # the answer grows with the number of workers
        if now - looked < patience / 12:
            continue
        looked, workers = now, _workers(client)
        state = workers and _state(workers)
        if workers and (_busy(workers) or state != before):
            alive = now
        elif now - alive > patience:
            raise RuntimeError(_trouble(workers, patience, what))
        before = state


def _workers(client, seconds=ANSWER):
    """What the scheduler knows of each worker, by address; None if it does not answer."""
    scheduler = client.scheduler
    if client.status != "running" or scheduler is None:
        return None
    try:
        return client.sync(scheduler.identity, n_workers=-1, callback_timeout=seconds)["workers"]
    # the latter if there is no loop any more
    except (OSError, RuntimeError):
        return None


def _busy(workers):
    """Whether any worker is at a task, or sends or fetches results."""
    for worker in workers.values():
        metrics = worker["metrics"]
        transfer = metrics.get("transfer", {})
        if (
            metrics.get("task_counts", {}).get("executing")
            or transfer.get("incoming_count")
            or transfer.get("outgoing_count")
        ):
            return True
    return False


def _state(workers):
    """What changes with all that workers do."""
    keys = "task_counts", "spilled_bytes", "transfer"
    return {
        address: (worker["status"], *(worker["metrics"].get(key) for key in keys))
        for address, worker in workers.items()
    }


def _trouble(workers, patience, what):
    """What an error says of workers that do nothing."""
    for_so_long = f"for {patience:.0f} s while {what}"
    if workers is None:
        return (
            f"the cluster was lost: its scheduler has not answered {for_so_long}; connect to a "
            "running one, and fit again"
        )
    if not workers:
        return (
            f"the cluster has had no workers {for_so_long}: start some (cluster.scale), and fit "
            "again"
        )
    paused = sum(worker["status"] == "paused" for worker in workers.values())
    if not paused:
        return (
            f"the cluster has done nothing {for_so_long}; of its {len(workers)} workers none is "
            "paused, and none at a task: either the tasks ask for what no worker has "
            "(dask.annotate), or the workers hang, of which client.get_worker_logs() may tell; "
            "start them again (client.restart()), and fit again"
        )
    return (
        f"the cluster has done nothing {for_so_long}; {paused} of its {len(workers)} workers are "
        "paused, for their memory is full: give X smaller chunks of rows (X.rechunk), or the "
        "workers more memory (memory_limit), and fit again"
    )


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
