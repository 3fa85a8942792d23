"""Delayed acceptance against the exact values of the true action."""

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest

from diffhep.core.errors import ConfigError
from diffhep.core.sampling import sample
from diffhep.core.stats import effective_samples, gamma_method, pull
from diffhep_lattice import exact
from diffhep_lattice.actions.wilson import WilsonAction
from diffhep_lattice.groups import SU2, U1
from diffhep_lattice.observables import plaquette, topological_charge
from diffhep_lattice.samplers.alternate import alternate
from diffhep_lattice.samplers.delayed_acceptance import delayed_acceptance
from diffhep_lattice.samplers.heatbath import heatbath
from diffhep_lattice.samplers.hmc import hmc
from diffhep_lattice.samplers.instanton import instanton_hit

pytestmark = pytest.mark.fast

CHEAP, ACTION = WilsonAction(1.6), WilsonAction(2.0)
MAX_PULL = 4.5
"""One false alarm in 150,000 per number."""


def test_the_true_action_is_sampled(key):
    """Proposals of beta = 1.6, whose own plaquette the test tells from the true one."""
    algorithm = delayed_acceptance(hmc(CHEAP, step_size=0.25, n_steps=4), ACTION, n_steps=2)
    start = jax.vmap(lambda k: U1().haar((2, 4, 4), key=k))(jax.random.split(key, 64))
    observe = {"plaquette": plaquette, "charge_squared": lambda U: topological_charge(U) ** 2}
    result = sample(algorithm, start, 140, observe=observe, key=key, progress=False)
    references = {
        "plaquette": exact.u1_plaquette(2.0, 16),
        "charge_squared": exact.u1_charge_squared(2.0, 16),
    }
    for name, reference in references.items():
        found = gamma_method(result.observables[name][:, 20:])
        assert effective_samples(64 * 120, found.tau_int) > 500
        assert abs(pull(found.mean, found.error, reference)) < MAX_PULL
        if name == "plaquette":
            assert found.mean - exact.u1_plaquette(1.6, 16) > 8 * found.error
    assert 0.2 < result.info["accepted"].mean() < 0.95
    assert result.info["cheap_acceptance_probability"].mean() > 0.8


def test_the_second_test_sees_the_difference_of_the_actions(key):
    first = hmc(CHEAP, n_steps=2)
    algorithm = delayed_acceptance(first, ACTION)
    U = jax.random.normal(key, (2, 4, 4))
    _, info = eqx.filter_jit(algorithm.step)(key, algorithm.init(U))
    step_key = jax.random.split(jax.random.split(key)[0], 1)[0]
    V = eqx.filter_jit(first.step)(step_key, first.init(U))[0].position
    change = ACTION(V) - CHEAP(V) - (ACTION(U) - CHEAP(U))
    assert float(change) != 0.0
    assert float(info.energy_change) == pytest.approx(float(change), abs=1e-10)


@pytest.mark.parametrize(
    ("algorithm", "rule"),
    [
        (heatbath(CHEAP), "`algorithm` must be reversible"),
        (alternate(hmc(CHEAP), instanton_hit(CHEAP)), "`algorithm` must be reversible"),
        (hmc(WilsonAction(1.0, SU2())), r"`algorithm.action.group` must be U1\(\)"),
        (CHEAP, "`algorithm` must be a sampling algorithm of the cheap action"),
    ],
)
def test_bad_input(algorithm, rule):
    with pytest.raises(ConfigError, match=rule):
        delayed_acceptance(algorithm, ACTION)


def test_no_step_is_refused():
    with pytest.raises(ConfigError, match="`n_steps` must be an integer of at least 1"):
        delayed_acceptance(hmc(CHEAP), ACTION, n_steps=0)
    assert jnp.isfinite(delayed_acceptance(hmc(CHEAP), ACTION).init(jnp.zeros((2, 4, 4))).excess)
