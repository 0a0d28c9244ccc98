"""kbn where there is no POSIX: what other systems lack, and their ways of doing it."""

import os
import select
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from rich.text import Text

from kbn.cli import process
from kbn.cli.painting import live


@pytest.fixture
def handlers():
    """Puts the handlers of signals back."""
    before = {number: signal.getsignal(number) for number in signal.valid_signals()}
    yield
    for number, handler in before.items():
        if handler is not signal.getsignal(number):
            signal.signal(number, handler)


# kbn in a process in which the modules that it uses lack what Windows lacks
WITHOUT = """
import os, select, shutil, signal, sys, types
shutil.os = types.SimpleNamespace(**vars(os))  # which has ways of its own where these are missing
for module, names in {
    os: ["O_NOFOLLOW", "O_NONBLOCK", "register_at_fork", "fork", "mkfifo"],
    signal: ["SIGHUP", "SIGPIPE", "SIGUSR1", "SIGUSR2", "pause"],
    select: ["poll"],
}.items():
    for name in names:
        delattr(module, name)
import kbn.files
from kbn.cli.main import cli
kbn.files.WINDOWS = True  # C's library keeps its name
cli(sys.argv[1:])
"""


@pytest.fixture
def without(workspace):
    """Calls kbn where POSIX's part of the standard library is missing; returns what it printed."""

    def call(*arguments):
        command = [sys.executable, "-c", WITHOUT, *arguments]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    return call


@pytest.mark.slow
@pytest.mark.posix
def test_without_what_only_posix_has_a_search_is_tuned_and_goes_on(without, recipe_file, workspace):
    tune = "tune", recipe_file.name, "tracking.enabled=false"
    for trials in "12":
        told = without(*tune, f"search.trials={trials}")
        assert f"({trials} of {trials} trials finished)" in told
    assert (workspace / "searches" / "quick" / "lock.held").exists()


@pytest.mark.posix
@pytest.mark.parametrize("command", ["ls", "show digits_mlp", "new mine", "check digits_mlp"])
def test_without_what_only_posix_has_every_other_command_runs(without, command):
    assert without(*command.split())


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["cp1252", "cp437", "ascii"])
def test_a_console_that_lacks_letters_shows_what_it_can(recipe_file, workspace, encoding):
    text = recipe_file.read_text("utf-8").replace(
        "A quick look", "\N{HIRAGANA LETTER A} \u2192 \xe9"
    )
    recipe_file.write_text(text, "utf-8")
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    kbn = [sys.executable, "-c", "from kbn.cli.main import cli; cli()"]
    for arguments in (["--help"], ["ls"], ["show", "quick.yaml"], ["check", "quick.yaml"],
                      ["check", "\u2713.yaml"], ["schema"]):  # fmt: skip
        ran = subprocess.run([*kbn, *arguments], capture_output=True, check=False, env=environment)
        wanted = 3 if "\u2713.yaml" in arguments else 0
        assert (ran.returncode, b"Error" in ran.stderr) == (wanted, False), ran.stderr
        assert ran.stdout.decode(encoding).isascii() or encoding != "ascii"


def test_the_live_display_spells_out_letters_that_the_terminal_lacks(tmp_path, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # makes the file a terminal
    with (tmp_path / "terminal").open("w", encoding="cp1252") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        with live(Text("caf\xe9 \u65e5")):
            pass
        monkeypatch.undo()
    assert "caf\xe9 \\u65e5" in (tmp_path / "terminal").read_text("cp1252")


def test_a_window_that_is_closed_ends_a_search_also_where_there_is_no_sighup(handlers, monkeypatch):
    monkeypatch.setattr(process, "SIGNALS", (signal.SIGINT, signal.SIGTERM))
    before = signal.getsignal(signal.SIGINT)
    process.end_on_signals()
    assert signal.getsignal(signal.SIGTERM) is process._terminate
    assert signal.getsignal(signal.SIGINT) is before


def test_without_poll_no_stream_is_held_for_closed(monkeypatch):
    monkeypatch.delattr(select, "poll", raising=False)
    assert not process.leave_closed_streams()


def test_a_line_for_the_shell_is_quoted_as_the_system_reads_it(monkeypatch):
    arguments = ["kbn", "tune", "my recipe.yaml", 'name="a b"']
    assert shlex.split(process.shell_line(arguments)) == arguments or process.WINDOWS
    monkeypatch.setattr(process, "WINDOWS", True)
    assert process.shell_line(arguments) == r'kbn tune "my recipe.yaml" "name=\"a b\""'


def test_a_program_of_this_environment_is_called_by_the_name_that_the_system_runs(
    tmp_path, monkeypatch
):
    program = tmp_path / "kbn.EXE"  # as Windows finds by PATHEXT
    program.write_bytes(b"")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python.exe"))
    monkeypatch.setattr(process.shutil, "which", lambda name, path=None: str(program))
    assert process.program("kbn") == "kbn"
    monkeypatch.setattr(process.shutil, "which", lambda name, path=None: path and str(program))
    monkeypatch.chdir(tmp_path)
    assert process.program("kbn") == "kbn.EXE"


def test_on_windows_a_program_runs_before_kbn_ends(monkeypatch):
    monkeypatch.setattr(process, "WINDOWS", True)
    monkeypatch.setattr(os, "execve", lambda *_: pytest.fail("the shell would not wait"))
    with pytest.raises(SystemExit) as ended:
        process.become([sys.executable, "-c", "raise SystemExit(3)"], dict(os.environ))
    assert ended.value.code == 3


def test_the_path_of_a_new_recipes_data_has_slashes(workspace):
    from kbn.recipe.drafting import path_from_recipes

    (workspace / "data").mkdir()
    assert path_from_recipes(Path("data", "trees.csv")) == "../data/trees.csv"
