"""One recipe, from start to finish, in this process."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kbn.errors import NoResultError
from kbn.recipe.schema import Recipe
from kbn.report.results import Results
from kbn.run.projects import SEARCHES, alone, check_unchanged, empty, project_of, remember
from kbn.tracking.journal import Attempt

if TYPE_CHECKING:
    import keras
    import pandas as pd

    from kbn.recipe.datasets import Dataset
    from kbn.run.plan import RecipeTuner
    from kbn.search.zoom import Round
    from kbn.tracking.track import Recorder

BEST = "best.keras"


class Watch:
    """Is told what happens in a search; does nothing with it."""

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
    with searched(recipe, directory, fresh, watch) as (tuner, dataset, recorder):
        from kbn.run.saved import draw

        project = Path(tuner.project_dir)
        results = Results.read(project, recipe.objective.direction)
        best = best_of(recipe, results)
        model, test = _best(recipe, dataset, tuner, best.trial, project)
        report, figure = draw(recipe, tuner.oracle, project)
        if test:
            recorder.note("metrics", trial=best.trial, values=test)
        if recorder.sender is not None:
            for file in (figure, report):
                recorder.note("file", path=str(file.resolve()))
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
    recipe: Recipe, directory: str | os.PathLike[str], fresh: bool, watch: Watch | None
) -> Iterator[tuple[RecipeTuner, Dataset, Recorder]]:
    """A recipe's search after its trials have run, while no other process may touch it.

    Args and errors are those of `kbn.tune`.
    """
    project = project_of(recipe.name, directory)
    if not fresh:
        check_unchanged(recipe, project)
    # only now: these take seconds to import
    from kbn.run.plan import RecipeTuner
    from kbn.run.preflight import prepare
    from kbn.tracking.context import dataset_of
    from kbn.tracking.sending import Target
    from kbn.tracking.track import record

    dataset = prepare(recipe)
    with alone(project):
        if fresh:
            empty(project)
        check_unchanged(recipe, project)
        remember(recipe, project)
        tuner = RecipeTuner(recipe, dataset, project)
        experiment, uri = recipe.tracking.experiment or recipe.name, recipe.tracking.uri
        recorder = record(
            tuner,
            Target(experiment, uri) if recipe.tracking.enabled else None,
            dataset=dataset_of(recipe.dataset.label, dataset.x_train, dataset.y_train),
            texts=recipe.texts,
        )
        _tell(tuner, recorder, watch or Watch())
        tuner.search()
        yield tuner, dataset, recorder


def _tell(tuner: RecipeTuner, recorder: Recorder, watch: Watch) -> None:
    """Has a tuner that is recorded tell what happens."""
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


def _best(
    recipe: Recipe, dataset: Dataset, tuner: RecipeTuner, trial: str, project: Path
) -> tuple[keras.Model, dict[str, float]]:
    """The best trial's model, saved, and what it scores on the test part if it is trained anew."""
    from kbn.run.final import complete, refit

    if recipe.search.final.refit:
        model, test = refit(recipe, dataset, tuner.oracle.get_trial(trial).hyperparameters)
    else:
        model, test = tuner.load_model(tuner.oracle.get_trial(trial)), {}
    whole = complete(model, dataset)
    whole.save(project / BEST)
    return whole, test


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
        recorder.note("model", path=str(directory.resolve()), trial=trial.trial, name=name)
