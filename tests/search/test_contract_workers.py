"""Every mode serves workers in other processes."""

import keras_tuner as kt
import pytest
from keras_tuner.engine.trial import Trial

import kbn
from search.contract import (
    finish,
    fresh,
    grow,
    have_kept_their_scales,
    points,
    run,
    settings,
    start,
)
from search.spaces import BOUNDS, LOSS, MIDDLES, active, loss_of, nested, scaled


@pytest.mark.usefixtures("distributed")
def test_names_values_and_bounds_survive_keras_tuners_messages(new):
    sent = start(new(scaled))
    received = Trial.from_proto(sent.to_proto())
    assert received.trial_id == sent.trial_id
    space = received.hyperparameters.space
    assert received.hyperparameters.values == sent.hyperparameters.values
    assert {hp.name: (hp.min_value, hp.max_value) for hp in space} == BOUNDS
    again = kt.HyperParameters.from_proto(sent.hyperparameters.to_proto())
    assert again.values == sent.hyperparameters.values
    # a worker's model asks for what it knows already
    assert (
        kbn.scales.complement_log(again, "complement_log", 0.5, 0.999)
        == (sent.hyperparameters.values["complement_log"])
    )


def test_scales_survive_keras_tuners_messages(new, worker_of):
    oracle = new(scaled)
    client = worker_of(oracle)
    trial = start(client)
    finish(client, trial, 1.0)
    assert have_kept_their_scales(client.get_space())
    assert have_kept_their_scales(trial.hyperparameters)
    assert have_kept_their_scales(oracle.get_trial(trial.trial_id).hyperparameters)


def test_a_search_by_messages_is_the_search_without_them(new, worker_of):
    client = worker_of(new(max_trials=6))
    assert run(client) == run(new(max_trials=6))


def test_what_a_remote_worker_finds_is_searched_on_its_scale(new, worker_of):
    oracle = new(None, max_trials=17)
    client = worker_of(oracle)

    def build(hp):
        return kbn.scales.complement_log(hp, "momentum", 0.5, 0.999)

    found = [values["momentum"] for values in fresh(grow(client, build, trials=17))][1:]
    above = sum(value > MIDDLES["complement_log"] for value in found[:8])
    assert 1 <= above <= 6  # the loss pulls the other way; on a linear scale it would be .3
    assert {(h.name, h.min_value, h.max_value) for h in oracle.get_space().space} == {
        ("momentum", 0.5, 0.999)
    }


def test_conditions_that_a_remote_worker_finds_hold(new, worker_of):
    # in KerasTuner's message a Boolean comes after a Choice, a Float before both
    def build(hp):
        nested(hp)
        with hp.conditional_scope("a", ["z"]):
            hp.Float("e", 0, 1)
        return 1.0

    oracle = new(None, max_trials=12)
    grow(worker_of(oracle), build)
    recorded = [trial.hyperparameters.values for trial in oracle.trials.values()]
    for values in points(recorded)[1:]:
        assert set(values) == active(values) | ({"e"} if values["a"] == "z" else set())
    again = new(None, max_trials=12)
    grow(worker_of(again), build)
    assert [trial.hyperparameters.values for trial in again.trials.values()] == recorded


def test_a_worker_tuner_searches_for_its_chief(new, worker_of, mode, tmp_path):
    chief = new(max_trials=3)
    worker_of(chief)

    class Worker(kbn.CoarseToFine):
        def run_trial(self, trial, *_, **__):
            return loss_of(trial.hyperparameters.values)

    tuner = Worker(objective=LOSS, max_trials=3, directory=tmp_path / "w", **settings(mode))
    tuner.search()
    trials = [trial.hyperparameters.values for trial in chief.trials.values()]
    assert trials == run(new(max_trials=3))
    assert all(trial.score is not None for trial in chief.trials.values())
