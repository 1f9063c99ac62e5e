"""Training rows whose label the model or the other rows contradict."""

from numbers import Integral

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike
from sklearn.utils import Bunch
from sklearn.utils.validation import check_is_fitted

from .._arrays import count, logits, take
from .._arrays.checks import (
    canonical_csr,
    check_plain,
    check_same_rows,
    codes_of,
    index_ids,
    plain_array,
)
from ..explainers import BaseExplainer

__all__ = ["find_label_issues"]


def find_label_issues(
    explainer: BaseExplainer,
    X,
    y: ArrayLike,
    *,
    ids: ArrayLike | None = None,
    k: int | None = None,
    n_neighbors: int = 10,
) -> Bunch:
    """Suspicious training rows of a fitted explainer, the most suspicious first.

    Parameters
    ----------
    explainer : fitted explainer
        Its regularization matters: a head that fits every label contradicts none.
    X : array, CSR or frame of shape (n_samples_fit_, n_features)
        The training rows.
    y : array-like of shape (n_samples_fit_,)
        Their labels as given.
    ids : array-like of shape (n_samples_fit_,), optional
        What to call the rows; by default their index in a frame, else their numbers.
    k : int, optional
        How many rows to return. By default those whose given label is contradicted.
    n_neighbors : int, default=10
        Proponents that vote where the explainer has no decision function.

    Returns
    -------
    issues : :class:`~sklearn.utils.Bunch`
        Columns of one entry a row, ready for ``pandas.DataFrame(issues)``:

        row : ndarray of int
            Number of the training row.
        id : ndarray
        given : ndarray
            Its label.
        suggested : ndarray
            The label with the highest decision value, the given one where it is that.
        score : ndarray
            Logit of the best other label minus that of the given one; positive where the given
            label is contradicted. Without a decision function: the same for shares of the
            `n_neighbors` strongest proponents other than the row itself.
        evidence : ndarray
            Id of the row, other than itself, that raises the suggested label most.

    Raises
    ------
    ValueError
        If X and y are not the training rows or their indexes differ, for labels that are not
        classes, k out of range, what is no explainer, and explainers that compare with one class
        only (`same_class`).

    Notes
    -----
    Measured with a tenth of the labels of digits, wine and breast cancer flipped, uniformly or
    pairwise, the mean `mislabel_detection_score` is:

    ======================  ========  =================  ==============  ==================
    explainer, C = 0.1      score     loss of its head   self-influence  without own share
    ======================  ========  =================  ==============  ==================
    DualViewExplainer       0.996     0.995              0.862           0.971
    RepresenterExplainer    0.996     0.995              0.970           0.993
    InfluenceExplainer      0.996     0.995              0.988           0.996
    ======================  ========  =================  ==============  ==================

    The loss of a LogisticRegression(C=1) scores 0.991, its out-of-fold confidence 0.990. Hence
    the margin; self-influence finds rows that matter, which are not always wrong. A head that fits
    every label is the exception: DualView with C = 100 has margins of 0.940, self-influence 0.984.

    Features that a network learned want more regularization than raw ones: on 5,000 rows of 128
    deep features with a tenth of the labels flipped to the next class, the average precision of
    RepresenterExplainer is 0.985 at ``C mean||x||^2 = 0.1`` and 0.927 at 1, that of
    DualViewExplainer 0.958 and 0.888. Cross-validation for accuracy on the noisy labels does not
    find that C (0.872). RepresenterExplainer and InfluenceExplainer of one C have the same head,
    hence the same scores. `benchmarks/bench_label_issues.py` compares with cleanlab.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.preprocessing import scale
    >>> from skattrib import DualViewExplainer, find_label_issues
    >>> X, y = load_iris(return_X_y=True)
    >>> X, y[7] = scale(X), 2
    >>> explainer = DualViewExplainer(C=0.01, random_state=0).fit(X, y)
    >>> issues = find_label_issues(explainer, X, y, k=1)
    >>> int(issues.row[0]), int(issues.given[0]), int(issues.suggested[0])
    (7, 2, 0)
    """
    if not isinstance(explainer, BaseExplainer):
        raise ValueError(
            f"{type(explainer).__name__} is no explainer; of a Pipeline give the last step, and X "
            "as that one sees it"
        )
    if getattr(explainer, "same_class", False):
        raise ValueError("same_class=True hears one class only; fit with same_class=False.")
    check_is_fitted(explainer, "n_samples_fit_")
    n, classes = explainer.n_samples_fit_, explainer.classes_
    check_same_rows(X=X, y=y, ids=ids)
    if ids is None:
        ids = (index_ids(X, y) or explainer._fit_ids or (None, np.arange(n)))[1]
    check_plain(X, "X")
    y, n_rows = plain_array(y, "y"), count(X) if np.ndim(X) == 2 else 0
    if n_rows != n or y.shape != (n,):
        raise ValueError(
            f"X and y must be the {n} training rows and their labels, got {n_rows} rows and labels "
            f"of shape {y.shape}"
        )
    X = canonical_csr(X, "X") if sp.issparse(X) else X  # some formats have no rows
    codes = codes_of(y, classes, "label of y")
    ids = plain_array(ids, "ids")
    if ids.shape != (n,):
        raise ValueError(f"ids has shape {ids.shape}; expected ({n},), one a training row")
    if k is not None and (not isinstance(k, Integral) or isinstance(k, bool) or not 1 <= k <= n):
        raise ValueError(f"k must be an integer in 1..{n}, the number of training rows; got {k!r}")
    if hasattr(explainer, "decision_function"):
        values = logits(explainer.decision_function(X))
    else:
        values = _votes(explainer, X, codes, n_neighbors)
    each = np.arange(n)
    own = values[each, codes]
    others = values.copy()
    others[each, codes] = -np.inf
    score = others.max(axis=1) - own
    suggested = np.where(score > 0, others.argmax(axis=1), codes)
    order = np.argsort(-score, kind="stable")
    order = order[: (score > 0).sum() if k is None else k]
    return Bunch(
        row=order,
        id=ids[order],
        given=y[order],
        suggested=classes[suggested[order]],
        score=score[order],
        evidence=ids[_evidence(explainer, take(X, order), order, classes[suggested[order]])],
    )


def _votes(explainer, X, codes, n_neighbors):
    """Share of each class among the strongest proponents other than the row, (n, n_classes)."""
    n = len(codes)
    if not isinstance(n_neighbors, Integral) or not 1 <= n_neighbors < n:
        raise ValueError(f"n_neighbors must be an integer in 1..{n - 1}; got {n_neighbors!r}")
    near = _without_self(explainer.top_k(X, n_neighbors + 1)[1], np.arange(n))
    votes = np.zeros((n, len(explainer.classes_)))
    np.add.at(votes, (np.arange(n)[:, None], codes[near]), 1 / n_neighbors)
    return votes


def _evidence(explainer, X, rows, suggested):
    """The strongest proponent of each suggested label other than the row."""
    if not len(rows):
        return rows
    return _without_self(explainer.top_k(X, 2, target=suggested)[1], rows)[:, 0]


def _without_self(indices, rows):
    """Columns of indices but the row's own, or but the last."""
    other = indices != rows[:, None]
    other[other.all(axis=1), -1] = False
    return indices[other].reshape(len(rows), -1)
