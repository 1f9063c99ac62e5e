"""Ground truth for attributions: outputs of any scikit-learn estimator refitted on fewer rows.

Public are the names of ``__all__``; `refits` and `result_folder` serve the rest of the package.
"""

from ._outputs import leave_one_out_outputs, subset_outputs

__all__ = ["leave_one_out_outputs", "subset_outputs"]
