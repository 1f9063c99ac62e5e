"""The parts of what is explained: an explainer, and what comes before it in a Pipeline."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.utils.validation import check_is_fitted

from .._arrays.checks import refuse_network
from ..explainers import BaseExplainer
from ..preprocessing import TablePreprocessor, column_groups
from ..preprocessing.decisions import summary
from .records import Columns


def parts(estimator: Any) -> tuple[Pipeline | None, BaseExplainer]:
    """(fitted transformers or None, fitted explainer) of an explainer, Pipeline or search.

    Raises
    ------
    TypeError
        If there is no explainer at its end.
    NotFittedError
    """
    steps = []
    last = estimator
    while not isinstance(last, BaseExplainer):
        if isinstance(last, Pipeline):
            steps += [step for _, step in last.steps[:-1] if step not in (None, "passthrough")]
            last = last.steps[-1][1]
        elif isinstance(last, FrozenEstimator):
            last = last.estimator
        elif hasattr(last, "best_estimator_"):
            last = last.best_estimator_
        else:
            raise TypeError(_no_explainer(estimator, last))
    check_is_fitted(last, "n_samples_fit_")
    return (make_pipeline(*steps) if steps else None), last


def _no_explainer(estimator, last):
    if isinstance(last, type):
        return f"estimator is the class {last.__name__}: give an instance of it that is fitted"
    if hasattr(last, "estimator") and hasattr(last, "refit"):
        return (
            f"{type(last).__name__} has no best_estimator_: fit it, with refit=True and an "
            "explainer at the end of its estimator"
        )
    refuse_network(last)
    name = type(last).__name__
    what = name if last is estimator else f"{type(estimator).__name__} that ends in {name}"
    return (
        "explain takes a fitted explainer, or a Pipeline or search that ends in one, got "
        f"{what}. {_instead(last)}"
    )


def _instead(model):
    """What to write for a model of this kind."""
    name = type(model).__name__
    if name == "MLPClassifier":
        return "Explain all layers of it: MLPExplainer(FrozenEstimator(model)).fit(X, y)"
    if name == "LogisticRegression":
        return "Explain it as it is: InfluenceExplainer(FrozenEstimator(model)).fit(X, y)"
    if hasattr(model, "apply") or "Boosting" in name:
        return (
            "Explain it through its leaves: make_pipeline(LeafFeatures(FrozenEstimator(model)), "
            "DualViewExplainer()).fit(X, model.predict(X))"
        )
    return (
        "Fit an explainer to what the model says, such as "
        "make_pipeline(..., DualViewExplainer()).fit(X, model.predict(X))"
    )


def decisions(transformer: Pipeline | None) -> list[str]:
    """What `table_preprocessor` made of the columns, if it is among the transformers."""
    steps = [] if transformer is None else [step for _, step in transformer.steps]
    found = [step for step in steps if isinstance(step, TablePreprocessor)]
    return [line for step in found for line in summary(step.decisions_)]


def transformed(transformer: Pipeline | None, X: Any) -> Any:
    """Rows as the explainer sees them."""
    return X if transformer is None else transformer.transform(X)


def columns_of(
    transformer: Pipeline | None, explainer: BaseExplainer, feature_names: Sequence[str] | None
) -> Columns:
    """The columns that features are made of; `feature_names` are those of the features.

    Raises
    ------
    ValueError
        For names of another number than there are features.
    """
    d = explainer.n_features_in_
    if feature_names is not None:
        names = [str(name) for name in feature_names]
        if len(names) != d:
            raise ValueError(
                f"feature_names has {len(names)} names, but {type(explainer).__name__} sees {d} "
                "features"
            )
        return Columns(names, None, 0)
    if transformer is None:
        return Columns(_names(explainer), None, 0)
    first = transformer.steps[0][1]
    # none of what is no table, such as texts
    given = _names(first) if hasattr(first, "n_features_in_") else []
    names, groups = column_groups(transformer, given, n_features_out=d)
    return Columns(names, groups, len(given))


def _names(estimator):
    """Names of the columns that an estimator was fitted to, by number where there are none."""
    numbered = [f"column {f}" for f in range(estimator.n_features_in_)]
    return [str(name) for name in getattr(estimator, "feature_names_in_", numbered)]


def table_of(X: Any, columns: Columns) -> Any:
    """Rows as they were given, with the columns of a table in the order of fit; None: no table."""
    shape = getattr(X, "shape", None)
    if shape is None or len(shape) == 1:
        X = np.asarray(X, dtype=object if _holds_texts(X) else None)
        shape = X.shape
    if len(shape) == 1:
        return X
    names = list(columns.names[: columns.n_table])
    if hasattr(X, "columns"):
        known = [str(name) for name in X.columns]
        if known == names:
            return X
        at = [known.index(name) for name in names if name in known]
        if len(at) < len(names):
            return None
        return X.iloc[:, at] if hasattr(X, "iloc") else X[:, at]
    return X if len(shape) == 2 and shape[1] == len(names) else None


def _holds_texts(X):
    return len(X) > 0 and isinstance(next(iter(X)), str)
