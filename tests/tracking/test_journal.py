import errno
import json

import numpy as np
import pytest

from kbn.errors import JournalError
from kbn.tracking.journal import Attempt, Journal


@pytest.fixture
def journal(tmp_path) -> Journal:
    return Journal(tmp_path / "journal")


def test_an_attempt_is_read_back_as_it_was_written(journal):
    number = journal.begin("07", {"rate": 0.01, "optimizer": "sgd"})
    journal.epoch("07", number, 0, 0, {"loss": 1.5})
    journal.epoch("07", number, 1, 0, {"loss": 1.25})
    journal.end("07", number, "COMPLETED", {"rate": 0.01, "more": 3}, score=1.25, best_step=0)
    attempt = journal.attempt("07", number)
    assert (attempt.trial, attempt.number, attempt.status) == ("07", 1, "COMPLETED")
    assert attempt.values == {"rate": 0.01, "more": 3}
    assert [(e.execution, e.epoch, e.metrics) for e in attempt.epochs] == [
        (0, 0, {"loss": 1.5}),
        (1, 0, {"loss": 1.25}),
    ]
    assert (attempt.score, attempt.best_step, attempt.message) == (1.25, 0, None)
    times = [attempt.began, *(e.time for e in attempt.epochs), attempt.ended]
    assert times == sorted(times)
    assert attempt.seconds == (attempt.ended - attempt.began) / 1000


def test_a_retried_trial_has_several_attempts(journal):
    first = journal.begin("0", {})
    journal.end("0", first, "INVALID", {}, message="ValueError: no")
    assert journal.begin("0", {}) == 2
    assert [(a.number, a.status) for a in journal.attempts()] == [(1, "INVALID"), (2, None)]


def test_a_torn_last_line_is_dropped(journal):
    number = journal.begin("0", {"rate": 1.0})
    journal.epoch("0", number, 0, 0, {"loss": 1.5})
    file = journal.directory / "0.1.jsonl"
    whole = file.read_bytes()
    for length in range(len(whole)):
        file.write_bytes(whole[:length])
        attempts = journal.attempts()
        assert len(attempts) == (b"\n" in whole[:length])
        assert all(a.values == {"rate": 1.0} and not a.epochs for a in attempts)
        journal.end("0", number, "KILLED", {"rate": 2.0})  # what follows a torn line is read
        assert journal.attempt("0", number).status == "KILLED"


def test_the_reason_of_a_failure_is_its_error_not_the_last_line():
    def attempt(message):
        return Attempt("0", 1, {}, 0, message=message)

    frames = 'Traceback (most recent call last):\n  File "a.py", line 1, in f\n    g()\n    ^^^\n'
    error = "ValueError: Exception when calling Dense.call().\n\nArguments:\n  • x=3\n"
    assert attempt(frames + error).reason == "ValueError: Exception when calling Dense.call()."
    assert attempt("oversized").reason == "oversized"
    assert attempt(None).reason is None


def test_metrics_that_are_no_numbers_are_left_out(journal):
    number = journal.begin("0", {})
    journal.epoch("0", number, 0, 0, {"loss": np.float32(0.5), "f1_score": np.zeros(3)})
    assert journal.attempt("0", number).epochs[0].metrics == {"loss": 0.5}


def test_lines_are_json_and_hold_their_time(journal):
    journal.begin("0", {"rate": 1.0})
    (line,) = (journal.directory / "0.1.jsonl").read_text().splitlines()
    assert json.loads(line).keys() == {"event", "time", "values", "place"}


def test_the_search_keeps_its_identity(journal):
    assert journal.search_id == Journal(journal.directory).search_id
    assert len(journal.search_id) == 32


@pytest.mark.parametrize(
    "line", [b"\x00\x00", b"[]", b'{"event": "epoch"}', b'{"event": "begin", "time": 1}', b'"x"']
)
def test_a_whole_line_that_is_no_event_is_reported_with_its_place_and_not_guessed(journal, line):
    for trial in "01":
        journal.end(trial, journal.begin(trial, {}), "COMPLETED", {}, score=1.0)
    file = journal.directory / "1.1.jsonl"
    first, rest = file.read_bytes().split(b"\n", 1)
    file.write_bytes(first + b"\n" + line + b"\n" + rest)
    assert [attempt.trial for attempt in journal.attempts()] == ["0"]
    (fault,) = journal.faults()
    assert fault.startswith(str(file))
    assert "as kbn wrote it. Got" in fault
    with pytest.raises(JournalError):
        journal.attempt("1", 1)


def test_a_disk_that_is_full_is_told_and_what_was_recorded_is_whole(journal, monkeypatch):
    number = journal.begin("0", {})
    before = journal.attempts()

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("kbn.tracking.journal.os.fsync", full)
        with pytest.raises(JournalError, match=r"0.1.jsonl.*Got: No space left on device"):
            journal.end("0", number, "COMPLETED", {"x": 1})
    (journal.directory / "0.1.jsonl").write_bytes(
        (journal.directory / "0.1.jsonl").read_bytes()[:-5]  # as much as there was room for
    )
    assert journal.attempts() == before
    journal.end("0", number, "KILLED", {})
    assert journal.attempt("0", number).status == "KILLED"


def test_a_session_is_known_to_others_until_it_ends(journal):
    with journal.alone() as alone:
        assert alone
    with journal.session():
        other = Journal(journal.directory)
        with other.session(), other.alone() as alone:  # several workers of one search
            assert not alone
    with journal.alone() as alone:
        assert alone
