"""Training rows whose label the model or the other rows contradict."""

import warnings
from numbers import Integral
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike
from sklearn.utils import Bunch
from sklearn.utils.validation import check_is_fitted

from .._arrays import count, logits, take
from .._arrays.checks import (
    canonical_csr,
    check_here,
    check_plain,
    check_same_rows,
    codes_of,
    index_ids,
    plain_array,
)
from ..explainers import BaseExplainer
from ._judging import judge, nearest_of_class

__all__ = ["LabelIssues", "find_label_issues"]

N_EVIDENCE = 5
FEW = 10  # contradicted rows, of which nothing is estimated
MANY = 0.1  # share of contradicted rows that is said to be large


class LabelIssues(Bunch):
    """Suspicious labels: columns by their names, and what is known of them together.

    Made by `find_label_issues`. The columns row, id, given, suggested, score and evidence are keys
    and attributes, so that ``pandas.DataFrame(issues)`` is a table.

    Attributes
    ----------
    contradicted_by : list of ndarray
        Of each row returned, the ids of the rows that contradict its label, the strongest first,
        five at most; the first is its evidence.
    n_rows : int
        How many rows were judged.
    n_contradicted : int
        How many have a positive score.
    n_wrong : float or None
        How many labels are estimated to be wrong, in all; None where an explainer judged.
    precision : float or None
        The share of contradicted rows that is estimated to be wrong, likewise.
    unjudged : list
        Classes of fewer than five rows: no model learns these, so none of their rows is
        contradicted. A misspelled label is one of them.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skattrib import DualViewExplainer, find_label_issues
    >>> X, y = load_iris(return_X_y=True)
    >>> y[7] = 2
    >>> issues = find_label_issues(DualViewExplainer(C=0.01, random_state=0).fit(X, y), X, y, k=3)
    >>> list(issues)
    ['row', 'id', 'given', 'suggested', 'score', 'evidence']
    >>> int(issues.row[0]), int(issues["given"][0]), len(issues.contradicted_by)
    (7, 2, 3)
    """

    _TOGETHER = ("contradicted_by", "n_rows", "n_contradicted", "n_wrong", "precision", "unjudged")

    def __init__(
        self,
        columns,
        contradicted_by,
        n_rows,
        n_contradicted,
        n_wrong=None,
        precision=None,
        unjudged=(),
    ):
        super().__init__(**columns)
        together = (contradicted_by, n_rows, n_contradicted, n_wrong, precision, unjudged)
        for name, value in zip(self._TOGETHER, together, strict=True):
            object.__setattr__(self, name, value)

    def __reduce__(self):
        return type(self), (dict(self), *(getattr(self, name) for name in self._TOGETHER))

    def summary(self) -> str:
        """How many labels look wrong, how far to believe it, and a warning where they are many.

        Returns
        -------
        str
        """
        share = self.n_contradicted / self.n_rows
        text = f"{self.n_contradicted} of {self.n_rows} labels ({share:.1%}) are contradicted"
        if self.n_wrong is not None and self.n_wrong > self.n_rows / 2:
            text += ": the columns tell too little of the classes to judge labels by"
        elif 0 < self.n_contradicted < FEW:
            text += "; so few may be right, of rows that are unusual: look at them"
        elif self.precision is not None and self.n_contradicted:
            text += (
                f"; judged by planted errors, about {self.precision:.0%} of them are wrong, and "
                f"about {round(self.n_wrong)} labels in all. Right labels of unusual rows count as "
                "wrong here"
            )
        lines = [f"{text}."]
        if share > MANY:
            lines.append(self._warning())
        if self.unjudged:
            names = ", ".join(repr(label) for label in self.unjudged[:5])
            more = f" and {len(self.unjudged) - 5} more" if len(self.unjudged) > 5 else ""
            lines.append(f"Classes of too few rows to be judged: {names}{more}.")
        return " ".join(lines)

    def _warning(self):
        share = f"{self.n_contradicted / self.n_rows:.0%} of rows contradicted: "
        if self.precision is None:
            return (
                f"{share}the head does not fit, and most of these labels may be right; leave the "
                "explainer out, find_label_issues(X, y), or fit it to LeafFeatures of a forest."
            )
        return (
            f"{share}so many labels are wrong, or the columns do not tell the classes; read the "
            "list from the top."
        )


def find_label_issues(
    explainer: Any = None,
    X: Any = None,
    y: ArrayLike | None = None,
    *,
    ids: ArrayLike | None = None,
    k: int | None = None,
    n_neighbors: int = 10,
    n_jobs: int | None = None,
    random_state=None,
    verbose: int = 0,
) -> LabelIssues:
    """Suspicious training rows, the most suspicious first.

    ``find_label_issues(X, y)`` asks models that have not seen a row's label: a linear one, nearest
    rows and two forests, mixed. ``find_label_issues(explainer, X, y)`` asks the head, or the
    proponents, of a fitted explainer, in sample.

    Parameters
    ----------
    explainer : fitted explainer, optional
        Its regularization matters: a head that fits every label contradicts none. It may be left
        out by position: ``find_label_issues(X, y)``.
    X : array, CSR or frame of shape (n, n_features)
        The training rows. Without an explainer, frames may hold columns of any kind: they go
        through `table_preprocessor`.
    y : array-like of shape (n,)
        Their labels as given.
    ids : array-like of shape (n,), optional
        What to call the rows; by default their index in a frame, else their numbers.
    k : int, optional
        How many rows to return. By default those whose given label is contradicted.
    n_neighbors : int, default=10
        Proponents that vote where the explainer has no decision function.
    n_jobs : int, optional
        Processes and threads of the models, as in joblib; not used with an explainer.
    random_state : int, RandomState or None, default=None
        Of folds and forests; not used with an explainer.
    verbose : int, default=0
        1 prints what is fitted, and how well it predicts the labels.

    Returns
    -------
    issues : LabelIssues
        Columns of one entry a row, ready for ``pandas.DataFrame(issues)``:

        row : ndarray of int
            Number of the training row.
        id : ndarray
            What it is called: of `ids`, of a frame's index, or its number.
        given : ndarray
            Its label.
        suggested : ndarray
            The likeliest other label, or that with the highest decision value; the given one where
            it is not contradicted.
        score : ndarray
            Positive where the given label is contradicted. By default the log odds that it is
            wrong, less those from which rows are returned; with an explainer the logit of the best
            other label minus that of the given one, or, without a decision function, the same for
            shares of the `n_neighbors` strongest proponents other than the row itself.
        evidence : ndarray
            Id of the row, other than itself, that speaks most for the suggested label: the one that
            raises it most, by default the one that shares most leaves of the forest among those
            labelled so. ``issues.contradicted_by`` has up to five.

        ``issues.summary()`` says in words how many labels are wrong by estimate.

    Raises
    ------
    ValueError
        If X and y are not the training rows or their indexes differ, for labels that are not
        classes, k out of range, what is no explainer, and explainers that compare with one class
        only (`same_class`).

    Warns
    -----
    UserWarning
        If `k` is not given and more than a tenth of the rows are contradicted.

    Notes
    -----
    Without an explainer, each model gives probabilities of a row's class by folds, out of bag, or
    leaving the row out, and votes by how well it predicts the labels. Flips between classes are
    not equally likely: how often one class passes for another is counted where the models are
    sure, and the score is the log odds, by Bayes' rule, that the label is a flip. Models are then
    fitted again with doubtful labels at less weight. How many labels are wrong is read from flips
    that are planted: wrong labels are at most so many that the scores which planted flips get
    are there; returned are as many rows as have the best F1 by that estimate. A class of a few
    rows that no model recognizes is not called wrong as a whole: what these rows are is unknown.

    Explainers: measured with a tenth of the labels of digits, wine and breast cancer flipped,
    uniformly or pairwise, the mean `mislabel_detection_score` is:

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
    >>> issues = find_label_issues(X, y, random_state=0)
    >>> int(issues.row[0]), int(issues.given[0]), int(issues.suggested[0])
    (7, 2, 0)
    >>> explainer = DualViewExplainer(C=0.01, random_state=0).fit(X, y)
    >>> issues = find_label_issues(explainer, X, y, k=1)
    >>> int(issues.row[0]), int(issues.given[0]), int(issues.suggested[0])
    (7, 2, 0)
    """
    if y is None and X is not None:
        explainer, X, y = None, explainer, X
    if X is None or y is None:
        raise ValueError("give find_label_issues(X, y), or (explainer, X, y)")
    remedy = (
        "give {name}.compute(), or to skattrib.distributed.find_label_issues with an explainer of "
        "skattrib.distributed"
    )
    check_here(remedy, X=X, y=y, ids=ids)
    if explainer is not None:
        issues = _judged_by(explainer, X, y, ids, k, n_neighbors)
    else:
        issues = _judged(X, y, ids, k, n_jobs, random_state, verbose)
    if k is None and issues.n_contradicted > MANY * issues.n_rows:
        warnings.warn(issues._warning(), UserWarning, stacklevel=2)
    return issues


def _judged(X, y, ids, k, n_jobs, random_state, verbose):
    if not hasattr(X, "shape") and not isinstance(X, list | tuple):
        raise ValueError(
            f"X must be a matrix or a frame of rows, got {type(X).__name__}; with an explainer "
            "give (explainer, X, y)"
        )
    check_same_rows(X=X, y=y, ids=ids)
    found = index_ids(X, y)
    y = plain_array(y, "y")
    n = count(X)
    if y.shape != (n,):
        raise ValueError(f"y has shape {y.shape}; expected ({n},), a label for each row of X")
    ids = _checked_ids(found[1] if ids is None and found else ids, n)
    _check_k(k, n)
    say = print if verbose else _silent
    noise, classes, codes, leaves = judge(X, y, seed=random_state, n_jobs=n_jobs, say=say)
    order = np.argsort(-noise.score, kind="stable")
    order = order[: (noise.score > 0).sum() if k is None else k]
    suggested = np.where(noise.score > 0, noise.suggested, codes)[order]
    near = nearest_of_class(leaves, codes, noise.score <= 0, order, suggested, N_EVIDENCE)
    return _issues(
        order,
        ids,
        y,
        classes[suggested],
        noise.score,
        near,
        n_wrong=noise.n_wrong,
        precision=noise.precision,
        unjudged=classes[noise.rare].tolist(),
    )


def _silent(line):
    pass


def _issues(order, ids, y, suggested, score, near, **estimates):
    first = np.array([rows[0] for rows in near], dtype=np.intp)
    columns = {
        "row": order,
        "id": ids[order],
        "given": y[order],
        "suggested": suggested,
        "score": score[order],
        "evidence": ids[first],
    }
    n_contradicted = int((score > 0).sum())
    by = [ids[rows] for rows in near]
    return LabelIssues(columns, by, len(y), n_contradicted, **estimates)


def _checked_ids(ids, n):
    ids = np.arange(n) if ids is None else plain_array(ids, "ids")
    if ids.shape != (n,):
        raise ValueError(f"ids has shape {ids.shape}; expected ({n},), one a training row")
    return ids


def _check_k(k, n):
    if k is not None and (not isinstance(k, Integral) or isinstance(k, bool) or not 1 <= k <= n):
        raise ValueError(f"k must be an integer in 1..{n}, the number of training rows; got {k!r}")


def _judged_by(explainer, X, y, ids, k, n_neighbors):
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
        ids = (index_ids(X, y) or explainer._fit_ids or (None, None))[1]
    check_plain(X, "X")
    y, n_rows = plain_array(y, "y"), count(X) if np.ndim(X) == 2 else 0
    if n_rows != n or y.shape != (n,):
        raise ValueError(
            f"X and y must be the {n} training rows and their labels, got {n_rows} rows and labels "
            f"of shape {y.shape}"
        )
    X = canonical_csr(X, "X") if sp.issparse(X) else X  # some formats have no rows
    codes = codes_of(y, classes, "label of y")
    ids = _checked_ids(ids, n)
    _check_k(k, n)
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
    suggested = classes[suggested[order]]
    near = _proponents(explainer, take(X, order), order, suggested)
    return _issues(order, ids, y, suggested, score, near)


def _votes(explainer, X, codes, n_neighbors):
    """Share of each class among the strongest proponents other than the row, (n, n_classes)."""
    n = len(codes)
    if not isinstance(n_neighbors, Integral) or not 1 <= n_neighbors < n:
        raise ValueError(f"n_neighbors must be an integer in 1..{n - 1}; got {n_neighbors!r}")
    near = _without_self(explainer.top_k(X, n_neighbors + 1)[1], np.arange(n))
    votes = np.zeros((n, len(explainer.classes_)))
    np.add.at(votes, (np.arange(n)[:, None], codes[near]), 1 / n_neighbors)
    return votes


def _proponents(explainer, X, rows, suggested):
    """The strongest proponents of each suggested label other than the row, as arrays."""
    if not len(rows):
        return []
    k = min(N_EVIDENCE + 1, explainer.n_samples_fit_)
    values, near = explainer.top_k(X, k, target=suggested)
    other = near != rows[:, None]
    other[other.all(axis=1), -1] = False
    values, near = (found[other].reshape(len(rows), -1) for found in (values, near))
    pairs = zip(values, near, strict=True)
    return [one[(value > 0) | (np.arange(k - 1) == 0)] for value, one in pairs]


def _without_self(indices, rows):
    """Columns of indices but the row's own, or but the last."""
    other = indices != rows[:, None]
    other[other.all(axis=1), -1] = False
    return indices[other].reshape(len(rows), -1)
