"""What is asked of a partition's explainer, and how answers of partitions become one."""

import numpy as np
import scipy.sparse as sp

from ._rows import plain_rows


def answer(X, codes, weight, part, light, state, question, start, *args):
    """What a partition says: an attribute, or a function of its explainer and its first row."""
    explainer = part(light, X, codes, weight, state)
    if callable(question):
        return question(explainer, start, *args)
    if not args:
        return getattr(explainer, question)
    rows, target = args[0]
    return getattr(explainer, question)(rows, target)


def named(explainer, target):
    """A checked target as methods take it."""
    return explainer.classes_[target.codes] if target.weights is None else target.weights


def checked_rows(light, X):
    """Test rows in order."""
    return light._check_rows(plain_rows(X))


def checked_test(light, X, target, k=None):
    """Test rows and their target, checked; of the latter the rows it compares with, too."""
    X = checked_rows(light, X)
    target = light._check_target(X, target)
    if k is not None:
        light._check_candidates(k, target)
    return X, named(light, target)


def row_values(light, method, test, *more):
    """What a method says of each test row alone."""
    X, target = test
    if method == "target_weights":
        output, predicted = more
        return light.target_weights(X, output, None if predicted else target)
    if method in ("base_value", "decision_error_bound"):
        return getattr(light, method)(X, target)
    return getattr(light, method)(X)


def removal_effects(light, test, heads, n_groups):
    """(effects, bounds) of DualView's groups left out on test rows."""
    X, target = test
    V = light._check_target(X, target).as_weights(len(light.classes_))
    return light._removal_effects(X, V, *heads, n_groups)


def best_of(explainer, start, test, k, largest, n):
    """(values, indices) of the partition's strongest rows; index n where it has none."""
    (rows, target), own = test, explainer.n_samples_fit_
    values, indices = explainer.top_k(rows, min(k, own), target=target, largest=largest)
    return values, np.where(indices < own, indices + start, n)


def merged(parts, k, largest):
    """The k strongest of several partitions; equal values in the order of the training rows."""
    values = np.concatenate([part[0] for part in parts], axis=1)
    indices = np.concatenate([part[1] for part in parts], axis=1)
    order = np.lexsort((indices, -values if largest else values), axis=1)[:, :k]
    return np.take_along_axis(values, order, axis=1), np.take_along_axis(indices, order, axis=1)


def weighted_sum(explainer, start, test, weights):
    """Sums of attributions over test rows."""
    rows, target = test
    return explainer.aggregate(rows, target, weights=weights)


def moment_of(light, test, weights):
    """What of test rows is enough for sums of their attributions."""
    rows, target = test
    return light._kernel().moment(rows, light._check_target(rows, target), weights)


def against(explainer, start, moment):
    """Sums of attributions over test rows that have this moment."""
    sums = explainer._kernel().against(moment)
    if np.isnan(sums).any() or np.isposinf(sums).any():
        raise ValueError("sums with these weights overflow: scale the weights")
    return sums


def of_pairs(explainer, start, question, test, tests, rows, *side):
    """Shares or directions of pairs of a test row and a row of the partition, (n, d)."""
    X, target = test[0][tests], test[1][tests]
    if question == "shares":
        found = explainer.decompose(X, rows[:, None], target=target)
    else:
        found = explainer.directions(X, rows[:, None], target=target, side=side[0])
    return found if sp.issparse(found) else found[:, 0]


def placed(found, places, shape, dtype):
    """What partitions have found of pairs at their places, (m, k, d), or CSR (m k, d)."""
    if not found:
        return np.zeros(shape, dtype=dtype)
    order = np.argsort(np.concatenate(places))
    if sp.issparse(found[0]):
        return sp.csr_array(sp.vstack(found, format="csr"))[order]
    return np.concatenate(found)[order].reshape(shape)


def codes_at(codes, start, best):
    """Codes of the first of the strongest rows that lie in a partition, 0 for all others."""
    place = best[1][:, 0] - start
    here = (place >= 0) & (place < len(codes))
    return np.where(here, codes[np.where(here, place, 0)], 0)
