"""Gradients of single rows as features: of scikit-learn's networks, and their projection."""

from .mlp import mlp_gradients
from .sketch import Sketch

__all__ = ["Sketch", "mlp_gradients"]
