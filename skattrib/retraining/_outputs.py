"""Ground truth for attributions: outputs of any scikit-learn estimator refitted on fewer rows."""

from collections.abc import Callable, Sequence
from numbers import Real

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import is_classifier
from sklearn.utils import Bunch

from .._arrays import count
from .._arrays.checks import check_count, check_estimator, check_groups, entries
from .refits import (
    check_output,
    check_refit_data,
    derived,
    draw_seed,
    draw_subset,
    read_output,
    refit,
    run,
    run_kept,
)
from .result_folder import ResultFolder, digest, key_of

__all__ = ["leave_one_out_outputs", "subset_outputs"]


def subset_outputs(
    estimator,
    X,
    y: ArrayLike,
    X_test,
    n_subsets: int = 100,
    fraction: float = 0.5,
    *,
    y_test: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    output: str | Callable | None = None,
    stratify: bool = False,
    n_repeats: int = 1,
    folder=None,
    n_jobs: int | None = None,
    random_state=None,
    verbose: int = 0,
) -> Bunch:
    """Outputs for test rows of clones of an estimator, each fitted on a random subset of the rows.

    The ground truth of :func:`~skattrib.metrics.linear_datamodeling_score`.

    Parameters
    ----------
    estimator : classifier or regressor
        Any of scikit-learn's kind; it is cloned, never fitted itself.
    X : array, sparse matrix, frame or list of n rows
    y : array-like of shape (n,)
    X_test : as X, of m rows
    n_subsets : int, default=100
        Subset i does not depend on it: a later call with more and the same `folder` goes on.
    fraction : float, default=0.5
        Share of the rows in each subset, drawn without replacement.
    y_test : array-like of shape (m,), optional
        Class of each test row that is explained. By default the one that the estimator fitted on
        all rows predicts. For regressors, only needed for the loss.
    sample_weight : array-like of shape (n,), optional
        Passed on to `fit` (of the last step of a Pipeline) for the rows of the subset.
    output : str or callable, optional
        What is measured, for the explained class c:

        - "logit": column c of `decision_function`; for two classes the one value, its sign turned
          for ``classes_[0]`` (the default where there is a `decision_function`)
        - "margin": logit c minus the largest other one, for two classes the same as "logit"
        - "log_odds": log p_c / (1 - p_c), with both kept above 2e-16 (the default otherwise)
        - "probability": p_c
        - "loss": log p_c, minus the loss, in nats, likewise, as `target_weights` has it; it needs
          `y_test`. Minus the squared error for regressors
        - "decision": `decision_function` as it is, of all classes
        - "prediction": what a regressor predicts (their default)
        - a function of (fitted estimator, X_test, explained classes or y_test): array of m rows
    stratify : bool, default=False
        Take `fraction` of each class, and at least one row, instead of all rows.
    n_repeats : int, default=1
        Refits of each subset with different seeds, whose outputs are averaged.
    folder : path-like, optional
        Keeps the outputs of each subset as soon as it is done, so that a run that was killed goes
        on where it ended, with identical results. It holds one set of data, estimator, settings
        and versions and refuses any other. Needs an integer `random_state`.
    n_jobs : int, optional
        Refits at a time, by joblib; the backend can be chosen by :func:`joblib.parallel_config`.
        Each has one BLAS thread, and results do not depend on it.
    random_state : int, RandomState or None, default=None
        The seed of the subsets and, derived from it for each subset, of every `random_state`
        parameter of the clones.
    verbose : int, default=0
        Positive: print progress; above 1 after each subset.

    Returns
    -------
    result : :class:`~sklearn.utils.Bunch`
        Dictionary-like object, with fields:

        masks : ndarray of shape (n_subsets, n), bool
            The rows in each subset.
        outputs : ndarray of shape (n_subsets, m) or (n_subsets, m, n_classes)
            In float64.
        full_outputs : ndarray of shape (m,) or (m, n_classes)
            Those of the estimator fitted on all rows.
        targets : ndarray of shape (m,) or None
            The explained classes.
        output : str or callable
            What was measured.

    Raises
    ------
    TypeError
        For what is no estimator.
    ValueError
        For shapes that disagree, more than 1,000,000 subsets or 10,000 repeats, an output that the
        estimator does not have, a subset that lost all rows of a class (an output but
        "probability" would be undefined or infinite), outputs that are not finite, or a folder of
        other results or with damaged files.

    References
    ----------
    Ilyas et al., "Datamodels: Predicting Predictions from Training Data", ICML 2022.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skattrib.retraining import subset_outputs
    >>> X, y = load_iris(return_X_y=True)
    >>> truth = subset_outputs(LogisticRegression(C=0.1), X, y, X[:4], n_subsets=3, random_state=0)
    >>> truth.masks.shape, truth.outputs.shape
    ((3, 150), (3, 4))
    """
    task = _Task(estimator, X, y, X_test, y_test, sample_weight, output, n_repeats, random_state)
    n_subsets = check_count(n_subsets, "n_subsets")
    known = isinstance(fraction, Real) and 0 < fraction < 1
    if not known or not 1 <= round(fraction * task.n) < task.n:
        raise ValueError(
            f"fraction is {fraction!r}; expected a share in (0, 1) that leaves some rows in and "
            f"some of the {task.n} rows out."
        )
    if stratify and not task.is_classifier:
        raise ValueError("stratify needs classes, but the estimator is a regressor.")
    strata = task.y if stratify else np.zeros(task.n)
    masks = np.array([draw_subset(strata, fraction, task.seed, i) for i in range(n_subsets)])
    settings = {"kind": "subsets", "fraction": float(fraction), "stratify": bool(stratify)}
    jobs = {
        f"{i:06d}": (np.flatnonzero(mask), _subset_seeds(task, i)) for i, mask in enumerate(masks)
    }
    outputs, full = task.measure(jobs, folder, settings, n_jobs, verbose, "subset_outputs")
    return Bunch(
        masks=masks, outputs=outputs, full_outputs=full, targets=task.targets, output=task.output
    )


def leave_one_out_outputs(
    estimator,
    X,
    y: ArrayLike,
    X_test,
    *,
    rows: Sequence | None = None,
    y_test: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    output: str | Callable | None = None,
    n_repeats: int = 1,
    folder=None,
    n_jobs: int | None = None,
    random_state=None,
    verbose: int = 0,
) -> Bunch:
    """Outputs for test rows of clones of an estimator, each fitted without a row or a group.

    The ground truth of :func:`~skattrib.metrics.leave_one_out_agreement`.

    Parameters
    ----------
    estimator, X, y, X_test, y_test, sample_weight, output, n_jobs, verbose
        As in :func:`subset_outputs`. A row is removed, which is not the same as a weight of 0 for
        every estimator.
    rows : sequence of length r, optional
        The training rows to leave out one at a time; or groups, each a sequence of rows that are
        left out together. By default each row, r = n: n refits. The same one again costs no refit
        and is a column again; a group holds each of its rows once.
    n_repeats : int, default=1
        Refits of each with different seeds, whose outputs are averaged.
    folder : path-like, optional
        As in :func:`subset_outputs`; a later call with other `rows` goes on in the same folder.
    random_state : int, RandomState or None, default=None
        The seed of every `random_state` parameter. It is the same with a row as without it, so
        that the effects are those of the rows as far as can be.

    Returns
    -------
    result : :class:`~sklearn.utils.Bunch`
        Dictionary-like object, with fields:

        effects : ndarray of shape (m, r) or (m, r, n_classes)
            Output with the row minus output without it, in float64: positive where the row raises
            the output, as attributions are.
        outputs : ndarray of shape (r, m) or (r, m, n_classes)
            Without the row.
        full_outputs : ndarray of shape (m,) or (m, n_classes)
            With all rows.
        rows : list of length r
            What was left out.
        targets : ndarray of shape (m,) or None
            The explained classes.
        output : str or callable
            What was measured.

    Raises
    ------
    ValueError
        As :func:`subset_outputs`, and if `rows` are not training rows or a group holds them all.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skattrib.retraining import leave_one_out_outputs
    >>> X, y = load_iris(return_X_y=True)
    >>> truth = leave_one_out_outputs(LogisticRegression(C=0.1), X, y, X[:4], rows=[0, 7, [8, 9]])
    >>> truth.effects.shape
    (4, 3)
    """
    task = _Task(estimator, X, y, X_test, y_test, sample_weight, output, n_repeats, random_state)
    rows = list(range(task.n)) if rows is None else entries(rows, "rows", "training rows")
    groups = check_groups(rows, task.n)
    jobs, names = {}, []
    for group in map(np.sort, groups):
        if len(group) == task.n:
            raise ValueError("a group of rows holds all training rows; leave some to fit on.")
        names.append(f"{group[0]:06d}" if len(group) == 1 else digest(group))
        jobs[names[-1]] = np.setdiff1d(np.arange(task.n), group), task.seeds
    settings = {"kind": "leave one out"}
    outputs, full = task.measure(jobs, folder, settings, n_jobs, verbose, "leave_one_out_outputs")
    place = {name: k for k, name in enumerate(jobs)}
    outputs = outputs[[place[name] for name in names]]
    return Bunch(
        effects=np.moveaxis(full - outputs, 0, 1),
        outputs=outputs,
        full_outputs=full,
        rows=rows,
        targets=task.targets,
        output=task.output,
    )


class _Task:
    """Checked arguments, the estimator fitted on all rows, and how one refit is measured."""

    def __init__(
        self, estimator, X, y, X_test, y_test, sample_weight, output, n_repeats, random_state
    ):
        self.estimator, self.given_seed = check_estimator(estimator), random_state
        self.X, self.y, self.X_test, self.y_test, self.weight = check_refit_data(
            X, y, X_test, y_test, sample_weight
        )
        self.n, self.m = count(self.X), count(self.X_test)
        n_repeats = check_count(n_repeats, "n_repeats", most=10_000)
        self.seed = draw_seed(random_state)
        self.seeds = [derived(self.seed, 0, repeat) for repeat in range(n_repeats)]
        self.is_classifier = is_classifier(estimator)
        self.output = check_output(estimator, output, y_test)
        self.classes = np.unique(self.y) if self.is_classifier else None
        if self.is_classifier and len(self.classes) < 2:
            raise ValueError(
                f"y has one class only, {self.classes.tolist()[0]!r}; give rows of two or more."
            )
        self.targets = self.y_test
        if self.is_classifier and self.y_test is not None:
            unknown = self.y_test[~np.isin(self.y_test, self.classes)]
            if len(unknown):
                raise ValueError(f"y_test has {unknown.tolist()[0]!r}, which is no class of y.")

    def measure(self, jobs, folder, settings, n_jobs, verbose, title):
        """Outputs for named jobs of (rows, seeds), those of the folder included; and full ones."""
        kept = ResultFolder(folder, None if folder is None else self._key(settings))
        ((_, (full, predicted)),) = run(self._fit_all, [()], n_jobs=1)
        if self.is_classifier and self.targets is None:
            self.targets = predicted
        outputs = np.empty((len(jobs), *full.shape))
        kept.shape = full.shape
        data = self.estimator, self.X, self.y, self.weight, self.X_test, self.targets
        calls = {name: (*data, self.classes, self.output, *job) for name, job in jobs.items()}
        options = {"n_jobs": n_jobs, "verbose": verbose, "title": title}
        for k, values in run_kept(_measure, calls, kept, **options):
            outputs[k] = values
        return outputs, full

    def _fit_all(self):
        models = [
            refit(self.estimator, self.X, self.y, sample_weight=self.weight, seed=seed)
            for seed in self.seeds
        ]
        predicted = models[0].predict(self.X_test) if self.is_classifier else None
        targets = predicted if self.targets is None else self.targets
        values = [
            read_output(model, self.X_test, targets, self.classes, self.output) for model in models
        ]
        return np.mean(values, axis=0), predicted

    def _key(self, settings):
        return key_of(
            self.given_seed,
            **settings,
            data=digest([self.X, self.y, self.weight, self.X_test, self.y_test]),
            estimator=digest(self.estimator),
            output=self.output if isinstance(self.output, str) else digest(self.output),
            n_repeats=len(self.seeds),
        )


def _subset_seeds(task, i):
    return [derived(task.seed, 1 + i, 1 + repeat) for repeat in range(len(task.seeds))]


def _measure(estimator, X, y, weight, X_test, targets, classes, output, rows, seeds):
    """Outputs of refits on some rows, averaged over seeds."""
    values = [
        read_output(
            refit(estimator, X, y, rows, sample_weight=weight, seed=seed),
            X_test,
            targets,
            classes,
            output,
        )
        for seed in seeds
    ]
    return np.mean(values, axis=0)
