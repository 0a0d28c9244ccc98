"""Searches in processes of their own, that can be killed."""

import itertools
import json
import multiprocessing
import shutil
from pathlib import Path

import pytest
from mlflow import MlflowClient

# its processes are forked from one that has imported all that a search needs
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["kbn.search.tuner", "kbn.tracking.track", "kbn.tracking.projection"])


@pytest.fixture
def store(empty_store, workspace) -> str:
    """URI of the default store of an empty working directory."""
    return f"sqlite:///{shutil.copy(empty_store, workspace / 'mlflow.db')}"


@pytest.fixture
def in_a_process(workspace):
    """Calls a function of `faults.searches` in a process; returns how that ended."""

    from faults.searches import run_in  # which takes seconds to import

    def call(function, *args, **kwargs):
        process = SERVER.Process(target=run_in, args=(workspace, function, args, kwargs))
        process.start()
        process.join()
        return process.exitcode

    return call


def states_of(project):
    """{trial id: status} that the oracle has acknowledged as ended."""
    files = Path(project).glob("trial_*/trial.json")
    states = [json.loads(file.read_bytes()) for file in files]
    return {s["trial_id"]: s["status"] for s in states if s["ended"] is not None}


def check_all_is_told_once(project, uri, experiment):
    """Every attempt of the journal is one run, none is left RUNNING, no end is lost.

    Returns:
        The children.
    """
    from kbn.tracking.journal import Journal

    store = MlflowClient(uri)
    known = store.get_experiment_by_name(experiment)
    runs = list(store.search_runs([known.experiment_id], max_results=5000))
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    assert len(parents) == 1
    assert "RUNNING" not in {run.info.status for run in runs}
    attempts = Journal(Path(project) / "journal").attempts()
    told = sorted((r.data.tags["kbn.trial"], r.data.tags["kbn.attempt"]) for r in children)
    assert told == sorted((a.trial, str(a.number)) for a in attempts)
    assert len(set(told)) == len(told)
    by_trial = {
        trial: [a.status for a in of]
        for trial, of in itertools.groupby(
            sorted(attempts, key=lambda a: (a.trial, a.number)), key=lambda a: a.trial
        )
    }
    for trial, status in states_of(project).items():
        assert by_trial[trial].count(status) == 1  # its end was not lost, and it was run once
        assert by_trial[trial][-1] == status
    scores = {a.trial: a.score for a in attempts if a.status == "COMPLETED"}
    finished = [run for run in children if run.info.status == "FINISHED"]
    assert {r.data.tags["kbn.trial"]: r.data.metrics["score"] for r in finished} == scores
    return children
