"""Types and checks that the sections of a recipe share, and how they report violations."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Collection, Iterator, Sequence
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
)
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from kbn.errors import NULL, Fault, Violation
from kbn.recipe.names import NAME_RULE, is_word, suggest, violated_by

Scalar = bool | int | float | str
MAX_INTEGER = 2**53  # a float, and so every library, holds all integers up to here exactly


def reject(*violations: Violation) -> PydanticCustomError:
    """Return the error that carries violations through pydantic to `kbn.recipe.validation`."""
    text = "\n".join(
        str(Fault("recipe", None, violation.key, violation.rule, violation.shown, violation.hint))
        for violation in violations
    )
    return PydanticCustomError("kbn", "{text}", {"text": text, "violations": violations})


@dataclasses.dataclass(frozen=True, eq=False)
class OneOf:
    """Annotation of a string that rejects all but known names; a JSON schema lists them.

    Attributes:
        kind: what they name.
        known: the names.
    """

    kind: str
    known: Sequence[str]

    def check(self, name: str) -> str:
        """Return a known name.

        Raises:
            PydanticCustomError: if it is none.
        """
        if name not in self.known:
            hint = suggest(name, self.known)
            raise reject(Violation(f"must name a known {self.kind}", hint, received=name))
        return name

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {**handler(schema), "enum": list(self.known)}


def _check_name(name: str) -> str:
    if not is_word(name):
        raise reject(Violation(NAME_RULE, "Choose another name.", received=name))
    return name


def _check_recipe_name(name: str) -> str:
    if rule := violated_by(name):
        raise reject(Violation(rule, "Choose another name.", received=name))
    return name


Name = Annotated[str, AfterValidator(_check_name)]
RecipeName = Annotated[str, AfterValidator(_check_recipe_name)]  # names a directory too


class Strict(BaseModel):
    """A part of a recipe: immutable, with exact types and no unknown keys."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,  # which may contain a password
        serialize_by_alias=True,  # `from` is a word of Python's, and no name of an attribute
    )


def check_value(given: object) -> Scalar:
    """Reject what cannot be a value of a hyperparameter, with a single violation."""
    if not isinstance(given, Scalar):
        rule, hint = "must be a word, a number, true or false", "Write one value."
        raise reject(Violation(rule, hint, received=NULL if given is None else given))
    if isinstance(given, float) and not math.isfinite(given):
        raise reject(Violation("must be a finite number", "Change the value.", received=given))
    if isinstance(given, int) and abs(given) > MAX_INTEGER:
        rule = f"a whole number must be in [-{MAX_INTEGER}, {MAX_INTEGER}]"
        raise reject(Violation(rule, "Change the value.", received=given))
    return given


Value = Annotated[Scalar, BeforeValidator(check_value)]


def _check_reference(text: str) -> str:
    if not re.fullmatch(r"([\w./-]+\.py|\w+(\.\w+)*):[A-Za-z_]\w*", text):
        hint = "Write it like model:build, or models/model.py:build."
        raise reject(Violation("must be module:function", hint, received=text))
    return text


Reference = Annotated[str, AfterValidator(_check_reference)]


class Named(Strict):
    """Something of Keras' by its name, and its arguments there; None where one is not given."""

    name: str

    @property
    def arguments(self) -> dict[str, Any]:
        """{argument: value} of those that are given."""
        return self.model_dump(exclude={"name"}, exclude_none=True)

    def untaken(self, taken: Collection[str]) -> Iterator[Violation]:
        """Yield a violation for each argument that is not among those it takes."""
        hint = f"It takes {', '.join(taken)}." if taken else "Remove it."
        for key, value in self.arguments.items():
            if key not in taken:
                yield Violation(f"{self.name} does not take it", hint, key, value)


def only_one(spec: BaseModel, *keys: str) -> None:
    """Reject a section unless exactly one of some keys is given."""
    given = [key for key in keys if getattr(spec, key) is not None]
    if len(given) != 1:
        rule = f"needs one of {', '.join(keys)}"
        raise reject(Violation(rule, "Keep one." if given else "Add one.", received=given or None))
