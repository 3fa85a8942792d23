"""Best fits, profiles, test statistics, limits and intervals against closed forms."""

import re
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import chi2, poisson

from diffhep.core.errors import ConfigError, ConvergenceError
from diffhep_sbi.asymptotic import significance, upper_limit, wilks_interval
from diffhep_sbi.binned import BinnedChannel, NormFactor, Sample
from diffhep_sbi.constraints import GaussianConstraint
from diffhep_sbi.likelihood import Likelihood, Observation, Parameter
from diffhep_sbi.mle import mle, profile
from diffhep_sbi.neyman import coverage, neyman
from diffhep_sbi.problems import SignalBackground
from diffhep_sbi.profile_statistics import profile_statistic

pytestmark = pytest.mark.fast

BACKGROUND = 3.0


def counting(n, background=BACKGROUND, error=None):
    """n events, a signal of mean mu, and a background that is known or constrained."""
    norm = () if error is None else (NormFactor(("b",)),)
    samples = (Sample([1.0], (NormFactor(("mu",)),)), Sample([background], norm))
    parameters = [Parameter("mu", 1.0, 0.0, 100.0)]
    terms = ()
    if error is not None:
        parameters.append(Parameter("b", 1.0, 0.01, 3.0))
        terms = (GaussianConstraint(("b",), error),)
    likelihood = Likelihood((BinnedChannel(samples),), tuple(parameters), "mu", terms)
    return likelihood.with_observed(jnp.array([float(n)]))


def exact_t(n, mu, background=BACKGROUND):
    """The profile likelihood ratio of a count, its signal not negative."""
    rate, best = mu + background, np.maximum(n, background)
    return 2 * (rate - best + n * np.log(best / rate))


@pytest.fixture(scope="module")
def six():
    return counting(6)


def test_best_fit_and_profile_of_a_count(six):
    found = profile(six, jnp.array([0.5, 3.0, 9.0]))
    assert float(found.best.theta[0]) == pytest.approx(3.0, abs=1e-6)
    assert float(found.best.covariance[0, 0]) == pytest.approx(6.0, rel=1e-6)
    np.testing.assert_allclose(found.t, exact_t(6, np.array([0.5, 3.0, 9.0])), atol=1e-8)


def test_best_fit_at_a_bound_and_at_fixed_values():
    few = counting(1)
    found = mle(few)
    # Below the background, the signal is held at 0 and has no variance.
    assert found.theta.tolist() == [0.0]
    assert found.covariance.tolist() == [[0.0]]
    fixed = mle(few, fixed={"mu": 2.0})
    assert float(fixed.log_likelihood) == pytest.approx(float(poisson.logpmf(1, 5.0)))


def test_nuisance_parameter_is_profiled():
    """On and off: the profiled background solves a quadratic equation."""
    n, b, error, mu = 8.0, 10.0, 0.2, 2.0
    likelihood = counting(n, b, error)
    found = mle(likelihood, fixed={"mu": mu})

    def slope(a):
        return n * b / (mu + a * b) - b - (a - 1) / error**2

    assert float(found.theta[1]) == pytest.approx(brentq(slope, 0.1, 2.0), abs=1e-5)


@pytest.mark.parametrize("kind", ["q", "q0"])
def test_statistics_are_one_sided(six, kind):
    mu = 0.0 if kind == "q0" else 1.0
    above = 0.0 if kind == "q" else exact_t(6, mu)
    below = 0.0 if kind == "q0" else exact_t(1, mu)
    few = Observation((jnp.array([1.0]),), ())
    assert float(profile_statistic(kind, six, mu).statistic) == pytest.approx(above, abs=1e-8)
    assert float(profile_statistic(kind, six, mu, few).statistic) == pytest.approx(below, abs=1e-8)


def test_asymptotic_intervals_of_a_count(six):
    found = wilks_interval(six, level=0.9)
    quantile = chi2.ppf(0.9, 1)
    high = brentq(lambda mu: exact_t(6, mu) - quantile, 3.0, 30.0)
    assert found.high == pytest.approx(high, abs=1e-4)
    assert not found.high_is_bound
    # The lower end is cut off where the signal vanishes.
    assert exact_t(6, 0.0) < quantile
    assert found.low == 0.0
    assert found.low_is_bound
    assert significance(six) == pytest.approx(np.sqrt(exact_t(6, 0.0)), abs=1e-6)


def test_neyman_p_values_are_those_of_feldman_and_cousins(six, key):
    values, n_toys = np.array([0.5, 2.0, 5.0, 9.0, 12.0]), 2000
    scan = neyman(six, values, key=key, level=0.9, n_toys=n_toys)
    n = np.arange(200)
    for mu, found in zip(values, np.asarray(scan.p_value), strict=True):
        extreme = exact_t(n, mu) >= exact_t(6, mu) - 1e-6
        exact = poisson.pmf(n, mu + BACKGROUND)[extreme].sum()
        # Five binomial errors, and the data that count as a toy: 3e-6 false alarms.
        assert abs(found - exact) < 5 * np.sqrt(exact * (1 - exact) / n_toys) + 1 / n_toys
    # Their table for six events on a background of three ends at 8.47.
    assert 5.0 < scan.interval.high < 9.0
    assert scan.interval.low_is_bound


def test_coverage_with_a_nuisance_parameter(key):
    """At the bound Wilks' interval holds the truth too often; Neyman's does not."""
    likelihood = counting(20, 20.0, 0.1)
    n_experiments = 300
    found = coverage(
        likelihood, jnp.array([0.0, 1.0]), key=key, n_experiments=n_experiments, n_toys=100
    )
    # Four and a half binomial errors, and the resolution of the p-values: 7e-6 false alarms.
    assert np.all(np.abs(found.neyman - found.level) < 4.5 * found.neyman_error + 0.01)
    # Half of all experiments have their best fit at 0, so that 0.84 is expected for 0.68.
    assert found.wilks[0] - 0.68 > 4.5 * found.neyman_error[0]


class Failed(NamedTuple):
    passed: bool = False
    failures: tuple[str, ...] = ("normalisation at theta = 1",)


def test_gates_refuse(six, key):
    for call in (
        lambda **options: upper_limit(six, **options),
        lambda **options: wilks_interval(six, **options),
        lambda **options: neyman(six, [1.0, 2.0], key=key, **options),
    ):
        with pytest.raises(ConfigError, match="failed: normalisation at theta = 1"):
            call(report=Failed())
    assert wilks_interval(six, report=Failed(), allow_failed=True).high > 0


def test_limits_refuse_to_leave_the_trained_range(key):
    likelihood = SignalBackground().likelihood(n_rows=200)
    (channel,) = likelihood.channels
    trained = (jnp.array([0.0, 0.5]), jnp.array([2.0, 1.5]))
    channel = type(channel)(
        channel.ratio, channel.expected_events, channel.names, channel.reference, 200,
        trained=trained,
    )  # fmt: skip
    parameters, terms = likelihood.parameters, likelihood.constraints
    limited = Likelihood((channel,), parameters, "mu", terms).with_observed(channel.events([0.5]))
    message = re.escape("`mu` must lie in the trained range 0 to 2, but it is 3, outside by 0.5")
    with pytest.raises(ConfigError, match=message):
        neyman(limited, [1.0, 3.0], key=key)


@pytest.mark.usefixtures("without_shape_checks")
def test_unknown_statistic_is_named(six):
    with pytest.raises(ConfigError, match="`kind` must be one of"):
        profile_statistic("lr", six, 1.0)


def test_bad_settings_are_named(six, key):
    with pytest.raises(ConfigError, match="`level` must lie between 0 and 1"):
        wilks_interval(six, level=1.5)
    with pytest.raises(ConfigError, match="`values` must rise"):
        neyman(six, [2.0, 1.0], key=key)
    with pytest.raises(ConfigError, match="one of mu, but it is 'tau'"):
        mle(six, fixed={"tau": 1.0})
    with pytest.raises(ConvergenceError, match="best fit did not converge: 1 of 1"):
        mle(six.with_observed(jnp.array([jnp.nan])))


def test_unbinned_fit_finds_the_parameters_of_asimov_data():
    problem = SignalBackground(has_slope=True)
    likelihood = problem.likelihood(n_rows=260)
    theta = jnp.array([1.4, 0.9, 0.3])
    found = mle(likelihood, likelihood.asimov(theta))
    np.testing.assert_allclose(found.theta, theta, atol=1e-5)
    np.testing.assert_allclose(
        jnp.linalg.inv(found.covariance), problem.information(theta), rtol=1e-4
    )


@pytest.mark.slow
def test_coverage_of_the_unbinned_problem(key):
    """A thousand experiments with one profiled nuisance parameter, at and off the bound."""
    likelihood = SignalBackground(signal=10.0, background=20.0).likelihood(n_rows=90)
    for mu in (0.0, 1.0):
        theta = jnp.array([mu, 1.0])
        found = coverage(likelihood, theta, key=key, n_experiments=1000, n_toys=200)
        print(mu, found)
        # Four and a half binomial errors, and the resolution of the p-values.
        assert np.all(np.abs(found.neyman - found.level) < 4.5 * found.neyman_error + 0.005)
