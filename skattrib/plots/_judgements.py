"""How good attributions are: detection curves, retrained subsets, explainers compared."""

from collections.abc import Mapping
from numbers import Integral

import numpy as np
from scipy import sparse
from scipy.stats import spearmanr

from .._arrays import full
from .._arrays.checks import plain_array
from ..metrics import (
    linear_datamodeling_score,
    mislabel_detection_curve,
    mislabel_detection_score,
)
from ._axes import Display, check_explainer, plain


class DetectionCurveDisplay(Display):
    """Share of the flipped labels found against the share of training rows inspected.

    Parameters
    ----------
    inspected, found : dict of name to ndarray
        Points of one curve for each method; over tied rows the curve is a straight line, the
        expected one.
    scores : dict of name to float
        `mislabel_detection_score` of each.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
    lines_ : dict of name to matplotlib Line2D
    chance_line_ : matplotlib Line2D

    Examples
    --------
    >>> import numpy as np
    >>> from skattrib.plots import DetectionCurveDisplay
    >>> scores, is_flipped = np.array([3.0, 1.0, 2.0, 0.5]), np.array([1, 0, 1, 0], dtype=bool)
    >>> display = DetectionCurveDisplay.from_predictions({"self-influence": scores}, is_flipped)
    >>> display.scores
    {'self-influence': 1.0}
    """

    def __init__(self, inspected, found, scores):
        self.inspected, self.found, self.scores = inspected, found, scores

    @classmethod
    def from_estimator(cls, explainers, is_mislabeled, X=None, *, target=None, ax=None):
        """Rank the training rows of fitted explainers, and draw.

        Parameters
        ----------
        explainers : fitted explainer, or dict of name to fitted explainer
        is_mislabeled : array-like of shape (n_samples_fit_,), bool
        X : rows, optional
            Rank by the mean absolute attribution to these rows; by default by `self_influence_`.
        target : as in `attribute`, optional
        ax : matplotlib Axes, optional

        Returns
        -------
        DetectionCurveDisplay

        Raises
        ------
        TypeError
            For what is no explainer.
        """
        if not isinstance(explainers, Mapping):
            explainers = {type(explainers).__name__: explainers}
        for name, one in explainers.items():
            check_explainer(one, f"explainers[{name!r}]")
        scores = {
            name: one.self_influence_ if X is None else one.attribute(X, target)
            for name, one in explainers.items()
        }
        return cls.from_predictions(scores, is_mislabeled, ax=ax)

    @classmethod
    def from_predictions(cls, scores, is_mislabeled, *, name=None, ax=None):
        """Draw scores from any source.

        Parameters
        ----------
        scores : array of shape (n,) or (m, n), or dict of name to such
            Scores of suspicion, or attributions, as `mislabel_detection_score` takes them.
        is_mislabeled : array-like of shape (n,), bool
        name : str, optional
            Of a single array.
        ax : matplotlib Axes, optional

        Returns
        -------
        DetectionCurveDisplay
        """
        if not isinstance(scores, Mapping):
            scores = {name or "scores": scores}
        areas = {key: mislabel_detection_score(one, is_mislabeled) for key, one in scores.items()}
        inspected, found = {}, {}
        for key, one in scores.items():
            inspected[key], found[key] = mislabel_detection_curve(one, is_mislabeled)
        return cls(inspected, found, areas).plot(ax)

    def plot(self, ax=None):
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            By default those of a new figure.

        Returns
        -------
        DetectionCurveDisplay
        """
        ax = self._place(ax)
        self.lines_ = {
            name: ax.plot(self.inspected[name], found, label=f"{plain(name)} ({area:.2f})")[0]
            for (name, found), area in zip(self.found.items(), self.scores.values(), strict=True)
        }
        (self.chance_line_,) = ax.plot([0, 1], [0, 1], ":", color="gray", label="chance (0.50)")
        ax.set(xlabel="share of rows inspected", ylabel="share of flipped labels found")
        ax.legend(loc="lower right")
        return self


class DatamodelingDisplay(Display):
    """Outputs of models retrained on subsets against the sums of attributions over these.

    Parameters
    ----------
    sums, outputs : ndarray of shape (n_points,)
    score : float
        The rank correlation: of all test rows the linear datamodeling score.
    standardized : bool, default=False
        Whether both are in standard deviations of each test row.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
    points_ : matplotlib PathCollection

    Examples
    --------
    >>> import numpy as np
    >>> from skattrib.plots import DatamodelingDisplay
    >>> T = np.array([[0.1, 0.4, 0.2], [0.3, -0.2, 0.5]])
    >>> masks = np.array([[1, 1, 0], [0, 1, 1], [1, 0, 1], [0, 0, 1]], dtype=bool)
    >>> display = DatamodelingDisplay.from_predictions(T, masks, masks @ T.T, row=0)
    >>> round(display.score, 6), display.points_.get_offsets().shape
    (1.0, (4, 2))
    """

    def __init__(self, sums, outputs, score, *, standardized=False):
        self.sums, self.outputs = sums, outputs
        self.score, self.standardized = score, standardized

    @classmethod
    def from_estimator(cls, explainer, X_test, truth, *, row=None, ax=None):
        """Explain the test rows of a ground truth, and draw.

        Parameters
        ----------
        explainer : fitted explainer
        X_test : the test rows that `truth` was measured for
        truth : Bunch, from :func:`~skattrib.retraining.subset_outputs`
            Of one output a test row; its `targets` are explained.
        row : int, optional
            As in `from_predictions`.
        ax : matplotlib Axes, optional

        Returns
        -------
        DatamodelingDisplay
        """
        T = explainer.attribute(X_test, truth.targets)
        return cls.from_predictions(T, truth.masks, truth.outputs, row=row, ax=ax)

    @classmethod
    def from_predictions(cls, attributions, subset_masks, subset_outputs, *, row=None, ax=None):
        """Draw attributions from any source.

        Parameters
        ----------
        attributions : array or sparse matrix of shape (m, n)
        subset_masks : array-like of shape (s, n), bool
        subset_outputs : array-like of shape (s, m)
        row : int, optional
            Show this test row, in the unit of its output. By default all, each in its own
            standard deviations around its mean.
        ax : matplotlib Axes, optional

        Returns
        -------
        DatamodelingDisplay

        Raises
        ------
        ValueError
            As `linear_datamodeling_score`, and for a row that is none.
        """
        score = linear_datamodeling_score(attributions, subset_masks, subset_outputs)
        T = attributions.tocsr() if sparse.issparse(attributions) else np.asarray(attributions)
        m = T.shape[0]
        if row is not None:
            if not isinstance(row, Integral) or isinstance(row, bool) or not -m <= row < m:
                raise ValueError(f"row is {row!r}; expected a test row, 0..{m - 1}.")
            T = T[[row]]
        T = full(T).astype(float)
        T = np.where(np.isneginf(T), 0, T)
        masks = np.asarray(subset_masks, dtype=float).T
        outputs = np.asarray(subset_outputs, dtype=float).T
        if row is None:
            sums, outputs = _standardized(_to_one(T) @ masks), _standardized(_to_one(outputs))
        else:
            with np.errstate(over="ignore", invalid="ignore"):
                sums, outputs = (T @ masks)[0], outputs[row]
            if not np.isfinite(sums).all():
                raise ValueError("sums of attributions overflow: scale attributions and outputs.")
            constant = np.ptp(sums) == 0 or np.ptp(outputs) == 0
            score = 0.0 if constant else float(spearmanr(sums, outputs).statistic)
        return cls(sums.ravel(), outputs.ravel(), score, standardized=row is None).plot(ax)

    def plot(self, ax=None):
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            By default those of a new figure.

        Returns
        -------
        DatamodelingDisplay
        """
        ax = self._place(ax)
        self.points_ = ax.scatter(self.sums, self.outputs, s=8, alpha=0.5)
        unit = " (standardized)" if self.standardized else ""
        ax.set(
            xlabel=f"sum of attributions over the subset{unit}",
            ylabel=f"output retrained on the subset{unit}",
            title=f"{'LDS' if self.standardized else 'Spearman'} {self.score:.2f}",
        )
        return self


class ComparisonDisplay(Display):
    """Average rank of explainers against what they cost (DualXDA).

    Parameters
    ----------
    names : sequence of length e
    average_rank : array-like of shape (e,)
        1 is best; NaN where there is none, which is not drawn.
    seconds : array-like of shape (e,)

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
    points_ : matplotlib PathCollection
    texts_ : list of matplotlib Text

    Examples
    --------
    >>> from skattrib.plots import ComparisonDisplay
    >>> names, ranks, seconds = ["DualView", "influence"], [1.6, 1.4], [0.02, 0.8]
    >>> display = ComparisonDisplay.from_predictions(names, ranks, seconds)
    >>> [text.get_text() for text in display.texts_]
    ['DualView', 'influence']
    """

    def __init__(self, names, average_rank, seconds):
        self.names, self.average_rank, self.seconds = names, average_rank, seconds

    @classmethod
    def from_result(cls, result, *, ax=None):
        """Draw what `compare_explainers` found: fit plus explanation of the test rows.

        Parameters
        ----------
        result : Bunch, from :func:`~skattrib.comparison.compare_explainers`
        ax : matplotlib Axes, optional

        Returns
        -------
        ComparisonDisplay
        """
        table = result.table
        explain = np.asarray(table["seconds_per_row"]) * result.n_test
        seconds = np.asarray(table["fit_seconds"]) + explain
        return cls.from_predictions(table["explainer"], table["average_rank"], seconds, ax=ax)

    @classmethod
    def from_predictions(cls, names, average_rank, seconds, *, ax=None):
        """Draw ranks from any source.

        Parameters
        ----------
        names, average_rank, seconds
            As for the class.
        ax : matplotlib Axes, optional

        Returns
        -------
        ComparisonDisplay
        """
        return cls(names, average_rank, seconds).plot(ax)

    def plot(self, ax=None):
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            By default those of a new figure.

        Returns
        -------
        ComparisonDisplay

        Raises
        ------
        ValueError
            For sequences of several lengths, or seconds that are not positive.
        """
        ranks = plain_array(self.average_rank, "average_rank", float)
        seconds = plain_array(self.seconds, "seconds", float)
        if not (len(self.names),) == ranks.shape == seconds.shape or not (seconds > 0).all():
            raise ValueError(
                "names, average_rank and seconds must be of one length, the seconds positive."
            )
        ax = self._place(ax)
        self.points_ = ax.scatter(seconds, ranks)
        self.texts_ = [
            ax.annotate(
                plain(name), (x, y), xytext=(4, 4), textcoords="offset points", fontsize="small"
            )
            for name, x, y in zip(self.names, seconds, ranks, strict=True)
            if np.isfinite(y)
        ]
        ax.set(xscale="log", xlabel="seconds", ylabel="average rank (1 is best)")
        ax.invert_yaxis()
        ax.margins(0.15)
        _separate(self.texts_, ax)
        return self


def _separate(texts, ax):
    """Move each text to the first corner of its point where it hides no other and stays inside."""
    ax.figure.figure.draw_without_rendering()  # the layout decides where points are
    points = [ax.transData.transform(text.xy) for text in texts]
    taken = []
    for text in texts:
        for ha, va in (("left", "bottom"), ("right", "bottom"), ("left", "top"), ("right", "top")):
            text.set(ha=ha, va=va)
            text.xyann = (4 if ha == "left" else -4, 4 if va == "bottom" else -4)
            box = text.get_window_extent()
            inside = ax.bbox.x0 <= box.x0 and box.x1 <= ax.bbox.x1
            hides = any(map(box.overlaps, taken)) or any(
                box.padded(3).contains(*xy) for xy in points
            )
            if inside and not hides:
                break
        taken.append(text.get_window_extent())


def _to_one(values):
    """Rows of largest magnitude 1, so that sums and squares do not overflow."""
    peak = np.abs(values).max(axis=1, keepdims=True)
    return values / np.where(peak > 0, peak, 1)


def _standardized(values):
    values = values - values.mean(axis=1, keepdims=True)
    spread = values.std(axis=1, keepdims=True)
    return np.divide(values, spread, out=np.zeros_like(values), where=spread > 0)
