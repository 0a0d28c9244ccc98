"""Tracking of any KerasTuner tuner: its methods are replaced by a recorder's, which call them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TypeVar

from keras_tuner.engine.base_tuner import BaseTuner

from kbn.tracking.listener import Listener
from kbn.tracking.recorder import Recorder
from kbn.tracking.target import Target
from kbn.uris import is_store, without_credentials

Tuner = TypeVar("Tuner", bound=BaseTuner)


def track(tuner: Tuner, experiment: str | None = None, tracking_uri: str | None = None) -> Tuner:
    """Send every trial of a KerasTuner tuner to MLflow, as a child run of one run per search.

        tuner = kbn.track(keras_tuner.RandomSearch(build_model, "val_accuracy"))
        tuner.search(...)

    A child run holds the hyperparameters as params, every epoch's metrics under Keras' names, the
    score, the status, the duration, and where it ran; the parent run holds the best trial's model
    where `search` is called with its inputs x. A local journal in the tuner's project directory is
    written first, and a thread sends it: the search never waits for the store, except for a second
    at its end. What the store lacks then is sent by the next `search`, or by `kbn push`.

    Args:
        tuner: any KerasTuner tuner, before its `search`.
        experiment: MLflow experiment; the tuner's project name if None.
        tracking_uri: MLflow tracking URI; None for MLflow's own choice, by default
            sqlite:///mlflow.db in the working directory.

    Returns:
        The same tuner.

    Raises:
        TypeError: if it is no tuner.
        ValueError: if the tuner is tracked already, or MLflow has no store for such a URI.
        KbnError: from `search`, if another process runs the same project.
    """
    if not isinstance(tuner, BaseTuner):
        raise TypeError(
            "kbn.track takes a KerasTuner tuner, as in "
            'kbn.track(keras_tuner.RandomSearch(build_model, "val_accuracy")). Got '
            f"{type(tuner).__name__}."
        )
    record(tuner, Target(experiment or tuner.project_name, tracking_uri), keeps_model=True)
    return tuner


def record(
    tuner: BaseTuner,
    target: Target | None,
    *,
    dataset: Mapping[str, str] | None = None,
    params: Mapping[str, str] | None = None,
    texts: Mapping[str, str] | None = None,
    tags: Mapping[str, str] | None = None,
    keeps_model: bool = False,
    listener: Listener | None = None,
) -> Recorder:
    """Write a tuner's journal and, where a target is given, send it there.

    Args:
        tuner: any KerasTuner tuner, before its `search`.
        target: where to track it; None for the journal alone.
        dataset: what it is tuned on, as `context.dataset_of` gives it; None for what `search` is
            called with.
        params: {name: value} of what holds for every trial.
        texts: {file name: content} to keep with the search.
        tags: {name: value} of tags that all its runs have, where `kbn.` precedes the names.
        keeps_model: whether the best trial's model is logged at the search's end; otherwise that is
            left to the caller.
        listener: is called after each event is in the journal.

    Returns:
        The recorder.

    Raises:
        ValueError: if the tuner is recorded already, or MLflow has no store for the target's URI.
    """
    if "search" in vars(tuner):
        raise ValueError(
            f"The tuner of project {tuner.project_name!r} is tracked already; call kbn.track once."
        )
    uri = target.tracking_uri if target is not None else None
    if uri is not None and not is_store(uri):
        raise ValueError(
            f"tracking_uri: it must be a tracking URI of MLflow (sqlite:///FILE, http://HOST, "
            f"postgresql://..., databricks). Got {without_credentials(uri)!r} instead."
        )
    recorder = Recorder(
        tuner, target, dataset, params, texts, tags, keeps_model, listener or Listener()
    )
    _replace(tuner, "search", recorder.search)
    _replace(tuner, "on_trial_begin", recorder.trial_begin)
    _replace(tuner, "run_trial", recorder.run_trial)
    _replace(tuner, "on_trial_end", recorder.trial_end)
    if hasattr(tuner, "on_epoch_end"):  # tuners of other models have none
        _replace(tuner, "on_epoch_end", recorder.epoch_end)
    if hasattr(tuner, "on_trial_lost"):  # kbn's own one, whose trials may run on workers
        _replace(tuner, "on_trial_lost", recorder.trial_lost)
    return recorder


def _replace(tuner: BaseTuner, name: str, hook: Callable[..., object]) -> None:
    """Replace a method of a tuner by a hook, whose first argument is the method."""
    method = getattr(tuner, name)
    setattr(tuner, name, functools.wraps(method)(functools.partial(hook, method)))
