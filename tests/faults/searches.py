"""Searches that run in a process of their own, and ways to kill it."""

import errno
import os
import signal

import keras
import keras_tuner
import numpy as np
from mlflow import MlflowClient

import kbn
import kbn.search.state
import kbn.tracking.journal
import kbn.tracking.projection
from tracking.scripted import Scripted

PROJECT = "search"


def run_in(directory, function, args, kwargs):
    """Calls a function in a directory."""
    os.chdir(directory)
    function(*args, **kwargs)


def instant(max_trials, script=lambda trial: trial.hyperparameters.values["x"]):
    """A search whose trials return at once, after two epochs."""
    return Scripted(
        script,
        max_trials,
        epochs=[{"loss": 1.0}, {"loss": 0.5}],
        surrogate=None,
        project_name=PROJECT,
    )


def build(hp):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(hp.Float("rate", 1e-3, 1e-1, sampling="log")), "mse")
    return model


def search(max_trials, **kwargs):
    """Runs it to its end."""
    kbn.track(instant(max_trials), **kwargs).search()


def search_until_killed(max_trials, seconds):
    """As `search`, but dies after so many seconds of it, as by kill -9."""
    tuner = kbn.track(instant(max_trials))
    signal.setitimer(signal.ITIMER_REAL, seconds)  # SIGALRM ends the process there and then
    tuner.search()


def train(max_trials, seconds=None):
    """A search that trains, killed after so many seconds."""
    tuner = kbn.CoarseToFine(build, "val_loss", max_trials=max_trials, seed=1, project_name=PROJECT)
    tuner.oracle.verbose = 0
    tuner.oracle.max_retries_per_trial = 4  # as often may a slow machine be killed in one trial
    x = np.random.default_rng(0).normal(size=(64, 2))
    kbn.track(tuner)
    if seconds is not None:
        signal.setitimer(signal.ITIMER_REAL, seconds)
    tuner.search(x, x.sum(1), validation_data=(x, x.sum(1)), epochs=4, verbose=0)


def search_and_die(max_trials, owner, name, when, nth):
    """As `search`, but is killed before or after the nth call of a function.

    Args:
        owner: "client", "journal" or "state".
        name: of the function there.
        when: "before" or "after".
        nth: counts from 1.
    """
    home = {
        "client": MlflowClient,
        "journal": kbn.tracking.journal.Journal,
        "state": kbn.search.state,
    }[owner]
    inner, calls = getattr(home, name), []

    def deadly(*args, **kwargs):
        calls.append(1)
        if len(calls) == nth and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        answer = inner(*args, **kwargs)
        if len(calls) == nth:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    setattr(home, name, deadly)
    search(max_trials)


def search_on_a_disk_that_fills(max_trials, nth):
    """As `search`, but from the nth write on nothing reaches the disk any more."""
    inner, calls = os.fsync, []

    def fsync(file):
        calls.append(1)
        if len(calls) >= nth:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        inner(file)

    os.fsync = fsync
    search(max_trials)


class Stock(keras_tuner.RandomSearch):
    """KerasTuner's own search, whose trials are scripted."""

    def __init__(self, script, max_trials):
        hp = keras_tuner.HyperParameters()
        hp.Float("x", 0, 1)
        objective = keras_tuner.Objective("loss", "min")
        super().__init__(
            None, objective, max_trials, hyperparameters=hp, seed=1, project_name=PROJECT
        )
        self.script = script

    def run_trial(self, trial, *args, **kwargs):
        return self.script(trial)


def search_with_a_deadly_trial(deadly, how, stock=False):
    """Three trials, one of which sends its own process a signal, or leaves it where that is 0."""

    def script(trial):
        if trial.trial_id == deadly and how is not None:
            if how == 0:
                os._exit(1)
            os.kill(os.getpid(), how)
        return float(trial.trial_id)

    tuner = Stock(script, 3) if stock else instant(3, script)
    kbn.track(tuner).search()
