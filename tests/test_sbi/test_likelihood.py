"""Likelihoods: their terms against closed forms, toys, Asimov data, and what is refused."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from diffhep.core.errors import ConfigError, DataError, ShapeError
from diffhep_sbi.constraints import GaussianConstraint, LogNormalConstraint, PoissonConstraint
from diffhep_sbi.events import build_events
from diffhep_sbi.interpolation import (
    piecewise_factor,
    piecewise_shift,
    smooth_factor,
    smooth_shift,
)
from diffhep_sbi.likelihood import Likelihood, Parameter, Values, sample_toys
from diffhep_sbi.problems import SignalBackground
from diffhep_sbi.unbinned import RatioNuisance, UnbinnedChannel

pytestmark = pytest.mark.fast

THETA = jnp.array([1.3, 0.9])


@pytest.fixture(scope="module")
def problem():
    return SignalBackground(signal=10.0, background=20.0)


@pytest.fixture(scope="module")
def likelihood(problem):
    return problem.likelihood(n_rows=90)


def test_extended_likelihood_is_that_of_the_intensity(problem, likelihood):
    x, weight = np.array([[0.2], [0.4], [0.5]]), np.array([1.0, 2.0, -0.5])
    events = likelihood.channels[0].events(x, weight)
    data = likelihood.with_observed(events, auxiliary=(jnp.array([1.2]),))

    @jax.jit
    def parts(x):
        # The reference density is a constant of the data.
        log_density = jnp.log(problem.intensity(x, THETA)) - problem.log_prob(x, problem.reference)
        return log_density, problem.expected_events(THETA), data.log_prob(THETA)

    log_density, rate, found = map(np.asarray, parts(x))
    expected = np.sum(weight * log_density) - rate + stats.norm.logpdf(1.2, 0.9, 0.1)
    assert float(found) == pytest.approx(float(expected), rel=1e-12)


def test_asimov_data_have_no_slope(problem, likelihood):
    """And their curvature is the information."""

    @jax.jit
    def at(theta):
        asimov = likelihood.asimov(theta)

        def log_prob(theta):
            return likelihood.log_prob(theta, asimov)

        terms = likelihood.constraint_information(theta)
        return jax.grad(log_prob)(theta), jax.hessian(log_prob)(theta), terms

    slope, curvature, terms = at(THETA)
    np.testing.assert_allclose(slope, 0.0, atol=1e-9)
    np.testing.assert_allclose(-curvature, eqx.filter_jit(problem.information)(THETA), rtol=1e-9)
    np.testing.assert_allclose(terms, np.diag([0.0, 100.0]), atol=1e-10)


def test_asimov_data_of_a_sample_have_no_slope_either(problem, key):
    """300 events stand for the reference; their mean score would move the fit by 0.3 errors."""
    values = Values(problem.names, THETA)
    sample = problem.quadrature()
    rows = jax.random.choice(key, sample.x.shape[0], (300,), p=sample.weight / sample.weight.sum())
    channel = UnbinnedChannel(
        problem, problem.expected_events, problem.names, build_events(sample.x[rows]), 60
    )

    @jax.jit
    def at():
        data = channel.expected(values)

        def log_prob(theta):
            return channel.log_prob(Values(problem.names, theta), data)

        return data.weight, jax.grad(log_prob)(THETA)

    weight, slope = at()
    assert float(weight.sum()) == pytest.approx(float(channel.rate(values)), rel=1e-12)
    np.testing.assert_allclose(slope, 0.0, atol=1e-9)


def test_a_toy_without_room_says_so(problem, key):
    channel = UnbinnedChannel(
        problem, problem.expected_events, problem.names, problem.quadrature(), 20
    )
    draw = jax.jit(jax.vmap(lambda k: channel.sample(k, Values(problem.names, THETA)).weight.sum()))
    numbers = np.asarray(draw(jax.random.split(key, 100)))
    assert np.nanmax(numbers) <= 20
    assert np.isnan(numbers).sum() > 50


def test_observed_data_with_other_columns_are_refused(problem, likelihood):
    channel = likelihood.channels[0]
    assert channel.events([0.3], features=["x"]).x.shape[1] == 1
    with pytest.raises(ConfigError, match=r"`features` must be those of the channel, \['x'\]"):
        channel.events([0.3], features=["mass"])
    with pytest.raises(ShapeError, match="`x` must have 1 columns, as the reference"):
        channel.events(np.ones((3, 2)))
    with pytest.raises(ConfigError, match="hold what `events` of `events` returns"):
        likelihood.with_observed(np.ones((3, 1))).log_prob(THETA)


def test_toys_have_the_rate_and_the_constraint(likelihood, key):
    toys = jax.jit(lambda key: sample_toys(likelihood, THETA, 2000, key=key))(key)
    number = np.asarray(toys.channels[0].weight.sum(1))
    # Five standard errors of mean and variance of a Poisson number: 1e-6 false alarms.
    rate = 1.3 * 10 + 0.9 * 20
    assert abs(number.mean() - rate) < 5 * np.sqrt(rate / 2000)
    assert abs(number.var() / rate - 1) < 5 * np.sqrt(2 / 2000)
    assert abs(float(toys.auxiliary[0].mean()) - 0.9) < 5 * 0.1 / 2000**0.5


def test_toys_from_the_reference_follow_the_ratio(problem, key):
    """Without a simulator, toys are drawn from the reference by their ratio."""
    channel = UnbinnedChannel(
        problem, problem.expected_events, problem.names, problem.quadrature(), 60
    )
    values = Values(problem.names, THETA)

    @jax.jit
    def draw(key):
        x = jax.vmap(lambda k: channel.sample(k, values).x)(jax.random.split(key, 200))
        return x, channel.expected(values)

    x, nodes = jax.tree.map(np.asarray, draw(key))
    mean = np.average(nodes.x[:, 0], weights=nodes.weight)
    # Five standard errors of independent draws: 6e-7 false alarms.
    assert abs(x.mean() - mean) < 5 * x.std() / x.size**0.5


TERMS = {
    "gaussian": GaussianConstraint(("a", "b"), [0.1, 0.2]),
    "log_normal": LogNormalConstraint(("a", "b"), [1.02, 1.3]),
    "poisson": PoissonConstraint(("a", "b"), [25.0, 9.0]),
}
AT, SEEN = np.array([1.2, 0.8]), np.array([30.0, 7.0])
LOGS = np.log([1.02, 1.3])
# Log-density at 30 and 7, information, expected observation and spread of the first parameter.
FORMS = {
    "gaussian": (stats.norm.logpdf(SEEN, AT, [0.1, 0.2]).sum(), [100.0, 25.0], 1.2, 0.1),
    "log_normal": (
        stats.norm.logpdf(np.log(SEEN), np.log(AT), LOGS).sum(),
        1 / (LOGS * AT) ** 2,
        1.2,
        1.2 * LOGS[0],
    ),
    "poisson": (
        stats.poisson.logpmf(SEEN, [30.0, 7.2]).sum(),
        [25.0 / 1.2, 9.0 / 0.8],
        30.0,
        30.0**0.5,
    ),
}


@pytest.mark.parametrize("name", TERMS)
def test_constraints_are_densities_and_draw_from_them(name, key):
    term, (log_prob, information, centre, spread) = TERMS[name], FORMS[name]

    @jax.jit
    def evaluate(at, seen, keys):
        draws = jax.vmap(lambda key: term.sample(key, at)[0])(keys)
        return term.log_prob(at, seen), term.information(at), term.expected(at)[0], draws

    keys = jax.random.split(key, 4000)
    found = map(np.asarray, evaluate(jnp.asarray(AT), jnp.asarray(SEEN), keys))
    found_log_prob, found_information, expected, draws = found
    assert float(found_log_prob) == pytest.approx(log_prob)
    np.testing.assert_allclose(found_information, information, rtol=1e-10)
    assert float(expected) == pytest.approx(centre)
    # Five standard errors; the log-normal is skewed by less than a tenth of one.
    assert abs(draws.mean() - centre) < 5.1 * spread / 4000**0.5
    assert abs(draws.std() / spread - 1) < 5.5 / 8000**0.5


def test_interpolation_is_smooth_where_it_changes_form():
    up, down = jnp.array([1.3, 0.9]), jnp.array([0.8, 1.4])

    def orders(function, alpha):
        first = jax.jacfwd(function)
        return function(alpha, up, down), first(alpha, up, down), jax.jacfwd(first)(alpha, up, down)

    @jax.jit
    @jax.vmap
    def evaluate(alpha):
        smooth = tuple(orders(function, alpha) for function in (smooth_factor, smooth_shift))
        pieces = (piecewise_factor(alpha, up, down), piecewise_shift(alpha, up, down))
        return smooth, pieces

    alpha = np.array([-1.7, -1 - 1e-9, -1 + 1e-9, 0.0, 1 - 1e-9, 1 + 1e-9, 1.7])
    smooth, pieces = jax.tree.map(np.asarray, evaluate(jnp.asarray(alpha)))
    for orders_found, piecewise in zip(smooth, pieces, strict=True):
        for order in orders_found:
            np.testing.assert_allclose(order[[1, 4]], order[[2, 5]], atol=1e-6)
        # Far away and at 0 they agree with the forms that have a kink.
        np.testing.assert_allclose(orders_found[0][[0, 3, 6]], piecewise[[0, 3, 6]], atol=1e-15)
    np.testing.assert_allclose(pieces[0][6], np.asarray(up) ** 1.7)
    np.testing.assert_allclose(pieces[0][0], np.asarray(down) ** 1.7)
    np.testing.assert_allclose(pieces[1][0], 1.7 * np.asarray(down))


class Tilt:
    """The exact ratio of a slope that is one standard deviation off."""

    def __init__(self, problem, alpha):
        self.problem, self.alpha = problem, alpha

    def log_ratio(self, x, theta):
        varied = jnp.append(theta, self.alpha)
        nominal = jnp.append(theta, 0.0)
        return self.problem.log_prob(x, varied) - self.problem.log_prob(x, nominal)


def test_variations_stand_for_a_nuisance_parameter(problem):
    """Interpolated ratios of a slope against the exact ones: their error is of higher order."""
    exact = SignalBackground(10.0, 20.0, slope_error=0.05, has_slope=True)
    nuisance = RatioNuisance("slope", Tilt(exact, 1.0), Tilt(exact, -1.0), 1.05, 0.95)
    channel = UnbinnedChannel(
        problem, problem.expected_events, problem.names, problem.quadrature(), 60, (nuisance,)
    )
    x = jnp.linspace(0.05, 0.95, 7)[:, None]

    @jax.jit
    def evaluate(theta):
        values = Values(channel.parameters, theta)
        return channel.log_ratio(values, x), exact.log_ratio(x, theta), channel.rate(values)

    for alpha, tolerance in ((1.0, 1e-12), (-1.0, 1e-12), (0.5, 1e-4), (-0.3, 1e-4)):
        found, expected, rate = evaluate(jnp.append(THETA, alpha))
        np.testing.assert_allclose(found, expected, atol=tolerance)
    assert float(rate) == pytest.approx((1 - 0.05 * 0.3) * (1.3 * 10 + 0.9 * 20), rel=1e-3)


def test_bad_events_are_named():
    x = np.ones((5, 2))
    x[3, 1] = np.nan
    with pytest.raises(DataError, match=r"event 3 has nan in column 1 \(mass\)"):
        build_events(x, features=("pt", "mass"))
    with pytest.raises(DataError, match="none of 2 is positive"):
        build_events(np.ones((2, 1)), weight=[-1.0, -2.0])
    with pytest.raises(DataError, match="positive sum, but it is -1: 1 of 2"):
        build_events(np.ones((2, 1)), weight=[1.0, -2.0])
    with pytest.raises(DataError, match="event 1 has inf"):
        build_events(np.ones((2, 1)), weight=[1.0, np.inf])
    with pytest.raises(ShapeError, match="one weight for each of the 2 events"):
        build_events(np.ones((2, 1)), weight=[1.0])
    with pytest.raises(ShapeError, match="hold the 2 events"):
        build_events(np.ones((2, 1)), n_rows=1)
    with pytest.raises(ShapeError, match=r"shape \(event, feature\)"):
        build_events(np.ones((0, 1)))


def test_bad_likelihoods_are_named(likelihood):
    channels, parameters = likelihood.channels, likelihood.parameters
    with pytest.raises(ConfigError, match="one of mu, norm, but it is 'tau'"):
        Likelihood(channels, parameters, "tau")
    with pytest.raises(ConfigError, match="one of mu, but it is 'norm'"):
        Likelihood(channels, parameters[:1], "mu")
    with pytest.raises(ConfigError, match="have different names"):
        Likelihood(channels, (*parameters, parameters[0]), "mu")
    with pytest.raises(ConfigError, match="`observation` must be given"):
        likelihood.log_prob(THETA)
    with pytest.raises(ConfigError, match="between the bounds 0 and 1 of `mu`"):
        Parameter("mu", 2.0, 0.0, 1.0)
    with pytest.raises(ConfigError, match="one for each of the 1 channels"):
        likelihood.with_observed()
    with pytest.raises(ConfigError, match="`kappa` must be above 1"):
        LogNormalConstraint(("a",), 0.9)
    with pytest.raises(ShapeError, match="`sigma` must hold one number for each of a, b"):
        GaussianConstraint(("a", "b"), 0.1)
