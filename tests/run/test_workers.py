"""Searches whose trials run on workers, each in a process of its own."""

import os
import re
import signal
import sys

import pytest

import kbn
from kbn.errors import KbnError, MachineError
from kbn.run.hardware import automatic, environment, gpus
from kbn.run.placement import Placement
from kbn.run.preflight import prepare
from kbn.run.processes import Processes, gpus_of
from kbn.run.project import Project
from kbn.run.search import Search
from kbn.run.watch import Watch
from kbn.run.workers import Broken, Study
from kbn.tracking.journal import Journal
from processes import ends

MODEL = """\
import gc, os, pathlib, subprocess, sys, time
import keras

def build(hp, shape, outputs):
    what = hp.get("what")
    if what == "die":
        os._exit(3)
    if what == "hang":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        pathlib.Path("child").write_text(str(child.pid))
        time.sleep(600)
    if what == "make":
        began = gc.get_stats()[0]["collections"]
        made = [[] for _ in range(200_000)]
        raise ValueError(f"{gc.get_stats()[0]['collections'] - began} collections")
    if what == "exit":
        sys.exit("the trial's own")
    if what == "fail":
        raise ValueError("no such model")
    model = keras.Sequential([keras.Input(shape), keras.layers.Dense(outputs, "softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model
"""


def recipe(name="many", trials=6, space=None, **search):
    return kbn.Recipe(
        name=name,
        dataset={"name": "iris"},
        model={"name": "softmax"},
        objective={"metric": "val_loss"},
        search={"trials": trials, "epochs": 3, "seed": 1, "tuner": "random", **search},
        space=space
        or {"learning_rate": {"type": "float", "low": 1e-3, "high": 1.0, "scale": "log"}},
        tracking={"enabled": False},
    )


@pytest.fixture(scope="module")
def workers():
    with Processes(2, 1, [], None) as pool:
        yield pool


def searched(recipe, workers=None, watch=None):
    project = Project(recipe)
    with project.opened(fresh=False):
        search = Search(project, prepare(recipe))
        return search, search.run(watch or Watch(), workers)


class Seen(Watch):
    """Remembers how many trials ran at a time, and every epoch."""

    def __init__(self):
        self.running, self.most, self.epochs = set(), 0, {}

    def began(self, trial, values):
        self.running.add(trial)
        self.most = max(self.most, len(self.running))

    def epoch(self, trial, epochs, metrics):
        self.epochs.setdefault(trial, []).append((epochs, metrics["val_loss"]))

    def ended(self, attempt):
        self.running.remove(attempt.trial)


@pytest.mark.slow
def test_two_workers_find_what_one_process_finds(workers, workspace):
    _, alone = searched(recipe("alone"))
    seen = Seen()
    search, together = searched(recipe("together"), workers, seen)
    assert seen.most == 2
    scores = {trial.trial: (trial.values, trial.score) for trial in alone.trials}
    assert len(together.trials) == 6
    for trial in together.trials:
        values, score = scores[trial.trial]
        assert trial.values == values
        assert trial.score == pytest.approx(score, rel=1e-5)
        assert [number for number, _ in seen.epochs[trial.trial]] == [1, 2, 3]
        assert min(value for _, value in seen.epochs[trial.trial]) == pytest.approx(trial.score)
    tuned = search.finish(together)  # from the checkpoint that a worker sent
    assert tuned.best_model().predict(search.dataset.given(2), verbose=0).shape == (2, 3)


@pytest.mark.slow
@pytest.mark.parametrize(
    "search",
    [
        {"trials": 3, "epochs": "coarse_to_fine", "max_epochs": 9, "tuner": "coarse_to_fine"},
        {"trials": 6, "epochs": 6, "prune": True, "tuner": "coarse_to_fine"},
        {"trials": 2, "folds": 3},
        {"trials": 2, "executions": 2},
    ],
    ids=lambda search: next(name for name in search if name != "trials"),
)
def test_what_a_search_does_with_epochs_it_does_on_workers_too(search, workers, workspace):
    made = recipe("epochs", **search)
    if "folds" in search:
        made = made.model_copy(
            update={"dataset": made.dataset.model_copy(update={"validation": None})}
        )
    _, results = searched(made, workers)
    assert {trial.status for trial in results.trials} == {"COMPLETED"}
    executions = {epoch.execution for trial in results.trials for epoch in trial.epochs}
    assert executions == set(range(search.get("folds", search.get("executions", 1))))
    if "max_epochs" in search:
        continued = [trial for trial in results.trials if trial.epochs[0].epoch > 0]
        assert continued
        assert all(
            trial.epochs[-1].epoch + 1 == trial.values["tuner/epochs"] for trial in continued
        )


@pytest.fixture
def own(workspace):
    """Makes a recipe whose model does what its hyperparameter says, each once, "train" first."""
    (workspace / "model.py").write_text(MODEL)

    def make(*what, **search):
        values = ["train", *what]
        return kbn.Recipe(
            name="own",
            dataset={"name": "iris"},
            model={"python": "model.py:build"},
            objective={"metric": "val_loss"},
            search={"trials": len(values), "epochs": 2, "tuner": "grid", **search},
            space={"what": {"type": "choice", "values": values}},
            tracking={"enabled": False},
        )

    return make


def reported(pool, count):
    """What workers report, with their slots; so many of it, unless that takes ten minutes."""
    found = []
    for _ in range(2400):
        found += pool.wait(1.0)
        if len(found) >= count:
            break
    return found


def statuses(recipe):
    """{what: statuses of its attempts} of a recipe's journal."""
    found = {}
    for attempt in Journal(Project(recipe).path / "journal").attempts():
        found.setdefault(attempt.values["what"], []).append(attempt.status)
    return found


@pytest.mark.slow
@pytest.mark.posix
def test_a_trial_that_kills_its_process_is_tried_again_and_then_given_up(own, workers):
    made = own("die", "exit", "fail", max_retries=2)
    _, results = searched(made, workers)
    assert statuses(made) == {
        "train": ["COMPLETED"],
        "die": ["KILLED", "KILLED", "FAILED"],
        "exit": ["FAILED"],
        "fail": ["FAILED"],
    }
    reasons = {trial.values["what"]: trial.message for trial in results.failed}
    assert "worker died in 3 attempts" in reasons["die"]
    assert "exit code 3" in reasons["die"]
    assert "The trial's own code raised SystemExit" in reasons["exit"]
    assert "ValueError: no such model" in reasons["fail"]


@pytest.mark.slow
def test_a_worker_seldom_searches_for_garbage_what_stays(own, workers):
    _, results = searched(own("make"), workers)
    [found] = re.findall(r"(\d+) collections", results.failed[0].message)
    assert int(found) < 10


@pytest.mark.slow
@pytest.mark.posix
def test_a_trial_that_hangs_is_killed_with_its_children_also_without_workers(own, workspace):
    made = own("hang", trial_timeout=3)
    tuned = kbn.tune(made)
    assert statuses(made) == {"train": ["COMPLETED"], "hang": ["FAILED"]}
    assert "timed out" in tuned.results.failed[0].message
    assert ends(int((workspace / "child").read_text()))


@pytest.mark.slow
@pytest.mark.posix
def test_a_worker_killed_in_a_trial_is_replaced(workers, workspace):
    made = recipe("killed", trials=4)

    class Kill(Watch):
        left = 1

        def epoch(self, trial, epochs, metrics):
            if self.left:
                self.left = 0
                for process in workers._processes:
                    os.killpg(process.popen.pid, signal.SIGKILL)

    _, results = searched(made, workers, Kill())
    attempts = Journal(Project(made).path / "journal").attempts()
    assert [trial.status for trial in results.trials] == ["COMPLETED"] * 4
    lost = [attempt for attempt in attempts if attempt.status == "KILLED"]
    assert lost
    assert all(attempt.died for attempt in lost)
    assert len(attempts) == 4 + len(lost)


@pytest.mark.slow
def test_a_worker_that_says_twice_that_it_is_ready_gets_one_trial_at_a_time(workers, workspace):
    made = recipe("twice")
    workers.begin(Study.of(made, prepare(made), keeps_models=True))
    _, results = searched(made, workers, seen := Seen())
    assert seen.most == 2
    assert [trial.status for trial in results.trials] == ["COMPLETED"] * 6


def test_what_ends_a_search_in_one_process_ends_it_on_workers(workers, workspace):
    made = recipe("broken").model_copy(update={"space": {}})
    study = Study.of(made, prepare(recipe("broken")), keeps_models=True)
    broken = made.model_copy(update={"model": made.model.model_copy(update={"name": "none"})})
    workers.begin(Study(broken, study.dataset, keeps_models=True))
    assert [type(report) for _, report in reported(workers, 2)] == [Broken, Broken]


def test_workers_that_never_get_ready_end_the_search(workspace, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "none-such")
    made = recipe("unready")
    with Processes(1, 1, [], None) as pool:
        pool.begin(Study(made, None, keeps_models=True))
        with pytest.raises(MachineError) as caught:
            reported(pool, 3)
    assert "search.workers" in str(caught.value)
    assert "none-such" in str(caught.value)


def test_the_machine_is_shared_among_the_workers(monkeypatch):
    assert [gpus_of(i, 2, ["0", "1", "2", "3"], None) for i in range(2)] == [["0", "1"], ["2", "3"]]
    assert [gpus_of(i, 4, ["0", "1"], 0.5) for i in range(4)] == [["0"], ["0"], ["1"], ["1"]]
    assert gpus_of(0, 2, ["0"], 0) == []
    assert gpus_of(1, 2, [], None) is None
    assert (automatic(16, 4), automatic(16, 0), automatic(1, 0)) == (4, 8, 1)
    assert environment(3, ["1"])["CUDA_VISIBLE_DEVICES"] == "1"
    assert environment(3, ["1"])["TF_NUM_INTRAOP_THREADS"] == "3"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    assert gpus() == ["2", "3"]


def test_what_is_asked_for_comes_before_what_the_recipe_says():
    made = recipe(workers=3, gpus_per_worker=0.5, trial_timeout=9)
    assert Placement.of(made) == Placement(3, 0.5, None, apart=True)
    assert Placement.of(made, "auto", 1, "local") == Placement("auto", 1, "local", apart=True)


def test_without_ray_its_installation_is_named(monkeypatch, workspace):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "kbn.run._ray", raising=False)
    with pytest.raises(KbnError, match=r"pip install 'kbn\[ray\]'"):
        kbn.tune(recipe(), address="auto")
