"""One prediction: its proponents and opponents, and the features of one pair."""

from math import prod
from numbers import Integral, Real

import numpy as np
from scipy import sparse
from sklearn.utils import check_scalar

from .._arrays import full
from .._arrays.checks import canonical_csr, plain_array
from ._axes import LOWERS, RAISES, REST, Display, check_explainer, plain


class AttributionDisplay(Display):
    """The strongest proponents and opponents of one prediction, as bars or as images.

    Parameters
    ----------
    values : array-like of shape (k,)
        Attributions that are shown, from the highest down.
    indices : array-like of shape (k,)
        Their training rows.
    names : sequence of length k, optional
        What to call the rows; by default their numbers.
    labels : sequence of length k, optional
        Their labels.
    images : array-like of shape (k, height, width) or (k, height, width, channels), optional
        Pictures of the rows: a grid is drawn in place of bars.
    image : array-like, optional
        Picture of the test row.
    title : str, optional

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
    bars_ : matplotlib BarContainer or None
    axes_ : list of matplotlib Axes
        Those of the images, the test row's first.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skattrib import DualViewExplainer
    >>> from skattrib.plots import AttributionDisplay
    >>> X, y = load_digits(return_X_y=True)
    >>> explainer = DualViewExplainer(C=1e-4, random_state=0).fit(X[1:], y[1:])
    >>> display = AttributionDisplay.from_estimator(
    ...     explainer, X[0], y_train=y[1:], images=X[1:], image_shape=(8, 8)
    ... )
    """

    def __init__(
        self, values, indices, *, names=None, labels=None, images=None, image=None, title=None
    ):
        self.values, self.indices = np.asarray(values), np.asarray(indices)
        self.names, self.labels = names, labels
        self.images, self.image, self.title = images, image, title

    @classmethod
    def from_estimator(
        cls,
        explainer,
        x,
        *,
        k=5,
        target=None,
        y_train=None,
        ids=None,
        images=None,
        image_shape=None,
        ax=None,
    ):
        """Explain one row and draw it.

        Parameters
        ----------
        explainer : fitted explainer
        x : array, CSR or frame of one row, or ndarray of shape (n_features,)
        k : int, default=5
            Proponents and opponents at most; rows without any attribution are not shown.
        target : as in `attribute`, optional
        y_train : array-like of shape (n_samples_fit_,), optional
            Labels of the training rows.
        ids : array-like of shape (n_samples_fit_,), optional
            What to call the training rows; by default the index of the frame given to `fit`.
        images : array-like of shape (n_samples_fit_, ...), optional
            Training images, or rows that `image_shape` makes images of.
        image_shape : tuple of int, optional
            (height, width) or (height, width, channels); `x` is then shown as well.
        ax : matplotlib Axes, optional

        Returns
        -------
        AttributionDisplay
        """
        check_explainer(explainer)
        x = _one_row(x)
        if ids is None and getattr(explainer, "_fit_ids", None) is not None:
            ids = explainer._fit_ids[1]
        T = full(explainer.attribute(x, target))
        title = f"predicted {plain(explainer.predict(x)[0])}"
        if target is not None and np.size(target) == 1:
            title += f", explained {plain(np.ravel(target)[0])}"
        image = None
        if image_shape is not None and images is not None:
            image = np.asarray(full(x)).reshape(image_shape)
        return cls.from_predictions(
            T[0],
            k=k,
            y_train=y_train,
            ids=ids,
            images=images,
            image=image,
            image_shape=image_shape,
            title=title,
            ax=ax,
        )

    @classmethod
    def from_predictions(
        cls,
        attributions,
        *,
        k=5,
        y_train=None,
        ids=None,
        images=None,
        image=None,
        image_shape=None,
        title=None,
        ax=None,
    ):
        """Draw attributions from any source.

        Parameters
        ----------
        attributions : array-like of shape (n,) or CSR of shape (1, n)
            Of one test row; -inf where a training row is excluded.
        image : array-like, optional
            The test row's image.
        k, y_train, ids, images, image_shape, ax
            As in `from_estimator`.
        title : str, optional

        Returns
        -------
        AttributionDisplay

        Raises
        ------
        ValueError
            For arrays of other lengths than `attributions`, and rows that are no images.
        """
        if sparse.issparse(attributions) and attributions.shape[0] == 1:
            attributions = canonical_csr(attributions, "attributions").toarray().ravel()
        values = plain_array(attributions, "attributions", float)
        if values.ndim != 1 or not len(values) or np.isnan(values).any():
            raise ValueError("attributions must be those of one test row: numbers of shape (n,).")
        check_count(k)
        order = np.argsort(-values, kind="stable")
        order = order[np.isfinite(values[order]) & (values[order] != 0)]
        shown = np.concatenate(
            [order[values[order] > 0][:k], order[values[order] < 0][-k:]]
        ).astype(int)
        given = {"y_train": y_train, "ids": ids, "images": images}
        for name, rows in given.items():
            shape = None if rows is None else np.shape(rows)
            if rows is not None and shape[:1] != values.shape:
                raise ValueError(
                    f"{name} has shape {shape}; expected {len(values)} rows, one a training row."
                )
            if rows is not None:
                given[name] = _rows(rows, shown, name)
        if images is not None:
            given["images"] = _as_images(given["images"], image_shape)
        return cls(
            values[shown],
            shown,
            names=given["ids"],
            labels=given["y_train"],
            images=given["images"],
            image=image,
            title=title,
        ).plot(ax)

    def plot(self, ax=None):
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            By default those of a new figure.

        Returns
        -------
        AttributionDisplay
        """
        ax = self._place(ax)
        names = self.indices if self.names is None else self.names
        texts = [plain(name) for name in names]
        if self.labels is not None:
            texts = [
                f"{text}: {plain(label)}" for text, label in zip(texts, self.labels, strict=True)
            ]
        self.bars_, self.axes_ = None, []
        if self.title is not None:
            ax.set_title(self.title)
        if self.images is not None:
            self._plot_images(ax, texts)
            return self
        colors = np.where(self.values > 0, RAISES, LOWERS)
        self.bars_ = _bars(ax, self.values, texts, colors)
        ax.set(xlabel="attribution", ylabel="training row")
        return self

    def _plot_images(self, ax, texts):
        ax.set_axis_off()
        sides = np.flatnonzero(self.values > 0), np.flatnonzero(self.values < 0)[::-1]
        start = 0 if self.image is None else 1
        width = 1 / max(1, start + max(map(len, sides)))
        if start:
            self._show(ax, [0, 0.25, 0.9 * width, 0.4], self.image, "test row", "black")
        for at, color, side in zip((0.52, 0.02), (RAISES, LOWERS), sides, strict=True):
            for q, place in enumerate(side, start=start):
                text = f"{texts[place]}\n{self.values[place]:+.3g}"
                box = [q * width, at, 0.9 * width, 0.36]
                self._show(ax, box, self.images[place], text, color)

    def _show(self, ax, box, image, text, color):
        inset = ax.inset_axes(box)
        inset.imshow(image, cmap="gray", interpolation="nearest")
        inset.set(xticks=[], yticks=[])
        inset.set_title(text, fontsize="small", color=color)
        self.axes_.append(inset)


class FeatureSharesDisplay(Display):
    """The features through which one training row contributes to one prediction.

    Parameters
    ----------
    shares : array-like of shape (n_features,)
        As `decompose` gives them for the pair.
    feature_names : sequence of length n_features, optional
    total : float, optional
        The attribution of the pair: the difference to the sum of shares is the intercept's.
    k : int, default=10
        Features at most, the largest by magnitude; the others are one bar.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
    bars_ : matplotlib BarContainer

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skattrib import DualViewExplainer
    >>> from skattrib.plots import FeatureSharesDisplay
    >>> X, y = load_iris(return_X_y=True, as_frame=True)
    >>> explainer = DualViewExplainer(random_state=0).fit(X[1:], y[1:])
    >>> display = FeatureSharesDisplay.from_estimator(explainer, X[:1], 7)
    """

    def __init__(self, shares, *, feature_names=None, total=None, k=10):
        self.shares, self.feature_names = plain_array(shares, "shares", float), feature_names
        self.total, self.k = total, k

    @classmethod
    def from_estimator(cls, explainer, x, index, *, target=None, k=10, feature_names=None, ax=None):
        """Decompose one attribution and draw it.

        Parameters
        ----------
        explainer : fitted explainer
        x : array, CSR or frame of one row, or ndarray of shape (n_features,)
        index : int
            The training row.
        target : as in `attribute`, optional
        k, ax
            As for the class.
        feature_names : sequence of length n_features, optional
            By default the explainer's `feature_names_in_`, else numbers.

        Returns
        -------
        FeatureSharesDisplay
        """
        check_explainer(explainer)
        x = _one_row(x)
        check_scalar(index, "index", Integral)
        shares = full(explainer.decompose(x, np.full((1, 1), index), target=target)).ravel()
        total = float(full(explainer.attribute(x, target)[[0]][:, [index]])[0, 0])
        if abs(total - shares.sum()) <= 1e-5 * np.abs(shares).sum():
            total = None  # no more than rounding is left for an intercept
        if feature_names is None:
            feature_names = getattr(explainer, "feature_names_in_", None)
        return cls.from_predictions(shares, feature_names=feature_names, total=total, k=k, ax=ax)

    @classmethod
    def from_predictions(cls, shares, *, feature_names=None, total=None, k=10, ax=None):
        """Draw shares from any source.

        Parameters
        ----------
        shares, feature_names, total, k
            As for the class.
        ax : matplotlib Axes, optional

        Returns
        -------
        FeatureSharesDisplay
        """
        return cls(shares, feature_names=feature_names, total=total, k=k).plot(ax)

    def plot(self, ax=None):
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            By default those of a new figure.

        Returns
        -------
        FeatureSharesDisplay

        Raises
        ------
        ValueError
            For shares that are not of shape (n_features,), or names of another number.
        """
        check_count(self.k)
        if self.total is not None:
            check_scalar(self.total, "total", Real)
        names = range(self.shares.size) if self.feature_names is None else self.feature_names
        if self.shares.ndim != 1 or len(names) != len(self.shares):
            raise ValueError(
                f"shares has shape {self.shares.shape} and there are {len(names)} feature_names; "
                "expected one of each for every feature of one pair."
            )
        if not np.isfinite([*self.shares, self.total or 0]).all():
            raise ValueError("shares and total must be finite numbers.")
        ax = self._place(ax)
        top = np.argsort(-np.abs(self.shares), kind="stable")[: self.k]
        values, texts = list(self.shares[top]), [plain(names[q]) for q in top]
        if len(top) < len(self.shares):
            values.append(self.shares.sum() - self.shares[top].sum())
            texts.append(f"{len(self.shares) - len(top)} others")
        n_features = len(values)
        if self.total is not None:
            values.append(self.total - self.shares.sum())
            texts.append("intercept")
        colors = [RAISES if value > 0 else LOWERS for value in values]
        colors[len(top) :] = [REST] * (n_features - len(top)) + colors[n_features:]
        self.bars_ = _bars(ax, values, texts, colors)
        ax.set(xlabel="share of the attribution", ylabel="feature")
        return self


def check_count(k):
    """Refuse a number of bars that is none."""
    if not isinstance(k, Integral) or isinstance(k, bool) or k < 1:
        raise ValueError(f"k must be a positive integer; got {k!r}.")


def _bars(ax, values, texts, colors):
    """Named bars from the top down, around 0."""
    places = np.arange(len(values))
    bars = ax.barh(places, values, color=colors)
    ax.set_yticks(places, texts)
    ax.invert_yaxis()
    ax.axvline(0, color="black", linewidth=0.8)
    return bars


def _one_row(x):
    """The row to explain as rows, of which there is one."""
    x = x[None] if isinstance(x, np.ndarray) and x.ndim == 1 else x
    if len(getattr(x, "shape", ())) != 2 or x.shape[0] != 1:
        raise ValueError(
            f"x has shape {getattr(x, 'shape', None)}; give the one row to explain, as an array, "
            "CSR or frame."
        )
    return x


def _rows(values, rows, name):
    if sparse.issparse(values):
        return canonical_csr(values, name)[rows].toarray()
    return np.asarray(values)[rows]


def _as_images(rows, image_shape):
    if image_shape is not None:
        shape = plain_array(image_shape, "image_shape").tolist()
        if np.ndim(shape) != 1 or not all(isinstance(side, int) and side > 0 for side in shape):
            raise ValueError(
                f"image_shape is {image_shape!r}; expected (height, width[, channels])."
            )
        if rows[0:1].size not in (0, prod(shape)):
            raise ValueError(
                f"image_shape {tuple(shape)} does not fit rows of {rows[0].size} values."
            )
        return rows.reshape(len(rows), *shape)
    if rows.ndim not in (3, 4):
        raise ValueError(
            f"images have shape {rows.shape}; give image_shape=(height, width) for flat rows."
        )
    return rows
