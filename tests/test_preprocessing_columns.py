"""Columns of a table found again in the features made of them, and shares summed by column."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import make_column_transformer
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.feature_selection import VarianceThreshold
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline, make_pipeline, make_union
from sklearn.preprocessing import (
    FunctionTransformer,
    OneHotEncoder,
    PolynomialFeatures,
    StandardScaler,
)

from skattrib import DualViewExplainer
from skattrib.preprocessing import column_groups, sum_shares

TABLE = pd.DataFrame(
    {
        "age": [1.0, 2, np.nan, 4],
        "city": ["u", "v", "u", "age_w"],  # an output is named city_age_w
        "text": ["red fish", "blue fish", "one", "two"],
        "height": [4.0, 1, 3, 2],
    }
)
NUMBERS = TABLE[["age", "height"]].fillna(0)


class Nameless(TransformerMixin, BaseEstimator):
    """A transformer that tells nothing of what it makes."""

    def fit(self, X, y=None):
        self.fitted_ = True
        return self

    def transform(self, X):
        return np.asarray(X)[:, ::-1]


CASES = {
    "scaler": (StandardScaler(), NUMBERS, "age height"),
    "arrays": (StandardScaler(), NUMBERS.to_numpy(), "x0 x1"),
    "pca": (PCA(1), NUMBERS, "pca0"),
    "products": (PolynomialFeatures(), NUMBERS, "1 age height age age height height"),
    "function": (FunctionTransformer(feature_names_out="one-to-one"), NUMBERS, "age height"),
    "encoder": (
        OneHotEncoder(drop="first"),
        TABLE[["city", "height"]],
        "city city" + 3 * " height",
    ),
    "terms": (TfidfVectorizer(), TABLE["text"], "blue fish one red two"),
    "union": (make_union(StandardScaler(), PCA(1)), NUMBERS, "age height pca__pca0"),
    "columns": (
        make_column_transformer(
            (OneHotEncoder(), ["city"]),
            (make_pipeline(SimpleImputer(add_indicator=True), StandardScaler()), [3, 0]),
            (TfidfVectorizer(), "text"),
        ),
        TABLE,
        "city city city height age age" + 5 * " text",
    ),
    "remainder": (
        make_column_transformer(
            (StandardScaler(), [-1]), ("drop", ["age"]), remainder=OneHotEncoder()
        ),
        TABLE[["age", "city", "height"]],
        "height city city city",
    ),
    "slice": (
        make_column_transformer((StandardScaler(), slice("age", "age")), remainder="passthrough"),
        TABLE[["height", "age"]],
        "age height",
    ),
    "mask": (
        make_column_transformer((PCA(2), [True, False, True]), remainder="passthrough"),
        NUMBERS.assign(more=[1, 2, 3, 5]),
        "pca__pca0 pca__pca1 height",
    ),
    "steps": (
        make_pipeline("passthrough", OneHotEncoder(), VarianceThreshold(0.2)),
        TABLE[["height", "city"]].assign(city=["u", "v", "u", "v"]),
        "city city",
    ),
    "lost on the way": (
        make_pipeline(Nameless(), StandardScaler()),
        NUMBERS,
        "feature 0 feature 1",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_features_are_traced_to_their_columns(name):
    transformer, X, expected = CASES[name]
    transformer = transformer.fit(X, [0, 1, 0, 1])
    names, groups = column_groups(transformer)
    assert " ".join(names[g] for g in groups) == expected
    assert groups.dtype == np.intp and len(groups) == transformer.transform(X).shape[1]


def test_columns_of_skrub_are_traced():
    skrub = pytest.importorskip("skrub")
    table = TABLE.assign(born=pd.date_range("2020-01-01", periods=4, freq="40D"))
    names, groups = column_groups(
        make_pipeline(skrub.TableVectorizer(), SimpleImputer(), StandardScaler()).fit(table)
    )
    found = [names[g] for g in groups]
    assert names == list(table) and set(found) == set(table)
    assert found.count("age") == 1 and found.count("born") >= 3 and found.count("city") == 3


def test_names_come_from_the_caller_where_given():
    scaler = StandardScaler().fit(NUMBERS)
    assert column_groups(scaler, ["a", 7])[0] == ["a", "7"]
    assert column_groups(Pipeline([]), ["a", "b"])[1].tolist() == [0, 1]
    with pytest.raises(ValueError, match="3 names for 2 columns"):
        column_groups(scaler, ["a", "b", "c"])


def test_what_tells_nothing_is_not_guessed():
    transformer = Nameless().fit(NUMBERS)
    with pytest.raises(ValueError, match="give n_features_out"):
        column_groups(transformer, list(NUMBERS))
    names, groups = column_groups(transformer, list(NUMBERS), n_features_out=2)
    assert [names[g] for g in groups] == ["feature 0", "feature 1"]
    with pytest.raises(ValueError, match="makes 2 features, n_features_out says 3"):
        column_groups(StandardScaler().fit(NUMBERS), n_features_out=3)
    with pytest.raises(NotFittedError):
        column_groups(StandardScaler())


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_shares_are_summed_by_column(make, dtype):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(30, 5)).astype(dtype), np.arange(30) % 3
    explainer = DualViewExplainer().fit(make(X), y)
    indices = explainer.top_k(make(X[:4]), 3)[1]
    shares, groups = explainer.decompose(make(X[:4]), indices), np.array([2, 0, 2, 3, 0])
    summed = sum_shares(shares, groups, 4)
    assert summed.dtype == dtype and summed.shape == (*shares.shape[:-1], 4)
    assert sparse.issparse(summed) == sparse.issparse(shares)
    summed, shares = (
        part.toarray() if sparse.issparse(part) else part for part in (summed, shares)
    )
    for column in range(4):
        expected = sum(shares[..., f] for f in range(5) if groups[f] == column)
        np.testing.assert_allclose(summed[..., column], expected, atol=1e-6)


@pytest.mark.parametrize("groups", [[0, 1], [[0, 1, 0]], [0, 1, -1], [0, 1, 2], [0.0, 1, 0]])
def test_groups_that_do_not_fit_are_refused(groups):
    with pytest.raises(ValueError, match="groups must be"):
        sum_shares(np.zeros((2, 1, 3)), np.array(groups), 2)
