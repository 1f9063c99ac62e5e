"""Pictures of attributions, in scikit-learn's manner; they need ``pip install "skattrib[plots]"``.

Each Display holds what is shown, made by `from_estimator`, `from_predictions` or `from_result`
(which also draw it), and `plot(ax=...)` draws it again: `ax_` and `figure_` are where.
"""

from ._attributions import AttributionDisplay, FeatureSharesDisplay
from ._errors import ErrorKindDisplay
from ._judgements import ComparisonDisplay, DatamodelingDisplay, DetectionCurveDisplay
from ._maps import PixelMapDisplay
from ._support import SupportDisplay
from ._token_maps import TokenMapDisplay

__all__ = [
    "AttributionDisplay",
    "ComparisonDisplay",
    "DatamodelingDisplay",
    "DetectionCurveDisplay",
    "ErrorKindDisplay",
    "FeatureSharesDisplay",
    "PixelMapDisplay",
    "SupportDisplay",
    "TokenMapDisplay",
]
