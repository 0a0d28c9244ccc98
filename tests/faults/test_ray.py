"""A search on a Ray cluster of three nodes on this machine, whose workers and nodes die."""

import pytest

import kbn
from kbn.run.project import Project
from kbn.run.watch import Watch
from kbn.tracking.journal import Journal

# the first worker that trains dies of it
MODEL = """\
import os, pathlib, signal
import keras

class Model(keras.Sequential):
    def fit(self, *args, **kwargs):
        died = pathlib.Path(__file__).with_name("died")
        try:
            died.touch(exist_ok=False)
        except FileExistsError:
            return super().fit(*args, **kwargs)
        os.kill(os.getpid(), signal.SIGKILL)

def build(hp, shape, outputs):
    model = Model([keras.Input(shape), keras.layers.Dense(outputs, "softmax")])
    model.compile(keras.optimizers.SGD(hp.get("learning_rate")), "sparse_categorical_crossentropy")
    return model
"""


@pytest.fixture
def cluster(monkeypatch):
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    from ray.cluster_utils import Cluster

    started = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    yield started
    started.shutdown()


# what the first versions of Ray that kbn takes say of themselves
@pytest.mark.filterwarnings("ignore:Tip. In future versions of Ray:FutureWarning")
@pytest.mark.filterwarnings("ignore:Exception ignored in. <_io.FileIO name='/dev/null'")
@pytest.mark.slow
def test_trials_whose_worker_or_node_dies_are_run_again(cluster, workspace):
    (workspace / "model.py").write_text(MODEL)
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    recipe = kbn.Recipe(
        name="far",
        dataset={"name": "iris"},
        model={"python": "model.py:build"},
        objective={"metric": "val_loss"},
        search={"trials": 5, "epochs": 2, "tuner": "random", "max_retries": 3},
        space={"learning_rate": {"type": "float", "low": 1e-3, "high": 1.0, "scale": "log"}},
        tracking={"enabled": False},
    )

    class Faults(Watch):
        completed = 0

        def ended(self, attempt):
            self.completed += attempt.status == "COMPLETED"
            if self.completed == 2 and len(nodes) == 2:
                cluster.remove_node(nodes.pop(), allow_graceful=False)

    tuned = kbn.tune(recipe, workers=2, address=cluster.address, watch=Faults())
    assert list(tuned.trials["status"]) == ["COMPLETED"] * 5
    attempts = Journal(Project(recipe).path / "journal").attempts()
    killed = [attempt for attempt in attempts if attempt.status == "KILLED"]
    assert killed
    assert all(attempt.died for attempt in killed)
    assert len(attempts) == 5 + len(killed)
    assert len(nodes) == 1
