"""Appendix D: a recurrent network of movie reviews."""

import re
from collections import Counter

import numpy as np
import torch
from scipy.special import softmax
from sklearn.frozen import FrozenEstimator
from torch import nn

from skattrib import LinearHead, RepresenterExplainer
from skattrib.metrics import class_detection_score, faithfulness, mislabel_detection_score
from skattrib.planting import flip_labels

N, N_TEST, N_WORDS, LENGTH = 3000, 1000, 4000, 80
EPOCHS, BATCH, RATE = 4, 50, 3e-3
FLIPPED = 0.1


class Reader(nn.Module):
    """An LSTM over words, its states averaged over the words that are there."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(N_WORDS, 48, padding_idx=0)
        self.recurrent = nn.LSTM(48, 64, batch_first=True)
        self.drop = nn.Dropout(0.3)
        self.last = nn.Linear(64, 2)

    def rows(self, words):
        """(n, 64) features."""
        states = self.recurrent(self.words(words))[0]
        there = (words > 0).unsqueeze(2).float()
        return (states * there).sum(1) / there.sum(1).clamp(min=1)

    def forward(self, words):
        """Logits of the two sentiments."""
        return self.last(self.drop(self.rows(words)))


def encoded(data):
    """Numbers of words (n, LENGTH), 0 where there is none, and labels, of both parts."""
    frame = data.load("reviews")
    frame = frame[frame["source"] == "imdb"]
    labels = frame["label"].to_numpy().astype(np.int64)
    rows = np.random.default_rng(0).permutation(len(frame))[: N + N_TEST]
    texts = [re.findall(r"[a-z']+", text.lower()) for text in frame["text"].iloc[rows]]
    counts = Counter(word for text in texts[:N] for word in text)
    codes = {word: i + 2 for i, (word, _) in enumerate(counts.most_common(N_WORDS - 2))}
    X = np.zeros((len(texts), LENGTH), dtype=np.int64)
    for row, text in enumerate(texts):
        # the end of a review is its verdict
        known = [codes.get(word, 1) for word in text[-LENGTH:]]
        X[row, : len(known)] = known
    y = labels[rows]
    return X[:N], y[:N], X[N:], y[N:]


def trained(X, y):
    """The network after a few epochs."""
    torch.manual_seed(0)
    net = Reader()
    optimizer = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=1e-2)
    X, y, source = torch.as_tensor(X), torch.as_tensor(y), torch.Generator().manual_seed(0)
    for _ in range(EPOCHS):
        net.train()
        for rows in torch.randperm(len(y), generator=source).split(BATCH):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(X[rows]), y[rows]).backward()
            optimizer.step()
    return net.eval()


def read(net, X):
    """Features and logits."""
    with torch.no_grad():
        rows = torch.cat([net.rows(part) for part in torch.as_tensor(X).split(500)])
        return rows.numpy(), net.last(rows).numpy()


def lstm(data):
    """Fidelity, the classes of representer points, shared words, and flipped labels found."""
    X, y, X_test, y_test = encoded(data)
    net = trained(X, y)
    rows, logits = read(net, X)
    tests, test_logits = read(net, X_test)
    head = LinearHead(net.last.weight.detach().numpy(), net.last.bias.detach().numpy())
    explainer = RepresenterExplainer(FrozenEstimator(head)).fit(rows, y)
    mine = explainer.decision_function(tests)
    theirs = test_logits[:, 1] - test_logits[:, 0]
    fidelity = faithfulness(mine, theirs)
    predicted = explainer.predict(tests)
    T = explainer.attribute(tests[:500])
    detected = class_detection_score(T, y, predicted[:500], confidence=0.95, random_state=0)
    _, best = explainer.top_k(tests, 5)
    _, worst = explainer.top_k(tests, 5, largest=False)
    # words that two reviews share, over those of either
    sets = [set(row) - {0, 1} for row in X]
    test_sets = [set(row) - {0, 1} for row in X_test]

    def shared(chosen):
        pairs = [(test_sets[j], sets[i]) for j in range(len(chosen)) for i in chosen[j]]
        return float(np.mean([len(a & b) / max(1, len(a | b)) for a, b in pairs]))

    random = np.random.default_rng(0).integers(0, N, best.shape)
    values = {
        "n": N,
        "n_test": N_TEST,
        "accuracy": float((test_logits.argmax(1) == y_test).mean()),
        "train_accuracy": float((logits.argmax(1) == y).mean()),
        "correlation_logits": fidelity.correlation,
        "correlation_probabilities": float(
            np.corrcoef(1 / (1 + np.exp(-mine)), softmax(test_logits, axis=1)[:, 1])[0, 1]
        ),
        "agreement": fidelity.agreement,
        "completeness_error": explainer.completeness_error_,
        "class_detection": [detected.score, detected.low, detected.high],
        "opponents_of_other_class": float((y[worst] != predicted[:, None]).mean()),
        "shared_words": {
            "proponents": shared(best),
            "opponents": shared(worst),
            "random": shared(random),
        },  # fmt: skip
    }
    y_noisy, wrong = flip_labels(y, FLIPPED, random_state=0)
    rows, _ = read(trained(X, y_noisy), X)
    scores = RepresenterExplainer().fit(rows, y_noisy).global_importance_
    area = mislabel_detection_score(scores, wrong, confidence=0.95, random_state=0)
    values["flipped_found"] = [area.score, area.low, area.high]
    return values


CELLS = {"lstm": lstm}
