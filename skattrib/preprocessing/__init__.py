"""Transformers that turn what people have into the feature matrices that explainers take."""

from .leaves import LeafFeatures

__all__ = ["LeafFeatures"]
