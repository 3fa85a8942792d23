"""Electromagnetic calorimeters by the parametrised shower of Grindhammer and Peters (GFLASH)."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffhep.core.checks import concrete, require, require_counts
from diffhep.core.typing import Key
from diffhep.detector.base import AbstractDetector, Beam, Hits
from diffhep.detector.design import Design
from diffhep.detector.materials import Material
from diffhep.detector.showers import (
    GflashParameters,
    Medium,
    ShowerLaw,
    ShowerShape,
    draw_shape,
    homogeneous_medium,
    longitudinal_cdf,
    mean_longitudinal_cdf,
    radial_law,
    sample_radius,
    sampling_medium,
    sampling_term,
    shower_law,
    visible_fraction,
)
from diffhep.detector.showers.profiles import require_energy, shower_depth

__citations__ = ("arXiv:hep-ex/0001020",)

LEAST_MEV = 1e-9
"""Below, a layer has no energy whose fluctuation could be drawn."""


class LayerEnergy(NamedTuple):
    """Energy by layer.

    Attributes:
        deposit_MeV: All of it.
        visible_MeV: What the gaps see; all in a homogeneous calorimeter.
    """

    deposit_MeV: Float[Array, "*event layer"]
    visible_MeV: Float[Array, "*event layer"]


class GflashCalorimeter(AbstractDetector):
    r"""Equal layers of absorber and gap, or of one material, hit at a right angle by electrons.

    A design has `absorber_mm` and, where there are gaps, `gap_mm`: the thickness of each in all
    layers. Every draw is a smooth function of the design but for the number of spots and which
    part of the radial law a spot belongs to, so that derivatives along the path are those of the
    mean of anything linear in the spots, and of anything at all in the energies by layer.

    Attributes:
        absorber: What showers.
        gap: What is read out; None in a homogeneous calorimeter.
        n_layers: How many layers.
        parameters: Of the shower's law.
        spots_per_layer: Places for spots in a layer.

    Raises:
        ConfigError: A count is not positive.
    """

    absorber: Material = eqx.field(static=True)
    gap: Material | None = eqx.field(static=True)
    n_layers: int = eqx.field(static=True)
    parameters: GflashParameters = eqx.field(default_factory=GflashParameters)
    spots_per_layer: int = eqx.field(static=True, default=32)

    def __check_init__(self) -> None:
        require_counts(self, 1, "n_layers", "spots_per_layer")

    def medium(self, design: Design) -> Medium:
        """What a shower sees of a design.

        Args:
            design: With `absorber_mm`, and `gap_mm` where there are gaps.

        Returns:
            The medium.

        Raises:
            ConfigError: A parameter is missing, or a thickness is not positive.
        """
        if self.gap is None:
            known = concrete(design["absorber_mm"])
            good = known is None or bool(known > 0.0)
            require(good, "absorber_mm", "be positive", known)
            return homogeneous_medium(self.absorber)
        return sampling_medium(self.absorber, self.gap, design["absorber_mm"], design["gap_mm"])

    def edges_mm(self, design: Design) -> Float[Array, " edge"]:
        """Where the layers begin and end.

        Args:
            design: The thicknesses.

        Returns:
            Depths, one more than there are layers.
        """
        pitch = design["absorber_mm"] + (0.0 if self.gap is None else design["gap_mm"])
        return pitch * jnp.arange(self.n_layers + 1)

    def mean_energy(self, design: Design, energy_MeV: Float[Array, ""] | float) -> LayerEnergy:
        """Mean energy by layer, by quadrature over the showers.

        Args:
            design: The thicknesses.
            energy_MeV: Of the electron.

        Returns:
            The means.

        Raises:
            ConfigError: The energy is known and out of the range of the shower's law.
        """
        medium = self.medium(design)
        law = shower_law(self.parameters, medium, energy_MeV)
        before = mean_longitudinal_cdf(law, self.edges_mm(design) / medium.x0_mm)
        deposit = energy_MeV * jnp.diff(before)
        return LayerEnergy(deposit, visible_fraction(self.parameters, medium) * deposit)

    def sample_energy(self, design: Design, beam: Beam, *, key: Key) -> LayerEnergy:
        """Energy by event and layer: profiles fluctuate, and in the gaps what they see of them.

        Args:
            design: The thicknesses.
            beam: Electrons.
            key: Random key; nearby designs with one key see the same showers.

        Returns:
            The energies.

        Raises:
            ConfigError: As `simulate`.
        """
        medium, law = self._prepare(design, beam)
        profile, noise = jax.random.split(key)
        _, energy = self._draw(design, beam, medium, law, profile, noise)
        return energy

    def simulate(self, design: Design, beam: Beam, *, key: Key) -> Hits:
        """Spots of energy around the shower's axis.

        The number of spots in a layer is that of the published law, rounded, at least one; all
        spots of a layer have the same energy and lie uniformly in its depth. Where a layer has more
        spots than places, the places share its energy and the event is flagged.

        Args:
            design: The thicknesses.
            beam: Electrons.
            key: Random key.

        Returns:
            The spots; energies are those that the gaps see.

        Raises:
            ConfigError: The particle is no electron, or the energy is out of the range of the
                shower's law.
        """
        medium, law = self._prepare(design, beam)
        profile, noise, radius_key, angle_key, depth_key = jax.random.split(key, 5)
        shape, energy = self._draw(design, beam, medium, law, profile, noise)
        n_spots = self._count(design, beam, medium, shape)
        place = jnp.arange(self.spots_per_layer)
        taken = jnp.minimum(n_spots, self.spots_per_layer)
        alive = place < taken[..., None]
        size = alive.shape
        layer = jnp.broadcast_to(jnp.arange(self.n_layers)[:, None], size)
        each = jnp.where(alive, (energy.visible_MeV / taken)[..., None], 0.0)
        pitch = self.edges_mm(design)[1]
        z_mm = pitch * (layer + jax.random.uniform(depth_key, size))
        tau = shower_depth(law, shape.against(2), z_mm / medium.x0_mm)
        across = radial_law(self.parameters, medium, beam.energy_MeV, tau)
        radius_mm = medium.moliere_mm * sample_radius(across, key=radius_key)
        angle = 2.0 * jnp.pi * jax.random.uniform(angle_key, size)
        position = jnp.stack(
            [radius_mm * jnp.cos(angle), radius_mm * jnp.sin(angle), z_mm], axis=-1
        )
        n = beam.n_events
        return Hits(
            each.reshape(n, -1),
            position.reshape(n, -1, 3),
            layer.reshape(n, -1),
            alive.reshape(n, -1),
            jnp.any(n_spots > self.spots_per_layer, axis=1),
        )

    def _prepare(self, design: Design, beam: Beam) -> tuple[Medium, ShowerLaw]:
        """Medium and law, after the checks."""
        name = beam.particle.name
        require(name in ("e-", "e+"), "beam.particle", "be an electron or a positron", name)
        medium = self.medium(design)
        require_energy(medium, beam.energy_MeV)
        return medium, shower_law(self.parameters, medium, beam.energy_MeV)

    def _draw(
        self,
        design: Design,
        beam: Beam,
        medium: Medium,
        law: ShowerLaw,
        profile: Key,
        noise: Key,
    ) -> tuple[ShowerShape, LayerEnergy]:
        """Profiles of events and their energies by layer."""
        shape = draw_shape(law, jax.random.normal(profile, (2, beam.n_events)))
        before = longitudinal_cdf(shape.against(1), self.edges_mm(design) / medium.x0_mm)
        deposit = beam.energy_MeV * jnp.maximum(jnp.diff(before, axis=1), 0.0)
        if self.gap is None:
            return shape, LayerEnergy(deposit, deposit)
        # A gamma law of mean E and variance c^2 E in each layer adds up to the same over layers.
        c = sampling_term(self.parameters, medium, self.absorber.critical_energy_MeV)
        unit_MeV = 1e3 * c**2
        units = jnp.maximum(deposit, LEAST_MEV) / unit_MeV
        # Drawn as logarithms: a small number of units underflows else, and its derivative.
        fluctuated = unit_MeV * jnp.exp(log_gamma(units, key=noise))
        visible = visible_fraction(self.parameters, medium)
        return shape, LayerEnergy(deposit, visible * fluctuated)

    def _count(
        self, design: Design, beam: Beam, medium: Medium, shape: ShowerShape
    ) -> Float[Array, "event layer"]:
        """Spots by layer: a profile of its own, after the shower's."""
        energy_GeV = beam.energy_MeV / 1e3
        if self.gap is None:
            n_1, n_2, t_1, t_2, a_1, a_2 = self.parameters.spots
            number = n_1 * jnp.log(medium.z) * energy_GeV**n_2
        else:
            n_1, n_2, t_1, t_2, a_1, a_2 = self.parameters.sampling_spots
            c = sampling_term(self.parameters, medium, self.absorber.critical_energy_MeV)
            number = n_1 / c * energy_GeV**n_2
        alpha = jnp.maximum(shape.alpha * (a_1 + a_2 * medium.z), 1.1)
        depth = (shape.alpha - 1.0) / shape.beta * (t_1 + t_2 * medium.z)
        own = ShowerShape(alpha, (alpha - 1.0) / depth, jnp.zeros_like(shape.warp))
        before = longitudinal_cdf(own.against(1), self.edges_mm(design) / medium.x0_mm)
        expected = jax.lax.stop_gradient(number * jnp.diff(before, axis=1))
        return jnp.maximum(jnp.round(expected), 1.0)


def log_gamma(shape: Float[Array, "*any"], *, key: Key) -> Float[Array, "*any"]:
    """Logarithms of gamma variates: `jax.random.loggamma`, whose derivative is one for all at once.

    On a CPU JAX takes that derivative variate after variate, in thrice the time.

    Args:
        shape: Of each, positive.
        key: Random key.

    Returns:
        The logarithms, differentiable once in the shapes.
    """
    still = jax.lax.stop_gradient(shape)
    return _moved_by_shape(jax.lax.stop_gradient(jax.random.loggamma(key, still)), shape)


@jax.custom_jvp
def _moved_by_shape(log_variate: Array, shape: Array) -> Array:
    """The variate, known to move with its shape at a fixed quantile."""
    del shape
    return log_variate


@_moved_by_shape.defjvp
def _move(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    (log_variate, shape), (_, change) = primals, tangents
    dtype = log_variate.dtype
    # A small shape's variate may underflow; its logarithm does not.
    variate = jnp.maximum(jnp.exp(log_variate), np.finfo(dtype).tiny)
    slope = jax.lax.random_gamma_grad(  # pyright: ignore[reportCallIssue]  # its decorator's dtype
        shape.astype(dtype), variate
    )
    return log_variate, change.astype(dtype) * slope / variate


def energy_in_layers(
    hits: Hits, edges_mm: Float[Array, " edge"], *, softness_mm: float = 0.0
) -> Float[Array, "event layer"]:
    r"""Energy by layer of hits, with hard or soft boundaries.

    A hit at z belongs to a layer from a to b by $\sigma((z-a)/s) - \sigma((z-b)/s)$, which passes a
    derivative to the boundaries; with a softness of zero, the hard twin, by whether it lies inside,
    which passes none. The soft energies add up to no more than the hard ones, and tend to them as
    $s\to0$.

    Args:
        hits: Their third coordinate is the depth.
        edges_mm: Boundaries in depth, one more than there are layers.
        softness_mm: s.

    Returns:
        Energies in MeV.

    Raises:
        ConfigError: The softness is negative.
    """
    require(softness_mm >= 0.0, "softness_mm", "be at least 0", softness_mm)
    z = hits.position_mm[..., 2][..., None]
    if softness_mm > 0.0:
        beyond = jax.nn.sigmoid((z - edges_mm) / softness_mm)
    else:
        beyond = (z >= edges_mm).astype(z.dtype)
    share = beyond[..., :-1] - beyond[..., 1:]
    energy = jnp.where(hits.alive, hits.energy_MeV, 0.0)
    return jnp.sum(energy[..., None] * share, axis=1)
