"""What everyone needs of arrays: operations, and beside them checks and conjugate gradients."""

from .operations import (
    batches,
    count,
    decision,
    first_equal,
    full,
    log_odds,
    logits,
    of_class,
    products,
    squared_norms,
    take,
    total_variance,
)

__all__ = [
    "batches",
    "count",
    "decision",
    "first_equal",
    "full",
    "log_odds",
    "logits",
    "of_class",
    "products",
    "squared_norms",
    "take",
    "total_variance",
]
