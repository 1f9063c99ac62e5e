"""One kind of error: the training rows that push towards it, and how often they lead."""

from numbers import Integral

import numpy as np

from ._axes import LOWERS, REST, Display, check_explainer, plain


class ErrorKindDisplay(Display):
    """Training rows that push towards one kind of error, with how often each is a top opponent.

    For each row a filled circle at its share of the errors and an open square at the share of the
    rows predicted rightly, the control: where both are high, the row leads in any case.

    Parameters
    ----------
    kind : ErrorKind
        As of :func:`skattrib.misclassifications`.
    k : int, default=10
        Rows that are drawn, at most.
    names : array-like of shape (n_samples_fit_,), optional
        What to call the training rows; by default their numbers.
    labels : array-like of shape (n_samples_fit_,), optional
        Labels of the training rows.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
    share_, control_ : matplotlib Line2D
        The circles and the squares.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skattrib import RepresenterExplainer
    >>> from skattrib.plots import ErrorKindDisplay
    >>> X, y = load_digits(return_X_y=True)
    >>> explainer = RepresenterExplainer().fit(X[:900], y[:900])
    >>> display = ErrorKindDisplay.from_estimator(
    ...     explainer, X[900:], y[900:], labels=y[:900]
    ... )
    """

    def __init__(self, kind, *, k=10, names=None, labels=None):
        self.kind, self.k = kind, k
        self.names, self.labels = names, labels

    @classmethod
    def from_estimator(
        cls,
        explainer,
        X,
        y,
        *,
        y_pred=None,
        true=None,
        predicted=None,
        k=10,
        names=None,
        labels=None,
        ax=None,
    ):
        """Find the kinds of error and draw one.

        Parameters
        ----------
        explainer, X, y, y_pred
            As of :func:`skattrib.misclassifications`.
        true, predicted : label, optional
            The kind: both, or one of which the most frequent kind is taken; by default the most
            frequent of all.
        k, names, labels, ax
            As of the class, and of `plot`.

        Returns
        -------
        ErrorKindDisplay

        Raises
        ------
        ValueError
            If there is no error of that kind.
        """
        # what is found is drawn by this folder, and so imports it
        from ..findings.misclassifications import misclassifications

        check_explainer(explainer)
        kinds = misclassifications(explainer, X, y, y_pred=y_pred, min_errors=1)
        wanted = [
            kind
            for kind in kinds
            if (true is None or kind.true == true)
            and (predicted is None or kind.predicted == predicted)
        ]
        if not wanted:
            raise ValueError(
                f"no row is wrong that way (true={true!r}, predicted={predicted!r}): the rows have "
                f"{len(kinds)} kinds of error"
            )
        return cls(wanted[0], k=k, names=names, labels=labels).plot(ax)

    @classmethod
    def from_result(cls, kind, *, k=10, names=None, labels=None, ax=None):
        """Draw one of the kinds that `misclassifications` returned.

        Parameters
        ----------
        kind : ErrorKind
        k, names, labels, ax
            As of the class, and of `plot`.

        Returns
        -------
        ErrorKindDisplay
        """
        return cls(kind, k=k, names=names, labels=labels).plot(ax)

    def plot(self, ax=None):
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            By default those of a new figure.

        Returns
        -------
        ErrorKindDisplay

        Raises
        ------
        TypeError
            For what is no ErrorKind.
        ValueError
            For names or labels that do not reach to the rows, and a k that is no positive integer.
        """
        from ..findings.misclassifications import ErrorKind

        kind, k = self.kind, self.k
        if not isinstance(kind, ErrorKind):
            raise TypeError(
                "kind must be one of the kinds of skattrib.misclassifications, got "
                f"a {type(kind).__name__}."
            )
        if not isinstance(k, Integral) or isinstance(k, bool) or k < 1:
            raise ValueError(f"k must be a positive integer, got {k!r}.")
        rows, place = kind.rows[:k], np.arange(min(k, len(kind.rows)))
        names = [f"{name}{label}" for name, label in zip(*self._texts(rows), strict=True)]
        values = [f"{value:+.3g}" for value in kind.values[:k]]
        ax = self._place(ax)
        share, control = kind.share[:k], kind.control_share[:k]
        ax.hlines(place, share, control, color="lightgray", zorder=0)
        (self.control_,) = ax.plot(
            control, place, "s", color=REST, ms=10, mfc="none", label="of rows predicted rightly"
        )
        (self.share_,) = ax.plot(share, place, "o", color=LOWERS, label="of errors")
        ax.set(
            xlim=(-0.03, 1.03),
            ylim=(len(rows) - 0.5, -0.5),
            xlabel="share in which the row is a top opponent (rows are named, not causes)",
            title=f"{plain(kind.true)} taken for {plain(kind.predicted)}: {kind.n_errors} errors",
        )
        ticks = [f"{name}  {value}" for name, value in zip(names, values, strict=True)]
        ax.set_yticks(place, ticks)
        ax.set_ylabel("training row, mean attribution to the margin")
        if len(rows):
            ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2, frameon=False)
        else:
            ax.text(0.5, 0.0, "no training row pushes towards it", ha="center", va="center")
        return self

    def _texts(self, rows):
        """What rows are called, and their labels in brackets."""
        columns = []
        for values, what in ((self.names, "names"), (self.labels, "labels")):
            if values is None:
                columns.append([""] * len(rows) if what == "labels" else list(map(str, rows)))
                continue
            values = np.asarray(values)
            if values.ndim != 1 or (len(rows) and len(values) <= rows.max()):
                raise ValueError(f"{what} must have one for each training row.")
            columns.append([plain(value) for value in values[rows]])
        if self.labels is not None:
            columns[1] = [f" ({label})" for label in columns[1]]
        return columns
