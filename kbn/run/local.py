"""One recipe, from start to finish, in this process."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kbn.errors import DamagedError, NoResultError
from kbn.files import checksum, read_json, sync, write_json
from kbn.recipe.schema import Recipe
from kbn.report.results import Results
from kbn.run.machine import writing
from kbn.run.projects import (
    SEARCHES,
    alone,
    check_unchanged,
    project_of,
    reject_links,
    remember,
    remove,
)
from kbn.tracking.journal import Attempt

if TYPE_CHECKING:
    import keras
    import pandas as pd

    from kbn.recipe.datasets import Dataset
    from kbn.run.plan import RecipeTuner
    from kbn.run.reuse import Reuse
    from kbn.search.zoom import Round
    from kbn.tracking.track import Recorder

BEST, BEST_OF = "best.keras", "best.json"  # the model, and which trial's it is
DRAFT = "new.best.keras"  # Keras wants its own ending
SAFE = "Every trial is saved; the next start of this search writes it."


class Watch:
    """Is told what happens in a search; does nothing with it."""

    def opened(self) -> None:
        """No other process may touch the search now; TensorFlow is imported next."""

    def search(self, recipe: Recipe, results: Results) -> None:
        """A search begins, or goes on after these results; of a comparison one after another."""

    def began(self, trial: str, values: Mapping[str, Any], rounds: Sequence[Round]) -> None:
        """A trial begins, with these values, in the last of these rounds."""

    def epoch(self, trial: str, epochs: int, metrics: Mapping[str, float]) -> None:
        """So many epochs of a trial are trained."""

    def ended(self, results: Results, trial: Attempt) -> None:
        """A trial has ended, and these are the results so far."""


@dataclasses.dataclass(frozen=True)
class Tuned:
    """What a search left behind.

    Attributes:
        recipe: what was tuned.
        results: every trial.
        best: the best of them.
        model: Keras file of the best trial's model at its best epoch, or of that trained anew where
            the recipe asks for it. It takes examples, and gives targets, as the data set has them.
        report: HTML page of the search; its figures lie beside it.
        figure: PNG of the search.
        test: {metric: value} of the model on the test part; empty where it was not trained anew.
    """

    recipe: Recipe
    results: Results
    best: Attempt
    model: Path
    report: Path
    figure: Path
    test: Mapping[str, float]

    @property
    def values(self) -> Mapping[str, Any]:
        """The best trial's hyperparameters."""
        return self.best.values

    @property
    def trials(self) -> pd.DataFrame:
        """A row a trial: its status, score, seconds and reason of failure, and its values."""
        return self.results.as_frame()

    def best_model(self) -> keras.Model:
        """The model of `model`, loaded."""
        from kbn.tracking.models import load_model

        return load_model(self.model)


def tune(
    recipe: Recipe,
    *,
    directory: str | os.PathLike[str] = SEARCHES,
    fresh: bool = False,
    watch: Watch | None = None,
) -> Tuned:
    """Runs a recipe's one search, its best model and its report; as `kbn.tune`."""
    with searched(recipe, directory, fresh, watch) as (tuner, dataset, recorder, results):
        from kbn.run.saved import draw

        project = Path(tuner.project_dir)
        best = best_of(recipe, results)
        model, test = _best(recipe, dataset, tuner, best.trial)
        _save(model, best.trial, project)
        report, figure = draw(recipe, tuner.oracle, project, results)
        if test:
            recorder.note("metrics", trial=best.trial, values=test)
        if recorder.sender is not None:
            for file in (figure, report):
                recorder.note("file", path=file)
            with writing(project, SAFE):
                _track_model(recipe, recorder, best, model, dataset)
        return Tuned(recipe, results, best, project / BEST, report, figure, test)


def best_of(recipe: Recipe, results: Results) -> Attempt:
    """The best trial.

    Raises:
        NoResultError: if none finished.
    """
    if results.best is None:
        raise NoResultError(
            f"{recipe.name}: none of {len(results.trials)} trials finished; the commonest reason: "
            f"{results.commonest_failure()}. Mend the recipe, then: --fresh"
        )
    return results.best


@contextlib.contextmanager
def searched(
    recipe: Recipe,
    directory: str | os.PathLike[str],
    fresh: bool,
    watch: Watch | None,
    reuse: Reuse | None = None,
) -> Iterator[tuple[RecipeTuner, Dataset, Recorder, Results]]:
    """A recipe's search after its trials have run, while no other process may touch it.

    Args and errors are those of `kbn.tune`; `reuse` keeps compiled models for other searches too.
    """
    watch = watch or Watch()
    project = project_of(recipe.name, directory)
    with alone(project):
        if not fresh:
            check_unchanged(recipe, project)
            reject_links(project)
        watch.opened()
        # only now: these take seconds to import
        from kbn.run.plan import RecipeTuner
        from kbn.run.preflight import prepare
        from kbn.tracking.context import dataset_of
        from kbn.tracking.sending import Target
        from kbn.tracking.track import record

        dataset = prepare(recipe)
        if fresh:
            remove(project)
        with writing(project, "No trial was begun."):
            remember(recipe, project)
        tuner = RecipeTuner(recipe, dataset, project, reuse)
        experiment, uri = recipe.tracking.experiment or recipe.name, recipe.tracking.uri
        recorder = record(
            tuner,
            Target(experiment, uri) if recipe.tracking.enabled else None,
            dataset=dataset_of(recipe.dataset.label, dataset.x_train, dataset.y_train),
            texts=recipe.texts,
        )
        trials = _tell(tuner, recorder, watch)
        tuner.search()
        yield tuner, dataset, recorder, Results(tuple(trials.values()), recipe.objective.direction)


def _tell(tuner: RecipeTuner, recorder: Recorder, watch: Watch) -> Mapping[str, Attempt]:
    """Has a tuner that is recorded tell what happens.

    Returns:
        The last attempt of every trial, those to come included.
    """
    direction = tuner.oracle.objective.direction
    results = Results.read(Path(tuner.project_dir), direction)
    trials, attempts = {trial.trial: trial for trial in results.trials}, dict[str, int]()
    begin, epoch, end = tuner.on_trial_begin, tuner.on_epoch_end, tuner.on_trial_end
    watch.search(tuner.hypermodel.recipe, results)

    def begin_and_tell(trial: Any) -> None:
        begin(trial)
        attempts[trial.trial_id] = recorder.running[trial.trial_id]
        watch.began(trial.trial_id, trial.hyperparameters.values, tuner.oracle.rounds)

    def epoch_and_tell(trial: Any, model: Any, number: int, logs: Any = None) -> None:
        epoch(trial, model, number, logs)
        watch.epoch(trial.trial_id, number + 1, logs or {})

    def end_and_tell(trial: Any) -> None:
        end(trial)
        name = trial.trial_id  # alone is read anew: a long search has a long journal
        trials[name] = recorder.journal.attempt(name, attempts[name])
        watch.ended(Results(tuple(trials.values()), direction), trials[name])

    tuner.__dict__.update(
        on_trial_begin=begin_and_tell, on_epoch_end=epoch_and_tell, on_trial_end=end_and_tell
    )
    return trials


def has_best(project: Path, trial: str) -> bool:
    """Whether the best model's file is whole, and a certain trial's."""
    try:
        return read_json(project / BEST_OF) == {"trial": trial, "sum": checksum(project / BEST)}
    except (OSError, DamagedError):
        return False


def make_best(recipe: Recipe, trial: str, project: Path) -> keras.Model:
    """The best trial's model, made again from its checkpoint; writes nothing.

    Raises:
        RecipeError: if the data or the model are not fit for the recipe any more.
        NoResultError: if the search does not hold the trial.
        DamagedError: if its checkpoint cannot be read.
    """
    from kbn.run.plan import RecipeTuner
    from kbn.run.preflight import prepare

    dataset = prepare(recipe)
    tuner = RecipeTuner(recipe, dataset, project)
    if trial not in tuner.oracle.trials:
        raise NoResultError(
            f"{project}: must hold trial {trial}, the best one, to make its model from; it holds "
            f"{len(tuner.oracle.trials)} others. Go on with the search: kbn tune RECIPE"
        )
    return _best(recipe, dataset, tuner, trial)[0]


def _best(
    recipe: Recipe, dataset: Dataset, tuner: RecipeTuner, trial: str
) -> tuple[keras.Model, dict[str, float]]:
    """The best trial's model, and what it scores on the test part if it is trained anew."""
    from kbn.run.final import complete, refit

    if recipe.search.final.refit:
        model, test = refit(recipe, dataset, tuner.oracle.get_trial(trial).hyperparameters)
    else:
        model, test = _from_checkpoint(tuner, trial), {}
    return complete(model, dataset), test


def _from_checkpoint(tuner: RecipeTuner, trial: str) -> keras.Model:
    try:
        return tuner.load_model(tuner.oracle.get_trial(trial))
    except Exception as error:  # whatever h5py and Keras make of a file that is not whole
        reason = str(error).strip().partition("\n")[0] or repr(error)
        raise DamagedError(
            f"{tuner.get_trial_dir(trial)}: must hold the checkpoint of trial {trial}, the best "
            f"one, as it was written. Got: {reason}. Restore it from a copy, or start the search "
            "anew: --fresh"
        ) from error


def _save(model: keras.Model, trial: str, project: Path) -> None:
    """Replaces the best model's file at once or not at all, and then says whose it is."""
    with writing(project / BEST, SAFE):
        draft = project / DRAFT
        model.save(draft)
        with draft.open("rb+") as stream:
            os.fsync(stream.fileno())
        draft.replace(project / BEST)
        sync(project)
        write_json(project / BEST_OF, {"trial": trial, "sum": checksum(project / BEST)})


def _track_model(
    recipe: Recipe, recorder: Recorder, trial: Attempt, model: keras.Model, dataset: Dataset
) -> None:
    """Sends the best model if it is a new one."""
    from kbn.tracking.models import example_of, save_model
    from kbn.tracking.track import MODEL

    logged = [event for event in recorder.journal.events() if event["event"] == "model"]
    name = recipe.name if recipe.tracking.register_model else None
    if not logged or (logged[-1]["trial"], logged[-1]["name"]) != (trial.trial, name):
        directory = Path(recorder.tuner.project_dir) / MODEL
        save_model(model, directory, dataset.as_given(example_of(dataset.x_val)))
        recorder.note("model", path=directory, trial=trial.trial, name=name)
