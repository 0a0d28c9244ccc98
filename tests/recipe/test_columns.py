"""Tables with words, dates, gaps and texts: the kinds of columns and their encoding."""

import keras
import numpy as np
import pandas as pd
import pytest
import sklearn.preprocessing
from sklearn.feature_extraction.text import CountVectorizer

from kbn.recipe.columns import kind_of
from kbn.recipe.encoding import fit
from kbn.recipe.preprocessing import TableModel
from recipe.loaders import load, violations_of

ROWS = 60


def column(values):
    return pd.Series(values, name="a")


@pytest.fixture
def mixed():
    """A table of every kind of column, each with gaps."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "size/m": rng.normal(5, 2, ROWS),
            "kind": rng.choice(["oak", "ash", "fir"], ROWS),
            "felled": rng.choice([True, False], ROWS).astype(object),
            "planted": pd.date_range("2019-12-30", periods=ROWS, freq="31h").astype(str),
            "note": rng.choice(["A tall, old tree.", "an old one"], ROWS),
        }
    )
    for number, name in enumerate(frame):
        frame.loc[number::7, name] = None
    return frame


KINDS = {
    "size/m": "number",
    "kind": "category",
    "felled": "category",
    "planted": "date",
    "note": "text",
}


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, 2, 3], "number"),
        ([1.5, None, 2], "number"),
        ([True, False, True], "number"),
        ([True, None, False], "category"),
        (["a", "b", None], "category"),
        (["1", "2", "1"], "category"),
        (["2026-11-26", None, "2026-11-27"], "date"),
        (["2026-11-26 12:30", "2026-11-26T12:30:59.5+02:00"], "date"),
        (pd.to_datetime(["2026-11-26", None]), "date"),
        (pd.to_datetime(["2026-11-26", "2026-11-27"]).date, "date"),
        (pd.array([1, None, 3], dtype="Int64"), "number"),
    ],
    ids=repr,
)
def test_the_kind_of_a_column_is_found_from_its_values(values, kind):
    assert kind_of(column(values), str) == kind


def test_numbers_are_standardized_and_gaps_get_the_mean_and_an_indicator():
    frame = pd.DataFrame({"a": [1.0, None, 4.0, 7.0], "b": [3, 3, 3, 3]})
    encoded = fit(frame, {"a": "number", "b": "number"}).encode(frame)
    scaled = sklearn.preprocessing.StandardScaler().fit_transform([[1.0], [4], [7]]).ravel()
    np.testing.assert_allclose(encoded[[0, 2, 3], 0], scaled, rtol=1e-6)
    np.testing.assert_array_equal(encoded[1], [0, 0, 1])  # the mean; a constant; missing
    plain = fit(frame, {"a": "number"}, standardize=False).encode(frame)
    np.testing.assert_array_equal(plain, [[1, 0], [4, 1], [4, 0], [7, 0]])


def test_a_word_is_one_feature_and_unknown_ones_share_another():
    frame = pd.DataFrame({"a": ["x", "y", "x", None]})
    layer = fit(frame, {"a": "category"})
    known = layer.encode(pd.DataFrame({"a": ["x", "y", None]}))
    assert known.shape == (3, 4)
    np.testing.assert_array_equal(known.sum(1), 1)
    assert len({*map(tuple, known)}) == 3
    first, second = layer.encode(pd.DataFrame({"a": ["z", "new"]}))
    np.testing.assert_array_equal(first, second)
    assert tuple(first) not in {*map(tuple, known)}


def test_only_the_fifty_most_frequent_words_have_features():
    words = [f"w{i:02d}" for i in range(80)]
    frame = pd.DataFrame({"a": words + words[:50] + [None]})
    layer = fit(frame, {"a": "category"})
    encoded = layer.encode(pd.DataFrame({"a": [*words, None]}))
    assert encoded.shape == (81, 52)
    assert len({*map(tuple, encoded[:50])}) == 50
    assert len({*map(tuple, encoded[50:80])}) == 1  # the rare ones
    assert tuple(encoded[80]) not in {*map(tuple, encoded[:80])}


def test_whole_numbers_as_words_are_the_same_with_gaps_beside_them():
    layer = fit(pd.DataFrame({"a": [10115, 20095]}), {"a": "category"})
    with_gaps = layer.encode(pd.DataFrame({"a": [10115.0, None]}))
    np.testing.assert_array_equal(with_gaps[0], layer.encode(pd.DataFrame({"a": ["10115"]}))[0])


def test_dates_become_a_trend_and_points_on_circles():
    dates = pd.to_datetime(
        ["1899-12-31T06:00", "2000-02-29T23:45", "2026-11-26T12:30", "2100-03-01T00:00"]
    )
    frame = pd.DataFrame({"a": dates})
    encoded = fit(frame, {"a": "date"}).encode(frame)
    days = (dates.normalize() - pd.Timestamp("1970-01-01")).days.to_numpy("float64")
    np.testing.assert_allclose(encoded[:, 0], (days - days.mean()) / days.std(), rtol=1e-5)
    shares = (
        (dates.month - 1) / 12,
        dates.day_of_week / 7,
        (dates.hour * 60 + dates.minute) / 1440,
    )
    circles = [f(2 * np.pi * np.asarray(share)) for share in shares for f in (np.cos, np.sin)]
    np.testing.assert_allclose(encoded[:, 1:], np.transpose(circles), atol=1e-6)
    text = pd.DataFrame({"a": dates.strftime("%Y-%m-%d %H:%M:%S+02:00")})
    np.testing.assert_allclose(fit(frame, {"a": "date"}).encode(text), encoded)


def test_a_missing_date_has_zeros_and_an_indicator():
    frame = pd.DataFrame({"a": ["2026-11-26", None, "2026-11-28"]})
    encoded = fit(frame, {"a": "date"}).encode(frame)
    assert encoded.shape == (3, 6)  # no hours
    np.testing.assert_array_equal(encoded[1], [0, 0, 0, 0, 0, 1])


def test_a_text_is_a_bag_of_its_most_frequent_words():
    texts = ["The cat sat, the cat ran!", "A dog ran", "the dog sat", ""]
    layer = fit(pd.DataFrame({"a": texts}), {"a": "text"}, vocabulary=4)
    encoded = layer.encode(pd.DataFrame({"a": texts}))
    words = layer.columns["a"]["words"]
    assert {*words} <= {"the", "cat", "sat", "ran", "dog"}
    expected = CountVectorizer(vocabulary=words, binary=True).fit_transform(texts).toarray()
    np.testing.assert_array_equal(encoded[:, 1:], expected)  # 0 is any other word
    np.testing.assert_array_equal(encoded[:, 0], [1 if len(words) < 5 else 0, 1, 0, 0])


def test_tokens_are_the_numbers_of_the_words_in_their_order():
    texts = ["b a a", "a c b a", "a"]
    layer = fit(pd.DataFrame({"a": texts}), {"a": "tokens"}, length=3)
    encoded = layer.encode(pd.DataFrame({"a": ["b a", "new b a c"]}))
    assert encoded.dtype == "int32"
    assert layer.vocabulary == 5
    np.testing.assert_array_equal(encoded, [[3, 2, 0], [1, 3, 2]])


def test_what_is_fitted_has_seen_the_training_part_alone(tmp_path):
    rng = np.random.default_rng(0)
    train = pd.DataFrame({"a": rng.choice(["x", "y"], 40), "b": rng.normal(size=40)})
    train["c"] = np.arange(40) % 2
    held = train.assign(a="held out", b=1000.0)
    held.loc[3, "b"] = None
    train.to_csv(tmp_path / "train.csv", index=False)
    held.to_csv(tmp_path / "val.csv", index=False)
    data = load(tmp_path, path="train.csv", validation="val.csv")
    columns = data.preprocessing.columns
    assert sorted(columns["a"]["words"]) == ["x", "y"]
    assert columns["b"]["mean"] == pytest.approx(train["b"].mean(), abs=1e-6)
    assert not columns["b"]["gaps"]
    assert len(np.unique(data.x_val[:, 1:], axis=0)) == 1  # the share of unknown words
    assert data.x_val[3, 0] == pytest.approx(0, abs=1e-6)
    assert len(data.y_train) == len(data.y_val) == 40


def test_a_saved_model_takes_a_table_in_every_form(mixed, tmp_path):
    layer = fit(mixed, KINDS)
    features = layer.encode(mixed)
    dense = keras.layers.Dense(2, activation="softmax")
    network = keras.Sequential([keras.Input((features.shape[1],)), dense])
    TableModel(layer, network, name="m").save(tmp_path / "m.keras")
    model = keras.models.load_model(tmp_path / "m.keras")
    expected = np.asarray(network(features))
    forms = [
        mixed.assign(other=1)[::-1][::-1],
        mixed.to_dict("list"),
        {name: mixed[name].to_numpy() for name in mixed},
        mixed.assign(planted=pd.to_datetime(mixed["planted"])),
        mixed.astype({"kind": "category"}),
        mixed.set_index(np.arange(ROWS) * 3),
    ]
    for form in forms:
        np.testing.assert_allclose(model.predict(form, verbose=0), expected, atol=1e-6)
    np.testing.assert_allclose(model(mixed[:1]), expected[:1], atol=1e-6)


def test_a_model_says_what_is_wrong_with_a_table(mixed):
    layer = fit(mixed, KINDS)
    with pytest.raises(ValueError, match=r"must have the column kind; Did you mean kinds\?"):
        layer.tensors(mixed.rename(columns={"kind": "kinds"}))
    with pytest.raises(ValueError, match=r"column size/m must be finite numbers\. Got tall in row"):
        layer.tensors({**mixed.to_dict("list"), "size/m": ["tall"] * ROWS})


def test_the_recipe_may_say_the_kinds(tmp_path, table):
    data = load(tmp_path, path="trees.csv", columns={"age": "category", "size": "ignore"})
    assert data.preprocessing.kinds == {"age": "category"}
    plain = load(tmp_path, path="trees.csv", columns={"age": "number", "size": "ignore"})
    assert (plain.preprocessing, plain.shape) == (None, (1,))


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"columns": {"aeg": "category"}}, ("columns.aeg", "must name a column", "'aeg'")),
        (
            {"columns": {"kind": "category"}},
            ("columns.kind", "is the target, by default the last one", None),
        ),
        (
            {"target": "size", "columns": {"kind": "number"}},
            ("columns.kind", "column kind must be finite numbers", "ash in line 2"),
        ),
        (
            {"target": "size", "columns": {"kind": "date"}},
            ("columns.kind", "column kind must be dates like 2026-11-26T12:30", "ash in line 2"),
        ),
        (
            {"columns": {"age": "ignore", "size": "ignore"}},
            ("columns", "must leave a column that is a feature", None),
        ),
        (
            {"target": "size", "columns": {"kind": "tokens"}},
            ("columns.kind", "a column of tokens must be the only feature", None),
        ),
        (
            {"target": "size", "shape": [2, 1]},
            ("shape", "only numbers without gaps have a shape", "[2, 1]"),
        ),
    ],
)
def test_columns_that_the_table_does_not_allow_are_rejected(tmp_path, table, spec, expected):
    assert violations_of(tmp_path, path="trees.csv", **spec) == [expected]


def test_a_text_without_words_is_rejected(tmp_path, table):
    table["kind"] = "?!"
    table.to_csv(tmp_path / "trees.csv", index=False)
    spec = {"target": "age", "columns": {"kind": "text"}}
    assert violations_of(tmp_path, path="trees.csv", **spec) == [
        ("columns.kind", "must have words in its training part", None)
    ]
