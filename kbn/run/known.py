"""What an oracle knows of its search and a report draws, kept so that it is drawn without Keras.

The oracle is KerasTuner's, whose import, with that of Keras and its backend, takes seconds. What is
kept says which results it is of: with any other ones the oracle is asked anew.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kbn.errors import DamagedError
from kbn.files import read_json, write_json
from kbn.report.results import Results
from kbn.search.axes import Axis, Condition, Discrete, Numeric
from kbn.search.importance import Importance
from kbn.search.past import Past, PastSearch, PastTrial
from kbn.search.scales import SCALES
from kbn.search.space import Space
from kbn.search.zoom import Round

if TYPE_CHECKING:
    from kbn.search.durable import DurableOracle

KEPT = "known.json"


@dataclasses.dataclass(frozen=True)
class Known:
    """What an oracle knows of its search, beside the trials.

    Attributes:
        space: the axes that have more than one value.
        rounds: as in the oracle.
        importance: of these axes, the most important first; empty before the first trial ended.
        past: what earlier searches have shown to it.
    """

    space: Space
    rounds: tuple[Round, ...]
    importance: tuple[Importance, ...]
    past: Past

    @classmethod
    def of(cls, oracle: DurableOracle) -> Known:
        from kbn.search.hyperparameters import space_of

        axes = space_of(oracle.hyperparameters).axes
        axes = tuple(a for a in axes if not isinstance(a, Discrete) or len(a.values) > 1)
        names = {axis.name for axis in axes}
        importance = oracle.importance() if oracle.end_order else ()
        found = tuple(each for each in importance if each.name in names)
        return cls(Space(axes), tuple(oracle.rounds), found, Past(oracle.past, oracle.prior))

    def as_config(self) -> dict[str, Any]:
        """Return what `from_config` takes, made of JSON values."""
        return {
            "axes": [_axis_config(axis) for axis in self.space.axes],
            "rounds": [dataclasses.asdict(each) for each in self.rounds],
            "importance": [dataclasses.asdict(each) for each in self.importance],
            "trials": [vars(trial) for trial in self.past.trials],
            "searches": [search.as_config() for search in self.past.searches],
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Known:
        return cls(
            Space(tuple(map(_axis, config["axes"]))),
            tuple(map(Round.from_config, config["rounds"])),
            tuple(Importance(**each) for each in config["importance"]),
            Past(
                tuple(map(PastTrial.from_config, config["trials"])),
                tuple(map(PastSearch.from_config, config["searches"])),
            ),
        )


def keep(known: Known, directory: Path, results: Results) -> None:
    """Write what is known of the search with these results.

    Raises:
        OSError: if it cannot be written.
    """
    write_json(directory / KEPT, {"of": _digest(results), **known.as_config()})


def kept(directory: Path, results: Results) -> Known | None:
    """Return what was kept of the search with these results; None without such, or if damaged."""
    try:
        config = read_json(directory / KEPT)
        return Known.from_config(config) if config["of"] == _digest(results) else None
    except (OSError, DamagedError, LookupError, TypeError):
        return None


def _digest(results: Results) -> str:
    text = json.dumps(results.as_json(), sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _axis_config(axis: Axis) -> dict[str, Any]:
    config = dataclasses.asdict(axis)
    return {**config, "scale": axis.scale.name} if isinstance(axis, Numeric) else config


def _axis(config: Mapping[str, Any]) -> Axis:
    """Return a numeric axis or a choice: a recipe has no others."""
    conditions = tuple(Condition(c["name"], tuple(c["values"])) for c in config["conditions"])
    given = {**config, "conditions": conditions}
    if "scale" in config:
        return Numeric(**{**given, "scale": SCALES[config["scale"]]})
    return Discrete(**{**given, "values": tuple(config["values"])})
