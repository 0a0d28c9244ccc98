import dataclasses
import json
import math

import numpy as np
import pytest

from kbn.search.axes import Condition, Discrete, Grid, Numeric, Stepped
from kbn.search.space import INACTIVE, Space
from kbn.search.zoom import ZOOM, Plan, Round, boxes_round

SQUARE = Space((Numeric("x", 0.0, 1.0), Numeric("y", 0.0, 1.0)))
EVEN = np.ones(2)
CENTRE = np.array([[0.5, 0.5]])
MIXED = Space(
    (
        Numeric("rate", 0.0, 1.0),
        Numeric("layers", 1, 9, integer=True),
        Stepped("dropout", Grid(0.0, 0.1, 6)),
        Discrete("batch", (16, 32, 64, 128), ordered=True),
        Discrete("optimizer", ("sgd", "adam", "rmsprop", "lion", "adagrad")),
        Numeric("beta", 0.0, 1.0, conditions=(Condition("optimizer", ("adam",)),)),
    )
)


def rounds_of(max_trials, rounds=None, coarse=4, good=CENTRE, count=None):
    """The rounds of a search, or its first `count`, if all trials are whole trainings."""
    plan, made, begun = Plan(max_trials, rounds, coarse, explore_every=6), [], 0
    while begun != max_trials and len(made) != count:
        made.append(plan.next_round(SQUARE, good, EVEN, len(made), begun, begun))
        begun = made[-1].end
    return made


def width(part):
    return part[1] - part[0]


# --- rounds --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("max_trials", "rounds"), [(40, 5), (40, None), (7, 3), (3, 20), (1, 1)])
def test_rounds_follow_one_another_and_share_out_all_trials(max_trials, rounds):
    made = rounds_of(max_trials, rounds, coarse=min(4, max_trials))
    assert [r.first for r in made] == [0, *(r.end for r in made[:-1])]
    assert [r.number for r in made] == list(range(len(made)))
    assert made[-1].end == max_trials
    assert all(r.until == r.end for r in made)
    sizes = [r.size for r in made[1:]]
    assert max(sizes, default=0) <= min(sizes, default=0) + 1


def test_a_wanted_number_of_rounds_is_heeded_and_the_first_is_the_coarse_one():
    made = rounds_of(40, rounds=5, coarse=8)
    assert len(made) == 5
    assert made[0].size == 8


def test_every_round_is_smaller_than_the_one_before_by_the_same_factor():
    sides = [r.side for r in rounds_of(40, rounds=5)]
    assert (sides[0], sides[-1]) == (1, pytest.approx(ZOOM.final_side))
    np.testing.assert_allclose(np.diff(np.log(sides)), math.log(ZOOM.final_side) / 4)


def test_a_longer_search_has_more_rounds_to_shrink_in():
    assert len(rounds_of(100)) > len(rounds_of(25)) > 2
    assert rounds_of(100)[3].side > rounds_of(25)[3].side


def test_a_search_without_an_end_stays_at_the_final_side():
    sides = [r.side for r in rounds_of(None, count=ZOOM.endless_rounds + 3)]
    assert sides == sorted(sides, reverse=True)
    assert sides[-4:] == [pytest.approx(ZOOM.final_side)] * 4
    assert sides[-5] > ZOOM.final_side


@pytest.mark.parametrize(("rounds", "good"), [(1, CENTRE), (5, CENTRE[:0])], ids=["one", "failed"])
def test_one_round_and_one_without_a_good_trial_cover_the_whole_space(rounds, good):
    for each in rounds_of(40, rounds, good=good):
        assert (each.side, each.boxes) == (1, (SQUARE.whole,))


def test_trials_that_train_for_a_share_of_the_epochs_count_by_it():
    plan = Plan(max_trials=10, rounds=4, coarse=0.5, explore_every=6)
    coarse = plan.next_round(SQUARE, CENTRE, EVEN, number=0, first=0, begun=0.0)
    second = plan.next_round(SQUARE, CENTRE, EVEN, number=1, first=9, begun=1.0)
    assert (coarse.until, second.first, second.until) == (0.5, 9, 1.0 + (10 - 1) / 3)


@pytest.mark.parametrize("every", [3, 6])
def test_one_of_so_many_trials_in_a_row_explores(every):
    current = Round(2, 10, 20, 0.5, (SQUARE.whole,), 30, explore_every=every)
    exploring = [current.explores(index) for index in range(10, 40)]
    for start in range(30 - every):
        assert sum(exploring[start : start + every]) == 1


def test_a_round_survives_being_saved_as_json():
    (*_, last) = rounds_of(40, rounds=5)
    assert Round.from_config(json.loads(json.dumps(dataclasses.asdict(last)))) == last


# --- boxes ---------------------------------------------------------------------------------------


def test_boxes_hold_their_centres_best_first():
    points = MIXED.snap(np.random.default_rng(0).random((40, 6)))
    for point in points:
        for side in (0.1, 0.5, 0.9):
            (box,) = boxes_round(MIXED, point[None], side, np.ones(6))
            assert MIXED.contains(box, MIXED.decode(point))
    first, *_ = boxes_round(MIXED, points, 0.1, np.ones(6))
    assert MIXED.contains(first, MIXED.decode(points[0]))


def test_there_are_as_many_boxes_as_centres_half_a_side_apart_but_not_more_than_so_many():
    near = np.array([[0.2, 0.2], [0.29, 0.29], [0.2, 0.31], [0.3, 0.3]])
    boxes = boxes_round(SQUARE, near, 0.2, EVEN)
    centres = [tuple(sum(part) / 2 for part in box.values()) for box in boxes]
    assert centres == [pytest.approx((0.2, 0.2)), pytest.approx((0.2, 0.31))]
    many = np.linspace(0.1, 0.9, 8)[:, None].repeat(2, axis=1)
    assert len(boxes_round(SQUARE, many, 0.1, EVEN)) == ZOOM.most_boxes


def test_trials_that_differ_in_an_unordered_choice_alone_share_a_box():
    axes = (Numeric("x", 0.0, 1.0), Discrete("kind", ("a", "b", "c")))
    points = np.array([[0.3, 1 / 6], [0.3, 0.5], [0.3, 5 / 6], [0.8, 0.5]])
    boxes = boxes_round(Space(axes), points, 0.2, np.ones(2))
    assert [box["x"] for box in boxes] == [pytest.approx([0.2, 0.4]), pytest.approx([0.7, 0.9])]


def test_a_box_is_as_wide_as_its_side_and_narrower_along_what_matters_more():
    (box,) = boxes_round(SQUARE, CENTRE, 0.4, np.array([0.25, 2.0]))
    assert [width(box["x"]), width(box["y"])] == pytest.approx([0.1, 0.8])
    (box,) = boxes_round(SQUARE, CENTRE, 0.4, np.array([1.0, 4.0]))
    assert [width(box["x"]), width(box["y"])] == pytest.approx([0.4, 1.0])


def test_a_box_is_whole_along_what_its_centre_does_not_have():
    values = {"rate": 0.5, "layers": 5, "dropout": 0.2, "batch": 32, "optimizer": "sgd"}
    point = MIXED.encode(values)
    assert point[-1] == INACTIVE
    (box,) = boxes_round(MIXED, point[None], 0.1, np.ones(6))
    assert list(box["beta"]) == [0.0, 1.0]
    (box,) = boxes_round(
        MIXED, MIXED.encode({**values, "optimizer": "adam", "beta": 0.5})[None], 0.1, np.ones(6)
    )
    assert list(box["beta"]) == pytest.approx([0.45, 0.55])


def test_a_box_keeps_some_neighbours_of_an_ordered_choice_and_all_of_an_unordered_one():
    values = {"rate": 0.5, "layers": 5, "dropout": 0.2, "batch": 128, "optimizer": "sgd"}
    (box,) = boxes_round(MIXED, MIXED.encode(values)[None], 0.01, np.ones(6))
    assert list(box["batch"]) == [16, 32, 64, 128][-ZOOM.fewest_values :]
    assert list(box["optimizer"]) == ["sgd", "adam", "rmsprop", "lion", "adagrad"]
