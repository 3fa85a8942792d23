r"""Interpolation between a nominal value and its variations by one standard deviation.

A nuisance parameter $\alpha$ is 0 at the nominal value, $\pm1$ at the variations. Beyond
$|\alpha| = 1$ a factor goes on exponentially and a shift linearly; between, a polynomial of sixth
order joins both sides with two continuous derivatives. The piecewise forms, with a kink at 0, are
there to read older models.

Reference:
    K. Cranmer et al., HistFactory, CERN-OPEN-2012-016; ATLAS, arXiv:2412.01600 (the same for
    likelihood ratios of single events).
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from diffhep.core.typing import Scalar

__citations__ = ("doi:10.21105/joss.02823", "arXiv:2412.01600")


def smooth_factor(
    alpha: Scalar, up: Float[Array, "*bin"], down: Float[Array, "*bin"]
) -> Float[Array, "*bin"]:
    r"""Factor with two continuous derivatives, HistFactory's code 4.

    $u^\alpha$ for $\alpha\ge1$, $d^{-\alpha}$ for $\alpha\le-1$, and
    $1 + \sum_{i=1}^6 c_i\alpha^i$ between.

    Args:
        alpha: The nuisance parameter, in standard deviations.
        up: Factors at $\alpha = 1$, positive.
        down: Factors at $\alpha = -1$, positive.

    Returns:
        The factor; 1 at $\alpha = 0$.
    """
    log_up, log_down = jnp.log(up), jnp.log(down)
    # Value, slope and curvature at +1 and -1, as even and odd parts of the polynomial.
    even, odd = (up + down) / 2, (up - down) / 2
    slope_up, slope_down = up * log_up, -down * log_down
    even_slope, odd_slope = (slope_up - slope_down) / 2, (slope_up + slope_down) / 2
    bend_up, bend_down = up * log_up**2, down * log_down**2
    even_bend, odd_bend = (bend_up + bend_down) / 2, (bend_up - bend_down) / 2
    coefficients = (
        (15 * odd - 7 * odd_slope + odd_bend) / 8,
        (24 * (even - 1) - 9 * even_slope + even_bend) / 8,
        (-5 * odd + 5 * odd_slope - odd_bend) / 4,
        (-12 * (even - 1) + 7 * even_slope - even_bend) / 4,
        (3 * odd - 3 * odd_slope + odd_bend) / 8,
        (8 * (even - 1) - 5 * even_slope + even_bend) / 8,
    )
    # Outside, the polynomial would overflow; inside, both branches need finite gradients.
    inside = jnp.clip(alpha, -1.0, 1.0)
    polynomial = jnp.zeros_like(up)
    for coefficient in reversed(coefficients):
        polynomial = inside * (coefficient + polynomial)
    exponential = jnp.exp(jnp.where(alpha >= 0, alpha * log_up, -alpha * log_down))
    return jnp.where(jnp.abs(alpha) < 1.0, 1.0 + polynomial, exponential)


def piecewise_factor(
    alpha: Scalar, up: Float[Array, "*bin"], down: Float[Array, "*bin"]
) -> Float[Array, "*bin"]:
    r"""Factor $u^\alpha$ for $\alpha\ge0$ and $d^{-\alpha}$ below, HistFactory's code 1.

    Args:
        alpha: The nuisance parameter, in standard deviations.
        up: Factors at $\alpha = 1$, positive.
        down: Factors at $\alpha = -1$, positive.

    Returns:
        The factor; 1 at $\alpha = 0$.
    """
    return jnp.exp(jnp.where(alpha >= 0, alpha * jnp.log(up), -alpha * jnp.log(down)))


def smooth_shift(
    alpha: Scalar, up: Float[Array, "*bin"], down: Float[Array, "*bin"]
) -> Float[Array, "*bin"]:
    r"""Shift with two continuous derivatives, pyhf's code 4p.

    Linear for $|\alpha|\ge1$; between, with half sum S and half difference A of the slopes,
    $\alpha S + \frac{A}{8}(15\alpha^2 - 10\alpha^4 + 3\alpha^6)$.

    Args:
        alpha: The nuisance parameter, in standard deviations.
        up: Shifts at $\alpha = 1$.
        down: Shifts at $\alpha = -1$.

    Returns:
        The shift; 0 at $\alpha = 0$.
    """
    half_sum, half_difference = (up - down) / 2, (up + down) / 2
    square = jnp.clip(alpha, -1.0, 1.0) ** 2
    bend = square * (15 - 10 * square + 3 * square**2) / 8
    return jnp.where(
        jnp.abs(alpha) < 1.0,
        alpha * half_sum + half_difference * bend,
        piecewise_shift(alpha, up, down),
    )


def piecewise_shift(
    alpha: Scalar, up: Float[Array, "*bin"], down: Float[Array, "*bin"]
) -> Float[Array, "*bin"]:
    r"""Shift $\alpha u$ for $\alpha\ge0$ and $-\alpha d$ below, HistFactory's code 0.

    Args:
        alpha: The nuisance parameter, in standard deviations.
        up: Shifts at $\alpha = 1$.
        down: Shifts at $\alpha = -1$.

    Returns:
        The shift; 0 at $\alpha = 0$.
    """
    return jnp.where(alpha >= 0, alpha * up, -alpha * down)
