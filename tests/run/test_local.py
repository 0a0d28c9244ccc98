import pytest
from mlflow import MlflowClient

import kbn
from kbn.errors import KbnError, NoResultError, RecipeError
from kbn.recipe.sections import FinalSpec
from kbn.report.results import Results
from kbn.run.local import Watch


@pytest.fixture
def recipe() -> kbn.Recipe:
    return kbn.Recipe(
        name="quick",
        dataset={"name": "iris"},
        model={"name": "softmax"},
        objective={"metric": "val_loss", "direction": "min"},
        search={"trials": 2, "epochs": 2},
        space={"learning_rate": {"type": "float", "low": 0.01, "high": 1, "scale": "per_decade"}},
        tracking={"enabled": False},
    )


class Told(Watch):
    """Remembers what it is told."""

    def __init__(self):
        self.ends, self.epochs, self.begins = [], [], []

    def began(self, trial, values, rounds):
        self.begins.append((trial, values["learning_rate"], len(rounds)))

    def epoch(self, trial, epochs, metrics):
        self.epochs.append((trial, epochs, metrics["val_loss"]))

    def ended(self, results, trial):
        self.ends.append(len(results.trials))


def longer(recipe, **search):
    return recipe.model_copy(update={"search": recipe.search.model_copy(update=search)})


def test_a_recipe_in_python_gives_its_trials_and_the_best_of_them(recipe, workspace):
    told = Told()
    tuned = kbn.tune(recipe, watch=told)
    assert told.ends == [1, 2]
    assert told.begins == [
        (t.trial, t.values["learning_rate"], rounds)
        for t, rounds in zip(tuned.results.trials, (1, 2), strict=True)
    ]
    assert told.epochs == [
        (t.trial, e.epoch + 1, e.metrics["val_loss"])
        for t in tuned.results.trials
        for e in t.epochs
    ]
    assert tuned.values == tuned.best.values
    assert list(tuned.trials["score"]) == [t.score for t in tuned.results.trials]
    assert tuned.best_model().input_shape == (None, 4)
    assert tuned.report.suffix == ".html"
    assert tuned.best.score == min(trial.score for trial in tuned.results.trials)
    assert tuned.best.score == min(e.metrics["val_loss"] for e in tuned.best.epochs)
    assert 0.01 <= tuned.best.values["learning_rate"] <= 1
    assert not (workspace / "mlflow.db").exists()  # tracking was off

    kbn.tune(longer(recipe, trials=3), watch=told)
    assert told.ends == [1, 2, 3]  # it went on

    with pytest.raises(
        RecipeError, match=r"search.epochs: must stay as in the search so far, 2; got 5"
    ):
        kbn.tune(longer(recipe, epochs=5))
    anew = kbn.tune(longer(recipe, epochs=5, trials=1), fresh=True)
    assert len(anew.results.trials) == 1


def test_one_search_runs_in_one_process(recipe, workspace):
    class StartsAnother(Watch):
        def ended(self, results, trial):
            with pytest.raises(KbnError, match="searches/quick: a search may run in one process"):
                kbn.tune(recipe)

    kbn.tune(longer(recipe, trials=1), watch=StartsAnother())


def test_what_is_wrong_with_the_data_is_told_before_anything_is_written(recipe, workspace):
    tiny = recipe.dataset.model_copy(update={"validation": 0.001})
    with pytest.raises(RecipeError, match=r"dataset.validation: must leave examples"):
        kbn.tune(recipe.model_copy(update={"dataset": tiny}))
    assert list(workspace.iterdir()) == []
    assert len(kbn.tune(recipe).results.trials) == 2  # the mended recipe is not held against it


def test_the_best_model_trained_anew_is_tested_and_tracked_with_the_report(recipe, workspace):
    dataset = recipe.dataset.model_copy(update={"test": 0.2})
    final = recipe.search.model_copy(update={"trials": 1, "final": FinalSpec(refit=True)})
    tracked = recipe.tracking.model_copy(update={"enabled": True})
    changed = {"dataset": dataset, "search": final, "tracking": tracked}
    tuned = kbn.tune(recipe.model_copy(update=changed))
    assert tuned.test.keys() == {"test_accuracy", "test_loss"}
    assert Results.test_scores(workspace / "searches" / "quick", tuned.best.trial) == tuned.test

    store = MlflowClient(f"sqlite:///{workspace}/mlflow.db")
    (experiment,) = store.search_experiments(filter_string="name = 'quick'")
    runs = store.search_runs([experiment.experiment_id])
    (parent,) = (run for run in runs if "mlflow.parentRunId" not in run.data.tags)
    assert parent.data.metrics["test_accuracy"] == pytest.approx(tuned.test["test_accuracy"])
    files = {file.path for file in store.list_artifacts(parent.info.run_id)}
    assert {"report.html", "report.png", "recipe.resolved.json"} <= files


def test_a_search_without_a_finished_trial_says_why(recipe, workspace, monkeypatch):
    def fail(*_, **__):
        raise MemoryError("too many units")

    monkeypatch.setattr("kbn.run.plan.RecipeModel.fit", fail)
    with pytest.raises(
        NoResultError, match=r"none of 2 trials finished; .*: MemoryError: too many"
    ):
        kbn.tune(recipe)
