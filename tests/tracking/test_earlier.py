"""Earlier searches as a tracking store has them, beside what MLflow's own client put there."""

import threading

import pytest
from mlflow import MlflowClient

from kbn.tracking import earlier
from kbn.tracking.earlier import TrackedTrial, earlier_searches


@pytest.fixture
def uri(tmp_path):
    return f"sqlite:///{tmp_path}/store.db"


@pytest.fixture
def client(uri):
    return MlflowClient(uri)


def a_search(client, name, objective="val_loss", direction="min", began=0, trials=()):
    """Create a search and its trials, each (status, params, metrics, tags), as kbn would."""
    found = client.get_experiment_by_name(name)
    experiment = found.experiment_id if found else client.create_experiment(name)
    tags = {"kbn.key": f"id of {name}", "kbn.search": f"id of {name}"}
    parent = client.create_run(experiment, began, tags, name).info.run_id
    client.log_param(parent, "objective", objective)
    client.log_param(parent, "direction", direction)
    for number, (status, params, metrics, more) in enumerate(trials):
        own = {"kbn.search": tags["kbn.search"], "kbn.key": f"{name}/{number}"}
        own |= {"kbn.trial": f"{number:02}", **more}
        run = client.create_run(experiment, began + number, own).info.run_id
        for key, value in params.items():
            client.log_param(run, key, value)
        for key, value in metrics.items():
            client.log_metric(run, key, value)
        client.set_terminated(run, status)
    client.set_terminated(parent)
    return parent


DONE = ("FINISHED", {"units": 8}, {"score": 0.5}, {})


def found(uri, without=(), most=9):
    return earlier_searches(uri, "val_loss", "min", without=without, most=most)


def test_the_finished_and_feasible_trials_of_a_search_are_read_back(client, uri):
    trials = [
        ("FINISHED", {"units": 8, "optimizer": "adam"}, {"score": 0.5, "val_loss": 0.6}, {}),
        ("FAILED", {"units": 9}, {"score": 0.1}, {}),
        ("FINISHED", {"units": 10}, {"score": 0.1}, {"kbn.infeasible": "too large"}),
        ("FINISHED", {"units": 11}, {}, {}),
        ("FINISHED", {"units": 12}, {"score": 0.7}, {}),
    ]
    a_search(client, "old", trials=trials)
    [search] = found(uri)
    assert search.name == "old"
    assert sorted(search.trials, key=lambda trial: trial.trial) == [
        TrackedTrial("00", {"units": "8", "optimizer": "adam"}, 0.5),
        TrackedTrial("04", {"units": "12"}, 0.7),
    ]


def test_the_newest_searches_of_the_objective_come_first(client, uri):
    for name, began in [("middle", 2000), ("old", 1000), ("new", 3000)]:
        a_search(client, name, began=began, trials=[DONE])
    a_search(client, "empty", began=4000)
    a_search(client, "other metric", "val_mae", trials=[DONE])
    a_search(client, "other direction", direction="max", trials=[DONE])
    assert [search.name for search in found(uri)] == ["new", "middle", "old"]
    assert [search.name for search in found(uri, most=1)] == ["new"]
    assert [s.name for s in found(uri, without={"new", "id of middle"})] == ["old"]


def test_a_deleted_search_and_runs_of_others_are_no_searches(client, uri):
    client.delete_run(a_search(client, "old", trials=[DONE]))
    run = client.create_run(client.create_experiment("another's")).info.run_id
    client.log_param(run, "objective", "val_loss")
    client.log_param(run, "direction", "min")
    assert found(uri) == []


def test_a_database_of_known_searches_is_not_opened_by_mlflow(client, uri, monkeypatch):
    a_search(client, "old", trials=[DONE])
    asked = []
    monkeypatch.setattr(earlier, "_client", asked.append)
    for known in ("id of old", "old"):
        assert found(uri, without={known}) == []
    assert asked == []
    assert found(uri) == []
    assert asked == [uri], "the tables in MLflow's database are no longer what they were"


def test_without_a_database_nothing_is_found_and_none_is_made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert found(None) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("uri", ["http://127.0.0.1:1", "databricks://nobody", "nonsense://x"])
def test_a_store_that_fails_has_no_searches(uri):
    assert found(uri) == []


def test_a_store_that_does_not_answer_is_not_waited_for(monkeypatch):
    answered = threading.Event()
    monkeypatch.setattr(earlier, "PATIENCE", 0.01)
    monkeypatch.setattr(earlier, "_client", lambda uri: answered.wait(60))
    assert found("http://127.0.0.1:1") == []
    answered.set()
