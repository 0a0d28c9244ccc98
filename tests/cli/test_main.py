import errno
import json
import os
import subprocess
import sys

import pytest
from click.shell_completion import ShellComplete

from kbn.cli.main import cli
from kbn.search.scales import SCALES
from kbn.tracking.journal import Journal


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


def test_what_the_machine_refuses_is_no_fault_of_kbn(kbn, recipe_file, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "here")

    monkeypatch.setattr("kbn.recipe.loading.load_recipe", refuse)
    result = kbn("check", recipe_file)
    assert result.exit_code == 1
    assert result.stderr.startswith("here: the machine refused it: No space left on device. Make")
    assert "fault of kbn" not in result.stderr


LOOKS = ["--help", "ls", "ls .", "show", "check", "schema", "best"]


@pytest.mark.slow
@pytest.mark.parametrize("command", LOOKS)
def test_commands_that_only_look_import_nothing_heavy(command, finished):
    names = ["small.yaml"] if command in ("show", "check", "best") else []
    heavy = "{'tensorflow', 'keras', 'keras_tuner', 'mlflow', 'pandas', 'scipy', 'numpy'}"
    program = (
        "import sys; from kbn.cli.main import cli\n"
        "try: cli(sys.argv[1:])\n"
        f"finally: assert not {heavy} & sys.modules.keys(), {heavy} & sys.modules.keys()"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program, *command.split(), *names],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout


@pytest.mark.parametrize("command", ["", *cli.commands])
def test_every_help_begins_with_what_it_is_for_and_examples(kbn, command):
    result = kbn(*command.split(), "--help")
    assert result.exit_code == 0
    first, blank, example, *_ = result.stdout.splitlines()
    assert first.endswith(".")
    assert blank == ""
    assert example.split()[:2] == ["kbn", command or "ls"]
    assert result.stdout.index(example) < result.stdout.index("Usage:")


@pytest.mark.parametrize(
    "command", ["ls", "new", "show", "check", "tune", "best", "report", "export", "push"]
)
def test_what_prints_a_result_prints_it_as_json_too(kbn, command):
    assert "--json" in kbn(command, "--help").stdout


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        (["tu"], {"tune"}),
        (["tune", "q"], {"quick.yaml"}),
        (["tune", "./q"], {"./quick.yaml"}),
        (["tune", "digits_"], {"digits_cnn", "digits_mlp", "digits_softmax"}),
        (["best", "digits_mlp", "search.se"], {"search.seed="}),
        (["tune", "quick.yaml", "search.tr"], {"search.trials=", "search.trial_timeout="}),
        (["best", "quick.yaml", "space.learning_rate.l"], {"space.learning_rate.low="}),
        (["best", "quick.yaml", "training.mi"], {"training.mixed_precision="}),
        (["best", "quick.yaml", "compare.s"], {"compare.seeds="}),
        (["best", "nowhere.yaml", "search.t"], set()),
        (["tune", "quick.yaml", "search.tuner=r"], {"search.tuner=random"}),
        (["tune", "quick.yaml", "search.tuner", "=", "g"], {"grid"}),  # as bash splits it
        (["tune", "quick.yaml", "search.tuner", "="], {"coarse_to_fine", "random", "grid"}),
        (
            ["tune", "quick.yaml", "space.any.scale="],
            {f"space.any.scale={name}" for name in SCALES},
        ),
        (
            ["tune", "quick.yaml", "training.optimizer=s"],
            {"training.optimizer=sgd"},
        ),
        (["tune", "quick.yaml", "training.jit"], {"training.jit_compile="}),
        (
            ["tune", "quick.yaml", "tracking.enabled="],
            {"tracking.enabled=true", "tracking.enabled=false"},
        ),
        (["tune", "quick.yaml", "training.metrics=[au"], {"training.metrics=[auc]"}),
        (["tune", "quick.yaml", "search.trials="], set()),
    ],
)
def test_a_shell_completes_commands_recipes_keys_and_values(
    recipe_file, workspace, words, completed
):
    *before, last = words
    found = ShellComplete(cli, {}, "kbn", "_KBN_COMPLETE").get_completions(before, last)
    assert {item.value for item in found} == completed


def test_a_shell_completes_the_names_of_searches(finished):
    (item,) = ShellComplete(cli, {}, "kbn", "_KBN_COMPLETE").get_completions(["push"], "s")
    assert item.value == "small"


def test_push_finds_the_searches_of_a_comparison(kbn, workspace):
    for name in ("alone", "both/both-a-0", "both/both-b-0"):
        journal = Journal(workspace / "searches" / name / "journal")
        journal.end("0", journal.begin("0", {}), "COMPLETED", {}, score=0.5)
        journal.note("begin", target=None)
    told = [
        f"searches/{name}: was not tracked" for name in ("alone", "both/both-a-0", "both/both-b-0")
    ]
    assert kbn("push").stdout.splitlines() == told
    assert kbn("push", "both").stdout.splitlines() == told[1:]
    assert kbn("push", "alone").stdout.splitlines() == told[:1]
    assert json.loads(kbn("push", "alone", "--json").stdout) == {"searches/alone": told[:1]}
    assert kbn("push", "nowhere").exit_code == 4
