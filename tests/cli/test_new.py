"""`kbn new` writes a recipe that works as it is."""

import json

import numpy as np
import pandas as pd
import pytest

from recipe.pictures import make_folder


@pytest.fixture
def trees(workspace):
    """A table of trees in the working directory."""
    rng = np.random.default_rng(0)
    size = rng.normal(5, 2, 60)
    kind = np.where(size > 5, "oak", "ash")
    frame = pd.DataFrame({"size": size, "age": size + rng.normal(size=60), "kind": kind})
    frame.to_csv(workspace / "trees.csv", index=False)
    frame.drop(columns="kind").to_csv(workspace / "ages.csv", index=False)


def files_below(directory):
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*.*"))


def test_a_new_recipe_is_one_more_that_every_command_knows(kbn, workspace):
    result = kbn("new", "mine")
    assert (result.exit_code, result.stdout) == (0, "recipes/mine.yaml\n")
    assert result.stderr.rstrip().endswith("tune mine")
    assert kbn("check", "mine").stdout.startswith("mine: good; 32 trials")
    first, *_ = json.loads(kbn("ls", "--json").stdout)
    assert first["recipe"] == "recipes/mine.yaml"
    assert "#   kbn tune mine " in (workspace / "recipes" / "mine.yaml").read_text()


def test_the_data_and_the_python_of_another_recipe_come_along(kbn, workspace):
    assert kbn("new", "table", "--from", "tabular").exit_code == 0
    result = kbn("new", "model", "--from", "custom_model", "--json")
    assert json.loads(result.stdout) == {
        "recipe": "recipes/model.yaml",
        "copies": ["recipes/model.py"],
    }
    assert kbn("new", "again", "--from", "recipes/table.yaml").exit_code == 0
    names = ["again.yaml", "data/wine.csv", "model.py", "model.yaml", "table.yaml"]
    assert files_below(workspace / "recipes") == names
    for name in ("again", "model"):
        result = kbn("check", name, "--full")
        assert result.exit_code == 0, result.stderr


def test_a_link_that_leads_nowhere_is_not_overwritten_either(kbn, workspace):
    link = workspace / "recipes" / "mine.yaml"
    link.parent.mkdir()
    link.symlink_to("nowhere")
    assert kbn("new", "mine").exit_code == 2
    assert link.is_symlink()


def test_nothing_of_the_python_that_is_copied_runs(kbn, recipe_file, workspace):
    (workspace / "own.py").write_text("raise SystemExit('it ran')\n")
    text = recipe_file.read_text().replace("{name: softmax}", "{python: own:build}")
    recipe_file.write_text(text.replace("{name: iris, ", "{python: own:load, "))
    result = kbn("new", "mine", "--from", recipe_file)
    assert result.exit_code == 0, result.stderr
    assert files_below(workspace / "recipes") == ["mine.yaml", "own.py"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["there"], "recipes/there.yaml exists. Choose another name"),
        (["with space"], "may contain only letters, digits, _ and -"),
        (["a/b"], "may contain only letters, digits, _ and -"),
        (["x" * 81], "may contain only letters, digits, _ and -"),
        (["aux"], "may not be the name of a device on Windows"),
        (["mine", "--from", "tabular", "--data", "trees.csv"], "Keep one of them"),
        (["mine", "--target", "kind"], "Add --data FILE"),
    ],
)
def test_what_cannot_be_written_is_a_usage_error(kbn, trees, workspace, options, told):
    kbn("new", "there", "--from", "digits_softmax")
    before = (workspace / "recipes" / "there.yaml").read_bytes()
    result = kbn("new", *options)
    assert result.exit_code == 2
    assert told in " ".join(result.stderr.split())
    assert files_below(workspace / "recipes") == ["there.yaml"]
    assert (workspace / "recipes" / "there.yaml").read_bytes() == before


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--data", "nowhere.csv"], "nowhere.csv: must be a file"),
        (["--data", "trees.csv", "--target", "knd"], "Did you mean kind?"),
        (["--data", "odd.csv"], "column size must be finite numbers; got tall in line 20"),
        (["--from", "tabulr"], "Did you mean tabular? List the recipes here: kbn ls"),
        (["--from", "bad.yaml"], "bad.yaml:1: must be a mapping of keys"),
    ],
)
def test_bad_data_or_a_bad_recipe_ends_with_3_and_writes_nothing(
    kbn, trees, workspace, options, told
):
    (workspace / "bad.yaml").write_text("[]")
    (workspace / "odd.csv").write_text("size,kind\n" + "1,a\n2,b\n" * 9 + "tall,a\n")
    result = kbn("new", "mine", *options)
    assert result.exit_code == 3
    assert told in result.stderr
    assert not (workspace / "recipes").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "metric"),
    [(["trees.csv"], "val_accuracy"), (["ages.csv", "--target", "age"], "val_mae")],
)
def test_a_recipe_for_a_table_passes_the_full_check_and_tunes(kbn, trees, options, metric):
    assert kbn("new", "mine", "--data", *options).stdout == "recipes/mine.yaml\n"
    result = kbn("check", "mine", "--full")
    assert (result.exit_code, result.stderr) == (0, "")
    short = ["search.trials=2", "search.epochs=2", "tracking.enabled=false"]
    result = kbn("tune", "mine", *short)
    assert result.exit_code == 0, result.stderr
    assert f"{metric} " in result.stdout
    assert "(2 of 2 trials finished)" in result.stdout
    assert kbn("best", "mine", *short).exit_code == 0


def test_a_recipe_for_a_folder_of_images_passes_the_full_check(kbn, workspace):
    make_folder(workspace / "photos", each=20)
    result = kbn("new", "mine", "--data", "photos/", "--target", "kind")
    assert (result.exit_code, "images have none" in result.stderr) == (2, True)
    assert kbn("new", "mine", "--data", "photos/").stdout == "recipes/mine.yaml\n"
    result = kbn("check", "mine", "--full")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "(8, 8, 3): 24 for training, 8 for validation" in result.stdout
    assert kbn("new", "other", "--from", "mine").exit_code == 0  # the folder stays where it is


def test_bad_images_end_with_3_and_write_nothing(kbn, workspace):
    make_folder(workspace / "photos", ("cats",))
    result = kbn("new", "mine", "--data", "photos")
    assert result.exit_code == 3
    rule = "must hold a sub-folder of images for each of at least two classes"
    assert result.stderr.startswith(f"photos: {rule}; got cats in photos.")
    assert [path.name for path in workspace.iterdir()] == ["photos"]
