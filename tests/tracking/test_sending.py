"""The thread that sends, with stores that fail, hang and come back."""

import logging
import subprocess
import sys
import threading

import pytest

from kbn.tracking.journal import Journal
from kbn.tracking.sending import Sender


class Store:
    """Remembers what it is sent; fails so many times first, and hangs while `open` is not set."""

    def __init__(self, failures=0, *, hangs=False):
        self.failures, self.has, self.searches, self.connected = failures, [], 0, 0
        self.refusals = []
        self.opened = threading.Event()
        if not hangs:
            self.opened.set()

    def open(self, pulse):
        pulse.asking = True
        self.connected += 1
        self.opened.wait()
        if self.failures:
            self.failures -= 1
            raise ConnectionError("no route\nto the store")
        return self

    def push(self, attempt):
        if self.failures:
            self.failures -= 1
            raise ConnectionError("cut")
        if (attempt.trial, attempt.status) not in self.has:
            self.has.append((attempt.trial, attempt.status))

    def push_search(self):
        self.searches += 1

    def why(self, error):
        return str(error).partition("\n")[0]


@pytest.fixture
def journal(tmp_path) -> Journal:
    journal = Journal(tmp_path / "journal")
    for trial in "012":
        journal.end(trial, journal.begin(trial, {}), "COMPLETED", {}, score=1.0)
    return journal


def warnings_of(caplog):
    return [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_what_the_journal_holds_is_sent_then_what_is_new(journal):
    store = Store()
    sender = Sender(journal, store.open)
    sender.notify()
    sender.finish()
    assert store.has == [("0", "COMPLETED"), ("1", "COMPLETED"), ("2", "COMPLETED")]
    number = journal.begin("3", {})
    sender.notify(("3", number))
    sender.finish()
    assert store.has[3:] == [("3", None)]
    assert store.connected == 1


def test_a_store_that_comes_back_gets_all_that_it_missed_and_one_warning_tells_of_it(
    journal, caplog
):
    store = Store(failures=2)
    sender = Sender(journal, store.open)
    sender.notify()
    while not store.searches:  # the sender tries again by itself
        sender.finish()
    assert [trial for trial, _ in store.has] == ["0", "1", "2"]
    (warning,) = warnings_of(caplog)
    assert "The tracking store failed: no route. The search goes on" in warning.getMessage()


def test_a_store_that_hangs_is_waited_for_only_a_moment_at_the_end(journal, caplog):
    store = Store(hangs=True)
    sender = Sender(journal, store.open)
    sender.notify()
    sender.finish()  # returns
    assert store.has == []
    assert len(warnings_of(caplog)) == 1
    store.opened.set()
    while not store.searches:  # its patience is used up
        sender.finish()
    assert len(store.has) == 3


def test_a_second_sender_of_a_search_takes_over_from_the_first(journal):
    first, second = Store(hangs=True), Store()
    old = Sender(journal, first.open)
    old.notify()
    new = Sender(journal, second.open)
    new.notify()
    first.opened.set()  # the old one's call ends, if it had begun
    old._thread.join()
    while not second.searches:
        new.finish()
    assert len(second.has) == 3
    assert first.has == []


def test_a_file_that_cannot_be_read_is_told_and_the_others_are_sent(journal, caplog):
    file = journal.directory / "1.1.jsonl"
    file.write_bytes(b"not json\n" + file.read_bytes())
    store = Store()
    sender = Sender(journal, store.open)
    sender.notify()
    sender.finish()
    assert [trial for trial, _ in store.has] == ["0", "2"]
    (warning,) = warnings_of(caplog)
    assert "1.1.jsonl:1: a line of a journal must be an event" in warning.getMessage()


def test_mlflow_is_imported_by_the_thread_that_needs_it_and_not_before():
    program = (
        "import sys, kbn.tracking.sending, kbn.tracking.target\n"
        "assert not {'mlflow', 'keras'} & sys.modules.keys()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], stderr=subprocess.PIPE, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
