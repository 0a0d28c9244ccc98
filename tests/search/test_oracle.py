"""How the oracle puts its parts together; what every mode promises is in test_contract_*.py."""

import dataclasses
import itertools
import math

import keras_tuner as kt
import numpy as np
import pytest

import kbn
from kbn.errors import KbnError
from kbn.search.axes import Numeric
from kbn.search.hyperparameters import space_of
from kbn.search.proposals import PROPOSALS
from kbn.search.ranking import REPEATS, best_first
from kbn.search.surrogate import Surrogate
from kbn.search.zoom import ZOOM

EPOCHS = {"epochs": "coarse_to_fine", "max_epochs": 9}
MODES = {
    "gp": {},
    "plain": {"surrogate": None},
    "epochs": EPOCHS,
    "plain epochs": {"surrogate": None, **EPOCHS},
}
RANDOM = {"surrogate": None, "rounds": 1}


def in_modes(*names):
    return pytest.mark.parametrize("mode", [MODES[name] for name in names], ids=names)


def space(hp):
    hp.Float("rate", 1e-4, 1.0, sampling="log")
    kbn.scales.complement_log(hp, "momentum", 0.5, 0.999)
    hp.Int("layers", 1, 9)
    hp.Choice("batch", [16, 32, 64, 128])
    hp.Choice("optimizer", ["sgd", "adam"])
    with hp.conditional_scope("optimizer", ["adam"]):
        hp.Float("beta", 0.0, 1.0)
        hp.Int("warmup", 1, 9)


def loss_of(values):
    """Least at rate .01, momentum .9, eight layers and adam with beta .9 and eight to warm up."""
    loss = (math.log10(values["rate"]) + 2) ** 2 + (math.log10(1 - values["momentum"]) + 1) ** 2
    loss += (values["layers"] - 8) ** 2 / 16
    if values["optimizer"] == "sgd":
        return loss + 0.5
    return loss + (values["beta"] - 0.9) ** 2 + (values["warmup"] - 8) ** 2 / 64


def few_matter(values):
    """Least at rate .01, momentum .9 and sgd."""
    loss = (math.log10(values["rate"]) + 2) ** 2 + (math.log10(1 - values["momentum"]) + 1) ** 2
    return loss + (values["optimizer"] == "adam")


def square(hp):
    hp.Float("x", 0, 1)
    hp.Float("y", 0, 1)


def distance(values):
    """From x .3 and y .7."""
    return math.hypot(values["x"] - 0.3, values["y"] - 0.7)


def oracle_in(directory, max_trials=40, space=space, *, saved=False, **kwargs):
    hp = kt.HyperParameters()
    space(hp)
    oracle = kbn.CoarseToFineOracle(
        kt.Objective("loss", "min"), max_trials, hyperparameters=hp, **{"seed": 5, **kwargs}
    )
    oracle.verbose = 0
    oracle._set_project_dir(directory, "search")
    if not saved:  # writing takes time and tells nothing where nothing is loaded
        oracle.save, oracle._write_trial = lambda: None, lambda trial: None
    return oracle


def step(oracle, loss=loss_of):
    """The values of one trial from start to end, or None at the end of the search."""
    trial = oracle.create_trial("w")
    if trial.status == "STOPPED":
        return None
    oracle.update_trial(trial.trial_id, {"loss": loss(trial.hyperparameters.values)})
    trial.status = "COMPLETED"
    oracle.end_trial(trial)
    return trial.hyperparameters.values


def run(oracle, loss=loss_of):
    return list(iter(lambda: step(oracle, loss), None))


def is_fresh(values):
    return "tuner/trial_id" not in values


def in_a_box(current, values, axes):
    """Whether a box holds the values, but for the rounding of a float."""

    def holds(axis, part):
        if not isinstance(axis, Numeric) or axis.integer:
            return axis.contains(part, values[axis.name])
        low, high = axis.edges(part)
        return low - 1e-8 <= axis.to_unit(values[axis.name]) <= high + 1e-8

    active = [axis for axis in axes if axis.name in values]
    return any(all(holds(axis, box[axis.name]) for axis in active) for box in current.boxes)


# --- rounds and boxes ----------------------------------------------------------------------------


@in_modes(*MODES)
def test_the_first_trials_lie_in_different_strata_of_every_scale(tmp_path, mode):
    for seed in range(4):
        oracle = oracle_in(tmp_path, seed=seed, space=square, **mode)
        trials = [oracle.create_trial(f"w{i}").hyperparameters.values for i in range(4)]
        for name in "xy":
            assert sum(values[name] < 0.5 for values in trials) == 2


@in_modes("gp", "plain")
def test_boxes_shrink_to_the_final_side(tmp_path, mode):
    oracle = oracle_in(tmp_path, space=square, **mode)
    run(oracle, distance)
    sides = [current.side for current in oracle.rounds]
    assert sides == sorted(sides, reverse=True)
    assert (sides[0], sides[-1]) == (1, pytest.approx(ZOOM.final_side))


@pytest.mark.parametrize(
    "settings",
    [
        {"max_trials": 30},
        {"max_trials": 30, "surrogate": None},
        {"max_trials": 9, "rounds": 2},
        {"max_trials": 6, "rounds": 1, "surrogate": None},
    ],
    ids=str,
)
def test_the_planned_rounds_are_those_of_the_search_but_for_the_places_of_their_boxes(
    tmp_path, settings
):
    oracle = oracle_in(tmp_path, space=square, **settings)
    planned = oracle.planned_rounds()
    run(oracle, distance)

    def shape(current):
        return current.number, current.first, current.size, current.side, current.explore_every

    assert list(map(shape, planned)) == list(map(shape, oracle.rounds))


def test_of_a_search_without_an_end_the_rounds_are_planned_until_boxes_shrink_no_more(tmp_path):
    sides = [each.side for each in oracle_in(tmp_path, None, square).planned_rounds()]
    assert len(sides) == ZOOM.endless_rounds
    assert sides[-2] > sides[-1] == pytest.approx(ZOOM.final_side)


def test_no_sizes_are_planned_where_trials_share_out_epochs(tmp_path):
    oracle = oracle_in(tmp_path, 20, square, epochs="coarse_to_fine", max_epochs=9)
    assert {each.size for each in oracle.planned_rounds()} == {0}


@in_modes("gp", "plain")
def test_the_first_box_of_a_round_holds_the_best_trial_before_it(tmp_path, mode):
    oracle = oracle_in(tmp_path, space=square, **mode)
    trials, whole = run(oracle, distance), space_of(oracle.hyperparameters)
    for current in oracle.rounds[1:]:
        best = min(trials[: current.first], key=distance)
        assert whole.contains(current.boxes[0], best)


@in_modes("gp", "plain")
def test_a_trials_place_is_its_round_and_the_first_box_that_holds_it(tmp_path, mode):
    oracle = oracle_in(tmp_path, **mode)
    trials, space = run(oracle), space_of(oracle.hyperparameters)
    found = [oracle.place(trial_id) for trial_id in oracle.start_order]
    for index, (values, (current, box)) in enumerate(zip(trials, found, strict=True)):
        assert current.first <= index < current.first + current.size
        held = [space.contains(one, values) for one in current.boxes]
        assert box == (current.boxes[held.index(True)] if any(held) else None)
    boxes = [box for _, box in found]
    assert None in boxes  # of those that explore
    assert any(box not in (None, space.whole) for box in boxes)


@in_modes("gp", "plain", "epochs")
def test_all_trials_lie_in_their_rounds_boxes_but_for_those_that_explore(tmp_path, mode):
    explored = []
    for seed in range(3):
        oracle = oracle_in(tmp_path, seed=seed, **mode)
        trials, axes = run(oracle), space_of(oracle.hyperparameters).axes
        numbers = [number for number, values in enumerate(trials) if is_fresh(values)]
        for index, number in enumerate(numbers):
            current = next(r for r in oracle.rounds if number < r.end)
            inside = in_a_box(current, trials[number], axes)
            if current.explores(index):
                explored.append(inside)
            else:
                assert inside, (seed, number, trials[number], current.boxes)
    assert not all(explored)


def test_a_trial_that_explores_without_a_model_takes_over_nothing_from_the_good_ones(tmp_path):
    oracle = oracle_in(tmp_path, max_trials=60, space=square, surrogate=None)
    trials = run(oracle, distance)
    taken = {True: [], False: []}  # by whether the trial explores
    for number, values in enumerate(trials):
        current = next(r for r in oracle.rounds if number < r.end)
        earlier = {v for before in trials[:number] for v in before.values() if 0.01 < v < 0.99}
        taken[current.explores(number)].append(bool(earlier & set(values.values())))
    assert any(taken[False])
    assert not any(taken[True])


def test_a_box_is_narrower_along_a_hyperparameter_that_matters_more(tmp_path):
    oracle = oracle_in(tmp_path, space=square)
    run(oracle, lambda values: math.sin(9 * values["y"]))
    box = oracle.rounds[-1].boxes[0]
    assert box["y"][1] - box["y"][0] < 0.7 * (box["x"][1] - box["x"][0])


def test_one_round_is_plain_random_search_also_without_an_end(tmp_path):
    oracle = oracle_in(tmp_path, max_trials=None, **RANDOM)
    for _ in range(2 * ZOOM.endless_size + 1):
        step(oracle)
    assert [current.side for current in oracle.rounds] == [1, 1, 1]


@in_modes("gp", "plain", "epochs")
def test_a_longer_search_goes_on_where_the_shorter_ended(tmp_path, mode):
    short = run(oracle_in(tmp_path, 9, square, saved=True, **mode), distance)
    longer = oracle_in(tmp_path, 25, square, **mode)
    longer.reload()
    before = longer.rounds
    more = run(longer, distance)
    trained = [v.get("tuner/epochs", 9) - v.get("tuner/initial_epoch", 0) for v in short + more]
    assert 24 * 9 < sum(trained) <= 25 * 9
    # the boxes of a quick look do not bind the long search: they open again, then shrink
    sides = [current.side for current in longer.rounds]
    opened = len(before)
    assert sides[opened] > max(sides[opened - 1], sides[-1])


@in_modes("gp", "plain")
@pytest.mark.filterwarnings("ignore:All-NaN")  # KerasTuner, on a trial without a finite score
def test_no_box_has_a_failed_trial_at_its_centre_while_there_are_others(tmp_path, mode):
    def loss(values):
        return math.nan if values["x"] > 0.6 else distance(values)

    oracle = oracle_in(tmp_path, space=square, max_consecutive_failed_trials=None, **mode)
    run(oracle, loss)
    assert any(trial.status == "FAILED" for trial in oracle.trials.values())
    for current in oracle.rounds[1:]:
        assert all(box["x"][0] <= 0.6 for box in current.boxes)


# --- what it is good for -------------------------------------------------------------------------


def median_best(directory, mode, max_trials):
    def best(seed):
        return min(
            map(few_matter, run(oracle_in(directory, max_trials, seed=seed, **mode), few_matter))
        )

    return np.median([best(seed) for seed in range(7)])


def test_it_finds_a_known_optimum_that_random_search_misses(tmp_path):
    random, plain = (median_best(tmp_path, mode, 60) for mode in (RANDOM, MODES["plain"]))
    assert plain < 0.5 * random
    assert median_best(tmp_path, MODES["gp"], 30) < 0.1 * random  # of half the trials


def test_the_model_chooses_more_trials_near_the_optimum(tmp_path):
    def near(mode):
        oracles = (oracle_in(tmp_path, 30, square, seed=seed, **mode) for seed in range(3))
        last = itertools.chain(*(run(oracle, distance)[15:] for oracle in oracles))
        return np.mean([distance(values) < 0.1 for values in last])

    assert near(MODES["gp"]) > 2 * near(MODES["plain"]) > 0


def test_the_model_is_told_of_the_trials_in_flight(tmp_path, monkeypatch):
    told = []

    class Spy(Surrogate):
        def expect(self, points):
            told.append(points)
            super().expect(points)

    monkeypatch.setattr("kbn.search.oracle.Surrogate", Spy)
    oracle = oracle_in(tmp_path, space=square)
    for _ in range(8):
        step(oracle, distance)
    running = [oracle.create_trial(f"w{i}").hyperparameters.values for i in range(3)]
    encoded = [[values["x"], values["y"]] for values in running]
    assert [points.tolist() for points in told] == [
        [pytest.approx(point) for point in encoded[:count]] for count in (1, 2)
    ]


def test_the_model_holds_no_more_trials_where_many_are_in_flight(tmp_path, monkeypatch):
    held = []

    class Spy(Surrogate):
        def learn(self, points, levels, losses, ended):
            held.append(len(points))
            return super().learn(points, levels, losses, ended)

        def expect(self, points):
            held[-1] += len(points)
            super().expect(points)

    monkeypatch.setattr("kbn.search.oracle.Surrogate", Spy)
    few = dataclasses.replace(PROPOSALS, modelled=12)
    monkeypatch.setattr("kbn.search.proposals.PROPOSALS", few)
    oracle = oracle_in(tmp_path, space=square)
    for _ in range(20):
        step(oracle, distance)
    held.clear()
    for worker in range(9):
        oracle.create_trial(f"w{worker}")
    assert max(held[:7]) <= 12
    assert max(held) <= 6 + 8  # half of 12 are always left to those that have ended


# --- epochs from coarse to fine ------------------------------------------------------------------


@in_modes("epochs", "plain epochs")
def test_later_trials_begin_with_more_epochs(tmp_path, mode):
    trials = run(oracle_in(tmp_path, 20, square, **mode), distance)
    first = [values["tuner/epochs"] for values in trials if is_fresh(values)]
    assert first == sorted(first)
    assert set(first) == {1, 3, 9}


@in_modes("epochs", "plain epochs")
def test_boxes_are_made_round_the_best_trials_of_all_epochs(tmp_path, mode):
    """A trial of one epoch says little: its low loss must not draw the search away."""

    def loss(values):
        return distance(values) if values["tuner/epochs"] > 1 else 1 - distance(values)

    oracle = oracle_in(tmp_path, 20, square, **mode)
    run(oracle, loss)
    box = oracle.rounds[-1].boxes[0]
    assert box["x"][0] <= 0.35
    assert box["y"][1] >= 0.65


# --- noise ---------------------------------------------------------------------------------------


def noisy(values, trial):
    """A shallow bowl under noise that belongs to the trial, not to its values."""
    return distance(values) ** 2 + 0.2 * np.random.default_rng(trial).normal()


def rough(values):
    """As rough as noise, but the same for the same values."""
    return noisy(values, [int(1e6 * values["x"]), int(1e6 * values["y"])])


def run_noisily(oracle):
    return run(oracle, lambda values: noisy(values, len(oracle.start_order)))


def repeats(trials):
    """(the number of the repeat, that of what it repeats)."""
    return [(i, int(v[REPEATS])) for i, v in enumerate(trials) if REPEATS in v]


@in_modes("gp", "epochs")
def test_where_noise_decides_the_best_trial_is_repeated_now_and_then_and_marked(tmp_path, mode):
    found = []
    for seed in range(3):
        oracle = oracle_in(tmp_path, 60, square, seed=seed, **mode)
        trials = run_noisily(oracle)
        found += repeats(trials)
        assert (np.diff([number for number, _ in repeats(trials)]) >= 12).all()
        for number, original in repeats(trials):
            anew = {k: v for k, v in trials[original].items() if k != "tuner/trial_id"}
            anew.update({"tuner/initial_epoch": 0} if mode else {}, **{REPEATS: f"{original:02d}"})
            assert trials[number] == anew
            earlier = [
                (f"{i:02d}", values, oracle.trials[f"{i:02d}"].score)
                for i, values in enumerate(trials[:number])
            ]
            assert int(best_first(earlier, "min")[0]) == original
    assert len(found) >= 3


@in_modes("gp", "plain", "epochs")
@pytest.mark.parametrize("loss", [loss_of, few_matter], ids=["smooth", "few matter"])
def test_without_noise_nothing_is_tried_twice(tmp_path, mode, loss):
    assert repeats(run(oracle_in(tmp_path, 60, **mode), loss)) == []


def test_a_repeat_that_gives_the_same_score_again_is_the_last_one(tmp_path):
    counts = [
        len(repeats(run(oracle_in(tmp_path, 90, square, seed=seed), rough))) for seed in range(3)
    ]
    assert max(counts) == 1


def test_the_best_trial_is_that_of_the_best_mean_over_its_repeats(tmp_path):
    oracle = oracle_in(tmp_path, 60, square)
    trials = run_noisily(oracle)
    scored = [
        (f"{i:02d}", values, oracle.trials[f"{i:02d}"].score) for i, values in enumerate(trials)
    ]
    assert [trial.trial_id for trial in oracle.get_best_trials(60)] == best_first(scored, "min")


def test_a_noisy_search_goes_on_after_a_reload_as_if_it_had_not_stopped(tmp_path):
    whole = run_noisily(oracle_in(tmp_path / "whole", 60, square))
    assert repeats(whole)
    stopped = oracle_in(tmp_path / "stopped", 60, square, saved=True)
    first, _ = repeats(whole)[0]
    for _ in range(first + 1):
        step(stopped, lambda values: noisy(values, len(stopped.start_order)))
    again = oracle_in(tmp_path / "stopped", 60, square)
    again.reload()
    assert run_noisily(again) == whole[first + 1 :]


@in_modes("gp", "epochs")
def test_other_epochs_than_those_it_began_with_are_rejected_when_a_search_goes_on(tmp_path, mode):
    run(oracle_in(tmp_path, 4, square, saved=True, **mode), distance)
    other = oracle_in(tmp_path, 8, square, epochs="coarse_to_fine", max_epochs=27)
    begun = mode.get("max_epochs")
    with pytest.raises(KbnError, match=f"oracle.json.*max_epochs={begun}.*=27.*overwrite"):
        other.reload()


# --- the tuner -----------------------------------------------------------------------------------


def test_a_search_killed_in_its_first_trial_does_not_start_over(tmp_path):
    class Killed(kbn.CoarseToFine):
        def run_trial(self, trial):
            raise KeyboardInterrupt

    def tuner():
        space(hp := kt.HyperParameters())
        made = Killed(objective="val_loss", hyperparameters=hp, max_trials=3, directory=tmp_path)
        made.oracle.verbose = 0
        return made

    first = tuner()
    with pytest.raises(KeyboardInterrupt):
        first.search()
    values = first.oracle.trials["0"].hyperparameters.values
    assert tuner().oracle.trials["0"].hyperparameters.values == values


FIRST = ({"rate": 0.01, "optimizer": "adam", "beta": 0.5}, {"layers": 3, "optimizer": "sgd"})


@in_modes(*MODES)
def test_the_first_trials_have_the_values_that_were_given(tmp_path, mode):
    oracle = oracle_in(tmp_path, 12, first=FIRST, **mode)
    seen = [step(oracle) for _ in range(6)]
    for given, values in zip(FIRST, seen, strict=False):
        assert values.items() >= given.items()
    assert ("beta" in seen[0], "beta" in seen[1]) == (True, False)
    assert seen[2]["rate"] != 0.01  # drawn


@pytest.mark.parametrize("given", [{"rat": 0.1}, {"rate": 2.0}, {"optimizer": "lion"}])
def test_a_first_value_out_of_the_space_is_rejected(tmp_path, given):
    oracle = oracle_in(tmp_path, first=[given])
    with pytest.raises(ValueError, match=f"The first parameter .* Got {next(iter(given))}="):
        step(oracle)


def test_a_search_ends_once_it_has_enough(tmp_path):
    oracle = oracle_in(tmp_path)
    oracle.enough = lambda: len(oracle.trials) == 2
    assert len(run(oracle)) == 2
