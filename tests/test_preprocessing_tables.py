"""Tables turned into features: numbers in any writing, dates, categories, texts, missing values."""

import datetime
import decimal
import pickle
import sys

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from skattrib import DualViewExplainer, table_preprocessor
from skattrib.preprocessing import column_groups
from skattrib.preprocessing._numbers import find_format

N = 40


@parametrize_with_checks([table_preprocessor()])
def test_conforms_to_scikit_learn(estimator, check):
    check(estimator)


NUMBERS = {
    "plain": (["1", "2.5", "-3e2"], [1, 2.5, -300], ""),
    "missing": (["1", "?", "-", "NA", ""], [1, None, None, None, None], ""),
    "dollars": (["$1,234.50", "-$3.00", "$-2"], [1234.5, -3, -2], "$"),
    "euros": (["7 €", "1.234,5 €"], [7, 1234.5], "€"),
    "code": (["EUR 5", "EUR 7,50"], [5, 7.5], "EUR"),
    "per cent": (["12%", "3.5 %", "0"], [12, 3.5, 0], "%"),
    "unit": (["5 cm", "7.1cm"], [5, 7.1], "cm"),
    "unit with a power": (["5 kg/m2", "7.1 kg/m2"], [5, 7.1], "kg/m2"),
    "speed": (["5 km/h", "-7 km/h"], [5, -7], "km/h"),
    "thousands": (["1,234", "5"], [1234, 5], ""),
    "thousands and points": (["1,234", "5.6"], [1234, 5.6], ""),
    "millions": (["1.234.567", "2.000"], [1234567, 2000], ""),
    "decimal comma": (["1,5", "2,25", "1,234"], [1.5, 2.25, 1.234], ""),
    "no thousands": (["0,123", "7"], [0.123, 7], ""),
    "blanks": (["1 234", "5 678 901,5"], [1234, 5678901.5], ""),
    "apostrophes": (["1'234", "2'000.5"], [1234, 2000.5], ""),
    "accounts": (["(1,234)", "5"], [-1234, 5], ""),
    "minus": (["−3", "+2"], [-3, 2], ""),
    "clock": (["12:30", "0:00:01.5", "?"], [45000, 1.5, None], "seconds"),
    "twelve hours": (["12:30 AM", "1:00pm"], [1800, 46800], "seconds"),
    "one odd text": ([*map(str, range(20)), "not stated"], [*range(20), None], ""),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_stored_as_text(name):
    texts, values, unit = NUMBERS[name]
    form = find_format(texts)
    found, bad = form.parse(texts)
    np.testing.assert_allclose(found, np.array(values, dtype=float), rtol=1e-12)
    assert bad == [] and form.unit == unit


@pytest.mark.parametrize(
    "texts",
    [
        ["a", "1"],
        ["5 cm", "7 m"],
        ["5 cm2", "7 cm3"],
        ["12 of 2020", "13 of 2020"],
        ["12%", "12"],
        ["2020-01-01"],
        ["1.2.3.4"],
        ["10-20"],
        ["1/2"],
        ["<5"],
        ["A12", "A13"],
        ["1st", "2nd"],
        ["1,5", "2.5"],
        ["12,34,56"],
        ["?", "-"],
        [*map(str, range(20)), "few", "many"],
        ["--5"],
        ["(5"],
    ],
)
def test_what_is_no_column_of_numbers(texts):
    assert find_format(texts) is None


def test_the_decimal_separator_may_be_told():
    assert find_format(["1,234"]).parse(["1,234"])[0] == 1234
    assert find_format(["1,234"], ",").parse(["1,234"])[0] == 1.234
    assert find_format(["1,5"], ".") is None


def table():
    """A column of each kind; each value is said to come twice where it may."""
    rng, k = np.random.default_rng(0), np.arange(N)
    times = pd.date_range("2001-01-01", periods=N, freq="1501min")
    return pd.DataFrame(
        {
            "age": np.where(k < 3, np.nan, rng.normal(size=N)),
            "price": [f"${value:,.2f}" for value in 5000 * rng.random(N)],
            "city": np.array(["u", "v", None], dtype=object)[k % 3],
            "name": [f"{chr(97 + i % 26)}{chr(97 + i % 7)}ra {i}" for i in k],
            "born": times.strftime("%d.%m.%Y %H:%M"),
            "seen": times.tz_localize("Europe/Berlin"),
            "sent": [f"2020-{1 + i % 12:02d}-01T00:00:00+0{1 + i % 2}:00" for i in k],
            "day": [datetime.date(2020, 1, 1) + datetime.timedelta(int(i)) for i in k],
            "clock": [datetime.time(i % 24, i) for i in k],
            "lasted": pd.to_timedelta(k, unit="h"),
            "paid": [decimal.Decimal(f"{i}.10") for i in k],
            "vector": list(rng.normal(size=(N, 3))),
            "member": k % 2 == 0,
            "note": [f"the {'quick' if i % 2 else 'slow'} fox of row {i} jumps over it" for i in k],
            "code": pd.Categorical(k % 3 + 7),
            "rooms": pd.array([None if i % 2 else int(i) for i in k], dtype="Int64"),
            "same": 1,
            "none": None,
            "row": k,
        }
    )


DECISIONS = """\
age: number, 3 missing, median and an indicator
price: number, in '$'
city: category, 13 missing, one-hot in 3 columns, one of them for missing values
name: text, 40 distinct of 40, encoded in 30 columns (drop with --drop name)
born: date (%d.%m.%Y %H:%M), encoded in 5 columns
seen: date, encoded in 5 columns
sent: date (%Y-%m-%dT%H:%M:%S%z), encoded in 6 columns
day: date, encoded in 4 columns
clock: number, in 'seconds'
lasted: duration
paid: number
vector: list of 3 numbers, encoded in 3 columns
member: true/false, one-hot in 2 columns
note: prose, TF-IDF of 9 words (drop with --drop note)
code: category, one-hot in 3 columns
rooms: number, 20 missing, median and an indicator
same: left out, constant
none: left out, all missing
row: number, counts the rows (drop with --drop row)"""


@pytest.fixture(scope="module")
def fitted():
    frame = table()
    preprocessor = table_preprocessor()
    return frame, preprocessor, preprocessor.fit_transform(frame)


def test_decisions_say_what_was_made_of_each_column(fitted):
    frame, preprocessor, X = fitted
    assert "\n".join(map(str, preprocessor.decisions_)) == DECISIONS
    assert X.shape == (N, sum(decision.n_outputs for decision in preprocessor.decisions_))
    names, groups = column_groups(preprocessor)
    assert names == list(frame)
    for column, decision in enumerate(preprocessor.decisions_):
        assert np.count_nonzero(groups == column) == decision.n_outputs


def test_features_are_what_is_said(fitted):
    frame, preprocessor, X = fitted
    names = list(preprocessor.get_feature_names_out())
    assert len(set(names)) == len(names) == X.shape[1]
    feature = {name: X[:, k] for k, name in enumerate(names)}

    def scaled(values):
        values = np.asarray(values, dtype=float)
        return (values - values.mean()) / values.std()

    age = frame["age"].fillna(frame["age"].median())
    price = frame["price"].str.replace("[$,]", "", regex=True)
    hours = frame["seen"].dt.hour
    np.testing.assert_allclose(feature["age"], scaled(age), atol=1e-12)
    np.testing.assert_allclose(feature["age_missing"], scaled(frame["age"].isna()), atol=1e-12)
    np.testing.assert_allclose(feature["price"], scaled(price), atol=1e-12)
    # the parts of a date weigh as one number together
    part = np.sqrt(5)
    np.testing.assert_allclose(feature["seen_hour"], scaled(hours) / part, atol=1e-6)
    seconds = scaled(np.arange(N)) / part
    np.testing.assert_allclose(feature["born_total_seconds"], seconds, atol=1e-9)
    np.testing.assert_array_equal(feature["city_missing"], frame["city"].isna())
    np.testing.assert_array_equal(feature["member_True"], frame["member"])
    np.testing.assert_array_equal(feature["code_8"], frame["code"] == 8)
    np.testing.assert_allclose(feature["vector_1"], scaled([v[1] for v in frame["vector"]]))
    text = X[:, [k for k, name in enumerate(names) if name.startswith("name_")]]
    assert text.var(axis=0).sum() == pytest.approx(1, rel=1e-5)  # as much as one number


def test_transform_clone_and_pickle_repeat_the_fit(fitted):
    frame, preprocessor, X = fitted
    for again in (preprocessor, pickle.loads(pickle.dumps(preprocessor))):
        np.testing.assert_allclose(again.transform(frame), X, atol=1e-5)
        np.testing.assert_array_equal(again.transform(frame[:7]), again.transform(frame)[:7])
    np.testing.assert_array_equal(clone(preprocessor).fit_transform(frame), X)


def test_polars_is_read_like_pandas(fitted):
    frame, preprocessor, _ = fitted
    frame = frame.drop(columns=["none", "clock", "paid", "code"])
    found = table_preprocessor().fit_transform(pl.from_pandas(frame))
    np.testing.assert_allclose(found, table_preprocessor().fit_transform(frame), atol=1e-6)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_frames_come_out_where_they_are_asked_for(library):
    frame = pd.DataFrame({"a": [1, 2, 3, 5], "b": list("uvuv"), "b_u": [3, 1, 2, 2]})
    dense = table_preprocessor(sparse_output=False).fit_transform(frame)
    found = (
        table_preprocessor(sparse_output=True).set_output(transform=library).fit_transform(frame)
    )
    assert type(found).__module__.startswith(library)
    assert list(found.columns) == ["a", "b_u", "b_v", "b_u_2"]
    np.testing.assert_array_equal(found.to_numpy(), dense)


def test_sparse_where_it_is_worth_it():
    wide = pd.DataFrame({name: list("abcdefghij") * 4 for name in ("one", "two")})
    assert sparse.issparse(table_preprocessor().fit_transform(wide))
    assert not sparse.issparse(table_preprocessor(sparse_output=False).fit_transform(wide))
    narrow = wide.assign(two=np.arange(40) % 2)[["two"]]
    assert not sparse.issparse(table_preprocessor().fit_transform(narrow))


def test_a_pipeline_of_a_table():
    frame = table()[["age", "city", "price"]]
    y = np.arange(N) % 2
    pipeline = make_pipeline(table_preprocessor(), DualViewExplainer()).fit(frame, y)
    assert pipeline.predict(frame[::-1]).shape == (N,)


def test_drop_and_keep():
    frame = table()[["age", "city", "row"]]
    by_drop = table_preprocessor(drop=["row"]).fit(frame)
    by_keep = table_preprocessor(keep=["age", "city"]).fit(frame)
    assert str(by_drop.decisions_[2]) == "row: left out, as asked"
    assert list(by_drop.output_to_input_) == list(by_keep.output_to_input_)
    assert column_groups(by_drop)[0] == ["age", "city", "row"]


def test_missing_values():
    frame = pd.DataFrame({"a": [1.0, np.nan, 2, 4] * 10, "b": [1.0, *range(39)]})
    frame.loc[0, "b"] = np.nan

    def kinds(missing):
        return [d.encoding for d in table_preprocessor(missing=missing).fit(frame).decisions_]

    assert kinds("auto") == ["median and an indicator", "median"]
    assert kinds("median") == ["median", "median"]
    assert kinds("indicator") == ["median and an indicator"] * 2
    with pytest.raises(ValueError, match=r"missing values in 'a' \(10\), 'b' \(1\)"):
        kinds("refuse")
    strict = table_preprocessor(missing="refuse").fit(frame.fillna(0))
    with pytest.raises(ValueError, match="'a' .10., 'b' .1."):
        strict.transform(frame)


def test_what_is_new_in_a_table_is_said():
    frame = pd.DataFrame({"city": list("uv") * 10, "age": np.arange(20.0)})
    preprocessor = table_preprocessor().fit(frame)
    assert preprocessor.unseen(frame) == []
    new = pd.DataFrame({"city": ["u", "w", None, "v"], "age": [1, np.nan, 2, 3]})
    assert preprocessor.unseen(new) == [
        "city: 50.0% of the rows have a category that the training rows lack, such as 'w'",
        "age: 1 missing, median",
    ]
    X = preprocessor.transform(new)
    assert np.abs(X[1:3, :2]).max() == 0


def test_columns_that_are_left_out_may_hold_anything_later():
    frame = pd.DataFrame(
        {"same": 1, "a": np.arange(20.0), "none": np.nan, "b": 20.0 - np.arange(20)}
    )
    preprocessor = table_preprocessor().fit(frame)
    X = preprocessor.transform(frame)
    other = frame.assign(same="text", none="more")
    np.testing.assert_array_equal(preprocessor.transform(other), X)
    assert preprocessor.unseen(other.assign(same=np.nan)) == []
    with pytest.raises(ValueError, match="no column is left .*none: left out, all missing"):
        table_preprocessor().fit(frame[["same", "none"]])


def test_categories_are_compared_as_they_read():
    frame = pd.DataFrame({"code": pd.Categorical(["1", "2", "NA", "2"] * 5)})
    preprocessor = table_preprocessor().fit(frame)
    assert list(preprocessor.get_feature_names_out()) == ["code_1", "code_2", "code_NA"]
    found = preprocessor.transform(pd.DataFrame({"code": [1.0, 2.0]}))
    assert found.tolist() == [[1, 0, 0], [0, 1, 0]]


def test_null_strings_are_missing_categories_too():
    frame = pd.DataFrame({"code": ["a", "b", "n/k", "b"] * 5})
    preprocessor = table_preprocessor(null_strings=["n/k"]).fit(frame)
    assert preprocessor.decisions_[0].n_missing == 5


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (pd.period_range("2020-01", periods=N, freq="M"), "date, encoded in 4 columns"),
        ([f"{1500 + k}-01-01" for k in range(N)], "date (%Y-%m-%d), encoded in 3 columns"),
        ([None if k % 4 == 0 else [k, k * k] for k in range(N)], "list of 2 numbers, 10 missing"),
        ([{"a": k % 2} for k in range(N)], "category, one-hot in 2 columns"),
        ([1, "a", 2.5, None] * 10, "category, 10 missing, one-hot in 4 columns"),
        ([b"ab", b"cd"] * 20, "category, one-hot in 2 columns"),
        ([[1.0] * (k % 3 + 1) for k in range(N)], "category, one-hot in 3 columns"),
        (pd.array([True, None] * 20, dtype="boolean"), "true/false, 20 missing"),
        (np.r_[np.zeros(N - 1), 1e149], "number"),
    ],
)
def test_columns_of_rare_kinds(column, said):
    frame = pd.DataFrame({"a": pd.Series(column), "b": np.arange(N)})
    preprocessor = table_preprocessor(sparse_output=False)
    X = preprocessor.fit_transform(frame)
    assert str(preprocessor.decisions_[0]).startswith(f"a: {said}")
    assert np.abs(X).max() < 10
    np.testing.assert_allclose(preprocessor.transform(frame), X, atol=1e-6)


def test_complex_numbers_are_refused():
    with pytest.raises(ValueError, match="'a' has complex numbers"):
        table_preprocessor().fit(pd.DataFrame({"a": np.arange(9) * 1j}))


BAD = {
    "text": ("age", "old", r"'age' held numbers in the training rows, here text such as 'old'"),
    "infinite": ("age", np.inf, "'age' has 40 values that are infinite"),
    "date": ("born", "yesterday", r"'born' held dates in the training rows, here 'yesterday'"),
    "list": ("vector", 1.0, "'vector' must hold lists of 3 numbers"),
    "dates": ("price", pd.Timestamp("2020-01-01"), "'price' held numbers .*, here dates"),
}


@pytest.mark.parametrize("name", BAD)
def test_other_kinds_than_in_fit_are_refused(name, fitted):
    column, value, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        fitted[1].transform(fitted[0].assign(**{column: value}))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"missing": "mean"}, ValueError, "missing must be one of"),
        ({"decimal": ";"}, ValueError, "decimal must be"),
        ({"drop": "age"}, TypeError, "drop must be a sequence of texts, got 'age'"),
        (
            {"keep": ["weight"]},
            ValueError,
            r"keep names columns that the table lacks: \['weight'\]",
        ),
        ({"max_categories": 0}, ValueError, "max_categories must be an integer of 1 or more"),
        ({"n_components": 2.5}, ValueError, "n_components must be an integer"),
        ({"sparse_output": "no"}, ValueError, "sparse_output must be a bool or 'auto'"),
        ({"drop": ["age"]}, ValueError, "no column is left to learn from"),
    ],
)
def test_bad_parameters(options, error, message):
    with pytest.raises(error, match=message):
        table_preprocessor(**options).fit(table()[["age"]])


def test_bad_tables():
    frame = pd.DataFrame([[1, 2], [3, 4]], columns=["a", "a"])
    with pytest.raises(ValueError, match=r"several columns are named \['a'\]"):
        table_preprocessor().fit(frame)
    with pytest.raises(ValueError, match="n_samples = 1"):
        table_preprocessor().fit(table()[:1])
    with pytest.raises(ValueError, match=r"the table is empty: its shape is \(0, 19\)"):
        table_preprocessor().fit(table()[:0])
    with pytest.raises(NotFittedError):
        table_preprocessor().transform(frame)


def test_without_skrub_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "skrub", None)
    with pytest.raises(ImportError, match=r'skrub.*pip install "skattrib\[cli\]"'):
        table_preprocessor().fit(table())
