"""Examples read from files: CSV, Parquet and NPZ."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kbn.errors import Text, Violation, ViolationError
from kbn.recipe.rules import suggest

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

Place = Callable[[int], str]
SUFFIXES = (".csv", ".parquet", ".npz")
# names of the arrays in an NPZ file, without and with a test part of its own
WITHOUT_TEST, WITH_TEST = ("x", "y"), ("x_train", "y_train", "x_test", "y_test")
# suffix of a table -> function that names the place of a row, counted from 0, in the file
PLACES: dict[str, Place] = {
    ".csv": lambda row: f"line {row + 2}",
    ".parquet": lambda row: f"row {row + 1}",
}


def read(file: Path, target: str | None) -> tuple[np.ndarray, ...]:
    """Read the examples and targets in a file.

    Args:
        file: a CSV or Parquet table with a header, or an NPZ file with the arrays x and y, or with
            x_train, y_train, x_test and y_test.
        target: column of the table to predict; None for the last. Ignored for an NPZ file.

    Returns:
        x, shape (examples, features) or as an NPZ file has it, and y, shape (examples,); then, if
        the file has a test part of its own, x and y of that.

    Raises:
        ViolationError: with all that is wrong with the file; its keys are keys of the section
            `dataset`.
    """
    if file.suffix == ".npz" and file.is_file():
        return _arrays(file)
    table = read_table(file)
    chosen = table.columns[-1] if target is None else target
    if chosen not in table.columns:
        hint = suggest(chosen, table.columns)
        raise ViolationError(Violation("must name a column", hint, "target", chosen))
    features, place = table.drop(columns=chosen), PLACES[file.suffix]
    violations = [
        violation for name in features for violation in _invalid_feature(features[name], place)
    ]
    violations += _missing(table[chosen], place)
    if violations:
        raise ViolationError(*violations)
    return features.to_numpy("float64"), table[chosen].to_numpy()


def read_table(file: Path) -> pd.DataFrame:
    """Read a CSV or Parquet table of at least two columns and a row.

    Raises:
        ViolationError: with what is wrong with the file, and the key `path`.
    """
    if not file.is_file():
        raise ViolationError(Violation("must be a file", "Fix the path.", "path", str(file)))
    table = _csv(file) if file.suffix == ".csv" else _parquet(file)
    if len(table.columns) < 2 or table.empty:  # noqa: PLR2004  a feature and the target
        rule, hint = "must hold a feature, the target, and examples", "Name another file."
        received = Text(f"{len(table)} rows of {len(table.columns)} columns")
        raise ViolationError(Violation(rule, hint, "path", received))
    return table


def _arrays(file: Path) -> tuple[np.ndarray, ...]:
    """Read the arrays of an NPZ file; pickled objects in it are rejected, not executed."""
    import numpy as np

    rule = "must be an NPZ file with x and y, or with x_train, y_train, x_test and y_test"
    hint = "Save it with np.savez(path, x=x, y=y)."
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            held = arrays.files
            names = WITH_TEST if "x_train" in held else WITHOUT_TEST
            if set(names) <= set(held):
                return tuple(arrays[name] for name in names)
    except Exception as error:  # of NumPy, zipfile or zlib
        received = Text(str(error).partition("\n")[0])
        raise ViolationError(Violation(rule, hint, "path", received)) from error
    raise ViolationError(Violation(rule, hint, "path", Text(", ".join(held) or "no array")))


def _parquet(file: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        return pd.read_parquet(file)
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


def _invalid_feature(column: pd.Series[Any], place: Place) -> Iterator[Violation]:
    """Yield the violation that keeps a column from being a feature, if there is one."""
    import numpy as np
    import pandas as pd

    missing = list(_missing(column, place))
    if missing:
        yield from missing
        return
    numeric = pd.api.types.is_numeric_dtype(column) and column.dtype.kind != "c"
    numbers = column if numeric else pd.to_numeric(column.astype("str"), errors="coerce")
    bad = ~np.isfinite(numbers.to_numpy("float64"))
    if numeric and not bad.any():
        return
    row = int(bad.argmax())  # 0 where words stand for numbers
    rule = f"column {column.name} must be finite numbers"
    received = Text(f"{column.iloc[row]} in {place(row)}")
    yield Violation(rule, "Write it as numbers, or remove the column.", "path", received)


def _missing(column: pd.Series[Any], place: Place) -> Iterator[Violation]:
    missing = column.isna().to_numpy()
    if missing.any():
        rule = f"column {column.name} must have a value in every row"
        received = f"{missing.sum()} without one, the first in {place(int(missing.argmax()))}"
        yield Violation(rule, "Fill them in, or remove these rows.", "path", Text(received))
