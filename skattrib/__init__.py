"""Which training rows made the model say this, by how much, and through which features."""

from ._arrays.row_blocks import RowBlocks
from ._svm.crammer_singer import instruction_set
from .comparison import compare_explainers
from .explainers import (
    AveragedExplainer,
    DatamodelExplainer,
    DualViewExplainer,
    DualViewExplainerCV,
    ExemplarSVMExplainer,
    InfluenceExplainer,
    LeaveOneOutExplainer,
    LinearHead,
    MLPExplainer,
    RepresenterExplainer,
    RepresenterRegressor,
    SimilarityExplainer,
    TRAKExplainer,
    fidelity_scorer,
    sparsest_within_one_standard_error,
)
from .findings import explain, find_label_issues, misclassifications
from .gradients import mlp_gradients
from .preprocessing import LeafFeatures, table_preprocessor

__version__ = "0.1.0"

__all__ = [
    "AveragedExplainer",
    "DatamodelExplainer",
    "DualViewExplainer",
    "DualViewExplainerCV",
    "ExemplarSVMExplainer",
    "InfluenceExplainer",
    "LeafFeatures",
    "LeaveOneOutExplainer",
    "LinearHead",
    "MLPExplainer",
    "RepresenterExplainer",
    "RepresenterRegressor",
    "RowBlocks",
    "SimilarityExplainer",
    "TRAKExplainer",
    "compare_explainers",
    "explain",
    "fidelity_scorer",
    "find_label_issues",
    "instruction_set",
    "misclassifications",
    "mlp_gradients",
    "sparsest_within_one_standard_error",
    "table_preprocessor",
]
