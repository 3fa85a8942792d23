"""Geant4 as a simulator: electromagnetic showers and muons, in a process of its own."""

from diffhep.detector.geant4.geometry import Beam, SamplingStack, Slab, block
from diffhep.detector.geant4.simulator import Geant4Simulator, Showers, SimulationError
from diffhep.detector.geant4.tables import build_em_tables

__all__ = [
    "Beam",
    "Geant4Simulator",
    "SamplingStack",
    "Showers",
    "SimulationError",
    "Slab",
    "block",
    "build_em_tables",
]
