"""Geant4 as a simulator: electromagnetic showers and muons, in a process of its own."""

from diffhep.detector.geant4.geometry import NIST_NAMES, SamplingStack, Slab, block
from diffhep.detector.geant4.simulator import Exits, Geant4Simulator, Showers, SimulationError
from diffhep.detector.geant4.tables import build_em_tables

__all__ = [
    "NIST_NAMES",
    "Exits",
    "Geant4Simulator",
    "SamplingStack",
    "Showers",
    "SimulationError",
    "Slab",
    "block",
    "build_em_tables",
]
