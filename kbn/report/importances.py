"""Figure of the importance of each hyperparameter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from kbn.report.agreement import agreement
from kbn.report.grids import CHARACTER, Room, arrange
from kbn.report.panels import BLUE, single_panel, text
from kbn.report.results import SearchSummary

ROW_HEIGHT = 0.28  # inches per hyperparameter


def importance(search: SearchSummary) -> Figure:
    """Draw each hyperparameter's importance with its 90 % interval, and its believed tier.

    The importance must have been measured.
    """
    found = search.importance
    figure, panel = single_panel(height=1.2 + ROW_HEIGHT * len(found))
    heights = np.arange(len(found))
    shares, low, high = 100 * np.array([(one.share, one.low, one.high) for one in found]).T
    panel.barh(heights, shares, height=0.6, color=BLUE, alpha=0.3)
    ends = np.array([shares - low, high - shares])
    panel.errorbar(shares, heights, xerr=ends, fmt="o", color=BLUE, capsize=3, markersize=4)
    names = [text(one.name, 26) for one in found]
    panel.set_yticks(heights, names, fontsize=9)
    panel.set_xlim(0, 100)
    panel.set_ylim(len(found) - 0.4, -0.6)
    panel.set_xlabel("share of the individual effects, %", fontsize=9)
    verdicts = agreement(found, search.tiers)
    beliefs = [_belief(one.name, search.tiers, verdicts) for one in found]
    if verdicts:
        beside = panel.secondary_yaxis("right")
        beside.spines["right"].set_visible(False)
        beside.set_yticks(heights, beliefs)
        beside.tick_params(length=0, labelsize=8)
        heading: dict[str, Any] = {"transform": panel.transAxes, "fontsize": 8, "color": "0.35"}
        panel.text(1.02, 1.0, "believed tier", va="bottom", **heading)
    left, right = (0.35 + 1.2 * CHARACTER * max(map(len, each)) for each in (names, beliefs))
    arrange(figure, [panel], Room(left=left, beside=0.0, right=right, name=0.3, below=0.4))
    return figure


def _belief(name: str, tiers: Mapping[str, int], verdicts: Mapping[str, str]) -> str:
    return f"{tiers[name]}: {verdicts[name]}" if name in verdicts else ""
