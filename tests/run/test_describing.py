"""What a search's page in MLflow says of it."""

import re

import pytest

from kbn.recipe.loading import load_recipe, make_recipe
from kbn.report.results import Results
from kbn.run.describing import description, twice_as_long
from report.builders import importance_of, search_of, trial


@pytest.fixture
def search():
    """The first of three trials is a baseline; two hyperparameters."""
    scores = (0.5, 0.75, 0.625)
    trials = [trial(n, {"rate": 10.0**-n, "tuner/a": 1}, score) for n, score in enumerate(scores)]
    measured = importance_of(rate=(0.75, 0.5, 1.0))
    return search_of(Results(tuple(trials), "max"), metric="auc", given=1, importance=measured)


def test_a_description_has_the_best_values_the_gain_the_importance_and_what_goes_on(
    search, recipe_file
):
    recipe = load_recipe(recipe_file, ["search.trials=3", "search.seed=2", "dataset.name=iris"])
    outcome, values, gain, importance, *_, commands = description(recipe, search).split("\n\n")
    assert outcome == "3 of 3 trials finished. The best is trial 01: auc 0.75 (higher is better)."
    assert values == "Its values: rate **0.1**."
    assert gain.startswith("That is 0.25 better than 0.5, the best score of the first trial")
    assert importance.startswith("rate mattered most: 75 %")
    given = "search.seed=2 dataset.name=iris"
    assert commands.splitlines() == [
        f"    kbn best quick.yaml search.trials=3 {given}",
        f"    kbn tune quick.yaml {given} search.trials=6",
    ]


def test_a_description_shows_no_password_and_no_markup_of_others(search, recipe_file):
    uri = "tracking.uri=http://me:secret@host"
    (failed,) = [trial(9, {}, None, "FAILED", "E: [a](http://b) <b>*c*")]
    results = search.results.of([*search.results.trials, failed])
    text = description(load_recipe(recipe_file, [uri]), search_of(results))
    assert "secret" not in text
    assert r"E: \[a\](http://b) \<b\>\*c\*" in text


def test_of_a_recipe_without_a_file_no_commands_are_named(search, recipe_file):
    recipe = make_recipe(load_recipe(recipe_file).model_dump(mode="json"))
    assert not re.search("^ ", description(recipe, search), re.MULTILINE)


def test_a_search_goes_on_to_twice_its_trials(search, recipe_file):
    recipe = load_recipe(recipe_file, ["search.trials=2"])
    assert twice_as_long(recipe, search.results, ["search.trials=3", "a=1"]) == [
        "a=1",
        "search.trials=6",
    ]
    longer = load_recipe(recipe_file, ["search.trials=5"])
    assert twice_as_long(longer, search.results, []) == ["search.trials=10"]
