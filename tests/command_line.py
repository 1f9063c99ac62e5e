"""Tables and matrices for the command line, its answers by hand, and its errors."""

import numpy as np
import pandas as pd
import pytest

from skattrib.__main__ import main
from skattrib.explainers.dual_view import DualViewExplainer

C = 0.05

CITIES = ["Łódź", "京都", "Rome"]

SPECIES = ["setosa", "été", "vir ginica"]


def make_table(n, seed, n_classes=3):
    rng = np.random.default_rng(seed)
    codes = rng.integers(n_classes, size=n)
    return pd.DataFrame(
        {
            "key": [f"{i:03d}" for i in rng.permutation(n)],
            "age": rng.normal(size=n) + codes,
            "height": rng.integers(100, 200, size=n) - 20 * codes,
            "city": np.array(CITIES)[(codes + (rng.random(n) < 0.4)) % 3],
            "member": rng.random(n) < 0.5,
            "species": np.array(SPECIES)[codes],
        }
    )


def save_tables(folder):
    """Both tables as frames and in files."""
    train, test = make_table(60, 0), make_table(20, 1)
    paths = folder / "train.csv", folder / "test.csv"
    train.to_csv(paths[0], index=False)
    test.to_csv(paths[1], index=False)
    return train, test, *map(str, paths)


def make_matrices():
    rng = np.random.default_rng(2)
    y, y_test = rng.integers(3, size=50) + 7, rng.integers(3, size=15) + 7
    X = rng.normal(size=(50, 4)) + y[:, None] * [0.5, 0, -0.5, 0.2]
    X_test = rng.normal(size=(15, 4)) + y_test[:, None] * [0.5, 0, -0.5, 0.2]
    return X, y, X_test, y_test


def encode(frame, fitted_on):
    """Standardize and one-hot encode by hand."""
    columns = [
        (frame[name] - fitted_on[name].mean()) / fitted_on[name].std(ddof=0)
        for name in ("age", "height")
    ]
    columns += [frame["city"] == city for city in sorted(set(fitted_on["city"]))]
    columns += [frame["member"] == flag for flag in (False, True)]
    return np.column_stack([np.asarray(column, dtype=float) for column in columns])


def explain(capsys, *args):
    """Run ``skattrib explain`` and return what it prints."""
    code = main(["explain", *map(str, args)])
    out, err = capsys.readouterr()
    assert code == 0, err
    return out


def run_on_table(capsys, tables, *args):
    return explain(capsys, *tables[2:], "--target", "species", "--id", "key", "--C", C, *args)


def expected_records(explainer, X, ids, y_train, train_ids, target=None, top=5):
    """Explanations by sorting the full attribution matrix."""
    predicted = explainer.predict(X)
    targets = predicted if target is None else np.full_like(predicted, target)
    T = explainer.attribute(X, targets).toarray()
    records = []
    for j, row in enumerate(T):
        entries = {}
        for kind, order in {"proponents": np.argsort(-row), "opponents": np.argsort(row)}.items():
            chosen = [i for i in order[:top] if (row[i] > 0 if kind[0] == "p" else row[i] < 0)]
            entries[kind] = [
                {"rank": k, "train_id": train_ids[i], "train_label": y_train[i], "value": row[i]}
                for k, i in enumerate(chosen, start=1)
            ]
        head = {"test_id": ids[j], "predicted": predicted[j], "target_class": targets[j]}
        base = explainer.base_value(X[[j]], targets[[j]])[0]
        records.append({**head, "decision_value": row.sum() + base, "base_value": base, **entries})
    return records


def assert_same_records(found, expected, rtol):
    assert len(found) == len(expected)
    for record, wanted in zip(found, expected, strict=True):
        assert [key for key in record if key != "test_label"] == list(wanted)
        for key in ("test_id", "predicted", "target_class"):
            assert record[key] == wanted[key]
        for key in ("decision_value", "base_value"):
            assert record[key] == pytest.approx(wanted[key], rel=rtol, abs=1e-12)
        for kind in ("proponents", "opponents"):
            assert [[e["rank"], e["train_id"], e["train_label"]] for e in record[kind]] == [
                [e["rank"], e["train_id"], e["train_label"]] for e in wanted[kind]
            ]
            values = [e["value"] for e in wanted[kind]]
            assert [e["value"] for e in record[kind]] == pytest.approx(values, rel=rtol)


def expected_of_tables(train, test, **options):
    explainer = DualViewExplainer(C=C, random_state=0).fit(encode(train, train), train["species"])
    return expected_records(
        explainer,
        encode(test, train),
        list(test["key"]),
        list(train["species"]),
        list(train["key"]),
        **options,
    )


def fails(capsys, args, *expected):
    """Check for exit code 2 and one line on stderr that says all that is expected."""
    code = main([str(arg) for arg in args])
    out, err = capsys.readouterr()
    assert code == 2
    assert out == ""
    assert err.startswith("skattrib: error: ")
    assert err.count("\n") == 1 and err.endswith("\n")
    assert "Traceback" not in err
    for text in expected:
        assert text in err
