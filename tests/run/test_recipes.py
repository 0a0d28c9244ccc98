"""The recipes that kbn ships: each is sound, and what the lesson says is in them."""

import re
import runpy
from pathlib import Path

import numpy as np
import pytest

from kbn.recipe.loading import load_recipe
from kbn.run.distribution import distribution, watch_distribution
from kbn.run.preflight import prepare
from kbn.tracking.journal import Journal

RECIPES = Path(__file__).parents[2] / "recipes"
FILES = {file.stem: file for file in sorted(RECIPES.rglob("*.yaml"))}
COMPARISONS = {
    "batchnorm_placement": ["none", "before", "after"],
    "batchnorm_regularization": ["whole_batch", "virtual_16", "small_batch", "dropout"],
    "batchnorm_robustness": ["without", "with"],
    "random_vs_grid": ["grid", "random"],
    "scales": ["log", "linear", "complement_log", "per_decade"],
}
# what the lesson believes of their importance
TIERS = {
    "learning_rate": 1,
    "momentum": 2, "batch_size": 2, "units": 2, "filters": 2,
    "layers": 3, "decay": 3,
}  # fmt: skip


@pytest.mark.parametrize("file", FILES.values(), ids=FILES)
class TestRecipe:
    @pytest.mark.slow
    def test_its_data_and_its_model_fit_each_other(self, file):
        dataset = prepare(load_recipe(file))
        assert len(dataset.y_train) > len(dataset.y_val) / 9 > 0

    def test_it_begins_with_what_it_shows_the_command_and_the_time_it_takes(self, file):
        about, command = file.read_text().splitlines()[:2]
        assert about.startswith("# ")
        assert about.endswith(".")
        tune = re.escape(f"#   kbn tune {file.stem}")
        assert re.fullmatch(tune + r" +# about [1-4] minutes? on 2 cores", command)

    def test_it_states_what_is_believed_of_importance(self, file):
        space = load_recipe(file).space
        searched = {name: spec.tier for name, spec in space.items() if spec.type != "fixed"}
        stated = {name: tier for name, tier in searched.items() if tier is not None}
        assert stated == {name: TIERS[name] for name in searched if name in TIERS}


def test_the_mlp_has_every_hyperparameter_of_the_lesson():
    space = load_recipe(FILES["digits_mlp"]).space
    assert {"learning_rate", "momentum", "batch_size", "units", "layers", "decay"} <= space.keys()
    assert {"beta_1", "beta_2", "adam_epsilon"} <= space.keys()
    assert space["momentum"].when == {"optimizer": "sgd"}
    assert space["beta_1"].when == {"optimizer": "adam"}


def test_the_comparisons_are_those_of_the_lesson():
    recipes = {name: load_recipe(file) for name, file in FILES.items()}
    assert {n: list(r.variants) for n, r in recipes.items() if r.compare} == COMPARISONS


@pytest.mark.parametrize("name", COMPARISONS)
def test_a_comparison_shares_data_and_trials_between_variants_and_repeats_them(name):
    recipe = load_recipe(FILES[name])
    seeds = [[each.search.seed for each in recipes] for recipes in recipe.variants.values()]
    assert all(own == seeds[0] for own in seeds)
    assert len(set(seeds[0])) == len(seeds[0]) >= 3
    for recipes in recipe.variants.values():
        for each in recipes:
            assert each.dataset == recipe.dataset
            assert each.search.trials == recipe.search.trials
            assert each.search.epochs == recipe.search.epochs


@pytest.mark.slow
def test_the_inputs_of_a_late_layer_are_watched_at_every_step(tmp_path):
    short = ["compare.distribution.epochs=1", "compare.distribution.values.layers=2"]
    recipe = load_recipe(FILES["batchnorm_robustness"], short)
    watch_distribution(recipe, tmp_path)
    watched = distribution(recipe, tmp_path)
    steps = -(-len(prepare(recipe).y_train) // recipe.space["batch_size"].value)
    for percentiles in watched.values():
        assert percentiles.shape == (steps, 3)
        assert (np.diff(percentiles) > 0).all()
    # normalized inputs have unit variance, and half of them on either side of about 0
    low, middle, high = watched["with"].mean(0)
    assert high - low == pytest.approx(2, abs=0.5)
    assert middle == pytest.approx(0, abs=0.5)


@pytest.mark.slow
def test_a_script_of_ones_own_has_every_trial_recorded(workspace, monkeypatch, capsys):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")  # MLflow takes seconds to begin
    script = RECIPES / "existing_tuner.py"
    monkeypatch.setattr("sys.argv", [str(script), "--trials", "2", "--epochs", "1"])
    runpy.run_path(str(script), run_name="__main__")
    assert "learning_rate" in capsys.readouterr().out  # KerasTuner's own summary

    trials = Journal(workspace / "searches" / "existing_tuner" / "journal").attempts()
    assert len(trials) == 2
    for trial in trials:
        assert trial.status == "COMPLETED"
        assert {"units", "learning_rate", "momentum"} <= trial.values.keys()
        assert 0 <= trial.score <= 1
