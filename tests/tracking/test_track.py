import json
import shutil

import keras
import keras_tuner as kt
import mlflow
import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.entities import ViewType

import kbn

OBJECTIVE = kt.Objective("val_loss", "min")


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory):
    """A tracking database without runs; MLflow takes seconds to make one."""
    file = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(f"sqlite:///{file}").search_experiments()
    return file


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
    model.compile(keras.optimizers.SGD(rate), loss="mse")
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


@pytest.mark.parametrize("kind", [kt.RandomSearch, kbn.CoarseToFine])
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
    best = min(trials, key=lambda trial: trial.score)
    assert parent.data.tags["kbn.best_trial"] == best.trial_id
    assert history_of(store, parent, "best_score")[-1] == best.score
    assert history_of(store, parent, "best_score")[0] == trials[0].score


def test_no_global_state_of_mlflow_is_touched(store, workspace):
    before = mlflow.get_tracking_uri()
    tuner = kt.RandomSearch(build_model, OBJECTIVE, max_trials=1, project_name="p")
    searched(kbn.track(tuner, experiment="other", tracking_uri=f"sqlite:///{workspace}/mlflow.db"))
    assert mlflow.get_tracking_uri() == before
    assert mlflow.active_run() is None
    assert len(runs_of(store, "other")[1]) == 1


class Scripted(kbn.CoarseToFine):
    """Runs one function of the trial's number in place of a training."""

    def __init__(self, script, max_trials=3, **kwargs):
        hp = kt.HyperParameters()
        hp.Float("x", 0, 1)
        super().__init__(
            objective=kt.Objective("loss", "min"),
            max_trials=max_trials,
            hyperparameters=hp,
            seed=1,
            project_name="scripted",
            max_consecutive_failed_trials=None,
            **kwargs,
        )
        self.script = script
        self.oracle.verbose = 0

    def run_trial(self, trial):
        return self.script(int(trial.trial_id))


def test_a_trial_that_raises_is_a_failed_run_with_its_reason(store):
    def script(number):
        if number == 1:
            raise ValueError("units must fit")
        return float(number)

    kbn.track(Scripted(script)).search()
    parent, children = runs_of(store, "scripted")
    assert [run.info.status for run in children] == ["FINISHED", "FAILED", "FINISHED"]
    failed = children[1]
    assert failed.data.tags["kbn.error"] == "ValueError: units must fit"
    assert "score" not in failed.data.metrics
    path = store.download_artifacts(failed.info.run_id, "traceback.txt")
    with open(path) as traceback:  # noqa: PTH123
        assert "in script" in traceback.read()
    assert parent.info.status == "FINISHED"


def test_a_retried_trial_leaves_one_run_an_attempt(store):
    tries = []

    def script(number):
        tries.append(number)
        if len(tries) == 1:
            raise ValueError("by chance")
        return 1.0

    kbn.track(Scripted(script, max_trials=1, max_retries_per_trial=1)).search()
    _, children = runs_of(store, "scripted")
    assert [run.info.status for run in children] == ["FAILED", "FINISHED"]
    assert children[1].info.run_name == "trial 0 attempt 2"
    assert "kbn.error" not in children[1].data.tags


def test_a_stopped_search_is_killed_and_its_parent_is_opened_again(store):
    def stopped(number):
        if number == 1:
            raise KeyboardInterrupt
        return float(number)

    with pytest.raises(KeyboardInterrupt):
        kbn.track(Scripted(stopped)).search()
    parent, children = runs_of(store, "scripted")
    assert [run.info.status for run in (parent, *children)] == ["KILLED", "FINISHED", "KILLED"]

    kbn.track(Scripted(float)).search()
    again, children = runs_of(store, "scripted")
    assert again.info.run_id == parent.info.run_id
    assert again.info.status == "FINISHED"
    ended = [(run.data.tags["kbn.trial"], run.info.status) for run in children]
    assert ended == [("0", "FINISHED"), ("1", "KILLED"), ("1", "FINISHED"), ("2", "FINISHED")]


def test_a_store_that_fails_costs_one_warning_and_the_next_start_sends_what_is_missing(
    store, workspace, caplog
):
    (workspace / "file").touch()
    tuner = kbn.track(Scripted(float), tracking_uri=f"sqlite:///{workspace}/file/mlflow.db")
    with caplog.at_level("WARNING", "kbn"):
        tuner.search()
    assert len(tuner.oracle.end_order) == 3
    warnings = [record for record in caplog.records if record.name.startswith("kbn")]
    assert len(warnings) == 1
    assert "The search goes on" in warnings[0].getMessage()

    kbn.track(Scripted(float)).search()
    _, children = runs_of(store, "scripted")
    assert [run.data.metrics["score"] for run in children] == [0, 1, 2]
    assert {run.info.status for run in children} == {"FINISHED"}


def test_sending_twice_changes_nothing(store):
    def dump():
        parent, children = runs_of(store, "scripted")
        return json.dumps([run.to_dictionary() for run in children], sort_keys=True), len(
            history_of(store, parent, "best_score")
        )

    kbn.track(Scripted(float)).search()
    before = dump()
    kbn.track(Scripted(float)).search()
    assert dump() == before


def test_a_tuner_is_tracked_once(workspace):
    tuner = kbn.track(Scripted(float))
    with pytest.raises(ValueError, match="'scripted' is tracked already"):
        kbn.track(tuner)
