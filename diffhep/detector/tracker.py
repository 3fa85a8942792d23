r"""A tracker of cylinders in a field along z.

Tracks are helices between the layers, exact; in each layer they scatter by Highland's formula and
lose their mean energy by ionisation. Hits are smeared by the resolution. With the same key they
are smooth functions of radii, resolutions, thickness and field.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from diffhep.core.checks import as_integer, concrete, require
from diffhep.core.typing import Key, Scalar
from diffhep.detector.base import AbstractDetector, Beam, Hits
from diffhep.detector.design import Design
from diffhep.detector.materials import Material, require_ionisation
from diffhep.detector.reconstruction.helix import Layers, scattering_angles
from diffhep.detector.reconstruction.perigee import at_radius, curvature, perigee

__citations__ = ("doi:10.1016/0029-554X(75)90743-0",)

_MEV = 1e-3


class _Crossing(NamedTuple):
    """Where a track meets a layer."""

    point: Float[Array, "3"]
    deposit_MeV: Scalar
    reached: Bool[Array, ""]


class BarrelTracker(AbstractDetector):
    """Cylinders about the z axis that measure azimuth and z.

    The design has `radius_mm`, ascending, one a layer; `resolution_mm`, the errors along azimuth
    and along z; `thickness_mm`, one number or one a layer.

    Attributes:
        material: Of the layers.
        field_T: Field along z.
        half_length_mm: Layers end at this distance from the centre.
        theta_range: Polar angles of the beam's particles, between which their cosines are uniform.
        spot_mm: Width of the origins around the centre along x and y, and along z.
        capacity: Places for hits of an event; more raise the overflow flag. None: one a layer.
        softness_mm: 0 for layers that end sharply. Otherwise hits beyond the end stay, with a
            deposit times the sigmoid of their distance from the end over this length: a smooth
            function of everything. The hard twin of a tracker is `tracker.hard()`.

    Raises:
        ConfigError: The length is not positive, the softness negative, or there is no place.
    """

    material: Material = eqx.field(static=True)
    field_T: Scalar = eqx.field(converter=jnp.asarray, default=2.0)
    half_length_mm: Scalar = eqx.field(converter=jnp.asarray, default=1000.0)
    theta_range: tuple[float, float] = eqx.field(static=True, default=(0.8, 2.3))
    spot_mm: tuple[float, float] = eqx.field(static=True, default=(0.1, 10.0))
    capacity: int | None = eqx.field(static=True, default=None)
    softness_mm: float = eqx.field(static=True, default=0.0)

    def __check_init__(self) -> None:
        require(self.softness_mm >= 0.0, "softness_mm", "not be negative", self.softness_mm)
        if self.capacity is not None:
            as_integer(self.capacity, "capacity", low=1)

    def hard(self) -> "BarrelTracker":
        """The same tracker with layers that end sharply."""
        return BarrelTracker(
            self.material,
            self.field_T,
            self.half_length_mm,
            self.theta_range,
            self.spot_mm,
            self.capacity,
        )

    def layers(self, design: Design) -> Layers:
        """What a fit needs to know of a design.

        Args:
            design: Radii, resolutions and thickness.

        Returns:
            The layers.
        """
        radius = design["radius_mm"]
        resolution = jnp.broadcast_to(design["resolution_mm"], (radius.shape[0], 2))
        x0 = design["thickness_mm"] / (10.0 * self.material.radiation_length_cm)
        return Layers(radius, resolution, jnp.broadcast_to(x0, radius.shape))

    def tracks(self, beam: Beam, *, key: Key) -> Float[Array, "event 5"]:
        """Perigee parameters of the particles that `simulate` sends with the same key.

        Args:
            beam: What is sent.
            key: Random key.

        Returns:
            In mm and 1/GeV.
        """
        origin, direction = jax.random.split(jax.random.split(key)[0])
        n = beam.n_events
        width = jnp.array([self.spot_mm[0], self.spot_mm[0], self.spot_mm[1]])
        point = width * jax.random.normal(origin, (n, 3))
        low, high = (jnp.cos(jnp.asarray(edge)) for edge in self.theta_range)
        uniform = jax.random.uniform(direction, (n, 2))
        theta = jnp.arccos(low + (high - low) * uniform[:, 0])
        p = beam.particle.momentum_MeV(jnp.asarray(beam.energy_MeV)) * _MEV
        charge_over_p = jnp.full(n, beam.particle.charge / p)
        phi = jnp.pi * (2.0 * uniform[:, 1] - 1.0)
        momentum = jnp.stack([phi, theta, charge_over_p], axis=1)
        return jax.vmap(perigee, in_axes=(0, 0, None))(point, momentum, self.field_T)

    def simulate(self, design: Design, beam: Beam, *, key: Key) -> Hits:
        """Hits of charged particles from near the centre, from the innermost layer out.

        Args:
            design: Radii, resolutions and thickness.
            beam: What is sent.
            key: Random key; with the same key nearby designs see the same random numbers.

        Returns:
            The hits; a track that curls up before a layer has none there and beyond. One that
            would lose more than half of its energy in a layer stops there and leaves all of it.

        Raises:
            ConfigError: The particle is neutral or an electron, or too slow for the formula of
                its losses; radii do not rise, a layer has a thickness below zero, or two overlap.
        """
        require_ionisation(beam.particle, beam.energy_MeV, "beam.energy_MeV")
        _require_layers(design)
        layers = self.layers(design)
        n = layers.radius_mm.shape[0]
        scatter, smear = jax.random.split(jax.random.split(key)[1])
        kink = jax.random.normal(scatter, (beam.n_events, n, 2))
        error = layers.resolution_mm * jax.random.normal(smear, (beam.n_events, n, 2))
        density = self.material.density * jnp.broadcast_to(design["thickness_mm"] / 10.0, (n,))

        def event(param, kink, error):
            def step(carry, layer):
                return self._cross(beam, carry, layer)

            carry = param, jnp.asarray(True)
            given = layers.radius_mm, layers.thickness_x0, density, kink
            _, found = jax.lax.scan(step, carry, given)
            return self._hits(found, layers.radius_mm, error)

        return jax.vmap(event)(self.tracks(beam, key=key), kink, error)

    def _cross(self, beam: Beam, carry: tuple, layer: tuple) -> tuple[tuple, _Crossing]:
        """Through one layer: the perigee behind it, and where it was met."""
        (param, arrived), (radius, x0, density, kink) = carry, layer
        reached = arrived & _reaches(param, radius, self.field_T)
        # A track that does not arrive is replaced by one that does, so that nothing is infinite.
        other = jnp.array([0.0, 0.0, 0.0, 0.5 * jnp.pi, 0.0]).at[4].set(param[4])
        weak = jnp.where(reached, self.field_T, 0.0)
        point, momentum = at_radius(jnp.where(reached, param, other), radius, weak)
        azimuth = jnp.arctan2(point[1], point[0])
        mass = beam.particle.mass_MeV * _MEV
        cosine = jnp.sin(momentum[1]) * jnp.abs(jnp.cos(momentum[0] - azimuth))
        p = 1.0 / jnp.abs(momentum[2])
        energy = jnp.sqrt(p**2 + mass**2)
        kinetic = jnp.clip((energy - mass) / _MEV, 1.0)
        power = self.material.stopping_power(beam.particle, kinetic)
        loss = power * density / cosine
        stops = loss > 0.5 * kinetic
        after = energy - jnp.where(stops, 0.5 * kinetic, loss) * _MEV
        slow = p / jnp.sqrt(jnp.clip(after**2 - mass**2, (1e-3 * p) ** 2))
        angle = kink * scattering_angles(azimuth, momentum, x0, mass)
        turn = jnp.stack([angle[0] / jnp.sin(momentum[1]), angle[1], momentum[2] * (slow - 1.0)])
        behind = perigee(point, momentum + turn, weak)
        crossing = _Crossing(point, jnp.where(stops, kinetic, loss), reached)
        return (jnp.where(reached, behind, param), reached & ~stops), crossing

    def _hits(self, found: _Crossing, radius: Array, error: Array) -> Hits:
        """Smeared hits of one event in their places."""
        x, y, z = found.point.T
        azimuth = jnp.arctan2(y, x) + error[:, 0] / radius
        position = [radius * jnp.cos(azimuth), radius * jnp.sin(azimuth), z + error[:, 1]]
        inside = self.half_length_mm - jnp.abs(z)
        soft = self.softness_mm > 0.0
        share = jax.nn.sigmoid(inside / self.softness_mm) if soft else jnp.ones_like(inside)
        alive = found.reached & ((inside > 0.0) | soft)
        n, capacity = radius.shape[0], self.capacity or radius.shape[0]
        kept = jnp.argsort(~alive, stable=True)[:capacity]
        there = alive[kept]
        return Hits(
            jnp.where(there, (found.deposit_MeV * share)[kept], 0.0),
            jnp.where(there[:, None], jnp.stack(position, axis=1)[kept], 0.0),
            jnp.where(there, jnp.arange(n)[kept], 0),
            there,
            jnp.sum(alive) > capacity,
        )


def _reaches(param: Array, radius: Scalar, field_T: Scalar) -> Bool[Array, ""]:
    """Whether a helix crosses a cylinder."""
    k = curvature(param[3], param[4], field_T)
    squared = (radius**2 - param[0] ** 2) / (1.0 + k * param[0])
    return (squared > 0.0) & (k**2 * squared < 4.0)


def _require_layers(design: Design) -> None:
    """Layers that follow one another, as far as they are known before the program runs."""
    radius, thickness = concrete(design["radius_mm"]), concrete(design["thickness_mm"])
    if thickness is not None:
        good = bool(np.all(thickness >= 0.0))
        require(good, "thickness_mm", "not be below zero", thickness.tolist())
    if radius is not None:
        good = bool(np.all(np.diff(radius, prepend=0.0) > 0.0))
        require(good, "radius_mm", "be above zero and ascending", radius.tolist())
        if thickness is not None:
            thick = np.broadcast_to(thickness, radius.shape)
            apart = np.diff(radius) >= 0.5 * (thick[1:] + thick[:-1])
            require(bool(np.all(apart)), "radius_mm", "leave layers apart", radius.tolist())
