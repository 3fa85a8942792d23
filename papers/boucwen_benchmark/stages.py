"""Stages of a run: a linear start, the searches of three models, their simulations of the tests."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffhep.core.rng import key_for
from diffhep.core.typing import Key, PyTree
from diffhep.magnet import (
    AbstractOperator,
    BoucWenForce,
    Dynamic,
    HystereticOscillator,
    LearnedForce,
    OperatorFit,
    fit_operator,
    learned_field,
    learned_force,
)
from papers.boucwen_benchmark.config import Config
from papers.boucwen_benchmark.system import (
    INTEGRATION_FACTOR,
    N_PERIODS,
    BAND_Hz,
    SAMPLING_Hz,
    Signal,
)

FIRST_BEND_1_m = 100.0
"""Dissipation of the force at the start of the search."""

LEAK_1_s = 5.0
"""Decay of the third state of the linear system that the neural equation starts from."""


class Linear(NamedTuple):
    """An oscillator without memory.

    Attributes:
        mass_kg: m.
        damping_Ns_m: c.
        stiffness_N_m: k.
    """

    mass_kg: float
    damping_Ns_m: float
    stiffness_N_m: float


class Period(NamedTuple):
    """A period in the steady state, its noise averaged over periods.

    Attributes:
        u_N: Force at the sampling rate.
        fine_u_N: Force at the rate of integration.
        y_m: Displacement.
        sigma_m: Its noise.
    """

    u_N: Float[np.ndarray, " time"]
    fine_u_N: Float[np.ndarray, " fine"]
    y_m: Float[np.ndarray, " time"]
    sigma_m: float


def measured_period(config: Config, data: Signal, *, key: Key) -> Period:
    """The mean of all periods but the first, with noise on each.

    Args:
        config: The settings.
        data: Estimation data without noise.
        key: Random key.

    Returns:
        The period.
    """
    noise = config.noise_m * jax.random.normal(key, data.y_m.shape)
    y = (data.y_m + np.asarray(noise)).reshape(N_PERIODS, -1)[1:].mean(axis=0)
    n = config.n_samples
    fine = data.fine_u_N[: n * INTEGRATION_FACTOR]
    return Period(data.u_N[:n], fine, y, config.noise_m / np.sqrt(N_PERIODS - 1))


def linear_start(period: Period) -> Linear:
    """Mass, damping and stiffness from the frequency response, by linear least squares.

    Args:
        period: Of the steady state.

    Returns:
        The oscillator.
    """
    omega = 2 * np.pi * np.arange(period.u_N.size // 2 + 1) * SAMPLING_Hz / period.u_N.size
    inside = (omega >= 2 * np.pi * BAND_Hz[0]) & (omega <= 2 * np.pi * BAND_Hz[1])
    u, y = (np.fft.rfft(series)[inside] for series in (period.u_N, period.y_m))
    response, omega = y / u, omega[inside]
    rows = response[:, None] * np.stack([-(omega**2), 1j * omega, np.ones_like(omega)], axis=1)
    both = np.concatenate([rows.real, rows.imag])
    one = np.concatenate([np.ones(omega.size), np.zeros(omega.size)])
    return Linear(*(float(x) for x in np.linalg.lstsq(both, one, rcond=None)[0]))


def white(start: Linear) -> tuple[PyTree, Callable[[Any], Dynamic]]:
    """The benchmark's own equation, of exponent 1; all six parameters unknown.

    Args:
        start: Where they start; the stiffness is cut into halves.

    Returns:
        Parameters and what builds the operator of them.
    """
    half = 0.5 * start.stiffness_N_m
    scales = jnp.array(
        [start.mass_kg, start.damping_Ns_m, half, half, FIRST_BEND_1_m, FIRST_BEND_1_m]
    )

    def build(parameters: Float[Array, " parameter"]) -> Dynamic:
        mass, damping, stiffness, slope, dissipation, bend = parameters * scales
        force = BoucWenForce(slope, dissipation, bend)
        return Dynamic(HystereticOscillator(mass, damping, stiffness, force))

    return jnp.array([1.0, 1.0, 1.0, 1.0, 1.0, 0.0]), build


def grey(start: Linear, period: Period, width: int, *, key: Key) -> tuple[PyTree, Callable]:
    """An oscillator whose force follows a law to be learned.

    Args:
        start: As in `white`.
        period: Gives the scale of the force.
        width: Hidden units.
        key: Random key.

    Returns:
        Parameters and what builds the operator of them.
    """
    half = 0.5 * start.stiffness_N_m
    scales = jnp.array([start.mass_kg, start.damping_Ns_m, half, half])
    scale = half * float(period.y_m.std())
    law = learned_force(half, scale, width, key=key)

    def build(parameters: dict[str, Array]) -> Dynamic:
        mass, damping, stiffness, slope = parameters["mechanics"] * scales
        force = LearnedForce(slope, scale, parameters["inner"], parameters["outer"])
        return Dynamic(HystereticOscillator(mass, damping, stiffness, force))

    return {"mechanics": jnp.ones(4), "inner": law.inner, "outer": law.outer}, build


def black(start: Linear, period: Period, width: int, *, key: Key) -> tuple[PyTree, Callable]:
    """A neural differential equation of three states that starts from the linear oscillator.

    Args:
        start: The oscillator.
        period: Gives the scales.
        width: Hidden units.
        key: Random key.

    Returns:
        Parameters and what builds the operator of them.
    """
    mass, damping, stiffness = start
    omega = float(np.sqrt(stiffness / mass))
    y, u = float(period.y_m.std()), float(period.u_N.std())
    v, z = y * omega, 0.5 * stiffness * y
    rates = np.array(
        [
            [0.0, v / y, 0.0],
            [-0.5 * stiffness * y / (mass * v), -damping / mass, -z / (mass * v)],
            [0.0, 0.5 * stiffness * v / z, -LEAK_1_s],
        ]
    )
    field = learned_field(
        rates / omega,
        np.array([0.0, u / (mass * v), 0.0]) / omega,
        np.array([1.0, 0.0, 0.0]),
        width,
        key=key,
        time_s=1.0 / omega,
        u_scale=u,
        y_scale=y,
    )
    return field, Dynamic


def searched(
    config: Config, start: PyTree, build: Callable, period: Period, upsampling: int
) -> OperatorFit:
    """Levenberg and Marquardt's method on one period, after some samples for the transients.

    Args:
        config: The settings.
        start: Parameters.
        build: Makes the operator of them.
        period: What was measured.
        upsampling: Steps between two samples.

    Returns:
        The fit.
    """
    fine = period.fine_u_N[:: INTEGRATION_FACTOR // upsampling]
    warm = config.n_warm * upsampling
    u = np.concatenate([fine[fine.size - warm :], fine])
    y, weight = np.zeros(u.size), np.zeros(u.size)
    y[warm::upsampling] = period.y_m
    weight[warm::upsampling] = 1.0 / period.sigma_m
    return fit_operator(
        build,
        start,
        jnp.asarray(u),
        jnp.asarray(y),
        dt=1.0 / (SAMPLING_Hz * upsampling),
        weight=jnp.asarray(weight),
        max_steps=config.most_steps,
    )


def simulated(operator: AbstractOperator, test: Signal, n_warm: int, upsampling: int) -> np.ndarray:
    """What a model says of a test signal, whose outputs it does not see.

    Args:
        operator: The model.
        test: The signal.
        n_warm: Samples before it, from its end, for the transients of a periodic one.
        upsampling: Steps between two samples.

    Returns:
        Displacement at the sampling rate.
    """
    fine = test.fine_u_N[:: INTEGRATION_FACTOR // upsampling]
    warm = n_warm * upsampling
    u = jnp.asarray(np.concatenate([fine[fine.size - warm :], fine]))
    y = _run(operator, u, 1.0 / (SAMPLING_Hz * upsampling))
    return np.asarray(y)[warm::upsampling]


@eqx.filter_jit
def _run(operator: AbstractOperator, u: Array, dt: float) -> Array:
    return operator(u, dt, state=operator.rest(u[0]))[0]


def models_of(config: Config, period: Period, *, key: Key) -> dict[str, tuple[PyTree, Callable]]:
    """Parameters and builders of the models to be identified.

    Args:
        config: The settings.
        period: What was measured.
        key: Random key.

    Returns:
        By name.
    """
    start = linear_start(period)
    known: dict[str, Callable[[], tuple[PyTree, Callable]]] = {
        "white": lambda: white(start),
        "grey": lambda: grey(start, period, config.width, key=key_for(key, "grey")),
        "black": lambda: black(start, period, config.black_width, key=key_for(key, "black")),
    }
    return {name: known[name]() for name in config.models}
