"""The main job as a user has it: the installed command in a directory of its own."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from kbn.tracking.models import load_model

KBN = Path(sys.executable).parent / "kbn"


@pytest.fixture
def kbn(workspace, recipes):
    """Starts kbn beside the recipes that it ships."""
    (workspace / "recipes").symlink_to(recipes)
    environment = {key: os.environ[key] for key in os.environ if not key.startswith("MLFLOW_")}

    def start(*arguments):
        return subprocess.Popen(
            [KBN, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )

    return start


def runs_of(experiment):
    store = MlflowClient(f"sqlite:///{Path.cwd()}/mlflow.db")
    runs = store.search_runs([store.get_experiment_by_name(experiment).experiment_id])
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    return parents, [run for run in runs if run not in parents]


@pytest.mark.slow
def test_the_digits_recipe_from_start_to_finish(kbn, workspace):
    tune = kbn("tune", "recipes/digits_mlp.yaml", "search.trials=6")
    out, err = tune.communicate()
    assert tune.returncode == 0, err

    # the result on stdout: the best trial, its values, and the commands that come next
    score = float(re.match(r"best trial \d+  val_accuracy ([0-9.]+)  \(6 of 6 trials", out)[1])
    assert score > 0.9
    assert re.search(r"^  learning_rate +[0-9.e-]+$", out, re.MULTILINE)
    look = re.search(r"^look at it +(.*)$", out, re.MULTILINE)[1]
    assert shlex.split(look)[1:] == ["ui"]
    assert Path(shlex.split(look)[0]).name == "mlflow"
    page = r"^its page +http://127.0.0.1:5000/#/experiments/\d+/runs\?viewStateShareKey=\w+$"
    assert re.search(page, out, re.MULTILINE)
    go_on = re.search(r"^go on +(.*)$", out, re.MULTILINE)[1]
    assert shlex.split(go_on)[1:] == ["tune", "recipes/digits_mlp.yaml", "search.trials=12"]

    # progress on stderr: a line a trial, and nothing of what the libraries say
    lines = err.splitlines()
    assert len(lines) == 7, err
    assert [line.split("  ")[0] for line in lines[1:]] == [f"{i}/6" for i in range(1, 7)]

    # every trial in the store
    (parent,), children = runs_of("digits_mlp")
    assert parent.info.status == "FINISHED"
    assert len(children) == 6
    assert max(run.data.metrics["score"] for run in children) == pytest.approx(score, abs=1e-4)
    for run in children:
        assert run.info.status == "FINISHED"
        assert {"learning_rate", "norm_momentum", "layers", "units"} <= run.data.params.keys()
        other = {"sgd": "beta_1", "adam": "momentum"}[run.data.params["optimizer"]]
        assert other not in run.data.params
        assert {"val_accuracy", "val_loss", "accuracy", "loss"} <= run.data.metrics.keys()

    # the best model predicts the data as they are as well as was said, and has our layer
    model = load_model(workspace / "searches" / "digits_mlp" / "best.keras")
    x, y = load_digits(return_X_y=True)
    _, x_val, _, y_val = train_test_split(x, y, test_size=0.2, stratify=y, random_state=7)
    accuracy = np.mean(model.predict(x_val, verbose=0).argmax(1) == y_val)
    assert accuracy == pytest.approx(score, abs=1e-4)
    assert any("kbn.norm" in type(layer).__module__ for layer in model.layers)
    assert (workspace / "searches" / "digits_mlp" / "report.png").stat().st_size > 10_000


@pytest.mark.slow
def test_failed_trials_are_told_in_a_line_each_and_end_with_4_if_none_finished(
    kbn, recipe_file, empty_store
):
    shutil.copy(empty_store, "mlflow.db")
    # such a learning rate makes every loss NaN in the first epoch
    rate = "space.learning_rate={type: choice, values: [1e38, 2e38]}"
    objective = "objective={metric: val_loss, direction: min}"
    tune = kbn("tune", str(recipe_file), rate, objective, "search.trials=2")
    out, err = tune.communicate()
    assert (tune.returncode, out) == (4, ""), err
    lines = err.splitlines()
    assert len(lines) == 6, err
    assert lines[1].startswith("1/2  trial 0  failed  none finished")
    assert lines[2] == lines[4] == "  The objective was not a number."
    assert "none of 2 trials finished; the commonest reason: The objective was not" in lines[5]


@pytest.mark.slow
@pytest.mark.posix
def test_a_stopped_search_goes_on_and_a_changed_recipe_is_refused(kbn, workspace, empty_store):
    shutil.copy(empty_store, "mlflow.db")
    recipe = ["recipes/digits_softmax.yaml", "search.trials=3", "search.epochs=2"]
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    for number, (stop, code) in enumerate([(signal.SIGINT, 130), (signal.SIGTERM, 143)]):
        with kbn("tune", *recipe) as tune:
            assert any(line.startswith(f"{number + 1}/3  trial {number}") for line in tune.stderr)
            tune.send_signal(stop)
            rest = tune.stderr.read()
        assert tune.returncode == code, rest
        again = re.search(r"It goes on with: (.*)", rest)[1]
        assert shlex.split(again)[1:] == ["tune", *recipe]
        (parent,), _ = runs_of("digits_softmax")
        assert parent.info.status == "KILLED"

    changed = kbn("tune", *recipe, "search.seed=8")
    out, err = changed.communicate()
    assert (changed.returncode, out) == (3, "")
    assert "search.seed: must stay as in the search so far, 7; got 8. Undo the change" in err

    tune = kbn("tune", *recipe, "--json")
    out, err = tune.communicate()
    assert tune.returncode == 0, err
    result = json.loads(out)
    assert [trial["status"] for trial in result["trials"]] == ["COMPLETED"] * 3
    assert result["best"]["score"] == max(trial["score"] for trial in result["trials"])
    (parent,), children = runs_of("digits_softmax")
    assert parent.info.status == "FINISHED"
    statuses = [run.info.status for run in children]
    assert statuses.count("FINISHED") == 3
    assert statuses.count("KILLED") == len(statuses) - 3 <= 2
