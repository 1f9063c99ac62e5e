"""The report: complete, self-contained, and no label, id or column can become markup."""

import base64
import io
import shutil
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits

from skattrib import DualViewExplainer, RepresenterExplainer, find_label_issues
from skattrib.__main__ import main
from skattrib._cli.methods import METHODS
from skattrib.findings.images import BLUE, RED, image_shape, share_map, thumbnail

pytest.importorskip("jinja2")

HOSTILE = ["<script>alert(1)</script>", '"><img src=x onerror=a()>', "{{ 7 * 7 }}", "a&amp;b\u202e"]
TAGS = {"html", "head", "meta", "title", "style", "body", "h1", "h2", "h3", "p", "pre", "section"}
TAGS |= {"div", "table", "tr", "th", "td", "span", "img"}
TAGS |= {"ul", "li", "figure", "figcaption", "svg", "line", "rect", "text", "tbody"}
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


@pytest.mark.parametrize("method", METHODS)
def test_hostile_tables(method, tables, tmp_path, capsys):
    options = ["--C", 0.05] if METHODS[method].takes("C") else []
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
        names = [HOSTILE[1], "age", "city"]
        assert sorted(head[5:]) == sorted(names)
        frame = tables[1]
        assert own[1] == frame.id[row]
        assert own[5 + head[5:].index("age")] == f"{frame.age[row]:.3f}"
        train = tables[0]
        for entry in entries:
            i = int(entry[1][3:-4])
            assert float(entry[3]) * (1 if entry[0] == "proponent" else -1) > 0
            assert entry[5 + head[5:].index("age")] == f"{train.age[i]:.3f}"
            assert entry[3] in out
    check_plots(page, method)
    if method in ("similarity", "trak"):
        assert "decision value of class" not in text
    assert ("of the exact optimum's" in text) == method.startswith("dualview")


def check_plots(page, method):
    """Bars are as long as values, shades are shares, sums by label are of all rows."""
    bars = [a for tag, a in page.tags if tag == "span" and "bar" in a.get("class", "")]
    entries = [line for table in page.tables[-2:] for line in table[2:]]
    assert len(bars) == len(entries) and max(map(length, bars)) == 70
    first = len(page.tables[-2]) - 2
    for part in (slice(first), slice(first, None)):
        values = [float(line[3]) for line in entries[part]]
        expected = [max(1, round(70 * abs(value) / max(map(abs, values)))) for value in values]
        assert np.abs(np.subtract(list(map(length, bars[part])), expected)).max() <= 1
        assert [a["class"].split()[1] for a in bars[part]] == [
            "for" if value > 0 else "against" for value in values
        ]
    shades = [a["style"] for _, a in page.tags if a.get("style", "").startswith("--share")]
    assert len(shades) == 3 * len(entries)
    assert max(float(style.split(":")[1]) for style in shades) == 0.55
    assert ("All training rows, summed by label" in page.text) == (
        method not in ("similarity", "trak")
    )


def length(attributes):
    return int(attributes["style"].rpartition(":")[2].removesuffix("px"))


def test_sums_by_label_are_of_all_rows(tmp_path, capsys):
    rng = np.random.default_rng(0)
    y = np.arange(240) % 12
    X = rng.normal(size=(240, 6)) + rng.normal(size=(12, 6))[y]
    np.savez(tmp_path / "rows.npz", X=X, y=y)
    files = tmp_path / "rows.npz", tmp_path / "rows.npz"
    page, _ = report(capsys, tmp_path, *files, "--rows", 3, "--C", 0.1, "--method", "representer")
    explainer = RepresenterExplainer(C=0.1).fit(X, y)
    T = explainer.attribute(X[[3]])[0]
    sums = np.array([T[y == c].sum() for c in range(12)])
    shown = np.argsort(-np.abs(sums))[:8]
    start = page.text.index("All training rows, summed by label")
    found = [text for text in page.text[start + 1 :] if text.strip()][: 2 * 9]
    assert found[:16:2] == [str(c) for c in shown] and found[16] == "4 others"
    values = [*sums[shown], sums.sum() - sums[shown].sum()]
    assert {len(text.partition(".")[2]) for text in found[1::2]} == {2}  # they align
    assert np.allclose(np.array(found[1::2], dtype=float), values, rtol=0, atol=5.1e-3)


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
    assert len(images) == 5 * (1 + 2 * 10)
    test_row, strongest = page.tables[1][1:3]
    assert images[0] == thumbnail(X, 300 + int(test_row[2]), (8, 8))
    assert images[1] == thumbnail(X, int(strongest[2]), (8, 8))
    test, train = 300 + int(test_row[2]), int(strongest[2])
    shares = explainer.decompose(X[[test]], [[train]])[0, 0]
    assert painted(images[2])[shares.reshape(8, 8) == 0].min() == 1  # white
    assert (painted(images[2])[shares.reshape(8, 8) > 0] < 1).any()
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
    assert own[head.index("column 11")] == f"{X[1, 11]:.3f}"
    assert "accuracy on" not in " ".join(page.text)
    assert not any(tag == "img" for tag, _ in page.tags)


def painted(address):
    plt = pytest.importorskip("matplotlib.pyplot")
    return plt.imread(io.BytesIO(base64.b64decode(address.split(",")[1])), format="png")


def painted_file(path):
    plt = pytest.importorskip("matplotlib.pyplot")
    return (255 * plt.imread(path)[..., :3]).round()


def test_thumbnails():
    X = load_digits().data[:3]
    pixels = painted(thumbnail(X, 1, (8, 8)))
    expected = X[1].reshape(8, 8) / X[1].max()
    assert pixels.shape == (8, 8) and np.abs(pixels - expected).max() < 1 / 255
    assert thumbnail(np.zeros((1, 16)), 0, (4, 4)).startswith("data:image/png;base64,")
    assert image_shape(X) == (8, 8) and image_shape(X / 16) == (8, 8)
    for no_image in (X - 8, X + 0.5, X[:, :60], X[:, :9], 100.0 * X):
        assert image_shape(no_image) is None
    shares = np.array([0.0, 2.0, -2.0, 1.0])
    red, green, blue = np.moveaxis(255 * painted(share_map(shares, 2.0, (2, 2))), -1, 0).round()
    assert np.array_equal(red, [[255, 31], [214, 143]]) and np.array_equal(
        blue, [[255, 180], [40, 218]]
    )
    assert green[0, 0] == 255 and np.ptp(painted(share_map(0 * shares, 0.0, (2, 2)))) == 0


BROWSER = next(
    filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])), None
)


def browse(path, *options):
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"]
    command += [f"--user-data-dir={path.parent / 'profile'}", "--window-size=1200,2800", *options]
    done = subprocess.run([*command, path.as_uri()], capture_output=True, timeout=120)
    messages = done.stderr.decode(errors="replace")
    assert done.returncode == 0, messages
    assert "CONSOLE" not in messages  # what the page's own policy refuses is reported there
    return done.stdout.decode()


@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome on the path")
def test_in_a_browser(tables, tmp_path, capsys):
    page, _ = report(
        capsys, tmp_path, *tables[2:], "--target", "y<i>", "--id", "id", "--C", 0.05, "--top", 2
    )
    path = tmp_path / "report.html"
    seen = browse(path, "--dump-dom")
    (tmp_path / "seen.html").write_text(seen, encoding="utf-8")
    after = Page(tmp_path / "seen.html").check()
    assert [tag for tag, _ in after.tags if tag != "tbody"] == [tag for tag, _ in page.tags]
    # it is drawn: bars of both colours
    browse(path, f"--screenshot={tmp_path / 'page.png'}")
    pixels = painted_file(tmp_path / "page.png")
    for color in (BLUE, RED):
        assert (np.abs(pixels - color).max(axis=-1) <= 1).sum() > 500
    # and a page that does run scripts would have been noticed
    unsafe = path.read_text().replace("&lt;", "<").replace("&gt;", ">")
    path.write_text(unsafe)
    with pytest.raises(AssertionError):
        browse(path, "--dump-dom")


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
