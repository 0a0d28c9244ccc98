"""What `kbn push` does with several searches, and what it prints."""

import json
import shutil
import sqlite3
from pathlib import Path

import pytest
from click.testing import CliRunner
from mlflow import MlflowClient

from kbn.cli.main import cli
from tracking.searches import begun_search, ended_search, here


@pytest.fixture
def searches(empty_store, workspace):
    """One that kbn did not write, one whose store is gone, one with a value too many, a good."""
    shutil.copy(empty_store, "mlflow.db")
    with sqlite3.connect("mlflow.db") as database:
        database.execute(
            "CREATE TRIGGER no BEFORE INSERT ON params WHEN NEW.key = 'of_7' "
            "BEGIN SELECT RAISE(ABORT, 'never that'); END"
        )
    database.close()
    ended_search(workspace / "searches" / "a", "0").note("file", path="/etc/passwd")
    ended_search(workspace / "searches" / "b", "0", "http://127.0.0.1:9")
    ended_search(workspace / "searches" / "c", "07")
    ended_search(workspace / "searches" / "d", "0")


def pushed(*arguments):
    return CliRunner().invoke(cli, ["push", *arguments])


def test_push_goes_on_after_searches_that_fail_and_its_exit_code_tells(searches):
    result = pushed()
    assert result.exit_code == 5
    assert result.stdout == f"searches/d: 1 attempts are in {here()}\n"
    assert "search.jsonl" in result.stderr
    assert "searches/b: http://127.0.0.1:9: the tracking store must answer. Got: Connection" in (
        result.stderr
    )
    assert f"searches/c: {here()} takes all but" in result.stderr
    assert "\n  trial 7: param of_7: never that\n" in result.stderr
    store = MlflowClient(here())
    runs = store.search_runs([store.get_experiment_by_name("e").experiment_id])
    assert len(runs) == 3 + 2
    assert {run.info.status for run in runs} == {"FINISHED"}


def test_push_prints_json_and_nothing_else_whatever_fails(searches):
    result = pushed("--json")
    assert result.exit_code == 5
    told = json.loads(result.stdout)
    assert list(told) == [f"searches/{name}" for name in "abcd"]
    assert told["searches/d"] == [f"searches/d: 1 attempts are in {here()}"]
    assert told["searches/c"][1] == "  trial 7: param of_7: never that"
    assert pushed("d", "--json").exit_code == 0


def test_push_of_a_search_whose_file_and_its_copy_are_lost_says_so(searches, workspace):
    journal = workspace / "searches" / "d" / "journal"
    for _ in range(2):  # the first one makes new files, which say no more than that
        for name in ("search.jsonl", "copy.jsonl"):
            (journal / name).unlink()
        result = pushed("d")
        assert result.exit_code == 1
        assert result.stdout == ""
        assert (
            "searches/d/journal/search.jsonl: the file must say where the search was tracked. Got "
            "one that was lost, so that its trials cannot be sent. Restore it from a copy, or start"
        ) in result.stderr
        result = pushed("d")
        assert "Got one that was lost" in result.stderr
    begun_search(workspace / "searches" / "d")  # as a start of the search does
    assert pushed("d").stdout == f"searches/d: 1 attempts are in {here()}\n"


def test_push_of_a_search_that_is_not_trusted_has_the_exit_code_of_that(searches):
    assert pushed("a").exit_code == 1
    assert pushed("a", "d").exit_code == 1


def test_push_prints_no_sql_where_the_database_is_no_database(searches, capfd):
    Path("mlflow.db").write_bytes(b"nothing of SQLite's" * 99)
    result = pushed("d")
    assert result.exit_code == 5
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"searches/d: {here()}: file is not a database. The journal in ")
    assert capfd.readouterr().err == ""
