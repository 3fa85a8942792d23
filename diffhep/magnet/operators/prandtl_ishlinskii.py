r"""The Prandtl-Ishlinskii operator: a sum of plays, with an inverse of the same form.

Reference:
    K. Kuhnen, European Journal of Control 9 (2003) 407.
"""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffhep.core.checks import concrete, require, require_shape
from diffhep.core.typing import Scalar
from diffhep.magnet.operators.base import AbstractOperator
from diffhep.magnet.operators.play import follow, require_radius

__citations__ = ("doi:10.3166/ejc.9.407-418",)


class PrandtlIshlinskii(AbstractOperator[Float[Array, " play"]]):
    r"""A weighted sum of plays, $y = \sum_i w_i\,\mathrm{play}_{r_i}(u)$.

    The initial loading curve is convex for positive weights. The inverse exists where all partial
    sums $w_0 + \dots + w_i$ are positive. The state is the plays' outputs.

    Attributes:
        radius: $r_0 < r_1 < \dots$, with $r_0\ge0$, in the unit of the input.
        weight: $w_i$, output per input.

    Raises:
        ConfigError: The radii do not rise from 0 or more, or a number is not finite.
        ShapeError: There are not as many weights as radii.
    """

    radius: Float[Array, " play"] = eqx.field(converter=jnp.asarray)
    weight: Float[Array, " play"] = eqx.field(converter=jnp.asarray)

    def __check_init__(self) -> None:
        good = self.radius.ndim == 1 and self.radius.shape == self.weight.shape
        shapes = f"shapes {self.radius.shape} and {self.weight.shape}"
        require_shape(good, "weight", "have one number for every radius", shapes)
        require_radius(self.radius)
        radius, weight = concrete(self.radius), concrete(self.weight)
        if radius is not None:
            require(bool((np.diff(radius) > 0).all()), "radius", "rise", radius.tolist())
        if weight is not None:
            require(bool(np.isfinite(weight).all()), "weight", "be finite", weight.tolist())

    def rest(self, u0: Scalar) -> Float[Array, " play"]:
        """The plays after one sweep from 0."""
        return follow(self.radius, jnp.zeros_like(self.radius), u0)

    def step(
        self, state: Float[Array, " play"], u: Scalar, dt: Scalar
    ) -> tuple[Float[Array, " play"], Scalar]:
        """The plays at the next input, and their weighted sum."""
        plays = follow(self.radius, state, u)
        return plays, self.weight @ plays

    def inverse(self) -> "PrandtlIshlinskii":
        r"""The operator that gives the input back: feed-forward in closed form.

        $r'_i = \sum_{j\le i} w_j(r_i - r_j)$, $w'_0 = 1/w_0$ and
        $w'_i = -w_i/[(w_0+\dots+w_i)(w_0+\dots+w_{i-1})]$.

        Returns:
            The inverse. At rest it belongs to this operator at rest; `inverse_state` gives its
            state at any other time.

        Raises:
            ConfigError: A partial sum of the weights is not positive, or $r_0\ne0$: then several
                inputs have one output.
        """
        known = concrete(self.weight)
        if known is not None:
            good = bool((np.cumsum(known) > 0).all())
            require(good, "weight", "have positive partial sums to be inverted", known.tolist())
        first = concrete(self.radius[0])
        if first is not None:
            require(float(first) == 0.0, "radius", "start with 0 to be inverted", float(first))
        total = jnp.cumsum(self.weight)
        moments = jnp.cumsum(self.weight * self.radius)
        tail = -self.weight[1:] / (total[1:] * total[:-1])
        return PrandtlIshlinskii(
            total * self.radius - moments, jnp.append(1.0 / self.weight[:1], tail)
        )

    def inverse_state(self, state: Float[Array, " play"]) -> Float[Array, " play"]:
        r"""The inverse's state at this operator's.

        $z'_i = \sum_{j\le i} w_j z_i + \sum_{j>i} w_j z_j$.

        Args:
            state: The plays of this operator.

        Returns:
            The plays of `inverse()`.
        """
        total = jnp.cumsum(self.weight)
        moved = self.weight * state
        return total * state + (jnp.sum(moved) - jnp.cumsum(moved))
