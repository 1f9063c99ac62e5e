"""Right arguments of the public functions, and what somebody may give in their place."""

import tempfile
import warnings

import numpy as np
import pandas as pd
import scipy.sparse as sp
from sklearn.dummy import DummyClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeClassifier
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

import skattrib as sk
from skattrib import metrics, planting, plots, retraining
from skattrib._svm.crammer_singer import crammer_singer, crammer_singer_path
from skattrib.gradients import Sketch, mlp_gradients

N, M, D, K = 24, 6, 5, 3


def pick(rng, *options):
    """One of them, whatever they are."""
    return options[rng.integers(len(options))]


def malformed(X, rng):
    """CSR with an index, pointer or value that does not belong to it."""
    A = sp.csr_array(X)
    what = rng.choice(["indices", "indptr", "data"])
    part = getattr(A, what).copy()
    if what == "data":
        part = part[: rng.integers(len(part))]
    else:
        part[rng.integers(len(part))] = rng.choice([-1, -(10**9), 4, 5, 10**6, 10**9, 2**31 - 1])
    A.__dict__[what] = part
    return A


def matrices(X, rng):
    """What somebody may give for a matrix."""
    n, d = X.shape
    frame = pd.DataFrame(X, columns=[f"f{j}" for j in range(d)])
    with tempfile.TemporaryFile() as file:
        mapped = np.memmap(file, dtype=X.dtype, shape=X.shape, mode="w+")
        mapped[:] = X
    with np.errstate(all="ignore"):
        scaled = [
            (X * s).astype(t)
            for s in (1e-320, 1e-200, 1e-30, 1e14, 1e30, 1e150, 1e200, 1e307)
            for t in (np.float64, np.float32)
        ]
    holed = X.copy()
    holed[rng.integers(n), rng.integers(d)] = rng.choice([np.nan, np.inf, -np.inf])
    yield from scaled
    yield from (malformed(X, rng) for _ in range(4))
    yield from (holed, sp.csr_array(holed), X.astype(np.float32), X.astype(np.float16))
    yield from (
        sp.csr_array(X),
        sp.csc_array(X),
        sp.coo_array(X),
        sp.csr_matrix(X),
        sp.bsr_array(X),
    )
    yield from (sp.csr_array((n, d)), sp.csr_array((n, 0)), sp.csr_array((0, d)))
    yield from (np.asfortranarray(X), X[::-1], np.repeat(X, 2, axis=1)[:, ::2], mapped, X.tolist())
    yield from (X[:0], X[:, :0], X[:1], X[:, :1], X[0], X[None], X[0, 0], [X[0].tolist(), [1.0]])
    yield from (X.astype(object), X.astype(str), X.astype(complex), X.astype(np.longdouble))
    yield from ((X > 0), (10 * X).astype(int), np.zeros_like(X), np.ones_like(X), X.round())
    yield from (np.ma.masked_greater(X, 0.5), np.ma.masked_array(X), X.astype("datetime64[s]"))
    yield from (frame, frame.astype(str), frame.iloc[::-1], frame.rename(columns=str.upper))
    yield from (np.zeros((n, 0)), np.broadcast_to(X[0], X.shape), X.repeat(3, axis=0), X.T)


def labels(y, rng):
    """What somebody may give for labels."""
    strings = np.array(["a", "b", "c", "d"])[y]
    mixed = strings.astype(object)
    mixed[rng.integers(len(y))] = pick(rng, None, np.nan, 3, True, b"a", ())
    holed = y.astype(float)
    holed[rng.integers(len(y))] = rng.choice([np.nan, np.inf])
    yield from (strings, strings.astype(object), strings.astype("S1"), mixed, holed, y == 1)
    yield from (y.astype(float), y + 0.5, y - 5, y + 2**62, y.astype(np.uint64), y.astype(np.int8))
    yield from (
        y[:-1],
        np.r_[y, y[:1]],
        y[:, None],
        y[None],
        y[:0],
        y[0],
        y.tolist(),
        np.zeros_like(y),
    )
    yield from (pd.Series(y), pd.Series(strings, dtype="category"), pd.Series(y, dtype="Int64"))
    yield from (pd.Series(y, index=np.arange(len(y))[::-1]), pd.Series([None, *strings[1:]]))
    yield from (
        np.ma.masked_equal(y, 1),
        y.astype(complex),
        y.astype("datetime64[s]"),
        np.arange(len(y)),
    )
    yield from (np.eye(4)[y], sp.csr_array(np.eye(4)[y]), np.where(y == 0, 7, 99), y.astype(object))


def numbers(n, rng):
    """What somebody may give for one number a row."""
    one = np.ones(n)
    holed = one.copy()
    holed[rng.integers(n)] = rng.choice([np.nan, np.inf, -1.0, -np.inf])
    yield from (None, one, holed, 0 * one, -one, one * 1e300, one * 5e-324, one * 1e-300, one > 0)
    yield from (
        10.0 ** rng.uniform(-300, 300, n),
        10.0 ** rng.uniform(-8, 8, n),
        rng.uniform(0, 2, n),
    )
    yield from (
        one[:-1],
        np.r_[one, 1],
        one[:, None],
        one[None],
        one[:0],
        1.0,
        "balanced",
        one.tolist(),
    )
    yield from (one.astype(str), one.astype(object), one.astype(complex) * 1j, one.astype(int))
    yield from (
        np.ma.masked_array(one, rng.random(n) < 0.5),
        sp.csr_array(one[None]),
        pd.Series(one),
    )
    yield from (
        one.astype("datetime64[s]"),
        [None] * n,
        one.astype(np.float32),
        (rng.random(n) < 0.3),
    )


def values(rng):
    """What somebody may give for a parameter."""
    yield from (None, True, False, 0, 1, -1, 2, 3, 7, 10**9, 2**31, 2**63, 10**30, -(2**63))
    yield from (0.0, 0.5, -0.5, 1.0, 1.5, 1e-320, 1e-160, 1e160, 1e300, np.nan, np.inf, -np.inf)
    yield from ("", "abc", "auto", "balanced", b"x", [], [1, 2], (), (0.5,), {}, {"a": 1}, {0: 2.0})
    yield from (object(), complex(1, 2), np.array([1, 2]), np.array(2), np.float32(2), np.int64(3))
    yield from (np.bool_(True), lambda: None, print, int, pd.NA, pd.NaT, slice(2), range(3), {1, 2})
    yield from (
        [[3, 3], 7],
        [[0, 1], [2]],
        [0.5],
        ["a"],
        [None],
        [[]],
        np.array([], dtype=int),
        "0",
    )
    yield from (
        np.random.default_rng(0),
        np.random.RandomState(0),
        1e20,
        1e24,
        1e30,
        -3.5,
        iter([1]),
    )
    yield from (DummyClassifier(), LinearRegression(), LogisticRegression, FrozenEstimator(3))


def estimators(rng):
    """What somebody may give for an estimator."""
    fitted = LogisticRegression().fit(rng.normal(size=(20, D)), np.arange(20) % K)
    yield from (
        None,
        3,
        "logistic",
        LogisticRegression,
        object(),
        DummyClassifier(),
        LinearRegression(),
    )
    yield from (
        fitted,
        FrozenEstimator(fitted),
        FrozenEstimator(LogisticRegression()),
        RidgeClassifier(),
    )
    yield from (make_pipeline(StandardScaler(), LogisticRegression()), DecisionTreeClassifier())
    yield from (
        FrozenEstimator(LinearRegression().fit(np.ones((4, D)), np.arange(4))),
        StandardScaler(),
    )
    yield from (
        FrozenEstimator(make_pipeline(StandardScaler(), LogisticRegression())),
        FrozenEstimator(None),
    )
    yield from (
        sk.LinearHead(np.ones((K, D)), temperature=pick(rng, *values(rng))) for _ in range(2)
    )
    for coef in (
        np.ones((K, D)),
        np.ones((1, D)),
        np.full((K, D), np.nan),
        np.ones(D),
        np.ones((K, 2)),
        "x",
    ):
        yield sk.LinearHead(coef, pick(rng, None, 0.0), pick(rng, None, 3))


def network(rng, layers=(3,), **options):
    """scikit-learn's network after two steps, frozen."""
    X, y = X_OF(rng), np.arange(N) % K
    options = {"solver": "sgd", "batch_size": N, "max_iter": 2, "random_state": 0} | options
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return FrozenEstimator(MLPClassifier(layers, **options).fit(X, y))


def networks(rng):
    """What somebody may give for networks."""
    one = network(rng)
    broken = network(rng)
    broken.estimator.coefs_[rng.integers(2)][0] = rng.choice([np.nan, np.inf, 1e200])
    yield from (one.estimator, broken, [one, network(rng, (2, 2))], [one, broken], [], [one, 3])
    yield from (MLPClassifier((2,), max_iter=2), network(rng, (3,), activation="logistic"))
    yield from (network(rng, (2,), solver="lbfgs", alpha=1e300), FrozenEstimator(MLPClassifier()))
    yield from (MLPRegressor(), MLPClassifier((0,)), {"a": one}, (one,), iter([one]))


def averaged(rng):
    """What somebody may give AveragedExplainer."""
    one, members = sk.SimilarityExplainer(), [sk.InfluenceExplainer(), sk.DualViewExplainer()]
    for columns in (*values(rng), [0, 1], [9], "f1", slice(None), slice(1, 1), [[0]], lambda X: X):
        yield [("a", pick(rng, one, *members), columns)]
    yield from ([], [one], [("a", one)], [("a", one, [0])] * 2, {"a": one}, "a", one, None)
    yield from ([("a", model, [0])] for model in estimators(rng))
    yield [("a", one, [0]), ("b", members[0], [1]), ("c", sk.LeaveOneOutExplainer(None), [2])]


def hostile(name, value, rng):
    """Something else for an argument."""
    if rng.random() < 0.25:
        pools = [values(rng), matrices(X_OF(rng), rng), labels(rng.integers(K, size=N), rng)]
        pool = list(pools[rng.integers(len(pools))])
    elif name == "mlp" or (name == "estimator" and isinstance(value, FrozenEstimator)):
        pool = [*networks(rng), *estimators(rng)]
    elif name == "estimator":
        pool = list(estimators(rng))
    elif name == "explainers" and isinstance(value, list):
        pool = list(averaged(rng))
    elif isinstance(value, np.ndarray) and value.ndim == 2 and value.dtype.kind == "f":
        pool = list(matrices(value, rng))
    elif isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind == "i":
        pool = list(labels(np.abs(value) % 4, rng))
    elif isinstance(value, np.ndarray) or name in ("sample_weight", "weights"):
        pool = list(numbers(len(value) if isinstance(value, np.ndarray) else N, rng))
    else:
        pool = list(values(rng))
    return pool[rng.integers(len(pool))]


def X_OF(rng):
    """Rows of a class each, so that fits mean something."""
    return rng.normal(size=(N, D)) + 2 * np.eye(K, D)[np.arange(N) % K]


def explainer_call(kind, method, init, arguments, X, y):
    """Fit an explainer and ask it for something."""

    def call(**all_arguments):
        fit = {k[4:]: v for k, v in all_arguments.items() if k.startswith("fit_") and k[4:] in FIT}
        options = {k: v for k, v in all_arguments.items() if k in init}
        rest = {k[5:]: v for k, v in all_arguments.items() if k.startswith("call_")}
        explainer = kind(**options).fit(**fit)
        if method is None:
            return explainer
        found = getattr(explainer, method)
        return found(**rest) if callable(found) else found

    good = {**init, "fit_X": X, "fit_y": y}
    if "sample_weight" in kind.fit.__code__.co_varnames[: kind.fit.__code__.co_argcount]:
        good["fit_sample_weight"] = None
    if kind is sk.TRAKExplainer:
        p = np.linspace(0.1, 0.9, N * init["n_models"])
        good["fit_probabilities"] = p if init["n_models"] == 1 else p.reshape(N, -1)
    return call, {**good, **{f"call_{k}": v for k, v in arguments.items()}}


FIT = ("X", "y", "sample_weight", "probabilities")


def choose(rng):
    """(words, function, right arguments) of a random public function."""
    X, y = X_OF(rng), np.arange(N) % K
    T, truth = rng.normal(size=(M, N)), rng.normal(size=(10, M))
    X_test, seed = X_OF(rng)[:M], {"random_state": 0}
    model = LogisticRegression(C=0.5)
    masks = rng.random((10, N)) < 0.5
    flags = np.arange(N) % 4 == 0
    interval = {"confidence": None, "n_resamples": 20, "random_state": 0}
    refits = {"n_jobs": None, "verbose": 0, **seed}
    kind = rng.random()
    if kind < 0.6:
        C = pick(rng, 1.0, "scale")
        inits = {
            sk.DualViewExplainer: {
                "C": C,
                "fit_intercept": True,
                "intercept_share": False,
                "class_weight": None,
                "tol": 1e-4,
                "max_iter": 50,
                "sparse_output": True,
                "warm_start": False,
                "canonical": False,
                "verbose": 0,
                **seed,
            },
            sk.DualViewExplainerCV: {
                "Cs": 2,
                "cv": 2,
                "scoring": None,
                "refit": True,
                "n_jobs": None,
                "max_iter": 50,
                **seed,
            },
            sk.RepresenterExplainer: {
                "estimator": None,
                "C": C,
                "fit_intercept": True,
                "intercept_share": False,
                "tol": 1e-6,
                "max_iter": 20,
            },
            sk.InfluenceExplainer: {
                "estimator": None,
                "C": C,
                "fit_intercept": True,
                "class_weight": None,
                "inverse": rng.choice(
                    ["auto", "cg", "lissa", "arnoldi", "kfac", "ekfac", "datainf", "identity"]
                ).item(),
                "inverse_params": None,
                "damping": 0.0,
                "leverage_correction": "auto",
                "max_iter": 20,
                **seed,
            },
            sk.SimilarityExplainer: {
                "metric": rng.choice(["dot", "cosine", "euclidean"]).item(),
                "same_class": False,
            },
            sk.ExemplarSVMExplainer: {"C": 1.0, "same_class": False, "tol": 1e-4, "n_jobs": None},
            sk.DatamodelExplainer: {
                "estimator": model,
                "n_subsets": 4,
                "fraction": 0.5,
                "alpha": 0.05,
                "l1_ratio": 1.0,
                **refits,
            },
            sk.LeaveOneOutExplainer: {"estimator": model, **refits},
            sk.AveragedExplainer: {
                "explainers": [
                    ("one", sk.RepresenterExplainer(), [0, 1]),
                    ("two", sk.InfluenceExplainer(), slice(1, 4)),
                ],
                "weights": np.ones(2),
            },
            sk.TRAKExplainer: {
                "n_models": pick(rng, 1, 1, D),
                "ridge": 2.0,
                "curvature": pick(rng, "logistic", "identity"),
                "temperature": 1.0,
            },
            sk.MLPExplainer: {
                "estimator": network(rng),
                "output": pick(rng, "log_odds", "logit", "margin", "probability", "loss"),
                "ridge": 2.0,
                "curvature": pick(rng, "logistic", "identity"),
                "temperature": 2.0,
                "k": pick(rng, 8, 100, None),
                **seed,
            },
        }
        share = np.array([4, 1, 3, 4, 2, 0.5, 0.5, 0.2, 2, 2, 2])
        explainer = list(inits)[rng.choice(len(inits), p=share / share.sum())]
        calls = {
            None: {},
            "predict": {"X": X_test},
            "transform": {"X": X_test},
            "attribute": {"X": X_test, "target": None, "out": None},
            "aggregate": {"X": X_test, "target": y[:M], "weights": np.ones(M)},
            "top_k": {"X": X_test, "k": 3, "target": 1, "largest": True},
            "decompose": {"X": X_test, "indices": rng.integers(N, size=(M, 2)), "target": None},
            "directions": {
                "X": X_test,
                "indices": rng.integers(N, size=(M, 2)),
                "target": None,
                "side": pick(rng, "test", "train"),
            },
            "score": {"X": X_test, "y": y[:M]},
            "get_feature_names_out": {"input_features": None},
            "base_value": {"X": X_test, "target": None},
            "decision_function": {"X": X_test},
            "predict_proba": {"X": X_test},
            "target_weights": {"X": X_test, "output": "logit", "y": y[:M]},
            "decision_error_bound": {"X": X_test, "target": rng.normal(size=(M, K))},
            "group_effect": {"X": X_test, "indices": np.array([1, 2]), "target": None},
            "leave_one_out": {
                "X": X_test,
                "X_train": X,
                "y_train": y,
                "rows": [0, [1, 2]],
                "target": None,
            },
            "self_influence_": {},
            "leverage_": {},
        }
        made = explainer(**inits[explainer])
        lazy = [name for name in calls if name and name.endswith("_")]
        names = [name for name in calls if name is None or hasattr(made, name)]
        names += [name for name in lazy if hasattr(explainer, name) and name not in names]
        method = names[rng.integers(len(names))]
        call, good = explainer_call(explainer, method, inits[explainer], calls[method], X, y)
        return f"{explainer.__name__}.{method or 'fit'}", call, good
    if kind < 0.7:
        options = {
            "X": X,
            "y": y,
            "n_classes": K,
            "sample_weight": np.ones(N),
            "fit_intercept": True,
            "tol": 1e-4,
            "max_iter": 50,
            "dual_init": None,
            "canonical": False,
            "random_state": 0,
        }
        if rng.random() < 0.5:
            options["dual_init"] = rng.normal(size=(N, K))
        if rng.random() < 0.2:
            return "crammer_singer_path", crammer_singer_path, {**options, "Cs": [0.1, 1.0]}
        return "crammer_singer", crammer_singer, {**options, "C": 1.0, "coef_init": None}
    if kind < 0.9:
        table = {
            metrics.class_detection_score: {
                "attributions": T,
                "y_train": y,
                "targets": y[:M],
                **interval,
            },
            metrics.subclass_detection_score: {
                "attributions": T,
                "subclasses_train": y,
                "subclasses_test": y[:M],
                **interval,
            },
            metrics.shortcut_detection_score: {
                "attributions": T,
                "has_shortcut": flags,
                "kind": pick(rng, "top", "average_precision"),
                **interval,
            },
            metrics.mislabel_detection_score: {
                "scores_or_attributions": T,
                "is_mislabeled": flags,
                **interval,
            },
            metrics.mislabel_detection_curve: {
                "scores_or_attributions": T[0],
                "is_mislabeled": flags,
            },
            metrics.completeness_error: {"attributions": T, "outputs": T.sum(axis=1), **interval},
            metrics.linear_datamodeling_score: {
                "attributions": T,
                "subset_masks": masks,
                "subset_outputs": truth,
                **interval,
            },
            metrics.leave_one_out_agreement: {
                "attributions": T,
                "effects": T[:, :3],
                "rows": [0, 1, 2],
                **interval,
            },
            metrics.faithfulness: {
                "surrogate_outputs": T[:, :3],
                "model_outputs": T[:, :3],
                **interval,
            },
            metrics.demographic_parity_gap: {
                "outputs": T[:, :3],
                "sensitive_features": y[: len(T)] == 1,
                "groups": None,
                **interval,
            },
            metrics.equal_opportunity_gap: {
                "outputs": T[:, 0],
                "y_true": np.arange(len(T)) % 2,
                "sensitive_features": np.arange(len(T)) // 2 % 2,
                "groups": None,
                "labels": None,
                **interval,
            },
            metrics.sparsity: {"attributions": T, "mass": 0.9, **interval},
            metrics.top_k_cardinality: {"attributions": T, "k": 3},
            metrics.top_k_overlap: {
                "attributions": T,
                "other_attributions": T + 0.1,
                "k": 3,
                **interval,
            },
            metrics.stability: {"attributions": [T, T + 0.1], "k": 3, **interval},
            planting.flip_labels: {"y": y, "fraction": 0.2, "kind": "uniform", **seed},
            planting.merge_classes: {"y": y, "groups": None, "n_groups": 2, **seed},
            planting.plant_shortcut: {
                "X": X,
                "y": y,
                "marked_class": 1,
                "fraction": 0.5,
                "others": False,
                "where": None,
                "value": None,
                **seed,
            },
            planting.adversarial_examples: {
                "estimator": LogisticRegression().fit(X, y),
                "X": X,
                "y": y,
                "epsilon": 0.1,
                "norm": "inf",
                "n_steps": 2,
                "step_size": None,
                "clip": None,
            },
        }
        function = list(table)[rng.integers(len(table))]
        return function.__name__, function, table[function]
    more = {"sample_weight": None, "confidence": None, "n_resamples": 20, **refits}
    table = {
        retraining.subset_outputs: {
            "estimator": model,
            "X": X,
            "y": y,
            "X_test": X_test,
            "n_subsets": 3,
            "fraction": 0.6,
            "y_test": None,
            "output": None,
            "stratify": True,
            "n_repeats": 1,
            **refits,
        },
        retraining.leave_one_out_outputs: {
            "estimator": model,
            "X": X,
            "y": y,
            "X_test": X_test,
            "rows": [0, [1, 2]],
            "output": None,
            "n_repeats": 1,
            **refits,
        },
        metrics.data_removal_support: {
            "attributions": T,
            "estimator": model,
            "X": X,
            "y": y,
            "X_test": X_test,
            "counts": [1, 3],
            **more,
        },
        metrics.mislabel_support: {
            "attributions": T,
            "estimator": model,
            "X": X,
            "y": y,
            "X_test": X_test,
            "counts": [1, 3],
            **more,
        },
        metrics.coreset_curve: {
            "scores_or_attributions": T,
            "estimator": model,
            "X": X,
            "y": y,
            "X_test": X_test,
            "y_test": y[:M],
            "shares": (0.5,),
            "n_repeats": 1,
            **more,
        },
        metrics.pruning_curve: {
            "scores_or_attributions": T,
            "estimator": model,
            "X": X,
            "y": y,
            "X_test": X_test,
            "y_test": y[:M],
            "shares": (0.5,),
            "n_repeats": 1,
            **more,
        },
        metrics.debugging_curve: {
            "scores_or_attributions": T,
            "estimator": model,
            "X": X,
            "y": y,
            "y_clean": y,
            "X_test": X_test,
            "y_test": y[:M],
            "shares": (0.5,),
            "n_repeats": 1,
            **more,
        },
        mlp_gradients: {
            "mlp": network(rng).estimator,
            "X": X,
            "y": y,
            "output": pick(rng, "log_odds", "logit", "margin", "probability", "loss"),
            "target": None,
            "k": pick(rng, 8, 100, None),
            "temperature": 1.0,
            **seed,
        },
        sketched: {"G": X, "name": "w", "model": 0, "out": None, **seed},
        find_issues: {"X": X, "y": y, "ids": None, "k": None, "n_neighbors": 5, "kind": 0},
        kinds_of_error: {"X": X, "y": y, "y_pred": None, "k": 3, "min_errors": 1},
        regressed: {
            "activation": pick(rng, "identity", "relu", "leaky_relu", "sigmoid", "tanh", "exp"),
            "C": pick(rng, 1.0, "scale"),
            "fit_intercept": True,
            "intercept_share": False,
            "tol": 1e-6,
            "max_iter": 50,
            "X": X,
            "y": rng.random((N, 2)),
            "sample_weight": None,
            "X_test": X_test,
            "target": pick(rng, 1, np.arange(M) % 2, rng.normal(size=(M, 2))),
            "indices": rng.integers(N, size=(M, 2)),
            "side": pick(rng, "test", "train"),
            "rows": [0, [1, 2]],
        },
        sk.compare_explainers: {
            "explainers": {"a": sk.DualViewExplainer()},
            "X": X,
            "y": y,
            "X_test": X_test,
            "y_test": y[:M],
            "metrics": ["class_detection", "sparsity"],
            "estimator": None,
            "groups": None,
            "n_groups": 2,
            "memory": False,
            "confidence": None,
            "n_jobs": None,
            **seed,
        },
    }
    if kind > 0.97:
        table = plot_calls(T, X, y, masks, truth, flags)
    function = list(table)[rng.integers(len(table))]
    return function.__name__, function, table[function]


def plot_calls(T, X, y, masks, truth, flags):
    """Function -> right arguments, of figures that are drawn and closed."""
    shares = {"shares": T[0, :D], "feature_names": list("abcde"), "total": 1.0, "k": 3}
    images = {"images": X, "image": X[0].reshape(1, D), "image_shape": (1, D), "title": "one"}
    bars = {"attributions": T[0], "k": 3, "y_train": y, "ids": np.arange(N)}
    ranks = {"names": list("abc"), "average_rank": [1.0, 2.0, 3.0], "seconds": [0.1, 1.0, 2.0]}
    lds = {"attributions": T, "subset_masks": masks, "subset_outputs": truth, "row": None}
    support = {"Cs": [0.1, 1.0], "n_support": [3, 2], "seconds": [0.1, 0.2]}
    found = {
        plots.AttributionDisplay: bars | images,
        plots.FeatureSharesDisplay: shares,
        plots.DetectionCurveDisplay: {"scores": T, "is_mislabeled": flags, "name": "one"},
        plots.DatamodelingDisplay: lds,
        plots.ComparisonDisplay: ranks,
    }
    calls = {drawn(kind.from_predictions): arguments for kind, arguments in found.items()}
    return calls | {drawn(lambda **result: plots.SupportDisplay.from_result(result)): support}


def drawn(plot):
    """A function that plots and keeps nothing."""

    def draw_and_close(**arguments):
        from matplotlib import pyplot

        pyplot.switch_backend("agg")
        try:
            plot(**arguments).figure_.draw_without_rendering()
        finally:
            pyplot.close("all")

    draw_and_close.__name__ = getattr(plot, "__qualname__", "plot").split(".<")[0]
    return draw_and_close


def sketched(G, name, model, out, random_state):
    """A projection."""
    return Sketch(3, random_state).project(name, G, model, out)


def find_issues(X, y, ids, k, n_neighbors, kind):
    """`find_label_issues` of an explainer fitted to right data."""
    rng = np.random.default_rng(0)
    explainers = [sk.DualViewExplainer(), sk.RepresenterExplainer(), sk.SimilarityExplainer()]
    # not `in`, which would compare whatever is given, broken sparse matrices too
    kind = kind if isinstance(kind, int) and 0 <= kind < 3 else 0
    explainer = explainers[kind].fit(X_OF(rng), np.arange(N) % K)
    return sk.find_label_issues(explainer, X, y, ids=ids, k=k, n_neighbors=n_neighbors)


def kinds_of_error(X, y, y_pred, k, min_errors):
    """`misclassifications` of an explainer fitted to right data; the numbers of its kinds."""
    fitted = sk.RepresenterExplainer().fit(X_OF(np.random.default_rng(0)), np.arange(N) % K)
    kinds = sk.misclassifications(fitted, X, y, y_pred=y_pred, k=k, min_errors=min_errors)
    return {str(n): part for n, kind in enumerate(kinds) for part in (kind.values, kind.share)}


def regressed(X, y, sample_weight, X_test, target, indices, side, rows, **parameters):
    """A `RepresenterRegressor`, and what it says in every form."""
    e = sk.RepresenterRegressor(**parameters).fit(X, y, sample_weight)
    found = {
        "attribute": e.attribute(X_test, target),
        "aggregate": e.aggregate(X_test, target),
        "top_k": e.top_k(X_test, 2, target=target)[0],
        "base_value": e.base_value(X_test, target),
        "directions": e.directions(X_test, indices, target=target, side=side),
        "decision": e.decision_function(X_test),
        "self_influence": e.self_influence_,
    }
    if parameters["activation"] == "identity":
        found["leave_one_out"] = e.leave_one_out(
            X_test, X, y, sample_weight, rows=rows, target=target
        )
    return {name: part.data if sp.issparse(part) else part for name, part in found.items()}


def draw(seed):
    """(words, function, arguments) of one call."""
    rng = np.random.default_rng(seed)
    name, function, arguments = choose(rng)
    replaced = []
    if rng.random() < 0.97:
        count = min(len(arguments), int(rng.choice([1, 2, 3], p=[0.7, 0.2, 0.1])))
        for key in rng.choice(list(arguments), size=count, replace=False).tolist():
            base = key.removeprefix("fit_").removeprefix("call_")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                arguments[key] = hostile(base, arguments[key], rng)
            replaced.append(key)
    return f"{name}({', '.join(replaced)})", function, arguments
