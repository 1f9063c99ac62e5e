"""Which training rows made the model say this, by how much, and through which features."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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

# names are imported when they are first asked for: explainers, but for these
_ELSEWHERE = {
    "LeafFeatures": "preprocessing",
    "RowBlocks": "_arrays.row_blocks",
    "compare_explainers": "comparison",
    "explain": "findings",
    "find_label_issues": "findings",
    "instruction_set": "_svm.crammer_singer",
    "misclassifications": "findings",
    "mlp_gradients": "gradients",
    "table_preprocessor": "preprocessing",
}
_FOLDERS = {"comparison", "explainers", "findings", "gradients", "metrics", "plots"}
_FOLDERS |= {"planting", "preprocessing", "retraining"}


def __getattr__(name):
    if name in _FOLDERS:
        return import_module(f".{name}", __name__)
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = import_module(f".{_ELSEWHERE.get(name, 'explainers')}", __name__)
    return globals().setdefault(name, getattr(home, name))


def __dir__():
    return sorted({*globals(), *__all__, *_FOLDERS})
