import itertools
import math
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import rankdata

from kbn.search.goals import Constraint, Goals
from kbn.search.pareto import (
    SUM_SHARE,
    draw_weights,
    front_first,
    non_dominated,
    penalized,
    scalarized,
)

sys.path.append(str(Path(__file__).parents[2]))  # the repository, of which benchmarks is no package

from benchmarks.pareto import hypervolume


def dominates(a, b):
    return all(a <= b) and any(a < b)


def brute_force(losses):
    """Compare each trial with each other one."""
    return [
        not np.isnan(b).any() and not any(dominates(a, b) for a in losses if not np.isnan(a).any())
        for b in losses
    ]


def drawn(n, m, seed, levels=6):
    """Losses with many ties."""
    return np.random.default_rng(seed).integers(0, levels, (n, m)).astype(float)


@pytest.mark.parametrize(("m", "seed"), [(m, seed) for m in (1, 2, 3, 4) for seed in range(5)])
def test_the_front_is_what_comparing_all_pairs_gives(m, seed):
    losses = drawn(40, m, seed)
    losses[3, 0] = losses[17] = np.nan
    assert non_dominated(losses).tolist() == brute_force(losses)


def test_no_trials_have_no_front():
    assert non_dominated(np.empty((0, 2))).tolist() == []
    assert front_first(np.empty((0, 2))) == []


@pytest.mark.parametrize("seed", range(5))
def test_the_front_comes_first_and_in_it_the_best_in_the_first_objective(seed):
    losses = drawn(30, 2, seed)
    order, front = front_first(losses), brute_force(losses)
    assert sorted(order) == list(range(30))
    assert [front[i] for i in order] == sorted(front, reverse=True)
    best = min(range(30), key=lambda i: (*losses[i], i))  # of equal ones the oldest
    assert order[0] == best
    on_front = [losses[i, 0] for i in order if front[i]]
    assert on_front == sorted(on_front)


def test_a_scalarization_is_the_augmented_tchebycheff_function_of_the_ranks():
    losses, weights = drawn(20, 3, 0), np.array([0.5, 0.3, 0.2])
    ranks = np.column_stack([rankdata(column, "dense") - 1 for column in losses.T])
    z = ranks / ranks.max(0)
    expected = [max(weights * row) + SUM_SHARE * sum(weights * row) for row in z]
    np.testing.assert_allclose(scalarized(losses, weights), expected)


def test_a_scalarization_sees_the_order_of_an_objective_alone():
    losses, weights = drawn(20, 2, 1), np.array([0.4, 0.6])
    stretched = losses * [1, 0] + 10 ** (3 * losses) * [0, 1]  # as numbers of parameters are
    np.testing.assert_allclose(scalarized(stretched, weights), scalarized(losses, weights))


@pytest.mark.parametrize("seed", range(5))
def test_the_minimum_of_a_scalarization_is_on_the_front(seed):
    losses = drawn(30, 3, seed, levels=100)
    weights = draw_weights(3, np.random.default_rng(seed))
    assert weights.sum() == pytest.approx(1)
    assert (weights >= 0).all()
    assert brute_force(losses)[scalarized(losses, weights).argmin()]


def test_every_trial_of_a_concave_front_is_the_minimum_for_some_weights():
    x = np.linspace(0, 1, 9)
    losses = np.column_stack([x, 1 - x**4])  # a weighted sum would find the ends alone
    rng = np.random.default_rng(0)
    found = {int(scalarized(losses, draw_weights(2, rng)).argmin()) for _ in range(500)}
    assert found == set(range(9))


def test_a_trial_that_failed_has_no_loss_in_a_scalarization():
    losses = np.array([[1.0, 2.0], [np.nan, np.nan], [2.0, 1.0]])
    assert np.isnan(scalarized(losses, np.array([0.5, 0.5]))).tolist() == [False, True, False]


def test_infeasible_trials_are_worse_than_all_feasible_ones_and_in_the_order_of_their_excess():
    losses = np.array([3.0, 1.0, math.nan, 2.0, 0.0])
    excess = np.array([0.0, 0.0, 0.5, 0.0, 2.0])  # the last one would be the best
    found = penalized(losses, excess)
    assert found[[0, 1, 3]].tolist() == [3, 1, 2]
    assert 3 < found[2] < found[4]


def test_while_no_trial_is_feasible_the_excess_is_the_loss():
    found = penalized(np.array([5.0, math.nan, math.nan]), np.array([2.0, 1.0, 0.0]))
    assert found[1] < found[0]
    assert found[2] == found[0]  # failed: as bad as the worst


def test_without_constraints_only_failed_trials_have_another_loss():
    losses = np.array([1e300, 1.0, math.nan])
    assert penalized(losses, np.zeros(3)).tolist() == [1e300, 1.0, 1e300]
    assert len(penalized(np.array([math.nan]), np.zeros(1))) == 0


@pytest.mark.parametrize(
    ("limits", "value", "excess", "words"),
    [
        ({"high": 20_000}, 25_000, 0.25, "parameters 25,000 > max 20,000"),
        ({"low": 0.9}, 0.81, 0.1, "parameters 0.81 < min 0.9"),
        ({"low": 0.0}, -2.0, 2.0, "parameters -2 < min 0"),
        ({"high": 1.0}, math.inf, 1e6, None),
        ({"high": 1.0}, math.nan, 1e6, None),
        ({"low": 1.0, "high": 2.0}, 2.0, 0.0, None),
    ],
)
def test_a_constraint_says_by_how_much_it_is_violated(limits, value, excess, words):
    constraint = Constraint("parameters", **limits)
    assert constraint.excess(value) == pytest.approx(excess)
    if words:
        assert constraint.violation(value) == words


def test_goals_take_the_metrics_that_are_known():
    goals = Goals.of([("gain", "max"), ("size", "min")], {"size": {"max": 4}, "late": {"min": 1}})
    assert goals.losses({"gain": 3.0, "size": 2.0}) == [-3, 2]
    assert math.isnan(goals.losses({"gain": math.inf, "size": 2.0})[0])
    assert goals.violations({"size": 5}) == ["size 5 > max 4"]
    assert goals.excess({"size": 5}) == 0.25
    assert goals.excess({}) == 0
    assert goals.names == ("gain", "size", "late")


@pytest.mark.parametrize("limits", [{}, {"most": 3}, {"min": 2, "max": 1}])
def test_a_constraint_without_valid_limits_is_rejected(limits):
    with pytest.raises(ValueError, match=r"constraints parameter .* must give each metric"):
        Goals.of([("loss", "min")], {"size": limits})


@pytest.mark.parametrize("m", [2, 3])
def test_the_hypervolume_of_the_benchmark_is_the_share_of_a_grid_that_is_dominated(m):
    rng = np.random.default_rng(m)
    losses = rng.random((12, m)) * 1.2  # some beyond the reference
    cells = 40
    middles = (np.arange(cells) + 0.5) / cells
    rounded = np.round(losses * cells) / cells  # whole cells, so that the count is exact
    grid = np.array(list(itertools.product(middles, repeat=m)))
    inside = (rounded[:, None] <= grid).all(2).any(0)
    assert hypervolume(rounded, np.ones(m)) == pytest.approx(inside.mean())
