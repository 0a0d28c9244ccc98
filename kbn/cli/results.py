"""`kbn best`, `report` and `export`: what a search found."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kbn.cli import console
from kbn.cli.command import Command, as_json, debug, overrides_argument, recipe_argument
from kbn.cli.process import settle_libraries

if TYPE_CHECKING:
    from kbn.report.results import Results
    from kbn.run.project import Project


@click.command("best", cls=Command)
@recipe_argument
@overrides_argument
@click.option("--pareto", is_flag=True, help="Print the front: what no other trial dominates.")
@as_json
@debug
def best_command(recipe: str, overrides: tuple[str, ...], pareto: bool, as_json: bool) -> None:
    """Print a search's best trial: its score and its values.

    \b
      kbn best digits_mlp
      kbn best digits_mlp --json
      kbn best digits_small --pareto      of several objectives

    Of several objectives, the best trial is the feasible one that is best in the first; the front
    are all that no other trial dominates.
    """
    from kbn.cli.fronts import show_fronts
    from kbn.recipe.loading import load_recipe
    from kbn.run.project import Project

    loaded = load_recipe(recipe, overrides)
    found = Project(loaded).finished()
    if pareto:
        show_fronts(loaded, found, as_json=as_json)
        return
    rows = [_row(project, results) for project, results in found if results.finished]
    if as_json:
        console.show_json(rows if loaded.compare else rows[0])
        return
    for row in rows:
        score = f"{loaded.objective.metric} {console.score(row['score'])}"
        console.show(f"{row['name']}: best trial {row['trial']}  {score}", "bold green")
        console.show_values(row["test"] | row["values"])


@click.command("report", cls=Command)
@recipe_argument
@overrides_argument
@as_json
@debug
def report_command(recipe: str, overrides: tuple[str, ...], as_json: bool) -> None:
    """Write a search's report and print its path.

    \b
      kbn report digits_mlp
    """
    from kbn.recipe.loading import load_recipe
    from kbn.run.known import kept
    from kbn.run.project import Project

    project = Project(load_recipe(recipe, overrides))
    found = project.finished()
    first, results = found[0]
    if kept(first.path, results) is None:
        settle_libraries()  # what an oracle knows is missing: KerasTuner loads it
    page = _report(project, found)
    if as_json:
        figures = sorted(str(file) for file in page.parent.glob("figures/*.png"))
        console.show_json({"report": str(page), "figures": figures})
    else:
        console.show(str(page))


def _row(project: Project, results: Results) -> dict[str, Any]:
    """Return the best trial of a search."""
    best = project.best(results)
    return {
        "name": project.recipe.name,
        "trial": best.trial,
        "score": best.score,
        "test": dict(results.test_scores(project.path, best.trial)),
        "values": best.values,
        "directory": str(project.path),
    }


def _report(project: Project, found: Sequence[tuple[Project, Results]]) -> Path:
    if project.recipe.compare is not None:
        from kbn.run.comparison import report_comparison

        by_name = {each.recipe.name: results for each, results in found}
        return report_comparison(project, by_name).report
    ((_, results),) = found
    return project.write_report(project.summary(results))[0]
