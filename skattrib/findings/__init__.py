"""What explanations are made into: training rows that look mislabelled."""

from .label_issues import LabelIssues, find_label_issues

__all__ = ["LabelIssues", "find_label_issues"]
