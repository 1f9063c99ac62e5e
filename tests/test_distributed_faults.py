"""What a cluster does to a fit: workers killed, none left, the scheduler lost, an interrupt."""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy import sparse
from sklearn.datasets import load_digits

pytest.importorskip("distributed")
import dask
import dask.array as da
from distributed import Client, LocalCluster
from distributed.comm import CommClosedError
from distributed.core import Status

from skattrib import LinearHead, distributed
from skattrib.distributed import _candidates, _cluster, _loss

X, y = load_digits(return_X_y=True)
X, y = X[:400, ::4] / 16, y[:400] % 3
# seconds after which anything that is waited for has failed
LONG = 120


@contextmanager
def workers(n, **options):
    # at any port
    options["scheduler_kwargs"] = {"dashboard": False, "dashboard_address": ":0"}
    cluster = LocalCluster(n_workers=n, threads_per_worker=1, **options)
    try:
        with Client(cluster) as client:
            yield client
    finally:
        cluster.close(timeout=LONG)


@pytest.fixture(scope="module")
def client():
    # workers take long to start again where the processors are busy
    with (
        dask.config.set({"distributed.deploy.lost-worker-timeout": "5m"}),
        workers(2, processes=True) as client,
    ):
        yield client


@pytest.fixture
def alone():
    """A cluster of one thread in this process."""
    with workers(1, processes=False, memory_limit=0) as client:
        yield client


def later(seconds, function, *args):
    timer = threading.Timer(seconds, function, args)
    timer.daemon = True
    timer.start()


def rows():
    return da.from_array(X, chunks=(100, -1))


def kill_a_worker(client, seconds=0.0):
    client.wait_for_workers(2, timeout=LONG)
    pid = next(iter(client.cluster.workers.values())).pid
    later(seconds, os.kill, pid, signal.SIGKILL)


@pytest.mark.parametrize(
    ("name", "module", "passes"),
    [("DualViewExplainer", _candidates, (2, 3)), ("InfluenceExplainer", _loss, (4,))],
)
def test_a_worker_killed_in_mid_fit_changes_no_bit(client, monkeypatch, name, module, passes):
    monkeypatch.setattr(_candidates, "FEWEST", 60)
    kind = getattr(distributed, name)
    expected = kind(random_state=0).fit(rows(), y)
    gather, count = module.gather, []

    def killing(tasks, what):
        count.append(what)
        if len(count) in passes:
            # some tasks are done by then, and their results are lost
            kill_a_worker(client, 0.02)
        return gather(tasks, what)

    monkeypatch.setattr(module, "gather", killing)
    found = kind(random_state=0).fit(rows(), y)
    monkeypatch.setattr(module, "gather", gather)
    assert len(count) > passes[-1]
    assert_array_equal(found.coef_, expected.coef_)
    assert_array_equal(found.intercept_, expected.intercept_)
    kill_a_worker(client)
    for one, other in zip(found.top_k(X[:9], 5), expected.top_k(X[:9], 5), strict=True):
        assert_array_equal(one, other)


def slow(part):
    time.sleep(0.5)
    return part


def test_an_interrupt_ends_the_fit_and_its_tasks(client, monkeypatch):
    client.wait_for_workers(2, timeout=LONG)
    monkeypatch.setattr(_cluster, "HELD", 0.0)  # each sum reads the rows again
    wait, count = _cluster._wait, []

    def interrupted(*args):
        count.append(args)
        if len(count) == 4:
            later(0.3, os.kill, os.getpid(), signal.SIGINT)
        return wait(*args)

    monkeypatch.setattr(_cluster, "_wait", interrupted)
    # processes in the background begin without one
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            slowly = rows().map_blocks(slow, dtype=X.dtype)
            distributed.RepresenterExplainer(max_iter=2).fit(slowly, y)
    finally:
        signal.signal(signal.SIGINT, handler)
    assert len(count) == 4
    until = time.monotonic() + 20
    while (busy := _cluster._busy(_cluster._workers(client))) and time.monotonic() < until:
        time.sleep(0.1)
    assert not busy


def test_an_error_of_a_task_is_that_of_the_call(client):
    def broken(part):
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        distributed.SimilarityExplainer().fit(rows().map_blocks(broken, dtype=X.dtype), y)


def fitted_there():
    return distributed.SimilarityExplainer().fit(rows(), y).top_k(X[:3])[1]


def test_a_fit_in_a_task_lets_its_own_tasks_have_the_thread(alone):
    found = alone.submit(fitted_there).result(timeout=LONG)
    assert_array_equal(found, fitted_there())


IMPATIENT = {"skattrib.no-workers-timeout": "1s"}


def test_a_cluster_without_workers_is_named(alone):
    explainer = distributed.SimilarityExplainer().fit(rows(), y)
    alone.cluster.scale(0)
    with (
        dask.config.set(IMPATIENT),
        pytest.raises(RuntimeError, match=r"no workers for 1 s while looking for .*cluster\.scale"),
    ):
        explainer.top_k(X[:3])


def paused(dask_worker):
    dask_worker.status = Status.paused


def test_a_cluster_of_paused_workers_is_named(alone):
    explainer = distributed.SimilarityExplainer().fit(rows(), y)
    alone.run(paused)
    with (
        dask.config.set(IMPATIENT),
        pytest.raises(RuntimeError, match=r"nothing for 1 s .*; 1 of its 1 workers are paused"),
    ):
        explainer.top_k(X[:3])


def test_a_cluster_whose_workers_are_free_but_take_nothing_is_named(alone):
    explainer = distributed.SimilarityExplainer().fit(rows(), y)
    with (
        dask.config.set(IMPATIENT),
        dask.annotate(resources={"GPU": 1}),  # which no worker has
        pytest.raises(RuntimeError, match=r"nothing for 1 s .*1 workers none is paused.*annotate"),
    ):
        explainer.top_k(X[:3])


ELSEWHERE = """
import sys
from distributed import LocalCluster
options = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": ":0"}
with LocalCluster(processes=False, protocol="tcp", **options) as cluster:
    print(cluster.scheduler_address, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def elsewhere():
    """A cluster in another process, and how to end it."""
    process = subprocess.Popen(
        [sys.executable, "-c", ELSEWHERE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    later(LONG, process.kill)
    with process:
        try:
            with Client(process.stdout.readline().strip(), timeout=LONG):
                yield process.kill
        finally:
            process.kill()


def test_a_lost_cluster_is_named_and_rows_are_found_on_the_next(alone, elsewhere):
    explainer = distributed.DualViewExplainer(random_state=0).fit(rows(), y)
    expected = explainer.top_k(X[:3])
    later(0.1, elsewhere)
    with dask.config.set(IMPATIENT), pytest.raises(RuntimeError, match="the cluster was lost"):
        while True:
            explainer.attribute(X)
    with pytest.raises(RuntimeError, match="the cluster was lost"), alone.as_current():
        explainer._there.training.take(np.arange(3))
    with alone.as_current():
        for one, other in zip(explainer.top_k(X[:3]), expected, strict=True):
            assert_array_equal(one, other)


def test_a_scheduler_that_goes_while_it_sends_results_is_lost_too(alone, monkeypatch):
    async def cut(client, futures):
        raise CommClosedError("in the middle of a message")

    explainer = distributed.SimilarityExplainer()
    with alone.as_current():
        explainer.fit(rows(), y)
        monkeypatch.setattr(_cluster, "_results", cut)
        with pytest.raises(RuntimeError, match="the cluster was lost"):
            explainer.top_k(X[:3])


def test_without_a_client_one_is_started_here(monkeypatch):
    def none():
        raise ValueError("no client")

    monkeypatch.setattr(_cluster, "get_client", none)
    with _cluster.current_client() as client:
        assert list(client.nthreads().values()) == [1]
        assert client.submit(os.getpid).result(timeout=LONG) == os.getpid()


def test_arrays_that_begin_anywhere_are_moved():
    buffer = np.zeros(81 * 8 + 1, dtype=np.uint8)[1:]
    unaligned = np.asfortranarray(buffer.view(np.float64).reshape(9, 9).T)
    assert not unaligned.flags.aligned and unaligned.flags.f_contiguous
    head = LinearHead(unaligned)
    moved, (again, moved_head), matrix = _cluster.aligned(
        [unaligned, (7, head), sparse.csr_array((unaligned[0], np.arange(9), np.array([0, 9])))]
    )
    assert again == 7 and moved.flags.aligned and moved.flags.f_contiguous
    assert moved_head.coef.flags.aligned and matrix.data.flags.aligned
    assert _cluster.aligned(moved) is moved
