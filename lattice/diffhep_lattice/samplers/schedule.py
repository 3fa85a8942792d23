"""Sequences of sampling algorithms that differ in numbers alone, run as one program."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from diffhep.core.checks import require, require_type
from diffhep.core.errors import ConfigError
from diffhep.core.sampling import AbstractSamplingAlgorithm
from diffhep_lattice.actions.base import require_action

__citations__ = ("arXiv:cond-mat/9512035",)


def require_algorithms(algorithms: Any, name: str, *, low: int) -> None:
    """Raise a `ConfigError` unless there are algorithms of actions, alike but for their numbers.

    Args:
        algorithms: The sequence.
        name: The argument's name.
        low: The fewest algorithms allowed.

    Raises:
        ConfigError: It is no sequence, it is shorter, one is no algorithm or has no action, or the
            forms of two differ.
    """
    require_type(algorithms, Sequence, name, "be a list of sampling algorithms")
    many = "at least one algorithm" if low == 1 else f"at least {low} algorithms"
    require(len(algorithms) >= low, name, f"hold {many}", len(algorithms))
    for algorithm in algorithms:
        require_type(algorithm, AbstractSamplingAlgorithm, name, "hold sampling algorithms")
        require_action(getattr(algorithm, "action", None), f"{name}[...].action")
    require_one_form(algorithms, name)


def require_one_form(modules: Sequence[Any], name: str) -> None:
    """Raise a `ConfigError` unless modules differ in the values of their arrays alone."""

    def form(module: Any) -> Any:
        leaves, structure = jax.tree.flatten(module)
        return structure, [(jnp.shape(leaf), jnp.result_type(leaf)) for leaf in leaves]

    for index, module in enumerate(modules):
        if form(module) != form(modules[0]):
            raise ConfigError(
                f"Argument `{name}` must be alike but for the values of their arrays, but number "
                f"{index} differs from the first."
            )


def require_monotone(actions: Sequence[Any], name: str) -> None:
    """Raise a `ConfigError` where a coupling goes up and down again, if its values are known.

    Args:
        actions: Actions of one form.
        name: The argument's name.
    """
    for coupling in zip(*(jax.tree.leaves(action) for action in actions), strict=True):
        if any(isinstance(value, Tracer) for value in coupling):
            continue
        values = np.array([np.asarray(value) for value in coupling])
        steps = np.diff(values, axis=0)
        is_monotone = np.all(steps >= 0, axis=0) | np.all(steps <= 0, axis=0)
        rule = "have couplings that only rise or only fall"
        require(bool(np.all(is_monotone)), name, rule, values.tolist())
