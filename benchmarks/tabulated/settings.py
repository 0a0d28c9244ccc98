"""Other values for the search's tuned numbers: `--set sampling.at_end=0`."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import sys

MODULES = {
    "search": "kbn.search.proposals",
    "surrogate": "kbn.search.gaussian_process",
    "sampling": "kbn.search.sampling",
    "acquisition": "kbn.search.acquisition",
    "zoom": "kbn.search.zoom",
    "fidelity": "kbn.search.fidelity",
}


def set_number(assignment: str) -> None:
    """Replace one setting in this process, written "module.field=value".

    Raises:
        ValueError: if there is no such setting.
    """
    name, _, text = assignment.partition("=")
    module, _, field = name.partition(".")
    if module not in MODULES:
        raise ValueError(f"--set takes one of {', '.join(MODULES)}, a dot and a field. Got {name}.")
    old = getattr(importlib.import_module(MODULES[module]), module.upper())
    fields = [one.name for one in dataclasses.fields(old)]
    if field not in fields:
        raise ValueError(f"--set: {module} has the fields {', '.join(fields)}. Got {field}.")
    new = dataclasses.replace(old, **{field: ast.literal_eval(text)})
    for user in list(sys.modules.values()):  # modules import settings by name
        if getattr(user, "__name__", "").startswith("kbn.search"):
            for attribute, value in list(vars(user).items()):
                if value is old:
                    setattr(user, attribute, new)
