"""Keras' metrics of classes for models with one output per class and targets that number them."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from kbn.recipe.class_losses import one_hot

TWO = 2  # classes, of which the second is the positive one


@keras.saving.register_keras_serializable("kbn")
class ClassAUC(keras.metrics.AUC):
    """Area under the ROC curve: of the second of two classes, or else the mean over the classes.

    Args:
        classes: number of classes, at least 2.
        logits: whether the model's outputs are logits.
        name: that training reports.
    """

    def __init__(self, classes: int, *, logits: bool = False, name: str = "auc", **kwargs: Any):
        several: dict[str, Any] = {"multi_label": True, "num_labels": classes}
        super().__init__(name=name, **(several if classes > TWO else {}), **kwargs)
        self.classes, self.logits = classes, logits

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        probabilities = ops.softmax(y_pred) if self.logits else y_pred
        if self.classes > TWO:
            super().update_state(one_hot(y_true, self.classes), probabilities, sample_weight)
        else:
            super().update_state(ops.reshape(y_true, (-1,)), probabilities[:, 1], sample_weight)

    def get_config(self) -> dict[str, Any]:
        own = {"classes": self.classes, "logits": self.logits, "name": self.name}
        return {**own, "dtype": self.dtype}


class _ClassScore(keras.metrics.FBetaScore):
    """Score made of the predictions that are right or wrong for each class.

    The predicted class is the one with the largest output.
    """

    def __init__(self, classes: int, *, name: str, **kwargs: Any):
        super().__init__(average=None, name=name, **kwargs)
        self.classes = classes

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        super().update_state(one_hot(y_true, self.classes), y_pred, sample_weight)

    def score(self, part: Any, whole: Any) -> Any:
        """Return part / whole, each of shape (classes,), of the positive class or of all classes.

        A class of which the whole is 0 has the score 0.
        """
        scores = ops.divide_no_nan(part, whole)
        return scores[1] if self.classes == TWO else ops.mean(scores)

    def get_config(self) -> dict[str, Any]:
        return {"classes": self.classes, "name": self.name, "dtype": self.dtype}


@keras.saving.register_keras_serializable("kbn")
class ClassF1(_ClassScore):
    """F1 score: the harmonic mean of precision and recall."""

    def result(self) -> Any:
        wrong = self.false_positives + self.false_negatives
        return self.score(2 * self.true_positives, 2 * self.true_positives + wrong)


@keras.saving.register_keras_serializable("kbn")
class ClassPrecision(_ClassScore):
    """Share of the predictions of a class that are right."""

    def result(self) -> Any:
        return self.score(self.true_positives, self.true_positives + self.false_positives)


@keras.saving.register_keras_serializable("kbn")
class ClassRecall(_ClassScore):
    """Share of a class' examples that are predicted to be of it."""

    def result(self) -> Any:
        return self.score(self.true_positives, self.true_positives + self.false_negatives)
