"""What explanations are made into: training rows that look mislabelled."""

from .label_issues import find_label_issues

__all__ = ["find_label_issues"]
