"""Regression by the losses that belong to activations, as functions of arrays."""
