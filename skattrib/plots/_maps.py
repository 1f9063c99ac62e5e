"""Maps over the images of pairs: which pixels tie training rows to one prediction."""

from numbers import Integral

import numpy as np
from scipy.ndimage import gaussian_filter

from .._arrays.checks import plain_array
from ._axes import LOWERS, RAISES, Display, plain

# red lowers, blue raises, white is nothing: told apart by all eyes
COLOURS = "RdBu"
# of the values of maps, the share that colours do not show in full
CUT = 0.01
# images with more pixels a side are smoothed before their outline is drawn
SMALL = 40


class PixelMapDisplay(Display):
    """The pixels of training images, and of the test image, that tie them to one prediction.

    Parameters
    ----------
    train_images : array-like of shape (k, height, width) or (k, height, width, channels)
        Images of training rows.
    train_maps : array-like of shape (k, height, width), or None
        Maps over them, in the unit of the attribution.
    values : array-like of shape (k,)
        Attributions of the rows.
    test_image : array-like of shape (height, width) or (height, width, channels), optional
    test_maps : array-like of shape (k, height, width), optional
        Maps over the test image, one for each training row.
    names : sequence of length k, optional
        What to call the rows.
    labels : sequence of length k, optional
        Their labels.
    train_share, test_share : array-like of shape (k,), optional
        What of each value its map holds.
    title : str, optional

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
    axes_ : dict of str to list of matplotlib Axes
        Those of "test_image", "train_images", "train_maps" and "test_maps".
    limits_ : dict of str to float
        The value that full colour stands for in "train_maps" and "test_maps": one for all maps of a
        side, the largest but for 1 % of the pixels.

    Notes
    -----
    Blue pixels raise the attribution, red ones lower it; lines are the outlines of the image under
    the map. Training images are drawn large: maps over the test image hardly differ between
    training rows.

    Examples
    --------
    >>> import numpy as np
    >>> from skattrib.plots import PixelMapDisplay
    >>> images, maps = np.eye(8)[None], np.eye(8)[None] / 8
    >>> display = PixelMapDisplay(images, maps, [1.0], names=["row 3"]).plot()
    """

    def __init__(
        self,
        train_images,
        train_maps,
        values,
        *,
        test_image=None,
        test_maps=None,
        names=None,
        labels=None,
        train_share=None,
        test_share=None,
        title=None,
    ):
        self.train_images, self.train_maps = train_images, train_maps
        self.values = values
        self.test_image, self.test_maps = test_image, test_maps
        self.names, self.labels, self.title = names, labels, title
        self.train_share, self.test_share = train_share, test_share

    @classmethod
    def from_result(
        cls,
        maps,
        row=0,
        *,
        y_train=None,
        ids=None,
        image=None,
        train_images=None,
        title=None,
        ax=None,
    ):
        """Draw the maps of one test row.

        Parameters
        ----------
        maps : PixelMaps
            What :func:`skattrib.torch_adapters.pixel_maps` returned for images.
        row : int, default=0
            Which of its test rows.
        y_train : array-like of shape (n_samples_fit_,), optional
            Labels of all training rows.
        ids : array-like of shape (n_samples_fit_,), optional
            What to call the training rows; by default their numbers.
        image : array-like, optional
            The test image as it is to be shown, such as before it was scaled. By default what the
            network was given, (channels, height, width) or (height, width), in its own range.
        train_images : array-like of shape (k, ...), optional
            The same of the training rows of the pairs.
        title : str, optional
        ax : matplotlib Axes, optional

        Returns
        -------
        PixelMapDisplay

        Raises
        ------
        TypeError
            For something else than maps.
        ValueError
            For maps over tokens, for which there is `TokenMapDisplay`, and a row that there is not.
        """
        rows = {"y_train": y_train, "ids": ids}
        indices = check_maps(maps, row, rows, tokens=False)
        labels, names = rows["y_train"], rows["ids"]
        sides = {}
        for side in ("train", "test"):
            found = getattr(maps, side)
            found = None if found is None else maps.contributions(side)[row]
            if found is not None and found.ndim not in (3, 4):
                raise ValueError(
                    f"maps have shape {found.shape[1:]} each; expected those of images, (height, "
                    "width) or (channels, height, width)"
                )
            sides[side] = found if found is None or found.ndim == 3 else found.sum(axis=1)
        shares = {
            side: None if share is None else share[row]
            for side, share in (("train", maps.train_share), ("test", maps.test_share))
        }
        return cls(
            _channels_last(maps.train_inputs[row]) if train_images is None else train_images,
            sides["train"],
            maps.values[row],
            test_image=_channels_last(maps.inputs[[row]])[0] if image is None else image,
            test_maps=sides["test"],
            names=[f"row {i}" for i in indices] if names is None else names,
            labels=labels,
            train_share=shares["train"],
            test_share=shares["test"],
            title=title,
        ).plot(ax)

    def plot(self, ax=None):
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            By default those of a new figure, as wide as the pairs need.

        Returns
        -------
        PixelMapDisplay

        Raises
        ------
        ValueError
            For arrays of other shapes than the class says.
        """
        shown = self._checked()
        own = ax is None
        ax = self._place(ax)
        ax.set_axis_off()
        if self.title is not None:
            ax.set_title(plain(self.title))
        k, both = len(shown["values"]), shown["train_maps"] is not None
        small = shown["test_maps"] is not None
        left = 0.0 if shown["test_image"] is None else 0.85
        # in units of a column: images, maps and small maps below each other, and texts below these
        heights = {"train_images": 1.0, "train_maps": 1.0 * both, "test_maps": 0.62 * small}
        head, gap = 0.3, 0.28
        width, height = left + k + 0.35, head + sum(heights.values()) + gap * (both + small)
        if own:
            self.figure_.set_size_inches(1.55 * width, 1.55 * height + 0.3)
        self.axes_ = {name: [] for name in ("test_image", *heights)}
        self.limits_ = {}

        def inset(name, x, y, size):
            # size is of a square; y runs down
            box = [x / width, 1 - (y + size) / height, size / width, size / height]
            self.axes_[name].append(ax.inset_axes(box))
            return self.axes_[name][-1]

        if left:
            below = {"size": "small", "color": "black"}
            _image(inset("test_image", 0.0, head, 0.7), shown["test_image"], "test image", below)
        y = head
        for name, size in heights.items():
            if not size:
                continue
            scale = None if name == "train_images" else _limit(shown[name])
            for q in range(k):
                panel = inset(name, left + q + (0.94 - 0.94 * size) / 2, y, 0.94 * size)
                if scale is None:
                    color = RAISES if shown["values"][q] >= 0 else LOWERS
                    style = {"size": "small", "color": color}
                    _image(panel, shown[name][q], self._head(shown, q), style)
                    continue
                under = shown["train_images"][q] if name == "train_maps" else shown["test_image"]
                drawn = _map(panel, shown[name][q], under, scale)
                panel.set_xlabel(self._below(name, shown, q), size="x-small", labelpad=2)
            if scale is not None:
                self.limits_[name] = scale
                side = [(left + k + 0.02) / width, 1 - (y + 0.94 * size) / height]
                bar = ax.inset_axes([*side, 0.06 / width, 0.94 * size / height])
                self.figure_.colorbar(drawn, cax=bar, ticks=[-scale, 0, scale])
                bar.set_yticklabels([f"{-scale:+.1g}", "0", f"{scale:+.1g}"])
                bar.tick_params(labelsize="xx-small", length=2, pad=1)
            y += size + gap * (scale is not None)
        return self

    def _head(self, shown, q):
        text = plain(shown["names"][q])
        if shown["labels"] is not None:
            text += f": {plain(shown['labels'][q])}"
        return f"{text}\n{shown['values'][q]:+.3g}"

    @staticmethod
    def _below(name, shown, q):
        what = "training" if name == "train_maps" else "test"
        share = shown["train_share" if name == "train_maps" else "test_share"]
        if share is None or not np.isfinite(share[q]):
            return f"{what} pixels"
        return f"{what} map holds\n{100 * share[q]:.0f} % of {shown['values'][q]:+.3g}"

    def _checked(self):
        """Arrays of shapes that fit each other."""
        values = plain_array(self.values, "values", float)
        if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
            raise ValueError(f"values must be finite numbers of shape (k,), got {values.shape}.")
        k = len(values)
        images = _as_shown(plain_array(self.train_images, "train_images", float), "train_images", 3)
        test = self.test_image
        if test is not None:
            test = _as_shown(plain_array(test, "test_image", float)[None], "test_image", 3)[0]
        shown = {"values": values, "train_images": images, "test_image": test}
        for name, like in (
            ("train_maps", images),
            ("test_maps", None if test is None else test[None]),
        ):
            maps = getattr(self, name)
            if maps is not None:
                maps = plain_array(maps, name, float)
                if like is None:
                    raise ValueError("test_maps need test_image, which they are drawn over.")
                if maps.shape != (k, *like.shape[1:3]) or not np.isfinite(maps).all():
                    raise ValueError(
                        f"{name} must be finite numbers of shape {(k, *like.shape[1:3])}, one map "
                        f"an image; got shape {maps.shape}."
                    )
            shown[name] = maps
        names = [f"pair {q}" for q in range(k)] if self.names is None else list(self.names)
        shown |= {"names": names, "labels": None if self.labels is None else list(self.labels)}
        for name in ("train_share", "test_share"):
            share = getattr(self, name)
            shown[name] = None if share is None else plain_array(share, name, float)
        for name in ("train_images", "names", "labels", "train_share", "test_share"):
            if shown[name] is not None and len(shown[name]) != k:
                raise ValueError(
                    f"{name} has {len(shown[name])} entries; expected {k}, one a value."
                )
        return shown


def check_maps(maps, row, rows, tokens):
    """Training rows of one test row; what `rows` holds of all training rows becomes theirs."""
    if not hasattr(maps, "contributions") or isinstance(maps, type):
        raise TypeError(
            "maps must be what skattrib.torch_adapters.pixel_maps returned, got a "
            f"{type(maps).__name__}."
        )
    if maps.tokens != tokens:
        kind, other = (
            ("tokens", "TokenMapDisplay") if maps.tokens else ("images", "PixelMapDisplay")
        )
        raise ValueError(f"these are maps over {kind}: use {other}.")
    m = len(maps.indices)
    if not isinstance(row, Integral) or isinstance(row, bool) or not 0 <= row < m:
        raise ValueError(f"row must be one of the test rows, 0..{m - 1}; got {row!r}.")
    indices = maps.indices[row]
    for name, values in rows.items():
        if values is None:
            continue
        values = plain_array(values, name)
        if values.ndim != 1 or len(values) <= indices.max():
            raise ValueError(
                f"{name} has shape {values.shape}; expected one entry for each training row, of "
                f"which maps name row {indices.max()}."
            )
        rows[name] = values[indices]
    return indices


def _channels_last(images):
    return images if images.ndim == 3 else np.moveaxis(images, 1, -1)


def _as_shown(images, name, ndim):
    """Images (n, height, width[, 3]) within 0..1, all by one scale."""
    if images.ndim not in (ndim, ndim + 1) or 0 in images.shape or not np.isfinite(images).all():
        raise ValueError(
            f"{name} must be finite numbers, images of (height, width) or (height, width, "
            f"channels) each; got shape {images.shape}."
        )
    if images.ndim == ndim + 1 and images.shape[-1] != 3:
        images = images.mean(axis=-1)
    low, high = images.min(), images.max()
    if low < 0 or high > 1:
        images = (images - low) / ((high - low) or 1.0)
    return images


def _limit(maps):
    """What full colour stands for."""
    return float(np.quantile(np.abs(maps), 1 - CUT)) or float(np.abs(maps).max()) or 1.0


def _image(ax, image, text, style):
    ax.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    ax.set(xticks=[], yticks=[])
    ax.set_title(text, pad=3, **style)


def _map(ax, values, image, limit):
    """A map over the outline of its image."""
    drawn = ax.imshow(values, cmap=COLOURS, vmin=-limit, vmax=limit, interpolation="nearest")
    grey = image if image.ndim == 2 else image.mean(axis=-1)
    if min(grey.shape) > SMALL:
        grey = gaussian_filter(grey, min(grey.shape) / SMALL)
    if min(grey.shape) > 1 and grey.max() > grey.min():
        ax.contour(grey, levels=[grey.mean()], colors="0.35", linewidths=0.7)
    ax.set(xticks=[], yticks=[])
    return drawn
