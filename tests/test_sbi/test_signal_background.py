"""The signal-and-background problem: its density, ratio, events and information."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffhep.core.errors import ConfigError
from diffhep_sbi.problems import SignalBackground

pytestmark = pytest.mark.fast

THETA = jnp.array([0.7, 1.1, 0.5])


@pytest.fixture(scope="module")
def problem():
    return SignalBackground(has_slope=True)


def test_density_is_normalised(problem):
    nodes = problem.quadrature()
    assert float(jnp.sum(nodes.weight)) == pytest.approx(1.0, abs=1e-12)
    # The ratio turns the reference into any other density.
    ratio = jnp.exp(problem.log_ratio(nodes.x, THETA))
    assert float(jnp.sum(nodes.weight * ratio)) == pytest.approx(1.0, abs=1e-12)


def test_score_against_finite_differences(problem):
    x, step = jnp.array([[0.1], [0.4], [0.9]]), 1e-5
    score = problem.score(x, THETA)
    for i in range(3):
        change = step * jnp.eye(3)[i]
        up, down = (problem.log_ratio(x, THETA + sign * change) for sign in (1, -1))
        np.testing.assert_allclose(score[:, i], (up - down) / (2 * step), atol=1e-8)


def test_information_is_the_covariance_of_the_score(problem):
    """Of the extended likelihood: the rate's part is added, and the constraints'."""
    nodes = problem.quadrature()
    share = nodes.weight * jnp.exp(problem.log_ratio(nodes.x, THETA))
    score = problem.score(nodes.x, THETA)
    rate, slope = jax.value_and_grad(problem.expected_events)(THETA)
    expected = rate * jnp.einsum("e,ei,ej->ij", share, score, score)
    expected += jnp.outer(slope, slope) / rate + jnp.diag(jnp.array([0.0, 100.0, 1.0]))
    np.testing.assert_allclose(problem.information(THETA), expected, rtol=1e-10)


def test_events_follow_the_density(problem, key):
    n_events = 20_000
    x = problem.simulate(THETA, n_events, key=key)
    nodes = problem.quadrature()
    share = nodes.weight * jnp.exp(problem.log_ratio(nodes.x, THETA))
    for function in (lambda x: x[:, 0], lambda x: jnp.abs(x[:, 0] - 0.4) < 0.1):
        # The step function is integrated to about a hundredth of a percent by the nodes.
        mean = jnp.sum(share * function(nodes.x))
        found = jnp.asarray(function(x), float)
        error = jnp.std(found) / n_events**0.5
        # Five standard errors: 6e-7 false alarms.
        assert abs(float(jnp.mean(found) - mean)) < 5 * float(error) + 1e-3


def test_bad_settings_are_named():
    with pytest.raises(ConfigError, match="`width` must be positive"):
        SignalBackground(width=0.0)
