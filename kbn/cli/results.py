"""`kbn best`, `report` and `export`: what a search found."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kbn.cli import console
from kbn.cli.command import Command, as_json, debug, overrides_argument, recipe_argument
from kbn.cli.process import settle_libraries
from kbn.cli.searches import with_best

if TYPE_CHECKING:
    from kbn.recipe.schema import Recipe


@click.command(cls=Command)
@recipe_argument
@overrides_argument
@as_json
@debug
def best(recipe: str, overrides: tuple[str, ...], as_json: bool) -> None:
    """Print a search's best trial: its score and its values.

    \b
      kbn best recipes/digits_mlp.yaml
      kbn best recipes/digits_mlp.yaml --json
    """
    loaded, rows = _loaded(recipe, overrides)
    if as_json:
        console.show_json(rows if loaded.compare else rows[0])
        return
    for row in rows:
        score = f"{loaded.objective.metric} {console.score(row['score'])}"
        console.show(f"{row['name']}: best trial {row['trial']}  {score}", "bold green")
        console.show_values(row["test"] | row["values"])


@click.command(cls=Command)
@recipe_argument
@overrides_argument
@as_json
@debug
def report(recipe: str, overrides: tuple[str, ...], as_json: bool) -> None:
    """Write a search's report and print its path.

    \b
      kbn report recipes/digits_mlp.yaml
    """
    loaded, _ = _loaded(recipe, overrides)
    settle_libraries()
    page = _draw(loaded)
    if as_json:
        figures = sorted(str(file) for file in page.parent.glob("figures/*.png"))
        console.show_json({"report": str(page), "figures": figures})
    else:
        console.show(str(page))


def _loaded(recipe: str, overrides: tuple[str, ...]) -> tuple[Recipe, list[dict[str, Any]]]:
    """The recipe, and the best trial of each of its searches."""
    from kbn.recipe.loading import load_recipe

    loaded = load_recipe(recipe, overrides)
    rows = []
    for (each, project), results in with_best(loaded):
        trial = results.ranked[0]
        row = {"name": each.name, "trial": trial.trial, "score": trial.score}
        test = dict(results.test_scores(project, trial.trial))
        rows.append({**row, "test": test, "values": trial.values, "directory": str(project)})
    return loaded, rows


def _draw(recipe: Recipe) -> Path:
    from kbn.run import comparing, saved
    from kbn.run.projects import project_of

    project = project_of(recipe.name)
    if recipe.compare is not None:
        return comparing.draw(recipe, project).report
    return saved.draw(recipe, saved.load_oracle(recipe, project), project)[0]
