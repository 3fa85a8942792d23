r"""The Preisach operator along its plays: a monotone function of each.

Reference:
    M. Brokate, J. Sprekels, Hysteresis and Phase Transitions, Springer 1996, section 2.4.
"""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.special import comb

from diffhep.core.checks import concrete, require, require_shape
from diffhep.core.typing import Scalar
from diffhep.magnet.operators.base import AbstractOperator
from diffhep.magnet.operators.play import follow, require_radius

__citations__ = ("doi:10.1007/978-1-4612-4048-8",)


class PlayPreisach(AbstractOperator[Float[Array, " play"]]):
    r"""$y = \sum_i g_i(\mathrm{play}_{r_i}(u))$ with $g_i(p) = \sum_k w_{ik}S_k(x)$.

    $x = (p - p_-)/(p_+ - p_-)$, cut to $[0, 1]$, and $S_k$ is the integral of the k-th Bernstein
    polynomial of degree $K - 1$, rising from 0 to 1. Relays of half-width $r_i$ around
    the mean input $p$ have the density $g_i'(p)/2$; with weights that are not negative the
    operator is a Preisach operator, whose loops close. The state is the plays' outputs.

    Attributes:
        radius: $r_i\ge0$, in the unit of the input.
        weight: $w_{ik}$, in the unit of the output.
        low: $p_-$, below which nothing switches.
        high: $p_+$, above which nothing does.

    Raises:
        ConfigError: A radius is negative, or the range is empty.
        ShapeError: There is not one row of weights for every radius.
    """

    radius: Float[Array, " play"] = eqx.field(converter=jnp.asarray)
    weight: Float[Array, "play basis"] = eqx.field(converter=jnp.asarray)
    low: Scalar = eqx.field(converter=jnp.asarray)
    high: Scalar = eqx.field(converter=jnp.asarray)

    def __check_init__(self) -> None:
        good = self.weight.ndim == 2 and self.radius.shape == self.weight.shape[:1]
        shapes = f"shape {self.weight.shape} for {self.radius.shape} radii"
        require_shape(good, "weight", "have one row for every radius", shapes)
        require_radius(self.radius)
        low, high = concrete(self.low), concrete(self.high)
        if low is not None and high is not None:
            require(bool(low < high), "high", f"be above `low` {float(low)}", float(high))

    def rest(self, u0: Scalar) -> Float[Array, " play"]:
        """The plays after one sweep from 0."""
        return follow(self.radius, jnp.zeros_like(self.radius), u0)

    def step(
        self, state: Float[Array, " play"], u: Scalar, dt: Scalar
    ) -> tuple[Float[Array, " play"], Scalar]:
        """The plays at the next input, and the sum of their functions."""
        plays = follow(self.radius, state, u)
        rises = bernstein_integrals(
            (plays - self.low) / (self.high - self.low), self.weight.shape[1]
        )
        return plays, jnp.sum(self.weight * rises)


def bernstein_integrals(x: Float[Array, "*point"], n: int) -> Float[Array, "*point {n}"]:
    r"""Integrals from 0 of the n Bernstein polynomials of degree $n-1$, each rising to 1.

    $S_k(x) = \sum_{j>k}\binom nj x^j(1-x)^{n-j}$ for $k = 0, \dots, n-1$.

    Args:
        x: Positions; those outside $[0, 1]$ count as at its ends.
        n: How many.

    Returns:
        The integrals along a last axis.
    """
    inside = jnp.clip(x, 0.0, 1.0)[..., None]
    j = np.arange(1, n + 1)
    terms = comb(n, j) * inside**j * (1.0 - inside) ** (n - j)
    return jnp.cumsum(terms[..., ::-1], axis=-1)[..., ::-1]
