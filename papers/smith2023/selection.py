"""Vertex fits without a network: all tracks, a selection by chi-squared, the right ones."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from papers.smith2023.jets import POOR_FACTOR, Jets, shift
from papers.smith2023.network import LEAST_WEIGHT, Prepared, fit_jets

Positions = Float[Array, "jet 3"]

CUTS = (8.0, 32.0, 128.0, 512.0, 2048.0)
"""Of a track's chi-squared. Large ones suit a detector out of place."""

LEAST_mm = (0.1, 0.2, 0.4)
"""Impact parameters that tell displaced tracks."""

TEMPERATURES = (8.0, 2.0, 0.5, 0.125, 0.125)
"""Of the annealing, over the cut; weights are soft at first."""

FEWEST = 2
"""Tracks that are never removed."""


def plain(jets: Jets, weight: Any) -> Prepared:
    """Measured tracks with the errors that they claim."""
    none = jnp.zeros(weight.shape)
    return Prepared(jnp.asarray(weight), none, none)


def of_all(jets: Jets) -> Positions:
    """Every track with weight 1."""
    return fit_jets(jets, plain(jets, jets.there)).position_mm


def rejected(jets: Jets, cut: float, least_mm: float = 0.0) -> Positions:
    """The track that fits worst is removed as long as its chi-squared is above a cut.

    Args:
        jets: The jets.
        cut: Of the chi-squared.
        least_mm: Tracks with smaller impact parameters are removed first.

    Returns:
        The vertices.
    """
    size = np.abs(jets.track[..., 0]) * jets.there
    second = np.sort(size, axis=1)[:, -FEWEST, None]
    weight = np.where(size >= np.minimum(least_mm, second), jets.there, 0.0)
    while True:
        found = fit_jets(jets, plain(jets, weight))
        chi2 = np.where(weight > 0.0, np.asarray(found.track_chi2), 0.0)
        worst = np.argmax(chi2, axis=1)
        (wrong,) = np.nonzero((chi2.max(axis=1) > cut) & (weight.sum(axis=1) > FEWEST))
        if wrong.size == 0:
            return found.position_mm
        weight[wrong, worst[wrong]] = 0.0


def annealed(jets: Jets, cut: float) -> Positions:
    r"""Weights $1/(1+e^{(\chi^2-c)/2T})$ while $T$ falls, as in adaptive vertex fits."""
    weight = jets.there
    for temperature in TEMPERATURES:
        chi2 = np.asarray(fit_jets(jets, plain(jets, weight)).track_chi2)
        power = (chi2 - cut) / (2.0 * temperature * cut)
        inside = 1.0 / (1.0 + np.exp(np.clip(power, -50.0, 50.0)))
        weight = jets.there * np.maximum(inside, LEAST_WEIGHT)
    return fit_jets(jets, plain(jets, weight)).position_mm


Selection = Callable[[Jets], Positions]

SELECTIONS: dict[str, list[Selection]] = {
    "chi-squared selection": [partial(rejected, cut=cut) for cut in CUTS],
    "annealed weights": [partial(annealed, cut=cut) for cut in CUTS],
    "impact parameter and chi-squared": [
        partial(rejected, cut=cut, least_mm=least) for cut in CUTS for least in LEAST_mm
    ],
}
"""Every kind with the cuts that are tried."""


def knowing(jets: Jets) -> Positions:
    """With what nobody knows: which tracks belong, which are poor, and the shift."""
    given = Prepared(
        jnp.asarray(jets.there * np.maximum(jets.displaced, LEAST_WEIGHT)),
        jnp.asarray(np.log(POOR_FACTOR) * jets.poor),
        jnp.asarray(shift(jets.track[..., 2])),
    )
    return fit_jets(jets, given).position_mm


def distances(jets: Jets, position_mm: Positions) -> np.ndarray:
    """From the truth, across the beam."""
    return np.linalg.norm(np.asarray(position_mm - jets.vertex_mm)[:, :2], axis=1)


def resolution(away: np.ndarray, axis: int = -1) -> Any:
    """Distance within which 68 % of the vertices lie."""
    return np.quantile(away, 0.68, axis=axis)


def best(selections: list[Selection], jets: Jets) -> Selection:
    """The selection of the best resolution for these jets."""
    return min(selections, key=lambda select: resolution(distances(jets, select(jets))))
