"""Shared types of a recipe's sections, and how a violated rule is reported."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict
from pydantic_core import PydanticCustomError

from kbn.errors import NULL, Fault, Violation

Scalar = bool | int | float | str
EXACT = 2**53  # up to here a float, and so every library, holds each whole number
LONGEST = 80  # characters of a name: a search's directory has those of recipe and variant


def reject(*violations: Violation) -> PydanticCustomError:
    """Return the error that carries violations through pydantic to `loading`."""
    text = "\n".join(
        str(Fault("recipe", None, violation.key, violation.rule, violation.shown, violation.hint))
        for violation in violations
    )
    return PydanticCustomError("kbn", "{text}", {"text": text, "violations": violations})


def suggest(word: Any, known: Iterable[Any]) -> str:
    """A hint for a misspelt word."""
    known = sorted(map(str, known))
    near = difflib.get_close_matches(str(word), known, n=1)
    return f"Did you mean {near[0]}?" if near else f"Use one of: {', '.join(known)}."


def one_of(kind: str, known: Sequence[str]) -> AfterValidator:
    """Refuses a name that is none of those known."""

    def check(name: str) -> str:
        if name not in known:
            raise reject(
                Violation(f"must name a known {kind}", suggest(name, known), received=name)
            )
        return name

    return AfterValidator(check)


def _plain(name: str) -> str:
    if not re.fullmatch(rf"[A-Za-z0-9_][A-Za-z0-9_-]{{,{LONGEST - 1}}}", name):
        rule = f"must be of letters, digits, _ and - alone, at most {LONGEST}, and not start with -"
        raise reject(Violation(rule, "Choose another name.", received=name))
    return name


Name = Annotated[str, AfterValidator(_plain)]


class Strict(BaseModel):
    """A part of a recipe: of exact types, with no other keys, unchangeable."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,  # which may hold a password
    )


def scalar(given: Any) -> Any:
    """Refuses, in one fault, what no value of a hyperparameter can be."""
    if not isinstance(given, Scalar):
        rule, hint = "must be a word, a number, true or false", "Write one value."
        raise reject(Violation(rule, hint, received=NULL if given is None else given))
    if isinstance(given, float) and not math.isfinite(given):
        raise reject(Violation("must be a finite number", "Change the value.", received=given))
    if isinstance(given, int) and abs(given) > EXACT:
        rule = f"a whole number must be in [-{EXACT}, {EXACT}]"
        raise reject(Violation(rule, "Change the value.", received=given))
    return given


Value = Annotated[Scalar, BeforeValidator(scalar)]


def _reference(text: str) -> str:
    if not re.fullmatch(r"([\w./-]+\.py|\w+(\.\w+)*):[A-Za-z_]\w*", text):
        hint = "Write it like model:build, or models/model.py:build."
        raise reject(Violation("must be module:function", hint, received=text))
    return text


Reference = Annotated[str, AfterValidator(_reference)]


def only_one(spec: BaseModel, *keys: str) -> None:
    """Exactly one of some keys is given."""
    given = [key for key in keys if getattr(spec, key) is not None]
    if len(given) != 1:
        rule = f"needs one of {', '.join(keys)}"
        raise reject(Violation(rule, "Keep one." if given else "Add one.", received=given or None))
