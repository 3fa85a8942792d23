"""Ordinary differential equations driven by the input: a vector field and what is read from it."""

import abc
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffhep.core.checks import as_integer
from diffhep.core.typing import Scalar
from diffhep.magnet.operators.base import AbstractOperator
from diffhep.magnet.operators.path import along_path

__citations__ = ("doi:10.1016/j.camwa.2011.06.002",)


class AbstractField(eqx.Module):
    """The right hand side of an equation of motion."""

    @property
    @abc.abstractmethod
    def n_states(self) -> int:
        """How many states there are."""

    @abc.abstractmethod
    def __call__(self, x: Float[Array, " state"], u: Scalar) -> Float[Array, " state"]:
        """The rate of the states.

        Args:
            x: States.
            u: Input.

        Returns:
            Their derivatives with respect to time.
        """

    @abc.abstractmethod
    def read(self, x: Float[Array, " state"]) -> Scalar:
        """The output.

        Args:
            x: States.

        Returns:
            It.
        """


class DynamicState(NamedTuple):
    """Input and states.

    Attributes:
        u: The input.
        x: The states.
    """

    u: Scalar
    x: Float[Array, " state"]


class Dynamic(AbstractOperator[DynamicState]):
    r"""$\dot x = f(x, u)$, $y = g(x)$, the input on a straight line between samples.

    By steps of fifth order; where f has a kink in x, as that of a hysteretic force has, a step that
    passes over it is of second order. It starts with all states 0.

    Attributes:
        field: f and g.
        n_substeps: Steps between two inputs.

    Raises:
        ConfigError: There is no substep.
    """

    field: AbstractField
    n_substeps: int = eqx.field(static=True, default=1)

    def __check_init__(self) -> None:
        as_integer(self.n_substeps, "n_substeps", low=1)

    def rest(self, u0: Scalar) -> DynamicState:
        """All states 0, the input there."""
        return DynamicState(u0, jnp.zeros(self.field.n_states, u0.dtype))

    def step(self, state: DynamicState, u: Scalar, dt: Scalar) -> tuple[DynamicState, Scalar]:
        """Along the line from input to input."""
        zero, one = jnp.zeros_like(u), jnp.ones_like(u)

        def slope(t: Scalar, x: Array) -> Array:
            return dt * self.field(x, state.u + t * (u - state.u))

        x = along_path(slope, state.x, zero, one, self.n_substeps)
        return DynamicState(u, x), self.field.read(x)
