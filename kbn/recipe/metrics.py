"""Metrics by name: which direction is better, and how they see a recipe's models and targets.

The models give one number per class, and the targets are the classes' numbers. Of two classes, the
second one is the positive class; of more, a score is the mean over the classes, each against all
others.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import keras

Task = Literal["classification", "regression"]


@dataclasses.dataclass(frozen=True)
class MetricKind:
    """What is known of a metric before any training.

    Attributes:
        better: direction that is better.
        best: score that no model can beat; None if there is none.
        task: whose models it measures; None for both.
        aliases: other names in Keras or in the field.
    """

    better: Literal["min", "max"]
    best: float | None
    task: Task | None = None
    aliases: tuple[str, ...] = ()


METRICS: dict[str, MetricKind] = {
    "loss": MetricKind("min", None),
    "accuracy": MetricKind("max", 1.0, "classification", ("acc", "Accuracy")),
    "auc": MetricKind("max", 1.0, "classification", ("AUC",)),
    "f1_score": MetricKind("max", 1.0, "classification", ("F1Score", "f1", "F1")),
    "precision": MetricKind("max", 1.0, "classification", ("Precision",)),
    "recall": MetricKind("max", 1.0, "classification", ("Recall",)),
    "sparse_top_k_categorical_accuracy": MetricKind(
        "max", 1.0, "classification", ("SparseTopKCategoricalAccuracy", "top_k_accuracy")
    ),
    "mae": MetricKind(
        "min", 0.0, "regression", ("MAE", "MeanAbsoluteError", "mean_absolute_error")
    ),
    "mse": MetricKind("min", 0.0, "regression", ("MSE", "MeanSquaredError", "mean_squared_error")),
    "root_mean_squared_error": MetricKind(
        "min", 0.0, "regression", ("RootMeanSquaredError", "rmse", "RMSE")
    ),
    "mape": MetricKind(
        "min", 0.0, "regression", ("MeanAbsolutePercentageError", "mean_absolute_percentage_error")
    ),
    "r2_score": MetricKind("max", 1.0, "regression", ("R2Score", "r2")),
}
_NAMES = {alias: name for name, kind in METRICS.items() for alias in (name, *kind.aliases)}


def metric_name(given: str) -> str:
    """Return the name under which training reports a metric, also of one on the validation part.

    Args:
        given: any name of the metric, with or without `val_`; an unknown one is returned as it is.
    """
    prefix = "val_" if given.startswith("val_") else ""
    name = given.removeprefix("val_")
    return prefix + _NAMES.get(name, name)


def better(metric: str) -> Literal["min", "max"] | None:
    """Return the direction in which a reported metric is better; None if it is unknown."""
    kind = METRICS.get(metric_name(metric).removeprefix("val_"))
    return kind.better if kind else None


def make_metric(name: str, outputs: int, *, logits: bool = False) -> str | keras.metrics.Metric:
    """Return a metric for `compile`.

    Args:
        name: a key of `METRICS`, but "loss".
        outputs: number of classes; 1 for a regression.
        logits: whether the model's outputs are logits instead of probabilities.
    """
    import keras

    from kbn.recipe import class_metrics

    if name == "auc":
        return class_metrics.ClassAUC(outputs, logits=logits, name=name)
    of_classes = {
        "f1_score": class_metrics.ClassF1,
        "precision": class_metrics.ClassPrecision,
        "recall": class_metrics.ClassRecall,
    }
    if name in of_classes:
        return of_classes[name](outputs, name=name)
    # a word would be reported under another name, or not at all
    others = {
        "root_mean_squared_error": keras.metrics.RootMeanSquaredError,
        "r2_score": keras.metrics.R2Score,
        "sparse_top_k_categorical_accuracy": keras.metrics.SparseTopKCategoricalAccuracy,
    }
    return others[name](name=name) if name in others else name
