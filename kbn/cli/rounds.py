"""Descriptions of a search's rounds."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kbn.search.zoom import Round


def trials_of(one: Round) -> str:
    """Name a round's first and last trial; or, while that depends on scores, when it ends."""
    if not one.size:
        return f"until the epochs of {one.until:.3g} whole trainings are spent"
    return f"trials {one.first} to {one.end - 1}" if one.size > 1 else f"trial {one.first}"


def drawn_from(one: Round) -> str:
    """Describe where a round's trials are drawn from."""
    if one.side == 1:
        return "the whole space"
    share = f"1 trial in {one.explore_every} from the whole space"
    return f"boxes of {one.side:.2f} of an axis, {share}"
