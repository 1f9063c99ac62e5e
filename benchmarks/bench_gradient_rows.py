"""What rows of gradients cost beside the gradients alone, and beside training on the same batch.

Needs torch; with traker, its projector for processors on the same gradients, too. One thread,
processor time; ratios within one run.
"""

import resource
import time

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from skattrib.torch_adapters import gradient_rows  # noqa: E402

ROWS, REPEATS = 512, 7


def network(width, hidden):
    """A CNN for 28 x 28 images: p = 207k at (16, 128), 2.0M at (32, 600)."""
    nn = torch.nn
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(width, 2 * width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(98 * width, hidden), nn.ReLU(), nn.Linear(hidden, 10),
    )  # fmt: skip


def milliseconds(work, rows=ROWS):
    start = time.process_time()
    work()
    return (time.process_time() - start) / rows * 1e3


def peer(p, k):
    """What traker's projector takes for 32 rows of gradients."""
    try:
        from trak.projectors import BasicProjector, ProjectionType
    except ImportError:
        return "no traker"
    G = torch.randn(32, p)
    made = BasicProjector(p, k, 0, ProjectionType.rademacher, "cpu")
    found = min(milliseconds(lambda: made.project(G, model_id=0), 32) for _ in range(3))
    return f"traker's projector alone {found:.1f} ms"


@pytest.mark.parametrize(("width", "hidden"), [(16, 128), (32, 600)])
@pytest.mark.parametrize("k", [512, 2048])
def bench_gradient_rows(width, hidden, k):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        _measure(network(width, hidden), k)
    finally:
        torch.set_num_threads(threads)


def _measure(model, k):
    x, y = torch.randn(ROWS, 1, 28, 28), torch.arange(ROWS) % 10
    batches = [*zip(x.split(32), y.split(32), strict=True)]
    weights = {name: p.detach() for name, p in model.named_parameters()}
    p = sum(w.numel() for w in weights.values())

    def loss(weights, x, y):
        logits = torch.func.functional_call(model, weights, (x[None],))
        return torch.nn.functional.cross_entropy(logits, y[None])

    gradient = torch.func.vmap(torch.func.grad(loss), (None, 0, 0))
    chunk = max(1, min(32, 2**28 // (4 * p)))

    def bare():
        for x, y in batches:
            for a, b in zip(x.split(chunk), y.split(chunk), strict=True):
                gradient(weights, a, b)

    def training():
        for x, y in batches:
            model.zero_grad()
            torch.nn.functional.cross_entropy(model(x), y).backward()

    def rows():
        gradient_rows(model, batches, k=k)

    works = {"rows": rows, "bare": bare, "training": training}
    for work in works.values():
        work()
    times = {name: [] for name in works}
    for _ in range(REPEATS):
        for name, work in works.items():
            times[name].append(milliseconds(work))
    own, bare_ms, train_ms = (np.array(times[name]) for name in works)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"\np = {p:,}, k = {k}: rows {own.min():.2f} ms (median {np.median(own):.2f}), vmap "
        f"{bare_ms.min():.2f}, forward + backward {train_ms.min():.2f}; ratios "
        f"{own.min() / bare_ms.min():.2f} and {own.min() / train_ms.min():.2f} of the least, "
        f"{np.median(own / bare_ms):.2f} and {np.median(own / train_ms):.2f} paired; the process "
        f"has had {peak:.0f} MB, gradients of a chunk are {chunk * p * 4 / 2**20:.0f} MB; "
        f"{peer(p, k) if p < 10**6 else ''}"
    )
