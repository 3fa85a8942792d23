r"""Monotone rational-quadratic splines with parameters of their own at every element.

The bin axis comes first: widths and heights (bin, *shape), slopes (bin + 1, *shape) at the knots.
Slopes are given raw and made positive by `positive`, after the two that matter have been selected.
Within a bin of width $w$ and height $h$, $\xi\in[0,1]$ across it, $s = h/w$, slopes $d_0, d_1$:

$y = y_0 + h\,\frac{s\xi^2 + d_0\xi(1-\xi)}{s + (d_0+d_1-2s)\,\xi(1-\xi)}$.

Beyond the last knot the map goes on as a straight line with the last slope. The maps here begin at
the origin; their users make them odd.

Reference:
    C. Durkan, A. Bekasov, I. Murray, G. Papamakarios, arXiv:1906.04032.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

__citations__ = ("arXiv:1906.04032",)

_LEAST = 1e-3
"""The smallest value of `positive`."""

# softplus(_SOFTPLUS_ZERO) + _LEAST = 1; a Python float, which does not promote single precision.
_SOFTPLUS_ZERO = math.log(math.expm1(1.0 - _LEAST))


def positive(raw: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """A smooth map of the real line to numbers above 1e-3, with the image 1 at 0."""
    return _LEAST + jax.nn.softplus(raw + _SOFTPLUS_ZERO)


class Spline(NamedTuple):
    """Widths and heights of the bins, positive, and raw slopes at the knots.

    They may broadcast against the elements: with axes of length one a spline is the same for all.
    """

    widths: Float[Array, "bin *shape"]
    heights: Float[Array, "bin *shape"]
    raw_slopes: Float[Array, "knot *shape"]


class _Bin(NamedTuple):
    """The bin that each element falls into."""

    start: Float[Array, "*shape"]
    start_image: Float[Array, "*shape"]
    width: Float[Array, "*shape"]
    height: Float[Array, "*shape"]
    slope: Float[Array, "*shape"]
    next_slope: Float[Array, "*shape"]


def forward_and_log_slope(
    x: Float[Array, "*shape"], spline: Spline
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """The image of x >= 0 and the logarithm of the slope there."""
    here, end = _select(x, spline)
    s = here.height / here.width
    xi = _inside((x - here.start) / here.width)
    y = here.start_image + _rise(xi, s, here)
    beyond = x > end
    y = jnp.where(beyond, y + (x - end) * here.next_slope, y)
    log_slope = jnp.where(beyond, jnp.log(here.next_slope), _log_slope(xi, s, here))
    return y, log_slope


def inverse_and_log_slope(
    y: Float[Array, "*shape"], spline: Spline
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """The preimage of y >= 0 and the logarithm of the slope of the inverse map there."""
    # Selecting in the image gives the same bin with the roles of both axes exchanged.
    found, end = _select(y, Spline(spline.heights, spline.widths, spline.raw_slopes))
    here = _Bin(
        found.start_image, found.start, found.height, found.width, found.slope, found.next_slope
    )
    s = here.height / here.width
    eta = _inside((y - here.start_image) / here.height)
    # A quadratic equation in xi. From whichever end its root has no difference of like numbers.
    low, high = here.slope * (1 - eta), here.next_slope * eta
    root = jnp.sqrt((low - high) ** 2 + 4 * s * s * eta * (1 - eta))
    from_end = high > low
    near = 2 * s * jnp.where(from_end, 1 - eta, eta)
    part = near / (near + jnp.where(from_end, high - low, low - high) + root)
    xi = jnp.where(from_end, 1 - part, part)
    x = here.start + xi * here.width
    beyond = y > end
    x = jnp.where(beyond, x + (y - end) / here.next_slope, x)
    log_slope = jnp.where(beyond, jnp.log(here.next_slope), _log_slope(xi, s, here))
    return x, -log_slope


def _inside(part: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Clipped to [0, 1]; at the very ends, zero above all, `jnp.clip` has half the derivative."""
    return jnp.where(part < 0.0, 0.0, jnp.where(part > 1.0, 1.0, part))


def _rise(
    xi: Float[Array, "*shape"], s: Float[Array, "*shape"], here: _Bin
) -> Float[Array, "*shape"]:
    across = xi * (1 - xi)
    bottom = s + (here.slope + here.next_slope - 2 * s) * across
    return here.height * (s * xi * xi + here.slope * across) / bottom


def _log_slope(
    xi: Float[Array, "*shape"], s: Float[Array, "*shape"], here: _Bin
) -> Float[Array, "*shape"]:
    across = xi * (1 - xi)
    bottom = s + (here.slope + here.next_slope - 2 * s) * across
    top = s * s * (here.next_slope * xi * xi + 2 * s * across + here.slope * (1 - xi) ** 2)
    return jnp.log(top / (bottom * bottom))


def _select(x: Float[Array, "*shape"], spline: Spline) -> tuple[_Bin, Float[Array, "*#shape"]]:
    """The bin of each element, the last one beyond the last knot, and where the last knot is.

    By sums over one-hot masks and a product with a triangular matrix: gathers and cumulative sums
    are slow on a CPU.
    """
    spline = jax.lax.optimization_barrier(spline)
    n = spline.widths.shape[0]
    up_to = jnp.tri(n, dtype=spline.widths.dtype)
    edges = jnp.tensordot(up_to, spline.widths, axes=1, precision="highest")
    passed = x >= edges[:-1]
    always, never = jnp.ones_like(x, bool)[None], jnp.zeros_like(x, bool)[None]
    left = jnp.concatenate([passed, never])
    chosen = jnp.concatenate([always, passed]) & ~left

    def pick(mask: Bool[Array, "bin *shape"], values: Float[Array, "bin *#shape"]) -> Array:
        return jnp.sum(jnp.where(mask, values, 0.0), axis=0)

    # The barriers keep XLA from computing the masks and the bins again inside every one of their
    # users, which costs time and many seconds of compilation.
    left, chosen = jax.lax.optimization_barrier((left, chosen))
    here = _Bin(
        start=pick(left, spline.widths),
        start_image=pick(left, spline.heights),
        width=pick(chosen, spline.widths),
        height=pick(chosen, spline.heights),
        slope=positive(pick(chosen, spline.raw_slopes[:-1])),
        next_slope=positive(pick(chosen, spline.raw_slopes[1:])),
    )
    return jax.lax.optimization_barrier(here), edges[-1]
