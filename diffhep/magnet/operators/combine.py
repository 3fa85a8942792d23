"""Operators made of operators: side by side, and one after the other."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp

from diffhep.core.checks import require
from diffhep.core.typing import Scalar
from diffhep.magnet.operators.base import AbstractOperator

__citations__ = ("doi:10.1007/978-1-4612-4048-8",)


class Parallel(AbstractOperator[tuple[Any, ...]]):
    """The sum of operators of the same input; a correction on top of a model is one.

    Attributes:
        operators: The operators.

    Raises:
        ConfigError: There is none.
    """

    operators: tuple[AbstractOperator, ...] = eqx.field(converter=tuple)

    def __check_init__(self) -> None:
        require(len(self.operators) > 0, "operators", "hold one operator", self.operators)

    def rest(self, u0: Scalar) -> tuple[Any, ...]:
        """All at rest."""
        return tuple(operator.rest(u0) for operator in self.operators)

    def step(self, state: tuple[Any, ...], u: Scalar, dt: Scalar) -> tuple[tuple[Any, ...], Scalar]:
        """All on, and the sum of their outputs."""
        pairs = zip(self.operators, state, strict=True)
        moved = [operator.step(own, u, dt) for operator, own in pairs]
        total = jnp.sum(jnp.stack([y for _, y in moved]))
        return tuple(own for own, _ in moved), total


class Series(AbstractOperator[tuple[Any, ...]]):
    """Operators of which each has the output of the one before as its input.

    Attributes:
        operators: The operators, the first one that of the input.

    Raises:
        ConfigError: There is none.
    """

    operators: tuple[AbstractOperator, ...] = eqx.field(converter=tuple)

    def __check_init__(self) -> None:
        require(len(self.operators) > 0, "operators", "hold one operator", self.operators)

    def rest(self, u0: Scalar) -> tuple[Any, ...]:
        """All at rest, each at the output of the one before."""
        states: list[Any] = []
        for operator in self.operators:
            own = operator.rest(u0)
            # A step to where it is already changes nothing and tells the output.
            states.append(own)
            u0 = operator.step(own, u0, jnp.ones_like(u0))[1]
        return tuple(states)

    def step(self, state: tuple[Any, ...], u: Scalar, dt: Scalar) -> tuple[tuple[Any, ...], Scalar]:
        """From the first one to the last."""
        moved = []
        for operator, own in zip(self.operators, state, strict=True):
            own, u = operator.step(own, u, dt)
            moved.append(own)
        return tuple(moved), u
