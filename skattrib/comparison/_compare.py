"""Explainers side by side on one's own data: scores of the papers, cost, ranks."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import rankdata
from sklearn.utils import Bunch

from .._arrays.progress import progress_bar
from ._metrics import choose
from ._study import Case, Study

__all__ = ["compare_explainers"]


def compare_explainers(
    explainers: Mapping,
    X,
    y: ArrayLike,
    X_test,
    y_test: ArrayLike | None = None,
    *,
    rows: Mapping | None = None,
    fit_params: Mapping | None = None,
    targets: ArrayLike | None = None,
    faults: Mapping | None = None,
    estimator=None,
    metrics: Sequence[str] | None = None,
    groups: Mapping | Sequence[Sequence] | None = None,
    n_groups: int = 2,
    flipped: float = 0.1,
    marked_class=None,
    marked: float = 0.5,
    mark=None,
    mark_value: float | None = None,
    n_subsets: int = 50,
    fraction: float = 0.5,
    n_left_out: int = 20,
    subset_truth: Bunch | None = None,
    leave_one_out_truth: Bunch | None = None,
    shares: Sequence[float] | None = None,
    memory: bool = True,
    confidence: float | None = None,
    n_jobs: int | None = None,
    random_state=None,
    verbose: int = 0,
) -> Bunch:
    """Fit explainers, score their attributions in the ways of the papers, and rank them.

    Parameters
    ----------
    explainers : mapping of name to unfitted explainer
        Each is cloned and fitted once for the rows as they are, and once more for each planted
        fault. An explainer of a frozen classifier explains that one, which knows no fault.
    X : array, CSR or frame of shape (n, n_features)
    y : array-like of shape (n,)
    X_test : as X, of m rows
        The rows that are explained. All (m, n) attributions of a method are in memory at once.
    y_test : array-like of shape (m,), optional
        True labels, which subclass and shortcut detection need.
    rows : mapping of name to (X, X_test), optional
        Rows of those explainers that have their own, one for each of X and X_test: gradients or
        features of a network, of which each method wants others. Gradients of X_test are those of
        the output that is explained. Rows know nothing of planted faults, so that scores which need
        one are NaN, unless they are in `faults`.
    fit_params : mapping of name to dict, optional
        What `fit` of an explainer is given besides, such as
        ``{"trak": {"probabilities": p}}``.
    targets : array-like of shape (m,), optional
        The class of each test row that is explained, of all explainers alike: what a network
        predicts whose features or gradients the rows are. By default what each explainer predicts,
        which for similarities is the class of the top row, so that "class_detection" says nothing
        of them.
    faults : mapping, optional
        Faults that X, y and X_test have already, such as those that a network was trained with
        whose gradients are the `rows`: none is planted, and explainers are not fitted again. With

        - "subclasses": a pair of (n,) and (m,) labels that `y` and `y_test` merge
        - "is_flipped": (n,) bool, where `y` is wrong
        - "has_mark": (n,) bool, training rows of `marked_class` with a mark that all test rows of
          other classes have

        Metrics of other faults cannot be had then, and "debugging" neither.
    estimator : classifier, optional
        What is retrained for the ground truth of "linear_datamodeling" and "leave_one_out", and
        what "faithfulness" compares with: the kind of model that the attributions should tell of.
        Its tolerance should be far below the effect of a row, or "leave_one_out" measures noise.
    metrics : sequence of str, optional
        By default all that can be had, but "self_influence" and those that retrain `estimator` for
        each explainer, "data_removal" to "debugging".

        - "class_detection": the top row has the predicted class
        - "subclass_detection": of classes that are merged, the top row has the hidden one
        - "mislabel_detection": mean absolute attribution finds flipped labels
        - "self_influence": `self_influence_` finds them
        - "shortcut_detection": of test rows that fall for a planted mark, the top row carries it
          (and "shortcut_average_precision": whether all that carry it come before the others)
        - "linear_datamodeling", "leave_one_out" (with its slope): agreement with retraining
        - "data_removal", "mislabel_support": share of test rows whose prediction flips when the top
          1, 2, 4, ... n / 2 rows are removed or relabelled, averaged over these; up to twice as
          many refits of `estimator` as there are counts and test rows
        - "coreset", "pruning": test accuracy with the top rows only, or (lower is better) without
          them; "debugging": when flipped labels are mended in order of mean absolute attribution;
          averaged over the `shares`, a refit each
        - "faithfulness": correlation of the decision values with those of `estimator` fitted to
          all rows (and "faithfulness_agreement": how often both predict the same); where there is
          a decision function
        - "completeness": error of the sum of attributions; where there is a decision function
        - "sparsity": share of non-zero rows, and rows that hold 90 % of the mass
        - "top_k_cardinality": how many different training rows are the top row of a test row (and
          "top_k_cardinality_share": of the test rows)
    groups, n_groups : optional
        How :func:`~skattrib.planting.merge_classes` merges classes.
    flipped : float, default=0.1
        Share of labels that are flipped.
    marked_class : label, optional
        Class that is marked; by default the first.
    marked, mark, mark_value : optional
        `fraction`, `where` and `value` of :func:`~skattrib.planting.plant_shortcut`.
    n_subsets, fraction : optional
        Of :func:`~skattrib.retraining.subset_outputs`.
    n_left_out : int, default=20
        Training rows, drawn at random, that are left out one at a time.
    subset_truth, leave_one_out_truth : Bunch, optional
        Ground truth at hand for X, y and X_test, of one output a test row, as the two functions of
        :mod:`skattrib.retraining` return it; nothing is retrained for it.
    shares : sequence of float, optional
        Shares of the rows that the curves keep, drop or mend; by default 0.05 to 0.9.
    memory : bool, default=True
        Measure the peak memory, in a further fit and explanation under tracemalloc.
    confidence : float, optional
        Level of bootstrap intervals over the test rows, such as 0.95.
    n_jobs : int, optional
        Refits of `estimator` at a time.
    random_state : int, RandomState or None, default=None
        Decides what is planted, drawn and resampled. Explainers keep their own.
    verbose : int, default=0
        Positive: print progress.

    Returns
    -------
    result : :class:`~sklearn.utils.Bunch`
        Dictionary-like object, with fields:

        table : dict of str to list
            Columns of one entry for each explainer, ready for ``pandas.DataFrame(table)``:
            "explainer", one a metric, NaN where it does not exist for the explainer
            ("leave_one_out" also has "_slope", shortcut detection "shortcut_rows": how many test
            rows fell for it; "sparsity" is the means of "nonzero_share" and "rows_for_mass"; with
            `confidence` also "_low" and "_high", but of those that retrain for each explainer),
            "accuracy" if there is `y_test`, "fit_seconds", "seconds_per_row" of attributions,
            "peak_mb" and "average_rank".
        ranks : dict of str to list
            For each metric but the last three, 1 for the best score; ties share the mean of their
            ranks.
        average_rank : ndarray of shape (n_explainers,)
            Mean over those metrics that the explainer has; NaN if it has none that is ranked.
        n_test : int
            Test rows.

    Raises
    ------
    TypeError
        For explainers, rows and parameters that are no mapping, and ground truth that is none.
    ValueError
        For no explainers, what is none, rows and parameters of what is no explainer, an `estimator`
        that is no classifier, labels of two kinds, targets that are no class, faults of other
        lengths, unknown metrics, and metrics whose needs are not met.

    Warns
    -----
    UserWarning
        If no test row falls for the shortcut of some explainer: its score is NaN.

    Notes
    -----
    All but the seconds and megabytes is the same for the same `random_state`. Memory counts what
    numpy and Python allocate, not the threads of BLAS. Explained are the `targets`, or the
    predicted classes of each explainer; for the ground truth its own; for "data_removal" and
    "mislabel_support" those that `estimator` predicts, and where a fault is planted those of the
    explainer fitted to it.

    References
    ----------
    Hanawa et al., "Evaluation of similarity-based explanations", ICLR 2021. Yolcu et al.,
    "DualXDA", 2025, the average rank against cost.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skattrib import DualViewExplainer, SimilarityExplainer, compare_explainers
    >>> X, y = load_iris(return_X_y=True)
    >>> explainers = {"dualview": DualViewExplainer(C=0.01), "nearest": SimilarityExplainer()}
    >>> result = compare_explainers(
    ...     explainers, X[::2], y[::2], X[1::2], metrics=["class_detection"], random_state=0
    ... )
    >>> result.table["explainer"]
    ['dualview', 'nearest']
    """
    _check_explainers(explainers)
    options = Bunch(
        rows=rows,
        fit_params=fit_params,
        targets=targets,
        faults=faults,
        groups=groups,
        n_groups=n_groups,
        flipped=flipped,
        marked_class=marked_class,
        marked=marked,
        mark=mark,
        mark_value=mark_value,
        n_subsets=n_subsets,
        fraction=fraction,
        n_left_out=n_left_out,
        subset_truth=subset_truth,
        leave_one_out_truth=leave_one_out_truth,
        shares=shares,
        memory=memory,
        confidence=confidence,
        n_jobs=n_jobs,
        random_state=random_state,
        verbose=verbose,
    )
    study = Study(explainers, X, y, X_test, y_test, estimator, options)
    chosen = choose(metrics, study)
    # what is planted and retrained, before the explainers: wrong options are told at once
    for metric in chosen:
        for need in metric.needs:
            getattr(study, need)
    lines = []
    n_steps = len(explainers) * (1 + memory + len(chosen))
    with progress_bar(n_steps, "compare_explainers", verbose) as study.bar:
        for name, explainer in explainers.items():
            lines.append(_line(study, name, explainer, chosen))
    columns = list(dict.fromkeys(key for line in lines for key in line))
    table = {key: [line.get(key, np.nan) for line in lines] for key in columns}
    ranks = {
        metric.name: _ranks(table[metric.name], metric.higher_is_better)
        for metric in chosen
        if not metric.is_description
    }
    average = _mean_of_known(list(ranks.values()), len(lines))
    table["average_rank"] = average.tolist()
    return Bunch(table=table, ranks=ranks, average_rank=average, n_test=study.m)


def _check_explainers(explainers):
    if not isinstance(explainers, Mapping):
        raise TypeError(
            "explainers must be a dict of name to explainer, got a "
            f"{type(explainers).__name__}: give each a name."
        )
    if not explainers:
        raise ValueError("explainers must be a dict of name to explainer, with one or more.")
    for name, explainer in explainers.items():
        if isinstance(explainer, type) or not hasattr(explainer, "attribute"):
            raise ValueError(f"explainers[{name!r}] is no explainer, but {explainer!r}.")


def _line(study, name, explainer, chosen):
    """All columns of one explainer."""
    case = Case(study, name, explainer)
    line = {"explainer": name}
    for metric in chosen:
        study.say(f"{name}: {metric.name}")
        line |= metric.columns(study, case)
    if study.y_test is not None:
        line["accuracy"] = float(np.mean(case.predicted == study.y_test))
    return line | case.cost


def _ranks(values, higher_is_better):
    """1 for the best; NaN where there is none."""
    values = np.asarray(values, dtype=float) * (-1 if higher_is_better else 1)
    out = np.full(len(values), np.nan)
    known = ~np.isnan(values)
    out[known] = rankdata(values[known])
    return out.tolist()


def _mean_of_known(columns, n):
    columns = np.array(columns, dtype=float).reshape(-1, n)
    known = ~np.isnan(columns)
    total = np.where(known, columns, 0).sum(axis=0)
    return np.divide(total, known.sum(axis=0), out=np.full(n, np.nan), where=known.any(axis=0))
