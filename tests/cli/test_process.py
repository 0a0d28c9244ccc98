"""kbn as a process: its streams, and the signals that end it."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys

import pytest

# a search that does as its first argument says in place of training, without TensorFlow
PROGRAM = """
import ctypes, json, os, signal, subprocess, sys, types

def prints():
    print("from Python")
    os.write(1, b"from the descriptor\\n")
    ctypes.CDLL(None).printf(b"from C\\n")
    subprocess.run(["echo", "from a child"])

def waits():
    print("begun", file=sys.stderr, flush=True)
    signal.pause()

def goes_on_printing():
    print("begun", file=sys.stderr, flush=True)
    sys.stdin.readline()
    for _ in range(3):
        try:
            print("an epoch", flush=True)
        except Exception:  # as KerasTuner takes what a trial raises
            pass
    print("this was not stopped", flush=True)

def makes_objects():
    import gc
    began = gc.get_stats()[0]["collections"]
    made = [[] for _ in range(200_000)]
    print(gc.get_stats()[0]["collections"] - began, "collections", file=sys.stderr)

def opens_a_file():
    with open("data", "w") as file:
        os.write(1, b"x")
        os.write(2, b"x")
        assert file.fileno() > 2

def tune(recipe, *, fresh, watch):
    globals()[what]()
    best = types.SimpleNamespace(trial="0", score=0.5, values={})
    results = types.SimpleNamespace(as_json=lambda: [])
    names = dict.fromkeys(("model", "report", "figure"), "here")
    return types.SimpleNamespace(recipe=recipe, best=best, test={}, results=results, **names)

# not imported: SciPy cannot be where stderr is closed, which the command sees to before it imports
stand_in = sys.modules["kbn.run.search"] = types.ModuleType("kbn.run.search")
stand_in.tune, stand_in.Search = tune, None
what, *arguments = sys.argv[1:]
from kbn.cli.main import cli
cli(arguments)
"""


def command(what, *arguments):
    return [sys.executable, "-c", PROGRAM, what, *map(str, arguments)]


@pytest.fixture
def start(recipe_file, workspace):
    """Starts `kbn tune` with a search that does as is said."""
    started = []

    def start(what, *arguments, **streams):
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
        line = command(what, "tune", recipe_file, *arguments)
        process = subprocess.Popen(line, stdin=subprocess.PIPE, text=True, **streams)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None and not stream.closed:
                stream.close()


def test_what_training_prints_anywhere_goes_to_stderr_and_stdout_is_json(start):
    out, err = start("prints", "--json").communicate(timeout=60)
    assert json.loads(out)["best"]["score"] == 0.5
    printed = {"from Python", "from the descriptor", "from C", "from a child"}
    assert printed <= {*err.splitlines()}


def test_objects_that_stay_are_seldom_searched_for_garbage(start):
    _, err = start("makes_objects").communicate(timeout=60)
    [found] = re.findall(r"(\d+) collections", err)
    assert int(found) < 10


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_a_signal_from_outside_ends_with_the_command_that_goes_on(start, number):
    process = start("waits")
    assert any(line == "begun\n" for line in process.stderr)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143
    assert err.startswith("Stopped; what has ended is saved. It goes on with: ")
    assert len(err.splitlines()) == 1


def test_a_terminal_that_is_closed_ends_it_quietly(start):
    process = start("waits")
    assert any(line == "begun\n" for line in process.stderr)
    process.stderr.close()  # what it says of its end nobody reads
    process.send_signal(signal.SIGHUP)
    assert process.communicate(timeout=60)[0] == ""
    assert process.returncode == 143


def test_nohup_lets_it_outlive_its_terminal(start):
    process = start("waits", preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    assert any(line == "begun\n" for line in process.stderr)
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 143
    assert "Stopped" in process.stderr.read()


def test_output_that_nobody_reads_any_more_ends_the_search_and_fails_no_trial(start):
    process = start("goes_on_printing", stderr=subprocess.STDOUT)  # 2>&1 | head
    assert any(line == "begun\n" for line in process.stdout)
    process.stdout.close()
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.wait(timeout=60) == 141


def test_a_result_that_nobody_reads_ends_without_a_word(workspace):
    read, write = os.pipe()
    os.close(read)
    ran = subprocess.run(
        command("waits", "schema"), stdout=write, stderr=subprocess.PIPE, timeout=60, check=False
    )
    os.close(write)
    assert (ran.returncode, ran.stderr) == (141, b"")


@pytest.mark.parametrize("closed", ["2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_streams_that_are_closed_at_the_start_are_no_place_for_files(
    recipe_file, workspace, closed
):
    line = f"{shlex.join(command('opens_a_file', 'tune', recipe_file, '--json'))} {closed}"
    ran = subprocess.run(["/bin/sh", "-c", line], capture_output=True, timeout=60, check=False)
    assert ran.returncode == 0
    assert (workspace / "data").read_text() == ""


def test_a_connection_that_breaks_is_no_stream_that_is_closed():
    program = (
        "import os, socket, kbn.cli.process as process\n"
        "process.settle_streams()\n"
        "read, write = os.pipe()\n"
        "os.close(read)\n"
        "try: os.write(write, b'.')\n"
        "except BrokenPipeError: print('goes on')\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert ran.stdout == "goes on\n"
