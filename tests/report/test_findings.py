import dataclasses

import pytest

from kbn.report.agreement import AGREES, LESS, MORE, UNDECIDED, agreement
from kbn.report.findings import findings
from kbn.report.results import Results
from report.builders import importance_of, results_of, search_of, trial


def test_the_outcome_names_the_best_trial_and_the_commonest_failure():
    search = search_of(results_of([0.5, None, 0.75, None]), metric="val_accuracy")
    sentences = findings(search)
    assert sentences[0] == (
        "2 of 4 trials finished. The best is trial 02: val_accuracy 0.75 (higher is better)."
    )
    assert sentences[1] == "2 failed; the commonest reason: ValueError: too large"


@pytest.mark.parametrize(
    ("scores", "given", "sentence"),
    [
        (
            [0.5, 0.7, None, 0.75],
            2,
            "That is 0.05 better than 0.7, the best score of the 2 first trials, whose values were "
            "given.",
        ),
        (
            [0.5, 0.25],
            1,
            "No trial is better than the best of the first trial, whose values were given.",
        ),
        ([None, 0.5], 1, None),
        ([0.5, 0.75], 0, None),
    ],
)
def test_the_gain_over_the_given_first_trials_is_reported(scores, given, sentence):
    found = findings(search_of(results_of(scores), given=given))
    assert [each for each in found if "were given" in each] == [sentence] * (sentence is not None)


def test_what_held_for_every_training_is_reported():
    training = {"optimizer": "adamw", "metrics": "auc, recall"}
    sentence = "Every training had: optimizer adamw; metrics auc, recall."
    assert sentence in findings(search_of(results_of([0.5]), training=training))


def test_running_trials_and_searches_without_a_score_are_reported():
    trials = (trial(0, {}, None, None), trial(1, {}, None, "FAILED", "OSError: disk"))
    assert findings(search_of(Results(trials, "min"))) == [
        "None of 2 trials finished: there is no score to compare.",
        "1 failed; the commonest reason: OSError: disk",
        "1 had not ended when this was written.",
    ]
    assert findings(search_of(Results((), "min"))) == [
        "No trial finished: there is no score to compare."
    ]


def test_importance_is_reported_with_what_was_believed():
    found = importance_of(
        rate=(0.6, 0.5, 0.7),
        momentum=(0.25, 0.2, 0.3),
        optimizer=(0.1, 0.05, 0.15),
        units=(0.05, 0, 0.1),
    )
    tiers = {"rate": 1, "optimizer": 2, "momentum": 3}
    search = search_of(results_of([0.5, 0.6]), importance=found, tiers=tiers)
    assert findings(search)[1:] == [
        "rate mattered most: 60 % of the hyperparameters' individual effects (90 % interval 50 % "
        "to 70 %); then momentum (25 %), optimizer (10 %); 1 cannot be told from "
        "hyperparameters without effect.",
        "In line with what was believed: rate (tier 1).",
        "More important than believed: momentum (tier 3).",
        "Less important than believed: optimizer (tier 2).",
    ]


@pytest.mark.parametrize(
    "shares",
    [
        {"rate": (0.0, 0.0, 1.0), "units": (0.0, 0.0, 1.0)},
        {"rate": (0.9, 0.0, 1.0), "units": (0.1, 0.0, 1.0)},
        {"rate": (0.9, 0.004, 1.0), "units": (0.1, 0.0, 1.0)},  # printed as 0 %
    ],
)
def test_nothing_mattered_most_where_the_interval_reaches_what_no_effect_would_have(shares):
    search = search_of(results_of([0.5, 0.6]), importance=importance_of(**shares))
    said = findings(dataclasses.replace(search, tiers={"rate": 1}))
    assert said[1:] == [
        "The trials do not show which hyperparameters matter: none can be told from one without "
        "effect."
    ]


def test_what_another_may_equal_only_seems_to_have_mattered_most():
    found = importance_of(rate=(0.6, 0.2, 0.9), units=(0.4, 0.1, 0.5))
    said = findings(search_of(results_of([0.5, 0.6]), importance=found))[1]
    assert said.startswith("rate seems to have mattered most: 60 % of")
    assert said.endswith("(90 % interval 20 % to 90 %); then units (40 %).")


def test_the_test_scores_of_the_final_model_are_reported():
    search = search_of(results_of([0.5, 0.6]), test={"test_loss": 0.25, "test_accuracy": 0.91})
    assert findings(search)[1] == (
        "Trained anew on all but the test part, the best trial's model has test_loss 0.25, "
        "test_accuracy 0.91."
    )


@pytest.mark.parametrize(
    ("metric", "of_the_best"),
    [
        ("val_mae", ", in which the best has val_mae 40, test_mae 32"),
        ("val_loss", ", in which the best has test_mae 32"),
    ],
)
def test_errors_of_a_standardized_target_are_told_in_its_own_unit(metric, of_the_best):
    results = results_of([0.5, 0.6], "min")
    test = {"test_loss": 0.2, "test_mae": 0.4}
    said = findings(search_of(results, metric=metric, deviation=80.0, test=test))
    assert said[2] == (
        "The target was standardized, and all scores are of the standardized one: an error of 1 "
        f"is 80 in the target's own unit{of_the_best}."
    )


@pytest.mark.parametrize(
    ("shares", "tiers", "verdicts"),
    [
        # in the believed order
        ({"a": (0.7, 0.6, 0.8), "b": (0.3, 0.2, 0.4)}, {"a": 1, "b": 2}, (AGREES, AGREES)),
        # in the other, and the intervals part them
        ({"a": (0.7, 0.6, 0.8), "b": (0.3, 0.2, 0.4)}, {"a": 2, "b": 1}, (MORE, LESS)),
        # in the other, but the intervals overlap
        ({"a": (0.6, 0.3, 0.8), "b": (0.4, 0.2, 0.7)}, {"a": 2, "b": 1}, (UNDECIDED, UNDECIDED)),
        # of one tier: no order is believed
        ({"a": (0.7, 0.6, 0.8), "b": (0.3, 0.2, 0.4)}, {"a": 3, "b": 3}, (AGREES, AGREES)),
        # neither can be told from no effect
        ({"a": (0.7, 0.0, 0.8), "b": (0.3, 0.0, 0.4)}, {"a": 1, "b": 2}, (UNDECIDED, UNDECIDED)),
        # nothing was measured
        ({"a": (0.0, 0.0, 1.0), "b": (0.0, 0.0, 1.0)}, {"a": 1, "b": 2}, (UNDECIDED, UNDECIDED)),
    ],
)
def test_a_belief_agrees_if_the_measured_order_has_the_hyperparameter_in_its_tier(
    shares, tiers, verdicts
):
    assert tuple(agreement(importance_of(**shares), tiers).values()) == verdicts


def test_only_what_was_believed_of_what_was_measured_has_a_verdict():
    found = importance_of(a=(0.7, 0.6, 0.8), b=(0.3, 0.2, 0.4))
    assert agreement(found, {"b": 1, "unknown": 2}) == {"b": AGREES}
    assert agreement(found, {}) == {}
