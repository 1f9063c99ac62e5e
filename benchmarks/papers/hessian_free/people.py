"""Adult and COMPAS: rows removed so that a logistic regression is fairer, or harder to attack."""

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from skattrib.metrics import demographic_parity_gap, equal_opportunity_gap
from skattrib.planting import adversarial_examples

from .heads import methods

SIZES = {"adult": (3000, 3000, 10000), "compas": (2500, 1200, 2400)}
FEATURES = [
    *("sex", "age", "race", "juv_fel_count", "juv_misd_count", "juv_other_count"),
    *("priors_count", "c_charge_degree"),
]
SHARES = (0.0, 0.02, 0.05, 0.1, 0.2)
SEEDS, EPSILON = 5, 0.1
# as a common logistic regression, with a penalty that is felt
C = 0.1


def table_of(data, name):
    """(frame of features, labels, groups, the two groups)."""
    if name == "adult":
        frame = pd.concat(data.load("adult"), ignore_index=True)
        y = (frame["income"] == ">50K").to_numpy().astype(int)
        return frame.drop(columns=["income", "fnlwgt"]), y, frame["sex"], ("Male", "Female")
    frame = data.load("compas")
    # as in ProPublica's analysis
    kept = frame["days_b_screening_arrest"].abs() <= 30
    kept &= (frame["is_recid"] != -1) & (frame["c_charge_degree"] != "O")
    frame = frame[kept & (frame["score_text"] != "N/A")].reset_index(drop=True)
    features = frame[FEATURES]
    if name == "compas-score":
        y = frame["score_text"].map({"Low": 0, "Medium": 1, "High": 2}).to_numpy()
    else:
        y = frame["two_year_recid"].to_numpy()
    return features, y, frame["race"], ("African-American", "Caucasian")


def rows_of(data, name, seed):
    """Three times (X, y, groups), and which groups: training, validation and test rows."""
    frame, y, groups, pair = table_of(data, name)
    order = np.random.default_rng(seed).permutation(len(y))
    ends = np.cumsum((0, *SIZES[name.split("-")[0]]))
    parts = [order[a:b] for a, b in zip(ends, ends[1:], strict=False)]
    numbers = frame.select_dtypes("number").columns
    preprocessor = make_column_transformer(
        (StandardScaler(), numbers),
        (
            OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=20),
            frame.columns.difference(numbers),
        ),
        sparse_threshold=0,
    ).fit(frame.iloc[parts[0]])
    for rows in parts:
        X = preprocessor.transform(frame.iloc[rows])
        yield np.column_stack([X, np.ones(len(X))]), y[rows], groups.iloc[rows].to_numpy()
    yield pair


def fitted(X, y):
    """The head: its intercept is the weight of the last column."""
    return LogisticRegression(C=C, fit_intercept=False, tol=1e-6, max_iter=1000).fit(X, y)


class Fairness:
    """A gap between two groups as what is lowered: |gap|, of several classes the sum."""

    def __init__(self, kind, pair):
        self.kind, self.pair = kind, pair

    def gaps(self, outputs, y, groups):
        """One a class: of several, or of the second of two."""
        if self.kind == "demographic parity":
            return demographic_parity_gap(outputs, groups, self.pair)
        return equal_opportunity_gap(outputs, y, groups, self.pair)

    def harm(self, method, model, X, y, groups):
        """How much each training row widens the gap of mean probabilities on rows X."""
        found = self.gaps(model.predict_proba(X), y, groups)
        # two classes have the same gap of demographic parity, but for its sign
        classes = range(len(model.classes_)) if len(model.classes_) > 2 else [1]
        return sum(
            np.sign(found.gap[c]) * method.aggregate(X, "probability", c, found.weights[:, c])
            for c in classes
        )

    def measured(self, model, X, y, groups, first):
        """Of probabilities, and of predictions."""
        classes = slice(None) if len(model.classes_) > 2 else slice(1, None)
        picked = np.eye(len(model.classes_))[model.predict(X)]
        soft, hard = (self.gaps(p, y, groups).gap for p in (model.predict_proba(X), picked))
        return {
            "gap": float(np.abs(soft[classes]).max()),
            "gap of rates": float(np.abs(hard[classes]).max()),
            "accuracy": float(model.score(X, y)),
        }


class Robustness:
    """The loss at rows that were moved to raise it."""

    def moved(self, model, X, y):
        """By the fast gradient sign method, but for the constant."""
        X = adversarial_examples(model, X, y, EPSILON)
        X[:, -1] = 1
        return X

    def harm(self, method, model, X, y, groups):
        """How much each training row raises the loss at rows X that were moved."""
        return -method.aggregate(self.moved(model, X, y), "loss", y)

    def measured(self, model, X, y, groups, first):
        """Losses at rows moved against the first head and anew, and accuracies."""
        moved = self.moved(model, X, y)
        return {
            "loss": log_loss(y, model.predict_proba(moved)),
            "loss, first attack": log_loss(y, model.predict_proba(self.moved(first, X, y))),
            "attacked accuracy": float(model.score(moved, y)),
            "accuracy": float(model.score(X, y)),
        }


def removal(name, kind):
    """A cell: for each method and seed, what is measured without the most harmful rows."""

    def cell(data):
        curves = {}
        for seed in range(SEEDS):
            *parts, pair = rows_of(data, name, seed)
            (X, y, _), validation, test = parts
            goal = Robustness() if kind == "robustness" else Fairness(kind, pair)
            model = fitted(X, y)
            for method, effects in methods(model, X, y, seed).items():
                if method == "influence, leverage corrected":
                    continue
                order = np.argsort(-goal.harm(effects, model, *validation), kind="stable")
                curve = []
                for share in SHARES:
                    kept = order[round(share * len(y)) :]
                    again = fitted(X[kept], y[kept]) if share else model
                    curve.append(goal.measured(again, *test, model))
                curves.setdefault(method, []).append(curve)
            data.say(f"  seed {seed}")
        sizes = [len(part[1]) for part in parts]
        return {"sizes": sizes, "features": X.shape[1], "shares": list(SHARES), "curves": curves}

    return cell


CELLS = {
    f"{name}-{kind.replace(' ', '-')}": removal(name, kind)
    for name in ("adult", "compas", "compas-score")
    for kind in ("demographic parity", "equal opportunity", "robustness")
}
