from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from kbn.errors import ViolationError
from recipe.loaders import load, violations_of


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
    "an infinite number": (
        f"a,b,c\n{ROWS}inf,2,1\n", ("path", "column a must be finite numbers", "inf in line 22"),
    ),
    "a column without values": (
        "a,b,c\n" + ",2,1\n,3,0\n" * 5,
        ("path", "column a must have values", "a gap in every row"),
    ),
    "a word among dates": (
        "a,b,c\n" + "2026-01-01,2,1\n2026-01-02,3,0\n" * 5 + "soon,3,0\n",
        ("path", "column a must be dates like 2026-11-26T12:30", "soon in line 12"),
    ),
    "a date that is in no calendar": (
        "a,b,c\n" + "2026-01-01,2,1\n2026-01-02,3,0\n" * 5 + "2026-02-30,3,0\n",
        ("path", "column a must be dates like 2026-11-26T12:30", "2026-02-30 in line 12"),
    ),
    "identifiers": (
        "a,b,c\n" + "".join(f"id{i},{i},{i % 2}\n" for i in range(30)),
        ("path", "column a must have words that recur, or a kind",
         "30 different ones in 30 rows"),
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
        ("path", "column a must be finite numbers", "1e+99 in line 22"),
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
    [([[1], [2]] * 30, "[1] in row 1"), ([b"a", b"b"] * 30, "b'a' in row 1")],
    ids=["lists", "bytes"],
)
def test_a_parquet_column_must_be_numbers_words_or_dates(tmp_path, table, column, received):
    table.insert(0, "odd", column)
    table.to_parquet(tmp_path / "trees.parquet")
    assert violations_of(tmp_path, path="trees.parquet") == [
        ("path", "column odd must be numbers, words or dates", received)
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
