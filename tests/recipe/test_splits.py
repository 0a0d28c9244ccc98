"""Parts by group, by time, and in files of their own; weights of examples."""

import numpy as np
import pandas as pd
import pytest

from kbn.errors import ViolationError
from recipe.loaders import load, violations_of

ROWS = 100


@pytest.fixture
def visits(tmp_path):
    """A table of visits, in no order of time, several a guest."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "guest": [f"g{number}" for number in rng.integers(0, 12, ROWS)],
            "day": rng.permutation(pd.date_range("2026-01-01", periods=ROWS).astype(str)),
            "number": rng.permutation(ROWS),
            "weight": rng.uniform(0.5, 4, ROWS).round(2),
            "label": np.arange(ROWS) % 2,
        }
    )
    frame.to_csv(tmp_path / "visits.csv", index=False)
    return frame


def save(path, frame):
    frame.to_csv(path, index=False)


FEATURES = {"day": "ignore", "weight": "ignore"}


def test_all_rows_of_a_group_are_on_one_side(tmp_path, visits):
    spec = {"split": {"by": "guest"}, "columns": FEATURES, "test": 0.2, "standardize": False}
    data = load(tmp_path, path="visits.csv", **spec)
    assert data.shape == (1,)  # the group is no feature
    group_of = dict(zip(visits["number"], visits["guest"], strict=True))
    parts = [{group_of[n] for n in x[:, 0]} for x in (data.x_train, data.x_val, data.x_test)]
    assert sum(map(len, parts)) == visits["guest"].nunique() == len(set.union(*parts))
    assert [len(part) for part in parts] == [8, 2, 2]
    assert sum(data.sizes) == ROWS
    again = load(tmp_path, path="visits.csv", **spec)
    np.testing.assert_array_equal(data.x_val, again.x_val)
    other = load(tmp_path, path="visits.csv", seed=8, **spec)
    assert not np.array_equal(data.x_val, other.x_val)


@pytest.mark.parametrize("column", ["day", "number"])
def test_the_latest_rows_test_and_those_before_them_validate(tmp_path, visits, column):
    columns = {"guest": "ignore", "weight": "ignore", "number": "number", "day": "ignore"}
    spec = {"split": {"time": column}, "columns": columns, "validation": 0.2, "test": 10}
    data = load(tmp_path, path="visits.csv", standardize=False, **spec)
    parts = [x[:, 0].tolist() for x in (data.x_train, data.x_val, data.x_test)]
    expected = visits.sort_values(column)["number"].tolist()
    assert parts == [expected[:70], expected[70:90], expected[90:]]


def test_folds_keep_groups_together_and_validate_on_what_follows_in_time(tmp_path, visits):
    group_of = dict(zip(visits["number"], visits["guest"], strict=True))
    columns = {**FEATURES, "number": "number", "guest": "ignore"}
    spec = {"columns": columns, "validation": None, "standardize": False}
    by_group = load(tmp_path, folds=3, path="visits.csv", split={"by": "guest"}, **spec).folds
    sides = [[{group_of[n] for n in x[:, 0]} for x in (d.x_train, d.x_val)] for d in by_group]
    assert all(not stays & goes for stays, goes in sides)
    assert sum(len(goes) for _, goes in sides) == visits["guest"].nunique()
    for fold in load(tmp_path, folds=3, path="visits.csv", split={"time": "number"}, **spec).folds:
        assert fold.x_train.max() < fold.x_val.min()
    with pytest.raises(ViolationError, match="every fold needs a group"):
        load(tmp_path, folds=20, path="visits.csv", split={"by": "guest"}, **spec)


def test_a_column_that_splits_is_a_feature_where_its_kind_is_said(tmp_path, visits):
    columns = {**FEATURES, "guest": "ignore", "day": "date"}
    data = load(tmp_path, path="visits.csv", split={"time": "day"}, columns=columns)
    assert data.preprocessing.kinds == {"day": "date", "number": "number"}


@pytest.mark.parametrize("suffix", ["csv", "npz"])
def test_parts_may_be_files_of_their_own(tmp_path, visits, suffix):
    frame = visits[["number", "weight", "label"]]
    files = {"path": frame[:60], "validation": frame[60:90], "test": frame[90:]}
    for key, part in files.items():
        if suffix == "csv":
            save(tmp_path / f"{key}.csv", part[["weight", "label", "number"]])  # in another order
        else:
            np.savez(tmp_path / key, x=part[["weight", "number"]], y=part["label"])
    target = {"target": "label"} if suffix == "csv" else {}
    named = {key: f"{key}.{suffix}" for key in files}
    data = load(tmp_path, standardize=False, **target, **named)
    assert data.sizes == (60, 30, 10)
    np.testing.assert_array_equal(data.x_val[:, 1], files["validation"]["number"])
    np.testing.assert_array_equal(data.y_test, files["test"]["label"])
    half = load(tmp_path, **target, path=named["path"], test=named["test"], validation=0.5)
    assert half.sizes == (30, 30, 10)


def test_weights_have_a_mean_of_one_and_are_no_feature(tmp_path, visits):
    columns = {"guest": "ignore", "day": "ignore"}
    spec = {"weights": "weight", "columns": columns, "standardize": False}
    data = load(tmp_path, path="visits.csv", **spec)
    assert data.shape == (1,)
    given = dict(zip(visits["number"], visits["weight"], strict=True))
    for x, w in ((data.x_train, data.w_train), (data.x_val, data.w_val)):
        own = np.array([given[n] for n in x[:, 0]])
        np.testing.assert_allclose(w, own / own.mean(), rtol=1e-5)
    np.testing.assert_allclose(data.class_counts().sum(), 80, rtol=1e-5)
    both = data.joined()
    assert len(both.w_train) == ROWS
    assert len(both.w_val) == 0


OTHER = {"path": "visits.csv", "target": "label"}
INVALID = {
    "no such group": (
        {"split": {"by": "gest"}}, ("split.by", "must name a column", "'gest'"),
    ),
    "the target as time": (
        {"target": None, "split": {"time": "label"}},
        ("split.time", "must not be the target, by default the last one", "'label'"),
    ),
    "no such weights": ({"weights": "wieght"}, ("weights", "must name a column", "'wieght'")),
    "negative weights": (
        {"weights": "bad", "split": {"by": "guest"}},
        ("weights", "weights must be >= 0", "-1 in line 3"),
    ),
    "words as weights": (
        {"weights": "guest"},
        ("weights", "column guest must be finite numbers", "g10 in line 2"),
    ),
    "words as time": (
        {"split": {"time": "guest"}},
        ("split.time", "column guest must be dates like 2026-11-26T12:30", "g10 in line 2"),
    ),
    "gaps in the group": (
        {"split": {"by": "gaps"}},
        ("split.by", "column gaps must have a value in every row",
         "1 without one, the first in line 6"),
    ),
    "too few groups": (
        {"split": {"by": "one"}},
        ("validation", "must leave examples on both sides", "20 of 100 examples, in 1 groups"),
    ),
    "too many of the latest": (
        {"split": {"time": "number"}, "validation": 100},
        ("validation", "must leave examples on both sides", "100 of 100 examples"),
    ),
    "no such file": ({"validation": "nowhere.csv"}, None),
    "other columns": (
        {"validation": "other.csv"}, ("validation", "must have the columns of path", "no number"),
    ),
    "words in another file": (
        {"test": "words.csv"},
        ("test", "column number must be finite numbers", "many in line 2"),
    ),
    "other classes": (
        {"test": "classes.csv"}, ("test", "the test part must not have classes of its own", "'7'"),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("spec", "expected"), INVALID.values(), ids=INVALID)
def test_what_the_table_does_not_allow_is_rejected(tmp_path, visits, spec, expected):
    visits.insert(0, "bad", [1.0, -1.0] * (ROWS // 2))
    visits.insert(0, "gaps", visits["guest"].where(visits.index != 4))
    visits.insert(0, "one", "same")
    save(tmp_path / "visits.csv", visits)
    save(tmp_path / "other.csv", visits.drop(columns="number"))
    save(tmp_path / "words.csv", visits.astype({"number": object}).assign(number="many"))
    save(tmp_path / "classes.csv", visits.assign(label=7))
    unsaid = {**OTHER, "columns": {"day": "ignore"}, **spec}
    if expected is None:
        expected = ("validation", "must be a file", repr(str(tmp_path / "nowhere.csv")))
    assert violations_of(tmp_path, **unsaid) == [expected]


def test_weights_that_are_all_zero_in_a_part_are_rejected(tmp_path, visits):
    visits["weight"] = (visits["number"] < 80).astype(float)
    save(tmp_path / "visits.csv", visits)
    spec = {"weights": "weight", "split": {"time": "number"}, "columns": {"day": "ignore"}}
    assert violations_of(tmp_path, path="visits.csv", **spec) == [
        ("weights", "must not all be 0 in a part", "20 in val")
    ]
