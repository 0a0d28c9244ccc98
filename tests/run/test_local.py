import pytest

import kbn
from kbn.errors import KbnError, NoResultError, RecipeError


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


def longer(recipe, **search):
    return recipe.model_copy(update={"search": recipe.search.model_copy(update=search)})


def test_a_recipe_in_python_gives_its_trials_and_the_best_of_them(recipe, workspace):
    told = []
    tuned = kbn.tune(recipe, on_trial=lambda results, _: told.append(len(results.trials)))
    assert told == [1, 2]
    assert tuned.best.score == min(trial.score for trial in tuned.results.trials)
    assert tuned.best.score == min(e.metrics["val_loss"] for e in tuned.best.epochs)
    assert 0.01 <= tuned.best.values["learning_rate"] <= 1
    assert not (workspace / "mlflow.db").exists()  # tracking was off

    kbn.tune(longer(recipe, trials=3), on_trial=lambda results, _: told.append(len(results.trials)))
    assert told == [1, 2, 3]  # it went on

    with pytest.raises(
        RecipeError, match=r"search.epochs: must stay as in the search so far, 2; got 5"
    ):
        kbn.tune(longer(recipe, epochs=5))
    kbn.tune(longer(recipe, epochs=5, trials=1), fresh=True, on_trial=lambda *_: told.append("new"))
    assert told == [1, 2, 3, "new"]


def test_one_search_runs_in_one_process(recipe, workspace):
    def start_another(*_):
        with pytest.raises(KbnError, match="searches/quick: a search may run in one process"):
            kbn.tune(recipe)

    kbn.tune(longer(recipe, trials=1), on_trial=start_another)


def test_data_that_cannot_be_split_is_a_fault_of_the_recipe(recipe, workspace):
    tiny = recipe.dataset.model_copy(update={"validation": 0.001})
    with pytest.raises(RecipeError, match=r"dataset.validation: must leave every class examples"):
        kbn.tune(recipe.model_copy(update={"dataset": tiny}))
    assert len(kbn.tune(recipe).results.trials) == 2  # the mended recipe is not held against it


def test_a_search_without_a_finished_trial_says_why(recipe, workspace, monkeypatch):
    def fail(*_, **__):
        raise MemoryError("too many units")

    monkeypatch.setattr("kbn.run.plan.RecipeModel.fit", fail)
    with pytest.raises(
        NoResultError, match=r"none of 2 trials finished; .*: MemoryError: too many"
    ):
        kbn.tune(recipe)
