"""What a search takes from the earlier ones that its recipe names: `search.from`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from kbn.errors import RecipeError, Text, Violation
from kbn.files import read_json
from kbn.recipe.rules import is_name
from kbn.report.results import Results, hyperparameter_values
from kbn.run.directory import RECIPE
from kbn.run.identity import identity_of, parts_of
from kbn.search.fidelity import EPOCHS, PRUNED
from kbn.search.past import PastTrial, fits

if TYPE_CHECKING:
    from kbn.run.project import Project
    from kbn.search.space import Space
    from kbn.tracking.attempts import Attempt

# of the section search: what a score depends on, beside the data, the model and the training
SCORING = tuple(f"search.{key}" for key in ("epochs", "max_epochs", "folds", "executions"))


def past_of(project: Project) -> list[PastTrial]:
    """Return the trials of earlier searches that a search learns from, in their order.

    These are the trials that were trained in full and lie in the recipe's space. The scores count
    as they are, so data, model, objective and training must be the same; the seed, and with it the
    split of the data, may differ.

    Raises:
        RecipeError: if a search is not there, is of something else, or has no trial that fits.
        DamagedError: if the file that says of what it is was not written by kbn.
    """
    taken: list[PastTrial] = []
    faults = []
    for number, name in enumerate(project.recipe.search.from_):
        found = _of_search(project, name)
        if isinstance(found, Violation):
            faults.append(project.recipe.fault(f"search.from.{number}", found))
        else:
            taken += found
    if faults:
        raise RecipeError(faults)
    return taken


def _of_search(project: Project, name: str) -> list[PastTrial] | Violation:
    """Return the trials of one search that fit, or why it has none."""
    from kbn.run.plan import hyperparameters_of
    from kbn.search.hyperparameters import space_of

    recipe = project.recipe
    directory = project.path.parent / name if is_name(name) else recipe.home / name
    file = directory / RECIPE
    if not file.exists():
        rule, hint = "must name a search, or its directory", "Those of recipes: kbn ls"
        return Violation(rule, hint, received=str(directory))
    if directory.resolve() == project.path.resolve():
        return Violation("must name another search", "Remove it.", received=name)
    identity, results = read_json(file), Results.read(directory, recipe.objective.direction)
    for key, old, new in _differences(identity, identity_of(recipe)):
        rule = f"must be a search with the same {key}, {new}"
        return Violation(rule, "Remove it.", received=Text(f"{name} with {old}"))
    space = space_of(hyperparameters_of(recipe))
    known = identity.get("space", {}).keys() | recipe.space.keys()
    trials = [
        PastTrial(hyperparameter_values(trial), trial.score or 0.0, f"{name} trial {trial.trial}")
        for trial in results.finished
        if _is_whole(trial, recipe.search.whole) and _fits(space, trial, known)
    ]
    if not trials:
        rule, hint = "must have a trial that lies in the space", "Widen the space, or remove it."
        return Violation(rule, hint, received=Text(f"none of {len(results.finished)} of {name}"))
    return trials


def _is_whole(trial: Attempt, epochs: int) -> bool:
    return PRUNED not in trial.values and trial.values.get(EPOCHS, epochs) == epochs


def _fits(space: Space, trial: Attempt, known: set[str]) -> bool:
    """Return whether a trial lies in a space; what a model of its own declares is left out."""
    values = hyperparameter_values(trial)
    return fits(space, {name: value for name, value in values.items() if name in known})


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Yield (key, old, new) of what makes the scores of two searches incomparable."""
    before, now = dict(parts_of(old)), dict(parts_of(new))
    for key in before | now:
        section = key.partition(".")[0]
        matters = key in SCORING or section not in ("name", "search", "space")
        if matters and before.get(key) != now.get(key):
            yield key, before.get(key), now.get(key)
