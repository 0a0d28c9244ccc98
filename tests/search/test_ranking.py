from kbn.search.ranking import REPEATS, best_first


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
