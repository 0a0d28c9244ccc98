"""Which examples are held out: at random, whole groups, or the latest."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from kbn.errors import Text, Violation, ViolationError

if TYPE_CHECKING:
    import numpy as np

    from kbn.recipe.data import SplitSpec
    from kbn.recipe.examples import Examples

Sides = tuple[
    "np.ndarray", "np.ndarray"
]  # indices of the examples that stay, and that are held out


def count(part: float, examples: int) -> int:
    """Return how many examples a part has, given as a share or a number."""
    return part if isinstance(part, int) else math.ceil(part * examples)


def at_random(key: str, held: int, seed: int, y: np.ndarray, *, stratify: bool) -> Sides:
    """Hold out some examples.

    Args:
        key: of the part, for messages.
        held: number of examples to hold out.
        seed: of the split, at least 0.
        y: targets, shape (examples,).
        stratify: whether each class keeps its share on both sides.

    Raises:
        ViolationError: with the given key, if a side would have too few examples.
    """
    import numpy as np
    from sklearn.model_selection import train_test_split

    try:
        stays, goes = train_test_split(
            np.arange(len(y)), test_size=held, stratify=y if stratify else None, random_state=seed
        )
    except ValueError:  # of scikit-learn, whose message says less
        rule = "must leave examples on both sides, as many as there are classes"
        received = Text(f"{held} of {len(y)} examples")
        hint = "Choose about 0.2, or remove classes with few examples."
        raise ViolationError(Violation(rule, hint, key, received)) from None
    return stays, goes


def along(key: str, held: int, seed: int, column: np.ndarray, split: SplitSpec) -> Sides:
    """Hold out whole groups at random, about as many examples as asked for, or the latest examples.

    Args:
        key: of the part, for messages.
        held: number of examples to hold out.
        seed: of the split, at least 0.
        column: groups or times, shape (examples,).
        split: says which of them.

    Raises:
        ViolationError: with the given key, if a side would have no examples.
    """
    import numpy as np
    from sklearn.model_selection import GroupShuffleSplit

    total = len(column)
    if split.time is not None:
        order = np.argsort(column, kind="stable")
        if held < total:
            return order[: total - held], order[total - held :]
    else:
        groups = len(np.unique(column))
        share = held / total
        if round(share * groups) < groups and groups > 1 and share < 1:
            away = max(1, round(share * groups))  # at least one
            shuffled = GroupShuffleSplit(1, test_size=away, random_state=seed)
            stays, goes = next(shuffled.split(column, groups=column))
            return stays, goes
    of = f"examples, in {len(np.unique(column))} groups" if split.by else "examples"
    rule, hint = "must leave examples on both sides", "Lower it, or split otherwise."
    received = Text(f"{held} of {total} {of}")
    raise ViolationError(Violation(rule, hint, key, received))


def folds(
    count: int, seed: int, examples: Examples, split: SplitSpec | None, *, stratify: bool
) -> Iterator[Sides]:
    """Yield the sides of each fold of a cross-validation.

    The examples are dealt out at random, or whole groups. Where they are split by time, each fold
    is validated on the examples that follow those it is trained on.

    Args:
        count: number of folds, at least 2.
        seed: of the split, at least 0.
        examples: to split; their targets are numbers.
        split: says whether they are split along a column.
        stratify: whether each class keeps its share in every fold, at random.

    Raises:
        ViolationError: if there are too few examples, or groups, for so many folds.
    """
    import numpy as np
    from sklearn.model_selection import GroupKFold, KFold, StratifiedKFold, TimeSeriesSplit

    y, along = examples.y, examples.along
    if split is None or along is None:
        fewest = int(np.bincount(y).min()) if stratify else len(y)
        _require_folds(count, fewest, "example of every class" if stratify else "example")
        kind = StratifiedKFold if stratify else KFold
        yield from kind(count, shuffle=True, random_state=seed).split(y, y)
    elif split.time is not None:
        _require_folds(count, len(y) - 1, "example")
        order = np.argsort(along, kind="stable")
        for stays, goes in TimeSeriesSplit(count).split(order):
            yield order[stays], order[goes]
    else:
        _require_folds(count, len(np.unique(along)), "group")
        yield from GroupKFold(count).split(y, y, along)


def _require_folds(count: int, fewest: int, noun: str) -> None:
    if fewest < count:
        hint = f"Set search.folds to at most {fewest}." if fewest > 1 else "Remove search.folds."
        received = Text(f"{fewest} for {count} folds")
        article = "an" if noun.startswith("ex") else "a"
        raise ViolationError(Violation(f"every fold needs {article} {noun}", hint, "", received))
