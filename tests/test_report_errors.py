"""The report's kinds of error: what misclassifications finds, in words that nobody misreads."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from test_report import HOSTILE, Page, report

from skattrib import (
    InfluenceExplainer,
    RepresenterExplainer,
    RepresenterRegressor,
    SimilarityExplainer,
    explain,
    misclassifications,
)
from skattrib.findings import views
from skattrib.findings.images import thumbnail
from skattrib.findings.misclassifications import CAUTION

pytest.importorskip("jinja2")

CLASSES = np.array(["<b>cat</b>", "dog{{ 7 * 7 }}", "owl"])
SECTION = '<section id="errors">'


def planted(n, seed, wrong=0.0):
    """Rows of three clear classes, a share of those of the first with the second's label."""
    rng = np.random.default_rng(seed)
    codes = np.arange(n) % 3
    X = np.eye(3)[codes] * 3 + rng.normal(size=(n, 3))
    codes[(codes == 0) & (rng.random(n) < wrong)] = 1
    return X, CLASSES[codes]


X, Y = planted(90, 0)
TEST, TEST_Y = planted(150, 1, wrong=0.3)
IDS = np.array([f"<i>{i}</i>" for i in range(90)])


@pytest.fixture(scope="module")
def representer():
    return RepresenterExplainer().fit(X, Y)


def page_of(explanation, tmp_path, **options):
    path = tmp_path / "report.html"
    explanation.to_html(path, **options)
    return Page(path).check()


def section(page):
    """(text, titles) of the section."""
    assert page.source.count(SECTION) == 1
    text = " ".join(" ".join(page.text).split())
    start = text.index(" Kinds of error ")
    return text[start : text.index(" Explained rows ", start)]


def tables_of(page):
    return [table for table in page.tables if "share of errors" in table[0]]


def check_tables(page, kinds, ids, labels, top=5):
    """Every number is that of misclassifications."""
    tables = tables_of(page)
    assert len(tables) == min(len(kinds), 5) > 0
    for table, kind in zip(tables, kinds, strict=False):
        head, *lines = table
        assert head[1:] == [
            "label", "mean attribution", "share of errors", "share of right rows"
        ]  # fmt: skip
        rows = kind.rows[:top]
        assert len(lines) == len(rows) > 0
        assert [line[0] for line in lines] == [str(ids[i]) for i in rows]
        assert [line[1] for line in lines] == [str(labels[i]) for i in rows]
        values = np.array([line[2] for line in lines], dtype=float)
        assert np.allclose(values, kind.values[:top], rtol=2e-3) and (values < 0).all()
        assert [line[3] for line in lines] == [f"{s:.0%}" for s in kind.share[:top]]
        assert [line[4] for line in lines] == [f"{s:.0%}" for s in kind.control_share[:top]]
        title = f"{kind.true} taken for {kind.predicted}: {kind.n_errors} errors"
        assert title in section(page)
        assert f"Right rows: {kind.n_control} of class {kind.true}." in section(page)


@pytest.mark.parametrize("explainer", [RepresenterExplainer(), InfluenceExplainer()])
def test_it_has_what_misclassifications_finds(explainer, tmp_path):
    explainer.fit(X, Y)
    kinds = misclassifications(explainer, TEST, TEST_Y)
    assert (kinds[0].true, kinds[0].predicted) == (CLASSES[1], CLASSES[0])
    page = page_of(explain(explainer, TEST, y=TEST_Y, ids=IDS, k=3), tmp_path)
    check_tables(page, kinds, IDS, Y, top=3)
    text = section(page)
    assert f"{kinds.n_errors} errors among 150 test rows." in text
    assert "the 20 strongest opponents of the margin" in text
    assert " ".join(CAUTION.split()) in text and "drawn at random" not in text
    # of the rows that are left, each once
    explanation = explain(explainer, TEST, y=TEST_Y, ids=IDS)
    order = np.append(np.arange(0, 150, 2), np.arange(0, 150, 2))
    page = page_of(explanation[order], tmp_path)
    check_tables(page, misclassifications(explainer, TEST[::2], TEST_Y[::2]), IDS, Y)
    assert "among 75 test rows." in section(page)
    assert SECTION not in explanation[:3].to_html() and SECTION not in explanation[[]].to_html()


def test_of_many_rows_some(representer, tmp_path, monkeypatch):
    monkeypatch.setattr(views, "COMPARED_ROWS", 100)
    page = page_of(explain(representer, TEST, y=TEST_Y, ids=IDS), tmp_path)
    rows = np.sort(np.random.RandomState(0).choice(150, 100, replace=False))
    kinds = misclassifications(representer, TEST[rows], TEST_Y[rows])
    assert f"{kinds.n_errors} errors among 100 test rows, drawn at random from 150." in section(
        page
    )
    check_tables(page, kinds, IDS, Y)


def test_the_most_frequent_five(representer, tmp_path):
    rng = np.random.default_rng(0)
    y = rng.permutation(np.repeat(CLASSES, 50))
    page = page_of(explain(representer, TEST, y=y, ids=IDS), tmp_path)
    kinds = misclassifications(representer, TEST, y)
    assert len(kinds) == 6
    assert "6 kinds have 5 errors or more; below are the 5 most frequent." in section(page)
    check_tables(page, kinds, IDS, Y)


def test_labels_that_no_training_row_has(tmp_path):
    """They are left out, and said to be; numbers and texts that print alike are the same label."""
    codes = np.searchsorted(CLASSES, Y)
    e = RepresenterExplainer().fit(X, codes)
    y = np.searchsorted(CLASSES, TEST_Y).astype(str).astype(object)
    kinds = misclassifications(e, TEST[7:], y[7:].astype(int))
    y[:7] = ["7", "", "nan", "x", "3", "-1", "0.0"]
    page = page_of(explain(e, TEST, y=y.astype(str)), tmp_path)
    assert "among 143 test rows, without 7 with labels that no training row has." in section(page)
    check_tables(page, kinds, np.arange(90), codes)
    unknown = explain(e, TEST, y=np.full(150, 9))
    assert SECTION not in unknown.to_html()


def test_no_right_rows(representer, tmp_path):
    rows = representer.predict(TEST) == CLASSES[0]
    page = page_of(explain(representer, TEST[rows], y=np.full(rows.sum(), "owl")), tmp_path)
    text = section(page)
    assert "One kind has 5 errors or more." in text
    assert "No row of class owl is predicted rightly." in text
    assert {line[4] for line in tables_of(page)[0][1:]} == {"none"}


def test_no_row_that_pushes(tmp_path):
    e = RepresenterExplainer(fit_intercept=False).fit(X, Y)
    rows, labels = np.zeros((5, 3)), np.full(5, "owl")
    assert "no row pushes towards it" in repr(misclassifications(e, rows, labels))
    page = page_of(explain(e, rows, y=labels), tmp_path)
    assert "taken for <b>cat</b>: 5 errors No training row pushes towards it." in section(page)
    assert tables_of(page) == []


def test_images(representer):
    rows = np.argsort(representer.predict(TEST) == TEST_Y, kind="stable")[:20]
    for options in ({"X_train": abs(X)}, {}):
        explanation = explain(representer, TEST[rows], y=TEST_Y[rows], k=1, **options)
        source = explanation.to_html(image_shape=(1, 3))
        own = source[source.index(SECTION) : source.index('<section id="rows">')]
        kinds = misclassifications(representer, TEST[rows], TEST_Y[rows])
        images = [thumbnail(abs(X), kind.rows[0], (1, 3)) for kind in kinds] if options else []
        assert len(kinds) > 0 and own.count("<img") == len(images)
        assert all(image in own for image in images)


def test_where_it_is_not(representer):
    """Without labels, without errors enough, and of explainers that have no margins."""
    assert SECTION not in explain(representer, TEST).to_html()
    assert SECTION not in explain(representer, X, y=representer.predict(X)).to_html()
    similarity = SimilarityExplainer().fit(X, Y)
    assert SECTION not in explain(similarity, TEST, y=TEST_Y).to_html()
    regressor = RepresenterRegressor().fit(X, X[:, 0])
    assert SECTION not in explain(regressor, TEST, y=TEST[:, 0] + 1).to_html()


def test_command_line(tmp_path, capsys):
    """All test rows count, though two are shown; hostile labels, ids and column names."""
    names, paths = [HOSTILE[1], "age", "city"], (tmp_path / "train.csv", tmp_path / "test.csv")
    for path, rows, labels in zip(paths, (X, TEST), (Y, TEST_Y), strict=True):
        frame = pd.DataFrame(rows, columns=names)
        frame["id"], frame["y<i>"] = [f"<i>{i}</i>" for i in range(len(rows))], labels
        frame.to_csv(path, index=False)
    args = *paths, "--target", "y<i>", "--id", "id", "--method", "representer", "--rows", "0,1"
    page, out = report(capsys, tmp_path, *args)
    assert "<b>cat</b>" in section(page) and "49" not in section(page)
    # the tables were standardized, as here
    scaled = (X - X.mean(axis=0)) / X.std(axis=0)
    e = RepresenterExplainer().fit(scaled, Y)
    test = (TEST - X.mean(axis=0)) / X.std(axis=0)
    kinds = misclassifications(e, test, TEST_Y)
    assert len(kinds) > 0 and f"{kinds.n_errors} errors among 150 test rows." in section(page)
    check_tables(page, kinds, IDS, Y)
    assert_array_equal([table[0][0] for table in tables_of(page)], "id")
    unlabelled = pd.read_csv(paths[1]).drop(columns="y<i>")
    unlabelled.to_csv(paths[1], index=False)
    page, _ = report(capsys, tmp_path, *args)
    assert SECTION not in page.source
