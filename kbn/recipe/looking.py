"""One look through a stream before the first trial: what it holds, and what is wrong with it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from kbn.errors import Text, Violation, ViolationError
from kbn.recipe.code import following
from kbn.recipe.inputs import each, invalid_names, named, shapes
from kbn.recipe.moments import Moments

if TYPE_CHECKING:
    from kbn.recipe.dataset import Batches
    from kbn.recipe.inputs import Shapes

KEY = "python"
LOOKED_AT = 128  # examples at a time
ELEMENTS = (2, 3)  # of what a stream gives: (x, y) or (x, y, sample_weight)
PAIR = "must give (x, y) or (x, y, sample_weight), each one array, or x a dict of arrays"
FIXED = "each example must be an array of a fixed shape"
NUMBER = "y must be one number for an example"
ONE_HOT = "Reshape it; of one-hot classes take tf.argmax(y, -1)."
WORDS = "Number the classes from 0, as keras.layers.StringLookup does."


@dataclasses.dataclass(frozen=True)
class Seen:
    """What a stream holds.

    Attributes:
        shape: of one example, or {name: shape} of its inputs.
        examples, batches: the number of them.
        x, y: their statistics; of x {name: statistics}, if there are several inputs.
        labels: {target: number of its examples}, if they are whole numbers.
        whole: whether they are.
        weighted: whether the examples have weights.
    """

    shape: Shapes
    examples: int
    batches: int
    x: Moments | dict[str, Moments]
    y: Moments
    labels: dict[int, int]
    whole: bool
    weighted: bool

    def counts(self, classes: int) -> np.ndarray:
        """Return the number of examples of each class, shape (classes,)."""
        return np.array([self.labels.get(number, 0) for number in range(classes)])

    def joined(self, other: Seen) -> Seen:
        """Return what is held by this stream followed by another; its statistics are this one's."""
        labels = {
            label: self.labels.get(label, 0) + other.labels.get(label, 0)
            for label in self.labels | other.labels
        }
        examples, batches = self.examples + other.examples, self.batches + other.batches
        return dataclasses.replace(self, examples=examples, batches=batches, labels=labels)


def is_batched(stream: Batches) -> bool:
    """Return whether a stream gives batches, not single examples.

    A `PyDataset` does. A `tf.data.Dataset` does if its targets have an axis.
    """
    return isinstance(stream, keras.utils.PyDataset) or bool(stream.element_spec[1].shape.rank)


def cut(stream: Batches, batch_size: int) -> Batches:
    """Return a stream in batches of a certain size; a `PyDataset` keeps its own."""
    if isinstance(stream, keras.utils.PyDataset):
        return stream
    return stream.rebatch(batch_size) if is_batched(stream) else stream.batch(batch_size)


def check_form(stream: Batches) -> None:
    """Check what can be known about a stream without reading it.

    Raises:
        ViolationError: if it never ends, or gives something else than examples and targets.
    """
    if isinstance(stream, keras.utils.PyDataset):
        with following("must have a number of batches", "Define __len__.", KEY):
            batches = stream.num_batches
        if batches is None:
            rule, hint = "must end", "Define __len__, the number of batches in an epoch."
            raise ViolationError(Violation(rule, hint, KEY, Text("an endless PyDataset")))
        return
    if int(stream.cardinality()) == -1:  # tf.data.INFINITE_CARDINALITY
        rule, hint = "must end", "Return stream.take(n), with the number of examples in an epoch."
        raise ViolationError(Violation(rule, hint, KEY, Text("an endless tf.data.Dataset")))
    violations = list(_invalid_elements(stream.element_spec))
    if violations:
        raise ViolationError(*violations)


def _invalid_elements(spec: Any) -> Iterator[Violation]:
    """Yield what is wrong with the elements of a `tf.data.Dataset`, described by their spec."""
    import tensorflow as tf

    if not (isinstance(spec, tuple) and len(spec) in ELEMENTS and _are_tensors(spec, tf)):
        hint = "Map it to such tuples."
        yield Violation(PAIR, hint, KEY, Text(_structure(spec)))
        return
    yield from invalid_names(spec[0], KEY)
    for name, x in named(spec[0]).items():
        yield from _invalid_spec(name, x, spec[1])


def _invalid_spec(x_name: str, x: Any, y: Any) -> Iterator[Violation]:
    """Yield what is wrong with the specs of an input, known by a name in messages, and targets."""
    if x.shape.rank is None or y.shape.rank is None:
        rule = f"{x_name} and y must have a known shape"
        hint = "Give from_generator an output_signature."
        yield Violation(rule, hint, KEY, Text(f"{x_name} of {x.shape}, y of {y.shape}"))
        return
    batched, received = y.shape.rank > 0, Text(f"{x_name} of {x.shape}, y of {y.shape}")
    counts = (x.shape[:1] + y.shape[:1]).as_list()  # of the examples in a batch
    unlike = len(counts) > 1 and None not in counts and counts[0] != counts[1]
    example = x.shape[1:] if batched else x.shape
    if x.shape.rank and (y.shape.rank > 1 + (y.shape[-1:] == [1]) or unlike):
        yield Violation(NUMBER, ONE_HOT, KEY, received)
        return
    if not example.rank or not example.is_fully_defined():
        hint = "Reshape or resize x; where only the shape is unknown: tf.ensure_shape(x, ...)."
        yield Violation(FIXED, hint, KEY, received)
    for name, dtype in ((x_name, x.dtype), ("y", y.dtype)):
        if not (dtype.is_floating or dtype.is_integer or dtype.is_bool):
            hint = WORDS if name == "y" else 'Convert it, as with tf.cast(x, "float32").'
            yield Violation(f"{name} must be numbers", hint, KEY, Text(dtype.name))


def _are_tensors(spec: tuple[Any, ...], tf: Any) -> bool:
    return all(isinstance(one, tf.TensorSpec) for one in _flat(spec))


def _flat(element: Any) -> list[Any]:
    """Return the inputs and all that follows them in a tuple."""
    x, *others = element
    return [*named(x).values(), *others]


def _structure(spec: Any) -> str:
    """Describe the structure of an element."""
    if isinstance(spec, dict):
        return f"a dict of {', '.join(map(str, spec))}"
    if isinstance(spec, tuple):
        return f"({', '.join(type(each).__name__.removesuffix('Spec') for each in spec)})"
    return f"{type(spec).__name__.removesuffix('Spec')} alone"


def look_through(stream: Batches) -> Seen:
    """Read a stream once.

    Args:
        stream: of the right form.

    Raises:
        ViolationError: if it cannot be read, is empty, or holds what no model can be trained on.
    """
    x_seen: Any = None
    y_seen, labels = Moments(), dict[int, int]()
    examples = batches = 0
    shape: Shapes | None = None
    whole, weighted = True, False
    for batch in _read(stream):
        x, y, *weights = _checked(batch, batches, shape)
        shape, weighted, whole = shapes(x), bool(weights), whole and y.dtype.kind in "biu"
        x_seen = x_seen or each(lambda _: Moments(), x)
        each(Moments.add, x_seen, x)
        y_seen.add(y)
        if whole:
            for label, count in zip(*np.unique(y.astype("int64"), return_counts=True), strict=True):
                labels[int(label)] = labels.get(int(label), 0) + int(count)
        examples, batches = examples + len(y), batches + 1
    if shape is None:
        raise ViolationError(Violation("must hold examples", "Fix the data.", KEY, Text("none")))
    return Seen(shape, examples, batches, x_seen, y_seen, labels, whole, weighted)


def _read(stream: Batches) -> Iterator[Any]:
    """Yield the batches of a stream in NumPy's arrays."""
    with following("must give all its batches", "Fix the function, or the data.", KEY):
        if isinstance(stream, keras.utils.PyDataset):
            yield from (stream[number] for number in range(stream.num_batches))
        else:
            yield from cut(stream, LOOKED_AT).as_numpy_iterator()


def _checked(batch: Any, number: int, shape: Shapes | None) -> tuple[Any, ...]:
    """Return x, y and, if there are some, weights of a batch.

    Args:
        batch: as a stream gives it.
        number: of the batch.
        shape: of an example of the batches before; None if there are none.
    """
    if not (isinstance(batch, tuple | list) and len(batch) in ELEMENTS and _are_arrays(batch)):
        held = batch if isinstance(batch, dict) else type(batch).__name__
        received = Text(_structure(held) if isinstance(held, dict) else held)
        raise ViolationError(Violation(PAIR, "Return such tuples.", KEY, received))
    violations = list(invalid_names(batch[0], KEY))
    if violations:
        raise ViolationError(*violations)
    x, (y, *weights) = each(np.asarray, batch[0]), map(np.asarray, batch[1:])
    for name, array in named(x).items():
        if array.ndim < 2:  # noqa: PLR2004
            hint = "Reshape it, as with x[:, None]."
            raise ViolationError(Violation(FIXED, hint, KEY, Text(f"{name} of {array.shape}")))
        if len(array) != y.size or (y.ndim > 1 and y.shape[1:] != (1,)):
            received = Text(f"{name} of {array.shape}, y of {y.shape}")
            raise ViolationError(Violation(NUMBER, ONE_HOT, KEY, received))
    if shape is not None and shapes(x) != shape:
        rule = "all examples must be arrays of the same shape"
        received = Text(f"x of {shapes(x)} in batch {number}, after {shape}")
        raise ViolationError(Violation(rule, "Reshape or resize them.", KEY, received))
    y = y.reshape(-1)
    for name, array in {**named(x), "y": y}.items():
        if array.dtype.kind not in "biuf":
            hint = WORDS if name == "y" else 'Convert it, as with x.astype("float32").'
            received = Text(array.dtype.name)
            raise ViolationError(Violation(f"{name} must be numbers", hint, KEY, received))
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            rule, hint = f"{name} must be finite numbers", "Fix or remove these examples."
            raise ViolationError(Violation(rule, hint, KEY, Text(f"others in batch {number}")))
    return x, y, *weights


def _are_arrays(batch: Iterable[Any]) -> bool:
    return all(hasattr(one, "shape") or isinstance(one, list) for one in _flat(batch))
