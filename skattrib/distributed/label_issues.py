"""Suspicious training rows on a cluster."""

from numbers import Integral

import numpy as np
from sklearn.utils import Bunch
from sklearn.utils.validation import check_is_fitted

from .._arrays import logits
from .._arrays.checks import codes_of
from ._chunks import blocks_of, check_chunks, fetched, pieces
from ._cluster import gather, share, task
from ._explainer import ClusterExplainer
from ._parts import checked_rows


def find_label_issues(explainer, X, y, *, ids=None, k=None, n_neighbors=10) -> Bunch:
    """Suspicious training rows of a fitted explainer of a cluster, the most suspicious first.

    Parameters
    ----------
    explainer : fitted explainer of skattrib.distributed
    X : dask array of shape (n_samples_fit_, n_features)
        The training rows.
    y : dask array or array of shape (n_samples_fit_,)
        Their labels as given.
    ids : dask array or array of shape (n_samples_fit_,), optional
        What to call the rows; by default their numbers.
    k : int, optional
        How many rows to return. By default those whose given label is contradicted.
    n_neighbors : int, default=10
        Proponents that vote where the explainer has no decision function.

    Returns
    -------
    issues : :class:`~sklearn.utils.Bunch`
        As of `skattrib.find_label_issues`: row, id, given, suggested, score, evidence, in NumPy
        arrays. Each partition sends the rows that may be among them.

    Raises
    ------
    ValueError
        If X and y are not the training rows, for labels that are not classes, k out of range, what
        is no explainer of a cluster, and explainers that compare with one class only.

    Examples
    --------
    >>> import dask.array as da
    >>> from sklearn.datasets import load_iris
    >>> from skattrib.distributed import DualViewExplainer, find_label_issues
    >>> X, y = load_iris(return_X_y=True)
    >>> y[7] = 2
    >>> rows = da.from_array(X, chunks=(50, -1))
    >>> explainer = DualViewExplainer(C=0.01, random_state=0).fit(rows, y)
    >>> issues = find_label_issues(explainer, rows, y, k=1)
    >>> int(issues.row[0]), int(issues.given[0])
    (7, 2)
    """
    if not isinstance(explainer, ClusterExplainer):
        raise ValueError(
            f"{type(explainer).__name__} is no fitted explainer of skattrib.distributed: of one of "
            "one machine, skattrib.find_label_issues"
        )
    if getattr(explainer, "same_class", False):
        raise ValueError("same_class=True hears one class only; fit with same_class=False.")
    check_is_fitted(explainer, "n_samples_fit_")
    n, classes = explainer.n_samples_fit_, explainer.classes_
    X = check_chunks(X, "X")
    if X.shape != (n, explainer.n_features_in_):
        raise ValueError(
            f"X must be the {n} training rows of {explainer.n_features_in_} features, got {X.shape}"
        )
    if k is not None and not (
        isinstance(k, Integral) and not isinstance(k, bool) and 1 <= int(k) <= n
    ):
        raise ValueError(f"k must be an integer in 1..{n}, the number of training rows; got {k!r}")
    sizes = [size for size in X.chunks[0] if size]
    starts = np.cumsum(sizes) - sizes
    blocks = blocks_of(X, sizes)
    labels = pieces(y, sizes, "y")
    names = list(starts) if ids is None else pieces(ids, sizes, "ids")
    if hasattr(explainer, "decision_function"):
        light = explainer._cluster.light
        values = [task(decision_logits, light, block) for block in blocks]
    else:
        values = _votes(explainer, X, labels, n_neighbors, sizes)
    known = share(classes)
    tasks = [
        task(suspects, value, label, known, start, name, k)
        for value, label, start, name in zip(values, labels, starts, names, strict=True)
    ]
    parts = gather(tasks, "comparing labels with decision values")
    row, name, codes, suggested, score = (np.concatenate(part) for part in zip(*parts, strict=True))
    order = np.lexsort((row, -score))[:k]
    row, suggested = row[order], classes[suggested[order]]
    evidence = _evidence(explainer, row, suggested)
    if ids is not None:
        evidence = _names(names, sizes, evidence)
    return Bunch(
        row=row,
        id=name[order],
        given=classes[codes[order]],
        suggested=suggested,
        score=score[order],
        evidence=evidence,
    )


def decision_logits(light, X):
    """Logits of rows."""
    return logits(light._decision(checked_rows(light, X)))


def suspects(values, y, classes, start, names, k):
    """(row, id, code, suggested code, score) of the rows of a partition that may be returned."""
    codes = codes_of(y, classes, "label of y")
    each = np.arange(len(codes))
    own = values[each, codes]
    others = values.copy()
    others[each, codes] = -np.inf
    score = others.max(axis=1) - own
    suggested = np.where(score > 0, others.argmax(axis=1), codes)
    order = np.argsort(-score, kind="stable")
    order = order[: (score > 0).sum() if k is None else k]
    names = start + each if np.ndim(names) == 0 else np.asarray(names)
    return start + order, names[order], codes[order], suggested[order], score[order]


def _votes(explainer, X, labels, n_neighbors, sizes):
    """Share of each class among the strongest proponents other than the row, for each part."""
    n = explainer.n_samples_fit_
    if not isinstance(n_neighbors, Integral) or not 1 <= n_neighbors < n:
        raise ValueError(f"n_neighbors must be an integer in 1..{n - 1}; got {n_neighbors!r}")
    tasks = [task(codes_of, part, explainer.classes_, "label of y") for part in labels]
    codes = np.concatenate(gather(tasks, "fetching labels"))
    near = fetched(explainer.top_k(X, int(n_neighbors) + 1)[1], "looking for proponents")
    near = codes[_without_self(near, np.arange(n))]
    votes = np.zeros((n, len(explainer.classes_)))
    np.add.at(votes, (np.arange(n)[:, None], near), 1 / n_neighbors)
    return pieces(votes, sizes, "votes", (2,))


def _evidence(explainer, row, suggested):
    """The strongest proponent of each suggested label other than the row."""
    if not len(row):
        return row
    X = explainer._cluster.training.take(row)[0]
    return _without_self(explainer.top_k(X, 2, target=suggested)[1], row)[:, 0]


def _without_self(indices, rows):
    """Columns of indices but the row's own, or but the last."""
    other = indices != rows[:, None]
    other[other.all(axis=1), -1] = False
    return indices[other].reshape(len(rows), -1)


def _names(names, sizes, rows):
    """Ids of rows."""
    stops = np.cumsum(sizes)
    place = np.searchsorted(stops, rows, side="right")
    needed = np.unique(place)
    found = gather([task(np.asarray, names[p]) for p in needed], "fetching ids")
    found = {
        p: part[rows[place == p] - (stops[p] - sizes[p])]
        for p, part in zip(needed, found, strict=True)
    }
    out = np.empty(len(rows), dtype=np.result_type(*found.values()) if found else np.intp)
    for p, part in found.items():
        out[place == p] = part
    return out
