"""The XY model."""

from functools import partial

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffhep.core.checks import as_scalar, require_real, require_x64
from diffhep.core.typing import Scalar
from diffhep_lattice.actions.base import AbstractAction
from diffhep_lattice.geometry import lattice_of_scalars
from diffhep_lattice.groups import U1

__citations__ = ("doi:10.1088/0022-3719/6/7/010",)


class XYAction(AbstractAction):
    r"""The XY model, the O(2) sigma model, in any dimension.

    $S(\theta) = -\beta\sum_{x,\mu}\cos(\theta(x+\hat\mu) - \theta(x))$. A lattice of length 2 has
    two links between its neighbours.

    Attributes:
        beta: Inverse temperature, dimensionless, at least 0.
        group: U(1), whose elements are angles in radians.

    Raises:
        ConfigError: `beta` is negative or not finite.

    Reference:
        J. M. Kosterlitz, D. J. Thouless, J. Phys. C 6 (1973) 1181.
    """

    beta: Scalar = eqx.field(converter=partial(as_scalar, name="beta"))
    group: U1 = eqx.field(default_factory=U1)

    def __check_init__(self) -> None:
        require_real(self.beta, "beta", "be finite and at least 0", low=0.0)

    def __call__(self, theta: Float[Array, "*site"]) -> Scalar:
        r"""The action of one configuration, computed in double precision whatever its dtype.

        Args:
            theta: Angles in radians, shape (*site).

        Returns:
            $S(\theta)$, dimensionless, float64.

        Raises:
            ShapeError: `theta` is no real field.
            ConfigError: `jax_enable_x64` is off, or a site axis is shorter than 2.
        """
        require_x64("the sum of the action")
        lattice_of_scalars(theta)
        theta = theta.astype(jnp.float64)
        links = (jnp.cos(jnp.roll(theta, -1, axis) - theta) for axis in range(theta.ndim))
        return -self.beta.astype(jnp.float64) * sum(jnp.sum(link) for link in links)

    def force(self, theta: Float[Array, "*site"]) -> Float[Array, "*site"]:
        r"""The gradient of the action.

        $\frac{\partial S}{\partial\theta(x)} = \beta\sum_\mu[\sin(\theta(x) - \theta(x-\hat\mu))
        - \sin(\theta(x+\hat\mu) - \theta(x))]$.

        Args:
            theta: Angles in radians, shape (*site).

        Returns:
            The gradient in the shape and precision of `theta`.

        Raises:
            ShapeError: `theta` is no real field.
            ConfigError: A site axis is shorter than 2.
        """
        lattice_of_scalars(theta)
        total = jnp.zeros_like(theta)
        for axis in range(theta.ndim):
            ahead = jnp.sin(jnp.roll(theta, -1, axis) - theta)
            total = total + jnp.roll(ahead, 1, axis) - ahead
        return self.beta.astype(theta.dtype) * total
