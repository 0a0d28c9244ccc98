"""Trials that take their process with them, and stops that only look alike."""

import signal

import pytest

from faults.conftest import check_all_is_told_once
from faults.searches import PROJECT, search_with_a_deadly_trial
from kbn.tracking.journal import Journal
from kbn.tracking.push import push


def ends(trial):
    """How the attempts at a trial ended, and whether their process died."""
    attempts = Journal(f"{PROJECT}/journal").attempts()
    return [(a.status, a.died) for a in attempts if a.trial == trial]


@pytest.mark.slow
@pytest.mark.parametrize(("deadly", "how", "stock"), [
    ("1", 0, False),  # os._exit
    ("1", signal.SIGSEGV, False),
    ("1", signal.SIGABRT, True),
    ("0", signal.SIGKILL, True),
])  # fmt: skip
def test_a_trial_that_ends_its_process_twice_has_failed_and_the_search_goes_on(
    store, in_a_process, workspace, deadly, how, stock
):
    for _ in range(2):
        assert in_a_process(search_with_a_deadly_trial, deadly, how, stock) == (-how or 1)
    assert in_a_process(search_with_a_deadly_trial, deadly, how, stock) == 0
    assert ends(deadly) == [("KILLED", True), ("KILLED", True), ("FAILED", False)]
    for other in {"0", "1", "2"} - {deadly}:
        assert ends(other) == [("COMPLETED", False)]
    failed = Journal(f"{PROJECT}/journal").attempt(deadly, 3)
    assert "The trial ended its process in 2 attempts" in failed.reason
    assert in_a_process(search_with_a_deadly_trial, deadly, how, stock) == 0  # it stays so
    push(PROJECT)
    assert len(Journal(f"{PROJECT}/journal").attempts()) == 5
    if not stock:
        children = check_all_is_told_once(PROJECT, store, PROJECT)
        assert [run.info.status for run in children].count("FAILED") == 1


def test_one_death_may_be_a_users_and_the_trial_runs_again(store, in_a_process, workspace):
    assert in_a_process(search_with_a_deadly_trial, "1", signal.SIGKILL) == -signal.SIGKILL
    push(PROJECT)  # which ends the attempt before the next search does
    assert in_a_process(search_with_a_deadly_trial, "1", None) == 0
    assert ends("1") == [("KILLED", True), ("COMPLETED", False)]
    push(PROJECT)
    check_all_is_told_once(PROJECT, store, PROJECT)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_stops_by_signals_that_nobody_handles_are_orderly_and_count_for_nothing(
    store, in_a_process, workspace, number
):
    for _ in range(3):
        assert in_a_process(search_with_a_deadly_trial, "1", number) == 128 + number
    assert in_a_process(search_with_a_deadly_trial, "1", None) == 0
    assert ends("1") == [*[("KILLED", False)] * 3, ("COMPLETED", False)]
    push(PROJECT)
    check_all_is_told_once(PROJECT, store, PROJECT)
