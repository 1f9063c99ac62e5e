"""explain: predictions, which training rows stand behind them, and through which columns."""

import reprlib
import warnings
from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike

from .._arrays import count
from .._arrays.checks import (
    canonical_csr,
    check_count,
    check_here,
    check_plain,
    check_same_rows,
    codes_of,
    index_ids,
    plain_array,
)
from . import report
from .explanation import Explanation, RowExplanation
from .parts import columns_of, decisions, parts, table_of, transformed
from .records import Query, Rows, explanations

__all__ = ["explain"]


def explain(
    estimator,
    X,
    *,
    k: int = 5,
    target=None,
    y: ArrayLike | None = None,
    ids: ArrayLike | None = None,
    X_train=None,
    y_train: ArrayLike | None = None,
    row_ids: ArrayLike | None = None,
    feature_names: Sequence[str] | None = None,
) -> "Explanation":
    """Explain predictions: which training rows speak for and against them, through which columns.

    Parameters
    ----------
    estimator : fitted explainer, or fitted Pipeline or search that ends in one
        Shares of what a Pipeline makes of a column (one-hot, scaled, imputed) are summed back to
        it; what a Pipeline makes of several columns, or of a text, goes by its own names.
    X : array, frame, sparse matrix or list of texts, of n_samples rows
        The rows to explain, as `estimator` takes them.
    k : int, default=5
        Proponents, and opponents, of each row at most.
    target : as in `attribute`, optional
        By default the predicted class, or the one unit of a regressor.
    y : array-like of shape (n_samples,), optional
        Labels of X: whether predictions are right is said.
    ids : array-like of shape (n_samples_fit_,), optional
        What to call the training rows. By default the index of `X_train` or of what was given to
        `fit`, where that is a frame's or series' other than 0, 1, ...; else their numbers.
    X_train : as X, of n_samples_fit_ rows, optional
        The training rows: explainers do not keep them as they were. Without them, values of the
        training rows, texts, pictures and the list of suspicious rows are left out.
    y_train : array-like of shape (n_samples_fit_,), optional
        Labels of the training rows to be shown; by default those given to `fit`, of a regressor
        none.
    row_ids : array-like of shape (n_samples,), optional
        What to call the rows of X, by default as for `ids`.
    feature_names : sequence of str of length n_features_in_, optional
        Of the features that the explainer sees, such as a vectorizer's ``get_feature_names_out()``;
        by default the columns of X.

    Returns
    -------
    Explanation
        A sequence of :class:`RowExplanation`, one a row of X; printed, in a notebook, as a frame,
        JSON or HTML report.

    Raises
    ------
    TypeError
        If `estimator` is no explainer and does not end in one.
    ValueError
        For arguments of other lengths than the rows they go with, frames and series whose indexes
        differ, and whatever `top_k` refuses.

    Notes
    -----
    Values, their sign and unit are those of the explainer's `top_k`. What an explainer lacks is
    None: similarities have no decision value, refitted models, networks' gradients and distances
    no columns. Of the euclidean similarity the nearest rows are the proponents.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skattrib import DualViewExplainer, explain
    >>> X, y = load_wine(return_X_y=True, as_frame=True)
    >>> X = X[["alcohol", "hue", "proline"]]
    >>> model = make_pipeline(StandardScaler(), DualViewExplainer(random_state=0))
    >>> explanation = explain(model.fit(X[1:], y[1:]), X[:1], k=2)
    >>> explanation
    1 row explained by DualViewExplainer
    <BLANKLINE>
    Test row 0: predicted 0
    decision value of class 0: +1.976, +0.03501 of it the base value
      row             label    value  mostly through
      39   proponent  0      +0.7576  alcohol +0.78, hue -0.04, proline +0.02
      47   proponent  0      +0.7224  alcohol +0.51, proline +0.23, hue -0.02
      62   opponent   1      -0.4487  alcohol -0.43, hue -0.14, proline +0.12
      73   opponent   1      -0.4443  proline -0.259, hue -0.187, alcohol +0.002
    >>> explanation.to_frame()[["kind", "train_id", "value", "column_1", "share_1"]].round(3)
            kind  train_id  value column_1  share_1
    0  proponent        39  0.758  alcohol    0.777
    1  proponent        47  0.722  alcohol    0.513
    2   opponent        62 -0.449  alcohol   -0.428
    3   opponent        73 -0.444  proline   -0.259
    """
    transformer, explainer = parts(estimator)
    k = check_count(k, "k")
    remedy = "explanations are made in this process: give {name}.compute(), if it has few rows"
    check_here(remedy, X=X, y=y, target=target, row_ids=row_ids)
    check_here(remedy + ", or leave it out", X_train=X_train, y_train=y_train, ids=ids)
    check_same_rows(X=X, y=y, target=target, row_ids=row_ids)
    check_same_rows(X_train=X_train, y_train=y_train, ids=ids)
    columns = columns_of(transformer, explainer, feature_names)
    test = _rows(transformer, columns, X, y, row_ids, "row_ids", index_ids(X, y))
    known = index_ids(X_train, y_train) or explainer._fit_ids
    train = _train_rows(transformer, explainer, columns, X_train, y_train, ids, known)
    predicted = explainer.predict(test.X)
    targets = _targets(explainer, test.X, target, predicted)
    query = Query(explainer, train, test, predicted, targets, k, columns)
    with warnings.catch_warnings():
        # said once, by predict
        warnings.filterwarnings("ignore", "X .* feature names", UserWarning)
        rows = [
            RowExplanation(**vars(row), id_name=test.id_name, train_id_name=train.id_name)
            for row in explanations(query, range(count(test.X)), with_columns=True)
        ]
        doubts = _doubts(explainer, train)
    return Explanation(
        query,
        rows,
        doubts,
        decisions=decisions(transformer),
        polars=_is_polars(X),
    )


def _rows(transformer, columns, X, y, ids, name, known):
    """Rows that are given, with labels and ids of as many."""
    check_plain(X, "X")
    Z = transformed(transformer, X)
    if sp.issparse(Z):
        Z = canonical_csr(Z, "X")
    elif not hasattr(Z, "shape"):
        Z = plain_array(Z, "X")
    if not len(Z.shape):
        raise ValueError(f"X must be rows to explain, got {reprlib.repr(X)}")
    n = count(Z)
    table = None if transformer is None else table_of(X, columns)
    return Rows(Z, _labels(y, n, "y"), *_ids(ids, known, n, name), table)


def _train_rows(transformer, explainer, columns, X, y, ids, known):
    n = explainer.n_samples_fit_
    if y is None and hasattr(explainer, "classes_"):
        y = explainer.classes_[explainer._fit_codes]
    if X is None:
        return Rows(None, _labels(y, n, "y_train"), *_ids(ids, known, n, "ids"))
    if count(X) != n:
        raise ValueError(
            f"X_train has {count(X)} rows, but {type(explainer).__name__} was fitted to {n}: give "
            "those rows"
        )
    rows = _rows(transformer, columns, X, None, ids, "ids", known)
    rows.y = _labels(y, n, "y_train")
    return rows


def _labels(y, n, name):
    if y is None:
        return None
    y = plain_array(y, name)
    if y.shape != (n,):
        raise ValueError(f"{name} has shape {y.shape}; expected ({n},), one label a row")
    return y


def _ids(ids, known, n, name):
    """(ids, what they are)."""
    if ids is None:
        id_name, ids = known or ("row", np.arange(n))
        return ids, "row" if id_name is None else str(id_name)
    ids, what = plain_array(ids, name), getattr(ids, "name", None)
    if ids.shape != (n,):
        other = (
            "names the training rows; row_ids those of X"
            if name == "ids"
            else "names the rows of X; ids the training rows"
        )
        raise ValueError(f"{name} has shape {ids.shape}; expected ({n},): it {other}")
    return ids, "row" if what is None else str(what)


def _targets(explainer, X, target, predicted):
    """Labels, or units of a regressor, (m,); or weights of them, two-dimensional."""
    if sp.issparse(target):
        target = canonical_csr(target, "target").toarray()
    if not hasattr(explainer, "classes_"):
        explainer.base_value(X, target)  # refuses what is no target
        target = np.asarray(0 if target is None else target)
        return target if target.ndim else np.full(len(predicted), target)
    if target is None:
        return predicted
    target = plain_array(target, "target")
    if target.ndim and target.shape[:1] != predicted.shape:
        raise ValueError(
            f"target has shape {target.shape} but X has {len(predicted)} rows: give one label, "
            "one label a row, or logit weights a row"
        )
    if target.ndim > 1:
        return target
    labels = explainer.classes_[codes_of(target, explainer.classes_, "target")]
    return np.broadcast_to(labels, predicted.shape)


def _doubts(explainer, train):
    """What makes the explanation doubtful."""
    has_head = hasattr(explainer, "decision_function") and hasattr(explainer, "classes_")
    if train.X is None or not has_head:
        return []
    labels = explainer.classes_[explainer._fit_codes]
    note = report.misfit(float(np.mean(explainer.predict(train.X) == labels)))
    return [note] if note else []


def _is_polars(X):
    return type(X).__module__.partition(".")[0] == "polars"
