"""Which training rows made the model say this, by how much, and through which features."""

from ._crammer_singer import instruction_set
from ._heads import LinearHead
from .comparison import compare_explainers
from .datamodels import DatamodelExplainer, LeaveOneOutExplainer
from .dual_view import DualViewExplainer
from .dual_view_cv import (
    DualViewExplainerCV,
    fidelity_scorer,
    sparsest_within_one_standard_error,
)
from .influence import InfluenceExplainer
from .label_issues import find_label_issues
from .representer import RepresenterExplainer
from .similarity import ExemplarSVMExplainer, SimilarityExplainer

__version__ = "0.1.0"

__all__ = [
    "DatamodelExplainer",
    "DualViewExplainer",
    "DualViewExplainerCV",
    "ExemplarSVMExplainer",
    "InfluenceExplainer",
    "LeaveOneOutExplainer",
    "LinearHead",
    "RepresenterExplainer",
    "SimilarityExplainer",
    "compare_explainers",
    "fidelity_scorer",
    "find_label_issues",
    "instruction_set",
    "sparsest_within_one_standard_error",
]
