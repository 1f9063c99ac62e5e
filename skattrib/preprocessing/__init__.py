"""Transformers that turn what people have into the feature matrices that explainers take."""

from .columns import column_groups, sum_shares

__all__ = ["column_groups", "sum_shares"]
