"""What every mode proposes: values that lie in the space, round by round."""

import itertools

import keras_tuner as kt
import numpy as np
import pytest

from kbn.search.proposals import PROPOSALS
from search.contract import (
    adaptive,
    alike,
    first_round,
    fresh,
    in_modes,
    inside,
    points,
    run,
    start,
    step,
    texts,
)
from search.spaces import (
    ALONE,
    BOUNDS,
    CONTINUOUS,
    GRIDS,
    MIDDLES,
    active,
    distance,
    gridded,
    nested,
    scaled,
    square,
)

# --- proposals lie in the space -------------------------------------------------------------------


def test_every_proposal_lies_within_its_bounds(new):
    trials = run(new(scaled, max_trials=12), loss=lambda values: abs(values["linear"]))
    for values in points(trials):
        assert set(values) == set(BOUNDS)
        for name, (low, high) in BOUNDS.items():
            assert low <= values[name] <= high, name


@pytest.mark.parametrize("sign", [1, -1], ids=["low", "high"])
def test_a_loss_that_is_best_at_the_bounds_leads_to_none_beyond(new, sign):
    def loss(values):
        return sign * sum((values[n] - low) / (up - low) for n, (low, up) in BOUNDS.items())

    for values in points(run(new(scaled, max_trials=16), loss)):
        for name, (low, high) in BOUNDS.items():
            assert low <= values[name] <= high, name


def test_every_proposal_lies_on_the_grid(new):
    for values in points(run(new(gridded, max_trials=16), lambda values: values["floats"])):
        assert set(values) == set(GRIDS)
        for name, grid in GRIDS.items():
            assert any(alike(values[name], value) for value in grid), name


def test_values_have_the_plain_types_that_were_declared(new):
    def both(hp):
        scaled(hp)
        gridded(hp)

    oracle = new(both, max_trials=4)
    types = {hp.name: type(hp.default) for hp in oracle.hyperparameters.space}
    for values in points(run(oracle, lambda values: values["linear"])):
        assert {name: type(value) for name, value in values.items()} == types


def test_the_first_round_covers_both_halves_of_every_scale(new):
    oracle = new(scaled, max_trials=16)
    trials = first_round(oracle, run(oracle, loss=lambda values: values["linear"]))
    for name, middle in MIDDLES.items():
        below = sum(values[name] < middle for values in trials)
        assert len(trials) / 4 <= below <= len(trials) * 3 / 4, name


def test_no_two_trials_of_the_first_round_share_a_value_of_a_continuous_hyperparameter(new):
    oracle = new(scaled, max_trials=16)
    trials = first_round(oracle, run(oracle, loss=lambda values: values["linear"]))
    assert len(trials) > 1
    for name in CONTINUOUS:
        assert len({values[name] for values in trials}) == len(trials), name


def test_conditional_hyperparameters_are_active_exactly_where_their_conditions_hold(new):
    def with_floats(hp):
        nested(hp)
        with hp.conditional_scope("a", ["z"]):
            hp.Float("e", 0, 1)

    trials = points(run(new(with_floats, max_trials=20), lambda values: len(values["a"])))
    assert {values["a"] for values in trials} == {"x", "y", "z"}
    for values in trials:
        assert set(values) == active(values) | ({"e"} if values["a"] == "z" else set())


# --- small spaces ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GRIDS)
def test_a_discrete_space_stops_after_every_point_was_proposed_once(new, name):
    def alone(hp):
        everything = kt.HyperParameters()
        gridded(everything)
        hp.merge([each for each in everything.space if each.name == name])

    trials = run(new(alone, max_trials=20), lambda values: float(values[name] == 0.1))
    proposed = sorted(values[name] for values in fresh(trials))
    assert len(proposed) == len(GRIDS[name])
    assert all(map(alike, proposed, GRIDS[name]))


def test_a_conditional_space_stops_after_every_point_was_proposed_once(new):
    trials = fresh(run(new(nested, max_trials=30), lambda values: values.get("c", 0.0)))
    assert len(trials) == len(set(texts(trials))) == 3 + 2 * (1 + 2)


@pytest.mark.parametrize("declare", ALONE.values(), ids=ALONE)
def test_a_space_of_one_point_is_tried_once(new, declare):
    oracle = new(declare)
    expected = dict(oracle.hyperparameters.values)
    assert fresh(run(oracle, lambda _: 1.0)) == [expected]


def test_an_empty_space_is_tried_once(new):
    assert fresh(run(new(None), lambda _: 1.0)) == [{}]


def test_hyperparameters_of_one_value_keep_it_beside_others(new):
    def one_of_each(hp):
        for name, declare in ALONE.items():
            with hp.name_scope(name):
                declare(hp)
        hp.Float("x", 0, 1)

    oracle = new(one_of_each)
    expected = {**oracle.hyperparameters.values, "x": None}
    for values in points(run(oracle, lambda values: values["x"])):
        assert {**values, "x": None} == expected


# --- rounds and boxes -----------------------------------------------------------------------------


def test_the_trials_of_a_round_lie_in_its_boxes_but_for_a_share(new):
    oracle = new(max_trials=24)
    trials = run(oracle)
    later = [
        inside(current.boxes, values)
        for current in oracle.rounds[1:]
        for values in fresh(trials[current.first : current.end])
    ]
    assert later.count(False) <= len(later) / 3
    assert all(inside(oracle.rounds[0].boxes, values) for values in first_round(oracle, trials))


def test_rounds_follow_one_another_and_hold_all_trials(new):
    oracle = new(max_trials=24)
    trials = run(oracle)
    rounds = oracle.rounds
    assert [r.first for r in rounds] == [0, *(r.end for r in rounds[:-1])]
    assert all(r.end == r.first + r.size > r.first for r in rounds)
    assert rounds[-1].first < len(trials) <= rounds[-1].end


@adaptive
def test_boxes_shrink_within_the_space(new):
    def widths(current):
        return [box[name][1] - box[name][0] for box in current.boxes for name in "xy"]

    oracle = new(square, max_trials=24)
    run(oracle, distance)
    first, *_, last = oracle.rounds
    assert widths(first) == [1, 1]
    assert np.mean(widths(last)) < 0.5
    for box in itertools.chain(*(r.boxes for r in oracle.rounds)):
        assert set(box) == {"x", "y"}
        assert all(0 <= low <= high <= 1 for low, high in box.values())


@in_modes(["gp", "plain"])
def test_a_wanted_number_of_rounds_is_heeded(new):
    oracle = new(square, max_trials=12, rounds=3)
    run(oracle, distance)
    assert len(oracle.rounds) == 3


@in_modes(["one round"])
def test_one_round_covers_the_whole_space(new):
    oracle = new(square, max_trials=12)
    run(oracle, distance)
    (only,) = oracle.rounds
    assert [dict(box) for box in only.boxes] == [{"x": [0, 1], "y": [0, 1]}]


def test_trials_in_flight_do_not_almost_repeat_one_another(new):
    oracle = new(square, max_trials=60)
    for _ in range(12):
        step(oracle, distance)
    running = [start(oracle, f"worker {n}").hyperparameters.values for n in range(24)]
    at = np.array([[values["x"], values["y"]] for values in running])
    apart = np.linalg.norm(at[:, None] - at, axis=2)[np.triu_indices(len(at), 1)]
    assert apart.min() >= PROPOSALS.apart
