"""What Geant4 is to build and to shoot at: stacks of slabs, blocks, slabs, and beams."""

import difflib
import math
from dataclasses import dataclass

from diffhep.core.checks import require, require_counts, require_positive
from diffhep.core.errors import ConfigError

NIST_NAMES = {
    "Al": "G4_Al",
    "Cu": "G4_Cu",
    "Fe": "G4_Fe",
    "LAr": "G4_lAr",
    "Pb": "G4_Pb",
    "PbWO4": "G4_PbWO4",
    "Si": "G4_Si",
    "W": "G4_W",
    "air": "G4_AIR",
    "polystyrene": "G4_POLYSTYRENE",
    "water": "G4_WATER",
}
"""Names of materials and what they are called in Geant4's catalogue."""

PARTICLES = ("e-", "e+", "gamma", "mu-", "mu+")
"""What electromagnetic physics alone can follow."""

WORLD_MM = 20_000.0
"""Deepest detector: no calorimeter comes near, a slip of a unit does."""

ENERGY_RANGE_MeV = (1.0, 100_000.0)
"""From a hundred times where the tables end, to where an event takes a minute."""


def nist_name(material: str) -> str:
    """What a material is called in Geant4.

    Args:
        material: A key of `NIST_NAMES`.

    Returns:
        The name in Geant4's catalogue.

    Raises:
        ConfigError: The material is unknown; the message has the nearest names.
    """
    if material not in NIST_NAMES:
        near = difflib.get_close_matches(str(material), NIST_NAMES, 3, cutoff=0.3)
        known = ", ".join(near or sorted(NIST_NAMES))
        raise ConfigError(
            f"Argument `material` must be one that Geant4 is set up for, but it is {material!r}; "
            f"near: {known}."
        )
    return NIST_NAMES[material]


@dataclass(frozen=True)
class Beam:
    """Particles that hit the middle of the front at a right angle.

    Attributes:
        particle: One of `PARTICLES`.
        energy_MeV: Kinetic energy.
    """

    particle: str
    energy_MeV: float

    def __post_init__(self) -> None:
        known = ", ".join(PARTICLES)
        require(self.particle in PARTICLES, "particle", f"be one of {known}", self.particle)
        low, high = ENERGY_RANGE_MeV
        rule = f"lie within the range of the simulation, {low:g} to {high:g} MeV"
        require(low <= self.energy_MeV <= high, "energy_MeV", rule, self.energy_MeV)


@dataclass(frozen=True)
class SamplingStack:
    """Equal layers, each of the same slabs one behind the other.

    With `n_rings` > 1 the stack is a cylinder of that many rings, and deposits beyond the last are
    lost; else it is a square.

    Attributes:
        materials: Of a layer's slabs, in the beam's direction.
        thicknesses_mm: Of the same.
        n_layers: How many layers.
        n_rings: Rings around the beam that are scored apart.
        ring_mm: Width of one.
        half_width_mm: Half the side of a square stack.
    """

    materials: tuple[str, ...]
    thicknesses_mm: tuple[float, ...]
    n_layers: int
    n_rings: int = 1
    ring_mm: float = 5.0
    half_width_mm: float = 500.0

    def __post_init__(self) -> None:
        for material in self.materials:
            nist_name(material)
        n = len(self.materials)
        require(n >= 1, "materials", "have at least one entry", self.materials)
        rule = f"have one entry for each of the {n} materials"
        require(len(self.thicknesses_mm) == n, "thicknesses_mm", rule, self.thicknesses_mm)
        require_counts(self, 1, "n_layers", "n_rings")
        require_positive(self, "ring_mm", "half_width_mm")
        for thickness in self.thicknesses_mm:
            good = 0.0 < thickness < math.inf
            require(good, "thicknesses_mm", "be finite and positive", self.thicknesses_mm)
        rule = f"fit into the world of {WORLD_MM:g} mm with n_layers = {self.n_layers}"
        depth = self.n_layers * sum(self.thicknesses_mm)
        require(depth <= WORLD_MM, "thicknesses_mm", rule, self.thicknesses_mm)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Layers, slabs a layer, rings."""
        return self.n_layers, len(self.materials), self.n_rings


def block(
    material: str, depth_mm: float, n_slabs: int, *, n_rings: int = 1, ring_mm: float = 2.0
) -> SamplingStack:
    """A block of one material, scored in slabs and rings.

    Args:
        material: A key of `NIST_NAMES`.
        depth_mm: Along the beam.
        n_slabs: Equal slabs along the beam.
        n_rings: Rings around the beam.
        ring_mm: Width of one.

    Returns:
        The block, as a stack of one slab a layer.

    Raises:
        ConfigError: The material is unknown or a size is not positive.
    """
    require(n_slabs >= 1, "n_slabs", "be at least 1", n_slabs)
    return SamplingStack((material,), (depth_mm / n_slabs,), n_slabs, n_rings, ring_mm)


@dataclass(frozen=True)
class Slab:
    """One slab, behind which a light plane sees where the beam's particle leaves it.

    Attributes:
        material: A key of `NIST_NAMES`.
        thickness_mm: Along the beam.
        half_width_mm: Half its side.
    """

    material: str
    thickness_mm: float
    half_width_mm: float = 500.0

    def __post_init__(self) -> None:
        nist_name(self.material)
        require_positive(self, "thickness_mm", "half_width_mm")
        rule = f"fit into the world of {WORLD_MM:g} mm"
        require(self.thickness_mm <= WORLD_MM, "thickness_mm", rule, self.thickness_mm)
