r"""Perigee parameters of tracks: where a helix about the z axis passes the origin's axis.

The perigee is the point of the helix nearest to the z axis. Its parameters are

- $d_0$ in mm: the perigee lies at $d_0(-\sin\phi_0, \cos\phi_0)$,
- $z_0$ in mm: its coordinate along the axis,
- $\phi_0$, $\theta$: direction of the momentum there,
- $q/p$ in 1/GeV; absent in straight tracks, which have the first four.

Reference:
    P. Billoir and S. Qian, Nucl. Instrum. Meth. A 311, 139 (1992).
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from diffhep.core.typing import Scalar

CURVATURE_PER_T_mm = 2.99792458e-4
"""Curvature in 1/mm of a momentum of 1 GeV across a field of 1 T: the speed of light, exact."""

_SHORT = 1e-3
"""Below this angle its arctangent is taken from the series, so that no field is no exception."""


def curvature(
    theta: Float[Array, "*batch"], charge_over_p: Float[Array, "*batch"], field_T: Scalar
) -> Float[Array, "*batch"]:
    r"""$k = d\phi/ds = -cBq/(p\sin\theta)$ along the path across the field, 1/mm.

    Args:
        theta: Polar angle.
        charge_over_p: $q/p$ in 1/GeV.
        field_T: Field along z in T.

    Returns:
        The signed curvature; positive turns are anticlockwise.
    """
    return -CURVATURE_PER_T_mm * field_T * charge_over_p / jnp.sin(theta)


def perigee(
    point_mm: Float[Array, "3"], momentum: Float[Array, " momentum"], field_T: Scalar
) -> Float[Array, " param"]:
    r"""Perigee parameters of the helix through a point with a momentum.

    With $D = y\cos\phi - x\sin\phi$, $L = x\cos\phi + y\sin\phi$ and $T = 2D + k(x^2+y^2)$:
    $d_0 = T/(1+\sqrt{1+kT})$, $\phi_0 = \phi - ks$, $z_0 = z - s\cot\theta$ and
    $s = \arctan[kL/(1+kD)]/k$. Exact, also without a field, for points less than a quarter of a
    turn from the perigee.

    Args:
        point_mm: The point.
        momentum: $(\phi, \theta, q/p)$ at the point, $q/p$ in 1/GeV; or $(\phi, \theta)$ of a
            straight track.
        field_T: Field along z in T; without effect on a straight track.

    Returns:
        $(d_0, z_0, \phi_0, \theta, q/p)$, or the first four.
    """
    x, y, z = point_mm
    phi, theta = momentum[0], momentum[1]
    straight = momentum.shape[0] == 2
    k = jnp.zeros_like(phi) if straight else curvature(theta, momentum[2], field_T)
    cosine, sine = jnp.cos(phi), jnp.sin(phi)
    across, along = y * cosine - x * sine, x * cosine + y * sine
    twice = 2.0 * across + k * (x**2 + y**2)
    d0 = twice / (1.0 + jnp.sqrt(1.0 + k * twice))
    reach = along / (1.0 + k * across)
    path = reach * _arctan_ratio(k * reach)
    return jnp.stack([d0, z - path / jnp.tan(theta), phi - k * path, *momentum[1:]])


def _arctan_ratio(x: Scalar) -> Scalar:
    r"""$\arctan(x)/x$."""
    small = jnp.abs(x) < _SHORT
    safe = jnp.where(small, 1.0, x)
    return jnp.where(small, 1.0 - x**2 / 3.0 + x**4 / 5.0, jnp.arctan(safe) / safe)


def at_radius(
    param: Float[Array, " param"], radius_mm: Scalar, field_T: Scalar
) -> tuple[Float[Array, "3"], Float[Array, " momentum"]]:
    r"""Where a helix crosses a cylinder about the z axis on its way out.

    The chord $c$ from the perigee has $r^2 = d_0^2 + (1+kd_0)c^2$, the path is
    $s = \arcsin(kc/2)\,2/k$, and the chord's direction is $\phi_0 + ks/2$. Exact, also without a
    field; not a number where the helix does not reach the cylinder.

    Args:
        param: Perigee parameters, five or four.
        radius_mm: $r$ of the cylinder.
        field_T: Field along z in T.

    Returns:
        The point in mm, and $(\phi, \theta, q/p)$ or $(\phi, \theta)$ there.
    """
    d0, z0, phi0, theta = param[:4]
    straight = param.shape[0] == 4
    k = jnp.zeros_like(phi0) if straight else curvature(theta, param[4], field_T)
    chord = jnp.sqrt((radius_mm**2 - d0**2) / (1.0 + k * d0))
    half = 0.5 * k * chord
    path = chord * _arcsin_ratio(half)
    along = phi0 + 0.5 * k * path
    x = -d0 * jnp.sin(phi0) + chord * jnp.cos(along)
    y = d0 * jnp.cos(phi0) + chord * jnp.sin(along)
    point = jnp.stack([x, y, z0 + path / jnp.tan(theta)])
    return point, jnp.stack([phi0 + k * path, *param[3:]])


def _arcsin_ratio(x: Scalar) -> Scalar:
    r"""$\arcsin(x)/x$."""
    small = jnp.abs(x) < _SHORT
    safe = jnp.where(small, 0.5, x)
    return jnp.where(small, 1.0 + x**2 / 6.0 + 3.0 * x**4 / 40.0, jnp.arcsin(safe) / safe)
