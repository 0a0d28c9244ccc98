"""A journal in a store that refuses something, or of which something is deleted meanwhile."""

import json
import os
import shutil
import sqlite3
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from click.testing import CliRunner
from mlflow import MlflowClient
from mlflow.entities import ViewType

from kbn.cli.main import cli
from kbn.errors import JournalError, TrackingError
from kbn.tracking.journal import Journal
from kbn.tracking.pulse import Pulse
from kbn.tracking.push import push
from kbn.tracking.sending import send_all
from kbn.tracking.target import Target, connect
from kbn.tracking.views import page_of
from tracking.searches import begun_search, ended_search, here, run_trial, sender_to


@pytest.fixture
def store(empty_store, workspace) -> MlflowClient:
    shutil.copy(empty_store, "mlflow.db")
    return MlflowClient(here())


@pytest.fixture
def journal(workspace) -> Journal:
    """A search of three trials, that has ended."""
    return ended_search(workspace / "search", "012")


def opened(journal, uri=None, experiment="e"):
    return connect(journal, Target(experiment, uri or here()), Pulse())


def send(journal, uri=None):
    projection = opened(journal, uri)
    send_all(journal, projection)
    return projection


def runs_of(store, experiment="e", view=ViewType.ACTIVE_ONLY):
    """The parent run, and its children by trial."""
    known = store.get_experiment_by_name(experiment)
    runs = store.search_runs([known.experiment_id], run_view_type=view)
    (parent,) = (run for run in runs if "kbn.trial" not in run.data.tags)
    children = {run.data.tags["kbn.trial"]: run for run in runs if run is not parent}
    assert len(children) == len(runs) - 1
    return parent, dict(sorted(children.items()))


def refuse(table, condition):
    """Has the database refuse some rows; returns what ends that."""
    with sqlite3.connect("mlflow.db") as database:
        database.execute(
            f"CREATE TRIGGER no BEFORE INSERT ON {table} WHEN {condition} "
            "BEGIN SELECT RAISE(ABORT, 'never that'); END"
        )
    database.close()

    def end():
        with sqlite3.connect("mlflow.db") as database:
            database.execute("DROP TRIGGER no")
        database.close()

    return end


@pytest.mark.parametrize(
    ("table", "condition", "what"),
    [
        ("params", "NEW.key = 'of_1'", "trial 1: param of_1"),
        ("metrics", "NEW.run_uuid IN (SELECT run_uuid FROM tags WHERE key = 'kbn.trial' "
            "AND value = '1') AND NEW.key = 'score'", "trial 1: metric score"),
        ("tags", "NEW.key = 'kbn.trial' AND NEW.value = '1'", "trial 1"),
    ],
    ids=["param", "metric", "run"],
)  # fmt: skip
def test_what_the_store_refuses_of_a_trial_holds_nothing_else_up_and_is_sent_by_a_later_push(
    store, journal, table, condition, what
):
    end = refuse(table, condition)
    with pytest.raises(TrackingError) as told:
        push("search")
    first, line = str(told.value).splitlines()
    assert first == f"search: {here()} takes all but what kbn push tries again:"
    assert line == f"  {what}: never that"
    parent, children = runs_of(store)
    assert parent.info.status == "FINISHED"
    assert {run.info.status for run in children.values()} == {"FINISHED"}
    assert {"0", "2"} <= children.keys()
    if "1" in children:
        run = children["1"].data
        assert run.tags["kbn.refused"] == what
        assert run.params.keys() | run.metrics.keys() > {"rate", "loss", "best_epoch"}
    end()
    assert push("search") == [f"search: 3 attempts are in {here()}"]
    _, children = runs_of(store)
    assert children.keys() == {"0", "1", "2"}
    run = children["1"].data
    assert run.params == {"rate": "0.5", "of_1": "1"}
    assert run.metrics["score"] == 2.0
    assert "kbn.refused" not in run.tags


def test_a_param_that_changed_meanwhile_keeps_its_first_value_and_is_told(store, journal):
    number = journal.begin("3", {"rate": 0.5})
    send(journal)
    journal.end("3", number, "COMPLETED", {"rate": 0.7}, score=0.0)
    projection = send(journal)  # another process
    (refusal,) = projection.refusals
    assert refusal.startswith("trial 3: param rate: Changing param values is not allowed.")
    run = runs_of(store)[1]["3"]
    assert (run.info.status, run.data.params["rate"]) == ("FINISHED", "0.5")
    assert run.data.metrics["score"] == 0.0


def test_what_the_store_refuses_of_the_search_as_a_whole_does_not_keep_it_running(store, journal):
    journal.note("round", number=1, hull={"rate": [0.0, 1.0]})
    journal.note("end", status="FINISHED", best=None)
    end = refuse("metrics", "NEW.key = 'box/rate/low'")
    (refusal,) = send(journal).refusals
    assert refusal == "the search: metric box/rate/low: never that"
    parent, _ = runs_of(store)
    assert parent.info.status == "FINISHED"
    assert "box/rate/high" in parent.data.metrics
    end()
    assert not send(journal).refusals
    parent, _ = runs_of(store)
    assert parent.data.metrics["box/rate/low"] == 0.0
    assert "kbn.refused" not in parent.data.tags


def test_a_trials_run_that_is_deleted_while_it_is_sent_stays_deleted_and_is_told_once(
    store, journal
):
    number = journal.begin("3", {})
    projection = send(journal)
    store.delete_run(runs_of(store)[1]["3"].info.run_id)
    for epoch in range(2):
        journal.epoch("3", number, 0, epoch, {"loss": 1.0})
        projection.push(journal.attempt("3", number))
    told = "trial 3: its run is deleted there, and is not made again"
    assert projection.refusals == [told]
    run_trial(journal, "4")
    assert not send(journal).refusals
    assert runs_of(store)[1].keys() == {"0", "1", "2", "4"}
    assert len(runs_of(store, view=ViewType.ALL)[1]) == 5


def test_a_search_whose_run_is_deleted_waits_until_it_is_restored(store, journal):
    number = journal.begin("3", {})
    projection = send(journal)
    parent = runs_of(store)[0].info.run_id
    store.delete_run(parent)
    journal.end("3", number, "COMPLETED", {}, score=9.0)
    projection.push(journal.attempt("3", number))  # its own run is there
    hint = f"the run of this search is deleted there; restore it: .*restore --run-id {parent}"
    with pytest.raises(TrackingError, match=hint):
        projection.push_search()
    with pytest.raises(TrackingError, match=hint):
        opened(journal)
    store.restore_run(parent)
    assert push("search") == [f"search: 4 attempts are in {here()}"]
    assert runs_of(store)[0].info.run_id == parent


def test_a_search_whose_experiment_is_deleted_waits_until_it_is_restored(store, journal):
    projection = opened(journal)
    known = store.get_experiment_by_name("e").experiment_id
    projection.push(journal.attempt("0", 1))
    store.delete_experiment(known)
    hint = f"{here()}: experiment 'e' is deleted there; restore it .*restore -x {known}"
    with pytest.raises(TrackingError, match=hint):
        projection.push(journal.attempt("1", 1))
    with pytest.raises(TrackingError, match=f"^search: {hint}.*keeps every trial"):
        push("search")
    store.restore_experiment(known)
    push("search")
    assert runs_of(store)[1].keys() == {"0", "1", "2"}


def test_an_experiment_whose_name_is_too_long_is_told_in_a_line(store, journal):
    with pytest.raises(TrackingError) as told:
        opened(journal, experiment="x" * 501)
    assert str(told.value) == (
        f"{here()}: experiment '{'x' * 60}...' cannot be made: 'name' exceeds the maximum "
        "length of 500 characters. If it is the name, choose another one."
    )


def test_a_read_only_database_is_told_in_a_line_without_sql(store, journal, caplog, capfd):
    uri = f"sqlite:///file:{Path('mlflow.db').resolve()}?mode=ro&uri=true"
    with pytest.raises(TrackingError) as told:
        push(ended_search(journal.directory.parents[1] / "other", "0", uri).directory.parent)
    assert "cannot be made: attempt to write a readonly database." in str(told.value)
    assert "\n" not in str(told.value)
    assert caplog.records == []
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("replaced", [False, True], ids=["removed", "replaced"])
def test_a_database_that_is_gone_costs_one_warning_and_all_is_in_the_new_one(
    store, empty_store, workspace, caplog, capfd, replaced
):
    journal = begun_search(workspace / "search")
    sender = sender_to(here(), journal)
    run_trial(journal, "0")
    sender.notify()
    assert sender._settled.wait(60)
    Path("mlflow.db").unlink()
    if replaced:
        shutil.copy(empty_store, "mlflow.db")
    run_trial(journal, "1")
    sender.notify(("1", 1))
    while not sender._settled.is_set():  # it tries again by itself
        sender.finish()
    sender.stop()
    (warning,) = (record.getMessage() for record in caplog.records)
    change = "replaced by another one" if replaced else "removed"
    assert f"{here()}: the database was {change} while it was in use. The search goes" in warning
    assert runs_of(store)[1].keys() == {"0", "1"}
    assert "SQL" not in capfd.readouterr().err


def test_the_best_score_after_each_trial_is_complete_after_a_kill_between(store, journal):
    projection = opened(journal)
    for trial in "01":
        projection.push(journal.attempt(trial, 1))  # and no push_search
    for _ in range(2):
        send(journal)
        parent, _ = runs_of(store)
        history = store.get_metric_history(parent.info.run_id, "best_score")
        assert [(point.step, point.value) for point in history] == [(1, 3.0), (2, 2.0), (3, 1.0)]
        assert parent.data.tags["kbn.best_trial"] == "2"


def test_an_infeasible_trial_and_the_front_are_told(store, workspace):
    journal = begun_search(workspace / "search")
    for trial, violations in (("0", []), ("1", ["size 9 > max 5"]), ("2", [])):
        number = journal.begin(trial, {"x": 1.0})
        status, metrics = ("FAILED" if violations else "COMPLETED"), {"size": 9.0, "loss": 0.5}
        score = {} if violations else {"score": 0.5, "best_step": 0}
        journal.end(
            trial, number, status, {"x": 1.0}, metrics=metrics, violations=violations, **score
        )
    journal.note("front", trials=["0", "2"])
    send(journal)
    parent, children = runs_of(store)
    assert parent.data.tags["kbn.pareto"] == "0, 2"
    assert [child.data.tags.get("kbn.pareto") for child in children.values()] == [
        *("true", None, "true"),
    ]
    assert children["1"].data.tags["kbn.infeasible"] == "size 9 > max 5"
    assert children["1"].info.status == "FINISHED"
    assert "kbn.infeasible" not in children["0"].data.tags
    assert children["1"].data.metrics["size"] == 9
    assert "score" not in children["1"].data.metrics

    journal.note("front", trials=["2"])  # the search went on
    send(journal)
    parent, children = runs_of(store)
    assert parent.data.tags["kbn.pareto"] == "2"
    assert [child.data.tags.get("kbn.pareto") for child in children.values()] == [
        *("false", None, "true"),
    ]
    assert parent.data.metrics["best_score"] == 0.5


@pytest.mark.parametrize("member", [{"metrics": {"size": "9"}}, {"violations": [9]}])
def test_metrics_and_violations_that_kbn_does_not_write_are_a_fault(member, workspace):
    journal = begun_search(workspace / "search")
    number = journal.begin("0", {})
    journal.end("0", number, "COMPLETED", {}, score=1.0, **member)
    assert journal.attempts() == []
    assert next(iter(member)) in journal.faults()[0] or "size" in journal.faults()[0]


def test_the_description_is_the_last_one_that_was_recorded(store, journal):
    for text in ("Of two trials, **0** is best.", "Of three trials, **2** is best."):
        journal.note("description", text=text)
        for _ in range(2):  # another process sends it again
            send(journal)
            assert runs_of(store)[0].data.tags["mlflow.note.content"] == text
    journal.note("description", text=3)  # nothing that kbn writes
    with pytest.raises(JournalError, match="text: 3"):
        journal.events()


def test_a_link_to_a_search_does_without_the_view_that_a_store_refuses(store, journal):
    end = refuse("experiment_tags", "1")
    assert not send(journal).refusals
    start = f"/#/experiments/{store.get_experiment_by_name('e').experiment_id}/runs?"
    page = page_of(journal, here())
    query = parse_qs(page.removeprefix(start))
    (chosen,) = query["searchFilter"]
    found = store.search_runs([start.split("/")[3]], chosen, order_by=["metrics.score ASC"])
    assert [run.info.run_name for run in found] == ["trial 2", "trial 1", "trial 0"]
    assert (query["orderByKey"], query["orderByAsc"]) == (["metrics.`score`"], ["true"])

    end()
    send(journal)
    assert page_of(journal, here()) == f"{start}viewStateShareKey={journal.search_id}"
    assert page_of(journal, "sqlite:///another.db") is None
    assert page_of(Journal("nowhere"), here()) is None


def test_a_search_of_many_hyperparameters_is_linked_with_the_first_of_them(store, workspace):
    journal = begun_search(workspace / "search")
    values = {"tuner/epochs": 3, **{f"a_rather_long_name_{n}": n for n in range(100)}}
    journal.end("0", journal.begin("0", values), "COMPLETED", values, score=1.0)
    send(journal)
    (view,) = store.get_experiment_by_name("e").tags.values()
    columns = json.loads(view)["selectedColumns"]
    assert columns[:2] == ["metrics.`score`", "params.`a_rather_long_name_0`"]
    assert len(columns) == 31


def test_ui_prints_the_pages_of_this_directorys_searches_the_newest_first(store, monkeypatch):
    ended_search(Path("searches/untold"), "0", "sqlite:///elsewhere.db")
    for place, name in enumerate(("alone", "both/both-a-0", "both/both-b-0")):
        project = Path("searches", name)
        variant = {"variant": name[-3]} if place else {}
        journal = begun_search(project, experiment=project.parts[1], origin=variant)
        run_trial(journal, "0")
        push(project)
        os.utime(project / "journal" / "search.jsonl", (place, place))
    ids = {e.name: e.experiment_id for e in store.search_experiments()}
    monkeypatch.setattr("kbn.cli.store.become", lambda *_: None)
    told = CliRunner().invoke(cli, ["ui", "--port", "5001"]).stderr.splitlines()
    start = "http://127.0.0.1:5001/#/experiments"
    alone = Journal("searches/alone/journal").search_id
    assert told[1:] == [
        f"both-b-0: {start}/{ids['both']}/runs?viewStateShareKey=kbn-variants",
        f"alone: {start}/{ids['alone']}/runs?viewStateShareKey={alone}",
    ]
