"""What an input's past leaves behind: filtered rates, distances from reversals and extrema."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffhep.core.typing import Scalar

N_ODD = 12
"""Features that change their sign with the input."""

N_EVEN = 4
"""Features that do not, covariates apart."""

TURN = 3e-3
"""How far the input must go back, in units of its scale, to have turned."""

_SMOOTH = 0.1
"""Rate, in units of its scale, below which the root of the rate is a straight line."""

_STILL = 1e-2
"""Added to the mean rate under the logarithm, in units of the rate's scale."""

_ROOT_SAMPLES = (4.0, 12.0, 40.0)
"""Time constants of the filtered roots of the rate, in samples."""

_LAG_SAMPLES = (30.0, 150.0)
"""Time constants of the lagging inputs, in samples."""

_RATE_SAMPLES = 10.0
"""Time constant of the mean rate, in samples."""

# Distances are small parts of the input's scale: what brings them to order one.
_FROM_TURN, _FROM_CENTRE, _FROM_LAG = 3.0, 1.5, (7.5, 2.5)


class Memory(NamedTuple):
    """Features of the past, of order one.

    Attributes:
        odd: Change their sign with the input.
        even: Stay; the covariates are among them.
    """

    odd: Float[Array, "time odd"]
    even: Float[Array, "time even"]


class _Past(NamedTuple):
    """What a sample's features need of the samples before."""

    rate: Scalar
    smooth_rate: Scalar
    bend: Scalar
    roots: Float[Array, " root"]
    lags: Float[Array, " lag"]
    size: Scalar
    highest: Scalar
    lowest: Scalar
    rises: Scalar
    extreme: Scalar
    turn: Scalar
    turn_before: Scalar


def memory_features(inputs: Float[Array, "time channel"]) -> Memory:
    r"""Features of an input and its past, known along context and horizon.

    Odd ones: the input, its rate r and the rate's change, smoothed over a sample;
    $r/(r^2+\epsilon^2)^{1/4}$, about the rate's root, as it is and through three low-pass filters:
    relaxation; the distances from the last reversal, from the one before, from the centre of all
    that was reached, and from the input through two low-pass filters. Even ones: covariates, |u|,
    logarithm of the mean |r|, the range reached, and the distance from the last reversal.

    Cost: one scan.

    Args:
        inputs: Channels of `Scaling.inputs`: input, rate, covariates.

    Returns:
        The features.
    """
    u, rate, covariates = inputs[:, 0], inputs[:, 1], inputs[:, 2:]
    zero = jnp.zeros((), u.dtype)
    first = _Past(
        rate=rate[0],
        smooth_rate=rate[0],
        bend=zero,
        roots=jnp.full(len(_ROOT_SAMPLES), _root(rate[0]), u.dtype),
        lags=jnp.full(len(_LAG_SAMPLES), u[0], u.dtype),
        size=jnp.abs(rate[0]),
        highest=u[0],
        lowest=u[0],
        rises=jnp.ones((), bool),
        extreme=u[0],
        turn=u[0],
        turn_before=u[0],
    )
    _, (odd, even) = jax.lax.scan(_advance, first, (u, rate))
    return Memory(odd, jnp.concatenate([covariates, even], axis=1))


def _advance(past: _Past, at: tuple[Scalar, Scalar]) -> tuple[_Past, tuple[Array, Array]]:
    """The features of one sample."""
    u, rate = at
    smooth_rate = _filtered(past.smooth_rate, rate, 1.0)
    root = _root(smooth_rate)
    roots = _filtered(past.roots, root, jnp.asarray(_ROOT_SAMPLES, u.dtype))
    lags = _filtered(past.lags, u, jnp.asarray(_LAG_SAMPLES, u.dtype))
    highest, lowest = jnp.maximum(past.highest, u), jnp.minimum(past.lowest, u)
    extreme = jnp.where(past.rises, jnp.maximum(past.extreme, u), jnp.minimum(past.extreme, u))
    turned = jnp.abs(u - extreme) > TURN
    turn = jnp.where(turned, extreme, past.turn)
    now = _Past(
        rate=rate,
        smooth_rate=smooth_rate,
        bend=_filtered(past.bend, 2.0 * (rate - past.rate), 1.0),
        roots=roots,
        lags=lags,
        size=_filtered(past.size, jnp.abs(rate), _RATE_SAMPLES),
        highest=highest,
        lowest=lowest,
        rises=past.rises ^ turned,
        extreme=jnp.where(turned, u, extreme),
        turn=turn,
        turn_before=jnp.where(turned, past.turn, past.turn_before),
    )
    since = _FROM_TURN * (u - now.turn)
    odd = [
        jnp.stack([u, smooth_rate, root, now.bend]),
        roots,
        jnp.stack([since, _FROM_TURN * (u - now.turn_before)]),
        _FROM_CENTRE * jnp.stack([u - 0.5 * (highest + lowest)]),
        jnp.asarray(_FROM_LAG, u.dtype) * (u - lags),
    ]
    size = jnp.log(now.size + _STILL)
    spread = _FROM_CENTRE * (highest - lowest) - 1.0
    even = jnp.stack([jnp.abs(u) - 1.0, size, spread, jnp.abs(since) - 0.5])
    return now, (jnp.concatenate(odd), even)


def _root(rate: Scalar) -> Scalar:
    return rate / (rate**2 + _SMOOTH**2) ** 0.25


def _filtered(memory: Array, value: Array, samples: Array | float) -> Array:
    """A low-pass filter of first order, for a value held over a sample."""
    return memory - jnp.expm1(-1.0 / jnp.asarray(samples)).astype(memory.dtype) * (value - memory)
