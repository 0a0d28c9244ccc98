"""What the tests of recipes share: loading that succeeds, and what is reported where it fails."""

from pathlib import Path

import pytest

from kbn.errors import RecipeError, ViolationError
from kbn.recipe.data import DatasetSpec
from kbn.recipe.datasets import load_dataset
from kbn.recipe.loading import load_recipe

COMPARE = "compare:\n  seeds: 2\n  variants:\n    plain: {}\n"  # what follows a recipe


def load(home=Path(), seed=3, folds=None, **spec):
    """Load a data set as the section `dataset` of a recipe in a directory would."""
    return load_dataset(DatasetSpec(**spec), seed, home, folds)


def violations_of(home=Path(), **spec):
    """Return (key, rule, what was received) of everything wrong with a data set."""
    with pytest.raises(ViolationError) as caught:
        load(home, **spec)
    return [
        (violation.key, violation.rule, violation.shown) for violation in caught.value.violations
    ]


def faults_of(file, *overrides):
    """Return the messages about everything wrong with a recipe."""
    with pytest.raises(RecipeError) as caught:
        load_recipe(file, overrides)
    return [str(fault) for fault in caught.value.faults]
