"""Transformers that turn what people have into the feature matrices that explainers take."""

from .columns import column_groups, sum_shares
from .decisions import ColumnDecision
from .leaves import LeafFeatures
from .tables import TablePreprocessor, table_preprocessor

__all__ = [
    "ColumnDecision",
    "LeafFeatures",
    "TablePreprocessor",
    "column_groups",
    "sum_shares",
    "table_preprocessor",
]
