"""Statistics of Monte Carlo series and of importance weights, in float64."""

import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float, Shaped
from numpy.typing import ArrayLike

from diffhep.core.checks import require, require_shape
from diffhep.core.citations import cites
from diffhep.core.errors import DataError
from diffhep.core.rng import check_key
from diffhep.core.typing import Key

MIN_LENGTH = 8
"""Fewest measurements per chain from which an autocorrelation is estimated."""

ALTERNATING = 4.0
"""A first autocorrelation this many standard errors below zero makes a series alternating."""

Estimator = Callable[[np.ndarray], Any]
"""Maps a sample, leading axis first, to one number."""


class GammaResult(NamedTuple):
    """Mean of a correlated series, its error, and the integrated autocorrelation time."""

    mean: float
    error: float
    tau_int: float
    tau_int_error: float
    window: int


class Estimate(NamedTuple):
    """A value and its standard error."""

    value: float
    error: float


def _real_array(x: Any, name: str) -> np.ndarray:
    """`x` in float64, after a check that it is an array of real numbers."""
    try:
        array = np.asarray(x)
    except (TypeError, ValueError):
        rule = "be an array of real numbers, rows of one length"
        require_shape(False, name, rule, f"type {type(x).__name__}")
        raise
    is_real = any(jnp.issubdtype(array.dtype, kind) for kind in (np.floating, np.integer, np.bool_))
    require_shape(is_real, name, "hold real numbers", f"dtype {array.dtype}")
    return array.astype(np.float64)


def finite_array(x: Any, name: str) -> np.ndarray:
    """An array of real numbers in float64, after a check that every entry is finite.

    Args:
        x: The array.
        name: The argument's name.

    Returns:
        The array.

    Raises:
        DataError: An entry is not finite; the first one is named.
        ShapeError: It holds no real numbers.
    """
    array = _real_array(x, name)
    bad = ~np.isfinite(array)
    if bad.any():
        index = tuple(int(i) for i in np.argwhere(bad)[0])
        raise DataError(
            f"Argument `{name}` must be finite, but at index {index} it is {array[index]}."
        )
    return array


def _autocovariance(deviations: np.ndarray) -> np.ndarray:
    """Autocovariances of (chain, n) deviations, summed over chains and averaged over pairs."""
    n_chains, n = deviations.shape
    transformed = np.fft.rfft(deviations, n=2 * n, axis=1)
    sums = np.fft.irfft((np.abs(transformed) ** 2).sum(axis=0), n=2 * n)[: n // 2 + 1]
    pairs = n_chains * (n - np.arange(n // 2 + 1))
    return sums / pairs


def _automatic_window(rho: np.ndarray, n_total: int, s_tau: float) -> int:
    """First window at which truncation error and noise balance; the last one if they never do."""
    windows = np.arange(1, len(rho))
    partial = np.cumsum(rho[1:])
    tau = np.full(len(windows), np.finfo(np.float64).eps)
    rising = partial > 0.0
    tau[rising] = s_tau / np.log1p(1.0 / partial[rising])
    slope = np.exp(-windows / tau) - tau / np.sqrt(windows * n_total)
    crossed = np.flatnonzero(slope < 0.0)
    return int(windows[crossed[0]]) if len(crossed) else int(windows[-1])


class _Sum(NamedTuple):
    """An autocovariance: C, Gamma(0), the relative error of tau_int, and the window."""

    total: float
    variance: float
    relative_error: float
    window: int


def _analyse(deviations: np.ndarray, s_tau: float) -> tuple[float, float, float, int]:
    """C, tau_int and its error, and the window of (chain, n) deviations from the mean."""
    gamma = _autocovariance(deviations)
    size, n = deviations.size, deviations.shape[1]
    if gamma[1] < -ALTERNATING * gamma[0] / math.sqrt(size) and n >= 2 * MIN_LENGTH:
        found = _sum_pairs(deviations, float(gamma[0]), s_tau)
    else:
        found = _sum_window(gamma, size, s_tau)
    # Even where all neighbours cancel, the ends of a chain move its mean by a measurement in n.
    total = max(found.total, found.variance / n)
    tau_int = total / (2.0 * found.variance)
    return total, tau_int, tau_int * found.relative_error, found.window


def _sum_window(gamma: np.ndarray, size: int, s_tau: float) -> _Sum:
    """The sum up to the automatic window, its bias corrected."""
    window = _automatic_window(gamma / gamma[0], size, s_tau)
    uncorrected = gamma[0] + 2.0 * gamma[1 : window + 1].sum()
    gamma = gamma + uncorrected / size
    total, variance = float(gamma[0] + 2.0 * gamma[1 : window + 1].sum()), float(gamma[0])
    if total <= 0.0:
        # Anticorrelations cancel the sum to within its own error, which is what is known of it.
        total = variance * math.sqrt((4 * window + 2) / size)
    spread = max(window + 0.5 - total / (2.0 * variance), 0.0)
    return _Sum(total, variance, 2.0 * math.sqrt(spread / size), window)


def _sum_pairs(deviations: np.ndarray, variance: float, s_tau: float) -> _Sum:
    """The same through the means of neighbours, in which an alternation cancels."""
    even = deviations[:, : deviations.shape[1] // 2 * 2]
    pairs = (even[:, ::2] + even[:, 1::2]) / 2.0
    if not pairs.any():
        return _Sum(0.0, variance, 1.0, 1)
    total, tau_int, tau_int_error, window = _analyse(pairs, s_tau)
    return _Sum(2.0 * total, variance, tau_int_error / tau_int, 2 * window + 1)


@cites("arXiv:hep-lat/0306017")
def gamma_method(x: ArrayLike, s_tau: float = 1.5) -> GammaResult:
    r"""Mean, error and integrated autocorrelation time of a series by the Gamma method.

    $\Gamma(t) = \langle (x_i - \bar x)(x_{i+t} - \bar x) \rangle$ is summed up to a window $W$:
    $C = \Gamma(0) + 2 \sum_{t=1}^{W} \Gamma(t)$, error $= \sqrt{C / N}$,
    $\tau_\mathrm{int} = C / (2 \Gamma(0))$, which is 1/2 for independent measurements.
    $W$ is the first at which $e^{-W/\tau} < \tau / \sqrt{W N}$, with
    $\tau = S_\tau / \ln(1 + 1/\sum_{t \le W} \rho(t))$. The bias of $O(1/N)$ from subtracting the
    measured mean is corrected. A series that alternates, $\rho(1) < -4 / \sqrt{N}$, is analysed
    through the means of neighbours, as the rule would stop at once on it; its error may then be
    a third too large, and tau_int_error is rough. Where the sum is not positive, C is its own
    statistical error, $\Gamma(0)\sqrt{(4W+2)/N}$; it is never below $\Gamma(0)$ over the steps of a
    chain, so that only a series that never changes has the error 0. Chains are pooled: one mean,
    one autocovariance. Cost: one FFT a chain.

    Args:
        x: Measurements, shape (step,) or (chain, step), of any scale.
        s_tau: Ratio of the exponential to the integrated autocorrelation time that is assumed.

    Returns:
        mean, error, tau_int and tau_int_error in steps, and the window. A window of half the
        length means that the series is too short for its autocorrelation, and error and tau_int
        are then lower bounds. A series that never changes measures neither: its error is 0 and
        its tau_int 1/2 with error 0, whatever froze it.

    Raises:
        ShapeError: `x` holds no real numbers, is not of rank 1 or 2, or has fewer than 8 steps.
        DataError: An entry is not finite; the message holds its index.
        ConfigError: `s_tau` is not positive and finite.

    Reference:
        U. Wolff, Comput. Phys. Commun. 156 (2004) 143, arXiv:hep-lat/0306017.
    """
    require(0.0 < s_tau < math.inf, "s_tau", "be positive and finite", s_tau)
    array = finite_array(x, "x")
    rule = "be of shape (step,) or (chain, step)"
    require_shape(array.ndim in (1, 2), "x", rule, f"shape {array.shape}")
    array = np.atleast_2d(array)
    require_shape(
        array.shape[0] >= 1 and array.shape[1] >= MIN_LENGTH,
        "x",
        f"have at least {MIN_LENGTH} steps",
        f"shape {array.shape}",
    )
    # Squares of tiny or huge entries would leave the range; a power of two changes no digit.
    exponent = int(np.frexp(np.abs(array).max())[1])
    scaled = np.ldexp(array, -exponent)
    mean = float(scaled.mean())
    if np.ptp(scaled) == 0.0:
        return GammaResult(float(array.flat[0]), 0.0, 0.5, 0.0, 0)
    variance, tau_int, tau_int_error, window = _analyse(scaled - mean, s_tau)
    error = math.sqrt(variance / array.size)
    mean, error = float(np.ldexp(mean, exponent)), float(np.ldexp(error, exponent))
    return GammaResult(mean, error, tau_int, tau_int_error, window)


@cites("doi:10.1214/aos/1176344552")
def jackknife(
    x: Shaped[np.ndarray, "sample *rest"] | Shaped[Array, "sample *rest"],
    estimator: Estimator,
    n_bins: int,
) -> Estimate:
    r"""Value of an estimator on a sample and its error, by leaving out one bin at a time.

    error$^2 = \frac{B-1}{B} \sum_b (\theta_b - \bar\theta)^2$ over $B$ bins of consecutive
    entries, which may differ by one in length. Cost: $B + 1$ calls of the estimator.

    Args:
        x: The sample, leading axis first.
        estimator: Maps such an array to one number.
        n_bins: Number of bins; longer than the autocorrelation makes the error honest.

    Returns:
        (value, error).

    Raises:
        ConfigError: `n_bins` is below 2 or above the length of the sample.
        DataError: An entry is not finite.

    Reference:
        B. Efron, The Jackknife, the Bootstrap and Other Resampling Plans (1982).
    """
    array = finite_array(x, "x")
    require(
        2 <= n_bins <= len(array), "n_bins", f"lie between 2 and the {len(array)} entries", n_bins
    )
    edges = np.linspace(0, len(array), n_bins + 1).astype(int)
    values = np.array(
        [
            float(estimator(np.concatenate([array[:low], array[high:]])))
            for low, high in pairwise(edges)
        ]
    )
    error = math.sqrt((n_bins - 1) * float(np.var(values)))
    return Estimate(float(estimator(array)), error)


@cites("doi:10.1214/aos/1176344552")
def bootstrap(
    x: Shaped[np.ndarray, "sample *rest"] | Shaped[Array, "sample *rest"],
    estimator: Estimator,
    n_resamples: int = 200,
    *,
    key: Key,
) -> Estimate:
    """Value of an estimator on independent draws and its error, by drawing with replacement.

    Cost: `n_resamples + 1` calls of the estimator.

    Args:
        x: Independent draws, leading axis first.
        estimator: Maps such an array to one number.
        n_resamples: How often the sample is drawn anew.
        key: Random key.

    Returns:
        (value, error); the error is the standard deviation over the resamples.

    Raises:
        ConfigError: `n_resamples` is below 2.
        ShapeError: `x` is empty.
        DataError: An entry is not finite.

    Reference:
        B. Efron, The Jackknife, the Bootstrap and Other Resampling Plans (1982).
    """
    check_key(key)
    array = finite_array(x, "x")
    require(n_resamples >= 2, "n_resamples", "be at least 2", n_resamples)
    require_shape(len(array) >= 1, "x", "hold at least one entry", f"shape {array.shape}")
    shape = (n_resamples, len(array))
    indices = np.asarray(jax.random.randint(key, shape, 0, len(array)))
    values = np.array([float(estimator(array[row])) for row in indices])
    return Estimate(float(estimator(array)), float(np.std(values, ddof=1)))


def _check_log_weights(log_weights: Any, least: int) -> None:
    """Raise unless there are `least` weights in a row, none NaN or infinite, if they are known."""
    name = "log_weights"
    if isinstance(log_weights, Tracer):
        shape = log_weights.shape
    else:
        array = _real_array(log_weights, name)
        finite_array(np.where(np.isneginf(array), 0.0, array), name)
        shape = array.shape
    require_shape(len(shape) == 1, name, "be of shape (sample,)", f"shape {shape}")
    entries = "entry" if least == 1 else "entries"
    require_shape(shape[0] >= least, name, f"hold at least {least} {entries}", f"shape {shape}")


@cites("arXiv:1904.12072")
def ess_fraction(log_weights: ArrayLike) -> Float[Array, ""]:
    r"""Kish effective sample size of importance weights, as a fraction of the sample.

    $\mathrm{ESS} = (\sum_i w_i)^2 / (N \sum_i w_i^2)$, computed in log space, and in float64
    where x64 is on.

    Args:
        log_weights: $\log w_i$ of shape (sample,), dimensionless, unnormalised; $-\infty$ is a
            weight of zero.

    Returns:
        Fraction in (0, 1]; 0 where every weight is zero.

    Raises:
        ShapeError: `log_weights` does not hold real numbers, is not of rank 1, or is empty.
        DataError: A weight is NaN or infinite; inside `jit` the result is NaN instead.

    Reference:
        arXiv:1904.12072.
    """
    _check_log_weights(log_weights, 1)
    log_w = jnp.asarray(log_weights, dtype=float)
    highest = jnp.max(log_w)
    shifted = jnp.where(jnp.isneginf(highest), log_w, log_w - highest)
    log_fraction = 2.0 * logsumexp(shifted) - logsumexp(2.0 * shifted)
    fraction = jnp.exp(log_fraction) / log_w.shape[0]
    return jnp.where(jnp.isneginf(highest), 0.0, fraction)


@partial(jax.jit, static_argnames="n_resamples")
def _resampled_ess(log_weights: Array, key: Key, n_resamples: int) -> Array:
    """ESS fraction of each resample, one at a time so that memory stays that of the sample."""
    n = log_weights.shape[0]

    def one(resample_key: Key) -> Array:
        return ess_fraction(log_weights[jax.random.randint(resample_key, (n,), 0, n)])

    return jax.lax.map(one, jax.random.split(key, n_resamples))


@cites("arXiv:1904.12072")
def ess_fraction_with_error(
    log_weights: ArrayLike,
    *,
    key: Key,
    n_resamples: int = 200,
) -> Estimate:
    """Effective sample size as a fraction of the sample, with its bootstrap error.

    The error knows only the weights that were drawn: where a few rare ones would dominate, both
    numbers are too good.

    Args:
        log_weights: Logarithms of independent weights of shape (sample,), dimensionless,
            unnormalised.
        key: Random key.
        n_resamples: How often the sample is drawn anew.

    Returns:
        (value, error).

    Raises:
        ShapeError: `log_weights` does not hold real numbers, is not of rank 1, or has fewer than 2.
        DataError: A weight is NaN or infinite.
        ConfigError: `n_resamples` is below 2.

    Reference:
        arXiv:1904.12072.
    """
    check_key(key)
    require(n_resamples >= 2, "n_resamples", "be at least 2", n_resamples)
    _check_log_weights(log_weights, 2)
    value = float(ess_fraction(log_weights))
    values = np.asarray(_resampled_ess(jnp.asarray(log_weights), key, n_resamples))
    return Estimate(value, float(np.std(values, ddof=1)))


@cites("arXiv:2007.07115")
def log_mean_weight(log_weights: ArrayLike) -> Estimate:
    r"""Logarithm of the mean of independent weights, $\log Z$, and its standard error.

    $\log Z = \log \frac1N \sum_i w_i$; to first order its error is that of the mean over the
    mean, $\sqrt{(1/\mathrm{ESS} - 1)/(N - 1)}$ with the ESS as a fraction.

    Args:
        log_weights: $\log w_i$ of shape (sample,), dimensionless.

    Returns:
        (log_z, error), dimensionless.

    Raises:
        ShapeError: `log_weights` does not hold real numbers, is not of rank 1, or has fewer than 2.
        DataError: A weight is NaN or infinite, or all of them are zero.

    Reference:
        arXiv:2007.07115.
    """
    _check_log_weights(log_weights, 2)
    log_w = _real_array(log_weights, "log_weights")
    highest = float(log_w.max())
    if highest == -math.inf:
        raise DataError("Argument `log_weights` must hold a weight above zero, but all are zero.")
    weights = np.exp(log_w - highest)
    mean = float(weights.mean())
    error = math.sqrt(float(weights.var(ddof=1)) / len(weights)) / mean
    return Estimate(highest + math.log(mean), error)


def pull(value: float, error: float, reference: float) -> float:
    """Distance of a value from its reference in standard errors, with its sign.

    Args:
        value: The measured value.
        error: Its standard error, in the same unit.
        reference: What it should be, in the same unit.

    Returns:
        (value - reference) / error. With error 0: 0 where they agree, else signed infinity.

    Raises:
        ConfigError: `error` is negative.
    """
    require(not error < 0.0, "error", "not be negative", error)
    difference = value - reference
    if error == 0.0 and not math.isnan(difference):
        return math.copysign(math.inf, difference) if difference else 0.0
    return difference / error if error else math.nan


def effective_samples(n: int, tau_int: float) -> float:
    """Number of independent measurements that a correlated series is worth.

    Args:
        n: Number of measurements.
        tau_int: Integrated autocorrelation time in steps, 1/2 for independent measurements.

    Returns:
        n / (2 tau_int).

    Raises:
        ConfigError: `tau_int` is not positive.
    """
    require(tau_int > 0.0, "tau_int", "be positive", tau_int)
    return n / (2.0 * tau_int)
