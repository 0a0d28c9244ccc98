import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from kbn.errors import ViolationError
from kbn.recipe.catalog import FETCHED, SHIPPED
from kbn.recipe.datasets import load_dataset
from kbn.recipe.sections import DatasetSpec

CLASSIFICATION = sorted(SHIPPED.keys() - {"diabetes"})
MNIST = (60, 4, 4), (30, 4, 4)  # shapes of a small one


def load(home=Path(), seed=3, **spec):
    return load_dataset(DatasetSpec(**spec), seed, home)


def violations_of(home=Path(), **spec):
    """All that is wrong, as [key, rule, what was received]."""
    with pytest.raises(ViolationError) as caught:
        load(home, **spec)
    return [
        (violation.key, violation.rule, violation.shown) for violation in caught.value.violations
    ]


@pytest.fixture
def table(tmp_path):
    """A table of two features, and a target of words."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"size": rng.normal(5, 2, 60), "age": rng.integers(1, 9, 60)})
    frame["kind"] = np.where(np.arange(60) % 3, "oak", "ash")
    frame.to_csv(tmp_path / "trees.csv", index=False)
    frame.to_parquet(tmp_path / "trees.parquet")
    return frame


@pytest.fixture
def fetched(monkeypatch):
    """Stands in for what Keras fetches."""
    import keras

    def module(*arrays):
        def load_data():
            print("Downloading data")  # noqa: T201  as Keras does
            return arrays

        monkeypatch.setattr(keras.datasets.mnist, "load_data", load_data)

    return module


@pytest.mark.parametrize("name", CLASSIFICATION)
def test_the_split_keeps_every_class_share(name):
    data = load(name=name, validation=0.2)
    share = np.bincount(data.y_val) / np.bincount(np.r_[data.y_train, data.y_val])
    assert len(share) == data.outputs == len(data.labels)
    np.testing.assert_allclose(share, 0.2, atol=0.05)


def test_features_are_standardized_on_the_training_part_alone():
    data = load(name="wine", validation=0.2, test=0.2)
    np.testing.assert_allclose(data.x_train.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(data.x_train.std(0), 1, atol=1e-5)
    for part in (data.x_val, data.x_test):  # their own means were not used
        assert np.abs(part.mean(0)).max() > 0.01
    plain = load(name="wine", validation=0.2, test=0.2, standardize=False)
    np.testing.assert_allclose(data.as_given(data.x_val), plain.x_val, rtol=1e-4)
    np.testing.assert_array_equal(plain.as_given(plain.x_val), plain.x_val)


def test_the_target_of_a_regression_is_standardized_on_the_training_part_alone():
    data = load(name="diabetes", validation=0.2)
    plain = load(name="diabetes", validation=0.2, standardize=False)
    assert (data.outputs, data.classification, data.labels) == (1, False, ())
    assert data.y_scaling == pytest.approx((plain.y_train.mean(), plain.y_train.std()), rel=1e-5)
    mean, deviation = data.y_scaling
    np.testing.assert_allclose(data.y_val * deviation + mean, plain.y_val, rtol=1e-5)


def test_images_are_standardized_channel_by_channel():
    data = load(name="digits", shape=[8, 8, 1])
    assert data.shape == (8, 8, 1)
    assert data.x_scaling[0].shape == (1,)
    assert data.x_train.mean() == pytest.approx(0, abs=1e-4)
    assert data.x_train.std() == pytest.approx(1, abs=1e-4)


def test_the_seed_alone_decides_the_split():
    first, again, other = (load(name="digits", seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.x_val, again.x_val)
    assert not np.array_equal(first.x_val, other.x_val)


@pytest.mark.parametrize(
    ("parts", "sizes"),
    [
        ({"validation": 0.2}, (120, 30, 0)),
        ({"validation": 31}, (119, 31, 0)),
        ({"validation": 0.2, "test": 0.2}, (90, 30, 30)),  # shares of the whole, both
        ({"validation": 30, "test": 0.1}, (105, 30, 15)),
    ],
)
def test_parts_are_shares_or_numbers_of_examples_and_have_none_in_common(parts, sizes):
    data = load(name="iris", standardize=False, **parts)
    x = [data.x_train, data.x_val, data.x_test]
    assert tuple(map(len, x)) == sizes
    from sklearn.datasets import load_iris

    given = load_iris(return_X_y=True)[0].astype("float32")
    np.testing.assert_array_equal(sorted(np.concatenate(x).tolist()), sorted(given.tolist()))


@pytest.mark.parametrize("file", ["trees.csv", "trees.parquet"])
def test_a_table_is_read_from_the_recipes_directory(tmp_path, table, file):
    data = load(tmp_path, path=file, standardize=False)
    assert data.labels == ("ash", "oak")
    assert (len(data.x_train), len(data.x_val)) == (48, 12)
    row = int(np.isclose(table["size"], data.x_val[0, 0], rtol=1e-6).argmax())
    assert data.x_val[0, 1] == table["age"][row]
    assert data.labels[data.y_val[0]] == table["kind"][row]


def test_a_path_may_be_absolute_or_begin_at_home(tmp_path, table, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for path in (tmp_path / "trees.csv", "~/trees.csv"):
        assert load(Path("elsewhere"), path=str(path)).shape == (2,)


def test_any_column_may_be_the_target(tmp_path, table):
    table["kind"] = table["kind"] == "oak"
    table.to_csv(tmp_path / "trees.csv", index=False)
    assert load(tmp_path, path="trees.csv").labels == (False, True)
    size = load(tmp_path, path="trees.csv", target="size")
    assert (size.outputs, size.shape) == (1, (2,))
    assert load(tmp_path, path="trees.csv", target="age").outputs == table["age"].nunique()
    age = load(tmp_path, path="trees.csv", target="age", task="regression")
    assert age.outputs == 1


def test_a_constant_feature_is_left_at_zero(tmp_path, table):
    table.insert(0, "year", 0.1)
    table.to_csv(tmp_path / "trees.csv", index=False)
    data = load(tmp_path, path="trees.csv")
    np.testing.assert_allclose(np.r_[data.x_train, data.x_val][:, 0], 0, atol=1e-6)


def test_a_byte_order_mark_and_spaces_are_no_part_of_a_columns_name(tmp_path):
    rows = "".join(f"{i}, {i % 2}\n" for i in range(20))
    (tmp_path / "a.csv").write_text(f"a, b\n{rows}", encoding="utf-8-sig")
    assert load(tmp_path, path="a.csv", target="b").outputs == 2
    assert load(tmp_path, path="a.csv", target="a", task="regression").shape == (1,)


def test_an_npz_file_may_hold_a_test_part_of_its_own(tmp_path):
    x, y = np.arange(80.0).reshape(20, 2, 2), np.arange(20) % 2
    np.savez(tmp_path / "plain.npz", x=x, y=y)
    assert load(tmp_path, path="plain.npz").shape == (2, 2)
    np.savez(tmp_path / "apart.npz", x_train=x, y_train=y, x_test=x[:4], y_test=y[:4])
    data = load(tmp_path, path="apart.npz", standardize=False)
    np.testing.assert_array_equal(data.x_test, x[:4])
    assert violations_of(tmp_path, path="apart.npz", test=0.2) == [
        ("test", "these data have a test part of their own", "0.2")
    ]


def test_a_function_may_return_data_with_or_without_a_test_part(tmp_path):
    (tmp_path / "own.py").write_text(
        "import numpy as np\n"
        "x, y = np.arange(40.0).reshape(20, 2), [0, 1] * 10\n"
        "def plain(): return x, y\n"
        "def apart(): return (x, y), (x[:4], y[:4])\n"
    )
    assert len(load(tmp_path, python="own:plain").y_test) == 0
    assert load(tmp_path, python="own.py:apart").y_test.tolist() == [0, 1, 0, 1]


def test_images_that_keras_fetches_have_a_channel_and_a_test_part(fetched, capsys):
    assert "mnist" in FETCHED
    rng = np.random.default_rng(0)
    (x, y), (x_test, y_test) = (
        (rng.integers(0, 256, shape, "uint8"), np.arange(shape[0]) % 3) for shape in MNIST
    )
    fetched((x, y[:, None]), (x_test, y_test[:, None]))
    data = load(name="mnist", validation=20)
    assert capsys.readouterr() == ("", "Downloading data\n")  # results alone go to stdout
    assert (data.shape, data.outputs) == ((4, 4, 1), 3)
    np.testing.assert_array_equal(data.y_test, y_test)
    np.testing.assert_allclose(data.as_given(data.x_test)[..., 0], x_test, atol=1e-3)


def test_a_download_that_fails_is_reported(monkeypatch):
    import keras

    def fail():
        raise Exception("URL fetch failure on https://x: None -- no such host\nmore")  # noqa: TRY002

    monkeypatch.setattr(keras.datasets.mnist, "load_data", fail)
    ((key, rule, received),) = violations_of(name="mnist")
    assert (key, rule) == ("name", "Keras must have the data, or be able to fetch them")
    assert received.startswith("Exception: URL fetch failure on https://x: None -- no such host (")


HEADER = "must be a CSV file with a header"
ROWS = "".join(f"{i}.5,{i},{i % 2}\n" for i in range(20))  # valid lines of a,b,c
# text of a CSV file, and the violation: key, rule, what was received
INVALID_CSV = {
    "empty": ("", ("path", HEADER, "nothing in the first line")),
    "header alone": (
        "a,b,c\n", ("path", "must hold a feature, the target, and examples", "0 rows of 3 columns"),
    ),
    "one column": (
        "a\n1\n2\n",
        ("path", "must hold a feature, the target, and examples", "2 rows of 1 columns"),
    ),
    "semicolons": (
        "a;b;c\n" + ROWS.replace(",", ";"),
        ("path", "columns must be separated by commas", "'a;b;c'"),
    ),
    "no header": (ROWS, ("path", "the first line must be a header", "0.5,0,0")),
    "no header, and spaces": (
        ROWS.replace(",", ", "), ("path", "the first line must be a header", "0.5,0,0"),
    ),
    "no header, and words": (
        ROWS.replace(",1\n", ",oak\n"), ("path", "the first line must be a header", "0.5,0,0"),
    ),
    "an index without a name": (
        ",b,c\n" + ROWS, ("path", "every column must have a name", ",b,c"),
    ),
    "two columns of one name": ("a,a,c\n" + ROWS, ("path", "column names must differ", "'a'")),
    "a line that is too long": (
        f"a,b,c\n{ROWS}1,2,3,4\n",
        ("path", HEADER, "Error tokenizing data. C error: Expected 3 fields in line 22, saw 4"),
    ),
    "lines that are all too long": (
        "a,b\n" + ROWS, ("path", HEADER, "more values than names"),
    ),
    "text where a number is wanted": (
        f"a,b,c\n{ROWS}tall,2,1\n", ("path", "column a must be finite numbers", "tall in line 22"),
    ),
    "two columns of text": (
        "a,b,c\n" + "x,y,1\n" * 3 + "x,y,0\n" * 3,
        ("path", "column a must be finite numbers", "x in line 2"),
        ("path", "column b must be finite numbers", "y in line 2"),
    ),
    "an infinite number": (
        f"a,b,c\n{ROWS}inf,2,1\n", ("path", "column a must be finite numbers", "inf in line 22"),
    ),
    "a missing value": (
        f"a,b,c\n{ROWS},2,1\n,3,0\n",
        ("path", "column a must have a value in every row",
         "2 without one, the first in line 22"),
    ),
    "a missing label": (
        f"a,b,c\n{ROWS}1,2,\n",
        ("path", "column c must have a value in every row", "1 without one, the first in line 22"),
    ),
    "a single class": (
        "a,b,c\n" + ROWS.replace(",1\n", ",0\n"),
        ("", "the target must have at least two values", "0 everywhere"),
    ),
    "a constant quantity": (
        "a,b,c\n" + "1,2,0.5\n2,3,0.5\n",
        ("", "the target must have at least two values", "0.5 everywhere"),
    ),
    "one example of a class": (
        f"a,b,c\n{ROWS}1,2,7\n",
        ("task", "classification needs two examples of every class", "one of 7, among 3 classes"),
    ),
    "numbers too large for training": (
        f"a,b,c\n{ROWS}1e99,2,1\n",
        ("", "x must be finite numbers, as float32 too",
         "1 of 21 otherwise, the first at index 20"),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("text", "violations"), [(t, ls) for t, *ls in INVALID_CSV.values()],
                         ids=INVALID_CSV)  # fmt: skip
def test_everything_wrong_with_a_csv_file_is_reported(tmp_path, text, violations):
    (tmp_path / "a.csv").write_text(text)
    assert violations_of(tmp_path, path="a.csv") == violations


def test_a_parquet_file_without_columns_is_rejected(tmp_path):
    pd.DataFrame().to_parquet(tmp_path / "a.parquet")
    assert violations_of(tmp_path, path="a.parquet") == [
        ("path", "must hold a feature, the target, and examples", "0 rows of 0 columns")
    ]


@pytest.mark.parametrize("suffix", ["csv", "parquet", "npz"])
@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n\xff\xfe\0", b"PK\x03\x04\xff"])
def test_a_file_with_other_content_is_rejected(tmp_path, suffix, content):
    (tmp_path / f"a.{suffix}").write_bytes(content)
    ((key, rule, _),) = violations_of(tmp_path, path=f"a.{suffix}")
    assert (key, rule.startswith("must be a")) == ("path", True)


def test_a_path_without_a_file_is_rejected(tmp_path):
    (tmp_path / "directory.csv").mkdir()
    for path in ("nowhere.csv", "directory.csv"):
        assert violations_of(tmp_path, path=path) == [
            ("path", "must be a file", repr(str(tmp_path / path)))
        ]


def test_a_misspelt_target_is_reported_with_the_most_similar_column(tmp_path, table):
    with pytest.raises(ViolationError, match=r"target: must name a column. Did you mean kind\?"):
        load(tmp_path, path="trees.csv", target="kindd")


@pytest.mark.parametrize(
    ("column", "received"),
    [
        (pd.date_range("2020", periods=60), "2020-01-01 00:00:00 in row 1"),
        (["1", "2"] * 30, "1 in row 1"),
        ([[1], [2]] * 30, "[1] in row 1"),
    ],
    ids=["dates", "words for numbers", "lists"],
)
def test_a_parquet_column_must_be_numbers(tmp_path, table, column, received):
    table.insert(0, "odd", column)
    table.to_parquet(tmp_path / "trees.parquet")
    assert violations_of(tmp_path, path="trees.parquet") == [
        ("path", "column odd must be finite numbers", received)
    ]


X, Y = np.arange(40.0).reshape(20, 2), np.arange(20) % 2
SHAPES = "x must have the shape (examples, ...) and y (examples,)"
INVALID_ARRAYS = {
    "other names": ({"a": X, "b": Y}, "a, b"),
    "half a test part": ({"x_train": X, "y_train": Y, "x_test": X}, "x_train, y_train, x_test"),
    "nothing": ({}, "no array"),
}


@pytest.mark.parametrize(("arrays", "received"), INVALID_ARRAYS.values(), ids=INVALID_ARRAYS)
def test_an_npz_file_holds_arrays_of_known_names(tmp_path, arrays, received):
    np.savez(tmp_path / "a.npz", **arrays)
    rule = "must be an NPZ file with x and y, or with x_train, y_train, x_test and y_test"
    assert violations_of(tmp_path, path="a.npz") == [("path", rule, received)]


def test_nothing_that_is_pickled_in_an_npz_file_is_executed(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "executed",))

    np.savez(tmp_path / "a.npz", x=np.array([[Bomb()]], dtype=object), y=Y[:1])
    ((key, _, received),) = violations_of(tmp_path, path="a.npz")
    assert (key, "allow_pickle=False" in received) == ("path", True)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("x", "y", "rule", "received"),
    [
        (X, Y[:-1], SHAPES, "(20, 2) and (19,)"),
        (X, Y[:, None], SHAPES, "(20, 2) and (20, 1)"),
        (X[:, 0], Y, SHAPES, "(20,) and (20,)"),
        (X[:0], Y[:0], "there must be examples, and features in each", "x of the shape (0, 2)"),
        (X.astype(complex), Y, "x must be numbers", "complex128"),
        (np.where(X > 38, np.nan, X), Y, "x must be finite numbers, as float32 too",
         "1 of 20 otherwise, the first at index 19"),
        (X, np.where(Y, np.nan, 1.0), "every example must have a label",
         "10 of 20 otherwise, the first at index 1"),
    ],
    ids=["lengths", "target of two axes", "no features' axis", "empty", "complex", "NaN",
         "NaN labels"],
)  # fmt: skip
def test_arrays_that_are_no_examples_are_rejected(tmp_path, x, y, rule, received):
    np.savez(tmp_path / "a.npz", x=x, y=y)
    assert violations_of(tmp_path, path="a.npz") == [("", rule, received)]


def test_a_test_part_must_be_like_the_rest(tmp_path):
    np.savez(tmp_path / "a.npz", x_train=X, y_train=Y, x_test=X[:, :1], y_test=Y)
    rule = "examples of the test part must have the shape of the others"
    assert violations_of(tmp_path, path="a.npz") == [("", rule, "(1,) and (2,)")]
    np.savez(tmp_path / "a.npz", x_train=X, y_train=Y, x_test=X, y_test=Y + 1)
    rule = "the test part must not have classes of its own"
    assert violations_of(tmp_path, path="a.npz") == [("", rule, "'2'")]


SPLIT = "must leave examples on both sides, as many as there are classes"


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"validation": 149}, ("validation", SPLIT, "149 of 150 examples")),
        ({"validation": 2}, ("validation", SPLIT, "2 of 150 examples")),
        ({"validation": 1000}, ("validation", SPLIT, "1000 of 150 examples")),
        ({"validation": 0.2, "test": 150}, ("test", SPLIT, "150 of 150 examples")),
        ({"shape": [3, 2]}, ("shape", "must hold as many numbers as an example, 4", "[3, 2]")),
    ],
)  # fmt: skip
def test_parts_and_shapes_that_the_data_do_not_allow_are_rejected(spec, expected):
    assert violations_of(name="iris", **spec) == [expected]


def test_words_are_no_target_of_a_regression(tmp_path, table):
    assert violations_of(tmp_path, path="trees.csv", task="regression") == [
        ("task", "the target of a regression must be numbers", "'ash'")
    ]


RETURN = "own:{name} must return (x, y), or (x, y), (x_test, y_test)"
INVALID_CODE = {
    "no module": ("absent:load", "absent must be importable",
                  "ModuleNotFoundError: No module named 'absent'"),
    "no file": ("absent.py:load", "absent.py must be importable",
                "FileNotFoundError: there is no {home}/absent.py"),
    "no function": ("own:lode", "must name a function of own", "'lode'"),
    "no callable": ("own:number", "must name a function of own", "'number'"),
    "syntax": ("bad:load", "bad must be importable",
               "SyntaxError: invalid syntax (bad.py, line 2)"),
    "fails when imported": ("worse:load", "worse must be importable",
                            "ZeroDivisionError: division by zero (worse.py:1)"),
    "leaves when imported": ("leaves:load", "leaves must be importable",
                             "SystemExit: 3 (leaves.py:2)"),
    "raises": ("own:fails", "own:fails must run without arguments",
               "KeyError: 'no such row' (own.py:7)"),
    "wants arguments": ("own:wants", "own:wants must run without arguments",
                        "TypeError: wants() missing 1 required positional argument: 'rows'"),
    "nothing": ("own:nothing", RETURN, "NoneType"),
    "one array": ("own:alone", RETURN, "ndarray"),
    "three": ("own:three", RETURN, "tuple of 3"),
}  # fmt: skip


@pytest.mark.parametrize(("reference", "rule", "received"), INVALID_CODE.values(), ids=INVALID_CODE)
def test_what_is_wrong_with_a_function_is_reported_with_its_line(
    tmp_path, reference, rule, received
):
    (tmp_path / "own.py").write_text(
        "import numpy as np\n"
        "number = 3\n"
        "def load(): return np.eye(2), [0, 1]\n"
        "def nothing(): pass\n"
        "def alone(): return np.eye(3)\n"
        "def three(): return 1, 2, 3\n"
        "def fails(): return {}['no such row']\n"
        "def wants(rows): pass\n"
    )
    (tmp_path / "bad.py").write_text("import os\ndef load(:\n")
    (tmp_path / "worse.py").write_text("1 / 0\n")
    (tmp_path / "leaves.py").write_text("import sys\nsys.exit(3)\n")
    name = reference.partition(":")[2]
    rule, received = rule.format(name=name), received.format(home=tmp_path)
    assert violations_of(tmp_path, python=reference) == [("python", rule, received)]


def test_a_misspelt_function_is_reported_with_the_most_similar_one(tmp_path):
    (tmp_path / "own.py").write_text("from math import sin\ndef load(): pass\n")
    with pytest.raises(ViolationError, match=r"Did you mean load\?"):
        load(tmp_path, python="own:lode")
    with pytest.raises(ViolationError, match=r"Use one of: load\.$"):  # not what it imports
        load(tmp_path, python="own:sine")


def test_arrays_of_a_function_must_be_arrays(tmp_path):
    (tmp_path / "own.py").write_text(
        "def ragged(): return [[1, 2], [3]], [0, 1]\n"
        "def unlabelled(): return [[1], [2], [3]], ['a', None, 'b']\n"
    )
    ((_, rule, received),) = violations_of(tmp_path, python="own:ragged")
    assert (rule, received[:11]) == ("x and y must be arrays", "ValueError:")
    ((_, rule, received),) = violations_of(tmp_path, python="own:unlabelled")
    assert rule == "every example must have a label"
    assert received == "1 of 3 otherwise, the first at index 1"


HEAD = """\
import collections
import numpy as np, pandas as pd, scipy.sparse
from decimal import Decimal
X, Y = np.random.default_rng(0).random((20, 3)), np.arange(20) % 2
N, M = X.astype(object), [[1], [2, 3]] * 10
class Raises:
    def __array__(self, *_, **__):
        raise RuntimeError("no array")
"""
ARRAYS, FINITE = "x and y must be arrays", "x must be finite numbers, as float32 too"
LABELLED, KINDS = "every example must have a label", "y must be numbers or words"
EMPTY = "there must be examples, and features in each"
PAIR = RETURN.format(name="load")
TWO, MASKED = "the target must have at least two values", "x and y must have no masked values"
OWN_CLASS = "the test part must not have classes of its own"
RETURNED = {  # what a function returns: the rule that it violates, and what is received
    "None": (PAIR, "NoneType"),
    "3": (PAIR, "int"),
    "'xy'": (PAIR, "str"),
    "()": (PAIR, "tuple of 0"),
    "(X,)": (PAIR, "tuple of 1"),
    "(X, Y, X, Y)": (PAIR, "tuple of 4"),
    "((X, Y), (X, Y), (X, Y))": (PAIR, "tuple of 3"),
    "{'x': X, 'y': Y}": (PAIR, "dict of 2"),
    "{1, 2}": (PAIR, "set"),
    "(n for n in X)": (PAIR, "generator"),
    "pd.DataFrame(X)": (PAIR, "DataFrame"),
    "np.eye(2)": (PAIR, "ndarray"),
    "dict": (PAIR, "type"),
    "({'a': X, 'b': X}, Y)": (ARRAYS, "dict of 2"),
    "(X, {'y': Y})": (ARRAYS, "dict of 1"),
    "(None, None)": (ARRAYS, "NoneType"),
    "((n for n in X), Y)": (ARRAYS, "generator"),
    "('x', 'y')": (ARRAYS, "str"),
    "(1, 2)": (ARRAYS, "int"),
    "(np.array(1.0), Y)": (ARRAYS, "ndarray"),
    "(scipy.sparse.csr_matrix(X), Y)": (ARRAYS, "csr_matrix"),
    "(scipy.sparse.csr_array(X), Y)": (ARRAYS, "csr_array"),
    "({1, 2}, Y)": (ARRAYS, "set"),
    "(b'abc', Y)": (ARRAYS, "bytes"),
    "(Raises(), Y)": (ARRAYS, "RuntimeError: no array (own.py:8)"),
    "((X, Y), (None, None))": (ARRAYS, "NoneType"),
    "(np.ma.masked_equal(X, X[0, 0]), Y)": (MASKED, "1 of them"),
    "([], [])": (SHAPES, "(0,) and (0,)"),
    "(X[:, 0], Y)": (SHAPES, "(20,) and (20,)"),
    "(X, Y[:-1])": (SHAPES, "(20, 3) and (19,)"),
    "(X, np.eye(2)[Y])": (SHAPES, "(20, 3) and (20, 2)"),
    "(pd.DataFrame(X), pd.DataFrame(Y))": (SHAPES, "(20, 3) and (20, 1)"),
    "((X, Y), (X, Y[:, None]))": (f"of the test part: {SHAPES}", "(20, 3) and (20, 1)"),
    "(X[:0], Y[:0])": (EMPTY, "x of the shape (0, 3)"),
    "(X[:, :0], Y)": (EMPTY, "x of the shape (20, 0)"),
    "((X, Y), (X[:0], Y[:0]))": (f"of the test part: {EMPTY}", "x of the shape (0, 3)"),
    "(N, Y)": ("x must be numbers", "object"),
    "(X.astype('U9'), Y)": ("x must be numbers", "str288"),
    "(X.astype(complex), Y)": ("x must be numbers", "complex128"),
    "(X.astype('M8[s]'), Y)": ("x must be numbers", "datetime64[s]"),
    "(np.where(X == X[0], np.nan, X), Y)": (FINITE, "1 of 20 otherwise, the first at index 0"),
    "(X * 1e300, Y)": (FINITE, "20 of 20 otherwise, the first at index 0"),
    "(X, np.where(Y, np.nan, 1))": (LABELLED, "10 of 20 otherwise, the first at index 1"),
    "(X, ['a', None] * 10)": (LABELLED, "10 of 20 otherwise, the first at index 1"),
    "(X, np.arange(20) * 1e300)": (
        "y must be finite numbers, as float32 too", "19 of 20 otherwise, the first at index 1"),
    "(X, Y.astype(complex))": (KINDS, "complex128"),
    "(X, Y.astype('M8[s]'))": (KINDS, "datetime64[s]"),
    "(X, np.zeros(20, [('a', float)]))": (KINDS, "void64"),
    "(X, np.array(M, object))": (KINDS, "list of 1"),
    "(X, np.array([{}] * 20))": (KINDS, "dict of 0"),
    "(X, [Decimal(1), Decimal(2)] * 10)": (KINDS, "Decimal"),
    "(X, Y * 0)": (TWO, "0 everywhere"),
    "(X[:1], Y[:1])": (TWO, "0 everywhere"),
    "(X, range(20))": ("classification needs two examples of every class",
                       "one of 0, among 20 classes"),
    "((X, Y), (X, Y.astype(str)))": (OWN_CLASS, "'0'"),
}  # fmt: skip


@pytest.mark.parametrize(("returned", "expected"), RETURNED.items(), ids=RETURNED)
def test_a_returned_value_that_is_no_data_is_reported(tmp_path, returned, expected):
    (tmp_path / "own.py").write_text(f"{HEAD}def load(): return {returned}\n")
    ((key, rule, received),) = violations_of(tmp_path, python="own:load")
    assert key in ("", "python", "task")
    assert (rule, received) == expected


@pytest.mark.parametrize(
    ("returned", "labels"),
    [
        ("collections.namedtuple('Data', 'x y')(X, Y)", (0, 1)),
        ("[X.tolist(), Y.tolist()]", (0, 1)),
        ("(pd.DataFrame(X), pd.Series(Y).astype('category'))", (0, 1)),
        ("(X.astype('>f4'), Y > 0)", (False, True)),
        ("(X.astype(np.float16), np.array([b'a', b'\\xff'] * 10))", ("\\xff", "a")),
        ("(X, np.array(['a', 'b'] * 10, np.dtypes.StringDType()))", ("a", "b")),
        ("(X > 0.5, np.array([1, 'a'] * 10, object))", ("1", "a")),
    ],
)
def test_many_kinds_of_arrays_are_data(tmp_path, returned, labels):
    (tmp_path / "own.py").write_text(f"{HEAD}def load(): return {returned}\n")
    data = load(tmp_path, python="own:load")
    assert (data.labels, data.shape, data.x_train.dtype) == (labels, (3,), np.float32)


@pytest.mark.parametrize(
    ("returned", "hint"),
    [
        ("{'x': X, 'y': Y}", 'Return arrays, as in: return data["x"], data["y"]'),
        ("(scipy.sparse.csr_array(X), Y)", "Return x.toarray()."),
        ("(iter(X), Y)", "Return arrays, as in: return np.array(list(x)), np.array(list(y))"),
        ("pd.DataFrame(X)", 'Return table.drop(columns="y"), table["y"].'),
        ("None", "End the function with: return x, y"),
    ],
)
def test_the_hint_says_how_to_convert_a_returned_value(tmp_path, returned, hint):
    (tmp_path / "own.py").write_text(f"{HEAD}def load(): return {returned}\n")
    with pytest.raises(ViolationError) as caught:
        load(tmp_path, python="own:load")
    assert [violation.hint for violation in caught.value.violations] == [hint]


def test_a_file_beside_the_recipe_comes_before_an_installed_module(tmp_path):
    (tmp_path / "random.py").write_text(
        "import helpers\ndef load(): return [[i] for i in range(20)], helpers.labels\n"
    )
    (tmp_path / "helpers.py").write_text("labels = ['a', 'b'] * 10\n")
    before = list(sys.path)
    assert load(tmp_path, python="random:load").labels == ("a", "b")
    assert sys.path == before
    assert not hasattr(sys.modules.get("random"), "load")


def test_an_edited_file_is_read_again(tmp_path):
    edited = "def load(): return [[i] for i in range(9)], [0, 1, 2] * 3\n"
    (tmp_path / "own.py").write_text("def load(): pass".ljust(len(edited)))
    assert violations_of(tmp_path, python="own:load")
    (tmp_path / "own.py").write_text(edited)  # as long as it was, and in the same second
    assert load(tmp_path, python="own:load", validation=3).outputs == 3
