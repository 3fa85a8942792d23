"""Gamma method on AR(1) processes, resampling and importance weights against exact answers.

AR(1): x_{i+1} = a x_i + sqrt(1 - a^2) xi has unit variance and rho(t) = a^t, so
tau_int = 1/2 + a / (1 - a) = (1 + a) / (2 (1 - a)), and the mean of n has the variance
(1/n) [1 + 2 sum_{t<n} (1 - t/n) a^t] = [(1 + a)/(1 - a) - 2 a (1 - a^n) / (n (1 - a)^2)] / n.

Gaussian weights: x ~ N(0, 1), log w = s x - c has mean weight exp(s^2/2 - c), variance of
w / <w> of exp(s^2) - 1, and ESS fraction exp(-s^2).
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffhep.core import stats
from diffhep.core.errors import ConfigError, DataError, ShapeError

pytestmark = pytest.mark.instant

# Two-sided false-alarm rate 6e-5 for a Gaussian pull.
FOUR_SIGMA = 4.0


@pytest.fixture
def rng(key):
    return np.random.default_rng(np.asarray(jax.random.key_data(key)))


def ar1(rng, a, shape):
    """Stationary AR(1) series of unit variance along the last axis."""
    from scipy.signal import lfilter

    noise = rng.normal(size=shape) * math.sqrt(1 - a**2)
    noise[..., 0] /= math.sqrt(1 - a**2)
    return lfilter([1.0], [1.0, -a], noise, axis=-1)


def exact_error(a, n):
    return math.sqrt(((1 + a) / (1 - a) - 2 * a * (1 - a**n) / (n * (1 - a) ** 2)) / n)


def wolff_by_hand(chains, s_tau=1.5):
    """The steps of hep-lat/0306017, section 3, written out with plain sums."""
    n_chains, n = chains.shape
    total = n_chains * n
    deviations = chains - chains.mean()

    def gamma(t):
        return sum((row[: n - t] * row[t:]).sum() for row in deviations) / (n_chains * (n - t))

    partial = 0.0
    for window in range(1, n // 2 + 1):
        partial += gamma(window) / gamma(0)
        tau = s_tau / math.log(1 + 1 / partial) if partial > 0 else 1e-9
        if math.exp(-window / tau) - tau / math.sqrt(window * total) < 0:
            break
    gammas = np.array([gamma(t) for t in range(window + 1)])
    gammas += (gammas[0] + 2 * gammas[1:].sum()) / total
    c_f = gammas[0] + 2 * gammas[1:].sum()
    tau_int = c_f / (2 * gammas[0])
    return (
        chains.mean(),
        math.sqrt(c_f / total),
        tau_int,
        2 * tau_int * math.sqrt((window + 0.5 - tau_int) / total),
        window,
    )


@pytest.mark.parametrize("shape", [(1, 500), (3, 211)])
@pytest.mark.parametrize("a", [0.0, 0.5, 0.9])
def test_gamma_method_is_wolffs_formula(a, shape, rng):
    chains = ar1(rng, a, shape)
    np.testing.assert_allclose(stats.gamma_method(chains), wolff_by_hand(chains), rtol=1e-10)


@pytest.mark.parametrize("a", [0.0, 0.6, 0.9])
def test_gamma_method_is_calibrated_on_many_replicas(a, rng):
    n_replicas, n = 400, 8000
    results = [stats.gamma_method(series) for series in ar1(rng, a, (n_replicas, n))]
    tau = (1 + a) / (2 * (1 - a))
    mean_pulls = np.array([r.mean / r.error for r in results])
    tau_pulls = np.array([(r.tau_int - tau) / r.tau_int_error for r in results])
    # The mean square of 400 Gaussian pulls is 1 with error sqrt(2/400); the estimated errors
    # themselves scatter by a few percent, which five standard errors cover.
    five_sigma = 5 * math.sqrt(2 / n_replicas)
    assert abs((mean_pulls**2).mean() - 1) < five_sigma
    assert abs((tau_pulls**2).mean() - 1) < five_sigma
    # The window leaves out a tail of at most one statistical error, a fraction of one here.
    assert abs(tau_pulls.mean()) < 0.5
    errors = np.array([r.error for r in results])
    assert abs(errors.mean() / exact_error(a, n) - 1) < 0.03


@pytest.mark.parametrize("a", [-0.95, -0.7, -0.3])
def test_alternating_series_gets_an_error_that_is_not_too_small(a, rng):
    n_replicas, n = 400, 8000
    series = ar1(rng, a, (n_replicas, n))
    results = [stats.gamma_method(row) for row in series]
    five_sigma = 5 * math.sqrt(2 / n_replicas)
    # Up to a third too large by design, hence pulls down to (3/4)^2.
    mean_square = np.mean([(r.mean / r.error) ** 2 for r in results])
    assert (3 / 4) ** 2 * (1 - five_sigma) < mean_square < 1 + five_sigma
    assert all(0 < r.tau_int < 0.5 for r in results)


def test_gamma_method_of_chains_is_tighter_by_their_number(rng):
    a, n_chains, n = 0.8, 16, 5000
    result = stats.gamma_method(ar1(rng, a, (n_chains, n)))
    assert abs(result.mean) < FOUR_SIGMA * exact_error(a, n) / math.sqrt(n_chains)
    assert abs(result.tau_int - 4.5) < FOUR_SIGMA * result.tau_int_error
    assert result.error == pytest.approx(exact_error(a, n) / math.sqrt(n_chains), rel=0.1)


def test_chains_stuck_in_different_places_show_a_large_error():
    stuck = np.repeat(np.arange(4.0)[:, None], 100, axis=1) + np.array([0.0, 1e-3] * 50)
    result = stats.gamma_method(stuck)
    assert result.tau_int > 20
    # Four independent numbers 0..3 have a mean known to sqrt(5/3)/2 = 0.65.
    assert result.error > 0.3


def test_gamma_method_of_a_constant():
    assert stats.gamma_method(np.full((2, 10), 0.1)) == (0.1, 0.0, 0.5, 0.0, 0)


def test_gamma_method_takes_jax_and_integer_arrays(rng):
    x = rng.integers(0, 2, size=1000)
    assert stats.gamma_method(jnp.asarray(x)) == stats.gamma_method(x.astype(float))


def test_gamma_method_refuses_bad_input():
    bad = np.zeros((2, 10))
    bad[1, 3] = np.nan
    with pytest.raises(DataError, match=r"`x` must be finite, but at index \(1, 3\) it is nan"):
        stats.gamma_method(bad)
    with pytest.raises(ShapeError, match="at least 8 steps"):
        stats.gamma_method(np.zeros(7))
    with pytest.raises(ShapeError, match="shape"):
        stats.gamma_method(np.zeros((2, 2, 10)))
    with pytest.raises(ConfigError, match="s_tau"):
        stats.gamma_method(np.arange(10.0), s_tau=0.0)


def test_exactly_alternating_series_has_an_error():
    # Only the ends move the mean of such a series, by up to one measurement in n.
    for n in (8, 16, 100, 101):
        found = stats.gamma_method(np.resize([1.0, -1.0], n))
        assert 0.9 / n < found.error < 1.0 / math.sqrt(n)
        assert 0.0 < found.tau_int < 0.5
    chains = stats.gamma_method(np.resize([1.0, -1.0], (4, 100)))
    assert chains.error == pytest.approx(1 / 200)


@pytest.mark.parametrize("n", [8, 15, 16, 50])
@pytest.mark.parametrize("a", [-0.99, -0.9, -0.5])
def test_short_anticorrelated_series_never_has_the_error_zero(a, n, rng):
    results = [stats.gamma_method(row) for row in ar1(rng, a, (500, n))]
    errors = np.array([r.error for r in results])
    assert errors.min() > 0.1 * exact_error(a, n)
    # Covered within two errors are 84 to 99 % of many; 500 know that to 1.7 %.
    assert np.mean([abs(r.mean) < 2 * r.error for r in results]) > 0.84 - 4.5 * 0.017


@pytest.mark.parametrize("scale", [5e-324, 1e-200, 1e200, 1e307])
def test_scale_of_a_series_does_not_matter(scale, rng):
    series = rng.integers(-5, 6, size=200).astype(float)
    plain, scaled = stats.gamma_method(series), stats.gamma_method(scale * series)
    np.testing.assert_allclose(scaled[2:], plain[2:], rtol=1e-12)
    # The smallest numbers there are have few digits.
    tolerance = scale if scale < 1e-300 else 0.0
    expected = scale * np.array(plain[:2])
    np.testing.assert_allclose(scaled[:2], expected, rtol=1e-14, atol=tolerance)
    assert np.isfinite(scaled).all()


NO_NUMBERS = [None, "abc", [1 + 0j] * 9, [[1.0] * 8, [1.0] * 9], ["a"] * 9, [None] * 9, {1}]


@pytest.mark.parametrize("bad", NO_NUMBERS, ids=range(len(NO_NUMBERS)))
def test_what_is_no_array_of_numbers_is_one_line(bad, key, without_shape_checks):
    for call in (
        stats.gamma_method,
        stats.ess_fraction,
        stats.log_mean_weight,
        lambda x: stats.ess_fraction_with_error(x, key=key),
        lambda x: stats.jackknife(x, np.mean, 2),
    ):
        with pytest.raises(ShapeError, match=r"^Argument `\w+` must .*real numbers.*[.]$"):
            call(bad)


def test_lists_are_arrays(key):
    assert stats.gamma_method([0, 1] * 8) == stats.gamma_method(np.array([0.0, 1.0] * 8))
    assert stats.ess_fraction([0.0, 0.0]) == 1.0
    assert stats.log_mean_weight([1, 1]) == (1.0, 0.0)
    assert stats.ess_fraction_with_error([0.0, 0.0], key=key) == (1.0, 0.0)


@pytest.mark.parametrize(
    ("bad", "error", "words"),
    [
        (np.zeros((3, 4)), ShapeError, "shape (3, 4)"),
        (0.0, ShapeError, "shape ()"),
        ([], ShapeError, "at least"),
        ([0.0, math.inf], DataError, "index (1,) it is inf"),
        ([math.nan, 0.0], DataError, "index (0,) it is nan"),
    ],
)
def test_bad_log_weights_are_one_line(bad, error, words, key):
    for call in (
        stats.ess_fraction,
        stats.log_mean_weight,
        lambda x: stats.ess_fraction_with_error(x, key=key),
    ):
        with pytest.raises(error, match=r"^Argument `log_weights` must .*[.]$") as caught:
            call(bad)
        assert words in str(caught.value)


def test_weights_that_are_all_zero(key):
    nothing = np.full(3, -np.inf)
    assert stats.ess_fraction(nothing) == 0.0
    assert stats.ess_fraction_with_error(nothing, key=key) == (0.0, 0.0)
    with pytest.raises(DataError, match="all are zero"):
        stats.log_mean_weight(nothing)


def test_jackknife_of_the_mean_is_the_standard_error(rng):
    x = rng.normal(size=300)
    value, error = stats.jackknife(x, np.mean, 300)
    assert value == pytest.approx(x.mean(), rel=1e-12)
    assert error == pytest.approx(x.std(ddof=1) / math.sqrt(300), rel=1e-10)


def test_jackknife_bins_absorb_autocorrelation(rng):
    a, n = 0.8, 200_000
    _, error = stats.jackknife(ar1(rng, a, n), np.mean, 200)
    # A standard deviation from 200 bins is known to 1/sqrt(400) = 5 %.
    assert abs(error / exact_error(a, n) - 1) < FOUR_SIGMA * 0.05


def test_jackknife_of_a_ratio_by_the_delta_method(rng):
    n = 20_000
    xy = rng.normal(size=(n, 2)) * [1.0, 2.0] + [3.0, 5.0]
    value, error = stats.jackknife(xy, lambda s: s[:, 0].mean() / s[:, 1].mean(), 400)
    expected = 0.6 * math.sqrt((1 / 3) ** 2 + (2 / 5) ** 2) / math.sqrt(n)
    assert abs(value - 0.6) < FOUR_SIGMA * error
    assert abs(error / expected - 1) < FOUR_SIGMA / math.sqrt(800)


@pytest.mark.parametrize("n_bins", [1, 11])
def test_jackknife_refuses_bad_bins(n_bins):
    with pytest.raises(ConfigError, match="n_bins"):
        stats.jackknife(np.arange(10.0), np.mean, n_bins)


def test_bootstrap_of_the_mean(key, rng):
    x = rng.normal(size=2000)
    value, error = stats.bootstrap(x, np.mean, 500, key=key)
    assert value == x.mean()
    assert abs(error / (x.std() / math.sqrt(2000)) - 1) < FOUR_SIGMA / math.sqrt(1000)
    assert stats.bootstrap(x, np.mean, 500, key=key) == (value, error)
    with pytest.raises(ConfigError, match="n_resamples"):
        stats.bootstrap(x, np.mean, 1, key=key)


def test_ess_fraction_exact_cases():
    assert stats.ess_fraction(jnp.zeros(7)) == pytest.approx(1.0, rel=1e-14)
    assert stats.ess_fraction(jnp.array([0.0, -jnp.inf])) == pytest.approx(0.5)
    assert stats.ess_fraction(jnp.full(3, -jnp.inf)) == 0.0
    # Weights 1, 2, 3: (1 + 2 + 3)^2 / (3 (1 + 4 + 9)) = 36 / 42.
    log_weights = jnp.log(jnp.array([1.0, 2.0, 3.0]))
    assert stats.ess_fraction(np.asarray(log_weights)) == stats.ess_fraction(log_weights)
    assert stats.ess_fraction(log_weights) == pytest.approx(36 / 42)
    for shift in (-1e4, 1e4):
        assert stats.ess_fraction(log_weights + shift) == pytest.approx(36 / 42, rel=1e-9)
    assert jax.jit(stats.ess_fraction)(log_weights.astype(jnp.float32)).dtype == jnp.float64
    with pytest.raises(ShapeError, match="log_weights"):
        stats.ess_fraction(jnp.zeros(0))


def test_ess_fraction_of_gaussian_weights(key):
    width = 0.5
    log_weights = width * jax.random.normal(key, (100_000,))
    value, error = stats.ess_fraction_with_error(log_weights, key=key)
    assert error < 0.005
    assert abs(value - math.exp(-(width**2))) < FOUR_SIGMA * error
    jackknifed = stats.jackknife(
        np.asarray(log_weights), lambda part: stats.ess_fraction(jnp.asarray(part)), 50
    )
    # 200 resamples and 50 bins know an error to 5 % and 10 %.
    assert abs(error / jackknifed.error - 1) < FOUR_SIGMA * 0.12


def test_log_mean_weight_of_gaussian_weights(key):
    width, offset, n = 0.7, 1000.0, 50_000
    log_weights = width * jax.random.normal(key, (n,)) - offset
    log_z, error = stats.log_mean_weight(log_weights)
    assert abs(log_z - (width**2 / 2 - offset)) < FOUR_SIGMA * error
    assert error == pytest.approx(math.sqrt((math.exp(width**2) - 1) / n), rel=0.1)
    jackknifed = stats.jackknife(
        np.asarray(log_weights), lambda part: stats.log_mean_weight(part).value, n_bins=500
    )
    assert log_z == jackknifed.value
    assert abs(error / jackknifed.error - 1) < FOUR_SIGMA / math.sqrt(1000)
    ess = float(stats.ess_fraction(log_weights))
    assert error == pytest.approx(math.sqrt((1 / ess - 1) / (n - 1)), rel=1e-9)


def test_log_mean_weight_is_calibrated(rng):
    log_weights = 0.5 * rng.normal(size=(400, 2000))
    pulls = []
    for row in log_weights:
        log_z, error = stats.log_mean_weight(row)
        pulls.append((log_z - 0.125) / error)
    assert abs(np.mean(np.square(pulls)) - 1) < 5 * math.sqrt(2 / 400)


def test_log_mean_weight_refuses_bad_input():
    with pytest.raises(DataError, match=r"index \(1,\) it is nan"):
        stats.log_mean_weight(np.array([0.0, np.nan]))
    with pytest.raises(DataError, match="all are zero"):
        stats.log_mean_weight(np.full(3, -np.inf))
    with pytest.raises(ShapeError, match="2 entries"):
        stats.log_mean_weight(np.zeros(1))
    assert stats.log_mean_weight(np.array([0.0, -np.inf])).value == pytest.approx(-math.log(2))


def test_pull_and_effective_samples():
    assert stats.pull(1.3, 0.1, 1.0) == pytest.approx(3.0)
    assert stats.pull(1.0, 0.0, 1.0) == 0.0
    assert stats.pull(0.5, 0.0, 1.0) == -math.inf
    assert math.isnan(stats.pull(math.nan, 0.0, 1.0))
    assert stats.effective_samples(1000, 5.0) == 100.0
    with pytest.raises(ConfigError, match="error"):
        stats.pull(1.0, -0.1, 1.0)
    with pytest.raises(ConfigError, match="tau_int"):
        stats.effective_samples(10, 0.0)


def test_gamma_method_gives_differences_an_error(key):
    """x_i = y_{i+1} - y_i: the mean telescopes, its sum of covariances vanishes, not its error."""
    y = np.asarray(jax.random.normal(key, (8, 202)))
    x = np.diff(y, axis=1)
    found = stats.gamma_method(x)
    assert found.error > 0.0
    # The mean of a chain is (y_n - y_0) / n; the error may be too large, not too small.
    assert found.error > np.sqrt(2 / 8) / x.shape[1] / 2
    assert found.error < x.std() / np.sqrt(x.size)
