"""Checks of the arguments of `CoarseToFineOracle`; each raises ValueError."""

from __future__ import annotations


def require_number(name: str, value: object, least: int) -> None:
    """Reject what is neither None nor an integer of at least `least`."""
    if value is not None and (type(value) is not int or value < least):
        raise ValueError(
            f"The {name} parameter of CoarseToFineOracle must be None or an integer of at least "
            f"{least}. Got {value!r} instead."
        )


def require_one_of(name: str, value: object, other: str | None) -> None:
    """Reject what is neither None nor `other`, which is None with several objectives."""
    if value not in (None, other):
        words = f"{other!r} or None" if other else "None with pareto=True"
        raise ValueError(
            f"The {name} parameter of CoarseToFineOracle must be {words}. Got {value!r} instead."
        )


def require_one(pareto: bool, **given: object) -> None:
    """Reject with several objectives what goes by the score alone."""
    for name, value in given.items():
        if pareto and value:
            raise ValueError(
                f"The {name} parameter of CoarseToFineOracle must not be given with pareto=True. "
                f"Got {value!r} instead."
            )


def require_budget(epochs: str | None, max_epochs: int | None, *, prune: bool) -> None:
    """Reject epochs of a whole training where no trial trains for fewer, and their lack."""
    if prune and epochs is not None:
        raise ValueError(
            "The prune parameter of CoarseToFineOracle must be False with epochs="
            "'coarse_to_fine', which ends bad trials too. Got True instead."
        )
    if (epochs is not None or prune) != (max_epochs is not None):
        raise ValueError(
            "The max_epochs parameter of CoarseToFineOracle must be the epochs of a whole "
            "training with epochs='coarse_to_fine' or prune=True, else None. Got "
            f"{max_epochs!r} with epochs={epochs!r} and prune={prune!r} instead."
        )
