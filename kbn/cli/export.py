"""`kbn export`: the best model in the format that a program asks for."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kbn.cli import console
from kbn.cli.command import Command, as_json, debug, overrides_argument, recipe_argument
from kbn.cli.process import settle_libraries, stdout_for_results

if TYPE_CHECKING:
    import keras

    from kbn.recipe.schema import Recipe
    from kbn.run.project import Project

KERAS, LITE = ".keras", ".tflite"
UNTOUCHED = "What was there before is as it was."
SAVED_MODEL = "saved_model.pb"  # what makes a directory a SavedModel


@click.command("export", cls=Command)
@recipe_argument
@overrides_argument
@click.option(
    "--to", "target", metavar="PATH", required=True, type=click.Path(),
    help="FILE.keras, FILE.tflite, or a directory, for a SavedModel. Is replaced.",
)  # fmt: skip
@click.option("--fold", is_flag=True, help="Fold batch norm into the layers beside it.")
@as_json
@debug
def export_command(
    recipe: str, overrides: tuple[str, ...], target: str, fold: bool, as_json: bool
) -> None:
    """Write the best model in another format.

    \b
      kbn export digits_mlp --to digits.keras          Keras
      kbn export digits_mlp --to digits.tflite --fold  TF-Lite, without batch norm
      kbn export digits_mlp --to digits                SavedModel, a directory

    It takes examples, and gives targets, as the data set has them. Where the search was stopped
    before it wrote the best model, it is made again from the trial's checkpoint. TF-Lite and
    SavedModel need Keras on TensorFlow, whichever backend the search ran on. The recipe's own
    Python runs: export only from recipes and searches that you trust.
    """
    from kbn.files import replace
    from kbn.recipe.loading import load_recipe
    from kbn.run.machine import writing

    path = _checked(Path(target), is_directory=target.endswith(("/", os.sep)))
    loaded = load_recipe(recipe, overrides)
    project, trial = _best_trial(loaded)
    with _draft(path) as draft:  # before TensorFlow: it may be that nothing can be written there
        settle_libraries()
        _check_backend(path)
        with stdout_for_results():
            model = _load(project, trial)
        if path.suffix == LITE:
            _check_lite(model)
        if fold:
            model = _folded(model)
        with writing(path, UNTOUCHED):
            _write(model, draft)
            if path.is_dir():
                shutil.rmtree(path)
            replace(draft, path)
    if as_json:
        console.show_json({"model": str(path)})
    else:
        console.show(str(path))


def _checked(path: Path, *, is_directory: bool) -> Path:
    """Return the path if what it names can be written there.

    Raises:
        click.BadParameter: if it cannot.
    """
    rule = None
    if not path.parent.is_dir():
        rule = f"must lie in a directory that exists; {path.parent} does not. First: mkdir"
    elif path.suffix in (KERAS, LITE) and not is_directory:
        if path.is_dir():
            rule = f"must be a file, as its ending says; {path} is a directory"
    elif path.suffix and not is_directory:
        rule = (
            f"must end with {KERAS} or {LITE}, or, for the directory of a SavedModel, with /; got "
            f"{path}"
        )
    elif path.is_file() or path.is_symlink() or (path.is_dir() and not _replaceable(path)):
        rule = f"must be a new directory, an empty one or a SavedModel; {path} is something else"
    if rule is not None:
        raise click.BadParameter(rule, param_hint="--to")
    return path


def _check_backend(path: Path) -> None:
    """Raise an error unless Keras' backend can write the format that a path asks for.

    Raises:
        click.UsageError: if it cannot.
    """
    import keras

    backend = keras.backend.backend()
    if path.suffix != KERAS and backend != "tensorflow":
        raise click.UsageError(
            f"--to {path}: TF-Lite and SavedModel need Keras on TensorFlow; got {backend}. The "
            "best model runs on any backend: KERAS_BACKEND=tensorflow kbn export ..., or name a "
            "FILE.keras"
        )


def _check_lite(model: keras.Model) -> None:
    """Raise an error if a model takes text, which TF-Lite has no operations for.

    Raises:
        click.UsageError: if it does.
    """
    kinds = model.preprocessing.kinds if getattr(model, "takes_tables", False) else {}
    texts = [name for name, kind in kinds.items() if kind != "number"]
    if texts:
        raise click.UsageError(
            f"TF-Lite takes numbers only; the model takes text, as of {texts[0]}. Name a "
            "FILE.keras, or a directory for a SavedModel"
        )


def _replaceable(directory: Path) -> bool:
    return (directory / SAVED_MODEL).exists() or not any(directory.iterdir())


def _best_trial(recipe: Recipe) -> tuple[Project, str]:
    """Return the search and its best trial.

    Raises:
        click.UsageError: if the recipe compares searches.
        NoResultError: if no trial finished.
    """
    if recipe.compare is not None:
        raise click.UsageError(
            "A comparison keeps no model. Tune the variant that you want by itself, then export it "
            "with the same overrides: compare=null name=NEW and what the variant sets."
        )
    from kbn.run.project import Project

    ((project, results),) = Project(recipe).finished()
    return project, project.best(results).trial


def _load(project: Project, trial: str) -> keras.Model:
    """Return the best model as the search wrote it, or made again."""
    from kbn.recipe.code import load_function
    from kbn.run.best import has_best, make_best
    from kbn.tracking.models import load_model

    file, recipe = project.model, project.recipe
    if not has_best(project, trial):
        console.tell(f"{file} is not trial {trial}'s model; made again from the trial's checkpoint")
        return make_best(project, trial)
    if recipe.model.python is not None:  # its module registers the layers that it defines
        load_function(recipe.model.python, recipe.home)
    return load_model(file)


def _folded(model: keras.Model) -> keras.Model:
    """Fold the norms that can be folded, and report those that cannot."""
    from kbn.norm.surgery import fold_batch_norm
    from kbn.recipe.preprocessing import TableModel

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        warnings.filterwarnings("always", "fold_batch_norm: ")
        if isinstance(model, TableModel):
            folded = TableModel(model.preprocessing, fold_batch_norm(model.network))
        else:
            folded = fold_batch_norm(model)
    for warning in caught:
        console.tell(str(warning.message), style="yellow")
    return folded


@contextlib.contextmanager
def _draft(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside the target, to be renamed to it; nothing is left there.

    Raises:
        MachineError: if it cannot be written.
    """
    from kbn.run.machine import writing

    with writing(path, UNTOUCHED):
        made = tempfile.TemporaryDirectory(dir=path.parent, prefix=".kbn-")
    with made as directory:
        yield Path(directory) / path.name


def _write(model: keras.Model, path: Path) -> None:
    with contextlib.redirect_stdout(None), console.native_silence():
        if path.suffix == KERAS:
            model.save(path)
        elif path.suffix == LITE:
            path.write_bytes(_lite(model))
        else:
            _save(model, path)


def _save(model: keras.Model, directory: Path | str) -> None:
    signature = {}
    if getattr(model, "takes_tables", False):
        signature["input_signature"] = [model.preprocessing.signature]
    model.export(directory, format="tf_saved_model", verbose=False, **signature)


def _lite(model: keras.Model) -> bytes:
    """Convert a model to TF-Lite as Keras 3.15 does; Keras 3.13 fails to with TensorFlow 2.20."""
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as directory:
        _save(model, directory)
        converter = tf.lite.TFLiteConverter.from_saved_model(directory)
        operations = [tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS]
        converter.target_spec.supported_ops = operations
        return converter.convert()
