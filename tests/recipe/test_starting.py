"""A new recipe made from another: all of it stays but the name, and what it names comes along."""

import re

import pytest

from kbn.errors import RecipeError
from kbn.recipe.finding import shipped
from kbn.recipe.loading import load_recipe
from kbn.recipe.reading import parse, word
from kbn.recipe.starting import copy_recipe, write_recipe


def renamed(recipe, name):
    data = recipe.model_dump()
    data["name"] = data["tracking"]["experiment"] = name
    return data


def comments(text):
    return [line for line in text.splitlines() if line.startswith("#")]


@pytest.mark.parametrize("name", shipped())
def test_a_copy_of_a_shipped_recipe_differs_in_its_name_alone(workspace, name):
    text, copies = copy_recipe("mine", name)
    file = write_recipe("mine", text, copies)
    old, new = load_recipe(name), load_recipe(file)
    assert new.model_dump() == renamed(old, "mine")
    assert len(comments(text)) == len(comments(old.written))
    commands = re.findall(r"kbn (\w+) (\S+)", "\n".join(comments(text)))
    assert commands
    assert {recipe for _, recipe in commands} == {"mine"}
    assert f"searches/{name}/" not in text
    for key in filter(None, (new.dataset.path, new.model.python and "model.py")):
        assert (new.home / key).read_bytes() == (old.home / key).read_bytes()


def test_a_copy_keeps_an_experiment_of_another_name(recipe_file):
    recipe_file.write_text(f"{recipe_file.read_text()}tracking: {{experiment: shared}}\n")
    text, _ = copy_recipe("mine", str(recipe_file))
    assert "experiment: shared" in text
    assert "name: mine" in text


@pytest.mark.parametrize("style", ["name: quick", "'name' :   'quick'   # kept", 'name: "quick"'])
def test_a_name_is_replaced_however_it_is_written(workspace, recipe_file, style):
    recipe_file.write_text(recipe_file.read_text().replace("name: quick", style))
    text, copies = copy_recipe("007", str(recipe_file))
    assert load_recipe(write_recipe("007", text, copies)).name == "007"
    assert ("# kept" in text) == ("# kept" in style)


@pytest.mark.parametrize(
    "text",
    [
        "plain",
        "two words",
        "a,b",
        "1e3",
        "10",
        "true",
        "null",
        "~",
        "",
        " ",
        "#",
        "é",
        "\x07\n",
        "a: b",
    ],
)
def test_a_word_is_read_as_it_was_written(text):
    assert parse(f"{{key: {word(text)}, other: 1}}", "a.yaml", {}) == (
        {"key": text, "other": 1},
        [],
    )


class TestFilesOfARecipe:
    @pytest.fixture
    def source(self, workspace, recipe_file, table):
        """A recipe of a table in another directory."""
        home = workspace / "elsewhere"
        (home / "data").mkdir(parents=True)
        (workspace / "trees.csv").rename(home / "data" / "trees.csv")
        text = recipe_file.read_text().replace("{name: iris,", "{path: data/trees.csv,")
        (home / "trees.yaml").write_text(text)
        return home / "trees.yaml"

    def test_are_to_be_copied_to_the_same_place_beside_the_new_one(self, source, workspace):
        _, copies = copy_recipe("mine", str(source))
        ((target, copied),) = copies.items()
        assert workspace / target == workspace / "recipes" / "data" / "trees.csv"
        assert copied == source.parent / "data" / "trees.csv"

    def test_replace_nothing_that_has_other_content(self, source, workspace):
        there = workspace / "recipes" / "data" / "trees.csv"
        there.parent.mkdir(parents=True)
        there.write_bytes((source.parent / "data" / "trees.csv").read_bytes())
        assert copy_recipe("mine", str(source))[1] == {}
        there.write_text("other")
        with pytest.raises(RecipeError, match="must not replace recipes/data/trees"):
            copy_recipe("mine", str(source))

    def test_are_those_of_its_variants_too(self, source):
        (source.parent / "more.csv").write_text("a,b\n1,2\n")
        variants = "{one: {}, more: {dataset.path: more.csv}}"
        source.write_text(f"{source.read_text()}compare: {{seeds: 1, variants: {variants}}}\n")
        names = {target.name for target in copy_recipe("mine", str(source))[1]}
        assert names == {"trees.csv", "more.csv"}

    def test_are_its_callbacks_too(self, source):
        (source.parent / "own.py").write_text("def make(): ...\n")
        callbacks = "[EarlyStopping, {python: own.py:make}]"
        source.write_text(f"{source.read_text()}training: {{callbacks: {callbacks}}}\n")
        names = {target.name for target in copy_recipe("mine", str(source))[1]}
        assert names == {"trees.csv", "own.py"}

    @pytest.mark.parametrize(
        ("path", "rule"),
        [
            ("nowhere.csv", "must be a file"),
            ("../above.csv", "must lie below the recipe to be copied with it"),
        ],
    )
    def test_that_cannot_be_copied_are_rejected_with_their_line(self, source, path, rule):
        (source.parents[1] / "above.csv").write_text("a,b\n1,2\n")
        source.write_text(source.read_text().replace("data/trees.csv", path))
        with pytest.raises(RecipeError) as error:
            copy_recipe("mine", str(source))
        assert str(error.value).startswith(f"{source}:3: dataset.path: {rule}; got ")

    def test_stay_where_they_are_if_their_path_is_absolute_or_the_directory_the_same(
        self, source, workspace
    ):
        data = source.parent / "data" / "trees.csv"
        source.write_text(source.read_text().replace("data/trees.csv", str(data)))
        assert copy_recipe("mine", str(source))[1] == {}
        source.write_text(source.read_text().replace(str(data), "../trees.csv"))
        data.rename(workspace / "trees.csv")
        source.parent.rename(workspace / "recipes")
        assert copy_recipe("mine", "trees")[1] == {}
