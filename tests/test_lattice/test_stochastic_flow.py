"""Stochastic flows against exact free energies."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffhep.core.errors import ConfigError, ShapeError
from diffhep.core.fit import fit
from diffhep.core.rng import key_for
from diffhep.core.stats import ess_fraction
from diffhep_lattice import exact
from diffhep_lattice.actions.wilson import WilsonAction
from diffhep_lattice.flows.stout import stout_layer
from diffhep_lattice.groups import SUN, U1
from diffhep_lattice.samplers.hmc import hmc
from diffhep_lattice.samplers.stochastic_flow import (
    StepwiseWork,
    crooks,
    jarzynski,
    stochastic_flow,
)

pytestmark = pytest.mark.fast

N_STEPS, N_TRAJECTORIES = 6, 400


def schedule(group, betas):
    return [hmc(WilsonAction(beta, group), step_size=0.2, n_steps=5) for beta in betas]


def run(flow, starts, key):
    return eqx.filter_jit(lambda f, x, k: f.sample(x, key=k))(flow, starts, key)


def test_annealing_of_angles_gives_the_exact_free_energy(key):
    """From Haar links to beta = 1 on 4x4: exact log Z and, by reweighting, the exact plaquette."""
    flow = stochastic_flow(WilsonAction(0.0), schedule(U1(), np.linspace(0, 1, N_STEPS + 1)[1:]))
    starts = jax.vmap(lambda k: U1().haar((2, 4, 4), key=k))(
        jax.random.split(key_for(key, "starts"), N_TRAJECTORIES)
    )
    found = run(flow, starts, key)
    free_energy = jarzynski(found.work)
    # One in 16,000 of right programs fails by chance.
    assert abs(free_energy.value - exact.u1_log_partition(1.0, 16)) < 4 * free_energy.error
    assert free_energy.error < 0.2
    assert float(jnp.mean(found.work)) > -free_energy.value
    np.testing.assert_allclose(jnp.sum(found.steps, axis=1), found.work)


def test_stout_maps_with_updates_give_the_exact_free_energy_both_ways(key):
    """SU(2) in two dimensions, 4x4, from 0 to beta = 1, forwards and backwards."""
    group = SUN(2)
    betas = np.linspace(0, 1, 4)[1:]
    layers = [eqx.tree_at(lambda m: m.raw, stout_layer(2), jnp.full((2, 2), 0.02)) for _ in betas]
    flow = stochastic_flow(WilsonAction(0.0, group), schedule(group, betas), layers)
    starts = jax.vmap(lambda k: group.haar((2, 4, 4), key=k))(
        jax.random.split(key_for(key, "starts"), N_TRAJECTORIES)
    )
    there = run(flow, starts, key_for(key, "there"))
    truth = exact.sun_log_partition(2, 1.0, 16)
    one_way = jarzynski(there.work)
    assert abs(one_way.value - truth) < 4 * one_way.error
    # The ends, resampled by their weights, are configurations of the last action.
    weights = np.asarray(jax.nn.softmax(-there.work))
    chosen = np.random.default_rng(0).choice(N_TRAJECTORIES, N_TRAJECTORIES, p=weights)
    back = eqx.filter_jit(lambda f, x, k: f.sample_back(x, key=k))(
        flow, there.position[chosen], key_for(key, "back")
    )
    both = crooks(there.work, back.work)
    # Resampling with replacement correlates the ends: the error is doubled for it.
    assert abs(both.value - truth) < 4 * 2 * both.error


@pytest.mark.slow
def test_training_the_maps_lowers_the_work(key):
    group = SUN(2)
    betas = np.linspace(0, 1.5, 4)[1:]
    flow = stochastic_flow(
        WilsonAction(0.0, group), schedule(group, betas), [stout_layer(2) for _ in betas]
    )
    starts = jax.vmap(lambda k: group.haar((2, 4, 4), key=k))(
        jax.random.split(key_for(key, "starts"), 200)
    )
    before = run(flow, starts, key)
    loss = StepwiseWork(starts, batch=8)
    result = fit(loss, flow, 25, key=key, learning_rate=2e-2, progress=False)
    after = run(result.model, starts, key)
    assert float(jnp.mean(after.work)) < float(jnp.mean(before.work))
    assert float(ess_fraction(-after.work)) > float(ess_fraction(-before.work))
    np.testing.assert_array_equal(result.model.updates.action.beta, flow.updates.action.beta)


def test_crooks_of_gaussian_work(key):
    """Normal work of mean s^2/2 - l forwards and s^2/2 + l backwards has l = log Z_N/Z_0."""
    spread, log_ratio, n = 2.0, 3.0, 4000
    draws = np.asarray(jax.random.normal(key, (2, n)))
    there = spread**2 / 2 - log_ratio + spread * draws[0]
    back = spread**2 / 2 + log_ratio + spread * draws[1]
    found = crooks(there, back)
    assert abs(found.value - log_ratio) < 4 * found.error
    assert found.error < jarzynski(there).error


def test_bad_input():
    with pytest.raises(ConfigError, match="monotone"):
        stochastic_flow(WilsonAction(0.0), schedule(U1(), [0.5, 0.2, 1.0]))
    with pytest.raises(ConfigError, match="at least one"):
        stochastic_flow(WilsonAction(0.0), [])
    with pytest.raises(ConfigError, match="as the updates"):
        stochastic_flow(WilsonAction(0.0, SUN(2)), schedule(SUN(2), [1.0]), [])
    with pytest.raises(ShapeError, match="at least 2"):
        crooks(np.zeros(1), np.zeros(1))
