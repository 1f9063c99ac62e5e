"""The report: one HTML file that needs nothing else to be opened; and what notebooks show."""

import warnings
from collections.abc import Iterable, Sequence
from importlib.metadata import version

import numpy as np

from ..explainers import BaseExplainer
from .images import thumbnail
from .label_issues import MANY, find_label_issues
from .page import NOTEBOOK, PAGE
from .records import ExplainedRow, Query
from .text import cell, printable
from .views import errors_view, pixels, row_view

SHOWN_ISSUES = 20
FOLLOWS = 0.9  # training accuracy below which a head is said not to follow the labels

SIGN = (
    "A positive value raises the explained decision value, a negative one lowers it; the unit is\n"
    "that of the decision value"
)
SUM = (
    f"{SIGN}. The values of all training rows and the base value, which is the\n"
    "head's intercept, sum to it."
)
NO_SUM = f"{SIGN}. The values do not sum to it."
NO_HEAD = (
    "A larger value raises what is explained; the unit is that of the explainer. Values sum to\n"
    "nothing in particular."
)


def meaning(explainer: BaseExplainer) -> str:
    """Sign and unit of the values of an explainer."""
    if hasattr(explainer, "base_value"):
        return SUM
    if hasattr(explainer, "decision_function"):
        return NO_SUM
    metric = getattr(explainer, "metric", None)
    if metric == "euclidean":
        return "A value is minus the distance of the test row and the training row."
    if metric is not None:
        what = {"dot": "inner product"}.get(metric, metric)
        return f"A value is the {what} of the test row and the training row."
    return NO_HEAD


FACTS = (
    ("C", "C_", ".4g"),
    ("support rows", "support_", "count"),
    ("relative gap", "dual_gap_", ".1e"),
    ("completeness error", "completeness_error_", ".1e"),
    ("inverse Hessian", "inverse_", ""),
    ("gradient norm", "gradient_norm_", ".1e"),
)


def facts(explainer: BaseExplainer) -> list[list[object]]:
    """What there is to say of a fitted explainer without its training rows."""
    found = [
        ["training rows", explainer.n_samples_fit_],
        ["features", explainer.n_features_in_],
    ]
    if hasattr(explainer, "classes_"):
        found.append(["classes", len(explainer.classes_)])
    for words, name, form in FACTS:
        if hasattr(explainer, name):
            value = getattr(explainer, name)
            found.append([words, len(value) if form == "count" else format(value, form)])
    return found


def misfit(accuracy: float) -> str:
    """What to say of a head that does not follow its training labels; empty if it does."""
    if accuracy >= FOLLOWS:
        return ""
    return (
        f"The head predicts the label of {accuracy:.1%} of the training rows: the values explain "
        "this head, which is a poor stand-in for a model that does better. A larger C, or features "
        "closer to what the model uses, would follow the labels."
    )


def _environment():
    """Jinja2's environment, in which every text is escaped."""
    try:
        import jinja2
    except ImportError as error:
        raise ImportError(
            f'a report needs jinja2 ({error}): install with pip install "skattrib[report]"'
        ) from error
    return jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)


class Report:
    """What is known so far, and how it becomes a page.

    Raises
    ------
    ImportError
        If Jinja2 is not installed.
    """

    def __init__(self):
        self._page = _environment().from_string(PAGE)
        self._content = {
            "version": version("skattrib"),
            "train": "",
            "test": "",
            "scores": [],
            "notes": [],
            "warnings": [],
            "issues": None,
            "errors": None,
            "train_id_name": "row",
            "has_images": False,
            "rows": [],
        }

    def add_fit(
        self, name: str, meaning: str, facts: Sequence[Sequence[object]], warning: str = ""
    ) -> None:
        """How the fit went."""
        self._content |= {"method": name, "meaning": meaning, "facts": facts}
        self._content["warnings"] += [warning] if warning else []

    def add_scores(self, train: str, test: str, scores: Sequence[str]) -> None:
        """What was read, and what the test labels say."""
        self._content |= {
            "train": printable(train),
            "test": printable(test),
            "scores": scores,
        }

    def add_warnings(self, lines: Iterable[str]) -> None:
        """What makes the explanations doubtful."""
        self._content["warnings"] += lines

    def add_notes(self, notes: Iterable[str]) -> None:
        """What was made of each column of a table."""
        self._content["notes"] = [*map(printable, notes)]

    def add_issues(self, query: Query, *, shape: tuple[int, ...] | None = None) -> None:
        """Training rows with labels that the explainer contradicts."""
        explainer, train = query.explainer, query.train
        n, drawn = explainer.n_samples_fit_, pixels(train, shape)
        with warnings.catch_warnings():
            # its summary says it on the page
            warnings.filterwarnings("ignore", ".* of rows contradicted", UserWarning)
            found = find_label_issues(
                explainer, train.X, train.y, ids=np.arange(n), n_neighbors=min(10, n - 1)
            )
        has_head = hasattr(explainer, "decision_function")
        shown = slice(0, SHOWN_ISSUES)
        self._content |= {
            "issues": [
                {
                    "id": cell(train.ids[i]),
                    "image": thumbnail(drawn, i, shape),
                    "given": cell(given),
                    "suggested": cell(suggested),
                    "score": f"{score:.3f}",
                    "evidence": cell(train.ids[j]),
                    "evidence_image": thumbnail(drawn, j, shape),
                }
                for i, j, given, suggested, score in zip(
                    found.row[shown],
                    found.evidence[shown],
                    found.given[shown],
                    found.suggested[shown],
                    found.score[shown],
                    strict=True,
                )
            ],
            "n_issues": len(found.row),
            "issues_summary": found.summary(),
            "many_issues": found.n_contradicted > MANY * found.n_rows,
            "judge": "the classifier" if has_head else "the vote of the most similar rows",
            "train_id_name": cell(train.id_name),
        }

    def add_errors(
        self, query: Query, rows: Iterable[int], *, shape: tuple[int, ...] | None = None
    ) -> None:
        """Kinds of error among test rows, where their labels are known."""
        self._content["errors"] = errors_view(query, rows, shape=shape)

    def add_rows(
        self, query: Query, rows: Iterable[ExplainedRow], *, shape: tuple[int, ...] | None = None
    ) -> None:
        """Explanations of test rows."""
        views = [row_view(row, query.test.id_name, query=query, shape=shape) for row in rows]
        self._content |= {
            "rows": views,
            "train_id_name": cell(query.train.id_name),
            "has_images": shape is not None,
        }

    def render(self) -> str:
        """The page."""
        return self._page.render(self._content).lstrip()


def notebook(
    title: str,
    rows: Sequence[ExplainedRow],
    id_names: tuple[str, str],
    notes: Sequence[str] = (),
    n_more: int = 0,
) -> str:
    """HTML of explained rows for a notebook, whose test and training rows have names of ids."""
    views = [row_view(row, id_names[0]) for row in rows]
    page = _environment().from_string(NOTEBOOK)
    return page.render(
        title=title,
        notes=notes,
        rows=views,
        train_id_name=cell(id_names[1]),
        shaded=any(view["columns"] and view["entries"] for view in views),
        n_more=n_more,
    ).strip()
