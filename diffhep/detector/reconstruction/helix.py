r"""Helix fit of hits on cylinders: one chi-squared with the covariance of multiple scattering.

Reference:
    R. Fruhwirth, Nucl. Instrum. Meth. A 262, 444 (1987), for the equivalence with the Kalman
    filter; R. L. Gluckstern, Nucl. Instrum. Meth. 24, 381 (1963).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from diffhep.core.checks import as_integer, concrete, require, require_shape
from diffhep.core.typing import Scalar
from diffhep.detector.reconstruction.perigee import CURVATURE_PER_T_mm, at_radius, perigee
from diffhep.detector.reconstruction.small_matrices import cholesky, inverse, whiten
from diffhep.detector.scattering import highland_angle

__citations__ = ("doi:10.1016/0029-554X(63)90347-1", "doi:10.1016/0029-554X(75)90743-0")

_ABSENT_mm = 1e6
"""Error of a measurement that is not there."""

_MUON_GeV = 0.1056583755

_FEWEST_RADII = 3

_N_SEARCHES = 2
"""Searches of a fit: the first one finds where the scattering is to be taken."""


class Layers(NamedTuple):
    """Cylinders about the z axis, from the innermost out.

    Attributes:
        radius_mm: Their radii.
        resolution_mm: Errors along the azimuth and along z.
        thickness_x0: In radiation lengths, crossed at a right angle.
    """

    radius_mm: Float[Array, " layer"]
    resolution_mm: Float[Array, "layer 2"]
    thickness_x0: Float[Array, " layer"]


class HelixFit(NamedTuple):
    """A fitted helix.

    Attributes:
        param: Perigee parameters in mm and 1/GeV.
        covariance: Of the parameters.
        chi2: The minimum; two measurements a hit less five free.
    """

    param: Float[Array, "5"]
    covariance: Float[Array, "5 5"]
    chi2: Scalar


def through_layers(
    param: Float[Array, "5"],
    radius_mm: Float[Array, " layer"],
    field_T: Scalar,
    kink: Float[Array, "layer 2"],
) -> tuple[Float[Array, "layer 3"], Float[Array, "layer 3"]]:
    r"""A helix through cylinders that deflect it.

    Args:
        param: Perigee parameters before the first cylinder.
        radius_mm: Of the cylinders, from the innermost out.
        field_T: Field along z.
        kink: Angles of each cylinder, across the direction in azimuth and along the polar angle.

    Returns:
        Points in mm and $(\phi, \theta, q/p)$ there before the deflection.
    """

    def step(param, layer):
        radius, angle = layer
        point, momentum = at_radius(param, radius, field_T)
        turned = momentum.at[0].add(angle[0] / jnp.sin(momentum[1])).at[1].add(angle[1])
        return perigee(point, turned, field_T), (point, momentum)

    return jax.lax.scan(step, param, (radius_mm, kink))[1]


def helix_fit(
    position_mm: Float[Array, "layer 3"],
    layers: Layers,
    *,
    field_T: float | Scalar,
    alive: Bool[Array, " layer"] | None = None,
    mass_GeV: float = _MUON_GeV,
    n_steps: int = 5,
) -> HelixFit:
    r"""Fit a helix to the hits of one track; `vmap` it over tracks.

    $V = \mathrm{diag}\,\sigma^2 + K\Theta^2K^T$, where $K$ is the exact derivative of the crossings
    by the deflections in each layer and $\Theta$ their widths by Highland, both where a search
    starts. Two searches by Gauss and Newton, a fixed number of steps each: the first from a
    straight line in $(1, 1/r, r/2)$ for the azimuth and in $(1, r)$ for z, the second from where
    the first ends.

    Args:
        position_mm: Of the hits, on the layers.
        layers: The layers.
        field_T: Field along z; not zero.
        alive: Whether a layer has a hit; all by default. Every layer scatters. The first must have
            one, and there must be hits at three different radii: a parabola takes three points.
        mass_GeV: Of the particle; a muon's by default.
        n_steps: Steps of each search; the default leaves nothing to do.

    Returns:
        The fit.

    Raises:
        ConfigError: `n_steps` is no integer of at least 1, or the radii of hits are fewer than
            three; traced radii are not looked at.
        ShapeError: There is not one hit a layer.
    """
    n = layers.radius_mm.shape[0]
    require_shape(position_mm.shape == (n, 3), "position_mm", f"have {n} hits", position_mm.shape)
    n_steps = as_integer(n_steps, "n_steps", low=1)
    _require_radii(layers, alive)
    known = concrete(field_T)
    require(known is None or bool(known != 0.0), "field_T", "not be zero", known)
    alive = jnp.ones(n, bool) if alive is None else alive
    field = jnp.asarray(field_T, position_mm.dtype)
    radius = layers.radius_mm
    azimuth = jnp.arctan2(position_mm[:, 1], position_mm[:, 0])
    start = _line(azimuth, position_mm[:, 2], radius, field, alive)

    def residual(root, param):
        point, _ = through_layers(param, radius, field, jnp.zeros((n, 2), radius.dtype))
        turn = _wrapped(azimuth - jnp.arctan2(point[:, 1], point[:, 0]))
        r = jnp.stack([radius * turn, position_mm[:, 2] - point[:, 2]], axis=1)
        return whiten(root, jnp.where(alive[:, None], r, 0.0).ravel())

    def search(param, _):
        root = cholesky(_covariance(param, layers, field, alive, mass_GeV))

        def step(param, _):
            J, r = jax.jacfwd(residual, argnums=1)(root, param), residual(root, param)
            covariance = inverse(J.T @ J)
            return param - covariance @ (J.T @ r), covariance

        param, covariance = jax.lax.scan(step, param, None, length=n_steps)
        r = residual(root, param)
        return param, HelixFit(param, covariance[-1], r @ r)

    _, fit = jax.lax.scan(search, start, None, length=_N_SEARCHES)
    return jax.tree.map(lambda each: each[-1], fit)


def helix_covariance(
    param: Float[Array, "5"],
    layers: Layers,
    *,
    field_T: float | Scalar,
    mass_GeV: float = _MUON_GeV,
) -> Float[Array, "5 5"]:
    r"""Covariance that a helix fit of a track will have: what a layout of layers is worth.

    Differentiable by parameters, radii, resolutions, thickness and field.

    Args:
        param: Perigee parameters of the track.
        layers: The layers, all with a hit, at three different radii or more.
        field_T: Field along z.
        mass_GeV: Of the particle; a muon's by default.

    Returns:
        Of the perigee parameters.

    Raises:
        ConfigError: There are fewer radii; traced ones are not looked at.
    """
    _require_radii(layers, None)
    radius = layers.radius_mm
    field = jnp.asarray(field_T, radius.dtype)
    none = jnp.zeros((radius.shape[0], 2), radius.dtype)

    def seen(param):
        point, _ = through_layers(param, radius, field, none)
        return jnp.stack([radius * jnp.arctan2(point[:, 1], point[:, 0]), point[:, 2]], axis=1)

    V = _covariance(param, layers, field, jnp.ones(radius.shape[0], bool), mass_GeV)
    J = whiten(cholesky(V), jax.jacfwd(seen)(param).reshape(-1, 5))
    return inverse(J.T @ J)


def _require_radii(layers: Layers, alive: Array | None) -> None:
    """Three different radii, as far as they are known before the program runs."""
    radius, there = concrete(layers.radius_mm), None if alive is None else concrete(alive)
    if radius is None:
        return
    distinct = np.unique(radius if there is None else radius[there]).size
    rule = "have hits at three different radii or more"
    require(distinct >= _FEWEST_RADII, "layers", rule, distinct)


def _wrapped(angle: Array) -> Array:
    """Within half a turn."""
    return jnp.mod(angle + jnp.pi, 2.0 * jnp.pi) - jnp.pi


def _line(azimuth: Array, z: Array, radius: Array, field: Scalar, alive: Array) -> Array:
    """Parameters near the minimum, by linear least squares."""
    there = alive.astype(radius.dtype)

    def solve(columns, values):
        return inverse((columns * there) @ columns.T) @ (columns @ (there * values))

    ones = jnp.ones_like(radius)
    turn = _wrapped(azimuth - azimuth[0])
    phi, d0, k = solve(jnp.stack([ones, 1.0 / radius, 0.5 * radius]), turn)
    z0, cotangent = solve(jnp.stack([ones, radius]), z)
    theta = jnp.arctan2(ones[0], cotangent)
    charge_over_p = -k * jnp.sin(theta) / (CURVATURE_PER_T_mm * field)
    return jnp.stack([d0, z0, phi + azimuth[0], theta, charge_over_p])


def _covariance(
    param: Array, layers: Layers, field: Scalar, alive: Array, mass_GeV: float
) -> Float[Array, "seen seen"]:
    """Of the measured azimuths, as lengths, and z, two a layer."""
    n = layers.radius_mm.shape[0]

    def seen(kink):
        point, momentum = through_layers(param, layers.radius_mm, field, kink)
        azimuth = jnp.arctan2(point[:, 1], point[:, 0])
        return jnp.stack([layers.radius_mm * azimuth, point[:, 2]], axis=1), (azimuth, momentum)

    moved, (azimuth, momentum) = jax.jacfwd(seen, has_aux=True)(jnp.zeros((n, 2), field.dtype))
    angle = scattering_angles(azimuth, momentum, layers.thickness_x0, mass_GeV)
    K = moved.reshape(2 * n, 2 * n) * jnp.repeat(angle, 2)
    sigma = jnp.where(alive[:, None], layers.resolution_mm, _ABSENT_mm)
    return jnp.diag(sigma.ravel() ** 2) + K @ K.T


def scattering_angles(
    azimuth: Float[Array, "*layer"],
    momentum: Float[Array, "*layer 3"],
    thickness_x0: Float[Array, "*layer"],
    mass_GeV: float | Scalar,
) -> Float[Array, "*layer"]:
    r"""Widths of the deflections where a helix crosses cylinders.

    Args:
        azimuth: Of the points.
        momentum: $(\phi, \theta, q/p)$ there.
        thickness_x0: Of the cylinders at a right angle.
        mass_GeV: Of the particle.

    Returns:
        In rad, for a path longer by the angle to the cylinder's normal.
    """
    phi, theta, charge_over_p = momentum[..., 0], momentum[..., 1], momentum[..., 2]
    cosine = jnp.sin(theta) * jnp.abs(jnp.cos(phi - azimuth))
    p = 1.0 / jnp.abs(charge_over_p)
    beta = p / jnp.sqrt(p**2 + mass_GeV**2)
    return highland_angle(p, beta, thickness_x0 / cosine)
