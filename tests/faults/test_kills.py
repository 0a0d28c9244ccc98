"""A search killed at any instant: nothing that was acknowledged is lost or done again."""

import signal

import numpy as np
import pytest

from faults.conftest import SERVER, check_all_is_told_once, states_of
from faults.searches import (
    PROJECT,
    run_in,
    search,
    search_and_die,
    search_on_a_disk_that_fills,
    search_until_killed,
    train,
)
from kbn.tracking.journal import Journal
from kbn.tracking.push import push


@pytest.mark.slow
def test_a_search_killed_at_thirty_random_instants_ends_as_if_it_had_not_been(
    store, in_a_process, workspace
):
    trials, seconds = 400, np.random.default_rng(0).uniform(0.05, 1.0, 30)
    before, kills = {}, 0
    for limit in seconds:
        code = in_a_process(search_until_killed, trials, float(limit))
        kills += code == -signal.SIGALRM
        ended = states_of(PROJECT)
        assert before.items() <= ended.items()
        before = ended
    assert kills >= 20
    assert in_a_process(search, trials) == 0
    assert len(states_of(PROJECT)) == trials
    push(PROJECT)
    check_all_is_told_once(PROJECT, store, PROJECT)


@pytest.mark.slow
def test_a_search_that_trains_killed_at_three_instants(store, in_a_process, workspace):
    for seconds in (1.0, 2.5, 4.0):
        assert in_a_process(train, 12, seconds) in (-signal.SIGALRM, 0)
    assert in_a_process(train, 12) == 0
    push(PROJECT)
    children = check_all_is_told_once(PROJECT, store, PROJECT)
    finished = [run for run in children if run.info.status == "FINISHED"]
    assert len(finished) == 12
    assert all("val_loss" in run.data.metrics for run in finished)


INSTANTS = [
    *(("client", "create_run", when, nth) for when in ("before", "after") for nth in (1, 3)),
    *(("client", "log_batch", when, 4) for when in ("before", "after")),
    *(("client", "set_terminated", when, 2) for when in ("before", "after")),
    *(
        ("journal", name, when, 3)
        for name in ("begin", "epoch", "end")
        for when in ("before", "after")
    ),
    *(("journal", "note", when, nth) for when in ("before", "after") for nth in (1, 2)),
    # of a trial's start and end: between the two state files and after both
    *(("state", "write_json", when, nth) for when in ("before", "after") for nth in (1, 4, 5, 6)),
]


@pytest.mark.slow
@pytest.mark.parametrize(
    "instant", INSTANTS, ids=[f"{when} {name} {nth}" for _, name, when, nth in INSTANTS]
)
def test_a_kill_at_this_instant_loses_nothing(store, in_a_process, workspace, instant):
    code = in_a_process(search_and_die, 6, *instant)
    assert code in (-signal.SIGKILL, 0)  # the thread that sends may have been done
    before = states_of(PROJECT)
    assert in_a_process(search, 6) == 0
    after = states_of(PROJECT)
    assert before.items() <= after.items()
    assert len(after) == 6
    push(PROJECT)  # if the machine was too slow to send it all
    check_all_is_told_once(PROJECT, store, PROJECT)


@pytest.mark.parametrize("nth", range(1, 18, 4))
def test_a_disk_that_fills_ends_the_search_with_its_state_intact(
    store, in_a_process, workspace, nth
):
    assert in_a_process(search_on_a_disk_that_fills, 4, nth) == 1  # it raised
    before = states_of(PROJECT)
    assert in_a_process(search, 4) == 0
    assert before.items() <= states_of(PROJECT).items()
    push(PROJECT)
    assert len(states_of(PROJECT)) == 4
    check_all_is_told_once(PROJECT, store, PROJECT)


def test_a_killed_search_that_nobody_goes_on_with_can_be_pushed(store, in_a_process, workspace):
    assert in_a_process(search_and_die, 6, "journal", "epoch", "after", 6) == -signal.SIGKILL
    assert push(PROJECT) == [f"{PROJECT}: 3 attempts are in {store}"]
    children = check_all_is_told_once(PROJECT, store, PROJECT)
    statuses = sorted(run.info.status for run in children)
    assert statuses == ["FINISHED", "FINISHED", "KILLED"]
    assert push(PROJECT)  # twice is as once
    assert len(check_all_is_told_once(PROJECT, store, PROJECT)) == 3


@pytest.mark.slow
def test_two_cold_starts_at_once_on_a_store_that_nobody_made(in_a_process, workspace):
    directories = [workspace / "one", workspace / "two"]
    uri = f"sqlite:///{workspace}/both.db"
    processes = []
    for directory in directories:
        directory.mkdir()
        args = (directory, search, (4,), {"experiment": "both", "tracking_uri": uri})
        processes.append(SERVER.Process(target=run_in, args=args))
        processes[-1].start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert Journal(directories[0] / PROJECT / "journal").attempts()
    store_has_both(uri, directories)


def store_has_both(uri, directories):
    from mlflow import MlflowClient

    store = MlflowClient(uri)
    runs = store.search_runs([store.get_experiment_by_name("both").experiment_id])
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert len(runs) == 2 * (1 + 4)
    searches = {run.data.tags["kbn.search"] for run in runs}
    assert searches == {Journal(d / PROJECT / "journal").search_id for d in directories}
