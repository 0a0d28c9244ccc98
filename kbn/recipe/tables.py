"""Examples read from files: CSV, Parquet and NPZ."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kbn.errors import Text, Violation, ViolationError
from kbn.recipe.columns import Place

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

SUFFIXES = (".csv", ".parquet", ".npz")
# names of the arrays in an NPZ file, without and with a test part of its own
WITHOUT_TEST, WITH_TEST = ("x", "y"), ("x_train", "y_train", "x_test", "y_test")
# suffix of a table -> function that names the place of a row, counted from 0, in the file
PLACES: dict[str, Place] = {
    ".csv": lambda row: f"line {row + 2}",
    ".parquet": lambda row: f"row {row + 1}",
}


def read_arrays(file: Path, key: str) -> tuple[np.ndarray, ...]:
    """Read the arrays of an NPZ file: x and y and, unless it is a part, those of its test part.

    Raises:
        ViolationError: with what is wrong with the file, and the key that names it.
    """
    with _blaming(key):
        return _arrays(file, with_test=key == "path")


def read_table(file: Path, key: str = "path") -> pd.DataFrame:
    """Read a CSV or Parquet table of at least two columns and a row.

    Raises:
        ViolationError: with what is wrong with the file, and the key that names it.
    """
    with _blaming(key):
        return _table(file)


@contextlib.contextmanager
def _blaming(key: str) -> Iterator[None]:
    """Give violations of the block another key."""
    try:
        yield
    except ViolationError as error:
        violations = [dataclasses.replace(violation, key=key) for violation in error.violations]
        raise ViolationError(*violations) from error


def _check_file(file: Path) -> None:
    if not file.is_file():
        raise ViolationError(Violation("must be a file", "Fix the path.", "path", str(file)))


def _table(file: Path) -> pd.DataFrame:
    _check_file(file)
    table = _csv(file) if file.suffix == ".csv" else _parquet(file)
    if len(table.columns) < 2 or table.empty:  # noqa: PLR2004  a feature and the target
        rule, hint = "must hold a feature, the target, and examples", "Name another file."
        received = Text(f"{len(table)} rows of {len(table.columns)} columns")
        raise ViolationError(Violation(rule, hint, "path", received))
    return table.astype({n: object for n, t in table.dtypes.items() if t == "category"})


def _arrays(file: Path, *, with_test: bool) -> tuple[np.ndarray, ...]:
    """Read the arrays of an NPZ file; pickled objects in it are rejected, not executed."""
    import numpy as np

    _check_file(file)
    rule = "must be an NPZ file with x and y"
    if with_test:
        rule += ", or with x_train, y_train, x_test and y_test"
    hint = "Save it with np.savez(path, x=x, y=y)."
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            held = arrays.files
            names = WITH_TEST if "x_train" in held and with_test else WITHOUT_TEST
            if set(names) <= set(held):
                return tuple(arrays[name] for name in names)
    except Exception as error:  # of NumPy, zipfile or zlib
        received = Text(str(error).partition("\n")[0])
        raise ViolationError(Violation(rule, hint, "path", received)) from error
    raise ViolationError(Violation(rule, hint, "path", Text(", ".join(held) or "no array")))


def _parquet(file: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        return pd.read_parquet(file).rename(columns=str)
    except Exception as error:  # of pyarrow
        received = Text(str(error).strip().partition("\n")[0])
        rule, hint = "must be a Parquet file", "Save it with DataFrame.to_parquet(path)."
        raise ViolationError(Violation(rule, hint, "path", received)) from error


def _csv(file: Path) -> pd.DataFrame:
    import pandas as pd

    hint = "Save it as UTF-8 text, with a header and equally many values in every line."
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            header = next(csv.reader(lines, skipinitialspace=True), [])
        violations = list(_invalid_header(header))
        if not violations:
            table = pd.read_csv(file, low_memory=False, encoding="utf-8-sig", skipinitialspace=True)
            if isinstance(table.index, pd.RangeIndex):
                return table
            received = Text("more values than names")  # which pandas would make an index
            violations = [Violation("must be a CSV file with a header", hint, "path", received)]
    except (OSError, ValueError, csv.Error) as error:  # pandas raises ValueErrors
        received = Text(str(error).strip().partition("\n")[0])
        violations = [Violation("must be a CSV file with a header", hint, "path", received)]
    raise ViolationError(*violations)


def _invalid_header(header: Sequence[str]) -> Iterator[Violation]:
    """Yield the violations that keep a CSV file's first line from naming its columns."""
    if not any(header):
        received = Text("nothing in the first line")
        yield Violation("must be a CSV file with a header", "Write one.", "path", received)
    elif len(header) == 1 and any(mark in header[0] for mark in ";\t|"):
        rule = "columns must be separated by commas"
        yield Violation(rule, "Save it with commas.", "path", header[0])
    elif any(map(_is_number, header)) and not all(map(str.isdigit, filter(_is_number, header))):
        hint = "Write one, with a word for every column."
        yield Violation("the first line must be a header", hint, "path", Text(",".join(header)))
    elif "" in header:
        hint = f"Name column {header.index('') + 1}, or remove it if it only numbers the rows."
        yield Violation("every column must have a name", hint, "path", Text(",".join(header)))
    elif len(set(header)) < len(header):
        repeated = next(name for name in header if header.count(name) > 1)
        rule, hint = "column names must differ", "Rename one, or add a header if there is none."
        yield Violation(rule, hint, "path", repeated)


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?", text) is not None
