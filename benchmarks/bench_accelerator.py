"""Do rows agree on the processor and on an accelerator, and what do they cost there?

Needs torch with CUDA. TF32 is off. The network that is timed has the size of ResNet-18.
"""

import time

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch_cases import HEADS, KINDS, loader, network  # noqa: E402

from skattrib.torch_adapters import gradient_rows, last_layer, losses  # noqa: E402

ROWS, BATCH, K = 2048, 128, 2048
DEVICE = "cuda"


@pytest.fixture(autouse=True)
def exact():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA")
    kept = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = kept


@pytest.mark.parametrize("kind", KINDS)
def bench_agreement(kind):
    model = network(kind)
    for work in (
        lambda device: gradient_rows(model, loader(kind), k=64, device=device),
        lambda device: gradient_rows(model, loader(kind), k=None, device=device),
        lambda device: last_layer(model, loader(kind), HEADS[kind], device=device),
        lambda device: losses(model, loader(kind), device=device),
    ):
        here, there = work("cpu").X, work(DEVICE).X
        error = np.abs(here - there).max() / np.abs(here).max()
        print(f"{kind}: {error:.1e}")
        assert error < 1e-4


def stage(inside, outside, stride):
    nn = torch.nn

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(
                nn.Conv2d(inside, outside, 3, stride, 1, bias=False),
                nn.BatchNorm2d(outside),
                nn.ReLU(),
                nn.Conv2d(outside, outside, 3, 1, 1, bias=False),
                nn.BatchNorm2d(outside),
            )
            same = inside == outside and stride == 1
            self.skip = nn.Identity() if same else nn.Conv2d(inside, outside, 1, stride, bias=False)

        def forward(self, x):
            return (self.body(x) + self.skip(x)).relu()

    return Block()


def bench_cost():
    nn, sizes = torch.nn, [(64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2)]
    blocks = [stage(*size) for size in sizes for size in (size, (size[1], size[1], 1))]
    model = nn.Sequential(
        nn.Conv2d(3, 64, 3, padding=1), *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(512, 10),
    ).to(DEVICE)  # fmt: skip
    x, y = torch.randn(ROWS, 3, 32, 32), torch.arange(ROWS) % 10
    batches = [*zip(x.split(BATCH), y.split(BATCH), strict=True)]
    gradient_rows(model, batches[:1], k=K)
    torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    gradient_rows(model, batches, k=K)
    own = (time.perf_counter() - start) / ROWS * 1e3
    peak = torch.cuda.max_memory_allocated() / 2**20
    torch.cuda.synchronize()
    start = time.perf_counter()
    for a, b in batches:
        model.zero_grad()
        nn.functional.cross_entropy(model(a.to(DEVICE)), b.to(DEVICE)).backward()
    torch.cuda.synchronize()
    training = (time.perf_counter() - start) / ROWS * 1e3
    p = sum(parameter.numel() for parameter in model.parameters())
    print(
        f"\n{torch.cuda.get_device_name()}, p = {p:,}: rows {own:.2f} ms, forward + backward "
        f"{training:.3f} ms, peak {peak:.0f} MB"
    )
