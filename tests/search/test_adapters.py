"""Canaries: each private name of KerasTuner that kbn.search uses still means what it did."""

import ast
import inspect
import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import keras_tuner as kt
import pytest
from keras_tuner.engine.hyperparameters import Float
from keras_tuner.engine.trial import Trial
from keras_tuner.src.engine.base_tuner import BaseTuner
from keras_tuner.src.engine.oracle import Display
from keras_tuner.src.engine.tuner_utils import SaveBestEpoch

import kbn
from kbn.search import _keras_tuner

SEARCH = Path(kbn.__file__).parent / "search"
LOSS = kt.Objective("loss", "min")


class Oracle(_keras_tuner.OpenOracle):
    def populate_space(self, trial_id):
        return {"status": "RUNNING", "values": {"x": int(trial_id) / 8}}


def oracle_in(directory, **kwargs):
    hp = kt.HyperParameters()
    hp.Float("x", 0.0, 1.0)
    oracle = Oracle(LOSS, 8, hyperparameters=hp, **kwargs)
    oracle.verbose = 0
    oracle.use_directory(directory / "search")
    return oracle


def end(oracle, trial, status):
    oracle.update_trial(trial.trial_id, {"loss": 1.0})
    trial.status = status
    oracle.end_trial(trial)


# --- oracles -------------------------------------------------------------------------------------


def test_keras_tuner_tells_an_oracle_its_directory_by_set_project_dir(tmp_path):
    oracle = Oracle(LOSS, 8)
    BaseTuner(oracle, directory=tmp_path, project_name="mine")
    assert oracle._home == tmp_path / "mine", "a tuner no longer calls Oracle._set_project_dir"
    chosen = oracle_in(tmp_path)
    chosen.create_trial("w")
    assert (tmp_path / "search" / "oracle.json").exists(), (
        "Oracle._set_project_dir no longer decides where an oracle saves"
    )


def test_keras_tuner_queues_trials_to_run_again_in_retry_queue_and_counts_run_times(tmp_path):
    oracle = oracle_in(tmp_path, max_retries_per_trial=2)
    end(oracle, oracle.create_trial("w"), "INVALID")
    assert oracle._waiting == ["0"], "Oracle._retry_queue no longer holds trials to run again"
    assert oracle._runs["0"] == 1, "Oracle._run_times no longer counts the runs of a trial"
    assert oracle._runs["7"] == 0, "Oracle._run_times has no default any more"
    oracle._waiting = []
    assert oracle.create_trial("w").trial_id == "1", "Oracle._retry_queue is not read any more"


def test_keras_tuner_draws_from_seed_state():
    drawn = [Oracle(LOSS, 8, seed=0), Oracle(LOSS, 8, seed=9)]
    drawn[1]._use_seed(0)
    for oracle in drawn:
        oracle.hyperparameters.Float("x", 0.0, 1.0)
    first, second = (oracle._random_values() for oracle in drawn)
    assert first == second, "KerasTuner no longer draws from Oracle._seed_state"


def test_keras_tuner_notes_what_was_tried_with_record_values(tmp_path):
    oracle = oracle_in(tmp_path)
    trial = oracle.create_trial("w")
    assert oracle._duplicate(trial.hyperparameters.values)
    trial.hyperparameters.Float("found", 0.0, 1.0)
    del trial.hyperparameters.values["found"]
    oracle._remember(trial)
    assert "found" in trial.hyperparameters.values, "_record_values completes no values any more"
    assert oracle._duplicate(trial.hyperparameters.values), "_record_values notes nothing any more"


def test_keras_tuner_prints_through_display(tmp_path, capsys):
    oracle = oracle_in(tmp_path)
    oracle.verbose = 1
    trial = oracle.create_trial("w")
    assert "Running Trial #1" in capsys.readouterr().out, "Oracle._display prints no trial's start"
    assert oracle._shown.search_start is not None
    end(oracle, trial, "COMPLETED")
    assert "Total elapsed time" in capsys.readouterr().out, (
        "Display.on_trial_end no longer needs search_start, trial_start and trial_number"
    )
    assert {"show_hyperparameter_table", "on_trial_end"} <= set(dir(Display))


def test_keras_tuner_checks_metrics_with_check_objective_found():
    oracle = Oracle([LOSS, kt.Objective("other", "max")], 8)
    oracle._require_objective({"loss": 1.0, "other": 2.0})
    with pytest.raises(ValueError, match="other"):
        oracle._require_objective({"loss": 1.0})


# --- tuners --------------------------------------------------------------------------------------


class Tuner(_keras_tuner.OpenTuner):
    """Notes which of its hooks are called."""

    def __init__(self, *args, **kwargs):
        self.called = []
        super().__init__(*args, **kwargs)

    def _find_space(self):
        self.called.append("_find_space")
        super()._find_space()

    def _run_and_report(self, *args, **kwargs):
        self.called.append("_run_and_report")
        super()._run_and_report(*args, **kwargs)

    def _fit(self, *args, **kwargs):
        self.called.append("_fit")
        return super()._fit(*args, **kwargs)

    def _model_of(self, hp):
        self.called.append("_model_of")
        return super()._model_of(hp)


def build(hp):
    dense = keras.layers.Dense(hp.Int("units", 1, 4))
    model = keras.Sequential([keras.Input((1,)), dense])
    model.compile("sgd", "mse", run_eagerly=True, jit_compile=False)
    return model


def test_keras_tuner_calls_the_hooks_of_a_tuner_that_subclasses_override(tmp_path):
    oracle = kt.oracles.RandomSearchOracle(LOSS, 1, seed=1)
    tuner = Tuner(oracle, build, directory=tmp_path, project_name="search")
    assert tuner.called == ["_find_space"], "_populate_initial_space is not called at the start"
    assert [hp.name for hp in oracle.hyperparameters.space] == ["units"]
    tuner.called.clear()
    data = keras.ops.ones((4, 1))
    tuner.search(data, data, epochs=1, verbose=0)
    assert tuner.called == ["_run_and_report", "_fit", "_model_of"], (
        "a trial no longer passes _run_and_update_trial, _build_and_fit_model and _build_hypermodel"
    )
    home = tmp_path / "search"
    assert tuner._own_file == home / "tuner0.json", "_get_tuner_fname names another file"
    assert tuner._own_file.exists(), "the tuner's state is no longer at _get_tuner_fname"
    assert Path(tuner._best_weights("0")).exists(), "no weights are at _get_checkpoint_fname"
    assert json.loads(tuner._build_config("0").read_text()), "_get_build_config_fname has no config"
    trial = oracle.get_trial("0")
    model = tuner._checked_model_of(trial.hyperparameters)
    assert model.layers[-1].units == trial.hyperparameters["units"], "_try_build builds no model"


@pytest.mark.parametrize(("name", "works"), [("chief", False), ("worker", True)])
def test_keras_tuner_knows_a_worker_by_its_variables(tmp_path, monkeypatch, name, works):
    tuner = Tuner(kt.oracles.RandomSearchOracle(LOSS, 1), build, directory=tmp_path)
    assert not tuner._works_for_a_chief
    assert not _keras_tuner.is_distributed()
    for variable, value in {"ORACLE_IP": "a", "ORACLE_PORT": "1", "TUNER_ID": name}.items():
        monkeypatch.setenv(f"KERASTUNER_{variable}", value)
    assert tuner._works_for_a_chief is works, "_is_worker no longer tells a worker from its chief"
    assert _keras_tuner.is_distributed()


def test_keras_tuners_callback_saves_the_best_epochs_by_save_model(tmp_path):
    model = build(kt.HyperParameters())
    saver, saved = SaveBestEpoch(LOSS, str(tmp_path / "x.weights.h5")), []
    saver.set_model(model)
    _keras_tuner.redirect_saving(saver, lambda: saved.append(saver.best_value))
    for epoch, loss in enumerate([3.0, 4.0, 2.0]):
        saver.on_epoch_end(epoch, {"loss": loss})
    assert saved == [3.0, 2.0], "SaveBestEpoch no longer calls _save_model at the best epochs"
    _keras_tuner.write_best_epoch(saver)
    assert Path(saver.filepath).exists(), "SaveBestEpoch._save_model no longer saves the weights"


# --- hyperparameters -----------------------------------------------------------------------------


def test_keras_tuner_keeps_a_space_in_hps_and_space():
    hp = kt.HyperParameters()
    hp.Choice("kind", ["a", "b"])
    with hp.conditional_scope("kind", ["b"]):
        hp.Float("x", 0.0, 1.0)
    copy = _keras_tuner.copied(hp, {"kind": "b", "x": 0.25})
    sentence = "HyperParameters._hps and _space are no longer all that a space is made of"
    assert copy.get_config() == {**hp.get_config(), "values": {"kind": "b", "x": 0.25}}, sentence
    assert (copy.get("x"), copy.is_active("x")) == (0.25, True), sentence
    hp.values = dict(copy.values)
    assert vars(copy.copy()).keys() == vars(copy).keys() == vars(hp).keys(), sentence


def test_keras_tuner_declares_hyperparameters_with_retrieve_get_name_and_conditions():
    ours, its = kt.HyperParameters(), kt.HyperParameters()
    for hp in (ours, its):
        hp.Boolean("on", default=True)
    with ours.conditional_scope("on", [True]), ours.name_scope("outer"):
        value = _keras_tuner.declared_in(ours, Float, "x", min_value=1.0, max_value=2.0)
    with its.conditional_scope("on", [True]), its.name_scope("outer"):
        assert its.Float("x", 1.0, 2.0) == value == 1.0
    assert ours.get_config() == its.get_config(), "hp.Float does more than _retrieve by now"


def test_importing_the_search_changes_no_class_of_keras_tuner():
    classes = [kt.Oracle, kt.Tuner, BaseTuner, kt.HyperParameters, Trial, Float, Float.mro()[1]]
    for each in [*classes, Display, SaveBestEpoch]:
        for name, value in vars(each).items():
            home = getattr(getattr(value, "__func__", value), "__module__", None)
            assert not str(home).startswith("kbn"), f"{each.__name__}.{name} is of {home}"


PROGRAM = """
import kbn.search.hyperparameters, keras_tuner, sys
from keras_tuner.src import protos

message = protos.get_proto().HyperParameters.FromString(bytes.fromhex(sys.argv[1]))
(hp,) = keras_tuner.HyperParameters.from_proto(message).space
print(type(hp).__name__, hp.scale.name)
"""


@pytest.mark.slow
def test_a_process_with_keras_tuners_variables_understands_scaled_floats_in_messages():
    hp = kt.HyperParameters()
    kbn.scales.per_decade(hp, "rate", 1e-3, 1.0)
    variables = {"ORACLE_IP": "a", "ORACLE_PORT": "1", "TUNER_ID": "w"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, hp.to_proto().SerializeToString().hex()],
        env={**os.environ, **{f"KERASTUNER_{name}": v for name, v in variables.items()}},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.stdout.split() == ["ScaledFloat", "per_decade"], (
        f"HyperParameters.from_proto no longer calls Float.from_proto: {done.stderr}"
    )


def test_variables_that_are_set_after_the_import_are_heeded_too(monkeypatch):
    monkeypatch.setattr(Float, "from_proto", Float.from_proto)  # is put back
    monkeypatch.setenv("KERASTUNER_ORACLE_IP", "a")
    hp = kt.HyperParameters()
    kbn.scales.per_decade(hp, "rate", 1e-3, 1.0)
    (received,) = kt.HyperParameters.from_proto(hp.to_proto()).space
    assert received.get_config() == hp.space[0].get_config()


# --- the fence -----------------------------------------------------------------------------------


def private_names():
    """The underscored names of KerasTuner's classes and of their objects."""
    oracle = kt.oracles.RandomSearchOracle(LOSS, 1)
    owners = [kt.Oracle, kt.Tuner, kt.HyperParameters, SaveBestEpoch, Display, Float]
    objects = [oracle, kt.HyperParameters(), oracle._display]
    names = {name for owner in owners for name in dir(owner)}
    names |= {name for each in objects for name in vars(each)}
    names |= {"_directory", "_project_name"}  # which a tuner sets
    return {n for n in names if n.startswith("_") and not n.startswith("__")} - set(dir(object))


MODULES = sorted(path for path in SEARCH.glob("*.py") if path.name != "_keras_tuner.py")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_no_other_module_of_the_search_uses_private_names_of_keras_tuner(path):
    tree = ast.parse(path.read_text())
    imported = {
        node.module if isinstance(node, ast.ImportFrom) else alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    assert not [name for name in imported if str(name).startswith("keras_tuner.")]
    if "keras_tuner" in path.read_text():
        own = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        own |= {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        assert not own & private_names()


@pytest.mark.parametrize("kind", [kbn.CoarseToFineOracle, kbn.CoarseToFine])
def test_no_class_of_the_search_overrides_a_private_name_by_accident(kind):
    for each in inspect.getmro(kind):
        if each.__module__.startswith("kbn.") and not each.__module__.endswith("._keras_tuner"):
            assert not set(vars(each)) & private_names(), each
