"""What displays of maps draw and write."""

import numpy as np
import pytest

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("agg")

from types import SimpleNamespace  # noqa: E402

import matplotlib.pyplot as plt  # noqa: E402

from skattrib.plots import PixelMapDisplay, TokenMapDisplay  # noqa: E402


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def found(channels=3, m=2, k=3, tokens=False, **changes):
    """What pixel_maps returns, of arrays."""
    rng = np.random.default_rng(0)
    shape = (5, 2) if tokens else (channels, 4, 6)
    train, test = rng.normal(size=(2, m, k, *shape))

    def contributions(side):
        maps = train if side == "train" else test
        return maps.sum(-1) if tokens else maps

    maps = {
        "train": train,
        "test": test,
        "values": np.array([[0.6642, 0.5, -0.25]] * m),
        "indices": np.array([[4, 0, 2]] * m),
        "train_share": np.array([[0.912, np.nan, 0.3]] * m),
        "test_share": np.array([[0.5, 0.5, 0.5]] * m),
        "inputs": rng.random((m, *shape)),
        "train_inputs": rng.random((m, k, *shape)),
        "contributions": contributions,
        "tokens": tokens,
    }
    return SimpleNamespace(**maps | changes)


def test_what_is_drawn():
    maps = found()
    labels = np.array(list("abcd$"))
    display = PixelMapDisplay.from_result(maps, 1, y_train=labels, title="cost $5")
    axes = display.axes_
    assert {name: len(panels) for name, panels in axes.items()} == {
        "test_image": 1,
        "train_images": 3,
        "train_maps": 3,
        "test_maps": 3,
    }
    assert axes["train_images"][0].get_title() == "row 4: \\$\n+0.664"
    assert axes["train_images"][2].get_title() == "row 2: c\n-0.25"
    assert axes["train_maps"][0].get_xlabel() == "training map holds\n91 % of +0.664"
    assert axes["train_maps"][1].get_xlabel() == "training pixels"
    assert axes["test_maps"][1].get_xlabel() == "test map holds\n50 % of +0.5"
    assert display.ax_.get_title() == "cost \\$5"
    for side in ("train", "test"):
        panels = axes[f"{side}_maps"]
        drawn = [panel.get_images()[0] for panel in panels]
        expected = maps.contributions(side)[1].sum(axis=1)
        for image, values in zip(drawn, expected, strict=True):
            np.testing.assert_allclose(image.get_array(), values)
            assert image.get_cmap()(1.0)[2] > image.get_cmap()(1.0)[0]  # blue raises
        # one symmetric scale a side
        limit = display.limits_[f"{side}_maps"]
        assert {image.get_clim() for image in drawn} == {(-limit, limit)}
        assert np.mean(np.abs(expected) > limit) <= 0.02
        # outlines of images
        assert all(panel.collections for panel in panels)
    colours = [panel.title.get_color() for panel in axes["train_images"]]
    assert colours == ["tab:blue", "tab:blue", "tab:red"]
    display.figure_.canvas.draw()


def test_training_images_are_larger_than_the_test_map():
    axes = PixelMapDisplay.from_result(found()).axes_
    sizes = {name: panels[0].get_position().width for name, panels in axes.items()}
    assert sizes["train_maps"] == sizes["train_images"] > 1.4 * sizes["test_maps"]


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_images_of_any_number_of_channels(channels):
    maps = found(channels)
    maps.train_inputs = 5 * maps.train_inputs - 2  # scaled as networks like it
    display = PixelMapDisplay.from_result(maps)
    image = display.axes_["train_images"][0].get_images()[0].get_array()
    assert image.shape == ((4, 6, 3) if channels == 3 else (4, 6))
    assert image.min() >= 0 and image.max() <= 1
    shown = PixelMapDisplay.from_result(
        maps, image=np.zeros((4, 6)), train_images=np.ones((3, 4, 6)), ids=list("ABCDE")
    )
    assert shown.axes_["train_images"][1].get_images()[0].get_array().min() == 1
    assert shown.axes_["train_images"][1].get_title().startswith("A\n")


def test_one_side_alone_and_given_axes():
    ax = plt.subplots()[1]
    display = PixelMapDisplay.from_result(found(train=None, train_share=None), ax=ax)
    assert display.ax_ is ax and not display.axes_["train_maps"] and display.axes_["test_maps"]
    images = np.zeros((1, 4, 4))
    bare = PixelMapDisplay(images, images, [0.0]).plot()
    assert not bare.axes_["test_image"] and not bare.axes_["test_maps"]
    assert bare.limits_ == {"train_maps": 1.0}
    bare.figure_.canvas.draw()


def test_what_is_refused():
    maps = found()
    for row in (2, -1, "a", True, 0.5):
        with pytest.raises(ValueError, match="row must be"):
            PixelMapDisplay.from_result(maps, row)
    with pytest.raises(TypeError, match="pixel_maps"):
        PixelMapDisplay.from_result(np.ones(3))
    with pytest.raises(ValueError, match="use TokenMapDisplay"):
        PixelMapDisplay.from_result(found(tokens=True))
    with pytest.raises(ValueError, match="y_train has shape"):
        PixelMapDisplay.from_result(maps, y_train=[0, 1])
    images, good = np.zeros((2, 4, 4)), {"values": [1.0, 2.0]}
    for change, match in (
        ({"train_maps": np.zeros((2, 4, 5))}, "train_maps must be"),
        ({"train_maps": np.full((2, 4, 4), np.nan)}, "train_maps must be"),
        ({"train_images": np.zeros((2, 4))}, "train_images must be"),
        ({"train_images": np.zeros((3, 4, 4))}, "train_maps must be|3 entries"),
        ({"values": [1.0, np.nan]}, "values must be"),
        ({"values": []}, "values must be"),
        ({"test_maps": images}, "need test_image"),
        ({"names": ["a"]}, "names has 1 entries"),
        ({"labels": "abc"}, "labels has 3 entries"),
        ({"train_share": [1.0]}, "train_share has 1"),
    ):
        given = {"train_images": images, "train_maps": images} | good | change
        with pytest.raises(ValueError, match=match):
            PixelMapDisplay(**given).plot()


# tokens


def test_tokens_in_a_terminal():
    maps = found(tokens=True, m=1)
    maps.contributions = {
        "train": np.array([[[0.1, 0.9, -0.3, 0.0, 9], [0, -1, 0.5, 9, 9], [0, 0, 0, 0, 0]]]),
        "test": np.array([[[1.0, -2.0, 0, 0, 0]] * 3]),
    }.__getitem__
    words = [["so", "bad", "film", "."], ["not", "good", "!"], ["a"]]
    display = TokenMapDisplay.from_result(
        maps, ["oh", "no"], words, y_train=np.array(list("abcde"))
    )
    lines = str(display).splitlines()
    assert lines[0] == "row 4: e  +0.664"
    # what is behind a text is padding
    assert lines[1] == "    so ++bad++ -film- ."
    assert lines[2] == "    test row: +oh+ --no--"
    assert lines[4] == "    not --good-- +!+"
    html = display._repr_html_()
    assert html.count("<span") == 8 + 6 and "rgba(86,180,233,0.90)" in html
    assert "<b>row 4: e</b> +0.664" in html


def test_tokens_are_not_markup():
    display = TokenMapDisplay([["<b>", "&"]], [[1.0, -1.0]], [2.0], names=["<i>"])
    html = display._repr_html_()
    assert "&lt;b&gt;" in html and "&lt;i&gt;" in html and "<i>" not in html


def test_tokens_that_are_refused():
    for change, match in (
        ({"train_tokens": ["a b"]}, "cut it up"),
        ({"train_maps": [[1.0]]}, "one a token of 2"),
        ({"train_maps": [[1.0, np.nan]]}, "finite numbers"),
        ({"train_tokens": [["a"], ["b"]]}, "2 lists"),
        ({"values": []}, "values must"),
        ({"labels": [1, 2]}, "labels has 2"),
    ):
        given = {"train_tokens": [["a", "b"]], "train_maps": [[1.0, 2.0]], "values": [1.0]}
        with pytest.raises(ValueError, match=match):
            TokenMapDisplay(**given | change)
    with pytest.raises(ValueError, match="use PixelMapDisplay"):
        TokenMapDisplay.from_result(found(), ["a"], [["a"]] * 3)
