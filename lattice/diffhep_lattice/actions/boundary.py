"""Boundary conditions in time, as weights of the loops of an action."""

import jax.numpy as jnp
import numpy as np

from diffhep.core.checks import require
from diffhep_lattice.actions.plaquettes import LoopWeights

BOUNDARIES = ("periodic", "open")
"""What the last axis may be; the others are periodic."""


def check_boundary(boundary: str) -> None:
    """Raise a `ConfigError` unless there are such boundaries."""
    require(boundary in BOUNDARIES, "boundary", f"be one of {BOUNDARIES}", boundary)


def loop_weights(boundary: str, length: int, extent: int = 1) -> LoopWeights | None:
    """The weights of loops on a lattice with so many time slices; None is one everywhere.

    Args:
        boundary: "periodic" or "open".
        length: Number of time slices.
        extent: Steps in time of the temporal loops.

    Returns:
        For open boundaries, spatial loops of the two outer slices count half and temporal loops
        that would leave the lattice not at all.
    """
    if boundary == "periodic":
        return None
    spatial = np.ones(length)
    spatial[[0, -1]] = 0.5
    temporal = (np.arange(length) < length - extent).astype(float)
    return LoopWeights(jnp.asarray(spatial), jnp.asarray(temporal))
