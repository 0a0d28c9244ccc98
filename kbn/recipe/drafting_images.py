"""A recipe to start from, drafted from what is found in a folder of images."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kbn.errors import ViolationError
from kbn.recipe.data import DatasetSpec
from kbn.recipe.drafting import (
    DROPOUT,
    FILTERS,
    LEARNING_RATE,
    MAX_LABELS,
    batch_sizes,
    commands,
    filled,
    path_from_recipes,
    plain,
    search_keys,
)
from kbn.recipe.examining import MANY, SEED, failed
from kbn.recipe.folders import classes_of, listed, parts_of
from kbn.recipe.reading import word

if TYPE_CHECKING:
    from kbn.recipe.images import Images

LOOKED_AT = 50  # images whose size is looked at
SIDES = 8, 128  # pixels of a side, from and to
ENOUGH = 20  # images of a class, for a test part


def draft_images(name: str, folder: Path) -> str:
    """Return the text of a recipe for a folder of images, with comments on what was found in it.

    Args:
        name: of the recipe, whose file will be in `recipes/`.
        folder: with a sub-folder for each class, or with train, validation and test above these.

    Raises:
        RecipeError: with all that is wrong with the images.
    """
    from kbn.recipe.images import load_images

    try:
        spec = _spec(folder)
        data = load_images(spec, SEED, Path())
    except ViolationError as error:
        raise failed(folder, error) from error
    return "\n".join([*_comments(name, folder, data), *_keys(name, spec, data), ""])


def _spec(folder: Path) -> DatasetSpec:
    """Find the size of the images, and the shares of the parts where the folder has none."""
    from kbn.recipe.images import extents

    places = parts_of(folder)
    classes = classes_of(places["train"])
    files = [file for place in places.values() for file in listed(place, classes).files]
    looked_at = extents(files[:: -(-len(files) // LOOKED_AT)])
    given: dict[str, Any] = {
        "path": f"{folder}/",
        "image_size": [_side([extent[axis] for extent in looked_at]) for axis in (0, 1)],
    }
    share = 0.2 if len(files) < MANY else 0.1
    if "validation" not in places:
        given["validation"] = share
    if len(places) == 1 and len(files) >= ENOUGH * len(classes):
        given["test"] = share
    return DatasetSpec.model_validate(given)


def _side(lengths: list[int]) -> int:
    """Return a usual length of a side, a multiple of 8."""
    low, high = SIDES
    return min(max(sorted(lengths)[len(lengths) // 2] // 8 * 8, low), high)


def _comments(name: str, folder: Path, data: Images) -> Iterator[str]:
    labels = ", ".join(plain(str(label)) for label in data.labels[:MAX_LABELS])
    more = ", ..." if data.outputs > MAX_LABELS else ""
    kind = "grey" if data.shape[-1] == 1 else "coloured"
    commonest = data.class_counts().max() / max(1, data.sizes.train)
    yield f"# Tell the images of {plain(folder.name)} apart."
    yield from commands(name)
    yield from filled(
        f"The folder holds {sum(data.sizes)} {kind} images of {data.outputs} classes, which are "
        f"its sub-folders: {labels}{more}. Always answering the commonest has an accuracy of "
        f"{commonest:.2f}: a model must do better. `path` starts from this file's directory."
    )
    yield "#"
    yield from filled(
        "Images are resized to image_size, (height, width), and standardized; the saved model "
        "takes pixels from 0 to 255, of that size. Training images are changed at random as "
        "`augmentation` says: keep what leaves their class as it is."
    )


def _keys(name: str, spec: DatasetSpec, data: Images) -> Iterator[str]:
    path = path_from_recipes(Path(str(spec.path)))
    yield f"name: {word(name)}"
    yield "dataset:"
    yield f"  path: {word(f'{path}/')}"
    yield f"  image_size: {spec.image_size}"
    yield f"  color_mode: {'grayscale' if data.shape[-1] == 1 else 'rgb'}"
    for part in sorted(spec.model_fields_set & {"validation", "test"}):
        yield f"  {part}: {getattr(spec, part)}"
    yield "  augmentation:"
    yield "    - {name: RandomFlip, mode: horizontal}"
    yield "    - {name: RandomTranslation, height_factor: 0.1, width_factor: 0.1}"
    yield "model: {name: cnn, norm: {position: before_activation}}"
    yield "objective: {metric: val_accuracy, direction: max}"
    rows = [
        LEARNING_RATE,
        ("batch_size", f"{{type: choice, values: {batch_sizes(data.sizes.train)}, tier: 2}}", ""),
        FILTERS,
        ("layers", "{type: int, low: 2, high: 5, tier: 3}", "each halves the image"),
        DROPOUT,
    ]
    yield from search_keys(name, data.sizes, rows)
