import statistics

import numpy as np

from kbn.search.ranking import REPEATS, Ranking, best_first


def test_the_best_scores_come_first_and_the_older_of_equals():
    trials = [("0", {}, 0.5), ("1", {}, 0.9), ("2", {}, 0.5)]
    assert best_first(trials, "max") == ["1", "0", "2"]
    assert best_first(trials, "min") == ["0", "2", "1"]


def test_a_trial_that_trained_longer_precedes_one_with_a_better_score():
    trials = [("0", {"tuner/epochs": 3}, 0.9), ("1", {"tuner/epochs": 9}, 0.8)]
    assert best_first(trials, "max") == ["1", "0"]


def test_a_repeated_trial_counts_with_the_mean_of_its_scores_and_so_do_its_repeats():
    lucky = [("0", {}, 0.9), ("1", {}, 0.8), ("2", {REPEATS: "0"}, 0.6)]
    assert best_first(lucky, "max") == ["1", "0", "2"]
    again = [*lucky, ("3", {REPEATS: "0"}, 0.95)]
    assert best_first(again, "max") == ["0", "2", "3", "1"]


def test_trials_may_be_added_in_any_order_and_one_by_one():
    rng = np.random.default_rng(0)
    trials = []
    for number in range(60):
        values = {"tuner/epochs": int(rng.integers(1, 4))}
        if number > 20 and rng.random() < 0.4:
            values[REPEATS] = str(rng.integers(20))
        trials.append((str(number), values, float(rng.integers(10))))
    scores = {}
    for trial_id, values, score in trials:
        scores.setdefault(values.get(REPEATS, trial_id), []).append(score)
    means = [statistics.fmean(scores[values.get(REPEATS, name)]) for name, values, _ in trials]
    epochs = [values["tuner/epochs"] for _, values, _ in trials]
    for direction, sign in (("max", -1), ("min", 1)):
        expected = np.lexsort((np.arange(60), sign * np.array(means), -np.array(epochs)))
        ranking = Ranking(direction)
        for number in rng.permutation(60):
            ranking.add(*trials[number], int(number))
        assert ranking.first(60) == best_first(trials, direction) == [str(n) for n in expected]
        assert ranking.first(3) == ranking.first(60)[:3]
