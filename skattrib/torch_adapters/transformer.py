"""A layer of a network as a scikit-learn transformer."""

import numpy as np
import torch
from sklearn.base import BaseEstimator, TransformerMixin
from torch.utils.data import Dataset, IterableDataset, default_collate

from ._batches import described, unpacker
from ._networks import Network
from ._outputs import check_integer
from ._rows import weights_digest
from .features import Tap


class TorchFeatures(TransformerMixin, BaseEstimator):
    """Features of a layer of a torch network, as the first step of a Pipeline.

    Parameters
    ----------
    model : torch.nn.Module
        As in `layer_features`, but it need not return logits. It is never changed, and shared by
        clones. A pickle contains it.
    layer : str
        Name of a module, as in ``model.named_modules()``.
    at : {"output", "input"}, default="output"
        Which side of the layer.
    pool : callable, optional
        Makes an array (rows, n_features) of what the layer gives. By default it is flattened.
    batch_size : int, default=128
    device : torch.device or str, optional
        By default where the model is.
    collate : callable, optional
        Makes a batch of a list of items of a data set; by default
        :func:`torch.utils.data.default_collate`. Padding belongs here.
    unpack, label_key : as in `layer_features`
        Labels in a data set are left aside: give `y` as usual.
    cache : bool, default=True
        Keep the features of each row that was seen, in memory, until the weights of the model
        change; clones share them. So a grid search in one process runs the network once for each
        row. A pickle does not contain them.

    Notes
    -----
    Nothing is fitted. Rows are arrays or tensors with one row of input each (images, token ids), a
    :class:`torch.utils.data.Dataset`, or a list of its items, into which scikit-learn cuts it up.

    Examples
    --------
    >>> import torch
    >>> from sklearn.pipeline import make_pipeline
    >>> from skattrib import DualViewExplainer
    >>> from skattrib.torch_adapters import TorchFeatures
    >>> net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    >>> X, y = torch.randn(30, 4), torch.arange(30).numpy() % 3
    >>> pipeline = make_pipeline(TorchFeatures(net, "1"), DualViewExplainer()).fit(X, y)
    >>> values, rows = pipeline[-1].top_k(pipeline[:-1].transform(X[:2]), k=3)
    >>> rows.shape
    (2, 3)
    """

    def __init__(
        self,
        model,
        layer,
        *,
        at="output",
        pool=None,
        batch_size=128,
        device=None,
        collate=None,
        unpack=None,
        label_key="labels",
        cache=True,
    ):
        self.model = model
        self.layer = layer
        self.at = at
        self.pool = pool
        self.batch_size = batch_size
        self.device = device
        self.collate = collate
        self.unpack = unpack
        self.label_key = label_key
        self.cache = cache
        self._kept = {}

    def __sklearn_clone__(self):
        """The model is not copied: nothing changes it."""
        copy = type(self)(**self.get_params(deep=False))
        copy._kept = self._kept
        return copy

    def __sklearn_is_fitted__(self):
        """Nothing is left to fit."""
        return True

    def __sklearn_tags__(self):
        """Rows need not be numbers in two dimensions."""
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.no_validation = True
        tags.input_tags.two_d_array = False
        return tags

    def __getstate__(self):
        return super().__getstate__() | {"_kept": {}}

    def fit(self, X, y=None) -> "TorchFeatures":
        """Check the parameters; nothing is fitted.

        Parameters
        ----------
        X : ignored
        y : ignored

        Returns
        -------
        TorchFeatures

        Raises
        ------
        TypeError, ValueError
            For a model or a layer that is none.
        """
        self._tap()
        return self

    def _tap(self):
        check_integer(self.batch_size, "batch_size", 1)
        return Tap(Network(self.model, self.device), self.layer, self.at, self.pool)

    def transform(self, X) -> np.ndarray:
        """Features of the layer.

        Parameters
        ----------
        X : array, Tensor, Dataset or list of items, of n_samples rows

        Returns
        -------
        ndarray of shape (n_samples, n_features)

        Raises
        ------
        TypeError
            For rows of another kind.
        ValueError
            As in `layer_features`.
        """
        tap = self._tap()
        known = self._known(tap.network)
        made = unpacker(self.unpack, self.label_key)
        found, ran = [], False
        with tap.network.evaluating(), torch.no_grad():
            for given in self._batches(X):
                batch = made(given).without_labels()
                names = [digest.tobytes() for digest in batch.digests()]
                new = {name: i for i, name in enumerate(names) if name not in known}
                if new:
                    values = (tap if ran else tap.checked)(batch.rows(list(new.values())))[0]
                    ran = True
                    known |= zip(new, values.cpu().numpy(), strict=True)
                found += [known[name] for name in names]
                if not self.cache:
                    known.clear()
        if len({row.shape for row in found}) > 1:
            raise ValueError(
                f"layer {self.layer!r} gives other numbers of features for other rows: give pool=, "
                "a function that makes as many of each, such as a mean over positions"
            )
        X = np.stack(found)
        if not np.isfinite(X).all():
            bad = np.flatnonzero(~np.isfinite(X).all(axis=1))[:5].tolist()
            raise ValueError(f"features of rows {bad} are not finite")
        return X

    def _known(self, network):
        """Features by row of the network as it is now."""
        if not self.cache:
            return {}
        weights = weights_digest(network.state), repr(network.module)
        if self._kept.get("weights") != weights:
            self._kept.clear()
            self._kept["weights"] = weights
        # the function itself, not its address, which another may have later
        return self._kept.setdefault((self.layer, self.at, self.pool), {})

    def _batches(self, X):
        if isinstance(X, IterableDataset) or not isinstance(
            X, (Dataset, torch.Tensor, np.ndarray, list, tuple)
        ):
            raise TypeError(
                f"X is {described(X)}; expected an array, a tensor, a torch.utils.data.Dataset or "
                "a list of its items"
            )
        if not len(X):
            raise ValueError("X has no rows")
        for start in range(0, len(X), self.batch_size):
            stop = min(start + self.batch_size, len(X))
            if isinstance(X, (torch.Tensor, np.ndarray)):
                yield X[start:stop]
                continue
            items = [X[i] for i in range(start, stop)]
            if isinstance(items[0], (list, int, float, str)):
                raise TypeError(
                    f"an item of X is {described(items[0])}; expected a tensor, an array, a tuple "
                    "(inputs..., label) or a mapping"
                )
            yield (self.collate or default_collate)(items)
