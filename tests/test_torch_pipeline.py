"""A layer of a network as the first step of a Pipeline."""

import pickle

import joblib
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from sklearn.base import clone  # noqa: E402
from sklearn.model_selection import GridSearchCV, cross_val_predict  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from torch.utils.data import TensorDataset  # noqa: E402
from torch_cases import Items, K, inputs_of, labels, network  # noqa: E402

from skattrib import DualViewExplainer, SimilarityExplainer  # noqa: E402
from skattrib.torch_adapters import TorchFeatures, layer_features  # noqa: E402

N = 60
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def images():
    """Images whose class a random network can tell."""
    x = 0.5 * inputs_of("Images", n=N)[0]
    for c in range(K):
        x[c::K, 0, 2 * c : 2 * c + 3] += 2.0
    return x, labels(N).numpy()


def every_kind(x, y):
    data = TensorDataset(x, torch.tensor(y))
    return {
        "tensor": x,
        "float32": x.numpy(),
        "float64": x.numpy().astype(float),
        "data set": data,
        "unlabelled": Items((x,), torch.arange(len(x))),
        "list": [data[i] for i in range(len(data))],
    }


@pytest.mark.parametrize("kind", every_kind(*images()))
def test_features(kind):
    x, y = images()
    model = network("Images")
    expected = layer_features(model, [(x, torch.tensor(y))], "fc1").X
    data = every_kind(x, y)[kind]
    for more in ({}, {"batch_size": 7}, {"cache": False}, {"cache": False, "batch_size": 1}):
        found = TorchFeatures(model, "fc1", **more).fit(data).transform(data)
        assert found.dtype == np.float32 and np.abs(found - expected).max() < 1e-6
    entering = TorchFeatures(model, "fc2", at="input").transform(data)
    assert np.abs(entering - expected.clip(0)).max() < 1e-6


@pytest.mark.parametrize("kind", every_kind(*images()))
def test_pipeline(kind):
    x, y = images()
    model = network("Images")
    data = every_kind(x, y)[kind]
    pipeline = make_pipeline(TorchFeatures(model, "fc1"), DualViewExplainer(random_state=0)).fit(
        data, y
    )
    assert pipeline.score(data, y) > 0.9
    explainer, features = pipeline[-1], pipeline[:-1].transform(data)
    expected = DualViewExplainer(random_state=0).fit(features, y)
    assert (pipeline.predict(data) == expected.predict(features)).all()
    assert (explainer.top_k(features, k=3)[1] == expected.top_k(features, k=3)[1]).all()
    assert (pipeline.transform(data) != expected.transform(features)).nnz == 0
    assert model.training


class Counting(torch.nn.Module):
    """Counts the rows that go through it, outside: what it has inside is put back."""

    def __init__(self, count):
        super().__init__()
        self.inner, self.count = network("Images"), count

    def forward(self, x):
        self.count(len(x))
        return self.inner(x)


@pytest.mark.parametrize("kind", ["tensor", "float32", "data set"])
def test_grid_search_runs_the_network_once(kind):
    x, y = images()
    rows = []
    model = Counting(rows.append)
    data = every_kind(x, y)[kind]
    pipeline = make_pipeline(TorchFeatures(model, "inner.fc1"), DualViewExplainer())
    search = GridSearchCV(pipeline, {"dualviewexplainer__C": [1e-4, 0.01, 1.0]}, cv=4)
    search.fit(data, y)
    # and a few rows alone, to see whether they influence each other
    assert N <= sum(rows) <= N + 4
    assert search.best_score_ > 0.8
    alone = [
        make_pipeline(TorchFeatures(model, "inner.fc1", cache=False), DualViewExplainer(C=C))
        for C in (1e-4, 0.01, 1.0)
    ]
    scores = [np.mean(cross_val_predict(p, x.numpy(), y, cv=4) == y) for p in alone]
    assert np.abs(search.cv_results_["mean_test_score"] - scores).max() < 1e-12


def test_a_fit_runs_the_network_once():
    x, y = images()
    for cache in (True, False):
        rows = []
        model = Counting(rows.append)
        features = TorchFeatures(model, "inner.fc1", cache=cache)
        make_pipeline(features, DualViewExplainer()).fit(x, y)
        assert sum(rows) == N + 2


def test_parameters_of_the_layer_can_be_searched():
    x, y = images()
    pipeline = make_pipeline(TorchFeatures(network("Images"), "fc1"), SimilarityExplainer())
    grid = {"torchfeatures__layer": ["fc1", "conv"], "torchfeatures__at": ["output", "input"]}
    search = GridSearchCV(pipeline, grid, cv=3).fit(x, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    layers = [TorchFeatures(network("Images"), layer).transform(x) for layer in ("fc1", "conv")]
    features = TorchFeatures(network("Images"), "fc1")
    for layer, expected in zip(("fc1", "conv", "fc1"), (*layers, layers[0]), strict=True):
        assert (features.set_params(layer=layer).transform(x) == expected).all()


def test_other_weights_are_seen():
    x, _ = images()
    model = network("Images")
    features = TorchFeatures(model, "fc1")
    before = features.transform(x)
    with torch.no_grad():
        model.conv.weight.data *= 2
    after = features.transform(x)
    assert np.abs(after - before).max() > 0.1
    assert (after == TorchFeatures(model, "fc1", cache=False).transform(x)).all()


def test_clones_share_the_model():
    model = network("Images")
    features = TorchFeatures(model, "fc1", batch_size=3)
    copy = clone(features)
    assert copy is not features and copy.model is model and copy.batch_size == 3
    assert copy.get_params() == features.get_params()


def test_pickle():
    x, y = images()
    pipeline = make_pipeline(TorchFeatures(network("Images"), "fc1"), DualViewExplainer())
    pipeline.fit(x, y)
    text = pickle.dumps(pipeline)
    assert len(text) < len(pickle.dumps(network("Images"))) + 60_000
    copy = pickle.loads(text)
    assert copy[0]._kept == {} and pipeline[0]._kept
    assert (copy.predict(x) == pipeline.predict(x)).all()
    assert (copy.transform(x) != pipeline.transform(x)).nnz == 0


def test_in_processes_and_threads():
    x, y = images()
    pipeline = make_pipeline(TorchFeatures(network("Images"), "fc1"), DualViewExplainer())
    grid = {"dualviewexplainer__C": [0.01, 1.0]}
    one = GridSearchCV(pipeline, grid, cv=3).fit(x.numpy(), y).cv_results_["mean_test_score"]
    # nothing is kept in the pickles that workers get
    two = GridSearchCV(pipeline, grid, cv=3, n_jobs=2).fit(x.numpy(), y)
    assert (one == two.cv_results_["mean_test_score"]).all()
    with joblib.parallel_config("threading", n_jobs=2):
        two = GridSearchCV(pipeline, grid, cv=3).fit(x.numpy(), y).cv_results_["mean_test_score"]
    assert (one == two).all() and pipeline[0].model.training


def test_text_with_padding():
    model, rows = network("Text"), Items(inputs_of("Text", n=N), labels(N), mapping=True)

    def collate(items):
        longest = max(int(row["attention_mask"].sum()) for row in items)
        cut = [{n: t[:longest] if t.ndim else t for n, t in row.items()} for row in items]
        return torch.utils.data.default_collate(cut)

    data = [rows[i] for i in range(N)]
    whole = TorchFeatures(model, "encoder.fc", at="input").transform(data)
    padded = TorchFeatures(model, "encoder.fc", at="input", collate=collate, batch_size=4)
    assert np.abs(padded.transform(data) - whole).max() < 1e-5
    first = TorchFeatures(model, "encoder.encoder", pool=lambda hidden: hidden[:, 0])
    assert first.transform(data).shape == (N, 8)


def test_networks_without_logits():
    x, _ = images()
    body = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.ReLU())
    assert TorchFeatures(body, "1").transform(x).shape == (N, 72)


@pytest.mark.parametrize(
    ("X", "kind", "message"),
    [
        ("text", TypeError, "X is str"),
        ([[1.0, 2.0], [3.0, 4.0]], TypeError, "an item of X"),
        ([3, 4], TypeError, "an item of X"),
        (torch.zeros(0, 1, 8, 8), ValueError, "no rows"),
        (torch.full((3, 1, 8, 8), torch.nan), ValueError, r"rows \[0, 1, 2\] are not finite"),
    ],
)
def test_rows_that_are_refused(X, kind, message):
    with pytest.raises(kind, match=message):
        TorchFeatures(network("Images"), "fc1").transform(X)


def test_parameters_that_are_refused():
    model = network("Images")
    for given, message in [
        (TorchFeatures(model, "fc9"), "'fc1', 'fc2'"),
        (TorchFeatures(model, "fc1", at="x"), "at must be"),
        (TorchFeatures(model, "fc1", batch_size=0), "batch_size"),
    ]:
        with pytest.raises(ValueError, match=message):
            given.fit(images()[0])
    with pytest.raises(TypeError, match="torch.nn.Module"):
        TorchFeatures(5, "fc1").fit(images()[0])
