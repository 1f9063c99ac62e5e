"""The report: complete, self-contained, and no label, id or column can become markup."""

import base64
import io
import sys
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits

from skattrib import DualViewExplainer, find_label_issues
from skattrib.__main__ import main
from skattrib._report import image_shape, thumbnail

pytest.importorskip("jinja2")

HOSTILE = ["<script>alert(1)</script>", '"><img src=x onerror=a()>', "{{ 7 * 7 }}", "a&amp;b\u202e"]
TAGS = {"html", "head", "meta", "title", "style", "body", "h1", "h2", "h3", "p", "pre", "section"}
TAGS |= {"div", "table", "tr", "th", "td", "span", "img"}
VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """Tags with attributes, text, and tables as lists of lines of cells."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.open, self.text, self.tables = [], [], [], []
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)
        if self.open and self.open[-1] in ("td", "th"):
            self.tables[-1][-1][-1] += data.strip()

    def check(self):
        """Nothing runs, nothing is loaded."""
        assert {tag for tag, _ in self.tags} <= TAGS
        for _, attributes in self.tags:
            assert not any(name.startswith("on") for name in attributes)
            assert "href" not in attributes
            assert attributes.get("src", "data:image/png;base64,").startswith("data:image/png")
        assert "url(" not in self.source and "http:" not in self.source
        assert "https:" not in self.source
        policy = next(a["content"] for _, a in self.tags if "http-equiv" in a)
        assert policy.startswith("default-src 'none'")
        return self


def make_table(n, seed):
    rng = np.random.default_rng(seed)
    codes = rng.integers(3, size=n)
    return pd.DataFrame(
        {
            "id": [f"<b>{i}</b>" for i in range(n)],
            HOSTILE[1]: rng.normal(size=n) + 2 * codes,
            "age": rng.normal(size=n) - codes,
            "city": np.array(HOSTILE)[(codes + (rng.random(n) < 0.2)) % 4],
            "y<i>": np.array(HOSTILE)[codes],
        }
    )


@pytest.fixture
def tables(tmp_path):
    train, test = make_table(60, 0), make_table(20, 1)
    train.loc[5, "y<i>"] = HOSTILE[(HOSTILE.index(train.loc[5, "y<i>"]) + 1) % 3]
    test.loc[0, "city"] = HOSTILE[3]
    paths = tmp_path / "train.csv", tmp_path / "<i>test.csv"
    train.to_csv(paths[0], index=False)
    test.to_csv(paths[1], index=False)
    return train, test, *map(str, paths)


def report(capsys, tmp_path, *args):
    path = tmp_path / "report.html"
    code = main(["explain", *map(str, args), "--report", str(path)])
    out, err = capsys.readouterr()
    assert code == 0, err
    assert "Wrote the report to" in out
    return Page(path).check(), out


@pytest.mark.parametrize("method", ["dualview", "representer", "influence", "similarity"])
def test_hostile_tables(method, tables, tmp_path, capsys):
    options = [] if method == "similarity" else ["--C", 0.05]
    page, out = report(
        capsys,
        tmp_path,
        *tables[2:],
        *["--target", "y<i>", "--id", "id", "--method", method, "--rows", "0,7", "--top", 3],
        *options,
    )
    text = " ".join(page.text)
    # as they were written, cut to the width of a cell
    for label in HOSTILE[:3]:
        short = label if len(label) <= 24 else label[:21] + "..."
        assert short in text
    assert "49" not in [cell for table in page.tables for line in table for cell in line]
    assert "a&amp;b\\u202e" in text and "\u202e" not in page.source
    assert str(tables[3]) in text
    assert "--report" not in out
    fit, *_, first, second = page.tables
    assert ["training rows", "60"] in fit
    accuracy = next(line for line in out.splitlines() if line.startswith("accuracy"))
    assert accuracy in text
    assert any("class detection" in line for line in page.text)
    for table, row in ((first, 0), (second, 7)):
        head, own, *entries = table
        assert head[:4] == ["", "id", "label", "attribution"]
        names = [HOSTILE[1][:21] + "...", "age", "city"]
        assert sorted(head[5:]) == sorted(names)
        frame = tables[1].rename(columns={HOSTILE[1]: names[0]})
        assert own[1] == frame.id[row]
        assert own[5 + head[5:].index("age")] == f"{frame.age[row]:.6g}"
        train = tables[0]
        for entry in entries:
            i = int(entry[1][3:-4])
            assert float(entry[3]) * (1 if entry[0] == "proponent" else -1) > 0
            assert entry[5 + head[5:].index("age")] == f"{train.age[i]:.6g}"
            assert entry[3] in out
    if method == "similarity":
        assert "decision value of class" not in text
    assert ("of the exact optimum's" in text) == (method == "dualview")


def test_suspicious_rows(tables, tmp_path, capsys):
    page, _ = report(capsys, tmp_path, *tables[2:], "--target", "y<i>", "--id", "id", "--C", 0.05)
    issues = page.tables[1]
    assert issues[0][0] == "id" and issues[1][0] == "<b>5</b>"
    assert all(float(line[3]) > 0 for line in issues[1:])


def test_images_and_no_issues(tmp_path, capsys):
    X, y = load_digits(return_X_y=True)
    for name, rows in (("train", slice(0, 300)), ("test", slice(300, 320))):
        np.savez(tmp_path / f"{name}.npz", X=X[rows], y=y[rows])
    page, _ = report(capsys, tmp_path, tmp_path / "train.npz", tmp_path / "test.npz", "--C", 1.0)
    explainer = DualViewExplainer(C=1.0, random_state=0).fit(X[:300], y[:300])
    assert len(find_label_issues(explainer, X[:300], y[:300]).row) == 0
    assert "No training row has a label that the classifier contradicts" in " ".join(page.text)
    images = [a["src"] for tag, a in page.tags if tag == "img"]
    assert len(images) == 5 * 11
    test_row, strongest = page.tables[1][1:3]
    assert images[0] == thumbnail(X, 300 + int(test_row[2]), (8, 8))
    assert images[1] == thumbnail(X, int(strongest[2]), (8, 8))
    assert not any("column" in cell for cell in page.tables[1][0])


def test_matrices_name_columns_by_number(tmp_path, capsys):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(40, 16)), np.arange(40) % 2
    X[:, 11] += 3 * y
    np.savez(tmp_path / "rows.npz", X=X, y=y)
    np.savez(tmp_path / "test.npz", X=X)
    page, _ = report(
        capsys, tmp_path, tmp_path / "rows.npz", tmp_path / "test.npz", "--rows", "1,3", "--C", 0.1
    )
    head, own = page.tables[-2][:2]
    assert "column 11" in head and len(head) == 5 + 5
    assert own[head.index("column 11")] == f"{X[1, 11]:.4g}"
    assert "accuracy" not in " ".join(page.text)
    assert not any(tag == "img" for tag, _ in page.tags)


def test_thumbnails():
    plt = pytest.importorskip("matplotlib.pyplot")
    X = load_digits().data[:3]
    address = thumbnail(X, 1, (8, 8))
    pixels = plt.imread(io.BytesIO(base64.b64decode(address.split(",")[1])), format="png")
    expected = X[1].reshape(8, 8) / X[1].max()
    assert pixels.shape == (8, 8) and np.abs(pixels - expected).max() < 1 / 255
    assert thumbnail(np.zeros((1, 16)), 0, (4, 4)).startswith("data:image/png;base64,")
    assert image_shape(X) == (8, 8) and image_shape(X / 16) == (8, 8)
    for no_image in (X - 8, X + 0.5, X[:, :60], X[:, :9], 100.0 * X):
        assert image_shape(no_image) is None


def fails(capsys, args, *expected):
    assert main(list(map(str, args))) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    for text in expected:
        assert text in err


def test_reports_that_cannot_be_written(tables, tmp_path, capsys):
    args = ["explain", *tables[2:], "--target", "y<i>", "--report"]
    fails(capsys, [*args, tmp_path / "report.pdf"], "expected an output in .html")
    fails(capsys, [*args, tmp_path / "no" / "report.html"], "cannot write")


def test_without_jinja2(tables, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    args = ["explain", *tables[2:], "--target", "y<i>", "--report", tmp_path / "report.html"]
    fails(capsys, args, 'pip install "skattrib[report]"')
