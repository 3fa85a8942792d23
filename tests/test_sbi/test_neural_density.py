"""Learned densities of events and of parameters against a conjugate problem."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from jax.scipy.stats import norm

from diffhep.core.checkpoint import Checkpoint
from diffhep.core.errors import ConfigError, DataError, ShapeError
from diffhep_sbi import (
    autoregressive_flow,
    fit_flow_matching,
    fit_likelihood,
    fit_posterior,
    gold_from_pairs,
    mlp,
    posterior,
    posteriors,
)
from diffhep_sbi.support import draw_inside
from tests.test_sbi.conftest import PRIOR_VARIANCE

pytestmark = pytest.mark.fast

PRIOR = dist.Normal(jnp.zeros(2), PRIOR_VARIANCE**0.5).to_event(1)
SMALL = {"flow": autoregressive_flow(2, 12, 1, 4), "n_members": 2, "progress": False}


@pytest.fixture(scope="module", params=["nle", pytest.param("scandal", marks=pytest.mark.slow)])
def likelihood(gold, request):
    few = gold.take(slice(0, 3000))
    key = jax.random.key(5)
    return fit_likelihood(few, request.param, n_epochs=5, batch=150, key=key, **SMALL)


@pytest.mark.slow
def test_a_learned_likelihood_is_close_to_the_exact_one(likelihood, problem, gold, key):
    x, theta = gold.x[5000:5400], jnp.array([0.2, -0.3])
    truth = jax.vmap(problem.log_prob, (0, None))(x, theta)
    scores = jax.vmap(jax.grad(problem.log_prob, argnums=1), (0, None))(x, theta)
    log_prob, score = eqx.filter_jit(lambda f: (f.log_prob(x, theta), f.score(x, theta)))(
        likelihood
    )
    assert float(jnp.mean((log_prob - truth) ** 2)) < 0.02 * float(jnp.var(truth))
    assert float(jnp.mean((score - scores) ** 2)) < 0.05 * float(jnp.var(scores))
    assert likelihood.n_members == 2
    assert likelihood.held_out_loss.shape == (5, 2)
    # 4.5 errors of 4000 events, and what the flow may be off.
    drawn = likelihood.sample(theta, 4000, key=key)
    expected = problem.design @ theta
    np.testing.assert_allclose(drawn.mean(axis=0), expected, atol=4.5 * 0.84 / 63 + 0.03)
    np.testing.assert_allclose(jnp.cov(drawn.T), problem.covariance, atol=0.08)


@pytest.mark.slow
def test_a_learned_likelihood_stands_where_a_ratio_does(likelihood, problem, gold, key):
    """The posterior of three events by importance sampling is the conjugate one."""
    x = gold.x[6000:6003]
    mean, covariance = problem.posterior(x, jnp.zeros(2), PRIOR_VARIANCE * jnp.eye(2))
    found = posterior(likelihood, PRIOR, x, key=key, method="importance", n_samples=3000)
    assert found.ess > 500
    weight = np.exp(np.asarray(found.log_weight) - float(found.log_weight.max()))
    errors = np.sqrt(np.diag(covariance) / found.ess)
    deviation = np.average(found.theta, axis=0, weights=weight) - mean
    # Five errors and a tenth of the posterior's width for the flow.
    assert np.all(np.abs(deviation) < 5 * errors + 0.1 * np.sqrt(np.diag(covariance)))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["nuts", "blackjax"])
def test_chains_run_on_a_learned_likelihood(likelihood, problem, gold, key, method):
    x = gold.x[6000:6003]
    mean, covariance = problem.posterior(x, jnp.zeros(2), PRIOR_VARIANCE * jnp.eye(2))
    draws = posteriors(likelihood, PRIOR, x[None], key=key, method=method)[0]
    width = np.sqrt(np.diag(covariance))
    # A hundred thinned draws: five errors, and a tenth of a width for the flow.
    assert np.all(np.abs(draws.mean(axis=0) - mean) < (0.5 + 0.1) * width)


@pytest.fixture(scope="module")
def box():
    """A location seen with unit error, uniform in a box: posteriors are truncated normals."""
    prior = dist.Uniform(jnp.zeros(2), jnp.array([2.0, 3.0])).to_event(1)
    theta = prior.sample(jax.random.key(2), (3000,))
    return prior, gold_from_pairs(theta + jax.random.normal(jax.random.key(3), theta.shape), theta)


@pytest.mark.parametrize(
    "coordinates", ["unconstrained", pytest.param("parameters", marks=pytest.mark.slow)]
)
def test_a_learned_posterior_is_close_to_the_exact_one_and_stays_inside(
    box, key, tmp_path, coordinates
):
    prior, pairs = box
    settings = {**SMALL, "n_epochs": 6, "batch": 150, "learning_rate": 3e-3, "key": key}
    settings["coordinates"] = coordinates
    checkpoint = Checkpoint(tmp_path / "fit")
    fitted = fit_posterior(pairs, prior, checkpoint=checkpoint, **settings)
    again = fit_posterior(pairs, prior, checkpoint=checkpoint, **settings)
    # Functions of flowjax are made anew and differ: arrays are compared.
    assert eqx.tree_equal(*(eqx.filter(each.members, eqx.is_array) for each in (fitted, again)))
    x, edge = jnp.array([1.5, 2.5]), jnp.array([2.0, 3.0])

    @eqx.filter_jit
    def ask(fitted, beyond):
        theta = fitted.sample(x, 2000, key=key)
        return theta, fitted.log_prob(theta, x), fitted.log_prob(beyond, x)

    beyond = jnp.array([[-0.1, 1.0], [1.0, 3.1], [0.0, 1.0], [jnp.nan, 1.0]])
    theta, log_prob, outside = ask(fitted, beyond)
    assert bool(jnp.all((theta >= 0.0) & (theta <= edge)))
    np.testing.assert_array_equal(outside, -jnp.inf)
    mass = jnp.log(norm.cdf(edge - x) - norm.cdf(-x))
    exact = jnp.sum(norm.logpdf(theta - x) - mass, axis=1)
    # The divergence from the exact posterior is not negative; 4.5 errors of it.
    difference = np.asarray(log_prob - exact)
    error = difference.std() / np.sqrt(difference.size)
    # On the parameters the share that leaks out of the box is in the difference, negative.
    leaked = 0.2 if coordinates == "parameters" else 0.0
    assert -4.5 * error - leaked < difference.mean() < 0.05
    with pytest.raises(ShapeError, match=r"`x` must have shape \(2,\)"):
        fitted.sample(jnp.zeros(3), 5, key=key)
    wrong = gold_from_pairs(pairs.x[:100], pairs.theta0[:100].at[3].set(2.5))
    with pytest.raises(DataError, match="must lie inside the support of the prior, but event"):
        fit_posterior(wrong, prior, **settings)
    with pytest.raises(ConfigError, match="was made with another `loss`"):
        fit_posterior(pairs, prior, checkpoint=checkpoint, **{**settings, "batch": 100})


def test_draws_outside_are_drawn_again(key):
    """Normal draws become truncated ones, and one that is never inside is no number."""
    prior = dist.Uniform(jnp.zeros(1), jnp.array([0.5])).to_event(1)
    far = jnp.zeros((4000, 1)).at[7].set(50.0)
    found = draw_inside(lambda key: far + jax.random.normal(key, far.shape), prior, key)
    assert not np.isfinite(found[7, 0])
    inside = np.delete(np.asarray(found[:, 0]), 7)
    assert inside.min() >= 0.0
    assert inside.max() <= 0.5
    mean = (norm.pdf(0.0) - norm.pdf(0.5)) / (norm.cdf(0.5) - norm.cdf(0.0))
    assert abs(inside.mean() - mean) < 4.5 * inside.std() / 3999**0.5


def test_flow_matching_is_close_to_the_exact_posterior_and_stays_inside(box, key):
    prior, pairs = box
    fitted = fit_flow_matching(
        pairs,
        prior,
        network=mlp(24, 2),
        n_members=1,
        n_epochs=20,
        batch=150,
        learning_rate=5e-3,
        progress=False,
        key=key,
    )
    x, edge = jnp.array([1.5, 2.5]), jnp.array([2.0, 3.0])

    @eqx.filter_jit
    def ask(fitted, beyond):
        theta = fitted.sample(x, 500, key=key)
        return theta, fitted.log_prob(jnp.concatenate([theta, beyond]), x)

    theta, log_prob = ask(fitted, jnp.array([[-0.1, 1.0], [1.0, 3.0]]))
    assert bool(jnp.all((theta >= 0.0) & (theta <= edge)))
    np.testing.assert_array_equal(log_prob[-2:], -jnp.inf)
    mass = jnp.log(norm.cdf(edge - x) - norm.cdf(-x))
    exact = jnp.sum(norm.logpdf(theta - x) - mass, axis=1)
    # The divergence from the exact posterior is not negative; 4.5 errors of it.
    difference = np.asarray(log_prob[:-2] - exact)
    error = difference.std() / np.sqrt(difference.size)
    assert -4.5 * error < difference.mean() < 0.1
    assert fitted.held_out_loss.shape == (20, 1)
    with pytest.raises(ShapeError, match=r"`x` must have shape \(2,\)"):
        fitted.sample(jnp.zeros(3), 5, key=key)


def test_what_densities_cannot_learn_from_is_refused(gold, key):
    few = gold.take(slice(0, 100))
    bare = eqx.tree_at(lambda g: g.score, few, None, is_leaf=lambda leaf: leaf is None)
    with pytest.raises(ConfigError, match="joint score, which method 'scandal'"):
        fit_likelihood(bare, "scandal", key=key, **SMALL)
    with pytest.raises(ConfigError, match="`method` must be nle or scandal"):
        fit_likelihood(few, "npe", key=key, **SMALL)
    with pytest.raises(DataError, match="must have events of class 0"):
        fit_likelihood(gold.take(slice(20_000, 20_100)), key=key, **SMALL)
    with pytest.raises(ConfigError, match="`coordinates` must be one of unconstrained, para"):
        fit_posterior(few, PRIOR, coordinates="log", key=key, **SMALL)
    with pytest.raises(ShapeError, match="`theta` must hold the parameters of each event"):
        gold_from_pairs(few.x, few.theta0[:5])
