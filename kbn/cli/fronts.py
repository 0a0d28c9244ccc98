"""`kbn best --pareto`: the trials of a search that no other one dominates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from kbn.cli import console

if TYPE_CHECKING:
    from kbn.recipe.schema import Recipe
    from kbn.report.results import Results
    from kbn.run.project import Project


def show_fronts(recipe: Recipe, found: Sequence[tuple[Project, Results]], *, as_json: bool) -> None:
    """Print the front of each search, the best in the first objective first.

    Raises:
        click.UsageError: if the recipe has one objective.
    """
    if recipe.objectives is None:
        raise click.UsageError(
            f"--pareto needs a recipe with several objectives; {recipe.name} has one. Write "
            "objectives: [{metric: val_accuracy}, {metric: parameters}], or leave out --pareto."
        )
    fronts = {project.recipe.name: _rows(results) for project, results in found}
    if as_json:
        named = [{"name": name, "front": rows} for name, rows in fronts.items()]
        console.show_json(named if recipe.compare else named[0])
        return
    for name, rows in fronts.items():
        console.show(f"{name}: {len(rows)} trials on the front", "bold green")
        if rows:
            console.show_columns(_cells(rows), indent="  ")


def _rows(results: Results) -> list[dict[str, Any]]:
    from kbn.report.results import hyperparameter_values

    return [
        {
            "trial": trial.trial,
            "objectives": {name: trial.metrics[name] for name, _ in results.objectives},
            "values": hyperparameter_values(trial),
        }
        for trial in results.front
    ]


def _cells(rows: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    from kbn.report.words import amount, number

    names = list(dict.fromkeys(name for row in rows for name in row["values"]))
    head = ["trial", *rows[0]["objectives"], *names]
    cells = [
        [row["trial"], *map(amount, row["objectives"].values())]
        + [number(row["values"][name]) if name in row["values"] else "" for name in names]
        for row in rows
    ]
    return [head, *cells]
