"""Text: dicts of tokens and masks in, objects with logits out, padding; all the way to top_k."""

import re
import warnings
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from sklearn.pipeline import make_pipeline  # noqa: E402
from torch.utils.data import DataLoader, default_collate  # noqa: E402
from torch_cases import Encoder, Items, K, N, Text, inputs_of, labels, network  # noqa: E402

from skattrib import (  # noqa: E402
    DualViewExplainer,
    InfluenceExplainer,
    LinearHead,
    SimilarityExplainer,
    TRAKExplainer,
)
from skattrib.torch_adapters import (  # noqa: E402
    TorchFeatures,
    gradient_rows,
    last_layer,
    layer_features,
    losses,
)

M = 6
ROWS = {
    "train": Items(inputs_of("Text"), labels(), mapping=True),
    "test": Items(inputs_of("Text", 1, M), labels(M), mapping=True),
}


def cut(items):
    """A batch as a tokenizer pads it: as wide as its longest text."""
    longest = max(int(row["attention_mask"].sum()) for row in items)
    return default_collate(
        [{n: t[:longest] if t.ndim else t for n, t in row.items()} for row in items]
    )


def batches(rows, padded):
    return DataLoader(ROWS[rows], batch_size=4, collate_fn=cut if padded else None)


def explained(method, model, padded):
    """Attributions and strongest rows by a method, from tokens."""
    train, test = (batches(rows, padded) for rows in ROWS)
    if method == "pipeline":
        data = [[items[i] for i in range(len(items))] for items in ROWS.values()]
        collate = cut if padded else None
        features = TorchFeatures(model, "encoder.fc", at="input", collate=collate, batch_size=4)
        explainer = DualViewExplainer(tol=1e-8, sparse_output=False, random_state=0)
        pipeline = make_pipeline(features, explainer).fit(data[0], labels().numpy())
        explainer, X = pipeline[-1], pipeline[:-1].transform(data[1])
    elif method == "head":
        head, new = last_layer(model, train), last_layer(model, test)
        assert head.error < 1e-6 and (head.y == labels().numpy()).all()
        one = LinearHead(head.coef, head.intercept, temperature=2.0)
        explainer, X = InfluenceExplainer(one).fit(head.X, head.y), new.X
    elif method == "TRAK":
        G = gradient_rows(model, train, output="log_odds", k=None)
        new = gradient_rows(model, test, output="log_odds", target="predicted", k=None)
        explainer = TRAKExplainer().fit(G.X, G.y, probabilities=G.label_probabilities)
        X = new.X
    else:
        G, new = gradient_rows(model, train, k=64), gradient_rows(model, test, k=64)
        explainer, X = SimilarityExplainer().fit(G.X, G.y), new.X
    return explainer.attribute(X), explainer.top_k(X, k=3)


@pytest.mark.parametrize("method", ["pipeline", "head", "TRAK", "GradDot"])
def test_from_tokens_to_rows(method):
    """However far texts are padded."""
    model = network("Text")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        T, (values, rows) = explained(method, model, padded=True)
        expected = explained(method, model, padded=False)[0]
    assert T.shape == (M, N) and values.shape == rows.shape == (M, 3)
    limit = (1e-3 if method == "pipeline" else 1e-4) * np.abs(expected).max()
    assert np.abs(T - expected).max() < limit
    best = np.sort(expected, axis=1)[:, :-4:-1]
    assert np.abs(values - best).max() < limit
    assert np.abs(np.take_along_axis(expected, rows, axis=1) - best).max() < limit
    assert model.training


class Deaf(Encoder):
    """Takes padding for text."""

    def forward(self, tokens, mask):
        return super().forward(tokens, torch.ones_like(mask))


class Fixed(Text):
    """Takes texts of one length only."""

    def forward(self, input_ids, attention_mask, **more):
        assert input_ids.shape[1] == 6
        return super().forward(input_ids, attention_mask, **more)


ENTRIES = {
    "layer_features": lambda model: layer_features(
        model, batches("train", False), "encoder.fc", at="input"
    ),
    "last_layer": lambda model: last_layer(model, batches("train", False)),
    "gradient_rows": lambda model: gradient_rows(model, batches("train", False), k=8),
    "losses": lambda model: losses(model, batches("train", False)),
    "TorchFeatures": lambda model: TorchFeatures(model, "encoder.fc", at="input").transform(
        [ROWS["train"][i] for i in range(N)]
    ),
}


@pytest.mark.parametrize("entry", ENTRIES)
def test_networks_that_take_padding_for_text(entry):
    model = network("Text")
    model.encoder = Deaf()
    with pytest.warns(UserWarning, match="without its padding.*attention_mask") as caught:
        ENTRIES[entry](model)
    assert [w.filename for w in caught] == [__file__]


@pytest.mark.parametrize("entry", ENTRIES)
def test_networks_of_one_length(entry):
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ENTRIES[entry](Fixed())


def test_texts_without_padding():
    """Nothing is left out, or all of it: nothing to compare with."""
    tokens, _ = inputs_of("Text")
    model = network("Text")
    model.encoder = Deaf()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for mask in (torch.ones_like(tokens), torch.zeros_like(tokens)):
            rows = [{"input_ids": tokens, "attention_mask": mask, "labels": labels()}]
            assert losses(model, rows).logits.shape == (N, K)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_a_network_of_transformers(attention):
    """Against a loop of autograd without padding; by vmap with the guide's mask."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 2}
    config = transformers.BertConfig(
        vocab_size=11, num_attention_heads=2, num_labels=K, attn_implementation=attention, **sizes
    )
    model = transformers.BertForSequenceClassification(config).train()
    with pytest.warns(RuntimeWarning, match="one by one"):
        found = gradient_rows(model, batches("train", True), output="logit", k=None)
    page = Path(__file__).parents[1] / "docs/guide/gradients.md"
    names = {"torch": torch}
    exec(re.search(r"def finished_mask.*?\n(?=```)", page.read_text("utf-8"), re.DOTALL)[0], names)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        unpack = names["finished_mask"]
        other = gradient_rows(model, batches("train", False), output="logit", k=None, unpack=unpack)
        head = last_layer(model, batches("train", True))
    assert head.error < 1e-5 and model.training
    model.eval()
    for i in range(N):
        row = ROWS["train"][i]
        kept = row["attention_mask"] != 0
        z = model(row["input_ids"][None, kept], row["attention_mask"][None, kept]).logits[0]
        parts = torch.autograd.grad(z[i % K], list(model.parameters()), allow_unused=True)
        expected = torch.cat(
            [
                torch.zeros(p.numel()) if g is None else g.flatten()
                for p, g in zip(model.parameters(), parts, strict=True)
            ]
        ).numpy()
        limit = 1e-5 * np.abs(expected).max()
        assert np.abs(found.X[i] - expected).max() < limit
        assert np.abs(other.X[i] - expected).max() < limit
        assert np.abs(head.logits[i] - z.detach().numpy()).max() < 1e-5
