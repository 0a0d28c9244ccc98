import math

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from sklearn.tree import DecisionTreeRegressor

from kbn.search import importance
from kbn.search.importance import Importance, functional_anova


def shares_of(u, scores, categories=None, active=None, seed=0, names=None):
    """{name: Importance} of the axes, named by their index unless told otherwise."""
    d = u.shape[1]
    found = functional_anova(
        names or [str(j) for j in range(d)],
        u,
        scores,
        categories=np.zeros(d, int) if categories is None else np.array(categories),
        active=np.ones(u.shape, bool) if active is None else active,
        rng=np.random.default_rng(seed),
    )
    return {one.name: one for one in found}


def learning_rate_task(rng, n=100):
    """Loss by learning rate, momentum and decay; the first two interact as the step's length."""
    u = rng.random((n, 4))
    learning_rate = 1e-5 * 1e5 ** u[:, 0]
    momentum = 1 - 0.5 * 0.02 ** u[:, 1]
    decay = 1e-6 * 1e4 ** u[:, 2]
    step = np.log10(learning_rate / (1 - momentum))
    loss = np.tanh((step + 1) ** 2 / 8) + 0.045 * np.log10(decay / 1e-3) ** 2
    names = ["learning_rate", "momentum", "decay", "width"]
    return names, u, loss + 0.05 * rng.normal(size=n), [0, 0, 0, 0]


def mixed_task(rng, n=100):
    """Accuracy by optimizer (a choice), units (an integer on a log scale) and dropout."""
    u = rng.random((n, 3))
    optimizer = (u[:, 0] * 3).astype(int)
    u[:, 0] = (optimizer + 0.5) / 3
    units = np.round(8 * 64 ** u[:, 1])
    u[:, 1] = np.log(units / 8) / math.log(64)
    dropout = 0.6 * u[:, 2]
    accuracy = np.array([0.3, 0.6, 0.4])[optimizer] + 0.4 * (1 - np.exp(-units / 60))
    accuracy -= (dropout - 0.2) ** 2 * (1 + (optimizer == 1))
    return ["optimizer", "units", "dropout"], u, accuracy + 0.03 * rng.normal(size=n), [3, 0, 0]


def optuna_shares(names, u, scores, categories):
    # In coordinates: Optuna takes the marginals over natural units even of log-scaled parameters.
    kinds = [
        CategoricalDistribution(range(count)) if count else FloatDistribution(0, 1)
        for count in categories
    ]
    study = optuna.create_study()
    for point, score in zip(u.tolist(), scores, strict=True):
        values = [
            int(x * count) if count else x for x, count in zip(point, categories, strict=True)
        ]
        trial = optuna.create_trial(
            params=dict(zip(names, values, strict=True)),
            distributions=dict(zip(names, kinds, strict=True)),
            value=score,
        )
        study.add_trial(trial)
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    return optuna.importance.get_param_importances(study, evaluator=evaluator)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("task", [learning_rate_task, mixed_task])
def test_shares_are_those_of_optunas_evaluator(task, seed):
    names, u, scores, categories = task(np.random.default_rng(seed))
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    theirs = optuna_shares(names, u, scores, categories)
    ours = shares_of(u, scores, categories, names=names)
    assert set(list(ours)[:2]) == set(list(theirs)[:2])
    for name in names:
        assert ours[name].share == pytest.approx(theirs[name], abs=0.1)


def test_main_effects_are_those_of_the_trees_predictions_on_a_grid():
    # coordinates (i + .5) / 4 split at multiples of 1/8, so a grid of eighths is exact
    rng = np.random.default_rng(0)
    u = np.column_stack([(rng.integers(4, size=(60, 2)) + 0.5) / 4, rng.random(60)])
    columns = importance._columns
    counts = [0, 0, 3]
    x = np.hstack([columns(u[:, j], count) for j, count in enumerate(counts)])
    model = DecisionTreeRegressor(random_state=0).fit(x, rng.normal(size=60))

    eighths, thirds = (np.arange(8) + 0.5) / 8, (np.arange(3) + 0.5) / 3
    points = np.stack(np.meshgrid(eighths, eighths, thirds, indexing="ij"), -1).reshape(-1, 3)
    grid = np.hstack([columns(points[:, j], count) for j, count in enumerate(counts)])
    predicted, leaf = model.predict(grid).reshape(8, 8, 3), model.apply(grid)

    leaves, low, high = importance._boxes(model.tree_)
    presence = rng.random((len(leaves), 3))
    axes = [importance._cells(low[:, part], high[:, part]) for part in ([0], [1], [2, 3, 4])]
    effects = importance._main_effects(model.tree_.value[leaves, 0, 0], axes, presence)
    for j in range(3):
        others = tuple({0, 1, 2} - {j})
        present = presence[np.searchsorted(leaves, leaf), j].reshape(8, 8, 3)
        weight = present.sum(others)
        marginal = (present * predicted).sum(others) / weight
        variance = np.average(
            (marginal - np.average(marginal, weights=weight)) ** 2, weights=weight
        )
        assert effects[j] == pytest.approx(present.mean() * variance, rel=1e-9)


def additive(n, seed, noise=0.1):
    """A sum of a choice, a line and a wave, an idle axis, and the variances of the three."""
    rng = np.random.default_rng(seed)
    u = rng.random((n, 4))
    levels = np.array([0.0, 1.0, 0.2, 0.9])  # not in order
    scores = levels[(u[:, 0] * 4).astype(int)] + 1.2 * u[:, 1] + 0.4 * np.sin(2 * np.pi * u[:, 2])
    variances = np.array([levels.var(), 1.2**2 / 12, 0.4**2 / 2, 0.0])
    return u, scores + noise * rng.normal(size=n), variances / variances.sum()


def test_shares_of_a_sum_are_its_terms_shares_of_the_variance():
    u, scores, truth = additive(500, seed=0)
    found = shares_of(u, scores, [4, 0, 0, 0])
    assert [found[str(j)].share for j in range(4)] == pytest.approx(truth, abs=0.06)


@pytest.mark.slow
def test_intervals_contain_the_truth_mostly_and_shrink_with_more_trials():
    hits, widths = np.zeros(4), {50: [], 200: []}
    for n, seed in [(50, seed) for seed in range(20)] + [(200, 0), (200, 1)]:
        u, scores, truth = additive(n, seed)
        found = shares_of(u, scores, [4, 0, 0, 0], seed=seed)
        low, high = np.array([(found[str(j)].low, found[str(j)].high) for j in range(4)]).T
        widths[n].append((high - low).mean())
        hits += (n == 50) & (low <= truth) & (truth <= high)
    assert (hits >= 16).all()
    assert max(widths[200]) < min(widths[50])


def test_a_function_of_one_hyperparameter_is_that_ones_alone():
    u = np.random.default_rng(0).random((60, 5))
    first, *others = shares_of(u, np.exp(3 * u[:, 2])).values()
    assert first.name == "2"
    assert first.share > 0.9
    assert first.low > 0.5
    assert all(one.low == 0.0 for one in others)


def test_of_scores_that_are_noise_no_hyperparameter_can_be_told_from_chance():
    rng = np.random.default_rng(0)
    found = shares_of(rng.random((80, 3)), rng.normal(size=80)).values()
    assert all(one.low == 0.0 for one in found)


@pytest.mark.parametrize("scores", [[], [0.7], [0.7] * 20])
def test_trials_that_tell_nothing_give_no_share_and_the_widest_interval(scores):
    u = np.random.default_rng(0).random((len(scores), 2))
    expected = {name: Importance(name, 0.0, 0.0, 1.0) for name in "01"}
    assert shares_of(u, np.array(scores)) == expected


def test_different_scores_at_one_point_tell_nothing():
    found = shares_of(np.full((5, 2), 0.3), np.arange(5.0))
    assert found == {name: Importance(name, 0.0, 0.0, 1.0) for name in "01"}


@pytest.mark.parametrize("n", [2, 3])
def test_two_or_three_trials_are_known_to_tell_little(n):
    rng = np.random.default_rng(0)
    found = list(shares_of(rng.random((n, 2)), rng.random(n)).values())
    assert sum(one.share for one in found) == pytest.approx(1)
    assert found[0].share >= found[1].share
    assert all(one.low == 0.0 and one.high > 0.9 for one in found)


def test_a_lone_hyperparameter_has_the_whole_share():
    u = np.random.default_rng(0).random((50, 1))
    (only,) = shares_of(u, u[:, 0] ** 2).values()
    assert only.share == pytest.approx(1)
    assert only.low > 0.9


def test_a_hyperparameter_of_one_value_has_no_share():
    u = np.random.default_rng(0).random((50, 3))
    u[:, 1] = 0.5
    found = shares_of(u, u.sum(axis=1), [0, 0, 1])
    assert found["1"] == Importance("1", 0.0, 0.0, 0.0)
    assert found["2"] == Importance("2", 0.0, 0.0, 0.0)


@pytest.mark.parametrize("power", [-60, 30])
def test_the_unit_of_the_scores_does_not_matter(power):
    u, scores, _ = additive(50, seed=0)
    assert shares_of(u, scores * 2.0**power) == shares_of(u, scores)


def test_a_seed_gives_the_same_result_and_another_seed_another():
    u, scores, _ = additive(50, seed=0)
    assert shares_of(u, scores, seed=3) == shares_of(u, scores, seed=3)
    assert shares_of(u, scores, seed=3) != shares_of(u, scores, seed=4)


def test_the_order_of_the_hyperparameters_matters_no_more_than_the_seed():
    u, scores, _ = additive(150, seed=0)
    order = [2, 3, 0, 1]
    found = shares_of(u, scores, [4, 0, 0, 0])
    permuted = shares_of(u[:, order], scores, [0, 0, 4, 0], seed=1, names=[str(j) for j in order])
    for name in found:
        assert permuted[name].share == pytest.approx(found[name].share, abs=0.03)


def conditional(n, seed, share_of_sgd):
    """Optimizer, learning rate and momentum, which only SGD has."""
    rng = np.random.default_rng(seed)
    u, sgd = rng.random((n, 3)), rng.random(n) < share_of_sgd
    u[:, 0] = np.where(sgd, 0.25, 0.75)
    scores = 0.6 * sgd + u[:, 1] + 2 * sgd * (u[:, 2] - 0.5) + 0.1 * rng.normal(size=n)
    return u, scores, np.column_stack([np.ones((n, 2), bool), sgd])


@pytest.mark.parametrize("share_of_sgd", [0.5, 0.75])
def test_a_conditional_hyperparameter_counts_where_it_is_active(share_of_sgd):
    # wherever the trials are, half of the space is SGD's
    u, scores, active = conditional(240, seed=0, share_of_sgd=share_of_sgd)
    found = shares_of(u, scores, [2, 0, 0], active)
    truth = np.array([0.3**2, 1 / 12, 0.5 * 2**2 / 12])
    shares = [found[str(j)].share for j in range(3)]
    assert shares == pytest.approx(truth / truth.sum(), abs=0.08)


def test_coordinates_of_inactive_hyperparameters_are_ignored():
    u, scores, active = conditional(40, seed=0, share_of_sgd=0.5)
    elsewhere = np.where(active, u, np.nan)
    assert shares_of(elsewhere, scores, [2, 0, 0], active) == shares_of(
        u, scores, [2, 0, 0], active
    )


def test_a_hyperparameter_that_no_trial_had_has_no_share():
    u, scores, active = conditional(40, seed=0, share_of_sgd=0.0)
    assert shares_of(u, scores, [2, 0, 0], active)["2"] == Importance("2", 0.0, 0.0, 0.0)


@pytest.mark.parametrize("score", [np.nan, np.inf])
def test_a_score_that_is_not_finite_is_rejected_with_a_hint(score):
    with pytest.raises(ValueError, match=r"must be finite.*worst finite score"):
        shares_of(np.zeros((2, 1)), np.array([1.0, score]))


def test_intervals_contain_the_share_even_if_few_trees_saw_the_one_bad_trial():
    u = np.random.default_rng(0).random((20, 25))
    found = shares_of(u, np.eye(20)[0]).values()
    assert all(0 <= one.low <= one.share <= one.high <= 1 for one in found)
