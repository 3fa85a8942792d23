r"""Play and stop, the elementary operators of hysteresis with a threshold.

Reference:
    M. Brokate, J. Sprekels, Hysteresis and Phase Transitions, Springer 1996, section 2.3.
"""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffhep.core.checks import concrete, require
from diffhep.core.typing import Scalar
from diffhep.magnet.operators.base import AbstractOperator

__citations__ = ("doi:10.1007/978-1-4612-4048-8",)


class Play(AbstractOperator[Scalar]):
    r"""Play of half-width $r$: the output follows the input's edge of a gap of width $2r$.

    $y = \max(u - r, \min(u + r, y_-))$. A cycle of amplitude $A > r$ loses
    $\oint y\,\mathrm du = 4r(A - r)$. The state is the output.

    Attributes:
        radius: $r\ge0$, in the unit of the input.

    Raises:
        ConfigError: The radius is negative or not finite.
    """

    radius: Scalar = eqx.field(converter=jnp.asarray)

    def __check_init__(self) -> None:
        require_radius(self.radius)

    def rest(self, u0: Scalar) -> Scalar:
        """The output after one sweep from 0."""
        return follow(self.radius, jnp.zeros_like(u0), u0)

    def step(self, state: Scalar, u: Scalar, dt: Scalar) -> tuple[Scalar, Scalar]:
        """The output at the next input, which is the state as well."""
        y = follow(self.radius, state, u)
        return y, y


class Stop(AbstractOperator[Scalar]):
    r"""Stop of threshold $r$: an elastic element that yields at $\pm r$; input less play.

    $y = u - \mathrm{play}_r(u)$, which lies between $-r$ and $r$. The state is the play's output.

    Attributes:
        radius: $r\ge0$, in the unit of the input.

    Raises:
        ConfigError: The radius is negative or not finite.
    """

    radius: Scalar = eqx.field(converter=jnp.asarray)

    def __check_init__(self) -> None:
        require_radius(self.radius)

    def rest(self, u0: Scalar) -> Scalar:
        """The play after one sweep from 0."""
        return follow(self.radius, jnp.zeros_like(u0), u0)

    def step(self, state: Scalar, u: Scalar, dt: Scalar) -> tuple[Scalar, Scalar]:
        """The play at the next input, and what the input is ahead of it."""
        play = follow(self.radius, state, u)
        return play, u - play


def follow(
    radius: Float[Array, "*play"], before: Float[Array, "*play"], u: Scalar
) -> Float[Array, "*play"]:
    """Outputs of plays at the next input.

    Args:
        radius: Half-widths.
        before: Outputs before.
        u: The input.

    Returns:
        Outputs now.
    """
    return jnp.maximum(u - radius, jnp.minimum(u + radius, before))


def require_radius(radius: Any) -> None:
    """Raise a `ConfigError` unless all half-widths are finite and not negative.

    Args:
        radius: Half-widths, traced or not.

    Raises:
        ConfigError: One of them is negative or not finite.
    """
    known = concrete(radius)
    if known is not None:
        good = bool(((known >= 0) & (known < float("inf"))).all())
        require(good, "radius", "be finite and not negative", known.tolist())
