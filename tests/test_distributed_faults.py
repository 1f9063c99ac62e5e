"""Workers that die, clusters that go, and users who change their minds."""

import os
import signal
import threading
import time

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy import sparse
from sklearn.datasets import load_digits

pytest.importorskip("distributed")
import dask
import dask.array as da
from distributed import Client, LocalCluster

from skattrib import LinearHead, distributed
from skattrib.distributed import _candidates, _cluster, _loss

X, y = load_digits(return_X_y=True)
X, y = X[:400, ::4] / 16, y[:400] % 3


@pytest.fixture(scope="module")
def client():
    # workers take long to start again where the processors are busy
    with (
        dask.config.set({"distributed.deploy.lost-worker-timeout": "5m"}),
        LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, processes=True
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


def rows():
    return da.from_array(X, chunks=(100, -1))


@pytest.mark.parametrize(
    ("name", "module", "passes"),
    [("DualViewExplainer", _candidates, (2, 4)), ("InfluenceExplainer", _loss, (4,))],
)
def test_a_worker_killed_in_mid_fit_changes_no_bit(client, monkeypatch, name, module, passes):
    monkeypatch.setattr(_candidates, "FEWEST", 60)
    kind = getattr(distributed, name)
    expected = kind(random_state=0).fit(rows(), y)
    gather, count, killed = module.gather, [], []

    def killing(tasks, what):
        count.append(what)
        if len(count) in passes:
            client.wait_for_workers(2)
            pid = next(iter(client.run(os.getpid).values()))
            killed.append(pid)
            # some tasks are done by then, and their results are lost
            threading.Timer(0.02, os.kill, (pid, signal.SIGKILL)).start()
        return gather(tasks, what)

    monkeypatch.setattr(module, "gather", killing)
    found = kind(random_state=0).fit(rows(), y)
    monkeypatch.setattr(module, "gather", gather)
    assert len(killed) == len(passes)
    assert_array_equal(found.coef_, expected.coef_)
    assert_array_equal(found.intercept_, expected.intercept_)
    client.wait_for_workers(2)
    os.kill(next(iter(client.run(os.getpid).values())), signal.SIGKILL)
    for one, other in zip(found.top_k(X[:9], 5), expected.top_k(X[:9], 5), strict=True):
        assert_array_equal(one, other)


def slow(part):
    time.sleep(0.5)
    return part


def test_an_interrupt_ends_the_fit_and_its_tasks(client):
    client.wait_for_workers(2)
    slowly = rows().map_blocks(slow, dtype=X.dtype)
    timer = threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt), pytest.MonkeyPatch.context() as patch:
        patch.setattr(_cluster, "HELD", 0.0)  # each sum reads the rows again
        distributed.RepresenterExplainer().fit(slowly, y)
    until = time.monotonic() + 20
    while any(client.processing().values()) and time.monotonic() < until:
        time.sleep(0.1)
    assert not any(client.processing().values())


def test_an_error_of_a_task_is_that_of_the_call(client):
    client.wait_for_workers(1)

    def broken(part):
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        distributed.SimilarityExplainer().fit(rows().map_blocks(broken, dtype=X.dtype), y)


def test_a_cluster_without_workers_is_named(client):
    explainer = distributed.SimilarityExplainer().fit(rows(), y)
    client.cluster.scale(0)
    with (
        dask.config.set({"skattrib.no-workers-timeout": "1s"}),
        pytest.raises(RuntimeError, match=r"no workers for 1 s while looking for .*cluster\.scale"),
    ):
        explainer.top_k(X[:3])


def test_a_lost_cluster_is_named_and_rows_are_found_on_the_next():
    options = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": None}
    with LocalCluster(processes=False, **options) as cluster, Client(cluster) as client:
        explainer = distributed.DualViewExplainer(random_state=0).fit(rows(), y)
        expected = explainer.top_k(X[:3])
        threading.Timer(0.5, client.sync, (cluster.scheduler.close,)).start()
        with (
            dask.config.set(
                {"skattrib.no-workers-timeout": "1s", "distributed.comm.timeouts.connect": "2s"}
            ),
            pytest.raises(RuntimeError, match="the cluster (was lost|has had no workers)"),
        ):
            for _ in range(100):
                explainer.attribute(X)
    with LocalCluster(processes=False, **options) as cluster, Client(cluster):
        for one, other in zip(explainer.top_k(X[:3]), expected, strict=True):
            assert_array_equal(one, other)


def test_without_a_client_one_is_started_here(monkeypatch):
    def none():
        raise ValueError("no client")

    monkeypatch.setattr(_cluster, "get_client", none)
    with _cluster.current_client() as client:
        assert list(client.nthreads().values()) == [1]
        assert client.submit(os.getpid).result() == os.getpid()


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
