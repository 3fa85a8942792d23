"""Boundary conditions in time, as weights of the loops of an action."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffhep.core.checks import require

__citations__ = ("arXiv:1105.4749",)

BOUNDARIES = ("periodic", "open")
"""What the last axis may be; the others are periodic."""


class LoopWeights(NamedTuple):
    """Weights of the loops by the time of their first site, the last axis being time.

    Attributes:
        spatial: For loops within one time slice.
        temporal: For loops that extend one step in time.
        tall: For loops that extend two steps in time.
    """

    spatial: Float[Array, " time"]
    temporal: Float[Array, " time"]
    tall: Float[Array, " time"]

    def of_plaquette(self, nu: int, dimension: int) -> Float[Array, " time"]:
        """The weights in a plane whose higher direction is nu."""
        return self.temporal if nu == dimension - 1 else self.spatial

    def of_rectangle(self, mu: int, nu: int, dimension: int) -> Float[Array, " time"]:
        """The weights of rectangles with two links along mu and one along nu."""
        return self.tall if mu == dimension - 1 else self.of_plaquette(nu, dimension)


def check_boundary(boundary: str) -> None:
    """Raise a `ConfigError` unless there are such boundaries."""
    require(boundary in BOUNDARIES, "boundary", f"be one of {BOUNDARIES}", boundary)


def loop_weights(boundary: str, length: int) -> LoopWeights | None:
    """The weights of loops on a lattice with so many time slices; None is one everywhere.

    Args:
        boundary: "periodic" or "open".
        length: Number of time slices.

    Returns:
        For open boundaries, spatial loops of the two outer slices count half and loops that would
        leave the lattice not at all.
    """
    if boundary == "periodic":
        return None
    time = np.arange(length)
    spatial = np.where((time == 0) | (time == length - 1), 0.5, 1.0)
    temporal, tall = ((time < length - extent).astype(float) for extent in (1, 2))
    return LoopWeights(*(jnp.asarray(weights) for weights in (spatial, temporal, tall)))
