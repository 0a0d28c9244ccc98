"""Fixtures for what every mode of the search promises."""

import pytest
from keras_tuner.engine.hyperparameters import Float
from keras_tuner.src import protos
from keras_tuner.src.distribute.oracle_client import OracleClient

from search.contract import MODES, Wire, in_another_process, oracle_in
from search.spaces import space


@pytest.fixture(params=MODES)
def mode(request):
    return request.param


@pytest.fixture
def new(mode, tmp_path):
    """Makes an oracle of the mode, as `oracle_in`."""

    def make(space=space, *, directory=tmp_path, **kwargs):
        return oracle_in(directory, mode, space, **kwargs)

    return make


@pytest.fixture
def reloaded(new):
    """Makes an oracle of the mode and loads what another one saved."""

    def make(*args, **kwargs):
        oracle = new(*args, **kwargs)
        oracle.reload()
        return oracle

    return make


@pytest.fixture(scope="session")
def elsewhere():
    return in_another_process()


@pytest.fixture
def distributed(monkeypatch):
    """Sets KerasTuner's variables of a worker, and undoes what kbn does on seeing them."""
    monkeypatch.setattr(Float, "from_proto", Float.from_proto)
    monkeypatch.setenv("KERASTUNER_ORACLE_IP", "chief")
    monkeypatch.setenv("KERASTUNER_ORACLE_PORT", "1")
    monkeypatch.setenv("KERASTUNER_TUNER_ID", "w")


@pytest.fixture
def worker_of(monkeypatch, distributed):
    """Makes this process a worker of the chief that has the oracle; returns its client."""

    def connect(oracle):
        monkeypatch.setattr("grpc.insecure_channel", lambda address: None)
        monkeypatch.setattr(protos.get_service_grpc(), "OracleStub", lambda _: Wire(oracle))
        return OracleClient(oracle)

    return connect
