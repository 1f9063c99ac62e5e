"""Gradients of single rows as features: of scikit-learn's networks, and their projection."""

from .sketch import Sketch

__all__ = ["Sketch"]
