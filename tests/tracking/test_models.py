import importlib.metadata
import logging
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from mlflow import MlflowClient

import kbn
from kbn.errors import KbnError
from kbn.tracking.models import example_of, log_model, save_model

EXAMPLE = np.random.default_rng(0).normal(size=(3, 4)).astype("float32")


@pytest.fixture
def model() -> keras.Model:
    """With the layer, and with averages of its own."""
    keras.utils.set_random_seed(0)
    layers = [keras.Input((4,)), keras.layers.Dense(5), kbn.BatchNormalization()]
    model = keras.Sequential([*layers, keras.layers.Dense(2)])
    model(10 * EXAMPLE, training=True)
    return model


class Calls:
    """Calls a store's client, until it is cut short after so many calls."""

    by_server = False

    def __init__(self, client, experiment, most=None):
        self.client, self.experiment, self.most = client, experiment, most
        self.made: list[str] = []

    def call(self, name, *args, **kwargs):
        answer = getattr(self.client, name)(*args, **kwargs)
        self.made.append(name)
        if len(self.made) == self.most:
            raise InterruptedError
        return answer


@pytest.fixture
def run(empty_store, workspace):
    """A store's client, an experiment and a run in it."""
    client = MlflowClient(f"sqlite:///{shutil.copy(empty_store, workspace / 'mlflow.db')}")
    experiment = client.create_experiment("models")
    return client, experiment, client.create_run(experiment).info.run_id


def event_at(time, path):
    return {"trial": "0", "time": time, "path": str(path), "name": "net"}


@pytest.fixture
def logged(model, run, workspace):
    """The store, and the run that holds the model twice."""
    client, experiment, run_id = run
    save_model(model, workspace / "model", EXAMPLE)
    for time in range(2):
        log_model(Calls(client, experiment), run_id, event_at(time, workspace / "model"))
    return client, run_id


def test_a_model_whose_logging_is_cut_short_after_any_call_is_logged_and_registered_once(
    run, workspace
):
    client, experiment, run_id = run
    (workspace / "model").mkdir()
    (workspace / "model" / "MLmodel").write_text("flavors: {}\n")
    whole = Calls(client, experiment)
    log_model(whole, run_id, event_at(0, workspace / "model"))
    assert len(whole.made) > 7
    for most in range(1, len(whole.made)):  # its first one is refused by now
        event = event_at(most, workspace / "model")
        with pytest.raises(InterruptedError):
            log_model(Calls(client, experiment, most), run_id, event)
        log_model(Calls(client, experiment), run_id, event)
        found = client.search_logged_models([experiment])
        assert {str(one.status) for one in found} == {"READY"}
        outputs = [output.model_id for output in client.get_run(run_id).outputs.model_outputs]
        versions = client.search_model_versions("name = 'net'")
        assert sorted(outputs) == sorted(one.model_id for one in found)
        sources = [version.source for version in versions]
        assert sorted(sources) == sorted(one.artifact_location for one in found)
        assert len(found) == 1 + most
        newest = max(int(version.version) for version in versions)
        assert int(client.get_model_version_by_alias("net", "best").version) == newest


def test_a_model_is_registered_in_the_store_of_its_run_though_the_process_has_another(
    run, workspace, monkeypatch
):
    client, experiment, run_id = run
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{workspace}/other.db")
    (workspace / "model").mkdir()
    log_model(Calls(client, experiment), run_id, event_at(0, workspace / "model"))
    assert str(client.get_model_version_by_alias("net", "best").run_id) == run_id
    assert not (workspace / "other.db").exists()


def test_a_model_that_is_logged_again_takes_nothing_from_a_later_one(run, workspace):
    client, experiment, run_id = run
    (workspace / "model").mkdir()
    for time in (0, 1, 0):
        log_model(Calls(client, experiment), run_id, event_at(time, workspace / "model"))
    assert str(client.get_model_version_by_alias("net", "best").version) == "2"


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 1

    def __getitem__(self, _):
        return EXAMPLE, np.zeros(3)


@pytest.mark.parametrize(
    "x",
    [EXAMPLE, Batches(), tf.data.Dataset.from_tensor_slices((EXAMPLE, np.zeros(3))).batch(3)],
    ids=["array", "PyDataset", "tf.data"],
)
def test_the_example_of_a_model_is_the_first_of_its_inputs(x):
    np.testing.assert_array_equal(example_of(x), EXAMPLE[:2])


def test_the_example_of_a_model_of_several_inputs_has_all_of_them():
    example = example_of({"a": EXAMPLE, "b": 2 * EXAMPLE})
    np.testing.assert_array_equal(example["b"], 2 * EXAMPLE[:2])


def test_a_saved_model_is_whole_or_the_one_before_whenever_the_process_dies(
    model, workspace, monkeypatch
):
    class Killed(BaseException):
        pass

    def killed(*_):
        raise Killed

    save_model(model, workspace / "model", EXAMPLE)
    before = {path: path.read_bytes() for path in (workspace / "model").rglob("*.*")}
    with monkeypatch.context() as patched:
        patched.setattr("kbn.tracking.models.Model.save", killed)
        with pytest.raises(Killed):
            save_model(model, workspace / "model", EXAMPLE)
    assert {path: path.read_bytes() for path in (workspace / "model").rglob("*.*")} == before
    save_model(model, workspace / "model", EXAMPLE)
    assert [path.name for path in workspace.iterdir()] == ["model"]


def test_where_pip_is_not_installed_a_model_is_saved_without_a_word(
    model, workspace, caplog, monkeypatch
):
    version = importlib.metadata.version

    def without_pip(name):
        if name == "pip":
            raise importlib.metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(importlib.metadata, "version", without_pip)
    with caplog.at_level(logging.WARNING):
        save_model(model, "saved", EXAMPLE)
    assert (Path("saved") / "MLmodel").exists()
    assert caplog.messages == []


def test_a_keras_file_is_loaded_and_predicts_the_same(model, workspace):
    model.save("net.keras")
    loaded = kbn.load_model(workspace / "net.keras")
    np.testing.assert_array_equal(loaded(EXAMPLE), model(EXAMPLE))


@pytest.mark.parametrize("uri", ["nowhere.keras", "models:/nothing@best", "no/directory"])
def test_a_model_that_is_not_there_is_an_error_that_says_what_to_name(uri, workspace):
    with pytest.raises(KbnError, match=f"{uri}: a model must be .* Name a file, or models:/NAME"):
        kbn.load_model(uri)


def test_a_logged_model_is_registered_has_a_signature_and_names_what_it_needs(logged, workspace):
    client, run = logged
    newest = client.get_model_version_by_alias("net", "best")
    assert (str(newest.version), newest.run_id) == ("2", run)
    assert len(client.get_run(run).outputs.model_outputs) == 2
    text = " ".join((workspace / "model" / "MLmodel").read_text().split())  # YAML folds lines
    assert '"shape": [-1, 4]' in text
    assert '"shape": [-1, 2]' in text
    assert "kbn==" in (workspace / "model" / "requirements.txt").read_text()
    assert (workspace / "model" / "input_example.json").exists()


@pytest.mark.slow
def test_a_fresh_process_loads_it_with_kbn_and_mlflow_serves_it_without_a_word_of_kbn(
    logged, model
):
    expected = np.asarray(model(EXAMPLE))
    np.save("x.npy", EXAMPLE)
    script = """
import numpy as np, sys
x = np.load("x.npy")
if sys.argv[1] == "kbn":
    import kbn
    y = np.asarray(kbn.load_model("models:/net@best")(x))
else:
    import mlflow.pyfunc
    y = mlflow.pyfunc.load_model("models:/net@best").predict(x)
np.save("y.npy", y)
"""
    for way in ("kbn", "pyfunc"):
        subprocess.run([sys.executable, "-c", script, way], check=True, capture_output=True)
        # outputs are sums of terms near 1, of which some cancel
        np.testing.assert_allclose(np.load("y.npy"), expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("ending", ["keras", "h5"])
@pytest.mark.filterwarnings("ignore:.*HDF5 file:UserWarning")
def test_a_file_that_holds_code_is_not_loaded(workspace, ending):
    ran = workspace / "ran"
    run = keras.layers.Lambda(lambda x: (Path("ran").touch(), x)[1])
    keras.Sequential([keras.Input((2,)), run]).save(workspace / f"bomb.{ending}")
    ran.unlink()
    with pytest.raises(KbnError, match=r"Lambda|lambda"):
        kbn.load_model(workspace / f"bomb.{ending}")
    assert not ran.exists()
