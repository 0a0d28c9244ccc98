"""Columns of a table: which kind each is of, and its values in the form that the kind has.

A number is a float, NaN where it is missing. A date is ISO text, and words, categories and texts
are text; "" is missing.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

from kbn.errors import Text, Violation

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

Kind = Literal["number", "category", "date", "text", "tokens"]
GivenKind = Literal[Kind, "ignore"]
Place = Callable[[int], str]  # names the place of a row, counted from 0, in its file

# ISO 8601: a date, and a time to the minute or finer; what follows, as an offset, is not read
DATE = r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}.*)?"
MOST = 0.5  # share of numbers, or dates, from which on the others among them are taken for faults
FEW = 20  # different words that no table has too many of
VARIED = 0.5  # share of different words among all, from which on they are an id or free text


def kind_of(column: pd.Series[Any], place: Place, varied: Kind | None = None) -> Kind | Violation:
    """Return the kind that a column's values have, or what keeps them from having one.

    Args:
        column: values of a feature.
        place: names a row.
        varied: kind of words that hardly recur; None where they have none.
    """
    import pandas as pd

    name, there = column.name, column.dropna()
    if there.empty:
        rule, hint = f"column {name} must have values", f"Write columns: {{{name}: ignore}}."
        return Violation(rule, hint, received=Text("a gap in every row"))
    if pd.api.types.is_numeric_dtype(column):  # as booleans without gaps are
        return next(invalid_values(column, "number", place), "number")
    if pd.api.types.is_datetime64_any_dtype(column):
        return "date"
    if violation := next(invalid_values(column, "category", place), None):
        return violation
    if pd.api.types.is_bool_dtype(there.infer_objects()):
        return "category"
    different = pd.Series(there.unique(), name=name)
    dates, numbers = _valid_dates(different).mean(), _valid_numbers(different).mean()
    if dates == 1:
        return "date"
    if max(dates, numbers) >= MOST and numbers < 1:
        return _almost(column, "number" if numbers > dates else "date", place)
    if len(different) > max(FEW, VARIED * len(there)):
        if varied is not None:
            return varied
        rule = f"column {name} must have words that recur, or a kind"
        hint = f"Write columns: {{{name}: text}}, or ignore if it only names the rows."
        received = Text(f"{len(different)} different ones in {len(there)} rows")
        return Violation(rule, hint, received=received)
    return "category"


def invalid_values(column: pd.Series[Any], kind: Kind, place: Place) -> Iterator[Violation]:
    """Yield the violation that keeps a column from being of a kind, if there is one."""
    import numpy as np
    import pandas as pd

    bad = _no_scalars(column)
    rule, hint = f"column {column.name} must be numbers, words or dates", "Convert it"
    if kind == "number" and not bad.any():
        numbers = _numbers(column)
        with np.errstate(over="ignore"):
            bad = ~np.isfinite(numbers.astype("float32")) & column.notna().to_numpy()
        rule, hint = f"column {column.name} must be finite numbers", "Fix it"
    elif kind == "date" and not bad.any():
        codes, different = pd.factorize(column)
        valid = np.append(_valid_dates(pd.Series(different)), True)  # -1 where it is missing
        bad = ~valid[codes]
        rule, hint = f"column {column.name} must be dates like 2026-11-26T12:30", "Fix it"
    if bad.any():
        row = int(bad.argmax())
        received = Text(f"{column.iloc[row]} in {place(row)}")
        yield Violation(rule, _or_ignore(hint, column.name), received=received)


def converted(column: pd.Series[Any], kind: Kind) -> np.ndarray:
    """Return a column's values in the form of a kind, shape (rows,): float32, or text.

    Raises:
        ValueError: if a value is not of the kind.
    """
    if violation := next(invalid_values(column, kind, lambda row: f"row {row}"), None):
        raise ValueError(f"{violation.rule}. Got {violation.received} instead.")
    if kind == "number":
        return _numbers(column).astype("float32")
    return _texts(column)


def described(kinds: Mapping[str, str], most: int = 8) -> str:
    """Return in words which columns are of which kind; of many of a kind, the first ones."""
    of: dict[str, list[str]] = {}
    for name, kind in kinds.items():
        of.setdefault(kind, []).append(name)
    return "; ".join(
        f"{kind}: {', '.join(names[:most])}"
        + (f" and {len(names) - most} more" if len(names) > most else "")
        for kind, names in of.items()
    )


def _almost(column: pd.Series[Any], kind: Literal["number", "date"], place: Place) -> Violation:
    """Return what is wrong with a column, most of whose values, but not all, are of a kind."""
    violation = next(invalid_values(column, kind, place))
    hint = f"Fix it, or, if these are words, write columns: {{{column.name}: category}}."
    return Violation(violation.rule, hint, received=violation.received)


def _or_ignore(hint: str, name: object) -> str:
    return f"{hint}, or write columns: {{{name}: ignore}}."


def series(name: str, values: Any) -> pd.Series[Any]:
    """Return values as a column without an index of its own, and of no categorical type."""
    import pandas as pd

    if isinstance(values, pd.Series | pd.Index) or getattr(values, "ndim", 1) == 1:
        made = pd.Series(values, name=name).reset_index(drop=True)
    else:  # (rows, 1), as batches of tf.data have it
        made = pd.Series(values.reshape(-1), name=name)
    return made.astype(object) if isinstance(made.dtype, pd.CategoricalDtype) else made


def _no_scalars(column: pd.Series[Any]) -> np.ndarray:
    """Return which values are no number, word or date, shape (rows,)."""
    import numpy as np

    if column.dtype.kind in "cm" or column.dtype.kind != "O":
        return np.full(len(column), column.dtype.kind in "cm")
    return column.map(lambda value: not _is_scalar(value)).to_numpy(bool)


def _is_scalar(value: object) -> bool:
    import numpy as np
    import pandas as pd

    if isinstance(value, str | bool | int | float | dt.date | np.generic):
        return not isinstance(value, complex | np.complexfloating | bytes)
    return value is None or value is pd.NaT or value is pd.NA or type(value).__name__ == "Decimal"


def _numbers(column: pd.Series[Any]) -> np.ndarray:
    """Return values as float64, shape (rows,); NaN where they are missing, or no numbers."""
    import numpy as np
    import pandas as pd

    if column.dtype.kind in "mMc":
        return np.full(len(column), np.nan)
    numbers = pd.to_numeric(column, errors="coerce")
    return numbers.to_numpy("float64", na_value=np.nan)


def _valid_numbers(column: pd.Series[Any]) -> np.ndarray:
    import numpy as np

    return ~np.isnan(_numbers(column))


def times(column: pd.Series[Any]) -> np.ndarray:
    """Return the seconds since 1970 of dates, float64, shape (rows,); NaN of missing and others."""
    import numpy as np
    import pandas as pd

    text = pd.Series(_texts(column))
    text = text.where(text.str.fullmatch(DATE))
    # as written, whatever the offset: hours of the day are those of the place
    parsed = pd.to_datetime(text.str.slice(0, 19), format="ISO8601", errors="coerce")
    made = parsed.to_numpy("datetime64[ms]").astype("float64") / 1000
    return np.where(parsed.isna(), np.nan, made)


def _valid_dates(column: pd.Series[Any]) -> np.ndarray:
    import numpy as np

    return ~np.isnan(times(column))


def _texts(column: pd.Series[Any]) -> np.ndarray:
    """Return values as text, an array of str objects of the shape (rows,); "" where missing."""
    import numpy as np
    import pandas as pd

    if pd.api.types.is_datetime64_any_dtype(column):
        return column.dt.strftime("%Y-%m-%dT%H:%M:%S").fillna("").to_numpy(object)
    codes, different = pd.factorize(column)
    words = np.array([*map(_word, different), ""], dtype=object)  # -1 where it is missing
    return words[codes]


def _word(value: object) -> str:
    """Return a value as text: whole numbers without a point, as gaps in a column give them one."""
    import numpy as np

    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return re.sub(r"\s+", " ", str(value)).strip()
