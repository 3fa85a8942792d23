"""Sequential Monte Carlo against exact free energies."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffhep.core.errors import ConfigError, ShapeError
from diffhep_lattice import exact
from diffhep_lattice.actions.wilson import WilsonAction
from diffhep_lattice.groups import U1
from diffhep_lattice.observables import plaquette
from diffhep_lattice.samplers.hmc import hmc
from diffhep_lattice.samplers.sequential import sequential_monte_carlo
from diffhep_lattice.samplers.stochastic_flow import jarzynski, stochastic_flow

pytestmark = pytest.mark.fast

BETA, N_STEPS, N_POPULATIONS, N_PARTICLES = 2.0, 5, 24, 32
FLOW = stochastic_flow(
    WilsonAction(0.0),
    [hmc(WilsonAction(b), step_size=0.2, n_steps=4) for b in np.linspace(0, BETA, N_STEPS + 1)[1:]],
)


@eqx.filter_jit
def run(flow, starts, key, threshold):
    found = sequential_monte_carlo(flow, starts, key=key, threshold=threshold)
    return found, jax.vmap(jax.vmap(plaquette))(found.position)


def starts(key):
    draw = jax.vmap(jax.vmap(lambda k: U1().haar((2, 4, 4), key=k)))
    return draw(jax.random.split(key, (N_POPULATIONS, N_PARTICLES)))


@pytest.mark.parametrize("threshold", [0.0, 0.6])
def test_free_energy_and_weighted_means_are_exact(threshold, key):
    found, plaquettes = run(FLOW, starts(key), key, jnp.asarray(threshold))
    np.testing.assert_allclose(jnp.sum(jnp.exp(found.log_weights), axis=1), 1.0, atol=1e-12)
    assert bool(found.resampled.any()) == (threshold > 0.0)
    free_energy = jarzynski(found.work)
    # One in 150,000 of right programs fails by chance, were the populations many.
    assert abs(free_energy.value - exact.u1_log_partition(BETA, 16)) < 4.5 * free_energy.error
    assert free_energy.error < 0.3
    # Weights of the whole, Z of its population times its own: a ratio of unbiased means.
    weight = np.exp(
        np.asarray(found.log_weights) - np.asarray(found.work - found.work.min())[:, None]
    )
    top, bottom = (weight * plaquettes).sum(1), weight.sum(1)
    mean = top.sum() / bottom.sum()
    error = np.sqrt(np.sum((top - mean * bottom) ** 2)) / bottom.sum()
    assert abs(mean - exact.u1_plaquette(BETA, 16)) < 4.5 * error
    assert error < 0.05


def test_bad_input(key):
    fields = jnp.zeros((1, 2, 2, 4, 4))
    with pytest.raises(ShapeError, match="at least one population of at least 2 fields"):
        sequential_monte_carlo(FLOW, fields[:, :1], key=key)
    with pytest.raises(ConfigError, match="`threshold` must be between 0 and 1"):
        sequential_monte_carlo(FLOW, fields, key=key, threshold=1.5)
