"""U(1) fields from independent plaquettes; see README.md."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import ive

from diffhep_lattice.flows.base import AbstractFlow
from diffhep_lattice.geometry import Lattice
from diffhep_lattice.observables import gauge_transform, plaquette_angles

_N_BINS = 4096


class PlaquetteFlow(AbstractFlow):
    """All plaquettes but the last drawn by themselves from a histogram of exp(beta cos).

    The latent variables are the links themselves: the map is the identity.
    """

    lattice: Lattice
    beta: float = eqx.field(static=True)

    def _bins(self):
        edges = np.linspace(-np.pi, np.pi, _N_BINS + 1)
        weight = np.exp(self.beta * (np.cos(0.5 * (edges[1:] + edges[:-1])) - 1.0))
        return edges, weight / weight.sum()

    def sample_latent(self, key):
        shape = self.lattice.shape
        edges, probability = self._bins()
        keys = jax.random.split(key, 3)
        u = jax.random.uniform(keys[0], shape)
        P = jnp.interp(u, np.concatenate([[0.0], np.cumsum(probability)]), edges)
        P = P.at[-1, -1].add(-jnp.sum(P))
        U1 = jnp.concatenate([jnp.zeros((1, shape[1])), jnp.cumsum(P, axis=0)[:-1]])
        last = -jnp.concatenate([jnp.zeros(1), jnp.cumsum(jnp.sum(P, axis=0))[:-1]])
        U0 = jnp.zeros(shape).at[-1].set(last)
        a, b = jax.random.uniform(keys[1], (2,), minval=-np.pi, maxval=np.pi)
        U = jnp.stack([U0.at[-1].add(a), U1.at[:, -1].add(b)])
        g = jax.random.uniform(keys[2], shape, minval=-np.pi, maxval=np.pi)
        return gauge_transform(U, g)

    def log_prob_latent(self, U):
        if U.ndim > 3:
            return jax.vmap(self.log_prob_latent, in_axes=-1)(U)
        _, probability = self._bins()
        index = jnp.floor((plaquette_angles(U) + np.pi) / (2 * np.pi) * _N_BINS).astype(int)
        density = jnp.asarray(probability * _N_BINS)[jnp.clip(index, 0, _N_BINS - 1)]
        return jnp.sum(jnp.log(density)) - jnp.log(density[-1, -1])

    def forward_and_log_det(self, z):
        return z, jnp.zeros(z.shape[3:])

    def inverse_and_log_det(self, U):
        return U, jnp.zeros(U.shape[3:])

    def effective_fraction(self):
        """Kish's effective sample size as a fraction, in a large volume."""
        return ive(0, self.beta) ** 2 / ive(0, 2 * self.beta)
