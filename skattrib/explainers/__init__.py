"""Explainers: estimators that attribute outputs of a classifier to its training rows."""

from ._base import BaseExplainer
from ._heads import LinearHead
from .averaged import AveragedExplainer
from .datamodels import DatamodelExplainer, LeaveOneOutExplainer
from .dual_view import DualViewExplainer
from .dual_view_cv import (
    DualViewExplainerCV,
    fidelity_scorer,
    sparsest_within_one_standard_error,
)
from .influence import InfluenceExplainer
from .mlp import MLPExplainer
from .representer import RepresenterExplainer
from .similarity import ExemplarSVMExplainer, SimilarityExplainer
from .trak import TRAKExplainer

# the one list that tests, command line and README follow
EXPLAINERS = (
    DualViewExplainer,
    DualViewExplainerCV,
    RepresenterExplainer,
    InfluenceExplainer,
    SimilarityExplainer,
    ExemplarSVMExplainer,
    DatamodelExplainer,
    LeaveOneOutExplainer,
    AveragedExplainer,
    TRAKExplainer,
    MLPExplainer,
)

__all__ = [
    "EXPLAINERS",
    "AveragedExplainer",
    "BaseExplainer",
    "DatamodelExplainer",
    "DualViewExplainer",
    "DualViewExplainerCV",
    "ExemplarSVMExplainer",
    "InfluenceExplainer",
    "LeaveOneOutExplainer",
    "LinearHead",
    "MLPExplainer",
    "RepresenterExplainer",
    "SimilarityExplainer",
    "TRAKExplainer",
    "fidelity_scorer",
    "sparsest_within_one_standard_error",
]
