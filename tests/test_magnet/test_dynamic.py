"""Equations of motion: exact responses, the law of the force, symmetries of what is learned."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffhep.magnet import (
    BoucWenForce,
    Dynamic,
    HystereticOscillator,
    fit_operator,
    learned_force,
)

pytestmark = pytest.mark.fast


@eqx.filter_jit
def run(operator, u, dt):
    return operator(u, dt, state=operator.rest(u[0]))[0]


def test_step_response_of_a_linear_oscillator():
    """m = 2, c = 0.8, k = 5 and a spring of 3 as the force without dissipation."""
    spring = BoucWenForce(3.0, 0.0, 0.0)
    operator = Dynamic(HystereticOscillator(2.0, 0.8, 5.0, spring), n_substeps=8)
    y = run(operator, jnp.ones(60), 0.1)
    t = 0.1 * np.arange(1, 61)
    decay, omega = 0.2, np.sqrt(8.0 / 2.0 - 0.2**2)
    ring = np.cos(omega * t) + decay / omega * np.sin(omega * t)
    np.testing.assert_allclose(y, (1.0 - np.exp(-decay * t) * ring) / 8.0, atol=1e-10)


def test_force_saturates_as_an_exponential():
    """Along a displacement that rises, dz/dx = alpha - (a + b) z for exponent 1."""
    law = BoucWenForce(2.0, 0.7, 0.2)
    z = 2.0 / 0.9 * -np.expm1(-0.9 * np.linspace(0.0, 2.0, 5))
    rate = jax.vmap(lambda force: law(jnp.asarray(1.5), force))(jnp.asarray(z))
    np.testing.assert_allclose(rate, 1.5 * (2.0 - 0.9 * z), rtol=1e-14)
    # Back from there the same parameters give alpha + (a - b) z.
    rate = jax.vmap(lambda force: law(jnp.asarray(-1.5), force))(jnp.asarray(z))
    np.testing.assert_allclose(rate, -1.5 * (2.0 + 0.5 * z), rtol=1e-14)


def test_derivative_by_the_exponent_is_finite_at_no_force():
    def rate(exponent):
        return BoucWenForce(1.0, 0.5, 0.2, exponent)(jnp.asarray(1.0), jnp.asarray(0.0))

    assert float(jax.grad(rate)(1.5)) == 0.0


def test_a_learned_force_knows_no_rate_and_no_direction(key):
    law = learned_force(2.0, 0.5, 4, key=key)
    law = eqx.tree_at(lambda one: one.outer, law, jnp.array([0.3, -0.2, 0.5, 0.1]))
    v, z = jnp.asarray(0.7), jnp.asarray(0.3)
    np.testing.assert_allclose(law(3.0 * v, z), 3.0 * law(v, z), rtol=1e-14)
    np.testing.assert_allclose(law(-v, -z), -law(v, z), rtol=1e-14)
    np.testing.assert_allclose(law(v, jnp.asarray(0.0)), 2.0 * v, rtol=1e-14)
    assert abs(float(law(v, z) + law(-v, z))) > 1e-3


def test_parameters_are_found_again():
    t = np.arange(160) * 0.1
    u = jnp.asarray(3.0 * np.sin(1.7 * t) + 2.0 * np.sin(0.6 * t))
    scale = jnp.array([1.0, 0.3, 1.0, 2.0, 1.0, 1.0])
    truth = jnp.array([1.0, 1.0, 1.0, 1.0, 0.8, -0.5])

    def build(parameters):
        mass, damping, stiffness, slope, lost, bend = parameters * scale
        return Dynamic(
            HystereticOscillator(mass, damping, stiffness, BoucWenForce(slope, lost, bend))
        )

    y = build(truth)(u, 0.1)[0]
    fit = fit_operator(build, jnp.array([1.2, 1.3, 0.9, 1.1, 0.4, 0.0]), u, y, dt=0.1, max_steps=40)
    np.testing.assert_allclose(fit.parameters, truth, rtol=1e-5)
