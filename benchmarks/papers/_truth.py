"""Networks of the papers' tables retrained on random halves, for linear datamodeling scores."""

import numpy as np
from scipy.special import logsumexp
from sklearn.utils import Bunch

from skattrib.retraining import subset_outputs


def halves(data, name, estimator, X, y, X_test, targets, n_halves):
    """Log-odds of the explained classes by networks on halves, as `subset_outputs` has them.

    Each half is kept as soon as it is trained.
    """
    folder = data.folder / "kept" / data.paper / f"{name}_halves"
    folder.mkdir(parents=True, exist_ok=True)
    found = subset_outputs(
        *(estimator, X, y, X_test, n_halves),
        y_test=targets,
        output="decision",
        folder=folder,
        random_state=0,
        verbose=2,
    )
    at = np.arange(len(targets)), np.searchsorted(np.unique(y), targets)
    outputs = np.stack([_log_odds(logits, at) for logits in found.outputs])
    return Bunch(masks=found.masks, outputs=outputs, targets=np.asarray(targets))


def _log_odds(logits, at):
    others = logits.copy()
    others[at] = -np.inf
    return logits[at] - logsumexp(others, axis=1)
