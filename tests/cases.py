"""How the tests set each explainer up, what they fit it to, and how they compare results.

A new explainer gets a place in SETUPS: the public contract (test_contract_*.py) and scikit-learn's
checks and tools (test_conformity.py) then hold it to what all explainers share. Features of
`problem` are multiples of 1/8, so that float32 and float64 rows are equal.
"""

import tracemalloc
import warnings
from functools import cache
from typing import NamedTuple

import numpy as np
import pytest
import reference
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import MLPClassifier
from sklearn.utils.validation import has_fit_parameter

from skattrib import (
    AveragedExplainer,
    DatamodelExplainer,
    DualViewExplainer,
    DualViewExplainerCV,
    ExemplarSVMExplainer,
    InfluenceExplainer,
    LeaveOneOutExplainer,
    MLPExplainer,
    RepresenterExplainer,
    SimilarityExplainer,
    TRAKExplainer,
)

# classifiers are fitted to the same rows, and frozen; tolerances so that fits agree
LOGISTIC = LogisticRegression(C=0.5, solver="newton-cholesky", tol=1e-10)
NETWORK = MLPClassifier((4,), max_iter=5, random_state=0)
SMOOTH_NETWORK = MLPClassifier((8,), solver="lbfgs", max_iter=100, alpha=0.1, random_state=0)
FOREST = RandomForestClassifier(5, max_depth=3, random_state=0)
EXACT = {"tol": 1e-6, "max_iter": 20000, "random_state": 0}


class FirstColumns:
    """Half of the columns, or one more; named alike in every process."""

    def __call__(self, X):
        return slice(X.shape[1] // 2 + 1)

    def __repr__(self):
        return "first_columns"


first_columns = FirstColumns()


class Setup(NamedTuple):
    """How tests set one class of explainers up."""

    contract: dict
    """Name -> explainer: ways to set one up for each of which the public contract is tested."""
    tool: object
    """What scikit-learn's tools are tried around; dense output, for `set_output`."""
    grid: dict
    """Parameters of the tool to search, that do not all score alike."""
    accuracy: float = 0.9
    """Least one of the tool on iris, cross-validated."""
    every: int = 1
    """Every how many rows of iris the tool is fitted to: more where fits are dear."""
    variants: tuple = ()
    """Others of which scikit-learn's checks hold, as of the tool."""


SETUPS = {
    DualViewExplainer: Setup(
        {"DualView": DualViewExplainer(C=0.1, **EXACT)},
        DualViewExplainer(C=0.1, tol=1e-6, sparse_output=False, random_state=0),
        {"C": [1e-4, 1e-2, 1.0]},
        variants=(
            DualViewExplainer(random_state=0),
            DualViewExplainer(C=0.01, class_weight="balanced", warm_start=True, verbose=0),
        ),
    ),
    DualViewExplainerCV: Setup(
        {"DualViewCV": DualViewExplainerCV(Cs=[0.1], cv=2, **EXACT)},
        DualViewExplainerCV(Cs=[1e-3, 0.1], cv=2, sparse_output=False, random_state=0),
        {"Cs": [[1e-4], [1e-2], [1.0]]},
        variants=(DualViewExplainerCV(Cs=[1e-3, 0.1], cv=2, random_state=0),),
    ),
    RepresenterExplainer: Setup(
        {
            "Representer": RepresenterExplainer(C=0.5, tol=1e-10),
            "Representer-forest": RepresenterExplainer(FOREST, C=0.5, tol=1e-10),
        },
        RepresenterExplainer(),
        {"C": [1e-4, 1e-2, 1.0]},
        variants=(RepresenterExplainer(C=10.0, class_weight="balanced"),),
    ),
    InfluenceExplainer: Setup(
        {
            "Influence": InfluenceExplainer(C=0.5, inverse="cholesky"),
            "Influence-ekfac": InfluenceExplainer(C=0.5, inverse="ekfac"),
            "Influence-frozen": InfluenceExplainer(LOGISTIC),
        },
        InfluenceExplainer(random_state=0),
        {"C": [1e-4, 1e-2, 1.0]},
        variants=(InfluenceExplainer(inverse="cg", C=0.1),),
    ),
    SimilarityExplainer: Setup(
        {
            "dot": SimilarityExplainer(),
            "cosine": SimilarityExplainer(metric="cosine"),
            "euclidean": SimilarityExplainer(metric="euclidean"),
            "same_class": SimilarityExplainer(same_class=True),
        },
        SimilarityExplainer(metric="euclidean"),
        {"metric": ["dot", "cosine", "euclidean"]},
        variants=(SimilarityExplainer(metric="cosine", same_class=False, sparse_output=True),),
    ),
    ExemplarSVMExplainer: Setup(
        {
            "ExemplarSVM": ExemplarSVMExplainer(tol=1e-8, random_state=0),
            "ExemplarSVM-same_class": ExemplarSVMExplainer(
                same_class=True, tol=1e-8, random_state=0
            ),
        },
        ExemplarSVMExplainer(random_state=0),
        {"C": [1e-4, 1e-2, 1.0]},
        accuracy=0.6,  # the hyperplanes of exemplars are no classifier
    ),
    DatamodelExplainer: Setup(
        {"Datamodel": DatamodelExplainer(RidgeClassifier(), n_subsets=3, random_state=0)},
        DatamodelExplainer(GaussianNB(), n_subsets=5, random_state=0),
        {"estimator__var_smoothing": [1e-9, 1e3]},
        every=3,
        variants=(DatamodelExplainer(RidgeClassifier(), n_subsets=2, random_state=0),),
    ),
    LeaveOneOutExplainer: Setup(
        {"LeaveOneOut": LeaveOneOutExplainer(RidgeClassifier(tol=1e-12), random_state=0)},
        LeaveOneOutExplainer(GaussianNB(), random_state=0),
        {"estimator__var_smoothing": [1e-9, 1e3]},
        every=5,
    ),
    AveragedExplainer: Setup(
        {
            "Averaged": AveragedExplainer(
                [
                    ("first", RepresenterExplainer(C=0.5, tol=1e-10), first_columns),
                    ("last", RepresenterExplainer(C=2.0, tol=1e-10), [-1, 0]),
                ],
                weights=[1.0, 3.0],
            ),
            "Averaged-mixed": AveragedExplainer(
                [
                    (
                        "influence",
                        InfluenceExplainer(C=0.5, leverage_correction=False),
                        slice(None),
                    ),
                    ("DualView", DualViewExplainer(C=0.1, **EXACT), first_columns),
                ]
            ),
        },
        AveragedExplainer(
            [
                ("half", RepresenterExplainer(), first_columns),
                ("all", DualViewExplainer(random_state=0), slice(None)),
            ]
        ),
        {"half__C": [1e-4, 1.0], "weights": [[1, 0], [1, 1]]},
        variants=(AveragedExplainer([("all", RepresenterExplainer(), slice(None))]),),
    ),
    TRAKExplainer: Setup(
        {"TRAK": TRAKExplainer(curvature="identity")},
        TRAKExplainer(curvature="identity"),
        {"ridge": [1e-3, 1.0, 1e3]},
        accuracy=0.75,  # which takes the columns for gradients: no intercept
        variants=(TRAKExplainer(temperature=1.0),),
    ),
    MLPExplainer: Setup(
        {"MLP": MLPExplainer(NETWORK)},
        MLPExplainer(SMOOTH_NETWORK),
        {"estimator__alpha": [1e-2, 10.0, 1e3]},
        variants=(MLPExplainer(SMOOTH_NETWORK, k=16, output="margin", curvature="identity"),),
    ),
}
EXPLAINERS = {name: e for setup in SETUPS.values() for name, e in setup.contract.items()}
HEADS = [name for name, e in EXPLAINERS.items() if hasattr(e, "decision_function")]
WEIGHTED = [name for name, e in EXPLAINERS.items() if has_fit_parameter(e, "sample_weight")]
SPARSE = [name for name, e in EXPLAINERS.items() if hasattr(e, "sparse_output")]
SAME_CLASS = [name for name, e in EXPLAINERS.items() if getattr(e, "same_class", False)]
OWN_HEAD = [name for name in WEIGHTED if name != "Influence-frozen" and "Averaged" not in name]
# whose models are trained again on some of the rows
RETRAINED = [name for name, e in EXPLAINERS.items() if hasattr(e, "folder")]
LINEAR = [name for name in HEADS if name not in RETRAINED]
COEF = [name for name in LINEAR if "Averaged" not in name]
NO_SHARES = ["euclidean", "MLP", *RETRAINED]

LAYOUTS = ("dense32", "dense64", "csr32", "csr64")
# of the problems, by number of classes
LABELS = {2: np.array(["no", "yes"]), 3: np.array([-1, 4, 7]), 70: np.arange(70) * 2}
each = pytest.mark.parametrize("name", EXPLAINERS)
# leave-one-out is n fits, and what it shares with datamodels is read there
each_fit = pytest.mark.parametrize("name", [name for name in EXPLAINERS if name != "LeaveOneOut"])
each_head = pytest.mark.parametrize("name", HEADS)
each_weighted = pytest.mark.parametrize("name", WEIGHTED)
layouts = pytest.mark.parametrize("layout", LAYOUTS)
n_classes = pytest.mark.parametrize("K", [2, 3])
two_layouts = pytest.mark.parametrize("layout", ["dense32", "csr64"])
# 70 classes: the duals of DualView are sparse
CASES = [(name, K) for name in EXPLAINERS for K in (2, 3)] + [("DualView", 70)]
each_and_n_classes = pytest.mark.parametrize("name, K", CASES)


def some_layouts(name, K):
    """Each explainer sees all layouts with one K or the other, each layout all explainers and K."""
    if K == 70:
        return LAYOUTS
    inner = (list(EXPLAINERS).index(name) + K) % 2
    if "SVM" in name or name == "LeaveOneOut":  # a fit for each test row, or training row
        return LAYOUTS[::3][inner : inner + 1]
    return LAYOUTS[1:3] if inner else LAYOUTS[::3]


everything = pytest.mark.parametrize(
    "name, K, layout", [(*case, layout) for case in CASES for layout in some_layouts(*case)]
)


def laid_out(X, layout):
    X = np.ascontiguousarray(X, dtype=np.float32 if layout.endswith("32") else np.float64)
    return sparse.csr_array(X) if layout.startswith("csr") else X


@cache
def problem(K, layout="dense64"):
    """Rows with labels that the features tell in part, and test rows."""
    rng = np.random.default_rng(K)
    n, d, m = {2: (50, 4, 7), 3: (60, 5, 8), 70: (150, 12, 4)}[K]
    codes = np.concatenate([np.arange(K), rng.binomial(K - 1, 0.4, size=n - K)])
    X = rng.normal(size=(n, d)) + 0.7 * rng.normal(size=(K, d))[codes]
    X[rng.random(size=X.shape) < 0.3] = 0.0
    test = rng.normal(size=(m, d))
    X, test = (np.round(8 * A) / 8 for A in (X, test))
    return laid_out(X, layout), LABELS[K][codes], laid_out(test, layout)


def fit(explainer, X, y, weight=None, **parameters):
    """A fitted clone; a classifier in it is fitted first, to dense rows."""
    explainer = clone(explainer).set_params(**parameters)
    model = getattr(explainer, "estimator", None)
    weight = () if weight is None else (weight,)
    trained_again = hasattr(explainer, "folder")
    if not (model is None or trained_again or isinstance(model, FrozenEstimator)):
        model = clone(model).fit(reference.dense(X), y, *weight)
        explainer.set_params(estimator=FrozenEstimator(model))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return explainer.fit(X, y, *weight)


@cache
def fitted(name, K, layout="dense64"):
    return fit(EXPLAINERS[name], *problem(K, layout)[:2])


def attributions(e, X, target=None):
    """Dense attributions, whatever `sparse_output` is."""
    return e.attribute(X, target, out=np.empty((X.shape[0], e.n_samples_fit_), dtype=X.dtype))


def shares(e, X, rows, target=None):
    """Dense shares (m, k, d), whatever the layout of X is."""
    found = e.decompose(X, rows, target=target)
    if sparse.issparse(X):
        assert isinstance(found, sparse.csr_array) and found.has_canonical_format
        found = found.toarray()
    return found.reshape(*np.shape(rows), X.shape[1])


def directions(e, X, rows, side, target=None):
    """Dense directions (m, k, d), whatever the layout of X is."""
    found = e.directions(X, rows, target=target, side=side)
    if sparse.issparse(X):
        assert isinstance(found, sparse.csr_array) and found.has_canonical_format
        found = found.toarray()
    assert found.dtype == X.dtype
    return found.reshape(*np.shape(rows), X.shape[1])


def targets(e, X):
    """Name -> target: every form of target that the explainer takes."""
    rng = np.random.default_rng(0)
    m, K = X.shape[0], len(e.classes_)
    found = {"predicted": None, "one": e.classes_[1], "labels": rng.choice(e.classes_[:3], size=m)}
    return found | ({"weights": rng.normal(size=(m, K))} if hasattr(e, "decision_function") else {})


def labels_of(e, X, target):
    """The labels that a target other than weights means."""
    return e.predict(X) if target is None else np.broadcast_to(target, X.shape[0])


def label_weights(e, labels):
    V = (np.asarray(labels)[:, None] == e.classes_).astype(np.float64)
    return 2 * V - 1 if len(e.classes_) == 2 else V


def excluded(e, y, labels):
    """Pairs that same_class=True does not compare, (m, n)."""
    return np.asarray(labels)[:, None] != y if getattr(e, "same_class", False) else False


def logits(e, X):
    f = e.decision_function(X)
    return np.column_stack([-f / 2, f / 2]) if f.ndim == 1 else f


def largest(T):
    return np.abs(T[np.isfinite(T)]).max()


def assert_close(a, b, units=64):
    """Equal up to some units of rounding of the coarser type, relative to the largest entry."""
    a, b = reference.dense(a), b
    eps = max(np.finfo(A.dtype).eps for A in (a, b))
    assert_array_equal(np.isfinite(a), np.isfinite(b))
    ok = np.isfinite(b)
    assert_allclose(a[ok], b[ok], rtol=0, atol=units * eps * largest(b))


def assert_agree(T, expected, rtol=1e-7):
    """Equal as far as the solvers' tolerances go, relative to the largest entry."""
    assert_array_equal(np.isfinite(T), np.isfinite(expected))
    ok = np.isfinite(expected)
    assert_allclose(T[ok], expected[ok], rtol=0, atol=rtol * largest(expected))


# how far fits to float32 or CSR rows may lie apart: by their own tolerances
AGREE = {"DualView": 1e-3, "DualViewCV": 1e-3, "Averaged-mixed": 1e-3}
# parameters of a fit to rounding, where the tolerance is not tight already
TIGHT = {"DualView": {"tol": 1e-12}, "DualViewCV": {"tol": 1e-12}}
TIGHT |= {"Averaged-mixed": {"DualView__tol": 1e-12}}


def peak(function, *args, **options):
    tracemalloc.start()
    try:
        result = function(*args, **options)
        return result, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


# public methods of all explainers, and what they take besides X
INDICES = np.zeros((8, 1), dtype=int)
METHODS = {
    "predict": (),
    "score": (np.zeros(8),),
    "transform": (),
    "attribute": (),
    "aggregate": (),
    "top_k": (),
    "decompose": (INDICES,),
    "directions": (INDICES,),
}
OWN_METHODS = {
    "base_value": (),
    "decision_function": (),
    "target_weights": (),
    "predict_proba": (),
    "predict_log_proba": (),
    "decision_error_bound": (),
    "group_effect": ([0],),
    "leave_one_out": problem(3)[:2],
}
TARGETED = (
    "attribute",
    "aggregate",
    "base_value",
    "top_k",
    "decompose",
    "directions",
    "decision_error_bound",
    "group_effect",
    "leave_one_out",
)


def methods(e):
    own = {method: args for method, args in OWN_METHODS.items() if hasattr(e, method)}
    return METHODS | own


X3, Y3 = np.random.default_rng(0).normal(size=(9, 2)), np.arange(9) % 3


# scikit-learn's checks and tools: on iris

TOOLS = [setup.tool for setup in SETUPS.values()]
VARIANTS = [variant for setup in SETUPS.values() for variant in setup.variants]
X, Y = load_iris(return_X_y=True)
FRAME, SERIES = load_iris(as_frame=True, return_X_y=True)
SCALED = (X - X.mean(axis=0)) / X.std(axis=0)
FEW = SCALED[::10]
WEIGHT = np.random.default_rng(0).integers(1, 4, size=len(Y)).astype(float)


def name(explainer):
    return type(explainer).__name__


def has(explainer, parameter):
    return parameter in explainer.get_params() or has_fit_parameter(explainer, parameter)


def rows_of(explainer):
    """The rows of iris that the explainer is fitted to."""
    return slice(None, None, SETUPS[type(explainer)].every)


def iris(explainer):
    """Scaled rows and labels that the explainer is fitted to."""
    return SCALED[rows_of(explainer)], Y[rows_of(explainer)]


each_tool = pytest.mark.parametrize("explainer", TOOLS, ids=name)


def each_tool_with(parameter):
    chosen = [explainer for explainer in TOOLS if has(explainer, parameter)]
    return pytest.mark.parametrize("explainer", chosen, ids=name)
