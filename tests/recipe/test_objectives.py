"""Several objectives, and constraints, in recipes."""

import pytest

from kbn.errors import RecipeError
from kbn.recipe.loading import load_recipe, make_recipe
from kbn.recipe.schema import Recipe

BASE = {
    "name": "r",
    "dataset": {"name": "iris"},
    "model": {"name": "mlp"},
    "search": {"trials": 4, "epochs": 2},
    "space": {
        "learning_rate": {"type": "float", "low": 1e-3, "high": 1, "scale": "log"},
        "units": {"type": "int", "low": 2, "high": 64},
    },
}
ACCURACY, SIZE = {"metric": "val_accuracy"}, {"metric": "parameters"}


def faults_of(**given):
    with pytest.raises(RecipeError) as caught:
        make_recipe({**BASE, **given})
    return [(fault.key, str(fault)) for fault in caught.value.faults]


def test_the_first_of_several_objectives_is_the_objective_and_directions_follow_from_names():
    recipe = make_recipe({**BASE, "objectives": [ACCURACY, SIZE, {"metric": "inference_ms"}]})
    assert (recipe.objective.metric, recipe.objective.direction) == ("val_accuracy", "max")
    assert recipe.goals.objectives == (
        ("val_accuracy", "max"),
        ("parameters", "min"),
        ("inference_ms", "min"),
    )
    again = Recipe.model_validate(recipe.model_dump())  # as a variant of a comparison is made
    assert again.goals == recipe.goals


def test_constraints_go_with_one_objective_and_take_other_names_of_metrics():
    constraints = {"parameters": {"max": 500}, "val_AUC": {"min": 0.5, "max": 0.99}}
    recipe = make_recipe({**BASE, "objective": ACCURACY, "constraints": constraints})
    assert not recipe.goals.several
    words = recipe.goals.shown()["constraints"]
    assert words == "parameters max 500, val_auc min 0.5 max 0.99"


def test_one_objective_without_constraints_says_nothing_of_goals():
    recipe = make_recipe({**BASE, "objective": ACCURACY})
    assert recipe.goals.shown() == {}
    assert recipe.goals.names == ("val_accuracy",)


@pytest.mark.parametrize(
    ("given", "key", "words"),
    [
        ({}, "objective", "this key is needed"),
        (
            {"objectives": [ACCURACY, SIZE], "objective": {"metric": "val_loss"}},
            "objective",
            "stands beside objectives, and is not the first of them",
        ),
        ({"objectives": [ACCURACY]}, "objectives", "needs at least 2"),
        ({"objectives": 3}, "objectives", "must be a list"),
        (
            {"objectives": [ACCURACY, {"metric": "paramters", "direction": "min"}]},
            "objectives.1.metric",
            "Did you mean parameters?",
        ),
        (
            {"objectives": [{"metric": "val_acuracy", "direction": "max"}, SIZE]},
            "objectives.0.metric",
            "Did you mean val_accuracy?",
        ),
        (
            {"objectives": [ACCURACY, {"metric": "my_own"}]},
            "objectives.1.direction",
            "this key is needed",
        ),
        (
            {"objectives": [ACCURACY, {**SIZE, "direction": "max"}]},
            "objectives.1.direction",
            "lower parameters is better; got 'max'. Write direction: min.",
        ),
        ({"objectives": [ACCURACY, ACCURACY]}, "objectives.1.metric", "stands in objectives twice"),
        (
            {"objectives": [SIZE, ACCURACY]},
            "objectives.0.metric",
            "must be reported by epoch; got 'parameters'",
        ),
        ({"objective": SIZE}, "objective.metric", "must be reported by epoch"),
        (
            {"objective": ACCURACY, "constraints": {"model_byte": {"max": 3}}},
            "constraints.model_byte",
            "Did you mean model_bytes?",
        ),
        (
            {"objective": ACCURACY, "constraints": {"parameters": {}}},
            "constraints.parameters",
            "needs min, max or both",
        ),
        (
            {"objective": ACCURACY, "constraints": {"parameters": {"maximum": 4}}},
            "constraints.parameters.maximum",
            "Did you mean max?",
        ),
        (
            {"objective": ACCURACY, "constraints": {"val_auc": {"min": 0.9, "max": 0.8}}},
            "constraints.val_auc.min",
            "min <= max must hold; got 0.9",
        ),
        (
            {"objective": ACCURACY, "constraints": {"val_accuracy": {"max": 0.5}}},
            "constraints.val_accuracy.max",
            "max would exclude the best; got 0.5. Write min.",
        ),
        (
            {
                "objectives": [ACCURACY, SIZE],
                "search": {**BASE["search"], "until": {"parameters": 9}},
            },
            "search.until.parameters",
            "must name the objective, val_accuracy",
        ),
    ],
)
def test_what_is_wrong_with_objectives_is_said_where_it_stands(given, key, words):
    ((found, message),) = faults_of(**given)
    assert found == key
    assert words in message


def test_a_file_and_the_command_line_give_objectives(tmp_path):
    file = tmp_path / "r.yaml"
    file.write_text(
        "name: r\ndataset: {name: iris}\nmodel: {name: mlp}\n"
        "objectives:\n  - {metric: val_accuracy}\n  - {metric: paramters, direction: min}\n"
        "search: {trials: 2, epochs: 1}\nspace: {learning_rate: 0.1}\n"
    )
    with pytest.raises(RecipeError) as caught:
        load_recipe(file)
    (fault,) = caught.value.faults
    assert fault.line == 6
    override = "objectives=[{metric: val_accuracy}, {metric: parameters}]"
    assert load_recipe(file, [override]).goals.several
    single = ["objectives=null", "objective={metric: val_accuracy}"]
    assert not load_recipe(file, single).goals.several


def test_the_json_schema_asks_for_one_of_both():
    schema = Recipe.model_json_schema()
    assert not {"objective", "objectives", "constraints"} & set(schema["required"])
    assert schema["anyOf"] == [{"required": ["objective"]}, {"required": ["objectives"]}]
    assert {"objective", "objectives", "constraints"} <= schema["properties"].keys()
