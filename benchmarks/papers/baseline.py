"""Singla et al., "A simple and efficient baseline for data attribution on images", 2023/24.

The paper's backbone is self-supervised, and its models are ResNet-9 trained again without the rows.
Here the backbone is a small residual network that has seen other images, and the model is a softmax
head on its features: what is retrained is the head.
"""

import time

import numpy as np
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression

from skattrib import (
    DatamodelExplainer,
    DualViewExplainer,
    ExemplarSVMExplainer,
    InfluenceExplainer,
    RepresenterExplainer,
    SimilarityExplainer,
    TRAKExplainer,
)
from skattrib.metrics import (
    data_removal_support,
    linear_datamodeling_score,
    mending_support,
    mislabel_support,
)
from skattrib.retraining import subset_outputs

from . import _cifar10, markdown, value_of

# on centred rows of mean square 1
C = 0.01
# done to well below the effect of a row, in 50 ms, or less from where it starts
HEAD = {"C": C, "solver": "newton-cg", "tol": 1e-5, "max_iter": 100}
SETTINGS = {
    "n_per_class": 200,
    "n_test": 50,
    "n_errors": 40,
    "refits": [200, 1000],
    "halves": 100,
    "C": C,
}
COUNTS = [1, 2, 4, 8, 16, 32, 64, 128, 256]
CONFIDENCE = {"confidence": 0.95, "random_state": 0}
METHODS = (
    "similarity",
    "exemplar SVM",
    "TRAK",
    "Datamodels, 200 refits",
    "Datamodels, 1000 refits",
    "influence",
    "representer",
    "DualView",
    "random of the class",
)


class Head(LogisticRegression):
    """The model that is trained again: from the weights of the one of all rows, if it has them."""

    def __init__(self, start=None):
        super().__init__(**HEAD, warm_start=True)
        self.start = start

    def fit(self, X, y, sample_weight=None):
        """The minimum, which does not depend on where it starts."""
        if self.start is not None and len(np.unique(y)) == len(self.start[1]):
            self.coef_, self.intercept_ = (part.copy() for part in self.start)
        return super().fit(X, y, sample_weight)


class Case:
    """Training rows, test rows, errors and the model fitted on all rows."""

    def __init__(self, data):
        found = _cifar10.rows(data)
        chosen = _cifar10.unseen(found, SETTINGS["n_per_class"], 0)
        rows = found["train"][chosen]
        centre, scale = rows.mean(axis=0), rows.std(axis=0).mean()
        self.X, self.y = (rows - centre) / scale, found["y"][chosen]
        X_test, y_test = (found["test"] - centre) / scale, found["y_test"]
        self.model = LogisticRegression(**HEAD).fit(self.X, self.y)
        self.head = Head(start=(self.model.coef_, self.model.intercept_))
        predicted = self.model.predict(X_test)
        rng = np.random.default_rng(1)
        tests = np.sort(rng.choice(len(y_test), SETTINGS["n_test"], replace=False))
        wrong = np.flatnonzero(predicted != y_test)
        errors = np.sort(rng.choice(wrong, SETTINGS["n_errors"], replace=False))
        self.X_test, self.predicted = X_test[tests], predicted[tests]
        self.X_wrong, self.y_wrong = X_test[errors], y_test[errors]
        self.taken = predicted[errors]
        self.accuracy = float((predicted == y_test).mean())


def gradients(model, X, c):
    """Gradients of the log-odds of class c of each row in the weights of the head, and p_c."""
    p = model.predict_proba(X)
    rows = np.arange(len(X))
    p_c = p[rows, c]
    weights = -p / np.maximum(1 - p_c, 1e-12)[:, None]
    weights[rows, c] = 1.0
    X = np.hstack([X, np.ones((len(X), 1), X.dtype)])
    return (weights[:, :, None] * X[:, None, :]).reshape(len(X), -1), p_c


def margins(right, taken):
    """Logit weights of one class minus another."""
    weights = np.zeros((len(right), 10))
    weights[np.arange(len(right)), right] = 1.0
    weights[np.arange(len(right)), taken] = -1.0
    return weights


def fitted(case, method):
    """A function of rows, classes and, of errors, the classes taken: attributions (m, n).

    To the class, or to its margin over the class that it was taken for.
    """
    X, y = case.X, case.y

    def of_classes(likeness):
        # near rows of a class are for it, those of the class taken against it
        def attribute(X, right, taken=None):
            T = likeness(X)
            T = T - T.min() + 1e-6
            return _of(T, y, right) if taken is None else _of(T, y, right) - _of(T, y, taken)

        return attribute

    if method == "random of the class":
        rng = np.random.default_rng(0)
        return of_classes(lambda X: rng.random((len(X), len(y))))
    if method == "similarity":
        return of_classes(SimilarityExplainer(metric="cosine").fit(X, y).attribute)
    if method == "exemplar SVM":
        return of_classes(ExemplarSVMExplainer(C=0.1, random_state=0).fit(X, y).attribute)
    if method == "TRAK":
        G, p = gradients(case.model, X, y)
        trak = TRAKExplainer(temperature=1.0).fit(G, y, probabilities=p)

        def attribute(X, right, taken=None):
            T = trak.attribute(gradients(case.model, X, right)[0])
            if taken is None:
                return T
            return T - trak.attribute(gradients(case.model, X, taken)[0])

        return attribute
    if method.startswith("Datamodels"):
        n = int(method.split()[1])
        explainer = DatamodelExplainer(Head(), n_subsets=n, random_state=0)
    else:
        explainer = {
            "influence": InfluenceExplainer(FrozenEstimator(case.model)),
            "representer": RepresenterExplainer(C=C),
            "DualView": DualViewExplainer(sparse_output=False, random_state=0),
        }[method]
    explainer.fit(X, y)
    return lambda X, right, taken=None: explainer.attribute(
        X, right if taken is None else margins(right, taken)
    )


def _of(T, y, classes):
    return np.where(y == np.asarray(classes)[:, None], T, 0.0)


def all_attributions(data):
    """Attributions of all methods, to the predicted class and to the margin of the errors."""

    def make():
        case, made = Case(data), {}
        for method in METHODS:
            start = time.perf_counter()
            attribute = fitted(case, method)
            made[f"{method}: class"] = attribute(case.X_test, case.predicted)
            seconds = time.perf_counter() - start
            made[f"{method}: margin"] = attribute(case.X_wrong, case.y_wrong, case.taken)
            made[f"{method}: seconds"] = np.array(seconds)
            data.say(f"  {method}: {seconds:.1f} s")
        return made

    return data.kept("attributions", make, methods=list(METHODS), **SETTINGS)


def _ends(result, name):
    ends = zip(result[name], result.low[name], result.high[name], strict=True)
    return [[float(part) for part in each] for each in ends]


def _median(support):
    # infinite where no count is enough, which JSON has no number for
    middle = float(np.median(support))
    return middle if np.isfinite(middle) else f"> {COUNTS[-1]}"


def removal(method):
    """The cell of one method: rows removed until the prediction flips."""

    def cell(data):
        case, T = Case(data), all_attributions(data)[f"{method}: class"]
        found = data_removal_support(
            T, case.head, case.X, case.y, case.X_test, counts=COUNTS, **CONFIDENCE
        )
        return {"flipped": _ends(found, "flipped"), "median": _median(found.support)}

    return cell


def relabelling(method):
    """The cell of one method: rows given to the runner-up until the prediction flips."""

    def cell(data):
        case, T = Case(data), all_attributions(data)[f"{method}: class"]
        found = mislabel_support(
            T, case.head, case.X, case.y, case.X_test, counts=COUNTS, **CONFIDENCE
        )
        return {"flipped": _ends(found, "flipped"), "median": _median(found.support)}

    return cell


def mending(method):
    """The cell of one method: opponents removed until an error is right."""

    def cell(data):
        case, T = Case(data), all_attributions(data)[f"{method}: margin"]
        found = mending_support(
            T, case.head, case.X, case.y, case.X_wrong, case.y_wrong,
            counts=COUNTS, **CONFIDENCE,
        )  # fmt: skip
        return {"mended": _ends(found, "mended"), "median": _median(found.support)}

    return cell


def lds(data):
    """Linear datamodeling scores of all methods against the same retrained heads."""
    case, T = Case(data), all_attributions(data)
    truth = subset_outputs(
        case.head, case.X, case.y, case.X_test, SETTINGS["halves"], y_test=case.predicted,
        random_state=7,
    )  # fmt: skip
    each = {}
    for method in METHODS:
        score = linear_datamodeling_score(
            T[f"{method}: class"], truth.masks, truth.outputs, **CONFIDENCE
        )
        seconds = float(T[f"{method}: seconds"])
        each[method] = {"lds": [score.score, score.low, score.high], "seconds": seconds}
    return {
        "methods": each, "accuracy": case.accuracy, "n": len(case.y), "n_test": len(case.X_test),
        "n_errors": len(case.y_wrong), "counts": COUNTS,
    }  # fmt: skip


def _slug(method):
    return "".join(c if c.isalnum() else "_" for c in method.lower()).replace("__", "_").strip("_")


KINDS = {"removal": removal, "mislabel": relabelling, "mending": mending}
CELLS = {"lds": lds} | {
    f"{kind}_{_slug(method)}": make(method) for kind, make in KINDS.items() for method in METHODS
}


def tables(results):
    """Share of predictions changed by so many rows, by method, and scores beside them."""
    made = {}
    columns = ["rows", *map(str, COUNTS), "median"]
    for kind in KINDS:
        name = "mended" if kind == "mending" else "flipped"
        rows = []
        for method in METHODS:
            each = value_of(results, f"{kind}_{_slug(method)}", name)
            shares = [None] * len(COUNTS) if each is None else [f"{v[0]:.0%}" for v in each]
            median = value_of(results, f"{kind}_{_slug(method)}", "median")
            rows.append([method, *shares, median])
        made[kind] = markdown(columns, rows)
    rows = []
    for method in METHODS:
        row = [method]
        for part in ("lds", "seconds"):
            row.append(value_of(results, "lds", "methods", method, part))
        for kind, name in (("removal", "flipped"), ("mislabel", "flipped"), ("mending", "mended")):
            each = value_of(results, f"{kind}_{_slug(method)}", name)
            row.append(None if each is None else each[COUNTS.index(32)])
        rows.append(row)
    columns = ["method", "LDS", "seconds", "removal of 32", "relabelling of 32", "mended by 32"]
    made["together"] = markdown(columns, rows)
    return made
