"""Explainers side by side on one's own data: scores of the papers, cost, ranks."""

from ._compare import METRICS, compare_explainers

__all__ = ["METRICS", "compare_explainers"]
