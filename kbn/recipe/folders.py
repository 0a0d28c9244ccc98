"""Folders of images: which files they hold, and of which class each is."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from kbn.errors import Text, Violation, ViolationError
from kbn.recipe.dataset import PartName

FORMATS = (".bmp", ".gif", ".jpeg", ".jpg", ".png")
JUNK = ("Thumbs.db", "desktop.ini")  # of file managers; those of others begin with a dot
# sub-folder -> part of the data that it holds
PARTS: dict[str, PartName] = {
    "train": "train",
    "validation": "validation",
    "val": "validation",
    "test": "test",
}
CLASSES = 2  # at least


class Listing(NamedTuple):
    """Images of a folder.

    Attributes:
        files: their paths, sorted by class and path.
        numbers: the class of each, a number in [0, classes).
    """

    files: list[str]
    numbers: list[int]


def classes_of(folder: Path) -> list[str]:
    """Return the classes of a folder: the names of its sub-folders, sorted.

    Raises:
        ViolationError: with the key `path`, if there are fewer than two.
    """
    if not folder.is_dir():
        rule = "must be a folder of images, or a file that ends with .csv, .parquet or .npz"
        raise ViolationError(Violation(rule, "Fix the path.", "path", str(folder)))
    names = [entry.name for entry in folder.iterdir() if entry.is_dir() and _shown(entry)]
    loose = next((each for each in sorted(folder.iterdir()) if _is_image(each)), None)
    if loose is not None:
        rule, hint = "every image must lie in the sub-folder of its class", "Move it into one."
        raise ViolationError(Violation(rule, hint, "path", str(loose)))
    if len(names) < CLASSES:
        rule = "must hold a sub-folder of images for each of at least two classes"
        received = Text(f"{' and '.join(names) or 'none'} in {folder}")
        raise ViolationError(Violation(rule, "Add the others.", "path", received))
    return sorted(names)


def parts_of(folder: Path) -> dict[PartName, Path]:
    """Return {part: folder} of a folder that has its parts in sub-folders, else {"train": folder}.

    It has them if its sub-folders are named train, validation (or val) and test, and no others;
    only train must be there.
    """
    held = folder.iterdir() if folder.is_dir() else ()
    places = {entry.name: entry for entry in held if entry.is_dir() and _shown(entry)}
    if "train" not in places or not places.keys() <= PARTS.keys():
        return {"train": folder}
    return {part: places[name] for name, part in PARTS.items() if name in places}


def listed(folder: Path, classes: Sequence[str]) -> Listing:
    """List the images of all classes, at any depth below the sub-folders.

    Raises:
        ViolationError: with the key `path`: if a class has no images, or a file is none.
    """
    listing, violations = Listing([], []), []
    strangers = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and _shown(entry))
    for name in strangers:
        if name not in classes:
            rule, hint = "must not have classes of its own", "Remove it, or add it to train."
            violations.append(Violation(rule, hint, "path", str(folder / name)))
    for number, name in enumerate(classes):
        files = sorted(_files(folder / name))
        others = [file for file in files if not _is_image(file)]
        if others:
            rule = f"may hold only images, which end with {', '.join(FORMATS)}"
            more = f", and {len(others) - 1} more" if len(others) > 1 else ""
            received = Text(f"{others[0]}{more}")
            violations.append(Violation(rule, "Move it away, or convert it.", "path", received))
        images = [str(file) for file in files if _is_image(file)]
        if not images:
            rule, hint = "every class must have images", "Add some, or remove the folder."
            violations.append(Violation(rule, hint, "path", Text(f"none in {folder / name}")))
        listing.files.extend(images)
        listing.numbers.extend([number] * len(images))
    if violations:
        raise ViolationError(*violations)
    return listing


def _files(folder: Path) -> Iterator[Path]:
    for place, names, files in os.walk(folder):
        names[:] = [name for name in names if not name.startswith(".")]
        yield from (file for name in files if _shown(file := Path(place, name)))


def _shown(file: Path) -> bool:
    return not file.name.startswith(".") and file.name not in JUNK


def _is_image(file: Path) -> bool:
    return file.suffix.lower() in FORMATS and file.is_file()
