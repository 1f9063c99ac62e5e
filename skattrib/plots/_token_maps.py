"""Maps over the tokens of pairs, as text for a terminal and as HTML for a notebook."""

from html import escape

import numpy as np

from .._arrays.checks import plain_array
from ._maps import check_maps

# blue and orange: told apart by all eyes, and black text stays readable on both
RAISES, LOWERS = (86, 180, 233), (230, 120, 60)
# of the largest value of a side, from where a terminal has one mark and two
MARKED = 0.2, 0.5


class TokenMapDisplay:
    """The tokens of training texts, and of the test text, that tie them to one prediction.

    Parameters
    ----------
    train_tokens : list of k sequences of str
        Tokens of training rows.
    train_maps : list of k array-like, or None
        A number for each of their tokens, in the unit of the attribution.
    values : array-like of shape (k,)
        Attributions of the rows.
    test_tokens : sequence of str, optional
    test_maps : list of k array-like, optional
        A number for each token of the test row, one list for each training row.
    names : sequence of length k, optional
        What to call the rows.
    labels : sequence of length k, optional
        Their labels.

    Notes
    -----
    Maps that are longer than their tokens are cut: that is padding. ``print(display)`` marks
    tokens that raise the attribution by ``+`` and those that lower it by ``-``, doubled above half
    of the largest of the side; a notebook shows them on blue and on orange.

    Examples
    --------
    >>> from skattrib.plots import TokenMapDisplay
    >>> print(TokenMapDisplay([["so", "bad", "!"]], [[0.1, 0.8, -0.3]], [0.6], names=["row 7"]))
    row 7  +0.6
        so ++bad++ -!-
    """

    def __init__(
        self,
        train_tokens,
        train_maps,
        values,
        *,
        test_tokens=None,
        test_maps=None,
        names=None,
        labels=None,
    ):
        self.values = plain_array(values, "values", float)
        k = self.values.size
        if self.values.ndim != 1 or not k:
            raise ValueError(f"values must have shape (k,), got {self.values.shape}.")
        self.names = [f"pair {q}" for q in range(k)] if names is None else list(names)
        self.labels = None if labels is None else list(labels)
        for name, given in (("names", self.names), ("labels", self.labels)):
            if given is not None and len(given) != k:
                raise ValueError(f"{name} has {len(given)} entries; expected {k}, one a value.")
        self.train = _marked(train_tokens, train_maps, k, "train")
        repeated = None if test_tokens is None else [test_tokens] * k
        self.test = _marked(repeated, test_maps, k, "test")

    @classmethod
    def from_result(cls, maps, tokens, train_tokens, row=0, *, y_train=None, ids=None):
        """The maps of one test row.

        Parameters
        ----------
        maps : PixelMaps
            What :func:`skattrib.torch_adapters.pixel_maps` returned for tokens.
        tokens : sequence of str
            Tokens of the test row, without padding.
        train_tokens : list of k sequences of str
            Those of the training rows of its pairs.
        row : int, default=0
            Which of its test rows.
        y_train : array-like of shape (n_samples_fit_,), optional
            Labels of all training rows.
        ids : array-like of shape (n_samples_fit_,), optional
            What to call the training rows; by default their numbers.

        Returns
        -------
        TokenMapDisplay

        Raises
        ------
        TypeError
            For something else than maps.
        ValueError
            For maps over images, for a row that there is not, and tokens that do not fit.
        """
        rows = {"y_train": y_train, "ids": ids}
        indices = check_maps(maps, row, rows, tokens=True)
        sides = {
            side: None if getattr(maps, side) is None else maps.contributions(side)[row]
            for side in ("train", "test")
        }
        return cls(
            train_tokens,
            sides["train"],
            maps.values[row],
            test_tokens=tokens,
            test_maps=sides["test"],
            names=[f"row {i}" for i in indices] if rows["ids"] is None else rows["ids"],
            labels=rows["y_train"],
        )

    def _heads(self):
        for q, value in enumerate(self.values):
            label = "" if self.labels is None else f": {self.labels[q]}"
            yield q, f"{self.names[q]}{label}", f"{value:+.3g}"

    def __str__(self):
        lines = []
        for q, name, value in self._heads():
            lines.append(f"{name}  {value}")
            if self.train is not None:
                lines.append("    " + _line(self.train[q]))
            if self.test is not None:
                lines.append("    test row: " + _line(self.test[q]))
        return "\n".join(lines)

    def _repr_html_(self):
        """What a notebook shows."""
        parts = []
        for q, name, value in self._heads():
            parts.append(f"<p><b>{escape(name)}</b> {value}<br>")
            if self.train is not None:
                parts.append(_spans(self.train[q]))
            if self.test is not None:
                parts.append(f"<br><small>test row: {_spans(self.test[q])}</small>")
            parts.append("</p>")
        return "".join(parts)


def _marked(tokens, maps, k, side):
    """For each pair its tokens and their numbers over the largest of the side, or None."""
    if tokens is None or maps is None:
        return None
    tokens = list(tokens)
    if len(tokens) != k or len(maps) != k:
        raise ValueError(
            f"there are {len(tokens)} lists of {side} tokens and {len(maps)} maps; expected {k}, "
            "one a value."
        )
    pairs = []
    for words, numbers in zip(tokens, maps, strict=True):
        if isinstance(words, str):
            raise ValueError(
                f"{side}_tokens must be lists of str, got the str {words!r}: cut it up."
            )
        numbers = plain_array(numbers, f"{side}_maps", float)
        if numbers.ndim != 1 or len(numbers) < len(words) or not np.isfinite(numbers).all():
            raise ValueError(
                f"a map of the {side} side has shape {numbers.shape}; expected finite numbers, one "
                f"a token of {len(words)}."
            )
        pairs.append(([str(word) for word in words], numbers[: len(words)]))
    largest = max((np.abs(numbers).max(initial=0.0) for _, numbers in pairs)) or 1.0
    return [(words, numbers / largest) for words, numbers in pairs]


def _line(pair):
    """Tokens with the signs of what they do."""
    words = []
    for word, number in zip(*pair, strict=True):
        times = sum(abs(number) > least for least in MARKED)
        sign = ("+" if number > 0 else "-") * int(times)
        words.append(f"{sign}{word}{sign}")
    return " ".join(words)


def _spans(pair):
    """Tokens on colours of what they do."""
    spans = []
    for word, number in zip(*pair, strict=True):
        red, green, blue = RAISES if number > 0 else LOWERS
        style = f"color:black;background:rgba({red},{green},{blue},{abs(number):.2f})"
        spans.append(f'<span style="{style}" title="{number:+.2f}">{escape(word)}</span>')
    return " ".join(spans)
