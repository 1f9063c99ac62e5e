"""What rows other than itself say of each row's label: a mixture of out-of-sample models."""

import time
import warnings

import numpy as np
import scipy.sparse as sp
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler
from sklearn.utils.parallel import Parallel, delayed

N_FOLDS = 5
N_TREES = 200
MANY_ROWS = 10_000  # from here on fewer trees, down to a half, and nearest rows of so many
N_NEIGHBORS = 15
UNIFORM = 0.02  # of each model: none is certain of what it has not seen
PENALTY = 10.0  # C times the mean squared norm of a row, of the linear model
SOFTNESS = 15.0  # a model whose loss is larger by 1 / 15 nats has a vote smaller by e
POWERS = np.geomspace(0.5, 4, 10)  # of shares, the best of which counts for a model's loss


def out_of_sample(X, codes, n_classes, *, weight, seed, n_jobs, say):
    """Probabilities of the classes that do not know the row's own label, and the forest.

    Parameters
    ----------
    X : dense or CSR of shape (n, d)
    codes : ndarray of shape (n,)
        Labels as given.
    weight : ndarray of shape (n,) or None
        How far each row's label is to be believed.
    seed : int
    say : callable
        Takes a line for those who wait.

    Returns
    -------
    shares : ndarray of shape (n, n_classes)
    forest : RandomForestClassifier
        One of the models, fitted to all rows.
    """
    scaled = _scaled(X)
    options = {"oob_score": True, "random_state": seed, "n_jobs": n_jobs}
    n_trees = int(N_TREES * np.clip(MANY_ROWS / len(codes), 0.5, 1))
    forests = [
        RandomForestClassifier(n_trees, min_samples_leaf=3, **options),
        ExtraTreesClassifier(n_trees, bootstrap=True, **options),
    ]
    models = {
        "linear model": lambda: _linear(scaled, codes, n_classes, weight, seed, n_jobs),
        "nearest rows": lambda: _nearest(scaled, codes, n_classes, weight, seed, n_jobs),
        "forest": lambda: _out_of_bag(forests[0], X, codes, weight),
        "random trees": lambda: _out_of_bag(forests[1], X, codes, weight),
    }
    all_shares, losses = [], []
    for name, model in models.items():
        start = time.perf_counter()
        shares = model()
        total = shares.sum(axis=1, keepdims=True)
        shares = np.where(total > 0, shares / np.where(total > 0, total, 1), 1 / n_classes)
        shares = (1 - UNIFORM) * shares + UNIFORM / n_classes
        all_shares.append(shares)
        losses.append(_loss(shares, codes))
        seconds = time.perf_counter() - start
        say(f"{name}: {losses[-1]:.3f} nats a label, {seconds:.1f} s")
    votes = np.exp(-SOFTNESS * (np.array(losses) - min(losses)))
    return np.tensordot(votes / votes.sum(), all_shares, axes=1), forests[0]


def _loss(shares, codes):
    """Mean log loss of the labels, at the power of the shares that suits them best.

    Votes of trees are too even, those of linear models too sure: neither is a fault here.
    """
    each, n_classes = np.arange(len(codes)), shares.shape[1]
    losses = []
    for power in POWERS:
        raised = shares**power
        own = raised[each, codes] / raised.sum(axis=1)
        losses.append(-np.log((1 - UNIFORM) * own + UNIFORM / n_classes).mean())
    return min(losses)


def _scaled(X):
    """Columns of unit variance; sparse rows, whose zeros would go, as they are."""
    return X if sp.issparse(X) else StandardScaler().fit_transform(X)


def _linear(X, codes, n_classes, weight, seed, n_jobs):
    norms = X.multiply(X).sum() if sp.issparse(X) else np.einsum("ij,ij->", X, X)
    C = PENALTY * len(codes) / norms if norms > 0 else 1.0
    n_folds = int(min(N_FOLDS, np.bincount(codes).max()))
    folds = StratifiedKFold(n_folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of classes with fewer rows than folds
        splits = list(folds.split(codes, codes))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one vote of four need not be at its optimum
        parts = Parallel(n_jobs, prefer="threads")(
            delayed(_one_fold)(X, codes, n_classes, weight, C, *split) for split in splits
        )
    shares = np.empty((len(codes), n_classes))
    for (_, left_out), part in zip(splits, parts, strict=True):
        shares[left_out] = part
    return shares


def _one_fold(X, codes, n_classes, weight, C, kept, left_out):
    shares = np.zeros((len(left_out), n_classes))
    seen = np.unique(codes[kept])
    if len(seen) == 1:
        shares[:, seen] = 1
        return shares
    model = LogisticRegression(C=C, max_iter=200, tol=1e-3)
    model.fit(X[kept], codes[kept], None if weight is None else weight[kept])
    shares[:, seen] = model.predict_proba(X[left_out])
    return shares


def _nearest(X, codes, n_classes, weight, seed, n_jobs):
    """Votes of the nearest other rows by distance."""
    n = len(codes)
    k = min(N_NEIGHBORS, n - 1)
    drawn = np.random.RandomState(seed).permutation(n)[:MANY_ROWS]
    search = NearestNeighbors(n_neighbors=k + 1, n_jobs=n_jobs).fit(X[drawn])
    distance, near = search.kneighbors(X)
    near = drawn[near]
    other = near != np.arange(n)[:, None]
    other[other.all(axis=1), -1] = False
    distance, near = (values[other].reshape(n, k) for values in (distance, near))
    votes = 1 / np.maximum(distance, 1e-6 * max(distance.mean(), 1e-300))
    if weight is not None:
        votes *= weight[near]
    shares = np.zeros((n, n_classes))
    np.add.at(shares, (np.arange(n)[:, None], codes[near]), votes)
    return shares


def _out_of_bag(forest, X, codes, weight):
    """Votes of the trees that were grown without the row."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of rows that every tree has seen
        warnings.simplefilter("ignore", RuntimeWarning)
        forest.fit(X, codes, sample_weight=weight)
    return np.nan_to_num(forest.oob_decision_function_)
