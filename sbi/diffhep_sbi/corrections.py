r"""Corrections of learned log-ratios: curves, at points of $\theta$ or smooth in it."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffhep.core.typing import Scalar
from diffhep_sbi.morphing import monomials

__citations__ = ("arXiv:1506.02169",)

N_POWERS = 3
"""Powers of the log-ratio, from 0 on, beside each monomial of theta."""


class Curve(eqx.Module):
    """What is added to a learned log-ratio: cubic between knots, with a continuous slope.

    Fits differentiate the log-likelihood twice, and stall at the kinks of straight pieces.

    Attributes:
        knots: Learned log-ratios, ascending.
        values: The correction there; it stays as it is beyond the ends.
        slopes: Its slope, zero at the ends.
    """

    knots: Float[Array, "*point knot"]
    values: Float[Array, "*point knot"]
    slopes: Float[Array, "*point knot"]

    def __call__(self, log_r: Float[Array, " event"]) -> Float[Array, " event"]:
        """The correction of every event, by Hermite's cubic."""
        last = self.knots.shape[0] - 2
        index = jnp.clip(jnp.searchsorted(self.knots, log_r, side="right") - 1, 0, last)
        width = self.knots[index + 1] - self.knots[index]
        width = jnp.where(width > 0, width, 1.0)
        t = jnp.clip((log_r - self.knots[index]) / width, 0.0, 1.0)
        value, rise = self.values[index], self.values[index + 1] - self.values[index]
        first, second = width * self.slopes[index], width * self.slopes[index + 1]
        bend = t * (1.0 - t) * ((1.0 - t) * (first - rise) - t * (second - rise))
        return value + rise * t + bend


class NearestCurves(eqx.Module):
    r"""Curves at points $\theta_g$, averaged with weights $|\theta-\theta_g|^{-4}$.

    Distances are in units of the points' spread.

    Attributes:
        thetas: The points.
        curves: One for each.
    """

    thetas: Float[Array, "point param"]
    curves: Curve

    def __call__(
        self, log_r: Float[Array, " event"], theta: Float[Array, " param"]
    ) -> Float[Array, " event"]:
        """The correction of every event."""
        spread = jnp.std(self.thetas, axis=0)
        scaled = (theta - self.thetas) / jnp.where(spread > 0, spread, 1.0)
        # The tiny number keeps derivatives finite at the points themselves.
        inverse = 1.0 / (jnp.sum(scaled**2, axis=1) + 1e-9) ** 2
        rows = eqx.filter_vmap(lambda curve: curve(log_r))(self.curves)
        return inverse / jnp.sum(inverse) @ rows


class SmoothCorrection(eqx.Module):
    r"""$\delta(l, \theta) = g(l) + \sum_{ap} c_{ap}\,m_a(\theta)\,\tilde l^p$, smooth in both.

    g is a spline with g(0) = 0, $m_a$ are the linear and quadratic monomials of
    $\theta-\theta_1$, p is 0, 1 or 2, and $\tilde l = b\tanh(l/b)$ is l with a bound. Nothing is
    corrected at $\theta_1$, where l is 0.

    Attributes:
        curve: g.
        coefficients: $c_{ap}$.
        theta1: The reference.
        scale: Units of the parameters.
        bound: b.
        powers: Exponents of the monomials.
    """

    curve: Curve
    coefficients: Float[Array, "monomial power"]
    theta1: Float[Array, " param"]
    scale: Float[Array, " param"]
    bound: Scalar
    powers: tuple[tuple[int, ...], ...] = eqx.field(static=True)

    def __call__(
        self, log_r: Float[Array, " event"], theta: Float[Array, " param"]
    ) -> Float[Array, " event"]:
        """The correction of every event."""
        columns = self.columns(log_r, theta)
        return self.curve(log_r) + jnp.sum(columns * self.coefficients, axis=(-2, -1))

    def columns(
        self, log_r: Float[Array, " event"], theta: Float[Array, "*event param"]
    ) -> Float[Array, "event monomial power"]:
        r"""$m_a(\theta)\,\tilde l^p$ of every event."""
        scaled = monomials((theta - self.theta1) / self.scale, self.powers)
        bounded = self.bound * jnp.tanh(log_r / self.bound)
        # Products, as a power with a traced exponent has NaN for its second derivative at zero.
        powers = jnp.stack([bounded**power for power in range(N_POWERS)], axis=-1)
        return scaled[..., :, None] * powers[:, None, :]


def tabulate(knots: np.ndarray, values: np.ndarray, slopes: np.ndarray) -> Curve:
    """A curve from its values, with zero slopes at the ends.

    Args:
        knots: Learned log-ratios, ascending.
        values: The correction there.
        slopes: Its slope; those of the ends are not used.

    Returns:
        The curve.
    """
    inner = np.concatenate([[0.0], slopes[1:-1], [0.0]])
    return Curve(jnp.asarray(knots), jnp.asarray(values), jnp.asarray(inner))
