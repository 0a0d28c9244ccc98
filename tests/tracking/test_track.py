import gc
import json
import math
import shutil
import signal
from pathlib import Path
from unittest.mock import Mock

import keras
import keras_tuner as kt
import mlflow
import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.entities import ViewType
from mlflow.models import Model

import kbn
from kbn.files import locked
from kbn.tracking.collecting import Collecting
from kbn.tracking.context import dataset_of, origin
from kbn.tracking.journal import Journal
from kbn.tracking.listener import Listener
from kbn.tracking.names import legal, original
from kbn.tracking.push import push
from kbn.tracking.target import Target
from kbn.tracking.track import record
from tracking.scripted import Scripted, number_of

OBJECTIVE = kt.Objective("val_loss", "min")


@pytest.fixture
def store(empty_store, workspace) -> MlflowClient:
    """The default store of an empty working directory."""
    file = shutil.copy(empty_store, workspace / "mlflow.db")
    return MlflowClient(f"sqlite:///{file}")


def runs_of(store, experiment):
    """The parent run, and its children by trial in the order of attempts."""
    known = store.get_experiment_by_name(experiment)
    runs = store.search_runs([known.experiment_id], run_view_type=ViewType.ALL)
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    assert len(parents) == 1
    children = [run for run in runs if run is not parents[0]]
    assert {run.data.tags["mlflow.parentRunId"] for run in children} <= {parents[0].info.run_id}
    order = lambda run: (run.data.tags["kbn.trial"], run.data.tags["kbn.attempt"])  # noqa: E731
    return parents[0], sorted(children, key=order)


def history_of(store, run, metric):
    points = store.get_metric_history(run.info.run_id, metric)
    return [point.value for point in sorted(points, key=lambda point: point.step)]


def build_model(hp):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    rate = hp.Float("rate", 1e-3, 1e-1, sampling="log")
    # a few batches take less time than to compile a step
    model.compile(keras.optimizers.SGD(rate), loss="mse", run_eagerly=True)
    return model


class Trained(kt.HyperModel):
    """Keeps what Keras itself says of every training."""

    def __init__(self):
        super().__init__()
        self.histories = []

    def build(self, hp):
        return build_model(hp)

    def fit(self, hp, model, *args, **kwargs):
        result = model.fit(*args, **kwargs)
        self.histories.append(result.history)
        return result


def searched(tuner):
    x = np.random.default_rng(0).normal(size=(32, 2))
    y = x.sum(1)
    tuner.search(x, y, validation_data=(x, y), epochs=3, verbose=0)
    return list(tuner.oracle.trials.values())


KINDS = [kt.RandomSearch, kt.BayesianOptimization, kt.GridSearch, kbn.CoarseToFine]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_trial_of_any_tuner_is_a_child_run_with_all_that_it_measured(store, kind):
    model = Trained()
    tuner = kind(model, OBJECTIVE, max_trials=3, executions_per_trial=2, seed=1, project_name="p")
    assert kbn.track(tuner) is tuner
    trials = searched(tuner)

    parent, children = runs_of(store, "p")
    assert parent.info.status == "FINISHED"
    assert parent.data.params["objective"] == "val_loss"
    assert len(children) == len(trials) == 3
    for index, (run, trial) in enumerate(zip(children, trials, strict=True)):
        assert run.info.status == "FINISHED"
        assert run.data.params == {"rate": str(trial.hyperparameters.values["rate"])}
        assert run.data.tags["kbn.status"] == "COMPLETED"
        assert run.data.metrics["score"] == trial.score
        seconds = (run.info.end_time - run.info.start_time) / 1000
        assert run.data.metrics["duration_seconds"] == pytest.approx(seconds)
        first, second = model.histories[2 * index : 2 * index + 2]
        for metric in ("loss", "val_loss"):
            assert history_of(store, run, metric) == pytest.approx(first[metric])
            assert history_of(store, run, f"execution_2/{metric}") == pytest.approx(second[metric])
    (model,) = parent.outputs.model_outputs
    logged = mlflow.keras.load_model(f"models:/{model.model_id}")
    x = np.ones((3, 2))
    np.testing.assert_array_equal(logged(x), tuner.get_best_models()[0](x))
    saved = Model.load(f"models:/{model.model_id}")
    assert saved.signature.inputs.inputs[0].shape == (-1, 2)
    assert saved.saved_input_example_info is not None
    best = min(trials, key=lambda trial: trial.score)
    assert parent.data.tags["kbn.best_trial"] == best.trial_id
    assert history_of(store, parent, "best_score")[-1] == best.score
    assert history_of(store, parent, "best_score")[0] == trials[0].score


@pytest.mark.parametrize("uri", [None, "sqlite:///mlflow.db"])
def test_each_search_is_in_the_store_of_the_directory_where_it_was_begun(
    uri, empty_store, tmp_path, monkeypatch
):
    for name in ("first", "second"):
        directory = tmp_path / name
        directory.mkdir()
        shutil.copy(empty_store, directory / "mlflow.db")
        monkeypatch.chdir(directory)

        def script(trial):
            monkeypatch.chdir(tmp_path)  # as the code of a trial may
            return number_of(trial)

        recorder = record(Scripted(script, 1, directory=directory), Target(name, uri))
        recorder.tuner.search()
        runs_of(MlflowClient(f"sqlite:///{directory / 'mlflow.db'}"), name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first", "second"]


def test_the_first_metric_of_a_trial_is_a_measured_one_which_mlflow_colours_lines_by(store):
    def script(trial):
        recorder.sender.finish()  # what is known of it is in the store
        return number_of(trial)

    hp = kt.HyperParameters()
    hp.Float("rate", 1e-4, 1, sampling="log")
    tuner = Scripted(script, 1, hyperparameters=hp)
    recorder = record(tuner, Target("scripted"))
    tuner.search()
    _, (run,) = runs_of(store, "scripted")
    assert list(run.data.metrics) == ["score", "best_epoch", "duration_seconds", "hp/rate"]


@pytest.mark.slow
def test_hyperbands_trials_show_the_epochs_that_each_was_given(store):
    tuner = kt.Hyperband(
        build_model, OBJECTIVE, max_epochs=4, factor=2, hyperband_iterations=1, project_name="p"
    )
    trials = searched(kbn.track(tuner))
    parent, children = runs_of(store, "p")
    assert parent.info.status == "FINISHED"
    assert len(children) == len(trials) > 4
    for run, trial in zip(children, trials, strict=True):
        values = trial.hyperparameters.values
        epochs = values["tuner/epochs"] - values["tuner/initial_epoch"]
        assert len(history_of(store, run, "val_loss")) == epochs
        assert run.data.params["tuner/epochs"] == str(values["tuner/epochs"])
        assert run.data.metrics["score"] == trial.score


@pytest.mark.slow
def test_the_best_model_is_logged_again_only_if_it_is_another_one(store):
    scores = iter([2.0, 1.0, 3.0])

    class Scored(kt.RandomSearch):
        def run_trial(self, trial, *args, **kwargs):
            super().run_trial(trial, *args, **kwargs)
            return next(scores)

    for max_trials, models in ((1, 1), (2, 2), (3, 2)):
        tuner = Scored(build_model, OBJECTIVE, max_trials=max_trials, seed=1, project_name="p")
        searched(kbn.track(tuner))
        parent, _ = runs_of(store, "p")
        assert len(parent.outputs.model_outputs) == models


def test_a_model_that_cannot_be_logged_costs_one_warning(store, caplog):
    batches = ((np.ones((4, 2)), np.ones((4, 1))) for _ in range(9))  # whose first ones are gone
    tuner = kt.RandomSearch(build_model, kt.Objective("loss", "min"), 1, project_name="p")
    with caplog.at_level("WARNING", "kbn"):
        kbn.track(tuner).search(batches, epochs=1, steps_per_epoch=1, shuffle=False, verbose=0)
    (warning,) = (record for record in caplog.records if record.name.startswith("kbn"))
    assert "p: the best trial's model could not be saved" in warning.getMessage()
    parent, (run,) = runs_of(store, "p")
    assert (parent.info.status, run.info.status) == ("FINISHED", "FINISHED")


@pytest.mark.slow
def test_no_global_state_of_mlflow_is_touched(store, workspace):
    before = mlflow.get_tracking_uri()
    tuner = kt.RandomSearch(build_model, OBJECTIVE, max_trials=1, project_name="p")
    searched(kbn.track(tuner, experiment="other", tracking_uri=f"sqlite:///{workspace}/mlflow.db"))
    assert mlflow.get_tracking_uri() == before
    assert mlflow.active_run() is None
    assert len(runs_of(store, "other")[1]) == 1


def test_a_trial_that_raises_is_a_failed_run_with_its_reason(store):
    def script(trial):
        if trial.trial_id == "1":
            raise ValueError("units must fit")
        return number_of(trial)

    kbn.track(Scripted(script)).search()
    parent, children = runs_of(store, "scripted")
    assert [run.info.status for run in children] == ["FINISHED", "FAILED", "FINISHED"]
    failed = children[1]
    assert failed.data.tags["kbn.error"] == "ValueError: units must fit"
    assert "score" not in failed.data.metrics
    path = store.download_artifacts(failed.info.run_id, "traceback.txt")
    with open(path, encoding="utf-8") as traceback:  # noqa: PTH123
        assert "in script" in traceback.read()
    assert parent.info.status == "FINISHED"


def test_a_retried_trial_leaves_one_run_an_attempt(store):
    tries = []

    def script(trial):
        tries.append(trial)
        if len(tries) == 1:
            raise ValueError("by chance")
        return 1.0

    kbn.track(Scripted(script, max_trials=1, max_retries_per_trial=1)).search()
    _, children = runs_of(store, "scripted")
    assert [run.info.status for run in children] == ["FAILED", "FINISHED"]
    assert children[1].info.run_name == "trial 0 attempt 2"
    assert "kbn.error" not in children[1].data.tags


def test_a_stopped_search_is_killed_and_its_parent_is_opened_again(store, ctrl_c):
    def stopped(trial):
        if trial.trial_id == "1":
            signal.raise_signal(signal.SIGINT)
        return number_of(trial)

    with pytest.raises(KeyboardInterrupt):
        kbn.track(Scripted(stopped)).search()
    parent, children = runs_of(store, "scripted")
    assert [run.info.status for run in (parent, *children)] == ["KILLED", "FINISHED", "KILLED"]

    kbn.track(Scripted(number_of)).search()
    again, children = runs_of(store, "scripted")
    assert again.info.run_id == parent.info.run_id
    assert again.info.status == "FINISHED"
    ended = [(run.data.tags["kbn.trial"], run.info.status) for run in children]
    assert ended == [("0", "FINISHED"), ("1", "KILLED"), ("1", "FINISHED"), ("2", "FINISHED")]


@pytest.fixture
def ctrl_c():
    """Raises KeyboardInterrupt as Ctrl-C does, and catches it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def press():
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)

    yield press
    assert signal.signal(signal.SIGINT, before) is signal.default_int_handler


def test_a_stop_that_a_library_turns_into_an_error_is_no_failed_trial(store, ctrl_c):
    def stopped(trial):
        if trial.trial_id == "1":
            ctrl_c()
            raise RuntimeError("MISMATCH of exception types")
        return number_of(trial)

    with pytest.raises(KeyboardInterrupt):
        kbn.track(Scripted(stopped)).search()
    parent, children = runs_of(store, "scripted")
    assert [run.info.status for run in (parent, *children)] == ["KILLED", "FINISHED", "KILLED"]


def test_a_stop_that_a_library_turns_into_an_error_between_two_trials_kills_the_search(
    store, ctrl_c
):
    def stop(_):
        ctrl_c()
        raise OSError("no such directory")

    tuner = Scripted(number_of)
    tuner.oracle.populate_space = stop
    with pytest.raises(KeyboardInterrupt):
        kbn.track(tuner).search()
    parent, _ = runs_of(store, "scripted")
    assert parent.info.status == "KILLED"


def test_who_catches_a_stop_himself_goes_on_and_his_later_faults_are_his(store, ctrl_c):
    def script(trial):
        if trial.trial_id == "0":
            ctrl_c()
        if trial.trial_id == "1":
            raise ValueError("units must fit")
        return number_of(trial)

    kbn.track(Scripted(script)).search()
    parent, children = runs_of(store, "scripted")
    statuses = [run.info.status for run in (parent, *children)]
    assert statuses == ["FINISHED", "FINISHED", "FAILED", "FINISHED"]


def test_a_store_that_fails_costs_one_warning_and_the_next_start_sends_what_is_missing(
    store, workspace, caplog
):
    (workspace / "file").touch()
    tuner = kbn.track(Scripted(number_of), tracking_uri=f"sqlite:///{workspace}/file/mlflow.db")
    with caplog.at_level("WARNING", "kbn"):
        tuner.search()
    assert len(tuner.oracle.end_order) == 3
    warnings = [record for record in caplog.records if record.name.startswith("kbn")]
    assert len(warnings) == 1
    assert "The search goes on" in warnings[0].getMessage()

    kbn.track(Scripted(number_of)).search()
    _, children = runs_of(store, "scripted")
    assert [run.data.metrics["score"] for run in children] == [0, 1, 2]
    assert {run.info.status for run in children} == {"FINISHED"}


@pytest.mark.slow
def test_a_child_tells_where_it_ran_on_what_and_where_in_the_search(store, workspace):
    def build(hp):
        hp.Choice("optimizer", ["sgd", "adam"])
        return build_model(hp)

    tuner = kbn.CoarseToFine(build, OBJECTIVE, max_trials=9, seed=3, project_name="p")
    searched(kbn.track(tuner))
    parent, children = runs_of(store, "p")
    rounds = tuner.oracle.rounds
    assert len(rounds) > 2
    for index, run in enumerate(children):
        tags = run.data.tags
        assert (tags["kbn.seed"], tags["kbn.backend"]) == ("3", "tensorflow")
        assert tags["kbn.version.keras"] == keras.__version__
        assert "cpu" in tags["kbn.device"].lower()
        assert tags["mlflow.user"]
        assert tags["mlflow.source.name"]
        current = next(r for r in rounds if index < r.end)
        assert tags["kbn.round"] == str(current.number)
        if tags["kbn.box"] != "the whole space":
            low, high = json.loads(tags["kbn.box"])["rate"]
            assert low <= float(run.data.params["rate"]) <= high
        rate = tuner.oracle.trials[tags["kbn.trial"]].hyperparameters.values["rate"]
        assert run.data.metrics["hp/rate"] == rate  # its charts have a log axis
        assert run.data.metrics["best_epoch"] == 2
        (data,) = run.inputs.dataset_inputs
        assert (data.dataset.name, len(data.dataset.digest)) == ("training", 8)
    for end, pick, of in (("low", min, 0), ("high", max, 1)):
        hull = [pick(box["rate"][of] for box in current.boxes) for current in rounds]
        assert history_of(store, parent, f"box/rate/{end}") == hull
    assert not any(name.startswith("box/optimizer") for name in parent.data.metrics)
    best = tuner.oracle.get_best_trials()[0].hyperparameters.values
    assert parent.data.tags["best/rate"] == str(best["rate"])


def test_the_digest_of_a_data_set_is_that_of_its_content():
    x = np.arange(12.0).reshape(6, 2)
    one, same, other = dataset_of("a", x), dataset_of("a", x.copy()), dataset_of("a", x + 1)
    assert one["digest"] == same["digest"] != other["digest"]
    assert json.loads(one["profile"]) == {"features_shape": [6, 2]}
    assert dataset_of("a", x, x[:, 0])["digest"] != one["digest"]
    assert dataset_of("a", iter([])) is None


def test_names_that_mlflow_refuses_and_numbers_that_are_none_are_kept_readable(store):
    epochs = [{"loss (%)": loss} for loss in (1.0, math.inf, math.nan)]
    tuner = Scripted(number_of, 1, epochs)
    tuner.oracle.hyperparameters.Float("rate, first", 0, 1)
    kbn.track(tuner).search()
    _, (run,) = runs_of(store, "scripted")
    assert {original(name) for name in run.data.params} == {"x", "rate, first"}
    name = legal("loss (%)")
    assert history_of(store, run, name) == pytest.approx([1.0, math.nan, math.nan], nan_ok=True)
    assert run.data.tags[f"kbn.infinite/{name}"] == "inf at epoch 1"


class Other(Scripted):
    """Another tuner on the same project."""


def test_a_param_that_another_tuner_changes_stays_as_it_was_and_a_tag_tells_the_new_one(store):
    for kind, told in ((Scripted, None), (Other, "Other"), (Scripted, "Scripted")):
        kbn.track(kind(number_of)).search()
        parent, children = runs_of(store, "scripted")
        assert (parent.info.status, len(children)) == ("FINISHED", 3)
        assert parent.data.params["tuner"] == "Scripted"
        assert parent.data.tags.get("kbn.tuner") == told


def test_a_search_whose_journal_cannot_be_read_goes_on_and_is_sent_once_it_can(store, caplog):
    kbn.track(Scripted(number_of, 2)).search()
    files = [Path("scripted/journal") / name for name in ("search.jsonl", "copy.jsonl")]
    wholes = [file.read_bytes() for file in files]
    for file, whole in zip(files, wholes, strict=True):
        file.write_bytes(whole.replace(b'"event": "begin", ', b"\x00", 1))
    file, broken = files[0], files[0].read_bytes()
    with caplog.at_level("WARNING", "kbn"):
        tuner = kbn.track(Scripted(number_of, 4))
        tuner.search()
    assert len(tuner.oracle.end_order) == 4
    assert file.read_bytes() == broken
    warnings = [r.getMessage() for r in caplog.records if r.name.startswith("kbn")]
    assert "search.jsonl:2: a line of a journal must be an event" in warnings[-1]
    assert "the search goes on" in warnings[-1]
    assert len(runs_of(store, "scripted")[1]) == 2

    file.write_bytes(wholes[0])
    push("scripted")
    assert [run.data.metrics["score"] for run in runs_of(store, "scripted")[1]] == [0, 1, 2, 3]


def test_the_best_trial_is_in_the_end_the_oracles_and_has_no_values_of_others(store):
    def script(trial):
        tuner.oracle.get_trial(trial.trial_id).hyperparameters.Fixed(f"of {trial.trial_id}", 1)
        return -number_of(trial)

    tuner = Scripted(script)
    tuner.oracle.get_best_trials = lambda _: [tuner.oracle.trials["1"]]  # as if 2 was mere luck
    kbn.track(tuner).search()
    parent, _ = runs_of(store, "scripted")
    tags = parent.data.tags
    assert tags["kbn.best_trial"] == "1"
    assert {name for name in tags if name.startswith("best/")} == {
        f"best/{name}" for name in ("x", "of 0", "of 1")
    }


def test_an_end_that_only_the_oracle_recorded_before_a_kill_is_not_lost(store):
    tuner = kbn.track(Scripted(number_of))
    tuner.search()
    for file, status in (("2.1.jsonl", "COMPLETED"), ("search.jsonl", None)):
        path = Path(tuner.project_dir) / "journal" / file
        *lines, last = path.read_bytes().splitlines(keepends=True)
        assert json.loads(last)["event"] == "end"
        assert json.loads(last)["status"] == (status or "FINISHED")
        path.write_bytes(b"".join(lines))
        copy = path.with_name("copy.jsonl")
        copy.write_bytes(copy.read_bytes().replace(last, b""))
    kbn.track(Scripted(number_of)).search()
    attempt = Journal(Path(tuner.project_dir) / "journal").attempt("2", 1)
    assert (attempt.status, attempt.score) == ("COMPLETED", 2.0)
    assert len(runs_of(store, "scripted")[1]) == 3


def test_a_run_that_the_user_deleted_is_not_made_again(store):
    kbn.track(Scripted(number_of)).search()
    _, children = runs_of(store, "scripted")
    store.delete_run(children[1].info.run_id)
    kbn.track(Scripted(number_of)).search()
    _, left = runs_of(store, "scripted")
    active = [run.data.tags["kbn.trial"] for run in left if run.info.lifecycle_stage == "active"]
    assert (len(left), active) == (3, ["0", "2"])


def test_hundreds_of_metrics_and_params_go_into_few_calls(store, monkeypatch):
    calls = []
    log_batch = MlflowClient.log_batch

    def counted(self, run_id, metrics=(), params=(), tags=(), **kwargs):
        calls.append((len(metrics), len(params), len(tags)))
        return log_batch(self, run_id, metrics, params, tags, **kwargs)

    monkeypatch.setattr(MlflowClient, "log_batch", counted)

    epochs = [{f"metric_{i}": epoch for i in range(10)} for epoch in range(120)]
    tuner = Scripted(number_of, 1, epochs)
    for i in range(120):
        tuner.oracle.hyperparameters.Float(f"p{i}", 0, 1)
    recorder = record(tuner, Target("scripted"))
    with recorder.journal.locks.sending("a test", waits=True):  # so that all is sent at once
        tuner.search()
    assert recorder.sender._settled.wait(60)
    _, (run,) = runs_of(store, "scripted")
    assert len(run.data.params) == 121
    assert len(history_of(store, run, "metric_3")) == 120
    assert max(map(sum, calls)) <= 1000
    assert len([call for call in calls if call[0] > 1 or call[1] > 3]) <= 5


def test_sending_twice_changes_nothing(store):
    def dump():
        parent, children = runs_of(store, "scripted")
        return json.dumps([run.to_dictionary() for run in children], sort_keys=True), len(
            history_of(store, parent, "best_score")
        )

    kbn.track(Scripted(number_of)).search()
    before = dump()
    kbn.track(Scripted(number_of)).search()
    assert dump() == before


@pytest.mark.slow
def test_what_libraries_brought_is_not_searched_for_garbage_by_the_command(workspace):
    def search(trials, listener):
        """How many objects the garbage collector leaves alone in each trial, and after them."""

        def script(_):
            counts.append(gc.get_freeze_count())
            new.append([[] for _ in range(10_000)])
            sender.tried = True  # MLflow is there
            return 1.0

        counts, new = [], []
        recorder = record(Scripted(script, trials), None, listener=listener)
        sender = recorder.sender = Mock(tried=False)
        recorder.tuner.search()
        return [*counts, gc.get_freeze_count()]

    owner = Listener()
    owner.collecting = Collecting()
    gc.unfreeze()
    assert search(2, Listener()) == [0, 0, 0]  # who shares his process is left alone
    first, second, third, after = search(5, owner)
    assert first > 10_000
    assert second > first + 5_000
    assert second >= third >= after > first + 5_000  # until the process ends
    again = search(7, owner)
    assert max(again) <= after  # a second search does not begin anew
    owner.collecting = Collecting()
    gc.freeze()  # as all tests have it
    fourth, fifth, after = search(9, owner)
    assert fourth >= fifth >= after > 10_000  # who freezes himself is left alone


def test_sessions_begin_one_at_a_time_so_that_a_search_has_one_id(workspace, monkeypatch):
    note, held = Journal.note, []

    def noted(self, event, **fields):
        if event == "begin":
            with pytest.raises(BlockingIOError), locked(self.directory / "begin.lock"):
                pass
            held.append(event)
        note(self, event, **fields)

    monkeypatch.setattr(Journal, "note", noted)
    record(Scripted(number_of, 1), None).tuner.search()
    assert held == ["begin"]


def test_what_is_no_tuner_is_told_with_what_to_give_instead(workspace):
    message = r"takes a KerasTuner tuner, as in .*RandomSearch\(build_model.*Got function\."
    with pytest.raises(TypeError, match=message):
        kbn.track(lambda hp: None)


def test_a_tuner_is_tracked_once(workspace):
    tuner = kbn.track(Scripted(number_of))
    with pytest.raises(ValueError, match="'scripted' is tracked already"):
        kbn.track(tuner)


def test_a_backend_that_lists_no_devices_can_be_tracked(monkeypatch):
    def on_torch():
        raise AttributeError("module 'torch' has no list_devices")

    monkeypatch.setattr(keras.distribution, "list_devices", on_torch)
    assert origin.__wrapped__()["device"] == "unknown"
