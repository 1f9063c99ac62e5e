"""Explainers side by side on one's own data: scores of the papers, cost, ranks."""

from ._baselines import LossBaseline
from ._compare import compare_explainers
from ._metrics import METRICS

__all__ = ["METRICS", "LossBaseline", "compare_explainers"]
