"""Other values for the search's tuned numbers: `--set sampling.at_end=0`."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import sys

SETTINGS = {
    "search": "kbn.search.proposals.PROPOSALS",
    "surrogate": "kbn.search.gaussian_process.SURROGATE",
    "sampling": "kbn.search.sampling.SAMPLING",
    "acquisition": "kbn.search.acquisition.ACQUISITION",
    "transfer": "kbn.search.transfer.TRANSFER",
    "stacking": "kbn.search.surrogate.STACKING",
    "zoom": "kbn.search.zoom.ZOOM",
    "fidelity": "kbn.search.fidelity.FIDELITY",
}


def set_number(assignment: str) -> None:
    """Replace one number in this process, written "group.field=value".

    Raises:
        ValueError: if there is no such setting.
    """
    name, _, text = assignment.partition("=")
    group, _, field = name.partition(".")
    if group not in SETTINGS:
        groups = ", ".join(SETTINGS)
        raise ValueError(f"--set takes one of {groups}, a dot and a field. Got {name}.")
    module, _, constant = SETTINGS[group].rpartition(".")
    old = getattr(importlib.import_module(module), constant)
    fields = [one.name for one in dataclasses.fields(old)]
    if field not in fields:
        raise ValueError(f"--set: {group} has the fields {', '.join(fields)}. Got {field}.")
    new = dataclasses.replace(old, **{field: ast.literal_eval(text)})
    for user in list(sys.modules.values()):  # modules import settings by name
        if getattr(user, "__name__", "").startswith("kbn.search"):
            for attribute, value in list(vars(user).items()):
                if value is old:
                    setattr(user, attribute, new)
