"""Explained rows as one object: printed, drawn, as a frame, JSON or HTML."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from os import PathLike
from textwrap import wrap
from typing import Any

import numpy as np

from .._arrays import full
from .._arrays.checks import codes_of, plain_array
from ..plots import AttributionDisplay, PixelMapDisplay
from . import report
from .images import figure_address
from .lines import explained_lines
from .records import ExplainedRow, as_record
from .views import pixels

__all__ = ["Explanation", "RowExplanation"]

SHOWN_ROWS = 5  # in a terminal or notebook
WIDTH = 100  # of notes in a terminal


@dataclass(repr=False)
class RowExplanation(ExplainedRow):
    """One explained row: what :func:`explain` found of it.

    Attributes
    ----------
    row : int
        Its number among those explained.
    id, label, predicted, right, target : object
        Its id, its label (None if not given), the predicted class, whether that is the label, and
        the explained class, or unit of a regressor (None where logits are weighed).
    of : {"class", "unit", "weights"}
        What the target is.
    decision_value, base_value, bound : float or None
        The explained output, what of it is no training row's, and how far it may be from the exact
        optimum's.
    proponents, opponents : list
        Training rows, the strongest first, with `kind`, `rank`, `row` (number), `id`, `label`,
        `value`, and `columns`: (name, share) of the largest shares.
    columns, values : list
        Columns through which most of the values run, and what the row has in them.
    text : str or None
        The row itself where it is a text.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skattrib import DualViewExplainer, explain
    >>> X, y = load_iris(return_X_y=True)
    >>> explainer = DualViewExplainer(tol=1e-8, random_state=0).fit(X[::2], y[::2])
    >>> row = explain(explainer, X[1::2], y=y[1::2], k=1)[0]
    >>> int(row.predicted), row.right, row.proponents[0].kind, row.proponents[0].row
    (0, True, 'proponent', 12)
    """

    id_name: str = "row"
    train_id_name: str = "row"

    def __repr__(self):
        return "\n".join(explained_lines(self, self.id_name, self.train_id_name))

    def _repr_html_(self):
        return _html("", [self], (self.id_name, self.train_id_name))

    def to_dict(self) -> dict:
        """What `Explanation.to_dict` has of the row."""
        return as_record(self)


class Explanation(Sequence):
    """Explained rows, as :func:`explain` returns them.

    ``explanation[3]`` is a row, ``explanation[2:5]``, ``explanation[[0, 4]]`` and
    ``explanation[mask]`` are explanations of some rows. It prints in a terminal and draws itself
    in a notebook.

    Attributes
    ----------
    explainer : fitted explainer
    notes : list of str
        What makes the explanation doubtful, such as a head that does not follow its labels.
    decisions : list of str
        What `table_preprocessor` made of each column, if it is in the Pipeline.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skattrib import DualViewExplainer, explain
    >>> X, y = load_iris(return_X_y=True, as_frame=True)
    >>> explainer = DualViewExplainer(tol=1e-8, random_state=0).fit(X[::2], y[::2])
    >>> explanation = explain(explainer, X[1::2], y=y[1::2], k=2)
    >>> len(explanation), len(explanation[:3]), int(explanation[0].id)
    (75, 3, 1)
    >>> explanation[:1].to_frame()[["test_id", "train_id", "kind"]]
       test_id  train_id       kind
    0        1        24  proponent
    1        1        30  proponent
    2        1        64   opponent
    3        1        98   opponent
    """

    def __init__(self, query, rows, notes=(), *, decisions=(), polars=False):
        self._query, self._rows, self._polars = query, list(rows), polars
        self.notes, self.decisions = list(notes), list(decisions)

    @property
    def explainer(self):
        """What explains."""
        return self._query.explainer

    def __len__(self):
        return len(self._rows)

    def __getitem__(self, rows):
        if isinstance(rows, Integral) and not isinstance(rows, bool):
            return self._rows[rows]
        if not isinstance(rows, slice):
            rows = plain_array(rows, "rows")
            if rows.ndim != 1 or (rows.size and rows.dtype.kind not in "iub"):
                raise TypeError(
                    "rows are chosen by a number, a slice, numbers or a mask; of ids take "
                    "[row for row in explanation if row.id in ids]"
                )
        chosen = np.arange(len(self))[rows if isinstance(rows, slice) or rows.size else []]
        found = [self._rows[row] for row in chosen]
        options = {"decisions": self.decisions, "polars": self._polars}
        return Explanation(self._query, found, self.notes, **options)

    def __repr__(self):
        lines = [self._title(), *(line for note in self.notes for line in wrap(note, WIDTH))]
        for row in self._rows[:SHOWN_ROWS]:
            lines += ["", repr(row)]
        if len(self) > SHOWN_ROWS:
            more = len(self) - SHOWN_ROWS
            lines += ["", f"and {more} more: slices show them, to_frame() and to_html(path) all"]
        return "\n".join(lines)

    def _repr_html_(self):
        query, more = self._query, max(0, len(self) - SHOWN_ROWS)
        names = query.test.id_name, query.train.id_name
        return _html(self._title(), self._rows[:SHOWN_ROWS], names, self.notes, more)

    def _title(self):
        rows = "1 row" if len(self) == 1 else f"{len(self)} rows"
        return f"{rows} explained by {type(self.explainer).__name__}"

    def to_frame(self):
        """One line for each pair of an explained row and a training row.

        Returns
        -------
        pandas or polars DataFrame
            polars where the rows given to `explain` were. Columns `test_id`, `test_label` (where
            known), `predicted`, `target_class`, `decision_value`, `base_value`, `kind`, `rank`,
            `train_id`, `train_label` (where known), `value`, and `column_1`, `share_1`, ... for the
            columns with the largest shares of the value. Rows without proponents and opponents have
            no line.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        pairs = [(row, pair) for row in self._rows for pair in row.pairs]
        test, train = self._query.test, self._query.train
        at = np.array([row.row for row, _ in pairs], dtype=np.intp)
        data: dict[str, Any] = {"test_id": test.ids[at]}
        if test.y is not None:
            data["test_label"] = test.y[at]
        targets = self._query.targets
        data["predicted"] = np.array([row.predicted for row, _ in pairs])
        data["target_class"] = targets[at] if targets.ndim == 1 else [None] * len(at)
        for name in ("decision_value", "base_value"):
            data[name] = np.array([getattr(row, name) for row, _ in pairs], dtype=np.float64)
        data["kind"] = [pair.kind for _, pair in pairs]
        data["rank"] = np.array([pair.rank for _, pair in pairs], dtype=np.intp)
        behind = np.array([pair.row for _, pair in pairs], dtype=np.intp)
        data["train_id"] = train.ids[behind]
        if train.y is not None:
            data["train_label"] = train.y[behind]
        data["value"] = np.array([pair.value for _, pair in pairs], dtype=np.float64)
        for q in range(max((len(pair.columns) for _, pair in pairs), default=0)):
            found = [pair.columns[q : q + 1] for _, pair in pairs]
            data[f"column_{q + 1}"] = [one[0][0] if one else None for one in found]
            data[f"share_{q + 1}"] = np.array([one[0][1] if one else np.nan for one in found])
        if self._polars:
            import polars

            columns = {name: list(v) if _is_object(v) else v for name, v in data.items()}
            return polars.DataFrame(columns, strict=False)
        try:
            import pandas
        except ImportError as error:
            raise ImportError(
                f'a frame needs pandas ({error}): install with pip install "skattrib[cli]"'
            ) from error
        return pandas.DataFrame(data)

    def to_dict(self) -> dict:
        """Everything as dicts, lists, numbers, texts and None.

        Returns
        -------
        dict
            `explainer`, its name; `notes`; and `rows`: for each `test_id`, `test_label` (where
            known), `predicted`, `target_class`, `decision_value`, `base_value`, `proponents` and
            `opponents`, of which each has `rank`, `train_id`, `train_label`, `value` and, where
            there are shares, `columns`. Ids and labels that JSON does not have are texts.
        """
        return {
            "explainer": type(self.explainer).__name__,
            "notes": self.notes,
            "rows": [row.to_dict() for row in self._rows],
        }

    def to_json(self, *, indent: int | None = None) -> str:
        """`to_dict` as JSON.

        Parameters
        ----------
        indent : int, optional
            As in :func:`json.dumps`.

        Returns
        -------
        str
        """
        return json.dumps(self.to_dict(), ensure_ascii=False, allow_nan=False, indent=indent)

    def to_html(
        self,
        path: str | PathLike | None = None,
        *,
        image_shape: tuple[int, ...] | None = None,
        maps: Any = None,
    ) -> str | None:
        """The report: one HTML file that needs nothing else to be opened.

        With labels of the rows it has the most frequent kinds of error among them, too, as
        :func:`misclassifications` finds them; of more than 2,000 rows, among 2,000 of them.

        Parameters
        ----------
        path : path-like, optional
            Where to write it.
        image_shape : (height, width), optional
            Rows are shown as grey images of this shape; of training rows, where `explain` was
            given `X_train`.
        maps : PixelMaps, optional
            What :func:`skattrib.torch_adapters.pixel_maps` returned for these rows, one by one in
            their order: drawn below each of them.

        Returns
        -------
        str or None
            The HTML if there is no path.

        Raises
        ------
        ImportError
            If Jinja2, or for maps matplotlib, is not installed.
        ValueError
            For maps of another number of rows.
        """
        query, page = self._query, report.Report()
        facts, explainer = report.facts(self.explainer), self.explainer
        page.add_fit(type(explainer).__name__, report.meaning(explainer), facts)
        page.add_scores("", self._title().partition(" explained")[0], self._scores())
        page.add_warnings(self.notes)
        page.add_notes(self.decisions)
        if self._can_be_judged():
            page.add_issues(query, shape=image_shape)
        page.add_errors(query, [row.row for row in self._rows], shape=image_shape)
        page.add_rows(query, self._rows, shape=image_shape)
        if maps is not None:
            page.add_pictures([self._map_picture(maps, row) for row in range(self._count(maps))])
        text = page.render()
        if path is None:
            return text
        with open(path, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
        return None

    def _count(self, maps):
        """How many rows there are, which maps must be of."""
        m = len(getattr(maps, "values", ()))
        if m != len(self):
            raise ValueError(
                f"maps must be what pixel_maps returned for these {len(self)} rows, one by one; "
                f"they are of {m} rows"
            )
        return m

    def _map_picture(self, maps, row):
        """The maps of one row as the address of a PNG image."""
        train = self._query.train
        shown = PixelMapDisplay.from_result(maps, row, y_train=train.y, ids=train.ids)
        return figure_address(shown.figure_)

    def _can_be_judged(self):
        """Whether training rows are given, with labels that the explainer compares."""
        explainer, train = self.explainer, self._query.train
        classes = getattr(explainer, "classes_", None)
        if train.X is None or classes is None or getattr(explainer, "same_class", False):
            return False
        try:
            codes_of(train.y, classes, "label")
        except ValueError:  # they are shown, but were not fitted
            return False
        return True

    def _scores(self):
        right = [row.right for row in self._rows if row.right is not None]
        return [f"accuracy on {len(right)} test rows: {np.mean(right):.3f}"] if right else []

    def plot(self, row: int, *, image_shape: tuple[int, ...] | None = None, ax=None):
        """Draw the proponents and opponents of one row.

        Parameters
        ----------
        row : int
            Number of the row in this explanation.
        image_shape : (height, width) or (height, width, channels), optional
            Draw the rows as images; needs `X_train` in `explain`.
        ax : matplotlib Axes, optional

        Returns
        -------
        AttributionDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        found, query = self._rows[row], self._query
        pairs = found.proponents + found.opponents[::-1]
        images = image = None
        if image_shape is not None:
            if query.train.X is None:
                raise ValueError("images of the training rows need explain(..., X_train=...)")
            train, test = pixels(query.train, image_shape), pixels(query.test, image_shape)
            images = [_image(train, pair.row, image_shape) for pair in pairs]
            image = _image(test, found.row, image_shape)
        return AttributionDisplay(
            [pair.value for pair in pairs],
            [pair.row for pair in pairs],
            names=[pair.id for pair in pairs],
            labels=[pair.label for pair in pairs],
            images=images,
            image=image,
            title=f"predicted {found.predicted}",
        ).plot(ax)


def _image(rows, i, shape):
    return np.asarray(full(rows[[i]]), dtype=np.float64).reshape(shape)


def _is_object(values):
    return isinstance(values, np.ndarray) and values.dtype.kind in "OU"


def _html(title, rows, id_names, notes=(), n_more=0):
    """HTML of a notebook; None, for which a notebook shows text, where Jinja2 is not installed."""
    try:
        return report.notebook(title, rows, id_names, notes, n_more)
    except ImportError:
        return None
