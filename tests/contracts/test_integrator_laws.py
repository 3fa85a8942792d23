"""Laws of every integrator, on a pendulum whose exact flow is known to conserve energy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.contracts.registry import INTEGRATORS

pytestmark = pytest.mark.instant


@pytest.fixture(params=INTEGRATORS)
def integrator(request):
    return INTEGRATORS[request.param]


def drift(q, p, time):
    return q + time * p


def kick(q, p, time):
    return p - time * jnp.sin(q)


def energy(q, p):
    return 0.5 * p * p - jnp.cos(q)


def follow(integrator, q, p, total, n_steps):
    return integrator.integrate(
        drift, (kick,), q, p, step_size=jnp.asarray(total / n_steps), n_steps=n_steps
    )


def test_momentum_reversal_leads_back(integrator):
    q, p = follow(integrator, jnp.asarray(0.7), jnp.asarray(0.9), 3.0, 13)
    back, momentum = follow(integrator, q, -p, 3.0, 13)
    assert float(back) == pytest.approx(0.7, abs=1e-13)
    assert float(momentum) == pytest.approx(-0.9, abs=1e-13)


def test_area_is_preserved(integrator):
    jacobian = jax.jacfwd(lambda x: jnp.stack(follow(integrator, x[0], x[1], 2.0, 5)))(
        jnp.array([0.7, 0.9])
    )
    assert float(jnp.linalg.det(jacobian)) == pytest.approx(1.0, abs=1e-12)


def test_energy_error_has_the_order_it_claims(integrator):
    # Small steps, since the leading term of the second-order minimum-norm scheme is tiny; but the
    # errors of fourth order would then be rounding.
    counts = np.array([64, 128, 256] if integrator.order == 2 else [8, 16, 32])
    start = jnp.asarray(0.7), jnp.asarray(0.9)
    errors = [
        float(energy(*follow(integrator, *start, 2.0, int(n))) - energy(*start)) for n in counts
    ]
    slopes = -np.diff(np.log(np.abs(errors))) / np.log(2.0)
    assert slopes[-1] == pytest.approx(integrator.order, abs=0.1)


def test_steps_are_joined_without_losing_time(integrator):
    """Free motion covers exactly the distance p t."""
    q, p = integrator.integrate(
        drift,
        (lambda q, p, time: p,),
        jnp.asarray(0.0),
        jnp.asarray(2.0),
        step_size=jnp.asarray(0.3),
        n_steps=7,
    )
    assert float(q) == pytest.approx(2.0 * 0.3 * 7, abs=1e-14)
    # A constant force: the momentum changes by the force times the time.
    _, p = integrator.integrate(
        drift,
        (lambda q, p, time: p - 5.0 * time,),
        jnp.asarray(0.0),
        jnp.asarray(0.0),
        step_size=jnp.asarray(0.3),
        n_steps=7,
    )
    assert float(p) == pytest.approx(-5.0 * 0.3 * 7, abs=1e-13)


def test_one_step_is_the_published_product(integrator):
    q, p = jnp.asarray(0.7), jnp.asarray(0.9)
    expected = q, p
    for index, fraction in enumerate(integrator.drifts):
        expected = drift(*expected, 0.1 * fraction), expected[1]
        if index < len(integrator.kicks):
            q, p = expected
            origin = q - integrator.displacement * 0.1**2 * jnp.sin(q)
            expected = q, kick(origin, p, 0.1 * integrator.kicks[index])
    found = follow(integrator, jnp.asarray(0.7), jnp.asarray(0.9), 0.1, 1)
    np.testing.assert_allclose(found, expected, atol=4e-15)
