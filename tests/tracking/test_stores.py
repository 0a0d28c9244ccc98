"""How a store comes into being, and what is told of one that is none."""

import contextlib
import datetime as dt
import ipaddress
import multiprocessing
import re
import signal
import socket
import sqlite3
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from mlflow import MlflowClient

from kbn.errors import KbnError, TrackingError, ViolationError
from kbn.tracking.journal import Journal
from kbn.tracking.models import load_model
from kbn.tracking.push import push
from kbn.tracking.stores import check_store, experiment_page, make, store_uri
from kbn.uris import check_uri
from tracking.making import FILE, make_in
from tracking.searches import sender_to
from tracking.serving import serving

SERVER = multiprocessing.get_context("forkserver")  # whose processes have MLflow from the start
SERVER.set_forkserver_preload(["kbn.tracking.projection", "mlflow.store.tracking.sqlalchemy_store"])


@pytest.mark.slow
def test_a_database_is_made_whole_or_not_at_all_however_often_that_is_killed(workspace):
    for statement in (20, 250, -1):
        process = SERVER.Process(target=make_in, args=(workspace, None, statement))
        process.start()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        assert not FILE.exists()
    make(FILE)
    MlflowClient(f"sqlite:///{FILE.resolve()}").create_experiment("e")
    assert [file.name for file in workspace.iterdir()] == ["mlflow.db"]


def test_two_processes_that_make_a_database_at_once_make_one(workspace):
    barrier = SERVER.Barrier(2)
    processes = [SERVER.Process(target=make_in, args=(workspace, barrier)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    MlflowClient(f"sqlite:///{FILE.resolve()}").create_experiment("e")
    assert [file.name for file in workspace.iterdir()] == ["mlflow.db"]


def test_a_database_that_is_there_stays_and_an_empty_file_is_none(workspace, empty_store):
    FILE.touch()
    with pytest.raises(TrackingError, match="no trials are tracked in this directory"):
        check_store(f"sqlite:///{FILE}")
    with contextlib.closing(sqlite3.connect(FILE)) as database:
        database.execute("CREATE TABLE mine (x)")
    before = FILE.stat()
    make(FILE)
    assert FILE.stat() == before


def test_to_ask_a_store_that_nobody_made_makes_none(workspace):
    assert experiment_page("e") is None
    with pytest.raises(KbnError, match="there is no tracking store"):
        load_model("models:/net@best")
    assert list(workspace.iterdir()) == []


@pytest.fixture
def self_signed(tmp_path) -> Path:
    """A key and its certificate, that nobody vouches for."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    written = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)
    file = tmp_path / "server.pem"
    file.write_bytes(written + certificate.public_bytes(pem))
    return file


ANSWERS = {
    "401": (
        {"status": 401, "body": "You are not authenticated."},
        r"it answers with status 401 \(Unauthorized\). Set MLFLOW_TRACKING_USERNAME and",
    ),
    "401 of a proxy": (
        {"status": 401, "kind": "application/json", "body": '{"detail": "who are you?"}'},
        r"it answers with status 401 \(Unauthorized\). Set MLFLOW_TRACKING_USERNAME and",
    ),
    "403": (
        {"status": 403, "body": "Permission denied"},
        r"it answers with status 403 \(Forbidden\). Use the name of a user who may write",
    ),
    "404": (
        {"status": 404},
        r"this is no MLflow server. Got: .* 404 \(Not Found\), type text/html",
    ),
    "500": ({"status": 500}, r"must answer. Got: .* 500 \(Internal Server Error\)"),
    "a page": ({}, r"this is no MLflow server. Got: .* 200 \(OK\), type text/html"),
    "no page": (
        {"kind": "application/json", "body": "[]"},
        r"this is no MLflow server. Got: .* 200 \(OK\), type application/json",
    ),
}


@pytest.fixture
def journal(workspace) -> Journal:
    journal = Journal(workspace / "search" / "journal")
    journal.end("0", journal.begin("0", {}), "COMPLETED", {}, score=1.0)
    return journal


def check_is_told(journal, uri, told, caplog, capfd):
    """By one warning of a search, and by push, and never with the password."""
    shown = uri.replace("me:hidden@", "")
    target = {"experiment": "e", "tracking_uri": shown}
    journal.note("begin", name="s", params={"direction": "min"}, origin={}, dataset=None,
                 texts={}, target=target)  # fmt: skip
    sender = sender_to(uri, journal)
    sender.notify()
    sender.finish()
    sender.finish()
    sender.stop()
    sender._thread.join()
    (warning,) = (record.getMessage() for record in caplog.records)
    assert re.match(f"The tracking store failed: {shown}: .*{told}", warning)
    with pytest.raises(TrackingError, match=f"^search: {shown}: .*{told}.*kbn push$"):
        push("search")
    captured = capfd.readouterr()
    assert captured.err == captured.out == ""
    assert "hidden" not in warning


@pytest.mark.parametrize("name", ANSWERS)
def test_a_server_that_is_not_ready_for_trials_is_told_by_one_warning_that_says_why(
    journal, name, caplog, capfd
):
    answer, told = ANSWERS[name]
    with serving(**answer) as port:
        uri = f"http://me:hidden@127.0.0.1:{port}"
        check_is_told(journal, uri, told, caplog, capfd)


def test_a_certificate_that_cannot_be_trusted_is_told(journal, self_signed, caplog, capfd):
    told = "a certificate that cannot be trusted, self-signed certificate. Name the authority's"
    with serving(certificate=self_signed) as port:
        check_is_told(journal, f"https://me:hidden@127.0.0.1:{port}", told, caplog, capfd)


def test_a_server_without_encryption_asked_for_it_is_told(journal, caplog, capfd):
    with serving() as port:
        check_is_told(journal, f"https://127.0.0.1:{port}", "Got: no HTTPS", caplog, capfd)


def test_a_server_that_is_down_is_told(journal, caplog, capfd):
    with socket.create_server(("127.0.0.1", 0)) as free:
        uri = f"http://me:hidden@127.0.0.1:{free.getsockname()[1]}"
    check_is_told(journal, uri, "must answer. Got: Connection refused", caplog, capfd)


@pytest.mark.parametrize(
    ("uri", "file"),
    [(None, "mlflow.db"), ("sqlite:///own.db", "own.db"), ("sqlite:////own.db", "/own.db")],
)
def test_a_store_is_in_the_directory_of_the_search_wherever_the_process_is_by_then(
    uri, file, workspace
):
    assert store_uri(uri, workspace / "begun") == f"sqlite:///{workspace / 'begun' / file}"


def test_what_mlflow_chooses_itself_is_taken_where_it_is_no_database_of_the_directory(
    workspace, monkeypatch
):
    (workspace / "mlruns" / "0").mkdir(parents=True)
    (workspace / "mlruns" / "0" / "meta.yaml").touch()
    assert store_uri(None, workspace / "begun") == (workspace / "mlruns").as_uri()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////own.db")
    assert store_uri(None, workspace / "begun") == "sqlite:////own.db"


@pytest.mark.parametrize(
    ("uri", "told"),
    [
        (
            "postgres://me:hidden@nowhere/db",
            r"postgresql:.*; got postgres://\*+@nowhere/db. Write",
        ),
        ("ftp://nowhere", "must begin with one of http:"),
        ("./mlruns", "must name a database or a server: MLflow keeps no trials in directories"),
        ("sqlite://", "must name a file: a database in memory ends with its process"),
        ("sqlite:///:memory:", "must name a file"),
    ],
)
def test_a_uri_that_mlflow_has_no_store_for_is_told_without_its_password(uri, told):
    with pytest.raises(ViolationError) as error:
        check_uri(uri)
    (broken,) = error.value.violations
    assert broken.key == "uri"
    assert re.search(told, f"{broken.rule}; got {broken.shown}. {broken.hint}")
    with pytest.raises(TrackingError, match="a tracking URI must") as error:
        check_store(uri)
    assert "hidden" not in str(error.value)


@pytest.mark.parametrize(
    "uri",
    ["sqlite:///a.db", "sqlite+pysqlite:////a/b.db", "http://host:5000", "https://me:it@host/path",
     "postgresql+psycopg2://me:it@host/db", "mysql://host/db", "databricks", "databricks://me"],
)  # fmt: skip
def test_a_uri_of_any_of_mlflows_stores_is_good(uri):
    check_uri(uri)


def test_directories_are_good_where_mlflow_is_told_to_take_them(monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    check_uri("./mlruns")
