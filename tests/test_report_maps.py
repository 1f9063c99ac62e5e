"""Maps over inputs in the report of an explanation."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.datasets import load_digits

from skattrib import DualViewExplainer, explain
from skattrib.findings.images import figure_address
from skattrib.plots import PixelMapDisplay

pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")

X, y = load_digits(return_X_y=True)
X = X / 16


def maps_of(rows, indices):
    """What `pixel_maps` would return for a network that hands its input on."""
    e = DualViewExplainer(random_state=0).fit(X[:200], y[:200])
    values = np.take_along_axis(e.attribute(rows).toarray(), indices, axis=1)
    shape = (*indices.shape, 1, 8, 8)
    found = {side: e.directions(rows, indices, side=side) for side in ("test", "train")}
    train = X[indices].reshape(shape)
    maps = {
        "test": (found["test"] * rows[:, None]).reshape(shape),
        "train": found["train"].reshape(shape) * train,
    }
    return SimpleNamespace(
        **maps,
        values=values,
        indices=indices,
        inputs=rows.reshape(-1, 1, 8, 8),
        train_inputs=train,
        test_share=np.ones_like(values),
        train_share=np.ones_like(values),
        remainder=None,
        tokens=False,
        method="lrp",
        contributions=lambda side: maps[side],
    )


def test_the_report_draws_maps_below_their_rows(tmp_path):
    explainer = DualViewExplainer(random_state=0).fit(X[:200], y[:200])
    shown = explain(explainer, X[200:203], k=2)
    maps = maps_of(X[200:203], explainer.top_k(X[200:203], 2)[1])
    shown.to_html(tmp_path / "why.html", maps=maps)
    text = (tmp_path / "why.html").read_text("utf-8")
    pictures = re.findall(r'<img class="picture" src="data:image/png;base64,([\w+/=]+)"', text)
    assert len(pictures) == len(set(pictures)) == 3
    second = PixelMapDisplay.from_result(maps, 1, y_train=y[:200], ids=np.arange(200))
    assert f"data:image/png;base64,{pictures[1]}" == figure_address(second.figure_)
    headings = [m.start() for m in re.finditer("<h3>Test row", text)]
    places = [m.start() for m in re.finditer('class="picture" src', text)]
    assert np.array_equal(np.argsort(np.argsort(headings + places)), [0, 2, 4, 1, 3, 5])
    assert 'class="picture" src' not in shown.to_html()


def test_maps_of_other_rows_are_refused():
    explainer = DualViewExplainer(random_state=0).fit(X[:200], y[:200])
    shown = explain(explainer, X[200:203], k=2)
    maps = maps_of(X[200:202], explainer.top_k(X[200:202], 2)[1])
    for wrong in (maps, "maps", np.zeros((3, 2))):
        with pytest.raises((ValueError, TypeError), match="pixel_maps"):
            shown.to_html(maps=wrong)
