"""Hessian-free influence functions (Yang, Yue, Chen and Liu, 2024): IP and IP-Ensemble."""

from . import cifar, counterfactual, people, toy
from .report import tables

# to be raised when a change alters what cells compute; their sizes stand in their values
SETTINGS = {"revision": 1}
CELLS = toy.CELLS | counterfactual.CELLS | people.CELLS | cifar.CELLS

__all__ = ["CELLS", "SETTINGS", "tables"]
