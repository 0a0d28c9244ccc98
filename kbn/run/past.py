"""What a search learns from earlier ones: those its recipe names, or those beside it or tracked."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kbn.errors import DamagedError, JournalError, RecipeError, Text, Violation
from kbn.files import read_json
from kbn.recipe.names import closest, is_name
from kbn.recipe.searching import AUTO
from kbn.report.results import Results, hyperparameter_values
from kbn.run.directory import JOURNAL, RECIPE, is_removed
from kbn.run.identity import identity_of, parts_of
from kbn.search.axes import Axis, Discrete, Value
from kbn.search.fidelity import EPOCHS, PRUNED
from kbn.search.past import NOTHING, Past, PastSearch, PastTrial, fits, related
from kbn.search.transfer import TRANSFER
from kbn.tracking.earlier import TrackedSearch, earlier_searches
from kbn.tracking.journal import Journal
from kbn.tracking.names import original

if TYPE_CHECKING:
    from kbn.run.project import Project
    from kbn.search.space import Space
    from kbn.tracking.attempts import Attempt

# of the section search: what a score depends on, beside the data, the model and the training
SCORING = tuple(f"search.{key}" for key in ("epochs", "max_epochs", "folds", "executions"))
MOST = 10  # searches that one learns from unless it names them; each takes time in every proposal


def past_of(project: Project) -> Past:
    """Return what earlier searches have shown, the more important ones first.

    The recipe names them; or they are those beside it, and those of its tracking store. Trials
    count that were trained in full. Those of a search of the same data, model, objective and
    training count as they are where they lie in the recipe's space; the seed, and with it the split
    of the data, may differ. Of any other search with the same objective and some of the same
    hyperparameters, and of one that only the store has, it counts which of its trials did well.

    Raises:
        RecipeError: if a search that the recipe names is not there, has another objective, or has
            too few trials with values of the space.
        DamagedError: if the file that says of what it is was not written by kbn.
    """
    recipe, earlier = project.recipe, _Earlier(project)
    if recipe.search.from_ == AUTO:
        return earlier.found() if recipe.learns else NOTHING
    found, faults = [], []
    for number, name in enumerate(recipe.search.names):
        one = earlier.named(name)
        if isinstance(one, Violation):
            faults.append(recipe.fault(f"search.from.{number}", one))
        else:
            found.append(one)
    if faults:
        raise RecipeError(faults)
    return Past.of(found)


class _Earlier:
    """The searches that a search may learn from."""

    def __init__(self, project: Project):
        self._project, self._recipe = project, project.recipe

    @functools.cached_property
    def _identity(self) -> dict[str, Any]:
        return identity_of(self._recipe)  # reads the recipe's files

    @functools.cached_property
    def _space(self) -> Space:
        from kbn.run.plan import hyperparameters_of
        from kbn.search.hyperparameters import space_of

        return space_of(hyperparameters_of(self._recipe))

    @functools.cached_property
    def _beside(self) -> list[Path]:
        """Directories of the other searches in that of this one."""
        path = self._project.path
        others = sorted(file.parent for file in path.parent.glob(f"*/{RECIPE}"))
        return [each for each in others if each.name != path.name and not is_removed(each)]

    def named(self, name: str) -> Past | Violation:
        """Return what a search has shown that the recipe names, or why it is not to be had."""
        path = self._project.path
        directory = path.parent / name if is_name(name) else self._recipe.home / name
        if not (directory / RECIPE).exists():
            rule = "must name a search, or its directory"
            near = closest(name, [each.name for each in self._beside])
            hint = f"Did you mean {near}?" if near else "Those of recipes: kbn ls"
            return Violation(rule, hint, received=str(directory))
        if directory.resolve() == path.resolve():
            return Violation("must name another search", "Remove it.", received=name)
        return self._shown(read_json(directory / RECIPE), directory, name)

    def found(self) -> Past:
        """Return what the searches beside this one have shown, the most similar and newest first.

        What cannot be read is left out: nobody asked for it.
        """
        candidates = []
        for directory in self._beside:
            with contextlib.suppress(DamagedError, OSError, KeyError, AttributeError):
                identity, newness = _read(directory)
                known = len(identity["space"].keys() & self._recipe.space.keys())
                candidates.append((-known, -newness, directory.name, identity, directory))
        found: list[Past] = []
        for *_, name, identity, directory in sorted(candidates, key=lambda each: each[:3]):
            with contextlib.suppress(DamagedError, OSError, KeyError, AttributeError):
                one = self._shown(identity, directory, name)
                if isinstance(one, Past):
                    found.append(one)
            if len(found) == MOST:  # the journals of the others need not be read
                break
        return Past.of([*found, *self._tracked(MOST - len(found))])

    def _tracked(self, most: int) -> Iterator[Past]:
        """Yield what the tracking store's searches have shown that are not beside this one."""
        recipe, tracking = self._recipe, self._recipe.tracking
        if not tracking.enabled or not most:
            return
        beside = {recipe.name, *(directory.name for directory in self._beside)}
        for directory in (self._project.path, *self._beside):
            with contextlib.suppress(JournalError):
                journal = Journal(directory / JOURNAL)
                beside |= {journal.search_id} if journal.exists() else set()
        objective = recipe.objective
        for search in earlier_searches(
            tracking.uri, objective.metric, objective.direction, without=beside, most=most
        ):
            trials = tuple(self._tracked_trials(search))
            if len(trials) >= TRANSFER.fewest:
                yield Past((), (PastSearch(search.name, trials),))

    def _tracked_trials(self, search: TrackedSearch) -> Iterator[PastTrial]:
        """Yield the tracked trials that were trained in full and lie in or near the space."""
        wholes = {trial.params.get(EPOCHS, "") for trial in search.trials}
        whole = max(wholes, key=lambda epochs: int(epochs or 0))
        for trial in search.trials:
            params = {original(name): text for name, text in trial.params.items()}
            axes = [axis for axis in self._space.axes if axis.name in params]
            known = related(
                self._space, {axis.name: _value(axis, params[axis.name]) for axis in axes}
            )
            if known and PRUNED not in params and params.get(EPOCHS, "") == whole:
                yield PastTrial(known, trial.score, f"{search.name} trial {trial.trial}")

    def _shown(self, identity: Mapping[str, Any], directory: Path, name: str) -> Past | Violation:
        """Return what a search has shown, or why nothing can be learned from it."""
        space, objective = self._space, self._recipe.objective
        theirs = identity.get("objective")
        if identity.get("objectives") or theirs != objective.model_dump(mode="json"):
            same = f"{objective.metric} {objective.direction}"
            rule = f"must be a search with the same objective, {same}"
            return Violation(rule, "Remove it.", received=name)
        results = Results.read(directory, objective.direction)
        searching = identity.get("search", {})
        epochs = searching.get("max_epochs") or searching.get("epochs")
        whole = [trial for trial in results.finished if _is_whole(trial, epochs)]
        if not any(_differences(identity, self._identity)):
            known = identity.get("space", {}).keys() | self._recipe.space.keys()
            own = [trial for trial in whole if _fits(space, trial, known)]
            if own:
                return Past(tuple(_past_trial(name, trial) for trial in own))
        similar = [t for t in whole if related(space, hyperparameter_values(t)) is not None]
        if len(similar) < TRANSFER.fewest:
            rule = f"must have at least {TRANSFER.fewest} trials with values of the space"
            received = Text(f"{len(similar)} of {len(results.finished)} of {name}")
            return Violation(rule, "Widen the space, or remove it.", received=received)
        return Past((), (PastSearch(name, tuple(_past_trial(name, trial) for trial in similar)),))


def _value(axis: Axis, text: str) -> Value:
    """Return the value that MLflow keeps as a text; the text itself if it is no number."""
    if isinstance(axis, Discrete) and text in map(str, axis.values):
        return next(value for value in axis.values if str(value) == text)
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return text


def _read(directory: Path) -> tuple[dict[str, Any], float]:
    """Return the identity of a search, and when it began."""
    file = directory / RECIPE
    return read_json(file), file.stat().st_mtime


def _past_trial(name: str, trial: Attempt) -> PastTrial:
    return PastTrial(
        hyperparameter_values(trial), trial.score or 0.0, f"{name} trial {trial.trial}"
    )


def _is_whole(trial: Attempt, epochs: int) -> bool:
    return PRUNED not in trial.values and trial.values.get(EPOCHS, epochs) == epochs


def _fits(space: Space, trial: Attempt, known: set[str]) -> bool:
    """Return whether a trial lies in a space; what a model of its own declares is left out."""
    values = hyperparameter_values(trial)
    return fits(space, {name: value for name, value in values.items() if name in known})


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    """Yield the keys of what makes the scores of two searches incomparable."""
    before, now = dict(parts_of(old)), dict(parts_of(new))
    for key in before | now:
        section = key.partition(".")[0]
        matters = key in SCORING or section not in ("name", "search", "space")
        if matters and before.get(key) != now.get(key):
            yield key
