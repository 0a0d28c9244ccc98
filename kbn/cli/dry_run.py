"""`kbn tune --dry-run`: what a search would do, without a file written to its directory."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras_tuner
import yaml

from kbn.cli import console
from kbn.cli.process import stdout_for_results
from kbn.cli.rounds import drawn_from, trials_of
from kbn.recipe.schema import Recipe
from kbn.report.words import number
from kbn.run.hypermodel import RecipeModel
from kbn.run.past import past_of
from kbn.run.plan import hyperparameters_of, make_oracle
from kbn.run.preflight import prepare
from kbn.run.progress import count_ended
from kbn.run.project import Project
from kbn.search.past import NOTHING, Past
from kbn.search.proposals import coarse_trials
from kbn.search.zoom import Round

POINTS = 10  # shown at most


def tell_plan(project: Project, *, as_json: bool) -> None:
    """Print the resolved recipe, and of each search its first points and planned rounds."""
    recipe = project.recipe
    for search in project.searches:
        done = count_ended(search.results())
        if done:
            console.tell(f"{search.path}: holds {done} trials, from which the search would go on")
    with stdout_for_results():
        plans = [Planned.of(search) for search in project.searches]
    if as_json:
        told = [plan.as_json() for plan in plans]
        console.show_json({"recipe": recipe.shown, "searches": told})
        return
    console.show(yaml.safe_dump(recipe.shown, sort_keys=False, default_flow_style=None, width=1000))
    for plan in plans:
        plan.show()


@dataclasses.dataclass(frozen=True)
class Planned:
    """Plan of a search from its start.

    Attributes:
        recipe: the recipe of the search.
        points: the values of its first trials, as far as they do not depend on scores.
        rounds: all rounds of the search; none for a grid.
        past: what it learns from.
    """

    recipe: Recipe
    points: Sequence[Mapping[str, Any]]
    rounds: Sequence[Round]
    past: Past = NOTHING

    @classmethod
    def of(cls, project: Project) -> Planned:
        recipe = project.recipe
        past = NOTHING if project.is_begun() else past_of(project)
        oracle = make_oracle(recipe, _hyperparameters(recipe), past)
        rounds = oracle.planned_rounds()
        with tempfile.TemporaryDirectory() as directory:
            oracle.use_directory(Path(directory) / recipe.name)
            oracle.verbose = 0
            first = rounds[0].size or coarse_trials(len(recipe.space), recipe.search.trials)
            count = min(POINTS, first if len(rounds) > 1 else recipe.search.trials)
            trials = [oracle.create_trial(str(tuner)) for tuner in range(count)]
        begun = [trial.hyperparameters.values for trial in trials if trial.status == "RUNNING"]
        return cls(recipe, begun, rounds, past)

    def show(self) -> None:
        console.show(f"{self.recipe.name}: the first trials", "bold")
        names = list(dict.fromkeys(name for values in self.points for name in values))
        cells = [[number(v[name]) if name in v else "" for name in names] for v in self.points]
        console.show_columns([names, *cells], indent="  ")
        if learned := str(self.past):
            console.show(f"{self.recipe.name}: learns from {learned}")
        console.show(f"{self.recipe.name}: the rounds", "bold")
        rows = [(str(one.number), trials_of(one), drawn_from(one)) for one in self.rounds]
        console.show_columns(rows or [("none: it is a grid",)], indent="  ")

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.recipe.name,
            "points": list(self.points),
            "learns_from": str(self.past) or None,
            "rounds": [
                {"trials": [r.first, r.end - 1] if r.size else None, "side": r.side}
                for r in self.rounds
            ],
        }


def _hyperparameters(recipe: Recipe) -> keras_tuner.HyperParameters:
    """Return the recipe's hyperparameters, and those that building a model of its own declares."""
    if recipe.model.python is None:
        return hyperparameters_of(recipe)
    hp = keras_tuner.HyperParameters()
    RecipeModel(recipe, prepare(recipe)).build(hp)
    return hp
