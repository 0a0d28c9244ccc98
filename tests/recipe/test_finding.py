"""A recipe is named by its path, or by a name wherever one works."""

import pytest

from kbn.errors import RecipeError
from kbn.recipe.finding import SHIPPED, find, names
from kbn.recipe.loading import load_recipe


@pytest.fixture
def put(workspace, recipe_file):
    """Makes a recipe at a path below the working directory, named as its file."""

    def make(path):
        file = workspace / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(recipe_file.read_text().replace("name: quick", f"name: {file.stem}"))
        return path

    return make


def test_a_shipped_recipe_is_found_by_name_in_an_empty_directory(workspace, recipes):
    found = {name: find(name) for name in names()}
    assert found == {file.stem: str(file) for file in recipes.rglob("*.yaml")}
    assert "custom_model" in found
    assert load_recipe("custom_model").home == SHIPPED / "custom_model"


def test_a_recipe_below_recipes_comes_before_the_shipped_one_of_its_name(put):
    assert find("digits_mlp") == str(SHIPPED / "digits_mlp.yaml")
    below = put("recipes/aside/digits_mlp.yaml")
    assert find("digits_mlp") == below
    direct = put("recipes/digits_mlp.yaml")
    assert find("digits_mlp") == direct
    assert load_recipe("digits_mlp").dataset.name == "iris"


def test_a_name_that_two_files_below_recipes_have_is_rejected_with_both(put):
    put("recipes/a/mine.yaml"), put("recipes/b/mine.yaml")
    with pytest.raises(RecipeError) as error:
        load_recipe("mine")
    assert str(error.value) == (
        "mine: must name a single recipe; got recipes/a/mine.yaml, recipes/b/mine.yaml. "
        "Write the path of one."
    )


def test_an_existing_file_is_a_path_and_a_directory_does_not_hide_a_name(put, workspace):
    (workspace / put("digits_mlp.yaml")).rename(workspace / "digits_mlp")
    assert find("digits_mlp") == "digits_mlp"
    (workspace / "digits_softmax").mkdir()
    assert find("digits_softmax") == str(SHIPPED / "digits_softmax.yaml")


@pytest.mark.parametrize(
    ("given", "rule"),
    [
        ("digts_mlp", "must be a recipe's name or a readable file"),
        ("recipes/digits_mlp.yaml", "must be a readable file"),
    ],
)
def test_what_is_not_there_is_rejected_with_the_name_that_was_meant(workspace, given, rule):
    with pytest.raises(RecipeError) as error:
        load_recipe(given)
    assert str(error.value) == (
        f"{given}: {rule}; got no such file or directory. Did you mean digits_mlp? "
        "List the recipes here: kbn ls"
    )


def test_names_lists_what_can_be_found(put):
    put("recipes/mine.yaml"), put("recipes/more/other.yaml"), put("recipes/with space.yaml")
    assert {"mine", "other", "digits_mlp"} <= set(names())
    assert "with space" not in names()
    for name in names():
        load_recipe(name)
