"""One search, from its recipe to its report.

The search's directory is locked, the data are loaded and the model is built once. Then, trial by
trial, the oracle proposes hyperparameters, the tuner trains a model with them, and the recorder
writes what happens to the journal and sends it to MLflow. At the end the best model is saved, the
report is written, and both are logged.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from kbn.errors import RecipeError, Violation
from kbn.recipe.schema import Recipe
from kbn.report.results import Results
from kbn.run.best import RESUMABLE, build_best, save_best_model
from kbn.run.describing import description
from kbn.run.limits import Limits
from kbn.run.machine import writing
from kbn.run.past import past_of
from kbn.run.placement import Placement
from kbn.run.progress import default_watch
from kbn.run.project import SEARCHES, TARGET_DEVIATION, Project, recipe_of
from kbn.run.tuned import Tuned
from kbn.run.watch import Watch
from kbn.run.workers import Study, Workers
from kbn.search.past import NOTHING, Past

if TYPE_CHECKING:
    import keras

    from kbn.recipe.dataset import Dataset
    from kbn.run.reuse import Reuse


def tune(
    recipe: Recipe | str | os.PathLike[str] | Mapping[str, object],
    *,
    directory: str | os.PathLike[str] = SEARCHES,
    fresh: bool = False,
    watch: Watch | None = None,
    workers: int | Literal["auto"] | None = None,
    gpus_per_worker: float | None = None,
    address: str | None = None,
) -> Tuned:
    """Run a recipe's search, or go on with it where it stopped.

    >>> import kbn, numpy as np
    >>> recipe = kbn.Recipe(
    ...     name="quick",
    ...     dataset={"name": "iris"},
    ...     model={"name": "softmax"},
    ...     objective={"metric": "val_accuracy", "direction": "max"},
    ...     search={"trials": 2, "epochs": 2},
    ...     space={"learning_rate": {"type": "float", "low": 1e-2, "high": 1, "scale": "log"}},
    ...     tracking={"enabled": False},
    ... )
    >>> tuned = kbn.tune(recipe)
    >>> 0.01 <= tuned.values["learning_rate"] <= 1
    True
    >>> list(tuned.trials["status"])
    ['COMPLETED', 'COMPLETED']
    >>> tuned.best_model().predict(np.array([[5.1, 3.5, 1.4, 0.2]]), verbose=0).shape
    (1, 3)

    It seeds Keras' global random generators with the recipe's seed before every trial.

    Args:
        recipe: what to tune: a recipe, its file or name, or what such a file says as a mapping.
        directory: holds a directory for each search, named after its recipe.
        fresh: removes what kbn wrote of an earlier search of this name, and starts anew.
        watch: is informed of what happens; None prints a line for each trial that ends, where
            stdout is a terminal or a notebook.
        workers: how many trials run at a time, each in a process of its own: "auto" is one for each
            GPU or, without any, one for every two cores; None for what the recipe says.
        gpus_per_worker: GPUs of a worker, or a share of one; None for what the recipe says.
        address: of a Ray cluster whose machines train the trials, as `ray.init` takes it; None for
            this machine.

    Returns:
        The best trial and all others.

    Raises:
        RecipeError: if the recipe is wrong or compares searches (see `kbn.compare`), if the data or
            the model do not fit it, or if it is not the recipe of the search to go on with.
        NoResultError: if no trial finished.
        DamagedError: if a file of the search to go on with is not as kbn wrote it.
        MachineError: if the search's directory cannot be written to.
        KbnError: if another process runs this search, or if its directory is not kbn's.
    """
    project = Project(_without_comparison(recipe_of(recipe)), directory)
    watch = watch or default_watch(project)
    with project.opened(fresh=fresh):
        watch.opened(project, fresh=fresh)
        from kbn.run.preflight import prepare  # imports TensorFlow, which takes seconds

        dataset = prepare(project.recipe)
        past = past_of(project) if fresh or not project.is_begun() else NOTHING
        if fresh:
            project.remove()
        place = Placement.of(project.recipe, workers, gpus_per_worker, address)
        with place.opened() as pool:
            search = Search(project, dataset, past=past)
            results = search.run(watch, pool)
        return search.finish(results)


def _without_comparison(recipe: Recipe) -> Recipe:
    if recipe.compare is not None:
        rule, hint = "kbn.tune runs a single search", "Call kbn.compare, or remove this section."
        raise RecipeError([recipe.fault("compare", Violation(rule, hint))])
    return recipe


def _target_of(data: Dataset) -> dict[str, str]:
    """Return what the trials' errors must be multiplied with, where the target is standardized."""
    deviation = data.y_scaling[1]
    return {} if deviation == 1 else {TARGET_DEVIATION: f"{deviation:.6g}"}


class Search:
    """A search that this process runs; its project must be open.

    Args:
        project: of the search.
        dataset: the recipe's data.
        reuse: keeps compiled models, for other searches too; None for this search alone.
        keeps_models: whether each trial's model is saved, as `finish` needs it.
        past: what earlier searches have shown, if the search is new.
        tags: that its runs in MLflow have, as `kbn.tracking.track.record` takes them.
    """

    def __init__(
        self,
        project: Project,
        dataset: Dataset,
        reuse: Reuse | None = None,
        *,
        keeps_models: bool = True,
        past: Past = NOTHING,
        tags: Mapping[str, str] | None = None,
    ):
        from kbn.run.tuner import RecipeTuner

        project.begin()
        self.project, self.dataset, self.tags = project, dataset, tags
        self.tuner = RecipeTuner(project.recipe, dataset, project.path, reuse, past)
        self.tuner.keeps_checkpoints &= keeps_models

    def run(self, watch: Watch, workers: Workers | None = None) -> Results:
        """Run all trials that are left, and return the results of all.

        Args:
            watch: is informed of what happens.
            workers: that train the trials; None for this process itself.
        """
        from kbn.run.driving import Driver
        from kbn.tracking.context import dataset_of
        from kbn.tracking.target import Target
        from kbn.tracking.track import record

        recipe, data = self.project.recipe, self.dataset
        tracking = recipe.tracking
        experiment, measured = tracking.experiment or recipe.name, tracking.system_metrics
        target = Target(experiment, tracking.uri, measured)
        self.recorder = record(
            self.tuner,
            target if tracking.enabled else None,
            dataset=dataset_of(recipe.dataset.label, *data.excerpt(), examples=data.sizes.train),
            params=recipe.shown_of_trainings | recipe.goals.shown() | _target_of(data),
            texts=recipe.texts,
            tags=self.tags,
            listener=watch,
        )
        watch.search(self.project, self.tuner.oracle)
        limits = Limits(recipe, self.tuner.oracle, self._seconds())
        self.tuner.oracle.enough = limits
        if workers is not None:
            workers.begin(Study.of(recipe, data, keeps_models=self.tuner.keeps_checkpoints))
            self.tuner.loop = Driver(self.tuner, workers, recipe.search).run
        self.tuner.search()
        results = self.project.results()
        if limits.ended is not None:
            watch.stopped(limits.ended)
        return results

    def _seconds(self) -> float:
        """Return how long the trials of earlier sessions took, where that matters."""
        if self.project.recipe.search.hours is None:
            return 0.0
        return sum(trial.seconds or 0.0 for trial in self.project.results().trials)

    def finish(self, results: Results) -> Tuned:
        """Save the best model, write the report, and log both.

        Raises:
            NoResultError: if no trial finished.
        """
        project = self.project
        best = project.best(results)
        model, test = build_best(project, best.trial, self.dataset, self.tuner)
        save_best_model(project, best.trial, model)
        if results.objectives:
            self._note_front([trial.trial for trial in results.front])
        if test:  # before the report, which states them
            self.recorder.note("metrics", trial=best.trial, values=test)
        search = project.summary(results, self.tuner.oracle)
        report, figure = project.write_report(search)
        if self.recorder.sender is not None:
            self._note_description(description(project.recipe, search))
            for file in (figure, report):
                self.recorder.note("file", path=file)
            self._log_model(best.trial, model)
        return Tuned(project.recipe, results, best, project.model, report, figure, test)

    def _note_front(self, trials: list[str]) -> None:
        """Record which trials are on the front, unless that is what was recorded last."""
        noted = [each for each in self.recorder.journal.events() if each["event"] == "front"]
        if not noted or noted[-1]["trials"] != trials:
            self.recorder.note("front", trials=trials)

    def _note_description(self, text: str) -> None:
        """Record what the search's page in MLflow says of it, unless it says so already."""
        noted = [e["text"] for e in self.recorder.journal.events() if e["event"] == "description"]
        if noted[-1:] != [text]:
            self.recorder.note("description", text=text)

    def _log_model(self, trial: str, model: keras.Model) -> None:
        """Log the best model unless it is the one that was logged last."""
        from kbn.tracking.models import EXAMPLES, save_model
        from kbn.tracking.recorder import SAVED_MODEL

        recipe, data = self.project.recipe, self.dataset
        name = recipe.name if recipe.tracking.register_model else None
        logged = [each for each in self.recorder.journal.events() if each["event"] == "model"]
        if logged and (logged[-1]["trial"], logged[-1]["name"]) == (trial, name):
            return
        directory = self.project.path / SAVED_MODEL
        with writing(directory, RESUMABLE):
            save_model(model, directory, data.given(EXAMPLES))
            self.recorder.note("model", path=directory, trial=trial, name=name)
