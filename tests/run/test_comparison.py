import base64

import numpy as np
import pytest
from mlflow import MlflowClient

import kbn
from kbn.errors import NoResultError, RecipeError
from kbn.recipe.data import DatasetSpec
from kbn.recipe.loading import load_recipe
from kbn.report.results import Results
from kbn.run.comparison import report_comparison
from kbn.run.project import Project
from kbn.run.watch import Watch


@pytest.fixture
def recipe() -> kbn.Recipe:
    return kbn.Recipe(
        name="both",
        dataset={"name": "iris"},
        model={"name": "mlp"},
        objective={"metric": "val_accuracy", "direction": "max"},
        search={"trials": 2, "epochs": 1, "seed": 5, "tuner": "random"},
        space={
            "learning_rate": {"type": "float", "low": 0.01, "high": 0.5, "scale": "log"},
            "layers": 1,
        },
        tracking={"enabled": False},
        compare={
            "seeds": 2,
            "variants": {"plain": {}, "norm": {"model.norm.position": "after_activation"}},
            "distribution": {"epochs": 1, "values": {"learning_rate": 0.1}},
        },
    )


@pytest.mark.slow
def test_every_variant_is_searched_with_every_seed_and_the_report_compares_them(
    recipe, workspace, monkeypatch
):
    compared = kbn.compare(recipe)
    assert compared.report.exists()
    project = workspace / "searches" / "both"
    for variant in ("plain", "norm"):
        for seed in (0, 1):
            read = Results.read(project / f"both-{variant}-{seed}", "max")
            assert compared.searches[variant][seed].as_json() == read.as_json()
            assert len(read.finished) == 2
    shapes = {name: array.shape for name, array in compared.comparison.distribution.items()}
    assert shapes == {"plain": (4, 3), "norm": (4, 3)}  # 120 examples in batches of 32
    below, middle, above = np.moveaxis(compared.comparison.distribution["norm"], 1, 0)
    assert (below <= middle).all()
    assert (middle <= above).all()
    assert not list(project.rglob("*.h5"))  # no model is wanted
    assert repr(compared).startswith("<Compared both: norm ")
    (row, _) = compared.comparison.table()
    page = compared._repr_html_()
    assert f"<td>plain</td><td>{str(row.mean).partition(' ')[0]}</td>" in page
    figure = (project / "figures" / "measures.png").read_bytes()
    assert base64.b64encode(figure).decode() in page

    again = kbn.compare(recipe)  # nothing is left to do
    assert again.searches["norm"][1].as_json() == compared.searches["norm"][1].as_json()

    # what only draws trains nothing, also where a file is damaged or was never written
    (file,) = project.glob("distribution-*.npz")
    monkeypatch.setattr("kbn.run.probe.percentiles", None)
    found = {path.name: Results.read(path, "max") for path in project.glob("both-*")}
    for content in (file.read_bytes()[:-100], b""):
        file.write_bytes(content)
        assert report_comparison(Project(recipe), found).comparison.distribution is None


@pytest.mark.slow
def test_in_mlflow_all_runs_of_a_comparison_have_the_tag_of_their_variant(recipe, workspace):
    alone = recipe.compare.model_copy(update={"seeds": 1, "distribution": None})
    tracked = recipe.tracking.model_copy(update={"enabled": True})
    kbn.compare(recipe.model_copy(update={"compare": alone, "tracking": tracked}))
    store = MlflowClient(f"sqlite:///{workspace}/mlflow.db")
    runs = store.search_runs([store.get_experiment_by_name("both").experiment_id])
    tags = sorted((run.data.tags["kbn.variant"], run.data.tags["kbn.seed"]) for run in runs)
    assert tags == [("norm", "5")] * 3 + [("plain", "5")] * 3  # a parent and two trials each


@pytest.mark.slow
def test_anew_all_searches_of_a_comparison_are_removed_before_the_first_is_run(recipe, workspace):
    class Stops(Watch):
        def began(self, trial, values):
            raise KeyboardInterrupt

    plain = recipe.compare.model_copy(update={"distribution": None, "seeds": 1})
    recipe = recipe.model_copy(update={"compare": plain})
    kbn.compare(recipe)
    other = recipe.model_copy(update={"dataset": DatasetSpec(name="wine")})
    with pytest.raises(RecipeError, match=r"dataset\.name"):
        kbn.compare(other)
    with pytest.raises(KeyboardInterrupt):
        kbn.compare(other, fresh=True, watch=Stops())
    Project(other).check_unchanged()  # it can go on
    project = workspace / "searches" / "both"
    assert {path.name for path in project.iterdir()} == {"lock", "both-plain-0"}


def test_one_search_is_not_compared_and_a_comparison_is_not_one_search(recipe, workspace):
    with pytest.raises(
        RecipeError, match=r"compare: kbn\.tune runs a single search. Call kbn\.com"
    ):
        kbn.tune(recipe)
    with pytest.raises(RecipeError, match=r"compare: kbn\.compare needs .* Call kbn\.tune"):
        kbn.compare(recipe.model_copy(update={"compare": None}))
    assert list(workspace.iterdir()) == []


def test_variants_differ_in_what_they_say_and_share_the_rest(recipe):
    (plain, other), norms = recipe.variants["plain"], recipe.variants["norm"]
    assert (plain.model.norm, norms[0].model.norm.position) == (None, "after_activation")
    assert [each.search.seed for each in (plain, other, *norms)] == [5, 6, 5, 6]
    assert {each.tracking.experiment for each in (plain, other, *norms)} == {"both"}
    assert norms[0].space == plain.space == recipe.space


def test_a_wrong_variant_is_told_at_its_line_before_anything_runs(tmp_path, recipe_file):
    recipe_file.write_text(
        recipe_file.read_text()
        + "compare:\n"
        + "  seeds: 2\n"
        + "  variants:\n"
        + "    log: {}\n"
        + "    linear:\n"
        + "      space.learning_rate.scale: liner\n"
    )
    with pytest.raises(RecipeError) as caught:
        load_recipe(recipe_file)
    (fault,) = map(str, caught.value.faults)
    assert fault == (
        f"{recipe_file}:15: compare.variants.linear.space.learning_rate.scale: must be one of the "
        "known words; got 'liner'. Did you mean linear?"
    )


@pytest.mark.slow
def test_a_search_without_a_finished_trial_ends_the_comparison_unless_shares_are_compared(
    recipe, workspace, monkeypatch
):
    def fail(*_, **__):
        raise MemoryError("too many units")

    monkeypatch.setattr("kbn.run.hypermodel.RecipeModel.fit", fail)
    plain = recipe.compare.model_copy(update={"distribution": None})
    with pytest.raises(NoResultError, match="none of 2 trials finished"):
        kbn.compare(recipe.model_copy(update={"compare": plain}))
    shares = plain.model_copy(update={"threshold": 0.9})
    compared = kbn.compare(recipe.model_copy(update={"compare": shares}), fresh=True)
    assert not any(search.finished for s in compared.searches.values() for search in s)
