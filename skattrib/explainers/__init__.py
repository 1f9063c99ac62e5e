"""Explainers: estimators that attribute outputs of a classifier to its training rows."""

from ._base import BaseExplainer
from ._classifier import ClassifierExplainer
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
from .representer_regressor import RepresenterRegressor
from .similarity import ExemplarSVMExplainer, SimilarityExplainer
from .trak import TRAKExplainer

# the lists that tests, command line and README follow: of classifiers, and of numbers
REGRESSORS = (RepresenterRegressor,)
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
    "REGRESSORS",
    "AveragedExplainer",
    "BaseExplainer",
    "ClassifierExplainer",
    "DatamodelExplainer",
    "DualViewExplainer",
    "DualViewExplainerCV",
    "ExemplarSVMExplainer",
    "InfluenceExplainer",
    "LeaveOneOutExplainer",
    "LinearHead",
    "MLPExplainer",
    "RepresenterExplainer",
    "RepresenterRegressor",
    "SimilarityExplainer",
    "TRAKExplainer",
    "fidelity_scorer",
    "sparsest_within_one_standard_error",
]
