"""The explainers that the command line offers, and what it says about the numbers of each."""

from dataclasses import dataclass, field

from ..explainers import (
    AveragedExplainer,
    DatamodelExplainer,
    DualViewExplainer,
    DualViewExplainerCV,
    ExemplarSVMExplainer,
    InfluenceExplainer,
    LeaveOneOutExplainer,
    MLPExplainer,
    RepresenterExplainer,
    RepresenterRegressor,
    SimilarityExplainer,
    TRAKExplainer,
)

SIGN = (
    "A positive value raises the explained decision value, a negative one lowers it; the unit is\n"
    "that of the decision value"
)
SUM = (
    f"{SIGN}. The values of all training rows and the base value, which is the\n"
    "head's intercept, sum to it."
)


@dataclass(frozen=True)
class Method:
    """One explainer of the command line.

    Attributes
    ----------
    explainer : class
        Options that are not parameters of it are refused.
    name : str
        What --method calls it.
    meaning : str
        Sign and unit of the values.
    facts : tuple of (str, str, str)
        What to say of a fit: in words, the attribute, and its format.
    parameters : dict
        Parameters with other values than by default.
    sparse : bool
        Whether only some training rows contribute.
    """

    explainer: type
    name: str
    meaning: str
    facts: tuple[tuple[str, str, str], ...]
    parameters: dict[str, object] = field(default_factory=dict)
    sparse: bool = False

    def takes(self, option: str) -> bool:
        """Whether an option is a parameter of the explainer."""
        return option in self.explainer().get_params()

    def make(self, **options: object):
        """Return the explainer, not yet fitted, with those of the options that it takes."""
        options = {"random_state": 0, **options}
        return self.explainer(
            **{name: value for name, value in options.items() if self.takes(name)},
            **self.parameters,
        )


OFFERED = (
    Method(
        DualViewExplainer, "dualview", SUM, (("relative gap", "dual_gap_", ".1e"),), sparse=True
    ),
    Method(
        DualViewExplainerCV,
        "dualview-cv",
        SUM,
        (("C, by cross-validation", "C_", ".4g"), ("relative gap", "dual_gap_", ".1e")),
        sparse=True,
    ),
    Method(
        RepresenterExplainer,
        "representer",
        SUM,
        (("completeness error", "completeness_error_", ".1e"),),
    ),
    Method(
        InfluenceExplainer,
        "influence",
        f"{SIGN}: about what it would lose without the row. The values do not sum to it.",
        (
            ("inverse Hessian", "inverse_", ""),
            ("leverage correction", "leverage_correction_", ""),
            ("gradient norm", "gradient_norm_", ".1e"),
        ),
    ),
    Method(
        SimilarityExplainer,
        "similarity",
        "A value is the cosine of the test row and the training row, between -1 and 1: a baseline\n"
        "without a model, whose prediction is the label of the most similar training row.",
        (("similarity", "metric", ""),),
        {"metric": "cosine"},
    ),
    Method(
        TRAKExplainer,
        "trak",
        "Rows are taken for gradients of a network's log-odds: of a test row of the explained\n"
        "output, of a training row of its own label, with its probability in an array\n"
        "`probabilities` of the NPZ file. A positive value raises the output, a negative one\n"
        "lowers it, in the unit of the output. The values do not sum to it.",
        (("ridge", "ridge", ".3g"),),
    ),
)
NOT_OFFERED = {
    AveragedExplainer: "averages explainers of the user's choice",
    ExemplarSVMExplainer: "fits an SVM for every row that it predicts or explains",
    DatamodelExplainer: "trains a model of the user's choice hundreds of times",
    LeaveOneOutExplainer: "trains a model of the user's choice once for each training row",
    RepresenterRegressor: "explains numbers, and the command line reads labels",
    MLPExplainer: "explains networks of the user's, which the command line does not read",
}
METHODS = {method.name: method for method in OFFERED}
