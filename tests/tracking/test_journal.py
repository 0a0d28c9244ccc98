import contextlib
import dataclasses
import errno
import json
import math
import os
import shutil

import numpy as np
import pytest

from kbn.errors import JournalError, KbnError
from kbn.tracking.attempts import Attempt
from kbn.tracking.journal import Journal
from kbn.tracking.lines import COPY


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
    whole, copy = file.read_bytes(), (journal.directory / COPY).read_bytes()
    for length in range(len(whole)):
        file.write_bytes(whole[:length])
        (journal.directory / COPY).write_bytes(copy if b"\n" in whole[:length] else b"")
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
    own = {"event", "time", "search", "file", "crc"}
    assert json.loads(line).keys() == {*own, "order", "values", "place"}


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
        patch.setattr("kbn.tracking.lines.os.fsync", full)
        with pytest.raises(JournalError, match=r"0.1.jsonl.*Got: No space left on device"):
            journal.end("0", number, "COMPLETED", {"x": 1})
    (journal.directory / "0.1.jsonl").write_bytes(
        (journal.directory / "0.1.jsonl").read_bytes()[:-5]  # as much as there was room for
    )
    assert journal.attempts() == before
    journal.end("0", number, "KILLED", {})
    assert journal.attempt("0", number).status == "KILLED"


def test_a_session_is_known_to_others_until_it_ends(journal):
    with journal.locks.alone() as alone:
        assert alone
    with journal.locks.session(shared=True):
        other = Journal(journal.directory)
        with (
            other.locks.session(shared=True),
            other.locks.alone() as alone,
        ):  # several workers of one search
            assert not alone
    with journal.locks.alone() as alone:
        assert alone


def test_a_search_has_one_session_at_a_time_and_who_holds_it_is_told(journal):
    holder = rf"Got another one that does: process {os.getpid()} on .*, since "
    other = Journal(journal.directory)
    with journal.locks.session(), pytest.raises(KbnError, match=holder), other.locks.session():
        pass
    with other.locks.session():
        pass


def test_a_directory_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(JournalError, match=r"file/journal/lock: a search's directory must be wri"),
        Journal(tmp_path / "file" / "journal").locks.session(),
    ):
        pass


def test_attempts_are_numbered_by_the_last_one_and_ordered_as_they_began_whatever_the_clock(
    journal, monkeypatch
):
    clock = iter(range(10**6, 0, -1000))  # it is set back at every look
    monkeypatch.setattr("kbn.tracking.lines.time_ns", lambda: next(clock) * 10**6)
    for trial in ("1", "0", "0", "0"):
        journal.end(trial, journal.begin(trial, {}), "INVALID", {})
    (journal.directory / "0.1.jsonl").unlink()
    again = Journal(journal.directory)
    assert again.begin("0", {}) == 4
    assert [(a.trial, a.number) for a in again.attempts()] == [
        ("1", 1),
        ("0", 2),
        ("0", 3),
        ("0", 4),
    ]
    assert [a.order for a in again.attempts()] == [1, 3, 4, 5]


def test_two_workers_never_write_the_same_attempt(journal):
    first, second = journal, Journal(journal.directory)
    assert first.begin("0", {}) == 1
    assert second.begin("1", {}) == 1  # by now each knows how many there are
    assert first.begin("1", {}) == 2
    assert second.begin("1", {}) == 3


@pytest.mark.parametrize("trial", ["", "../0", "a/b", ".0", "0\n"])
def test_a_trial_whose_id_is_no_plain_name_is_rejected(journal, trial):
    with pytest.raises(JournalError, match="may contain only letters, digits"):
        journal.begin(trial, {})
    assert not journal.exists()


def test_texts_that_have_no_utf_8_are_kept_in_a_form_that_has(journal):
    number = journal.begin("0", {"file\udce9": "caf\udce9"})
    journal.epoch("0", number, 0, 0, {"loss\udce9": 1.0})
    journal.end("0", number, "FAILED", {"file\udce9": "caf\udce9"}, message="no caf\udce9")
    attempt = journal.attempt("0", number)
    assert attempt.values == {"file\\udce9": "caf\\udce9"}
    assert attempt.epochs[0].metrics == {"loss\\udce9": 1.0}
    assert attempt.message == "no caf\\udce9"


@pytest.mark.parametrize(("kinds", "open_"), [
    (["begin"], True),
    (["begin", "round", "end"], False),
    (["begin", "end", "file", "model", "metrics"], False),
    (["begin", "end", "file", "begin", "round"], True),
])  # fmt: skip
def test_a_session_is_over_once_it_has_its_end_whatever_is_noted_after(journal, kinds, open_):
    for kind in kinds:
        journal.note(kind, path="model" if kind == "model" else "report.png")
    assert journal.in_session() == open_


def test_paths_are_kept_relative_and_read_absolute_wherever_the_search_lies(journal, tmp_path):
    for path in ("report.png", "figures/history.png", "model"):
        kind = "model" if path == "model" else "file"
        journal.note(kind, path=journal.directory.parent / path, trial="0", name=None)
    text = (journal.directory / "search.jsonl").read_text()
    assert str(tmp_path) not in text
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    moved = Journal(journal.directory.rename(moved / "journal"))
    home = moved.directory.parent
    paths = [event["path"] for event in moved.events() if "path" in event]
    assert paths == [
        str(home / "report.png"),
        str(home / "figures/history.png"),
        str(home / "model"),
    ]


ELSEWHERE = "/etc/passwd"


@pytest.mark.parametrize(("kind", "path"), [
    ("file", ELSEWHERE),
    ("file", "../secret.png"),
    ("file", "figures/../../secret.png"),
    ("file", "notes.txt"),
    ("file", "figures/linked.png"),
    ("file", "report.html"),  # a link too
    ("model", "/etc"),
    ("model", ".."),
    ("model", "journal"),
    ("model", "model"),  # holds a link
])  # fmt: skip
def test_a_foreign_journal_has_nothing_uploaded_that_kbn_did_not_write(journal, kind, path):
    home = journal.directory.parent
    for name in ("figures", "model/data"):
        (home / name).mkdir(parents=True)
    for link in ("figures/linked.png", "report.html", "model/data/weights"):
        (home / link).symlink_to(ELSEWHERE)
    journal.note("begin")
    journal.note(kind, path=path, trial="0", name=None)
    with pytest.raises(JournalError, match=r"search.jsonl:3: what is sent of a search must be"):
        journal.events()


BEGIN = {"name": "s", "params": {}, "origin": {}, "texts": {}, "dataset": None}


@pytest.mark.parametrize("uri", ["plugin://x", "s3://bucket", "javascript:x", "http://["])
def test_a_foreign_journal_may_name_only_stores_that_mlflow_has(journal, uri):
    journal.note(
        "begin", **BEGIN, target={"experiment": "e", "tracking_uri": "mysql+pymysql://h/d"}
    )
    assert len(journal.events()) == 2
    journal.note("begin", **BEGIN, target={"experiment": "e", "tracking_uri": uri})
    with pytest.raises(JournalError, match=r"search.jsonl:3: a search may be tracked in a store"):
        journal.events()


@pytest.mark.parametrize(("event", "fields"), [
    ("begin", {**BEGIN, "texts": [], "target": {"experiment": "e"}}),
    ("begin", {"target": {"experiment": "e"}}),
    ("model", {"path": "model", "trial": "0", "name": 7}),
    ("file", {"path": None}),
    ("metrics", {"trial": "0", "values": 1.0}),
    ("end", {"status": None}),
    ("round", {}),
])  # fmt: skip
def test_a_foreign_journal_whose_lines_say_something_else_is_told_with_the_line(
    journal, event, fields
):
    journal.note(event, **fields)
    with pytest.raises(JournalError, match=r"search.jsonl:2: a line of a journal must be an event"):
        journal.events()


@pytest.mark.parametrize("end", [{"score": "1.0"}, {"values": None}, {"best_step": 0.5}])
def test_a_foreign_attempt_that_says_something_else_is_told_and_left_out(journal, end):
    number = journal.begin("0", {})
    journal._lines.append("0.1.jsonl", "end", {"status": "COMPLETED", "values": {}, **end})
    attempts, (fault,) = journal.outcomes()
    assert (number, attempts) == (1, [])
    assert "0.1.jsonl: a line of a journal must be an event, as kbn wrote it. Got" in fault


@pytest.mark.posix
@pytest.mark.parametrize("name", ["0.1.jsonl", "search.jsonl", "copy.jsonl"])
def test_a_file_that_is_a_pipe_is_not_waited_for(journal, name):
    for trial in "01":
        journal.end(trial, journal.begin(trial, {}), "COMPLETED", {}, score=1.0)
    (journal.directory / name).unlink()
    os.mkfifo(journal.directory / name)
    attempts, faults = Journal(journal.directory).outcomes()
    assert len(attempts) == 2
    assert any(
        fault.startswith(f"{journal.directory / name}: a file of a journal") for fault in faults
    )


@pytest.mark.parametrize(
    "name",
    ["lock", "sender.lock", "sender", "sender.new", "search.jsonl", "copy.jsonl", "0.1.jsonl"],
)
def test_links_in_a_foreign_journal_are_not_written_through(journal, tmp_path, name):
    victim = tmp_path / "victim"
    victim.write_text("mine")
    journal.directory.mkdir()
    (journal.directory / name).symlink_to(victim)

    def use():
        with journal.locks.session(), journal.locks.sending("a test", waits=False):
            journal.note("begin")
            journal.end("0", journal.begin("0", {}), "COMPLETED", {})
            journal.repair()

    with contextlib.suppress(JournalError, OSError):
        use()
    assert victim.read_text() == "mine"


def finished_search(directory, scores=(0.5, 0.75, 0.25, 1.5)):
    """As a recorder leaves it: every trial has three epochs; the last one failed once."""
    journal = Journal(directory)
    journal.note("begin", name="s", params={}, target=None)
    for trial, score in enumerate(scores):
        for status in ("INVALID", "COMPLETED")[0 if score == scores[-1] else 1 :]:
            number = journal.begin(str(trial), {"x": score, "y": math.nan})
            for epoch in range(3):
                journal.epoch(str(trial), number, 0, epoch, {"loss": score + epoch})
            end = {"score": score} if status == "COMPLETED" else {"message": "by chance"}
            journal.end(str(trial), number, status, {"x": score, "y": math.nan}, **end)
    journal.note("end", status="FINISHED")
    journal.note("file", path="report.png")
    return journal


def damage(journal, other, rng):
    """Damages one file; returns its name."""
    files = sorted(file for file in journal.directory.glob("*.jsonl"))
    file = files[rng.integers(len(files))]
    content = bytearray(file.read_bytes())
    kind = rng.integers(6)
    if kind == 0:  # a bit
        content[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
        file.write_bytes(content)
    elif kind == 1:  # cut anywhere
        file.write_bytes(content[: rng.integers(len(content))])
    elif kind == 2:  # cut between two lines
        lines = bytes(content).splitlines(keepends=True)
        file.write_bytes(b"".join(lines[: rng.integers(len(lines))]))
    elif kind == 3:
        file.unlink()
    elif kind == 4:  # as another attempt's
        others = [each for each in files if each != file]
        file.write_bytes(others[rng.integers(len(others))].read_bytes())
    else:
        file.write_bytes((other.directory / file.name).read_bytes())
    return file.name


def essence(attempts):
    """All but epochs; NaN is no number, and so never the same."""
    return [repr(dataclasses.replace(attempt, epochs=())) for attempt in attempts]


def test_none_of_200_random_damages_is_silent_and_all_are_repaired(tmp_path):
    whole = finished_search(tmp_path / "whole")
    other = finished_search(tmp_path / "other", (0.1, 0.2, 0.3, 0.4))
    truth, events = whole.attempts(), [event["event"] for event in whole.events()]
    lost_epochs = 0
    for case in range(200):
        rng = np.random.default_rng(case)
        directory = tmp_path / f"damaged{case}"
        shutil.copytree(whole.directory, directory)
        name = damage(Journal(directory), other, rng)
        journal = Journal(directory)

        attempts, faults = journal.outcomes()  # of who only looks
        assert essence(attempts) == essence(truth), f"{case}: {name}"
        told = [fault for fault in faults if str(directory / name) in fault]

        _, repaired = journal.repair()
        again = Journal(directory)
        assert essence(again.attempts()) == essence(truth), f"{case}: {name}"
        assert [event["event"] for event in again.events()] == events
        assert again.search_id == whole.search_id
        assert again.faults() == []
        assert again.repair() == (again.attempts(), [])

        lost = sum(len(a.epochs) for a in truth) - sum(len(a.epochs) for a in again.attempts())
        lost_epochs += lost > 0
        if lost:
            assert told, f"{case}: {name}"
            assert any(str(directory / name) in line for line in repaired)
        assert len(list(again.directory.glob("*.damaged"))) <= 1
        shutil.rmtree(directory)
    assert lost_epochs > 20  # the test can fail


def test_an_attempt_whose_two_records_are_lost_is_told_and_not_guessed(tmp_path):
    journal = finished_search(tmp_path / "journal")
    for name in ("1.1.jsonl", "copy.jsonl"):
        file = journal.directory / name
        file.write_bytes(file.read_bytes().replace(b'"0.75"', b"").replace(b": 0.75", b": 9.75"))
    attempts, faults = Journal(journal.directory).outcomes()
    assert [a.trial for a in attempts] == ["0", "2", "3", "3"]
    assert any("1.1.jsonl:1: a line of a journal must be an event" in fault for fault in faults)


def test_a_search_whose_own_file_and_its_copy_are_gone_keeps_its_identity(tmp_path):
    journal = finished_search(tmp_path / "journal")
    for name in ("search.jsonl", "copy.jsonl"):
        (journal.directory / name).unlink()
    again = Journal(journal.directory)
    assert again.exists()
    assert again.search_id == journal.search_id
    assert any("search.jsonl" in line for line in again.repair()[1])
    assert [event["event"] for event in again.events()] == ["search"]
    assert Journal(journal.directory).search_id == journal.search_id
    assert len(again.attempts()) == 5


def test_the_time_of_a_record_does_not_grow_with_the_search(journal, monkeypatch):
    for trial in range(50):
        journal.end(str(trial), journal.begin(str(trial), {}), "COMPLETED", {}, score=1.0)
    again, read = Journal(journal.directory), []
    again.begin("50", {})
    monkeypatch.setattr("kbn.tracking.sealed.content_of", read.append)
    monkeypatch.setattr(type(journal.directory), "glob", lambda *_: read.append("glob"))
    again.end("51", again.begin("51", {}), "COMPLETED", {}, score=1.0)
    assert read == []
