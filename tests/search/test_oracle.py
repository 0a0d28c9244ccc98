import json
import math
import os
import subprocess
import sys
from pathlib import Path

import keras_tuner as kt
import numpy as np
import pytest

import kbn
from kbn.search.oracle import space_of

KEYS = ("rate", "momentum", "decade", "units", "batch", "optimizer", "beta", "nesterov", "fixed")


def space() -> kt.HyperParameters:
    hp = kt.HyperParameters()
    hp.Float("rate", 1e-4, 1.0, sampling="log")
    kbn.scales.complement_log(hp, "momentum", 0.5, 0.999)
    kbn.scales.per_decade(hp, "decade", 1e-3, 1.0)
    hp.Int("units", 16, 512, sampling="log")
    hp.Choice("batch", [16, 32, 64])
    hp.Choice("optimizer", ["sgd", "adam"])
    with hp.conditional_scope("optimizer", ["adam"]):
        hp.Float("beta", 0.1, 0.5, step=0.1)
    hp.Boolean("nesterov")
    hp.Fixed("fixed", 7)
    return hp


def oracle_in(directory, max_trials=30, hyperparameters=None, direction="min", **kwargs):
    oracle = kbn.CoarseToFineOracle(
        kt.Objective("loss", direction),
        max_trials=max_trials,
        hyperparameters=hyperparameters or space(),
        **{"seed": 5, **kwargs},
    )
    oracle.verbose = 0
    oracle._set_project_dir(directory, "search")
    return oracle


def loss_of(values) -> float:
    """Least at rate .01, momentum .9 and sgd."""
    loss = (math.log10(values["rate"]) + 2) ** 2 + (math.log10(1 - values["momentum"]) + 1) ** 2
    return loss + (values["optimizer"] == "adam")


def step(oracle, sign=1.0, loss=loss_of, worker="w"):
    """One trial; its values, or None at the end of the search."""
    trial = oracle.create_trial(worker)
    if trial.status == "STOPPED":
        return None
    oracle.update_trial(trial.trial_id, {"loss": sign * loss(trial.hyperparameters.values)})
    trial.status = "COMPLETED"
    oracle.end_trial(trial)
    return trial.hyperparameters.values


def run(oracle, **kwargs):
    return list(iter(lambda: step(oracle, **kwargs), None))


@pytest.fixture(params=["rounds", "one round"])
def settings(request):
    return {} if request.param == "rounds" else {"rounds": 1}


def test_every_trial_lies_in_the_space_on_the_grid_of_its_steps(tmp_path, settings):
    trials = run(oracle_in(tmp_path, **settings))
    assert len(trials) == 30
    for values in trials:
        assert set(values) == set(KEYS) - ({"beta"} if values["optimizer"] == "sgd" else set())
        assert 1e-4 <= values["rate"] <= 1
        assert 0.5 <= values["momentum"] <= 0.999
        assert values["batch"] in {16, 32, 64}
        if "beta" in values:
            assert min(abs(values["beta"] - b) for b in (0.1, 0.2, 0.3, 0.4, 0.5)) < 1e-9
        assert values["fixed"] == 7


def test_no_two_trials_of_the_first_round_share_a_stratum_of_any_scale(tmp_path):
    oracle = oracle_in(tmp_path, max_trials=16, rounds=1)
    trials = run(oracle)
    for axis in space_of(oracle.hyperparameters).axes[:3]:
        strata = [int(16 * axis.to_unit(values[axis.name])) for values in trials]
        assert sorted(strata) == list(range(16))


def test_the_second_rounds_boxes_are_smaller_and_hold_the_best_trial(tmp_path):
    oracle = oracle_in(tmp_path)
    step(oracle)
    for _ in range(oracle.rounds[0].size - 1):
        step(oracle)
    best = oracle.get_best_trials(1)[0].hyperparameters.values
    step(oracle)
    coarse, fine = oracle.rounds
    whole, box = coarse.boxes[0], fine.boxes[0]
    assert fine.side < coarse.side == 1
    assert space_of(oracle.hyperparameters).contains(box, best)
    for name in ("rate", "momentum", "decade", "units"):
        assert whole[name][0] <= box[name][0] < box[name][1] <= whole[name][1]
    rate, momentum = box["rate"], box["momentum"]
    assert math.log(rate[1] / rate[0]) < 0.9 * math.log(1e4)
    assert math.log((1 - momentum[0]) / (1 - momentum[1])) < 0.9 * math.log(500)


def test_rounds_shrink_and_their_trials_lie_in_their_boxes_but_for_a_share(tmp_path):
    oracle = oracle_in(tmp_path, max_trials=60)
    trials, axes = run(oracle), space_of(oracle.hyperparameters)
    assert [r.first for r in oracle.rounds] == [0, *(r.end for r in oracle.rounds[:-1])]
    assert oracle.rounds[-1].end == 60
    sides = [r.side for r in oracle.rounds]
    assert sides == sorted(sides, reverse=True)
    assert sides[-1] < 0.2
    outside = 0
    for current in oracle.rounds[1:]:
        for values in trials[current.first : current.end]:
            outside += not any(axes.contains(box, values) for box in current.boxes)
    fine = 60 - oracle.rounds[0].size
    assert 0 < outside <= math.ceil(fine / 6)


def test_it_finds_a_known_optimum_that_random_search_misses(tmp_path):
    def median_loss(**kwargs):
        losses = []
        for seed in range(7):
            oracle = oracle_in(tmp_path, max_trials=60, seed=seed, **kwargs)
            oracle.save = oracle._save_trial = lambda *_: None  # time that tells nothing here
            losses.append(min(map(loss_of, run(oracle))))
        return float(np.median(losses))

    assert median_loss() < 0.3 * median_loss(rounds=1)


def test_to_maximize_is_to_minimize_the_negative(tmp_path, settings):
    least = run(oracle_in(tmp_path / "min", **settings))
    most = run(oracle_in(tmp_path / "max", direction="max", **settings), sign=-1.0)
    assert least == most


def test_the_same_seed_gives_the_same_trials_in_another_process(tmp_path):
    program = (
        "import sys, json; sys.path.insert(0, sys.argv[1]); import test_oracle as t\n"
        "print(json.dumps(t.run(t.oracle_in(sys.argv[2], max_trials=12))))"
    )
    here = run(oracle_in(tmp_path / "here", max_trials=12))
    arguments = [sys.executable, "-c", program, str(Path(__file__).parent), tmp_path / "there"]
    environment = {**os.environ, "PYTHONHASHSEED": "1"}
    there = subprocess.run(arguments, capture_output=True, check=True, env=environment)
    assert json.loads(there.stdout) == here


def test_seeds_differ_and_zero_is_one_of_them(tmp_path):
    first = [run(oracle_in(tmp_path / str(s), max_trials=3, seed=s)) for s in (0, 1, 2)]
    again = run(oracle_in(tmp_path / "again", max_trials=3, seed=0))
    assert first[0] == again
    assert first[0] != first[1] != first[2]


def test_one_round_is_plain_random_search_also_without_an_end(tmp_path):
    oracle = oracle_in(tmp_path, max_trials=None, rounds=1)
    for _ in range(26):
        step(oracle)
    assert [r.side for r in oracle.rounds] == [1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    "declare",
    [
        lambda hp: hp.Int("late", 32, 512, step=32, default=100),
        lambda hp: hp.Float("late", 0, 0.5, step=0.1, default=0.3),
        lambda hp: hp.Float("late", 1e-6, 1e-2, sampling="log", default=0.0),
        lambda hp: hp.Float("late", 1.0, 2.0, default=0.0),
    ],
)
def test_a_late_default_off_the_grid_or_the_range_is_no_obstacle(tmp_path, declare):
    class Late(kbn.CoarseToFine):
        def run_trial(self, trial):
            declare(trial.hyperparameters)
            return float(trial.trial_id)  # the first trial, with the default, is the best

    tuner = Late(objective=kt.Objective("loss", "min"), max_trials=16, seed=1, directory=tmp_path)
    tuner.oracle.verbose = 0
    tuner.search()
    (axis,) = space_of(tuner.oracle.hyperparameters).axes
    values = [t.hyperparameters.values["late"] for t in tuner.oracle.trials.values()]
    assert len(values) == min(16, len(getattr(axis, "values", range(16))))
    assert all(axis.contains(axis.whole, value) for value in values[1:])


def test_a_search_killed_in_its_first_trial_does_not_start_over(tmp_path):
    class Killed(kbn.CoarseToFine):
        def run_trial(self, trial):
            raise KeyboardInterrupt

    def tuner():
        made = Killed(
            objective=kt.Objective("loss", "min"),
            hyperparameters=space(),
            max_trials=3,
            directory=tmp_path,
        )
        made.oracle.verbose = 0
        return made

    first = tuner()
    with pytest.raises(KeyboardInterrupt):
        first.search()
    values = first.oracle.trials["0"].hyperparameters.values
    assert tuner().oracle.trials["0"].hyperparameters.values == values


def test_a_name_declared_under_two_conditions_is_refused():
    hp = kt.HyperParameters()
    hp.Choice("optimizer", ["sgd", "adam"])
    for name in ("sgd", "adam"):
        with hp.conditional_scope("optimizer", [name]):
            hp.Float("rate", 0.1, 1)
    with pytest.raises(ValueError, match=r"must be declared once. Got 'rate' under several"):
        space_of(hp)


def test_scaled_hyperparameters_heed_scopes_and_defaults():
    hp = kt.HyperParameters()
    hp.Choice("optimizer", ["sgd", "adam"])
    with hp.name_scope("outer"):
        assert kbn.scales.per_decade(hp, "rate", 0.1, 1, default=0.5) == 0.5
    assert hp.get("outer/rate") == 0.5
    with hp.conditional_scope("optimizer", ["adam"]):
        assert kbn.scales.complement_log(hp, "beta", 0.1, 0.9) is None
    axis = space_of(hp).axes[-1]
    assert [(c.name, c.values) for c in axis.conditions] == [("optimizer", ("adam",))]
    assert "scale: 'complement_log'" in repr(hp.space[-1])


def test_steps_on_log_scales_are_keras_tuners_own():
    hp = kt.HyperParameters()
    hp.Int("log", 2, 64, step=2, sampling="log")
    hp.Float("reverse", 1, 100, step=10, sampling="reverse_log")
    log, reverse = space_of(hp).axes
    assert log.values == (2, 4, 8, 16, 32, 64)
    assert reverse.values == pytest.approx((1, 91, 100))


@pytest.mark.parametrize("stop", [1, 4, 5, 11])
def test_an_interrupted_search_goes_on_as_if_it_had_not_been(tmp_path, stop):
    whole = run(oracle_in(tmp_path / "whole", max_trials=16))
    before = oracle_in(tmp_path / "cut", max_trials=16)
    trials = [step(before) for _ in range(stop)]
    after = oracle_in(tmp_path / "cut", max_trials=16)
    after.reload()
    assert after.rounds == before.rounds
    assert trials + run(after) == whole


def test_ties_are_broken_alike_after_every_interruption(tmp_path):
    def tied(_):
        return 1.0

    whole = run(oracle_in(tmp_path / "whole", max_trials=16), loss=tied)
    trials = []
    for _ in range(16):
        oracle = oracle_in(tmp_path / "cut", max_trials=16)
        if trials:
            oracle.reload()
        trials.append(step(oracle, loss=tied))
    assert trials == whole
    reloaded = oracle_in(tmp_path / "cut", max_trials=16)
    reloaded.reload()
    assert reloaded.get_best_trials(1)[0].trial_id == "00"


@pytest.mark.parametrize("torn", ["oracle.json", "trial.json"])
def test_a_kill_while_a_state_file_is_written_leaves_the_one_before(tmp_path, monkeypatch, torn):
    whole = run(oracle_in(tmp_path / "whole", max_trials=9))
    oracle = oracle_in(tmp_path / "cut", max_trials=9)
    trials = [step(oracle) for _ in range(4)]

    def killed(state, stream):
        stream.write(json.dumps(state)[:20])
        if torn in stream.name:
            raise KeyboardInterrupt
        stream.seek(0)
        stream.write(json.dumps(state))

    with monkeypatch.context() as patch:
        patch.setattr("kbn.search.state.json.dump", killed)
        with pytest.raises(KeyboardInterrupt):
            oracle.create_trial("w")
    after = oracle_in(tmp_path / "cut", max_trials=9)
    after.reload()
    assert trials + run(after) == whole


def test_a_longer_search_goes_on_where_the_shorter_ended(tmp_path):
    short = run(oracle_in(tmp_path, max_trials=9))
    longer = oracle_in(tmp_path, max_trials=25)
    longer.reload()
    more = run(longer)
    assert len(short) + len(more) == 25
    assert longer.rounds[-1].end == 25
    # the boxes of a quick look do not bind the long search: they open again, then shrink
    assert longer.rounds[3].side > longer.rounds[2].side == longer.rounds[-1].side


def test_trials_in_flight_never_get_the_same_point(tmp_path):
    hp = kt.HyperParameters()
    hp.Choice("a", list(range(5)))
    hp.Boolean("b")
    oracle = oracle_in(tmp_path, hyperparameters=hp)
    points = [json.dumps(oracle.create_trial(f"w{i}").hyperparameters.values) for i in range(10)]
    assert len(set(points)) == 10
    assert oracle.create_trial("w10").status == "STOPPED"


def test_an_exhausted_space_stops_the_search(tmp_path, settings):
    hp = kt.HyperParameters()
    hp.Choice("a", ["x", "y", "z"])
    hp.Boolean("b")
    trials = run(oracle_in(tmp_path, 30, hp, **settings), loss=lambda values: float(values["b"]))
    assert len({(values["a"], values["b"]) for values in trials}) == len(trials) == 6


def test_a_space_of_one_point_is_tried_once(tmp_path):
    hp = kt.HyperParameters()
    hp.Fixed("a", 1)
    assert run(oracle_in(tmp_path, 30, hp), loss=lambda _: 0.0) == [{"a": 1}]


@pytest.mark.filterwarnings("ignore:All-NaN")  # KerasTuner, on a trial without a finite score
def test_failed_trials_are_no_centres(tmp_path):
    def loss(values):
        return math.nan if values["rate"] > 0.01 else values["rate"]

    oracle = oracle_in(tmp_path, max_consecutive_failed_trials=None)
    run(oracle, loss=loss)
    assert len(oracle.rounds) > 1
    for current in oracle.rounds[1:]:
        assert all(box["rate"][0] <= 0.01 for box in current.boxes)


def test_a_space_that_grows_while_it_is_searched(tmp_path):
    class Growing(kbn.CoarseToFine):
        def run_trial(self, trial):
            hp = trial.hyperparameters
            return (math.log10(hp.Float("rate", 1e-4, 1.0, sampling="log")) + 2) ** 2

    tuner = Growing(
        objective=kt.Objective("loss", "min"), max_trials=12, seed=1, directory=tmp_path
    )
    tuner.oracle.verbose = 0
    tuner.search()
    rates = [t.hyperparameters.values["rate"] for t in tuner.oracle.trials.values()]
    assert len(set(rates)) == 12


def test_values_keep_name_and_unit_when_saved_and_loaded(tmp_path):
    oracle = oracle_in(tmp_path)
    values = step(oracle)
    loaded = oracle_in(tmp_path, hyperparameters=kt.HyperParameters())
    loaded.reload()
    assert loaded.trials["00"].hyperparameters.values == values
    axes = space_of(loaded.hyperparameters).axes
    assert axes == space_of(space()).axes


def test_scales_serve_any_keras_tuner_oracle(tmp_path):
    oracle = kt.oracles.RandomSearchOracle(
        kt.Objective("loss", "min"), max_trials=200, hyperparameters=space(), seed=1
    )
    oracle.verbose = 0
    oracle._set_project_dir(tmp_path, "random")
    momentum = [values["momentum"] for values in run(oracle)]
    assert np.median(momentum) == pytest.approx(1 - math.sqrt(0.5 * 0.001), abs=0.01)


def test_every_step_of_a_float_can_be_drawn(tmp_path):
    hp = kt.HyperParameters()
    hp.Float("dropout", 0, 0.5, step=0.1)
    trials = run(oracle_in(tmp_path, 30, hp), loss=lambda values: values["dropout"])
    assert sorted(values["dropout"] for values in trials) == [0, 0.1, 0.2, 0.3, 0.4, 0.5]


@pytest.mark.parametrize(
    ("arguments", "law"),
    [
        ({"max_trials": 0}, "max_trials parameter .* None or an integer of at least 1. Got 0"),
        ({"rounds": 0}, "rounds parameter .* None or an integer of at least 1. Got 0"),
        ({"seed": -1}, "seed parameter .* None or an integer of at least 0. Got -1"),
        ({"seed": 1.5}, "seed parameter .* an integer .* Got 1.5"),
    ],
)
def test_bad_arguments_are_refused_with_law_and_value(arguments, law):
    with pytest.raises(ValueError, match=law):
        kbn.CoarseToFineOracle("val_loss", **arguments)


@pytest.mark.parametrize(
    ("declare", "law"),
    [
        (
            lambda hp: kbn.scales.complement_log(hp, "m", 0.5, 1.0),
            "max_value < 1. Got .*max_value=1.0",
        ),
        (lambda hp: kbn.scales.per_decade(hp, "m", 0.0, 1.0), "min_value > 0. Got min_value=0.0"),
        (lambda hp: kbn.scales.per_decade(hp, "m", 2.0, 1.0), "min_value <= max_value"),
        (lambda hp: kbn.scales.per_decade(hp, "m", 1.0, math.inf), "finite .* max_value=inf"),
        (
            lambda hp: kbn.scales.complement_log(hp, "m", 0.5, 0.9, default=2.0),
            r"default must lie in \[0.5, 0.9\]. Got 2.0",
        ),
    ],
)
def test_bounds_that_a_scale_does_not_admit_are_refused(declare, law):
    with pytest.raises(ValueError, match=law):
        declare(kt.HyperParameters())
