"""ls, show, check and schema, and what a wrong recipe comes to."""

import json
import os
from pathlib import Path

import pytest

from kbn.recipe.loading import load_recipe
from kbn.tracking.journal import Journal


def files_in(directory):
    return sorted(path.name for path in directory.iterdir())


@pytest.mark.parametrize("command", ["tune", "check"])
@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("iris", "irris", ":3: dataset.name: must name a known data set"),
        ("softmax}", "softmaxx}", ":4: model.name: must name a known model"),
        ("trials:", "trails:", ":6: search.trails: unknown key"),
        ("name: quick", "name: [", ": must be YAML"),
    ],
)
def test_a_wrong_recipe_ends_with_3_and_a_line_a_fault_before_anything_is_written(
    kbn, recipe_file, command, old, new, told
):
    recipe_file.write_text(recipe_file.read_text().replace(old, new))
    result = kbn(command, recipe_file)
    assert result.exit_code == 3
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert any(told in line for line in lines)
    assert all(line.startswith(str(recipe_file)) for line in lines)
    assert files_in(recipe_file.parent) == ["quick.yaml"]


def test_a_recipe_that_is_not_there_ends_with_3(kbn):
    result = kbn("tune", "nowhere.yaml")
    assert result.exit_code == 3
    assert result.stderr.startswith("nowhere.yaml: must be a readable file; got no such file")
    assert len(result.stderr.splitlines()) == 1


def test_check_says_what_a_sound_recipe_will_do(kbn, recipe_file):
    result = kbn("check", recipe_file, "search.trials=7")
    assert (result.exit_code, result.stderr) == (0, "")
    searched, unseen = result.stdout.splitlines()[0].rsplit("; ", 1)
    assert searched == f"{recipe_file}: good; 7 trials of 2 epochs over 2 hyperparameters"
    assert unseen == "its data and its model were not checked: add --full"


def test_ls_tells_how_far_every_search_is(kbn, recipe_file, workspace):
    (workspace / "broken.yaml").write_text("name: [")
    journal = Journal(workspace / "searches" / "quick" / "journal")
    for trial, score in (("0", 0.5), ("1", 0.75)):
        number = journal.begin(trial, {})
        journal.end(trial, number, "COMPLETED", {}, score=score)
    below = workspace / "below" / "other.yaml"
    below.parent.mkdir()
    below.write_text(recipe_file.read_text().replace("name: quick", "name: other"))
    rows = json.loads(kbn("ls", workspace, "--json").stdout)
    rows.sort(key=lambda row: row["recipe"] == str(below))
    assert [row["state"] for row in rows] == ["wrong", "2/3 trials, best 0.7500", "0/3 trials"]
    assert rows[0]["about"].startswith(f"{workspace}/broken.yaml:1: must be YAML")
    assert rows[1]["about"] == "A quick look at softmax regression."
    lines = kbn("ls", workspace).stdout.splitlines()
    assert len(lines) == 3
    assert lines[-1].startswith(str(recipe_file))


def test_ls_lists_the_recipes_below_recipes_and_the_shipped_ones_each_once(
    kbn, recipe_file, recipes
):
    shipped = sorted(file.stem for file in recipes.rglob("*.yaml"))
    rows = json.loads(kbn("ls", "--json").stdout)
    assert [row["recipe"] for row in rows] == shipped
    assert all(row["state"] != "wrong" for row in rows)
    own = recipe_file.parent / "recipes" / "more" / "digits_mlp.yaml"
    own.parent.mkdir(parents=True)
    own.write_text(recipe_file.read_text())
    shipped.remove("digits_mlp")
    rows = json.loads(kbn("ls", "--json").stdout)
    assert [row["recipe"] for row in rows] == ["recipes/more/digits_mlp.yaml", *shipped]
    for row in rows:
        assert kbn("check", row["recipe"]).exit_code == 0


def test_in_the_repository_ls_lists_every_recipe_by_its_path(kbn, recipes, monkeypatch):
    monkeypatch.chdir(recipes.parent)
    listed = [row["recipe"] for row in json.loads(kbn("ls", "--json").stdout)]
    assert listed == sorted(
        str(file.relative_to(recipes.parent)) for file in recipes.rglob("*.yaml")
    )


@pytest.mark.parametrize("command", ["tune", "show", "check", "best", "report", "export"])
def test_every_command_takes_a_recipe_by_name(kbn, command, recipe_file):
    options = {"tune": ["--dry-run"], "export": ["--to", "it.keras"]}.get(command, [])
    result = kbn(command, "digits_softmx", *options)
    assert result.exit_code == 3
    assert "Did you mean digits_softmax? List the recipes here: kbn ls" in result.stderr
    result = kbn(command, "digits_softmax", *options)
    # of a recipe that was found there is no search yet
    assert result.exit_code == (0 if command in ("tune", "show", "check") else 4), result.stderr
    assert files_in(recipe_file.parent) == ["quick.yaml"]


def test_check_tells_an_editor_every_fault_as_json(kbn, recipe_file):
    result = kbn("check", recipe_file, "search.trails=7", "model.name=sofmax", "--json")
    assert result.exit_code == 3
    faults = json.loads(result.stdout)["faults"]
    assert {fault["key"] for fault in faults} == {"search.trails", "model.name"}
    assert {fault["hint"] for fault in faults} == {"Did you mean trials?", "Did you mean softmax?"}
    assert json.loads(kbn("check", recipe_file, "--json").stdout) == {"faults": []}


def test_a_full_check_loads_the_data_and_builds_the_model(kbn, recipe_file):
    result = kbn("check", recipe_file, "--full")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.endswith(
        "the model builds, the examples are of the shape (4,): 120 for training, 30 for "
        "validation\n"
    )
    missing = "dataset={path: nowhere.csv}"
    assert kbn("check", recipe_file, missing).exit_code == 0
    result = kbn("check", recipe_file, missing, "--full")
    assert result.exit_code == 3
    assert "dataset.path: must be a file" in result.stderr
    assert files_in(recipe_file.parent) == ["quick.yaml"]


@pytest.mark.posix
def test_ls_lists_what_it_cannot_read_with_its_fault_and_goes_on(kbn, recipe_file, workspace):
    os.mkfifo(workspace / "pipe.yaml")
    (workspace / "zeros.yaml").symlink_to("/dev/zero")
    (workspace / "nowhere.yaml").symlink_to("absent")
    (workspace / "folder.yaml").mkdir()
    (workspace / "deep.yaml").write_text("a: " + "[" * 5000)
    (workspace / "surrogate.yaml").write_text('name: "\\ud800"\n')
    damaged = recipe_file.read_text().replace("name: quick", "name: damaged")
    (workspace / "damaged.yaml").write_text(damaged)
    journal = workspace / "searches" / "damaged" / "journal"
    journal.parent.mkdir(parents=True)
    journal.write_text("no directory")
    result = kbn("ls", workspace, "--json")
    assert result.exit_code == 0
    states = {Path(row["recipe"]).stem: row["state"] for row in json.loads(result.stdout)}
    broken = {"deep", "folder", "nowhere", "pipe", "surrogate", "zeros"}
    assert {name for name, state in states.items() if state == "wrong"} - {"damaged"} == broken
    assert states["quick"] == "0/3 trials"
    assert len(kbn("ls", workspace).stdout.splitlines()) == 8


def test_what_shows_a_recipe_runs_nothing_of_it(kbn, recipe_file, workspace):
    ran = workspace / "ran"
    code = f"import pathlib\npathlib.Path({str(ran)!r}).touch()\n"
    (workspace / "own.py").write_text(code)
    overrides = ["dataset={python: 'own:load'}", "model={python: 'own.py:build'}"]
    for command in ("show", "check", "best", "report"):
        kbn(command, recipe_file, *overrides)
        kbn(command, recipe_file, *overrides, COMPARE)
    text = recipe_file.read_text().replace("{name: softmax}", "{python: own:build}")
    recipe_file.write_text(text.replace("{name: iris, ", "{python: own:load, "))
    (row,) = json.loads(kbn("ls", workspace, "--json").stdout)
    assert row["state"] == "0/3 trials"
    assert not ran.exists()
    assert kbn("check", recipe_file, "--full").exit_code == 3
    assert ran.exists()
    for command in ("check", "tune", "export"):
        assert "own Python runs" in " ".join(kbn(command, "--help").stdout.split())


def test_no_command_prints_a_password_of_a_recipe(kbn, recipe_file):
    store = "tracking.uri=postgresql://user:s3cret@host/db"
    for call in (
        ["show", recipe_file, store],
        ["show", recipe_file, store, "--json"],
        ["check", recipe_file, store],
        ["check", recipe_file, store.replace("ql:", "s:")],
        ["check", recipe_file, store.replace("ql:", "s:"), "--json"],
        ["tune", recipe_file, store, "--dry-run"],
        ["tune", recipe_file, store, "--dry-run", "--json"],
    ):
        result = kbn(*call)
        assert "s3cret" not in result.stdout + result.stderr
    assert kbn("check", recipe_file, store.replace("ql:", ":")).exit_code == 3


def test_a_data_function_that_returns_no_data_ends_with_3(kbn, recipe_file, workspace):
    (workspace / "own.py").write_text("def load(): return {'a': [1]}, {'b': [2]}\n")
    result = kbn("check", recipe_file, "dataset={python: 'own:load'}", "--full")
    assert result.exit_code == 3
    assert result.stderr.startswith("command line: dataset: x and y must be arrays; got dict of 1.")


COMPARE = "compare={seeds: 2, variants: {plain: {}, short: {search.epochs: 1}}}"


def test_ls_counts_the_trials_of_all_searches_of_a_comparison(kbn, recipe_file, workspace):
    text = f"{recipe_file.read_text()}{COMPARE.replace('=', ': ', 1)}\n"
    recipe_file.write_text(text)
    journal = Journal(workspace / "searches" / "quick" / "quick-short-1" / "journal")
    journal.end("0", journal.begin("0", {}), "COMPLETED", {}, score=0.5)
    (row,) = json.loads(kbn("ls", workspace, "--json").stdout)
    assert row["state"] == "1/12 trials of 4 searches"


@pytest.mark.slow
def test_show_tells_the_recipe_with_its_defaults_and_where_its_search_stands(kbn, finished):
    result = kbn("show", "small.yaml")
    assert (result.exit_code, result.stderr) == (0, "")
    about, settings, space, standing = result.stdout.split("\n\n")
    assert about == "A network that is small enough for tests."
    keys = dict(line.split(maxsplit=1) for line in settings.splitlines())
    assert keys["search.trials"] == "3"
    assert keys["search.tuner"] == "coarse_to_fine"  # a default
    rows = [line.split() for line in space.splitlines()]
    assert rows[1] == ["learning_rate", "float", "0.001", "to", "0.1", "log", "1"]
    assert rows[3][-3:] == ["optimizer", "is", "sgd"]
    assert standing.startswith("searches/small: 3/3 trials, best ")


def test_every_key_that_show_tells_can_be_overridden(kbn, recipe_file):
    _, settings, *_ = kbn("show", recipe_file).stdout.split("\n\n")
    overrides = ["=".join(line.split(maxsplit=1)) for line in settings.splitlines()]
    again = load_recipe(recipe_file, overrides)
    assert again.model_dump() == load_recipe(recipe_file).model_dump()


def test_show_lists_the_variants_of_a_comparison_and_each_of_its_searches(kbn, recipe_file):
    result = kbn("show", recipe_file, COMPARE)
    *_, variants, standing = result.stdout.split("\n\n")
    assert [line.split() for line in variants.splitlines()] == [
        ["variant", "sets"],
        ["plain", "nothing"],
        ["short", "search.epochs=1"],
    ]
    assert standing.splitlines() == [
        f"searches/quick/quick-{name}: 0/3 trials"
        for name in ("plain-0", "short-0", "plain-1", "short-1")
    ]


def test_show_says_what_has_changed_since_the_search(kbn, finished):
    result = kbn("show", "small.yaml", "search.epochs=2")
    assert result.exit_code == 0
    assert "search.epochs: must stay as in the search so far, 1; got 2." in result.stdout


def test_shown_as_json_a_recipe_is_the_recipe_and_its_searches(kbn, finished):
    told = json.loads(kbn("show", "small.yaml", "--json").stdout)
    (search,) = told.pop("searches")
    assert told == load_recipe("small.yaml").model_dump(mode="json")
    assert (search["trials"], search["ended"], search["failed"]) == (3, 3, 0)
    journal = Journal(finished / "searches" / "small" / "journal")
    assert search["best"]["score"] == max(attempt.score for attempt in journal.attempts())


def test_the_schema_knows_every_key_of_a_recipe(kbn, recipes):
    schema = json.loads(kbn("schema").stdout)
    recipe = load_recipe(recipes / "digits_mlp.yaml").model_dump(mode="json")
    assert recipe.keys() == schema["properties"].keys()
    assert schema["$defs"]["SearchSpec"]["properties"].keys() == recipe["search"].keys()
    assert schema["additionalProperties"] is False
