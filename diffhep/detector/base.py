"""What a detector offers: hits of a beam, for a design."""

import abc
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from diffhep.core.checks import require
from diffhep.core.typing import Flag, Key
from diffhep.detector.design import Design
from diffhep.detector.particles import Particle


class Beam(eqx.Module):
    """What enters the detector.

    Attributes:
        particle: Of the beam.
        energy_MeV: Kinetic energy.
        n_events: Particles that are simulated, one an event.

    Raises:
        ConfigError: The energy is not positive, or there is no event.
    """

    particle: Particle = eqx.field(static=True)
    energy_MeV: float = eqx.field(static=True)
    n_events: int = eqx.field(static=True, default=1)

    def __check_init__(self) -> None:
        require(self.energy_MeV > 0.0, "energy_MeV", "be positive", self.energy_MeV)
        require(self.n_events >= 1, "n_events", "be at least 1", self.n_events)


class Hits(NamedTuple):
    """What a detector records, in arrays of fixed capacity.

    Attributes:
        energy_MeV: Deposit; zero where there is no hit.
        position_mm: Of each hit.
        layer: Number of the layer.
        alive: Whether there is a hit in a place.
        overflow: Whether an event had more hits than places; its record is then incomplete.
    """

    energy_MeV: Float[Array, "event hit"]
    position_mm: Float[Array, "event hit 3"]
    layer: Int[Array, "event hit"]
    alive: Bool[Array, "event hit"]
    overflow: Bool[Array, " event"]

    def layer_energy(self, n_layers: int) -> Float[Array, "event layer"]:
        """Energy by layer.

        Args:
            n_layers: How many layers there are.

        Returns:
            In MeV.
        """
        in_layer = self.layer[..., None] == jnp.arange(n_layers)
        return jnp.sum(jnp.where(self.alive, self.energy_MeV, 0.0)[..., None] * in_layer, axis=1)

    def any_overflow(self) -> Flag:
        """Whether any event's record is incomplete."""
        return jnp.any(self.overflow)


class AbstractDetector(eqx.Module):
    """A detector whose parameters are a design's."""

    @abc.abstractmethod
    def simulate(self, design: Design, beam: Beam, *, key: Key) -> Hits:
        """Hits of a beam.

        Args:
            design: The parameters that are chosen.
            beam: What enters.
            key: Random key; with the same key nearby designs see the same random numbers.

        Returns:
            The hits.
        """
