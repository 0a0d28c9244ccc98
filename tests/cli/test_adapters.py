"""Canaries: each private name of a library that kbn.cli uses still means what it did."""

import keras_tuner
from keras_tuner.src import config

from kbn.cli._keras_tuner import print_no_tracebacks


def fails(hp):
    hp.Int("n", 1, 2)
    raise ValueError("no luck")


def test_keras_tuner_prints_tracebacks_of_failed_trials_unless_debug_is_off(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(config, "DEBUG", True)
    printed = []
    for settle in (lambda: None, print_no_tracebacks):
        settle()
        tuner = keras_tuner.RandomSearch(
            lambda hp: None, keras_tuner.Objective("val_loss", "min"), 1, directory=tmp_path
        )
        tuner.oracle.max_retries_per_trial = 0
        tuner.oracle.max_consecutive_failed_trials = None
        tuner.hypermodel.build = fails
        tuner.search(verbose=0)
        captured = capsys.readouterr()
        printed.append("no luck" in captured.out + captured.err)
    assert printed == [True, False], (
        "keras_tuner.src.config.DEBUG no longer decides what is printed"
    )
