"""Size of the support and time against C."""

import time
from collections.abc import Iterable, Mapping

import numpy as np
from sklearn.base import clone

from .._arrays.checks import entries, plain_array
from ._axes import Display


class SupportDisplay(Display):
    """How many training rows contribute, and how long the fit takes, for each C (DualView, fig. 5).

    Parameters
    ----------
    Cs : array-like of shape (r,)
    n_support : array-like of shape (r,)
        Rows that contribute.
    seconds : array-like of shape (r,), optional
        Of each fit.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
    seconds_ax_ : matplotlib Axes or None
        The second axes, of the seconds.

    Examples
    --------
    >>> from skattrib.plots import SupportDisplay
    >>> path = {"Cs": [0.01, 0.1, 1], "n_support": [120, 64, 41], "seconds": [0.01, 0.01, 0.03]}
    >>> display = SupportDisplay.from_result(path)
    >>> display.ax_.get_xscale()
    'log'
    """

    def __init__(self, Cs, n_support, seconds=None):
        self.Cs, self.n_support, self.seconds = Cs, n_support, seconds

    @classmethod
    def from_estimator(cls, explainer, X, y, *, Cs, ax=None):
        """Fit clones of an explainer with each C, and draw.

        Parameters
        ----------
        explainer : explainer with a parameter `C` and a `support_` when fitted
        X, y : training rows and labels
        Cs : sequence of float
        ax : matplotlib Axes, optional

        Returns
        -------
        SupportDisplay
        """
        n_support, seconds = [], []
        for C in entries(Cs, "Cs", "numbers"):
            one = clone(explainer).set_params(C=C)
            start = time.perf_counter()
            one.fit(X, y)
            seconds.append(time.perf_counter() - start)
            n_support.append(len(one.support_))
        return cls(list(Cs), n_support, seconds).plot(ax)

    @classmethod
    def from_result(cls, result, *, ax=None):
        """Draw what was measured elsewhere.

        Parameters
        ----------
        result : mapping or sequence of mappings
            With keys "Cs", "n_support" and, if known, "seconds", of arrays; or a sequence of
            results of one C each, with keys "C", "n_support" and "seconds".
        ax : matplotlib Axes, optional

        Returns
        -------
        SupportDisplay

        Raises
        ------
        ValueError
            If a key is missing.
        TypeError
            For what is no mapping, nor a sequence of such.
        """
        if not isinstance(result, Mapping):
            each = entries(result, "result", "mappings") if isinstance(result, Iterable) else [None]
            if not all(isinstance(one, Mapping) for one in each):
                raise TypeError("result must be a mapping, or a sequence of one for each C.")
            keys = set.intersection(*(set(one) for one in each)) if each else set()
            result = {key: [one[key] for one in each] for key in keys}
            if "C" in result:
                result["Cs"] = result["C"]
        missing = {"Cs", "n_support"} - set(result)
        if missing:
            raise ValueError(f"the result has no {' and no '.join(sorted(missing))}.")
        return cls(result["Cs"], result["n_support"], result.get("seconds")).plot(ax)

    def plot(self, ax=None):
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            By default those of a new figure.

        Returns
        -------
        SupportDisplay

        Raises
        ------
        ValueError
            For arrays of several lengths, or a C that is not positive.
        """
        Cs, columns = plain_array(self.Cs, "Cs", float), [self.n_support]
        columns += [] if self.seconds is None else [self.seconds]
        if Cs.ndim != 1 or any(np.shape(column) != Cs.shape for column in columns):
            raise ValueError("Cs, n_support and seconds must be arrays of one length.")
        if not (len(Cs) and (Cs > 0).all()):
            raise ValueError("Cs must be one or more positive numbers.")
        ax = self._place(ax)
        order = np.argsort(Cs)
        (line,) = ax.plot(Cs[order], np.asarray(self.n_support)[order], "o-", color="tab:blue")
        ax.set(xscale="log", xlabel="C", ylabel="support rows", ylim=(0, None))
        ax.yaxis.label.set_color(line.get_color())
        self.seconds_ax_ = None
        if self.seconds is not None:
            self.seconds_ax_ = ax.twinx()
            color = "tab:orange"
            self.seconds_ax_.plot(Cs[order], np.asarray(self.seconds)[order], "s--", color=color)
            self.seconds_ax_.set(yscale="log", ylabel="seconds")
            self.seconds_ax_.yaxis.label.set_color(color)
        return self
