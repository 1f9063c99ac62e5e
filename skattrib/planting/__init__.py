"""Flaws planted on purpose, whose finding tells good attributions: bad labels, shortcuts, ..."""

from ._adversarial import adversarial_examples
from ._labels import flip_labels, merge_classes
from ._shortcuts import plant_shortcut

__all__ = ["adversarial_examples", "flip_labels", "merge_classes", "plant_shortcut"]
