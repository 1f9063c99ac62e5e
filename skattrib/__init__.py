"""Which training rows made the model say this, by how much, and through which features."""

from ._crammer_singer import instruction_set
from .dual_view import DualViewExplainer

__version__ = "0.1.0"

__all__ = ["DualViewExplainer", "instruction_set"]
