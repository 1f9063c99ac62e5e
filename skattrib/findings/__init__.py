"""What explanations are made into: one object that people read, rows that look mislabelled."""

from .explaining import explain
from .explanation import Explanation, RowExplanation
from .label_issues import LabelIssues, find_label_issues

__all__ = ["Explanation", "LabelIssues", "RowExplanation", "explain", "find_label_issues"]
