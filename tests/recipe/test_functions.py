import sys

import numpy as np
import pytest

from kbn.errors import ViolationError
from recipe.loaders import load, violations_of

SHAPES = "x must have the shape (examples, ...) and y (examples,)"


def test_a_function_may_return_data_with_or_without_a_test_part(tmp_path):
    (tmp_path / "own.py").write_text(
        "import numpy as np\n"
        "x, y = np.arange(40.0).reshape(20, 2), [0, 1] * 10\n"
        "def plain(): return x, y\n"
        "def apart(): return (x, y), (x[:4], y[:4])\n"
    )
    assert len(load(tmp_path, python="own:plain").y_test) == 0
    assert load(tmp_path, python="own.py:apart").y_test.tolist() == [0, 1, 0, 1]


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
    "({}, Y)": ("a dict of inputs must hold an array", "{}"),
    "({'a': X, 'b c': X}, Y)": (
        "the name of an input must be a letter, then letters, digits and _", "'b c'"),
    "({'a': X, 3: X}, Y)": (
        "the name of an input must be a letter, then letters, digits and _", "3"),
    "({'a': X, 'b': {'c': X}}, Y)": (ARRAYS, "dict of 1"),
    "({'a': X, 'b': X[1:]}, Y)": (
        'x["b"] must have the shape (examples, ...) and y (examples,)', "(19, 3) and (20,)"),
    "({'a': X, 'b': X[:, 0]}, Y)": (
        'x["b"] must have the shape (examples, ...) and y (examples,)', "(20,) and (20,)"),
    "({'a': X, 'b': N}, Y)": ('x["b"] must be numbers', "object"),
    "({'a': X, 'b': X * 1e300}, Y)": (
        'x["b"] must be finite numbers, as float32 too',
        "20 of 20 otherwise, the first at index 0"),
    "(({'a': X}, Y), ({'b': X}, Y))": (
        "examples of the test part must have the shape of the others",
        "{'b': (3,)} and {'a': (3,)}"),
    "(({'a': X}, Y), (X, Y))": (
        "examples of the test part must have the shape of the others", "(3,) and {'a': (3,)}"),
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
