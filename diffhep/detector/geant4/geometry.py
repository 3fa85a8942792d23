"""What Geant4 is to build: stacks of slabs, blocks, and slabs with a plane behind them."""

import math
from dataclasses import dataclass

from diffhep.core.checks import require, require_counts, require_positive
from diffhep.detector import materials

NIST_NAMES = {
    "Al": "G4_Al",
    "BGO": "G4_BGO",
    "Be": "G4_Be",
    "CsI": "G4_CESIUM_IODIDE",
    "Cu": "G4_Cu",
    "Fe": "G4_Fe",
    "Ge": "G4_Ge",
    "LAr": "G4_lAr",
    "LXe": "G4_lXe",
    "NaI": "G4_SODIUM_IODIDE",
    "Pb": "G4_Pb",
    "PbWO4": "G4_PbWO4",
    "Si": "G4_Si",
    "SiO2": "G4_SILICON_DIOXIDE",
    "U": "G4_U",
    "W": "G4_W",
    "air": "G4_AIR",
    "argon": "G4_Ar",
    "graphite": "G4_GRAPHITE",
    "polyethylene": "G4_POLYETHYLENE",
    "polystyrene": "G4_POLYSTYRENE",
    "water": "G4_WATER",
}
"""What the materials of `diffhep.detector.materials` are called in Geant4's catalogue."""

WORLD_MM = 20_000.0
"""Deepest detector: no calorimeter comes near, a slip of a unit does."""


def nist_name(material: str) -> str:
    """What a material is called in Geant4.

    Args:
        material: A name of `diffhep.detector.materials`.

    Returns:
        The name in Geant4's catalogue.

    Raises:
        ConfigError: The material is unknown; the nearest ones are listed.
    """
    return NIST_NAMES[materials.get(material).name]


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
        material: A name of `diffhep.detector.materials`.
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
        material: A name of `diffhep.detector.materials`.
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
