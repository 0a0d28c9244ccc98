"""Images in a folder with a sub-folder for each class, read while a model is trained."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
import tensorflow as tf

from kbn.errors import Text, Violation, ViolationError
from kbn.recipe import folders
from kbn.recipe.applications import PIXELS
from kbn.recipe.augmentation import check_images, next_seed
from kbn.recipe.catalog import second_part
from kbn.recipe.dataset import PARTS, UNSCALED, PartName, Scaling, Sizes
from kbn.recipe.folders import Listing
from kbn.recipe.moments import Moments
from kbn.recipe.splits import at_random, count
from kbn.recipe.streams import Streams

if TYPE_CHECKING:
    from kbn.recipe.data import DatasetSpec

IN_MEMORY = 2**29  # bytes of pixels, a byte each, that are kept in memory
BATCH = 64  # images that are read at a time before the first trial
SHOWN = 5  # broken files that are named
GREY, COLOURS = 1, 3
CHANNELS = {"grayscale": GREY, "rgb": COLOURS}

Size = tuple[int, int, int]  # height, width and channels of an image


@dataclasses.dataclass(frozen=True, kw_only=True)
class Images(Streams):
    """Images in files, or in memory where they are small enough.

    Attributes:
        files: paths of all images.
        numbers: the class of each, int64, shape (images,).
        rows: {part: numbers of its images}.
        size: (height, width, channels) of an image.
        memory: all images, uint8, shape (images, height, width, channels); None if they are too
            large, and so are read from their files in every epoch.
    """

    files: tf.Tensor
    numbers: np.ndarray
    rows: Mapping[PartName, np.ndarray]
    size: Size
    memory: tf.Tensor | None

    @property
    def shape(self) -> tuple[int, ...]:
        return self.size

    @property
    def sizes(self) -> Sizes:
        return Sizes(*(len(self.rows[part]) for part in PARTS))

    def class_counts(self) -> np.ndarray:
        return np.bincount(self.numbers[self.rows["train"]], minlength=self.outputs)

    def joined(self) -> Self:
        rows = np.concatenate([self.rows["train"], self.rows["validation"]])
        none = rows[:0]
        return dataclasses.replace(self, rows={**self.rows, "train": rows, "validation": none})

    def opened(self) -> Self:
        return self

    def raw(self, part: PartName, batch_size: int, *, shuffled: bool = False) -> tf.data.Dataset:
        rows = tf.data.Dataset.from_tensor_slices(self.rows[part])
        if shuffled:  # by Python's global generator, which every training begins with a seed of
            rows = rows.shuffle(len(self.rows[part]), seed=next_seed())
        files, numbers, memory = self.files, self.numbers, self.memory
        if memory is not None:
            return rows.batch(batch_size).map(
                lambda some: (tf.gather(memory, some), tf.gather(numbers, some)), tf.data.AUTOTUNE
            )
        return rows.map(
            lambda row: (read(files[row], self.size), tf.gather(numbers, row)), tf.data.AUTOTUNE
        ).batch(batch_size)


def read(file: tf.Tensor, size: Size) -> tf.Tensor:
    """Read an image and resize it as `keras.utils.image_dataset_from_directory` does.

    Args:
        file: its path.
        size: (height, width, channels) to return.

    Returns:
        The image, rounded to uint8. Of one with an alpha channel that is left out, and of an
        animation all but the first picture.
    """
    return _resized(_decoded(file), size)


def _decoded(file: tf.Tensor) -> tf.Tensor:
    return tf.io.decode_image(tf.io.read_file(file), expand_animations=False)


def _resized(image: tf.Tensor, size: Size) -> tf.Tensor:
    *extent, channels = size
    image, grey = tf.cast(image, "float32"), tf.shape(image)[-1] < COLOURS
    if channels == GREY:
        image = tf.cond(
            grey, lambda: image[..., :1], lambda: tf.image.rgb_to_grayscale(image[..., :COLOURS])
        )
    else:
        image = tf.cond(
            grey, lambda: tf.repeat(image[..., :1], COLOURS, -1), lambda: image[..., :COLOURS]
        )
    resized = tf.image.resize(image, extent)
    return tf.ensure_shape(tf.cast(tf.round(resized), "uint8"), size)


def extents(files: Sequence[str]) -> list[tuple[int, int]]:
    """Return (height, width) of images in files, without those that cannot be read."""
    found = []
    for file in files:
        with contextlib.suppress(tf.errors.OpError):  # which is reported when all are read
            found.append(tuple(_decoded(tf.constant(file)).shape[:2]))
    return found or [(1, 1)]


def load_images(spec: DatasetSpec, seed: int, home: Path) -> Images:
    """List the images of a folder, split them, and read each once.

    Args:
        spec: the folder, the images' size, and the shares of the parts.
        seed: of the split, at least 0.
        home: directory that relative paths start from.

    Raises:
        ViolationError: with all that is wrong; its keys are keys of the section `dataset`.
    """
    folder = home / str(spec.path)
    places = folders.parts_of(folder)
    classes = folders.classes_of(places["train"])
    listings = {part: folders.listed(place, classes) for part, place in places.items()}
    files = [file for listing in listings.values() for file in listing.files]
    numbers = np.array([number for listing in listings.values() for number in listing.numbers])
    rows = _split(spec, seed, listings, numbers)
    assert spec.image_size is not None  # noqa: S101  the schema asks for it
    height, width = spec.image_size
    asked = None if spec.color_mode is None else CHANNELS[spec.color_mode]
    size, scaling, memory = _read_all(
        files, (height, width, asked or COLOURS), asked, rows["train"]
    )
    check_images(spec.augmentation, size)
    return Images(
        outputs=len(classes),
        labels=tuple(classes),
        x_scaling=scaling if spec.standardize is True else UNSCALED,
        y_scaling=(0.0, 1.0),
        pixels=PIXELS,
        augmentation=spec.augmentation,
        files=tf.constant(files),
        numbers=numbers,
        rows=rows,
        size=size,
        memory=memory,
    )


def _split(
    spec: DatasetSpec, seed: int, listings: Mapping[PartName, Listing], numbers: np.ndarray
) -> dict[PartName, np.ndarray]:
    """Return the numbers of the images of each part; parts of the folder's own stay as they are."""
    rows: dict[PartName, np.ndarray] = {}
    seen = 0
    for part, listing in listings.items():
        rows[part] = np.arange(seen, seen + len(listing.files))
        seen += len(listing.files)
    images = len(rows["train"])
    shares: dict[PartName, float | str | None] = {"test": spec.test, "validation": spec.validation}
    for part, share in shares.items():
        if part in listings:
            if share is not None and not (part == "validation" and spec.default_validation):
                raise ViolationError(second_part(part, share))
        elif share is None or isinstance(share, str):  # the schema allows no file here
            rows[part] = rows["train"][:0]
        else:
            train = rows["train"]
            held = count(share, images)
            stays, goes = at_random(part, held, seed, numbers[train], stratify=True)
            rows["train"], rows[part] = train[stays], train[goes]
    return rows


def _read_all(
    files: Sequence[str], size: Size, channels: int | None, train: np.ndarray
) -> tuple[Size, Scaling, tf.Tensor | None]:
    """Read every image once, so that a broken one is found before the first trial.

    Args:
        files: the images.
        size: (height, width, channels) to resize them to.
        channels: that are asked for; None for one where no image has colours.
        train: numbers of the training images.

    Returns:
        The size, with the channels found; mean and deviation of each channel of the training
        images; and all images, if they are small enough.

    Raises:
        ViolationError: with the key `path`, and the files that cannot be read.
    """
    small = len(files) * math.prod(size) <= IN_MEMORY
    memory = np.empty((len(files), *size), "uint8") if small else None
    trains = np.zeros(len(files), bool)
    trains[train] = True
    moments, coloured, seen = Moments(), False, 0
    images = tf.data.Dataset.from_tensor_slices(files).map(
        lambda file: _with_channels(file, size), tf.data.AUTOTUNE
    )
    try:
        for batch, found in images.batch(BATCH).as_numpy_iterator():
            part = slice(seen, seen + len(batch))
            if memory is not None:
                memory[part] = batch
            if trains[part].any():
                moments.add(batch[trains[part]])
            coloured |= bool((found >= COLOURS).any())
            seen = part.stop
    except tf.errors.OpError as error:
        raise ViolationError(*_broken(files, error)) from None
    mean, deviation = map(np.atleast_1d, moments.scaling)
    if channels is None and not coloured:
        size, mean, deviation = (*size[:2], GREY), mean[:GREY], deviation[:GREY]
        memory = None if memory is None else memory[..., :GREY]
    if memory is not None:
        with tf.device("CPU"):  # where the input is prepared
            memory = tf.constant(memory)
    return size, (mean, deviation), memory


def _with_channels(file: tf.Tensor, size: Size) -> tuple[tf.Tensor, tf.Tensor]:
    """Read an image; return it and the number of channels in its file."""
    image = _decoded(file)
    return _resized(image, size), tf.shape(image)[-1]


def _broken(files: Sequence[str], error: tf.errors.OpError) -> list[Violation]:
    """Return a violation of each of the first files that cannot be read."""
    reasons = {}
    for file in files:
        try:
            _decoded(tf.constant(file))
        except tf.errors.OpError as failure:
            reasons[file] = failure.message
    reasons = reasons or {"one of them": error.message}
    rule = "every image must be readable"
    if len(reasons) > SHOWN:
        rule += f"; {len(reasons)} of {len(files)} are not, the first ones of them"
    return [
        Violation(rule, "Replace or remove it.", "path", Text(f"{file}: {_first_line(reason)}"))
        for file, reason in itertools.islice(reasons.items(), SHOWN)
    ]


def _first_line(message: str) -> str:
    """Return what TensorFlow says, without the operation that said it."""
    return message.partition("\n")[0].partition("} ")[2].partition(" [Op:")[0] or message
