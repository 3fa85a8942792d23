"""A closed-form bijection of link angles; see README.md."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from diffhep_lattice.flows.base import AbstractFlow
from diffhep_lattice.geometry import Lattice

_FIXED_POINT_STEPS = 60


class CircleFlow(AbstractFlow):
    """U = z + a sin z for every link, with z uniform."""

    lattice: Lattice
    a: jax.Array = eqx.field(converter=jnp.asarray)

    def forward_and_log_det(self, z):
        return z + self.a * jnp.sin(z), jnp.sum(jnp.log1p(self.a * jnp.cos(z)), axis=(0, 1, 2))

    def inverse_and_log_det(self, U):
        # Contracts by the factor |a| < 1.
        z = jax.lax.fori_loop(0, _FIXED_POINT_STEPS, lambda _, z: U - self.a * jnp.sin(z), U)
        return z, -self.forward_and_log_det(z)[1]

    def sample_latent(self, key):
        return jax.random.uniform(key, (2, *self.lattice.shape), minval=-np.pi, maxval=np.pi)

    def log_prob_latent(self, z):
        return jnp.zeros(z.shape[3:])
