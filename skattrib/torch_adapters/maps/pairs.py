"""Pairs of test and training rows: their features, their directions, maps batch by batch."""

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from ..features import check_alone
from .gradients import Embeddings, Pixels
from .inputs import Inputs
from .modules import Features

# by how much features may differ from those fitted on, relative to the largest of a row
TOLERANCE = 1e-3


class Pairs:
    """What is explained, with the network that makes features of inputs.

    Parameters
    ----------
    explainer : fitted explainer with `directions`
    features, X, X_train, indices, target, batch_size : as in `pixel_maps`

    Attributes
    ----------
    network : Features
    inputs : Pixels or Embeddings
    values : ndarray of shape (m, k)
        Attributions of the pairs that run through features.
    to_test, to_train : ndarray of shape (m, k, d), or None
        Directions in the features of either row.
    to_output : ndarray of shape (m, 1, d), or None
        Direction of the explained output, the sum over all training rows.
    """

    def __init__(self, explainer, features, X, X_train, indices, target, batch_size):
        self.explainer, self.target, self.batch_size = explainer, target, batch_size
        self.network = Features(features)
        self.X = Inputs(X, "X", features)
        self.X_train = Inputs(X_train, "X_train", features)
        check_is_fitted(explainer, "n_samples_fit_")
        n = explainer.n_samples_fit_
        if self.X_train.n != n:
            raise ValueError(
                f"X_train has {self.X_train.n} rows, but explainer was fitted on {n}: give the "
                "inputs of all of them, in the same order"
            )
        self.indices = np.asarray(indices)
        if self.indices.ndim != 2 or not self.indices.size or len(self.indices) != self.X.n:
            raise ValueError(
                f"indices has shape {self.indices.shape}; expected ({self.X.n}, k), training rows "
                "for each of X such as explainer.top_k returns"
            )

    def find(self, remainder):
        """Features, directions and values; checks that the network is the one fitted on."""
        batch = self._batch(self.X, [0])
        if batch.tensors[0].is_floating_point():
            self.inputs = Pixels(self.network)
        else:
            self.inputs = Embeddings(self.network, batch)
        self.phi = self._features(self.X, np.arange(self.X.n))
        phi = self.phi.cpu().numpy()
        self.to_test, self.to_train = self._directions(phi)
        own, other = self.to_test, phi[:, None]
        if own is None:
            own, rows = self.to_train, self.indices.ravel()
            other = self._features(self.X_train, rows).cpu().numpy().reshape(own.shape)
        self.values = (own * other).sum(axis=2, dtype=np.float64)
        self.to_output = self._of_output(phi) if remainder else None

    def _batch(self, inputs, rows):
        return self.network.placed(inputs.rows(np.asarray(rows)))

    def _features(self, inputs, rows):
        with torch.no_grad():
            parts = [
                self.network(self._batch(inputs, rows[start : start + self.batch_size]))
                for start in range(0, len(rows), self.batch_size)
            ]
        return torch.cat(parts)

    def _directions(self, phi):
        """Of both sides; None for one that the explainer does not have."""
        found, errors = [], []
        for side in ("test", "train"):
            try:
                g = self.explainer.directions(phi, self.indices, target=self.target, side=side)
                found.append(np.asarray(g))
            except ValueError as error:
                errors.append(error)
                found.append(None)
        if len(errors) == 2:
            raise errors[0]
        return found

    def _check_rows(self, found, rows):
        """Refuse features of training inputs that are not the rows that were fitted on."""
        error = self.explainer._kernel().mismatch(found.cpu().numpy(), rows)
        wrong = ~(error <= TOLERANCE)
        if wrong.any():
            first = wrong.argmax()
            raise ValueError(
                f"features of X_train[{rows[first]}] are not the row that explainer was "
                f"fitted on (relative difference {error[first]:.1g}): give the network as it was, "
                "X_train in the order of fitting, and with features all that was done to its "
                "output, such as a scaler; in training mode features are others each time"
            )

    def _of_output(self, phi):
        """The gradient of the explained output by the features, (m, 1, d)."""
        dual = getattr(self.explainer._kernel(), "dual", None)
        if dual is None:
            raise ValueError(
                "remainder=True needs attributions that sum to the output, and those of "
                f"{type(self.explainer).__name__} do not: use DualViewExplainer or "
                "RepresenterExplainer"
            )
        weights = self.explainer._check_target(phi, self.target).as_weights(dual.shape[0])
        coef = self.explainer.coef_
        if len(coef) < dual.shape[0]:
            # one decision value f of two classes, whose logits are -f/2 and f/2
            coef = np.concatenate([-0.5 * coef, 0.5 * coef])
        return (weights @ coef)[:, None]

    def train_maps(self, engine):
        """Maps of the training rows, (m, k, ...), or None, and what they are over.

        `engine` makes (q, b, ...) of a batch, its values (b, ...) and directions (q, b, d), and
        keeps the features of the values in `rows`, if it comes by them.
        """
        m, k = self.indices.shape
        found, inputs, rows = [], [], self.indices.ravel()
        G = None if self.to_train is None else self.to_train.reshape(m * k, 1, -1)
        for start, stop in self._steps(m * k, 1):
            batch = self._batch(self.X_train, rows[start:stop])
            inputs.append(self.inputs.values(batch))
            made = None
            if G is not None:
                found.append(engine(batch, inputs[-1], _cotangents(G[start:stop]))[0])
                made = engine.rows
            if made is None:
                with torch.no_grad():
                    made = self.network(batch)
            self._check_rows(made, rows[start:stop])
        over = _numpy(inputs)
        shape = m, k, *over.shape[1:]
        return _numpy(found).reshape(shape) if found else None, over.reshape(shape)

    def test_maps(self, engine):
        """Maps of the test rows, (m, k, ...), and of the rest, or None; what they are over."""
        m, k = self.indices.shape
        if m > 1:
            check_alone(self._features(self.X, [0]), self.phi[:1], 0, "features")
        found, inputs, G = [], [], self.to_test
        if self.to_output is not None:
            G = np.concatenate([G, self.to_output], axis=1)
        for start, stop in self._steps(m, k + 1):
            batch = self._batch(self.X, range(start, stop))
            inputs.append(self.inputs.values(batch))
            if G is not None:
                maps = engine(batch, inputs[-1], _cotangents(G[start:stop]))
                found.append(maps.transpose(0, 1))
        over = _numpy(inputs)
        if not found:
            return None, None, over
        maps = _numpy(found)
        chosen, whole = maps[:, :k], maps[:, k:]
        rest = None if self.to_output is None else whole[:, 0] - chosen.sum(axis=1)
        return chosen, rest, over

    def _steps(self, n, each):
        step = max(1, self.batch_size // each)
        return [(start, min(start + step, n)) for start in range(0, n, step)]


def _cotangents(G):
    """Directions (b, q, d) as a tensor (q, b, d)."""
    return torch.as_tensor(G).transpose(0, 1)


def _numpy(parts):
    return torch.cat([part.detach() for part in parts]).cpu().numpy()
