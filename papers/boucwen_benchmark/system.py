"""The benchmark's system and signals, simulated as its authors specify.

Reference:
    J. P. Noel and M. Schoukens, Hysteretic benchmark with a dynamic nonlinearity, Workshop on
    Nonlinear System Identification Benchmarks, Brussels 2016; doi:10.1016/j.ifacol.2017.08.071.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.signal import firwin

from diffhep.core.typing import Key, Scalar

MASS_kg, DAMPING_Ns_m, STIFFNESS_N_m = 2.0, 10.0, 5e4
ALPHA_N_m, BETA_1_m, GAMMA, DELTA = 5e4, 1e3, 0.8, -1.1

SAMPLING_Hz = 750.0
INTEGRATION_FACTOR = 20
DECIMATIONS = (2, 2, 5)
FILTER_TAPS = 31

BAND_Hz = (5.0, 150.0)
MULTISINE_N = 50.0
SWEEP_Hz = (20.0, 50.0)
SWEEP_N = 40.0
N_PERIODS = 5

_NEWTON_STEPS = 3


class Signal(NamedTuple):
    """Force and displacement at the sampling rate.

    Attributes:
        u_N: Force.
        y_m: Displacement.
        fine_u_N: Force at the rate of integration.
    """

    u_N: Float[np.ndarray, " time"]
    y_m: Float[np.ndarray, " time"]
    fine_u_N: Float[np.ndarray, " fine"]


class _Motion(NamedTuple):
    """Of the oscillator at one instant."""

    y: Scalar
    v: Scalar
    a: Scalar
    z: Scalar


@jax.jit
def displacement(force: Float[Array, " time"]) -> Float[Array, " time"]:
    """Newmark's rule of constant mean acceleration at the rate of integration, from rest.

    The hysteretic force follows the trapezoidal rule, Newton's method meets the balance of forces.

    Args:
        force: In N.

    Returns:
        Displacement in m at the same instants.
    """
    h = 1.0 / (SAMPLING_Hz * INTEGRATION_FACTOR)

    def force_rate(v: Scalar, z: Scalar) -> Scalar:
        return ALPHA_N_m * v - BETA_1_m * (GAMMA * jnp.abs(v) * z + DELTA * v * jnp.abs(z))

    def step(now: _Motion, u: Scalar) -> tuple[_Motion, Scalar]:
        before = force_rate(now.v, now.z)

        def force_at(v: Scalar) -> Scalar:
            # Linear in the new force, whose sign is that of what does not depend on it.
            known = now.z + 0.5 * h * (before + ALPHA_N_m * v)
            sign = jnp.where(known < 0.0, -1.0, 1.0)
            return known / (1.0 + 0.5 * h * BETA_1_m * (GAMMA * jnp.abs(v) + DELTA * v * sign))

        def imbalance(v: Scalar) -> Scalar:
            a = 2.0 * (v - now.v) / h - now.a
            y = now.y + 0.5 * h * (now.v + v)
            return MASS_kg * a + DAMPING_Ns_m * v + STIFFNESS_N_m * y + force_at(v) - u

        v = now.v + h * now.a
        for _ in range(_NEWTON_STEPS):
            value, slope = jax.jvp(imbalance, (v,), (jnp.ones_like(v),))
            v = v - value / slope
        y = now.y + 0.5 * h * (now.v + v)
        return _Motion(y, v, 2.0 * (v - now.v) / h - now.a, force_at(v)), y

    zero = jnp.zeros(())
    start = _Motion(zero, zero, force[0] / MASS_kg, zero)
    return jnp.append(0.0, jax.lax.scan(step, start, force[1:])[1])


def decimated(y: Float[np.ndarray, " fine"]) -> Float[np.ndarray, " time"]:
    """To the sampling rate, by low-pass filters of linear phase whose delay is taken off.

    Args:
        y: At the rate of integration.

    Returns:
        At the sampling rate; the first and the last samples suffer from the filters' ends.
    """
    for factor in DECIMATIONS:
        taps = np.asarray(firwin(FILTER_TAPS, 1.0 / factor), float)
        y = np.convolve(y, taps, mode="same")[::factor]
    return y


def multisine(n_samples: int, *, key: Key) -> Float[np.ndarray, " fine"]:
    """A period of a sum of sines of random phases, of equal amplitudes in the band.

    Args:
        n_samples: At the sampling rate.
        key: Random key.

    Returns:
        Force at the rate of integration.
    """
    resolution = SAMPLING_Hz / n_samples
    low, high = int(BAND_Hz[0] // resolution), int(np.ceil(BAND_Hz[1] / resolution))
    lines = np.arange(max(low, 1), high + 1)
    spectrum = np.zeros(n_samples * INTEGRATION_FACTOR, complex)
    phase = np.asarray(jax.random.uniform(key, lines.shape))
    spectrum[lines] = np.exp(2j * np.pi * phase)
    u = np.fft.ifft(spectrum).real
    return MULTISINE_N * u / u.std()


def estimation_data(n_samples: int, *, key: Key) -> Signal:
    """Five periods of a multisine from rest, without noise.

    Args:
        n_samples: Of a period.
        key: Random key.

    Returns:
        The signal; a sixth period takes the filters' end and is dropped.
    """
    fine = np.tile(multisine(n_samples, key=key), N_PERIODS + 1)
    y = decimated(np.asarray(displacement(jnp.asarray(fine))))
    n = N_PERIODS * n_samples
    return Signal(fine[::INTEGRATION_FACTOR][:n], y[:n], fine[: n * INTEGRATION_FACTOR])


def multisine_test(n_samples: int, *, key: Key) -> Signal:
    """One period of the steady state under a multisine.

    Args:
        n_samples: Of the period.
        key: Random key.

    Returns:
        The signal.
    """
    fine = multisine(n_samples, key=key)
    y = decimated(np.asarray(displacement(jnp.asarray(np.tile(fine, N_PERIODS)))))
    n = (N_PERIODS - 2) * n_samples
    return Signal(fine[::INTEGRATION_FACTOR], y[n : n + n_samples], fine)


def sweep_test(rate_Hz_min: float) -> Signal:
    """A sine swept linearly over the resonance, from rest.

    Args:
        rate_Hz_min: Change of the frequency per minute.

    Returns:
        The signal; what follows it for the filters' end is dropped.
    """
    rate, fine_Hz = rate_Hz_min / 60.0, SAMPLING_Hz * INTEGRATION_FACTOR
    n = int((SWEEP_Hz[1] - SWEEP_Hz[0]) / rate * SAMPLING_Hz)
    t = np.arange((n + 2 * FILTER_TAPS) * INTEGRATION_FACTOR) / fine_Hz
    fine = SWEEP_N * np.sin(2 * np.pi * (SWEEP_Hz[0] * t + 0.5 * rate * t**2))
    y = decimated(np.asarray(displacement(jnp.asarray(fine))))
    return Signal(fine[::INTEGRATION_FACTOR][:n], y[:n], fine[: n * INTEGRATION_FACTOR])
