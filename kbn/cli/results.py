"""`kbn best`, `report` and `export`: what a search found."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kbn.cli import console
from kbn.cli.command import Command, as_json, debug, overrides_argument, recipe_argument
from kbn.cli.process import settle_libraries
from kbn.cli.searches import Search, begun

if TYPE_CHECKING:
    from kbn.recipe.schema import Recipe
    from kbn.report.results import Results


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
    from kbn.recipe.loading import load_recipe

    loaded = load_recipe(recipe, overrides)
    rows = [_row(*found) for found in begun(loaded) if found[1].finished]
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
    from kbn.recipe.loading import load_recipe

    loaded = load_recipe(recipe, overrides)
    found = begun(loaded)
    settle_libraries()
    page = _draw(loaded, found)
    if as_json:
        figures = sorted(str(file) for file in page.parent.glob("figures/*.png"))
        console.show_json({"report": str(page), "figures": figures})
    else:
        console.show(str(page))


def _row(search: Search, results: Results) -> dict[str, Any]:
    """The best trial of a search."""
    (recipe, project), trial = search, results.ranked[0]
    return {
        "name": recipe.name,
        "trial": trial.trial,
        "score": trial.score,
        "test": dict(results.test_scores(project, trial.trial)),
        "values": trial.values,
        "directory": str(project),
    }


def _draw(recipe: Recipe, found: Sequence[tuple[Search, Results]]) -> Path:
    from kbn.run import comparing, saved
    from kbn.run.projects import project_of

    project = project_of(recipe.name)
    if recipe.compare is not None:
        return comparing.draw(
            recipe, project, {each.name: results for (each, _), results in found}
        ).report
    ((_, results),) = found
    return saved.draw(recipe, saved.load_oracle(recipe, project), project, results)[0]
