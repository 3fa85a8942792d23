"""What a forecast is trained to make small, in dimensionless numbers."""

from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Array, Float

from diffhep.core.typing import Scalar

__citations__ = ("doi:10.2307/1913643",)


def squared_error(mean: Float[Array, " time"], target: Float[Array, " time"]) -> Scalar:
    """Mean square error.

    Args:
        mean: What is forecast.
        target: What was found.

    Returns:
        It.
    """
    return jnp.mean((mean - target) ** 2)


def pinball(
    quantiles: Float[Array, "quantile time"],
    target: Float[Array, " time"],
    levels: Sequence[float],
) -> Scalar:
    r"""The loss whose minimum is the quantile, mean over levels and time.

    $\rho_q(e) = \max(q e, (q - 1) e)$, $e = y - \hat y_q$; Koenker and Bassett,
    doi:10.2307/1913643.

    Args:
        quantiles: One row for each level.
        target: What was found.
        levels: Probabilities.

    Returns:
        The loss.
    """
    q = jnp.asarray(levels, quantiles.dtype)[:, None]
    error = target - quantiles
    return jnp.mean(jnp.maximum(q * error, (q - 1.0) * error))


def loop_energy_error(
    mean: Float[Array, " time"], target: Float[Array, " time"], u: Float[Array, " time"]
) -> Scalar:
    r"""Square of the difference of the energies $\int u\,dy$ along the horizon.

    By the trapezoid rule; for u in A/m and y in T, closed loops, this is the loss per volume.

    Args:
        mean: What is forecast.
        target: What was found.
        u: The input at the same times.

    Returns:
        The square of the difference over that of $\sum|u\,\Delta y|$ of the target, which is not
        zero for an open or a closed loop.
    """
    middle = 0.5 * (u[1:] + u[:-1])
    change = jnp.diff(target)
    difference = jnp.sum(middle * (jnp.diff(mean) - change))
    scale = jnp.sum(jnp.abs(middle * change)) ** 2
    return difference**2 / jnp.maximum(scale, jnp.finfo(scale.dtype).tiny)
