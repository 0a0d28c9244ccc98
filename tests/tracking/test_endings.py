"""How searches and trials end, in the journal and in MLflow, whatever ends them."""

import gc
import json
import os
import shutil
import signal
import sys
import threading
import weakref
from pathlib import Path

import keras_tuner as kt
import pytest
from mlflow import MlflowClient

import kbn
from kbn.errors import KbnError
from kbn.recipe.loading import load_recipe
from kbn.tracking.endings import reconcile
from kbn.tracking.journal import Journal
from kbn.tracking.push import push
from kbn.tracking.target import Target
from kbn.tracking.track import record
from tracking.scripted import Scripted, number_of

JOURNAL = Path("scripted/journal")


@pytest.fixture
def store(empty_store, workspace) -> MlflowClient:
    """The default store of an empty working directory."""
    return MlflowClient(f"sqlite:///{shutil.copy(empty_store, workspace / 'mlflow.db')}")


@pytest.fixture(autouse=True)
def handlers():
    """Those of a plain Python process; all are as they were afterwards."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    plain = (signal.default_int_handler, signal.SIG_DFL, signal.SIG_DFL)
    for number, handler in zip(numbers, plain, strict=True):
        signal.signal(number, handler)
    hook = sys.unraisablehook
    yield
    assert [signal.getsignal(number) for number in numbers] == list(plain)
    assert sys.unraisablehook is hook
    for number, handler in before.items():
        signal.signal(number, handler)


def statuses(store, experiment="scripted"):
    """Of the parent run, and of its children in the order of their start."""
    known = store.get_experiment_by_name(experiment)
    runs = store.search_runs([known.experiment_id])
    parent = next(run for run in runs if "mlflow.parentRunId" not in run.data.tags)
    children = [run for run in runs if run is not parent]
    children.sort(key=lambda run: (run.data.tags["kbn.trial"], run.data.tags["kbn.attempt"]))
    return [run.info.status for run in (parent, *children)]


def finished(uri=None, trials=2):
    """A search that ended, after which a report and a model were noted."""
    recorder = record(Scripted(number_of, trials), Target("scripted", uri))
    recorder.tuner.search()
    page = Path("scripted/report.html")
    page.write_text("a page", "utf-8")
    recorder.note("file", path=page)
    recorder.note("metrics", trial="0", values={"test_loss": 1.0})
    return recorder


def test_a_finished_search_stays_finished_when_it_is_pushed_and_gone_on_with(store):
    finished()
    for _ in range(2):
        push("scripted")
        assert statuses(store) == ["FINISHED"] * 3
    finished(trials=3)
    push("scripted")
    assert statuses(store) == ["FINISHED"] * 4
    ends = [e["status"] for e in Journal(JOURNAL).events() if e["event"] == "end"]
    assert ends == ["FINISHED", "FINISHED"]


def test_a_search_that_finished_while_its_store_was_down_is_finished_once_it_is_pushed(
    store, workspace
):
    (workspace / "down").touch()
    uri = f"sqlite:///{workspace}/down/mlflow.db"
    sender = finished(uri).sender
    sender.stop()
    sender._thread.join(60)  # else it may still be at it
    (workspace / "down").unlink()
    (workspace / "down").mkdir()
    shutil.copy("mlflow.db", "down/mlflow.db")
    push("scripted")
    assert statuses(MlflowClient(uri)) == ["FINISHED"] * 3


@pytest.mark.slow
def test_a_recipes_search_stays_finished_when_it_is_pushed(store, recipe_file):
    recipe = load_recipe(recipe_file, ["search.trials=2"])
    kbn.tune(recipe)
    journal = Journal("searches/quick/journal")
    kinds = [event["event"] for event in journal.events()]
    assert kinds[-3:] == ["file", "file", "model"]
    push("searches/quick")
    assert statuses(store, "quick") == ["FINISHED"] * 3
    assert str(Path.cwd()) not in (journal.directory / "search.jsonl").read_text()


def test_a_second_process_that_runs_the_same_project_is_told_who_does(store):
    with (
        Journal(JOURNAL).locks.session(),
        pytest.raises(KbnError, match=rf"scripted: one process .* process {os.getpid()} on"),
    ):
        kbn.track(Scripted(number_of)).search()
    kbn.track(Scripted(number_of)).search()
    assert statuses(store) == ["FINISHED"] * 4


def interrupt():
    raise KeyboardInterrupt


@pytest.mark.parametrize("leaves", [sys.exit, interrupt])
@pytest.mark.parametrize("in_main", [True, False])
def test_a_model_that_leaves_the_process_without_a_signal_has_failed_and_the_search_goes_on(
    store, leaves, in_main
):
    def script(trial):
        if trial.trial_id == "1":
            leaves()
        return number_of(trial)

    search = kbn.track(Scripted(script)).search
    if in_main:
        search()
    else:
        thread = threading.Thread(target=search)
        thread.start()
        thread.join(60)
    assert statuses(store) == ["FINISHED", "FINISHED", "FAILED", "FINISHED"]
    failed = Journal(JOURNAL).attempt("1", 1)
    assert failed.reason.startswith("RuntimeError: The trial's own code raised ")
    assert "in script" in failed.message


STOPS = [
    (signal.SIGINT, None, KeyboardInterrupt),
    (signal.SIGTERM, None, SystemExit),
    (signal.SIGHUP, None, SystemExit),
    (signal.SIGTERM, lambda *_: sys.exit(3), SystemExit),
    (signal.SIGUSR1, lambda *_: sys.exit(3), SystemExit),
]


@pytest.mark.parametrize(("number", "handler", "stop"), STOPS)
def test_a_signal_ends_the_search_in_order(store, number, handler, stop):
    before = signal.signal(number, handler) if handler else None

    def script(trial):
        if trial.trial_id == "1":
            signal.raise_signal(number)
        return number_of(trial)

    with pytest.raises(stop):
        kbn.track(Scripted(script)).search()
    if handler:
        assert signal.signal(number, before) is handler
    assert statuses(store) == ["KILLED", "FINISHED", "KILLED"]
    assert not Journal(JOURNAL).attempt("1", 1).died


def test_a_stop_by_a_handler_that_the_model_installed_is_a_stop(store):
    def script(trial):
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        kbn.track(Scripted(script)).search()
    assert statuses(store) == ["KILLED", "KILLED"]


class Thing:
    """Something that can be referred to weakly."""


def stopped_in_a_callback():
    thing = Thing()
    reference = weakref.ref(thing, lambda _: signal.raise_signal(signal.SIGINT))
    del thing
    gc.collect()
    assert reference() is None


@pytest.mark.parametrize("where", ["in an epoch", "in a trial", "between trials", "at the end"])
def test_a_stop_that_the_interpreter_swallows_ends_the_search_all_the_same(store, where):
    trained = []

    class Stopped(Scripted):
        def run_trial(self, trial):
            model = object()
            for epoch in range(3):
                trained.append((trial.trial_id, epoch))
                if where == "in an epoch" and trained[-1] == ("1", 1):
                    stopped_in_a_callback()
                self.on_epoch_end(trial, model, epoch, {"loss": 1.0})
            if where == "in a trial" and trial.trial_id == "1":
                stopped_in_a_callback()
            return 1.0

        def pre_create_trial(self):
            if where == "between trials" and len(trained) == 6:
                stopped_in_a_callback()

        def on_search_end(self):
            if where == "at the end":
                stopped_in_a_callback()

    with pytest.raises(KeyboardInterrupt):
        kbn.track(Stopped(None)).search()
    expected = {
        "in an epoch": (5, ["KILLED", "FINISHED", "KILLED"]),
        "in a trial": (6, ["KILLED", "FINISHED", "FINISHED"]),
        "between trials": (6, ["KILLED", "FINISHED", "FINISHED"]),
        "at the end": (9, ["KILLED", "FINISHED", "FINISHED", "FINISHED"]),
    }
    epochs, ends = expected[where]
    assert len(trained) == epochs
    assert statuses(store) == ends


def test_a_failure_whose_text_has_no_utf_8_is_a_failed_run(store):
    def script(trial):
        raise OSError("no file caf\udce9")

    kbn.track(Scripted(script, 1)).search()
    assert statuses(store) == ["FAILED", "FAILED"]
    assert Journal(JOURNAL).attempt("0", 1).reason == "OSError: no file caf\\udce9"


def forget(*trials):
    """Removes all that the journal says of these trials."""
    for trial in trials:
        for file in JOURNAL.glob(f"{trial}.*.jsonl"):
            file.unlink()
    copy = JOURNAL / "copy.jsonl"
    files = {f"{trial}.1.jsonl" for trial in trials}
    lines = copy.read_bytes().splitlines(keepends=True)
    copy.write_bytes(b"".join(line for line in lines if json.loads(line)["file"] not in files))


@pytest.mark.parametrize("kind", [Scripted, "stock"])
def test_an_end_that_only_the_oracle_knows_is_recorded_and_said(store, caplog, kind):
    class Stock(kt.RandomSearch):
        def __init__(self, script):
            hp = kt.HyperParameters()
            hp.Float("x", 0, 1)
            objective = kt.Objective("loss", "min")
            super().__init__(
                None, objective, 3, hyperparameters=hp, seed=1, project_name="scripted"
            )

        def run_trial(self, trial, *args, **kwargs):
            return number_of(trial)

    kind = Stock if kind == "stock" else kind
    kbn.track(kind(number_of)).search()
    forget("0", "2")
    with caplog.at_level("WARNING", "kbn"):
        kbn.track(kind(number_of)).search()
    assert "the ends of 2 trials were missing, and are recorded now" in caplog.text
    assert caplog.text.rstrip().endswith("state: 0, 2.")
    assert [(a.trial, a.status, a.score) for a in Journal(JOURNAL).attempts()] == [
        ("1", "COMPLETED", 1.0),
        ("0", "COMPLETED", 0.0),
        ("2", "COMPLETED", 2.0),
    ]
    assert statuses(store) == ["FINISHED"] * 4


def test_what_only_the_journal_knows_and_scores_that_differ_are_said(store, caplog):
    tuner = Scripted(number_of)
    kbn.track(tuner).search()
    journal = Journal(JOURNAL)
    assert reconcile(journal, journal.attempts(), tuner.oracle) == []
    assert not caplog.records
    tuner.oracle.trials["1"].score = 7.0
    tuner.oracle.trials["2"].status = "RUNNING"
    assert reconcile(journal, journal.attempts(), tuner.oracle) == []
    told = [record.getMessage() for record in caplog.records]
    assert "attempt 1 at trial 1 has the score 1.0, but the search's own state has 7.0" in told[0]
    assert "1 trials have ended, but not so in the search's own state: 2." in told[1]


def test_credentials_are_not_written_down_but_are_used(workspace, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    uri = "http://me:hidden@127.0.0.1:9"

    def script(trial):
        raise ValueError(f"no answer from {uri}")

    texts = {"recipe.yaml": f"tracking: {{uri: {uri}}}"}
    recorder = record(Scripted(script, 1), Target("scripted", uri), texts=texts)
    recorder.tuner.search()
    recorder.sender.stop()
    written = b"".join(file.read_bytes() for file in JOURNAL.iterdir())
    assert b"hidden" not in written
    (begin,) = (event for event in recorder.journal.events() if event["event"] == "begin")
    assert begin["target"] == {"experiment": "scripted", "tracking_uri": "http://127.0.0.1:9"}
    assert begin["texts"] == {"recipe.yaml": "tracking: {uri: http://127.0.0.1:9}"}


def test_a_tracking_uri_that_mlflow_does_not_have_is_rejected_without_its_password(workspace):
    with pytest.raises(ValueError, match=r"tracking_uri: it must be .* Got 'postgres://h/d' inst"):
        kbn.track(Scripted(number_of), tracking_uri="postgres://user:hidden@h/d")
