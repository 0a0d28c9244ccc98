"""A recipe drafted from data: what is found in them decides what is written."""

from pathlib import Path

import numpy as np
import pytest

from kbn.errors import RecipeError
from kbn.recipe.datasets import load_dataset
from kbn.recipe.drafting import draft
from kbn.recipe.loading import load_recipe
from kbn.recipe.starting import write_recipe


@pytest.fixture
def drafted(workspace):
    """Writes the recipe that is drafted from a file, and loads it and its data."""

    def make(file, target=None, name="mine"):
        recipe = load_recipe(write_recipe(name, draft(name, file, target), {}))
        return recipe, load_dataset(recipe.dataset, recipe.search.seed, recipe.home)

    return make


@pytest.fixture
def saved(workspace):
    """Saves arrays as an NPZ file."""

    def save(**arrays):
        np.savez(workspace / "data.npz", **arrays)
        return workspace / "data.npz"

    return save


@pytest.mark.parametrize("file", ["trees.csv", "trees.parquet"])
def test_the_last_column_of_a_table_is_its_target(table, workspace, drafted, file):
    recipe, data = drafted(workspace / file)
    assert (recipe.dataset.path, recipe.dataset.target) == (f"../{file}", "kind")
    assert (recipe.dataset.task, recipe.objective.metric) == ("classification", "val_accuracy")
    assert data.labels == ("ash", "oak")
    assert f"# Predict kind from the other 2 columns of {file}." in recipe.written
    assert "2 classes: ash, oak" in recipe.written
    assert "accuracy of 0.67" in recipe.written  # two of three are oaks
    assert [len(y) for y in (data.y_train, data.y_val, data.y_test)] == [36, 12, 12]
    assert recipe.search.final.refit


def test_a_column_of_fractions_is_a_quantity(table, workspace, drafted):
    table["kind"] = np.arange(60)
    table.to_csv("trees.csv", index=False)
    recipe, data = drafted(workspace / "trees.csv", "size")
    assert (recipe.dataset.task, recipe.objective.metric) == ("regression", "val_mae")
    assert recipe.objective.direction == "min"
    assert not data.classification
    assert f"from {table['size'].min():.4g} to {table['size'].max():.4g}" in recipe.written


def test_whole_numbers_of_which_one_occurs_once_are_a_quantity(table, workspace, drafted):
    table["kind"] = np.arange(60) // 2
    table.to_csv("trees.csv", index=False)
    assert drafted(workspace / "trees.csv")[0].dataset.task == "classification"
    table.loc[0, "kind"] = 99
    table.to_csv("trees.csv", index=False)
    recipe, _ = drafted(workspace / "trees.csv")
    assert recipe.dataset.task == "regression"
    assert "some of which occur only once" in " ".join(recipe.written.split("\n# "))


def test_of_many_small_classes_the_validation_part_holds_each_and_no_test_part_is_made(
    table, workspace, drafted
):
    table["kind"] = [f"kind {n % 20}" for n in range(60)]
    table.to_csv("trees.csv", index=False)
    recipe, data = drafted(workspace / "trees.csv")
    assert set(data.y_val) == set(data.y_train) == set(range(20))
    assert recipe.dataset.test is None
    assert not recipe.search.final.refit
    assert "too few for a test part" in recipe.written


def test_images_get_a_cnn_and_keep_the_test_part_of_their_file(drafted, saved):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 8, 8, 1)), np.arange(60) % 3
    recipe, data = drafted(saved(x_train=x, y_train=y, x_test=x[:6], y_test=y[:6]))
    assert recipe.model.name == "cnn"
    assert recipe.dataset.test is None
    assert len(data.y_test) == 6
    assert recipe.search.final.refit
    assert "60 examples of the shape (8, 8, 1) and 6 more" in recipe.written


def test_more_examples_get_larger_batches_more_units_and_fewer_epochs(drafted, saved):
    rng = np.random.default_rng(0)
    found = []
    for count in (60, 3000, 30_000):
        recipe, data = drafted(saved(x=rng.normal(size=(count, 32)), y=rng.normal(size=count)))
        space = recipe.space
        assert len(data.y_train) > max(space["batch_size"].values)
        found.append((space["batch_size"].values, space["units"].high, recipe.search.epochs))
    sizes, units, epochs = zip(*found, strict=True)
    assert list(sizes) == [[4, 8, 16], [16, 32, 64, 128], [64, 128, 256, 512]]
    assert list(units) == [16, 256, 256]
    assert list(epochs) == [30, 11, 5]


@pytest.mark.parametrize(
    "column", ["two words", "a, b: {c}", "1e3x", "true", "#", "'", '"', "dé", "x" * 90]
)
def test_a_column_may_have_any_name(table, workspace, drafted, column):
    table = table.rename(columns={"kind": column})
    table.to_csv("trees.csv", index=False)
    assert drafted(workspace / "trees.csv")[0].dataset.target == column


def test_a_path_is_relative_to_the_recipe_only_below_the_working_directory(
    table, workspace, drafted, monkeypatch
):
    inside = workspace / "project"
    inside.mkdir()
    monkeypatch.chdir(inside)
    assert drafted(workspace / "trees.csv")[0].dataset.path == str(workspace / "trees.csv")
    (workspace / "trees.csv").rename(inside / "my trees.csv")
    assert drafted(inside / "my trees.csv", name="again")[0].dataset.path == "../my trees.csv"


@pytest.mark.parametrize(
    ("file", "target", "message"),
    [
        ("nowhere.csv", None, "nowhere.csv: must be a file; got 'nowhere.csv'. Fix the path."),
        ("trees.txt", None, "trees.txt: must end with .csv, .parquet, .npz; got 'trees.txt'."),
        (
            "trees.csv",
            "knd",
            "trees.csv: target: must name a column; got 'knd'. Did you mean kind?",
        ),
        ("data.npz", "kind", "data.npz: target: only a table has columns; got 'kind'. Remove"),
        ("odd.csv", "age", "odd.csv: column size must be finite numbers; got tall in line 2"),
        ("semi.csv", None, "semi.csv: columns must be separated by commas"),
        ("same.csv", None, "same.csv: the target must have at least two values; got a everywhere."),
    ],
)
def test_bad_data_are_rejected_with_the_file_and_the_rule(
    table, workspace, saved, file, target, message
):
    table.to_csv("semi.csv", index=False, sep=";")
    table.assign(kind="a").to_csv("same.csv", index=False)
    odd = table.astype({"size": object})
    odd.loc[0, "size"] = "tall"
    odd.to_csv("odd.csv", index=False)
    saved(x=[[1.0]], y=[1])
    with pytest.raises(RecipeError) as error:
        draft("mine", Path(file), target)
    assert str(error.value).startswith(message)


def test_identifiers_are_left_out_and_free_text_is_a_text(table, workspace, drafted):
    table.insert(0, "row", np.arange(60))
    table.insert(1, "name", [f"t{n}" for n in range(60)])
    table.insert(2, "note", [f"it is tree number {n}" for n in range(60)])
    table.insert(3, "site", ["hill", "river", None] * 20)
    table.to_csv("trees.csv", index=False)
    recipe, data = drafted(workspace / "trees.csv")
    assert recipe.dataset.columns == {"row": "ignore", "name": "ignore", "note": "text"}
    kinds = {"note": "text", "site": "category", "size": "number", "age": "number"}
    assert data.preprocessing.kinds == kinds
    text = " ".join(recipe.written.split("\n# "))
    assert "number: size, age" in text
    assert "category: site" in text
    assert "Left out, as they only name the rows or are empty: row, name." in text
