r"""The Coleman-Hodgdon model.

Reference:
    B. D. Coleman, M. L. Hodgdon, Int. J. Eng. Sci. 24 (1986) 897; Brokate and Sprekels, Hysteresis
    and Phase Transitions, Springer 1996.
"""

from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp

from diffhep.core.checks import concrete, require
from diffhep.core.typing import Scalar
from diffhep.magnet.operators.base import AbstractOperator

__citations__ = ("doi:10.1007/978-1-4612-4048-8",)


class ColemanHodgdonState(NamedTuple):
    """Input and output.

    Attributes:
        u: The input.
        y: The output.
    """

    u: Scalar
    y: Scalar


class ColemanHodgdon(AbstractOperator[ColemanHodgdonState]):
    r"""$\dot y = c|\dot u|\,(su - y) + g\dot u$: an output that relaxes towards a line.

    With a straight line as the curve of equilibrium each step is exact,
    $y - su \mp (g-s)/c$ falling as $e^{-c|\Delta u|}$ on the way up and down: the Duhem operator
    by which the model was introduced. Independent of the rate; far along a sweep the output is
    $su \pm (g-s)/c$. A loop turns counterclockwise for $s > g$.

    Attributes:
        rate: $c>0$, per unit of the input.
        slope: $s$, output per input.
        initial_slope: $g$, output per input.

    Raises:
        ConfigError: The rate is not positive.
    """

    rate: Scalar = eqx.field(converter=jnp.asarray)
    slope: Scalar = eqx.field(converter=jnp.asarray)
    initial_slope: Scalar = eqx.field(converter=jnp.asarray)

    def __check_init__(self) -> None:
        known = concrete(self.rate)
        if known is not None:
            require(bool(0 < known < float("inf")), "rate", "be finite and positive", float(known))

    def rest(self, u0: Scalar) -> ColemanHodgdonState:
        """After one sweep from no input and no output."""
        zero = jnp.zeros_like(u0)
        return self.step(ColemanHodgdonState(zero, zero), u0, zero)[0]

    def step(
        self, state: ColemanHodgdonState, u: Scalar, dt: Scalar
    ) -> tuple[ColemanHodgdonState, Scalar]:
        """Exact along the way to the next input."""
        change = u - state.u
        asymptote = jnp.sign(change) * (self.initial_slope - self.slope) / self.rate
        distance = state.y - self.slope * state.u - asymptote
        distance = distance * jnp.exp(-self.rate * jnp.abs(change))
        # Without a change the line below is the output itself, up to rounding: keep it bitwise.
        y = jnp.where(change == 0.0, state.y, self.slope * u + asymptote + distance)
        return ColemanHodgdonState(u, y), y
