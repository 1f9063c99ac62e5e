"""Which explainer of a torch CNN ranks the outputs of really retrained CNNs?

Networks of 204,000 parameters on 3,000 rows of Fashion-MNIST, from SKATTRIB_FASHION_MNIST (Debian's
dataset-fashion-mnist by default), and on SKATTRIB_HALVES random halves of them (50), SKATTRIB_SEEDS
times each (2). They are kept in SKATTRIB_TRUTH, so that a run that was ended goes on; `python
benchmarks/cnn_truth.py FOLDER` only makes them. The score is the linear datamodeling score of the
log-odds of the class that a network on all rows predicts, with intervals over the test rows: of
each of five such networks alone, averaged, and of attributions averaged over the five.
"""

import os
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from cnn_truth import N_NETWORKS, RATE, Truth, one_thread
from scipy.special import logsumexp
from scipy.stats import rankdata
from torch.utils.data import DataLoader, TensorDataset

from skattrib import (
    AveragedExplainer,
    DualViewExplainer,
    InfluenceExplainer,
    LinearHead,
    RepresenterExplainer,
    SimilarityExplainer,
    TRAKExplainer,
)
from skattrib.metrics import linear_datamodeling_score
from skattrib.torch_adapters import (
    dropout_states,
    geometric_ensemble,
    gradient_rows,
    last_layer,
    losses,
)

FOLDER = Path(os.environ.get("SKATTRIB_TRUTH", Path(__file__).parent / "results" / "cnn_truth"))
ALL = list(range(N_NETWORKS))
COPIES, MEMBERS = 10, 16
# without any ridge rounding has more than the curvature of sketches
PUBLISHED = {"curvature": "identity", "ridge": 1e-3}


class Networks:
    """The truth, and rows of the networks on all rows, computed once."""

    def __init__(self, truth):
        self.truth = truth
        outputs = np.stack([last.logits for last in map(self.head, ALL, ["test"] * len(ALL))])
        # classes that each network explains alone, and all together
        self.own, self.common = outputs.argmax(axis=2), outputs.mean(axis=0).argmax(axis=1)
        self.cache, self.saved = {}, 0.0

    def batches(self, part, labels=None):
        """Images and labels of training or test rows."""
        X = self.truth.X if part == "train" else self.truth.X_test
        y = self.truth.y if labels is None else labels
        return list(zip(*(torch.as_tensor(a).split(100) for a in (X, y)), strict=True))

    def head(self, e, part):
        """Last layer of a network, and its inputs."""
        y = self.truth.y if part == "train" else self.truth.y_test
        return last_layer(self.truth.nets[e], self.batches(part, y))

    def gradients(self, e, labels=None, **options):
        """Rows of gradients: of the training rows, or of test rows explained by labels."""
        rows = partial(gradient_rows, self.truth.nets[e], **options)
        if labels is not None:
            return rows(self.batches("test", labels))
        key = e, str({name: value for name, value in options.items() if name != "states"})
        if key in self.cache:
            self.saved += self.cache[key][1]
        else:
            start = time.perf_counter()
            found = rows(self.batches("train"))
            self.cache[key] = found, time.perf_counter() - start
        return self.cache[key][0]

    def outputs(self, labels):
        """Log-odds of a class a test row by networks on halves, (n_seeds, n_halves, m)."""
        at = np.arange(len(labels))
        own = self.truth.logits[..., at, labels]
        others = self.truth.logits.copy()
        others[..., at, labels] = -np.inf
        return own - logsumexp(others, axis=-1)

    def score(self, T, labels):
        """Score, and the ends of its interval."""
        outputs = self.outputs(labels).mean(axis=0)
        found = linear_datamodeling_score(
            T, self.truth.masks, outputs, confidence=0.95, random_state=0
        )
        return np.array([found[end] for end in ("score", "low", "high")])

    def measured(self, method):
        """((score, low, high), seconds a network) of the networks alone, and of all together."""
        alone, together = [], []
        self.saved, start = 0.0, time.perf_counter()
        for e in ALL:
            alone.append(self.score(method([e], self.own[e]), self.own[e]))
        seconds = (time.perf_counter() - start + self.saved) / len(ALL)
        together = self.score(method(ALL, self.common), self.common)
        return np.mean(alone, axis=0), together, seconds

    def agreement(self):
        """Of outputs that differ in their seeds alone, and the highest score that it leaves."""
        outputs = self.outputs(self.common)
        ranks = rankdata(outputs, axis=1)
        ranks -= ranks.mean(axis=1, keepdims=True)
        ranks /= np.linalg.norm(ranks, axis=1, keepdims=True)
        n = len(outputs)
        sums = np.einsum("ahj,bhj->ab", ranks, ranks) / outputs.shape[2]
        between = (sums.sum() - np.trace(sums)) / (n * (n - 1))
        # of the mean over seeds (Spearman and Brown)
        return between, np.sqrt(n * between / (1 + (n - 1) * between))

    # methods: attributions of some networks together, to labels of the test rows

    def trak(self, nets, labels, k=4096, divided_by=1.0, parameters=None, **options):
        """TRAK on sketched gradients of the log-odds, of logits that may be divided before."""
        how = {
            "output": "log_odds",
            "k": k,
            "temperature": divided_by,
            "parameters": parameters,
        }
        train = [self.gradients(e, **how) for e in nets]
        test = [self.gradients(e, labels, **how) for e in nets]
        p = np.column_stack([rows.label_probabilities for rows in train])
        e = TRAKExplainer(len(nets), **options)
        e.fit(np.hstack([rows.X for rows in train]), train[0].y, probabilities=p)
        return e.attribute(np.hstack([rows.X for rows in test]), labels)

    def similarity(self, nets, labels, how=None, metric="dot"):
        """Products of gradients of the loss; of several states by how(e)."""
        total = 0.0
        for e in nets:
            options = {} if how is None else how(e)
            explainer = SimilarityExplainer(metric=metric)
            train = self.gradients(e, output="loss", **options)
            explainer.fit(train.X, train.y)
            total += explainer.attribute(self.gradients(e, labels, output="loss", **options).X)
        return total / len(nets)

    def checkpoints(self, e):
        """TracIn's states, weighed by the learning rate that led to each."""
        return {"states": self.truth.states[e], "weights": self.truth.rates[e]}

    def copies(self, e):
        """States of IP-Ensemble."""
        states = dropout_states(self.truth.nets[e], COPIES, random_state=e)
        return {"states": states, "weights": [1 / COPIES] * COPIES}

    def sim(self, nets, labels):
        """Products of gradients of the explained class's logit."""
        T = np.zeros((len(labels), len(self.truth.y)))
        for e in nets:
            how = {"output": "logit", "k": 512}
            train = self.gradients(e, target="all", **how)
            blocks = train.X.reshape(len(train.y), -1, 512)
            test = self.gradients(e, labels, **how).X
            for c in np.unique(labels):
                explainer = SimilarityExplainer().fit(blocks[:, c].copy(), train.y)
                T[labels == c] += explainer.attribute(test[labels == c]) / len(nets)
        return T

    def gex(self, nets, labels):
        """Products of differences of losses to those of the network."""
        total = 0.0
        for e in nets:
            net, rows = self.truth.nets[e], self.batches("train")
            if ("members", e) not in self.cache:
                shuffled = DataLoader(
                    TensorDataset(*map(torch.as_tensor, (self.truth.X, self.truth.y))),
                    batch_size=50,
                    shuffle=True,
                    generator=torch.Generator().manual_seed(e),
                )
                self.cache["members", e] = geometric_ensemble(
                    net, shuffled, MEMBERS, learning_rate=RATE, random_state=e
                )
            states = [None, *self.cache["members", e]]
            found = [
                losses(net, batches, states=states).X
                for batches in (rows, self.batches("test", labels))
            ]
            train, test = (X[:, 1:] - X[:, :1] for X in found)
            total += SimilarityExplainer().fit(train, self.truth.y).attribute(test)
        return total / len(nets)

    def of_features(self, nets, labels, make=None, output=None):
        """An explainer make(head) of inputs of the last layers."""
        heads = [[self.head(e, part) for e in nets] for part in ("train", "test")]
        X, X_test = (np.hstack([head.X for head in of]).astype(np.float64) for of in heads)
        d = heads[0][0].X.shape[1]
        members = [
            (str(m), make(head), slice(m * d, (m + 1) * d)) for m, head in enumerate(heads[0])
        ]
        e = AveragedExplainer(members).fit(X, self.truth.y)
        target = labels if output is None else e.target_weights(X_test, output, labels)
        return e.attribute(X_test, target)

    def random(self, nets, labels):
        """What chance has."""
        return np.random.default_rng(nets[0]).normal(size=(len(labels), len(self.truth.y)))


def influence(head, temperature=2.0):
    """Influence on the last layer as it is."""
    return InfluenceExplainer(LinearHead(head.coef, head.intercept, temperature=temperature))


def methods(data):
    """Name -> attributions of some networks to labels."""
    features = partial(partial, data.of_features)
    return {
        "TRAK": data.trak,
        "TRAK, as published": partial(data.trak, **PUBLISHED, temperature=1.0),
        "TRAK, as published, T = 2": partial(data.trak, **PUBLISHED),
        "influence, last layer, T = 2": features(make=influence, output="log_odds"),
        "TracIn": partial(data.similarity, how=data.checkpoints),
        "GradDot, IP": data.similarity,
        "GradCos": partial(data.similarity, metric="cosine"),
        "IP-Ensemble": partial(data.similarity, how=data.copies),
        "SIM": data.sim,
        "GEX": data.gex,
        "DualView": features(make=lambda head: DualViewExplainer(random_state=0)),
        "representer": features(make=lambda head: RepresenterExplainer()),
        "cosine": features(make=lambda head: SimilarityExplainer(metric="cosine")),
        "random": data.random,
    }


def trials(data):
    """The same of other settings than the default ones."""
    trak = partial(partial, data.trak)
    found = {f"TRAK, temperature {T}": trak(temperature=T) for T in (1.0, 3.0)}
    found["TRAK, gradients of divided logits"] = trak(divided_by=2.0, temperature=1.0)
    found |= {f"TRAK, ridge {ridge}": trak(ridge=ridge) for ridge in (0.3, 1.0, 4.0, 10.0)}
    found |= {f"TRAK, k = {k}": trak(k=k) for k in (512, 2048, 8192)}
    found["TRAK, curvature identity"] = trak(curvature="identity")
    found["TRAK, linear layers"] = trak(parameters=["10", "12"])
    found["influence, last layer, T = 1"] = partial(
        data.of_features, make=partial(influence, temperature=1.0), output="log_odds"
    )
    return found


@pytest.mark.parametrize("kind", [methods, trials], ids=["methods", "trials"])
@pytest.mark.filterwarnings("ignore::UserWarning")
def bench_cnn(benchmark, record, kind):
    one_thread()
    data = Networks(Truth(FOLDER))

    def all_of_them():
        for method, attributions in kind(data).items():
            found = data.measured(attributions)
            print(f"[cnn] {method}: {found[0][0]:.3f}, average {found[1][0]:.3f}")
            yield method, *found

    for method, alone, together, seconds in benchmark.pedantic(
        lambda: list(all_of_them()), rounds=1
    ):
        for networks, (value, low, high) in (("one", alone), ("average", together)):
            record(
                "cnn" if kind is methods else "cnn_trials",
                method=method,
                networks=networks,
                lds=float(value),
                low=float(low),
                high=float(high),
                seconds=seconds,
            )
    if kind is methods:
        between, highest = data.agreement()
        record(
            "cnn_truth",
            halves=len(data.truth.masks),
            seeds=len(data.truth.logits),
            accuracy=float(np.mean(data.own == data.truth.y_test)),
            accuracy_on_halves=float(
                np.mean(data.truth.logits.argmax(axis=-1) == data.truth.y_test)
            ),
            agreement_of_seeds=float(between),
            highest_score=float(highest),
        )
