"""Features, heads and gradients of torch networks; they need ``pip install "skattrib[torch]"``.

A network and a loader of batches go in, NumPy arrays or memory maps come out, for any explainer.
The network is never changed: it is evaluated as by ``model.eval()`` and left as it was.
"""

try:
    import torch as _torch  # noqa: F401
except ImportError as error:
    raise ImportError(
        f'skattrib.torch_adapters needs torch ({error}): pip install "skattrib[torch]"'
    ) from error

from ..gradients import Sketch
from ._rows import Head, Rows
from .features import last_layer, layer_features
from .gradients import gradient_rows, losses
from .maps import PairModule, PixelMaps, pixel_maps
from .states import dropout_states, geometric_ensemble
from .transformer import TorchFeatures

__all__ = [
    "Head",
    "PairModule",
    "PixelMaps",
    "Rows",
    "Sketch",
    "TorchFeatures",
    "dropout_states",
    "geometric_ensemble",
    "gradient_rows",
    "last_layer",
    "layer_features",
    "losses",
    "pixel_maps",
]
