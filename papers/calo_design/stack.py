"""The calorimeter that a budget buys, and what both simulators see in it."""

from collections.abc import Callable

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Float

from diffhep.core.typing import Key
from diffhep.detector import Beam, Design, LinearCost, Parameter, materials, particles
from diffhep.detector.calorimeter import GflashCalorimeter
from diffhep.detector.geant4 import Geant4Simulator, SamplingStack, Showers
from diffhep.detector.showers import sampling_medium
from papers.calo_design.config import Config

ABSORBER, GAP = "Pb", "polystyrene"

BUDGET = 64.0
"""What all layers together may cost; the unit is the electronics of one layer."""

LAYER = LinearCost({"absorber_mm": 0.25, "gap_mm": 0.15}, fixed=1.0)
"""Price of a layer: lead and scintillator by the millimetre, electronics by the piece."""

THINNEST_MM, THICKEST_ABSORBER_MM, THICKEST_GAP_MM = 0.5, 8.0, 12.0

MOST_LAYERS = 53
"""That the budget buys of the thinnest slabs."""

N_SEGMENTS = 6
"""Equal parts of the depth, by which the readout is divided for the surrogate."""

CHUNK = 200
"""Parametrised showers of one call: one compiled program serves every number of events."""

Simulate = Callable[[Design, int, int], Float[np.ndarray, "event layer"]]
"""Visible energies in MeV of a design, a number of events and a seed."""


def stack(absorber_mm: float, gap_mm: float) -> Design:
    """The design of two thicknesses.

    Args:
        absorber_mm: Of lead.
        gap_mm: Of scintillator.

    Returns:
        The design.
    """
    return Design(
        absorber_mm=Parameter(absorber_mm, "mm", THINNEST_MM, THICKEST_ABSORBER_MM),
        gap_mm=Parameter(gap_mm, "mm", THINNEST_MM, THICKEST_GAP_MM),
    )


def n_layers(design: Design) -> int:
    """How many layers the budget buys.

    Args:
        design: The thicknesses.

    Returns:
        A whole number.
    """
    return int(BUDGET / float(LAYER(design)))


def depth_x0(design: Design) -> float:
    """Depth of all layers.

    Args:
        design: The thicknesses.

    Returns:
        In radiation lengths.
    """
    parts = ((ABSORBER, "absorber_mm"), (GAP, "gap_mm"))
    layer = sum(
        float(design[key]) / (10.0 * materials.get(name).radiation_length_cm) for name, key in parts
    )
    return n_layers(design) * layer


def visible_share(design: Design) -> Float[Array, ""]:
    """Share of a minimum-ionising particle's loss that is in the scintillator.

    Args:
        design: The thicknesses.

    Returns:
        The share.
    """
    found = materials.get(ABSORBER), materials.get(GAP)
    return sampling_medium(*found, design["absorber_mm"], design["gap_mm"]).visible


def simulator(config: Config) -> Simulate:
    """The simulator that is asked for.

    Args:
        config: The settings.

    Returns:
        A black box.
    """
    one = _geant4 if config.simulator == "geant4" else _gflash
    return lambda design, n_events, seed: one(config.energy_MeV, design, n_events, seed)


def _geant4(energy_MeV: float, design: Design, n_events: int, seed: int) -> np.ndarray:
    thicknesses = float(design["absorber_mm"]), float(design["gap_mm"])
    target = SamplingStack((ABSORBER, GAP), thicknesses, n_layers(design))
    showers = Geant4Simulator(target)(Beam(particles.get("e-"), energy_MeV, n_events), seed=seed)
    if not isinstance(showers, Showers):
        raise TypeError("A stack gives showers.")
    return showers.deposit_MeV[:, :, 1, 0].astype(float)


def _gflash(energy_MeV: float, design: Design, n_events: int, seed: int) -> np.ndarray:
    keys = jax.random.split(jax.random.key(seed), -(-n_events // CHUNK))
    beam = Beam(particles.get("e-"), energy_MeV, CHUNK)
    rows = [np.asarray(_showers(design, beam, key)) for key in keys]
    return np.concatenate(rows)[:n_events, : n_layers(design)]


@eqx.filter_jit
def _showers(design: Design, beam: Beam, key: Key) -> Float[Array, "event layer"]:
    """Of a stack as deep as can be: parametrised layers do not know of those behind them."""
    calorimeter = GflashCalorimeter(materials.get(ABSORBER), materials.get(GAP), MOST_LAYERS)
    return calorimeter.sample_energy(design, beam, key=key).visible_MeV


def segments(layers: Float[np.ndarray, "event layer"]) -> Float[np.ndarray, "event segment"]:
    """Energy in equal parts of the depth; a layer across a border is divided.

    Args:
        layers: Energies by layer.

    Returns:
        Energies by segment, of the same sum.
    """
    n = layers.shape[1]
    front = np.arange(n)[:, None]
    border = np.linspace(0.0, n, N_SEGMENTS + 1)
    share = np.minimum(front + 1, border[1:]) - np.maximum(front, border[:-1])
    return layers @ np.clip(share, 0.0, None)
