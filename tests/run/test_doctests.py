import doctest
import importlib

import pytest


@pytest.mark.slow
@pytest.mark.parametrize("module", ["kbn.recipe.loading", "kbn.recipe.schema", "kbn.run.search"])
def test_the_examples_of_the_docstrings_run(module, workspace, recipes):
    (workspace / "recipes").symlink_to(recipes)
    outcome = doctest.testmod(importlib.import_module(module), raise_on_error=True)
    assert outcome.attempted > 0
