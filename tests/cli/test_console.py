"""What is printed is text, whatever it holds."""

import io
import json
import sys
from types import SimpleNamespace

import pytest

from kbn.cli import console
from kbn.cli.live import Display
from kbn.cli.painting import painter
from kbn.recipe.loading import load_recipe
from kbn.run.project import Project
from kbn.search.zoom import Round
from kbn.tracking.attempts import Attempt

NASTY = "<script>alert(1)</script> $x_{ [red]x[/red][/x] \x1b[31m\x9b1m\r\x07 \udce9 \u202e"
SHOWN = r"<script>alert(1)</script> $x_{ [red]x[/red][/x] \x1b[31m\x9b1m\r\x07 \udce9 \u202e"


def test_results_progress_and_errors_are_printed_as_text(capsys):
    console.show(NASTY)
    console.show_columns([(NASTY, "a\nb")])
    console.show_values({NASTY: NASTY})
    console.tell(NASTY)
    console.complain(NASTY)
    out, err = capsys.readouterr()
    assert out.splitlines() == [SHOWN, rf"{SHOWN}  a\nb", f"  {SHOWN}  {SHOWN}"]
    assert err.splitlines() == [SHOWN, SHOWN]


def test_prose_is_wrapped_below_its_beginning_on_a_terminal_alone(capsys, monkeypatch):
    rows = [("a", "one two three four five six seven"), ("longer", "")]
    console.show_columns(rows, prose=True)
    monkeypatch.setenv("COLUMNS", "32")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    console.show_columns(rows, prose=True)
    console.show_columns(rows)
    whole = ["a       one two three four five six seven", "longer"]
    wrapped = ["a       one two three four five", "        six seven", "longer"]
    assert capsys.readouterr().out.splitlines() == [*whole, *wrapped, *whole]


def test_json_holds_every_string_as_it_is(capsys):
    console.show_json({NASTY: NASTY + "\x7f"})
    assert json.loads(capsys.readouterr().out) == {NASTY: NASTY + "\x7f"}


def test_letters_that_a_stream_lacks_are_spelt_out(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    console.show("é日")
    stream.seek(0)
    assert stream.read() == "\\xe9\\u65e5\n"


@pytest.mark.parametrize("nasty", ["[red]x[/red][/x]", "a\x1b[31m\x9b1m", "caf\udce9\r"])
def test_the_display_of_a_search_shows_text(recipe_file, workspace, nasty, monkeypatch):
    monkeypatch.setenv("COLUMNS", "150")
    display = Display(project := Project(load_recipe(recipe_file)))
    failed = Attempt("0", 1, {}, 1000, ended=3000, status="FAILED", message=f"ValueError: {nasty}")
    box = {"learning_rate": [1e-4, 1.0], "batch_size": [16, 32], nasty: [nasty, "b"]}
    values = {"learning_rate": 0.1, "batch_size": 16, nasty: nasty}
    rounds = [Round(0, 0, 2, 1.0, (box,), 2, 3)]
    display.search(project, SimpleNamespace(rounds=rounds, past=(), prior=()))
    display.ended(failed)
    display.began("1", values)
    file = io.StringIO()
    painter(file).print(display)
    # the reason; then name, value and box
    assert file.getvalue().count(ascii(nasty.rstrip())[1:-1]) == 4
