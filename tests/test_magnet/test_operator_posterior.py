"""Posteriors of parameters and states against exact ones, and pasts found from a context."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

from diffhep.core.errors import ConfigError
from diffhep.magnet import (
    AbstractOperator,
    Play,
    PrandtlIshlinskii,
    estimate_state,
    nested_history,
    posterior_outputs,
    sample_operator,
)

N_RECORDINGS, LENGTH = 64, 6

RADII = jnp.array([0.0, 0.3, 0.8])
SIGMA = 0.1
N_EFFECTIVE = 250
"""A third of the draws: chains of this sampler on a few parameters do better."""


@pytest.mark.slow
def test_posterior_of_a_linear_model_is_the_exact_one(key):
    """Weights of plays are linear: least squares has mean and covariance in closed form.

    With 4.5 standard errors the means fail by chance once in 50,000 runs; the seed is fixed.
    """
    u = jnp.asarray(np.sin(np.arange(12) * 0.9) * 1.5)
    plays = jax.vmap(lambda w: PrandtlIshlinskii(RADII, w)(u)[0])(jnp.eye(3)).T
    y = plays @ jnp.array([1.0, 0.5, -0.2]) + SIGMA * jax.random.normal(key, u.shape)

    def prior():
        return numpyro.sample("weight", dist.Normal(0.0, 2.0).expand([3]).to_event(1))

    found = sample_operator(
        lambda w: PrandtlIshlinskii(RADII, w),
        prior,
        u,
        y,
        sigma=SIGMA,
        key=key,
        n_warmup=300,
        n_samples=400,
    )
    covariance = np.linalg.inv(plays.T @ plays / SIGMA**2 + np.eye(3) / 4.0)
    mean = covariance @ (plays.T @ y) / SIGMA**2
    error = np.sqrt(np.diag(covariance))
    draws = np.asarray(found.parameters)
    assert draws.shape == (800, 3)
    assert found.n_divergent == 0
    assert found.r_hat < 1.05
    np.testing.assert_array_less(np.abs(draws.mean(0) - mean), 4.5 * error / np.sqrt(N_EFFECTIVE))
    whitened = np.linalg.solve(np.linalg.cholesky(covariance), (draws - mean).T)
    # The spectrum of a sample covariance: 1 within 4.5 sqrt(2 / n) of a variance, and a margin.
    np.testing.assert_allclose(np.linalg.eigvalsh(np.cov(whitened)), 1.0, atol=0.6)


class ManyPlays(AbstractOperator):
    """Recordings of plays of different radii, one after the other: their posteriors at once."""

    radius: jax.Array

    def rest(self, u0):
        return jnp.asarray(0), jnp.zeros_like(u0)

    def step(self, state, u, dt):
        index, y = state
        start = jnp.where(index % LENGTH == 0, 0.0, y)
        y = Play(self.radius[index // LENGTH]).step(start, u, dt)[0]
        return (index + 1, y), y


@pytest.mark.slow
def test_posteriors_are_calibrated(key):
    """Simulation-based calibration: ranks of true radii among draws are uniform.

    Radii from the prior, recordings from the radii. 4.5 standard deviations of the mean rank and of
    the coverage of 64 recordings fail by chance once in 50,000 runs each; the seed is fixed.
    """
    radius_key, noise_key, chain_key = jax.random.split(key, 3)
    u = jnp.asarray(np.tile([0.4, 0.9, -0.2, 0.7, -0.8, 0.3], N_RECORDINGS))
    truth = jax.random.uniform(radius_key, (N_RECORDINGS,), minval=0.1, maxval=0.9)
    state = ManyPlays(truth).rest(u[0])
    y = ManyPlays(truth)(u, state=state)[0] + 0.2 * jax.random.normal(noise_key, u.shape)

    def prior():
        one = dist.Uniform(0.1, 0.9).expand([N_RECORDINGS]).to_event(1)
        return numpyro.sample("radius", one)

    def build(radius):
        return ManyPlays(radius), state

    found = sample_operator(build, prior, u, y, sigma=0.2, key=chain_key, n_samples=300)
    draws = np.asarray(found.parameters)
    rank = np.mean(draws < np.asarray(truth), axis=0)
    assert abs(rank.mean() - 0.5) < 4.5 * np.sqrt(1 / 12 / N_RECORDINGS)
    inside = np.mean((rank > 0.05) & (rank < 0.95))
    assert abs(inside - 0.9) < 4.5 * np.sqrt(0.09 / N_RECORDINGS)
    # The data say something: posteriors are narrower than the prior.
    assert np.mean(draws.std(axis=0)) < 0.7 * 0.8 / np.sqrt(12)


@pytest.mark.slow
def test_what_the_context_does_not_tell_keeps_its_prior(key):
    """Small inputs move no play: only the sum of two is seen, their difference stays unknown.

    With p1 in [-1, 1] and p2 in [-2, 2] uniform and p1 + p2 known to be 0, p1 is uniform.
    """
    radii = jnp.array([1.0, 2.0])
    operator = PrandtlIshlinskii(radii, jnp.ones(2))
    u = jnp.zeros(4)

    def prior():
        return radii * numpyro.sample("share", dist.Uniform(-1.0, 1.0).expand([2]).to_event(1))

    def build(plays):
        return operator, plays

    found = sample_operator(build, prior, u, jnp.zeros(4), sigma=SIGMA, key=key, n_samples=400)
    first, second = np.asarray(found.parameters).T
    # Variances scatter by sqrt(2 / n) and less: a uniform law has short tails.
    scatter = 4.5 * np.sqrt(2.0 / N_EFFECTIVE)
    assert abs(np.var(first) * 3.0 - 1.0) < scatter
    assert abs(np.var(first + second) / (SIGMA**2 / 4) - 1.0) < scatter
    # Where the horizon moves the plays, what was not known of them shows.
    ahead = posterior_outputs(build, found, jnp.array([0.0, 1.5, 3.5]))
    spread = np.std(np.asarray(ahead), axis=0)
    assert spread[1] > 3.0 * spread[0]
    assert spread[2] < 1e-12


@pytest.mark.fast
def test_a_nested_history_closes_in_and_is_remembered_whole():
    history = np.asarray(nested_history(0.1, 1.0, jnp.array([0.0, 1.0, -1.0, 0.5])))
    assert history[:3].tolist() == [0.0, 1.0, -1.0]
    above, below = history[3::2], history[4::2]
    np.testing.assert_allclose(above[0], 0.1 + 0.9 * 0.5)
    np.testing.assert_allclose(below[0], 0.1 - 1.1 / (1.0 + np.exp(-1.0)))
    assert np.all(np.diff(above) < 0.0)
    assert np.all(np.diff(below) > 0.0)


@pytest.mark.fast
def test_a_past_that_fits_the_context_forecasts_what_it_visits(key):
    operator = PrandtlIshlinskii(np.linspace(0.0, 0.9, 7), np.append(1.0, np.full(6, 0.4)))
    past = jnp.array([0.0, 1.0, -0.7, 0.75, -0.2])
    u = jnp.concatenate([jnp.linspace(0.0, 0.5, 12), jnp.linspace(0.45, -0.3, 12)])
    y = operator(u, state=operator.init(u[0], past))[0]
    found = estimate_state(operator, u[:18], y[:18], limit=1.0, n_reversals=4)
    assert found.rmse < 1e-6
    ahead = operator(u, state=found.state)[0][18:]
    naive = operator(u)[0][18:]
    np.testing.assert_allclose(ahead, y[18:], atol=0.02)
    assert float(jnp.max(jnp.abs(naive - y[18:]))) > 0.1


@pytest.mark.fast
def test_a_limit_below_the_context_is_refused():
    operator = PrandtlIshlinskii(RADII, jnp.ones(3))
    with pytest.raises(ConfigError, match=r"`limit` must be at least the largest input, 2\.0"):
        estimate_state(operator, jnp.array([0.0, 2.0]), jnp.zeros(2), limit=1.0)
