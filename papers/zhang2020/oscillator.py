"""A mass on a hysteretic spring whose ground moves: the truth."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffhep.core.typing import Key, Scalar
from diffhep.magnet import BoucWen

SPRING = BoucWen(1.0, 2.0, 2.0, exponent=3.0, elastic=25.0, hysteretic=25.0)
"""Force per mass, m/s^2 per m: half of it elastic, the other half saturates at 0.63 m."""

DAMPING = 0.7
"""Per second: a twentieth of the critical one."""

BAND_HZ = (0.2, 2.0)
"""Of the ground's motion; the mass on a spring without hysteresis has 1.13 Hz."""

N_WAVES = 40

GROUND_M_S2 = 7.0
"""Root mean square of the ground's acceleration."""

RISE_S = 1.0
"""Time in which the ground begins to move."""


class Records(NamedTuple):
    """Records, one a row.

    Attributes:
        ground: Acceleration of the ground, m/s^2.
        x: Displacement, m.
        v: Velocity, m/s.
        force: Of spring and damper, per mass, m/s^2.
    """

    ground: Float[Array, "record time"]
    x: Float[Array, "record time"]
    v: Float[Array, "record time"]
    force: Float[Array, "record time"]


def records(
    n: int, n_samples: int, dt_s: float, n_substeps: int, *, key: Key, spring: BoucWen = SPRING
) -> Records:
    """Motions from rest under band-limited random ground motion.

    Args:
        n: How many.
        n_samples: Of each.
        dt_s: Between samples.
        n_substeps: Steps of second order between samples.
        key: Random key of the ground.
        spring: The hysteretic spring.

    Returns:
        The records.
    """
    keys = jax.random.split(key)
    phase = 2.0 * jnp.pi * jax.random.uniform(keys[0], (n, N_WAVES))
    amplitude = GROUND_M_S2 * (2.0 / N_WAVES) ** 0.5 * jax.random.normal(keys[1], (n, N_WAVES))
    step_s = dt_s / n_substeps
    t = step_s * jnp.arange((n_samples - 1) * n_substeps + 1)
    omega = 2.0 * jnp.pi * jnp.linspace(*BAND_HZ, N_WAVES)
    waves = jnp.cos(omega * t[:, None] + phase[:, None, :])
    ground = jnp.minimum(t / RISE_S, 1.0) * jnp.einsum("ntw,nw->nt", waves, amplitude)
    move = jax.jit(jax.vmap(lambda one: _motion(spring, one, step_s)))
    return Records(*(row[:, ::n_substeps] for row in (ground, *move(ground))))


def _motion(spring: BoucWen, ground: Float[Array, " time"], step_s: float) -> list[Array]:
    """Displacement, velocity and force: half a kick, a step of the spring, half a kick."""
    drag = DAMPING * step_s / 4.0
    rest = spring.rest(jnp.zeros(()))

    def kick(v: Scalar, acceleration: Scalar) -> Scalar:
        # The damper by the mean of the velocities before and after.
        return ((1.0 - drag) * v + 0.5 * step_s * acceleration) / (1.0 + drag)

    def advance(state: tuple, at: tuple[Scalar, Scalar]) -> tuple[tuple, tuple]:
        x, v, spring_state, pull = state
        half = kick(v, -at[0] - pull)
        x = x + step_s * half
        spring_state, pull = spring.step(spring_state, x, jnp.asarray(step_s))
        v = kick(half, -at[1] - pull)
        return (x, v, spring_state, pull), (x, v, pull + DAMPING * v)

    zero = jnp.zeros(())
    _, rows = jax.lax.scan(advance, (zero, zero, rest, zero), (ground[:-1], ground[1:]))
    return [jnp.concatenate([jnp.zeros(1), row]) for row in rows]
