"""The section `dataset` of a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from kbn.errors import NULL, Violation
from kbn.recipe.augmentation import Augmentation
from kbn.recipe.catalog import DATASETS, FETCHED, second_part
from kbn.recipe.columns import GivenKind
from kbn.recipe.rules import MAX_INTEGER, OneOf, Reference, Strict, only_one, reject
from kbn.recipe.tables import SUFFIXES

TARGETS = "targets"  # what alone is standardized where the model prepares its inputs itself


def _check_part(given: object) -> int | float | str:
    """Reject what is no share of the examples, no number of them, and no file."""
    if isinstance(given, str):
        return _check_path(given)
    if type(given) is int and 1 <= given <= MAX_INTEGER:
        return given
    if type(given) is float and 0 < given < 1:
        return given
    rule = "must be a share in (0, 1), a number of examples, or a file"
    received = NULL if given is None else given
    raise reject(Violation(rule, "Write it like 0.2, or like 300.", received=received))


def _check_path(path: str) -> str:
    if Path(path).suffix and not path.endswith((*SUFFIXES, "/")):
        rule = f"must end with {', '.join(SUFFIXES)}"
        hint = "Save the data as one of these; the path of a folder of images ends with /."
        raise reject(Violation(rule, hint, received=path))
    kept = str(Path(path).expanduser())
    return f"{kept}/" if not kept.endswith(SUFFIXES) and Path(kept).suffix else kept


def _check_standardize(given: object) -> object:
    if isinstance(given, bool) or given == TARGETS:
        return given
    received = NULL if given is None else given
    raise reject(
        Violation(f"must be true, false or {TARGETS}", "Write one of them.", received=received)
    )


Part = Annotated[int | float | str, BeforeValidator(_check_part)]
Column = Annotated[str, Field(min_length=1)]
OF_TABLES = ("target", "columns", "vocabulary", "length", "weights", "split")


def _word(value: object) -> str | None:
    return value if isinstance(value, str) else None


class SplitSpec(Strict):
    """By which column of a table its rows are split.

    `by` keeps all rows with the same value of the column on one side; `time` sorts the rows by the
    column, and the last ones validate, the very last ones test. The column is no feature unless
    `columns` names its kind.
    """

    by: Column | None = None
    time: Column | None = None

    @model_validator(mode="after")
    def _one_column(self) -> Self:
        only_one(self, "by", "time")
        return self

    @property
    def column(self) -> str:
        """Name of the column."""
        return str(self.by if self.time is None else self.time)


class DatasetSpec(Strict):
    """Which data to use, and how much of it is held out for validation and test.

    One of these names the data: `name`, a data set that scikit-learn ships or Keras downloads;
    `path`, a CSV, Parquet or NPZ file, relative to the recipe's directory; or `python`, a function
    given as module:function that returns (x, y), or (x, y), (x_test, y_test). The target of a table
    is the column `target`, by default the last one. `shape` reshapes each example, as to the pixels
    of an image. Features and, of a regression, targets are standardized; with `standardize:
    targets`, which is the default for an application, only these. `validation` and `test` are
    shares, numbers of examples, or files like that of `path`; a search with `folds` has no
    validation part of its own, which then is null.

    Of a table, `columns` says which kind a column is of, where that is not to be found from its
    values: number, category, date, text (a bag of words), tokens (the words in their order, for the
    model `text`) or ignore. `vocabulary` is how many of the most frequent words of a text are
    known, `length` how many tokens of a text are read. `weights` names the column of the examples'
    weights, which the loss and the metrics are weighted with.

    A `path` may also be a folder of images with a sub-folder for each class; these are resized to
    `image_size`, (height, width). If all its sub-folders are train, validation and test, each of
    them holds the classes of a part. `color_mode` is found in the files unless it is given.
    `augmentation` changes training images at random. A function may also return streams, each a
    `tf.data.Dataset` or `keras.utils.PyDataset`: (train, validation) or (train, validation, test).
    For a model of several inputs, x of a function is a dict of arrays, {name: (examples, ...)}.
    """

    name: Annotated[str, OneOf("data set", DATASETS)] | None = None
    path: Annotated[str, AfterValidator(_check_path)] | None = None
    python: Reference | None = None
    target: str | None = None
    columns: dict[Column, GivenKind] | None = None
    vocabulary: int | None = Field(None, ge=1, le=1_000_000)
    length: int | None = Field(None, ge=1, le=100_000)
    weights: Column | None = None
    split: SplitSpec | None = None
    task: Literal["classification", "regression"] | None = None
    shape: list[Annotated[int, Field(ge=1)]] | None = Field(None, min_length=1)
    validation: Part | None = 0.2
    test: Part | None = None
    standardize: Annotated[bool | Literal["targets"], BeforeValidator(_check_standardize)] = True
    image_size: list[Annotated[int, Field(ge=1)]] | None = Field(None, min_length=2, max_length=2)
    color_mode: Literal["rgb", "grayscale"] | None = None
    augmentation: Augmentation = Field(default_factory=list)

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        only_one(self, "name", "path", "python")
        violations = []
        if self.path is None or self.path.endswith(".npz") or self.is_folder:
            violations += [
                Violation("only a table has columns", f"Remove {key}.", key, _word(value))
                for key in OF_TABLES
                if (value := getattr(self, key)) is not None
            ]
        for key, file in self.part_files.items():
            if self.path is None or self.is_folder:
                rule, hint = "only a file can have another beside it", "Write it like 0.2."
                violations.append(Violation(rule, hint, key, file))
            elif file.endswith(".npz") != self.path.endswith(".npz"):
                rule, hint = "must be a table or NPZ file, as path is", "Convert it."
                violations.append(Violation(rule, hint, key, file))
        if violations:
            raise reject(*violations)
        return self

    @model_validator(mode="after")
    def _columns_have_one_use(self) -> Self:
        violations = [
            Violation("is the target", "Remove it here.", f"columns.{self.target}")
            for name in self.columns or ()
            if name == self.target
        ]
        uses = {"weights": self.weights, "split": self.split and self.split.column}
        for key, name in uses.items():
            if name is not None and name == self.target:
                violations.append(Violation("must not be the target", "Name another.", key, name))
        if self.weights in (self.columns or ()):
            rule = "is no feature, but what weights names"
            violations.append(Violation(rule, "Remove it here.", f"columns.{self.weights}"))
        if self.split and not {"validation", "test"} - self.part_files.keys():
            rule, hint = "both parts are files, so that nothing is split", "Remove it."
            violations.append(Violation(rule, hint, "split"))
        texts = {"text", "tokens"} & {*(self.columns or {}).values()}
        if self.vocabulary is not None and not texts:
            rule, hint = "needs a column of text or tokens", "Add it to columns."
            violations.append(Violation(rule, hint, "vocabulary", self.vocabulary))
        if self.length is not None and "tokens" not in texts:
            rule, hint = "needs a column of tokens", "Add it to columns."
            violations.append(Violation(rule, hint, "length", self.length))
        if violations:
            raise reject(*violations)
        return self

    @model_validator(mode="after")
    def _parts_leave_some(self) -> Self:
        if self.test is None or isinstance(self.test, str):
            return self
        if self.name in FETCHED:
            raise reject(second_part("test", self.test))
        shares = [part for part in (self.validation, self.test) if isinstance(part, float)]
        if sum(shares) >= 1:
            rule = "validation and test must leave examples to train on"
            raise reject(Violation(rule, "Lower one.", "test", self.test))
        return self

    @model_validator(mode="after")
    def _images_have_a_size(self) -> Self:
        violations = []
        if self.is_folder:
            if self.image_size is None:
                rule, hint = "a folder of images needs this key", "Add image_size: [64, 64]."
                violations.append(Violation(rule, hint, "image_size"))
            if self.shape is not None:
                rule, hint = "the shape of images in files is image_size", "Remove shape."
                violations.append(Violation(rule, hint, "shape", self.shape))
            if self.task == "regression":
                rule, hint = "the sub-folders of images are classes", "Remove task."
                violations.append(Violation(rule, hint, "task", self.task))
        else:
            for key in ("image_size", "color_mode"):
                if (given := getattr(self, key)) is not None:
                    rule, hint = "only a folder of images has it", f"Remove {key}."
                    violations.append(Violation(rule, hint, key, given))
        if violations:
            raise reject(*violations)
        return self

    @property
    def is_folder(self) -> bool:
        """Whether the data are a folder of images."""
        return self.path is not None and not self.path.endswith(SUFFIXES)

    @property
    def default_validation(self) -> bool:
        """Whether the validation part is as large as if the recipe did not say it."""
        return self.validation == type(self).model_fields["validation"].default

    @property
    def part_files(self) -> dict[str, str]:
        """{part: its file} of the validation and test parts that are files of their own."""
        parts = {"validation": self.validation, "test": self.test}
        return {key: part for key, part in parts.items() if isinstance(part, str)}

    @property
    def files(self) -> dict[str, str]:
        """{key: file} of all files of data."""
        return {**({} if self.path is None else {"path": self.path}), **self.part_files}

    @property
    def label(self) -> str:
        """Name of the data in messages."""
        return self.name or self.path or str(self.python)
