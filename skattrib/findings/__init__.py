"""What explanations are made into: one object to read, suspicious labels, kinds of error."""

from .explaining import explain
from .explanation import Explanation, RowExplanation
from .label_issues import LabelIssues, find_label_issues
from .misclassifications import ErrorKind, Misclassifications, misclassifications

__all__ = [
    "ErrorKind",
    "Explanation",
    "LabelIssues",
    "Misclassifications",
    "RowExplanation",
    "explain",
    "find_label_issues",
    "misclassifications",
]
