"""Maps of attributions over the inputs of networks: gradients, relevance, any other engine."""

from .modules import PairModule
from .pixel_maps import PixelMaps, pixel_maps

__all__ = ["PairModule", "PixelMaps", "pixel_maps"]
