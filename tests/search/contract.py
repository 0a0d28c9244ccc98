"""Searches in every mode, of which test_contract_*.py say what each promises."""

import functools
import itertools
import json
import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import keras
import keras_tuner as kt
import numpy as np
import pytest
from keras_tuner.src.distribute.oracle_chief import OracleServicer

import kbn
from search.spaces import CONTINUOUS, LOSS, MAX_EPOCHS, MIDDLES, loss_of, space


def earlier(trials=8, optimum=-2.0):
    """(values, score) of the trials of an earlier search, on the same space."""
    hp, rng = kt.HyperParameters(), np.random.default_rng(3)
    space(hp)
    drawn = [{one.name: one.prob_to_value(rng.random()) for one in hp.space} for _ in range(trials)]
    return [(values, (math.log10(values["rate"]) - optimum) ** 2) for values in drawn]


MODES = {
    "gp": {"surrogate": "gp"},
    "prior": {"prior": [earlier(), earlier(optimum=-1)]},
    "plain": {"surrogate": None},
    "one round": {"surrogate": None, "rounds": 1},
    "epochs": {"epochs": "coarse_to_fine", "max_epochs": MAX_EPOCHS},
}
LIMIT = 1000  # steps after which a search that should have stopped is given up

in_modes = functools.partial(pytest.mark.parametrize, "mode", indirect=True)
adaptive = in_modes(["gp", "prior", "plain", "epochs"])  # those that learn from their trials
modelled = in_modes(["gp", "epochs"])
with_epochs = in_modes(["epochs"])


def settings(mode, **changes):
    """The keyword arguments of a mode."""
    return {"seed": 5, **MODES[mode], **changes}


def oracle_in(
    directory, mode, space=space, *, max_trials=10, objective=LOSS, saved=False, **kwargs
):
    """An oracle on the space that the function `space` declares; None for one without a space.

    It writes its files only if `saved`: that takes time and tells nothing where nothing is loaded.
    """
    hp = kt.HyperParameters()
    if space is not None:
        space(hp)
        kwargs["hyperparameters"] = hp
    oracle = kbn.CoarseToFineOracle(objective, max_trials, **settings(mode, **kwargs))
    oracle.verbose = 0
    oracle._set_project_dir(directory, "search")
    if not saved:
        oracle.save, oracle._write_trial = lambda: None, lambda trial: None
    return oracle


def start(oracle, worker="w"):
    """A new trial, or None at the end of the search."""
    trial = oracle.create_trial(worker)
    if trial.status == "STOPPED":
        return None
    assert trial.status == "RUNNING", f"{trial.status} with nothing else in flight"
    return trial


def finish(oracle, trial, loss, status="COMPLETED"):
    if loss is not None:
        oracle.update_trial(trial.trial_id, {"loss": loss})
    trial.status = status
    oracle.end_trial(trial)


def step(oracle, loss=loss_of):
    """One trial from start to end, failed where `loss(values)` is None; its values or None."""
    trial = start(oracle)
    if trial is None:
        return None
    score = loss(trial.hyperparameters.values)
    finish(oracle, trial, score, "COMPLETED" if score is not None else "FAILED")
    return dict(trial.hyperparameters.values)


def run(oracle, loss=loss_of):
    """The values of all trials until the search stops."""
    trials = list(itertools.islice(iter(lambda: step(oracle, loss), None), LIMIT))
    assert len(trials) < LIMIT, "the search did not stop"
    return trials


def run_in_flight(oracle, workers, loss=loss_of):
    """All trials of a search that `workers` share, each ended just before its worker's next one."""
    running, trials = {}, []
    for worker in itertools.islice(itertools.cycle(range(workers)), LIMIT):
        if worker in running:
            trial = running.pop(worker)
            finish(oracle, trial, loss(trial.hyperparameters.values))
        trial = oracle.create_trial(f"w{worker}")
        if trial.status == "RUNNING":
            running[worker] = trial
            trials.append(trial)
        elif not running:
            return trials
    raise AssertionError("the search did not stop")


def grow(oracle, build, trials=12):
    """A search whose trials find their hyperparameters while they run; their values at the end."""
    recorded = []
    for _ in range(trials):
        trial = start(oracle)
        if trial is None:
            break
        finish(oracle, trial, build(trial.hyperparameters))
        recorded.append(oracle.get_trial(trial.trial_id).hyperparameters.values)
    return recorded


def point(values):
    """The values without the notes on epochs."""
    return {name: value for name, value in values.items() if not name.startswith("tuner/")}


def points(trials):
    return [point(values) for values in trials]


def fresh(trials):
    """The points of those that do not go on from another one's weights."""
    return [point(values) for values in trials if "tuner/trial_id" not in values]


def texts(values):
    """Each point as a text that two points share only if they are equal."""
    return [json.dumps(point(v), sort_keys=True) for v in values]


def first_round(oracle, trials):
    current = oracle.rounds[0]
    return fresh(trials[current.first : current.end])


def trainings(trials):
    """What was spent, in full trainings."""
    spent = [v.get("tuner/epochs", MAX_EPOCHS) - v.get("tuner/initial_epoch", 0) for v in trials]
    return sum(spent) / MAX_EPOCHS


def epochs(trial):
    return trial.hyperparameters.values.get("tuner/epochs", MAX_EPOCHS)


def short(mode):
    """The max_trials of a search of about eight trials."""
    return 2 if mode == "epochs" else 8


def few_epochs(mode):
    """What keeps real trainings of a mode short."""
    return {"max_epochs": 3} if mode == "epochs" else {}


def have_kept_their_scales(hyperparameters):
    """Whether the middle of each continuous hyperparameter of `scaled` is that of its scale."""
    middles = {hp.name: hp.prob_to_value(0.5) for hp in hyperparameters.space}
    return all(middles[n] == pytest.approx(MIDDLES[n], rel=1e-6) for n in CONTINUOUS)


def alike(a, b):
    """Whether two values are equal but for what a step's sum of floats loses."""
    return a == b or (isinstance(b, float) and abs(a - b) < 1e-9)


def inside(boxes, values):
    """Whether a point of `space` lies in one of the boxes."""
    return any(
        values["optimizer"] in box["optimizer"]
        and all(box[n][0] <= values[n] <= box[n][1] for n in ("rate", "momentum", "units"))
        for box in boxes
    )


def in_another_process():
    """`one_search_in_every_mode`, where another PYTHONHASHSEED orders sets and hashes strings."""
    here = Path(__file__).parent
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import json, search.contract as c\nprint(json.dumps(c.one_search_in_every_mode()))",
        ],
        capture_output=True,
        check=True,
        text=True,
        cwd=here.parents[1],  # the kbn of this test, not an installed one
        env={
            **os.environ,
            "PYTHONPATH": str(here.parent),
            "PYTHONHASHSEED": "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1",
        },
    )
    return json.loads(done.stdout)


def one_search_in_every_mode():
    with tempfile.TemporaryDirectory() as directory:
        return {mode: run(oracle_in(directory, mode)) for mode in MODES}


class Wire:
    """A stub that hands a worker's messages as bytes to the chief's servicer, without a network."""

    def __init__(self, oracle):
        self.servicer = OracleServicer(oracle)

    def __getattr__(self, name):
        def call(request, **_):
            received = type(request).FromString(request.SerializeToString())
            response = getattr(self.servicer, name)(received, None)
            return type(response).FromString(response.SerializeToString())

        return call


class Answering(kt.Tuner):
    """A tuner that overrides `run_trial`; `answer` gives its result."""

    answer = staticmethod(lambda hp: loss_of(hp.values))

    def run_trial(self, trial, *_, **__):
        return self.answer(trial.hyperparameters)


def history(**logs):
    record = keras.callbacks.History()
    record.history = logs
    return record


def build_model(hp):
    model = keras.Sequential(
        [
            keras.Input((2,)),
            keras.layers.Dense(hp.Int("units", 1, 8), kernel_initializer="ones"),
            keras.layers.Dense(1, kernel_initializer="ones"),
        ]
    )
    rate = hp.Float("rate", 1e-4, 1e-2, sampling="log")
    momentum = kbn.scales.complement_log(hp, "momentum", 0.5, 0.99)
    model.compile(keras.optimizers.SGD(rate, momentum), "mse", run_eagerly=True, jit_compile=False)
    return model


def examples():
    x = np.random.default_rng(0).normal(size=(8, 2))
    return x, x.sum(axis=1)


def search_keras(tuner):
    x, y = examples()
    tuner.oracle.verbose = 0
    tuner.search(x, y, validation_data=(x, y), epochs=2, batch_size=8, verbose=0)
    trials = tuner.oracle.trials.values()
    assert all(trial.status == "COMPLETED" for trial in trials), [t.message for t in trials]
    return [trial.hyperparameters.values for trial in trials]
