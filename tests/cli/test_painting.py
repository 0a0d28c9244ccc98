"""The live display when the window is resized, and when Ctrl-Z suspends the process."""

import io
import os
import signal
import subprocess
import sys

import pytest
from rich.console import Console
from rich.text import Text

from kbn.cli.painting import Frame

UP_AND_ERASED = "\x1b[1A\x1b[2K"


def painted(frame, width):
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    console.print(frame)
    return console.file.getvalue()


@pytest.mark.parametrize(
    ("width", "broken"),
    [
        (20, 0),
        (30, 0),
        (10, 1),  # the line of 20 letters takes two
        (9, 3),  # it takes three, and that of 10 two
    ],
)
def test_lines_that_a_narrower_window_broke_are_erased_too(width, broken):
    frame = Frame(Text("a" * 20 + "\n" + "b" * 10))
    assert UP_AND_ERASED not in painted(frame, 20)
    assert painted(frame, width).count(UP_AND_ERASED) == broken
    assert UP_AND_ERASED not in painted(frame, width)


DISPLAY = """
import os, sys
from rich.text import Text
from kbn.cli.painting import live

with live(Text("the display\\nof two lines")):
    os.write(1, b"painted")
    sys.stdin.readline()
"""


@pytest.mark.posix
@pytest.mark.timeout(60)
def test_a_suspended_display_is_erased_and_painted_again():
    main, terminal = os.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", DISPLAY],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=terminal,
        env={**os.environ, "TERM": "xterm"},
        process_group=0,  # the system suspends no group whose members have no parent outside it
    ) as child:
        os.close(terminal)
        assert child.stdout.read(7) == b"painted"
        child.send_signal(signal.SIGTSTP)
        _, status = os.waitpid(child.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        before = os.read(main, 65536).decode()
        child.send_signal(signal.SIGCONT)
        child.communicate(b"\n", timeout=60)
    after = os.read(main, 65536).decode()
    os.close(main)
    assert "of two lines" in before
    assert before.endswith(UP_AND_ERASED)
    assert before.count("\x1b[?25l") == before.count("\x1b[?25h") == 1  # the cursor is shown
    until, display, _ = after.partition("the display\r\nof two lines")
    assert display
    assert UP_AND_ERASED not in until  # what the shell printed meanwhile stays
    assert child.returncode == 0
