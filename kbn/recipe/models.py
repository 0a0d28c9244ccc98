"""The section `model` of a recipe."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from kbn.errors import Violation
from kbn.recipe import architectures
from kbn.recipe.applications import (
    APPLICATIONS,
    HYPERPARAMETERS,
    IMAGENET,
    PIXELS,
    RANDOM,
    WEIGHTS_FILES,
)
from kbn.recipe.rules import OneOf, Reference, Strict, only_one, reject


def _check_weights(given: str) -> str:
    if given in (IMAGENET, RANDOM):
        return given
    if not given.endswith(WEIGHTS_FILES):
        rule = f"must be {IMAGENET}, {RANDOM} or a file that ends with {', '.join(WEIGHTS_FILES)}"
        raise reject(Violation(rule, f"Write {IMAGENET}.", received=given))
    return str(Path(given).expanduser())


class NormSpec(Strict):
    """Batch normalization of the hidden layers.

    With `recalibrate` the best model's moving averages become the statistics of all training
    examples under its final weights. An application decides the position itself.
    """

    layer: Literal["kbn.BatchNormalization", "keras.layers.BatchNormalization"] = (
        "kbn.BatchNormalization"
    )
    position: Literal["before_activation", "after_activation"] = "before_activation"
    recalibrate: bool = False


class ModelSpec(Strict):
    """Which model to train: by `name`, an `application`, a `preset`, or a `python` function.

    The function, given as module:function, is called as build(hp, input_shape, classes), with
    KerasTuner's hyperparameters, the shape of one example, or {name: shape} of several inputs, and
    the number of classes (1 for a regression), and returns a Keras model. If it does not compile
    the model, the recipe's optimizer trains it.

    An application is a network of keras.applications under a new head. Its `weights` are
    `imagenet`, which Keras fetches, `none`, or those of a file, relative to the recipe's directory,
    for the application without its top. First the head is trained, for the share `head_share` of
    the epochs at `learning_rate`, then with it the last blocks, as many as `unfrozen`, at
    `fine_learning_rate`. Without `norm` all batch norm stays as the weights have it; with it, that
    of the unfrozen blocks is trained. The images are scaled from `value_range` to what the
    application takes, and to `resize` pixels a side; by default only those that are too small for
    it are. `alpha` is the factor of a MobileNet's filters.

    A preset is a network of keras-hub, which must be installed, and is trained as an application
    is: its name there, or a folder where one was saved, relative to the recipe's directory. It
    brings its own weights, unless `weights` is `none`, and the size of its images, unless `resize`
    says another.
    """

    name: Annotated[str, OneOf("model", list(architectures.ARCHITECTURES))] | None = None
    application: Annotated[str, OneOf("application", list(APPLICATIONS))] | None = None
    preset: str | None = Field(None, min_length=1)
    python: Reference | None = None
    weights: Annotated[str, AfterValidator(_check_weights)] | None = None
    alpha: float | None = Field(None, gt=0)
    resize: int | None = Field(None, ge=1)
    value_range: list[float] | None = Field(None, min_length=2, max_length=2)
    norm: NormSpec | None = None

    @property
    def backbone(self) -> str | None:
        """The application or the preset that is fine-tuned; None if the model is another."""
        return self.application or self.preset

    @property
    def hyperparameters(self) -> dict[str, int | float]:
        """{name: default} of those that a model by name, or one that is fine-tuned, has."""
        own = {} if self.backbone is None else HYPERPARAMETERS
        if self.name is not None:
            own = architectures.hyperparameters(self.name)
        without = architectures.NORM_HYPERPARAMETERS if self.norm is None else ()
        return {name: default for name, default in own.items() if name not in without}

    @property
    def weights_file(self) -> str | None:
        """File of the weights, relative to the recipe's directory; None if they are in none."""
        return None if self.weights in (None, IMAGENET, RANDOM) else self.weights

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_a_backbone(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        if given.get("application") is not None:
            return {"weights": IMAGENET, "value_range": list(PIXELS), **given}
        if given.get("preset") is not None:
            return {"value_range": list(PIXELS), **given}
        return given

    @model_validator(mode="after")
    def _one_model(self) -> Self:
        only_one(self, "name", "application", "preset", "python")
        violations = list(self._invalid_norm())
        if self.backbone is None:
            for key in ("weights", "alpha", "resize", "value_range"):
                if getattr(self, key) is not None:
                    rule = "only an application or a preset has it"
                    violations.append(Violation(rule, "Remove it.", key, getattr(self, key)))
        else:
            violations += self._invalid_backbone()
        if self.application is not None:
            violations += self._invalid_application(self.application)
        if violations:
            raise reject(*violations)
        return self

    def _invalid_norm(self) -> Iterator[Violation]:
        if self.norm is None:
            return
        takes = self.name is not None and architectures.takes_norm(self.name)
        takes |= self.preset is not None  # what it holds is known when it is loaded
        if self.application is not None:
            takes = APPLICATIONS[self.application].norm
        if not takes:
            given = self.name or self.application or self.python
            yield Violation(
                f"{given} has no layer that kbn could normalize", "Remove norm.", "norm"
            )
        elif self.backbone is not None and "position" in self.norm.model_fields_set:
            rule = f"{self.backbone} decides it"
            yield Violation(rule, "Remove it.", "norm.position", self.norm.position)

    def _invalid_backbone(self) -> Iterator[Violation]:
        if self.preset is not None and self.weights not in (None, RANDOM):
            rule, hint = f"{self.preset} brings its own weights", f"Remove it, or write {RANDOM}."
            yield Violation(rule, hint, "weights", self.weights)
        if self.preset is not None and self.alpha is not None:
            yield Violation("only an application has it", "Remove it.", "alpha", self.alpha)
        low, high = self.value_range or PIXELS
        if not low < high:
            rule, hint = "the first number must be the smaller one", "Write it like [0, 255]."
            yield Violation(rule, hint, "value_range", [low, high])

    def _invalid_application(self, name: str) -> Iterator[Violation]:
        known = APPLICATIONS[name]
        if self.alpha is not None and not known.alpha:
            rule, hint = f"{name} does not take it", "Remove it, or name a MobileNet."
            yield Violation(rule, hint, "alpha", self.alpha)
        if self.resize is not None and self.resize < known.smallest:
            rule = f"{name} takes images of at least {known.smallest} pixels a side"
            yield Violation(rule, "Raise it.", "resize", self.resize)
