"""Problems of the posterior benchmark: their densities are those of their simulators."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffhep.core.errors import ConvergenceError, ShapeError
from diffhep_sbi import posteriors, simulate, simulate_pairs
from diffhep_sbi.evolution import evolve
from diffhep_sbi.problems import BernoulliGlm, Epidemic, GaussianMixture, Slcp, TwoMoons

pytestmark = pytest.mark.fast

POINTS = {
    "mixture": (GaussianMixture(), [1.0, -2.0]),
    "slcp": (Slcp(), [0.7, -2.9, -1.0, -0.9, 0.6]),
    "epidemic": (Epidemic(), [0.6, 0.2]),
    "glm": (BernoulliGlm(), [0.3, -0.5, 0.2, 0.4, -0.1, 0.0, 0.2, -0.3, 0.1, 0.2]),
}


# Compiling the gradient of a solver takes long.
SOLVED = pytest.param("epidemic", marks=pytest.mark.slow)


@pytest.mark.parametrize("name", ["mixture", "slcp", "glm", SOLVED])
def test_the_mean_score_is_zero(name, key):
    """At 4.5 errors of the mean, for each of 2 to 10 parameters: 7e-6 false alarms each."""
    problem, theta = POINTS[name]
    theta = jnp.array(theta)
    x = simulate(problem.simulator, theta, n_events=600, key=key)
    score = np.asarray(
        jax.jit(jax.vmap(jax.grad(problem.log_prob, argnums=1), (0, None)))(x, theta)
    )
    error = score.std(axis=0) / np.sqrt(len(score))
    assert np.all(error > 0)
    assert np.all(np.abs(score.mean(axis=0)) < 4.5 * error)
    assert bool(jnp.all(problem.prior.support.check(theta)))


@pytest.mark.slow
def test_two_moons_has_an_exact_density_and_posterior(key):
    problem, theta = TwoMoons(), jnp.array([0.3, 0.1])
    x = simulate(problem.simulator, theta, n_events=4000, key=key)
    low, high = jnp.array([-0.1, -0.35]), jnp.array([0.2, 0.1])
    axes = [jnp.linspace(a, b, 201) for a, b in zip(low, high, strict=True)]
    grid = jnp.stack(jnp.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
    cell = float(jnp.prod((high - low) / 200))
    p = jnp.exp(jax.vmap(problem.log_prob, (0, None))(grid, theta)) * cell
    assert float(jnp.sum(p)) == pytest.approx(1.0, abs=5e-3)
    mean = p @ grid
    # 4.5 errors, and the cells of the grid.
    np.testing.assert_array_less(
        jnp.abs(x.mean(axis=0) - mean), 4.5 * x.std(axis=0) / 4000**0.5 + 1e-3
    )
    draws = problem.posterior_samples(x[0], 2000, key=key)
    assert bool(jnp.all(jnp.abs(draws) <= 1.0))
    # The same moments as the density on a grid of parameters, at 4.5 errors.
    axis = jnp.linspace(-1.0, 1.0, 301)
    grid = jnp.stack(jnp.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    p = jax.nn.softmax(jax.vmap(problem.log_prob, (None, 0))(x[0], grid))
    for power in (1, 2):
        expected = p @ grid**power
        error = (draws**power).std(axis=0) / 2000**0.5
        np.testing.assert_array_less(
            jnp.abs((draws**power).mean(axis=0) - expected), 4.5 * error + 3e-3
        )
    with pytest.raises(ConvergenceError, match="Only 0 of 5 draws"):
        problem.posterior_samples(jnp.array([9.0, 9.0]), 5, key=key)


def test_pairs_are_drawn_from_prior_and_simulator(key):
    pairs = simulate_pairs(GaussianMixture().simulator, GaussianMixture().prior, key=key)
    assert pairs.x.shape == pairs.theta0.shape == (10_000, 2)
    noise = np.asarray(pairs.x - pairs.theta0)
    # Half of the variance of the wide component, with half of the narrow one: 5 errors of 20,000.
    assert abs((noise**2).mean() - 0.505) < 5 * (noise**2).std() / 20_000**0.5
    with pytest.raises(ShapeError, match=r"`design` must be of shape \(time, 10\)"):
        BernoulliGlm(jnp.ones((4, 3)))


class Exact:
    """The likelihood of a problem where a ratio is asked for."""

    def __init__(self, problem):
        self.problem = problem

    def log_ratio(self, x, theta):
        return jax.vmap(self.problem.log_prob, (0, None))(x, theta)


def test_evolution_finds_both_moons(key):
    """Against exact draws: the share of one moon and both means, at five errors of 500 draws."""
    problem = TwoMoons()
    x = simulate(problem.simulator, jnp.array([[0.3, 0.1], [-0.2, 0.4]]), key=key)
    options = {"method": "evolution", "n_samples": 500, "n_warmup": 60, "n_thin": 5}
    found = np.asarray(posteriors(Exact(problem), problem.prior, x[:, None], key=key, **options))
    assert found.shape == (2, 500, 2)
    for draws, event in zip(found, x, strict=True):
        exact = np.asarray(problem.posterior_samples(event, 20_000, key=key))
        share, expected = (np.mean(t.sum(axis=1) > 0) for t in (draws, exact))
        assert abs(share - expected) < 5 * (0.25 / 500) ** 0.5
        error = exact.std(axis=0) / 500**0.5
        assert np.all(np.abs(draws.mean(axis=0) - exact.mean(axis=0)) < 5 * error)


def test_an_odd_number_of_chains_is_refused(key):
    with pytest.raises(ShapeError, match="`start` must hold an even number of chains"):
        evolve(jnp.sum, jnp.zeros((5, 2)), n_warmup=1, n_rounds=1, n_thin=1, key=key)
