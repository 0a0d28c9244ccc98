"""One recipe, from start to finish, in this process."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kbn.errors import Fault, KbnError, NoResultError, RecipeError
from kbn.recipe.datasets import load_dataset
from kbn.recipe.schema import Recipe
from kbn.report.results import Results
from kbn.tracking.journal import Attempt

if TYPE_CHECKING:
    from kbn.tracking.track import Recorder

LOCK, RECIPE = "lock", "recipe.json"  # files in a search's directory
MLFLOW_MODEL = "model"  # directory there: the best model as MLflow saves it
EXAMPLES = 2  # inputs that are kept with it
SEARCHES = "searches"  # directory of all searches, in the working directory


@dataclasses.dataclass(frozen=True)
class Tuned:
    """What a search left behind.

    Attributes:
        recipe: what was tuned.
        results: every trial.
        best: the best of them.
        model: Keras file of the best trial's model, at its best epoch.
        figure: PNG of the search.
    """

    recipe: Recipe
    results: Results
    best: Attempt
    model: Path
    figure: Path


def project_of(name: str, directory: str | os.PathLike[str] = SEARCHES) -> Path:
    """The directory of a recipe's search."""
    return Path(directory) / name


def tune(
    recipe: Recipe,
    *,
    directory: str | os.PathLike[str] = SEARCHES,
    fresh: bool = False,
    on_trial: Callable[[Results, Attempt], None] | None = None,
) -> Tuned:
    """Runs a recipe's search, or goes on with it where it stopped.

    Args:
        recipe: what to tune.
        directory: holds a directory for each search, named after its recipe.
        fresh: removes what an earlier search of this name left, and starts anew.
        on_trial: called after each trial with the results so far and the trial that ended.

    It seeds Keras' global random generators with the recipe's seed before every trial.

    Raises:
        RecipeError: if the recipe is not that of the search it would go on with; more or fewer
            trials, and another tracking, are no difference.
        NoResultError: if no trial finished.
        KbnError: if another process runs this search.
    """
    project = project_of(recipe.name, directory)
    project.mkdir(parents=True, exist_ok=True)
    with _alone(project):
        if fresh:
            _empty(project)
        _check_unchanged(recipe, project)
        return _tune(recipe, project, on_trial)


def _tune(
    recipe: Recipe, project: Path, on_trial: Callable[[Results, Attempt], None] | None
) -> Tuned:
    # after the checks: these take seconds to import
    from kbn.report.plots import summary
    from kbn.report.results import Search
    from kbn.run.plan import RecipeTuner
    from kbn.search.hyperparameters import space_of
    from kbn.tracking.context import dataset_of
    from kbn.tracking.sending import Target
    from kbn.tracking.track import record

    try:
        data = load_dataset(recipe.dataset.name, recipe.dataset.validation, recipe.search.seed)
    except ValueError as error:
        law, cure = "must leave every class examples on both sides", "Move it towards 0.2."
        raise RecipeError(
            [Fault(recipe.name, None, "dataset.validation", law, str(error), cure)]
        ) from None
    tuner = RecipeTuner(recipe, data, project)
    _remember(recipe, project)  # only now: data and model were found good
    experiment, uri = recipe.tracking.experiment or recipe.name, recipe.tracking.uri
    recorder = record(
        tuner,
        Target(experiment, uri) if recipe.tracking.enabled else None,
        dataset=dataset_of(recipe.dataset.name, data.x_train, data.y_train),
        texts=_texts(recipe),
    )

    direction = recipe.objective.direction
    end_trial = tuner.on_trial_end

    def end_and_tell(trial: Any) -> None:
        end_trial(trial)
        if on_trial is not None:
            results = Results.read(project, direction)
            on_trial(results, next(t for t in results.trials if t.trial == trial.trial_id))

    tuner.on_trial_end = end_and_tell
    tuner.search()

    results = Results.read(project, direction)
    if results.best is None:
        raise NoResultError(
            f"{recipe.name}: none of {len(results.trials)} trials finished; the commonest reason: "
            f"{results.commonest_failure()}. Mend the recipe, then: --fresh"
        )
    model, figure = project / "best.keras", project / "report.png"
    best = tuner.load_model(tuner.oracle.get_trial(results.best.trial))
    best.save(model)
    title = f"{recipe.name}: {len(results.trials)} trials, best {results.best.score:.4g}"
    space, rounds = space_of(tuner.oracle.hyperparameters), tuner.oracle.rounds
    summary(Search(title, results, recipe.objective.metric, space, rounds, {}, ())).savefig(figure)
    if recorder.sender is not None:
        _track_best(recipe, recorder, results.best, best, data.x_val[:EXAMPLES], figure)
    return Tuned(recipe, results, results.best, model, figure)


def _track_best(
    recipe: Recipe, recorder: Recorder, trial: Attempt, model: Any, example: Any, figure: Path
) -> None:
    """Sends what is left at a search's end: its picture, and the best model if it is a new one."""
    from kbn.tracking.models import save_model

    logged = [event for event in recorder.journal.events() if event["event"] == "model"]
    name = recipe.name if recipe.tracking.register_model else None
    recorder.note("file", path=str(figure.resolve()))
    if not logged or (logged[-1]["trial"], logged[-1]["name"]) != (trial.trial, name):
        directory = figure.with_name(MLFLOW_MODEL)
        save_model(model, directory, example)
        recorder.note("model", path=str(directory.resolve()), trial=trial.trial, name=name)


def _texts(recipe: Recipe) -> dict[str, str]:
    """The recipe as it is written and as it was understood."""
    resolved = {"recipe.resolved.json": recipe.model_dump_json(indent=2)}
    return resolved if recipe.written is None else {"recipe.yaml": recipe.written, **resolved}


@contextlib.contextmanager
def _alone(project: Path) -> Iterator[None]:
    """Holds the search's lock, which ends with the process, however it ends."""
    with (project / LOCK).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise KbnError(
                f"{project}: a search may run in one process; another one runs it now. Wait for "
                "it, or give this one another name: name=..."
            ) from None
        yield


def _empty(project: Path) -> None:
    for path in project.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != LOCK:
            path.unlink()


def _identity(recipe: Recipe) -> dict[str, Any]:
    """What must not change while a search goes on."""
    return recipe.model_dump(mode="json", exclude={"search": {"trials"}, "tracking": True})


def _check_unchanged(recipe: Recipe, project: Path) -> None:
    """Compares the recipe with that of the search so far."""
    file = project / RECIPE
    if not file.exists():
        return
    old, new = dict(_parts(json.loads(file.read_text()))), dict(_parts(_identity(recipe)))
    cure = "Undo the change, or start the search anew: --fresh"
    faults = [
        Fault(recipe.name, None, key, _as_begun(old.get(key)), json.dumps(new.get(key)), cure)
        for key in old | new
        if old.get(key) != new.get(key)
    ]
    if faults:
        raise RecipeError(faults)


def _remember(recipe: Recipe, project: Path) -> None:
    draft = project / f"{RECIPE}.new"  # a kill while it is written leaves no half recipe
    draft.write_text(json.dumps(_identity(recipe), indent=2))
    draft.replace(project / RECIPE)


def _as_begun(value: Any) -> str:
    if value is None:
        return "must not be there, as in the search so far"
    return f"must stay as in the search so far, {json.dumps(value)}"


def _parts(recipe: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """(key, value) of every part of a recipe: a setting, or a whole hyperparameter."""
    for section, value in recipe.items():
        if isinstance(value, dict):
            yield from ((f"{section}.{key}", part) for key, part in value.items())
        else:
            yield section, value
