"""Stores that are locked, hang, answer nonsense or are gone: the search goes on."""

import contextlib
import http.server
import logging
import socket
import sqlite3
import threading

import pytest

import kbn
from faults.conftest import check_all_is_told_once, states_of
from faults.searches import PROJECT, instant
from kbn.errors import TrackingError
from kbn.tracking.push import push
from kbn.tracking.sending import Sender
from kbn.tracking.stores import experiment_page
from tracking.serving import Server, free_port


@pytest.fixture(autouse=True)
def senders_end():
    """A thread that still tries must not meet the next test's store."""
    yield
    for sender in Sender._by_directory.values():
        sender.stop()


def searched(trials, **kwargs):
    tuner = kbn.track(instant(trials), **kwargs)
    tuner.search()
    assert len(states_of(PROJECT)) == trials
    return tuner


def stop_sending():
    """End all threads that send, as the end of the process would."""
    senders = list(Sender._by_directory.values())
    for sender in senders:
        sender.stop()
    for sender in senders:
        sender._thread.join(60)
        assert not sender._thread.is_alive()


def warnings_of(caplog):
    found = [r for r in caplog.records if r.levelno >= logging.WARNING and "kbn" in r.name]
    noise = [r for r in caplog.records if r.name.startswith("urllib3")]
    assert not noise
    return found


def test_a_database_locked_by_another_process_costs_one_warning_and_nothing_is_lost(store, caplog):
    lock = sqlite3.connect(store.removeprefix("sqlite:///"))
    lock.execute("BEGIN EXCLUSIVE")
    searched(4)
    assert len(warnings_of(caplog)) == 1
    lock.rollback()
    lock.close()
    searched(6)  # by the next start
    push(PROJECT)
    check_all_is_told_once(PROJECT, store, PROJECT)


@contextlib.contextmanager
def serving(handle):
    """A server of raw connections; its URI."""
    server = socket.create_server(("127.0.0.1", 0))
    taken = []

    def run():
        with contextlib.suppress(OSError):  # closed
            while True:
                connection, _ = server.accept()
                taken.append(connection)  # else it would be closed
                handle(connection)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        for connection in taken:
            connection.close()
        thread.join()


@pytest.mark.slow
def test_a_server_that_never_answers_is_left_alone(workspace, caplog):
    with serving(lambda connection: None) as uri:
        searched(4, tracking_uri=uri)
        assert len(warnings_of(caplog)) == 1
        assert experiment_page(PROJECT, uri) is None
        stop_sending()


class Violation(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_error(500)

    do_POST = do_GET  # noqa: N815

    def log_message(self, *_):
        pass


def test_a_server_that_answers_500_is_left_alone(workspace, caplog, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")  # MLflow's thread ends sooner
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Violation)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    uri = f"http://127.0.0.1:{server.server_port}"
    searched(4, tracking_uri=uri)
    assert len(warnings_of(caplog)) == 1
    stop_sending()
    server.shutdown()
    server.server_close()


def test_push_says_that_a_store_is_gone_and_that_nothing_is_lost(workspace, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    searched(2, tracking_uri="http://127.0.0.1:9")
    stop_sending()
    with pytest.raises(TrackingError, match=r"127.0.0.1:9: the tracking store must answer.*push"):
        push(PROJECT)
    assert TrackingError.exit_code == 5


@pytest.fixture
def start_server(store):
    """Starts MLflow's own server on the store."""
    started = []

    def start(port):
        started.append(Server(store, port))
        return started[-1]

    yield start
    for server in started:
        server.kill()


@pytest.mark.slow
def test_a_server_that_is_killed_in_the_middle_and_comes_back_gets_all(
    start_server, caplog, monkeypatch
):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    port, servers = free_port(), []
    uri = f"http://127.0.0.1:{port}"

    def script(trial):
        if trial.trial_id == "02":  # it was down at the start
            servers.append(start_server(port))
        if trial.trial_id == "06":
            servers[0].kill()
        return 1.0

    kbn.track(instant(10, script), tracking_uri=uri).search()
    assert len(states_of(PROJECT)) == 10
    assert len(warnings_of(caplog)) == 1
    stop_sending()
    start_server(port)
    push(PROJECT)
    assert len(check_all_is_told_once(PROJECT, uri, PROJECT)) == 10
    push(PROJECT)
    check_all_is_told_once(PROJECT, uri, PROJECT)
