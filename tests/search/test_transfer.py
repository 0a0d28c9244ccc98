"""Earlier searches of similar tasks: what they predict, when they are trusted, what they are worth.

Most tasks are bowls on the unit cube, whose optima differ a little.
"""

import itertools

import keras_tuner as kt
import numpy as np
import pytest

import kbn
from kbn.search._keras_tuner import Trial, copied
from kbn.search.hyperparameters import space_of
from kbn.search.past import FROM, PastSearch, related, shared
from kbn.search.surrogate import NOTHING, Surrogate
from kbn.search.transfer import TRANSFER, Transfer
from search.contract import earlier, oracle_in, run, step
from search.spaces import loss_of
from search.spaces import space as declare

MIDDLE = np.array([0.62, 0.3, 0.7])


def bowl(hp):
    for name in ("x", "y", "z"):
        hp.Float(name, 0.0, 1.0)


def loss(values, optimum=MIDDLE):
    return float(((np.array([values[name] for name in ("x", "y", "z")]) - optimum) ** 2).sum())


def random_search(optimum, seed, trials=25, sign=1.0):
    drawn = np.random.default_rng(seed).random((trials, 3))
    values = [dict(zip("xyz", map(float, row), strict=True)) for row in drawn]
    return [(each, sign * loss(each, optimum)) for each in values]


def three(sign=1.0):
    shifts = np.random.default_rng(0).normal(0, 0.05, (3, 3))
    return [random_search(MIDDLE + shift, n, sign=sign) for n, shift in enumerate(shifts)]


def best_after(directory, trials, seed, prior):
    hp = kt.HyperParameters()
    bowl(hp)
    oracle = kbn.CoarseToFineOracle(
        kt.Objective("loss", "min"), 50, seed=seed, prior=prior, hyperparameters=hp
    )
    oracle.verbose = 0
    oracle._set_project_dir(directory, f"search{seed}")
    oracle.save, oracle._write_trial = lambda: None, lambda trial: None
    found = [loss(step(oracle, loss)) for _ in range(trials)]
    return min(found)


def mean_best(directory, trials, prior):
    return np.mean([best_after(directory, trials, seed, prior) for seed in range(4)])


def test_earlier_searches_find_the_optimum_sooner(tmp_path):
    alone, guided = mean_best(tmp_path, 8, ()), mean_best(tmp_path, 8, three())
    assert guided < alone / 2


def test_earlier_searches_that_mislead_do_no_harm_in_the_end(tmp_path):
    alone, misled = mean_best(tmp_path, 25, ()), mean_best(tmp_path, 25, three(sign=-1.0))
    assert misled < max(1.5 * alone, 1e-3)  # of a loss that is .25 at random


def transfer_of(searches, build=bowl):
    hp = kt.HyperParameters()
    build(hp)
    given = [PastSearch.of(each, number) for number, each in enumerate(searches)]
    return Transfer(space_of(hp), given, 1.0)


def test_predictions_rank_points_as_the_earlier_search_would():
    points = np.random.default_rng(9).random((200, 3))
    predicted = transfer_of(three()).predict(points)
    assert predicted.shape == (200, 3)
    truth = ((points - MIDDLE) ** 2).sum(1)
    ranks = [
        np.corrcoef(column.argsort().argsort(), truth.argsort().argsort())[0, 1]
        for column in predicted.T
    ]
    assert min(ranks) > 0.8


def test_an_axis_that_an_earlier_search_lacks_leaves_its_predictions_alone():
    lacking = [({"x": v["x"], "other": 7}, score) for v, score in random_search(MIDDLE, 1)]
    transfer = transfer_of([lacking])
    points = np.random.default_rng(2).random((20, 3))
    moved = np.column_stack([points[:, 0], np.random.default_rng(3).random((20, 2))])
    assert transfer.predict(points).tolist() == transfer.predict(moved).tolist()
    assert transfer.begin(0).keys() == {"x", FROM}


def test_first_trials_are_of_the_earlier_searches_best_and_complement_one_another():
    left, right = np.array([0.1, 0.5, 0.5]), np.array([0.9, 0.5, 0.5])
    transfer = transfer_of([random_search(left, 1), random_search(right, 2)])
    taken = [transfer.begin(place) for place in range(TRANSFER.control)]
    assert len({each["x"] < 0.5 for each in taken}) == 2 or abs(taken[0]["x"] - 0.5) < 0.2
    assert transfer.begin(TRANSFER.control) is None
    assert all(each[FROM].startswith("prior ") for each in taken)


def test_a_search_that_ranks_the_trials_wrongly_is_not_trusted_until_it_ranks_them_rightly():
    transfer = transfer_of([three()[0], three(sign=-1.0)[1]])
    points = np.random.default_rng(4).random((8, 3))
    losses = ((points - MIDDLE) ** 2).sum(1)
    transfer.judge(points, np.ones(8), losses)
    assert transfer.trusted.tolist() == [True, False]
    assert transfer.weights.tolist() == [1.0, 0.0]
    transfer.judge(points, np.ones(8), -losses)
    assert transfer.trusted.tolist() == [False, True]
    transfer.judge(points, np.arange(1, 9) / 8, -losses)  # not to be compared
    assert transfer.trusted.tolist() == [True, True]
    assert transfer.weights.tolist() == [0.5, 0.5]


def test_of_searches_that_are_not_trusted_the_model_learns_that_they_say_the_opposite():
    transfer = transfer_of(three(sign=-1.0))
    points, others = (
        np.random.default_rng(5).random((10, 3)),
        np.random.default_rng(6).random((200, 3)),
    )
    losses, truth = (((each - MIDDLE) ** 2).sum(1) for each in (points, others))
    transfer.judge(points, np.ones(10), losses)
    assert not transfer.trusted.any()
    correlations = []
    for past in (NOTHING, transfer):
        model = Surrogate(np.zeros(3, bool), False, past)
        model.learn(points, np.ones(10), losses, 10)
        correlations.append(np.corrcoef(model.predict(others)[0], truth)[0, 1])
    alone, taught = correlations
    assert 1 - taught < (1 - alone) / 2


@pytest.mark.parametrize(
    ("changes", "lies"),
    [
        ({}, True),
        ({"layers": 3}, True),  # unknown here
        ({"rate": 2.0}, False),
        ({"rate": "fast"}, False),
        ({"rate": True}, False),
        ({"optimizer": "lion"}, False),
    ],
)
def test_values_are_shared_if_all_that_the_space_knows_lie_in_it(changes, lies):
    hp = kt.HyperParameters()
    declare(hp)
    values = {"rate": 0.1, "optimizer": "sgd", **changes}
    known = {name: value for name, value in values.items() if name != "layers"}
    assert shared(space_of(hp), values) == (known if lies else None)


@pytest.mark.parametrize(
    ("changes", "near"),
    [
        ({"rate": 2.0}, True),
        ({"optimizer": "lion"}, True),
        ({"optimizer": 3}, True),
        ({"rate": 2.0, "optimizer": "lion"}, False),
        ({"rate": "fast"}, False),
        ({"rate": float("inf")}, False),
    ],
)
def test_values_are_related_if_no_more_than_half_lie_outside_and_all_are_of_a_kind(changes, near):
    hp = kt.HyperParameters()
    declare(hp)
    values = {"rate": 0.1, "optimizer": "sgd", **changes}
    assert related(space_of(hp), {**values, "layers": 3}) == (values if near else None)


def narrow(hp):
    hp.Float("x", 0.55, 1.0)
    hp.Float("y", 0.0, 0.5)
    hp.Float("z", 0.0, 1.0)


def test_trials_outside_the_space_teach_the_model_but_are_not_run_again():
    search = random_search(MIDDLE, 1)
    outside = [pair for pair in search if not (pair[0]["x"] >= 0.55 and pair[0]["y"] <= 0.5)]
    transfer = transfer_of([outside], narrow)
    assert (transfer.begins, transfer.begin(0)) == (1, None)
    points = np.random.default_rng(9).random((200, 3))
    x, y, z = points.T
    truth = ((np.array([0.55 + 0.45 * x, y / 2, z]).T - MIDDLE) ** 2).sum(1)
    assert np.corrcoef(transfer.predict(points)[:, 0], truth)[0, 1] > 0.6
    inside = [pair for pair in search if pair not in outside]
    begin = transfer_of([search], narrow).begin(0)
    assert {name: begin[name] for name in "xyz"} in [values for values, _ in inside]


def choices(hp):
    hp.Float("x", 0.0, 1.0)
    hp.Float("y", 0.0, 1.0)
    hp.Choice("kind", ["a", "b"])
    with hp.conditional_scope("kind", ["b"]):
        hp.Float("z", 0.0, 1.0)


def test_a_choice_that_the_space_lacks_is_unlike_all_others_and_teaches_about_the_rest():
    drawn = np.random.default_rng(1).random((25, 2)).tolist()
    search = [({"x": x, "y": y, "kind": "c", "z": 0.5}, (x - 0.6) ** 2) for x, y in drawn]
    transfer = transfer_of([search], choices)
    hp = kt.HyperParameters()
    choices(hp)
    for kind in ("a", "b"):
        some = [{"x": x, "y": 0.5, "kind": kind, "z": 0.5} for x in np.linspace(0, 1, 21).tolist()]
        points = np.array([space_of(hp).encode(values) for values in some])
        assert abs(some[transfer.predict(points).argmin()]["x"] - 0.6) < 0.15


def test_a_space_shares_nothing_with_a_trial_without_its_hyperparameters():
    hp = kt.HyperParameters()
    declare(hp)
    hp.Fixed("fixed", 1)
    assert shared(space_of(hp), {"layers": 3, "fixed": 1}) is None


def test_a_search_with_too_few_trials_is_left_out():
    transfer = transfer_of([random_search(MIDDLE, 1, trials=2), random_search(MIDDLE, 1, trials=3)])
    assert [search.name for search in transfer.searches] == ["prior 1"]


@pytest.mark.parametrize("wrong", [[3], [({"x": 1}, "high")], [({"x": 1}, float("nan"))], [(1, 2)]])
def test_trials_of_another_form_are_rejected_by_name(wrong, tmp_path):
    with pytest.raises(ValueError, match=r"prior parameter .* as trial 0 of search 1 instead\."):
        oracle_in(tmp_path, "gp", prior=[[], wrong])


def test_a_users_own_first_trials_come_before_the_earlier_searches(tmp_path):
    oracle = oracle_in(tmp_path, "prior", first=[{"rate": 0.5}])
    mine, earlier_one = (step(oracle) for _ in range(2))
    assert (mine["rate"], FROM in mine, FROM in earlier_one) == (0.5, False, True)


def test_a_resumed_search_has_the_past_that_it_began_with(tmp_path):
    whole = run(oracle_in(tmp_path / "whole", "prior", saved=True))
    begun = oracle_in(tmp_path / "s", "prior", saved=True)
    list(itertools.islice(iter(lambda: step(begun), None), 4))
    again = oracle_in(tmp_path / "s", "gp", saved=True)  # the earlier searches are gone, say
    again.reload()
    assert [*(t.hyperparameters.values for t in again.trials.values()), *run(again)] == whole
    assert again.prior == begun.prior


def test_without_a_surrogate_the_first_trials_are_of_earlier_searches_too(tmp_path):
    oracle = oracle_in(tmp_path, "plain", prior=[earlier()])
    assert FROM in step(oracle, loss_of)


def by_hand(oracle, values, score):
    """A trial as KerasTuner's users put one into `trials`, with an id of its own."""
    trial = Trial(copied(oracle.hyperparameters, values), status="COMPLETED")
    trial.score = score
    oracle.trials[trial.trial_id] = trial


def test_trials_that_were_put_into_the_oracle_by_hand_are_seen_and_saved(new, reloaded):
    oracle = new(saved=True)
    warm = earlier(trials=6)
    for values, score in warm:
        by_hand(oracle, values, score)
    best, _ = min(warm, key=lambda pair: pair[1])
    step(oracle)
    assert list(oracle.trials) == ["00", "01", "02", "03", "04", "05", "06"]
    assert oracle.get_best_trials()[0].hyperparameters.values["rate"] == best["rate"]
    assert len(run(oracle)) == 3  # they count
    again = [t.hyperparameters.values for t in reloaded(saved=True).trials.values()]
    assert [{n: v for n, v in one.items() if n in warm[0][0]} for one in again[:6]] == [
        values for values, _ in warm
    ]


def test_trials_by_hand_without_a_score_are_removed(new):
    oracle = new()
    by_hand(oracle, earlier()[0][0], None)
    step(oracle)
    assert list(oracle.trials) == ["00"]
