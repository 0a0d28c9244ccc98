"""Whether what the trials say of the hyperparameters' importance agrees with what was believed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kbn.search.importance import Importance

AGREES = "agrees"
MORE, LESS = "matters more", "matters less"
UNDECIDED = "not settled"


def agreement(found: Sequence[Importance], tiers: Mapping[str, int]) -> dict[str, str]:
    """{hyperparameter: verdict} of those of which a belief is stated.

    Sorted by measured share, the first hyperparameters are in the first believed tier, as many as
    it has, the next ones in the second, and so on. `AGREES` if a hyperparameter is so in the tier
    that was believed. `MORE` or `LESS` if it is in another one, and no order that the intervals
    leave open puts it in the believed one; `UNDECIDED` if one does, or if nothing was measured.

    Args:
        found: the most important first.
        tiers: believed, 1 for the most important.
    """
    believed = [one for one in found if one.name in tiers]
    order = sorted(tiers[one.name] for one in believed)  # the tier of each place
    verdicts = {}
    for place, one in enumerate(believed):
        first = sum(other.low > one.high for other in believed)
        last = len(believed) - 1 - sum(other.high < one.low for other in believed)
        tier = tiers[one.name]
        if not believed[0].share:
            verdicts[one.name] = UNDECIDED
        elif order[place] == tier:
            verdicts[one.name] = AGREES
        elif order[first] <= tier <= order[last]:
            verdicts[one.name] = UNDECIDED
        else:
            verdicts[one.name] = MORE if order[place] < tier else LESS
    return verdicts
