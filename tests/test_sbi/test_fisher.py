"""Fisher information and the distance it defines against closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffhep.core.errors import ConfigError, ConvergenceError, DataError, ShapeError
from diffhep_sbi.fisher import (
    fisher_information,
    information_distance,
    local_distance,
    profiled_information,
)
from diffhep_sbi.problems import SignalBackground

pytestmark = pytest.mark.fast


def test_information_from_scores_is_that_of_the_problem(key):
    problem, n_events = SignalBackground(), 20_000
    theta = jnp.array([1.0, 1.0])

    @jax.jit
    def scores(key):
        x = problem.simulate(theta, n_events, key=key)
        nodes = problem.quadrature()
        slope = jax.grad(problem.expected_events)(theta)
        return problem.score(x, theta), problem.score(nodes.x, theta), nodes.weight, slope

    drawn, exact, weight, slope = scores(key)
    expected = np.asarray(problem.information(theta)) - np.diag([0.0, 100.0])
    options = {"expected_events": 120.0, "rate_gradient": slope}
    # Weighted nodes are exact; drawn events have an error, which is reported.
    found = fisher_information(exact, weight=weight, **options)
    np.testing.assert_allclose(found.value, expected, rtol=1e-10)
    found = fisher_information(drawn, **options)
    # Five standard errors, of three different entries: 2e-6 false alarms.
    assert np.all(np.abs(found.value - expected) < 5 * np.asarray(found.error))
    assert float(found.error[0, 0] / found.value[0, 0]) < 0.02


def test_profiling_is_the_schur_complement():
    information = jnp.array([[4.0, 1.0, 0.5], [1.0, 3.0, 0.2], [0.5, 0.2, 2.0]])
    found = profiled_information(information, [2, 0])
    covariance = np.linalg.inv(information)[np.ix_([2, 0], [2, 0])]
    np.testing.assert_allclose(found, np.linalg.inv(covariance), rtol=1e-12)
    np.testing.assert_allclose(profiled_information(information, [0, 1, 2]), information)
    # One parameter of interest and one nuisance parameter.
    (found,) = profiled_information(information[:2, :2], [0])[0]
    assert float(found) == pytest.approx(4.0 - 1.0**2 / 3.0)


def normal_metric(theta):
    """Of a normal distribution in mean and deviation: a hyperbolic plane."""
    return jnp.diag(jnp.array([1.0, 2.0])) / theta[1] ** 2


def test_distance_of_normal_distributions_is_hyperbolic():
    one, other = jnp.array([0.0, 1.0]), jnp.array([1.5, 2.0])
    gap = 1.5**2 / 2 + (2.0 - 1.0) ** 2
    exact = np.sqrt(2) * np.arccosh(1 + gap / (2 * 1.0 * 2.0))
    found = information_distance(normal_metric, one, other, n_steps=16)
    # The error of the middle rule falls with the square of the step.
    assert found == pytest.approx(exact, rel=2e-3)
    # The straight line is longer.
    share = np.linspace(0, 1, 2001)[:, None]
    path = np.asarray(one) + share * np.asarray(other - one)
    step = np.linalg.norm(np.diff(path, axis=0) * np.sqrt([1.0, 2.0]), axis=1)
    assert np.sum(step / ((path[1:, 1] + path[:-1, 1]) / 2)) > exact + 5e-3
    near = one + jnp.array([1e-3, 1e-3])
    assert float(local_distance(normal_metric(one), one, near)) == pytest.approx(3**0.5 * 1e-3)


def test_bad_arguments_are_named():
    scores = np.ones((3, 2))
    scores[1, 0] = np.inf
    with pytest.raises(DataError, match="event 1 has inf in column 0"):
        fisher_information(jnp.asarray(scores))
    good = jnp.ones((3, 2))
    with pytest.raises(ShapeError, match="one weight for each of the 3 events"):
        fisher_information(good, weight=[1.0])
    with pytest.raises(DataError, match="positive sum, but it is -3"):
        fisher_information(good, weight=[-1.0, -1.0, -1.0])
    with pytest.raises(ShapeError, match="one slope for each of the 2 parameters"):
        fisher_information(good, rate_gradient=[1.0])
    with pytest.raises(ConfigError, match="different indices below 2"):
        profiled_information(jnp.eye(2), [2])
    with pytest.raises(ConvergenceError, match="geodesic did not settle"):
        information_distance(lambda theta: jnp.eye(2) * jnp.nan, good[0], 2 * good[0], n_steps=2)
