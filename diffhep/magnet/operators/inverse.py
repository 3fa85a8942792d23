"""The inverse of an operator whose output rises with its input, by bisection: feed-forward."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from diffhep.core.checks import concrete, require
from diffhep.core.typing import Scalar
from diffhep.magnet.operators.base import AbstractOperator

__citations__ = ("doi:10.1007/978-1-4612-3028-1",)

_HALVINGS = 64
"""Bisections: more than the digits of a double."""


class InverseState(NamedTuple):
    """What the inverse knows of the past.

    Attributes:
        operator: State of the operator that is inverted.
    """

    operator: Any


class MonotoneInverse(AbstractOperator[InverseState]):
    r"""The input under which an operator has a given output: $u$ with $F(x, u) = y$.

    Every step is solved by bisection in the operator's own state, so that all of its memory is
    accounted for: a Preisach operator on its stack of reversals, in as many evaluations as a double
    has digits. Where the operator is flat several inputs have one output, and one of them is
    found; an output out of reach gives the end of the range. Derivatives are those of the implicit
    function.

    Attributes:
        operator: It; for every state its output must not fall with the input.
        low: Least input.
        high: Largest input.

    Raises:
        ConfigError: The range is empty.
    """

    operator: AbstractOperator
    low: Scalar = eqx.field(converter=jnp.asarray)
    high: Scalar = eqx.field(converter=jnp.asarray)

    def __check_init__(self) -> None:
        low, high = concrete(self.low), concrete(self.high)
        if low is not None and high is not None:
            require(bool(low < high), "high", f"be above `low` {float(low)}", float(high))

    def rest(self, u0: Scalar) -> InverseState:
        """On the initial curve, at the output `u0`."""

        def output(u: Scalar) -> Scalar:
            return self.operator.step(self.operator.rest(u), u, jnp.ones_like(u))[1]

        return InverseState(self.operator.rest(self._solved(output, u0)))

    def step(self, state: InverseState, u: Scalar, dt: Scalar) -> tuple[InverseState, Scalar]:
        """The state and the operator's input at its next output `u`."""

        def output(candidate: Scalar) -> Scalar:
            return self.operator.step(state.operator, candidate, dt)[1]

        found = self._solved(output, u)
        return InverseState(self.operator.step(state.operator, found, dt)[0]), found

    def _solved(self, output: Any, target: Scalar) -> Scalar:
        """Bisection, and a step of Newton's that only carries the derivative."""
        low, high = (jnp.asarray(x, target.dtype) for x in (self.low, self.high))

        def halve(_: Any, ends: tuple[Scalar, Scalar]) -> tuple[Scalar, Scalar]:
            middle = 0.5 * (ends[0] + ends[1])
            below = output(middle) < target
            return jnp.where(below, middle, ends[0]), jnp.where(below, ends[1], middle)

        ends = jax.lax.stop_gradient(jax.lax.fori_loop(0, _HALVINGS, halve, (low, high)))
        # Of two neighbouring numbers the one whose output is nearer.
        errors = jnp.stack([jnp.abs(output(end) - target) for end in ends])
        found = jax.lax.stop_gradient(jnp.stack(ends)[jnp.argmin(errors)])
        value, slope = jax.jvp(output, (found,), (jnp.ones_like(found),))
        slope = jax.lax.stop_gradient(slope)
        safe = jnp.where(slope > 0.0, slope, jnp.inf)
        error = value - target
        return found - (error - jax.lax.stop_gradient(error)) / safe
