r"""Tomography of a volume by the scattering of cosmic muons.

Muons cross panels above a volume of voxels, scatter in it by Highland's formula, and cross panels
below. Straight lines above and below meet nearly at one point; the angle between them and that
point say what the voxels' radiation lengths are. The chain is differentiable by positions, sizes,
resolutions and efficiencies of the panels, in the manner of TomOpt.

Reference:
    G. C. Strong et al., Mach. Learn. Sci. Tech. 5, 035002 (2024).
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.stats import norm
from jaxtyping import Array, Bool, Float

from diffhep.core.checks import as_integer, concrete, require, require_shape
from diffhep.core.typing import Key, Scalar
from diffhep.detector.scattering import SCALE_GeV, highland_angle

__citations__ = ("arXiv:2309.14027", "doi:10.1016/0029-554X(75)90743-0")

_LEAST_SHARE = 1e-5
"""Of a soft panel's resolution and efficiency far outside: errors stay finite."""

LONGEST_X0_mm = 1e7
"""Estimate of a voxel that shows no scattering."""

_MUON_GeV = 0.1056583755


class Muons(NamedTuple):
    """Straight lines: a point, the slopes, and the momentum.

    Attributes:
        xy_mm: Where they are at `z_mm`.
        slope: Of x and of y, by z.
        z_mm: Of the point.
        momentum_GeV: Of each.
    """

    xy_mm: Float[Array, "muon 2"]
    slope: Float[Array, "muon 2"]
    z_mm: Float[Array, " muon"]
    momentum_GeV: Float[Array, " muon"]

    def at(self, z_mm: Scalar) -> Float[Array, "muon 2"]:
        """Points at a height."""
        return self.xy_mm + self.slope * (z_mm - self.z_mm)[:, None]


class Panels(NamedTuple):
    """Rectangular panels across z that measure x and y.

    Attributes:
        centre_mm: Of each.
        span_mm: Widths along x and y.
        resolution_mm: Error of x and of y inside.
        efficiency: Inside, between 0 and 1.
    """

    centre_mm: Float[Array, "panel 3"]
    span_mm: Float[Array, "panel 2"]
    resolution_mm: Float[Array, " panel"]
    efficiency: Float[Array, " panel"]


class Voxels(eqx.Module):
    """A box of cubes of known size, from the origin to the positive side.

    Attributes:
        x0_mm: Radiation length of each.
        size_mm: Edge of a cube.

    Raises:
        ConfigError: The size or a radiation length is not positive.
    """

    x0_mm: Float[Array, "x y z"]
    size_mm: float = eqx.field(static=True)

    def __check_init__(self) -> None:
        require(self.size_mm > 0.0, "size_mm", "be positive", self.size_mm)
        known = concrete(self.x0_mm)
        if known is not None:
            good = bool(np.all(known > 0.0))
            require(good, "x0_mm", "be positive", float(known.min(initial=np.inf)))

    @property
    def top_mm(self) -> float:
        """Height of the box."""
        return self.size_mm * self.x0_mm.shape[2]


class Lines(NamedTuple):
    """Fitted lines of muons on one side.

    Attributes:
        at_origin_mm: x and y at z = 0.
        slope: Of x and of y, by z.
        covariance: Of both, along x and along y.
    """

    at_origin_mm: Float[Array, "muon 2"]
    slope: Float[Array, "muon 2"]
    covariance: Float[Array, "muon 2 2 2"]


class Scatters(NamedTuple):
    """What the lines of a muon say of its scattering.

    Attributes:
        point_mm: Nearest to both lines.
        point_error_mm: Its errors along the axes.
        angle2: Square of the angle between the lines.
        noise2: What the lines' errors alone make of it, on average.
        cosine: Mean cosine of the lines with z.
        weight: Probability that all panels saw the muon.
    """

    point_mm: Float[Array, "muon 3"]
    point_error_mm: Float[Array, "muon 3"]
    angle2: Float[Array, " muon"]
    noise2: Float[Array, " muon"]
    cosine: Float[Array, " muon"]
    weight: Float[Array, " muon"]


class X0Estimate(NamedTuple):
    """What is known of the voxels.

    Attributes:
        x0_mm: Radiation lengths.
        weight: Sum of the muons' weights in each.
    """

    x0_mm: Float[Array, "x y z"]
    weight: Float[Array, "x y z"]


def draw_muons(
    n: int,
    *,
    low_mm: tuple[float, float],
    high_mm: tuple[float, float],
    z_mm: float | Scalar,
    momentum_GeV: float | Scalar = 5.0,
    largest_angle: float = 1.2,
    key: Key,
) -> Muons:
    r"""Muons of one momentum from above, their zenith angle by $\cos^2\theta\,\sin\theta$.

    Args:
        n: How many.
        low_mm: Least x and y of their start.
        high_mm: Largest x and y.
        z_mm: Height of the start.
        momentum_GeV: Of all.
        largest_angle: From the vertical, rad.
        key: Random key.

    Returns:
        The muons.

    Raises:
        ConfigError: The momentum is not positive.
    """
    known = concrete(momentum_GeV)
    require(known is None or bool(known > 0.0), "momentum_GeV", "be positive", known)
    place, tilt, turn = jax.random.split(key, 3)
    low, high = jnp.asarray(low_mm), jnp.asarray(high_mm)
    xy = low + (high - low) * jax.random.uniform(place, (n, 2))
    least = jnp.cos(largest_angle) ** 3
    cosine = jnp.cbrt(least + (1.0 - least) * jax.random.uniform(tilt, (n,)))
    tangent = jnp.sqrt(1.0 - cosine**2) / cosine
    phi = 2.0 * jnp.pi * jax.random.uniform(turn, (n,))
    slope = -tangent[:, None] * jnp.stack([jnp.cos(phi), jnp.sin(phi)], axis=1)
    return Muons(xy, slope, jnp.full(n, z_mm), jnp.full(n, momentum_GeV))


def scatter(muons: Muons, voxels: Voxels, *, steps: int = 1, key: Key) -> Muons:
    r"""Send muons down through the voxels.

    In each step the angle of each plane has the width $\theta_s$ by which Highland's grows:
    $\theta_s^2=\theta_0^2(x+\Delta x)-\theta_0^2(x)$ with the radiation lengths $x$ crossed so far.
    His logarithm then belongs to the whole path, and steps of any length have its width in all. The
    displacement is $s\theta_s(z_1/\sqrt{12}+z_2/2)$ with $z_2$ that of the angle. Outside of the
    box nothing scatters.

    Args:
        muons: Above the box.
        voxels: The box.
        steps: In each layer of voxels.
        key: Random key.

    Returns:
        The muons at the bottom, z = 0.

    Raises:
        ConfigError: There is not one step.
    """
    steps = as_integer(steps, "steps", low=1)
    n_x, n_y, n_z = voxels.x0_mm.shape
    n, dz = n_z * steps, voxels.size_mm / steps
    noise = jax.random.normal(key, (n, 2, muons.z_mm.shape[0], 2))
    beta = muons.momentum_GeV / jnp.sqrt(muons.momentum_GeV**2 + _MUON_GeV**2)
    shape = jnp.array([n_x, n_y])

    def step(carry, given):
        (xy, slope, crossed), (index, (first, second)) = carry, given
        # The voxel at the middle of the step.
        cell = jnp.floor((xy - 0.5 * dz * slope) / voxels.size_mm).astype(int)
        inside = ((cell >= 0) & (cell < shape)).all(axis=1)
        i, j = jnp.clip(cell, 0, shape - 1).T
        x0 = voxels.x0_mm[i, j, n_z - 1 - index // steps]
        long = jnp.sqrt(1.0 + jnp.sum(slope**2, axis=1))
        behind = crossed + jnp.where(inside, dz * long / x0, 0.0)
        widths = (highland_angle(muons.momentum_GeV, beta, x) for x in (crossed, behind))
        before, after = (width**2 for width in widths)
        grown = after > before
        angle = jnp.where(grown, jnp.sqrt(jnp.where(grown, after - before, 1.0)), 0.0)[:, None]
        kick = _across(angle * second, slope, long)
        away = _across(angle * (first / jnp.sqrt(12.0) + 0.5 * second), slope, long)
        return (xy - dz * (slope + away), slope + kick, behind), None

    top = jnp.asarray(voxels.top_mm, muons.xy_mm.dtype)
    start = muons.at(top), muons.slope, jnp.zeros_like(muons.z_mm)
    (xy, slope, _), _ = jax.lax.scan(step, start, (jnp.arange(n), noise))
    return Muons(xy, slope, jnp.zeros_like(muons.z_mm), muons.momentum_GeV)


def _across(angles: Array, slope: Array, long: Array) -> Array:
    r"""Changes of slopes by small angles in the plane of the inclination and across it.

    A tilt by $\alpha$ in the plane changes the tangent by $\alpha(1+t^2)$, one across moves the
    direction sideways by $\alpha\sqrt{1+t^2}$.
    """
    steep2 = jnp.sum(slope**2, axis=1)
    flat = steep2 < 1e-12
    safe = jnp.sqrt(jnp.where(flat, 1.0, steep2))
    along = jnp.where(flat[:, None], jnp.array([1.0, 0.0]), slope / safe[:, None])
    sideways = jnp.stack([-along[:, 1], along[:, 0]], axis=1)
    return (angles[:, :1] * long[:, None] * along + angles[:, 1:] * sideways) * long[:, None]


def panel_share(
    panels: Panels, xy_mm: Float[Array, "panel muon 2"], softness: float | Scalar
) -> Float[Array, "panel muon 2"]:
    r"""How well a panel sees a point, along x and y, between 0 and 1.

    $\sigma((1-|\delta|)/s)/\sigma(1/s)$ with $\delta$ the distance from the centre in half spans;
    1 inside and 0 outside for $s=0$, the hard twin.

    Args:
        panels: The panels.
        xy_mm: Points.
        softness: $s$.

    Returns:
        The shares.
    """
    away = jnp.abs(xy_mm - panels.centre_mm[:, None, :2]) / (0.5 * panels.span_mm[:, None])
    hard = jnp.asarray(softness) == 0.0
    s = jnp.where(hard, 1.0, softness)
    soft = jax.nn.sigmoid((1.0 - away) / s) / jax.nn.sigmoid(1.0 / s)
    return jnp.where(hard, (away < 1.0).astype(soft.dtype), soft)


def fit_lines(
    panels: Panels, muons: Muons, *, softness: float | Scalar = 0.1, key: Key
) -> tuple[Lines, Float[Array, " muon"], Bool[Array, " muon"]]:
    r"""Hits of muons in panels, and straight lines through them by weighted least squares.

    A soft panel measures with the error $\sigma$ over its share; a hard one does not measure
    outside.

    Args:
        panels: At least two, on one side of the volume.
        muons: There.
        softness: Of the panels' edges, in half spans; 0 for hard ones.
        key: Random key.

    Returns:
        The lines; the probability that every panel saw the muon; whether at least two panels did.

    Raises:
        ShapeError: There are fewer than two panels.
    """
    n = panels.centre_mm.shape[0]
    require_shape(n >= 2, "panels", "be at least 2", n)
    z = panels.centre_mm[:, 2]
    true = jax.vmap(muons.at)(z)
    share = panel_share(panels, true, softness)
    seen = share.min(axis=-1) > _LEAST_SHARE
    error = panels.resolution_mm[:, None, None] / jnp.clip(share, _LEAST_SHARE)
    hit = true + error * jax.random.normal(key, true.shape)
    weight = jnp.where(seen[..., None], error**-2, 1e-12 * jnp.mean(panels.resolution_mm) ** -2)
    total = jnp.sum(weight, axis=0)
    mean_z = jnp.einsum("pmi,p->mi", weight, z) / total
    away = z[:, None, None] - mean_z
    spread = jnp.sum(weight * away**2, axis=0)
    slope = jnp.sum(weight * away * hit, axis=0) / spread
    middle = jnp.sum(weight * hit, axis=0) / total
    # Of the value at z = 0 and the slope, from those of the mean, which are independent.
    both = -mean_z / spread
    rows = [[1.0 / total + mean_z**2 / spread, both], [both, 1.0 / spread]]
    covariance = jnp.moveaxis(jnp.array(rows), (0, 1), (2, 3))
    probability = jnp.prod(panels.efficiency[:, None] * jnp.prod(share, axis=-1), axis=0)
    return Lines(middle - slope * mean_z, slope, covariance), probability, seen.sum(axis=0) >= 2


def nearest_points(above: Lines, below: Lines) -> Scatters:
    """Points of closest approach and angles of pairs of lines, with errors by propagation.

    Args:
        above: Lines before the volume.
        below: Lines behind it.

    Returns:
        The scatters, each of weight 1.
    """

    def of(unknowns):
        """Point and angle squared, from (x, y, tx, ty) of both lines."""
        p, q = unknowns[:2], unknowns[4:6]
        u = jnp.append(unknowns[2:4], 1.0)
        v = jnp.append(unknowns[6:8], 1.0)
        apart = jnp.append(p - q, 0.0)
        uu, uv, vv = u @ u, u @ v, v @ v
        normal = jnp.cross(u, v)
        det = jnp.clip(normal @ normal, 1e-14)
        s = (uv * (v @ apart) - vv * (u @ apart)) / det
        t = (uu * (v @ apart) - uv * (u @ apart)) / det
        point = 0.5 * (jnp.append(p, 0.0) + s * u + jnp.append(q, 0.0) + t * v)
        # The square of the sine: equal to the angle's up to its fourth power.
        return jnp.append(point, det / (uu * vv))

    def one(a, b):
        unknowns = jnp.concatenate([a.at_origin_mm, a.slope, b.at_origin_mm, b.slope])
        value, J = of(unknowns), jax.jacfwd(of)(unknowns)[:3]
        # By line, by value or slope, by axis; covariances by line, by axis.
        J = J.reshape(3, 2, 2, 2)
        both = jnp.stack([a.covariance, b.covariance])
        variance = jnp.einsum("klai,liab,klbi->k", J, both, J)
        # The metric of directions as a function of slopes.
        t = 0.5 * (a.slope + b.slope)
        long2 = 1.0 + t @ t
        noise = jnp.sum((1.0 - t**2 / long2) / long2 * jnp.sum(both[:, :, 1, 1], axis=0))
        return value, jnp.sqrt(variance), noise, 1.0 / jnp.sqrt(long2)

    value, error, noise, cosine = jax.vmap(one)(above, below)
    return Scatters(value[:, :3], error, value[:, 3], noise, cosine, jnp.ones(noise.shape))


def infer_x0(scatters: Scatters, momentum_GeV: Float[Array, " muon"], voxels: Voxels) -> X0Estimate:
    r"""Radiation lengths from the points of closest approach.

    $X_0 = (13.6\,\mathrm{MeV}/p)^2\,\delta z\,/\,[\tfrac12\langle\theta^2\rangle\cos\theta]$,
    Highland without his logarithm, with means over muons of $\theta^2$ less what the errors make
    of it. Their weights are the probability that the point lies in the voxel, the efficiency, and
    $1/(\epsilon^2+\bar\theta^2)^2$ with the noise $\epsilon^2$ and the median square of all angles.
    An angle's own size does not enter its weight: that would prefer the small ones. All of the
    scattering is given to one voxel.

    Cost: one product of matrices, muons by voxels; no array of both is kept.

    Args:
        scatters: The muons'.
        momentum_GeV: Theirs.
        voxels: Whose shape and size are used, not the radiation lengths.

    Returns:
        The estimate; `LONGEST_X0_mm` where nothing scatters.
    """
    n_x, n_y, n_z = voxels.x0_mm.shape
    in_x, in_y, in_z = (
        _within(scatters.point_mm[:, axis], scatters.point_error_mm[:, axis], n, voxels.size_mm)
        for axis, n in enumerate((n_x, n_y, n_z))
    )
    typical = jnp.median(scatters.angle2)
    weight = scatters.weight * (typical / (scatters.noise2 + typical)) ** 2
    angle2 = (scatters.angle2 - scatters.noise2) * momentum_GeV**2 * scatters.cosine
    values = jnp.stack([jnp.ones_like(weight), angle2], axis=1)
    n = weight.shape[0]
    columns = (in_x[:, :, None] * in_y[:, None, :]).reshape(n, -1)
    rows = ((weight[:, None] * values)[:, :, None] * in_z[:, None, :]).reshape(n, -1)
    sums = (columns.T @ rows).reshape(n_x, n_y, 2, n_z)
    total = sums[:, :, 0]
    # Where no muon points, nothing scatters as far as is known.
    mean = jnp.where(total > 0.0, sums[:, :, 1] / jnp.where(total > 0.0, total, 1.0), 0.0)
    density = mean / (2.0 * SCALE_GeV**2 * voxels.size_mm)
    return X0Estimate(1.0 / jnp.clip(density, 1.0 / LONGEST_X0_mm), total)


def _within(centre: Array, error: Array, n: int, size: float) -> Float[Array, "muon cell"]:
    """Probabilities of the cells along one axis."""
    edges = size * jnp.arange(n + 1)
    away = (edges - centre[:, None]) / jnp.clip(error, 1e-6 * size)[:, None]
    return jnp.diff(norm.cdf(away), axis=1)


def tomography(
    above: Panels,
    below: Panels,
    voxels: Voxels,
    muons: Muons,
    *,
    softness: float | Scalar = 0.1,
    steps: int = 1,
    key: Key,
) -> tuple[X0Estimate, Scatters]:
    """Muons through panels and voxels, and the radiation lengths that they show.

    Args:
        above: Panels above the box.
        below: Panels below it.
        voxels: The truth.
        muons: Above the box; their paths do not depend on the panels.
        softness: Of the panels' edges; 0 for the hard twin.
        steps: Of the scattering in each layer.
        key: Random key; with the same key nearby panels see the same muons and errors.

    Returns:
        The estimate, and the scatters behind it.
    """
    through, first, second = jax.random.split(key, 3)
    after = scatter(muons, voxels, steps=steps, key=through)
    lines_above, seen_above, good_above = fit_lines(above, muons, softness=softness, key=first)
    lines_below, seen_below, good_below = fit_lines(below, after, softness=softness, key=second)
    found = nearest_points(lines_above, lines_below)
    good = good_above & good_below
    found = found._replace(weight=jnp.where(good, seen_above * seen_below, 0.0))
    return infer_x0(found, muons.momentum_GeV, voxels), found
