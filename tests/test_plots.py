"""Displays: what is drawn are the numbers of the explainers and of the metrics."""

import itertools
import re
import sys

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from scipy.stats import spearmanr
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.utils import Bunch

from skattrib import (
    DualViewExplainer,
    InfluenceExplainer,
    RepresenterExplainer,
    SimilarityExplainer,
    misclassifications,
)
from skattrib.metrics import linear_datamodeling_score, mislabel_detection_score
from skattrib.plots import (
    AttributionDisplay,
    ComparisonDisplay,
    DatamodelingDisplay,
    DetectionCurveDisplay,
    ErrorKindDisplay,
    FeatureSharesDisplay,
    SupportDisplay,
)
from skattrib.retraining import subset_outputs

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

X, Y = load_digits(return_X_y=True)
X = X / 16
TRAIN, TEST = slice(0, 200), slice(200, 210)
HOSTILE = ["$\\frac{", "$x$", "a\nb", "<script>", "_^%"]


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def explainer():
    return DualViewExplainer(C=0.1, tol=1e-6, random_state=0).fit(X[TRAIN], Y[TRAIN])


def texts(labels):
    return [label.get_text() for label in labels]


def test_bars_of_one_prediction(explainer):
    x = X[TEST][:1]
    display = AttributionDisplay.from_estimator(explainer, x, k=3, y_train=Y[TRAIN])
    high, low = explainer.top_k(x, 3), explainer.top_k(x, 3, largest=False)
    assert_array_equal(display.indices, [*high[1][0], *low[1][0, ::-1]])
    assert_allclose([bar.get_width() for bar in display.bars_], display.values)
    assert_allclose(display.values, [*high[0][0], *low[0][0, ::-1]])
    expected = [f"{i}: {Y[i]}" for i in display.indices]
    assert texts(display.ax_.get_yticklabels()) == expected
    assert display.figure_ is display.ax_.figure
    assert f"predicted {explainer.predict(x)[0]}" == display.ax_.get_title()
    one = AttributionDisplay.from_estimator(explainer, x[0], k=3, target=3)
    assert_allclose(one.values[:1], explainer.top_k(x, 1, target=3)[0][0])
    assert "explained 3" in one.ax_.get_title()


def test_frames():
    frame = pd.DataFrame(X[TRAIN], columns=[f"pixel {c}" for c in range(64)])
    e = RepresenterExplainer().fit(frame, Y[TRAIN])
    display = AttributionDisplay.from_estimator(
        e, frame[:1], y_train=pd.Series(Y[TRAIN]), images=frame, image_shape=(8, 8)
    )
    assert_array_equal(display.image, X[0].reshape(8, 8))
    assert_array_equal(display.labels, Y[display.indices])
    display = FeatureSharesDisplay.from_estimator(e, frame[:1], 3)
    assert texts(display.ax_.get_yticklabels())[0].startswith("pixel ")


def test_only_rows_with_an_attribution_are_shown():
    display = AttributionDisplay.from_predictions([0.0, 2.0, -np.inf, -1.0, 0.0, 3.0])
    assert_array_equal(display.indices, [5, 1, 3])
    assert len(AttributionDisplay.from_predictions([0.0, 0.0]).bars_) == 0
    same_class = SimilarityExplainer(same_class=True).fit(X[TRAIN], Y[TRAIN])
    display = AttributionDisplay.from_estimator(same_class, X[TEST][0])
    assert len(set(Y[display.indices])) == 1


def test_images_of_one_prediction(explainer):
    display = AttributionDisplay.from_estimator(
        explainer, X[TEST][:1], k=4, images=X[TRAIN], image_shape=(8, 8), y_train=Y[TRAIN]
    )
    assert len(display.axes_) == 9 and display.bars_ is None
    shown = [np.asarray(ax.images[0].get_array()) for ax in display.axes_]
    assert_array_equal(shown[0], X[TEST][0].reshape(8, 8))
    assert_array_equal(shown[1], X[display.indices[0]].reshape(8, 8))
    # opponents: the strongest first
    assert_array_equal(shown[5], X[display.indices[-1]].reshape(8, 8))
    images = np.random.default_rng(0).random((200, 5, 4, 3))
    display = AttributionDisplay.from_estimator(explainer, X[TEST][:1], images=images)
    assert_array_equal(display.axes_[0].images[0].get_array(), images[display.indices[0]])
    rows = sparse.csr_array(X[TRAIN])
    AttributionDisplay.from_predictions(np.arange(200.0), images=rows, image_shape=(8, 8))


def test_hostile_labels():
    display = AttributionDisplay.from_predictions(
        [5.0, 4, 3, 2, 1], y_train=HOSTILE, ids=HOSTILE[::-1], title="a title"
    )
    assert texts(display.ax_.get_yticklabels())[3] == r"\$x\$: <script>"
    FeatureSharesDisplay.from_predictions(np.arange(5.0), feature_names=HOSTILE)
    ComparisonDisplay.from_predictions(HOSTILE, range(5), np.ones(5))
    DetectionCurveDisplay.from_predictions(dict.fromkeys(HOSTILE, [1.0, 2.0]), [0, 1])
    for number in plt.get_fignums():
        plt.figure(number).canvas.draw()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, "k must be a positive integer"),
        ({"y_train": [1, 2]}, r"y_train has shape \(2,\); expected 3"),
        ({"images": np.zeros((3, 4))}, "give image_shape"),
        ({"images": np.zeros((3, 4)), "image_shape": (3, 2)}, "does not fit rows of 4 values"),
        ({"images": np.zeros((3, 4)), "image_shape": (2.0, 2)}, r"expected \(height, width"),
        ({"images": np.zeros((3, 4)), "image_shape": "22"}, r"expected \(height, width"),
        ({"images": np.zeros((3, 4)), "image_shape": (2**40, 2**40)}, "does not fit rows"),
    ],
)
def test_bad_input(options, message):
    with pytest.raises(ValueError, match=message):
        AttributionDisplay.from_predictions([1.0, 2.0, -1.0], **options)


def test_one_sparse_row_is_a_row(explainer):
    T = sparse.csr_array(explainer.attribute(X[TEST][:1]))
    display = AttributionDisplay.from_predictions(T)
    assert_array_equal(display.values, AttributionDisplay.from_predictions(T.toarray()[0]).values)


def test_bad_rows(explainer):
    with pytest.raises(ValueError, match=r"x has shape \(2, 64\); give the one row"):
        AttributionDisplay.from_estimator(explainer, X[:2])
    with pytest.raises(ValueError, match=r"x has shape \(\); give the one row"):
        AttributionDisplay.from_estimator(explainer, np.array(3.0))
    with pytest.raises(TypeError, match="explainer must be a fitted explainer, got a float"):
        FeatureSharesDisplay.from_estimator(3.0, X[0], 0)
    with pytest.raises(TypeError, match="index must be"):
        FeatureSharesDisplay.from_estimator(explainer, X[0], [0, 1])
    with pytest.raises(ValueError, match="of one test row"):
        AttributionDisplay.from_predictions([[1.0]])


@pytest.mark.filterwarnings("error")
def test_retrained_outputs_of_any_size():
    rng = np.random.default_rng(0)
    T, masks, outputs = rng.normal(size=(4, 30)), rng.random((10, 30)) < 0.5, rng.random((10, 4))
    draw = DatamodelingDisplay.from_predictions
    expected = draw(T, masks, outputs)
    for scale in (1e-300, 2e307):
        found = draw(T * scale, masks, outputs * scale)
        assert_allclose(found.sums, expected.sums, atol=1e-9)
        assert_allclose(found.outputs, expected.outputs, atol=1e-9)
    with pytest.raises(ValueError, match="sums of attributions overflow: scale"):
        draw(np.abs(T) * scale, masks, outputs, row=1)


def test_feature_shares(explainer):
    x = X[TEST][:1]
    values, indices = explainer.top_k(x, 1)
    i = indices[0, 0]
    display = FeatureSharesDisplay.from_estimator(explainer, x, i, k=6)
    widths = np.array([bar.get_width() for bar in display.bars_])
    shares = explainer.decompose(x, indices)[0, 0]
    assert_allclose(widths[:6], shares[np.argsort(-np.abs(shares), kind="stable")[:6]])
    assert_allclose(widths.sum(), values[0, 0])
    assert texts(display.ax_.get_yticklabels())[-1:] == ["58 others"]
    one = FeatureSharesDisplay.from_estimator(explainer, x[0], i, k=100, feature_names=range(64))
    assert len(one.bars_) == 64
    # with its share of the intercept
    whole = clone(explainer).set_params(intercept_share=True).fit(X[TRAIN], Y[TRAIN])
    display = FeatureSharesDisplay.from_estimator(whole, x, i, k=6)
    assert texts(display.ax_.get_yticklabels())[-2:] == ["58 others", "intercept"]
    T = whole.attribute(x).toarray()[0, i]
    assert_allclose(sum(bar.get_width() for bar in display.bars_), T)
    for bad in ([np.inf, 1.0], [np.nan, 1.0]):
        with pytest.raises(ValueError, match="shares and total must be finite"):
            FeatureSharesDisplay.from_predictions(bad, total=1.0)
    with pytest.raises(ValueError, match="shares and total must be finite"):
        FeatureSharesDisplay.from_predictions([1.0, 2.0], total=np.inf)
    with pytest.raises(ValueError, match="3 feature_names"):
        FeatureSharesDisplay.from_predictions([1.0, 2.0], feature_names=["a", "b", "c"])


def test_detection_curve():
    rng = np.random.default_rng(0)
    flipped = rng.random(50) < 0.3
    scores = {"integers": rng.integers(0, 4, size=50) + flipped, "T": rng.normal(size=(4, 50))}
    display = DetectionCurveDisplay.from_predictions(scores, flipped)
    assert list(display.lines_) == ["integers", "T"] and len(display.ax_.lines) == 3
    share = flipped.mean()
    for name, line in display.lines_.items():
        x, y = line.get_data()
        assert x[0] == y[0] == 0 and x[-1] == y[-1] == 1
        area = (np.trapezoid(y, x) - share / 2) / (1 - share)  # min-max normalized
        assert_allclose(area, mislabel_detection_score(scores[name], flipped))
        assert f"{area:.2f}" in line.get_label()
    assert list(DetectionCurveDisplay.from_predictions(scores["T"], flipped).found) == ["scores"]


def test_detection_curve_of_explainers(explainer):
    flipped = np.arange(200) < 20
    display = DetectionCurveDisplay.from_estimator(explainer, flipped)
    expected = mislabel_detection_score(explainer.self_influence_, flipped)
    assert display.scores == {"DualViewExplainer": expected}
    display = DetectionCurveDisplay.from_estimator({"a": explainer}, flipped, X[TEST])
    assert display.scores == {"a": mislabel_detection_score(explainer.attribute(X[TEST]), flipped)}


def test_support_against_C():
    explainer = DualViewExplainer(random_state=0)
    display = SupportDisplay.from_estimator(explainer, X[TRAIN], Y[TRAIN], Cs=[0.1, 0.001])
    assert display.n_support[0] < display.n_support[1] <= 200
    x, y = display.ax_.lines[0].get_data()
    assert_array_equal(x, [0.001, 0.1])
    assert_array_equal(y, display.n_support[::-1])
    assert len(display.seconds_ax_.lines) == 1
    path = {"Cs": [1.0, 2.0], "n_support": [5, 3]}
    assert SupportDisplay.from_result(path).seconds_ax_ is None
    results = [Bunch(C=1.0, n_support=5, seconds=0.1), Bunch(C=2.0, n_support=3, seconds=0.2)]
    display = SupportDisplay.from_result(results)
    assert display.Cs == [1.0, 2.0] and display.seconds == [0.1, 0.2]
    for bad, message in [
        ({"Cs": [1.0]}, "no n_support"),
        ([], "no Cs and no n_support"),
        ({"Cs": [1.0], "n_support": [1, 2]}, "one length"),
        ({"Cs": [0.0], "n_support": [1]}, "positive"),
    ]:
        with pytest.raises(ValueError, match=message):
            SupportDisplay.from_result(bad)


def test_kinds_of_error():
    e = RepresenterExplainer().fit(X[TRAIN], Y[TRAIN])
    X_test, y = X[200:800], Y[200:800]
    kinds = misclassifications(e, X_test, y)
    labels = np.resize(HOSTILE, 200)
    display = ErrorKindDisplay.from_result(kinds[0], k=4, labels=labels)
    kind = kinds[0]
    assert_array_equal(display.share_.get_data(), [kind.share[:4], np.arange(4)])
    assert_array_equal(display.control_.get_data(), [kind.control_share[:4], np.arange(4)])
    first = texts(display.ax_.get_yticklabels())[0]
    assert first.startswith(f"{kind.rows[0]} (") and first.endswith(f"{kind.values[0]:+.3g}")
    assert display.ax_.get_ylim() == (3.5, -0.5)
    assert "named, not causes" in display.ax_.get_xlabel()
    assert display.ax_.get_title().startswith(f"{kind.true} taken for {kind.predicted}")
    display.figure_.canvas.draw()
    other = kinds[1]
    found = ErrorKindDisplay.from_estimator(
        e, X_test, y, true=other.true, predicted=other.predicted, names=np.arange(200) + 1000
    )
    assert_array_equal(found.kind.rows, other.rows)
    assert texts(found.ax_.get_yticklabels())[0].startswith(f"{other.rows[0] + 1000}  ")
    assert len(found.ax_.get_yticks()) == 10
    assert ErrorKindDisplay.from_estimator(e, X_test, y).kind.n_errors == kind.n_errors
    with pytest.raises(ValueError, match="no row is wrong that way"):
        ErrorKindDisplay.from_estimator(e, X_test, y, true=3, predicted=3)
    for bad, error, message in [
        ({"kind": kinds}, TypeError, "must be one of the kinds of skattrib.misclassifications"),
        ({"k": 0}, ValueError, "k must be a positive integer"),
        ({"labels": Y[:5]}, ValueError, "labels must have one for each training row"),
        ({"names": "abc"}, ValueError, "names must have one for each training row"),
    ]:
        with pytest.raises(error, match=message):
            ErrorKindDisplay.from_result(**{"kind": kind} | bad)


def test_datamodeling():
    model = LogisticRegression(C=0.1)
    X_test = X[TEST]
    truth = subset_outputs(
        model, X[TRAIN], Y[TRAIN], X_test, n_subsets=8, stratify=True, random_state=0
    )
    explainer = InfluenceExplainer(C=0.1).fit(X[TRAIN], Y[TRAIN])
    display = DatamodelingDisplay.from_estimator(explainer, X_test, truth)
    T = explainer.attribute(X_test, truth.targets)
    assert display.score == linear_datamodeling_score(T, truth.masks, truth.outputs)
    assert len(display.sums) == 80
    display = DatamodelingDisplay.from_estimator(explainer, X_test, truth, row=3)
    assert_allclose(display.sums, truth.masks @ T[3])
    assert_array_equal(display.points_.get_offsets()[:, 1], truth.outputs[:, 3])
    assert_allclose(display.score, spearmanr(display.sums, display.outputs).statistic)
    with pytest.raises(ValueError, match="row is 10"):
        DatamodelingDisplay.from_estimator(explainer, X_test, truth, row=10)


def test_comparison():
    table = {
        "explainer": ["a", "b", "c"],
        "fit_seconds": [1.0, 2.0, 3.0],
        "seconds_per_row": [0.1, 0.2, 0.3],
        "average_rank": [1.0, 2.0, np.nan],
    }
    display = ComparisonDisplay.from_result(Bunch(table=table, n_test=10))
    assert_allclose(display.seconds, [2.0, 4.0, 6.0])
    assert texts(display.texts_) == ["a", "b"]
    low, high = display.ax_.get_ylim()
    assert low > high  # the best on top
    names = ["one", "another", "the slowest of all"]
    crowd = ComparisonDisplay.from_predictions(names, [1.0, 1.01, 2.0], [1.0, 1.05, 90.0])
    boxes = [text.get_window_extent() for text in crowd.texts_]
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
    assert all(crowd.ax_.bbox.x0 <= box.x0 and box.x1 <= crowd.ax_.bbox.x1 for box in boxes)
    with pytest.raises(ValueError, match="one length"):
        ComparisonDisplay.from_predictions(["a"], [1.0, 2.0], [1.0, 2.0])


def test_plot_takes_axes_and_returns_the_display(explainer):
    _, ax = plt.subplots()
    display = AttributionDisplay([1.0, -1.0], [3, 4])
    assert display.plot(ax) is display and display.ax_ is ax
    assert display.plot().ax_ is not ax


def test_without_matplotlib(monkeypatch):
    # that importing skattrib.plots does not need it is in test_layout.py
    for name in ("matplotlib", "matplotlib.pyplot"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=re.escape('pip install "skattrib[plots]"')):
        AttributionDisplay.from_predictions([1.0])
