"""The explainers that the command line offers, and what it says about the numbers of each."""

from collections.abc import Callable
from dataclasses import dataclass

from ..explainers.dual_view import DualViewExplainer
from ..explainers.influence import InfluenceExplainer
from ..explainers.representer import RepresenterExplainer
from ..explainers.similarity import SimilarityExplainer

RAISES = (
    "A positive value raises the explained decision value, a negative one lowers it; the unit is\n"
    "that of the decision value"
)


@dataclass(frozen=True)
class Method:
    """One explainer of the command line.

    Attributes
    ----------
    make : callable
        From C and further options to an explainer that is not yet fitted.
    facts : callable
        From a fitted explainer to the lines that say how the fit went.
    meaning : str
        Sign and unit of the values.
    has_head : bool
        Whether there are decision values; without, there is nothing to choose for the fit.
    sparse : bool
        Whether only some training rows contribute.
    """

    make: Callable
    facts: Callable
    meaning: str
    has_head: bool = True
    sparse: bool = False


def _influence_facts(explainer):
    return [
        ["inverse Hessian", explainer.inverse_],
        ["leverage correction", "yes" if explainer.leverage_correction_ else "no"],
        ["gradient norm", f"{explainer.gradient_norm_:.1e}"],
    ]


METHODS = {
    "dualview": Method(
        lambda C, **options: DualViewExplainer(C=C, random_state=0, **options),
        lambda explainer: [["relative gap", f"{explainer.dual_gap_:.1e}"]],
        f"{RAISES}, and over all training rows the values sum to it.",
        sparse=True,
    ),
    "representer": Method(
        lambda C, **options: RepresenterExplainer(C=C, **options),
        lambda explainer: [["completeness error", f"{explainer.completeness_error_:.1e}"]],
        f"{RAISES}, and over all training rows the values sum to it.",
    ),
    "influence": Method(
        lambda C, **options: InfluenceExplainer(C=C, random_state=0, **options),
        _influence_facts,
        f"{RAISES}: about what it would lose without the row. The values do not sum to it.",
    ),
    "similarity": Method(
        lambda C, **options: SimilarityExplainer(metric="cosine"),
        lambda explainer: [["similarity", explainer.metric]],
        "A value is the cosine of the test row and the training row, between -1 and 1: a baseline\n"
        "without a model, whose prediction is the label of the most similar training row.",
        has_head=False,
    ),
}
