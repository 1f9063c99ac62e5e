"""Scores that say how good attributions are, as functions of arrays.

Attributions are always (m test rows, n training rows), dense or sparse, positive where a training
row raises the explained output; -inf where an explainer excludes the training row. Scores that
rank training rows depend neither on the scale of the attributions nor on the order of the rows:
a tie counts as its expected score. With ``confidence=0.95`` a score comes as a Bunch with the ends
`low` and `high` of its bootstrap interval, each in the form of the score.
"""

from ._agreement import leave_one_out_agreement, linear_datamodeling_score
from ._curves import coreset_curve, debugging_curve, pruning_curve
from ._detection import (
    class_detection_score,
    shortcut_detection_score,
    subclass_detection_score,
)
from ._fairness import demographic_parity_gap, equal_opportunity_gap
from ._fidelity import completeness_error, faithfulness
from ._maps import conservation, deletion, insertion
from ._mislabels import mislabel_detection_curve, mislabel_detection_score
from ._selection import sparsity, stability, top_k_cardinality, top_k_overlap
from ._supports import data_removal_support, mending_support, mislabel_support

__all__ = [
    "class_detection_score",
    "completeness_error",
    "conservation",
    "coreset_curve",
    "data_removal_support",
    "debugging_curve",
    "deletion",
    "demographic_parity_gap",
    "equal_opportunity_gap",
    "faithfulness",
    "insertion",
    "leave_one_out_agreement",
    "linear_datamodeling_score",
    "mending_support",
    "mislabel_detection_curve",
    "mislabel_detection_score",
    "mislabel_support",
    "pruning_curve",
    "shortcut_detection_score",
    "sparsity",
    "stability",
    "subclass_detection_score",
    "top_k_cardinality",
    "top_k_overlap",
]
