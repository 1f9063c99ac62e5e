"""Explainers side by side on one's own data: scores of the papers, cost, ranks."""

from ._compare import compare_explainers
from ._metrics import METRICS

__all__ = ["METRICS", "compare_explainers"]
