import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from kbn.cli.main import cli
from kbn.tracking.journal import Journal


@pytest.fixture
def kbn(workspace):
    """Calls kbn in an empty working directory."""
    return lambda *arguments: CliRunner().invoke(cli, list(map(str, arguments)))


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
    assert result.stdout == f"{recipe_file}: good; 7 trials of 2 epochs over 2 hyperparameters\n"


def test_ls_tells_how_far_every_search_is(kbn, recipe_file, workspace):
    (workspace / "broken.yaml").write_text("name: [")
    journal = Journal(workspace / "searches" / "quick" / "journal")
    for trial, score in (("0", 0.5), ("1", 0.75)):
        number = journal.begin(trial, {})
        journal.end(trial, number, "COMPLETED", {}, score=score)
    rows = json.loads(kbn("ls", workspace, "--json").stdout)
    assert [row["state"] for row in rows] == ["wrong", "2/3 trials, best 0.7500"]
    assert rows[0]["about"].startswith(f"{workspace}/broken.yaml:1: must be YAML")
    assert rows[1]["about"] == "A quick look at softmax regression."
    lines = kbn("ls", workspace).stdout.splitlines()
    assert len(lines) == 2
    assert lines[1].startswith(str(recipe_file))


def test_usage_errors_end_with_2_and_suggest_what_was_meant(kbn):
    result = kbn("tun")
    assert result.exit_code == 2
    assert "Did you mean 'tune'?" in result.stderr
    assert kbn("ls", "nowhere").exit_code == 2


def test_ui_without_a_store_ends_with_5_and_the_cure(kbn):
    result = kbn("ui")
    assert result.exit_code == 5
    assert "First: kbn tune" in result.stderr


def test_an_error_inside_ends_with_1_and_debug_shows_where(kbn, recipe_file, monkeypatch):
    def fail(*_):
        raise ZeroDivisionError("inside")

    monkeypatch.setattr("kbn.recipe.loading.load_recipe", fail)
    result = kbn("check", recipe_file)
    assert result.exit_code == 1
    assert result.stderr.startswith("inside\n")
    assert "--debug" in result.stderr
    shown = kbn("check", recipe_file, "--debug")
    assert isinstance(shown.exception, ZeroDivisionError)


@pytest.mark.parametrize("arguments", [["--help"], ["check"], ["ls"]])
def test_commands_that_only_look_import_nothing_heavy(arguments, recipe_file, workspace):
    if arguments[0] != "--help":
        arguments = [*arguments, str(recipe_file if arguments == ["check"] else workspace)]
    program = (
        "import sys; from kbn.cli.main import cli\n"
        "try: cli(sys.argv[1:])\n"
        "finally:\n"
        "    heavy = {'tensorflow', 'keras', 'keras_tuner', 'mlflow', 'pandas', 'scipy', 'numpy'}\n"
        "    assert not heavy & sys.modules.keys(), heavy & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", program, *arguments], check=True, capture_output=True)
