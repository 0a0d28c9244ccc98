"""The search that a recipe plans: its hyperparameters and its oracle."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Mapping
from typing import Any

import keras_tuner

from kbn.recipe.schema import Recipe
from kbn.recipe.space import ChoiceSpec, FixedSpec, FloatSpec, Hyperparameter, IntSpec
from kbn.search.axes import Value
from kbn.search.durable import DurableOracle
from kbn.search.grid import GridOracle
from kbn.search.hyperparameters import declare
from kbn.search.oracle import CoarseToFineOracle
from kbn.search.past import NOTHING, Past
from kbn.search.scales import SCALES


def make_oracle(
    recipe: Recipe,
    hyperparameters: keras_tuner.HyperParameters | None = None,
    past: Past = NOTHING,
) -> DurableOracle:
    """Return the oracle that a recipe asks for.

    A random search is the coarse-to-fine one that stays coarse, and draws without a model.

    Args:
        recipe: of the search.
        hyperparameters: of the search, as far as they are known; None where it finds them itself.
        past: what earlier searches have shown, unless there is a search to go on with.
    """
    search, goals = recipe.search, recipe.goals
    objectives = [keras_tuner.Objective(*each) for each in goals.objectives]
    method: Callable[..., DurableOracle] = GridOracle
    extent: dict[str, Any] = {}
    if search.shares_epochs:
        extent = {"max_epochs": search.whole, "prune": search.prune}
        if not search.prune:
            extent["epochs"] = search.epochs
    if search.tuner != "grid":
        blind = search.tuner != "coarse_to_fine"
        surrogate, rounds = (None, 1) if blind else (search.surrogate, None)
        extent |= {"past": past.trials, "prior": past.searches}
        method = functools.partial(CoarseToFineOracle, surrogate=surrogate, rounds=rounds, **extent)
    return method(
        objectives if goals.several else objectives[0],
        search.trials,
        pareto=goals.several,
        constraints=recipe.limits,
        seed=search.seed,
        first=[_typed(values, recipe.space) for values in search.first],
        hyperparameters=hyperparameters,
        max_consecutive_failed_trials=None,  # a failed trial never ends the search
    )


def _typed(values: Mapping[str, Value], space: Mapping[str, Hyperparameter]) -> dict[str, Value]:
    """Return values with whole numbers as floats where the hyperparameter is a float."""
    return {
        name: float(value) if isinstance(space[name], FloatSpec) else value
        for name, value in values.items()
    }


def hyperparameters_of(recipe: Recipe) -> keras_tuner.HyperParameters:
    """Return KerasTuner's hyperparameters of a recipe."""
    hp = keras_tuner.HyperParameters()
    declared(hp, recipe)
    return hp


def declared(hp: keras_tuner.HyperParameters, recipe: Recipe) -> dict[str, Any]:
    """Return the recipe's active hyperparameters; declare those that are new to `hp`."""
    values = {name: _declare(hp, name, spec) for name, spec in recipe.space.items()}
    return {name: value for name, value in values.items() if value is not None}


def _declare(hp: keras_tuner.HyperParameters, name: str, spec: Hyperparameter) -> Any:
    """Declare a hyperparameter and return its value; None where its conditions do not hold."""
    with contextlib.ExitStack() as scopes:
        for parent, values in spec.conditions():
            scopes.enter_context(hp.conditional_scope(parent, values))
        if isinstance(spec, FixedSpec):
            return hp.Fixed(name, spec.value)
        if isinstance(spec, ChoiceSpec):
            return hp.Choice(name, spec.values)
        if isinstance(spec, IntSpec):
            return hp.Int(name, spec.low, spec.high, sampling=spec.scale)
        if spec.scale in ("linear", "log"):
            return hp.Float(name, spec.low, spec.high, sampling=spec.scale)
        return declare(hp, name, spec.low, spec.high, None, SCALES[spec.scale])
