"""Mixtures of processes against the likelihood of their sum, toys and Asimov data of a pool."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffhep.core.errors import ConfigError, DataError
from diffhep_sbi import (
    Likelihood,
    Process,
    RatioNuisance,
    VariationRatio,
    build_events,
    build_mixture,
    contrast,
    sample_toys,
)
from diffhep_sbi.likelihood import Observation
from diffhep_sbi.neyman import coverage
from diffhep_sbi.problems import SignalBackground

pytestmark = pytest.mark.fast

PROBLEM = SignalBackground(signal=10.0, background=20.0, width=0.15, has_slope=True, has_tilt=True)
NAMES = ("mu", "norm")
N_ROWS = 90
THETA = jnp.array([1.3, 0.9, 1.0])


class Counting:
    """A ratio that says how often it was evaluated while programs were traced."""

    def __init__(self, ratio):
        self.ratio, self.n_calls = ratio, 0

    def log_ratio(self, x, theta):
        self.n_calls += 1
        return self.ratio.log_ratio(x, theta)


def exact_mixture(n_pool, key, ratio):
    signal, background = jnp.array([1.0, 0.0, 0.0]), jnp.array([0.0, 1.0, 0.0])

    def pool(theta, name):
        draw = jax.jit(lambda theta, key: PROBLEM.simulate(theta, n_pool, key=key))
        return build_events(draw(theta, jax.random.fold_in(key, name)))

    step = jnp.array([0.0, 0.0, 1.0])
    slope = RatioNuisance("slope", VariationRatio(ratio, step), VariationRatio(ratio, -step))
    processes = [
        Process("signal", ratio, lambda t: 10.0 * t[0], pool(signal, 0), theta=signal),
        Process(
            "background", ratio, lambda t: 20.0 * t[1], pool(background, 1), (slope,), background
        ),
    ]
    channel = build_mixture(processes, NAMES, n_rows=N_ROWS, features=PROBLEM.features)
    exact = PROBLEM.likelihood(n_rows=N_ROWS)
    return Likelihood((channel,), exact.parameters, "mu", exact.constraints), exact


@pytest.fixture(scope="module")
def mixture():
    return exact_mixture(20_000, jax.random.key(5), PROBLEM)


def test_a_mixture_is_the_likelihood_of_its_sum(mixture, key):
    """To rounding where the interpolation is exact, at one standard deviation of the slope."""
    found, exact = mixture
    data = jax.jit(lambda: exact.sample(THETA, key=key))()
    terms = found.channels[0].terms(data.channels[0].x)
    assert terms.shape == (N_ROWS, 4)
    same = Observation((data.channels[0]._replace(x=terms),), data.auxiliary)

    @jax.jit
    def both(theta):
        return found.log_prob(theta, same), exact.log_prob(theta, data)

    for slope in (1.0, -1.0):
        mixed, expected = both(THETA.at[2].set(slope))
        assert float(mixed) == pytest.approx(float(expected), rel=1e-10)
    mixed, expected = both(THETA.at[2].set(0.4))
    assert 1e-9 < abs(float(mixed - expected)) < 1e-2


def test_pools_stand_for_the_density(mixture, key):
    """Mean features of Asimov data and toys against the quadrature: five errors, 6e-7 alarms."""
    found, _ = mixture

    @jax.jit
    def moments():
        nodes = PROBLEM.quadrature()
        share = nodes.weight * jnp.exp(PROBLEM.log_ratio(nodes.x, THETA))
        ratio = jnp.exp(PROBLEM.log_ratio(nodes.x, jnp.array([1.0, 0.0, 0.0])))
        return share @ ratio, share @ ratio**2

    expected, second = map(float, moments())
    spread = np.sqrt(second - expected**2)
    asimov = jax.jit(lambda: found.asimov(THETA).channels[0])()
    rate = float(PROBLEM.expected_events(THETA))
    assert float(asimov.weight.sum()) == pytest.approx(rate, rel=1e-10)
    mean = float(jnp.sum(asimov.weight * jnp.exp(asimov.x[:, 0])) / rate)
    pool_error = spread / np.sqrt(20_000)
    assert abs(mean - expected) < 5 * pool_error
    toys = jax.jit(lambda: sample_toys(found, THETA, 1000, key=key).channels[0])()
    number = np.asarray(toys.weight.sum(1))
    assert abs(number.mean() - rate) < 5 * np.sqrt(rate / 1000)
    drawn = np.asarray(jnp.exp(toys.x[..., 0]))[np.asarray(toys.weight) > 0]
    assert abs(drawn.mean() - expected) < 5 * np.hypot(pool_error, spread / np.sqrt(drawn.size))


@pytest.mark.slow
def test_fits_and_toys_never_evaluate_a_ratio(key):
    ratio = Counting(PROBLEM)
    likelihood, exact = exact_mixture(500, key, ratio)
    truth = jnp.array([1.0, 1.0, 0.0])
    draw = jax.jit(jax.vmap(lambda key: exact.sample(truth, key=key)))
    experiments = draw(jax.random.split(key, 8))
    (events,) = experiments.channels
    channel = likelihood.channels[0]
    terms = channel.terms(events.x.reshape(-1, 2)).reshape(8, N_ROWS, 4)
    observed = channel.events(np.asarray(events.x[0]), np.asarray(events.weight[0]))
    np.testing.assert_allclose(observed.x, terms[0], rtol=1e-12)
    evaluated = ratio.n_calls
    assert evaluated > 0
    experiments = Observation((events._replace(x=terms),), experiments.auxiliary)
    found = coverage(likelihood, truth, experiments=experiments, n_toys=20, key=key)
    assert found.n_experiments == 8
    assert found.failed == 0.0
    assert ratio.n_calls == evaluated


def test_what_cannot_be_mixed_is_named(key):
    x = jax.random.normal(key, (20, 1))
    process = Process("one", SignalBackground(), lambda t: t[0], build_events(x))
    with pytest.raises(ConfigError, match="`processes` must have different names"):
        build_mixture([process, process], ("mu",), n_rows=10)
    with pytest.raises(ConfigError, match="`processes` must have different names"):
        build_mixture([], ("mu",), n_rows=10)

    class Broken:
        def log_ratio(self, x, theta):
            return jnp.where(x[:, 0] > 1e9, 0.0, jnp.nan)

    plain = Process("one", SignalBackground(), lambda t: t[0], build_events(x), theta=[1.0, 1.0])
    named = build_mixture([plain], ("mu",), n_rows=10, features=("x",))
    with pytest.raises(ConfigError, match=r"those of the channel, \['x'\], but it is \['y'\]"):
        named.events([0.1], features=("y",))
    bad = Process("bad", Broken(), lambda t: t[0], build_events(x))
    with pytest.raises(DataError, match="finite ratios, but 20 events have not, the first of 'b"):
        build_mixture([bad], ("mu",), n_rows=10)


def test_two_samples_make_gold(key):
    x = np.asarray(jax.random.normal(key, (30, 2)))
    gold = contrast(x[:10], x[10:], weights=(np.full(10, 3.0), np.ones(20)))
    assert gold.label.tolist() == [0] * 10 + [1] * 20
    for label in (0, 1):
        assert float(gold.weight[gold.label == label].sum()) == pytest.approx(20.0)
    with pytest.raises(DataError, match="have events of class 1, but it has none"):
        contrast(x, x[:0])
    with pytest.raises(DataError, match="class 0, but it is -10; 0 of 10 weights are positive"):
        contrast(x[:10], x[10:], weights=(-np.ones(10), np.ones(20)))
