"""One exact problem with a normal prior, for every test that trains or judges."""

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
import pytest

from diffhep_sbi.mining import mine
from diffhep_sbi.problems import LatentGaussian

PRIOR_VARIANCE = 0.09


@pytest.fixture(scope="session")
def problem():
    design = jnp.array([[1.0, 0.3], [0.0, 1.0]])
    return LatentGaussian(design, 0.3 * jnp.eye(2), 0.4 * jnp.eye(2))


@pytest.fixture(scope="session")
def gold(problem):
    """Numerators from the prior, one denominator."""
    key = jax.random.key(1)
    theta0 = jnp.sqrt(PRIOR_VARIANCE) * jax.random.normal(key, (20_000, 2))
    return mine(problem.simulator, theta0, jnp.array([0.2, -0.1]), key=key)


@pytest.fixture(scope="session")
def log_evidence(problem):
    """The density of x with theta from its prior."""
    spread = PRIOR_VARIANCE * problem.design @ problem.design.T
    marginal = dist.MultivariateNormal(jnp.zeros(2), problem.covariance + spread)
    return marginal.log_prob
