"""Jets with a displaced vertex among tracks of the primary vertex and of pile-up."""

from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from diffhep.core.typing import Key

FIELD_T = 2.0
CURVATURE_PER_T_mm = -2.99792458e-4
"""Of a track of 1 GeV across the field, by the sign of its charge."""

SPREAD = np.array([0.02, 0.05, 1e-3, 1e-3, 1e-2])
"""Errors that a track claims, in mm, rad and 1/GeV."""

DISPLACED, PRIMARY, PILE_UP = (3, 6), (1, 4), (0, 2)
"""Least and largest numbers of tracks."""

PILE_UP_mm = 2.0
"""Spread along the beam of the vertices of pile-up that a jet's tracks are taken from."""

POOR_SHARE, POOR_FACTOR, FLAG_ERROR = 0.3, 4.0, 0.1
"""Tracks with larger errors than they claim, how much larger, and how often their flag is wrong."""

SHIFT_mm = 0.05
"""Of the impact parameter by a detector out of place."""


class Jets(NamedTuple):
    """Tracks and what is true of them; each 0 or 1 where it says whether.

    Attributes:
        track: Measured perigee parameters.
        there: Whether there is a track; all jets have room for as many as there can be.
        flag: Whether a track looks poor.
        vertex_mm: The displaced vertex.
        displaced: Which tracks come from it.
        poor: Which tracks are poor.
    """

    track: Float[Any, "jet track 5"]
    there: Float[Any, "jet track"]
    flag: Float[Any, "jet track"]
    vertex_mm: Float[Any, "jet 3"]
    displaced: Float[Any, "jet track"]
    poor: Float[Any, "jet track"]


def shift(phi: np.ndarray) -> np.ndarray:
    """What the detector adds to the impact parameter of a track, in mm."""
    return SHIFT_mm * (np.cos(2.0 * phi) + 0.6 * np.sin(phi))


def expected_track(vertex: Any, phi: Any, theta: Any, charge_over_p: Any, field_T: Any) -> Any:
    """Perigee parameters of tracks through a point, for real or complex numbers.

    Args:
        vertex: Its x, y and z in mm.
        phi: Azimuth of the tracks there.
        theta: Their polar angle.
        charge_over_p: Charge over momentum, 1/GeV.
        field_T: Along z.

    Returns:
        Five parameters each, along the last axis.
    """
    k = CURVATURE_PER_T_mm * field_T * charge_over_p / np.sin(theta)
    x, y, z = vertex
    across, along = y * np.cos(phi) - x * np.sin(phi), x * np.cos(phi) + y * np.sin(phi)
    twice = 2.0 * across + k * (x**2 + y**2)
    d0 = twice / (1.0 + np.sqrt(1.0 + k * twice))
    turn = np.arctan(k * along / (1.0 + k * across))
    return np.stack([d0, z - turn / k / np.tan(theta), phi - turn, theta, charge_over_p], axis=-1)


def draw(n: int, *, key: Key) -> Jets:
    """Jets whose displaced vertex is a few millimetres off the beam.

    Args:
        n: Jets.
        key: Random key.

    Returns:
        The jets.
    """
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    counts = [rng.integers(low, high + 1, (n, 1)) for low, high in (DISPLACED, PRIMARY, PILE_UP)]
    places = [np.arange(high) for _, high in (DISPLACED, PRIMARY, PILE_UP)]
    there = np.concatenate([place < m for place, m in zip(places, counts, strict=True)], axis=1)
    kind = np.repeat(np.arange(3), [place.size for place in places])
    shape = there.shape
    jet_phi, jet_theta = rng.uniform(-np.pi, np.pi, (n, 1)), rng.uniform(0.8, 2.3, (n, 1))
    flight = 1.0 + np.minimum(rng.exponential(3.0, (n, 1)), 10.0)
    axis = [np.cos(jet_phi), np.sin(jet_phi), 1.0 / np.tan(jet_theta)]
    vertex = flight * np.concatenate(axis, axis=1)
    phi = jet_phi + rng.normal(0.0, 0.3, shape)
    theta = np.clip(jet_theta + rng.normal(0.0, 0.3, shape), 0.3, 2.8)
    pt = 0.7 + rng.exponential(3.0, shape)
    charge_over_p = rng.choice([-1.0, 1.0], shape) * np.sin(theta) / pt
    point = np.where(kind == 0, vertex.T[:, :, None], 0.0)
    point[2] += np.where(kind == 2, rng.normal(0.0, PILE_UP_mm, shape), 0.0)
    truth = expected_track(point, phi, theta, charge_over_p, FIELD_T)
    poor, wrong = rng.random(shape) < POOR_SHARE, rng.random(shape) < FLAG_ERROR
    size = np.where(poor, POOR_FACTOR, 1.0)[..., None] * SPREAD
    track = truth + size * rng.normal(size=truth.shape)
    track[..., 0] += shift(truth[..., 2])
    displaced = there & (kind == 0)
    given = (there, poor ^ wrong, displaced, poor)
    there, flag, displaced, poor = (each.astype(float) for each in given)
    return Jets(track, there, flag, vertex, displaced, poor)
