"""Maps over pixels: what do they hold, do they name the pixels that matter, what do they cost?

A plain and a residual network of Fashion-MNIST, each trained on 10,000 rows (a minute and a few on
one thread). Maps of DualView on their features, over both rows of the pairs of 50 test rows and
their 3 strongest proponents. dualxda, where it can be imported, is compared on the same pairs.
Needs torch; best with OMP_NUM_THREADS=1.
"""

import time

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from map_networks import setup  # noqa: E402

from skattrib.metrics import conservation, deletion  # noqa: E402
from skattrib.torch_adapters import PairModule, pixel_maps  # noqa: E402

networks = pytest.mark.parametrize("name", ["plain", "residual"])
ROWS, PROPONENTS = range(50), 3
METHODS = {
    "z+": {},
    "z+, no bias": {"bias": False},
    "z+, flat first, no bias": {"first": "flat", "bias": False},
    "epsilon": {"conv": "epsilon"},
    "gradient": {"method": "gradient", "noise": 0},
    "SmoothGrad": {"method": "gradient", "random_state": 0},
    "integrated gradients": {"method": "integrated_gradients"},
}


def left(data, maps, side, map_of=None):
    """Share of the attribution that is left without the highest tenth of the pixels."""
    explainer, phi = data.explainer, data.phi_test[list(ROWS)]
    directions = explainer.directions(phi, maps.indices, side=side)
    directions = torch.as_tensor(directions).flatten(0, 1)
    X = maps.train_inputs if side == "train" else maps.inputs.repeat(PROPONENTS, axis=0)
    X = X.reshape(-1, 1, 28, 28)
    found = maps.contributions(side).reshape(X.shape) if map_of is None else map_of(X)

    @torch.no_grad()
    def values(X):
        return PairModule(data.features, directions)(torch.tensor(X)).diagonal().numpy()

    return float(deletion(found, X, values, random_state=0).left[0])


@networks
def bench_maps(benchmark, record, name):
    data = setup(name)
    rng = np.random.default_rng(0)

    def all_of_them():
        for title, given in METHODS.items():
            maps = pixel_maps(*data.arguments(list(ROWS), PROPONENTS), **given)
            kept = conservation(maps.contributions("train"), maps.values)
            kept_test = conservation(maps.contributions("test"), maps.values)
            flat = maps.contributions("test").reshape(len(ROWS), PROPONENTS, -1)
            alike = np.mean([np.corrcoef(rows)[0, 1:].mean() for rows in flat])
            flat = maps.contributions("train").reshape(len(ROWS), PROPONENTS, -1)
            apart = np.mean([np.corrcoef(rows)[0, 1:].mean() for rows in flat])
            yield {
                "method": title,
                "holds_train": kept.mean,
                "holds_test": kept_test.mean,
                "error": max(kept.error, kept_test.error),
                "left_train": left(data, maps, "train"),
                "left_test": left(data, maps, "test"),
                "r_test_maps": float(alike),
                "r_train_maps": float(apart),
            }
        yield {
            "method": "random",
            **dict.fromkeys(("holds_train", "holds_test", "error"), np.nan),
            "left_train": left(data, maps, "train", lambda X: rng.random(X.shape)),
            "left_test": left(data, maps, "test", lambda X: rng.random(X.shape)),
            **dict.fromkeys(("r_test_maps", "r_train_maps"), np.nan),
        }

    for row in benchmark.pedantic(lambda: list(all_of_them()), rounds=1):
        record("maps", network=name, accuracy=data.accuracy(), **row)


@networks
def bench_cost_of_maps(benchmark, record, name):
    """Twelve maps: six training rows, both sides; paired with dualxda where it can be had."""
    data = setup(name)
    theirs = dualxda_maps(data)
    arguments = data.arguments([0], 6)
    times: dict[str, list[tuple[float, float]]] = {}

    def timed(title, function):
        start = time.perf_counter(), time.process_time()
        found = function()
        spent = time.perf_counter() - start[0], time.process_time() - start[1]
        times.setdefault(title, []).append(spent)
        return found

    def rounds():
        for _ in range(7):
            for title, given in METHODS.items():
                timed(title, lambda given=given: pixel_maps(*arguments, **given))
            if theirs is not None:
                found = timed("dualxda", lambda: theirs(arguments))
        return None if theirs is None else found

    found = benchmark.pedantic(rounds, rounds=1)
    difference = np.nan
    if found is not None:
        ours = pixel_maps(*arguments, first="flat", bias=False)
        pairs = zip(found, (ours.train[0, :, 0], ours.test[0, :, 0]), strict=True)
        difference = max(np.abs(a - b).max() / np.abs(b).max() for a, b in pairs)
    for title, spent in times.items():
        same = float(difference) if title == "dualxda" else np.nan
        ms, cpu_ms = (1000 * np.median(spent, axis=0)).tolist()
        row = {"network": name, "method": title, "ms": ms, "cpu_ms": cpu_ms, "difference": same}
        record("twelve_maps", **row)


def dualxda_maps(data):
    """A function that makes the same maps by the authors' package, or None."""
    try:
        from dualxda import DualDA
    except Exception:
        return None

    def maps(arguments):
        explainer, _, X, X_train, indices = arguments
        T = explainer.attribute(data.phi_test[[0]])
        T = T.toarray() if hasattr(T, "toarray") else T
        # what its heatmaps read, without a fit of its own
        theirs = object.__new__(DualDA)
        theirs.dataset = [(X_train[int(i)], 0) for i in indices[0]]
        theirs.model, theirs.classifier, theirs.device = data.net, "1", "cpu"
        theirs.coefficients, theirs.hook_out = torch.zeros(1, 10), {}
        hook = data.net[1].register_forward_hook(
            lambda module, given, _: theirs.hook_out.__setitem__("1", given[0].detach())
        )
        try:
            composite = DualDA._resolve_composite("EpsilonPlusFlat")
            sides = []
            for side in ("train", "test"):
                found = [
                    theirs.xda_heatmap(X[0], q, float(T[0, i]), side, composite)
                    for q, i in enumerate(indices[0])
                ]
                sides.append(torch.stack(found).numpy())
            return sides
        finally:
            hook.remove()

    return maps
