"""Independent U(1) fields from the exact distribution; see README.md."""

import jax
import numpy as np

from diffhep_lattice.geometry import Lattice
from diffhep_lattice.observables import plaquette_angles
from tests.systems.plaquette_flow import PlaquetteFlow


def exact_fields(shape, beta, n, *, key):
    """About `n` times the acceptance of fields with the density exp(beta sum cos P)."""
    draw_key, accept_key = jax.random.split(key)
    flow = PlaquetteFlow(Lattice(shape), beta)
    fields = jax.jit(jax.vmap(flow.sample_latent))(jax.random.split(draw_key, n))
    # The missing weight exp(beta cos) of the last plaquette, over its largest value.
    last = np.asarray(jax.vmap(plaquette_angles)(fields))[:, -1, -1]
    uniform = np.asarray(jax.random.uniform(accept_key, (n,)))
    return fields[uniform < np.exp(beta * (np.cos(last) - 1.0))]
