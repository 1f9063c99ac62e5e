"""Suspicious training rows on a cluster."""

import numpy as np
from sklearn.utils import Bunch
from sklearn.utils.validation import check_is_fitted

from .._arrays import logits
from .._arrays.checks import codes_of, plain_array
from ._chunks import check_chunks, is_dask, pieces
from ._cluster import gather, share, task
from ._explainer import ClusterExplainer
