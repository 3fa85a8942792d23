"""Posteriors of a conjugate problem by every method, and the diagnostics that judge them."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

from diffhep.core.errors import ConfigError, ConvergenceError, DataError, ShapeError
from diffhep.core.rng import key_for
from diffhep_sbi.diagnostics import expected_coverage, sbc, tarp
from diffhep_sbi.posterior import posterior, posteriors
from diffhep_sbi.problems import SignalBackground

pytestmark = pytest.mark.fast

PRIOR = dist.Normal(jnp.zeros(2), 2.0).to_event(1)


class UnitNormal:
    """log N(x; theta, 1) - log N(x; 0, 1)."""

    def log_ratio(self, x, theta):
        return x @ theta - 0.5 * jnp.sum(theta**2)


# Chains compile for seconds.
CHAINS = [pytest.param(name, marks=pytest.mark.slow) for name in ("nuts", "blackjax")]


@pytest.mark.parametrize("method", [*CHAINS, "importance"])
def test_posterior_is_conjugate(method, key):
    x = jnp.array([[0.5, -1.0], [1.5, 0.0], [1.0, 0.4]])
    n_samples = 20_000 if method == "importance" else 1200
    found = posterior(
        UnitNormal(),
        PRIOR,
        x,
        key=key,
        method=method,
        n_samples=n_samples,
        n_warmup=200,
        n_chains=2,
    )
    variance = 1 / (3 + 1 / 4)
    weight = np.exp(np.asarray(found.log_weight))
    mean = np.average(found.theta, axis=0, weights=weight)
    spread = np.average((found.theta - mean) ** 2, axis=0, weights=weight)
    assert found.theta.shape == (n_samples, 2)
    assert found.ess > 300
    # Five standard errors at the effective sample size of both parameters: 2e-6 false alarms.
    expected = variance * np.sum(np.asarray(x), axis=0)
    assert np.all(np.abs(mean - expected) < 5 * np.sqrt(variance / found.ess))
    # Squares of a chain may be more correlated than itself: half its effective size.
    assert np.all(np.abs(spread / variance - 1) < 5 * np.sqrt(2 / (found.ess / 2)))
    assert found.r_hat < 1.05
    assert found.n_divergent == 0


def test_weighted_draws_are_resampled(key):
    x = jnp.array([[1.0, -1.0]])
    found = posterior(UnitNormal(), PRIOR, x, key=key, method="importance", n_samples=5000)
    equal = found.resample(2000, key=key)
    expected = 0.8 * np.array([1.0, -1.0])
    # Five standard errors of both resampling and weights: 2e-6 false alarms.
    error = np.sqrt(0.8 * (1 / 2000 + 1 / found.ess))
    assert np.all(np.abs(np.asarray(equal).mean(0) - expected) < 5 * error)


def test_many_posteriors_at_once(key):
    """By importance sampling here; chains are in the slow tier."""
    x = jnp.array([[[1.0, -1.0]], [[0.0, 2.0]]])
    found = posteriors(UnitNormal(), PRIOR, x, key=key, method="importance", n_samples=1000)
    assert found.shape == (2, 1000, 2)
    # Five standard errors: 2e-6 false alarms.
    assert np.all(np.abs(found.mean(1) - 0.8 * x[:, 0]) < 5 * np.sqrt(0.8 * 2 / 1000))


N_TRIALS, N_DRAWS = 300, 99


class Shape:
    """The exact ratio of a peak on a background, whose rate says nothing."""

    problem = SignalBackground(signal=10.0, background=20.0)
    prior = dist.Uniform(jnp.array([0.0, 0.7]), jnp.array([3.0, 1.3])).to_event(1)

    def log_ratio(self, x, theta):
        return self.problem.log_ratio(x, theta)

    def simulate(self, theta, key):
        return self.problem.simulate(theta, 30, key=key)


class Location(UnitNormal):
    """Three events of a normal distribution of unknown mean."""

    prior = PRIOR

    def simulate(self, theta, key):
        return theta + jax.random.normal(key, (3, 2))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["nuts", "blackjax", "importance"])
@pytest.mark.parametrize("problem", [Shape(), Location()], ids=["shape", "location"])
def test_posteriors_are_calibrated(problem, method, key):
    theta = problem.prior.sample(key, (N_TRIALS,))
    x = jax.vmap(problem.simulate)(theta, jax.random.split(key, N_TRIALS))
    draws = posteriors(
        problem, problem.prior, x, key=key_for(key, "posteriors"), method=method, n_samples=N_DRAWS
    )

    def log_prob(x, theta):
        return jnp.sum(problem.log_ratio(x, theta)) + problem.prior.log_prob(theta)

    truth = jax.vmap(log_prob)(x, theta)
    of_draws = jax.vmap(jax.vmap(log_prob, (None, 0)))(x, draws)
    ranks, curve = sbc(theta, draws), expected_coverage(truth, of_draws)
    balls = tarp(theta, draws, key=key)
    print(type(problem).__name__, method, ranks.p_value, curve.p_value, balls.p_value)
    assert np.all(ranks.p_value > 0.01)
    assert curve.p_value > 0.01
    assert balls.p_value > 0.01


@pytest.mark.usefixtures("without_shape_checks")
def test_bad_arguments_are_named(key):
    x = jnp.ones((2, 2))
    with pytest.raises(DataError, match="event 1 has nan in column 0"):
        posterior(UnitNormal(), PRIOR, x.at[1, 0].set(jnp.nan), key=key)
    with pytest.raises(ConfigError, match="one of nuts, blackjax, importance, but it is 'hmc'"):
        posterior(UnitNormal(), PRIOR, x, key=key, method="hmc")
    with pytest.raises(ShapeError, match="`prior` must be a distribution of vectors"):
        posterior(UnitNormal(), dist.Normal(0.0, 1.0), x, key=key)

    class Nothing:
        def log_ratio(self, x, theta):
            return jnp.full(x.shape[0], -jnp.inf)

    with pytest.raises(ConvergenceError, match="no draw of finite density"):
        posterior(Nothing(), PRIOR, x, key=key, method="importance", n_samples=10)
