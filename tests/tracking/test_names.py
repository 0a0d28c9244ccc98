import numpy as np
import pytest
from mlflow.utils.validation import _validate_metric_name, _validate_param_name

from kbn.tracking.names import MOST, legal, original

STRANGE = [
    "units (1st)",
    "häufigkeit",
    "a:b",
    ":61:",
    "50%",
    "a//b",
    "../up",
    "/root",
    ".",
    "..",
    "",
    "a/./b",
    "naïve/λ=2",
    "tab\tnew\nline",
    "🙂",
]


def random_names():
    rng = np.random.default_rng(0)
    letters = list("abZ09_-. /:%(){}=äλ🙂\n")
    return ["".join(rng.choice(letters, rng.integers(1, 12))) for _ in range(500)]


@pytest.mark.parametrize("name", ["learning_rate", "tuner/epochs", "val_loss", "a b-c.d/e"])
def test_a_legal_name_stays_as_it_is(name):
    assert legal(name) == name == original(name)


def test_any_name_becomes_one_that_mlflow_takes_and_can_be_read_back():
    for name in STRANGE + random_names():
        _validate_metric_name(legal(name))
        _validate_param_name(legal(name))
        assert original(legal(name)) == name


def test_names_that_differ_stay_apart_also_where_they_are_too_long():
    names = {*STRANGE, *random_names(), "x" * 300, "x" * 301, "ä" * 200}
    assert len({legal(name) for name in names}) == len(names)
    assert max(map(len, map(legal, names))) <= MOST
