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
    row_batches,
    row_keys,
    squared_norms,
    take,
    total_variance,
    variance_scale,
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
    "row_batches",
    "row_keys",
    "squared_norms",
    "take",
    "total_variance",
    "variance_scale",
]
