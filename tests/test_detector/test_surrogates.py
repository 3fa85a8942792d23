"""Surrogates against simulators whose distribution is known, and metrics against exact values."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm

from diffhep.core.errors import ConfigError, ShapeError
from diffhep.detector.surrogates import (
    Ensemble,
    ExtrapolationWarning,
    FlowMatching,
    MomentRegression,
    SplineFlow,
    area_under_curve,
    compare,
    frechet_distance,
    next_designs,
    separation_power,
    spread,
)
from diffhep.detector.surrogates.spline_flow import from_noise

pytestmark = pytest.mark.fast


def _moments(x):
    """Mean and standard deviations of two observables with the correlation 0.6."""
    mean = np.stack([1.0 + x[..., 0] - 0.5 * x[..., 1] ** 2, 20.0 * x[..., 1]], axis=-1)
    sd = np.stack([0.3 * np.exp(0.4 * x[..., 0]), 5.0 + 0.0 * x[..., 0]], axis=-1)
    return mean, sd


def _events(seed, n):
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1.0, 1.0, (n, 2))
    z = rng.normal(size=(n, 2)) @ np.linalg.cholesky([[1.0, 0.6], [0.6, 1.0]]).T
    mean, sd = _moments(x)
    return x, mean + sd * z


def test_moments_are_those_of_the_simulator(key):
    fitted = MomentRegression().fit(*_events(0, 12_000), key=key)
    design = np.array([0.5, -0.5])
    mean, sd = _moments(design)
    covariance = np.outer(sd, sd) * np.array([[1.0, 0.6], [0.6, 1.0]])
    y = mean + sd * np.array([[0.0, 0.0], [1.0, -0.5], [-1.5, 0.3]])
    found = fitted.log_prob(jnp.asarray(design), jnp.asarray(y))
    np.testing.assert_allclose(found, multivariate_normal(mean, covariance).logpdf(y), atol=0.15)
    drawn = np.asarray(fitted.sample(jnp.asarray(design), 4000, key=key))
    # Four and a half errors of the draws, and as much again for the fit.
    np.testing.assert_allclose((drawn.mean(axis=0) - mean) / sd, 0.0, atol=0.15)
    np.testing.assert_allclose(np.cov(drawn.T), covariance, rtol=0.15)


def test_evidence_refuses_curvature_that_is_not_there(key):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(40, 12))
    y = x[:, :1] + 0.5 * rng.normal(size=(40, 1))
    fitted = MomentRegression().fit(x, y, key=key)
    test = rng.normal(size=(200, 12))
    mean = np.asarray(jax.vmap(lambda row: fitted.mean_and_cholesky(row)[0])(jnp.asarray(test)))
    # 40 events for 91 coefficients: least squares would fit them all and predict nothing.
    assert np.mean((mean[:, 0] - test[:, 0]) ** 2) < 0.3


def test_far_questions_are_answered_with_a_warning(key):
    fitted = MomentRegression().fit(*_events(2, 200), key=key)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted.sample(jnp.array([0.9, 0.9]), 10, key=key)
    with pytest.warns(ExtrapolationWarning, match=r"at [45]\.\d times the largest distance"):
        fitted.sample(jnp.array([4.5, 4.5]), 10, key=key)
    with pytest.raises(ConfigError, match="not fitted"):
        MomentRegression().sample(jnp.zeros(2), 10, key=key)
    with pytest.raises(ShapeError, match="`design` must have shape"):
        fitted.sample(jnp.zeros(3), 10, key=key)


def test_members_differ_where_there_are_no_events(key):
    x, y = _events(3, 400)
    kept = x[:, 0] < 0.0
    fitted = Ensemble(member=MomentRegression(), n_members=4).fit(x[kept], y[kept], key=key)
    line = jnp.stack([jnp.linspace(-1.0, 1.0, 9), jnp.zeros(9)], axis=-1)
    known = np.asarray(spread(fitted, line, key=key))
    assert known[-1] > 3.0 * known[2]
    chosen = next_designs(fitted, line, 3, key=key)
    assert chosen[0, 0] == 1.0
    assert len(np.unique(chosen[:, 0])) == 3
    assert np.all(np.isfinite(fitted.log_prob(jnp.array([-0.5, 0.0]), jnp.asarray(y[:5]))))


def test_metrics_have_their_exact_values(key):
    rng = np.random.default_rng(4)
    one, two = rng.normal(size=(4000, 2)), rng.normal(size=(4000, 2))
    assert area_under_curve(np.array([0.0, 1.0]), np.array([1.0, 2.0])).auc == 0.875
    # The distance is the square of the shift; its error is about 2 |shift| / sqrt n.
    assert frechet_distance(one, two + np.array([1.0, 0.0])) == pytest.approx(1.0, abs=0.15)
    assert frechet_distance(one, two) < 0.01
    assert separation_power(one, two).max() < 0.02
    assert separation_power(one, one + 100.0) == pytest.approx([1.0, 1.0])
    found = compare(one, two[:2000] + np.array([0.7, 0.0]), key=key)
    # Ideal: Phi(d / sqrt 2). Networks on 2000 events lose about a per cent.
    assert found.area.auc == pytest.approx(norm.cdf(0.7 / np.sqrt(2.0)), abs=0.035)
    assert abs(found.floor.auc - 0.5) < 0.05


@pytest.mark.parametrize("n_observables", [1, 3])
def test_noise_to_outcomes_in_one_pass_is_undone_by_the_density(n_observables, key):
    bijection = SplineFlow(n_layers=2, width=8, n_knots=4)._build(n_observables, 2, key)
    x, noise = jnp.array([0.3, -1.2]), jnp.linspace(-2.0, 1.5, n_observables)
    outcome = jax.jit(lambda z: from_noise(bijection, z, x))(noise)
    np.testing.assert_allclose(bijection.inverse(outcome, x), noise, atol=1e-5)
    assert np.abs(outcome - noise).max() > 0.05


@pytest.mark.slow
@pytest.mark.parametrize(
    "surrogate",
    [SplineFlow(n_layers=1, n_steps=600), FlowMatching(n_steps=1500)],
    ids=["spline", "matching"],
)
def test_flows_learn_two_peaks_that_move(surrogate, key):
    rng = np.random.default_rng(5)
    x = rng.uniform(-1.0, 1.0, (4000, 1))
    side = rng.choice([-1.0, 1.0], 4000)
    y = (x[:, 0] + 2.0 * side + 0.4 * rng.normal(size=4000))[:, None]
    fitted = surrogate.fit(x, y, key=key)
    design = jnp.array([0.5])
    drawn = np.asarray(fitted.sample(design, 2000, key=key))[:, 0]
    assert np.mean(drawn) == pytest.approx(0.5, abs=0.25)
    assert np.mean(np.abs(drawn - 0.5) < 1.0) < 0.1
    grid = np.linspace(-8.0, 9.0, 1200)
    density = np.exp(np.asarray(fitted.log_prob(design, jnp.asarray(grid[:, None]))))
    assert np.trapezoid(density, grid) == pytest.approx(1.0, abs=0.02)
    slope = jax.grad(lambda d: fitted.draw(d, jnp.array([1.0]))[0])(design)
    assert float(slope[0]) == pytest.approx(1.0, abs=0.5)
