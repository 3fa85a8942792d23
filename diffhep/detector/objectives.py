r"""What a design is judged by; every function is differentiable in what it is given.

References:
    G. Cowan, K. Cranmer, E. Gross and O. Vitells, Eur. Phys. J. C 71, 1554 (2011), for the Asimov
    significance; M. H. Quenouille, Biometrika 43, 353 (1956), for the jackknife.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from diffhep.core.checks import require, require_shape
from diffhep.core.typing import Scalar

__citations__ = ("arXiv:1007.1727",)


def resolution(energy: Float[Array, " event"]) -> Scalar:
    r"""$\sigma/\mu$ of a sample, its bias of order 1/N taken off by the jackknife.

    $N\hat\theta-(N-1)\overline{\hat\theta_{(i)}}$ with $\hat\theta_{(i)}$ the ratio without event
    $i$. The plain ratio is low by about a quarter of $1/N$, and an optimiser would use that.

    Args:
        energy: Of the events, any unit.

    Returns:
        Standard deviation over mean.

    Raises:
        ShapeError: There are fewer than three events.
    """
    n = energy.shape[0]
    require_shape(n >= 3, "energy", "hold at least 3 events", f"{n}")
    return n * _ratio(energy.sum(), (energy**2).sum(), n) - (n - 1) * jnp.mean(
        _without_each(energy)
    )


def resolution_error(energy: Float[Array, " event"]) -> Scalar:
    r"""Standard error of `resolution`, by the jackknife.

    $\sqrt{(N-1)\,\mathrm{Var}(\hat\theta_{(i)})}$.

    Args:
        energy: Of the events.

    Returns:
        The error.

    Raises:
        ShapeError: There are fewer than three events.
    """
    n = energy.shape[0]
    require_shape(n >= 3, "energy", "hold at least 3 events", f"{n}")
    return jnp.sqrt((n - 1) * jnp.var(_without_each(energy)))


def _without_each(energy: Array) -> Array:
    """The ratio without each event in turn, from sums: a cost linear in the events."""
    # Sums around the mean, so that squares do not cancel.
    centre = jnp.mean(energy)
    shifted = energy - centre
    s1, s2 = shifted.sum() - shifted, (shifted**2).sum() - shifted**2
    n = energy.shape[0] - 1
    mean = s1 / n
    variance = jnp.clip(s2 / n - mean**2, 0.0) * n / (n - 1)
    return jnp.sqrt(variance) / (centre + mean)


def _ratio(s1: Array, s2: Array, n: int) -> Array:
    mean = s1 / n
    return jnp.sqrt(jnp.clip(s2 / n - mean**2, 0.0) * n / (n - 1)) / mean


def asimov_significance(
    signal: Scalar | float, background: Scalar | float, background_error: Scalar | float = 0.0
) -> Scalar:
    r"""Median significance of a discovery, for a counting experiment.

    $\sqrt{2[(s+b)\ln(1+s/b)-s]}$, and with an uncertainty $\sigma$ of the background
    $\sqrt{2\{(s+b)\ln\frac{(s+b)(b+\sigma^2)}{b^2+(s+b)\sigma^2}
    -\frac{b^2}{\sigma^2}\ln[1+\frac{\sigma^2 s}{b(b+\sigma^2)}]\}}$.

    Args:
        signal: Expected events, positive.
        background: Expected events, positive.
        background_error: Standard error of the background.

    Returns:
        In standard deviations.
    """
    s, b = jnp.asarray(signal, dtype=float), jnp.asarray(background, dtype=float)
    variance = jnp.asarray(background_error, dtype=float) ** 2
    plain = (s + b) * jnp.log1p(s / b) - s
    safe = jnp.where(variance > 0.0, variance, 1.0)
    known = (s + b) * jnp.log((s + b) * (b + safe) / (b**2 + (s + b) * safe))
    known -= b**2 / safe * jnp.log1p(safe * s / (b * (b + safe)))
    return jnp.sqrt(2.0 * jnp.where(variance > 0.0, known, plain))


def poisson_information(
    rates: Float[Array, " bin"], derivative: Float[Array, "bin param"]
) -> Float[Array, "param param"]:
    r"""Fisher information of Poisson counts, $\sum_i\partial_a\nu_i\,\partial_b\nu_i/\nu_i$.

    Args:
        rates: Expected counts, positive.
        derivative: Of each, by the parameters of interest.

    Returns:
        The information matrix.
    """
    return derivative.T @ (derivative / rates[:, None])


def containment(
    deposited: Float[Array, "event layer"], available: Float[Array, " event"]
) -> Scalar:
    """Mean share of an event's energy that stays in the detector.

    Args:
        deposited: Energy by layer.
        available: Energy of each event.

    Returns:
        The share.
    """
    return jnp.mean(deposited.sum(axis=1) / available)


def soft_excess(value: Scalar, limit: float, scale: float) -> Scalar:
    r"""A smooth penalty for exceeding a limit, $\mathrm{scale}\,\ln(1+e^{(v-l)/\mathrm{scale}})$.

    Args:
        value: What is limited: a cost, say.
        limit: The limit.
        scale: Over which it sets in, in the unit of the value; within it the penalty is up to
            0.69 of it off the hard one.

    Returns:
        The excess, in the unit of the value.

    Raises:
        ConfigError: The scale is not positive.
    """
    require(scale > 0.0, "scale", "be positive", scale)
    return scale * jnp.logaddexp(0.0, (value - limit) / scale)
