"""find_label_issues(X, y): models that have not seen a label judge it, whatever the table."""

import pickle

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.neighbors import KNeighborsClassifier

from skattrib import DualViewExplainer, SimilarityExplainer, find_label_issues
from skattrib.findings import LabelIssues, _mixture, _noise
from skattrib.planting import flip_labels

COLUMNS = ["row", "id", "given", "suggested", "score", "evidence"]
LOADERS = {"digits": load_digits, "wine": load_wine, "cancer": load_breast_cancer}


@pytest.fixture(autouse=True)
def few_trees(monkeypatch):
    monkeypatch.setattr(_mixture, "N_TREES", 12)


def planted(name, n=None, kind="uniform"):
    X, y = LOADERS[name](return_X_y=True)
    return X[:n], y[:n], *flip_labels(y[:n], 0.1, kind=kind, random_state=0)


def score_of_all(issues):
    out = np.empty(len(issues.row))
    out[issues.row] = issues.score
    return out


@pytest.mark.parametrize(
    ("data", "kind"),
    [("digits", "uniform"), ("digits", "pair"), ("wine", "uniform"), ("cancer", "uniform")],
)
def test_planted_flips_are_found_without_settings(data, kind, monkeypatch):
    monkeypatch.setattr(_mixture, "N_TREES", 60)
    X, y, noisy, flipped = planted(data, 450, kind)
    issues = find_label_issues(X, noisy, k=len(y), random_state=0)
    assert_array_equal(np.sort(issues.row), np.arange(len(y)))
    assert (np.diff(issues.score) <= 0).all()
    assert average_precision_score(flipped, score_of_all(issues)) > 0.92
    found = issues.row[issues.score > 0]
    assert flipped[found].mean() > 0.85 and flipped[found].sum() > 0.8 * flipped.sum()
    right = issues.suggested[: len(found)] == y[found]
    assert right[flipped[found]].mean() > 0.9
    assert_array_equal(issues.suggested[len(found) :], issues.given[len(found) :])
    assert issues.n_contradicted == len(found) and issues.n_rows == len(y)
    assert abs(issues.n_wrong / flipped.sum() - 1) < 0.5
    assert 0.5 < issues.precision <= 1


def test_the_default_returns_what_is_contradicted():
    X, _, noisy, _ = planted("wine")
    every = find_label_issues(X, noisy, k=len(noisy), random_state=1)
    issues = find_label_issues(X=X, y=noisy, random_state=1)
    assert isinstance(issues, LabelIssues) and list(pd.DataFrame(issues)) == COLUMNS
    n = issues.n_contradicted
    assert len(issues.row) == n == (every.score > 0).sum()
    for name in COLUMNS:
        assert_array_equal(issues[name], every[name][:n])
    in_processes = find_label_issues(X, noisy, random_state=1, n_jobs=2)
    assert_array_equal(in_processes.score, issues.score)
    again = pickle.loads(pickle.dumps(issues))
    assert again.summary() == issues.summary() and again.n_wrong == issues.n_wrong
    assert_array_equal(again.contradicted_by[0], issues.contradicted_by[0])


def test_rows_that_contradict_have_the_suggested_label():
    X, _, noisy, _ = planted("digits", 300)
    ids = np.array([f"#{i}" for i in range(300)])
    issues = find_label_issues(X, noisy, ids=ids, k=300, random_state=0)
    contradicted = set(issues.row[issues.score > 0])
    for row, suggested, evidence, by in zip(
        issues.row, issues.suggested, issues.evidence, issues.contradicted_by, strict=True
    ):
        assert by[0] == evidence and 1 <= len(by) <= 5
        numbers = [int(name[1:]) for name in by]
        assert row not in numbers and (noisy[numbers] == suggested).all()
        assert not contradicted & set(numbers)


def test_few_labels_of_clean_data_are_contradicted():
    X, y = load_iris(return_X_y=True)
    issues = find_label_issues(X, y, random_state=0)
    assert len(issues.row) <= 7
    assert "so few may be right" in issues.summary()


def test_out_of_bag_and_nearest_rows_do_not_know_the_label():
    from sklearn.ensemble import RandomForestClassifier

    X, y = load_iris(return_X_y=True)
    other = y.copy()
    other[60] = 2
    for shares in (
        lambda codes: _mixture._nearest(X, codes, 3, None, 0, None),
        lambda codes: _mixture._out_of_bag(
            RandomForestClassifier(15, oob_score=True, random_state=0), X, codes, None
        ),
    ):
        assert_allclose(shares(other)[60], shares(y)[60])
        assert abs(shares(other) - shares(y)).sum() > 0.1


def test_nearest_rows_are_those_of_scikit_learn():
    X, y = load_iris(return_X_y=True)
    X = X + np.random.default_rng(0).normal(size=X.shape) * 1e-3  # no row twice
    shares = _mixture._nearest(X, y, 3, None, 0, None)
    for row in range(0, 150, 10):
        others = np.arange(150) != row
        model = KNeighborsClassifier(15, weights="distance").fit(X[others], y[others])
        found = shares[row] / shares[row].sum()
        assert_allclose(found, model.predict_proba(X[[row]])[0], atol=1e-9)


def test_nearest_of_some_rows_where_there_are_many(monkeypatch):
    monkeypatch.setattr(_mixture, "MANY_ROWS", 60)
    X, y = load_iris(return_X_y=True)
    shares = _mixture._nearest(X, y, 3, None, 0, None)
    assert (shares.argmax(axis=1) == y).mean() > 0.9
    drawn = np.random.RandomState(0).permutation(150)[:60]
    other = y.copy()
    other[np.setdiff1d(np.arange(150), drawn)] = 0
    assert_allclose(_mixture._nearest(X, other, 3, None, 0, None), shares)


def test_models_are_weighed_by_what_their_shares_tell():
    """Sharp or even shares in one order have one loss: that at the best power."""
    rng = np.random.default_rng(0)
    logits = 3 * rng.normal(size=(500, 4))
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    codes = np.array([rng.choice(4, p=row) for row in shares])
    even = np.sqrt(shares) / np.sqrt(shares).sum(axis=1, keepdims=True)
    plain = -np.log(even[np.arange(500), codes]).mean()
    assert _mixture._loss(even, codes) < plain - 0.05
    assert abs(_mixture._loss(even, codes) - _mixture._loss(shares, codes)) < 0.02
    assert _mixture._loss(np.full((500, 4), 0.25), codes) == pytest.approx(np.log(4))


def test_folds_with_classes_of_one_row():
    """A fold whose training rows lack a class, or have one only, says so in its probabilities."""
    X = np.arange(12.0)[:, None]
    codes = np.array([0] * 11 + [1])
    shares = _mixture._linear(X, codes, 2, None, 0, None)
    assert_allclose(shares.sum(axis=1), 1)
    assert_allclose(shares[11], [1, 0])
    three = np.array([0] * 6 + [1] * 5 + [2])
    assert_allclose(_mixture._linear(X, three, 3, None, 0, None)[11, 2], 0)


def simulated(n=3000, kind="uniform", seed=0):
    """Exact probabilities of three classes, a tenth of whose labels are flipped."""
    rng = np.random.default_rng(seed)
    y = rng.integers(3, size=n)
    x = rng.normal(size=n) + 3.5 * y
    shares = np.exp(-((x[:, None] - 3.5 * np.arange(3)) ** 2) / 2)
    noisy, flipped = flip_labels(y, 0.1, kind=kind, random_state=seed)
    shares = 0.98 * shares / shares.sum(axis=1, keepdims=True) + 0.02 / 3
    return shares, noisy, flipped


@pytest.mark.parametrize("kind", ["uniform", "pair"])
def test_how_many_labels_are_wrong(kind):
    shares, noisy, flipped = simulated(kind=kind)
    noise = _noise.find_noise(shares, noisy)
    returned = noise.score > 0
    assert abs(noise.n_wrong / flipped.sum() - 1) < 0.15
    assert abs(noise.precision - flipped[returned].mean()) < 0.1
    # the cut is where the best F1 is, nearly
    order = np.argsort(-noise.score)
    hits = np.cumsum(flipped[order])
    best = (2 * hits / (np.arange(1, len(hits) + 1) + flipped.sum())).max()
    f1 = 2 * flipped[returned].sum() / (returned.sum() + flipped.sum())
    assert f1 > best - 0.03


def test_scores_are_log_odds_by_bayes():
    """Against loops: where flips go to the next class, only that class speaks against a label."""
    shares, noisy, flipped = simulated(600, "pair")
    flips = _noise._flips(shares, noisy)
    assert_allclose(np.diag(flips), 0)
    assert (flips[[0, 1, 2], [1, 2, 0]] > 3 * flips[[0, 1, 2], [2, 0, 1]]).all()
    noise = _noise.find_noise(shares, noisy)
    odds = np.empty(600)
    for i in range(600):
        wrong = sum(shares[i, c] * flips[c, noisy[i]] for c in range(3) if c != noisy[i])
        odds[i] = np.log(wrong / shares[i, noisy[i]])
        best = max(
            (c for c in range(3) if c != noisy[i]), key=lambda c: shares[i, c] * flips[c, noisy[i]]
        )
        assert noise.suggested[i] == best
    offset = odds - noise.score
    assert np.ptp(offset) < 1e-6
    other = shares.copy()
    other[np.arange(600), noisy] = -1
    margin = other.max(axis=1) - shares[np.arange(600), noisy]
    assert average_precision_score(flipped, noise.score) > average_precision_score(flipped, margin)


def test_classes_of_few_rows_are_not_called_wrong():
    """No model learns them, so every row of them would be contradicted."""
    X, y = load_wine(return_X_y=True)
    y = np.array(["a", "b", "c"], dtype="U4")[y]
    y[[5, 70, 160]] = "rare"
    issues = find_label_issues(X, y, k=178, random_state=0)
    assert issues.unjudged == ["rare"]
    assert (score_of_all(issues)[y == "rare"] <= 0).all()
    assert "Classes of too few rows to be judged: 'rare'." in issues.summary()


def test_frames_of_any_columns():
    pytest.importorskip("skrub")
    X, _, noisy, flipped = planted("wine")
    frame = pd.DataFrame(X).add_prefix("x")
    frame["x0"] = frame["x0"].round(2).map("{:.2f} %".format)
    frame.loc[frame.index[::9], "x1"] = np.nan
    frame["kind"] = np.where(X[:, 6] > 2, "rich", "poor")
    frame.index = [f"w{i}" for i in range(178)]
    labels = pd.Series(np.array(["a", "b", "c"])[noisy], index=frame.index)
    issues = find_label_issues(frame, labels, random_state=0)
    assert_array_equal(issues.id, frame.index[issues.row])
    assert flipped[issues.row].mean() > 0.8 and flipped[issues.row].sum() > 10
    assert issues.evidence[0].startswith("w")
    with pytest.raises(ValueError, match="indexes of X and y differ"):
        find_label_issues(frame, labels.iloc[::-1])
    numbers = find_label_issues(pd.DataFrame(X), noisy, random_state=0)
    assert_array_equal(numbers.row, find_label_issues(X, noisy, random_state=0).row)


def test_sparse_rows():
    X, _, noisy, flipped = planted("wine")
    X = sparse.csr_array(X / X.max(axis=0))
    issues = find_label_issues(sparse.coo_matrix(X), noisy, random_state=0)
    assert flipped[issues.row].mean() > 0.8 and flipped[issues.row].sum() > 10
    broken = sparse.csr_array(X)
    broken.indices = broken.indices + 99
    with pytest.raises(ValueError, match="X is a broken CSR matrix"):
        find_label_issues(broken, noisy)


def test_an_explainer_judges_as_before_and_says_where_it_does_not_fit():
    X, _, noisy, _ = planted("wine")
    scaled = (X - X.mean(axis=0)) / X.std(axis=0)
    explainer = DualViewExplainer(C=0.1, random_state=0).fit(scaled, noisy)
    issues = find_label_issues(explainer, scaled, noisy, k=20)
    assert issues.n_wrong is None and issues.precision is None
    values, rows = explainer.top_k(scaled[issues.row], 6, target=issues.suggested)
    for row, by, value, near in zip(issues.row, issues.contradicted_by, values, rows, strict=True):
        expected = [i for i, v in zip(near, value, strict=True) if i != row and v > 0]
        assert_array_equal(by[: len(expected)], expected[:5])
        assert by[0] == issues.evidence[list(issues.row).index(row)]
    rng = np.random.default_rng(0)
    nonsense = SimilarityExplainer().fit(rng.normal(size=(60, 3)), np.arange(60) % 3)
    with pytest.warns(UserWarning, match="of rows contradicted: the head does not fit"):
        issues = find_label_issues(nonsense, rng.normal(size=(60, 3)), np.arange(60) % 3)
    assert (
        "the head does not fit" in issues.summary()
        and "find_label_issues(X, y)" in issues.summary()
    )


def test_many_wrong_labels_are_said_to_be_many():
    X, y, _, _ = planted("wine")
    noisy, _ = flip_labels(y, 0.25, random_state=0)
    with pytest.warns(UserWarning, match="of rows contradicted: so many labels are wrong, or"):
        issues = find_label_issues(X, noisy, random_state=0)
    assert "about" in issues.summary() and "read the list from the top" in issues.summary()


def test_columns_that_tell_nothing():
    issues = find_label_issues(np.ones((80, 3)), np.arange(80) % 2, random_state=0)
    assert len(issues.row) == 0 and issues.evidence.shape == (0,)
    assert "the columns tell too little of the classes" in issues.summary()
    rng = np.random.default_rng(0)
    noise = _noise.find_noise(rng.dirichlet([5, 5], size=400), rng.integers(2, size=400))
    assert noise.n_wrong > 200 and (noise.score <= 0).all()


def test_columns_of_any_size():
    """Trees of scikit-learn work in float32."""
    X, _, noisy, _ = planted("wine")
    expected = find_label_issues(X, noisy, random_state=0)
    scaled = X * 10.0 ** np.linspace(-200, 200, 13)
    assert_array_equal(find_label_issues(scaled, noisy, random_state=0).row, expected.row)
    with pytest.raises(ValueError, match="scale the features"):
        find_label_issues(sparse.csr_array(scaled), noisy)


def test_progress(capsys):
    X, y = load_iris(return_X_y=True)
    find_label_issues(X[::3], y[::3], random_state=0)
    assert capsys.readouterr().out == ""
    find_label_issues(X[::3], y[::3], random_state=0, verbose=1)
    said = capsys.readouterr().out
    assert said.count("nats a label") == 8 and "doubtful labels count for less" in said


IRIS = load_iris().data


@pytest.mark.parametrize(
    ("X", "y", "options", "message"),
    [
        (IRIS, None, {}, r"give find_label_issues\(X, y\)"),
        (None, np.zeros(3), {}, r"give find_label_issues\(X, y\)"),
        (IRIS, np.zeros(150), {}, "y has 1 classes in 150 rows"),
        (IRIS, np.arange(150), {}, "y has 150 classes in 150 rows; .* nothing to be compared"),
        (IRIS, np.linspace(0, 1, 150), {}, "y is continuous .* must hold class labels"),
        (IRIS, np.zeros(3), {}, r"y has shape \(3,\); expected \(150,\)"),
        (IRIS, np.zeros((150, 2)), {}, r"y has shape \(150, 2\)"),
        (IRIS, [None, "a"] * 75, {}, "missing labels, or labels of several kinds"),
        (IRIS, [np.nan, 1.0] * 75, {}, "missing labels"),
        (IRIS, [0, 1] * 75, {"k": 151}, r"k must be an integer in 1\.\.150"),
        (IRIS, [0, 1] * 75, {"k": True}, r"k must be an integer in 1\.\.150"),
        (IRIS, [0, 1] * 75, {"ids": [1]}, "one a training row"),
        (np.where(IRIS > 7, np.nan, IRIS), [0, 1] * 75, {}, "NaN.*read from a DataFrame"),
        (IRIS.astype(str).astype(object) + "x", [0, 1] * 75, {}, "read from a DataFrame"),
        (np.zeros((4, 2, 2)), [0, 1, 0, 1], {}, r"expected \(rows, features\)"),
        (LogisticRegression(), IRIS, {}, "X must be a matrix .* got LogisticRegression"),
    ],
)
def test_bad_input(X, y, options, message):
    with pytest.raises(ValueError, match=message):
        find_label_issues(X, y, **options)
