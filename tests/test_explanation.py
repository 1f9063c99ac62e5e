"""explain(): numbers are those of the explainer, names those of the table, text is harmless."""

import json
import pickle
import re
import sys
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import polars as pl
import pytest
from cases import (
    COEF,
    EXPLAINERS,
    NO_SHARES,
    SAME_CLASS,
    attributions,
    fitted,
    label_weights,
    problem,
    shares,
)
from cases import logits as logits_of
from scipy import sparse
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_diabetes, load_digits, load_wine
from sklearn.decomposition import PCA
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVC

from skattrib import (
    DualViewExplainer,
    InfluenceExplainer,
    MLPExplainer,
    RepresenterExplainer,
    RepresenterRegressor,
    SimilarityExplainer,
    TRAKExplainer,
    explain,
    table_preprocessor,
)
from skattrib.findings import Explanation, RowExplanation
from skattrib.retraining import leave_one_out_outputs

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=a()>',
    "{{ 7 * 7 }}",
    "a\u202e\x1b[2J",
]


# numbers


@pytest.mark.parametrize("layout", ["dense64", "csr32"])
@pytest.mark.parametrize("name", EXPLAINERS)
def test_every_explainer_says_what_its_methods_say(name, layout):
    if layout == "csr32" and name in ("LeaveOneOut", "ExemplarSVM"):
        pytest.skip("the same path as for others, and slow")
    e, (_, y, X) = fitted(name, 3, layout), problem(3, layout)
    k = 3
    found = explain(e, X, k=k)
    assert len(found) == X.shape[0] and found.explainer is e
    predicted = e.predict(X)
    T = attributions(e, X, predicted)
    for j, row in enumerate(found):
        assert (row.row, row.id, row.predicted, row.target) == (j, j, predicted[j], predicted[j])
        assert row.label is None and row.right is None
        order = np.argsort(-T[j], kind="stable")
        signs = {"proponents": order[T[j][order] > 0], "opponents": order[::-1]}
        signs["opponents"] = np.argsort(T[j], kind="stable")
        signs["opponents"] = [i for i in signs["opponents"] if -np.inf < T[j, i] < 0]
        if getattr(e, "metric", "") == "euclidean":
            signs = {"proponents": order, "opponents": []}
        for side, rows in signs.items():
            pairs = getattr(row, side)
            assert [pair.row for pair in pairs] == list(rows[:k])
            assert [pair.rank for pair in pairs] == list(range(1, len(pairs) + 1))
            assert [pair.label for pair in pairs] == list(y[rows[:k]])
            assert [pair.id for pair in pairs] == list(rows[:k])
            np.testing.assert_allclose([pair.value for pair in pairs], T[j, rows[:k]], rtol=1e-6)
        if hasattr(e, "decision_function"):
            output = (label_weights(e, predicted) * logits_of(e, X)).sum(axis=1)[j]
            assert row.decision_value == pytest.approx(output, rel=1e-6)
        else:
            assert row.decision_value is None
        base = e.base_value(X)[j] if hasattr(e, "base_value") else None
        assert row.base_value == (base if base is None else pytest.approx(base))
        rows = np.array([[pair.row for pair in row.pairs]])
        if name in NO_SHARES or getattr(e, "n_models", 1) > 1:
            assert row.columns == [] and all(pair.columns == [] for pair in row.pairs)
        elif row.pairs:
            S = shares(e, X[[j]], rows, predicted[[j]])[0]
            top = np.argsort(-np.abs(S), axis=1, kind="stable")[:, :3]
            for pair, share, best in zip(row.pairs, S, top, strict=True):
                best = [c for c in best if share[c]]
                assert [name for name, _ in pair.columns] == [f"column {c}" for c in best]
                np.testing.assert_allclose([v for _, v in pair.columns], share[best], rtol=1e-6)
            heavy = np.argsort(-np.abs(S).sum(axis=0), kind="stable")[: len(row.columns)]
            assert row.columns == [f"column {c}" for c in heavy]
            assert np.allclose([pair.shown[0][1] for pair in row.pairs], S[:, heavy[0]])


@pytest.mark.parametrize("name", [name for name in COEF if "nfluence" not in name])
@pytest.mark.parametrize("K", [2, 3])
def test_all_rows_and_the_base_value_sum_to_the_decision_value(name, K):
    e, (X_train, _, X) = fitted(name, K), problem(K)
    for row in explain(e, X, k=len(X_train), target=e.classes_[0]):
        total = sum(pair.value for pair in row.pairs) + row.base_value
        assert total == pytest.approx(row.decision_value, abs=1e-5)


@pytest.mark.parametrize("K", [2, 3])
def test_targets(K):
    e, (_, _, X) = fitted("Representer", K), problem(K)
    weights = np.random.default_rng(0).normal(size=(len(X), K))
    for target in (
        e.classes_[1],
        np.resize(e.classes_, len(X)),
        weights,
        sparse.csr_array(weights),
    ):
        dense = target.toarray() if sparse.issparse(target) else target
        values, rows = e.top_k(X, 2, target=dense)
        V = weights if np.ndim(dense) == 2 else label_weights(e, np.broadcast_to(dense, len(X)))
        for j, row in enumerate(explain(e, X, k=2, target=target)):
            chosen = values[j] > 0
            assert [pair.row for pair in row.proponents] == list(rows[j][chosen])
            assert row.decision_value == pytest.approx((V[j] * logits_of(e, X)[j]).sum())
            expected = None if np.ndim(dense) == 2 else np.broadcast_to(dense, len(X))[j]
            assert row.target == expected
    assert "outputs as weighed" in repr(explain(e, X, target=weights))


def test_a_bound_wide_beside_the_value_is_remarked():
    X, y = load_wine(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    loose = explain(DualViewExplainer(tol=0.5, random_state=0).fit(X, y), X[:3])
    tight = explain(DualViewExplainer(tol=1e-8, random_state=0).fit(X, y), X[:3])
    assert all(row.bound > 0.25 * abs(row.decision_value) for row in loose)
    assert repr(loose).count("wide beside") == 3 and loose.to_html().count("wide beside") == 3
    assert "wide beside" not in repr(tight) + tight.to_html()


@pytest.mark.parametrize("n_units", [1, 3])
def test_regressors(n_units):
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    Y = y if n_units == 1 else np.column_stack([y, y**2, -y])
    e = RepresenterRegressor().fit(X[10:], Y[10:])
    if n_units > 1:
        with pytest.raises(ValueError, match="give a target, one of the 3 units"):
            explain(e, X[:3])
    weights = np.random.default_rng(0).normal(size=(3, n_units))
    z = e.decision_function(X[:3]).reshape(3, n_units)
    for target, V in ((0, np.eye(n_units)[[0] * 3]), (weights, weights)):
        found = explain(e, X[:3], target=target, y=y[:3], y_train=y[10:], k=2, X_train=X[10:])
        values, rows = e.top_k(X[:3], 2, target=target)
        for j, row in enumerate(found):
            assert row.decision_value == pytest.approx(V[j] @ z[j])
            assert row.base_value == pytest.approx(e.base_value(X[:3], target)[j])
            assert [pair.value for pair in row.proponents] == pytest.approx(values[j])
            assert [pair.id for pair in row.proponents] == [10 + i for i in rows[j]]
            assert row.proponents[0].label == y.iloc[10 + rows[j, 0]]
            assert row.right is None and row.label == y.iloc[j]
            expected = e.predict(X[:3]).reshape(3, -1)[j, 0]
            known = target is not weights or n_units == 1
            assert row.predicted == (pytest.approx(expected) if known else None)
        assert "labelled 151" in repr(found) and len(found.to_frame()) >= 6
        page = found.to_html()
        assert "Suspicious" not in page and "summed by label" not in page
    assert found.to_dict()["rows"][0]["target_class"] is None
    with pytest.raises(ValueError, match="target must be units"):
        explain(e, X[:3], target=n_units)
    assert "train_label" not in explain(e, X[:3], target=0).to_frame()


# tables


def make_table(n=60):
    rng = np.random.default_rng(0)
    codes = rng.integers(3, size=n)
    frame = pd.DataFrame(
        {
            "city": np.array(["Łódź", "京都", "Rome"])[(codes + (rng.random(n) < 0.3)) % 3],
            "age": rng.normal(40, 9, size=n) + 9 * codes,
            "height": rng.normal(size=n) - codes,
        },
        index=[f"p{i}" for i in range(n)],
    )
    return frame, pd.Series(np.array(["a", "b", "c"])[codes], index=frame.index, name="kind")


def make_model(**options):
    encoder = make_column_transformer(
        (OneHotEncoder(), ["city"]), (StandardScaler(), ["height", "age"])
    )
    return make_pipeline(encoder, RepresenterExplainer(C=0.1, **options))


def test_shares_are_summed_to_the_columns_of_the_table():
    X, y = make_table()
    model = make_model().fit(X[:50], y[:50])
    Z = model[:-1].transform(X[50:])
    explainer = model[-1]
    values, rows = explainer.top_k(Z, 2)
    S = explainer.decompose(Z, rows)
    summed = np.stack([S[..., :3].sum(axis=-1), S[..., 4], S[..., 3]], axis=-1)
    found = explain(model, X[50:], k=2, X_train=X[:50], y=y[50:])
    assert found[0].id_name == "row"
    for j, row in enumerate(found):
        assert row.id == f"p{50 + j}" and row.label == y.iloc[50 + j]
        assert row.right == (row.label == row.predicted)
        own = dict(zip(row.columns, row.values, strict=True))
        assert own == X.iloc[50 + j].to_dict()
        for q, pair in enumerate(row.proponents):
            assert pair.id == f"p{rows[j, q]}" and pair.label == y.iloc[rows[j, q]]
            expected = dict(zip(X.columns, summed[j, q], strict=True))
            assert {k: pytest.approx(v) for k, v in pair.columns} == {
                k: v for k, v in expected.items() if v
            }
            known = {c: v for c, (v, _) in zip(row.columns, pair.shown, strict=True)}
            assert known == X.iloc[rows[j, q]].to_dict()
    # columns in another order, or more of them, go by name
    mixed = X[["height", "city", "age"]].assign(more=1)
    again = explain(model, mixed[50:], k=2, X_train=mixed[:50], y=y[50:])
    assert again.to_json() == found.to_json()
    assert again[0].values == found[0].values


def test_what_columns_lose_goes_by_its_own_name():
    X, y = load_wine(return_X_y=True, as_frame=True)
    model = make_pipeline(StandardScaler(), PCA(2), DualViewExplainer(random_state=0)).fit(X, y)
    row = explain(model, X[:1], X_train=X)[0]
    assert set(row.columns) == {"pca0", "pca1"}
    Z = model[:-1].transform(X)
    assert row.values == [Z[0, int(name[-1])] for name in row.columns]
    first = row.proponents[0]
    assert [value for value, _ in first.shown] == [Z[first.row, int(c[-1])] for c in row.columns]


def test_the_table_preprocessor_says_what_it_did():
    X, y = make_table()
    model = make_pipeline(table_preprocessor(), DualViewExplainer(random_state=0)).fit(X, y)
    found = explain(model, X[:2])
    assert {name for row in found for name in row.columns} <= set(X.columns)
    assert any("height" in line for line in found.decisions)
    assert found.decisions[0] in found.to_html()


def test_terms_of_texts():
    texts = ["win a free prize", "free cash now", "lunch at noon", "the meeting at noon"] * 2
    labels = ["spam", "spam", "mail", "mail"] * 2
    model = make_pipeline(TfidfVectorizer(), RepresenterExplainer()).fit(texts, labels)
    new = ["a free lunch at noon"]
    known, bare = explain(model, new, X_train=texts), explain(model, pd.Series(new))
    vectorizer, e = model
    for found in (known, bare):
        (row,) = found
        assert row.text == new[0]
        for pair in row.proponents:
            terms = {name: share for name, share in pair.columns}
            S = e.decompose(vectorizer.transform(new), [[pair.row]], target=row.target)
            expected = dict(zip(vectorizer.get_feature_names_out()[S.indices], S.data, strict=True))
            assert terms == {k: pytest.approx(expected[k]) for k in terms} and terms
            assert set(terms) <= set(new[0].split())
    assert known[0].proponents[0].text == texts[known[0].proponents[0].row]
    assert repr(texts[known[0].proponents[0].row]) in repr(known)
    assert bare[0].proponents[0].text is None
    # rows and names apart: CSR and a vectorizer
    names = vectorizer.get_feature_names_out()
    apart = explain(e, vectorizer.transform(new), feature_names=names)
    assert apart[0].proponents[0].columns == known[0].proponents[0].columns


# ids, labels, frames


def test_ids_are_indexes_of_frames_by_default():
    X, y = make_table()
    for inputs in ((X, y), (X.reset_index(drop=True), y)):
        assert explain(make_model().fit(*inputs), X[:1])[0].proponents[0].id.startswith("p")
    numbers = X[["age", "height"]]
    e = RepresenterExplainer().fit(numbers, y.to_numpy())
    assert explain(e, numbers[:1])[0].proponents[0].id.startswith("p")
    plain = make_model().fit(X.reset_index(drop=True), y.to_numpy())
    assert explain(plain, X[:1])[0].proponents[0].id in range(60)
    assert explain(plain, X[:1], X_train=X)[0].proponents[0].id.startswith("p")
    patients = X.rename_axis("patient")
    found = explain(plain, patients[:1], ids=[f"q{i}" for i in range(60)])
    assert found[0].proponents[0].id.startswith("q") and "patient p0" in repr(found)
    assert explain(plain, X[:1], row_ids=["mine"])[0].id == "mine"


def test_frames_that_mean_other_rows_are_refused():
    X, y = make_table()
    backwards = y[::-1]
    model = make_model().fit(X, y)
    with pytest.raises(ValueError, match=r"indexes of X and y differ.*y\.loc\[X\.index\]"):
        RepresenterExplainer().fit(X[["age"]], backwards)
    with pytest.raises(ValueError, match="indexes of X and y differ"):
        explain(model, X, y=backwards)
    with pytest.raises(ValueError, match="indexes of X_train and y_train differ"):
        explain(model, X[:2], X_train=X, y_train=backwards)
    # predictions of rows of a larger frame are numbered anew: no other rows are meant
    RepresenterExplainer().fit(X[["age"]][20:], y[20:].reset_index(drop=True))


def test_labels_to_be_shown_may_be_others_than_those_of_fit():
    X, y = make_table()
    model = make_model().fit(X, y)
    names = y.map({"a": "ash", "b": "birch", "c": "cedar"})
    found = explain(model, X[:2], y_train=names)
    pair = found[0].proponents[0]
    assert pair.label == names.iloc[pair.row]
    shown = explain(model, X[:2], X_train=X, y_train=names).to_html()
    assert "birch" in shown and "Suspicious" not in shown


def test_frames_are_tidy():
    X, y = make_table()
    model = make_model().fit(X, y)
    found = explain(model, X[:4], k=2, y=y[:4])
    frame = found.to_frame()
    pairs = [(row, pair) for row in found for pair in row.pairs]
    assert len(frame) == len(pairs)
    names = ["column_1", "share_1", "column_2", "share_2", "column_3", "share_3"]
    head = ["test_id", "test_label", "predicted", "target_class", "decision_value", "base_value"]
    head += ["kind", "rank", "train_id", "train_label", "value"]
    assert list(frame) == head + names
    for line, (row, pair) in zip(frame.itertuples(), pairs, strict=True):
        assert (line.test_id, line.predicted, line.kind) == (row.id, row.predicted, pair.kind)
        assert (line.train_id, line.value) == (pair.id, pair.value)
        assert (line.column_1, line.share_1) == pair.columns[0]
    X["when"] = pd.date_range("2024", periods=60)
    table = pl.from_pandas(X)
    model = make_pipeline(table_preprocessor(), RepresenterExplainer()).fit(table, y.tolist())
    explained = explain(model, table[:4], k=2, X_train=table)
    assert dict(zip(explained[0].columns, explained[0].values, strict=True)) == table.row(
        0, named=True
    )
    lines = explained.to_frame()
    assert isinstance(lines, pl.DataFrame) and lines.height >= 8
    assert lines["value"].dtype == pl.Float64
    empty = explained[:0].to_frame()
    assert empty.height == 0


def test_json_comes_back_as_it_was():
    X, y = make_table()
    X.index = pd.date_range("2024", periods=60)
    y.index = X.index
    found = explain(make_model().fit(X, y), X[:3], y=y[:3])
    data = json.loads(found.to_json())
    assert data == found.to_dict()
    first = data["rows"][0]
    assert first["test_id"].startswith("2024-01-01") and first["test_label"] == y.iloc[0]
    assert first["proponents"][0]["columns"][0]["share"] == found[0].proponents[0].columns[0][1]
    exact = explain(make_model().fit(X, y), X[:1], row_ids=X.index[:1].to_numpy("datetime64[ns]"))
    assert exact.to_dict()["rows"][0]["test_id"].startswith("2024-01-01T00:00")
    similar = explain(SimilarityExplainer().fit(X[["age"]], y), X[["age"]][:2]).to_dict()
    assert similar["rows"][0]["decision_value"] is None


def test_it_is_a_sequence():
    e, (_, _, X) = fitted("DualView", 3), problem(3)
    found = explain(e, X)
    assert isinstance(found, Explanation) and isinstance(found[-1], RowExplanation)
    assert found[-1].row == len(X) - 1
    mask = np.arange(len(X)) % 2 == 0
    for rows in (slice(1, 4), [2, 0], np.array([5]), mask, []):
        part = found[rows]
        assert isinstance(part, Explanation)
        expected = [] if isinstance(rows, list) and not rows else np.arange(len(X))[rows].tolist()
        assert [row.row for row in part] == expected
    with pytest.raises(IndexError):
        found[len(X)]
    with pytest.raises(TypeError, match="slice"):
        found["w3"]
    assert pickle.loads(pickle.dumps(found)).to_json() == found.to_json()


# what people see


class Parsed(HTMLParser):
    """Tags and text of HTML whose tags are closed."""

    def __init__(self, source):
        super().__init__()
        self.tags, self.open, self.text = [], [], []
        self.feed(source)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("img", "meta"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def hostile_explanation():
    X, y = make_table()
    frame = pd.DataFrame(
        {HOSTILE[0]: X["age"], HOSTILE[1]: X["height"], "{% x %}": pd.Categorical(X["city"])}
    )
    frame["{% x %}"] = frame["{% x %}"].cat.rename_categories(HOSTILE[:3])
    labels = y.map(dict(zip("abc", HOSTILE[1:], strict=True)))
    frame.index = labels.index = pd.Index(
        [f"{h}{i}" for i in range(15) for h in HOSTILE], name="<i>"
    )
    encoder = make_column_transformer(
        (OneHotEncoder(), ["{% x %}"]), remainder=StandardScaler(), verbose_feature_names_out=False
    )
    model = make_pipeline(encoder, DualViewExplainer(random_state=0)).fit(frame, labels)
    return explain(model, frame[:4], y=labels[:4], X_train=frame)


def test_hostile_labels_ids_and_names_stay_text():
    found = hostile_explanation()
    for source in (found._repr_html_(), found[0]._repr_html_(), found.to_html()):
        page = Parsed(source)
        assert not {"script", "i", "b0"} & {tag for tag, _ in page.tags}
        assert not {name for _, a in page.tags for name in a} & {"src", "href", "onerror"}
        assert "\u202e" not in source and "\x1b" not in source
        assert "49" not in "".join(page.text).split()
        assert any(HOSTILE[0][:20] in text for text in page.text)
    assert all(line.isprintable() for line in repr(found).splitlines())
    assert max(map(len, repr(found).splitlines())) < 180
    assert found._repr_html_().count("<style>") == 1


def test_a_terminal_gets_aligned_numbers():
    X, y = make_table()
    lines = repr(explain(make_model().fit(X, y), X[:1], y=y[:1])[0]).splitlines()
    table = lines[2:]
    start = table[0].index("value")
    points = {line.index(".") for line in table[1:]}
    assert len(points) == 1 and points.pop() > start - 9
    assert "right" in lines[0] and "of it the base value" in lines[1]
    assert "proponent" in table[1] and "opponent" in table[-1]


def test_long_explanations_are_cut_on_screen_only():
    e, (_, _, X) = fitted("DualView", 3), problem(3)
    found = explain(e, np.vstack([X, X]))
    assert repr(found).count("Test row") == 5 and f"and {len(found) - 5} more" in repr(found)
    assert found._repr_html_().count("Test row") == 5
    assert found.to_html().count("Test row") == len(found)


def test_without_jinja2_notebooks_show_text(monkeypatch):
    e, (_, _, X) = fitted("DualView", 3), problem(3)
    found = explain(e, X)
    monkeypatch.setitem(sys.modules, "jinja2", None)
    assert found._repr_html_() is None and found[0]._repr_html_() is None
    with pytest.raises(ImportError, match=r"skattrib\[report\]"):
        found.to_html()


def test_the_report_is_written(tmp_path):
    X, y = load_digits(return_X_y=True)
    e = DualViewExplainer(C=1e-4, random_state=0).fit(X[:200], y[:200])
    found = explain(e, X[200:203], y=y[200:203], X_train=X[:200], k=2)
    assert found.to_html(tmp_path / "why.html") is None
    page = (tmp_path / "why.html").read_text("utf-8")
    assert page == found.to_html()
    assert "accuracy on 3 test rows" in page and "Suspicious training rows" in page
    assert "Suspicious" not in explain(e, X[200:203]).to_html()
    drawn = found.to_html(image_shape=(8, 8))
    assert drawn.count("<img") >= 3 * (1 + 2 * 4) and "<img" not in page
    assert "column 1" not in drawn


def test_a_head_that_does_not_fit_is_named():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(200, 3)), rng.integers(2, size=200)
    e = RepresenterExplainer().fit(X, y)
    found = explain(e, X[:2], X_train=X)
    assert "poor stand-in" in found.notes[0]
    for shown in (repr(found), found._repr_html_(), found.to_html()):
        assert "poor stand-in" in shown
    wrong = np.mean(e.predict(X) != y)
    assert f"{wrong:.0%} of rows contradicted" in found.to_html()
    assert explain(e, X[:2]).notes == []  # nobody knows
    X[:, 0] += 4 * y
    good = explain(RepresenterExplainer().fit(X, y), X[:2], X_train=X)
    assert good.notes == [] and "contradicted: " not in good.to_html()


def test_plots():
    pytest.importorskip("matplotlib").use("Agg")
    X, y = load_digits(return_X_y=True)
    e = DualViewExplainer(C=1e-4, random_state=0).fit(X[:200], y[:200])
    found = explain(e, X[200:203], X_train=X[:200], ids=[f"d{i}" for i in range(200)])
    display = found[1:].plot(1)
    row = found[2]
    shown = row.proponents + row.opponents[::-1]
    assert [text.get_text() for text in display.ax_.get_yticklabels()] == [
        f"{pair.id}: {pair.label}" for pair in shown
    ]
    assert np.allclose([bar.get_width() for bar in display.bars_], [pair.value for pair in shown])
    images = found.plot(0, image_shape=(8, 8))
    assert len(images.axes_) == 1 + len(found[0].pairs)
    with pytest.raises(ValueError, match="X_train"):
        explain(e, X[:1]).plot(0, image_shape=(8, 8))
    for draw in (
        lambda shape: found.plot(0, image_shape=shape),
        lambda shape: found.to_html(image_shape=shape),
    ):
        with pytest.raises(ValueError, match=r"image_shape \(8, 9\) does not fit"):
            draw((8, 9))


# what may be given


def test_pipelines_searches_and_frozen_ones():
    X, y = make_table()
    model = make_model().fit(X, y)
    expected = explain(model, X[:3]).to_json()
    nested = Pipeline([("none", "passthrough"), ("inner", model)])
    for same in (nested, FrozenEstimator(model)):
        assert explain(same, X[:3]).to_json() == expected
    search = GridSearchCV(make_model(), {"representerexplainer__C": [0.1]}, cv=2)
    with pytest.raises(TypeError, match="no best_estimator_: fit it"):
        explain(search, X)
    assert explain(search.fit(X, y), X[:3]).to_json() == expected
    with pytest.raises(NotFittedError):
        explain(make_model(), X)


@pytest.mark.parametrize(
    ("estimator", "words"),
    [
        (LogisticRegression(), "got LogisticRegression. Explain it as it is"),
        (make_pipeline(StandardScaler(), LogisticRegression()), "Pipeline that ends in Logistic"),
        (DualViewExplainer, "the class DualViewExplainer: give an instance"),
        (None, "got NoneType"),
    ],
)
def test_what_is_no_explainer(estimator, words):
    with pytest.raises(TypeError, match=words):
        explain(estimator, np.zeros((2, 2)))


class Network:
    """As a network of torch looks to those who have not imported it."""


Network.__module__ = "torch.nn.modules.module"


@pytest.mark.parametrize(
    "use",
    [
        lambda net: explain(net, problem(3)[0]),
        lambda net: explain(make_pipeline(StandardScaler(), net), problem(3)[0]),
        lambda net: RepresenterExplainer(net).fit(*problem(3)[:2]),
        lambda net: InfluenceExplainer(FrozenEstimator(net)).fit(*problem(3)[:2]),
        lambda net: MLPExplainer([net]).fit(*problem(3)[:2]),
        lambda net: leave_one_out_outputs(net, *problem(3)),
    ],
)
def test_networks_are_told_where_to_go(use):
    with pytest.raises(TypeError, match=r"Network is a torch network.*LinearHead.*last-layer feat"):
        use(Network())


@pytest.mark.parametrize("X", ["abc", None, {"a": 1}, 3.0])
def test_what_are_no_rows(X):
    with pytest.raises(ValueError, match="X must be rows to explain"):
        explain(fitted("DualView", 3), X)


def test_images_are_told_where_to_go():
    e = fitted("DualView", 3)
    with pytest.raises(ValueError, match="last-layer features"):
        explain(e, np.zeros((2, 1, 28, 28)))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"k": 0}, "k must be a positive integer"),
        ({"k": 2.5}, "k must be a positive integer"),
        ({"y": [1]}, r"y has shape \(1,\)"),
        ({"ids": [1]}, "ids has shape .* names the training rows; row_ids"),
        ({"row_ids": [1]}, "row_ids has shape .* names the rows of X; ids"),
        ({"y_train": [1]}, "y_train has shape"),
        (
            {"X_train": np.zeros((3, 5))},
            "X_train has 3 rows, but DualView.* to 60",
        ),
        ({"target": 99}, "target 99 is not one of the classes"),
        ({"target": [4, 7]}, "one label a row"),
        ({"target": np.zeros((8, 2))}, "shape"),
        ({"feature_names": ["a"]}, "feature_names has 1 names"),
    ],
)
def test_wrong_arguments(options, words):
    e, (_, _, X) = fitted("DualView", 3), problem(3)
    with pytest.raises(ValueError, match=words):
        explain(e, X, **options)


@pytest.mark.parametrize("name", SAME_CLASS[:1])
def test_too_many_of_a_class(name):
    e, (_, _, X) = fitted(name, 3), problem(3)
    with pytest.raises(ValueError, match="same_class=True compares no others"):
        explain(e, X, k=50)


def test_gradients_of_several_models_have_no_columns():
    X, y = load_wine(return_X_y=True)
    e = TRAKExplainer(n_models=2, curvature="identity").fit(np.hstack([X, X]), y)
    assert explain(e, np.hstack([X, X])[:2])[0].columns == []


def test_leverage_and_self_influence_are_not_computed():
    X_train, y, X = problem(3)
    influence = InfluenceExplainer(leverage_correction=False).fit(X_train, y)
    explain(influence, X)._repr_html_()
    assert not {"leverage_", "self_influence_"} & set(vars(influence))


@pytest.mark.parametrize(
    "model, remedy",
    [
        (MLPClassifier(), "MLPExplainer(FrozenEstimator(model))"),
        (LogisticRegression(), "InfluenceExplainer(FrozenEstimator(model))"),
        (RandomForestClassifier(), "make_pipeline(LeafFeatures(FrozenEstimator(model))"),
        (make_pipeline(HistGradientBoostingClassifier()), "LeafFeatures"),
        (SVC(), "such as make_pipeline(..., DualViewExplainer())"),
    ],
)
def test_models_that_are_no_explainers_are_told_what_to_write(model, remedy):
    with pytest.raises(TypeError, match=re.escape(remedy)):
        explain(model, [[1.0]])
