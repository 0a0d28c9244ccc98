import dataclasses

import pytest

from kbn.report.agreement import AGREES, LESS, MORE, UNDECIDED, agreement
from kbn.report.findings import edge, findings
from kbn.report.results import Results
from kbn.search.axes import Discrete, Grid, Numeric, Stepped
from kbn.search.scales import COMPLEMENT_LOG, LOG
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
    sentences = [sentence for sentence in findings(search) if "edge" not in sentence][1:]
    assert sentences == [
        "rate mattered most: 60 % of the hyperparameters' individual effects (90 % interval 50 % "
        "to 70 %); then momentum (25 %), optimizer (10 %); 1 cannot be distinguished from "
        "hyperparameters without effect.",
        "In line with what was believed: rate (tier 1).",
        "More important than believed: momentum (tier 3).",
        "Less important than believed: optimizer (tier 2).",
    ]
    nothing = importance_of(rate=(0.0, 0.0, 1.0), units=(0.0, 0.0, 1.0))
    search = dataclasses.replace(search, importance=nothing)
    assert "The trials do not show which hyperparameters matter." in findings(search)


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


@pytest.mark.parametrize(
    ("axis", "value", "end"),
    [
        (Numeric("a", 1e-4, 1.0, LOG), 1.1e-4, 1e-4),
        (Numeric("a", 1e-4, 1.0, LOG), 0.9, 1.0),
        (Numeric("a", 1e-4, 1.0, LOG), 0.5, None),  # near it on a linear scale only
        (Numeric("a", 0.5, 0.999, COMPLEMENT_LOG), 0.99, None),
        (Numeric("a", 0.5, 0.999, COMPLEMENT_LOG), 0.9989, 0.999),
        (Numeric("a", 2, 6, integer=True), 6, 6),
        (Numeric("a", 2, 6, integer=True), 5, None),
        (Numeric("a", 0.0, 1.0), 0.0, None),  # nothing lies beyond 0
        (Numeric("a", 2.0, 2.0), 2.0, None),
        (Stepped("a", Grid(0.1, 0.1, 5)), 0.5, 0.5),
        (Discrete("a", (16, 32, 64), ordered=True), 64, 64),
        (Discrete("a", (16, 32, 64), ordered=True), 32, None),
        (Discrete("a", (16, 32), ordered=True), 32, None),  # one of two is always an end
        (Discrete("a", ("x", "y", "z")), "z", None),
    ],
)
def test_a_value_at_the_end_of_its_range_is_found(axis, value, end):
    assert edge(axis, value) == end


def test_a_best_value_at_an_edge_asks_for_a_wider_range():
    best = trial(0, {"rate": 0.99, "optimizer": "adam", "dropout": 0.2}, 0.9)
    sentences = findings(search_of(Results((best,), "max")))
    assert sentences[1:] == ["The best rate is at the edge of its range, 1: widen it."]
