"""What a search begins with, and what ends it before its last trial."""

import numpy as np
import pytest

import kbn
from kbn.errors import RecipeError
from kbn.run.preflight import prepare
from kbn.run.project import Project
from kbn.run.tuner import RecipeTuner
from kbn.run.watch import Watch


def recipe(tuner="coarse_to_fine", **search):
    return kbn.Recipe(
        name="limited",
        dataset={"name": "iris"},
        model={"name": "softmax"},
        objective={"metric": "val_accuracy"},
        search={"trials": 5, "epochs": 2, "seed": 1, "tuner": tuner, **search},
        space={
            "learning_rate": {"type": "float", "low": 1e-4, "high": 1.0, "scale": "log"},
            "optimizer": {"type": "choice", "values": ["sgd", "adam"]},
            "momentum": {"type": "float", "low": 0.5, "high": 0.9, "when": {"optimizer": "sgd"}},
        },
        tracking={"enabled": False},
    )


class Reasons(Watch):
    def __init__(self):
        self.all = []

    def stopped(self, reason):
        self.all.append(reason)


@pytest.mark.slow
@pytest.mark.parametrize("tuner", ["coarse_to_fine", "random", "grid"])
def test_the_first_trials_are_those_that_a_recipe_gives(tuner, workspace):
    first = [
        {"learning_rate": 1, "optimizer": "sgd", "momentum": 0.875},
        {"learning_rate": 0.001953125},
    ]
    tuned = kbn.tune(recipe(tuner, trials=3, first=first))
    rows = tuned.trials.to_dict("records")
    assert (rows[0]["learning_rate"], rows[0]["momentum"]) == (1.0, 0.875)
    assert rows[1]["learning_rate"] == 0.001953125
    assert rows[1]["optimizer"] in ("sgd", "adam")
    assert "whose values were given" in tuned.report.read_text()


@pytest.mark.slow
def test_a_search_ends_with_the_first_score_that_is_good_enough(workspace):
    watch = Reasons()
    tuned = kbn.tune(recipe(until={"val_accuracy": 0.01}), watch=watch)
    assert len(tuned.trials) == 1
    assert watch.all == ["val_accuracy is as good as 0.01"]
    again = kbn.tune(recipe(until={"val_accuracy": 0.01}), watch=watch)  # nothing more is run
    assert len(again.trials) == 1
    watch.all.clear()
    assert len(kbn.tune(recipe(until={"val_accuracy": 1.0}), fresh=True, watch=watch).trials) == 5
    assert watch.all == []


@pytest.mark.slow
def test_a_search_ends_when_its_hours_are_over_those_of_earlier_sessions_included(workspace):
    kbn.tune(recipe(trials=1))
    watch = Reasons()
    assert len(kbn.tune(recipe(hours=1e-6), watch=watch).trials) == 1
    assert watch.all == ["its trials have taken 1e-6 hours"]
    assert len(kbn.tune(recipe(trials=2, hours=1.0), watch=watch).trials) == 2
    assert len(watch.all) == 1


FAULTS = {
    "an unknown name": ({"first": [{"rate": 0.1}]}, "search.first.0.rate: must name a hyper"),
    "a value out of range": (
        {"first": [{"learning_rate": 2.0}]},
        "search.first.0.learning_rate: must be a number in [0.0001, 1.0]; got 2.0.",
    ),
    "an unknown choice": (
        {"first": [{"optimizer": "lion"}]},
        "search.first.0.optimizer: must be one of sgd, adam; got 'lion'.",
    ),
    "an inactive value": (
        {"first": [{"optimizer": "adam", "momentum": 0.8}]},
        "search.first.0.momentum: is inactive where optimizer is adam; got 0.8. Remove it.",
    ),
    "a value whose parent is missing": (
        {"first": [{"momentum": 0.8}]},
        "search.first.0.momentum: needs optimizer, on which it depends; got 0.8. "
        "Add optimizer: sgd.",
    ),
    "more values than trials": (
        {"first": [{}] * 6},
        "search.first: may have at most as many values as there are trials, 5; got 6 of them.",
    ),
    "another metric": (
        {"until": {"val_loss": 0.1}},
        "search.until.val_loss: must name the objective, val_accuracy; got 'val_loss'.",
    ),
    "no time at all": ({"hours": 0.0}, "search.hours: must be greater than 0; got 0.0."),
}


@pytest.mark.parametrize(("search", "line"), FAULTS.values(), ids=FAULTS)
def test_limits_that_cannot_be_kept_are_faults_of_the_recipe(search, line, workspace):
    given = {**recipe().model_dump(), "search": {**recipe().search.model_dump(), **search}}
    with pytest.raises(RecipeError) as caught:
        kbn.tune(given)
    assert [line in str(fault) for fault in caught.value.faults] == [True], caught.value


@pytest.mark.slow
def test_only_the_best_trials_checkpoints_stay_and_a_dropped_one_is_trained_again(workspace):
    tuned = kbn.tune(recipe(trials=5, keep=2, epochs=3))
    home = workspace / "searches" / "limited"
    stay = {file.parent.name for file in home.glob("trial_*/checkpoint.weights.h5")}
    ranked = [f"trial_{trial.trial}" for trial in tuned.results.ranked]
    assert stay == set(ranked[:2])

    project = Project(recipe(trials=5, keep=2, epochs=3))
    dataset = prepare(project.recipe)
    tuner = RecipeTuner(project.recipe, dataset, project.path)
    for trial in tuned.results.ranked[1:3]:  # one that is there, and one that is not
        model = tuner.load_model(tuner.oracle.get_trial(trial.trial))
        found = model.evaluate(dataset.x_val, dataset.y_val, verbose=0, return_dict=True)
        assert found["accuracy"] == pytest.approx(trial.score, abs=1e-6)


@pytest.mark.slow
def test_a_training_that_takes_too_long_ends_and_is_scored_as_it_is(workspace):
    tuned = kbn.tune(recipe(trials=1, epochs=50, trial_timeout=1e-3))
    (trial,) = tuned.results.trials
    assert (trial.status, [epoch.epoch for epoch in trial.epochs]) == ("COMPLETED", [0])
    assert trial.score == trial.epochs[0].metrics["val_accuracy"]


@pytest.mark.slow
def test_executions_train_a_trial_from_other_weights_and_their_mean_is_its_score(workspace):
    tuned = kbn.tune(recipe(trials=2, executions=3))
    again = kbn.tune(recipe(trials=2, executions=3), directory=workspace / "again")
    for trial, other in zip(tuned.results.trials, again.results.trials, strict=True):
        best = [
            max(e.metrics["val_accuracy"] for e in trial.epochs if e.execution == number)
            for number in range(3)
        ]
        losses = {e.metrics["loss"] for e in trial.epochs if e.epoch == 0}
        assert len(losses) == 3
        assert trial.score == pytest.approx(np.mean(best))
        assert trial.score == other.score
