"""Explainers of training rows on a Dask cluster, under the names of those of one machine."""

try:
    import dask.array  # noqa: F401
    import distributed  # noqa: F401
except ImportError as error:
    raise ImportError(
        'skattrib.distributed needs dask and distributed: pip install "skattrib[dask]"'
    ) from error

from .dual_view import DualViewExplainer
from .influence import InfluenceExplainer
from .label_issues import find_label_issues
from .representer import RepresenterExplainer
from .similarity import SimilarityExplainer

__all__ = [
    "DualViewExplainer",
    "InfluenceExplainer",
    "RepresenterExplainer",
    "SimilarityExplainer",
    "find_label_issues",
]
