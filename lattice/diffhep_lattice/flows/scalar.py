"""Flows of a real scalar field."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffhep.core.typing import Key
from diffhep_lattice.flows.base import AbstractBijection, AbstractFlow
from diffhep_lattice.geometry import Lattice

__citations__ = ("arXiv:1904.12072",)


class ScalarFlow(AbstractFlow):
    r"""A bijection of independent standard normal variables, one per site.

    Attributes:
        lattice: The lattice of the fields.
        bijection: From the latent variables to the field.
    """

    lattice: Lattice
    bijection: AbstractBijection

    def on(self, lattice: Lattice) -> "ScalarFlow":
        """The same map on another lattice.

        Maps that commute with translations have parameters that know no lattice: a flow trained on
        a small lattice is a start for a large one. Its density is another there, and so is its
        effective sample size.

        Args:
            lattice: The other lattice; the masks of the flow must fit it.

        Returns:
            The flow with the same parameters.
        """
        return ScalarFlow(lattice, self.bijection)

    def sample_latent(self, key: Key) -> Float[Array, "*site"]:
        """Standard normal variables."""
        return jax.random.normal(key, self.lattice.shape, self.dtype)

    def log_prob_latent(self, z: Float[Array, "..."]) -> Float[Array, "..."]:
        """The normal density, summed in double precision where it is on."""
        squares = site_sum(jnp.square(z), self.lattice.dimension)
        return -0.5 * (squares + self.lattice.volume * np.log(2 * np.pi))

    def forward_and_log_det(
        self, z: Float[Array, "..."]
    ) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        """The field of latent variables."""
        return self.bijection.forward_and_log_det(z)

    def inverse_and_log_det(
        self, phi: Float[Array, "..."]
    ) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        """The latent variables of a field."""
        return self.bijection.inverse_and_log_det(phi)


def site_sum(values: Float[Array, "..."], dimension: int) -> Float[Array, "..."]:
    """The sum over the site axes, which come first, in double precision where it is on."""
    return jnp.sum(values.astype(float), axis=tuple(range(dimension)))
