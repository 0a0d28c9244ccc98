"""What a run has in MLflow: a journal's content as metrics, params, tags and inputs."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

from mlflow.entities import Dataset, DatasetInput, InputTag, Metric

from kbn.tracking.attempts import Attempt, Epoch
from kbn.tracking.names import legal
from kbn.tracking.sealed import Event

LONGEST_TAG = 5000  # characters of a tag's value that every store takes
# System tags of MLflow for what a session knows of where it runs; other tags begin with "kbn.".
ORIGIN = {
    "user": "mlflow.user",
    "source": "mlflow.source.name",
    "commit": "mlflow.source.git.commit",
}


def attempt_name(attempt: Attempt) -> str:
    """Return the name of an attempt's run, which messages use too."""
    retry = f" attempt {attempt.number}" if attempt.number > 1 else ""
    return f"trial {attempt.trial}{retry}"


def cut(tags: Mapping[str, str]) -> dict[str, str]:
    """Shorten the values of tags to what every store takes."""
    return {name: value[:LONGEST_TAG] for name, value in tags.items()}


def origin_tags(begin: Event) -> dict[str, str]:
    """Return a session's tags: those that MLflow's fluent interface would set, and where it ran."""
    tags = {ORIGIN.get(name, f"kbn.{name}"): _text(v) for name, v in begin["origin"].items()}
    return {**tags, "mlflow.source.type": "LOCAL"}


def place_tags(attempt: Attempt) -> dict[str, str]:
    """Return an attempt's tags: which one it is, and where it stood in the search."""
    place = {name: value for name, value in attempt.place.items() if name != "scaled"}
    return {
        **{f"kbn.{name}": _text(value) for name, value in place.items()},
        "kbn.trial": attempt.trial,
        "kbn.attempt": str(attempt.number),
    }


def session_params(begin: Event, earlier: list[Event]) -> tuple[dict[str, str], dict[str, str]]:
    """Return a session's params, and as tags those in which the search's sessions differ.

    MLflow does not let a param change: the first value stays.
    """
    sessions = [event["params"] for event in (*earlier, begin) if event["event"] == "begin"]
    first = {name: value for params in reversed(sessions) for name, value in params.items()}
    disputed = {name for params in sessions for name in params if params[name] != first[name]}
    present = begin["params"]
    kept = {name: value for name, value in present.items() if name not in disputed}
    return kept, {f"kbn.{name}": present[name] for name in disputed & present.keys()}


def dataset_inputs(session: Event) -> list[DatasetInput]:
    """Return the data set of a session as the inputs of a run; none if it is not known."""
    fields = session["dataset"]
    context = InputTag("mlflow.data.context", "training")
    return [DatasetInput(Dataset(**fields), [context])] if fields else []


def metric(name: str, value: float, time: int, step: int) -> Metric:
    """Return a metric; an infinite value is NaN, as MLflow's 1.8e308 would spoil every chart."""
    return Metric(legal(name), value if math.isfinite(value) else math.nan, time, step)


def epoch_metrics(epochs: tuple[Epoch, ...]) -> tuple[list[Metric], dict[str, str]]:
    """Return the metrics of epochs, and a tag for each that is infinite.

    They have Keras' own names; those of a trial's further executions have a prefix.
    """
    metrics, infinite = [], {}
    for epoch in epochs:
        prefix = f"execution_{epoch.execution + 1}/" if epoch.execution else ""
        for name, value in epoch.metrics.items():
            metrics.append(metric(prefix + name, value, epoch.time, epoch.epoch))
            if math.isinf(value):
                tag = legal(f"kbn.infinite/{prefix}{name}")
                infinite[tag] = f"{value} at epoch {epoch.epoch}"  # the last of them
    return metrics, infinite


def round_metrics(event: Event) -> list[Metric]:
    """Return what the boxes of a round leave of each numeric hyperparameter, as metrics."""
    return [
        metric(f"box/{name}/{end}", value, event["time"], event["number"])
        for name, ends in event["hull"].items()
        for end, value in zip(("low", "high"), ends, strict=True)
    ]


def scaled_values(attempt: Attempt) -> list[Metric]:
    """Return hyperparameters with a scale as metrics, whose charts in MLflow have a log axis."""
    values = {name: attempt.values.get(name) for name in attempt.place.get("scaled", ())}
    return [
        metric(f"hp/{name}", float(value), attempt.began, 0)
        for name, value in values.items()
        if value is not None
    ]


def totals(attempt: Attempt) -> list[Metric]:
    """Return the metrics of an attempt as a whole, with what was measured of its model."""
    by_epoch = {name for epoch in attempt.epochs for name in epoch.metrics}
    values = {
        **{name: value for name, value in attempt.metrics.items() if name not in by_epoch},
        "score": attempt.score,
        "best_epoch": attempt.best_step,
        "duration_seconds": attempt.seconds,
    }
    step = attempt.best_step or 0
    return [
        metric(name, value, attempt.ended or 0, step)
        for name, value in values.items()
        if value is not None
    ]


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
