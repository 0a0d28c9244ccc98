"""Journals of searches, without a search."""

import functools
from pathlib import Path

from kbn.tracking.journal import Journal
from kbn.tracking.sending import Sender
from kbn.tracking.target import Target, connect


def here() -> str:
    """The store in the working directory: MLflow keeps one a URI open, wherever that is."""
    return f"sqlite:///{Path('mlflow.db').resolve()}"


def ended_search(project, trials, uri=None, experiment="e") -> Journal:
    journal = begun_search(project, uri, experiment)
    for trial in trials:
        run_trial(journal, trial)
    journal.note("end", status="FINISHED", best=None)
    return journal


def begun_search(project, uri=None, experiment="e", origin=None) -> Journal:
    journal = Journal(project / "journal")
    journal.note(
        "begin",
        name=project.name,
        params={"tuner": "T", "objective": "loss", "direction": "min"},
        origin=origin or {},
        dataset=None,
        texts={},
        target={"experiment": experiment, "tracking_uri": uri or here()},
    )
    return journal


def sender_to(uri, journal) -> Sender:
    return Sender(journal, functools.partial(connect, journal, Target("e", uri)))


def run_trial(journal, trial):
    values = {"rate": 0.5, f"of_{trial}": 1}
    number = journal.begin(trial, values)
    journal.epoch(trial, number, 0, 0, {"loss": 1.0})
    journal.end(trial, number, "COMPLETED", values, score=3.0 - float(trial), best_step=0)
