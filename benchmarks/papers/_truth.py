"""Networks of the papers' tables retrained on random halves, for linear datamodeling scores."""

import numpy as np
from scipy.special import logsumexp
from scipy.stats import rankdata
from sklearn.base import clone
from sklearn.utils import Bunch

from skattrib.retraining import subset_outputs


def halves(data, name, estimator, X, y, X_test, targets, n_halves):
    """Log-odds of the explained classes by networks on halves, as `subset_outputs` has them.

    Each half is kept as soon as it is trained. agreement: share of the test rows to which each
    gives the explained class. Networks below half of the median, or near chance, have not trained
    and are trained again from other seeds; trained_again: how often.
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
    logits, trained_again = np.array(found.outputs), 0
    median = np.median((logits.argmax(axis=2) == at[1]).mean(axis=1))
    least = max(median / 2, 1.5 / logits.shape[2])
    for half, mask in enumerate(found.masks):
        while np.mean(logits[half].argmax(axis=1) == at[1]) < least:
            trained_again += 1
            if trained_again > n_halves:
                raise ValueError(f"{name}: networks on halves do not train; lower their rate")
            other = clone(estimator).set_params(random_state=100 + trained_again)
            logits[half] = other.fit(X[mask], y[mask]).decision_function(X_test)
    return Bunch(
        masks=found.masks,
        outputs=np.stack([_log_odds(of_half, at) for of_half in logits]),
        targets=np.asarray(targets),
        agreement=(logits.argmax(axis=2) == at[1]).mean(axis=1),
        trained_again=trained_again,
    )


def seeds(data, name, estimator, X, y, X_test, truth, n_halves):
    """How far two trainings on the same half agree, and the highest score that this leaves.

    The first halves of `truth`, trained once more from another seed; the mean over test rows of the
    rank correlation between the log-odds of both, and its root (Spearman and Brown).
    """
    other = clone(estimator).set_params(random_state=estimator.random_state + 1)
    at = np.arange(len(truth.targets)), np.searchsorted(np.unique(y), truth.targets)
    again = []
    for half, mask in enumerate(truth.masks[:n_halves]):

        def make(mask=mask):
            return {"logits": clone(other).fit(X[mask], y[mask]).decision_function(X_test)}

        kept = data.kept(f"{name}_again", make, half=half, rows=len(y), **other.get_params())
        again.append(_log_odds(kept["logits"], at))
    ranks = [rankdata(part, axis=0) for part in (truth.outputs[:n_halves], np.stack(again))]
    a, b = ((part - part.mean(axis=0)) / part.std(axis=0) for part in ranks)
    agreement = float((a * b).mean())
    highest = float(np.sqrt(agreement)) if agreement > 0 else None
    return {"halves": len(again), "agreement": agreement, "highest_score": highest}


def _log_odds(logits, at):
    others = logits.copy()
    others[at] = -np.inf
    return logits[at] - logsumexp(others, axis=1)
