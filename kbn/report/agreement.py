"""Agreement of the measured importance of hyperparameters with the tiers that were believed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kbn.search.importance import Importance

AGREES = "agrees"
MORE, LESS = "matters more", "matters less"
UNDECIDED = "not settled"


def agreement(found: Sequence[Importance], tiers: Mapping[str, int]) -> dict[str, str]:
    """Return {hyperparameter: verdict} for the hyperparameters that have a believed tier.

    The hyperparameters are sorted by measured share and dealt to the tiers in that order: as many
    to the first tier as are believed to be in it, the next ones to the second, and so on. The
    verdict is `AGREES` if a hyperparameter lands in its believed tier. It is `MORE` or `LESS` if it
    lands in another one and no order that the intervals allow would put it in the believed one;
    `UNDECIDED` if some order would, or if none of them can be told from one without effect.

    Args:
        found: the measured importance, the most important hyperparameter first.
        tiers: {hyperparameter: believed tier}, 1 for the most important.
    """
    believed = [one for one in found if one.name in tiers]
    order = sorted(tiers[one.name] for one in believed)  # tier of each rank
    verdicts = {}
    for place, one in enumerate(believed):
        first = sum(other.low > one.high for other in believed)
        last = len(believed) - 1 - sum(other.high < one.low for other in believed)
        tier = tiers[one.name]
        if not any(other.is_shown for other in believed):
            verdicts[one.name] = UNDECIDED
        elif order[place] == tier:
            verdicts[one.name] = AGREES
        elif order[first] <= tier <= order[last]:
            verdicts[one.name] = UNDECIDED
        else:
            verdicts[one.name] = MORE if order[place] < tier else LESS
    return verdicts
