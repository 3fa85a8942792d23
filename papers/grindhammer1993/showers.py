"""Geant4's showers in both calorimeters, and what is compared: profiles, radii, resolutions."""

from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from diffhep.detector import Beam, Design, Parameter, materials, particles
from diffhep.detector.calorimeter import GflashCalorimeter
from diffhep.detector.geant4 import Geant4Simulator, SamplingStack, Showers, block
from diffhep.detector.showers import ShowerSample

RADIUS_SHARE = 0.68
"""Share of the energy inside the radius that is compared."""

SPREAD_X0 = 15.0
"""Depth of PbWO4 in which the resolution is compared: deeper, nothing is left to fluctuate."""

SYSTEMATIC = 0.003
"""Added to the errors of shares in a fit, in units of the largest: no law is better than this."""


@dataclass(frozen=True)
class Setup:
    """One of the two calorimeters, for Geant4 and for the parametrisation.

    Attributes:
        name: It, in tables.
        target: What Geant4 builds.
        seen: Number of the slab of a layer that is read out.
    """

    name: str
    target: SamplingStack
    seen: int

    @property
    def is_sampling(self) -> bool:
        """Whether there are gaps."""
        return len(self.target.materials) > 1

    @property
    def calorimeter(self) -> GflashCalorimeter:
        """The same by the parametrisation."""
        found = [materials.get(name) for name in self.target.materials]
        gap = found[1] if self.is_sampling else None
        return GflashCalorimeter(found[0], gap, self.target.n_layers)

    @property
    def design(self) -> Design:
        """Its thicknesses."""
        names = ("absorber_mm", "gap_mm")
        values = zip(names, self.target.thicknesses_mm, strict=False)
        return Design(**{name: Parameter(value, "mm", 0.0) for name, value in values})


SETUPS = (
    Setup("PbWO4", block("PbWO4", 240.3, 54, n_rings=60, ring_mm=2.0), 0),
    Setup("Pb/polystyrene", SamplingStack(("Pb", "polystyrene"), (2.0, 5.0), 60, 50, 5.0), 1),
)
"""27 radiation lengths of crystal in halves, 22 of a stack in layers; rings up to 6 and 7 R_M."""


class Observed(NamedTuple):
    """What is compared, with standard errors.

    Attributes:
        share: Share of the layers in the energy seen.
        share_error: Its error.
        inside: Share of the energy inside each ring's edge.
        inside_error: Its error.
        radius_mm: That holds 68 %.
        radius_error_mm: Its error.
        resolution: sigma/E of the energy seen, in PbWO4 of that in the first 15 X0.
        resolution_error: Its error.
        visible: Mean energy seen over the beam's.
    """

    share: np.ndarray
    share_error: np.ndarray
    inside: np.ndarray
    inside_error: np.ndarray
    radius_mm: float
    radius_error_mm: float
    resolution: float
    resolution_error: float
    visible: float


def simulate(setup: Setup, energy_GeV: float, n_events: int, seed: int) -> np.ndarray:
    """Geant4's energy in what is read out.

    Args:
        setup: The calorimeter.
        energy_GeV: Of the electrons.
        n_events: How many.
        seed: Of the events.

    Returns:
        MeV by event, layer and ring.
    """
    beam = Beam(particles.get("e-"), 1e3 * energy_GeV, n_events)
    showers = Geant4Simulator(setup.target)(beam, seed=seed)
    if not isinstance(showers, Showers):
        raise TypeError("A stack gives showers.")
    return showers.deposit_MeV[:, :, setup.seen].astype(float)


def observe(setup: Setup, energy_MeV: np.ndarray, beam_MeV: float) -> Observed:
    """What is compared, from events.

    Args:
        setup: The calorimeter.
        energy_MeV: By event, layer and ring.
        beam_MeV: Energy of the electrons.

    Returns:
        Means and their errors; those of ratios by the jackknife over events.
    """
    layers, rings = energy_MeV.sum(axis=2), energy_MeV.sum(axis=1)
    share, share_error = _jackknife(layers, lambda mean: mean / mean.sum())
    inside, inside_error = _jackknife(rings, lambda mean: np.cumsum(mean) / mean.sum())
    radius, radius_error = _jackknife(rings, lambda mean: np.array([_radius_mm(setup, mean)]))
    total = layers[:, : _n_seen(setup)].sum(axis=1)
    sigma = total.std(ddof=1) / total.mean()
    excess = np.mean((total - total.mean()) ** 4) / total.var() ** 2 - 1.0
    return Observed(
        share,
        share_error,
        inside,
        inside_error,
        float(radius[0]),
        float(radius_error[0]),
        float(sigma),
        float(sigma * np.sqrt(excess / (4 * total.size))),
        float(layers.sum(axis=1).mean() / beam_MeV),
    )


def _n_seen(setup: Setup) -> int:
    """Layers whose energy is summed for the resolution."""
    if setup.is_sampling:
        return setup.target.n_layers
    x0_mm = 10.0 * materials.get(setup.target.materials[0]).radiation_length_cm
    return round(SPREAD_X0 * x0_mm / setup.target.thicknesses_mm[0])


def _radius_mm(setup: Setup, by_ring: np.ndarray) -> float:
    """Radius that holds 68 %; within a ring the share grows as the square of the radius."""
    edges = setup.target.ring_mm * np.arange(by_ring.size + 1)
    inside = np.append(0.0, np.cumsum(by_ring)) / by_ring.sum()
    return float(np.sqrt(np.interp(RADIUS_SHARE, inside, edges**2)))


def _jackknife(rows: np.ndarray, function) -> tuple[np.ndarray, np.ndarray]:
    """A function of the mean row and its standard error."""
    n, total = len(rows), rows.sum(axis=0)
    without = np.array([function((total - row) / (n - 1)) for row in rows])
    return function(total / n), np.sqrt((n - 1) * without.var(axis=0))


def as_sample(setup: Setup, energy_MeV: np.ndarray, beam_MeV: float) -> ShowerSample:
    """The same events as what a fit takes.

    Args:
        setup: The calorimeter.
        energy_MeV: By event, layer and ring.
        beam_MeV: Energy of the electrons.

    Returns:
        Shares, spreads of the energy before each depth, radial distribution.
    """
    seen = observe(setup, energy_MeV, beam_MeV)
    calorimeter, n = setup.calorimeter, len(energy_MeV)
    medium = calorimeter.medium(setup.design)
    before = np.cumsum(energy_MeV.sum(axis=2), axis=1)
    spread = before.std(axis=0, ddof=1) / before[:, -1].mean()
    # Neighbouring sums are nearly the same number: every sixth is used, and with it the one that
    # the resolution is compared at.
    used = np.zeros(spread.size, dtype=bool)
    used[_n_seen(setup) - 1 :: -6] = True
    fourth = np.mean((before - before.mean(axis=0)) ** 4, axis=0) / before.var(axis=0) ** 2
    error = spread * np.sqrt(np.maximum(fourth - 1.0, 1.0) / (4 * n))
    floor = SYSTEMATIC * seen.share.max()
    edges = setup.target.ring_mm * np.arange(1, setup.target.n_rings + 1)
    return ShowerSample(
        medium,
        jnp.asarray(beam_MeV),
        jnp.asarray(calorimeter.absorber.critical_energy_MeV),
        calorimeter.edges_mm(setup.design) / medium.x0_mm,
        jnp.asarray(seen.share),
        jnp.asarray(np.hypot(seen.share_error, floor)),
        jnp.asarray(spread),
        jnp.asarray(np.where(used, error, np.inf)),
        jnp.asarray(edges) / medium.moliere_mm,
        jnp.asarray(seen.inside),
        jnp.asarray(np.hypot(seen.inside_error, SYSTEMATIC)),
    )
