"""Streams that a recipe's own function returns: tf.data.Dataset or keras.utils.PyDataset."""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Self

import keras
import numpy as np

from kbn.errors import Text, Violation, ViolationError
from kbn.recipe.augmentation import check_images
from kbn.recipe.catalog import second_part
from kbn.recipe.dataset import PARTS, REGRESSION, UNSCALED, PartName, Sizes
from kbn.recipe.inputs import each, named
from kbn.recipe.looking import KEY, Seen, check_form, cut, is_batched, look_through
from kbn.recipe.preparing import Joined
from kbn.recipe.streams import Streams

if TYPE_CHECKING:
    from kbn.recipe.data import DatasetSpec
    from kbn.recipe.dataset import Batches
    from kbn.recipe.inputs import Shapes

    Made = Mapping[PartName, Batches]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Returned(Streams):
    """Streams that a function returns.

    It is called again for every training, so that each gets the same examples in the same order,
    whatever state the streams keep.

    Attributes:
        make: calls the function.
        made: {part: stream}, of a call.
        seen: {part: what it holds}.
    """

    make: Callable[[], Made]
    made: Made
    seen: Mapping[PartName, Seen]

    @property
    def shape(self) -> Shapes:
        return self.seen["train"].shape

    @property
    def sizes(self) -> Sizes:
        return Sizes(*(self.seen[part].examples if part in self.seen else 0 for part in PARTS))

    @property
    def batched(self) -> bool:
        return isinstance(self.made["train"], keras.utils.PyDataset)

    @property
    def weighted(self) -> bool:
        return self.seen["train"].weighted

    def steps(self, batch_size: int) -> int:
        return self.seen["train"].batches if self.batched else super().steps(batch_size)

    def class_counts(self) -> np.ndarray:
        return self.seen["train"].counts(self.outputs)

    def opened(self) -> Self:
        # what a function draws depends on the seed of this training, and on nothing drawn before
        keras.utils.set_random_seed(random.randrange(2**31))  # noqa: S311
        return dataclasses.replace(self, made=self.make())

    def joined(self) -> Self:
        seen = dict(self.seen)
        seen["train"] = seen["train"].joined(seen.pop("validation"))
        make = self.make
        return dataclasses.replace(
            self, make=lambda: _joined(make()), made=_joined(self.made), seen=seen
        )

    def raw(self, part: PartName, batch_size: int, *, shuffled: bool = False) -> Batches:
        # a tf.data.Dataset shuffles itself or not, and Keras shuffles the batches of a PyDataset
        batches = cut(self.made[part], batch_size)
        if isinstance(batches, keras.utils.PyDataset) or int(batches.cardinality()) >= 0:
            return batches
        import tensorflow as tf

        steps = math.ceil(self.seen[part].examples / batch_size)  # or Keras warns at the end
        return batches.apply(tf.data.experimental.assert_cardinality(steps))


def _joined(made: Made) -> Made:
    """Return streams with the validation part after the training part."""
    train, validation = made["train"], made["validation"]
    if isinstance(train, keras.utils.PyDataset):
        whole = Joined(train, validation)
    else:
        if is_batched(train) != is_batched(validation):
            train, validation = (
                each.unbatch() if is_batched(each) else each for each in (train, validation)
            )
        whole = train.concatenate(validation)
    joined: dict[PartName, Batches] = {"train": whole}
    if "test" in made:
        joined["test"] = made["test"]
    return joined


def holds_streams(made: object) -> bool:
    """Return whether a function returned a stream, or several things of which one is a stream."""
    parts = made if isinstance(made, tuple | list) else (made,)
    return any(_is_stream(part) for part in parts)


def _is_stream(part: object) -> bool:
    return isinstance(part, keras.utils.PyDataset) or hasattr(part, "element_spec")


def load_streams(spec: DatasetSpec, given: object, function: Callable[[], object]) -> Returned:
    """Read the streams that a function returns once, and check them.

    Args:
        spec: of the data.
        given: what the function returned.
        function: returns such streams again.

    Raises:
        ViolationError: with all that is wrong; its keys are keys of the section `dataset`.
    """
    made = _parts(given, str(spec.python))
    violations = list(_invalid_keys(spec, made))
    seen: dict[PartName, Seen] = {}
    for part, stream in made.items():
        try:
            check_form(stream)
            seen[part] = look_through(stream)
        except ViolationError as error:
            violations += [
                dataclasses.replace(violation, rule=f"the {part} part: {violation.rule}")
                for violation in error.violations
            ]
    if violations:
        raise ViolationError(*violations)
    train = seen["train"]
    check_images(spec.augmentation, train.shape)
    classes = _classes(spec, train)
    violations = [*_unlike(seen, classes)]
    if violations:
        raise ViolationError(*violations)
    mean, deviation = train.y.scaling
    scaled = bool(spec.standardize) and classes is None
    inputs = named(train.x).values()
    return Returned(
        outputs=REGRESSION if classes is None else classes,
        labels=tuple(range(classes or 0)),
        x_scaling=each(lambda x: x.scaling if spec.standardize is True else UNSCALED, train.x),
        y_scaling=(float(mean), float(deviation)) if scaled else (0.0, 1.0),
        pixels=(
            min(float(np.min(x.low)) for x in inputs),
            max(float(np.max(x.high)) for x in inputs),
        ),
        augmentation=spec.augmentation,
        make=lambda: _parts(function(), str(spec.python)),
        made=made,
        seen=seen,
    )


def _parts(made: Any, reference: str) -> dict[PartName, Batches]:
    """Return {part: stream} of what a function returned."""
    rule = f"{reference} must return streams as (train, validation) or (train, validation, test)"
    if _is_stream(made):
        hint = "Split the data before they are shuffled, and return both parts."
        received = Text(f"a single {type(made).__name__.lstrip('_')}")
        raise ViolationError(Violation(rule, hint, KEY, received))
    kinds = [type(part).__name__.lstrip("_") for part in made]
    alike = all(map(_is_stream, made)) and (
        len({isinstance(part, keras.utils.PyDataset) for part in made}) == 1
    )
    if not alike or len(made) not in (2, 3):
        hint = "Return two or three of one kind."
        raise ViolationError(Violation(rule, hint, KEY, Text(f"({', '.join(kinds)})")))
    return dict(zip(PARTS, made, strict=False))


def _invalid_keys(spec: DatasetSpec, made: Made) -> Iterator[Violation]:
    """Yield what of the section `dataset` does not fit streams."""
    if spec.shape is not None:
        yield Violation(
            "only arrays can be reshaped", "Do it in the function.", "shape", spec.shape
        )
    if spec.test is not None:
        yield second_part("test", spec.test)
    if not spec.default_validation:
        yield second_part("validation", spec.validation)
    if spec.augmentation and isinstance(made["train"], keras.utils.PyDataset):
        rule, hint = "a PyDataset makes its own batches", "Change the images there."
        yield Violation(rule, hint, "augmentation", spec.augmentation[0].name)


def _classes(spec: DatasetSpec, train: Seen) -> int | None:
    """Return the number of classes; None for a regression.

    Raises:
        ViolationError: if the targets are not numbers of classes, or all the same.
    """
    low, high = float(train.y.low), float(train.y.high)
    if low == high:
        rule, hint = "the target must have at least two values", "Fix the data."
        raise ViolationError(Violation(rule, hint, KEY, Text(f"{low:g} everywhere")))
    task = spec.task or ("classification" if train.whole else "regression")
    if task == "regression":
        return None
    if not train.whole:
        rule = "the targets of a classification must be whole numbers"
        hint = 'Convert them, as with tf.cast(y, "int64").'
        raise ViolationError(Violation(rule, hint, "task", Text("floats")))
    classes = int(high) + 1
    empty = next((number for number in range(classes) if number not in train.labels), None)
    if low < 0 or empty is not None:
        rule = "classes must be numbered from 0, each with training examples"
        received = Text(f"class {int(low)}" if low < 0 else f"none of class {empty}")
        hint = "Number them anew; or, if they are a quantity, write task: regression."
        raise ViolationError(Violation(rule, hint, KEY, received))
    return classes


def _unlike(seen: Mapping[PartName, Seen], classes: int | None) -> Iterator[Violation]:
    """Yield how other parts differ from the training part."""
    train = seen["train"]
    for part, other in seen.items():
        if other.shape != train.shape:
            rule = f"examples of the {part} part must have the shape of the others"
            yield Violation(rule, "Fix the data.", KEY, Text(f"{other.shape} and {train.shape}"))
        if classes is not None and not other.whole:
            rule = f"targets of the {part} part must be whole numbers like the others"
            yield Violation(rule, "Fix the data.", KEY, Text("floats"))
        elif classes is not None and not set(other.labels) <= set(train.labels):
            rule = f"the {part} part must not have classes of its own"
            received = Text(f"class {min(set(other.labels) - set(train.labels))}")
            yield Violation(rule, "Fix the data.", KEY, received)
