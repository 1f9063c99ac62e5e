"""What explanations are made into: rows that look mislabelled, rows behind kinds of error."""

from .label_issues import find_label_issues
from .misclassifications import ErrorKind, Misclassifications, misclassifications

__all__ = ["ErrorKind", "Misclassifications", "find_label_issues", "misclassifications"]
