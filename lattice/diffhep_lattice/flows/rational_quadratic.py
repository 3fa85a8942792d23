r"""Monotone rational-quadratic splines with parameters of their own at every element.

The bin axis comes first: widths and heights (bin, *shape), slopes (bin + 1, *shape) at the knots.
Within a bin of width $w$ and height $h$, $\xi\in[0,1]$ across it, $s = h/w$, slopes $d_0, d_1$:

$y = y_0 + h\,\frac{s\xi^2 + d_0\xi(1-\xi)}{s + (d_0+d_1-2s)\,\xi(1-\xi)}$.

Beyond the last knot the map goes on as a straight line with the last slope. The maps here begin at
the origin; their users make them odd.

Reference:
    C. Durkan, A. Bekasov, I. Murray, G. Papamakarios, arXiv:1906.04032.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float


class Spline(NamedTuple):
    """Widths and heights of the bins and slopes at the knots, all positive."""

    widths: Float[Array, "bin *shape"]
    heights: Float[Array, "bin *shape"]
    slopes: Float[Array, "knot *shape"]


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
    edges = jnp.cumsum(spline.widths, axis=0)
    here = _select(x, edges, spline, jnp.cumsum(spline.heights, axis=0))
    s = here.height / here.width
    xi = jnp.clip((x - here.start) / here.width, 0.0, 1.0)
    y = here.start_image + _rise(xi, s, here)
    beyond = x > edges[-1]
    y = jnp.where(beyond, y + (x - edges[-1]) * spline.slopes[-1], y)
    log_slope = jnp.where(beyond, jnp.log(spline.slopes[-1]), _log_slope(xi, s, here))
    return y, log_slope


def inverse_and_log_slope(
    y: Float[Array, "*shape"], spline: Spline
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """The preimage of y >= 0 and the logarithm of the slope of the inverse map there."""
    edges = jnp.cumsum(spline.heights, axis=0)
    swapped = Spline(spline.heights, spline.widths, spline.slopes)
    # Selecting in the image gives the same bin with the roles of both axes exchanged.
    found = _select(y, edges, swapped, jnp.cumsum(spline.widths, axis=0))
    here = _Bin(
        found.start_image, found.start, found.height, found.width, found.slope, found.next_slope
    )
    s = here.height / here.width
    eta = jnp.clip((y - here.start_image) / here.height, 0.0, 1.0)
    # eta (s + c xi(1-xi)) = s xi^2 + d0 xi(1-xi) with c = d0 + d1 - 2 s, solved in the form that
    # does not cancel.
    c = here.slope + here.next_slope - 2 * s
    a = s - here.slope + eta * c
    b = here.slope - eta * c
    root = jnp.sqrt(jnp.maximum(b * b + 4 * a * s * eta, 0.0))
    xi = jnp.clip(2 * s * eta / (b + root), 0.0, 1.0)
    x = here.start + xi * here.width
    beyond = y > edges[-1]
    x = jnp.where(beyond, x + (y - edges[-1]) / spline.slopes[-1], x)
    log_slope = jnp.where(beyond, jnp.log(spline.slopes[-1]), _log_slope(xi, s, here))
    return x, -log_slope


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


def _select(
    x: Float[Array, "*shape"],
    edges: Float[Array, "bin *shape"],
    spline: Spline,
    images: Float[Array, "bin *shape"],
) -> _Bin:
    """The bin of each element, by a sum over a one-hot mask: gathers are slow on a CPU."""
    passed = x >= edges[:-1]
    always, never = jnp.ones_like(passed[:1]), jnp.zeros_like(passed[:1])
    entered, left = jnp.concatenate([always, passed]), jnp.concatenate([passed, never])
    chosen = entered & ~left

    def pick(values: Float[Array, "bin *shape"]) -> Float[Array, "*shape"]:
        return jnp.sum(jnp.where(chosen, values, 0.0), axis=0)

    width, height = pick(spline.widths), pick(spline.heights)
    return _Bin(
        start=pick(edges) - width,
        start_image=pick(images) - height,
        width=width,
        height=height,
        slope=pick(spline.slopes[:-1]),
        next_slope=pick(spline.slopes[1:]),
    )
