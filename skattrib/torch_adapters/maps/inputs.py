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
            names = list(X) if isinstance(X, Mapping) else range(len(X))
            many = isinstance(X, (tuple, Mapping))
            self.parts = {n: X[n] for n in names} if many else {0: X}
            self.is_mapping = isinstance(X, Mapping)
            odd = [v for v in self.parts.values() if not isinstance(v, (np.ndarray, torch.Tensor))]
            sizes = {len(v) for v in self.parts.values() if getattr(v, "ndim", 0)}
            if not self.parts or odd or len(sizes) != 1:
                raise TypeError(
                    f"{name} is {described(X)}; expected arrays or tensors with as many rows each"
                )
            self.n = sizes.pop()
        else:
            self.items, self.n = X, len(X)
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
