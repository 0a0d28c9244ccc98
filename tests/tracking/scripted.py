"""A search without trainings, for tests of what records it."""

import keras_tuner as kt

import kbn


def number_of(trial):
    """A script: the score is the trial's number."""
    return float(trial.trial_id)


class Scripted(kbn.CoarseToFine):
    """Calls a function of the trial in place of a training.

    Args:
        script: takes a trial, returns its score.
        epochs: the logs of each epoch that every trial reports before.
    """

    def __init__(self, script, max_trials=3, epochs=(), hyperparameters=None, **kwargs):
        if hyperparameters is None:
            hyperparameters = kt.HyperParameters()
            hyperparameters.Float("x", 0, 1)
        super().__init__(
            objective=kt.Objective("loss", "min"),
            max_trials=max_trials,
            hyperparameters=hyperparameters,
            seed=1,
            max_consecutive_failed_trials=None,
            **{"project_name": "scripted", **kwargs},
        )
        self.script, self.epochs = script, epochs
        self.oracle.verbose = 0

    def run_trial(self, trial):
        model = object()
        for epoch, logs in enumerate(self.epochs):
            self.on_epoch_end(trial, model, epoch, logs)
        return self.script(trial)
