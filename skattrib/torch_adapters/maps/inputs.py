"""Rows of inputs as users have them, asked for by number."""

from collections.abc import Mapping

import numpy as np
import torch
from torch.utils.data import Dataset, IterableDataset, default_collate

from .._batches import described, make_batch, unpacker
from ..transformer import TorchFeatures


class Inputs:
    """Inputs of a network, as many as there are rows.

    Parameters
    ----------
    X : array, Tensor, tuple or mapping of them, Dataset, or list of items
    name : str
    features : as users give them
        TorchFeatures say how items of a data set are collated and unpacked.
    """

    def __init__(self, X, name, features=None):
        given = isinstance(features, TorchFeatures)
        self.collate = (features.collate if given else None) or default_collate
        key = features.label_key if given else "labels"
        self.unpacked = unpacker(features.unpack if given else None, key)
        self.arrays = isinstance(X, (np.ndarray, torch.Tensor, tuple, Mapping))
        if isinstance(X, IterableDataset) or not (self.arrays or isinstance(X, (Dataset, list))):
            raise TypeError(
                f"{name} is {described(X)}; expected inputs of the network: an array or a tensor, "
                "a tuple or a mapping of them, a torch.utils.data.Dataset or a list of its items"
            )
        if self.arrays:
            parts = X if isinstance(X, (tuple, Mapping)) else (X,)
            self.is_mapping = isinstance(X, Mapping)
            self.parts = dict(parts) if self.is_mapping else dict(enumerate(parts))
            self.parts.pop(key, None)
            odd = [v for v in self.parts.values() if not isinstance(v, (np.ndarray, torch.Tensor))]
            sizes = {len(v) if v.ndim else 0 for v in self.parts.values() if hasattr(v, "ndim")}
            if odd or len(sizes) != 1:
                raise TypeError(
                    f"{name} is {described(X)}; expected arrays or tensors with as many rows each"
                )
            self.n = sizes.pop()
        else:
            self.items, self.n = X, len(X)
            if X and isinstance(X[0], (list, int, float, str)):
                raise TypeError(
                    f"an item of {name} is {described(X[0])}; expected a tensor, an array, a tuple "
                    "(inputs..., label) or a mapping"
                )
        if not self.n:
            raise ValueError(f"{name} has no rows")

    def rows(self, indices):
        """A Batch of some rows."""
        if not self.arrays:
            return self.unpacked(
                self.collate([self.items[int(i)] for i in indices])
            ).without_labels()
        parts = {n: self._taken(values, indices) for n, values in self.parts.items()}
        return make_batch(parts if self.is_mapping else tuple(parts.values()), None)

    @staticmethod
    def _taken(values, indices):
        if isinstance(values, torch.Tensor):
            return values.detach()[torch.as_tensor(indices, device=values.device)]
        return torch.tensor(np.asarray(values[indices]))
